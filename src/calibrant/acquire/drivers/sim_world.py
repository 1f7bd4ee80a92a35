"""The world in which the simulated devices live: time, lamps that burn on by themselves, faults, and a trace.

Lamps live in a `SharedState`: in memory, or in a small JSON file that other processes (a guard, a person, a test)
read and switch too, under a file lock. A lamp left on goes on burning when the process dies, as a real one does.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import math
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from calibrant.acquire.devices import DeviceLost, DeviceRefused, DeviceTimeout
from calibrant.errors import DeviceError, ParameterError

KEPT_SWITCHINGS = 32
"""Of each lamp, in the state."""

MAIN_CALLS: dict[str, frozenset[str]] = {
    "hang": frozenset({"on", "off", "integrate", "move"}),
    "refuse": frozenset({"on", "off", "expose", "move"}),
    "stuck": frozenset({"on", "off"}),
    "slow_off": frozenset({"off"}),
    "slow_move": frozenset({"move"}),
    "short": frozenset({"expose"}),
    "truncated": frozenset({"readout"}),
    "saturate": frozenset({"readout"}),
    "repeat": frozenset({"readout"}),
    "lamp_dies": frozenset(),
    "lost": frozenset(),
    "server_dead": frozenset(),
}
"""Kind of fault -> the calls it hits unless `call` names one. The last three are states of the world, not of a call."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when: after so many calls, at a time, or by chance (from the simulation's seed)."""

    kind: str
    """hang: the device never answers. refuse. stuck: it acknowledges and does nothing. slow_off, slow_move: takes
    `amount` times as long (slow_off: `amount` seconds). short: the shutter closes after 1/`amount` of the time.
    truncated: only half of the rows come. saturate. repeat: the frame before comes again. lamp_dies: no light, though
    the outlet is on. lost: this device's connection. server_dead: all connections."""
    call: str = ""
    """on, off, read, prepare, expose, integrate, readout, abort, idle, move, stop, position, status; '' the main ones
    of the kind; '*' all."""
    after: int = 0
    """So many calls pass before (lamp_dies: frames of the whole observatory; lost, server_dead: calls of any kind)."""
    at_s: float | None = None
    """Not before this time since `connect`, in nominal seconds."""
    times: int = 1
    """How often; 0: for ever. The states of the world last for ever."""
    probability: float = 1.0
    amount: float = 10.0

    def __post_init__(self) -> None:
        if self.kind not in MAIN_CALLS:
            raise ParameterError(f"fault {self.kind!r}: there are {', '.join(MAIN_CALLS)}")

    def hits(self, call: str) -> bool:
        return call in MAIN_CALLS[self.kind] if not self.call else self.call in ("*", call)


@dataclass(frozen=True)
class TraceEntry:
    """One call of a device: when it began, ended or failed, in nominal seconds since `connect`."""

    time_s: float
    device: str
    call: str
    phase: str
    """begin, end, failed or cancelled."""
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.time_s:9.2f} {self.device} {self.call} {self.detail} {self.phase}".replace("  ", " ")


def read_faults(faults: Mapping[str, Any] | None, devices: Sequence[str]) -> dict[str, list[Fault]]:
    """{device: kind | {kind, ...} | Fault | a list of them}, every name checked."""
    known = {field.name for field in fields(Fault)}
    result: dict[str, list[Fault]] = {}
    for device, given in (faults or {}).items():
        if device not in devices:
            raise ParameterError(f"fault of {device!r}: the simulated devices are {', '.join(devices)}")
        result[device] = []
        for one in given if isinstance(given, list | tuple) else [given]:
            record = {"kind": one} if isinstance(one, str) else one
            if isinstance(record, Mapping):
                if unknown := set(record) - known:
                    raise ParameterError(f"fault of {device!r}: unknown {sorted(unknown)}; fields are {sorted(known)}")
                record = Fault(**record)
            result[device].append(record)
    return result


