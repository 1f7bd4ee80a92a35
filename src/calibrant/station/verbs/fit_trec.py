"""`calibrant station fit trec`: receiver temperature and zenith opacity."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np

from calibrant.errors import ParameterError
from calibrant.params import Param
from calibrant.station.verbs import fit_common, options

if TYPE_CHECKING:
    from calibrant.station.points import Points
    from calibrant.station.trec import TrecFit

SHOWN = 20
"""Segments listed in the summary."""


@dataclass(frozen=True)
class FitTrecResult:
    """Trec of each polarisation, tau0 of each segment."""

    common: fit_common.Common
    fit: TrecFit
    tatm: str
    old_trec: dict[str, float]
    rxg_changes: tuple[dict[str, Any], ...]

    @property
    def method(self) -> str:
        return self.fit.method

    def summary(self) -> str:
        fit = self.fit
        lines = [
            *self.common.head(),
            *textwrap.wrap(f"Tsys - Tspill against airmass: {fit.method}", 98, subsequent_indent="  "),
        ]
        for p, value in fit.trec.items():
            old = f"{self.old_trec[p]:.1f} K in the file" if self.old_trec.get(p) else "unknown in the file"
            spread = fit.detector_scatter_k.get(p, 0.0)
            more = f"; detectors differ by {spread:.1f} K" if spread > 0 else ""
            lines.append(f"  Trec {p}: {value:.2f} +- {fit.errors[p]:.2f} K ({old}{more})")
        error = f" +- {fit.tatm_error:.1f}" if fit.tatm_error else ""
        lines.append(f"  Tatm {fit.tatm_k:.1f}{error} K ({self.tatm})")
        lines += _segment_lines(fit)
        rejected = int((~fit.used).sum())
        chi2 = f"reduced chi2 {fit.reduced_chi2:.2f}, " if fit.reduced_chi2 == fit.reduced_chi2 else ""
        lines.append(
            f"  {chi2}{fit.dof} degrees of freedom, between scans "
            f"{fit.scan_scatter_k:.2f} K x airmass, {rejected} points left out"
        )
        return "\n".join([*lines, *fit_common.notes(fit.warnings), *self.common.foot("trec")])

    def to_dict(self) -> dict[str, Any]:
        return self.common.to_dict() | {
            "method": self.method,
            "tatm": self.tatm,
            "fit": self.fit.to_dict(),
            "old_trec": self.old_trec,
            "warnings": list(self.fit.warnings),
            "rxg_changes": list(self.rxg_changes),
        }


def fit_trec(
    logs: options.Logs,
    rxg: options.Rxg = [],  # noqa: B006
    interval: Annotated[float, Param("Longest stretch of time with one opacity.", unit="h")] = 1.0,
    tatm: Annotated[
        str, Param("Temperature of the atmosphere in K, 'weather' (from the logged temperature) or 'fit'.")
    ] = "273",
    per_segment: Annotated[bool, Param("Each stretch its own Trec, combined by the weighted mean.")] = False,
    loss: fit_common.LossName = "tukey",
    limit: fit_common.Limit = 4.0,
    like_gnplt: fit_common.LikeGnplt = False,
    flux: options.Flux = "",
    source: options.Source = "",
    detector: options.Detector = "",
    pol: options.Pol = "",
    freq: options.Freq = "",
    lo: options.Lo = "",
    scan: options.Scan = "",
    time: options.Time = "",
    elevation: options.Elevation = "",
    where: options.Where = "",
    session: options.Session = "",
    errors: options.SigmaKind = "mean",
) -> FitTrecResult:
    """Fit the receiver temperature and the zenith opacity: Tsys - Tspill = Trec + Tatm (1 - exp(-tau0 airmass)).

    One Trec for each polarisation and one opacity for each stretch of time, together. Refused where the airmasses
    do not tell the receiver from the atmosphere.

    Example:
        calibrant station fit trec r1730ny.log --rxg nyx.rxg --interval 2 --tatm weather

    Raises SolveError where the data do not tell Trec, DataError where no point is left, with the reasons.
    """
    from calibrant.station import trec
    from calibrant.station.fitdata import trec_data
    from calibrant.station.robust import LOSSES

    if not interval > 0:
        raise ParameterError(f"interval is {interval}; give hours above 0")
    fit_common.check_robust(loss, limit, LOSSES)
    if tatm == "fit" and (per_segment or like_gnplt):
        raise ParameterError("--tatm fit needs all segments together: leave --per-segment and --like-gnplt out")
    selection = fit_common.selection(source, detector, pol, freq, lo, scan, time, elevation, where)
    use, names = fit_common.usable_points("trec", logs, rxg, flux, session, errors, selection)
    atmosphere, words = _atmosphere(tatm, use.points)
    data = trec_data(use.points, like_gnplt)
    if like_gnplt:
        fit = trec.gnplt_trec(data, interval_hours=interval, tatm_k=float(atmosphere.mean()))
    else:
        fit = trec.fit_trec(
            data, interval_hours=interval, tatm_k=atmosphere, fit_tatm=tatm == "fit", per_segment=per_segment,
            loss=cast(Any, loss), limit=limit,
        )  # fmt: skip
    common = fit_common.common(use, names, session, "tcal")
    changes = tuple({"pol": p, "trec": value} for p, value in fit.trec.items())
    return FitTrecResult(common, fit, words, cast(dict[str, float], dict(use.rxg.trec)), changes)


def _atmosphere(tatm: str, points: Points) -> tuple[np.ndarray, str]:
    """(Tatm of each point, where it is from)."""
    from calibrant.station.opacity import DEFAULT_TATM

    if tatm == "fit":
        return np.full(len(points), DEFAULT_TATM), "fitted"
    found, without = options.treatment("auto", tatm).known_tatm(points["temperature_c"])
    lost = f", {without} points without it take the median" if without else ""
    return found, f"from the logged temperature{lost}" if tatm == "weather" else "given"


def _segment_lines(fit: TrecFit) -> list[str]:
    lines = ["  from              to     points  airmass      tau0    error"]
    for s in fit.segments[:SHOWN]:
        start, end = (datetime.fromtimestamp(t, UTC) for t in (s.start, s.end))
        own = "".join(f"  Trec {p} {s.trec[p]:.1f}+-{s.trec_errors[p]:.1f}" for p in s.trec)
        low, high = s.airmass_range
        lines.append(
            f"  {start:%Y.%j.%H:%M} {end:%H:%M} {s.points:7d}  {low:4.2f}-{high:5.2f} {s.tau0:8.4f} {s.tau0_error:8.4f}"
            f"{own}{'  ' + s.note[:60] if s.note else ''}"
        )
    rest = len(fit.segments) - SHOWN
    return [*lines, f"  ... and {rest} more"] if rest > 0 else lines
