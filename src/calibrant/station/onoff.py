"""ONOFF recomputed from its counts: compression, Tsys, SEFD, Tcal in Jy, and their errors.

With s, S, f, G, z the mean levels of ONSO, ONSC, OFFS, OFFC and ZERO, every repetition of equal weight, and F the
apparent flux density of the source:

    compression = (S - s) / (G - f)          Tsys     = (v - z) Tcal / (G - f)
    SEFD        = (v - z) F / (s - f)        Tcal(Jy) = (G - f) F / (s - f)
    ratio       = DPFU g Tcal(Jy) / Tcal     v = f, or (f + G) / 2 under continuous calibration

These are the Field System's own formulas. Its SIG rows (`errors="fs"`) are the scatter between repetitions, drift
included. The default, `errors="mean"`, are errors of the values themselves: see `_fractional_errors`.

SIG has had two forms. Logs of FS 9.11 show, for n levels of a state, their standard deviation / sqrt(n - 1), and
0.33 counts for a single one (all SIG rows of two such stations agree to the last digit); today's sources, the
standard deviation itself, and 0.0033 of the level.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError
from calibrant.registry import unknown
from calibrant.station.records import NAN, STATES, Apriori, Level, OnOffScan

Floats = NDArray[np.float64]
Errors = Literal["mean", "fs"]
ERRORS = ("mean", "fs")
VALUES = ("compression", "tsys_k", "sefd_jy", "tcal_jy", "tcal_ratio")
FS_SINGLE_LEVEL = 0.0033
"""The Field System's fractional sigma of a state that was seen once."""
FS_OLD_SINGLE_COUNTS = 0.33
"""The same in counts, in the old form of SIG."""
ONSO, ONSC, OFFS, OFFC, ZERO = range(5)


