"""The verdict on a station's amplitude calibration, in words: each check is a sentence with its numbers.

The worst check decides. What is asked: do the gain (DPFU and curve) and Tcal on file agree with what the antenna
measured, everywhere where it will be used, and are the measurements good enough to say so?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.station.bands import BandSummary, band_labels, stations_of, summarise
from calibrant.station.judge_coverage import Coverage, coverage
from calibrant.station.trends import TrendPoint, changes, trends
from calibrant.station.unknowns import choices, opacities, places

if TYPE_CHECKING:
    from calibrant.station.points import Points
    from calibrant.station.records import FsLog
    from calibrant.station.rxg import Receivers

VERDICTS = ("good", "check", "do not trust")

RATIO_LIMITS = (0.05, 0.10)
"""|median Tcal ratio - 1|. Amplitudes on a baseline go with the square root of a station's SEFD: 10 % in the ratio is
5 % in amplitude, half of the EVN's target for a station's error (0.1); the other half is left to opacity, pointing
and drift between calibrations."""
SCATTER_LIMITS = (0.05, 0.15)
"""Robust scatter of the ratio: above 5 % single frequencies or elevations are off by as much as RATIO_LIMITS allows."""
COMPRESSION_MEDIAN = (0.03, 0.10)
"""|median - 1|: 3 % compression is 3 % error of SEFD on strong sources."""
COMPRESSION_SHARE = (0.15, 0.50)
"""Share of points outside 0.95..1.05; a few are interference, many are a receiver that saturates."""
SEFD_SCATTER = (0.10, 0.30)
"""Relative scatter of SEFD of one detector; includes its change with elevation."""
DELETED_SHARE = (0.30, 0.70)
"""What is left after deleting more than 70 % is a choice, not a measurement."""
ABORTED_SHARE = 0.2
FEWEST = 3
"""Fewer points than this cannot condemn a band."""
ENOUGH = 10
"""Points per band and polarisation for a verdict without reservation."""
STRUCTURE = 1.2
"""The Field System's own limit for its warning about a resolved source."""
CURVE_ERROR = (0.02, 0.05)
"""Scatter about a fitted gain curve, relative."""


@dataclass(frozen=True)
class Check:
    """level: 0 good, 1 look at it, 2 do not trust; `topic` is the section of the report."""

    level: int
    topic: str
    sentence: str


@dataclass(frozen=True)
class Deleted:
    """Points that are left out for one reason."""

    reason: str
    points: int
    scans: int
    detectors: int


@dataclass(frozen=True)
class Judgement:
    """The verdict and everything it rests on."""

    verdict: str
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    bands: tuple[BandSummary, ...]
    coverage: Coverage
    deleted: tuple[Deleted, ...]
    trends: tuple[TrendPoint, ...] = ()
    advice: tuple[str, ...] = field(default=())

    def of(self, topic: str) -> list[str]:
        """The sentences of one section, worst first."""
        return [check.sentence for check in sorted(self.checks, key=lambda one: -one.level) if check.topic == topic]

    def to_dict(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "checks": [vars(check) for check in self.checks],
            "bands": [band.to_dict() for band in self.bands],
            "coverage": self.coverage.to_dict(),
            "deleted": [vars(one) for one in self.deleted],
            "trends": [one.to_dict() for one in self.trends],
            "advice": list(self.advice),
        }


def judge(
    points: Points, *, logs: Sequence[FsLog] = (), receivers: Receivers | None = None,
    fits: Sequence[Check] = (), advice: Sequence[str] = (),
) -> Judgement:  # fmt: skip
    """Weigh points (deleted ones too), logs and the checks of fits; 'do not trust' where there is nothing to weigh."""
    labels = band_labels(points, stations_of(logs))
    bands = summarise(points, labels)
    seen = coverage(points, labels, receivers)
    gone = deleted_by_reason(points)
    series = trends(points, labels)
    checks = [*_data(points), *_ratios(bands), *_compressions(bands), *_sefds(bands)]
    checks += [*_field_system(points, logs), *_fluxes(points), *_deleted(points), *_scans(logs), *_coverage(seen)]
    checks += [*_unknowns(points), *(Check(0, "logs", words) for words in choices(points, receivers))]
    checks += [Check(1, "trends", sentence) for sentence in changes(series)]
    checks += _stations(logs, receivers)
    checks += fits
    worst = max(check.level for check in checks)
    told = [check for check in checks if check.level > 0] if worst else checks
    told.sort(key=lambda check: -check.level)
    reasons = tuple(check.sentence for check in told)
    return Judgement(VERDICTS[worst], reasons, tuple(checks), bands, seen, gone, series, tuple(advice))


