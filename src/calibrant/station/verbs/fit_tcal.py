"""`calibrant station fit tcal`: noise diode temperature against frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

from calibrant.errors import ParameterError
from calibrant.params import Param
from calibrant.station.verbs import fit_common, options

if TYPE_CHECKING:
    from calibrant.station.predict import Prediction
    from calibrant.station.tcal import TcalFit


@dataclass(frozen=True)
class FitTcalResult:
    """New Tcal by frequency, and the merged tables."""

    common: fit_common.Common
    fit: TcalFit
    rxg_changes: tuple[dict[str, Any], ...]
    predicted: tuple[Prediction, ...] = ()
    """What the changes do to these points."""

    @property
    def method(self) -> str:
        return self.fit.method

    def summary(self) -> str:
        fit = self.fit
        lines = [*self.common.head(), f"Tcal at each frequency: {fit.method}"]
        lines.append("  pol   freq MHz   old K    new K   error  change %  points  left out")
        for v in fit.values:
            mark = "  not merged" if v.masked else ""
            lines.append(
                f"  {v.pol:3s} {v.freq_mhz:10.2f} {v.old_k:7.3f} {v.tcal_k:8.3f} {v.error_k:7.3f} "
                f"{v.change_percent:9.2f} {v.count:7d} {v.rejected:9d}{mark}"
            )
        lines += [f"  pol {p}: {count} rows of the table were not observed and stay" for p, count in fit.kept.items()]
        if fit.scan_scatter > 0:
            lines.append(f"  scatter between scans beyond the points' errors: {100 * fit.scan_scatter:.1f} %")
        if fit.sidebands:
            lines.append("  side bands of one LO that differ (measured Tcal over the file's):")
        lines += [
            f"    {s.pol} LO {s.lo_mhz:.2f}: {s.upper} {s.upper_freq_mhz:.2f} MHz {s.upper_ratio:.4f}, "
            f"{s.lower} {s.lower_freq_mhz:.2f} MHz {s.lower_ratio:.4f} ({s.sigma:+.1f} sigma)"
            for s in fit.sidebands
        ]
        lines += [*fit_common.predicted(self.predicted), *fit_common.notes(fit.warnings)]
        foot = self.common.foot("tcal") if self.rxg_changes else ["Nothing is left to put into the rxg file."]
        return "\n".join([*lines, *foot])

    def to_dict(self) -> dict[str, Any]:
        return self.common.to_dict() | {
            "method": self.method,
            "fit": self.fit.to_dict(),
            "warnings": list(self.fit.warnings),
            "predicted": [vars(one) for one in self.predicted],
            "rxg_changes": list(self.rxg_changes),
        }


def fit_tcal(
    logs: options.Logs,
    rxg: options.Rxg = [],  # noqa: B006
    method: Annotated[
        str,
        Param(
            "weighted and robust mean, plain mean, median, or a smooth curve over frequency.",
            choices=("weighted", "mean", "median", "smooth"),
        ),
    ] = "weighted",
    tolerance_mhz: Annotated[
        float, Param("Frequencies closer than this are one; a row of the table too.", unit="MHz")
    ] = 0.5,
    mask: Annotated[bool, Param("Leave out frequencies that look like interference.")] = True,
    opacity: options.Opacity = "auto",
    tatm: options.Tatm = "273",
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
) -> FitTcalResult:
    """Fit the noise diode's temperature at each observed frequency and merge it into the rxg's table.

    Tcal(K) = DPFU g(el) Tcal(Jy), so the gain of the rxg file is taken as right. Frequencies that were not observed
    keep their values; those with interference are reported and not merged (--no-mask: they are).

    Example:
        calibrant station fit tcal r1730ny.log --rxg nyx.rxg --method smooth

    Raises SolveError or DataError where no point is left, with the reasons.
    """
    from calibrant.station import tcal
    from calibrant.station.fitdata import tcal_data
    from calibrant.station.predict import predict
    from calibrant.station.robust import LOSSES

    if tolerance_mhz < 0:
        raise ParameterError(f"tolerance_mhz is {tolerance_mhz}; give 0 (exactly equal) or more")
    fit_common.check_robust(loss, limit, LOSSES)
    selection = fit_common.selection(source, detector, pol, freq, lo, scan, time, elevation, where)
    treated = options.of_receivers(opacity, tatm, like_gnplt=like_gnplt)
    use, names = fit_common.usable_points("tcal", logs, rxg, flux, session, errors, selection, **treated)
    fit = tcal.fit_tcal(
        tcal_data(use.points, like_gnplt), cast(dict[str, tcal.Table], use.rxg.tcal), method=cast(Any, method),
        tolerance_mhz=tolerance_mhz, mask=mask, like_gnplt=like_gnplt, loss=cast(Any, loss), limit=limit,
    )  # fmt: skip
    pols = dict.fromkeys(value.pol for value in fit.values)
    changes = tuple(
        {"pol": p, "tcal": [list(row) for row in fit.merged(p)]} for p in pols if fit.merged(p)
    )  # fmt: skip
    common = fit_common.common(use, names, session, "dpfu", "curve")
    return FitTcalResult(common, fit, changes, predict(use.points, use.rxg, changes, treated["opacity"]))
