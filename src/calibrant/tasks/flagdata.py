"""flagdata: mark visibilities as bad, take marks back, and count them."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

from calibrant import params as p
from calibrant.errors import CalibrantError, MeasurementSetError, ParameterError
from calibrant.params import Param

if TYPE_CHECKING:
    from calibrant.flag.command import Changes, Command
    from calibrant.flag.flagger import Flagger
    from calibrant.ms.index import MSIndex
    from calibrant.ms.selection import Selection
    from calibrant.ms.writer import MSWriter

MODES = ("manual", "autocorr", "shadow", "quack", "clip", "zeros", "edge", "unflag", "list", "summary")
SELECTORS = ("field", "spw", "antenna", "timerange", "scan", "uvrange", "intent", "correlation", "observation", "array")
QUACKMODES = ("beg", "endb", "end", "tail")
KINDS = ("antenna", "field", "spw")


@dataclass(frozen=True)
class FlagdataResult:
    """What flagdata did. Counts are of visibilities (row x channel x correlation).

    flagged, unflagged: changed by this call; by: kind (antenna, field, spw) -> name -> newly flagged, a baseline
    counting for both its antennas; commands: one line of words each; reports: dictionaries of CASA's summary mode.
    """

    vis: str
    mode: str
    action: str
    flagged: int = 0
    unflagged: int = 0
    by: dict[str, dict[str, float]] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    reports: tuple[dict[str, Any], ...] = ()
    flag_version: str = ""
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    def summary(self) -> str:
        lines = [f"{self.vis}: {line}" for line in self.commands]
        if self.dry_run:
            return "\n".join([*lines, "Nothing was touched."])
        for report in self.reports:
            lines += _report_lines(self.vis, report)
        if self.mode != "summary":
            lines.append(self._changes())
            for kind in KINDS:
                lines += _by(kind, {key: f"{value:.0f}" for key, value in self.by.get(kind, {}).items()})
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def _changes(self) -> str:
        would = "would be " if self.action == "calculate" else ""
        text = f"{self.vis}: {self.flagged} visibilities {would}newly flagged"
        text += f", {self.unflagged} {would}unflagged" if self.unflagged else ""
        return text + (f" (flags before: version {self.flag_version})" if self.flag_version else "")

    def to_dict(self) -> dict[str, Any]:
        """The dictionary of CASA's flagdata for mode='summary', else the fields of this result."""
        return dict(self.reports[0]) if self.mode == "summary" and self.reports else asdict(self)


def _report_lines(vis: str, report: dict[str, Any]) -> list[str]:
    def share(entry: dict[str, float]) -> str:
        return f"{100 * entry['flagged'] / max(entry['total'], 1):.2f} %"

    lines = [f"{vis}: {share(report)} of {report['total']:.0f} visibilities are flagged"]
    for kind in ("field", "spw", "scan", "antenna", "correlation"):
        lines += _by(kind, {key: share(entry) for key, entry in report[kind].items()})
    return lines


def _by(kind: str, values: dict[str, str]) -> list[str]:
    text = ", ".join(f"{key}: {value}" for key, value in values.items())
    return textwrap.wrap(f"by {kind}  {text}", 100, initial_indent="  ", subsequent_indent="    ") if values else []


@dataclass(frozen=True)
class Order:
    """One line of flagging: mode and parameters as given, where it was written, and its label for reports."""

    mode: str
    values: dict[str, Any]
    where: str = ""

    def words(self) -> str:
        given = " ".join(f"{key}={value!r}" for key, value in self.values.items())
        return f"mode={self.mode!r} {given}".strip()