class SharedState:
    """Lamps and interlocks of the simulated observatory, in memory or in a JSON file shared with other processes.

    {"lamps": {"Argon": [[UTC seconds, level], ...]}, "interlocks": {"dome": "what is wrong"}}: a lamp's switchings in
    order, the last one that lies in the past being its state (level 0: off). A lease is an entry in the future.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._memory: dict[str, Any] = {"lamps": {}, "interlocks": {}}

    def read(self) -> dict[str, Any]:
        if self.path is None:
            return self._memory
        try:
            state = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {"lamps": {}, "interlocks": {}}
        except (OSError, ValueError) as error:
            raise DeviceLost(f"{self.path}: not the JSON state of a simulation: {error}") from error
        if not isinstance(state, dict):
            raise DeviceLost(f"{self.path}: not the JSON state of a simulation: expected an object")
        return {"lamps": {}, "interlocks": {}} | state

    def history(self, lamp: str) -> list[tuple[float, float]]:
        """(UTC, level) of a lamp's switchings, in order."""
        return [(float(when), float(level)) for when, level in self.read()["lamps"].get(lamp, [])]

    def level(self, lamp: str, now: float) -> float:
        """How bright a lamp is switched, 0 off to 1."""
        return next((level for when, level in reversed(self.history(lamp)) if when <= now), 0.0)

    def switch(self, lamp: str, level: float, now: float | None = None, lease_s: float | None = None) -> None:
        """Switch a lamp; with `lease_s` it goes off by itself after so many real seconds."""
        now = time.time() if now is None else now
        with self._changing() as state:
            past = [entry for entry in state["lamps"].get(lamp, []) if entry[0] <= now]
            if level != (past[-1][1] if past else 0.0):
                past.append([now, level])
            if lease_s is not None and level > 0:
                past.append([now + lease_s, 0.0])
            state["lamps"][lamp] = past[-KEPT_SWITCHINGS:]

    def interlock(self, name: str) -> str:
        """What is wrong with an interlock, empty: nothing."""
        return str(self.read()["interlocks"].get(name, ""))

    def set_interlock(self, name: str, problem: str) -> None:
        with self._changing() as state:
            state["interlocks"][name] = problem

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        if self.path is None:
            yield self._memory
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_name(self.path.name + ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self.read()
            yield state
            new = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            new.write_text(json.dumps(state), "utf-8")
            new.replace(self.path)


class World:
    """Time, state, faults and trace of one connection to the simulated observatory."""

    def __init__(
        self,
        devices: Sequence[str],
        *,
        speed: float,
        seed: int,
        state: SharedState,
        faults: Mapping[str, Any] | None,
        latency_s: float,
        grace_s: float,
    ) -> None:
        self.speed, self.seed, self.state = speed, seed, state
        self.latency_s, self.grace_s = latency_s, grace_s
        self.devices = tuple(devices)
        self.faults = read_faults(faults, self.devices)
        self.trace: list[TraceEntry] = []
        self.frames = 0
        """Integrations begun."""
        self._loop = asyncio.get_running_loop()
        self._loop_start, self._utc_start = self._loop.time(), time.time()
        self._random = random.Random(f"calibrant {seed}")
        self._calls: dict[str, int] = {}
        self._seen: dict[int, int] = {}
        """id of a fault -> calls it could have hit; below -> times it struck."""
        self._struck: dict[int, int] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    # Time.

    def utc(self) -> float:
        """Real UTC, by the event loop's clock: a loop with a time of its own simulates in its time."""
        return self._utc_start + self._loop.time() - self._loop_start

    def elapsed_s(self) -> float:
        """Nominal seconds since `connect`."""
        return (self._loop.time() - self._loop_start) * self.speed

    async def wait_until(self, utc: float, device: str, check: Callable[[], None] | None = None) -> None:
        """Until a moment; DeviceLost as soon as the connection dies, or what `check` raises when something changes."""
        while (left := utc - self.utc()) > 0:
            self.check_alive(device)
            if check is not None:
                check()
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiting.add(waiter)
            try:
                await asyncio.wait({waiter}, timeout=min(left, self._next_loss(device)))
            finally:
                self._waiting.discard(waiter)
        self.check_alive(device)
        if check is not None:
            check()

    async def wait(self, nominal_s: float, device: str, check: Callable[[], None] | None = None) -> None:
        await self.wait_until(self.utc() + nominal_s / self.speed, device, check)

    def wake(self) -> None:
        """Let everybody who waits look again: something has changed."""
        for waiter in list(self._waiting):
            if not waiter.done():
                waiter.set_result(None)

    # Faults.

    def inject(self, device: str, fault: Fault | str) -> None:
        """A fault from now on, also for calls that are already waiting."""
        for name, faults in read_faults({device: fault}, self.devices).items():
            self.faults.setdefault(name, []).extend(faults)
        self.wake()

    def strike(self, kind: str, device: str, call: str) -> Fault | None:
        """The fault of this kind that hits this call, if one is due now. Counts the call."""
        due = None
        for fault in self.faults.get(device, ()):
            if fault.kind == kind and fault.hits(call) and self._due(fault) and due is None:
                self._struck[id(fault)] = self._struck.get(id(fault), 0) + 1
                due = fault
        return due

    def _due(self, fault: Fault) -> bool:
        seen = self._seen.get(id(fault), 0)
        self._seen[id(fault)] = seen + 1
        lucky = fault.probability < 1 and self._random.random() >= fault.probability
        spent = fault.times > 0 and self._struck.get(id(fault), 0) >= fault.times
        early = fault.at_s is not None and self.elapsed_s() < fault.at_s
        return seen >= fault.after and not (lucky or spent or early)

    def _losses(self, device: str) -> Iterator[tuple[Fault, int]]:
        """The faults that cut this device's connection, and the calls that count for them."""
        for name, faults in self.faults.items():
            for fault in faults:
                if fault.kind == "server_dead":
                    yield fault, sum(self._calls.values())
                elif fault.kind == "lost" and name == device:
                    yield fault, self._calls.get(device, 0)

    def check_alive(self, device: str) -> None:
        """DeviceLost where the connection of this device, or the server, is dead by now."""
        for fault, calls in self._losses(device):
            due = calls > fault.after if fault.at_s is None else self.elapsed_s() >= fault.at_s
            if due:
                whose = "the simulated server is dead" if fault.kind == "server_dead" else "the connection is lost"
                raise DeviceLost(f"{device}: {whose}; its state is unknown")

    def _next_loss(self, device: str) -> float:
        """Real seconds until a loss that is due at a time."""
        times = [fault.at_s - self.elapsed_s() for fault, _ in self._losses(device) if fault.at_s is not None]
        return min((max(left, 0.0) / self.speed for left in times if left > 0), default=math.inf)

    def died(self, lamp: str, begun: int) -> float:
        """UTC from which a lamp gives no light, as far as it is known in the `begun`-th frame; infinite: it lives."""
        for fault in self.faults.get(lamp, ()):
            if fault.kind == "lamp_dies":
                if fault.at_s is not None:
                    return self._utc_start + fault.at_s / self.speed
                if begun > fault.after:
                    return 0.0
        return math.inf

    # Calls.

    @contextlib.asynccontextmanager
    async def call(self, device: str, call: str, detail: str = "") -> AsyncIterator[None]:
        """One call of a device: into the trace, after the time on the wire, with the faults that hit every call."""
        self._calls[device] = self._calls.get(device, 0) + 1
        self.record(device, call, "begin", detail)
        phase = "failed"
        try:
            await self.wait(self.latency_s, device)
            await self._obstruct(device, call)
            yield
            phase = "end"
        except asyncio.CancelledError:
            phase = "cancelled"
            raise
        except DeviceError as error:
            detail = f"{detail}: {type(error).__name__}" if detail else type(error).__name__
            raise
        finally:
            self.record(device, call, phase, detail)

    async def _obstruct(self, device: str, call: str) -> None:
        if self.strike("refuse", device, call):
            raise DeviceRefused(f"{device}: refuses to {call} (simulated)")
        if call != "integrate" and self.strike("hang", device, call):
            await self.wait(self.grace_s, device)
            raise DeviceTimeout(f"{device}: no answer to {call} within {self.grace_s:g} s")

    def record(self, device: str, call: str, phase: str, detail: str = "") -> None:
        self.trace.append(TraceEntry(round(self.elapsed_s(), 3), device, call, phase, detail))
