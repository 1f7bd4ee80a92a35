"""Driver `fs`: a station with NASA's VLBI Field System. ONOFF is a sequence whose steps the Field System does itself.

    address: {log: a log or the directory of logs, inject: [program, words] that is given a SNAP command (inject_snap);
              without it a person types the commands that are shown,
              procedures: directory for procedure libraries (of the run, where it is not given),
              sources: {name of a position: {ra: hhmmss.s, dec: +ddmmss., epoch: 2000}},
              lowest_deg: 5, highest_deg: 88}
    lamps: {DIODE: {address: {on: calonnf, off: caloffnf}}}                  # SNAP commands
    positions: {onsource: {}, offsource: {}}
    detector: {cameras: [one name], address: {detectors: all, step_beams: 3, cutoff_deg: 75, wait_s: 120}}

The files for an ONOFF are written when a run begins (`fs_files`). Everything else is read from the log (`fs_log`): a
frame is one visit (ONSO, ONSC, OFFC, OFFS or ZERO of one repetition), a file with the levels of all detectors. While
an ONOFF is under way, the diode's state is the one at the visit that the run has come to: the Field System does not
wait for us, and its log may be ahead.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibrant.acquire import fs_files
from calibrant.acquire.clock import shielded
from calibrant.acquire.devices import (
    CaptureSpec,
    DeviceBusy,
    DeviceLost,
    DeviceRefused,
    DeviceTimeout,
    Frame,
    LightState,
    Observatory,
)
from calibrant.acquire.exposing import FollowedDetector
from calibrant.acquire.fs_files import ELEVATION, PHASES, SETTINGS, Programme, Written
from calibrant.acquire.fs_log import Entry, GrowingLog, diode_pattern
from calibrant.acquire.storage import write_new
from calibrant.errors import DeviceError, ParameterError
from calibrant.progress import say

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Inventory
    from calibrant.acquire.plan import Plan

INJECT_S = 10.0
SWITCH_S = 15.0
"""The log must show so soon that the diode was switched, or that ONOFF was stopped."""
OPERATOR_S = 270.0
"""A person has so long to type a command; the engine asks twice."""
GRACE_S = 25.0
"""A visit must be in the log so long after its integration time."""
SETTLE_S = 1.5
"""After the first row of a visit, its other rows must have come."""
PHASE_OF_KIND = {"bias": "ZERO", "dark": "OFFS", "flat": "ONSC", "arc": "ONSC", "object": "ONSO"}
SAMPLE_S = 1.0
"""Every sample of ONOFF."""


async def connect(
    inventory: Inventory,
    *,
    speed: float = 1.0,
    log: str | Path | None = None,
    directory: str | Path = ".",
    plan: Plan | None = None,
) -> Observatory:
    """Follow the log; where there is a plan, write its files. DeviceLost where there is no log.

    With `inject`, a diode of which the log says nothing is switched off; without, a person is asked to.
    """
    where = f"inventory {inventory.name}"
    defaults: dict[str, Any] = {"log": None, "inject": None, "procedures": None, "sources": {}, **ELEVATION}
    address = _options(inventory.address, defaults, f"{where}: address")
    if speed != 1.0:
        raise ParameterError(f"speed {speed:g}: a Field System takes its own time; leave speed out, or simulate")
    if len(inventory.lamps) != 1 or len(inventory.detector.cameras) != 1:
        raise ParameterError(f"{where}: lamps and detector.cameras: one noise diode and one name are expected")
    if not (log or address["log"]):
        raise ParameterError(f"{where}: address.log: the log, or the directory of the logs")
    (lamp,) = inventory.lamps
    commands = _options(inventory.lamps[lamp].address, {"on": "calonnf", "off": "caloffnf"}, f"lamp {lamp}: address")
    settings = _options(inventory.detector.address, SETTINGS, f"{where}: detector.address")
    growing = GrowingLog(Path(log or address["log"]), diode_pattern(commands["on"], commands["off"]))
    system = FieldSystem(growing, tuple(address["inject"] or ()), commands["off"], settings)
    await growing.refresh()
    if plan is not None:
        programme = fs_files.programme_of(plan, lamp, commands["off"], settings, address["sources"])
        folder = Path(address["procedures"] or directory)
        if not folder.is_dir():
            raise ParameterError(f"{where}: address.procedures: there is no directory {folder}")
        written = await asyncio.to_thread(fs_files.write, programme, folder, address)
        system.load(programme, written, plan.frames[-1].frame)
    diode = Diode(lamp, system, commands["on"])
    if growing.reader.diode is LightState.UNKNOWN and (system.inject or plan is not None):
        await system.first_off()
    return Observatory(
        name=inventory.name,
        driver="fs",
        lights={lamp: diode},
        detector=Receiver(system, inventory, Path(directory)),
        pointing=Antenna(system, inventory),
        interlocks=(Free(system),),
    )


def _options(given: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    if unknown := sorted(set(given) - set(defaults)):
        raise ParameterError(f"{where}: the Field System knows no {', '.join(unknown)}; allowed: {', '.join(defaults)}")
    return {**defaults, **given}


class FieldSystem:
    """The Field System, as far as this program deals with it: one ONOFF at a time."""

    def __init__(self, log: GrowingLog, inject: Sequence[str], off: str, settings: Mapping[str, Any]) -> None:
        self.log, self.inject, self.off, self._settings = log, tuple(inject), off, settings
        self.programme: Programme | None = None
        self.written: Written | None = None
        self._last_key = ""
        self._stopping = asyncio.Lock()
        self._begun: int | None = None
        """Number of the log's entries when our ONOFF was started; None: none is under way."""
        self._cursor = 0
        """The entry that the run has come to."""

    def load(self, programme: Programme, written: Written, last_key: str) -> None:
        """Know what a plan wants: from now on `start` does it."""
        self.programme, self.written, self._last_key = programme, written, last_key

    def closes(self, key: str) -> bool:
        """With this frame ONOFF's end is waited for: the last one of a plan; any, where there is no plan."""
        return self.written is None or key == self._last_key

    # ---- commands

    async def command(self, *commands: str) -> None:
        """Have SNAP commands done: injected, or typed by a person."""
        if not self.inject:
            say(f"At the Field System, please type:  {'   then   '.join(commands)}")
            return
        for command in commands:
            await self._inject(command)

    async def _inject(self, command: str) -> None:
        """DeviceLost where the program that injects is not there, fails, or hangs."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.inject, command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
        except OSError as error:
            raise DeviceLost(f"{self.inject[0]}: {error.strerror}; is this the Field System's computer?") from None
        try:
            async with asyncio.timeout(INJECT_S):
                output, _ = await process.communicate()
        except (TimeoutError, asyncio.CancelledError) as error:
            process.kill()
            await process.wait()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise DeviceLost(f"{self.inject[0]} {command!r}: no end within {INJECT_S:g} s") from None
        if process.returncode:
            words = " ".join(output.decode("utf-8", "replace").split())[:200]
            raise DeviceLost(f"{self.inject[0]} {command!r}: {words or f'exit code {process.returncode}'}")

    async def switch(self, command: str, on: bool) -> None:
        """Have the diode switched, and see it in the log."""
        seen = len(self.log.entries)
        await self.command(command)

        def found() -> Entry | None:
            return next((one for one in self.log.entries[seen:] if one.kind == "diode" and one.on is on), None)

        await self.log.until(found, SWITCH_S, f"no {command} is in the log")

    async def first_off(self) -> None:
        """The log says nothing of the diode: it is switched off, so that somebody can tell."""
        await self.command(self.off)
        patience = SWITCH_S if self.inject else OPERATOR_S

        def known() -> bool | None:
            return self.log.reader.diode is not LightState.UNKNOWN or None

        try:
            await self.log.until(known, patience, f"no {self.off} is in the log")
        except DeviceTimeout as error:
            say(f"note: {error}: nobody can tell whether the diode is on")

    # ---- ONOFF

    @property
    def active(self) -> bool:
        """Our ONOFF was started, and this run has not come to its end."""
        return self._begun is not None

    @property
    def ended(self) -> Entry | None:
        """How our ONOFF ended, if it has. What ends before it begins is another one."""
        ours = self._ours()
        begin = next((number for number, entry in enumerate(ours) if entry.kind == "begin"), len(ours))
        return next((entry for entry in ours[begin:] if entry.kind == "end"), None)

    def _ours(self) -> list[Entry]:
        return self.log.entries[self._begun :] if self._begun is not None else []

    async def start(self, samples: int = 0) -> None:
        """Start an ONOFF, unless ours is under way and has more to come. DeviceBusy where somebody else's is."""
        await self.log.refresh()
        if self.active and not self._is_used_up():
            return
        if self.log.reader.running:
            raise DeviceBusy(f"{self.log.path}: an ONOFF is under way already")
        self._begun = self._cursor = len(self.log.entries)
        if self.written is not None:
            await self.command(*self.written.start)
        elif self.inject:
            simple = Programme("", "", 1, max(1, samples), self.off, self._settings)
            await self.command(self.off, simple.parameters, "onoff")
        else:
            self._begun = None
            raise DeviceRefused("without a plan nothing is written, and without inject nothing can be started")

    def _is_used_up(self) -> bool:
        """It has ended, and nothing that was measured lies before the run."""
        left = self.log.entries[self._cursor + 1 :]
        return self.ended is not None and not any(entry.kind == "visit" for entry in left)

    async def visit(self, states: Sequence[str], repetition: int | None, seconds: float, what: str) -> Entry:
        """The visit of that repetition, or the next one: the run comes to it. DeviceRefused where ONOFF failed."""

        def found() -> Entry | None:
            begin = self._begun if self._begun is not None else len(self.log.entries)
            first = begin if repetition is not None else max(begin, self._cursor)
            for number, entry in enumerate(self.log.entries[first:], first):
                if entry.kind == "visit" and entry.state in states and repetition in (None, entry.repetition):
                    self._cursor = number
                    return entry
            self._raise_if_over(what)
            return None

        return await self.log.until(found, seconds, f"{what} is not there")

    def _raise_if_over(self, what: str) -> None:
        end = self.ended
        errors = [entry.text for entry in self._ours() if entry.kind == "error"]
        if end is not None:
            raise DeviceRefused(f"ONOFF ended without {what}: {end.text or '; '.join(errors) or 'it was complete'}")
        if not self.active:
            raise DeviceRefused(f"{what}: no ONOFF is under way")
        if aquir := [text for text in errors if text.startswith("aq")]:
            raise DeviceRefused(f"AQUIR ended without {what}: {aquir[0]}")

    async def whole(self, visit: Entry) -> None:
        """Wait until all detectors of a visit are in the log; some may be missing for good."""
        until = asyncio.get_running_loop().time() + SETTLE_S

        def all_there() -> bool | None:
            done = {row.detector for row in visit.rows} >= self.log.reader.detectors
            return (done or asyncio.get_running_loop().time() > until) or None

        await self.log.until(all_there, SETTLE_S + 1.0, "rows are missing")

    async def closed(self, seconds: float) -> Entry:
        """How our ONOFF ended: then the run has come to its end, too."""
        end = await self.log.until(lambda: self.ended, seconds, "the end of ONOFF is not there")
        self._begun = None
        return end

    async def stop(self) -> None:
        """Break ONOFF and AQUIR, then diode off and offsets zero. DeviceRefused where a person has to do it."""
        async with self._stopping:
            await self.log.refresh()
            pending, self._begun = self.active and self.ended is None, None
            if not (pending or self.log.reader.running):
                return
            breaks = ["sy=brk onoff &"]
            if self.programme is not None and self.programme.place is not None:
                breaks.insert(0, "sy=brk aquir &")
            await self.command(*breaks)
            await self.log.until(lambda: not self.log.reader.running or None, SWITCH_S, "ONOFF was not broken")
            await self.command(self.written.end if self.written is not None else self.off)

    def diode(self) -> LightState:
        """At the visit that the run has come to, else as the log ends."""
        if self._begun is None:
            return self.log.reader.diode
        before = [entry for entry in self.log.entries[: self._cursor + 1] if entry.kind == "diode"]
        if not before:
            return LightState.UNKNOWN
        return LightState.ON if before[-1].on else LightState.OFF

    async def follow_diode(self, on: bool) -> bool:
        """Come to where ONOFF itself switches the diode; False where it does not, because it has ended."""

        def switched() -> bool | None:
            for number, entry in enumerate(self.log.entries[self._cursor + 1 :], self._cursor + 1):
                if entry.kind == "diode" and entry.on is on:
                    self._cursor = number
                    return True
            return False if self.ended is not None or not self.active else None

        try:
            return await self.log.until(switched, SWITCH_S, f"ONOFF does not switch the diode {'on' if on else 'off'}")
        except DeviceTimeout:
            return False

    def describe(self) -> dict[str, Any]:
        files = [str(path) for path in self.written.files] if self.written is not None else []
        return {"driver": "fs", "log": self.log.path, "inject": bool(self.inject), "files": files}


