"""Gain curve and DPFU from ONOFF gains: one curve for both polarisations, one DPFU each.

Model: gain = DPFU_pol g(x) f_source / t_detector, g a polynomial with maximum 1. f is the source's true flux density
over the assumed one, t the detector's true Tcal over the assumed one; both are optional. The mean of log t over the
detectors of a polarisation is 0, and the product of all f is 1 (or f of a reference source): otherwise they could not
be told from the DPFU. What sources and detectors differ by is part of the DPFU's error.

x is elevation (ELEV) or zenith distance (ALTAZ), degrees. Errors: `robust`. Degree: the lowest whose AICc is within
2 of the least (Burnham and Anderson 2002). Source of the definitions: the Field System's rxg format and GNPLT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.errors import ParameterError, SolveError
from calibrant.station.curve import CurveKind, GainCurve
from calibrant.station.robust import LIMIT, Array, Combined, Loss, Noise, RobustFit, combine, few, robust_fit

Factors = Literal["none", "factors", "auto"]
MAX_DEGREE = 4
"""The highest degree tried; the rxg format allows 9."""
AIC_MARGIN = 2.0
_SAME_ELEVATION = 0.5
"""Degrees within which elevations count as one."""


@dataclass(frozen=True)
class GainData:
    """Gains of one receiver, one row a point: K/Jy, their errors (None: unknown), elevations in degrees."""

    gain: Array
    elevation_deg: Array
    pol: NDArray[np.str_]
    error: Array | None = None
    scan: NDArray[np.int64] | None = None
    source: NDArray[np.str_] | None = None
    detector: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.gain)

    @property
    def pols(self) -> tuple[str, ...]:
        return tuple(p for p in ("l", "r") if np.any(self.pol == p))

    def select(self, mask: NDArray[np.bool_]) -> GainData:
        """The rows of a mask."""
        columns: dict[str, Any] = {name: value[mask] for name, value in vars(self).items() if value is not None}
        return replace(self, **columns)


@dataclass(frozen=True)
class Factor:
    """A source's flux density or a detector's Tcal, true over assumed, its error and number of points."""

    value: float
    error: float
    count: int


@dataclass(frozen=True)
class DegreeTrial:
    """One degree that was tried: chi2 with the noise of the highest degree, number of parameters, AICc."""

    degree: int
    chi2: float
    parameters: int
    aic: float


@dataclass(frozen=True)
class GainFit:
    """A gain curve with maximum 1, a DPFU per polarisation (K/Jy), and how well they are known."""

    curve: GainCurve
    dpfu: dict[str, float]
    dpfu_errors: dict[str, float]
    coefficient_errors: tuple[float, ...]
    names: tuple[str, ...]
    """What the rows of `covariance` are: dpfu_l, dpfu_r, c0, c1, ..."""
    covariance: Array = field(repr=False)
    degree: int
    degrees: tuple[DegreeTrial, ...]
    peak_elevation_deg: float
    elevation_range: tuple[float, float]
    extrapolated: bool
    """The maximum, and so the DPFU, lies outside the observed elevations."""
    chi2: float
    dof: int
    aic: float
    scale: float
    """What the quoted errors were multiplied with (where none were quoted: the error)."""
    scan_scatter: float
    """Relative scatter between scans beyond the errors of the points."""
    rms: float
    """Of the used residuals, relative to the model."""
    source_factors: dict[str, Factor]
    detector_factors: dict[str, Factor]
    residuals: Array = field(repr=False)
    """(n,) gain / model - 1."""
    used: NDArray[np.bool_] = field(repr=False)
    warnings: tuple[str, ...]
    method: str

    @property
    def reduced_chi2(self) -> float:
        return self.chi2 / self.dof if self.dof > 0 else math.nan

    def band(self, elevation_deg: ArrayLike, pol: str = "") -> Array:
        """One sigma of g at elevations in degrees; with `pol`, of DPFU g in K/Jy."""
        elevation = np.asarray(elevation_deg, dtype=np.float64)
        powers = np.power.outer(self.curve.argument(elevation), np.arange(self.degree + 1))
        first = len(self.dpfu)
        derivative = np.zeros((*elevation.shape, len(self.names)))
        derivative[..., first:] = powers * (self.dpfu[pol] if pol else 1.0)
        if pol:
            derivative[..., self.names.index(f"dpfu_{pol}")] = self.curve(elevation)
        variance = np.einsum("...i,ij,...j->...", derivative, self.covariance, derivative)
        return np.sqrt(np.maximum(variance, 0.0))

    def gain(self, pol: str, elevation_deg: ArrayLike) -> Array:
        """DPFU g at elevations in degrees, K/Jy."""
        return self.dpfu[pol] * self.curve(elevation_deg)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the points; the curve as in an rxg file."""
        plain = (
            "dpfu", "dpfu_errors", "names", "degree", "peak_elevation_deg", "elevation_range", "extrapolated", "chi2",
            "dof", "reduced_chi2", "aic", "scale", "scan_scatter", "rms", "method",
        )  # fmt: skip
        curve = {
            "kind": self.curve.kind, "coefficients": list(self.curve.coefficients),
            "errors": list(self.coefficient_errors), "opacity_corrected": self.curve.opacity_corrected,
        }  # fmt: skip
        factors = {
            name: {key: vars(item) for key, item in getattr(self, name).items()}
            for name in ("source_factors", "detector_factors")
        }
        counts = {"points": len(self.used), "rejected": int((~self.used).sum())}
        trials = [vars(trial) for trial in self.degrees]
        return (
            {name: getattr(self, name) for name in plain} | factors | counts
            | {"curve": curve, "covariance": self.covariance.tolist(), "degrees": trials}
        )  # fmt: skip


