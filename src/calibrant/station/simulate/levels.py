"""The levels that the detectors of a simulated station read, and what the Field System computes from them.

Axes: (scan, level, detector); levels in the order in which ONOFF takes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibrant.station.onoff_errors import FS_OLD_SINGLE_COUNTS, FS_SINGLE_LEVEL, sig_is_old
from calibrant.station.simulate.model import Floats, Options
from calibrant.station.simulate.setup import release
from calibrant.station.simulate.sky import azel
from calibrant.station.simulate.truth import Truth

CHUNK = 128
"""Scans simulated together."""


@dataclass(frozen=True)
class Step:
    """One level: its state, when it ends (s after the start), and the sign of the step off the source (0: on)."""

    state: str
    seconds: float
    side: int
    integration: int
    """Levels of one integration share its gain: the diode's two states under continuous calibration."""


def sequence(options: Options) -> list[Step]:
    """The levels of one run in order: on, off, zero after the first repetition, and on once more at the end."""
    span = 1.01 * options.integration
    clock, number = 0.3, 0
    steps: list[Step] = []

    def take(states: tuple[str, ...], side: int, wait: float) -> None:
        nonlocal clock, number
        clock += wait
        if options.mode == "switched":
            for place, state in enumerate(states):
                clock += span + (3.3 if place else 0.0)
                steps.append(Step(state, clock, side, number))
                number += 1
            return
        clock += span
        kept = states if options.mode == "continuous" else states[:1]
        order = sorted(kept, key=lambda state: state[-1], reverse=True)
        steps.extend(Step(state, clock, side, number) for state in order)
        number += 1

    off = ("OFFC", "OFFS") if options.mode == "switched" else ("OFFS", "OFFC")
    for repetition in range(options.repetitions):
        side = 1 if repetition % 2 == 0 else -1
        take(("ONSO", "ONSC"), 0, 11.5 if repetition else 0.0)
        take(off, side, 11.5)
        if repetition == 0:
            clock += span + 2.3 if options.rack == "vc" else 0.0
            steps.append(Step("ZERO", clock, side, number))
            number += 1
    take(("ONSO", "ONSC"), 0, 11.5)
    return steps


@dataclass(frozen=True)
class Measured:
    """Levels (scan, level, detector), their rms, and the results (scan, detector) with sigmas."""

    steps: list[Step]
    levels: Floats
    rms: Floats
    results: dict[str, Floats]
    sigmas: dict[str, Floats]


def measure(truth: Truth, scans: np.ndarray, rng: np.random.Generator) -> Measured:
    """Simulate ONOFF for some scans (indices). The same truth, scans and generator give the same counts."""
    options = truth.options
    steps = sequence(options)
    power = _power(truth, scans, steps, rng)
    levels, rms = _integrate(truth, scans, steps, power, rng)
    product = truth.assumed_gain[scans][:, None] * truth.assumed_dpfu
    results, sigmas = onoff(
        steps, levels, truth.tcal_assumed_k[scans], truth.apparent_jy[scans], product,
        continuous=options.mode == "continuous", old_sig=sig_is_old(release(truth)),
    )  # fmt: skip
    return Measured(steps, levels, rms, results, sigmas)


