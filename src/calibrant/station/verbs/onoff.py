"""`calibrant station onoff`: ONOFF scans recomputed from their counts, as a table, CSV, JSON or parquet."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from calibrant.errors import DataError, ExistsError, ParameterError
from calibrant.params import Overwrite, Param
from calibrant.station.verbs import options

if TYPE_CHECKING:
    from calibrant.station.agreement import Agreement
    from calibrant.station.points import Points
    from calibrant.station.records import Skipped

PLACE = (
    *("file", "line", "time", "scan_number", "source", "type", "detector", "pol", "freq_mhz"),
    *("azimuth_deg", "elevation_deg"),
)
VALUES = ("compression", "tsys_k", "sefd_jy", "tcal_jy", "tcal_ratio")
PRINTED = ("fs_compression", "fs_tsys_k", "fs_sefd_jy", "fs_tcal_jy", "fs_tcal_ratio")
MORE = ("repetitions", "no_diode", "continuous", "recomputed", "flux_assumed_jy", "structure_correction")
WITH_RXG = (
    *("rxg", "tcal_assumed_k", "tcal_k", "ratio", "gain", "tsys_scaled_k", "tsys_minus_tspill_k", "opacity_zenith"),
    *("gain_corrected", "tcal_k_corrected", "ratio_corrected"),
)
EDITED = ("deleted", "reason")
FORMATS = (".csv", ".json", ".parquet")
SKIPPED_SHOWN = 10


@dataclass(frozen=True)
class OnOffTable:
    """Results of all scans, what gave none, and how they compare with the Field System's own."""

    rows: list[dict[str, Any]] = field(repr=False)
    skipped: list[Skipped]
    agreement: Agreement
    flux: str
    """Where the flux densities come from, in words."""
    output: str = ""
    notes: tuple[str, ...] = ()
    """What could not be told of some points, and how many."""

    def summary(self) -> str:
        scans: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in self.rows:
            scans.setdefault((row["file"], row["time"], row["source"]), []).append(row)
        lines: list[str] = []
        for (file, time, source), rows in scans.items():
            lines += [_heading(file, time, source, rows[0]), _HEADER, *(_table_row(row) for row in rows), ""]
        lines.append(f"{len(self.rows)} results of {len(scans)} scans. Flux densities: {self.flux}.")
        without = sum(not row["recomputed"] for row in self.rows)
        if without:
            lines.append(
                f"{without} rows (*) have counts that give no SEFD: the Field System's own VAL and SIG are shown."
            )
        lines.append(self.agreement.summary())
        lines += [*self.notes, *self._skipped_lines()]
        return "\n".join(lines + ([f"Written: {self.output}"] if self.output else []))

    def _skipped_lines(self) -> list[str]:
        if not self.skipped:
            return []
        shown = [f"  {one.file}:{one.line}: {one.reason}"[:100] for one in self.skipped[:SKIPPED_SHOWN]]
        more = len(self.skipped) - len(shown)
        tail = [f"  ... and {more} more; --json lists all"] if more else []
        return [f"{len(self.skipped)} lines or scans gave nothing:", *shown, *tail]

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "skipped": [
                {"file": one.file, "line": one.line, "reason": one.reason, "text": one.text} for one in self.skipped
            ],
            "agreement": self.agreement.to_dict(),
            "flux": self.flux,
            "output": self.output,
            "notes": list(self.notes),
        }


def onoff(
    logs: options.Logs,
    rxg: options.Rxg = [],  # noqa: B006
    flux: options.Flux = "",
    errors: options.SigmaKind = "mean",
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
    opacity: options.Opacity = "auto",
    tatm: options.Tatm = "273",
    gain_tcal: options.GainTcal = 0.0,
    gain_at: options.GainAt = "",
    tolerance: Annotated[float, Param("Relative difference from FS's VAL rows that counts as agreement.")] = 1e-3,
    output: Annotated[str, Param("File for the rows: .csv, .json or .parquet.")] = "",
    overwrite: Overwrite = False,
) -> OnOffTable:
    """Recompute compression, Tsys, SEFD, Tcal(Jy) and Tcal ratio of ONOFF scans from their counts.

    Scans without a noise diode keep their SEFD, interrupted ones what their counts give. The rows are compared with
    the Field System's VAL. Without --flux the flux densities are those printed in the log; with it they come from
    the table, at the time of each scan, corrected for the structure of the source. With --rxg come the ratio, gain
    and Tcal(K) of the receiver files, and the opacity where they have a Trec.

    Example:
        calibrant station onoff r1730ny.log
        calibrant station onoff ef.log --flux flux.ctl --rxg rxg_files --source calibrators -o onoff.csv
    """
    from calibrant.station.agreement import agreement
    from calibrant.station.load import load
    from calibrant.station.unknowns import choices, notes_of

    if not 0 < tolerance < 1:
        raise ParameterError(f"tolerance={tolerance}: expected a relative difference between 0 and 1, as 1e-3")
    _check_output(output, overwrite)
    selection = {
        "source": source, "detector": detector, "pol": pol, "freq": freq, "lo": lo, "scan": scan, "time": time,
        "elevation": elevation, "where": where,
    }  # fmt: skip
    treated = options.of_receivers(opacity, tatm, gain_tcal, gain_at)
    loaded = load(logs, rxg=rxg, flux=flux, session=session, errors=errors, selection=selection, **treated)
    scans = [one for log in loaded.logs for one in log.scans]
    if not scans:
        names = ", ".join(log.path for log in loaded.logs)
        raise DataError(f"{names}: found no ONOFF scan, expected at least one (#onoff# records). Give other logs.")
    where_from = f"{loaded.flux.path}, by time and beam" if loaded.flux else "as printed in the log (APR)"
    rows = _rows(loaded.points, WITH_RXG if loaded.receivers else ())
    notes = (*notes_of(loaded.points), *choices(loaded.points, loaded.receivers))
    table = OnOffTable(rows, loaded.skipped, agreement(scans, tolerance), where_from, output, notes)
    if output:
        _write(table, output)
    return table


