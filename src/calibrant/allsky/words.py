"""Sentences for a terminal."""

from __future__ import annotations

import textwrap

WIDTH = 100


def folded(sentence: str, first: str = "  ") -> str:
    """A sentence in lines of at most 100 columns, `first` before it and the further lines indented."""
    return textwrap.fill(
        sentence, WIDTH, initial_indent=first, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
