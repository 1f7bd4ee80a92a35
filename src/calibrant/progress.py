"""Progress for people: a bar on a terminal, plain lines elsewhere, nothing for work under a second.

    with progress("applycal", total=nrow) as bar:
        bar.advance(1000)

Everything goes to stderr, so that stdout stays for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

QUIET_SECONDS = 1.0
PLAIN_EVERY_SECONDS = 10.0

_enabled = True


def enable(on: bool) -> None:
    """Switch all progress output of the process on or off."""
    global _enabled
    _enabled = on


def say(text: str) -> None:
    """A line for people on stderr; silent where progress is switched off."""
    if _enabled:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class Bar:
    """Counts steps done; draws itself only once a second has passed."""

    def __init__(self, title: str, total: float) -> None:
        self.title, self.total, self.done = title, max(total, 1), 0.0
        self._start = self._last = time.monotonic()
        self._rich: Any = None

    def advance(self, steps: float = 1) -> None:
        self.done += steps
        now = time.monotonic()
        if not _enabled or now - self._start < QUIET_SECONDS:
            return
        if sys.stderr.isatty():
            self._draw()
        elif now - self._last >= PLAIN_EVERY_SECONDS:
            self._last = now
            sys.stderr.write(f"{self.title}: {100 * self.done / self.total:.0f} % after {now - self._start:.0f} s\n")

    def _draw(self) -> None:
        if self._rich is None:
            from rich.console import Console
            from rich.progress import Progress

            self._rich = Progress(console=Console(stderr=True), transient=True)
            self._task = self._rich.add_task(self.title, total=self.total)
            self._rich.start()
        self._rich.update(self._task, completed=self.done)

    def close(self) -> None:
        if self._rich is not None:
            self._rich.stop()


@contextmanager
def progress(title: str, total: float) -> Iterator[Bar]:
    """A bar that is always closed, whatever happens inside."""
    bar = Bar(title, total)
    try:
        yield bar
    finally:
        bar.close()
