"""What the command line writes: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from calibrant.plain import plain

RED, PLAIN = "\x1b[31m", "\x1b[0m"


def show(result: Any, as_json: bool) -> None:
    """Print a result: its summary in words, or its content as JSON."""
    if as_json:
        _write(json.dumps(plain(result.to_dict()), indent=2, allow_nan=False, ensure_ascii=False))
    else:
        _write(result.summary())


def _write(text: str) -> None:
    try:
        sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has gone; the interpreter flushes stdout once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str) -> None:
    """One line "error: ..." on stderr, red on a terminal."""
    line = f"error: {message}"
    sys.stderr.write(f"{RED}{line}{PLAIN}\n" if sys.stderr.isatty() else f"{line}\n")