def flagdata(
    vis: p.Vis,
    mode: Annotated[
        str, Param("What to flag; list: commands of inpfile; summary: only count.", choices=MODES)
    ] = "manual",
    autocorr: Annotated[bool, Param("mode manual: only autocorrelations (of correlators).")] = False,
    inpfile: Annotated[
        str | list[str],
        Param("mode list: a file of lines such as mode='clip' clipminmax=[0,5] spw='0', or the lines."),
    ] = "",
    reason: Annotated[str | list[str], Param("mode list: only lines with this reason. any: all lines.")] = "any",
    spw: p.Spw = "",
    field: p.Field = "",
    antenna: p.Antenna = "",
    uvrange: p.Uvrange = "",
    timerange: p.Timerange = "",
    correlation: Annotated[
        str, Param("Correlations: 'XX,YY'; for clip and zeros also 'ABS_ALL', 'REAL_XX', 'ARG_YY'.")
    ] = "",
    scan: p.Scan = "",
    intent: p.Intent = "",
    array: Annotated[str, Param("Subarray ids: '0,2~3'.")] = "",
    observation: p.Observation = "",
    clipminmax: Annotated[list[float], Param("mode clip: lowest and highest good value. Empty: no range.")] = [],  # noqa: B006
    datacolumn: Annotated[
        str, Param("modes clip and zeros: DATA, CORRECTED, MODEL, RESIDUAL (corrected - model) or RESIDUAL_DATA.")
    ] = "DATA",
    clipoutside: Annotated[bool, Param("mode clip: flag outside the range; otherwise inside.")] = True,
    clipzeros: Annotated[bool, Param("mode clip: flag exact zeros too.")] = False,
    quackinterval: Annotated[float, Param("mode quack: how much of a scan to flag.", unit="s")] = 1.0,
    quackmode: Annotated[
        str,
        Param("beg: start of scans; endb: end; tail: all but the start; end: all but the end.", choices=QUACKMODES),
    ] = "beg",
    quackincrement: Annotated[bool, Param("mode quack: count from the first data that are not flagged yet.")] = False,
    tolerance: Annotated[float, Param("mode shadow: overlap of dishes that is allowed.", unit="m")] = 0.0,
    edgechannels: Annotated[
        float, Param("mode edge: channels at both ends of a spw, or below 1 a part of them.")
    ] = 0.05,
    name: Annotated[str, Param("mode summary: name of the report.")] = "Summary",
    action: Annotated[str, Param("calculate: only count what would change.", choices=("apply", "calculate"))] = "apply",
    flagbackup: Annotated[bool, Param("Save the flags as a version flagdata_N before changing them.")] = True,
    cmdreason: Annotated[str, Param("A reason, kept in the comment of the saved flag version.")] = "",
    dry_run: p.DryRun = False,
) -> FlagdataResult:
    """Flag visibilities by selection, value, shadowing, scan start or channel edge; unflag them; or count flags.

    Flags are added to those that are there (FLAG; FLAG_ROW is only ever cleared, by unflag). Everything of one call, a
    list of any length included, is done in one pass over the data; what needs no visibilities reads none. A NaN
    or infinite visibility is flagged by clip and zeros always.

    Raises SelectionError, ParameterError with the line of a list, LockedError if the MS is in use.

    Example:
        calibrant flagdata obs.ms --mode quack --quackinterval 10 --field J0006
    """
    values = {key: value for key, value in locals().items() if key not in ("vis", "dry_run")}
    p.check_choices(flagdata, values)
    orders = _orders(values)
    job = Job(vis, mode, action, cmdreason, values)
    return job.describe(orders) if dry_run else job.run(orders, flagbackup and action == "apply")


# ---- what is asked ----------------------------------------------------------------------------------------


def _orders(values: dict[str, Any]) -> list[Order]:
    """The orders of a call: one, or the lines of a list."""
    if values["mode"] != "list":
        return [Order(values["mode"], {key: value for key, value in values.items() if key != "mode"})]
    from calibrant.tasks.flaglist import read_list

    wanted = [values["reason"]] if isinstance(values["reason"], str) else list(values["reason"])
    allowed = {item.name: item.type for item in in_lists()}
    orders = []
    for line in read_list(values["inpfile"], allowed, MODES):
        if "any" in wanted or line.reason in wanted:
            orders.append(Order(line.mode, {item.name: item.default for item in in_lists()} | line.values, line.where))
    if not orders:
        raise ParameterError(f"the list has no command with reason {values['reason']!r}; use reason='any' for all")
    return orders


