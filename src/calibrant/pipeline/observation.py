"""What the observation's shape implies for calibrating it: spws, integration time, edges, inner channels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibrant.errors import SelectionError
from calibrant.ms.index import MSIndex
from calibrant.pipeline.roles import Roles

EDGE_SHARE = 0.03
"""Channels flagged at either end of a band, where filters cut the signal."""
INNER_SHARE = 0.1
"""Channels left out at either end when phases and amplitudes are solved for."""
SETTLED_SECONDS = 15.0
"""Antennas settle within the first integration of a scan where it is longer than this: no quack."""
SCAN_GAP = 300.0
"""No scan goes on after so many seconds without data."""
LEAST_CHANNELS = 16
"""Bands with fewer channels have no edges to speak of."""


@dataclass(frozen=True)
class Observed:
    """spws: science spws; spw, inner: selections of them, whole and without their ends; integration, quack: s;
    (quack 0: none);
    edges: channels to flag at either end by spw; hands: names of the parallel hands by spw;
    scan: s, the longest stretch of a calibrator, where scans are not numbered (0: they are)."""

    telescope: str
    when: str
    spws: list[int]
    spw: str
    inner: str
    integration: float
    quack: float
    edges: dict[int, int]
    hands: dict[int, list[str]]
    scan: float = 0.0


def observe(index: MSIndex, roles: Roles) -> Observed:
    """Look at the rows of the calibrators and the target. SelectionError where no spw can be calibrated."""
    mine = np.isin(index.field, [*roles.calibrators, *roles.target])
    present = [int(ddid) for ddid in np.unique(index.ddid[mine])]
    spws = _science(index, present)
    if not spws:
        raise SelectionError(f"{index.path}: no spectral window with data of the calibrators and the target")
    step = np.diff(index.times)
    known = "INTERVAL" in index.columns
    integration = float(np.median(index.column("INTERVAL")[mine]) if known else np.min(step))
    edges = {s: math.ceil(EDGE_SHARE * n) if (n := index.spws[s].nchan) >= LEAST_CHANNELS else 0 for s in spws}
    inner = []
    for spw in spws:
        n = index.spws[spw].nchan
        cut = round(INNER_SHARE * n) if n >= LEAST_CHANNELS else 0
        inner.append(f"{spw}:{cut}~{n - 1 - cut}" if cut else str(spw))
    hands = {}
    for ddid in present:
        pol = index.polarizations[int(index.ddid_pol[ddid])]
        names = [""] * 2
        for hand in pol.parallel.tolist():
            names[int(pol.product[hand, 0])] = pol.names[hand]
        hands[int(index.ddid_spw[ddid])] = names
    seen = index.observations[0] if index.observations else None
    return Observed(
        telescope=seen.telescope if seen else "unknown telescope",
        when=f"{_date(float(index.times[0]))} {getattr(index, 'time_scale', 'UTC')}",
        spws=spws,
        spw=",".join(map(str, spws)),
        inner=",".join(inner),
        integration=integration,
        quack=0.9 * integration if integration < SETTLED_SECONDS else 0.0,
        edges=edges,
        hands=hands,
        scan=_longest_stretch(index, roles.calibrators, integration),
    )


def _longest_stretch(index: MSIndex, calibrators: list[int], integration: float) -> float:
    """Seconds of the longest stretch of a calibrator, where scans hold several of one; 0 where each holds one.

    A stretch ends where another field begins, or after SCAN_GAP seconds without data."""
    ids, first = np.unique(index.time_id, return_index=True)
    time, field, scan = index.times[ids], index.field[first], index.scan[first]
    starts = np.ones(len(ids), bool)
    starts[1:] = (np.diff(field) != 0) | (np.diff(scan) != 0) | (np.diff(time) > SCAN_GAP)
    begin = np.flatnonzero(starts)
    mine = np.isin(field[begin], calibrators)
    pairs = np.stack([field[begin], scan[begin]], axis=1)[mine]
    if len(np.unique(pairs, axis=0)) == len(pairs):
        return 0.0
    end = np.append(begin[1:], len(ids)) - 1
    return float((time[end] - time[begin])[mine].max() + integration)


def _science(index: MSIndex, ddids: list[int]) -> list[int]:
    """Spectral windows to calibrate: not the radiometers', and no channel averages of others."""
    found = []
    for ddid in ddids:
        window = index.spws[int(index.ddid_spw[ddid])]
        if "WVR" not in window.name and "SQLD" not in window.name and "CH_AVG" not in window.name:
            found.append(window.id)
    most = max((index.spws[s].nchan for s in found), default=0)
    return sorted({s for s in found if index.spws[s].nchan > 1 or most == 1})


def _date(mjd_seconds: float) -> str:
    """'2024-08-15 05:00:00'."""
    moment = np.datetime64("1858-11-17T00:00:00", "s") + np.timedelta64(round(mjd_seconds), "s")
    return str(moment).replace("T", " ")
