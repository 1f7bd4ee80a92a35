"""Gains as a file that telescopes' upload tools read: `gain`, `phase_offset`, `rot_degrees`, one value an antenna.

An antenna without a solution has gain 0 (by convention: dead or off), never null. The positions that the gains
belong to are in `antenna_positions`, as in the files of other calibration programs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky.calibration import Calibration
from calibrant.allsky.files import load_json
from calibrant.allsky.verdict import Verdict
from calibrant.errors import FormatError


@dataclass(frozen=True)
class Gains:
    """Corrections to upload; `positions` (antenna, 3) belong to them where the orientation was changed."""

    gain: NDArray[np.float64]
    phase: NDArray[np.float64]
    rotation_deg: float = 0.0
    mirror: bool = False
    positions: NDArray[np.float64] | None = None
    verdict: str = ""
    path: str = ""
    telescope: str = ""
    """Whose they are; empty where the file does not say."""


def gains_json(result: Calibration, verdict: Verdict) -> dict[str, Any]:
    """The content of a gains file."""
    return {
        "gain": [float(value) for value in result.gain],
        "phase_offset": [float(value) for value in result.phase],
        "rot_degrees": result.rotation_deg,
        "mirror": result.mirror,
        "antenna_positions": result.positions.tolist(),
        "message": f"{verdict.verdict}: {verdict.reasons[0] if verdict.reasons else ''}",
        "verdict": verdict.verdict,
        "gain_error": [_number(antenna.gain_err) for antenna in result.antennas],
        "phase_error": [_number(antenna.phase_err) for antenna in result.antennas],
        "state": [antenna.state for antenna in result.antennas],
        "reference": result.reference,
        "telescope": result.data.name,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def read_gains(path: str) -> Gains:
    """Read a gains file, ours or another program's; FormatError says what is wrong with it."""
    content = load_json(path, "gain and phase_offset")
    if not isinstance(content, dict) or not {"gain", "phase_offset"} <= content.keys():
        raise FormatError(f"{path}: has no gain and phase_offset; expected the file of `calibrant allsky calibrate`")
    gain, phase = _column(content, "gain", path), _column(content, "phase_offset", path)
    if len(gain) != len(phase):
        raise FormatError(f"{path}: {len(gain)} gains but {len(phase)} phases; expected one of each an antenna")
    places = content.get("antenna_positions")
    return Gains(
        gain,
        phase,
        float(content.get("rot_degrees") or 0.0),
        bool(content.get("mirror", False)),
        np.array(places, dtype=np.float64) if places else None,
        str(content.get("verdict", "")),
        path,
        str(content.get("telescope") or ""),
    )


def _column(content: dict[str, Any], name: str, path: str) -> NDArray[np.float64]:
    values = content[name]
    for number, value in enumerate(values if isinstance(values, list) else [None]):
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise FormatError(f"{path}: {name}[{number}] is {value!r}, expected a number (0 for a dead antenna)")
    return np.array(values, dtype=np.float64)
