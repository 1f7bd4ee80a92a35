"""A made-up evening at a station: arrays of plausible shape for the station's figures and page."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.station.material import (
    GainPanel,
    Line,
    Pointings,
    StationMaterial,
    TcalPanel,
    TrecPanel,
    TrecSegment,
    Trend,
)

START = 1457366400.0
SOURCES = ("cygnusa", "taurusa", "casa", "virgoa")
BANDS = {"station_s.rxg · LO 2020": (2020.0, 6), "station_x.rxg · LO 8080": (8080.0, 10)}
RATIO_SLOPE = 0.12


def columns(scans: int = 24, seed: int = 5) -> dict[str, NDArray[Any]]:
    """One row a scan and detector, as `onoff` gives them."""
    rng = np.random.default_rng(seed)
    lo = np.concatenate([np.full(count, lo) for lo, count in BANDS.values()])
    freq = np.concatenate([lo + 150 + 40.0 * np.arange(count) for lo, count in BANDS.values()])
    detectors = len(lo)
    scan = np.repeat(np.arange(scans), detectors)
    count = len(scan)
    elevation = np.repeat(np.where(np.arange(scans) % 3 == 0, 12.0, 40.0) + 1.6 * np.arange(scans), detectors)
    lo, freq = np.tile(lo, scans), np.tile(freq, scans)
    ratio = 1 + RATIO_SLOPE * (freq - lo - 250) / 400 + 0.02 * rng.standard_normal(count)
    sefd = np.where(lo > 5000, 600, 1100) * (1 + 0.1 / np.sin(np.radians(elevation))) * rng.normal(1, 0.02, count)
    deleted = rng.random(count) < 0.06
    ratio[deleted] *= 1.4
    return {
        "log": np.zeros(count, dtype=np.int64), "scan": scan, "time": START + 1500.0 * scan,
        "source": np.array(SOURCES)[scan % len(SOURCES)], "type": np.array(["c", "c", "c", "p"])[scan % 4],
        "detector": np.tile([f"{n + 1:x}u" for n in range(detectors)], scans),
        "pol": np.where(np.tile(np.arange(detectors), scans) % 2, "r", "l"),
        "freq_mhz": freq, "lo_mhz": lo, "elevation_deg": elevation,
        "azimuth_deg": (scan * 37.0) % 360, "airmass": 1 / np.sin(np.radians(elevation)),
        "compression": rng.normal(1, 0.012, count), "no_diode": np.zeros(count, dtype=bool), "sefd_jy": sefd,
        "opacity_zenith": 0.05 + 0.01 * np.sin(scan / 5) + rng.normal(0, 0.004, count),
        "tcal_ratio": ratio, "deleted": deleted,
        "reason": np.where(deleted, "gain compression outside 0.95..1.05", ""),
    }  # fmt: skip


def material(**changes: Any) -> StationMaterial:
    """Everything the figures can draw."""
    table = columns()
    band = np.where(table["lo_mhz"] > 5000, list(BANDS)[1], next(iter(BANDS)))
    given: dict[str, Any] = {
        "columns": table, "band": band, "ratio": table["tcal_ratio"], "bands": tuple(BANDS),
        "gains": tuple(gain_panel(table, pol) for pol in "lr"),
        "tcals": tuple(tcal_panel(table, pol) for pol in "lr"), "trecs": tuple(trec_panel(table, pol) for pol in "lr"),
        "pointings": pointings(), "weather": weather(), "trends": trends(), "elevation_gaps": ((51.0, 58.0),),
        "tables": {list(BANDS)[1]: 8200.0 + 20 * np.arange(24)},
    }  # fmt: skip
    return StationMaterial(**(given | changes))


def gain_panel(table: dict[str, NDArray[Any]], pol: str) -> GainPanel:
    mine = (table["lo_mhz"] > 5000) & (table["pol"] == pol)
    elevation = table["elevation_deg"][mine]
    curve = lambda x: 0.1 * (1 - 4e-5 * (x - 50) ** 2)  # noqa: E731
    gain = curve(elevation) * np.random.default_rng(3).normal(1, 0.015, mine.sum())
    x = np.arange(0.0, 90.5, 1.0)
    y = curve(x)
    width = 0.0008 * (1 + ((x - 45) / 30) ** 2)
    new = Line(x, y, y - width, y + width, (float(elevation.min()), float(elevation.max())))
    old = Line(x, 0.097 - 2e-6 * (x - 40) ** 2)
    return GainPanel(list(BANDS)[1], pol, elevation, gain, 0.01 * gain, table["source"][mine], old, new)


def tcal_panel(table: dict[str, NDArray[Any]], pol: str) -> TcalPanel:
    mine = (table["lo_mhz"] > 5000) & (table["pol"] == pol)
    freq = table["freq_mhz"][mine]
    old_freq = 8200.0 + 20 * np.arange(24)
    tcal = 12 + np.sin(freq / 60) + np.random.default_rng(4).normal(0, 0.2, len(freq))
    new_freq = np.unique(freq)
    new = np.array([np.median(tcal[freq == one]) for one in new_freq])
    old = 12 + 0.9 * np.sin(old_freq / 60)
    return TcalPanel(list(BANDS)[1], pol, freq, tcal, old_freq, old, new_freq, new, np.full(len(new), 0.1))


def trec_panel(table: dict[str, NDArray[Any]], pol: str) -> TrecPanel:
    mine = (table["lo_mhz"] > 5000) & (table["pol"] == pol)
    airmass, time = table["airmass"][mine], table["time"][mine]
    value = 31 + 273 * (1 - np.exp(-0.05 * airmass)) + np.random.default_rng(6).normal(0, 0.6, len(airmass))
    x = np.linspace(0, 5, 60)
    segments = tuple(
        TrecSegment(START + 9000 * n, 31 + n, 0.8, 0.05 - 0.005 * n, 0.004, Line(x, 31 + n + 13.6 * x))
        for n in range(3)
    )
    return TrecPanel(list(BANDS)[1], pol, airmass, value, time, segments, 32.0, 30.0)


def pointings(count: int = 20) -> Pointings:
    rng = np.random.default_rng(8)
    offsets = rng.normal(0, 0.05, (2, count))
    good = np.arange(count) % 7 != 3
    source = np.array(SOURCES)[np.arange(count) % 4]
    elevation, err = np.linspace(15, 80, count), np.full(count, 0.01)
    return Pointings(START + 1800.0 * np.arange(count), source, elevation, elevation, *offsets, err, err, good)


def weather(count: int = 60) -> dict[str, NDArray[np.float64]]:
    time = START + 600.0 * np.arange(count)
    return {
        "time": time, "temperature_c": 4 + np.sin(np.arange(count) / 9), "pressure_hpa": 1013 - 0.05 * np.arange(count),
        "humidity_percent": 70 + 10 * np.cos(np.arange(count) / 12), "wind_speed": 3 + np.abs(np.sin(np.arange(count))),
    }  # fmt: skip


def trends() -> tuple[Trend, ...]:
    time = START + 86400.0 * np.array([0, 30, 61, 90])
    names = np.array(["r1a.log", "r1b.log", "r1c.log", "r1d.log"])
    steps = np.arange(4)
    return tuple(
        Trend(band, pol, time, names, 1 + 0.02 * steps, np.full(4, 0.02), 700 + 15.0 * steps, np.full(4, 20.0))
        for band in BANDS for pol in "lr"
    )  # fmt: skip