class Diode:
    """The noise diode: ONOFF switches it while it is under way, SNAP commands do otherwise."""

    hardware_lease = False

    def __init__(self, name: str, system: FieldSystem, on: str) -> None:
        self.name, self._system, self._on = name, system, on

    async def set(self, on: bool, *, intensity: float | None = None, lease_s: float | None = None) -> None:
        system = self._system
        await system.log.refresh()
        wanted = LightState.ON if on else LightState.OFF
        if system.active and system.diode() is wanted and on:
            return
        if system.active and system.diode() is not wanted and await system.follow_diode(on):
            return
        if on and system.active:
            raise DeviceRefused(f"{self.name}: ONOFF does not switch it on (is it switched continuously?)")
        if not on:
            await self._off()
        elif not system.inject:
            raise DeviceRefused(f"{self.name}: only ONOFF or a person can switch it: no program to inject is given")
        elif system.log.reader.diode is not LightState.ON:
            await system.switch(self._on, True)

    async def _off(self) -> None:
        """Off for good: an ONOFF that is under way would switch it on again."""
        system = self._system
        if system.log.reader.running or system.active:
            await system.stop()
            await system.log.refresh()
        if system.log.reader.diode is not LightState.OFF:
            await system.switch(system.off, False)

    async def read(self) -> LightState:
        await self._system.log.refresh()
        return self._system.diode()

    async def status(self) -> dict[str, Any]:
        await self._system.log.refresh()
        return {"log": self._system.log.path, "state": self._system.log.reader.diode.value}

    def describe(self) -> dict[str, Any]:
        return {**self._system.describe(), "on": self._on, "off": self._system.off}


