"""The dead-man guard: a process of its own that switches the lights off when the run dies without saying goodbye.

    python -m calibrant.acquire.guard        (started by a run, which holds the other end of its standard input)

The run writes one line of JSON (`Orders`), later lines "until SECONDS" (the lights may burn so long from now) and
"dark", at the end "ok", or "act" where it could not verify that lights are off. At "act", at the end of the file
without "ok", at the death of the parent, or when a light burns past its time while the run says nothing (stopped,
hanging), the guard connects to the devices anew, switches all lights off, reads them back and writes what it found
into the journal. Until then it holds the locks of the run: no other run begins under its hands.

It has a session of its own and ignores SIGINT, SIGHUP and SIGTERM, so that what ends the run does not end it. It can
do nothing when the machine itself dies, or the server of the devices.

Only the standard library is imported before it is needed: the guard must be there before the first light.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

READY = "armed"
START_S = 30.0
"""Real seconds that the guard may take to start."""
LOOK_S = 1.0
"""How often the guard looks whether its parent lives."""
CONNECT_S = 30.0
DISMISS_S = 10.0
TAKE_OVER_S = 180.0
TRIES = 4
BETWEEN_TRIES_S = 2.0
OFF_CODE, FAILED_CODE = 1, 3
"""Exit codes of a guard that had to act."""
ASKED = "the run could not verify that all lights are off"


@dataclass(frozen=True)
class Orders:
    """What the guard needs in order to act alone."""

    inventory: str
    """Name or file."""
    journal: str
    run: str
    simulate: bool = False
    speed: float = 1.0
    floor_s: float = 5.0
    options: dict[str, Any] = field(default_factory=dict)
    """For the driver's `connect`."""


