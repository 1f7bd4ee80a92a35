"""What a simulated instrument does to the signal: gains drawn at random, and its faults.

Sizes: delays of 0.3 ns, bandpasses smooth within 10 % and 10 degrees with edges that roll off, phases that drift by
tens of degrees within an hour with a little turbulence on top, amplitudes stable to 3 %, SEFD 2000 Jy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

NPOL = 2
SEFD = 2000.0
"""Jy: data are correlation coefficients, so that |gain|^2 is 1 / SEFD."""
DRIFT_PERIOD, AMPLITUDE_PERIOD = 3000.0, 5000.0
TURBULENCE, TURBULENCE_TIME = 0.1, 90.0
"""Turbulent part of the phase as a fraction of the drift, and its correlation time (s)."""
FAULTS = ("dead", "jumpy", "deaf")


@dataclass
class Instrument:
    """Gains with the axes of `Truth`, and the faults in them."""

    delay: NDArray[np.float64]
    bandpass: list[NDArray[np.complex128]]
    phase: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    quacked: NDArray[np.bool_]
    bad_antennas: list[dict[str, Any]] = field(default_factory=list)


def draw_instrument(
    rng: Generator, nant: int, freqs: list[NDArray[np.float64]], time: NDArray[np.float64], phase_rms: float
) -> Instrument:
    """Gains without faults. phase_rms: drift of the phase (rad) at the first window, per antenna."""
    nspw, ntime = len(freqs), len(time)
    common = rng.normal(0, 0.3e-9, (nant, NPOL))
    common[:, 1] = common[:, 0] + rng.normal(0, 0.1e-9, nant)
    delay = common + rng.normal(0, 0.03e-9, (nspw, nant, NPOL))
    bandpass = [_bandpass(rng, nant, len(freq)) for freq in freqs]
    return Instrument(
        delay,
        bandpass,
        _phases(rng, nant, freqs, time, phase_rms),
        _amplitudes(rng, nspw, nant, time),
        np.zeros(ntime, bool),
    )


def _bandpass(rng: Generator, nant: int, nchan: int) -> NDArray[np.complex128]:
    place = (np.arange(nchan) + 0.5) / nchan
    edge = 1 - 0.7 * np.exp(-np.minimum(place, 1 - place) / 0.015)
    amplitude = 1 + _smooth(rng, (nant, NPOL), place, 0.06)
    return edge * amplitude * np.exp(1j * _smooth(rng, (nant, NPOL), place, np.radians(8)))


def _smooth(rng: Generator, shape: tuple[int, int], place: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    """Sums of four slow waves (*shape, nchan) over the band, each weaker than the one before."""
    order = np.arange(1, 5)
    height = rng.normal(0, size, (*shape, 4)) / order
    start = rng.uniform(0, 2 * np.pi, (*shape, 4))
    return (height[..., None] * np.cos(np.pi * order[:, None] * place + start[..., None])).sum(-2)


def _phases(
    rng: Generator, nant: int, freqs: list[NDArray[np.float64]], time: NDArray[np.float64], rms: float
) -> NDArray[np.float64]:
    """Constant offsets per window and polarization plus one path per antenna, which acts in proportion to frequency."""
    passed = time - time[0]
    start = rng.uniform(0, 2 * np.pi, (nant, 1))
    path = rms * np.sqrt(2) * np.sin(2 * np.pi * passed / DRIFT_PERIOD + start)
    path += TURBULENCE * rms * _wander(rng, nant, time)
    offset = rng.uniform(-np.pi, np.pi, (len(freqs), nant, NPOL))
    scale = np.array([freq.mean() for freq in freqs]) / freqs[0].mean()
    return offset[..., None] - scale[:, None, None, None] * path[None, :, None, :]


def _wander(rng: Generator, nant: int, time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ornstein-Uhlenbeck noise of unit variance (nant, ntime)."""
    keep = np.exp(-np.diff(time, prepend=-np.inf) / TURBULENCE_TIME)
    kick = rng.normal(size=(len(time), nant)) * np.sqrt(1 - keep**2)[:, None]
    state, result = np.zeros(nant), np.empty((len(time), nant))
    for number in range(len(time)):
        state = keep[number] * state + kick[number]
        result[number] = state
    return result.T