def fit_gain_curve(
    data: GainData, *, degree: int | None = None, kind: CurveKind = "elev", sources: str = "none",
    detectors: Factors = "none", loss: Loss = "tukey", limit: float = LIMIT, peak: Literal["all", "observed"] = "all",
    opacity_corrected: bool = False,
) -> GainFit:  # fmt: skip
    """Fit the curve and the DPFUs jointly; `degree` None: chosen by AICc among 0..4.

    sources: "none"; "factors", with product 1; or the name of the source whose flux density is right. detectors:
    "none", "factors", or "auto", which lets AICc decide. peak: where the maximum is looked for, 0 to 90 degrees as
    the Field System's programs do, or the observed elevations only.
    Raises SolveError where the data cannot tell the parameters apart, ParameterError for an impossible degree.
    """
    highest = _check(data, degree)
    setup = _Setup(data, kind, sources, detectors in ("factors", "auto"))
    rich = _solve(setup, highest, loss, limit)
    noise = rich.noise
    if detectors == "auto":
        plain = replace(setup, by_detector=False)
        singular = rich.rank < len(rich.parameters)
        if singular or _aicc(_solve(plain, highest, loss, limit, noise)) <= _aicc(rich):
            setup = plain
            rich = _solve(setup, highest, loss, limit)
            noise = rich.noise
    trials: tuple[DegreeTrial, ...] = ()
    if degree is None:
        trials = tuple(_trial(setup, d, loss, limit, noise) for d in range(highest + 1))
        least = min(t.aic for t in trials)
        degree = next(t.degree for t in trials if t.aic <= least + AIC_MARGIN)
    fit = _solve(setup, degree, loss, limit)
    if fit.rank < len(fit.parameters):
        raise SolveError(_degenerate(setup, degree))
    return _result(setup, fit, degree, trials, peak, opacity_corrected, loss)


