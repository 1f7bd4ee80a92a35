"""Noise diode temperature against frequency, merged into the table of an rxg file.

Each frequency (all points within `tolerance_mhz`) of a polarisation gets the mean, the median, a weighted robust mean,
or the value of a smoothing spline. What was not observed keeps its old value; a frequency with interference is masked:
reported, not merged. Errors of the weighted mean: `robust`, one common
error for each scan shared by all its frequencies, so the values of different frequencies are correlated.
Smoothing: natural cubic spline, its stiffness by Mallows' Cp, errors as a posterior (Wahba 1983).
Source of mean and median: GNPLT.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import SolveError
from calibrant.station import interference
from calibrant.station.robust import LIMIT, Array, Loss, RobustFit, robust_fit

TcalMethod = Literal["weighted", "mean", "median", "smooth"]
Table = tuple[Array, Array]
"""Frequencies (MHz, ascending) and Tcal (K) of one polarisation in an rxg file."""

_MIN_SMOOTH = 4
_SIDEBANDS = re.compile(r"(.*\d|[a-f])([ul])")


@dataclass(frozen=True)
class TcalData:
    """One row a point: measured Tcal (K), frequency (MHz), polarisation; the rest optional."""

    tcal_k: Array
    freq_mhz: Array
    pol: NDArray[np.str_]
    error: Array | None = None
    scan: NDArray[np.int64] | None = None
    detector: NDArray[np.str_] | None = None
    lo_mhz: Array | None = None
    compression: Array | None = None

    def __len__(self) -> int:
        return len(self.tcal_k)

    @property
    def pols(self) -> tuple[str, ...]:
        return tuple(p for p in ("l", "r") if np.any(self.pol == p))


@dataclass(frozen=True)
class TcalValue:
    """One frequency: where it goes in the table, old and new value (K), error, points, and why it is masked."""

    pol: str
    freq_mhz: float
    old_k: float
    tcal_k: float
    error_k: float
    count: int
    rejected: int
    masked: str = ""

    @property
    def change_percent(self) -> float:
        return 100.0 * (self.tcal_k / self.old_k - 1.0) if self.old_k > 0 else math.nan


@dataclass(frozen=True)
class Sidebands:
    """Upper and lower side band of one converter under one LO that differ: Tcal measured over assumed, K."""

    pol: str
    lo_mhz: float
    upper: str
    lower: str
    upper_freq_mhz: float
    lower_freq_mhz: float
    upper_ratio: float
    lower_ratio: float
    sigma: float
    """The difference over its error."""


@dataclass(frozen=True)
class TcalFit:
    """New values by frequency, and the whole table of each polarisation after the merge."""

    values: tuple[TcalValue, ...]
    tables: dict[str, Table] = field(repr=False)
    kept: dict[str, int]
    """Rows of the old table that nothing was observed for."""
    sidebands: tuple[Sidebands, ...]
    covariance: Array = field(repr=False)
    """Of all values, in their order."""
    chi2: float
    dof: int
    scale: float
    scan_scatter: float
    residuals: Array = field(repr=False)
    """(n,) measured / value - 1."""
    used: NDArray[np.bool_] = field(repr=False)
    warnings: tuple[str, ...]
    method: str

    def merged(self, pol: str) -> list[tuple[float, float]]:
        """What goes into the table: (MHz, K) of the frequencies that are not masked."""
        return [(v.freq_mhz, v.tcal_k) for v in self.values if v.pol == pol and not v.masked]

    def to_dict(self) -> dict[str, Any]:
        names = ("chi2", "dof", "scale", "scan_scatter", "kept", "method")
        return {name: getattr(self, name) for name in names} | {
            "values": [vars(v) | {"change_percent": v.change_percent} for v in self.values],
            "tables": {p: np.column_stack(t).tolist() for p, t in self.tables.items()},
            "sidebands": [vars(s) for s in self.sidebands],
            "covariance": self.covariance.tolist(),
            "points": len(self.used),
            "rejected": int((~self.used).sum()),
        }


@dataclass(frozen=True)
class _Bins:
    """Points by (pol, frequency): `index` of each point, the pols and mean frequencies of the bins."""

    index: NDArray[np.intp]
    pol: list[str]
    freq: Array

    def __len__(self) -> int:
        return len(self.pol)


def fit_tcal(
    data: TcalData, tables: dict[str, Table], *, method: TcalMethod = "weighted", tolerance_mhz: float = 0.5,
    mask: bool = True, like_gnplt: bool = False, loss: Loss = "tukey", limit: float = LIMIT,
) -> TcalFit:  # fmt: skip
    """Tcal at each observed frequency, merged into `tables` (pol -> old table). Raises SolveError without points.

    mask: frequencies that look like interference are reported, not merged (see `station.interference`).
    like_gnplt: plain mean or median for each exactly equal frequency, nothing rejected, nothing masked. (GNPLT then
    drops the frequencies that were not observed; this never does.)
    """
    if len(data) == 0:
        raise SolveError("no points are left for Tcal")
    bins = _bin(data, 0.0 if like_gnplt else tolerance_mhz)
    scale, scatter, chi2, dof = 1.0, 0.0, math.nan, 0
    used = np.ones(len(data), bool)
    if like_gnplt or method in ("mean", "median"):
        value, covariance = _plain(data, bins, "median" if method == "median" else "mean")
    else:
        fit, value, covariance = _joint(data, bins, loss, limit)
        used = fit.used
        scale, scatter, chi2, dof = fit.scale, fit.common, fit.chi2, fit.dof
    masked, noted = [""] * len(bins), [""] * len(bins)
    if mask and not like_gnplt:
        masked, noted = _interference(data, bins, value, covariance, used, tables)
    if method == "smooth" and not like_gnplt:
        value, covariance = _smooth(bins, value, covariance, np.array([not m for m in masked]))
    values = _values(data, bins, value, np.sqrt(np.diag(covariance)), used, masked, tables, tolerance_mhz)
    fresh = {p: [(v.freq_mhz, v.tcal_k) for v in values if v.pol == p and not v.masked] for p in data.pols}
    merged = {p: merge(tables.get(p, (np.zeros(0), np.zeros(0))), fresh[p]) for p in data.pols}
    kept = {p: len(merged[p][0]) - len({f for f, _ in fresh[p]}) for p in data.pols}
    warnings = () if like_gnplt else tuple(_warnings(values, noted, tables, kept))
    return TcalFit(
        tuple(values), merged, kept, _sidebands(data, used, tables), covariance, chi2, dof, scale, scatter,
        data.tcal_k / value[bins.index] - 1.0, used, warnings,
        f"as GNPLT: {method if method == 'median' else 'mean'} at each frequency" if like_gnplt else method,
    )  # fmt: skip


def merge(old: Table, new: list[tuple[float, float]]) -> Table:
    """The old table with `new` (MHz, K) put in: equal frequencies replaced, others inserted, none lost."""
    rows = dict(zip(old[0].tolist(), old[1].tolist(), strict=True)) | dict(new)
    freq = np.array(sorted(rows))
    return freq, np.array([rows[f] for f in freq.tolist()])


# ---- values ----------------------------------------------------------------------------------------------------
def _bin(data: TcalData, tolerance: float) -> _Bins:
    """Bins no wider than the tolerance, made from the lowest frequency up."""
    index = np.zeros(len(data), np.intp)
    pols: list[str] = []
    freqs: list[float] = []
    for pol in data.pols:
        mine = np.flatnonzero(data.pol == pol)
        order = mine[np.argsort(data.freq_mhz[mine], kind="stable")]
        first = -math.inf
        members: list[list[int]] = []
        for i in order.tolist():
            if data.freq_mhz[i] - first > tolerance:
                first = float(data.freq_mhz[i])
                members.append([])
            members[-1].append(i)
        for member in members:
            index[member] = len(pols)
            pols.append(pol)
            freqs.append(float(data.freq_mhz[member].mean()) if tolerance > 0 else float(data.freq_mhz[member[0]]))
    return _Bins(index, pols, np.array(freqs))


def _plain(data: TcalData, bins: _Bins, method: str) -> tuple[Array, Array]:
    """Mean or median of each bin; errors from the scatter in it (nan for one point)."""
    groups = [data.tcal_k[bins.index == b] for b in range(len(bins))]
    average = np.median if method == "median" else np.mean
    value = np.array([float(average(g)) for g in groups])
    # The median's variance is pi/2 times the mean's for normal errors, less for few points.
    wide = [1.0 if method == "mean" or len(g) < 3 else math.pi / 2 * len(g) / (len(g) + 0.57) for g in groups]
    variance = [
        float(g.var(ddof=1)) / len(g) * w if len(g) > 1 else math.nan for g, w in zip(groups, wide, strict=True)
    ]
    return value, np.diag(variance)


def _joint(data: TcalData, bins: _Bins, loss: Loss, limit: float) -> tuple[RobustFit, Array, Array]:
    """(fit, values, covariance), all frequencies together: they share the scans' common errors.

    1/Tcal is averaged: it is proportional to on minus off source, whose noise is normal and does not depend on how it
    came out; Tcal itself is skewed on weak sources, and small values would get large weights.
    """
    design = (bins.index[:, None] == np.arange(len(bins))).astype(np.float64)
    inverse = 1.0 / data.tcal_k
    error = None if data.error is None else data.error / typical(data.tcal_k, bins.index) ** 2
    start = [float(np.median(inverse[bins.index == b])) for b in range(len(bins))]
    fit = robust_fit(lambda p: (design @ p, design), start, inverse, error, group=data.scan, loss=loss, limit=limit)
    value = 1.0 / fit.parameters
    return fit, value, fit.covariance * np.outer(value**2, value**2)


def typical(value: Array, index: NDArray[np.intp]) -> Array:
    """The median of its bin for each point: with errors scaled by it, weights do not depend on how a point came out."""
    return np.array([np.median(value[index == b]) for b in range(int(index.max()) + 1)])[index]


def _interference(
    data: TcalData, bins: _Bins, value: Array, covariance: Array, used: NDArray[np.bool_], tables: dict[str, Table]
) -> tuple[list[str], list[str]]:
    """(why each bin is masked, what is remarkable about one that is not)."""
    masked, noted = [""] * len(bins), [""] * len(bins)
    error = np.sqrt(np.diag(covariance))
    for pol in dict.fromkeys(bins.pol):
        mine = [b for b, one in enumerate(bins.pol) if one == pol]
        old = _old(tables, pol, bins.freq[mine])
        assumed = np.where(old > 0, old, 1.0)
        found = []
        for b, kelvin, base in zip(mine, old.tolist(), assumed.tolist(), strict=True):
            at = bins.index == b
            spread = np.abs(data.tcal_k[at] / np.median(data.tcal_k[at]) - 1.0)
            pressed = math.nan if data.compression is None else float(np.median(data.compression[at]))
            found.append(interference.Frequency(
                float(value[b]) / base, float(error[b]) / base, 1.4826 * float(np.median(spread)),
                float(np.mean(~used[at])), pressed, kelvin,
            ))  # fmt: skip
        for b, why, note in zip(mine, *interference.judge(found), strict=True):
            masked[b], noted[b] = why, note
    return masked, noted


def _smooth(bins: _Bins, value: Array, covariance: Array, good: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Smoothing spline over frequency for each polarisation with enough frequencies; masked ones stay as they are."""
    value, covariance = value.copy(), covariance.copy()
    for pol in dict.fromkeys(bins.pol):
        mine = np.flatnonzero((np.array(bins.pol) == pol) & good)
        if len(mine) >= _MIN_SMOOTH:
            block = np.ix_(mine, mine)
            value[mine], covariance[block] = smoothing_spline(bins.freq[mine], value[mine], covariance[block])
    return value, covariance