@dataclass(frozen=True)
class Reduction:
    """One row per (scan, detector), in the order of `rows`."""

    scan: NDArray[np.int64]
    """Index into the scans given."""
    apriori: list[Apriori]
    mean: Floats
    """(row, state): mean level in counts, states as in `records.STATES`; nan where there is none."""
    count: NDArray[np.int64]
    """(row, state): how many levels."""
    flux_jy: Floats
    """Apparent flux density used."""
    no_diode: NDArray[np.bool_]
    values: dict[str, Floats]
    errors: dict[str, Floats]
    rounding: dict[str, Floats]
    """How far the values may be off at most because levels are printed with few digits, to first order."""

    def __len__(self) -> int:
        return len(self.apriori)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Rows with any result."""
        return np.any([np.isfinite(self.values[name]) for name in VALUES], axis=0)

    def problem(self, row: int) -> str:
        """Why a row has no result."""
        missing = [state for state in ("ONSO", "OFFS", "ZERO") if not self.count[row, STATES.index(state)]]
        if missing:
            return f"no usable {' or '.join(missing)} level"
        if self.mean[row, ONSO] == self.mean[row, OFFS]:
            return "the levels on and off the source are equal"
        return "its levels give no finite result"


@dataclass(frozen=True)
class OnOffResult:
    """One detector of one scan. What cannot be computed is nan; errors are one sigma, in the unit of the value."""

    detector: str
    flux_jy: float
    no_diode: bool
    repetitions: int
    compression: float
    tsys_k: float
    sefd_jy: float
    tcal_jy: float
    tcal_ratio: float
    compression_err: float
    tsys_k_err: float
    sefd_jy_err: float
    tcal_jy_err: float
    tcal_ratio_err: float


def reduce_scan(scan: OnOffScan, *, errors: Errors = "mean", old_sigma: bool = False) -> list[OnOffResult]:
    """Results of the detectors of one scan that have usable levels, with the flux density of the APR rows.

    `old_sigma`: SIG in the form of FS 9.11 and before, where `errors` is "fs".
    """
    reduction = reduce_scans([scan], errors=errors, old_sigma=[old_sigma])
    return [_result(reduction, int(row)) for row in np.flatnonzero(reduction.usable)]


def _result(reduction: Reduction, row: int) -> OnOffResult:
    values = {name: float(reduction.values[name][row]) for name in VALUES}
    errors = {f"{name}_err": float(reduction.errors[name][row]) for name in VALUES}
    return OnOffResult(
        detector=reduction.apriori[row].detector,
        flux_jy=float(reduction.flux_jy[row]),
        no_diode=bool(reduction.no_diode[row]),
        repetitions=int(reduction.count[row, OFFS]),
        **values,
        **errors,
    )


def reduce_scans(
    scans: Sequence[OnOffScan],
    *,
    errors: Errors = "mean",
    flux_jy: Floats | None = None,
    old_sigma: Sequence[bool] = (),
) -> Reduction:
    """All detectors of many scans at once.

    `flux_jy`: apparent flux density for each row (`rows` gives their order); None: what the APR rows say.
    `old_sigma`: for each scan, whether SIG has the form of FS 9.11; empty: none has.
    Raises ParameterError for an unknown kind of errors.
    """
    if errors not in ERRORS:
        raise ParameterError(unknown("kind of errors", errors, ERRORS))
    table = _Table.of(scans)
    flux = table.column("flux_jy") if flux_jy is None else flux_jy
    formulas = _Formulas.of(table, flux)
    values = formulas.values()
    slopes = formulas.derivatives(values, continuous=formulas.continuous)
    step = _printed_step(table)
    if errors == "fs":
        # The Field System takes v for f in its errors, also under continuous calibration.
        switched = formulas.derivatives(values, continuous=np.zeros(len(table.apriori), dtype=bool))
        old = np.array(old_sigma or [False] * len(scans), dtype=bool)[table.scan]
        found = {name: _quadrature(switched[name], _fs_sigma(table, old)) for name in VALUES}
    else:
        found = _errors_of_mean(table, slopes, step)
    found = {name: np.where(np.isfinite(values[name]), found[name], np.nan) for name in VALUES}
    rounding = {name: np.sum(np.abs(np.nan_to_num(slopes[name])), axis=1) * step / 2 for name in VALUES}
    no_diode = formulas.no_diode
    return Reduction(table.scan, table.apriori, table.mean, table.count, flux, no_diode, values, found, rounding)


def rows(scans: Sequence[OnOffScan]) -> list[tuple[int, Apriori]]:
    """(index of the scan, a-priori row) in the order of `reduce_scans`; VAL rows without APR come last, with nan."""
    return [(index, row) for index, scan in enumerate(scans) for row in (*scan.apriori.values(), *_unannounced(scan))]


def _unannounced(scan: OnOffScan) -> Iterator[Apriori]:
    for name, row in scan.printed.items():
        if name not in scan.apriori:
            yield Apriori(row.line, name, row.freq_mhz, NAN, NAN, NAN, NAN, NAN, "x", NAN)


@dataclass(frozen=True)
class _Table:
    """Levels of many scans as flat arrays, and their means by row and state."""

    scan: NDArray[np.int64]
    apriori: list[Apriori]
    continuous: NDArray[np.bool_]
    cell: NDArray[np.int64]
    """Of each level: 5 * row + state."""
    level: Floats
    seconds: Floats
    mean: Floats
    mean_seconds: Floats
    count: NDArray[np.int64]

    @classmethod
    def of(cls, scans: Sequence[OnOffScan]) -> _Table:
        order = rows(scans)
        levels = [scans[scan].levels.get(row.detector, []) for scan, row in order]
        number = {state: index for index, state in enumerate(STATES)}
        flat: list[Level] = [level for group in levels for level in group]
        row = np.repeat(np.arange(len(order)), [len(group) for group in levels])
        cell = 5 * row + np.fromiter((number[level.state] for level in flat), dtype=np.int64, count=len(flat))
        value = np.fromiter((level.level for level in flat), dtype=np.float64, count=len(flat))
        seconds = np.fromiter((level.seconds for level in flat), dtype=np.float64, count=len(flat))
        good = np.isfinite(value)
        cell, value, seconds = cell[good], value[good], seconds[good]
        count = np.bincount(cell, minlength=5 * len(order)).reshape(-1, 5)
        return cls(
            np.array([scan for scan, _ in order], dtype=np.int64),
            [row for _, row in order],
            np.array([scans[scan].continuous for scan, _ in order], dtype=bool),
            cell,
            value,
            seconds,
            _mean(cell, value, count),
            _mean(cell, seconds, count),
            count,
        )

    def column(self, name: str) -> Floats:
        return np.array([getattr(row, name) for row in self.apriori], dtype=np.float64)


def _mean(cell: NDArray[np.int64], value: Floats, count: NDArray[np.int64]) -> Floats:
    total = np.bincount(cell, weights=value, minlength=count.size).reshape(count.shape)
    return np.asarray(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))


@dataclass(frozen=True)
class _Formulas:
    """Mean levels and a-priori numbers of every row; nan wherever a formula does not apply."""

    mean: Floats
    flux: Floats
    tcal: Floats
    """K; nan without a diode."""
    gain: Floats
    continuous: NDArray[np.bool_]
    no_diode: NDArray[np.bool_]

    @classmethod
    def of(cls, table: _Table, flux: Floats) -> _Formulas:
        tcal = table.column("tcal_k")
        fired = (table.count[:, ONSC] > 0) | (table.count[:, OFFC] > 0)
        no_diode = (tcal <= 0) | ~fired
        gain = table.column("dpfu") * table.column("gain")
        # An IF detector has no diode-on level under continuous calibration: its system level is f alone.
        continuous = table.continuous & (table.count[:, OFFC] > 0)
        return cls(table.mean, flux, np.where(no_diode, np.nan, tcal), gain, continuous, no_diode)

    def differences(self) -> tuple[Floats, Floats, Floats, Floats]:
        """S - s, G - f (nan without a diode, or where 0), s - f (nan where 0), and v - z, in counts."""
        s, S, f, G, z = self.mean.T
        diode_off = np.where(self.no_diode | (f == G), np.nan, G - f)
        source = np.where(s == f, np.nan, s - f)
        system = np.where(self.continuous, (f + G) / 2, f) - z
        return np.where(self.no_diode, np.nan, S - s), diode_off, source, system

    def values(self) -> dict[str, Floats]:
        diode_on, diode_off, source, system = self.differences()
        tcal_jy = diode_off * self.flux / source
        results = (
            diode_on / diode_off,
            system * self.tcal / diode_off,
            system * self.flux / source,
            tcal_jy,
            self.gain * tcal_jy / self.tcal,
        )
        return dict(zip(VALUES, results, strict=True))

    def derivatives(self, values: dict[str, Floats], continuous: NDArray[np.bool_]) -> dict[str, Floats]:
        """(row, state): change of each value with each mean level, exact; `continuous`: rows where v = (f + G) / 2."""
        _, diode, source, _ = self.differences()
        comp, tsys, sefd, tcal_jy, _ = (values[name] for name in VALUES)
        zero = np.zeros(len(diode))
        off, cal = np.where(continuous, 0.5, 1.0), np.where(continuous, 0.5, 0.0)
        tcal_slopes = (-tcal_jy, zero, tcal_jy - self.flux, self.flux, zero)
        of_tcal_jy = np.stack(tcal_slopes, axis=1) / source[:, None]
        slopes = (
            np.stack((zero - 1, zero + 1, comp, -comp, zero), axis=1) / diode[:, None],
            np.stack((zero, zero, off * self.tcal + tsys, cal * self.tcal - tsys, -self.tcal), axis=1) / diode[:, None],
            np.stack((-sefd, zero, off * self.flux + sefd, cal * self.flux, -self.flux), axis=1) / source[:, None],
            of_tcal_jy,
            of_tcal_jy * (self.gain / self.tcal)[:, None],
        )
        return dict(zip(VALUES, slopes, strict=True))


def _quadrature(slopes: Floats, sigma: Floats) -> Floats:
    """Errors of one quantity from those of the levels; a state that does not enter it may be missing."""
    terms = np.where(slopes == 0, 0.0, slopes * sigma)
    return np.asarray(np.sqrt(np.sum(terms**2, axis=1)))


def _fs_sigma(table: _Table, old: NDArray[np.bool_]) -> Floats:
    """(row, state): what the Field System takes for the error of each mean level, in its old form or today's."""
    deviation = table.level - table.mean.ravel()[table.cell]
    squares = np.bincount(table.cell, weights=deviation**2, minlength=table.count.size).reshape(table.count.shape)
    more = np.maximum(table.count - 1, 1)
    scatter = np.sqrt(squares / more / np.where(old[:, None], more, 1))
    single = np.where(old[:, None], FS_OLD_SINGLE_COUNTS, FS_SINGLE_LEVEL * np.abs(table.mean))
    return np.asarray(np.where(table.count == 1, single, scatter))


