"""The edits made to a log's points, as a file beside the log that can be read, replayed, undone and compared.

`<log>.edits.jsonl` has one JSON object a line. The first names the log; every other is one action, numbered from 1:

    {"calibrant_session": 1, "log": "r1730ny.log", "size": 3553566}
    {"n": 1, "at": "2026-11-21T15:20:00Z", "action": "rule", "rule": "compression", "limits": [0.95, 1.05]}
    {"n": 2, "at": "...", "action": "delete", "select": {"source": "3c84", "time": "16:10~16:20"}, "reason": "rain"}
    {"n": 3, "at": "...", "action": "undo", "of": 2}
    {"n": 4, "at": "...", "action": "note", "reason": "update nyx.rxg: DPFU rcp: 0.1 -> 0.0375 K/Jy (-62.5 %)"}

A note deletes nothing: it says what was made of the points as they were then. Nothing is ever taken out: an undone
action stays, followed by its `undo`, so the file is also the audit trail. Actions speak of sources, detectors, times
and quantities, never of row numbers, so a session may be replayed on the same log read again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.errors import DataError, FormatError, ParameterError
from calibrant.station.rules import RULES
from calibrant.station.select import select

if TYPE_CHECKING:
    from calibrant.station.points import Points

SUFFIX = ".edits.jsonl"
VERSION = 1
EDITS = ("delete", "undelete", "rule")
NOTE = "note"


@dataclass(frozen=True)
class Action:
    """One step: what it does, to which points, why, and when it was taken."""

    n: int
    action: str
    at: str
    select: dict[str, str] = field(default_factory=dict)
    rule: str = ""
    limits: tuple[float, ...] = ()
    reason: str = ""
    of: int = 0
    call: int = 0
    """Number of the first action of the same call, where a call made several: they are undone together."""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the file: fields that it does not use are left out."""
        content: dict[str, Any] = {"n": self.n, "at": self.at, "action": self.action}
        if self.rule:
            content |= {"rule": self.rule, "limits": list(self.limits)}
        if self.select:
            content["select"] = self.select
        if self.reason:
            content["reason"] = self.reason
        return content | {name: getattr(self, name) for name in ("of", "call") if getattr(self, name)}

    def describe(self) -> str:
        """The action in words."""
        if self.of:
            return f"{self.action} {self.of}"
        if self.action == NOTE:
            return NOTE
        chosen = " ".join(f"{name}={value}" for name, value in self.select.items()) or "everything"
        if self.action == "rule":
            limits = "~".join(f"{limit:g}" for limit in self.limits)
            return f"rule {self.rule}{'=' + limits if limits else ''} on {chosen}"
        return f"{self.action} {chosen}"


@dataclass
class Session:
    """The actions on one log, in order."""

    path: str
    log: str
    actions: list[Action] = field(default_factory=list)
    size: int = 0
    """Bytes of the log when the session began."""

    def active(self) -> list[Action]:
        """The edits in force: all but the undone ones."""
        undone = self._undone()
        return [action for action in self.actions if action.action in EDITS and action.n not in undone]

    def _undone(self) -> set[int]:
        undone: set[int] = set()
        for action in self.actions:
            if action.action == "undo":
                undone.add(action.of)
            elif action.action == "redo":
                undone.discard(action.of)
        return undone

    def edit(self, action: str, **content: Any) -> Action:
        """Append a delete, undelete, rule or note."""
        new = Action(len(self.actions) + 1, action, _now(), **content)
        self.actions.append(new)
        return new

    def undo(self, n: int = 0) -> None:
        """Take back the last call's edits in force, or edit number `n`."""
        active = self.active()
        numbers = [action.n for action in active]
        if not active or (n and n not in numbers):
            raise ParameterError(f"{self.path}: nothing to undo" + (f" as {n}; in force: {numbers}" if n else ""))
        self._mark("undo", [n] if n else [action.n for action in active if _call(action) == _call(active[-1])])

    def redo(self, n: int = 0) -> None:
        """Put undone edits in force again: those undone last, or number `n`."""
        undone = self._undone()
        order = [action for action in self.actions if action.action == "undo" and action.of in undone]
        if not order or (n and n not in undone):
            raise ParameterError(f"{self.path}: nothing to redo" + (f" as {n}; undone: {sorted(undone)}" if n else ""))
        self._mark("redo", [n] if n else [action.of for action in order if _call(action) == _call(order[-1])])

    def _mark(self, action: str, numbers: Sequence[int]) -> None:
        call = len(self.actions) + 1 if len(numbers) > 1 else 0
        for number in numbers:
            self.actions.append(Action(len(self.actions) + 1, action, _now(), of=number, call=call))

    def save(self) -> None:
        """Write the file through a temporary name. DataError where its directory cannot be written to."""
        from calibrant.station.text import write_new

        head = {"calibrant_session": VERSION, "log": self.log, "size": self.size}
        lines = [json.dumps(item, ensure_ascii=False) for item in (head, *(step.to_dict() for step in self.actions))]
        try:
            write_new(self.path, "\n".join(lines) + "\n", overwrite=True)
        except DataError as error:
            raise DataError(f"{error} Keep the edits elsewhere: --session DIRECTORY, in every verb.") from None


