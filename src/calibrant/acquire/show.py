"""A run for the eyes of people: a bar on a terminal, one line a step elsewhere; alarms always, and loudly."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import Any

from calibrant.acquire.control import step_words
from calibrant.acquire.journal import Record
from calibrant.acquire.plan import Plan
from calibrant.progress import Bar, say

TICK_S = 0.25


class Show:
    """Listens to a run's records. On a terminal, `tick` keeps the bar moving between them."""

    def __init__(self, plan: Plan, speed: float) -> None:
        self._plan, self._speed = plan, speed
        self._terminal = sys.stderr.isatty()
        self._bar = Bar(plan.name, total=plan.duration_s)
        self._files: Counter[str] = Counter()
        self._cameras = 0
        self._step: dict[str, Any] = {}
        self._step_begin = 0.0

    def __call__(self, record: Record) -> None:
        if record["kind"] == "start":
            self._cameras = len(record["cameras"])
        speaks = {"step": self._on_step, "frame": self._on_frame, "alarm": self._on_alarm}.get(record["kind"])
        if speaks is not None:
            speaks(record)
        elif record["kind"] in ("note", "failed", "control"):
            self._say(record, self._words(record))

    async def tick(self) -> None:
        """Until it is cancelled; takes the bar away then."""
        try:
            while self._terminal:
                await asyncio.sleep(TICK_S)
                passed = (time.monotonic() - self._step_begin) * self._speed
                begin, duration = self._step.get("start_s", 0.0), self._step.get("duration_s", 0.0)
                self._to(begin + min(passed, duration))
        finally:
            self._bar.close()

    def _to(self, nominal_s: float) -> None:
        self._bar.advance(max(0.0, nominal_s - self._bar.done))

    def _on_step(self, record: Record) -> None:
        if record["phase"] != "begin":
            return
        self._step, self._step_begin = record, time.monotonic()
        self._to(record.get("start_s", 0.0))
        if not self._terminal:
            self._say(record, f"{record['index'] + 1}/{len(self._plan.steps)} {step_words(record)}")

    def _on_frame(self, record: Record) -> None:
        if record["problems"]:
            self._say(record, f"{record['path']} does not count: {'; '.join(record['problems'])}")
        self._files[record["key"]] += 1
        if not self._terminal and self._files[record["key"]] == self._cameras:
            self._say(record, f"{record['key']} is stored, {self._cameras} file(s)")

    def _on_alarm(self, record: Record) -> None:
        """Not through `say`: it is written even where progress is switched off."""
        bell = "\a" if self._terminal else ""
        sys.stderr.write(f"{bell}{record['text']}\n")
        sys.stderr.flush()

    def _words(self, record: Record) -> str:
        if record["kind"] == "failed":
            return f"{record['key']} was not taken: {record['problem']}"
        if record["kind"] == "control":
            return f"{record['command']} ({record['by']})"
        return str(record["text"])

    def _say(self, record: Record, text: str) -> None:
        say(f"{time.strftime('%H:%M:%S', time.gmtime(record['time']))} {text}")