def _errors_of_mean(table: _Table, slopes: dict[str, Floats], step: Floats) -> dict[str, Floats]:
    """Noise of the mean levels, and what a linear drift does to states with different mean times."""
    scale, fraction, drift = _fractional_errors(table, step)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = scale * fraction[:, None] / np.sqrt(table.count)
    mean_seconds = table.mean_seconds - np.nanmean(table.mean_seconds, axis=1, keepdims=True)
    shift = scale * drift[:, None] * mean_seconds
    shift[:, ZERO] = 0.0
    result = {}
    for name in VALUES:
        moved = np.sum(np.where(slopes[name] == 0, 0.0, slopes[name] * shift), axis=1)
        result[name] = np.hypot(_quadrature(slopes[name], sigma), moved)
    return result


def _fractional_errors(table: _Table, step: Floats) -> tuple[Floats, Floats, Floats]:
    """(scale (row, state) in counts, fractional error of one level (row), drift per second (row)).

    Noise of a detector that sees power P is proportional to P (radiometer noise and gain changes alike), so the
    deviations of all states from their means, divided by (mean - zero), have one variance s^2 per detector. With two
    repetitions that is 6 degrees of freedom in place of 2 or 1 for a state alone. A linear drift common to the
    states is taken out first: on and off interleave so that it hardly changes the means.

    The s^2 of a scan's detectors are shrunk towards each other by empirical Bayes (`_shrink`), and the error is
    enlarged by the Student factor of the degrees of freedom behind it, so that it covers 68 % also with few of them.
    ZERO is taken to be as stable as the rest in proportion to its own level.
    """
    zero = np.nan_to_num(table.mean[:, [ZERO]])
    scale = np.abs(table.mean - zero)
    scale[:, ZERO] = np.abs(table.mean[:, ZERO])
    signal = table.cell % 5 != ZERO
    cell = table.cell[signal]
    row = cell // 5
    size = scale.ravel()[cell]
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.where(size > 0, (table.level[signal] - table.mean.ravel()[cell]) / size, 0.0)
    seconds = table.seconds[signal] - table.mean_seconds.ravel()[cell]
    free = np.sum(np.maximum(table.count[:, :ZERO] - 1, 0), axis=1)
    drift = _drift(row, deviation, seconds, free)
    squares = np.bincount(row, weights=(deviation - drift[row] * seconds) ** 2, minlength=len(free))
    free = free - (drift != 0)
    largest = np.max(np.nan_to_num(scale[:, :ZERO]), axis=1, initial=0.0)
    coarse = np.divide(step**2 / 12, largest**2, out=np.zeros(len(step)), where=largest > 0)
    variance = np.maximum(squares / np.maximum(free, 1), coarse)
    variance, free = _shrink(variance, free.astype(np.float64), table.scan)
    return scale, np.sqrt(variance) * _student(free), drift