def smoothing_spline(x: Array, y: Array, covariance: Array) -> tuple[Array, Array]:
    """(values, covariance) of a natural cubic smoothing spline at the points x (ascending, different).

    Minimises (y-f)' C^-1 (y-f) + lambda integral f''^2 (Green and Silverman 1994, section 2.1).
    """
    t = (x - x[0]) / (x[-1] - x[0])
    h = np.diff(t)
    n = len(t)
    q, r = np.zeros((n, n - 2)), np.zeros((n - 2, n - 2))
    for j in range(n - 2):
        q[j : j + 3, j] = 1 / h[j], -1 / h[j] - 1 / h[j + 1], 1 / h[j + 1]
        r[j, j] = (h[j] + h[j + 1]) / 3
        if j + 1 < n - 2:
            r[j, j + 1] = r[j + 1, j] = h[j + 1] / 6
    penalty = q @ np.linalg.solve(r, q.T)
    weight = np.linalg.pinv(covariance, hermitian=True)
    size = np.trace(weight) / np.trace(penalty)

    def solved(log_lambda: float) -> tuple[Array, Array, float]:
        posterior = np.linalg.inv(weight + size * 10.0**log_lambda * penalty)
        smoother = posterior @ weight
        left = y - smoother @ y
        return smoother @ y, posterior, float(left @ weight @ left + 2 * np.trace(smoother))

    best = min(np.linspace(-4.0, 6.0, 61), key=lambda value: solved(float(value))[2])
    values, posterior, _ = solved(float(best))
    return values, posterior


