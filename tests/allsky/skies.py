"""Skies that are there and skies that are not: simulated data with their truth, and wrong catalogues for real data."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky import sky
from calibrant.allsky.simulate import Truth, make_truth, to_json
from calibrant.allsky.snapshots import CalibrationData, Source, from_json, read_calibration_data
from calibrant.allsky.steering import directions

FAR = Source("beacon", 0.0, 45.0, math.inf, given=True)
NEAR = Source("beacon", 0.0, 45.0, 25.0, given=True)
DEGREES_A_MINUTE = 0.45
"""A navigation satellite's motion."""
DUNEDIN, RHODES = "signal_hill_2019-08-04", "rhodes_2022-07-23_calibration_data"
Sky = tuple[Source, ...]


def simulated(**options: Any) -> tuple[Truth, CalibrationData]:
    """A truth, and the data of its file."""
    truth = make_truth(**options)
    return truth, from_json(to_json(truth), "calib.json")


def content(**options: Any) -> dict[str, Any]:
    """A calibration file's content, to be spoiled."""
    made: dict[str, Any] = json.loads(json.dumps(to_json(make_truth(**options))))
    return made


def real(shared: Path, name: str) -> CalibrationData:
    return read_calibration_data(str(shared / "data/tart/json" / f"{name}.json"))


def recorded(shared: Path, name: str) -> tuple[CalibrationData, NDArray[np.complex128]]:
    """A shared simulation and its true gamma."""
    folder = shared / "data/tart"
    truth = json.loads((folder / f"{name}.truth.json").read_text())
    gamma = np.exp(1j * np.array(truth["phase_offset"])) / np.array(truth["gain"])
    return read_calibration_data(str(folder / f"{name}.json")), gamma


def rms_errors(gamma: NDArray[np.complex128], truth: NDArray[np.complex128]) -> tuple[float, float]:
    """(phase rms in degrees, gain rms in percent), free of the common phase and the common gain."""
    ratio = gamma / truth
    ratio = ratio / ratio.mean()
    size = np.abs(ratio) / np.abs(ratio).mean()
    return float(np.degrees(np.sqrt(np.mean(np.angle(ratio) ** 2)))), float(100 * np.sqrt(np.mean((size - 1) ** 2)))


def under(data: CalibrationData, skies: Sequence[Sequence[Source]]) -> CalibrationData:
    """The data with other catalogues."""
    snapshots = zip(data.snapshots, skies, strict=True)
    return replace(data, snapshots=tuple(replace(one, sources=tuple(other)) for one, other in snapshots))


def shuffled(data: CalibrationData, seed: int) -> CalibrationData:
    return under(data, sky.shuffled([one.sources for one in data.snapshots], seed))


def later(data: CalibrationData, minutes: float, seed: int) -> CalibrationData:
    """Every satellite where it may be so many minutes later: moved on a great circle, each its own way."""
    rng, way = np.random.default_rng(seed), {}
    skies = []
    for snapshot in data.snapshots:
        for source in snapshot.sources:
            way.setdefault(source.name, rng.uniform(0, 2 * math.pi))
        skies.append([_moved(source, DEGREES_A_MINUTE * minutes, way[source.name]) for source in snapshot.sources])
    return under(data, skies)


def _moved(source: Source, degrees: float, way: float) -> Source:
    here = directions(source.az_deg, source.el_deg)
    up = directions(source.az_deg, source.el_deg + 90.0)
    aside = np.cross(here, up)
    angle = math.radians(degrees)
    there = here * math.cos(angle) + (up * math.cos(way) + aside * math.sin(way)) * math.sin(angle)
    az, el = math.degrees(math.atan2(there[0], there[1])) % 360, math.degrees(math.asin(there[2]))
    return replace(source, az_deg=az, el_deg=max(el, 10.5))


def other_hemisphere(data: CalibrationData) -> CalibrationData:
    """North and south exchanged, as by a latitude without its sign."""
    return under(
        data,
        [[replace(one, az_deg=(180 - one.az_deg) % 360) for one in snapshot.sources] for snapshot in data.snapshots],
    )