def level(value: float, limits: tuple[float, float]) -> int:
    """0, 1 or 2 as `value` stays within the first, the second limit or neither; nan is to be looked at."""
    return 1 if np.isnan(value) else int(value > limits[0]) + int(value > limits[1])


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if abs(value) < 0.1 else f"{100 * value:.0f} %"


def _name(band: BandSummary) -> str:
    return f"{band.band} {band.pol or '(polarisation unknown)'}"


def _data(points: Points) -> list[Check]:
    kept = ~points["deleted"] & np.isfinite(points["sefd_jy"]) if len(points) else np.zeros(0, dtype=bool)
    if not kept.any():
        told = f"{len(points)} points, all deleted or without an SEFD" if len(points) else "no ONOFF scan gives a point"
        return [Check(2, "logs", f"there is nothing to judge: {told}")]
    scans = len(np.unique(points["scan"][kept]))
    return [Check(0, "logs", f"{int(kept.sum())} points in {scans} scan{'s' if scans > 1 else ''} are used")]


def _ratios(bands: Sequence[BandSummary]) -> list[Check]:
    checks = []
    for band in bands:
        if not band.ratio_count:
            if band.points:
                words = f"{_name(band)}: no noise diode was measured, only SEFD can be judged ({band.points} points)"
                checks.append(Check(1, "ratio", words))
            continue
        off = abs(band.ratio_median - 1)
        few = band.ratio_count < ENOUGH
        found = min(level(off, RATIO_LIMITS), 1 if band.ratio_count < FEWEST else 2)
        scatter = level(band.ratio_scatter, SCATTER_LIMITS) if band.ratio_count >= FEWEST else 1
        words = f"{_name(band)}: Tcal ratio {band.ratio_median:.3f}"
        words += f" ± {band.ratio_scatter:.3f} (scatter)" if np.isfinite(band.ratio_scatter) else ""
        words += f" from {band.ratio_count} point{'s' if band.ratio_count > 1 else ''}"
        if found:
            words += f"; {_percent(off)} from 1, good is up to {_percent(RATIO_LIMITS[0])}"
        if scatter and band.ratio_count >= FEWEST:
            words += f"; scatter above {_percent(SCATTER_LIMITS[min(scatter, 2) - 1])}"
        if few:
            words += f"; fewer than {ENOUGH} points"
        checks.append(Check(max(found, scatter, int(few)), "ratio", words))
    return checks


def _compressions(bands: Sequence[BandSummary]) -> list[Check]:
    checks = []
    for band in bands:
        if not np.isfinite(band.compression_median):
            continue
        found = max(
            level(abs(band.compression_median - 1), COMPRESSION_MEDIAN),
            level(band.compression_outside, COMPRESSION_SHARE),
        )
        found = min(found, 1 if band.ratio_count < FEWEST else 2)
        words = (
            f"{_name(band)}: gain compression {band.compression_median:.4f} (median), "
            f"{_percent(band.compression_outside)} of the points outside 0.95 to 1.05"
        )
        checks.append(Check(found, "compression", words))
    return checks


def _sefds(bands: Sequence[BandSummary]) -> list[Check]:
    checks = []
    for band in bands:
        if not band.points or not np.isfinite(band.sefd_median_jy):
            continue
        words = f"{_name(band)}: SEFD {band.sefd_median_jy:.0f} Jy (median)"
        if np.isfinite(band.sefd_scatter):
            words += f"; scatter of each detector {_percent(band.sefd_scatter)}"
        else:
            words += "; measured once, its stability is unknown"
        checks.append(Check(level(band.sefd_scatter, SEFD_SCATTER), "sefd", words))
    return checks


def _field_system(points: Points, logs: Sequence[FsLog]) -> list[Check]:
    """Recomputed against printed, where the logs are given."""
    if not logs or not len(points):
        return []
    from calibrant.station.agreement import agreement

    found = agreement([scan for log in logs for scan in log.scans])
    if not found.rows:
        return [Check(1, "logs", "the Field System printed no results (VAL) that could be compared with the levels")]
    words = f"{found.disagreeing_rows} of {found.rows} rows differ from the Field System's VAL by more than 0.1 %"
    if found.disagreements:
        worst = max(found.disagreements, key=lambda one: one.relative)
        words += (
            f", most in line {worst.line}: {worst.detector} {worst.quantity} {worst.ours:.5g}, printed {worst.fs:g}"
        )
    return [Check(int(bool(found.disagreements)), "logs", words)]


