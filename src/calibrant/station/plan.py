"""What an AQUIR control file will do in a stretch of time, and what a gain curve still lacks.

    sky = whats_up(control, site, start, hours=24)
    bins = coverage(sky, flux, done=[("casa", 43.0)], width=10)
    visits = aquir_order(sky, slew=40), suggested_order(sky, flux, bins, slew=40)

Times are seconds since 1970 UTC, angles degrees. How long AQUIR takes is an estimate: waits of FIVPT, ONOFF and PEAKF
are upper limits, so in truth there are more visits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.station.aquir import EPHEMERIS, MAX_TARGETS, NOT_SENT, Call, Control, Target
from calibrant.station.fluxctl import FluxTable, SourceType
from calibrant.station.records import FsLog, Site
from calibrant.station.sky_position import Tracks, tracks

Floats = NDArray[np.float64]
MINUTE, DAY = 60.0, 86400.0
RESUME_S = 10.0
"""Assumed for a procedure with wait -1."""
SENT_S = 2.0
"""What AQUIR waits after a procedure with wait 0, and at the end of a pass."""
Interval = tuple[float, float]


@dataclass(frozen=True)
class Sky:
    """Where the targets of a control file are, minute by minute, and when AQUIR takes them as up.

    `tracks` and `up` (target, minute) go on to a whole day after the start at least; the window is its first part.
    """

    control: Control
    site: Site
    start: float
    end: float
    tracks: Tracks
    up: NDArray[np.bool_]

    @property
    def window(self) -> slice:
        """The minutes from start to end."""
        return slice(0, round((self.end - self.start) / MINUTE) + 1)

    def minute(self, time: float) -> int:
        return min(round((time - self.start) / MINUTE), self.up.shape[1] - 1)

    def place(self, target: int, time: float) -> tuple[float, float]:
        """Azimuth and elevation of a target at a time, to a minute."""
        minute = self.minute(time)
        return float(self.tracks.azimuth_deg[target, minute]), float(self.tracks.elevation_deg[target, minute])

    def intervals(self, target: int) -> list[Interval]:
        """When a target is up within the window: (rise, set), to a minute; cut off at the window's ends."""
        return [
            (float(self.tracks.times[first]), float(self.tracks.times[last]))
            for first, last in _runs(self.up[target, self.window])
        ]


def whats_up(control: Control, site: Site, start: float, hours: float = 24.0) -> Sky:
    """Positions of all targets and whether they are up: mask < elevation < upper limit."""
    end = start + 3600.0 * hours
    last = max(end, start + DAY) + control.setup.lead_s + MINUTE
    times = np.arange(start, last + MINUTE, MINUTE)
    seen = tracks(control.targets, site, times)
    low = control.mask.minimum(seen.azimuth_deg)
    up = (low < seen.elevation_deg) & (seen.elevation_deg < control.setup.upper_deg)
    return Sky(control, site, start, end, seen, up)


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in zip(edges[::2], edges[1::2], strict=True)]


# ---------------------------------------------------------------- elevation coverage


@dataclass(frozen=True)
class Bin:
    """A range of elevation, what is there already, and what can come."""

    low_deg: float
    high_deg: float
    done: dict[str, int]
    """source -> ONOFF scans of the given logs."""
    reachable: tuple[tuple[str, float, float], ...]
    """(source, from, to) within the window: calibrators, or pointing sources where no calibrator comes."""
    state: str
    """covered, reachable, later (within a day of the start), limits (outside mask and upper limit) or never."""


def gain_sources(control: Control, flux: FluxTable) -> dict[int, SourceType]:
    """Index -> type of the targets that serve a gain curve: ONOFF is run and the flux density is known.

    Sun and moon do not: the beam resolves them.
    """
    kinds = {n: flux.type(target.name) for n, target in enumerate(control.targets) if target.onoff_wait > 0}
    return {n: k for n, k in kinds.items() if k != "x" and control.targets[n].name.lower() not in EPHEMERIS}


def done_scans(logs: Sequence[FsLog]) -> list[tuple[str, float]]:
    """(source, elevation) of every ONOFF scan that came to a result."""
    first = [next(iter(scan.printed.values())) for log in logs for scan in log.scans if scan.printed]
    return [(row.source.lower(), row.elevation_deg) for row in first]


