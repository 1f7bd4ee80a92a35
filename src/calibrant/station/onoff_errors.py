"""Errors of ONOFF's results: those of the mean, and the Field System's SIG.

The noise of a detector that sees power P is proportional to P: radiometer noise, gain changes, pointing. So the
deviations of all levels from the means of their states, divided by (mean - zero), are alike, and serve one estimate
per detector. Deviations with the diode on and off from the same visit on (or off) the source have much in common,
typically 3 to 10 times more than their difference: pointing and gain change from visit to visit, not within. Their
sum and difference therefore get a variance each, and the covariance that follows enters Comp and Tcal ratio.

A linear drift common to all states is taken out first: on and off interleave so that it hardly changes the means; what
it does change is added to the errors.

With two repetitions a detector alone has 2 and 3 degrees of freedom. The variances of a scan's detectors are therefore
shrunk towards each other by empirical Bayes (Smyth 2004): detectors alike share their degrees of freedom, unlike ones
keep their own. Noise that all detectors have in common counts once. The result is enlarged by Student's factor, so
that one sigma covers 68 % with few degrees of freedom too. ZERO is taken to be as stable as the rest in proportion to
its own level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.station.onoff_levels import ZERO, Floats, Integers, LevelTable

FS_SINGLE_LEVEL = 0.0033
"""The Field System's fractional sigma of a state that was seen once."""
FS_OLD_SINGLE_COUNTS = 0.33
"""The same in counts, in the old form of SIG."""
FEWEST_FREE = 2
"""Degrees of freedom that must be left for a drift to be taken out."""


def quadrature(slopes: Floats, sigma: Floats) -> Floats:
    """Errors of one quantity from those of the levels; a state that does not enter it may be missing."""
    terms = np.where(slopes == 0, 0.0, slopes * sigma)
    return np.asarray(np.sqrt(np.sum(terms**2, axis=1)))


def sig_is_old(release: str) -> bool:
    """Whether a Field System release prints SIG in its old form.

    9.11.6 to 9.11.8 do, today's sources (10.2.1) do not. No log of a release between them was at hand: that the form
    changed with 9.12 is a guess. A log without a release is taken for a new one.
    """
    numbers = [int(part) for part in release.split(".")[:2] if part.isdigit()]
    return len(numbers) == 2 and numbers < [9, 12]


def fs_sigma(table: LevelTable, old: NDArray[np.bool_]) -> Floats:
    """(row, state): what the Field System takes for the error of each mean level, in its old form or today's."""
    deviation = table.level - table.mean.ravel()[table.cell]
    squares = np.bincount(table.cell, weights=deviation**2, minlength=table.count.size).reshape(table.count.shape)
    more = np.maximum(table.count - 1, 1)
    scatter = np.sqrt(squares / more / np.where(old[:, None], more, 1))
    single = np.where(old[:, None], FS_OLD_SINGLE_COUNTS, FS_SINGLE_LEVEL * np.abs(table.mean))
    return np.asarray(np.where(table.count == 1, single, scatter))


@dataclass(frozen=True)
class Noise:
    """Fractional noise of the levels of every row."""

    scale: Floats
    """(row, state): counts to which the fractions refer: |mean - zero|, for ZERO its own level."""
    plus: Floats
    """Variance of (diode on + diode off) / sqrt(2) of one visit."""
    minus: Floats
    """Variance of their difference / sqrt(2)."""
    drift: Floats
    """Per second; 0 where none could be told."""

    def error(self, slopes: Floats, table: LevelTable, pairs: Integers) -> Floats:
        """One sigma of a quantity with these derivatives (row, state) with respect to the mean levels."""
        weight = np.where(slopes == 0, 0.0, slopes * self.scale)
        count = np.maximum(table.count, 1)
        alone = (self.plus + self.minus) / 2 * np.sum(weight**2 / count, axis=1)
        share = weight / count
        together = np.sum(pairs * np.stack((share[:, 0] * share[:, 1], share[:, 2] * share[:, 3]), axis=1), axis=1)
        when = np.nan_to_num(table.mean_seconds)
        shift = self.drift * np.sum((weight * when)[:, :ZERO], axis=1)
        return np.asarray(np.sqrt(np.maximum(alone + (self.plus - self.minus) * together, 0.0) + shift**2))


def errors_of_mean(table: LevelTable, slopes: dict[str, Floats], step: Floats) -> dict[str, Floats]:
    """Errors of the quantities with these derivatives; `step`: counts of the last printed digit (row)."""
    noise, pairs = level_noise(table, step)
    return {name: noise.error(slope, table, pairs) for name, slope in slopes.items()}


