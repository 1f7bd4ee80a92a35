"""`calibrant acquire status`: what a run does now, or how it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from calibrant.acquire.verbs.run import State as StateDirectory
from calibrant.params import Param

if TYPE_CHECKING:
    from calibrant.acquire.control import State

RunDirectory = Annotated[
    str, Param("Directory of the run, or its sequence with -o DIR. Empty: the run that is running.", positional=True)
]
RunOutput = Annotated[str, Param("Directory of the run.")]


@dataclass(frozen=True)
class StatusResult:
    """The state of one run."""

    state: State

    def summary(self) -> str:
        from calibrant.acquire.constraints import utc
        from calibrant.acquire.timeline import wrapped

        state = self.state
        lines = [
            f"{state.plan} with inventory {state.inventory}, run {state.run}, in {state.directory}",
            f"{self._words()} {state.frames_done} of {state.frames_wanted} frames are there.",
            f"Began {utc(state.started)}, last word {utc(state.latest)}.",
        ]
        if state.state == "running":
            lines.append(f"Now: {state.step}. Ends about {utc(self.ends)}.")
            lines += [f"Process {state.holder.pid} on {state.holder.host}."] if state.holder else []
        burning = [f"{name} {light}" for name, light in state.lights.items() if light != "off"]
        lines.append(f"Lights, as the journal says: {', '.join(burning) or 'all off'}.")
        lines += wrapped([state.reason], "Reason: ") if state.reason else []
        for alarm in state.alarms:
            lines += wrapped([alarm], "! ")
        if state.state != "running" and state.verdict != "complete":
            lines.append(f"Go on with: calibrant acquire resume {state.directory}")
        return "\n".join(lines)

    @property
    def ends(self) -> float:
        """As planned, UTC."""
        return self.state.started + self.state.duration_s / self.state.speed

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self.state), "ends": self.ends}

    def _words(self) -> str:
        words = {"running": "Running.", "ended": f"Ended: {self.state.verdict}."}
        return words.get(self.state.state, "DIED without an end: nobody switched its lights off, unless the guard did.")


def status(sequence: RunDirectory = "", output: RunOutput = "", state: StateDirectory = "") -> StatusResult:
    """What a run does now, or how it ended: from its journal, no device is asked.

    Without a directory it is the run that is running now.

    Example:
        calibrant acquire status night1

    Raises ParameterError where no run, or more than one, can be meant; DataError where the directory holds none.
    """
    from calibrant.acquire.control import find, state_of

    return StatusResult(state_of(find(output or sequence, state)))
