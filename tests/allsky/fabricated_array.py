"""A small array with three snapshots and an exact sky: content for the simulated telescope."""

from __future__ import annotations

import cmath
import json
import math
from pathlib import Path
from typing import Any

PASSWORD = "correct horse"
POSITIONS = [[0.0, 1.2, 0.0], [0.9, 0.3, 0.0], [-1.1, 0.4, 0.0], [0.5, -1.0, 0.0], [-0.4, -0.7, 0.0], [0.1, 0.2, 0.0]]
SOURCES = [
    {"name": "GPS-1", "az": 30.0, "el": 60.0, "r": 2.1e7, "jy": 1.5e6},
    {"name": "GPS-2", "az": 200.0, "el": 40.0, "r": 2.2e7, "jy": 1.5e6},
    {"name": "QZS-1", "az": 310.0, "el": 75.0, "r": 3.3e7, "jy": 1.5e6},
]
TIMES = ["2026-11-21T10:00:00.000Z", "2026-11-21T10:05:00.000Z", "2026-11-21T10:10:00.000Z"]
INFO = {"name": "Test Hill", "operating_frequency": 1.57542e9, "location": {"lon": 170.5, "lat": -45.9, "alt": 270.0}}


def content() -> dict[str, Any]:
    """A calibration file's content; the catalogue of snapshot n is turned by 2n degrees."""
    antennas = len(POSITIONS)
    skies = [[{**one, "az": one["az"] + 2.0 * number} for one in SOURCES] for number in range(len(TIMES))]
    return {
        "info": {"info": {**INFO, "num_antenna": antennas}},
        "ant_pos": POSITIONS,
        "gains": {"gain": [1.0] * antennas, "phase_offset": [0.1 * number for number in range(antennas)]},
        "data": [
            [{"data": _visibilities(sky), "timestamp": stamp}, sky] for stamp, sky in zip(TIMES, skies, strict=True)
        ],
    }


def _visibilities(sky: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for i, here in enumerate(POSITIONS):
        for j in range(i + 1, len(POSITIONS)):
            value = 0.05 * sum(cmath.exp(2j * math.pi * _path(here, POSITIONS[j], one) / 0.1903) for one in sky)
            rows.append({"i": i, "j": j, "re": value.real, "im": value.imag})
    return rows


def _path(here: list[float], there: list[float], source: dict[str, Any]) -> float:
    az, el = math.radians(source["az"]), math.radians(source["el"])
    return (here[0] - there[0]) * math.sin(az) * math.cos(el) + (here[1] - there[1]) * math.cos(az) * math.cos(el)


def gains_file(path: Path, **changes: Any) -> str:
    """A gains file for the array, as `allsky calibrate` writes it, with changes (None: the key is left out)."""
    found: dict[str, Any] = {
        "gain": [1.0, 1.1, 0.9, 1.2, 0.0, 1.05],
        "phase_offset": [0.0, 1.0, -2.0, 3.0, 0.0, 0.5],
        "rot_degrees": 0.0,
        "mirror": False,
        "antenna_positions": POSITIONS,
        "verdict": "good",
        "telescope": "Test Hill",
        **changes,
    }
    path.write_text(json.dumps({name: value for name, value in found.items() if value is not None}))
    return str(path)


def turned(degrees: float) -> list[list[float]]:
    """The array's positions, turned clockwise seen from above."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[e * c + n * s, n * c - e * s, u] for e, n, u in POSITIONS]
