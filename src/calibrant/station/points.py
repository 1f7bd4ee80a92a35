"""The table of ONOFF results that everything else works on: one row per scan and detector.

    points, skipped = build_points([read_log("r1730ny.log")], Receivers.read("/usr2/control/rxg_files"))
    points["sefd_jy"], points.where(points["pol"] == "l").rows()

Units are in the names. Unknown numbers are nan, unknown texts empty. `line` is that of the VAL row, or of the APR
row where FS printed no result; `time` that of the scan's first APR row. `scan` counts over all logs, from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError
from calibrant.registry import unknown
from calibrant.station.derived import Opacity, derive
from calibrant.station.onoff import VALUES, Errors, Reduction, reduce_scans
from calibrant.station.onoff_errors import sig_is_old
from calibrant.station.onoff_levels import rows
from calibrant.station.records import NAN, Apriori, FsLog, OnOffScan, Printed, Skipped

if TYPE_CHECKING:
    from calibrant.station.fluxctl import FluxTable
    from calibrant.station.rxg import Receivers

Column = NDArray[Any]
Floats = NDArray[np.float64]

DERIVED = ("tcal_k", "ratio", "gain", "tsys_scaled_k", "tsys_minus_tspill_k", "opacity_zenith")
CORRECTED = ("gain_corrected", "tcal_k_corrected", "ratio_corrected")
"""For opacity, as the rxg's curve or the caller asks; equal to the plain ones where nothing is corrected."""
WEATHER = ("temperature_c", "pressure_hpa", "humidity_percent", "wind_speed", "wind_azimuth_deg")


def _with_errors(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(column for name in names for column in (name, f"{name}_err"))


TEXTS = ("file", "source", "type", "detector", "if_chain", "pol", "rxg")
FLAGS = ("no_diode", "continuous", "recomputed", "deleted")
WHOLE = ("log", "scan", "line", "repetitions")
COLUMNS = (
    *("file", "log", "scan", "line", "time", "source", "type", "detector", "if_chain", "pol", "freq_mhz", "lo_mhz"),
    *("azimuth_deg", "elevation_deg", "airmass"),
    *_with_errors((*VALUES, "tcal_k_fs")),
    *("repetitions", "no_diode", "continuous", "recomputed"),
    *_with_errors(f"fs_{name}" for name in VALUES),
    *("apr_tcal_k", "apr_flux_jy", "apr_dpfu", "apr_gain", "apr_fwhm_deg"),
    *("rxg", "tcal_assumed_k", "dpfu", "curve_gain", "trec_k", "tspill_k", "flux_assumed_jy", "structure_correction"),
    *_with_errors(DERIVED),
    *("transmission", *_with_errors(CORRECTED)),
    *WEATHER,
    *("deleted", "reason"),
)
"""All columns in order. `recomputed` is False where a log has no usable levels and the values are FS's VAL and SIG.
`flux_assumed_jy` is the apparent flux density used; `structure_correction` is nan where no flux table gave it."""


class Points:
    """Columns of equal length by name. Arrays are shared, not copied: an assignment to an item edits the table."""

    def __init__(self, columns: dict[str, Column]) -> None:
        self.columns = columns

    def __getitem__(self, name: str) -> Column:
        try:
            return self.columns[name]
        except KeyError:
            raise ParameterError(unknown("column", name, tuple(self.columns))) from None

    def __len__(self) -> int:
        return len(self.columns["time"])

    def where(self, mask: NDArray[Any]) -> Points:
        """The rows of a mask, or of indices, as a table of its own."""
        return Points({name: column[mask] for name, column in self.columns.items()})

    def replaced(self, **columns: Column) -> Points:
        """The same table with some columns exchanged."""
        return Points(self.columns | columns)

    @classmethod
    def concatenate(cls, tables: Sequence[Points]) -> Points:
        """Rows of several tables, one after the other; the empty table for none."""
        if not tables:
            return cls.empty()
        return cls({name: np.concatenate([table[name] for table in tables]) for name in tables[0].columns})

    @classmethod
    def empty(cls, length: int = 0) -> Points:
        """`length` rows of nan, empty texts and False."""
        return cls({name: _blank(name, length) for name in COLUMNS})

    def rows(self) -> list[dict[str, Any]]:
        """Rows as plain Python values, ready for JSON; nan becomes None."""
        plain = [_plain(column) for column in self.columns.values()]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*plain, strict=True)]

    def derived(
        self,
        receivers: Receivers | None,
        opacity: Opacity | None = None,
        *,
        gain_tcal_k: float = NAN,
        gain_at: tuple[float, float, float] | None = None,
    ) -> Points:
        """The table with everything that depends on receiver files computed anew (see `derived.derive`)."""
        columns = derive(self.columns, receivers, opacity or Opacity(), gain_tcal_k=gain_tcal_k, gain_at=gain_at)
        return self.replaced(**columns)


