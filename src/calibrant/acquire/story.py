"""What happened in a run, told from its journal: bars along time, frames, failures, lamps. Works for unfinished runs.

Times within an attempt (a run, or its resumption) are nominal seconds from its start: those of a simulation are
multiplied by its speed, so that they compare with the plan's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calibrant.acquire import journal
from calibrant.acquire.control import LOCK_NAME
from calibrant.acquire.journal import Record
from calibrant.acquire.lock import holder_of
from calibrant.errors import DataError


@dataclass(frozen=True)
class Bar:
    """Something that lasted. `row`: a lamp's name, 'expose', 'readout', 'mask' or 'pointing'."""

    row: str
    kind: str
    """burning, warming, a frame's kind, readout, stand, move."""
    begin: float
    end: float
    label: str = ""
    ok: bool = True


@dataclass(frozen=True)
class Mark:
    """Something that happened at a moment: alarm, failed, control, note."""

    time: float
    kind: str
    text: str


@dataclass
class Attempt:
    """One start of the run, to its end or to the last record."""

    run: str
    began: float
    """UTC, seconds since 1970."""
    speed: float
    simulated: bool
    resumed: bool
    host: str = ""
    ended: float = 0.0
    """UTC; of the last record, where there is no end."""
    verdict: str = ""
    """Empty: the journal has no end of it."""
    reason: str = ""
    bars: list[Bar] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    lights: dict[str, str] = field(default_factory=dict)
    """Lamp -> what was known of it last: off, on, warming, unknown."""
    burnt_s: dict[str, float] = field(default_factory=dict)
    """Nominal seconds."""

    @property
    def seconds(self) -> float:
        """Nominal."""
        return (self.ended - self.began) * self.speed

    def at(self, time: float) -> float:
        """Nominal seconds from the start."""
        return (time - self.began) * self.speed


@dataclass(frozen=True)
class File:
    """What one camera gave."""

    camera: str
    path: str
    sha256: str
    ok: bool
    problems: tuple[str, ...]
    levels: dict[str, float]
    measured_s: float


@dataclass
class FrameStory:
    """A frame of the plan."""

    key: str
    kind: str
    lamp: str
    exposure_s: float
    planned_s: float
    """From the start of the plan to the beginning of its integration."""
    begin: float | None = None
    """UTC of the integration that counts last."""
    actual_s: float | None = None
    """From the start of its attempt, nominal."""
    attempt: int = 0
    files: list[File] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    places: list[tuple[str, float]] = field(default_factory=list)
    """Mask: place and nominal seconds."""
    good: bool = False

    @property
    def state(self) -> str:
        if self.good:
            return "good"
        if self.files or self.failures:
            return "bad" if self.files else "failed"
        return "not reached" if self.begin is None else "not stored"

    @property
    def problems(self) -> list[str]:
        """What is wrong, each thing once."""
        found = [text for file in self.files for text in file.problems] + self.failures
        if self.state == "not stored":
            found.append("its exposure began; no file was stored")
        return [] if self.good else list(dict.fromkeys(found))


@dataclass
class Story:
    """A run with all its attempts."""

    directory: str
    name: str
    inventory: str
    plan: dict[str, Any]
    attempts: list[Attempt]
    frames: list[FrameStory]
    cameras: list[str]
    saturation: float | None = None
    running: bool = False
    devices: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def last(self) -> Attempt:
        return self.attempts[-1]

    @property
    def missing(self) -> list[FrameStory]:
        return [frame for frame in self.frames if not frame.good]

    @property
    def alarms(self) -> list[str]:
        return [mark.text for mark in self.last.marks if mark.kind == "alarm"]

    @property
    def burning(self) -> list[str]:
        """Lamps that nobody has seen off since."""
        return [name for name, state in self.last.lights.items() if state != "off"]

    @property
    def verdict(self) -> str:
        """complete, incomplete, unsafe, running, or unfinished: the journal has no end, and nobody runs it."""
        if self.running:
            return "running"
        if self.last.verdict == "unsafe" or (not self.last.verdict and self.burning):
            return "unsafe"
        if self.last.verdict == "complete" and self.missing:
            # A file has gone since.
            return "incomplete"
        return self.last.verdict or "unfinished"


