"""CASA's selection strings over an `MSIndex`: which rows, channels and correlations are meant.

    chosen = select(open_index("obs.ms"), field="3C286", spw="0:5~61", antenna="!DA41", timerange=">05:00:00")
    chosen.rows, chosen.channels, chosen.correlations

The syntax is that of CASA's MSSelection (casacore note 263). A parameter that is empty selects everything. All
parameters must hold for a row. Where CASA drops an unknown name or id with a message in its log, this raises
SelectionError with what exists; a range takes what exists of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import MeasurementSetError, SelectionError
from calibrant.ms.index import MSIndex
from calibrant.ms.selection_antenna import choose_antennas, choose_baselines
from calibrant.ms.selection_spw import choose_channels
from calibrant.ms.selection_text import Ids, Piece, distinct, match_ids, match_ids_or_names, match_names
from calibrant.ms.selection_time import times_mask
from calibrant.ms.tables import open_table

SPEED_OF_LIGHT = 299792458.0
UVW_ROWS = 1 << 20
"""Rows of UVW read at once: 24 MB."""

Mask = NDArray[np.bool_]
_UV = re.compile(
    r"([<>]?)\s*([0-9.]+(?:e[-+]?\d+)?)\s*(?:~\s*([0-9.]+(?:e[-+]?\d+)?))?\s*([a-z]*)\s*(?::\s*([0-9.]+)\s*%)?",
    re.IGNORECASE,
)
_UV_UNITS = {"": 1.0, "m": 1.0, "km": 1e3}
_UV_WAVES = {"lambda": 1.0, "klambda": 1e3, "mlambda": 1e6}


@dataclass(frozen=True)
class Selection:
    """rows: ascending row numbers; channels: spw id -> ascending channel numbers, for the spws of these rows;
    correlations: POLARIZATION row -> positions along the correlation axis; notes: what was asked and is not there.
    """

    rows: Ids
    channels: dict[int, Ids]
    correlations: dict[int, Ids]
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """One sentence: rows, spectral windows with channels, correlations, and what was left out."""
        spws = ", ".join(f"{spw}:{_ranges(channels)}" for spw, channels in self.channels.items())
        used = {tuple(int(i) for i in positions) for positions in self.correlations.values()}
        corrs = "; ".join(",".join(map(str, positions)) for positions in sorted(used))
        text = f"{len(self.rows)} rows, spw {spws}, correlations {corrs}"
        return text + "".join(f"; {note}" for note in self.notes)


def select(
    index: MSIndex,
    *,
    field: str = "",
    spw: str = "",
    antenna: str = "",
    timerange: str = "",
    scan: str = "",
    uvrange: str = "",
    intent: str = "",
    correlation: str = "",
    state: str = "",
    observation: str = "",
    array: str = "",
) -> Selection:
    """What the selection strings mean for this MeasurementSet.

    SelectionError where a string cannot be understood, names what does not exist, or nothing is left.
    """
    chosen = choose_channels(index, spw)
    positions = _correlations(index, correlation)
    masks: dict[str, Mask] = {}
    named = {"spw": spw, "correlation": correlation}
    if any(text.strip() for text in named.values()):
        name = ", ".join(f"{name}={text!r}" for name, text in named.items() if text.strip())
        masks[name] = _ddid_mask(index, chosen.channels, positions)
    parts = {
        "field": (field, _field_mask),
        "scan": (scan, _scan_mask),
        "intent": (intent, _intent_mask),
        "state": (state, _state_mask),
        "observation": (observation, _observation_mask),
        "array": (array, _array_mask),
        "antenna": (antenna, baseline_mask),
        "timerange": (timerange, times_mask),
        "uvrange": (uvrange, _uv_mask),
    }
    for name, (text, mask) in parts.items():
        if text.strip():
            masks[f"{name}={text!r}"] = mask(index, text)
    rows = _common_rows(index, masks)
    ddids = distinct(index.ddid[rows])
    spws, pols = {int(i) for i in index.ddid_spw[ddids]}, {int(i) for i in index.ddid_pol[ddids]}
    return Selection(
        rows,
        {i: channels for i, channels in chosen.channels.items() if i in spws},
        {i: found for i, found in positions.items() if i in pols},
        chosen.notes,
    )


def field_ids(index: MSIndex, text: str) -> list[int]:
    """Ids of the fields that `text` names ('0,2~3', '3C*', '>1', 'NGC 5921'), ascending; all for ''.

    A number is an id where that id exists, else a name. Names not found are looked for among the field codes.
    """
    return match_fields(index.fields.name, index.fields.code, text)


def match_fields(names: list[str], codes: list[str], text: str) -> list[int]:
    """As `field_ids`, for fields with these names and codes."""
    if not text.strip():
        return list(range(len(names)))
    if text.strip() in names and not text.strip().isdigit():
        return match_names(Piece.of("field", f'"{text.strip()}"'), names)
    found: set[int] = set()
    for piece in Piece.of("field", text).split(","):
        found.update(match_ids_or_names(piece, names, "field", codes))
    return sorted(found)


def spw_channels(index: MSIndex, text: str) -> dict[int, Ids]:
    """Spectral window id -> ascending channel numbers that `text` names; everything for ''."""
    return choose_channels(index, text).channels


def antenna_ids(index: MSIndex, text: str) -> list[int]:
    """Ids of a plain list of antennas ('DV01,DA*', '1~3', 'A040'), in the order written; [] for ''."""
    return choose_antennas(index, text)


def baseline_mask(index: MSIndex, text: str) -> Mask:
    """bool (nrow,): rows whose baseline the antenna expression selects."""
    pairs = choose_baselines(index, text)
    count = len(index.antennas)
    if max(index.ant1.max(), index.ant2.max()) >= count:
        raise MeasurementSetError(f"{index.path}: rows name antennas beyond the {count} of its ANTENNA subtable")
    return pairs.ravel()[index.ant1.astype(np.int64) * count + index.ant2]


# ---- one parameter each -------------------------------------------------------------------------------------


def _field_mask(index: MSIndex, text: str) -> Mask:
    return np.isin(index.field, field_ids(index, text))


def _id_mask(values: NDArray[np.int32], parameter: str, text: str, kind: str) -> Mask:
    known = distinct(values)
    found: set[int] = set()
    for piece in Piece.of(parameter, text).split(","):
        ids = known if piece.text == "*" else match_ids(piece, known, kind)
        if ids is None:
            raise piece.error(f"is no {kind} number; write '1', '1~3', '>5' or '>2&<5', with commas between")
        found.update(int(i) for i in ids)
    return np.isin(values, sorted(found))


def _scan_mask(index: MSIndex, text: str) -> Mask:
    return _id_mask(index.scan, "scan", text, "scan")


def _observation_mask(index: MSIndex, text: str) -> Mask:
    return _id_mask(index.obs, "observation", text, "observation")


def _array_mask(index: MSIndex, text: str) -> Mask:
    return _id_mask(index.array, "array", text, "array")


def _intent_mask(index: MSIndex, text: str) -> Mask:
    return _states_mask(index, "intent", text)


def _state_mask(index: MSIndex, text: str) -> Mask:
    return _states_mask(index, "state", text)


def _states_mask(index: MSIndex, parameter: str, text: str) -> Mask:
    whole = Piece.of(parameter, text)
    modes = index.state_modes
    if not modes:
        raise whole.error("this MeasurementSet has no scan intents (its STATE subtable is empty)")
    found: set[int] = set()
    for piece in whole.split(","):
        ids = None if piece.quoted else match_ids(piece, np.arange(len(modes)), "state")
        found.update(int(i) for i in (_states_of(index, piece) if ids is None else ids))
    return np.isin(index.state, sorted(found))


def _states_of(index: MSIndex, piece: Piece) -> list[int]:
    """States with an intent, or a whole OBS_MODE, of that name; 'A & B' wants both."""
    states = set(range(len(index.state_modes)))
    for part in piece.split("&"):
        modes = match_names(part, index.state_modes)
        words = [(state, word) for state in range(len(index.state_modes)) for word in index.intents(state)]
        named = {words[k][0] for k in match_names(part, [word for _, word in words])} | set(modes)
        if not named:
            hint = "; '!' does not exist here" if part.text.startswith("!") else ""
            raise part.error(f"no state has this intent{hint}", [word for _, word in words])
        states &= named
    if not states:
        raise piece.error("no state has all of these intents")
    return sorted(states)


def _correlations(index: MSIndex, text: str) -> dict[int, Ids]:
    """POLARIZATION row -> positions of the named correlations (any of them; rows without any are left out)."""
    pols = index.polarizations
    if not text.strip():
        return {i: np.arange(len(pol.corr_type)) for i, pol in enumerate(pols)}
    known = [name for pol in pols for name in pol.names]
    wanted = set()
    for piece in Piece.of("correlation", text).split(","):
        if piece.bare.upper() not in known:
            raise piece.error("there is no such correlation", known)
        wanted.add(piece.bare.upper())
    found = {i: np.flatnonzero([name in wanted for name in pol.names]) for i, pol in enumerate(pols)}
    return {i: positions for i, positions in found.items() if len(positions)}


def _ddid_mask(index: MSIndex, channels: dict[int, Ids], positions: dict[int, Ids]) -> Mask:
    wanted = np.isin(index.ddid_spw, list(channels)) & np.isin(index.ddid_pol, list(positions))
    mask: Mask = wanted[index.ddid]
    return mask


# ---- projected baseline length ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _UvRange:
    """low <= length <= high (`open`: low < length), in metres or in wavelengths."""

    low: float
    high: float
    open: bool
    waves: bool


def _uv_ranges(text: str) -> list[_UvRange]:
    return [_uv_range(piece) for piece in Piece.of("uvrange", text).split(",")]


def _uv_range(piece: Piece) -> _UvRange:
    match = _UV.fullmatch(piece.text)
    if not match:
        raise piece.error("is no range of baseline lengths; write '>100m', '0~5km', '10~20klambda'")
    unit = match[4].lower()
    if unit not in _UV_UNITS and unit not in _UV_WAVES:
        raise piece.error(f"unknown unit {match[4]!r}", ["m", "km", "lambda", "klambda", "Mlambda"])
    waves = unit in _UV_WAVES
    scale = _UV_WAVES[unit] if waves else _UV_UNITS[unit]
    try:
        first = float(match[2]) * scale
        last = first if match[3] is None else float(match[3]) * scale
    except ValueError:
        raise piece.error("is no number") from None
    if first > last:
        raise piece.error("the range starts above its end")
    if match[1]:
        return _UvRange(first, np.inf, True, waves) if match[1] == ">" else _UvRange(0.0, last, False, waves)
    part = float(match[5] or 0) / 100
    return _UvRange(first * (1 - part), last * (1 + part), False, waves)


def _uv_mask(index: MSIndex, text: str) -> Mask:
    """Length of (u, v) in metres, or in wavelengths of the spectral window's reference frequency (as CASA)."""
    ranges = _uv_ranges(text)
    per_metre = np.array([spw.ref_frequency for spw in index.spws])[index.ddid_spw] / SPEED_OF_LIGHT
    mask = np.zeros(index.nrow, bool)
    tab = open_table(index.path)
    try:
        for start in range(0, index.nrow, UVW_ROWS):
            uvw = np.asarray(tab.getcol("UVW", start, UVW_ROWS))
            metres = np.hypot(uvw[:, 0], uvw[:, 1])
            stop = start + len(uvw)
            for wanted in ranges:
                length = metres * per_metre[index.ddid[start:stop]] if wanted.waves else metres
                above = length > wanted.low if wanted.open else length >= wanted.low
                mask[start:stop] |= above & (length <= wanted.high)
    finally:
        tab.close()
    return mask


# ---- together -----------------------------------------------------------------------------------------------


def _common_rows(index: MSIndex, masks: dict[str, Mask]) -> Ids:
    if not masks:
        return np.arange(index.nrow)
    common = np.logical_and.reduce(list(masks.values()))
    rows = np.flatnonzero(common)
    if len(rows):
        return rows
    counts = ", ".join(f"{name} selects {int(mask.sum())}" for name, mask in masks.items())
    together = " and no row is in all of them" if len(masks) > 1 else ""
    raise SelectionError(f"nothing is selected of the {index.nrow} rows of {index.path}: {counts}{together}")


def _ranges(numbers: Ids) -> str:
    """Channel numbers in CASA's notation: '0~61;70', with a step where one fits."""
    if len(numbers) > 2:
        steps = np.unique(np.diff(numbers))
        if len(steps) == 1 and steps[0] > 1:
            return f"{numbers[0]}~{numbers[-1]}^{steps[0]}"
    cuts = np.flatnonzero(np.diff(numbers) > 1)
    starts, ends = numbers[np.append(0, cuts + 1)], numbers[np.append(cuts, len(numbers) - 1)]
    return ";".join(f"{a}~{b}" if b > a else f"{a}" for a, b in zip(starts, ends, strict=True))