def _blank(name: str, length: int) -> Column:
    if name == "reason":
        return np.full(length, "", dtype=object)
    if name in TEXTS:
        return np.full(length, "", dtype=np.str_)
    if name in FLAGS:
        return np.zeros(length, dtype=bool)
    return np.zeros(length, dtype=np.int64) if name in WHOLE else np.full(length, np.nan)


def _plain(column: Column) -> list[Any]:
    if column.dtype.kind != "f":
        return cast("list[Any]", column.tolist())
    return [value if value == value else None for value in column.tolist()]


def build_points(
    logs: Sequence[FsLog],
    receivers: Receivers | None = None,
    flux: FluxTable | None = None,
    *,
    errors: Errors = "mean",
    opacity: Opacity | None = None,
    gain_tcal_k: float = NAN,
    gain_at: tuple[float, float, float] | None = None,
) -> tuple[Points, list[Skipped]]:
    """All ONOFF results of some logs, and the scans and detectors that give none, with reasons.

    Values are recomputed from the levels. Without `flux` they use the APR rows' flux densities, so that they repeat
    the Field System's VAL; with it they use the table's at the time of the scan, corrected for structure with the
    beam of the APR row, and the APR's only for sources that the table does not know. `receivers` are joined by LO and
    polarisation. `opacity`, `gain_tcal_k` and `gain_at`: see `derived.derive`. Raises ParameterError for options that
    cannot be.
    """
    scans = [scan for log in logs for scan in log.scans]
    order = rows(scans)
    columns = Points.empty(len(order)).columns
    columns |= _identity(logs, scans, order) | _printed(scans, order) | _conditions(scans, order)
    _remember(columns)
    columns |= _fluxes(columns, order, flux)
    old = [sig_is_old(log.site.release) for log in logs for _ in log.scans]
    reduction = reduce_scans(scans, errors=errors, flux_jy=columns["flux_assumed_jy"], old_sigma=old)
    columns |= _measured(reduction, columns)
    unusable = ~(reduction.usable | np.isfinite(columns["sefd_jy"]))
    skipped = list(_skipped(scans, reduction, unusable))
    points = Points(columns).where(~unusable)
    return points.derived(receivers, opacity, gain_tcal_k=gain_tcal_k, gain_at=gain_at), skipped


def _numbers(values: Iterable[float]) -> Floats:
    return np.array(list(values), dtype=np.float64)


def _identity(logs: Sequence[FsLog], scans: Sequence[OnOffScan], order: list[tuple[int, Apriori]]) -> dict[str, Column]:
    scan = np.array([index for index, _ in order], dtype=np.int64)
    log = np.repeat(np.arange(len(logs)), [len(one.scans) for one in logs])
    printed = [scans[index].printed.get(row.detector) for index, row in order]

    def of_scan(value: Callable[[OnOffScan], object], dtype: type) -> Column:
        return np.array([value(one) for one in scans], dtype=dtype)[scan]

    return {
        "scan": scan,
        "log": log[scan],
        "file": of_scan(lambda one: one.file, np.str_),
        "time": of_scan(lambda one: one.time, np.float64),
        "source": of_scan(lambda one: one.source.lower(), np.str_),
        "line": np.array([found.line if found else row.line for found, (_, row) in zip(printed, order, strict=True)]),
        "detector": np.array([row.detector for _, row in order], dtype=np.str_),
        "freq_mhz": _numbers(row.freq_mhz for _, row in order),
        "lo_mhz": _numbers(row.lo_mhz for _, row in order),
        "if_chain": np.array([found.if_chain if found else "" for found in printed], dtype=np.str_),
        "pol": np.array([found.pol if found else "" for found in printed], dtype=np.str_),
        "apr_tcal_k": _numbers(row.tcal_k for _, row in order),
        "apr_flux_jy": _numbers(row.flux_jy for _, row in order),
        "apr_dpfu": _numbers(row.dpfu for _, row in order),
        "apr_gain": _numbers(row.gain for _, row in order),
        "apr_fwhm_deg": _numbers(row.fwhm_deg for _, row in order),
        "continuous": of_scan(lambda one: one.continuous, np.bool_),
        "deleted": np.zeros(len(order), dtype=bool),
    }


def _printed(scans: Sequence[OnOffScan], order: list[tuple[int, Apriori]]) -> dict[str, Column]:
    """FS's own VAL and SIG of every row."""
    values = [scans[index].printed.get(row.detector) for index, row in order]
    sigmas = [scans[index].sigma.get(row.detector) for index, row in order]
    result: dict[str, Column] = {}
    for name in VALUES:
        result[f"fs_{name}"] = _numbers(getattr(one, name) if one else NAN for one in values)
        result[f"fs_{name}_err"] = _numbers(getattr(one, name) if one else NAN for one in sigmas)
    return result


