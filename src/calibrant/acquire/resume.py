"""What an earlier run left in a directory: which frames are there, and whether the plan is still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calibrant.acquire import journal
from calibrant.acquire.plan import Plan
from calibrant.acquire.result import FrameResult
from calibrant.acquire.storage import sha256_of
from calibrant.errors import DataError, ParameterError

MOST_SHOWN = 8


@dataclass(frozen=True)
class Before:
    """The frames of earlier runs."""

    done: dict[str, list[FrameResult]] = field(default_factory=dict)
    """Key -> its verified files."""
    notes: tuple[str, ...] = ()
    """Why frames of the journal do not count any more."""


def start_record(directory: str | Path) -> journal.Record:
    """The last start in the journal; DataError where there is none."""
    starts = [record for record in journal.read(directory) if record["kind"] == "start"]
    if not starts:
        raise DataError(f"{directory}: the journal has no start of a run; begin anew in another directory")
    return starts[-1]


def verified(directory: str | Path, plan: Plan) -> Before:
    """The plan's frames of which every camera's file is there, good, and has the checksum of the journal."""
    directory = Path(directory)
    records = journal.read(directory)
    cameras = set(start_record(directory)["cameras"])
    files: dict[str, dict[str, journal.Record]] = {}
    for record in records:
        if record["kind"] == "frame" and record["ok"]:
            files.setdefault(record["key"], {})[record["camera"]] = record
    done, notes = {}, []
    for key in [step.frame for step in plan.frames]:
        found = files.get(key, {})
        problems = [text for record in found.values() if (text := _problem(directory, record))]
        if found and not problems and set(found) >= cameras:
            done[key] = [_result(record) for record in found.values()]
        notes += problems
    return Before(done, tuple(notes))


def _problem(directory: Path, record: journal.Record) -> str:
    path = directory / record["path"]
    if not path.is_file():
        return f"{path} has gone: frame {record['key']} is taken again"
    if sha256_of(path) != record["sha256"]:
        return f"{path} is not what was stored: frame {record['key']} is taken again"
    return ""


def _result(record: journal.Record) -> FrameResult:
    return FrameResult(
        record["key"], record["path"], record["frame_kind"], record["lamp"], record["exposure_s"], True, "",
        record["camera"], record["sha256"],
    )  # fmt: skip


def content_hash(content: Any) -> str:
    """Of plain data, whatever the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def refuse_changes(directory: str | Path, old: Mapping[str, Any], new: Mapping[str, Any], what: str) -> None:
    """ParameterError that lists what differs between what the run began with and what is given now."""
    changes = differences(old, new)
    if changes:
        more = f"\n  and {len(changes) - MOST_SHOWN} more" if len(changes) > MOST_SHOWN else ""
        shown = "\n".join(f"  {change}" for change in changes[:MOST_SHOWN])
        raise ParameterError(
            f"{directory}: the {what} has changed since this run began:\n{shown}{more}\n"
            "A resumed run must take the same frames with the same devices: undo the change, or begin anew in "
            "another directory"
        )


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Every place where two pieces of plain data differ: 'lamps.Argon.warmup_s: 120 -> 60'."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = list(dict.fromkeys([*old, *new]))
        here = f"{path}." if path else ""
        return [
            text
            for name in names
            for text in differences(old.get(name, "nothing"), new.get(name, "nothing"), f"{here}{name}")
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [text for place, (one, two) in pairs for text in differences(one, two, f"{path}[{place}]")]
    if old == new:
        return []
    return [f"{path}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else f"{text[:57]}..."
