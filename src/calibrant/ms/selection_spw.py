"""Selection of spectral windows and channels: '0', '0~2', '*BB_1*', '<2', '97~98GHz', '0:5~61;70~80', '*:98~99GHz'.

Rules of CASA (casacore note 263), where they are not defects:
  spw 'F0~F1 unit'  the spws whose centre lies in the range; 'F unit': whose centre is within a channel of F;
                    '<F', '>F': by reference frequency.
  channels          'a~b^step' ends included; frequencies: channels whose centre lies in the range (a range between two
                    centres gives both); steps in Hz are rounded down to channels. Width may be negative.
Where several spws are named at once, those without any of the channels are left out (with a note); CASA takes their
last channel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex, SpectralWindow
from calibrant.ms.selection_text import Ids, Piece, match_ids_or_names

HERTZ = {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "thz": 1e12}
_NUMBER = r"([0-9]+\.?[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+)"
_UNIT = r"\s*([kKmMgGtT]?[hH][zZ])?"
_FREQUENCY = re.compile(rf"([<>]?)\s*{_NUMBER}{_UNIT}(?:\s*~\s*{_NUMBER}{_UNIT})?")
_CHANNELS = re.compile(rf"(?:{_NUMBER}{_UNIT}(?:\s*~\s*{_NUMBER}{_UNIT})?)?(?:\s*\^\s*{_NUMBER}{_UNIT})?")


@dataclass(frozen=True)
class Chosen:
    """channels: spw id -> ascending channel numbers; notes: what was asked for and does not exist, in words."""

    channels: dict[int, Ids]
    notes: tuple[str, ...]


def choose_channels(index: MSIndex, text: str) -> Chosen:
    """Spectral windows and channels that `text` names; all of them for ''. SelectionError where nothing fits."""
    if not text.strip():
        return Chosen({spw.id: np.arange(spw.nchan) for spw in index.spws}, ())
    masks: dict[int, NDArray[np.bool_]] = {}
    notes: list[str] = []
    for item in Piece.of("spw", text).split(","):
        name, ranges = item.partition(":")
        if not name.text:
            raise item.error("no spectral window stands before ':'; '*' means all")
        spws = [index.spws[i] for i in _spw_ids(index, name)]
        for spw, mask in _item_masks(spws, ranges, item, notes):
            masks[spw.id] = masks.get(spw.id, np.zeros(spw.nchan, bool)) | mask
    return Chosen({spw: np.flatnonzero(masks[spw]) for spw in sorted(masks)}, tuple(notes))


def _item_masks(
    spws: list[SpectralWindow], ranges: Piece | None, item: Piece, notes: list[str]
) -> list[tuple[SpectralWindow, NDArray[np.bool_]]]:
    if ranges is None:
        return [(spw, np.ones(spw.nchan, bool)) for spw in spws]
    if not ranges.text:
        raise item.error("no channels stand after ':'")
    pieces = ranges.split(";")
    result = []
    for spw in spws:
        mask = np.zeros(spw.nchan, bool)
        for piece in pieces:
            mask |= _channel_mask(spw, piece, notes)
        if mask.any():
            result.append((spw, mask))
    if not result:
        raise item.error("no such channels", [_extent(spw) for spw in spws])
    left = [str(spw.id) for spw in spws if all(spw is not kept for kept, _ in result)]
    if left:
        notes.append(f"spw {', '.join(left)} has none of the channels {ranges.text!r}")
    return result


def _extent(spw: SpectralWindow) -> str:
    low, high = spw.freq.min() / 1e9, spw.freq.max() / 1e9
    return f"spw {spw.id} with channels 0~{spw.nchan - 1}, {low:.6g}~{high:.6g} GHz"


def _spw_ids(index: MSIndex, piece: Piece) -> list[int]:
    if (match := _FREQUENCY.fullmatch(piece.text)) and (match[3] or match[5]):
        return _by_frequency(index.spws, piece, match)
    return match_ids_or_names(piece, [spw.name for spw in index.spws], "spectral window")


def _by_frequency(spws: list[SpectralWindow], piece: Piece, match: re.Match[str]) -> list[int]:
    low, high = _hertz(match, 2, 5), _hertz(match, 4, 5)
    centre = np.array([(spw.freq[0] + spw.freq[-1]) / 2 for spw in spws])
    if match[1]:
        if high is not None:
            raise piece.error(f"{match[1]!r} takes one frequency, not a range")
        reference = np.array([spw.ref_frequency for spw in spws])
        chosen = reference < low if match[1] == "<" else reference > low
    elif high is None:
        chosen = np.abs(centre - low) < np.array([np.abs(spw.width).max() for spw in spws])
    else:
        chosen = (centre >= low) & (centre <= high)
    if not chosen.any():
        raise piece.error("no spectral window has its centre there", [f"{f / 1e9:.6f}GHz" for f in centre])
    return [int(i) for i in np.flatnonzero(chosen)]


def _hertz(match: re.Match[str], number: int, last_unit: int) -> float | None:
    """Group `number` in Hz; a first number without unit has that of the last."""
    if match[number] is None:
        return None
    unit = match[number + 1] or match[last_unit] or "Hz"
    return float(match[number]) * HERTZ[unit.lower()]


def _channel_mask(spw: SpectralWindow, piece: Piece, notes: list[str]) -> NDArray[np.bool_]:
    match = _CHANNELS.fullmatch(piece.text)
    if not match:
        raise piece.error("is no channel range; write '5', '5~61', '5~61^2', or '1.41~1.42GHz'")
    mask = np.zeros(spw.nchan, bool)
    if match[2] or match[4]:
        first, last = _frequency_bounds(spw, piece, match)
    else:
        first, last = _channel_bounds(spw, piece, match, notes)
    mask[first : last + 1 : _step(spw, piece, match)] = True
    return mask


def _channel_bounds(spw: SpectralWindow, piece: Piece, match: re.Match[str], notes: list[str]) -> tuple[int, int]:
    if match[1] is None:
        return 0, spw.nchan - 1
    for group in (1, 3):
        if match[group] and not match[group].isdigit():
            raise piece.error(f"{match[group]} is no channel number; a frequency needs a unit (Hz, kHz, MHz, GHz)")
    first = int(match[1])
    last = int(match[3]) if match[3] else first
    if first > last:
        raise piece.error(f"the range starts at channel {first}, above its end {last}")
    if first < spw.nchan <= last:
        notes.append(f"spw {spw.id} ends with channel {spw.nchan - 1}; {piece.text!r} goes to {last}")
    return first, min(last, spw.nchan - 1)


def _frequency_bounds(spw: SpectralWindow, piece: Piece, match: re.Match[str]) -> tuple[int, int]:
    """First and last channel for a frequency range; (0, -1) where the range does not touch the spw."""
    low = _hertz(match, 1, 4) or 0.0
    high = _hertz(match, 3, 4)
    high = low if high is None else high
    if low > high:
        raise piece.error("the range starts above its end")
    above, below = np.flatnonzero(spw.freq >= low), np.flatnonzero(spw.freq <= high)
    if not len(above) or not len(below):
        return 0, -1
    ascending = spw.freq[-1] >= spw.freq[0]
    ends = (int(above[0]), int(below[-1])) if ascending else (int(above[-1]), int(below[0]))
    return min(ends), max(ends)


def _step(spw: SpectralWindow, piece: Piece, match: re.Match[str]) -> int:
    if match[5] is None:
        return 1
    if match[6]:
        return max(1, int(float(match[5]) * HERTZ[match[6].lower()] / np.abs(spw.width).max()))
    if not match[5].isdigit() or int(match[5]) < 1:
        raise piece.error(f"the step {match[5]} is no number of channels; a step in frequency needs a unit")
    return int(match[5])
