"""Least squares that bad points do not spoil, and whose errors are honest.

Model: y_i = f_i(p) + k sigma_i e_i + s m_i b_scan(i), with e, b of unit variance. sigma is the quoted error, k >= 1
what it must be multiplied with to explain the scatter inside scans, s the scatter that all points of a scan have in
common: proportional to the model's value (pointing), to something given (airmass), or to the quoted error itself (the
receiver's gain fluctuates, and all detectors see it), whichever is likelier. k and s are found from the residuals:
k from the scatter inside scans, s such that chi2 between them equals its degrees of freedom (Paule and Mandel 1982).
Solved by Gauss-Newton; the covariance is that of generalised least squares with k and s in it.

Bad points: Tukey's biweight finds them, what lies beyond `limit` sigma is left out, and the rest is fitted again
by least squares (Rousseeuw and Leroy 1987), so that chi2, covariance and AIC keep their meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Loss = Literal["tukey", "huber", "clip", "none"]
LOSSES: tuple[Loss, ...] = ("tukey", "huber", "clip", "none")
Model = Callable[[Array], tuple[Array, Array]]
"""parameters (p,) -> (values (n,), derivatives (n, p))."""

LIMIT = 4.0
"""Points farther out than this many sigma are left out: one good point in 16000."""
_TUKEY, _HUBER = 4.685, 1.345
"""95 percent efficiency on normal errors (Huber 1981)."""
_HUBER_VARIANCE = 0.7102
"""Mean of (w u)^2 with Huber's weights on normal errors."""
_MAD = 1.4826
_MIN_WITHIN = 5
"""Degrees of freedom inside scans from which on their scatter says something about the quoted errors."""


@dataclass(frozen=True)
class RobustFit:
    """A fit: `used` (n,) points that count, `residuals` (n,) data - model, `sigma` (n,) k times the quoted errors."""

    parameters: Array
    covariance: Array
    residuals: Array
    sigma: Array
    used: NDArray[np.bool_]
    chi2: float
    """Of the used points with the quoted errors (with the estimated ones where none were quoted)."""
    dof: int
    scale: float
    """k: 1 where the quoted errors explain the scatter inside scans; where none are quoted, the error itself."""
    shared: Array
    """(n,) sigma of the error that each point has in common with all of its scan."""
    common: float
    """The same in units of the model's value or of what was given: median over the used points."""
    rank: int
    converged: bool
    gls_chi2: float
    """With k and s in the errors; for comparing models under the same `noise`."""

    @property
    def errors(self) -> Array:
        return np.sqrt(np.diag(self.covariance))

    @property
    def reduced_chi2(self) -> float:
        return self.chi2 / self.dof if self.dof > 0 else math.nan

    @property
    def noise(self) -> Noise:
        """For fits of other models with the same noise and points."""
        return Noise(self.scale, self.shared, self.used)


@dataclass(frozen=True)
class Noise:
    """A noise model held fixed, and the points that count: for comparing models on the same footing."""

    scale: float
    shared: Array
    used: NDArray[np.bool_]


@dataclass(frozen=True)
class _Data:
    y: Array
    sigma: Array
    group: NDArray[np.intp] | None
    """0..G-1 for each point; None where no scan has more than one point."""
    quoted: bool

    @property
    def floor(self) -> float:
        """Quoted errors are never made smaller."""
        return 1.0 if self.quoted else 0.0