def level_noise(table: LevelTable, step: Floats) -> tuple[Noise, Integers]:
    """The noise, and (row, on or off) the number of visits with the diode both on and off."""
    size = len(table.scan)
    scale = np.abs(table.mean - np.nan_to_num(table.mean[:, [ZERO]]))
    scale[:, ZERO] = np.abs(table.mean[:, ZERO])
    signal = np.flatnonzero(table.cell % 5 != ZERO)
    cell = table.cell[signal]
    counts = scale.ravel()[cell]
    deviation = np.zeros(len(cell))
    np.divide(table.level[signal] - table.mean.ravel()[cell], counts, out=deviation, where=counts > 0)
    seconds = table.seconds[signal] - table.mean_seconds.ravel()[cell]
    first, second = _partners(cell, table.visit[signal])
    side = (cell // 5) * 2 + (cell % 5) // 2
    pairs = np.bincount(side[first], minlength=2 * size).reshape(-1, 2)

    paired = np.sum(np.maximum(pairs - 1, 0), axis=1)
    single = np.sum(np.maximum(table.count[:, :ZERO] - 1, 0), axis=1)
    free = np.where(paired > 0, paired, single)
    drift = _drift(cell // 5, deviation, seconds, free)
    deviation = deviation - drift[cell // 5] * seconds
    left = free - (drift != 0)

    largest = np.max(np.nan_to_num(scale[:, :ZERO]), axis=1, initial=0.0)
    least = np.divide(step**2 / 12, largest**2, out=np.zeros(size), where=largest > 0)
    alone = np.bincount(cell // 5, weights=deviation**2, minlength=size)
    found = []
    for sign, freedom in ((1.0, left), (-1.0, free)):
        both = (deviation[first] + sign * deviation[second]) / np.sqrt(2.0)
        both -= (np.bincount(side[first], weights=both, minlength=2 * size) / np.maximum(pairs.ravel(), 1))[side[first]]
        squares = np.bincount(side[first] // 2, weights=both**2, minlength=size)
        # Without pairs (no diode) sum and difference are the same estimate, from the levels themselves.
        freedom = np.where(paired > 0, freedom, left).astype(np.float64)
        variance = np.maximum(np.where(paired > 0, squares, alone) / np.maximum(freedom, 1), least)
        visit = 2 * table.visit[signal][first] + side[first] % 2
        common = _in_common(both, side[first] // 2, visit, variance, table.scan)
        variance, freedom = _shrink(variance, freedom, table.scan, common)
        found.append(variance * _student(freedom) ** 2)
    return Noise(scale, found[0], found[1], drift), pairs


def _partners(cell: Integers, visit: Integers) -> tuple[Integers, Integers]:
    """Indices of the levels with the diode off and on (states 0, 1 and 2, 3) that come from the same visit."""
    visits = int(visit.max(initial=0)) + 1
    key = (cell - cell % 5 % 2) * visits + visit
    off, on = np.flatnonzero(cell % 5 % 2 == 0), np.flatnonzero(cell % 5 % 2 == 1)
    _, first, second = np.intersect1d(key[off], key[on], return_indices=True)
    return off[first], on[second]


def _in_common(values: Floats, row: Integers, visit: Integers, variance: Floats, scan: Integers) -> Floats:
    """(scan): how many detectors act as one, from the noise that they share visit by visit; at least 1."""
    scans, visits = int(scan.max(initial=-1)) + 1, int(visit.max(initial=0)) + 1
    scaled = np.divide(values, np.sqrt(variance[row]), out=np.zeros(len(values)), where=variance[row] > 0)
    place = scan[row] * visits + visit
    number = np.maximum(np.bincount(place, minlength=scans * visits), 1)
    total = np.bincount(place, weights=scaled, minlength=scans * visits) ** 2 / number
    each = np.bincount(place, weights=scaled**2, minlength=scans * visits) / number
    total, each = total.reshape(scans, visits).sum(axis=1), each.reshape(scans, visits).sum(axis=1)
    ratio = np.divide(total, each, out=np.ones(scans), where=each > 0)
    return np.maximum(ratio, 1.0)


def _drift(row: Integers, deviation: Floats, seconds: Floats, free: Integers) -> Floats:
    """Fractional drift per second of each row; 0 where fewer than two degrees of freedom would be left."""
    across = np.bincount(row, weights=deviation * seconds, minlength=len(free))
    spread = np.bincount(row, weights=seconds**2, minlength=len(free))
    return np.asarray(np.divide(across, spread, out=np.zeros(len(free)), where=(spread > 0) & (free > FEWEST_FREE)))


def _shrink(variance: Floats, free: Floats, scan: Integers, common: Floats) -> tuple[Floats, Floats]:
    """Variances of a scan's detectors drawn towards their common value, and their degrees of freedom.

    The prior of each scan is the scaled inverse chi-square law that explains the scatter of ln s^2 over its
    detectors, worth at most as much as all of them, `common` of which count as one. A scan without any repetition
    gets the Field System's 0.0033.
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
    total = np.bincount(group, weights=free[used], minlength=scans) / common
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