def read_story(directory: str | Path) -> Story:
    """From the directory of a run. DataError or FormatError where it holds none that can be read."""
    directory = Path(directory)
    records = journal.read(directory)
    starts = [record for record in records if record["kind"] == "start"]
    if not starts:
        raise DataError(f"{directory}: the journal has no start of a run")
    plan = _json(directory / "plan.json")
    detector = _json(directory / "inventory.json").get("detector", {})
    frames = _frames(plan, starts[-1])
    attempts = []
    for number, part in enumerate(_parts(records)):
        attempts.append(_attempt(part))
        _fill(frames, part, attempts[-1], number, starts[-1]["cameras"])
    for frame in frames.values():
        gone = [file.path for file in frame.files if not (directory / file.path).is_file()]
        frame.failures += [f"{path} has gone" for path in gone]
        frame.good = frame.good and not gone
    return Story(
        str(directory), starts[-1]["plan"]["name"], starts[-1]["inventory"]["name"], plan, attempts,
        list(frames.values()), list(starts[-1]["cameras"]), detector.get("saturation"),
        holder_of(directory / LOCK_NAME) is not None, starts[-1].get("devices", {}), starts[-1].get("versions", {}),
    )  # fmt: skip


def _json(path: Path) -> dict[str, Any]:
    """Empty where the file is not there: an old run, or one that somebody tidied."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _parts(records: list[Record]) -> list[list[Record]]:
    """The records of each attempt."""
    parts: list[list[Record]] = []
    for record in records:
        if record["kind"] == "start":
            parts.append([record])
        elif parts:
            parts[-1].append(record)
    return parts


def _frames(plan: dict[str, Any], start: Record) -> dict[str, FrameStory]:
    steps = {step["frame"]: step for step in plan.get("steps", ()) if step["kind"] == "expose"}
    return {
        key: FrameStory(
            key,
            steps.get(key, {}).get("frame_kind", ""),
            steps.get(key, {}).get("object", ""),
            float(steps.get(key, {}).get("exposure_s", 0.0)),
            float(steps.get(key, {}).get("start_s", 0.0)),
        )
        for key in start["plan"]["frames"]
    }


def _attempt(records: list[Record]) -> Attempt:
    start, last = records[0], records[-1]
    attempt = Attempt(
        start["run"], start["time"], float(start.get("speed", 1.0)), bool(start.get("simulated")),
        bool(start.get("resumed")), str(start.get("host", "")), last["time"],
    )  # fmt: skip
    for record in records:
        match record["kind"]:
            case "end":
                attempt.verdict, attempt.reason = record["verdict"], record["reason"]
                text = f"{record['verdict']}{': ' if record['reason'] else ''}{record['reason']}"
                attempt.marks.append(Mark(attempt.at(record["time"]), "end", text))
            case "alarm" | "note":
                attempt.marks.append(Mark(attempt.at(record["time"]), record["kind"], record["text"]))
            case "failed":
                text = f"{record['key']}: {record['problem']}"
                attempt.marks.append(Mark(attempt.at(record["time"]), "failed", text))
            case "control":
                text = f"{record['command']} ({record.get('by') or record.get('from') or 'nobody says by whom'})"
                attempt.marks.append(Mark(attempt.at(record["time"]), "control", text))
    attempt.bars += [*_light_bars(records, attempt), *_frame_bars(records, attempt), *_step_bars(records, attempt)]
    return attempt


def _light_bars(records: list[Record], attempt: Attempt) -> list[Bar]:
    lit: dict[str, float] = {}
    bars = []
    for record in (record for record in records if record["kind"] == "light"):
        name, when = record["light"], attempt.at(record["time"])
        # Off without having been seen off is not known.
        attempt.lights[name] = "unknown" if record["state"] == "off" and not record.get("verified") else record["state"]
        if record.get("asked"):
            lit.setdefault(name, when)
        elif record["state"] == "off" and record.get("verified") and name in lit:
            bars.append(Bar(name, "burning", lit.pop(name), when, ok=not record.get("problem")))
    bars += [Bar(name, "burning", since, attempt.seconds, ok=False) for name, since in lit.items()]
    for bar in bars:
        attempt.burnt_s[bar.row] = attempt.burnt_s.get(bar.row, 0.0) + bar.end - bar.begin
    return bars


def _frame_bars(records: list[Record], attempt: Attempt) -> list[Bar]:
    """Integrations, and readouts: from the shutter's closing to the last file."""
    bars: list[Bar] = []
    open_since: dict[str, float] = {}
    files: dict[str, list[Record]] = {}
    kinds = {
        record["frame"]: record.get("frame_kind", "")
        for record in records
        if record["kind"] == "step" and record.get("frame")
    }
    for record in records:
        key = record.get("key", "")
        if record["kind"] == "exposure":
            bars += _taken(key, files.pop(key, []), attempt)
            open_since[key] = attempt.at(record["begin"])
        elif record["kind"] == "frame":
            open_since.pop(key, None)
            files.setdefault(key, []).append(record)
        elif record["kind"] == "failed" and key in open_since:
            begin = open_since.pop(key)
            bars.append(Bar("expose", kinds.get(key, ""), begin, attempt.at(record["time"]), key, ok=False))
    for key, mine in files.items():
        bars += _taken(key, mine, attempt)
    bars += [
        Bar("expose", kinds.get(key, ""), begin, attempt.seconds, key, ok=False) for key, begin in open_since.items()
    ]
    return bars