def robust_fit(
    model: Model, start: ArrayLike, y: ArrayLike, sigma: ArrayLike | None = None, *,
    group: ArrayLike | None = None, common: ArrayLike | None = None, loss: Loss = "tukey", limit: float = LIMIT,
    noise: Noise | None = None,
) -> RobustFit:  # fmt: skip
    """Fit `model` to `y` (n,) with errors `sigma` (n,) (None: equal and unknown) from the parameters `start`.

    group: (n,) the scan of every point; common: (n,) what a scan's common error is proportional to (None: the
    model's values). loss: "tukey" leaves out what lies beyond `limit`; "huber" gives large residuals less weight,
    leaves none out; "clip" starts from plain least squares and leaves out; "none". `noise` fixes k, s and the points.
    """
    values = np.asarray(y, dtype=np.float64)
    data = _Data(
        values,
        np.ones_like(values) if sigma is None else np.asarray(sigma, dtype=np.float64),
        _groups(group),
        sigma is not None,
    )
    shape = None if common is None else np.asarray(common, dtype=np.float64)
    parameters = np.array(start, dtype=np.float64)
    every = np.ones(len(values))
    if noise is not None:
        return _settle(model, parameters, data, shape, noise.used.astype(np.float64), loss, noise)
    if loss in ("tukey", "huber"):
        parameters = _reweighted(model, parameters, data, shape, loss)
    if loss == "none":
        return _settle(model, parameters, data, shape, every, loss)
    result = None
    weights = every
    for _ in range(12):
        if result is None and loss == "clip":
            result = _settle(model, parameters, data, shape, every, loss)
            parameters = result.parameters
        u = _standardised(model, parameters, data, shape)
        new = _weights(u, loss) if loss == "huber" else (u <= limit).astype(np.float64)
        if result is not None and np.allclose(new, weights, atol=1e-3):
            break
        weights = new
        result = _settle(model, parameters, data, shape, weights, loss)
        parameters = result.parameters
    return result if result is not None else _settle(model, parameters, data, shape, every, loss)


@dataclass(frozen=True)
class Combined:
    """One quantity from several values: mean = weights . values; `scatter` is what the values differ by beyond their
    covariance, `extra` the variance of the mean that comes from it, contained in `error`."""

    mean: float
    error: float
    scatter: float
    extra: float
    weights: Array


def combine(values: ArrayLike, covariance: ArrayLike) -> Combined:
    """Mean of correlated values (n,) of one quantity with random effects (Paule and Mandel)."""
    value, covariance = np.asarray(values, dtype=np.float64), np.asarray(covariance, dtype=np.float64)

    def mean(scatter: float) -> tuple[Array, float]:
        inverse = np.linalg.pinv(covariance + scatter**2 * np.eye(len(value)), hermitian=True)
        weights = inverse.sum(axis=0) / inverse.sum()
        left = value - weights @ value
        return weights, float(left @ inverse @ left)

    scatter = _root(lambda s: mean(s)[1] - (len(value) - 1), float(np.ptp(value)))
    weights, _ = mean(scatter)
    extra = scatter**2 * float((weights**2).sum()) * few(len(value))
    return Combined(float(weights @ value), math.sqrt(weights @ covariance @ weights + extra), scatter, extra, weights)


def few(count: int) -> float:
    """What a variance estimated from `count` values is multiplied with, so that normal intervals keep their
    meaning: the variance of Student's t, at most 3."""
    return (count - 1) / (count - 3) if count > 4 else 3.0


def weighted_mean(values: ArrayLike, errors: ArrayLike) -> tuple[float, float]:
    """Sum(v / e^2) / Sum(1 / e^2) and its error."""
    weight = 1.0 / np.asarray(errors, dtype=np.float64) ** 2
    return float((weight * np.asarray(values)).sum() / weight.sum()), float(1.0 / math.sqrt(weight.sum()))