def _amplitudes(rng: Generator, nspw: int, nant: int, time: NDArray[np.float64]) -> NDArray[np.float64]:
    level = (1 + rng.normal(0, 0.06, (nant, NPOL))) * (1 + rng.normal(0, 0.02, (nspw, nant, NPOL)))
    start = rng.uniform(0, 2 * np.pi, (nant, NPOL, 1))
    drift = 1 + 0.03 * np.sin(2 * np.pi * (time - time[0]) / AMPLITUDE_PERIOD + start)
    return np.asarray(level[..., None] * drift / np.sqrt(SEFD))


def add_bad_antennas(instrument: Instrument, rng: Generator, count: int, names: list[str]) -> None:
    """Spoil `count` antennas: 'dead' (no signal in the second half), 'jumpy' (Y phase), 'deaf' (X at 3 %), in turn."""
    ntime = instrument.phase.shape[-1]
    for number, antenna in enumerate(rng.permutation(len(names))[:count].tolist()):
        kind = FAULTS[number % len(FAULTS)]
        first, pols = (ntime // 2, [0, 1]) if kind == "dead" else (0, [1] if kind == "jumpy" else [0])
        if kind == "jumpy":
            instrument.phase[:, antenna, 1] += rng.uniform(-np.pi, np.pi, ntime)
        else:
            instrument.amplitude[:, antenna, pols, first:] *= 0.0 if kind == "dead" else 0.03
        instrument.bad_antennas.append(
            {"antenna": antenna, "name": names[antenna], "kind": kind, "pols": pols, "first": first, "last": ntime - 1}
        )


def add_quack(instrument: Instrument, rng: Generator, scan: NDArray[np.int32]) -> None:
    """In the first integration of every scan the antennas are not yet on source: weak and incoherent."""
    instrument.quacked[:] = np.diff(scan, prepend=scan[0] - 1) != 0
    shape = (*instrument.phase.shape[:3], int(instrument.quacked.sum()))
    instrument.amplitude[..., instrument.quacked] *= rng.uniform(0.2, 0.6, shape)
    instrument.phase[..., instrument.quacked] += rng.normal(0, 0.6, shape)


def draw_rfi(
    rng: Generator, nant: int, nchans: list[int], scan: NDArray[np.int32], sigma: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rows of `Truth.rfi`: a carrier in a few scans on all baselines, and a burst of three channels at one antenna."""
    strength = 200 * float(sigma[0])
    carrier = int(0.7 * nchans[0])
    events: list[list[float]] = []
    for number in np.unique(scan)[::3].tolist():
        inside = np.flatnonzero(scan == number)
        first, last = inside[len(inside) // 3], inside[2 * len(inside) // 3]
        events.append([0, carrier, first, last, -1, strength])
    burst, antenna = int(0.25 * nchans[-1]), int(rng.integers(nant))
    for number in np.unique(scan)[1::4].tolist():
        first = int(rng.choice(np.flatnonzero(scan == number)))
        for channel in range(burst, min(burst + 3, nchans[-1])):
            events.append([len(nchans) - 1, channel, first, first, antenna, strength])
    return np.array(events, float).reshape(-1, 6)


def draw_zeroed(rng: Generator, nant: int, scan: NDArray[np.int32]) -> NDArray[np.int32]:
    """Rows of `Truth.zeroed`: in every second scan one antenna delivers zeros in one integration."""
    scans = np.unique(scan)[::2].tolist()
    return np.array(
        [[rng.choice(np.flatnonzero(scan == number)), rng.integers(nant)] for number in scans], np.int32
    ).reshape(-1, 2)
