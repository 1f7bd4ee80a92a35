"""`calibrant acquire run`: take a sequence's frames."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from calibrant.acquire.result import FrameResult, RunResult
from calibrant.acquire.verbs import options
from calibrant.params import DryRun, Param

if TYPE_CHECKING:
    from calibrant.acquire.plan import Plan

Simulate = Annotated[bool, Param("Use simulated devices in place of the inventory's.")]
Output = Annotated[
    str, Param("Directory for frames and journal; empty: a new one, named after the sequence and the time.")
]
Documents = Annotated[str, Param("Also write Bluesky-like documents to this file, as JSON lines.")]
State = Annotated[
    str,
    Param("Directory of the locks; empty: $CALIBRANT_STATE, $XDG_STATE_HOME/calibrant or ~/.local/state/calibrant."),
]


@dataclass(frozen=True)
class RunReport:
    """What a run took, and how it ended; `result` is None for a dry run."""

    plan: Plan
    directory: str
    result: RunResult | None = None
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 complete (or a dry run), 1 incomplete, 3 unsafe, 130 ended by Ctrl-C with all lights off."""
        return self.result.exit_code if self.result else 0

    @property
    def verdict(self) -> str:
        return self.result.verdict if self.result else "dry run"

    def summary(self) -> str:
        from calibrant.acquire import timeline

        if self.result is None:
            plan = self.plan
            head = f"Dry run: {plan.name} with inventory {plan.inventory}, {timeline.duration_words(plan.duration_s)}."
            warnings = timeline.wrapped(plan.warnings, "warning: ")
            return "\n".join([head, *warnings, "", *timeline.table(plan), "", *timeline.bars(plan)])
        lines = [*_table(self.result.frames), "", *self._verdict_lines(self.result)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        result = self.result
        content: dict[str, Any] = {
            "sequence": self.plan.name,
            "inventory": self.plan.inventory,
            "plan_hash": self.plan.hash,
            "duration_s": self.plan.duration_s,
            "warnings": list(self.plan.warnings),
            "verdict": self.verdict,
            "directory": self.directory,
            "frames": [self._frame(frame) for frame in result.frames] if result else [],
        }
        if result is None:
            return {**content, "steps": [asdict(step) for step in self.plan.steps]}
        return {
            **content,
            "run": result.run,
            "reason": result.reason,
            "alarms": list(result.alarms),
            "journal": result.journal,
            "took_s": self.seconds,
        }

    def _frame(self, frame: FrameResult) -> dict[str, Any]:
        return {**asdict(frame), "path": str(Path(self.directory) / frame.path) if frame.path else ""}

    def _verdict_lines(self, result: RunResult) -> list[str]:
        from calibrant.acquire.timeline import wrapped

        good = len({frame.key for frame in result.frames}) - len({frame.key for frame in result.frames if not frame.ok})
        counts = f"{good} of {len({frame.key for frame in result.frames})} frames are good"
        lines = [f"Verdict: {result.verdict}. {counts}, in {self.directory}"]
        lines += wrapped([result.reason], "Reason: ") if result.reason else []
        for alarm in result.alarms:
            lines += wrapped([alarm], "! ")
        if result.verdict != "complete":
            lines.append(f"Go on with: calibrant acquire resume {self.directory}")
        return lines


def _table(files: tuple[FrameResult, ...]) -> list[str]:
    """A row for each frame: how many of its files are good, and what is wrong."""
    from calibrant.acquire.timeline import wrapped

    keys = list(dict.fromkeys(file.key for file in files))
    width = max([len(key) for key in keys] + [5])
    rows = [f"{'frame':<{width}}  {'kind':<6}  {'lamp':<18}  {'time':>8}  {'files':>5}  "]
    for key in keys:
        own = [file for file in files if file.key == key]
        first, there = own[0], [file for file in own if file.path]
        state = "ok" if all(file.ok for file in own) else "BAD" if there else "MISSING"
        lamp = first.lamp if len(first.lamp) <= 18 else first.lamp[:17] + "…"
        seconds = f"{first.exposure_s:g} s"
        rows.append(f"{key:<{width}}  {first.kind:<6}  {lamp:<18}  {seconds:>8}  {len(there):5d}  {state}")
        rows += wrapped(list(dict.fromkeys(file.problem for file in own if file.problem)), "    ")
    return rows


def run(
    sequence: options.SequenceName,
    inventory: options.InventoryName = options.INVENTORY,
    output: Output = "",
    simulate: Simulate = False,
    speed: Annotated[float, Param("A simulation runs so many times faster than real devices would.")] = 1.0,
    slew_telescopes: options.Slew = True,
    park_after: options.Park = False,
    documents: Documents = "",
    state: State = "",
    dry_run: DryRun = False,
) -> RunReport:
    """Take the frames of a sequence: with the observatory's devices, or all simulated.

    Everything is checked before anything moves. In every ending, Ctrl-C and the death of this process included, the
    lamps are switched off and read back; where that cannot be verified, an alarm says what a person must switch off
    by hand. A run that ended early goes on with `resume`; `status`, `stop` and `abort` work from another terminal.

    Exit codes: 0 complete, 1 frames are missing, 3 unsafe (nobody can tell whether a lamp burns), 130 Ctrl-C.

    Example:
        calibrant acquire run normal --simulate --speed 100 -o night1

    Raises FormatError or ParameterError for a sequence that cannot be taken, DeviceError where devices do not answer.
    """
    from calibrant.acquire.compiler import compile_plan
    from calibrant.acquire.inventory import load_inventory
    from calibrant.acquire.sequence import load_sequence
    from calibrant.acquire.session import Request, default_directory

    devices, wanted = load_inventory(inventory), load_sequence(sequence)
    compiled = {"slew_telescopes": slew_telescopes, "park_after": park_after}
    plan = compile_plan(wanted, devices, **compiled)
    directory = Path(output) if output else default_directory(plan)
    check_speed(speed, simulate or devices.driver == "sim")
    if dry_run:
        return RunReport(plan, str(directory))
    check_time(wanted, plan, devices, simulate)
    request = Request(
        plan, devices, directory, simulate, speed, source=source_of(inventory), compiled=compiled,
        documents=documents, state=state,
    )  # fmt: skip
    return execute(request)


def check_speed(speed: float, simulated: bool) -> None:
    """Only a simulation has a speed."""
    from calibrant.errors import ParameterError

    if not speed > 0:
        raise ParameterError(f"speed {speed:g}: must be above 0")
    if speed != 1 and not simulated:
        raise ParameterError(f"speed {speed:g}: real devices have their own; add --simulate, or leave --speed out")


def check_time(wanted: Any, plan: Plan, devices: Any, simulated: bool) -> None:
    """The sequence's constraints hold from now on. A simulation is told only."""
    import time

    from calibrant.acquire.constraints import broken
    from calibrant.errors import ParameterError
    from calibrant.progress import say

    now = time.time()
    faults = broken(wanted.constraints, now, now + plan.duration_s, devices.site)
    if faults and not simulated:
        raise ParameterError(f"{plan.name} may not run now: {'; '.join(faults)}")
    for fault in faults:
        say(f"note: {fault}; this is a simulation and runs all the same")


def source_of(inventory: str) -> str:
    """A name stays a name, a file becomes its full path: `resume` may be called from elsewhere."""
    from calibrant.acquire.inventory import INVENTORIES

    return inventory if inventory in INVENTORIES else str(Path(inventory).resolve())


def execute(request: Any) -> RunReport:
    """Show the plan, run it, report."""
    import asyncio
    import signal
    import time

    from calibrant.acquire import timeline
    from calibrant.acquire.session import take
    from calibrant.progress import say

    plan = request.plan
    how = ", simulated" if request.simulated else ""
    head = f"{plan.name} with inventory {plan.inventory}{how}: {timeline.duration_words(plan.duration_s)}"
    for line in [head, *timeline.wrapped(plan.warnings, "warning: "), *timeline.table(plan)]:
        say(line)
    begin = time.monotonic()
    try:
        result = asyncio.run(take(request))
    except asyncio.CancelledError:
        # Interrupted before there was a run: while the devices were being reached.
        raise KeyboardInterrupt from None
    if result.interrupted:
        # Who presses Ctrl-C twice still wants to read what became of the run.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return RunReport(plan, str(request.directory), result, round(time.monotonic() - begin, 3))
