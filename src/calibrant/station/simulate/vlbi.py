"""VLBI scans between the ONOFFs: scan_name, source, and the Tsys records that antab is made from."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from calibrant.station.simulate.model import TARGETS, Floats
from calibrant.station.simulate.sky import azel
from calibrant.station.simulate.truth import Truth

Line = tuple[float, str]
SHORTEST = 150.0
"""Seconds that a scan needs."""
EVERY = 30.0
"""Seconds between tpcont records."""
PER_LINE = 6


def scan(
    truth: Truth, tuned_like: int, begin: float, end: float, number: int, rng: np.random.Generator
) -> tuple[list[Line], dict[str, Any]]:
    """One VLBI scan from `begin` to `end`, tuned like an ONOFF; its lines and what is true in it.

    Truth: scan_name, source, times and elevations of the Tsys records and the true Tsys (record, detector).
    """
    site = truth.options.site
    names = list(TARGETS)
    heights = [float(azel(name, begin, site.longitude_deg, site.latitude_deg)[1]) for name in names]
    able = [name for name, height in zip(names, heights, strict=True) if height > 12.0]
    source = able[number % len(able)]
    label, experiment = f"no{number:04d}", truth.options.name[:-2]
    seconds = int(end - begin - 40.0)
    lines: list[Line] = [
        (begin, f":scan_name={label},{experiment},{site.code.lower()},{seconds},{seconds}"),
        (begin, f":source={source},{','.join(TARGETS[source])},2000.0,neutral"),
        (begin + 1.0, "#flagr#flagr/antenna,new-source"), (begin + 20.0, "#flagr#flagr/antenna,acquired"),
        (begin + 25.0, ":preob"), (begin + 25.0, "&preob/onsource"), (begin + 25.0, "&preob/caltsys"),
        (begin + 25.0, "/onsource/TRACKING"), (begin + 39.0, ":disk_record=on"), (begin + 39.0, ":data_valid=on"),
        (begin + 39.0, ":midob"), (end, ":data_valid=off"), (end, ":disk_record=off"), (end, ":postob"),
    ]  # fmt: skip
    times = np.array([begin + 30.0, begin + 60.0])
    if truth.options.mode == "continuous":
        times = np.arange(begin + 30.0, end, EVERY)
    elevation = azel(source, times, site.longitude_deg, site.latitude_deg)[1]
    tsys = truth.tsys(times, elevation)
    off, on = _counts(truth, tuned_like, times, tsys, rng)
    caltemp = truth.tcal_assumed_k[tuned_like]
    if truth.options.mode == "continuous":
        for k, time in enumerate(times.tolist()):
            lines += _continuous(truth, time, off[k], on[k], caltemp)
    elif truth.options.mode == "switched":
        lines += _single(truth, times.tolist(), off, on[0], caltemp)
    record = {
        "scan_name": label, "source": source, "time": np.round(times, 2).tolist(),
        "elevation_deg": np.round(elevation, 4).tolist(), "tsys_k": np.round(tsys, 4).tolist(),
    }  # fmt: skip
    return lines, record


def _counts(
    truth: Truth, tuned_like: int, times: Floats, tsys: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Levels with the diode off and on, (record, detector), as the backend prints them."""
    options = truth.options
    counts = np.array([det.counts_per_k for det in truth.detectors]) * truth.receiver_gain(times)
    zero = np.array([det.zero for det in truth.detectors])
    noise = options.noise / np.sqrt(1e6 * np.array([det.bandwidth_mhz for det in truth.detectors]))
    noisy = 1.0 + noise * rng.standard_normal((2, *tsys.shape))
    off = zero + counts * tsys * noisy[0]
    on = zero + counts * (tsys + truth.tcal_k[tuned_like]) * noisy[1]
    if truth.options.noise == 0:
        return off, on
    fine = np.array([0.01 if det.is_if and options.rack != "vc" else 1.0 for det in truth.detectors])
    return np.round(off / fine) * fine, np.round(on / fine) * fine


def _listed(
    truth: Truth, name: str, values: Floats, kinds: tuple[bool, ...] = (True, False), decimals: int | None = None
) -> list[str]:
    """`name` + `dev,value,...`, one line or more for each IF chain; converters (False) and IF detectors (True)."""
    lines = []
    chosen = [(k, det) for k, det in enumerate(truth.detectors) if det.is_if in kinds and np.isfinite(values[k])]
    for _, group in groupby(sorted(chosen, key=lambda item: item[1].if_chain), key=lambda item: item[1].if_chain):
        members = list(group)
        for first in range(0, len(members), PER_LINE):
            fields = []
            for k, det in members[first : first + PER_LINE]:
                fine = 2 if det.is_if and truth.options.rack != "vc" else 0
                fields.append(f"{det.name},{values[k]:.{fine if decimals is None else decimals}f}")
            lines.append(name + ",".join(fields))
    return lines


def _single(truth: Truth, times: list[float], off: Floats, on: Floats, caltemp: Floats) -> list[Line]:
    """tpi, tpical, tpdiff, caltemp and tsys before the scan; tpi and tsys once more in it."""
    zero = np.array([det.zero for det in truth.detectors])
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(caltemp > 0, caltemp / (on - off[0]), np.nan)
    lines: list[Line] = []
    if truth.options.rack == "vc":
        lines += [(times[0] - 2.0, text) for text in _listed(truth, "/tpzero/", zero)]
    lines += [(times[0], text) for text in _listed(truth, "/tpi/", off[0])]
    with_diode = np.where(caltemp > 0, on, np.nan)
    lines += [(times[0] + 5.0, text) for text in _listed(truth, "/tpical/", with_diode)]
    lines += [(times[0] + 7.0, text) for text in _listed(truth, "/tpdiff/", with_diode - off[0])]
    known = np.where(caltemp > 0, caltemp, np.nan)
    for k, time in enumerate((times[0] + 7.0, times[1])):
        lines += [(time, text) for text in (_listed(truth, "/tpi/", off[1]) if k else [])]
        lines += [(time, text) for text in _listed(truth, "/caltemp/", known, decimals=3)]
        lines += [(time, text) for text in _listed(truth, "/tsys/", (off[k] - zero) * scale, decimals=1)]
    return lines


def _continuous(truth: Truth, time: float, off: Floats, on: Floats, caltemp: Floats) -> list[Line]:
    """`tpcont`: diode on, then off; IF detectors have one value. `tsys` as the Field System computes it."""
    lines: list[Line] = []
    for chain in sorted({det.if_chain for det in truth.detectors}):
        mine = [(k, det) for k, det in enumerate(truth.detectors) if det.if_chain == chain]
        fields = [f"{det.name},{on[k]:.0f},{off[k]:.0f}" for k, det in mine if not det.is_if]
        fields += [f"{det.name},{off[k]:.2f}" for k, det in mine if det.is_if]
        for first in range(0, len(fields), PER_LINE):
            lines.append((time, "#tpicd#tpcont/" + ",".join(fields[first : first + PER_LINE])))
    with np.errstate(divide="ignore", invalid="ignore"):
        tsys = np.where(caltemp > 0, 0.5 * (on + off) * caltemp / (on - off), np.nan)
    return lines + [(time, text) for text in _listed(truth, "#tpicd#tsys/", tsys, decimals=1)]
