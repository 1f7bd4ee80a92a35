"""Selection of antennas and baselines: 'DV01', '1~3&5', 'A&&B', '!DA41', 'DV01@A040', '>100m'; ';' between them.

An expression is worked out on the small matrix (antenna, antenna) and then looked up for every row.

    A          baselines of A to all others (cross only)       A&B   between A and B (cross only)
    A&         among A (cross only)                            A&&B  A&B with autocorrelations
    A&&        among A, with autocorrelations                  A&&&  autocorrelations of A
    <L, >L, L~M with m or km: by length between antenna positions, ends included (autocorrelations have length 0)
    !X         everything but X. From left to right, X adds to what is selected, !X takes away.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex
from calibrant.ms.selection_text import Piece, match_names

LONGEST_RANGE = 10000
Matrix = NDArray[np.bool_]
_NUMBER = r"([0-9]+\.?[0-9]*|\.[0-9]+)"
_LENGTH = re.compile(rf"(?:([<>])=?\s*{_NUMBER}\s*(k?m)?|{_NUMBER}\s*~\s*{_NUMBER}\s*(k?m))", re.IGNORECASE)
_RANGE = re.compile(r"(\d+)\s*~\s*(\d+)")


def choose_antennas(index: MSIndex, text: str, parameter: str = "antenna") -> list[int]:
    """Ids of a plain list of antennas, in the order written, each once; [] for ''."""
    if not text.strip():
        return []
    whole = Piece.of(parameter, text)
    for sign in "&;!":
        if whole.partition(sign)[1] is not None:
            raise whole.error(f"a plain list of antennas is wanted here, without {sign!r}")
    return _antennas(index, whole)


def choose_baselines(index: MSIndex, text: str) -> Matrix:
    """Which (ANTENNA1, ANTENNA2) the expression selects: bool (nant, nant); all for ''."""
    count = len(index.antennas)
    selected = np.ones((count, count), bool)
    for number, item in enumerate(Piece.of("antenna", text).split(";") if text.strip() else []):
        negated = item.text.startswith("!")
        inner = item.after(1) if negated else item
        if not inner.text:
            raise item.error("no antenna stands after '!'")
        pairs = _pairs(index, inner)
        if negated:
            selected &= ~pairs
        else:
            selected = selected | pairs if number else pairs
    return selected


def _pairs(index: MSIndex, piece: Piece) -> Matrix:
    lengths = [_LENGTH.fullmatch(item.text) for item in piece.split(",")]
    if all(lengths):
        return _by_length(index, [match for match in lengths if match])
    left, right = piece.partition("&")
    if not left.text:
        raise piece.error("no antenna stands before '&'")
    first = _flags(index, left)
    if right is None:
        return _crossed(first, np.ones_like(first), autos=False)
    return _joined(index, first, right)


def _joined(index: MSIndex, first: Matrix, right: Piece) -> Matrix:
    """Baselines of `first` (nant,) with what stands after its '&'."""
    signs = len(right.text) - len(right.text.lstrip("&"))
    rest = right.after(signs)
    if signs > 2 or (signs == 2 and rest.text):
        raise right.error("'A&B', 'A&&B' and 'A&&&' exist; an antenna cannot stand after '&&&'")
    if signs == 2:
        return np.diag(first)
    second = _flags(index, rest) if rest.text else first
    return _crossed(first, second, autos=signs == 1)


def _crossed(first: Matrix, second: Matrix, autos: bool) -> Matrix:
    pairs = first[:, None] & second[None, :]
    pairs = pairs | pairs.T
    if not autos:
        np.fill_diagonal(pairs, False)
    return pairs


def _by_length(index: MSIndex, matches: list[re.Match[str]]) -> Matrix:
    position = index.antennas.position
    length = np.sqrt(((position[:, None, :] - position[None, :, :]) ** 2).sum(axis=-1))
    selected = np.zeros(length.shape, bool)
    for match in matches:
        metres = 1e3 if (match[3] or match[6] or "m").lower() == "km" else 1.0
        if match[1]:
            limit = float(match[2]) * metres
            selected |= length <= limit if match[1] == "<" else length >= limit
        else:
            selected |= (length >= float(match[4]) * metres) & (length <= float(match[5]) * metres)
    return selected


def _flags(index: MSIndex, piece: Piece) -> Matrix:
    flags = np.zeros(len(index.antennas), bool)
    flags[_antennas(index, piece)] = True
    return flags


def _antennas(index: MSIndex, piece: Piece) -> list[int]:
    found: dict[int, None] = {}
    for item in piece.split(","):
        name, station = item.partition("@")
        ids = _at(index, item, name, station) if station is not None else _named(index, item)
        found.update(dict.fromkeys(ids))
    return list(found)


def _at(index: MSIndex, item: Piece, name: Piece, station: Piece) -> list[int]:
    ids = _named(index, name) if name.text else list(range(len(index.antennas)))
    if station.text:
        there = set(match_names(station, index.antennas.station))
        ids = [i for i in ids if i in there]
    if not ids:
        pairs = zip(index.antennas.name, index.antennas.station, strict=True)
        raise item.error("there is no such antenna at that station", [f"{a}@{s}" for a, s in pairs])
    return ids


def _named(index: MSIndex, piece: Piece) -> list[int]:
    """Name, station, then id: VLA antennas are called '1', '01', so a number is a name first (as in CASA)."""
    if match := _RANGE.fullmatch(piece.text):
        low, high = int(match[1]), int(match[2])
        if low > high:
            raise piece.error(f"the range starts at {low}, above its end {high}")
        ids = [i for n in range(low, min(high, low + LONGEST_RANGE) + 1) for i in _number(index, str(n))]
    elif piece.integer is not None:
        ids = _number(index, piece.text)
    else:
        ids = _by_name(index, piece)
    if not ids:
        known = [f"{i} {name}" for i, name in enumerate(index.antennas.name)]
        near = index.antennas.name if not piece.text[:1].isdigit() else known
        raise piece.error("there is no such antenna", near)
    return ids


def _number(index: MSIndex, text: str) -> list[int]:
    for names in (index.antennas.name, index.antennas.station):
        if text in names:
            return [names.index(text)]
    return [int(text)] if int(text) < len(index.antennas) else []


def _by_name(index: MSIndex, piece: Piece) -> list[int]:
    if piece.text.startswith("^"):
        others = set(_by_name(index, piece.after(1)))
        return [i for i in range(len(index.antennas)) if i not in others]
    names, stations = index.antennas.name, index.antennas.station
    if any(sign in piece.bare for sign in "*?[") and not piece.bare.startswith("/"):
        return sorted({*match_names(piece, names), *match_names(piece, stations)})
    return match_names(piece, names) or match_names(piece, stations)
