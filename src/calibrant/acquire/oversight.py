"""What is watched while a run goes on, whatever it does: commands, interlocks, burning times, the guard."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from calibrant.acquire.control import Command, Inbox
from calibrant.acquire.devices import DeviceTimeout, InterlockTripped

if TYPE_CHECKING:
    from calibrant.acquire.runner import Run

LOOK_S = 0.2
"""Real seconds between looks at commands and the guard."""
SHORTEST_S = 0.05


class Oversight:
    """Looks again and again, and interrupts the run where something is wrong."""

    def __init__(self, run: Run, inbox: Inbox) -> None:
        self._run, self._inbox = run, inbox

    async def watch(self) -> None:
        """Until it is cancelled."""
        await asyncio.gather(self._commands(), self._conditions())

    async def _commands(self) -> None:
        while True:
            for command, by in self._inbox.fetch():
                self._obey(command, by)
            await self._look_after_guard()
            await asyncio.sleep(LOOK_S)

    def _obey(self, command: Command, by: str) -> None:
        if command == "stop after frame":
            self._run.stop_after_frame(by)
        elif command == "stop after lamp":
            self._run.stop_after_lamp(by)
        else:
            self._run.abort(f"aborted by {by}")

    async def _look_after_guard(self) -> None:
        guard = self._run.guard
        if guard is None or guard.alive:
            return
        self._run.report("note", text="the guard process has died; another one is started")
        try:
            await asyncio.to_thread(guard.restart)
        except (RuntimeError, OSError) as error:
            self._run.abort(f"there is no guard any more, and none can be started ({error})")

    async def _conditions(self) -> None:
        run = self._run
        wait = max(run.limits.poll_s / run.clock.speed, SHORTEST_S)
        while True:
            await asyncio.sleep(wait)
            problems = await run.forbidding(run.open_shutter)
            if problems:
                run.interrupt(InterlockTripped("; ".join(problems)))
            for name, burn in list(run.burning.items()):
                if run.clock.elapsed(burn.since) > burn.limit_s:
                    run.interrupt(DeviceTimeout(f"{name} has been burning for more than {burn.limit_s:g} s"))
