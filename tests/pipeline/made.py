"""Small observations with sources at given places, gains that vary, and nothing else: for tests of the pipeline.

Import with `sys.path.insert(0, str(Path(__file__).parent))`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from calibrant.ms.create import create_ms
from calibrant.ms.index import Fields, MSIndex, Observation, SpectralWindow, open_index

sys.path.insert(0, str(Path(__file__).parents[1]))
from planted import Window, antennas, polarization

START = 5230414800.0
GAP = 20.0
WIDE = Window(32, 1.4e9, 1e6)


@dataclass(frozen=True)
class Source:
    """flux in Jy, or nothing for noise only; ra, dec in degrees; intents as in STATE.OBS_MODE."""

    name: str
    flux: float = 1.0
    ra: float = 40.0
    dec: float = 10.0
    intent: str = ""
    code: str = ""


C286 = Source("3C286", 14.9, 202.784534, 30.509155)
"""About its flux density at 1.4 GHz."""


def close_to(name: str, flux: float = 1.0, ra: float = 203.0, dec: float = 30.0, **more: Any) -> Source:
    return Source(name, flux, ra, dec, **more)


def observe(
    path: Path,
    sources: Sequence[Source],
    visits: Sequence[tuple[int, int]],
    *,
    windows: Sequence[Window] = (WIDE,),
    names: Sequence[str] = (),
    nant: int = 6,
    step: float = 20.0,
    sigma: float = 0.1,
    drift: float = 0.1,
    turns: float = 0.0,
    autos: bool = False,
    seed: int = 1,
) -> Path:
    """An MS at `path`. visits: (source, integrations) in order; sigma: Jy; drift: rad of phase an integration;
    turns: of the phase over the band, by which antennas differ. Amplitudes of gains are 0.8 to 1.2."""
    rng = np.random.default_rng(seed)
    lengths = [count for _, count in visits]
    which = np.repeat([source for source, _ in visits], lengths)
    scan = np.repeat(np.arange(1, len(visits) + 1), lengths)
    time = START + step * np.arange(len(which)) + GAP * (scan - 1)
    first, second = np.triu_indices(nant, 0 if autos else 1)
    rows = [(t, s) for t in range(len(time)) for s in range(len(windows))]
    corrs = list(dict.fromkeys(window.corr for window in windows))
    intents = list(dict.fromkeys(source.intent for source in sources if source.intent))
    direction = np.radians([[source.ra, source.dec] for source in sources])
    place = antennas(nant)
    count = len(first)
    with patch("calibrant.ms.create._sync"), create_ms(
        str(path),
        antennas=place,
        fields=Fields([s.name for s in sources], [s.code for s in sources], np.arange(len(sources), dtype=np.int32),
                      direction),
        spws=[_window(n, window, names[n] if names else f"SPW{n}") for n, window in enumerate(windows)],
        polarizations=[polarization(corr) for corr in corrs],
        ddids=[(n, corrs.index(window.corr)) for n, window in enumerate(windows)],
        observations=[Observation("VLA", "me", "P1", np.zeros(2))],
        states=intents,
        nrow=len(rows) * count,
    ) as new:  # fmt: skip
        start = rng.uniform(-np.pi, np.pi, (nant, 2))
        phase = start + np.cumsum(rng.normal(0, drift, (len(time), nant, 1)), axis=0)
        gain = rng.uniform(0.8, 1.2, (nant, 2)) * np.exp(1j * phase)
        slope = turns * rng.uniform(-1, 1, (nant, 2))
        for number, (t, s) in enumerate(rows):
            window, source = windows[s], sources[which[t]]
            product = polarization(window.corr).product
            band = np.exp(2j * np.pi * slope[:, None] * (np.arange(window.nchan) / window.nchan)[:, None])
            whole = gain[t][:, None] * band
            data = whole[first][..., product[:, 0]] * whole[second][..., product[:, 1]].conj() * source.flux
            data = data + sigma * (rng.normal(size=data.shape) + 1j * rng.normal(size=data.shape))
            state = intents.index(source.intent) if source.intent else -1
            new.put_rows(number * count, {
                "TIME": np.full(count, time[t]), "INTERVAL": np.full(count, step), "ANTENNA1": first,
                "ANTENNA2": second, "DATA_DESC_ID": np.full(count, s), "FIELD_ID": np.full(count, which[t]),
                "SCAN_NUMBER": np.full(count, scan[t]), "STATE_ID": np.full(count, state),
                "UVW": place.position[first] - place.position[second], "DATA": data,
                "FLAG": np.zeros(data.shape, bool), "SIGMA": np.full((count, len(product)), sigma),
            })  # fmt: skip
    return path


def _window(number: int, window: Window, name: str) -> SpectralWindow:
    width = np.full(window.nchan, window.width)
    whole = float(width.sum())
    return SpectralWindow(number, name, window.freq, width, width, width, window.first, whole, 5, 1)


def look(path: Path, sources: Sequence[Source], visits: Sequence[tuple[int, int]], **more: Any) -> MSIndex:
    """The index of an observation that is only looked at: two antennas, few channels."""
    more = {"nant": 2, "windows": (Window(2, 1.4e9, 1e6),), **more}
    return open_index(str(observe(path, sources, visits, **more)))