def gnplt_gain_curve(
    data: GainData, *, degree: int, kind: CurveKind = "elev", opacity_corrected: bool = False
) -> GainFit:
    """GNPLT's own numbers for "Gain Curve and DPFU" of one polarisation.

    Unweighted least squares in x; DPFU is the largest value on the grid x = 0, 0.5, ... 89.5; rms with 1/N, relative
    to DPFU. The errors are those of least squares (GNPLT gives none).
    """
    _check(data, degree)
    x = GainCurve(kind, (0.0,)).argument(data.elevation_deg)
    design = np.power.outer(x / 90.0, np.arange(degree + 1))
    start = np.linalg.lstsq(design, data.gain, rcond=None)[0]
    fit = robust_fit(lambda p: (design @ p, design), start, data.gain, loss="none")
    unit = 90.0 ** -np.arange(degree + 1)
    raw, grid = fit.parameters * unit, np.arange(0.0, 90.0, 0.5)
    values = np.polynomial.polynomial.polyval(grid, raw)
    dpfu, best = float(values.max()), float(grid[int(np.argmax(values))])
    powers = best ** np.arange(degree + 1)
    jacobian = np.vstack([powers, np.eye(degree + 1) / dpfu - np.outer(raw, powers) / dpfu**2])
    covariance = jacobian @ (fit.covariance * np.outer(unit, unit)) @ jacobian.T
    errors = np.sqrt(np.diag(covariance))
    curve = GainCurve(kind, tuple(float(c) for c in raw / dpfu), opacity_corrected)
    elevation = best if kind == "elev" else 90.0 - best
    low, high = _range(data)
    pol = data.pols[0]
    return GainFit(
        curve, {pol: dpfu}, {pol: float(errors[0])}, tuple(errors[1:].tolist()), _names((pol,), degree), covariance,
        degree, (), elevation, (low, high), not low <= elevation <= high, fit.chi2, fit.dof, math.nan, fit.scale, 0.0,
        float(np.sqrt(np.mean(fit.residuals**2)) / dpfu), {}, {},
        data.gain / (dpfu * curve(data.elevation_deg)) - 1, fit.used, (),
        "as GNPLT: unweighted least squares, maximum on a 0.5 degree grid",
    )  # fmt: skip


# ---- the model -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Setup:
    """What is fitted: the data, the variable, and which factors are free."""

    data: GainData
    kind: CurveKind
    sources: str
    by_detector: bool

    @property
    def x(self) -> Array:
        return GainCurve(self.kind, (0.0,)).argument(self.data.elevation_deg)

    @property
    def centre(self) -> tuple[float, float]:
        """(middle, half width) of x: powers of (x - middle) / half width are well conditioned."""
        x = self.x
        return float(0.5 * (x.min() + x.max())), max(float(0.5 * np.ptp(x)), 1.0)

    @property
    def units(self) -> tuple[list[tuple[str, str]], NDArray[np.intp]]:
        """The (pol, detector) with an amplitude each (detector "" where not by detector), and which each point has."""
        if not self.by_detector or self.data.detector is None:
            pols = list(self.data.pols)
            return [(p, "") for p in pols], np.array([pols.index(p) for p in self.data.pol], dtype=np.intp)
        pairs = list(zip(self.data.pol.tolist(), self.data.detector.tolist(), strict=True))
        names = sorted(set(pairs))
        return names, np.array([names.index(pair) for pair in pairs], dtype=np.intp)

    @property
    def contrasts(self) -> tuple[list[str], Array, NDArray[np.intp]]:
        """(sources, (nsource, nfree) map from free parameters to log factors, source of each point)."""
        if self.sources == "none" or self.data.source is None:
            return [], np.zeros((0, 0)), np.zeros(len(self.data), np.intp)
        names, index = np.unique(self.data.source, return_inverse=True)
        identity = np.eye(len(names))
        if self.sources == "factors":
            identity[-1] = -1.0
            return names.tolist(), identity[:, :-1], index
        if self.sources not in names.tolist():
            raise ParameterError(
                f"sources={self.sources!r}: no points of that source; give 'none', 'factors' or one of "
                f"{', '.join(names.tolist())}"
            )
        return names.tolist(), np.delete(identity, names.tolist().index(self.sources), axis=1), index


def _solve(setup: _Setup, degree: int, loss: Loss, limit: float, noise: Noise | None = None) -> RobustFit:
    """Parameters: b_1..b_n of P(t) = 1 + sum b_k t^k, log amplitudes, free log source factors."""
    data = setup.data
    middle, half = setup.centre
    powers = np.power.outer((setup.x - middle) / half, np.arange(1, degree + 1))
    units, unit = setup.units
    _, contrast, source = setup.contrasts
    amplitude = (unit[:, None] == np.arange(len(units))).astype(np.float64)
    linear = np.hstack([amplitude, contrast[source]]) if contrast.size else amplitude

    def model(p: Array) -> tuple[Array, Array]:
        # Bounded, because a trial step far off may otherwise overflow.
        outer = np.exp(np.clip(linear @ p[degree:], -60.0, 60.0))
        value = outer * (1.0 + powers @ p[:degree])
        return value, np.hstack([outer[:, None] * powers, value[:, None] * linear])

    return robust_fit(
        model, _start(data, powers, unit, linear.shape[1]), data.gain, data.error,
        group=data.scan, loss=loss, limit=limit, noise=noise,
    )  # fmt: skip


