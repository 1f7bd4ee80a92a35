"""ONOFF recomputed from its counts: compression, Tsys, SEFD, Tcal in Jy, and their errors.

With s, S, f, G, z the mean levels of ONSO, ONSC, OFFS, OFFC and ZERO, every repetition of equal weight, and F the
apparent flux density of the source:

    compression = (S - s) / (G - f)          Tsys     = (v - z) Tcal / (G - f)
    SEFD        = (v - z) F / (s - f)        Tcal(Jy) = (G - f) F / (s - f)
    ratio       = DPFU g Tcal(Jy) / Tcal     v = f, or (f + G) / 2 under continuous calibration

These are the Field System's own formulas. Its SIG rows (`errors="fs"`) are the scatter between repetitions, drift
included. The default, `errors="mean"`, are errors of the values themselves: see `onoff_errors`.

SIG has had two forms; `onoff_errors.sig_is_old` tells which a log has. Logs of FS 9.11 show, for n levels of a state,
their standard deviation / sqrt(n - 1), and 0.33 counts for a single one (all SIG rows of two such stations agree to
the last digit); today's sources, the standard deviation itself, and 0.0033 of the level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError
from calibrant.registry import unknown
from calibrant.station.onoff_errors import errors_of_mean, fs_sigma, quadrature
from calibrant.station.onoff_levels import OFFC, OFFS, ONSC, ONSO, Floats, LevelTable
from calibrant.station.records import STATES, Apriori, OnOffScan

Errors = Literal["mean", "fs"]
ERRORS = ("mean", "fs")
VALUES = ("compression", "tsys_k", "sefd_jy", "tcal_jy", "tcal_ratio")


@dataclass(frozen=True)
class Reduction:
    """One row per (scan, detector), in the order of `onoff_levels.rows`."""

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

    `flux_jy`: apparent flux density for each row (`onoff_levels.rows` gives their order); None: what the APR rows say.
    `old_sigma`: for each scan, whether SIG has the form of FS 9.11; empty: none has.
    Raises ParameterError for an unknown kind of errors.
    """
    if errors not in ERRORS:
        raise ParameterError(unknown("kind of errors", errors, ERRORS))
    table = LevelTable.of(scans)
    flux = table.column("flux_jy") if flux_jy is None else flux_jy
    formulas = _Formulas.of(table, flux)
    values = formulas.values()
    slopes = formulas.derivatives(values, continuous=formulas.continuous)
    step = table.printed_step()
    if errors == "fs":
        # The Field System takes v for f in its errors, also under continuous calibration.
        switched = formulas.derivatives(values, continuous=np.zeros(len(table.apriori), dtype=bool))
        old = np.array(old_sigma or [False] * len(scans), dtype=bool)[table.scan]
        found = {name: quadrature(switched[name], fs_sigma(table, old)) for name in VALUES}
    else:
        found = errors_of_mean(table, slopes, step)
    found = {name: np.where(np.isfinite(values[name]), found[name], np.nan) for name in VALUES}
    rounding = {name: np.sum(np.abs(np.nan_to_num(slopes[name])), axis=1) * step / 2 for name in VALUES}
    no_diode = formulas.no_diode
    return Reduction(table.scan, table.apriori, table.mean, table.count, flux, no_diode, values, found, rounding)


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
    def of(cls, table: LevelTable, flux: Floats) -> _Formulas:
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
