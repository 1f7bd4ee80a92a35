"""Commands to a running run from another process, and its state, both through its directory.

A command is a line appended to `control.jsonl`; the run looks at it several times a second. This works from another
terminal, another user with write permission, and another host that sees the same directory.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from calibrant.acquire import journal
from calibrant.acquire.lock import Holder, holder_of, state_directory
from calibrant.errors import DataError, ParameterError

COMMANDS_NAME = "control.jsonl"
LOCK_NAME = ".run.lock"
Command = Literal["stop after frame", "stop after lamp", "abort"]
COMMANDS: tuple[Command, ...] = ("stop after frame", "stop after lamp", "abort")


def send(directory: str | Path, command: Command) -> None:
    """Leave a command for the run in `directory`. ParameterError where none is running."""
    if holder_of(Path(directory) / LOCK_NAME) is None:
        raise ParameterError(f"{directory}: no run is running here; 'calibrant acquire status {directory}' says more")
    line = {"command": command, "time": time.time(), "by": f"{_user()}@{socket.gethostname()} (process {os.getpid()})"}
    try:
        handle = os.open(Path(directory) / COMMANDS_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o664)
    except OSError as error:
        raise DataError(f"{directory}: the command cannot be left there: {error.strerror}") from error
    try:
        os.write(handle, json.dumps(line).encode() + b"\n")
    finally:
        os.close(handle)


class Inbox:
    """The commands that come after it was opened."""

    def __init__(self, directory: str | Path) -> None:
        self._path = Path(directory) / COMMANDS_NAME
        self._place = self._path.stat().st_size if self._path.exists() else 0

    def fetch(self) -> list[tuple[Command, str]]:
        """New commands and who gave them. A line that is none is passed over: it must not end a run."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._place)
                content = stream.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._place += len(whole)
        found = []
        for line in whole.splitlines():
            try:
                order = json.loads(line)
                if order["command"] in COMMANDS:
                    found.append((order["command"], str(order.get("by", "somebody"))))
            except (ValueError, KeyError, TypeError):
                continue
        return found


@dataclass(frozen=True)
class State:
    """What is known of a run from its directory."""

    directory: str
    state: Literal["running", "ended", "died"]
    run: str
    plan: str
    inventory: str
    frames_done: int
    frames_wanted: int
    duration_s: float
    started: float
    latest: float
    """Time of the last record."""
    step: str = ""
    """What it does now, or did last."""
    lights: dict[str, str] = field(default_factory=dict)
    """The last that the journal says of each light; the devices were not asked."""
    verdict: str = ""
    reason: str = ""
    alarms: tuple[str, ...] = ()
    holder: Holder | None = None
    speed: float = 1.0


def state_of(directory: str | Path) -> State:
    """The state of the run in `directory`. DataError where there never was one."""
    records = journal.read(directory)
    starts = [record for record in records if record["kind"] == "start"]
    if not starts:
        raise DataError(f"{directory}: the journal has no start of a run")
    start, last = starts[-1], records[records.index(starts[-1]) :]
    holder = holder_of(Path(directory) / LOCK_NAME)
    end = next((record for record in reversed(last) if record["kind"] == "end"), {})
    steps = [record for record in last if record["kind"] == "step"]
    return State(
        directory=str(directory),
        state="running" if holder else "ended" if end else "died",
        run=start["run"],
        plan=start["plan"]["name"],
        inventory=start["inventory"]["name"],
        frames_done=len(good_keys(records)),
        frames_wanted=len(start["plan"]["frames"]),
        duration_s=start["plan"]["duration_s"],
        started=start["time"],
        latest=records[-1]["time"],
        step=step_words(steps[-1]) if steps else "",
        lights={record["light"]: record["state"] for record in last if record["kind"] == "light"},
        verdict=end.get("verdict", ""),
        reason=end.get("reason", ""),
        alarms=tuple(record["text"] for record in last if record["kind"] == "alarm"),
        holder=holder,
        speed=start.get("speed", 1.0),
    )


def good_keys(records: list[journal.Record]) -> list[str]:
    """Keys of the frames of which every camera's file is in the journal as good."""
    cameras: set[str] = set()
    good: dict[str, set[str]] = {}
    for record in records:
        if record["kind"] == "start":
            cameras = set(record["cameras"])
        elif record["kind"] == "frame" and record["ok"]:
            good.setdefault(record["key"], set()).add(record["camera"])
    return [key for key, have in good.items() if have >= cameras]


def step_words(record: dict[str, Any]) -> str:
    """A step in a few words: "expose Quartz-flat-1 (Quartz), 60 s"."""
    words = str(record["step"]).replace("_", " ")
    for detail in (record.get("frame"), record.get("place"), "+".join(record.get("lights") or ())):
        if detail:
            words += f" {detail}"
    seconds = record.get("duration_s", 0)
    return f"{words}, {seconds:g} s" if seconds else words


def running(state: str | Path = "") -> list[Holder]:
    """The runs that hold a lock on an inventory now."""
    folder = state_directory(state) / "locks"
    holders = [holder_of(path) for path in sorted(folder.glob("*.lock"))]
    return [holder for holder in holders if holder is not None]


def find(given: str | Path = "", state: str | Path = "") -> Path:
    """The directory that is meant: as given, or that of the only run that is running now."""
    if given:
        return Path(given)
    runs = running(state)
    if len(runs) == 1:
        return Path(runs[0].directory)
    if not runs:
        raise ParameterError("no run is running; name the directory of the one that is meant")
    names = "\n".join(f"  {run}" for run in runs)
    raise ParameterError(f"several runs are running, name the directory of the one that is meant:\n{names}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