class Guard:
    """The run's side: starts the process and tells it what goes on. Nothing here raises while the run goes on."""

    def __init__(self, orders: Orders, locks: Sequence[int] = ()) -> None:
        """Start it and wait until it is armed. RuntimeError where it does not start. `locks`: files to hold on to."""
        self._orders, self._locks = orders, tuple(locks)
        self._process = _spawn(orders, self._locks)
        _wait_until_armed(self._process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def restart(self) -> None:
        """A new process in place of one that has died."""
        self._let_pipes_go()
        self._process = _spawn(self._orders, self._locks)
        _wait_until_armed(self._process)

    def lit(self, seconds: float) -> None:
        """Lights may burn for so long (real seconds) from now; then the guard acts even if the run still lives."""
        self._tell(f"until {seconds:.3f}")

    def dark(self) -> None:
        """No light burns."""
        self._tell("dark")

    def dismiss(self) -> None:
        """All lights are off, or a person has been alarmed: it may go."""
        self._tell("ok")
        self._end(DISMISS_S)

    def take_over(self) -> bool:
        """Have it switch the lights off by its own connection; whether it has verified that they are off."""
        self._tell("act")
        return self._end(TAKE_OVER_S) == OFF_CODE

    def _end(self, patience_s: float) -> int:
        try:
            self._process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._let_pipes_go()
        return self._process.returncode

    def _tell(self, line: str) -> None:
        try:
            os.write(self._stdin, line.encode() + b"\n")
        except OSError:
            # It has died; the run sees that by `alive`.
            return

    @property
    def _stdin(self) -> int:
        return self._process.stdin.fileno() if self._process.stdin else -1

    def _let_pipes_go(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _spawn(orders: Orders, locks: tuple[int, ...]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "calibrant.acquire.guard"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        pass_fds=locks,
    )
    if process.stdin is not None:
        process.stdin.write(json.dumps(asdict(orders)).encode() + b"\n")
    return process


def _wait_until_armed(process: subprocess.Popen[bytes]) -> None:
    output = process.stdout.fileno() if process.stdout else -1
    readable, _, _ = select.select([output], [], [], START_S)
    if not readable or READY not in os.read(output, 100).decode(errors="replace"):
        process.kill()
        process.wait()
        raise RuntimeError("the guard process, which switches the lights off if this one dies, did not start")


# ---- the guard's own side


def main() -> int:
    """Wait for the end of the run. 0 after "ok", `OFF_CODE` where all lights were switched off, else `FAILED_CODE`."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()
    lines = _Lines(sys.stdin.fileno())
    orders = Orders(**json.loads(lines.first()))
    os.write(sys.stdout.fileno(), READY.encode() + b"\n")
    why = _watch(lines, parent)
    return act(orders, why) if why else 0


class _Lines:
    """Lines from a pipe, with a time limit."""

    def __init__(self, handle: int) -> None:
        self._handle, self._rest, self.ended = handle, b"", False

    def first(self) -> str:
        while True:
            lines = self.wait(LOOK_S)
            if lines:
                self._rest = "".join(line + "\n" for line in lines[1:]).encode() + self._rest
                return lines[0]
            if self.ended:
                sys.exit(0)

    def wait(self, seconds: float) -> list[str]:
        """Whole lines that came within the time; `ended` is set at the end of the file."""
        if b"\n" not in self._rest and select.select([self._handle], [], [], max(0.0, seconds))[0]:
            content = os.read(self._handle, 65536)
            self.ended = not content
            self._rest += content
        *whole, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in whole]


def _watch(lines: _Lines, parent: int) -> str:
    """Why the guard has to act; empty after "ok"."""
    until = float("inf")
    while True:
        for line in lines.wait(min(LOOK_S, until - time.monotonic())):
            word, _, value = line.partition(" ")
            if word == "ok":
                return ""
            if word == "act":
                return ASKED
            until = time.monotonic() + float(value) if word == "until" else float("inf")
        if lines.ended or os.getppid() != parent:
            return "the run ended without switching its lights off"
        if time.monotonic() > until:
            return "a light burnt past its time and the run said nothing"


def act(orders: Orders, why: str) -> int:
    """Switch everything off by a new connection, and say so in the journal."""
    import asyncio

    from calibrant.acquire.journal import Journal

    journal = Journal(orders.journal)

    def report(kind: str, **fields: Any) -> None:
        try:
            journal.append(kind, guard=True, **fields)
        except OSError as error:
            # The lights matter more than their record.
            _say(f"calibrant guard: {orders.journal}: {error}")

    report("note", text=f"the guard switches all lights off: {why}")
    alarm = _try_to_connect(lambda: asyncio.run(_switch_off(orders, report)))
    text = alarm or f"The guard switched all lights off and verified it: {why}."
    report("alarm" if alarm or why != ASKED else "note", text=text, lights=[])
    _say(text)
    if why != ASKED:
        report(
            "end", verdict="unsafe" if alarm else "incomplete", reason=alarm or why, asked=False, lights_off=not alarm
        )
    return FAILED_CODE if alarm else OFF_CODE


def _try_to_connect(switch_off: Callable[[], str]) -> str:
    """The alarm of the first attempt that reaches the devices, or one that says that none did."""
    problem = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(BETWEEN_TRIES_S)
        try:
            return switch_off()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
    return f"ALARM: the guard could not reach the devices ({problem}). A person must look whether lights burn."


def _say(text: str) -> None:
    """On standard error, which may have gone with the run's terminal."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())


async def _switch_off(orders: Orders, report: Callable[..., None]) -> str:
    """The alarm's text, empty where all lights are verified off."""
    import asyncio

    from calibrant.acquire import drivers
    from calibrant.acquire.clock import Clock
    from calibrant.acquire.inventory import load_inventory
    from calibrant.acquire.safety import alarm_text, switch_off

    inventory = load_inventory(orders.inventory)
    async with asyncio.timeout(CONNECT_S):
        observatory = await drivers.connect(
            inventory, orders.simulate, orders.speed, directory=os.path.dirname(orders.journal), **orders.options
        )
    unverified, _ = await switch_off(observatory.lights, Clock(orders.speed, orders.floor_s), report)
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CONNECT_S):
            # The integration of the run that died would keep the next run waiting.
            await observatory.detector.abort()
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CONNECT_S):
            await observatory.close()
    return alarm_text(unverified, observatory.name) if unverified else ""


if __name__ == "__main__":
    sys.exit(main())