def _start(data: GainData, powers: Array, unit: NDArray[np.intp], nlinear: int) -> Array:
    """Amplitudes from medians, then the polynomial by least squares on what they leave."""
    medians = np.array([np.median(data.gain[unit == u]) for u in range(int(unit.max()) + 1)])
    relative = data.gain / medians[unit]
    design = np.column_stack([np.ones(len(relative)), powers])
    first = np.linalg.lstsq(design, np.clip(relative, 0.3, 3.0), rcond=None)[0]
    level = first[0] if first[0] > 0 else 1.0
    slopes = first[1:] / level if first[0] > 0 else np.zeros(powers.shape[1])
    factors = np.zeros(nlinear - len(medians))
    return np.concatenate([slopes, np.log(medians * level), factors])


def _aicc(fit: RobustFit) -> float:
    """chi2 + 2 k corrected for small samples."""
    count, k = int(fit.used.sum()), len(fit.parameters)
    return fit.gls_chi2 + 2 * k + (2 * k * (k + 1) / (count - k - 1) if count > k + 1 else math.inf)


def _trial(setup: _Setup, degree: int, loss: Loss, limit: float, noise: Noise) -> DegreeTrial:
    fit = _solve(setup, degree, loss, limit, noise)
    return DegreeTrial(degree, fit.gls_chi2, len(fit.parameters), _aicc(fit))


# ---- from parameters to DPFU and coefficients ------------------------------------------------------------------
def _result(
    setup: _Setup, fit: RobustFit, degree: int, trials: tuple[DegreeTrial, ...], peak: str, opacity_corrected: bool,
    loss: Loss,
) -> GainFit:  # fmt: skip
    data, pols = setup.data, setup.data.pols
    low, high = _range(data)
    shape = _Shape.of(setup, fit.parameters[:degree], (low, high) if peak == "observed" else (0.0, 90.0))
    levels, maps, extra = _levels(setup, fit, degree)
    dpfu = {p: float(np.exp(levels[i]) * shape.top) for i, p in enumerate(pols)}
    jacobian = np.zeros((len(pols) + degree + 1, len(fit.parameters)))
    for i, p in enumerate(pols):
        jacobian[i] = dpfu[p] * maps[i]
        jacobian[i, :degree] += dpfu[p] * shape.top_slope
    jacobian[len(pols) :, :degree] = shape.coefficient_slopes
    covariance = jacobian @ fit.covariance @ jacobian.T
    scale = np.array([dpfu[p] for p in pols])
    covariance[: len(pols), : len(pols)] += extra * np.outer(scale, scale)
    errors = np.sqrt(np.diag(covariance))
    curve = GainCurve(setup.kind, tuple(shape.coefficients.tolist()), opacity_corrected)
    relative = fit.residuals / (data.gain - fit.residuals)
    result = GainFit(
        curve, dpfu, {p: float(errors[i]) for i, p in enumerate(pols)}, tuple(errors[len(pols) :].tolist()),
        _names(pols, degree), covariance, degree, trials, shape.elevation, (low, high),
        not low <= shape.elevation <= high, fit.chi2, fit.dof, _aicc(fit), fit.scale, fit.common,
        float(np.sqrt(np.mean(relative[fit.used] ** 2))), _source_factors(setup, fit, degree),
        _detector_factors(setup, fit, degree, levels), relative, fit.used, (), _method(data, loss),
    )  # fmt: skip
    return replace(result, warnings=tuple(_warnings(setup, result, fit)))