class Antenna:
    """On or off the source: ONOFF moves it. A move is done when the log has a visit from there."""

    name = "pointing"

    def __init__(self, system: FieldSystem, inventory: Inventory) -> None:
        self._system = system
        self.places: Mapping[str, float] = {name: float(number) for number, name in enumerate(inventory.positions)}
        self._off_place = next((name for name in self.places if name.lower().startswith("off")), "")

    async def move(self, to: str) -> None:
        if to not in self.places:
            raise DeviceRefused(f"{self.name} has no place {to!r}; it has {', '.join(self.places)}")
        try:
            await self._system.start()
            states = ("OFFC", "OFFS") if to == self._off_place else ("ONSO",)
            await self._system.visit(states, None, OPERATOR_S, f"a level {to}")
        except asyncio.CancelledError:
            await shielded(self._give_up())
            raise

    async def _give_up(self) -> None:
        try:
            await self._system.stop()
        except DeviceError as error:
            say(f"ALARM: {error}. At the Field System, type: sy=brk onoff &   then   {self._system.off}")

    async def stop(self) -> None:
        """The antenna is ONOFF's: `Receiver.abort` stops it."""

    async def position(self) -> str:
        await self._system.log.refresh()
        last = next((entry for entry in reversed(self._system.log.entries) if entry.kind == "visit"), None)
        if last is None or not last.rows:
            return ""
        on_source = last.rows[0].daz_deg == 0.0 and last.rows[0].del_deg == 0.0
        others = [name for name in self.places if name != self._off_place]
        return (others[0] if others else "") if on_source else self._off_place

    async def status(self) -> dict[str, Any]:
        return {"place": await self.position()}

    def describe(self) -> dict[str, Any]:
        return self._system.describe()


