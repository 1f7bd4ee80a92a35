"""`calibrant station edit`: delete points by rule or by hand, with a reason, reversibly."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

from calibrant.errors import ParameterError
from calibrant.params import DryRun, Param
from calibrant.station.verbs import options

if TYPE_CHECKING:
    from calibrant.station.load import Loaded
    from calibrant.station.session import Session


@dataclass(frozen=True)
class LogEdits:
    """One log's session after the edit: its points, what is deleted and why, and the actions in order."""

    log: str
    session: str
    points: int
    deleted: int
    changed: int
    """Points that this call deleted or brought back."""
    reasons: list[tuple[str, int]]
    actions: list[tuple[str, bool]]
    """In words, and whether the action is in force."""
    only_here: list[tuple[str, int]] = field(default_factory=list)
    """Reasons and points that the other session (`compare`) does not delete; `only_there` the other way round."""
    only_there: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True)
class EditResult:
    """What an edit did, log by log."""

    logs: list[LogEdits]
    skipped: int
    dry_run: bool
    compare: str = ""
    by_hand: bool = False
    """Points were deleted or brought back by hand: that this changes nothing is worth a warning."""

    def summary(self) -> str:
        lines = ["Dry run: nothing was written."] if self.dry_run else []
        for log in self.logs:
            lines.append(f"{log.log}: {log.deleted} of {log.points} points deleted ({log.changed:+d} by this call)")
            if self.by_hand and not log.changed:
                lines.append("  Warning: this edit changes no point of this log; --undo takes it back.")
            lines += [f"  {count:6d}  {reason}" for reason, count in log.reasons]
            if log.actions:
                lines.append(f"  {log.session}:")
                for text, in_force in log.actions:
                    words = f"{text}{'' if in_force else '  (undone)'}"
                    lines += textwrap.wrap(words, 96, initial_indent="    ", subsequent_indent="       ")
            else:
                lines.append("  no edits yet")
            lines += self._compared(log)
        if self.skipped:
            lines.append(f"{self.skipped} line(s) or scan(s) gave no point: calibrant station onoff lists them.")
        return "\n".join(lines)

    def _compared(self, log: LogEdits) -> list[str]:
        if not self.compare:
            return []
        lines = []
        for where, found in (("here", log.only_here), (f"in {self.compare}", log.only_there)):
            lines.append(f"  deleted only {where}: {sum(count for _, count in found)} points")
            lines += [f"    {count:6d}  {reason}" for reason, count in found]
        return lines

    def to_dict(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "skipped": self.skipped,
            "logs": [
                {
                    "log": log.log,
                    "session": log.session,
                    "points": log.points,
                    "deleted": log.deleted,
                    "changed": log.changed,
                    "reasons": dict(log.reasons),
                    "only_here": dict(log.only_here),
                    "only_there": dict(log.only_there),
                    "actions": [{"text": text, "in_force": in_force} for text, in_force in log.actions],
                }
                for log in self.logs
            ],
        }