NOT_IN_LISTS = ("vis", "mode", "inpfile", "reason", "action", "flagbackup", "cmdreason", "dry_run")


@functools.cache
def in_lists() -> tuple[p.Declared, ...]:
    """The parameters that a line of a list may have."""
    return tuple(item for item in p.declared(flagdata) if item.name not in NOT_IN_LISTS)


def _flagger(order: Order) -> Flagger:
    from calibrant.flag import FLAGGERS

    mode = "autocorr" if order.mode == "manual" and order.values["autocorr"] else order.mode
    kind = FLAGGERS[mode]
    own: dict[str, Any] = {f.name: order.values[f.name] for f in fields(kind) if f.name in order.values}  # type: ignore[arg-type]
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in own.items()})


@dataclass(frozen=True)
class Step:
    """An order ready to run: its flagger (None: a summary) and its selection."""

    order: Order
    flagger: Flagger | None
    selection: Selection

    @property
    def looks_at_flags(self) -> bool:
        """Whether its result depends on the flags of the orders before it, which must then be done."""
        return self.flagger is None or bool(getattr(self.flagger, "quackincrement", False))

    def words(self) -> str:
        defaults = {item.name: item.default for item in in_lists()}
        given = {key: value for key, value in self.order.values.items() if defaults.get(key, value) != value}
        text = " ".join([f"mode={self.order.mode!r}", *(f"{key}={value!r}" for key, value in given.items())])
        return f"{text}: {self.selection.describe()}"

    def plan(self, index: MSIndex) -> str:
        """For a dry run: `words`, with how much of the MeasurementSet that is."""
        text = f"{self.words()}; of {index.nrow} rows in all"
        everything = not any(self.order.values[key] for key in (*SELECTORS, "autocorr"))
        if everything and self.order.mode in ("manual", "unflag"):
            text += f"; without a selection, everything would be {'un' if self.order.mode == 'unflag' else ''}flagged"
        return text


def _steps(index: MSIndex, orders: Sequence[Order]) -> list[Step]:
    from calibrant.ms.selection import select

    steps = []
    for order in orders:
        try:
            flagger = None if order.mode == "summary" else _flagger(order)
            selectors = {key: order.values[key] for key in SELECTORS}
            if flagger is not None:
                selectors["correlation"] = flagger.correlations(selectors["correlation"])
                missing = [column for column in flagger.columns if column not in index.columns]
                if missing:
                    raise MeasurementSetError(f"{index.path} has no column {', '.join(missing)}, read by {order.mode}")
            steps.append(Step(order, flagger, select(index, **selectors)))
            if flagger is not None:
                flagger.channels(index, steps[-1].selection)  # complains now, before anything is written
        except CalibrantError as error:
            raise type(error)(f"{order.where}: {error}" if order.where else str(error)) from None
    return steps


