"""Pieces of a selection string: splitting, names with wildcards, ids and ranges, and errors that point at the place.

A `Piece` knows the parameter and the whole text it was cut from, so every error can say: which parameter, which
text, at which character, what was found, what exists.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import SelectionError

Ids = NDArray[np.int64]

SHOWN_CHOICES = 24
_BOUND = re.compile(r"(<=|>=|<|>)\s*(\d+)")
_RANGE = re.compile(r"(\d+)\s*~\s*(\d+)")


@dataclass(frozen=True)
class Piece:
    """`text` (stripped of blanks) is found at character `at` of `whole`, the value of `parameter`."""

    parameter: str
    whole: str
    text: str
    at: int

    @classmethod
    def of(cls, parameter: str, whole: str) -> Piece:
        return _cut(cls(parameter, whole, whole, 0), 0, len(whole))

    def split(self, separator: str) -> list[Piece]:
        """The pieces between separators (one character) outside quotes and /regular expressions/; none may be empty."""
        cuts = [i for i in _unprotected(self.text) if self.text[i] == separator]
        bounds = zip([-1, *cuts], [*cuts, len(self.text)], strict=True)
        pieces = [_cut(self, start + 1, stop) for start, stop in bounds]
        for piece in pieces:
            if not piece.text:
                raise piece.error(f"nothing stands before or after {separator!r}")
        return pieces

    def partition(self, separator: str) -> tuple[Piece, Piece | None]:
        """What stands before and after the first separator outside quotes; (self, None) where there is none."""
        for i in _unprotected(self.text):
            if self.text.startswith(separator, i):
                return _cut(self, 0, i), _cut(self, i + len(separator), len(self.text))
        return self, None

    def after(self, start: int) -> Piece:
        """The rest of this piece from character `start` of its text."""
        return _cut(self, start, len(self.text))

    @property
    def quoted(self) -> bool:
        return len(self.text) > 1 and self.text[0] in "'\"" and self.text[0] == self.text[-1]

    @property
    def bare(self) -> str:
        """The text without its quotes."""
        return self.text[1:-1] if self.quoted else self.text

    @property
    def integer(self) -> int | None:
        """The value of a piece that is digits only, and not quoted."""
        return int(self.text) if self.text.isascii() and self.text.isdigit() else None

    def error(self, what: str, choices: Sequence[str] = ()) -> SelectionError:
        """The error for this piece: where it is, what is wrong, what exists, and the nearest of that."""
        place = f"{self.parameter}={self.whole!r}"
        if self.text != self.whole:
            place += f", at character {self.at + 1} ({self.text!r})"
        return SelectionError(f"{place}: {what}{_known(self.bare, choices)}")


def _cut(piece: Piece, start: int, stop: int) -> Piece:
    text = piece.text[start:stop]
    blanks = len(text) - len(text.lstrip())
    return Piece(piece.parameter, piece.whole, text.strip(), piece.at + start + blanks)


def _unprotected(text: str) -> list[int]:
    """Positions of the characters outside '...', "..." and /.../, which open only where an item begins."""
    positions, closing = [], ""
    begins = True
    for i, char in enumerate(text):
        if closing:
            closing = "" if char == closing else closing
        elif begins and char in "'\"/" and char in text[i + 1 :]:
            closing = char
        else:
            positions.append(i)
        begins = char in ",;&!@:^" or (begins and char == " ")
    return positions


def _known(text: str, choices: Sequence[str]) -> str:
    if not choices:
        return ""
    distinct = list(dict.fromkeys(choices))
    more = f", ... ({len(distinct)} in all)" if len(distinct) > SHOWN_CHOICES else ""
    near = difflib.get_close_matches(text, distinct, n=1) if any(char.isalpha() for char in text) else []
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"; existing: {', '.join(distinct[:SHOWN_CHOICES])}{more}.{hint}"


def match_names(piece: Piece, names: Sequence[str]) -> list[int]:
    """Positions of the names that a piece names: 'name', 'gl*b?', or '/regular expression/'; whole names only.

    A name that is there as it is written wins over its reading as a pattern ('3C273*' may be a name).
    """
    text = piece.bare.strip()
    exact = [i for i, name in enumerate(names) if name.strip() == text]
    if exact:
        return exact
    pattern = _pattern(piece, text)
    return [i for i, name in enumerate(names) if pattern.fullmatch(name.strip())] if pattern else []


def _pattern(piece: Piece, text: str) -> re.Pattern[str] | None:
    if len(text) > 2 and text[0] == text[-1] == "/":
        try:
            return re.compile(text[1:-1])
        except re.error as error:
            raise piece.error(f"is not a regular expression ({error})") from None
    if not re.search(r"[*?[]", text):
        return None
    wild = {"*": ".*", "?": "."}
    parts = re.split(r"(\*|\?|\[[^\]]+\])", text)  # every second part is a wildcard or a [set]
    return re.compile("".join(wild.get(p, p) if i % 2 else re.escape(p) for i, p in enumerate(parts)))


def match_ids(piece: Piece, known: Ids, kind: str) -> Ids | None:
    """Ids among `known` for 'N', 'N~M', '<N', '<=N', '>N', '>=N' and '>N&<M'; None where the piece is not of that form.

    A range takes what exists of it; SelectionError where that is nothing, or where a single id does not exist.
    """
    chosen = _chosen(piece, known)
    if chosen is None:
        return None
    if not chosen.any():
        raise piece.error(f"there is no such {kind}", [str(i) for i in known])
    return known[chosen]


def match_ids_or_names(piece: Piece, names: Sequence[str], kind: str, codes: Sequence[str] = ()) -> list[int]:
    """Positions in `names` for ids, ranges or names; then in `codes`. A number is an id where that id exists, else
    a name. SelectionError where nothing fits."""
    number = piece.integer
    if not piece.quoted and (number is None or number < len(names)):
        ids = match_ids(piece, np.arange(len(names)), kind)
        if ids is not None:
            return [int(i) for i in ids]
    found = list(range(len(names))) if piece.text == "*" else match_names(piece, names) or match_names(piece, codes)
    if not found:
        numbered = [f"{i} {name}" for i, name in enumerate(names)]
        raise piece.error(f"there is no such {kind}", names if any(names) and number is None else numbered)
    return found


def _chosen(piece: Piece, known: Ids) -> NDArray[np.bool_] | None:
    if piece.integer is not None:
        return known == piece.integer
    if match := _RANGE.fullmatch(piece.text):
        low, high = int(match[1]), int(match[2])
        if low > high:
            raise piece.error(f"the range starts at {low}, above its end {high}")
        return (known >= low) & (known <= high)
    chosen = np.ones(len(known), bool)
    for bound in piece.text.split("&"):
        match = _BOUND.fullmatch(bound.strip())
        if not match:
            return None
        compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[match[1]]
        chosen &= compare(known, int(match[2]))
    return chosen


def distinct(values: NDArray[np.int32]) -> Ids:
    """The distinct values, ascending. Ids come in long runs, so the runs are sorted instead of the rows."""
    if len(values) == 0:
        return np.zeros(0, np.int64)
    runs = values[np.concatenate(([True], values[1:] != values[:-1]))]
    return np.unique(runs).astype(np.int64)