def _taken(key: str, files: list[Record], attempt: Attempt) -> list[Bar]:
    if not files:
        return []
    begin, end = attempt.at(files[0]["begin"]), attempt.at(files[0]["end"])
    good = all(file["ok"] for file in files)
    return [
        Bar("expose", files[0]["frame_kind"], begin, end, key, good),
        Bar("readout", "readout", end, attempt.at(files[-1]["time"]), key, good),
    ]


def _step_bars(records: list[Record], attempt: Attempt) -> list[Bar]:
    """Warm-ups, pointings, and where the mask stood."""
    bars = []
    begun: dict[int, Record] = {}
    for record in records:
        if record["kind"] == "mask":
            begin, end = attempt.at(record["begin"]), attempt.at(record["end"])
            bars.append(Bar("mask", "stand", begin, end, record["place"]))
        if record["kind"] != "step" or record["step"] not in ("warm", "point", "park"):
            continue
        if record["phase"] == "begin":
            begun[record["index"]] = record
        elif (begin_record := begun.pop(record["index"], None)) is not None:
            bars += _of_step(begin_record, attempt, attempt.at(record["time"]))
    for record in begun.values():
        bars += _of_step(record, attempt, attempt.seconds)
    return bars


def _of_step(record: Record, attempt: Attempt, end: float) -> list[Bar]:
    begin = attempt.at(record["time"])
    if record["step"] == "warm":
        return [Bar(name, "warming", begin, end) for name in record.get("lights", ())]
    return [Bar("pointing", "move", begin, end, record.get("place", ""))]


def _fill(
    frames: dict[str, FrameStory], records: list[Record], attempt: Attempt, number: int, cameras: list[str]
) -> None:
    """What an attempt gave, into the frames; a later try replaces an earlier one."""
    for record in records:
        frame = frames.get(record.get("key") or (record.get("frame", "") if record["kind"] == "mask" else ""))
        if frame is None:
            continue
        match record["kind"]:
            case "exposure":
                frame.begin, frame.actual_s = record["begin"], attempt.at(record["begin"])
                frame.attempt, frame.files, frame.places = number, [], []
            case "mask":
                frame.places.append((record["place"], (record["end"] - record["begin"]) * attempt.speed))
            case "failed":
                frame.failures.append(record["problem"])
            case "frame":
                frame.kind, frame.lamp, frame.exposure_s = record["frame_kind"], record["lamp"], record["exposure_s"]
                frame.files.append(_file(record))
        frame.good = {file.camera for file in frame.files} >= set(cameras) and all(file.ok for file in frame.files)


def _file(record: Record) -> File:
    return File(
        record["camera"], record["path"], record["sha256"], record["ok"], tuple(record.get("problems", ())),
        record.get("levels") or {}, float(record.get("measured_s", 0.0)),
    )  # fmt: skip