def _passes(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Cut the steps where one must see the flags of those before it."""
    group: list[Step] = []
    for step in steps:
        if step.looks_at_flags and group:
            yield group
            group = []
        group.append(step)
        if step.flagger is None:
            yield group
            group = []
    if group:
        yield group


# ---- how it is done ---------------------------------------------------------------------------------------


@dataclass
class Job:
    """One call of flagdata."""

    vis: str
    mode: str
    action: str
    cmdreason: str
    values: dict[str, Any]

    def describe(self, orders: Sequence[Order]) -> FlagdataResult:
        """What would be done (dry_run)."""
        from calibrant.ms.index import open_index

        index = open_index(self.vis)
        commands = tuple(step.plan(index) for step in _steps(index, orders))
        return FlagdataResult(self.vis, self.mode, self.action, commands=commands, dry_run=True)

    def run(self, orders: Sequence[Order], backup: bool) -> FlagdataResult:
        from calibrant.ms.index import open_index
        from calibrant.ms.writer import MSWriter

        index = open_index(self.vis)
        steps = _steps(index, orders)
        if self.action == "calculate" or all(step.flagger is None for step in steps):
            return self._passes(index, steps, None)
        with MSWriter(index.path, "flagdata", repr((self.values, [order.words() for order in orders]))) as writer:
            version = self._save_flags(writer) if backup else ""
            result = self._passes(index, steps, writer)
            notes = (*writer.messages, *result.notes)
        return replace(result, flag_version=version, notes=notes)

    def _save_flags(self, writer: MSWriter) -> str:
        from calibrant.ms.flagversions import autosave_comment

        return writer.save_flags(autosave_comment() + (f" ({self.cmdreason})" if self.cmdreason else ""))

    def _passes(self, index: MSIndex, steps: Sequence[Step], writer: MSWriter | None) -> FlagdataResult:
        import numpy as np

        from calibrant.flag.counts import summarise, sums

        self._check_calculable(steps)
        flagged, unflagged = np.zeros(index.nrow, np.int64), 0
        words: list[str] = []
        reports: list[dict[str, Any]] = []
        for number, group in enumerate(_passes(steps)):
            if group[0].flagger is None:
                reports.append(summarise(index, group[0].selection, group[0].order.values["name"]))
                continue
            done = self._one_pass(index, group, writer, number, words)
            flagged += done.flagged
            unflagged += int(done.unflagged.sum())
        return FlagdataResult(
            self.vis,
            self.mode,
            self.action,
            int(flagged.sum()),
            unflagged,
            {kind: sums(index, flagged, kind) for kind in KINDS} if flagged.any() else {},
            tuple(words),
            tuple(reports),
            notes=tuple(note for step in steps for note in step.selection.notes),
        )

    def _check_calculable(self, steps: Sequence[Step]) -> None:
        late = [step for step in steps[1:] if step.looks_at_flags]
        if self.action == "calculate" and late and self.mode == "list":
            raise ParameterError(
                f"{late[0].order.where}: action='calculate' writes no flags, so a summary or quackincrement cannot see "
                "those of the lines before it; run that line alone"
            )

    def _one_pass(
        self, index: MSIndex, group: Sequence[Step], writer: MSWriter | None, number: int, words: list[str]
    ) -> Changes:
        from calibrant.flag.command import run
        from calibrant.progress import progress

        commands = [self._command(index, step, writer, number) for step in group]
        write = (lambda rows, flags: None) if writer is None else (lambda rows, flags: writer.put("FLAG", rows, flags))
        total = max((len(command.rows) for command in commands), default=0)
        with progress("flagdata", total=total) as bar:
            changes = run(index, commands, write, bar.advance)
        if writer is not None:
            clear_flag_row(index, writer, changes)
        for step, command in zip(group, commands, strict=True):
            what = "unflagged" if command.flagger.clears else "flagged"
            words.append(f"{step.words()}: {command.changed} visibilities newly {what}")
        return changes

    def _command(self, index: MSIndex, step: Step, writer: MSWriter | None, number: int) -> Command:
        from calibrant.flag.command import bind
        from calibrant.flag.quack import Quack, unflagged_limits

        flagger = step.flagger
        if isinstance(flagger, Quack) and flagger.quackincrement:
            key = f"quack {number}"
            limits = writer.noted(key) if writer is not None else None
            if limits is None:
                limits = unflagged_limits(index, step.selection)
                if writer is not None:
                    # the flags it is counted from are about to change: a repeated run must not count again
                    writer.note(key, limits)
            flagger = flagger.with_limits(limits)
        if flagger is None:
            raise ValueError("a summary is no command")
        return bind(index, flagger, step.selection)


def clear_flag_row(index: MSIndex, writer: MSWriter, changes: Changes) -> None:
    """FLAG_ROW says that the whole row is flagged: not so where flags were taken back."""
    import numpy as np

    rows = np.flatnonzero(changes.open_rows & index.column("FLAG_ROW"))
    if len(rows):
        writer.put("FLAG_ROW", rows, np.zeros(len(rows), bool))
