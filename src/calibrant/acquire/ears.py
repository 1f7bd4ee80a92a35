"""Signals to a process that runs a plan: they end the run as `abort` does, and nothing less."""

from __future__ import annotations

import asyncio
import signal
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibrant.acquire.runner import Run

SIGNALS = {signal.SIGINT: "interrupted (Ctrl-C)", signal.SIGTERM: "ended by SIGTERM", signal.SIGHUP: "terminal gone"}


class Ears:
    """Within `with Ears() as ears`, signals abort `ears.run`, or cancel the task around it while there is none.

    The handlers of before come back afterwards. Elsewhere than in the main thread it does nothing: there, signals are
    the business of the program around it.
    """

    def __init__(self) -> None:
        self.heard: list[signal.Signals] = []
        self.run: Run | None = None
        self._task: asyncio.Task[Any] | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def interrupted(self) -> bool:
        """By Ctrl-C."""
        return signal.SIGINT in self.heard

    def __enter__(self) -> Ears:
        self._task = asyncio.current_task()
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            self._before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGTSTP)}
            for number in SIGNALS:
                loop.add_signal_handler(number, self._end, number)
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        loop = asyncio.get_running_loop()
        for number, handler in self._before.items():
            loop.remove_signal_handler(number)
            if handler is not None:
                signal.signal(number, handler)

    def _end(self, number: signal.Signals) -> None:
        self.heard.append(number)
        if self.run is not None:
            self.run.abort(SIGNALS[number])
        elif self._task is not None:
            self._task.cancel()

    def _suspend(self) -> None:
        """Suspended, the run could not switch anything off."""
        if self.run is not None:
            self.run.report("note", text="a run cannot be suspended (Ctrl-Z): a light may burn")
