"""What a run says while it goes on: one stream of records, for the journal, for people and for programs.

A record is a dictionary with `kind` and `time`; the kinds are those of `journal`. `Stream` hands the same records to
any number of readers, each from the first record on. `Documents` turns them into Bluesky-like documents.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from calibrant.acquire.journal import Record


class Stream:
    """Records in order, kept: a reader who comes late still gets them all."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.closed = False
        self._news = asyncio.Event()
        self._listeners: list[Callable[[Record], None]] = []

    def listen(self, listener: Callable[[Record], None]) -> None:
        """Have `listener` called with every record from now on. One that fails (a terminal that has gone) is let go."""
        self._listeners.append(listener)

    def put(self, record: Record) -> None:
        self.records.append(record)
        for listener in list(self._listeners):
            try:
                listener(record)
            except Exception:
                self._listeners.remove(listener)
        self._wake()

    def close(self) -> None:
        self.closed = True
        self._wake()

    async def __aiter__(self) -> AsyncIterator[Record]:
        place = 0
        while True:
            news = self._news
            while place < len(self.records):
                yield self.records[place]
                place += 1
            if self.closed:
                return
            await news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


DATA_KEYS: dict[str, tuple[str, str]] = {
    "path": ("string", "file, below the directory of the run"),
    "sha256": ("string", "of the file"),
    "camera": ("string", "which camera"),
    "frame_kind": ("string", "bias, dark, flat, arc or object"),
    "lamp": ("string", "what was looked at"),
    "exposure_s": ("number", "exposure time asked for"),
    "measured_s": ("number", "exposure time as measured"),
    "ok": ("boolean", "the frame passed its checks"),
}


class Documents:
    """Bluesky's document model (start, descriptor, event, stop), made from a run's records.

    `documents` are pairs (name, document). One event a file; the frame's key is in its data.
    """

    def __init__(self) -> None:
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self._start = self._descriptor = ""
        self._events = 0

    def __call__(self, record: Record) -> None:
        made = {"start": self._on_start, "frame": self._on_frame, "end": self._on_end}.get(record["kind"])
        if made is not None:
            self.documents += made(record)

    def write(self, path: str | Path) -> None:
        """All documents as JSON lines: [name, document]."""
        text = "".join(json.dumps([name, document], ensure_ascii=False) + "\n" for name, document in self.documents)
        Path(path).write_text(text, encoding="utf-8")

    def _on_start(self, record: Record) -> list[tuple[str, dict[str, Any]]]:
        self._start, self._descriptor, self._events = record["run"], str(uuid.uuid4()), 0
        left_out = ("kind", "time", "run", "plan", "sequence")
        start = {
            "uid": self._start,
            "time": record["time"],
            "plan_name": record["plan"]["name"],
            "plan_type": "calibrant.acquire",
            "plan_args": record.get("sequence") or {},
            "plan_hash": record["plan"]["hash"],
            "num_points": len(record["plan"]["frames"]),
            "calibrant": {name: value for name, value in record.items() if name not in left_out},
        }
        keys = {
            name: {"source": text, "dtype": dtype, "shape": []}
            for name, (dtype, text) in {"key": ("string", "of the frame within its plan"), **DATA_KEYS}.items()
        }
        descriptor = {
            "uid": self._descriptor,
            "run_start": self._start,
            "time": record["time"],
            "name": "primary",
            "data_keys": keys,
            "object_keys": {"detector": list(keys)},
            "configuration": {},
            "hints": {},
        }
        return [("start", start), ("descriptor", descriptor)]

    def _on_frame(self, record: Record) -> list[tuple[str, dict[str, Any]]]:
        self._events += 1
        data = {name: record[name] for name in ("key", *DATA_KEYS)}
        event = {
            "uid": str(uuid.uuid4()),
            "descriptor": self._descriptor,
            "seq_num": self._events,
            "time": record["time"],
            "data": data,
            "timestamps": dict.fromkeys(data, record["end"]),
            "filled": {},
        }
        return [("event", event)]

    def _on_end(self, record: Record) -> list[tuple[str, dict[str, Any]]]:
        complete = record["verdict"] == "complete"
        stop = {
            "uid": str(uuid.uuid4()),
            "run_start": self._start,
            "time": record["time"],
            "exit_status": "success" if complete else "abort" if record.get("asked") else "fail",
            "reason": record["reason"],
            "num_events": {"primary": self._events},
        }
        return [("stop", stop)]
