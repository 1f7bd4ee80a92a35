"""`calibrant station fit gain`: gain curve and DPFU, DPFU alone, or the scale of Tcal."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from calibrant.errors import ParameterError
from calibrant.params import Param
from calibrant.station.verbs import fit_common, options

if TYPE_CHECKING:
    from calibrant.station.dpfu import Advice, LevelFit
    from calibrant.station.gaincurve import GainData, GainFit
    from calibrant.station.predict import Prediction
    from calibrant.station.rxg import Rxg


@dataclass(frozen=True)
class FitGainResult:
    """What was fitted, from which points, and what it changes in the rxg file."""

    common: fit_common.Common
    mode: str
    method: str
    curve: GainFit | None
    level: LevelFit | None
    """The DPFU or the scale of modes dpfu and scale, and the second polarisation's DPFU of --like-gnplt."""
    advice: Advice
    old_dpfu: dict[str, float]
    warnings: tuple[str, ...]
    rxg_changes: tuple[dict[str, Any], ...]
    predicted: tuple[Prediction, ...] = ()
    """What the changes do to these points."""

    def summary(self) -> str:
        lines = [*self.common.head(), *textwrap.wrap(self.method, 98, subsequent_indent="  ")]
        if self.curve is not None:
            lines += _curve_lines(self.curve, self.old_dpfu)
        if self.level is not None:
            lines += _level_lines(self.level, self.mode, self.old_dpfu)
        lines += _advice_lines(self.advice)
        lines += [*fit_common.predicted(self.predicted), *fit_common.notes(self.warnings)]
        return "\n".join([*lines, *self.common.foot("gain")])

    def to_dict(self) -> dict[str, Any]:
        return self.common.to_dict() | {
            "mode": self.mode,
            "method": self.method,
            "curve": self.curve.to_dict() if self.curve else None,
            "level": self.level.to_dict() if self.level else None,
            "advice": self.advice.to_dict(),
            "old_dpfu": self.old_dpfu,
            "warnings": list(self.warnings),
            "predicted": [vars(one) for one in self.predicted],
            "rxg_changes": list(self.rxg_changes),
        }


def fit_gain(
    logs: options.Logs,
    rxg: options.Rxg = [],  # noqa: B006
    mode: Annotated[
        str,
        Param(
            "curve: gain curve and DPFU; dpfu: DPFU with the rxg's curve; scale: factor for the whole Tcal table.",
            choices=("curve", "dpfu", "scale"),
        ),
    ] = "curve",
    degree: Annotated[int, Param("Degree of the curve, 0 to 9. -1: chosen by AIC (--like-gnplt: the file's).")] = -1,
    kind: Annotated[
        str, Param("Variable: elevation or zenith distance. Empty: that of the rxg.", choices=("", "elev", "altaz"))
    ] = "",
    factors: Annotated[
        str,
        Param("Free factors for the sources' flux densities: none, factors (product 1), or the source that is right."),
    ] = "none",
    detectors: Annotated[
        str,
        Param(
            "Free factors for the Tcal of each detector; auto: where AIC wants them.",
            choices=("auto", "none", "factors"),
        ),
    ] = "auto",
    peak: Annotated[
        str,
        Param(
            "Where the curve's maximum, the DPFU, is taken: all, 0 to 90 degrees; observed, where points are.",
            choices=("all", "observed"),
        ),
    ] = "all",
    virtual: Annotated[
        list[str],
        Param(
            "Points that were not measured, to hold the curve: 'ELEVATION=GAIN[:WEIGHT]', as '5=0.08:3'; for each "
            "polarisation. The weight is in typical points; with --detectors none.",
            unit="deg=K/Jy",
        ),
    ] = [],  # noqa: B006
    opacity: options.Opacity = "auto",
    tatm: options.Tatm = "273",
    gain_tcal: options.GainTcal = 0.0,
    gain_at: options.GainAt = "",
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
) -> FitGainResult:
    """Fit gain curve and DPFU to ONOFF gains, weighted and robust, both polarisations with one curve.

    The result is written nowhere: save it with --json > fit.json, look at it, and put it into the rxg file with
    `calibrant station update`.

    Example:
        calibrant station fit gain r1730ny.log --rxg nyx.rxg --json > fit.json

    Raises SolveError where the points do not tell the parameters, DataError where no point is left, with reasons.
    """
    from calibrant.station.dpfu import advise
    from calibrant.station.fitdata import gain_data, virtual_points, with_virtual
    from calibrant.station.predict import predict
    from calibrant.station.robust import LOSSES
    from calibrant.station.rxg import Receivers

    selection = fit_common.selection(source, detector, pol, freq, lo, scan, time, elevation, where)
    if mode == "scale" and (gain_tcal or gain_at):
        raise ParameterError("mode is scale, which finds the Tcal that fits the gain: leave --gain-tcal, --gain-at out")
    treated = options.of_receivers(opacity, tatm, gain_tcal, gain_at, like_gnplt=like_gnplt)
    use, names = fit_common.usable_points("gain", logs, rxg, flux, session, errors, selection, **treated)
    fit_common.check_robust(loss, limit, LOSSES)
    own = use.points.derived(Receivers([use.rxg]), treated["opacity"]) if gain_tcal or gain_at else use.points
    trusted: Literal["tcal", "gain"] = "gain" if mode == "scale" and not like_gnplt else "tcal"
    data = gain_data(use.points, like_gnplt, trusted)
    if virtual:
        _check_virtual(mode, factors, detectors)
        data, detectors = with_virtual(data, virtual_points(virtual)), "none"
    corrected, _ = treated["opacity"].corrects(use.rxg)
    curve, level, method = _fit(
        data, use.rxg, mode, degree, kind, factors, detectors, peak, corrected, loss, limit, like_gnplt
    )
    warnings = list(curve.warnings if curve else ())
    warnings += _unshared(curve, level, use.rxg)
    method += f"; virtual points {', '.join(virtual)}" if virtual else ""
    method += f"; gain with Tcal {gain_tcal:g} K" if gain_tcal else f"; gain scaled to {gain_at}" if gain_at else ""
    old = {str(p): use.rxg.dpfu[p] for p in use.rxg.pols}
    assumed = {"curve": ("tcal",), "dpfu": ("tcal", "curve"), "scale": ("dpfu", "curve")}[mode]
    assumed = tuple(name for name in assumed if not (name == "tcal" and (gain_tcal or gain_at)))
    common = fit_common.common(use, names, session, *assumed)
    changes = tuple(_changes(mode, curve, level))
    return FitGainResult(
        common, mode, method, curve, level,
        advise(gain_data(own, like_gnplt), use.rxg.curve, old, use.points["freq_mhz"]), old,
        tuple(warnings), changes, predict(use.points, use.rxg, changes, treated["opacity"]),
    )  # fmt: skip


