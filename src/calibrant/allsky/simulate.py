"""Snapshots of an all-sky array with everything known: gains, sources, noise, orientation, dead antennas.

The file has the form of a real one, catalogue included (with the sun where it stands at that time, and satellites
that do not transmit); the truth stands beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky.snapshots import L1_HZ, LIGHT, Source
from calibrant.allsky.steering import steering, turned
from calibrant.allsky.sun import sun_az_el
from calibrant.errors import ParameterError

Real = NDArray[np.float64]
START = 1557448767.0
"""2019-05-10T00:39:27Z"""
SPACING_M = 0.1
SATELLITE_M = 2.2e7
CATALOGUE_JY = 1.5e6
"""What catalogues say of every satellite, whatever it sends."""


@dataclass(frozen=True)
class Truth:
    """What is simulated. Gains are corrections: gain = 1/|gamma|, phase in radians, antenna 0 the reference."""

    positions: Real
    """(antenna, 3) as they are; the file has them mirrored and turned where that is asked for."""
    gain: Real
    phase: Real
    sources: tuple[tuple[Source, ...], ...]
    """Per snapshot."""
    fluxes: tuple[Real, ...]
    noise: float
    times: Real
    dead: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    rotation_deg: float = 0.0
    mirror: bool = False
    longitude_deg: float = 170.5456
    latitude_deg: float = -45.85177
    height_m: float = 270.0
    seed: int = 1
    stored: tuple[Real, Real] | None = field(default=None)
    """Gains and phases that the telescope has stored; None: ones and zeros."""


def make_truth(
    *,
    antennas: int = 24,
    size_m: float = 2.6,
    snapshots: int = 1,
    satellites: int = 30,
    silent: float = 0.35,
    given: tuple[Source, ...] = (),
    given_flux: float = 0.25,
    noise: float = 0.003,
    dead: tuple[int, ...] = (),
    missing: tuple[int, ...] = (),
    rotation_deg: float = 0.0,
    mirror: bool = False,
    interval_s: float = 900.0,
    seed: int = 1,
) -> Truth:
    """A random array, gains and sky; fluxes of satellites sum to 0.3. ParameterError for what cannot be."""
    if antennas < 4:
        raise ParameterError(f"antennas={antennas}: an array needs 4 at least")
    wrong = [number for number in (*dead, *missing) if not 0 <= number < antennas]
    if wrong:
        raise ParameterError(f"there is no antenna {wrong[0]}; they are 0 to {antennas - 1}")
    if satellites == 0 and not given:
        raise ParameterError("a sky without satellites needs a source: give --source az=0,el=45,r=25")
    rng = np.random.default_rng(seed)
    gain, phase = rng.uniform(0.75, 1.15, antennas), rng.uniform(-math.pi, math.pi, antennas)
    gain[0], phase[0] = 1.0, 0.0
    gain[list(dead)] = math.inf
    az, el = (
        rng.uniform(0, 360, satellites),
        np.degrees(np.arcsin(rng.uniform(math.sin(math.radians(12)), 1, satellites))),
    )
    drift = rng.uniform(-6, 6, (2, satellites))
    flux = rng.lognormal(0, 0.8, satellites) * (rng.uniform(size=satellites) >= silent)
    flux *= 0.3 / max(flux.sum(), 1e-12)
    skies, fluxes = [], []
    for k in range(snapshots):
        places = zip((az + drift[0] * k) % 360, np.clip(el + drift[1] * k, 12, 89), strict=True)
        sky = [Source(f"SAT {n:02d}", float(a), float(e), math.inf) for n, (a, e) in enumerate(places)]
        skies.append((*given, *sky))
        fluxes.append(np.concatenate([np.full(len(given), given_flux), flux]).astype(np.float64))
    return Truth(
        _positions(rng, antennas, size_m), gain, phase, tuple(skies), tuple(fluxes), noise,
        START + interval_s * np.arange(snapshots, dtype=np.float64), dead, missing, rotation_deg, mirror, seed=seed,
    )  # fmt: skip


def _positions(rng: np.random.Generator, antennas: int, size_m: float) -> Real:
    """Random places on a disc, no two nearer than SPACING_M where there is room."""
    chosen = np.empty((0, 2))
    for _ in range(200 * antennas):
        place = rng.uniform(-size_m / 2, size_m / 2, 2)
        if np.hypot(*place) <= size_m / 2 and (np.hypot(*(chosen - place).T) >= SPACING_M).all():
            chosen = np.vstack([chosen, place])
        if len(chosen) == antennas:
            return np.column_stack([chosen, np.zeros(antennas)])
    raise ParameterError(f"{antennas} antennas do not fit on a disc of {size_m:g} m, {SPACING_M:g} m apart")


def visibilities(truth: Truth) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.complex128]]]:
    """Per snapshot: antennas i < j and V_ij with noise; baselines of missing antennas left out."""
    rng = np.random.default_rng(truth.seed + 1)
    gamma = np.exp(1j * truth.phase) / truth.gain
    i, j = np.triu_indices(len(truth.gain), 1)
    keep = ~(np.isin(i, truth.missing) | np.isin(j, truth.missing))
    i, j = i[keep], j[keep]
    result = []
    for sources, fluxes in zip(truth.sources, truth.fluxes, strict=True):
        u = steering(sources, truth.positions, LIGHT / L1_HZ)
        model = np.einsum("s,sb->b", fluxes, u[:, i] * u[:, j].conj())
        noise = truth.noise * (rng.standard_normal(len(i)) + 1j * rng.standard_normal(len(i)))
        result.append((i, j, gamma[i] * gamma[j].conj() * model + noise))
    return result


def file_positions(truth: Truth) -> Real:
    """Positions as the file says them: those that `turned(..., rotation, mirror)` puts right."""
    return turned(turned(truth.positions, -truth.rotation_deg), 0.0, truth.mirror)


def to_json(truth: Truth, name: str = "Simulated array") -> dict[str, Any]:
    """The calibration file."""
    n = len(truth.gain)
    gain, phase = truth.stored or (np.ones(n), np.zeros(n))
    data = []
    for time, sources, (i, j, v) in zip(truth.times, truth.sources, visibilities(truth), strict=True):
        rows = [
            {"i": int(a), "j": int(b), "re": float(value.real), "im": float(value.imag)}
            for a, b, value in zip(i, j, v, strict=True)
        ]
        stamp = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        data.append([{"data": rows, "timestamp": stamp}, _catalogue(truth, float(time), sources)])
    info = {
        "name": name,
        "operating_frequency": L1_HZ,
        "L0_frequency": 1.571328e9,
        "baseband_frequency": 4.092e6,
        "sampling_frequency": 1.6368e7,
        "bandwidth": 2.5e6,
        "num_antenna": n,
        "location": {"lon": truth.longitude_deg, "lat": truth.latitude_deg, "alt": truth.height_m},
    }
    return {
        "info": {"info": info},
        "ant_pos": file_positions(truth).tolist(),
        "gains": {"gain": gain.tolist(), "phase_offset": phase.tolist()},
        "data": data,
    }


def _catalogue(truth: Truth, time: float, sources: tuple[Source, ...]) -> list[dict[str, Any]]:
    """Satellites, and the sun where it is up; a source put up for the calibration is in no catalogue."""
    known = [
        {"name": one.name, "az": one.az_deg, "el": one.el_deg, "r": SATELLITE_M, "jy": CATALOGUE_JY}
        for one in sources
        if not one.given
    ]
    az, el = sun_az_el(time, truth.longitude_deg, truth.latitude_deg)
    return known + ([{"name": "sun", "az": az, "el": el, "r": 1e10, "jy": 1e4}] if el > 0 else [])


def truth_json(truth: Truth) -> dict[str, Any]:
    """The truth, as JSON; gain 0 for dead and missing antennas."""
    gone = [*truth.dead, *truth.missing]
    gain, phase = truth.gain.copy(), truth.phase.copy()
    gain[gone] = phase[gone] = 0.0
    return {
        "gain": gain.tolist(),
        "phase_offset": phase.tolist(),
        "sigma": truth.noise,
        "seed": truth.seed,
        "rotation_deg": truth.rotation_deg,
        "mirror": truth.mirror,
        "dead": list(truth.dead),
        "missing": list(truth.missing),
        "positions": truth.positions.tolist(),
        "sources": [
            [
                {"name": one.name, "az": one.az_deg, "el": one.el_deg, "r": min(one.r_m, 1e10), "flux": float(flux)}
                for one, flux in zip(sources, fluxes, strict=True)
            ]
            for sources, fluxes in zip(truth.sources, truth.fluxes, strict=True)
        ],
    }