def _drift(row: NDArray[np.int64], deviation: Floats, seconds: Floats, free: NDArray[np.int64]) -> Floats:
    """Fractional drift per second of each row; 0 where fewer than two degrees of freedom would be left."""
    across = np.bincount(row, weights=deviation * seconds, minlength=len(free))
    spread = np.bincount(row, weights=seconds**2, minlength=len(free))
    return np.asarray(np.divide(across, spread, out=np.zeros(len(free)), where=(spread > 0) & (free >= 3)))


def _printed_step(table: _Table) -> Floats:
    """Counts of the last digit with which the levels of each row are printed."""
    row = table.cell // 5
    step = np.full(len(table.scan), 1e-4)
    for digits in (3, 2, 1, 0):
        finer = np.abs(table.level - np.round(table.level, digits)) > 1e-6
        whole = np.bincount(row, weights=finer, minlength=len(step)) == 0
        step[whole] = 10.0**-digits
    return step


def _shrink(variance: Floats, free: Floats, scan: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Variances of a scan's detectors drawn towards their common value, and their degrees of freedom.

    The prior of each scan is the scaled inverse chi-square law that explains the scatter of ln s^2 over its
    detectors (Smyth 2004): detectors alike share all their degrees of freedom, unlike ones keep their own. A scan
    without any repetition gets the Field System's 0.0033.
    """
    from scipy.special import digamma, polygamma

    scans = int(scan.max(initial=-1)) + 1
    used = (free > 0) & (variance > 0)
    group = scan[used]
    number = np.bincount(group, minlength=scans)
    half = free[used] / 2
    logs = np.log(variance[used]) - digamma(half) + np.log(half)
    centre = np.bincount(group, weights=logs, minlength=scans) / np.maximum(number, 1)
    spread = np.bincount(group, weights=(logs - centre[group]) ** 2, minlength=scans) / np.maximum(number - 1, 1)
    excess = spread - np.bincount(group, weights=polygamma(1, half), minlength=scans) / np.maximum(number, 1)
    total = np.bincount(group, weights=free[used], minlength=scans)
    prior_free = np.where(excess > 0, 2 * _inverse_trigamma(np.maximum(excess, 1e-6)), np.inf)
    prior_free = np.where(number >= 2, np.minimum(prior_free, total), total)
    safe = np.maximum(prior_free / 2, 0.5)
    # With infinitely many degrees of freedom digamma(x) - ln x vanishes; the cap at `total` keeps it finite.
    shift = np.where(excess > 0, digamma(safe) - np.log(safe), 0.0)
    prior = np.where(number > 0, np.exp(centre + shift), FS_SINGLE_LEVEL**2)
    own = np.where(number == 1, 0.0, prior_free)[scan]
    weight = np.where(used, own, prior_free[scan])
    weight = np.where(number[scan] == 0, 1.0, weight)
    freedom = np.where(used, free, 0.0)
    return (weight * prior[scan] + freedom * variance) / (weight + freedom), weight + freedom


def _inverse_trigamma(value: Floats) -> Floats:
    """x with trigamma(x) = value > 0, by Newton's method on 1 / trigamma, which is nearly straight."""
    from scipy.special import polygamma

    x = 0.5 + 1.0 / value
    for _ in range(8):
        trigamma = polygamma(1, x)
        x = x + trigamma * (1 - trigamma / value) / polygamma(2, x)
    return np.asarray(x)


def _student(free: Floats) -> Floats:
    """The factor that makes s cover 68.3 %: Student's quantile at one sigma, by its expansion in 1 / free."""
    inverse = 1.0 / np.maximum(free, 1.0)
    return np.asarray(1 + inverse / 2 + inverse**2 / 4 + inverse**3 / 16)