def _fluxes(points: Points) -> list[Check]:
    from calibrant.station.rules import RULES

    if not len(points):
        return []
    kept = ~points["deleted"]
    checks = []
    unknown = kept & RULES["flux_unknown"].apply(points)[0]
    if unknown.any():
        names = ", ".join(sorted({str(one) for one in points["source"][unknown]}))
        words = f"flux density unknown (1.0 Jy assumed) in {int(unknown.sum())} points: {names}"
        checks.append(Check(1, "sefd", words))
    with np.errstate(invalid="ignore"):
        wide = kept & (points["structure_correction"] >= STRUCTURE)
    if wide.any():
        names = ", ".join(sorted({str(one) for one in points["source"][wide]}))
        largest = float(np.nanmax(points["structure_correction"][wide]))
        words = f"{names}: resolved by the beam, structure correction up to {largest:.2f} ({int(wide.sum())} points)"
        checks.append(Check(1, "sefd", words))
    bare = kept & points["no_diode"]
    if bare.any():
        words = f"{int(bare.sum())} points without noise diode: they give SEFD, but no Tcal and no ratio"
        checks.append(Check(0, "ratio", words))
    return checks


def deleted_by_reason(points: Points) -> tuple[Deleted, ...]:
    """What was deleted and why, most first."""
    gone = np.asarray(points["deleted"], dtype=bool)
    found = []
    for reason in np.unique(points["reason"][gone]) if gone.any() else ():
        mine = gone & (points["reason"] == reason)
        count = len(np.unique(points["detector"][mine]))
        scans = len(np.unique(points["scan"][mine]))
        found.append(Deleted(str(reason) or "no reason given", int(mine.sum()), scans, count))
    return tuple(sorted(found, key=lambda one: -one.points))


def _deleted(points: Points) -> list[Check]:
    share = float(np.mean(points["deleted"])) if len(points) else 0.0
    if not share:
        return []
    words = f"{int(points['deleted'].sum())} of {len(points)} points ({_percent(share)}) are deleted"
    return [Check(level(share, DELETED_SHARE), "deleted", words)]


def _scans(logs: Sequence[FsLog]) -> list[Check]:
    scans = [scan for log in logs for scan in log.scans]
    aborted = [scan for scan in scans if scan.status == "aborted"]
    if not aborted:
        return []
    share = len(aborted) / len(scans)
    words = f"{len(aborted)} of {len(scans)} ONOFF scans were aborted ({_percent(share)})"
    return [Check(int(share > ABORTED_SHARE), "logs", words)]


def _stations(logs: Sequence[FsLog], receivers: Receivers | None) -> list[Check]:
    """One set of receiver files cannot be right for two antennas."""
    names = list(dict.fromkeys(stations_of(logs)))
    if receivers is None or len(names) < 2:
        return []
    return [Check(1, "logs", f"the logs are of several stations ({', '.join(names)}), the rxg files of one only")]


def _unknowns(points: Points) -> list[Check]:
    """Points that are in no picture against elevation, in no rxg's band, or not corrected as the rxg asks."""
    checks = [Check(int("polarisation" in words), "logs", words.rstrip(".")) for words in places(points)]
    asked = np.isfinite(points["ratio"]) & ~np.isfinite(points["ratio_corrected"]) & ~points["deleted"]
    if asked.any():
        told = "; ".join(words.rstrip(".") for words in opacities(points.where(asked)))
        words = f"{int(asked.sum())} points are not corrected for opacity as their rxg asks: {told or 'no Trec'}"
        checks.append(Check(1, "ratio", words))
    return checks


def _coverage(seen: Coverage) -> list[Check]:
    if not seen.scans:
        return []
    if not np.isfinite(seen.elevation_low):
        return [Check(1, "coverage", "no elevation is known"), *(Check(*one) for one in seen.frequency_checks())]
    checks = [Check(0, "coverage", f"elevations {seen.elevation_low:.0f}° to {seen.elevation_high:.0f}°")]
    checks += [Check(1, "coverage", sentence) for sentence in seen.elevation_sentences()]
    checks += [Check(*one) for one in seen.frequency_checks()]
    return checks