def _values(
    data: TcalData, bins: _Bins, value: Array, error: Array, used: NDArray[np.bool_], masked: list[str],
    tables: dict[str, Table], tolerance: float,
) -> list[TcalValue]:  # fmt: skip
    count = np.bincount(bins.index[used], minlength=len(bins))
    lost = np.bincount(bins.index[~used], minlength=len(bins))
    result = []
    for b, pol in enumerate(bins.pol):
        freq = float(bins.freq[b])
        rows = tables.get(pol, (np.zeros(0), np.zeros(0)))[0]
        if len(rows) and np.min(np.abs(rows - freq)) <= tolerance:
            # The row of the table that means this frequency is replaced, not joined by a second one.
            place = float(rows[int(np.argmin(np.abs(rows - freq)))])
        else:
            place = round(freq, 3)
        old = float(_old(tables, pol, np.array([freq]))[0])
        result.append(
            TcalValue(pol, place, old, float(value[b]), float(error[b]), int(count[b]), int(lost[b]), masked[b])
        )
    return result


def _old(tables: dict[str, Table], pol: str, freq: Array) -> Array:
    """The old table at frequencies, linear, constant beyond its ends; 0 where there is none."""
    table = tables.get(pol)
    return np.interp(freq, *table) if table is not None and len(table[0]) else np.zeros(len(freq))


