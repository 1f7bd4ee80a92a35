"""Made-up points with every column that the verdict and the figures read."""

from __future__ import annotations

from typing import Any

import numpy as np

from calibrant.station.points import Points

START = 1457366400.0


def points(scans: int = 12, ratio: float = 1.0, scatter: float = 0.01, seed: int = 1, **changes: Any) -> Points:
    """`scans` of four detectors, two of each polarisation, on an LO of 8080 MHz, elevations 12 to 82 degrees."""
    rng = np.random.default_rng(seed)
    scan = np.repeat(np.arange(scans), 4)
    count = len(scan)
    detector = np.tile(np.array(["1u", "2u", "3u", "4u"]), scans)
    elevation = 12 + 70 * scan / max(scans - 1, 1)
    noise = rng.standard_normal(count)
    columns = Points.empty(count).columns | {
        "file": np.full(count, "made.log"), "log": np.zeros(count, dtype=int), "scan": scan, "line": 100 + scan,
        "time": START + 900.0 * scan, "source": np.array(["casa", "cygnusa"])[scan % 2], "type": np.full(count, "c"),
        "detector": detector, "pol": np.tile(np.array(["l", "l", "r", "r"]), scans),
        "freq_mhz": np.tile([8210.0, 8310.0, 8210.0, 8310.0], scans), "lo_mhz": np.full(count, 8080.0),
        "azimuth_deg": 10.0 * scan, "elevation_deg": elevation, "airmass": 1 / np.sin(np.radians(elevation)),
        "compression": 1 + 0.005 * rng.standard_normal(count), "tsys_k": np.full(count, 60.0),
        "sefd_jy": 700 * (1 + 0.02 * noise), "tcal_ratio": ratio * (1 + scatter * noise),
        "no_diode": np.zeros(count, dtype=bool), "rxg": np.full(count, ""), "apr_flux_jy": np.full(count, 500.0),
        "flux_assumed_jy": np.full(count, 500.0),
    }  # fmt: skip
    columns |= {"fs_sefd_jy": columns["sefd_jy"].copy(), "recomputed": np.ones(count, dtype=bool)}
    return Points(columns | changes)