def coverage(sky: Sky, flux: FluxTable, done: Sequence[tuple[str, float]] = (), width: float = 10.0) -> list[Bin]:
    """Ranges of elevation from 0 to 90 deg. Of `done`, scans of sources with known flux density count."""
    usable = [(name, el) for name, el in done if flux.type(name) != "x" and name not in EPHEMERIS]
    sources = gain_sources(sky.control, flux)
    return [_bin(sky, sources, usable, low, low + width) for low in np.arange(0.0, 90.0, width).tolist()]


def _bin(sky: Sky, sources: dict[int, SourceType], done: list[tuple[str, float]], low: float, high: float) -> Bin:
    elevation = sky.tracks.elevation_deg
    inside = sky.up & (elevation >= low) & (elevation < high)
    here = [name for name, el in done if low <= el < high]
    count = {name: here.count(name) for name in dict.fromkeys(here)}
    window = {n: _runs(inside[n, sky.window]) for n in sources}
    calibrators = {n: runs for n, runs in window.items() if runs and sources[n] == "c"}
    chosen = calibrators or {n: runs for n, runs in window.items() if runs}
    reachable = tuple(
        (sky.control.targets[n].name.lower(), float(sky.tracks.times[first]), float(sky.tracks.times[last]))
        for n, runs in chosen.items()
        for first, last in runs
    )
    if count:
        state = "covered"
    elif reachable:
        state = "reachable"
    elif any(inside[n].any() for n in sources):
        state = "later"
    elif high <= min(sky.control.mask.elevations) or low >= sky.control.setup.upper_deg:
        state = "limits"
    else:
        state = "never"
    return Bin(low, high, count, reachable, state)


# ---------------------------------------------------------------- the order of visits


@dataclass(frozen=True)
class Visit:
    """AQUIR at one target. `reached`: the antenna gets there within the on-source wait."""

    time: float
    name: str
    azimuth_deg: float
    elevation_deg: float
    onoff: bool
    reached: bool
    target: int


def duration(target: Target) -> float:
    """Seconds at a target: procedures, and the longest time that FIVPT, ONOFF and PEAKF are allowed."""
    programs = MINUTE * (target.fivpt_wait + target.onoff_wait + target.peakf_wait)
    return _waited(target.before) + programs + _waited(target.after)


def _waited(call: Call) -> float:
    if call.wait == NOT_SENT:
        return 0.0
    return RESUME_S if call.wait < 0 else MINUTE * call.wait or SENT_S


def aquir_order(sky: Sky, slew: float) -> list[Visit]:
    """The visits within the window in the order of the file, as AQUIR makes them; `slew` in degrees per minute."""
    time = sky.start + _waited(sky.control.setup.setup)
    visits: list[Visit] = []
    while time < sky.end:
        begun = time
        for n in range(len(sky.control.targets)):
            if time < sky.end and sky.up[n, sky.minute(time + sky.control.setup.lead_s)]:
                visits.append(_visit(sky, n, time, visits, slew))
                time = _after(sky, visits[-1])
        time += SENT_S if time > begun else MINUTE
    return visits


def suggested_order(sky: Sky, flux: FluxTable, bins: Sequence[Bin], slew: float) -> list[Visit]:
    """Visits that fill the elevations which a gain curve lacks; AQUIR itself never optimises.

    At each step it goes to the source whose range of elevation has the fewest scans, is soonest out of reach, and is
    quickly got to: calibrators first, pointing sources where no calibrator is up or ever comes to that elevation. At
    most 200, what a file holds.
    """
    sources = gain_sources(sky.control, flux)
    names = {n: sky.control.targets[n].name.lower() for n in sources}
    tally = _Tally(sky, list(sources), names, bins)
    time = sky.start + _waited(sky.control.setup.setup)
    visits: list[Visit] = []
    while time < sky.end and len(visits) < MAX_TARGETS:
        options = [visit for n in sources if (visit := _option(sky, n, time, visits, slew))]
        options = [v for v in options if sources[v.target] == "c" or tally.alone(v)] or options
        if not options:
            time += MINUTE
            continue
        best = max(options, key=lambda visit: tally.need(visit) / (_after(sky, visit) - time))
        visits.append(best)
        tally.add(best)
        time = _after(sky, best)
    return visits