def _check_virtual(mode: str, factors: str, detectors: str) -> None:
    """Virtual points have no source and no detector, and hold a curve only."""
    if mode != "curve":
        raise ParameterError(
            f"--virtual with mode {mode}: virtual points hold a curve; leave them out, or --mode curve"
        )
    if factors != "none" or detectors == "factors":
        raise ParameterError(
            "--virtual: virtual points have no source and no detector; leave --factors, --detectors out"
        )


def _fit(
    data: GainData, rxg: Rxg, mode: str, degree: int, kind: str, factors: str, detectors: str, peak: str,
    corrected: bool, loss: str, limit: float, like_gnplt: bool,
) -> tuple[GainFit | None, LevelFit | None, str]:  # fmt: skip
    from calibrant.station.dpfu import new_dpfu, scale_tcal
    from calibrant.station.gaincurve import fit_gain_curve, gnplt_gain_curve

    variable = cast(Literal["elev", "altaz"], kind or rxg.curve.kind)
    robust: dict[str, Any] = {"loss": loss, "limit": limit}
    if mode == "dpfu":
        level = new_dpfu(data, rxg.curve, like_gnplt=like_gnplt, **robust)
        return None, level, f"New DPFU with the curve of {rxg.name}: {level.method}"
    if mode == "scale":
        level = scale_tcal(data, rxg.curve, cast(dict[str, float], rxg.dpfu), like_gnplt=like_gnplt, **robust)
        return None, level, f"Scale of the Tcal table with DPFU and curve of {rxg.name}: {level.method}"
    if not like_gnplt:
        fit = fit_gain_curve(
            data, degree=None if degree < 0 else degree, kind=variable, sources=factors,
            detectors=cast(Any, detectors), peak=cast(Any, peak), opacity_corrected=corrected, **robust,
        )  # fmt: skip
        return fit, None, f"Gain curve and DPFU: {fit.method}"
    first = data.pols[0]
    chosen = len(rxg.curve.coefficients) - 1 if degree < 0 else degree
    fit = gnplt_gain_curve(data.select(data.pol == first), degree=chosen, kind=variable, opacity_corrected=corrected)
    rest = data.select(data.pol != first)
    other = new_dpfu(rest, fit.curve, like_gnplt=True) if len(rest) else None
    return fit, other, f"Gain curve and DPFU of pol {first}: {fit.method}; the other polarisation: New DPFU"


