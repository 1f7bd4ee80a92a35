"""Time as the engine sees it: nominal seconds of the plan, shortened by `speed`, and a watchdog on every wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from calibrant.acquire.devices import DeviceTimeout

T = TypeVar("T")
LET_GO_S = 2.0
"""So long (real seconds) a call that was cancelled may take to give up; then it is left behind."""


@dataclass(frozen=True)
class Clock:
    """Nominal seconds pass `speed` times faster; no watchdog is shorter than `floor_s` of real time."""

    speed: float = 1.0
    floor_s: float = 5.0
    _zero: list[float] = field(default_factory=list, init=False, repr=False, compare=False)

    def now(self) -> float:
        """UTC, seconds since 1970; counted by the event loop, so that steps of the system's clock do no harm."""
        if not self._zero:
            self._zero.append(time.time() - self.mark())
        return self._zero[0] + self.mark()

    def mark(self) -> float:
        """A moment, for `elapsed`: the event loop's time."""
        return asyncio.get_running_loop().time()

    def elapsed(self, since: float) -> float:
        """Nominal seconds since a moment of `mark`."""
        return (self.mark() - since) * self.speed

    async def sleep(self, nominal_s: float) -> None:
        await asyncio.sleep(max(0.0, nominal_s) / self.speed)

    def limit(self, nominal_s: float) -> float:
        """The watchdog for work that should take no longer than `nominal_s`, in real seconds."""
        return max(nominal_s / self.speed, self.floor_s)

    async def within(self, work: Coroutine[Any, Any, T], nominal_s: float, what: str) -> T:
        """The result of `work`; DeviceTimeout where it takes longer.

        A call that does not even end when it is cancelled is left behind: nothing here can hang for ever.
        """
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task}, timeout=self.limit(nominal_s))
        except asyncio.CancelledError:
            await let_go(task)
            raise
        if task.done():
            try:
                return task.result()
            except TimeoutError as error:
                raise DeviceTimeout(f"{what}: {error or 'no answer in time'}") from error
        await let_go(task)
        raise DeviceTimeout(f"{what}: no answer within {nominal_s:g} s")


async def let_go(*tasks: asyncio.Future[Any], patience_s: float = LET_GO_S) -> None:
    """Cancel tasks and wait until they have ended, but not for ever. Their errors are dropped."""
    for task in tasks:
        task.cancel()
        task.add_done_callback(_retrieve)
    running = {task for task in tasks if not task.done()}
    if running:
        await asyncio.wait(running, timeout=patience_s)


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Take note of the error, so that asyncio does not complain that nobody did."""
    if not task.cancelled():
        task.exception()


async def shielded(work: Coroutine[Any, Any, T]) -> tuple[T, int]:
    """Run `work` to its end whoever cancels the caller: its result, and how many cancellations were held back.

    The caller decides what becomes of those cancellations once it is safe.
    """
    task = asyncio.ensure_future(work)
    held = 0
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            held += 1
    return task.result(), held


async def sleep_until(event: asyncio.Event, seconds: float) -> bool:
    """Wait (real seconds) for the event; whether it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def all_of(works: Iterable[Awaitable[T]]) -> list[T]:
    """All results; the first error only after all have ended."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)