def steady_errors(error: ArrayLike, noise: ArrayLike | None = None) -> Array | None:
    """Errors to weight with, from errors (n,) that were estimated from a few repetitions each; None: there are none.

    An error from 2 to 5 repetitions is itself uncertain by a third or more, and one that is small by chance would
    dominate a fit. Its variance counts one part in four. Three parts are what is expected: proportional to `noise`
    squared (None: equal), with the mean factor of the quarter of the points that is nearest in `noise`. A missing
    error is what is expected.
    """
    own = np.asarray(error, dtype=np.float64)
    key = np.ones(len(own)) if noise is None else np.asarray(noise, dtype=np.float64)
    usable = np.isfinite(key) & (key > 0)
    key = np.where(usable, key, np.median(key[usable]) if usable.any() else 1.0)
    factor = (own / key) ** 2
    good = np.isfinite(factor) & (factor > 0)
    if not good.any():
        return None
    order = np.argsort(key[good], kind="stable")
    known, factors = key[good][order], factor[good][order]
    width = len(known) if noise is None else min(len(known), max(15, len(known) // 4))
    first = np.clip(np.searchsorted(known, key) - width // 2, 0, len(known) - width)
    windows = np.lib.stride_tricks.sliding_window_view(factors, width)
    # One wild error does not make those of its neighbours wild.
    expected = np.minimum(windows, 5 * np.median(windows, axis=1)[:, None]).mean(axis=1)[first]
    return np.asarray(key * np.sqrt(0.25 * np.where(good, factor, expected) + 0.75 * expected))


# ---- iterations ------------------------------------------------------------------------------------------------
def _reweighted(model: Model, start: Array, data: _Data, shape: Array | None, loss: Loss) -> Array:
    """Parameters by iteratively reweighted least squares: Huber's weights first, they always converge, then `loss`."""
    parameters = start
    for stage in dict.fromkeys(("huber", loss)):
        for _ in range(25):
            weights = _weights(_standardised(model, parameters, data, shape), stage)
            value, jacobian = model(parameters)
            root = np.sqrt(weights) / data.sigma
            step, *_ = _solve(jacobian * root[:, None], (data.y - value) * root)

            def cost(p: Array, root: Array = root) -> float:
                return float((((data.y - model(p)[0]) * root) ** 2).sum())

            parameters = parameters + _shortened(cost, parameters, step)
            if np.all(np.abs(step) <= 1e-4 * (np.abs(parameters) + 1e-12)):
                break
    return parameters


def _shortened(cost: Callable[[Array], float], parameters: Array, step: Array) -> Array:
    """The step, halved until the cost does not grow."""
    before = cost(parameters)
    for _ in range(12):
        if cost(parameters + step) <= before * (1 + 1e-9):
            return step
        step = step / 2
    return step


def _settle(
    model: Model, parameters: Array, data: _Data, shape: Array | None, weights: Array, loss: Loss,
    noise: Noise | None = None,
) -> RobustFit:  # fmt: skip
    """Generalised least squares with fixed weights; k and the common errors estimated unless `noise` gives them."""
    used = weights > 0
    group = _subset(data.group, used)
    inside = _Data(data.y[used], data.sigma[used] / np.sqrt(weights[used]), group, data.quoted)
    harder = inside if loss != "huber" else _Data(inside.y, data.sigma[used] / weights[used], group, data.quoted)
    consistency = _HUBER_VARIANCE if loss == "huber" else 1.0
    scale, shared, wider = 1.0, np.zeros(len(inside.y)), 1.0
    if noise is not None:
        scale, shared = noise.scale, noise.shared[used]
    converged = False
    for turn in range(40):
        value, jacobian = model(parameters)
        value, jacobian = value[used], jacobian[used]
        residual = inside.y - value
        both = np.column_stack([jacobian, residual])
        m = value if shape is None else shape[used]
        if noise is None and turn < 4:
            scale, shared, wider = _noise(both, m, harder, consistency)

        def cost(p: Array, scale: float = scale, shared: Array = shared) -> float:
            left = (inside.y - model(p)[0][used])[:, None]
            return float((_whiten(left, inside.sigma * scale, shared, group) ** 2).sum())

        white = _whiten(both, inside.sigma * scale, shared, group)
        step, covariance, rank, _ = _solve(*_split(white))
        parameters = parameters + _shortened(cost, parameters, step)
        if turn >= 3 and np.all(np.abs(step) <= 1e-6 * np.sqrt(np.diag(covariance)) + 1e-14 * np.abs(parameters)):
            converged = True
            break
    if wider > 1.0:
        _, covariance, _, _ = _solve(*_split(_whiten(both, inside.sigma * scale, shared * wider, group)))
    residuals = data.y - model(parameters)[0]
    quoted = data.sigma if data.quoted else data.sigma * scale
    everywhere = np.zeros(len(data.y))
    everywhere[used] = shared
    return RobustFit(
        parameters, covariance, residuals, data.sigma * scale, used,
        float((weights * (residuals / quoted) ** 2).sum()), int(used.sum()) - rank, scale, everywhere,
        float(np.median(np.abs(shared / np.where(m == 0, 1.0, m)))), rank, converged, float((white[:, -1] ** 2).sum()),
    )  # fmt: skip


def _split(both: Array) -> tuple[Array, Array]:
    """(derivatives, residuals) of an array that has both."""
    return both[:, :-1], both[:, -1]


def _solve(design: Array, y: Array, length: Array | None = None) -> tuple[Array, Array, int, float]:
    """(solution, covariance, rank, chi2) of least squares by singular values, columns divided by their length."""
    length = np.sqrt((design**2).sum(axis=0)) if length is None else length
    length = np.where(length > 0, length, 1.0)
    u, values, vt = np.linalg.svd(design / length, full_matrices=False)
    keep = values > 1e-10
    inverse = vt[keep].T / values[keep]
    projected = u[:, keep].T @ y
    solution = inverse @ projected / length
    covariance = (inverse @ inverse.T) / np.outer(length, length)
    return solution, covariance, int(keep.sum()), max(0.0, float(y @ y - projected @ projected))


# ---- noise -----------------------------------------------------------------------------------------------------
def _noise(both: Array, m: Array, data: _Data, consistency: float) -> tuple[float, Array, float]:
    """(k, common errors, by how much they are to be widened because few scans tell them) from the derivatives and,
    last column, the residuals.

    One point a scan, or no scans: no common errors, and k = sqrt(reduced chi2).
    """
    none = np.zeros(len(both))
    if data.group is not None:
        tried = [_with_common(both, candidate, data, data.group, consistency) for candidate in (m, data.sigma)]
        likely = [entry for entry in tried if entry is not None]
        if likely:
            return min(likely, key=lambda entry: entry[3])[:3]
    white = both / data.sigma[:, None]
    *_, rank, chi2 = _solve(*_split(white))
    dof = len(both) - rank
    scale = _scale(chi2 / consistency, dof, data) if dof > 0 else data.floor
    return scale or float(np.abs(data.y).max()) * 1e-12 or 1e-12, none, 1.0


def _with_common(
    both: Array, m: Array, data: _Data, group: NDArray[np.intp], consistency: float
) -> tuple[float, Array, float, float] | None:
    """What `_noise` returns and the log of the covariance's determinant; None where scans have too few points."""
    projected = _whiten(both, data.sigma, m, group, only_inside=True)
    length = np.sqrt(((both[:, :-1] / data.sigma[:, None]) ** 2).sum(axis=0))
    *_, rank, inner = _solve(*_split(projected), length)
    inner_dof = len(both) - int(group.max() + 1) - rank
    if inner_dof < (1 if data.quoted else _MIN_WITHIN):
        return None
    scale = _scale(inner / consistency, inner_dof, data) if inner_dof >= _MIN_WITHIN else 1.0
    if scale == 0:
        return None
    sigma = data.sigma * scale

    def excess(scatter: float) -> float:
        """chi2 between scans above its degrees of freedom."""
        white = _whiten(both, sigma, scatter * m, group)
        *_, rank, chi2 = _solve(*_split(white))
        return (chi2 - inner / scale**2) - (len(both) - rank - inner_dof)

    relative = both[:, -1] / np.where(m == 0, 1.0, m)
    shared = m * _root(excess, float(np.sqrt(np.mean(relative**2))) or 1.0)
    norm = np.bincount(group, (shared / sigma) ** 2)
    between = len(both) - _solve(*_split(both / sigma[:, None]))[2] - inner_dof
    return scale, shared, math.sqrt(few(between + 1)), float(np.log1p(norm).sum() + 2 * np.log(sigma).sum())


def _scale(chi2: float, dof: int, data: _Data) -> float:
    """sqrt(chi2 / dof); quoted errors stay as they are unless chi2 is more than one sigma above what they predict."""
    if data.quoted and chi2 <= dof + math.sqrt(2.0 * dof):
        return 1.0
    return math.sqrt(chi2 / dof)


def _root(excess: Callable[[float], float], size: float) -> float:
    """Where a falling function of s >= 0 is zero, to 1e-3 of itself; 0 where it starts below zero."""
    if size <= 0 or excess(0.0) <= 0:
        return 0.0
    high = size
    for _ in range(20):
        if excess(high) <= 0:
            break
        high *= 2
    low = 0.0
    while high - low > 1e-3 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


def _whiten(
    matrix: Array, sigma: Array, shared: Array, group: NDArray[np.intp] | None, only_inside: bool = False
) -> Array:
    """V^-1/2 times the columns, V = diag(sigma^2) + shared shared' inside every scan.

    `only_inside`: what is proportional to `shared` is projected out, as if the scans' common errors were infinite.
    """
    white = matrix / sigma[:, None]
    if group is None or not shared.any():
        return white
    u = shared / sigma
    size = int(group.max()) + 1
    norm = np.maximum(np.bincount(group, u**2, size), 1e-300)
    shrink = (1.0 if only_inside else 1.0 - 1.0 / np.sqrt(1.0 + norm)) / norm
    sums = np.zeros((size, matrix.shape[1]))
    np.add.at(sums, group, u[:, None] * white)
    return np.asarray(white - (u * shrink[group])[:, None] * sums[group])


def _standardised(model: Model, parameters: Array, data: _Data, shape: Array | None) -> Array:
    """|residual| in units of its robustly estimated sigma: the larger of the whole and of that inside its scan."""
    value, _ = model(parameters)
    residual, m = data.y - value, value if shape is None else shape
    correction = math.sqrt(len(value) / max(1, len(value) - len(parameters)))
    z = residual / data.sigma
    if data.group is None:
        return np.asarray(np.abs(z) / _spread(z, data, correction))
    level, count = _scan_levels(residual / np.where(m == 0, 1.0, m), data.group)
    several = count[data.group] >= 3
    within = (residual - level[data.group] * m) / data.sigma
    if not several.any():
        return np.asarray(np.abs(z) / _spread(z, data, correction))
    own = math.sqrt(float(np.mean(count[data.group][several] / (count[data.group][several] - 1))))
    scale = _spread(within[several], data, own)
    noise = np.median((scale * data.sigma / np.where(m == 0, 1.0, m)) ** 2 / count[data.group])
    scatter = max(0.0, (_MAD * float(np.median(np.abs(level))) * correction) ** 2 - float(noise))
    whole = np.abs(residual) / np.sqrt((scale * data.sigma) ** 2 + scatter * m**2)
    return np.maximum(whole, np.where(several, np.abs(within) / (own * scale), 0.0))


def _spread(z: Array, data: _Data, correction: float) -> float:
    """Robust width of residuals over errors, never below 1 for quoted errors."""
    return max(data.floor, _MAD * float(np.median(np.abs(z))) * correction) or 1.0


def _scan_levels(relative: Array, group: NDArray[np.intp]) -> tuple[Array, NDArray[np.intp]]:
    """Median of every scan, and its number of points."""
    order = np.argsort(group, kind="stable")
    count = np.bincount(group)
    parts = np.split(relative[order], np.cumsum(count)[:-1])
    return np.array([np.median(part) if len(part) else 0.0 for part in parts]), count


def _weights(u: Array, loss: str) -> Array:
    if loss == "tukey":
        return np.asarray(np.where(u < _TUKEY, (1 - (u / _TUKEY) ** 2) ** 2, 0.0))
    return np.asarray(np.minimum(1.0, _HUBER / np.maximum(u, 1e-300)))


def _groups(group: ArrayLike | None) -> NDArray[np.intp] | None:
    """0..G-1 for each point; None where no scan has two points."""
    if group is None:
        return None
    names, index = np.unique(np.asarray(group), return_inverse=True)
    return np.asarray(index, dtype=np.intp) if len(names) < len(index) else None


def _subset(group: NDArray[np.intp] | None, used: NDArray[np.bool_]) -> NDArray[np.intp] | None:
    return None if group is None else _groups(group[used])