# ---- side bands, warnings --------------------------------------------------------------------------------------
def _sidebands(data: TcalData, used: NDArray[np.bool_], tables: dict[str, Table]) -> tuple[Sidebands, ...]:
    """Pairs of side bands of one converter whose ratios to the table differ by more than 3 sigma."""
    if data.detector is None or data.lo_mhz is None:
        return ()
    found: dict[tuple[str, float, str], dict[str, tuple[str, float, float, float]]] = {}
    for name in np.unique(data.detector).tolist():
        parts = _SIDEBANDS.fullmatch(name)
        if not parts:
            continue
        for pol in data.pols:
            for lo in np.unique(data.lo_mhz[data.detector == name]).tolist():
                mine = (data.detector == name) & (data.pol == pol) & (data.lo_mhz == lo) & used
                old = _old(tables, pol, data.freq_mhz[mine])
                if mine.sum() < 2 or not np.all(old > 0):
                    continue
                ratio = data.tcal_k[mine] / old
                error = float(ratio.std(ddof=1)) / math.sqrt(len(ratio))
                entry = (name, float(data.freq_mhz[mine].mean()), float(ratio.mean()), error)
                found.setdefault((pol, lo, parts[1]), {})[parts[2]] = entry
    result = []
    for (pol, lo, _), pair in sorted(found.items()):
        if len(pair) == 2:
            (un, uf, ur, ue), (ln, lf, lr, le) = pair["u"], pair["l"]
            sigma = (ur - lr) / max(math.hypot(ue, le), 1e-12)
            if abs(sigma) > 3:
                result.append(Sidebands(pol, lo, un, ln, uf, lf, ur, lr, sigma))
    return tuple(result)


def _warnings(values: list[TcalValue], noted: list[str], tables: dict[str, Table], kept: dict[str, int]) -> list[str]:
    notes = []
    masked = [v for v in values if v.masked]
    if masked:
        listed = ", ".join(f"{v.pol} {v.freq_mhz:.2f} MHz ({v.masked})" for v in masked[:5])
        notes.append(f"{len(masked)} frequencies are not merged: {listed}{', ...' if len(masked) > 5 else ''}.")
    strange = [f"{v.pol} {v.freq_mhz:.2f} MHz ({note})" for v, note in zip(values, noted, strict=True) if note]
    if strange:
        more = f", and {len(strange) - 3} more" if len(strange) > 3 else ""
        notes.append(f"Merged, but look at {', '.join(strange[:3])}{more}.")
    for pol, table in tables.items():
        mine = [v for v in values if v.pol == pol and not v.masked and v.old_k > 0]
        if not mine or not kept.get(pol):
            continue
        change = float(np.median([v.change_percent for v in mine]))
        low, high = min(v.freq_mhz for v in mine), max(v.freq_mhz for v in mine)
        new = {v.freq_mhz for v in mine}
        between = [f for f in table[0].tolist() if low < f < high and f not in new]
        if abs(change) > 5 and between:
            notes.append(
                f"Pol {pol}: {len(between)} rows of the table between {low:.1f} and {high:.1f} MHz were not observed "
                f"and keep their values, while the others change by {change:+.1f} %: the table gets steps. Scale it "
                "first (calibrant station fit gain --mode scale), then fit again."
            )
    return notes