def _rows(points: Points, more: tuple[str, ...]) -> list[dict[str, Any]]:
    columns = [*PLACE, *(name for value in VALUES for name in (value, f"{value}_err")), *PRINTED, *MORE, *more, *EDITED]
    names = set(points.columns)
    wanted = [name for name in (*columns, *(f"{name}_err" for name in more)) if name in names]
    rows = [{name: row[name] for name in wanted} for row in points.rows()]
    for row in rows:
        row["time"] = _utc(row["time"])
    return rows


def _utc(seconds: float) -> str:
    """`2016-03-07T16:14:27.45Z`."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=round(seconds, 2))
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 10000:02d}Z"


_TITLES = (("Comp", 13), ("Tsys (K)", 15), ("SEFD (Jy)", 19), ("Tcal (Jy)", 17))
_HEADER = f"  {'det':<5} P {'MHz':>9} " + " ".join(f"{title:^{width}}" for title, width in _TITLES) + f" {'ratio':>7}"


def _heading(file: str, time: str, source: str, row: dict[str, Any]) -> str:
    place = [f"az {row['azimuth_deg']:.1f}", f"el {row['elevation_deg']:.1f}"] if row["azimuth_deg"] is not None else []
    when = f"scan {row['scan_number']}", time[:19].replace("T", " ")
    return "  ".join([os.path.basename(file), *when, source or "unnamed source", *place])


def _table_row(row: dict[str, Any]) -> str:
    mark = "x" if row["deleted"] else " " if row["recomputed"] else "*"
    parts = [f"{mark} {row['detector']:<5} {row['pol'] or '-'} {row['freq_mhz']:9.2f}"]
    for name, width, digits in (("compression", 6, 4), ("tsys_k", 7, 2), ("sefd_jy", 9, 1), ("tcal_jy", 8, 2)):
        parts.append(_with_error(row[name], row[f"{name}_err"], width, digits))
    ratio = "-" if row["tcal_ratio"] is None else f"{row['tcal_ratio']:.3f}"
    return " ".join(parts) + f" {ratio:>7}"


def _with_error(value: float | None, error: float | None, width: int, digits: int) -> str:
    if value is None:
        return f"{'-':>{width}}{'':{width + 1}}"
    sigma = "-" if error is None else f"{error:.{digits}f}"
    return f"{value:{width}.{digits}f}±{sigma:<{width}}"


def _check_output(output: str, overwrite: bool) -> None:
    if not output:
        return
    kind = os.path.splitext(output)[1].lower()
    if kind not in FORMATS:
        raise ParameterError(f"output={output!r}: expected a name that ends in {', '.join(FORMATS)}")
    if os.path.exists(output) and not overwrite:
        raise ExistsError(f"{output} exists; give --overwrite to replace it, or another --output")
    if kind == ".parquet":
        _pyarrow(output)


def _pyarrow(output: str) -> tuple[Any, Any]:
    """pyarrow's parquet module; it is no dependency of ours."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ParameterError(
            f"output={output!r}: parquet needs pyarrow, which is not installed; pip install 'calibrant[parquet]', "
            "or write .csv"
        ) from None


def _write(table: OnOffTable, output: str) -> None:
    """Written beside the target and renamed."""
    temporary = f"{output}.tmp{os.getpid()}"
    try:
        _write_to(table, temporary, os.path.splitext(output)[1].lower())
        os.replace(temporary, output)
    except OSError as error:
        raise ParameterError(f"output={output!r}: cannot be written: {error.strerror}") from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _write_to(table: OnOffTable, path: str, kind: str) -> None:
    if kind == ".parquet":
        pyarrow, parquet = _pyarrow(path)
        parquet.write_table(pyarrow.Table.from_pylist(table.rows), path)
        return
    if kind == ".json":
        text = json.dumps(table.to_dict(), indent=1, allow_nan=False, default=_plain) + "\n"
    else:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(table.rows[0]) if table.rows else list(PLACE), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.rows)
        text = buffer.getvalue()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
