"""Receiver temperature and zenith opacity from the system temperature against airmass.

Model: Tsys - Tspill = Trec_pol + Tatm (1 - exp(-tau0(t) airmass))

By default one Trec per polarisation with an opacity tau0 that is linear between the mean times of the segments
(constant before the first and after the last), fitted together: the segments with a large range of airmass fix Trec for
the others. As in GNPLT (`gnplt_trec`), or `per_segment`: each segment has its own Trec.
Errors: `robust`, the scatter between scans in units of the airmass (the opacity changes from scan to scan).
Source of the model and of GNPLT's recipe: the Field System reference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import SolveError
from calibrant.station.robust import LIMIT, Array, Loss, RobustFit, combine, robust_fit, weighted_mean

MIN_POINTS = 3
MIN_AIRMASS_SPAN = 0.3
MAX_TREC_ERROR = 0.5
"""A Trec whose error is more than this fraction of it is refused: nothing was measured."""
MAX_TATM_ERROR = 30.0
"""K; a fitted Tatm less sure than this is refused: the literature knows it better."""
_GNPLT_START = 14.0


@dataclass(frozen=True)
class TrecData:
    """One row a point: Tsys - Tspill (K), airmass, time (s), polarisation; errors (K), scans and detectors optional."""

    tsys_minus_tspill_k: Array
    airmass: Array
    time: Array
    pol: NDArray[np.str_]
    error: Array | None = None
    scan: NDArray[np.int64] | None = None
    detector: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.time)

    @property
    def pols(self) -> tuple[str, ...]:
        return tuple(p for p in ("l", "r") if np.any(self.pol == p))

    def select(self, mask: NDArray[np.bool_]) -> TrecData:
        """The rows of a mask."""
        columns: dict[str, Any] = {name: value[mask] for name, value in vars(self).items() if value is not None}
        return replace(self, **columns)


@dataclass(frozen=True)
class Segment:
    """One stretch of time: tau0 and its error (nepers at the zenith), its own Trec per pol where it has one."""

    start: float
    end: float
    points: int
    airmass_range: tuple[float, float]
    tau0: float
    tau0_error: float
    trec: dict[str, float]
    trec_errors: dict[str, float]
    note: str = ""
    """Why it has no solution."""

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class TrecFit:
    """Trec per polarisation (K) and tau0 per segment; `tatm_k` the value used, or the mean of those of the points."""

    trec: dict[str, float]
    errors: dict[str, float]
    segments: tuple[Segment, ...]
    tatm_k: float
    tatm_error: float
    """0 where Tatm was given."""
    names: tuple[str, ...]
    covariance: Array = field(repr=False)
    chi2: float
    dof: int
    scale: float
    scan_scatter_k: float
    """Scatter between scans at airmass 1 beyond the points' errors, K."""
    detector_scatter_k: dict[str, float]
    """By how much the detectors' own Trec differ beyond their errors."""
    residuals: Array = field(repr=False)
    used: NDArray[np.bool_] = field(repr=False)
    iterations: int
    warnings: tuple[str, ...]
    method: str

    @property
    def reduced_chi2(self) -> float:
        return self.chi2 / self.dof if self.dof > 0 else math.nan

    def to_dict(self) -> dict[str, Any]:
        names = (
            "trec", "errors", "tatm_k", "tatm_error", "names", "chi2", "dof", "reduced_chi2", "scale",
            "scan_scatter_k", "detector_scatter_k", "method",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {
            "segments": [segment.to_dict() for segment in self.segments],
            "covariance": self.covariance.tolist(),
            "points": len(self.used),
            "rejected": int((~self.used).sum()),
        }


def fit_trec(
    data: TrecData, *, interval_hours: float = 1.0, tatm_k: float | Array = 273.0, fit_tatm: bool = False,
    per_segment: bool = False, loss: Loss = "tukey", limit: float = LIMIT,
) -> TrecFit:  # fmt: skip
    """Fit Trec and tau0; `tatm_k` one value or one a point, the start where `fit_tatm`.

    Raises SolveError where the airmasses do not tell Trec from the atmosphere, in words.
    """
    _check(data)
    tatm = np.broadcast_to(np.asarray(tatm_k, dtype=np.float64), (len(data),))
    segment = equal_bins(data.time, interval_hours)
    if per_segment:
        return _each(data, segment, tatm, loss, limit)
    return _joint(data, segment, tatm, fit_tatm, loss, limit)


def equal_bins(time: Array, interval_hours: float) -> NDArray[np.intp]:
    """Number of the segment of each point: equal parts of the whole time, none longer than the interval."""
    span = float(np.ptp(time))
    count = max(1, math.ceil(span / (interval_hours * 3600.0) - 1e-9))
    place = (time - time.min()) / (span / count) if span > 0 else np.zeros(len(time))
    filled = np.minimum(place.astype(np.intp), count - 1)
    return np.unique(filled, return_inverse=True)[1]


def consecutive(time: Array, interval_hours: float) -> NDArray[np.intp]:
    """GNPLT's segments: points in the order of the log, a new one when more than the interval after its start."""
    number, start, result = 0, float(time[0]), np.zeros(len(time), np.intp)
    for i, t in enumerate(time.tolist()):
        if t - start > interval_hours * 3600.0:
            number, start = number + 1, t
        result[i] = number
    return result


# ---- one Trec, tau0 by segment ---------------------------------------------------------------------------------
def _joint(data: TrecData, segment: NDArray[np.intp], tatm: Array, fit_tatm: bool, loss: Loss, limit: float) -> TrecFit:
    units, unit = _units(data)
    nseg, nunit = int(segment.max()) + 1, len(units)
    onehot_unit = (unit[:, None] == np.arange(nunit)).astype(float)
    hats = _hats(data.time, segment)
    relative = tatm / tatm.mean()

    def model(p: Array) -> tuple[Array, Array]:
        tau = np.clip(hats @ p[nunit : nunit + nseg] * data.airmass, -3.0, 30.0)
        level = p[-1] * relative if fit_tatm else tatm
        sky, gone = -np.expm1(-tau), np.exp(-tau)
        derivative = [onehot_unit, hats * (level * data.airmass * gone)[:, None]]
        if fit_tatm:
            derivative.append((relative * sky)[:, None])
        return p[unit] + level * sky, np.hstack(derivative)

    start = _start(data, tatm, nunit, nseg)
    if fit_tatm:
        start = np.append(start, tatm.mean())
    fit = robust_fit(
        model, start, data.tsys_minus_tspill_k, data.error, group=data.scan, common=data.airmass,
        loss=loss, limit=limit,
    )  # fmt: skip
    lost = [s for s in range(nseg) if not (fit.used & (segment == s)).any()]
    unknown = int((~(hats[fit.used] > 0).any(axis=0)).sum())
    _refuse(data, fit, unknown + sum(not (fit.used & (unit == u)).any() for u in range(nunit)), fit_tatm)
    trec, errors, scatter, maps = {}, {}, {}, []
    for pol in data.pols:
        own = np.array([u for u, (p, _) in enumerate(units) if p == pol and (fit.used & (unit == u)).any()], np.intp)
        if not len(own):
            raise SolveError(f"all points of pol {pol} lie far off the other polarisation's: fit it alone, --pol {pol}")
        mean = combine(fit.parameters[own], fit.covariance[np.ix_(own, own)])
        trec[pol], errors[pol], scatter[pol] = mean.mean, mean.error, mean.scatter
        row = np.zeros(len(fit.parameters))
        row[own] = mean.weights
        maps.append(row)
    # A segment's tau0 is that at the mean time of its points.
    jacobian = np.vstack([*maps, np.eye(len(fit.parameters))[nunit:]])
    for s in set(range(nseg)) - set(lost):
        jacobian[len(maps) + s, nunit : nunit + nseg] = hats[fit.used & (segment == s)].mean(axis=0)
    covariance = jacobian @ fit.covariance @ jacobian.T
    tau0, tau0_errors = jacobian @ fit.parameters, np.sqrt(np.diag(covariance))
    for i, pol in enumerate(data.pols):
        covariance[i, i] = errors[pol] ** 2
    names = (*(f"trec_{p}" for p in data.pols), *(f"tau0_{s}" for s in range(nseg)), *(["tatm"] if fit_tatm else []))
    segments = tuple(
        _segment(data, segment == s, math.nan, math.nan, note="all its points were left out as outliers")
        if s in lost
        else _segment(data, segment == s, float(tau0[len(maps) + s]), float(tau0_errors[len(maps) + s]))
        for s in range(nseg)
    )
    result = TrecFit(
        trec, errors, segments, float(fit.parameters[-1]) if fit_tatm else float(tatm.mean()),
        float(fit.errors[-1]) if fit_tatm else 0.0, names, covariance, fit.chi2, fit.dof, fit.scale, fit.common,
        scatter, fit.residuals, fit.used, 0, tuple(_warnings(data, trec, errors, segments, fit)),
        f"one Trec per polarisation, {'one tau0' if nseg == 1 else f'tau0 linear between {nseg} times'}, "
        f"{'weighted' if data.error is not None else 'unweighted'} robust least squares",
    )  # fmt: skip
    _judge(result, data)
    return result


def _hats(time: Array, segment: NDArray[np.intp]) -> Array:
    """(n, segments): weights of the segments' opacities at the time of each point, linear between their mean times."""
    count = int(segment.max()) + 1
    middle = np.bincount(segment, time, count) / np.bincount(segment, minlength=count)
    return np.stack([np.interp(time, middle, one) for one in np.eye(count)], axis=1)


def _units(data: TrecData) -> tuple[list[tuple[str, str]], NDArray[np.intp]]:
    """(pol, detector) with a level of its own each: detectors differ by the errors of the Tcal table.

    Where some detector has fewer than 3 points, or none is named, one level per polarisation.
    """
    pols = data.pol.tolist()
    detectors = [""] * len(pols) if data.detector is None else data.detector.tolist()
    pairs = list(zip(pols, detectors, strict=True))
    names, index, count = np.unique([f"{p} {d}" for p, d in pairs], return_inverse=True, return_counts=True)
    if count.min() < MIN_POINTS:
        return [(p, "") for p in data.pols], np.array([data.pols.index(p) for p in pols], dtype=np.intp)
    return [(name[0], name[2:]) for name in names.tolist()], index


def _start(data: TrecData, tatm: Array, nunit: int, nseg: int) -> Array:
    """From a robust straight line against airmass: slope / Tatm is about tau0."""
    order = np.argsort(data.airmass)
    third = max(1, len(order) // 3)
    low, high = order[:third], order[-third:]
    y, a = data.tsys_minus_tspill_k, data.airmass
    rise = float(np.median(a[high]) - np.median(a[low]))
    slope = float(np.median(y[high]) - np.median(y[low])) / rise if rise > 0 else 0.0
    tau = min(max(slope / float(tatm.mean()), 1e-3), 1.0)
    trec = float(np.median(y - tatm * -np.expm1(-tau * a)))
    return np.concatenate([np.full(nunit, trec), np.full(nseg, tau)])


def _segment(
    data: TrecData, mine: NDArray[np.bool_], tau0: float, tau0_error: float, trec: dict[str, float] | None = None,
    trec_errors: dict[str, float] | None = None, note: str = "",
) -> Segment:  # fmt: skip
    time, airmass = data.time[mine], data.airmass[mine]
    return Segment(
        float(time.min()), float(time.max()), int(mine.sum()), (float(airmass.min()), float(airmass.max())),
        tau0, tau0_error, trec or {}, trec_errors or {}, note,
    )  # fmt: skip


# ---- each segment its own Trec ---------------------------------------------------------------------------------
def _each(data: TrecData, segment: NDArray[np.intp], tatm: Array, loss: Loss, limit: float) -> TrecFit:
    """Segments and polarisations fitted apart, combined by the weighted mean; those that say nothing are named."""
    segments, used = [], np.zeros(len(data), bool)
    residuals = np.full(len(data), np.nan)
    chi2, dof = 0.0, 0
    for s in range(int(segment.max()) + 1):
        mine = segment == s
        try:
            one = _joint(data.select(mine), np.zeros(int(mine.sum()), np.intp), tatm[mine], False, loss, limit)
        except SolveError as problem:
            segments.append(_segment(data, mine, math.nan, math.nan, note=str(problem)))
            continue
        used[mine], residuals[mine] = one.used, one.residuals
        chi2, dof = chi2 + one.chi2, dof + one.dof
        found = one.segments[0]
        segments.append(_segment(data, mine, found.tau0, found.tau0_error, one.trec, one.errors))
    solved = [s for s in segments if s.trec]
    if not solved:
        raise SolveError(
            f"no segment of the {len(segments)} gives a Trec; first: {segments[0].note}. Give a longer --interval, or "
            "one Trec for all segments (without --per-segment)"
        )
    trec, errors = {}, {}
    for pol in data.pols:
        own = [s for s in solved if pol in s.trec]
        if own:
            trec[pol], errors[pol] = weighted_mean([s.trec[pol] for s in own], [s.trec_errors[pol] for s in own])
    lost = [f"{len(segments) - len(solved)} of {len(segments)} segments have no solution."]
    return TrecFit(
        trec, errors, tuple(segments), float(tatm.mean()), 0.0, tuple(f"trec_{p}" for p in trec),
        np.diag([e**2 for e in errors.values()]), chi2, dof, 1.0, 0.0, {}, residuals, used, 0,
        tuple(lost if len(solved) < len(segments) else []),
        f"each of {len(solved)} segments its own Trec, weighted mean",
    )  # fmt: skip


# ---- as GNPLT --------------------------------------------------------------------------------------------------
def gnplt_trec(data: TrecData, *, interval_hours: float = 1.0, tatm_k: float = 273.0, first: bool = False) -> TrecFit:
    """GNPLT's own Trec of each polarisation: segments in log order, plain mean; `first`: gnplt1, equal bins, weighted.

    Each segment with at least 3 points: Gauss-Newton from (14 K, 0), until the largest step is below 1e-10 sigma, at
    most 15 iterations. Raises SolveError where no segment converges.
    """
    segments: list[Segment] = []
    trec, errors = {}, {}
    residuals, iterations = np.full(len(data), np.nan), 0
    for pol in data.pols:
        mine = np.flatnonzero(data.pol == pol)
        part = data.select(data.pol == pol)
        number = equal_bins(part.time, interval_hours) if first else consecutive(part.time, interval_hours)
        own = []
        for s in range(int(number.max()) + 1):
            inside = number == s
            one = _gauss_newton(part.select(inside), pol, tatm_k)
            own.append(one[0])
            residuals[mine[inside]], iterations = one[1], max(iterations, one[2])
        good = [s for s in own if s.trec]
        segments += own
        if good:
            values, sigmas = [s.trec[pol] for s in good], [s.trec_errors[pol] for s in good]
            plain = (float(np.mean(values)), float(np.sqrt(np.sum(np.square(sigmas))) / len(sigmas)))
            trec[pol], errors[pol] = weighted_mean(values, sigmas) if first else plain
    if not trec:
        raise SolveError(f"no segment converges, as GNPLT fits them; first: {segments[0].note}")
    return TrecFit(
        trec, errors, tuple(segments), tatm_k, 0.0, tuple(f"trec_{p}" for p in trec),
        np.diag([e**2 for e in errors.values()]), math.nan, len(data) - 2 * len(segments), 1.0, 0.0, {}, residuals,
        np.isfinite(residuals), iterations, (),
        f"as GNPLT{' 1' if first else ''}: unweighted, segments {'of equal length, weighted' if first else 'in log order, plain'} mean",  # noqa: E501
    )  # fmt: skip


def _gauss_newton(data: TrecData, pol: str, tatm: float) -> tuple[Segment, Array, int]:
    every = np.ones(len(data), bool)
    left = np.full(len(data), np.nan)
    if len(data) < MIN_POINTS:
        return _segment(data, every, math.nan, math.nan, note=f"{len(data)} points, fewer than 3"), left, 0
    y, airmass = data.tsys_minus_tspill_k, data.airmass
    p = np.array([_GNPLT_START, 0.0])
    for turn in range(1, 16):
        gone = np.exp(-np.clip(p[1] * airmass, -50.0, 50.0))
        residual = y - p[0] - tatm * (1.0 - gone)
        design = np.column_stack([np.ones(len(y)), tatm * airmass * gone])
        inverse = np.linalg.pinv(design.T @ design)
        step = inverse @ design.T @ residual
        p = p + step
        variance = float((residual**2).sum()) / max(1, len(y) - 2)
        sigma = np.sqrt(variance * np.diag(inverse))
        # A perfect fit has sigma 0: then the step itself has to vanish.
        if np.all(np.abs(step) < 1e-10 * sigma) or np.all(np.abs(step) <= 1e-12 * (np.abs(p) + 1e-3)):
            left = y - p[0] - tatm * -np.expm1(-p[1] * airmass)
            found = _segment(data, every, float(p[1]), float(sigma[1]), {pol: float(p[0])}, {pol: float(sigma[0])})
            return found, left, turn
    return _segment(data, every, math.nan, math.nan, note="did not converge in 15 iterations"), left, 15


# ---- what the data allow, in words -----------------------------------------------------------------------------
def _check(data: TrecData) -> None:
    if len(data) < MIN_POINTS:
        raise SolveError(f"{len(data)} points are left for Trec; at least {MIN_POINTS} are needed")
    low, high = float(data.airmass.min()), float(data.airmass.max())
    if high - low < MIN_AIRMASS_SPAN:
        raise SolveError(
            f"the airmass goes from {low:.2f} to {high:.2f} only, which cannot tell the receiver from the atmosphere; "
            f"a range of {MIN_AIRMASS_SPAN} at least is needed, 1 to 3 is good: observe at lower elevations "
            "(airmass 2 is 30 degrees, 3 is 19.5)"
        )


def _refuse(data: TrecData, fit: RobustFit, without_points: int, fit_tatm: bool) -> None:
    if fit.rank < len(fit.parameters) - without_points:
        what = "Trec, tau0 and Tatm" if fit_tatm else "Trec and tau0"
        raise SolveError(
            f"{len(data)} points cannot tell {what} apart; give Tatm as a number, a longer --interval, or more "
            "airmasses"
        )


def _judge(result: TrecFit, data: TrecData) -> None:
    """Refuse what is not measured."""
    if result.tatm_error > MAX_TATM_ERROR:
        raise SolveError(
            f"Tatm comes out as {result.tatm_k:.0f} +- {result.tatm_error:.0f} K: these data cannot tell it. Give it: "
            "--tatm weather (from the logged temperature) or --tatm 273"
        )
    for pol, value in result.trec.items():
        error = result.errors[pol]
        if value <= 0 or error > MAX_TREC_ERROR * value:
            raise SolveError(
                f"Trec of pol {pol} comes out as {value:.1f} +- {error:.1f} K from airmasses {data.airmass.min():.2f} "
                f"to {data.airmass.max():.2f}: nothing that could be used. Observe a larger range of airmass, give a "
                "longer --interval, or check Tcal and the spill-over table"
            )


def _warnings(
    data: TrecData, trec: dict[str, float], errors: dict[str, float], segments: tuple[Segment, ...], fit: RobustFit
) -> list[str]:
    notes = []
    for pol, value in trec.items():
        if errors[pol] > 0.1 * value:
            notes.append(f"Trec of pol {pol} is known to {100 * errors[pol] / value:.0f} % only.")
    for segment in segments:
        if segment.tau0 < -2 * segment.tau0_error:
            notes.append("A segment has a negative opacity: Tcal, the spill-over table or Trec is off.")
            break
    if fit.scale > 1.5 and data.error is not None:
        notes.append(f"The points scatter {fit.scale:.1f} times more than their quoted errors; errors are scaled.")
    rejected = int((~fit.used).sum())
    if rejected > 0.2 * len(data):
        notes.append(f"{rejected} of {len(data)} points were left out as outliers: look at them before updating.")
    return notes