@dataclass(frozen=True)
class _Shape:
    """The polynomial brought to maximum 1, in powers of x, and its derivatives by b_1..b_n."""

    coefficients: Array
    coefficient_slopes: Array
    """(n+1, n)."""
    top: float
    """The maximum of P before."""
    top_slope: Array
    """d log(maximum) / d b_k; the place of the maximum does not matter to first order."""
    elevation: float

    @classmethod
    def of(cls, setup: _Setup, b: Array, limits: tuple[float, float]) -> _Shape:
        middle, half = setup.centre
        degree = len(b)
        inner = np.polynomial.Polynomial([-middle / half, 1.0 / half])
        to_x = np.zeros((degree + 1, degree + 1))
        for k in range(degree + 1):
            power = (inner**k).coef if k else np.ones(1)
            to_x[: len(power), k] = power
        raw = to_x @ np.concatenate([[1.0], b])
        elevation, top = GainCurve(setup.kind, tuple(raw.tolist())).maximum(*limits)
        if degree == 0:
            elevation = 0.5 * (float(setup.data.elevation_deg.min()) + float(setup.data.elevation_deg.max()))
        if top <= 0:
            raise SolveError(
                f"the fitted curve of degree {degree} is negative everywhere; look at the gains with `calibrant "
                "station plot --x elevation --y gain`, delete what is wrong, or give a lower degree"
            )
        x = elevation if setup.kind == "elev" else 90.0 - elevation
        slope = np.asarray(((x - middle) / half) ** np.arange(1, degree + 1) / top, dtype=np.float64)
        normal = raw / top
        return cls(normal, to_x[:, 1:] / top - np.outer(normal, slope), top, slope, elevation)


def _levels(setup: _Setup, fit: RobustFit, degree: int) -> tuple[Array, Array, Array]:
    """(log amplitude of each pol, its derivatives by the parameters, extra covariance of the logs).

    The extra part is what detectors (Tcal) and sources (flux) differ by, so that their mean is only as sure as that.
    """
    units, _ = setup.units
    pols = setup.data.pols
    levels, maps = np.zeros(len(pols)), np.zeros((len(pols), len(fit.parameters)))
    extra = np.zeros((len(pols), len(pols)))
    for i, pol in enumerate(pols):
        own = degree + np.array([u for u, (p, _) in enumerate(units) if p == pol])
        mean: Combined = combine(fit.parameters[own], fit.covariance[np.ix_(own, own)])
        levels[i], maps[i, own] = mean.mean, mean.weights
        extra[i, i] = mean.extra
    names, contrast, _ = setup.contrasts
    if setup.sources == "factors" and len(names) > 1:
        free = slice(degree + len(units), None)
        spread = contrast @ fit.parameters[free]
        own_error = np.diag(contrast @ fit.covariance[free, free] @ contrast.T)
        scatter = max(0.0, float((spread**2).sum() / (len(names) - 1) - own_error.mean()))
        extra += scatter / len(names) * few(len(names))
    return levels, maps, extra


def _source_factors(setup: _Setup, fit: RobustFit, degree: int) -> dict[str, Factor]:
    names, contrast, index = setup.contrasts
    if not names:
        return {}
    free = slice(degree + len(setup.units[0]), None)
    factor = np.exp(contrast @ fit.parameters[free])
    error = factor * np.sqrt(np.diag(contrast @ fit.covariance[free, free] @ contrast.T))
    count = np.bincount(index[fit.used], minlength=len(names))
    return {n: Factor(float(factor[i]), float(error[i]), int(count[i])) for i, n in enumerate(names)}


def _detector_factors(setup: _Setup, fit: RobustFit, degree: int, levels: Array) -> dict[str, Factor]:
    """t = DPFU / amplitude for each detector, by name; empty where they have no amplitude each."""
    units, unit = setup.units
    result = {}
    for u, (pol, detector) in enumerate(units):
        if detector:
            value = math.exp(levels[setup.data.pols.index(pol)] - fit.parameters[degree + u])
            error = value * math.sqrt(fit.covariance[degree + u, degree + u])
            result[detector] = Factor(value, error, int((unit[fit.used] == u).sum()))
    return result


# ---- what the data allow, in words -----------------------------------------------------------------------------
def _check(data: GainData, degree: int | None) -> int:
    """The highest degree that can be tried."""
    if len(data) < 2:
        raise SolveError(f"{len(data)} points are left for the gain curve; at least 2 are needed")
    places = _distinct(data.elevation_deg)
    if degree is not None:
        if not 0 <= degree <= 9:
            raise ParameterError(f"degree is {degree}; the rxg format holds 1 to 10 coefficients: give 0 to 9")
        if degree >= places:
            raise SolveError(
                f"a curve of degree {degree} needs points at {degree + 1} elevations at least; the {len(data)} points "
                f"are at {places} (from {data.elevation_deg.min():.1f} to {data.elevation_deg.max():.1f} degrees): "
                f"give --degree {places - 1} or less, or observe more elevations"
            )
        return degree
    if places < 2:
        raise SolveError(
            f"the {len(data)} points are all at one elevation ({data.elevation_deg.mean():.1f} degrees), which says "
            "nothing about the gain curve; fit the DPFU with the curve in the rxg file: --mode dpfu"
        )
    return max(0, min(MAX_DEGREE, places - 2))