def _call(action: Action) -> int:
    return action.call or action.n


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def session_path(log: str, folder: str = "") -> str:
    """Where the edits of a log are kept: beside it, or in `folder`."""
    name = log.removesuffix(".gz") + SUFFIX
    return os.path.join(folder, os.path.basename(name)) if folder else name


def read_session(log: str, folder: str = "") -> Session:
    """The session of a log; an empty one where there is no file yet. FormatError names the line that is wrong."""
    path = session_path(log, folder)
    session = Session(path, os.path.basename(log), size=os.path.getsize(log))
    if not os.path.exists(path):
        return session
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for number, text in enumerate(lines, 1):
        try:
            content = json.loads(text)
            if number == 1:
                _check_head(content, session)
            else:
                session.actions.append(_action(content, number))
        except (ValueError, TypeError, KeyError) as error:
            raise FormatError(
                f"{path}:{number}: found {text[:60]!r}, expected an action as JSON ({error}); "
                "mend the line, or move the file away to start again"
            ) from None
    return session


def _check_head(content: dict[str, Any], session: Session) -> None:
    if content["calibrant_session"] != VERSION:
        raise ValueError(f"session version {content['calibrant_session']}, this program reads {VERSION}")
    session.size = int(content["size"])


def _action(content: dict[str, Any], line: int) -> Action:
    action = Action(**{**content, "limits": tuple(content.get("limits", ()))})
    if action.n != line - 1:
        raise ValueError(f"number {action.n} where {line - 1} comes next")
    if action.action not in (*EDITS, NOTE, "undo", "redo"):
        raise ValueError(f"unknown action {action.action!r}")
    if action.rule and action.rule not in RULES:
        raise ValueError(f"unknown rule {action.rule!r}")
    return action


def replay(session: Session, points: Points) -> None:
    """Set `deleted` and `reason` of the points of this session's log by its edits in force, in order."""
    for action in session.active():
        hit, reason = affected(action, points)
        if action.action == "undelete":
            hit &= points["deleted"]
            points["deleted"][hit] = False
            points["reason"][hit] = ""
        else:
            hit &= ~points["deleted"]
            points["deleted"][hit] = True
            points["reason"][hit] = f"{reason} [{action.n}]"


def needed(sessions: Sequence[Session]) -> set[str]:
    """Columns of the surroundings that the rules in force read."""
    return {
        name for session in sessions for action in session.active() if action.rule for name in RULES[action.rule].needs
    }


def affected(action: Action, points: Points) -> tuple[np.ndarray, str]:
    """(mask of the points that an edit speaks of, its reason in words)."""
    chosen = select(points, **action.select)
    if action.action != "rule":
        return chosen, action.reason or "deleted by hand"
    found, reason = RULES[action.rule].apply(points, action.limits)
    return chosen & found, action.reason or reason


def only(here: Points, there: Points) -> list[tuple[str, int]]:
    """(reason, number of points) that are deleted here and not there; both are the points of the same logs."""
    return counts(here.where(here["deleted"] & ~there["deleted"]))


def counts(points: Points) -> list[tuple[str, int]]:
    """(reason, number of points deleted for it), the most frequent first."""
    reasons, numbers = np.unique(points["reason"][points["deleted"]].astype(str), return_counts=True)
    order: Sequence[int] = np.argsort(-numbers, kind="stable").tolist()
    return [(str(reasons[k]), int(numbers[k])) for k in order]