def _conditions(scans: Sequence[OnOffScan], order: list[tuple[int, Apriori]]) -> dict[str, Column]:
    """Direction and weather, by scan: a detector without VAL row points where the others do."""
    scan = [index for index, _ in order]
    any_row: list[Printed | None] = [next(iter(one.printed.values()), None) for one in scans]
    result: dict[str, Column] = {
        name: _numbers(getattr(row, name) if row else NAN for row in any_row)[scan]
        for name in ("azimuth_deg", "elevation_deg")
    }
    for name in WEATHER:
        result[name] = _numbers(getattr(one.weather, name) if one.weather else NAN for one in scans)[scan]
    elevation = result["elevation_deg"]
    with np.errstate(divide="ignore", invalid="ignore"):
        result["airmass"] = np.where(elevation > 0, 1.0 / np.sin(np.radians(elevation)), np.nan)
    return result


def _remember(columns: dict[str, Column]) -> None:
    """Polarisation and IF of detectors without VAL row, from another scan with the same detector and LO."""
    keys = list(zip(columns["log"], columns["detector"], columns["lo_mhz"], strict=True))
    pairs = zip(columns["pol"], columns["if_chain"], strict=True)
    known = {key: pair for key, pair in zip(keys, pairs, strict=True) if pair[0]}
    missing = np.flatnonzero(columns["pol"] == "")
    for row in missing:
        columns["pol"][row], columns["if_chain"][row] = known.get(keys[row], ("", ""))


def _fluxes(columns: dict[str, Column], order: list[tuple[int, Apriori]], table: FluxTable | None) -> dict[str, Column]:
    """Type, apparent flux density and structure correction: of the table where it knows the source, else APR's."""
    kind = np.array([row.type for _, row in order], dtype=np.str_)
    flux, correction = columns["apr_flux_jy"].copy(), np.full(len(order), np.nan)
    for source in np.unique(columns["source"]) if table else ():
        mine = columns["source"] == source
        place = columns["freq_mhz"][mine], columns["apr_fwhm_deg"][mine]
        apparent = cast("FluxTable", table).apparent(str(source), *place, columns["time"][mine])
        flux[mine] = np.where(np.isfinite(apparent), apparent, flux[mine])
        correction[mine] = cast("FluxTable", table).correction(str(source), *place)
        # Since FS 10.1.0 the APR row may show the type of the source before.
        kind[mine] = cast("FluxTable", table).type(str(source))
    return {"type": kind, "flux_assumed_jy": flux, "structure_correction": correction}


def _measured(reduction: Reduction, columns: dict[str, Column]) -> dict[str, Column]:
    """Results recomputed from the levels; FS's VAL and SIG, for the same flux, where levels lack for a SEFD."""
    printed = ~np.isfinite(reduction.values["sefd_jy"]) & np.isfinite(columns["fs_sefd_jy"])
    result: dict[str, Column] = {"repetitions": reduction.count[:, 2], "recomputed": ~printed}
    without = np.where(printed, ~(columns["fs_tcal_jy"] != 0), reduction.no_diode)
    scale = np.nan_to_num(reduction.flux_jy / columns["apr_flux_jy"], nan=1.0)
    for name in VALUES:
        factor = scale if name in ("sefd_jy", "tcal_jy", "tcal_ratio") else 1.0
        lacks = without if name != "sefd_jy" else False
        for own, column in ((reduction.values, name), (reduction.errors, f"{name}_err")):
            theirs = np.where(lacks, np.nan, columns[f"fs_{column}"] * factor)
            result[column] = np.where(printed, theirs, own[name])
    product = columns["apr_dpfu"] * columns["apr_gain"]
    result["tcal_k_fs"] = product * result["tcal_jy"]
    result["tcal_k_fs_err"] = np.abs(product) * result["tcal_jy_err"]
    return result | {"no_diode": np.asarray(without, dtype=bool)}


def _skipped(scans: Sequence[OnOffScan], reduction: Reduction, unusable: NDArray[np.bool_]) -> Iterator[Skipped]:
    """One entry for a scan that gives nothing, else one for each detector that gives nothing and each level lost."""
    kept = np.bincount(reduction.scan[~unusable], minlength=len(scans))
    bad: dict[int, list[int]] = {}
    for index in np.flatnonzero(unusable):
        bad.setdefault(int(reduction.scan[index]), []).append(int(index))
    for number, scan in enumerate(scans):
        name = f"ONOFF scan of {scan.source or 'an unnamed source'}"
        found = [(reduction.apriori[row], reduction.problem(row)) for row in bad.get(number, [])]
        if not kept[number]:
            causes = sorted({problem for _, problem in found}) or ["no detector"]
            yield Skipped(scan.file, scan.line, name, "; ".join(filter(None, (", ".join(causes), scan.reason))))
            continue
        for apriori, problem in found:
            yield Skipped(scan.file, apriori.line, f"{name}, detector {apriori.detector}", problem)
        dead = {apriori.detector for apriori, _ in found}
        for detector, level in scan.without_number:
            if detector in dead:
                continue
            yield Skipped(
                scan.file, level.line, f"{name}, detector {detector}", f"{level.state} row: no number, left out"
            )