def _distinct(elevation: Array) -> int:
    """Number of elevations more than half a degree apart."""
    ordered = np.sort(elevation)
    return 1 + int((np.diff(ordered) > _SAME_ELEVATION).sum())


def _range(data: GainData) -> tuple[float, float]:
    return float(data.elevation_deg.min()), float(data.elevation_deg.max())


def _names(pols: tuple[str, ...], degree: int) -> tuple[str, ...]:
    return tuple(f"dpfu_{p}" for p in pols) + tuple(f"c{k}" for k in range(degree + 1))


def _method(data: GainData, loss: Loss) -> str:
    weighting = "weighted" if data.error is not None else "unweighted"
    robust = {
        "tukey": "outliers found by Tukey's biweight left out", "huber": "Huber's weights",
        "clip": "sigma clipping", "none": "no rejection",
    }  # fmt: skip
    return f"{weighting} least squares, {robust[loss]}, common scatter between scans"


def _degenerate(setup: _Setup, degree: int) -> str:
    extras = [word for word, on in (("source", setup.sources != "none"), ("detector", setup.by_detector)) if on]
    what = f" with {' and '.join(extras)} factors" if extras else ""
    return (
        f"a curve of degree {degree}{what} cannot be told from these {len(setup.data)} points: some sources, detectors "
        "and elevations do not overlap. Give a lower degree, fewer factors, or more scans"
    )


def _warnings(setup: _Setup, result: GainFit, fit: RobustFit) -> list[str]:
    low, high = result.elevation_range
    notes = []
    if result.extrapolated:
        notes.append(
            f"The maximum of the curve, at {result.peak_elevation_deg:.1f} degrees, lies outside the observed "
            f"elevations {low:.1f} to {high:.1f}: the DPFU is an extrapolation (DPFU x g is not, inside)."
        )
    place, lowest = result.curve.scaled(-1.0).maximum()
    if lowest > 0:
        notes.append(f"The curve is negative at {place:.1f} degrees elevation ({-lowest:.3f}): do not use it there.")
    notes += _coverage(setup.data, result.degree)
    rejected = int((~result.used).sum())
    if rejected > 0.2 * len(result.used):
        notes.append(
            f"{rejected} of {len(result.used)} points were left out as outliers: look at them before updating."
        )
    if result.scale > 1.5 and setup.data.error is not None:
        notes.append(f"The points scatter {result.scale:.1f} times more than their quoted errors; errors are scaled.")
    return notes + _disagreeing_sources(setup, result, fit)


def _coverage(data: GainData, degree: int) -> list[str]:
    ordered = np.unique(data.elevation_deg)
    notes = []
    if ordered[-1] - ordered[0] < 30.0 and degree > 0:
        notes.append(f"Only {ordered[-1] - ordered[0]:.0f} degrees of elevation are covered; a curve wants 30 or more.")
    gaps = np.diff(ordered)
    if len(gaps) and gaps.max() > 20.0:
        k = int(np.argmax(gaps))
        notes.append(f"No points between {ordered[k]:.0f} and {ordered[k + 1]:.0f} degrees elevation.")
    return notes


def _disagreeing_sources(setup: _Setup, result: GainFit, fit: RobustFit) -> list[str]:
    """Sources whose points lie off the curve by more than 4 sigma, where they have no factors."""
    data = setup.data
    if data.source is None or setup.sources != "none":
        return []
    model = data.gain - fit.residuals
    off = []
    for name in np.unique(data.source):
        mine = (data.source == name) & result.used
        if not mine.any():
            continue
        weight = (model[mine] / fit.sigma[mine]) ** 2
        scans = 1 if data.scan is None else len(np.unique(data.scan[mine]))
        mean = float((weight * result.residuals[mine]).sum() / weight.sum())
        if abs(mean) > 4 * math.sqrt(1 / weight.sum() + float(np.mean((fit.shared[mine] / model[mine]) ** 2)) / scans):
            off.append(f"{name} {100 * mean:+.1f} %")
    if not off or len(np.unique(data.source)) < 2:
        return []
    return [
        f"Sources off the common curve: {', '.join(off)}. Their flux densities may be wrong; try --factors factors."
    ]
