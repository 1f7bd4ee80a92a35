"""`calibrant station antab`: the antab of a log with given receiver files."""

from __future__ import annotations

import math
import os
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

from calibrant.errors import ExistsError, ParameterError
from calibrant.params import DryRun, Overwrite, Param
from calibrant.station.verbs.options import Rxg

if TYPE_CHECKING:
    from calibrant.station.antab_clean import Method
    from calibrant.station.antab_compare import ColumnComparison
    from calibrant.station.antab_made import Made
    from calibrant.station.problem import Problem

SHOWN = 10


@dataclass(frozen=True)
class AntabResult:
    """The antab, what was changed on the way, and whether to use it."""

    log: str
    output: str
    """Empty where nothing was written."""
    made: Made
    problems: tuple[Problem, ...]
    """What the validator says about the text."""
    compared: tuple[ColumnComparison, ...]
    method: str
    text: str = field(repr=False)

    @property
    def verdict(self) -> str:
        return self.made.verdict

    def summary(self) -> str:
        made = self.made
        lines = [f"{self.log}: {len(made.columns)} columns, {made.rows} rows, station {made.station}", ""]
        lines += self._table()
        lines += ["", *self._changes()]
        for text in (
            *(f"{finding.level}: {finding.text}" for finding in made.findings),
            *(problem.describe("antab") for problem in self.problems),
        ):
            lines += textwrap.wrap(text, 98, subsequent_indent="  ")
        lines += self._comparison()
        done = f"written to {self.output}" if self.output else "nothing was written"
        return "\n".join([*lines, "", f"Verdict: {self.verdict}; {done}."])

    def _table(self) -> list[str]:
        lines = [" setup label detector       MHz    BW  Tcal K from   Tsys K  values changed noise rxg"]
        for c in self.made.columns:
            lines.append(
                f"{c.setup:6d} {c.label:<5} {c.detector.name:<8} {c.detector.freq_mhz:9.2f} "
                f"{c.detector.bandwidth_mhz:5.1f} {c.tcal_k:7.2f} {c.tcal_from:<4} {c.median_k:6.1f} {c.values:7d} "
                f"{c.changed:7d} {100 * c.noise:4.1f}% {c.rxg}"
            )
        return lines

    def _changes(self) -> list[str]:
        changes = self.made.changes
        reasons = Counter(change.reason for change in changes)
        lines = [f"Cleaning ({self.method}): {len(changes)} values changed."]
        lines += [f"  {count} {reason}" for reason, count in reasons.most_common()]
        listed = [change for change in changes if change.reason != "a total power of 0"]
        for change in listed[:SHOWN]:
            new = "removed" if math.isnan(change.new) else f"{change.new:.1f}"
            lines.append(f"  {_utc(change.time)} {change.label:<4} {change.old:8.1f} -> {new}: {change.reason}")
        if len(changes) > SHOWN:
            lines.append("  ... (--json lists all)")
        return lines

    def _comparison(self) -> list[str]:
        if not self.compared:
            return []
        lines = ["", "New over old: label  rows    Tsys  DPFU*g (45 deg)  amplitude (10 to 85 deg)"]
        for c in self.compared:
            lines.append(
                f"{c.label:>19} {c.rows:5d} {c.tsys_ratio:7.4f} {c.gain_ratio:16.4f} "
                f"{c.amplitude_ratio:10.4f} ({c.lowest:.4f} to {c.highest:.4f})"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        made = self.made
        return {
            "log": self.log,
            "output": self.output,
            "station": made.station,
            "verdict": self.verdict,
            "clean": self.method,
            "rows": made.rows,
            "columns": [_column(column) for column in made.columns],
            "changes": [_change(change) for change in made.changes],
            "findings": [vars(finding) for finding in made.findings],
            "problems": [problem.to_dict() for problem in self.problems],
            "compared": [vars(column) for column in self.compared],
        }


def antab(
    log: Annotated[str, Param("The Field System log (.log or .log.gz).", positional=True)],
    rxg: Rxg,
    output: Annotated[str, Param("The antab to write. Empty: EXPERIMENT.antabfs beside the log, from its name.")] = "",
    clean: Annotated[
        str,
        Param(
            "Outliers. robust: removed where far from a robust line through their scan; antabfs: replaced as "
            "antabfs does; none: left.",
            choices=("robust", "antabfs", "none"),
        ),
    ] = "robust",
    station: Annotated[str, Param("Two-letter station code. Empty: that of the log.")] = "",
    minus_half_diode: Annotated[bool, Param("Continuous calibration: Tsys without half of the diode.")] = False,
    compare: Annotated[str, Param("An antab of the same log: show what the new one changes in the amplitudes.")] = "",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> AntabResult:
    """Make an antab (gains and system temperatures for AIPS and CASA) from a log and its receiver files.

    Single and continuous calibration; Tcal from the .rxg at each detector's sky frequency; DPFU in the order R, L and
    the curve with its true type. Values that cleaning changed are listed, oddities are findings in words. The text
    passes the validator before the file appears; an existing file stays unless --overwrite.

    Example:
        calibrant station antab ec071mtr.log --rxg rxg_files --output ec071mtr.antabfs
        calibrant station antab ec071mtr.log --rxg Trc.rxg --compare old.antabfs --dry-run
    """
    from calibrant.station.antab import check_antab, format_antab, read_antab, write_antab_text
    from calibrant.station.antab_compare import compare_antabs
    from calibrant.station.antab_make import make_antab
    from calibrant.station.fslog import records
    from calibrant.station.records import ScanStart, Setting, TotalPower
    from calibrant.station.rxg import Receivers

    if station and not (len(station) == 2 and station.isascii() and station.isalnum()):
        raise ParameterError(f"station: found {station!r}, expected two letters such as Tr.")
    path = output or _default_output(log)
    if not dry_run and os.path.lexists(path) and not overwrite:
        raise ExistsError(f"{path}: found an existing file, expected none. Give another --output, or --overwrite.")
    old = read_antab(compare) if compare else None
    made = make_antab(
        records(log, (TotalPower, Setting, ScanStart)), Receivers.read(rxg), log=log, station=station,
        method=cast("Method", clean), minus_half_diode=minus_half_diode,
    )  # fmt: skip
    text = format_antab(made.antab)
    problems = tuple(check_antab(text))
    compared = tuple(compare_antabs(made.antab, old)) if old is not None else ()
    if not dry_run:
        write_antab_text(text, path, overwrite=overwrite)
    return AntabResult(log, "" if dry_run else path, made, problems, compared, clean, text)


def _default_output(log: str) -> str:
    return log.removesuffix(".gz").removesuffix(".log") + ".antabfs"


def _utc(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y.%j.%H:%M:%S")


def _column(column: Any) -> dict[str, Any]:
    values = vars(column) | vars(column.detector) | {"detector": column.detector.name}
    return {name: value for name, value in values.items() if name != "name"}


def _change(change: Any) -> dict[str, Any]:
    return vars(change) | {"time": _utc(change.time), "new": None if math.isnan(change.new) else change.new}