def _changes(mode: str, curve: GainFit | None, level: LevelFit | None) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = []
    if curve is not None:
        c = curve.curve
        entry = {"kind": c.kind, "coefficients": list(c.coefficients), "opacity_corrected": c.opacity_corrected}
        changes = [{"curve": entry}, *({"pol": p, "dpfu": value} for p, value in curve.dpfu.items())]
    if level is not None and mode == "scale":
        changes += [{"pol": p, "scale_tcal": 1.0 / value} for p, value in level.values.items()]
    elif level is not None:
        changes += [{"pol": p, "dpfu": value} for p, value in level.values.items()]
    return changes


def _unshared(curve: GainFit | None, level: LevelFit | None, rxg: Rxg) -> list[str]:
    """The curve serves both polarisations; one without points would get a new curve under its old DPFU."""
    done = [*(curve.dpfu if curve else rxg.pols), *(level.values if level else ())]
    lost = [p for p in rxg.pols if p not in done]
    if not lost:
        return []
    return [
        f"The curve serves pol {lost[0]} too, which has no points here: its DPFU belongs to the old curve. Fit both "
        "polarisations together, or the other's DPFU afterwards (--mode dpfu)."
    ]


# ---- in words --------------------------------------------------------------------------------------------------
def _curve_lines(fit: GainFit, old: dict[str, float]) -> list[str]:
    lines = [f"  {'':10s} {'value':>14s} {'error':>12s}"]
    for p, value in fit.dpfu.items():
        change = f"   {100 * (value / old[p] - 1):+.2f} % of the file's {old[p]:.6g}" if old.get(p) else ""
        lines.append(f"  DPFU {p:5s} {value:14.6g} {fit.dpfu_errors[p]:12.2g}{change}   K/Jy")
    for k, (value, error) in enumerate(zip(fit.curve.coefficients, fit.coefficient_errors, strict=True)):
        lines.append(f"  c{k:<9d} {value:14.6e} {error:12.2e}")
    low, high = fit.elevation_range
    flag = ", opacity corrected" if fit.curve.opacity_corrected else ""
    lines.append(
        f"  {fit.curve.kind.upper()} POLY of degree {fit.degree}{flag}, maximum 1 at {fit.peak_elevation_deg:.1f} deg"
        f"{' (EXTRAPOLATED)' if fit.extrapolated else ''}; points from {low:.1f} to {high:.1f} deg"
    )
    if fit.degrees:
        least = min(t.aic for t in fit.degrees)
        tried = ", ".join(f"{t.degree}: {t.aic - least:.1f}" for t in fit.degrees)
        lines.append(f"  AIC above the least, by degree: {tried}")
    lines.append(fit_common.quality(fit.reduced_chi2, fit.dof, fit.rms, fit.scan_scatter, int((~fit.used).sum())))
    lines += _factor_lines("flux density, true over assumed", fit.source_factors)
    return lines + _factor_lines("Tcal, true over assumed", fit.detector_factors)


def _factor_lines(what: str, factors: dict[str, Any]) -> list[str]:
    if not factors:
        return []
    lines = [f"  {what}:"]
    return lines + [
        f"    {name:12s} {f.value:8.4f} +- {f.error:.4f}  ({f.count} points)" for name, f in factors.items()
    ]


def _level_lines(level: LevelFit, mode: str, old: dict[str, float]) -> list[str]:
    lines = []
    for p, value in level.values.items():
        error, count = level.errors[p], level.counts[p]
        if mode == "scale":
            lines.append(
                f"  pol {p}: gain / (DPFU g) = {value:.5f} +- {error:.5f} ({count} points): Tcal / {value:.5f}"
            )
        else:
            change = f", {100 * (value / old[p] - 1):+.2f} %" if old.get(p) else ""
            lines.append(f"  pol {p}: DPFU {value:.6g} +- {error:.2g} K/Jy ({count} points{change})")
    return lines


def _advice_lines(advice: Advice) -> list[str]:
    lines = [
        f"  Tcal ratio with the rxg file: median {advice.median:.4f}, scatter {advice.scatter:.4f}; after changing"
    ]
    labels = {"dpfu": "DPFU, or Tcal scale", "curve": "DPFU and curve", "tcal": "Tcal(K) by frequency"}
    lines += [
        f"    {labels[r.name]:22s} median {r.median:.4f}, scatter {r.scatter:.4f} ({100 * r.explained:.0f} % explained)"
        for r in advice.remedies
    ]
    return [*lines, *textwrap.wrap(advice.reason, 98, initial_indent="  ", subsequent_indent="  ")]