class Receiver(FollowedDetector):
    """The detectors of the station, as ONOFF reads them."""

    def __init__(self, system: FieldSystem, inventory: Inventory, directory: Path) -> None:
        super().__init__()
        self.cameras = tuple(inventory.detector.cameras)
        self.name = self.cameras[0]
        self.light_tight = False
        self.system, self.directory = system, directory
        self.end_s = max(inventory.detector.readout_s, 60.0) + 50.0
        """The end of ONOFF is waited for so long: the engine gives a readout ten seconds more."""

    async def prepare(self) -> None:
        await self.system.log.refresh()
        if self.system.log.reader.running and not self.system.active:
            raise DeviceBusy(f"{self.system.log.path}: an ONOFF is under way already")

    async def _begin(self, spec: CaptureSpec) -> VisitWork:
        if unknown := sorted(set(spec.options) - {"phase", "repetition"}):
            raise DeviceRefused(f"{self.name}: no option {', '.join(unknown)}; there are phase and repetition")
        phase = spec.options.get("phase", PHASE_OF_KIND[spec.kind])
        if phase not in PHASES:
            raise DeviceRefused(f"{self.name}: phase {phase!r}: expected one of {', '.join(PHASES)}")
        await self.system.start(round(spec.exposure_s))
        return VisitWork(self, spec, phase)

    async def _halt(self) -> None:
        await self.system.stop()

    async def is_idle(self) -> bool:
        await self.system.log.refresh()
        return not self.working and not self.system.log.reader.running

    async def status(self) -> dict[str, Any]:
        await self.system.log.refresh()
        return {"onoff": self.system.log.reader.running, "log": self.system.log.path}

    def describe(self) -> dict[str, Any]:
        return self.system.describe()

    def write(self, key: str, content: Mapping[str, Any]) -> Path:
        """A new file; a second try of the same frame has a name of its own."""
        names = (f"{key}-{self.name}{f'-try{attempt}' if attempt > 1 else ''}.json" for attempt in range(1, 1000))
        path = next(path for path in (self.directory / name for name in names) if not path.exists())
        write_new(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
        return path


class VisitWork:
    """One visit of ONOFF."""

    def __init__(self, receiver: Receiver, spec: CaptureSpec, phase: str) -> None:
        self._receiver, self._spec, self._phase = receiver, spec, phase
        self._visit: Entry | None = None
        repetition = spec.options.get("repetition")
        self._repetition = int(repetition) if repetition is not None else None

    async def integrate(self) -> None:
        system = self._receiver.system
        # Without a plan nobody has waited for the antenna to come on source.
        patience = self._spec.exposure_s + (GRACE_S if system.written is not None else OPERATOR_S)
        what = f"{self._phase}{f' of repetition {self._repetition}' if self._repetition else ''}"
        self._visit = await system.visit((self._phase,), self._repetition, patience, what)

    async def collect(self) -> list[Frame]:
        system, visit = self._receiver.system, self._visit
        if visit is None:
            raise DeviceRefused(f"{self._receiver.name}: nothing was integrated")
        await system.whole(visit)
        samples = system.programme.samples if system.programme else max(1, round(self._spec.exposure_s))
        content = self._content(visit, samples * SAMPLE_S)
        if system.closes(self._spec.key):
            content |= await self._end()
        path = await asyncio.to_thread(self._receiver.write, self._spec.key, content)
        begin = max(visit.time - samples * SAMPLE_S, visit.after)
        return [Frame(self._receiver.name, begin, visit.time, samples * SAMPLE_S, path=str(path))]

    async def _end(self) -> dict[str, Any]:
        """The results, when ONOFF has ended: it takes another look at the source after the last visit that is kept."""
        try:
            return _results(await self._receiver.system.closed(self._receiver.end_s))
        except DeviceTimeout as error:
            return {"onoff": {"status": "unfinished", "reason": str(error), "results": []}}

    def _content(self, visit: Entry, seconds: float) -> dict[str, Any]:
        spec = self._spec
        return {
            "frame": {"key": spec.key, "kind": spec.kind, "state": visit.state, "repetition": visit.repetition},
            "log": self._receiver.system.log.path,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(visit.time)),
            "integration_s": seconds,
            "levels": [_plain(asdict(row)) for row in visit.rows],
        }


def _results(end: Entry) -> dict[str, Any]:
    """What the whole ONOFF gives: SEFD, Tsys, Tcal of every detector, computed from the levels."""
    from calibrant.station.onoff import reduce_scan

    if end.scan is None:
        return {"onoff": {"status": "aborted", "reason": end.text, "results": []}}
    scan = end.scan
    rows = [_plain(asdict(result)) for result in reduce_scan(scan)] if scan.levels else []
    return {"onoff": {"source": scan.source, "status": scan.status, "reason": scan.reason, "results": rows}}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """nan as null: what was not printed, or cannot be computed."""
    return {name: None if isinstance(value, float) and value != value else value for name, value in row.items()}


class Free:
    """Forbids working while somebody else's ONOFF is under way."""

    name = "field system"

    def __init__(self, system: FieldSystem) -> None:
        self._system = system

    async def check(self) -> list[str]:
        await self._system.log.refresh()
        busy = self._system.log.reader.running and not self._system.active
        return ["an ONOFF is under way that is not of this run"] if busy else []