def _power(truth: Truth, scans: np.ndarray, steps: list[Step], rng: np.random.Generator) -> Floats:
    """Power at the detectors in K, before the receiver's gain and noise."""
    options = truth.options
    seconds = np.array([step.seconds for step in steps])
    time = truth.time[scans][:, None] + seconds
    if options.moving:
        elevation = _elevations(truth, scans, time)
    else:
        time = truth.time[scans][:, None] + 0.0 * seconds
        elevation = truth.elevation[scans][:, None] + 0.0 * seconds
    on = np.array([step.side == 0 for step in steps])
    diode = np.array([step.state[-1] == "C" for step in steps])
    loss = np.exp(-4.0 * math.log(2.0) * truth.pointing_beams[scans] ** 2)
    source = (loss[:, None] * on)[..., None] * truth.response(time, elevation) * truth.flux_jy()[scans][:, None, :]
    cal = diode[:, None] * _diode(truth, scans)[:, None, :]
    power = truth.tsys(time, elevation) + source + cal
    rows = {int(scan): row for row, scan in enumerate(scans)}
    for spoil in truth.spoils:
        row = rows.get(spoil.scan)
        if row is None:
            continue
        columns = truth.columns(spoil.detectors)
        if spoil.kind == "rfi":
            power[row][:, columns] *= 1.0 + rng.uniform(0.0, rng.uniform(0.1, 0.8), (len(steps), len(columns)))
        elif spoil.kind == "jump":
            power[row, len(steps) // 2 :] *= 1.0 + rng.choice([-1, 1]) * rng.uniform(0.03, 0.1)
        elif spoil.kind == "compression":
            saturation = 30.0 * power[row][:, columns].min(axis=0)
            power[row][:, columns] /= 1.0 + power[row][:, columns] / saturation
    return power


def _diode(truth: Truth, scans: np.ndarray) -> Floats:
    """True Tcal (scan, detector): next to nothing where the diode of a detector fails."""
    tcal = truth.tcal_k[scans].copy()
    rows = {int(scan): row for row, scan in enumerate(scans)}
    for spoil in truth.spoiled("overflow"):
        if spoil.scan in rows:
            tcal[rows[spoil.scan], truth.columns(spoil.detectors)] = 0.0
    return tcal


def _elevations(truth: Truth, scans: np.ndarray, time: Floats) -> Floats:
    site = truth.options.site
    result = np.empty(time.shape)
    names = np.array(truth.sources)[scans]
    for source in set(names.tolist()):
        mine = names == source
        result[mine] = azel(source, time[mine], site.longitude_deg, site.latitude_deg)[1]
    return result


def _integrate(
    truth: Truth, scans: np.ndarray, steps: list[Step], power: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Counts: gain with drift and fluctuation, radiometer noise for each sample, the backend's zero and rounding."""
    options = truth.options
    counts = np.array([det.counts_per_k for det in truth.detectors])
    zero = np.array([det.zero for det in truth.detectors])
    duty = 0.5 if options.mode == "continuous" else 1.0
    noise = options.noise / np.sqrt(1e6 * duty * np.array([det.bandwidth_mhz for det in truth.detectors]))
    gain = truth.receiver_gain(truth.time[scans][:, None] + np.array([step.seconds for step in steps]))
    integrations = np.array([step.integration for step in steps])
    shape = (len(scans), int(integrations.max()) + 1, len(counts))
    gain = gain * (1.0 + options.noise * options.fluctuation * rng.standard_normal(shape))[:, integrations]
    zeros = np.array([step.state == "ZERO" for step in steps])
    signal = counts * gain * power * ~zeros[:, None]
    samples = rng.standard_normal((*power.shape, options.integration))
    values = zero[:, None] + signal[..., None] * (1.0 + noise[:, None] * samples)
    values = values + (options.noise * 0.3 * rng.standard_normal(samples.shape) * (zero > 0)[:, None])
    if options.noise > 0 or options.integration == 1:
        values = np.round(values)
    rms = values.std(axis=-1, ddof=1) if options.integration > 1 else np.zeros(power.shape)
    return values.mean(axis=-1), rms


def onoff(
    steps: list[Step], levels: Floats, tcal_k: Floats, flux_jy: Floats, product: Floats, *, continuous: bool,
    old_sig: bool,
) -> tuple[dict[str, Floats], dict[str, Floats]]:  # fmt: skip
    """Compression, Tsys, SEFD, Tcal(Jy), Tcal(K) and ratio with the Field System's sigmas, (scan, detector).

    Source: ONOFF as the Field System computes it: all levels of a state averaged with equal weight, sigmas from
    their scatter, in the form (see `station.onoff`) of the release that the log names. Without a diode (Tcal <= 0)
    only SEFD has a value, and Tsys repeats Tcal.
    """
    mean, sigma = {}, {}
    for state in ("ONSO", "ONSC", "OFFC", "OFFS", "ZERO"):
        rows = levels[:, [k for k, step in enumerate(steps) if step.state == state]]
        if rows.shape[1] == 0:
            rows = np.full((levels.shape[0], 1, levels.shape[2]), np.nan)
        mean[state] = rows.mean(axis=1)
        count = rows.shape[1]
        if count > 1:
            sigma[state] = rows.std(axis=1, ddof=1) / (math.sqrt(count - 1) if old_sig else 1.0)
        else:
            sigma[state] = 0.0 * rows[:, 0] + FS_OLD_SINGLE_COUNTS if old_sig else FS_SINGLE_LEVEL * np.abs(mean[state])
    s, on_cal, off_cal, f, z = (mean[state] for state in ("ONSO", "ONSC", "OFFC", "OFFS", "ZERO"))
    es, eon, eoff, ef, ez = (sigma[state] for state in ("ONSO", "ONSC", "OFFC", "OFFS", "ZERO"))
    has_diode = tcal_k > 0
    v = np.where(has_diode & continuous, (f + off_cal) / 2, f)
    with np.errstate(divide="ignore", invalid="ignore"):
        results = {
            "compression": (on_cal - s) / (off_cal - f),
            "tsys": (v - z) * tcal_k / (off_cal - f),
            "sefd": (v - z) * flux_jy / (s - f),
            "tcal_jy": (off_cal - f) * flux_jy / (s - f),
        }
        d, n = off_cal - f, on_cal - s
        sigmas = {"compression": _hypot(eon / d, es / d, eoff * n / d**2, ef * n / d**2)}
        n = (v - z) * tcal_k
        sigmas["tsys"] = _hypot(ef * (tcal_k / d + n / d**2), ez * tcal_k / d, eoff * n / d**2)
        d, n = s - f, (v - z) * flux_jy
        sigmas["sefd"] = _hypot(ef * (flux_jy / d + n / d**2), ez * flux_jy / d, es * n / d**2)
        n = (off_cal - f) * flux_jy
        sigmas["tcal_jy"] = _hypot(eoff * flux_jy / d, ef * (flux_jy / d - n / d**2), es * n / d**2)
        for name, values in (("results", results), ("sigmas", sigmas)):
            values["tcal_k"] = product * values["tcal_jy"]
            values["ratio"] = values["tcal_k"] / tcal_k
            for quantity in ("compression", "tcal_jy", "tcal_k", "ratio"):
                values[quantity] = np.where(has_diode, values[quantity], 0.0)
            values["tsys"] = np.where(has_diode, values["tsys"], tcal_k if name == "results" else 0.0)
    return results, sigmas


def _hypot(*parts: Floats) -> Floats:
    return np.sqrt(sum((part**2 for part in parts), np.zeros(())))