def _option(sky: Sky, n: int, time: float, visits: list[Visit], slew: float) -> Visit | None:
    """A visit that can be made from now on: up when AQUIR asks, reached in time, and up to its end."""
    if not sky.up[n, sky.minute(time + sky.control.setup.lead_s)]:
        return None
    visit = _visit(sky, n, time, visits, slew)
    return visit if visit.reached and sky.up[n, sky.minute(_after(sky, visit))] else None


def _visit(sky: Sky, n: int, time: float, visits: list[Visit], slew: float) -> Visit:
    """The visit to target `n` when AQUIR sends the antenna there at `time`, from where the last one was."""
    azimuth, elevation = sky.place(n, time)
    travel = 0.0
    if visits:
        turn = abs((azimuth - visits[-1].azimuth_deg + 180.0) % 360.0 - 180.0)
        travel = MINUTE * max(turn, abs(elevation - visits[-1].elevation_deg)) / slew
    limit, target = sky.control.setup.on_source_s, sky.control.targets[n]
    arrival = time + min(travel, limit)
    azimuth, elevation = sky.place(n, arrival)
    return Visit(arrival, target.name.lower(), azimuth, elevation, target.onoff_wait > 0, travel <= limit, n)


def _after(sky: Sky, visit: Visit) -> float:
    """When AQUIR goes on: at once where the source was not reached (error AQ -20)."""
    return visit.time + (duration(sky.control.targets[visit.target]) if visit.reached else SENT_S)


class _Tally:
    """Scans per range of elevation and per source in it, done and planned, and how rare each range is."""

    def __init__(self, sky: Sky, sources: list[int], names: dict[int, str], bins: Sequence[Bin]) -> None:
        self.lows = np.array([item.low_deg for item in bins])
        self.count = [float(sum(item.done.values())) for item in bins]
        self.each = {(k, name): float(n) for k, item in enumerate(bins) for name, n in item.done.items()}
        elevation = sky.tracks.elevation_deg[sources][:, sky.window]
        up = sky.up[sources][:, sky.window]
        present = [(up & (elevation >= item.low_deg) & (elevation < item.high_deg)).any(axis=0) for item in bins]
        # minutes from each minute on in which some source is in the range
        self.left = np.cumsum(np.array(present)[:, ::-1], axis=1)[:, ::-1]
        self.start = sky.start
        self.wanted = [{name for name, _, _ in item.reachable} for item in bins]

    def alone(self, visit: Visit) -> bool:
        """A range of elevation without a scan, to which no calibrator comes."""
        k = self._bin(visit)
        return self.count[k] == 0 and visit.name in self.wanted[k]

    def _bin(self, visit: Visit) -> int:
        return max(int(np.searchsorted(self.lows, visit.elevation_deg, side="right")) - 1, 0)

    def need(self, visit: Visit) -> float:
        k = self._bin(visit)
        minute = min(int((visit.time - self.start) / MINUTE), self.left.shape[1] - 1)
        rare = 1.0 + 60.0 / (1.0 + float(self.left[k, minute]))
        # a gain curve wants one source over many elevations too: hence the share by source
        return rare / (1.0 + self.count[k]) ** 2 + 0.2 / (1.0 + self.each.get((k, visit.name), 0.0))

    def add(self, visit: Visit) -> None:
        k = self._bin(visit)
        self.count[k] += 1.0
        self.each[k, visit.name] = self.each.get((k, visit.name), 0.0) + 1.0


def filled(visits: Sequence[Visit], bins: Sequence[Bin], sources: Sequence[int]) -> list[Bin]:
    """The ranges that lack and can be had into which a visit with ONOFF falls; `sources`: indices of targets."""
    elevations = [v.elevation_deg for v in visits if v.reached and v.onoff and v.target in sources]
    return [b for b in bins if b.state == "reachable" and any(b.low_deg <= el < b.high_deg for el in elevations)]