def edit(
    logs: options.Logs,
    rxg: options.Rxg = [],  # noqa: B006
    flux: options.Flux = "",
    rules: Annotated[
        str, Param("Rules that delete points: 'default', or 'compression=0.9~1.1,structure'; see the list above.")
    ] = "",
    delete: Annotated[bool, Param("Delete the selected points.")] = False,
    undelete: Annotated[bool, Param("Bring the selected points back.")] = False,
    reason: Annotated[str, Param("Why; kept with the edit. Needed to delete by hand.")] = "",
    undo: Annotated[bool, Param("Take back the edits of the last call, or the one that --number names.")] = False,
    redo: Annotated[bool, Param("Put what was undone last in force again, or the edit that --number names.")] = False,
    number: Annotated[int, Param("Which edit to undo or redo; 0: the last.")] = 0,
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
    compare: Annotated[
        str, Param("Directory of other sessions of these logs: count what only one of the two deletes. Empty: no.")
    ] = "",
    dry_run: DryRun = False,
) -> EditResult:
    """Delete points of ONOFF logs by rule or by hand, bring them back, undo and redo: each edit with its reason.

    The edits are kept beside each log in LOG.edits.jsonl, one line an edit; the log itself is never touched. Every
    other verb reads them. Without an edit, the list of edits and of what they delete is shown.

    Rules: compression=0.95~1.05, negative_sky, elevation=5~88, ratio_outlier=5 (robust sigmas), noisy=10 (percent),
    structure=1.2, flux_unknown, not_positive, no_result, pointing=0.2 (beams), sun=5 (degrees), moon=2.

    Points outside a plot, or off a curve: --delete --where 'gain<0.08', then --where 'gain>0.12'.

    Example:
        calibrant station edit r1730ny.log --delete --source 3c84 --time 16:10~16:20 --reason "rain"
        calibrant station edit r1730ny.log --compare sessions_of_anna

    Raises ParameterError where the call asks for two things at once or deletes without a reason.
    """
    from calibrant.station.load import load

    _check(rules, delete, undelete, undo, redo, reason, session)
    selection = {
        "source": source, "detector": detector, "pol": pol, "freq": freq, "lo": lo,
        "scan": scan, "time": time, "elevation": elevation, "where": where,
    }  # fmt: skip
    selection = {name: value for name, value in selection.items() if value}
    loaded = load(logs, rxg=rxg, flux=flux, session=session)
    before = [_deleted(loaded, index) for index in range(len(loaded.logs))]
    for actions in loaded.sessions:
        if undo:
            actions.undo(number)
        elif redo:
            actions.redo(number)
        else:
            _act(actions, rules, delete, undelete, reason, selection)
    loaded.replay()
    changed = [_deleted(loaded, index) - before[index] for index in range(len(loaded.logs))]
    if not dry_run and (rules or delete or undelete or undo or redo):
        for actions in loaded.sessions:
            actions.save()
    found = [_summary(loaded, index, changed[index]) for index in range(len(loaded.logs))]
    if compare:
        other = load(logs, rxg=rxg, flux=flux, session=compare)
        found = [_compared(one, loaded, other, index) for index, one in enumerate(found)]
    return EditResult(found, len(loaded.skipped), dry_run, compare, by_hand=delete or undelete)


def _check(rules: str, delete: bool, undelete: bool, undo: bool, redo: bool, reason: str, session: str) -> None:
    wanted = [bool(rules), delete, undelete, undo, redo]
    if sum(wanted) > 1:
        raise ParameterError("one edit at a time: give one of --rules, --delete, --undelete, --undo, --redo")
    if delete and not reason:
        raise ParameterError("--delete needs a --reason, so that others can judge it")
    if session == "none":
        raise ParameterError("--session none: an edit has to be kept somewhere; leave it out, or name a directory")


def _act(actions: Session, rules: str, delete: bool, undelete: bool, reason: str, selection: dict[str, str]) -> None:
    from calibrant.station.rules import parse_rules

    wanted = parse_rules(rules)
    call = len(actions.actions) + 1 if len(wanted) > 1 else 0
    for rule, limits in wanted:
        actions.edit("rule", rule=rule.name, limits=limits, select=selection, reason=reason, call=call)
    if delete or undelete:
        if not selection:
            raise ParameterError("select the points to delete or bring back: --source, --scan, --where, ...")
        actions.edit("delete" if delete else "undelete", select=selection, reason=reason)


def _compared(log: LogEdits, here: Loaded, there: Loaded, index: int) -> LogEdits:
    from calibrant.station.session import only

    mine = here.points["log"] == index
    pair = here.points.where(mine), there.points.where(mine)
    return replace(log, only_here=only(*pair), only_there=only(*pair[::-1]))


def _deleted(loaded: Loaded, index: int) -> int:
    return int((loaded.points["deleted"] & (loaded.points["log"] == index)).sum())


def _summary(loaded: Loaded, index: int, changed: int) -> LogEdits:
    from calibrant.station.session import NOTE, counts

    part = loaded.points.where(loaded.points["log"] == index)
    session = loaded.sessions[index]
    in_force = {action.n for action in session.active()}
    actions = [
        (
            f"{action.n}. {action.describe()}{': ' + action.reason if action.reason else ''}",
            action.n in in_force or action.action == NOTE,
        )
        for action in session.actions
        if not action.of
    ]
    return LogEdits(
        loaded.logs[index].path, session.path, len(part), int(part["deleted"].sum()), changed, counts(part), actions
    )
