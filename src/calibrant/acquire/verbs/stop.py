"""`calibrant acquire stop`: have a run end after the frame or the lamp that is under way."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from calibrant.acquire.verbs.run import State
from calibrant.acquire.verbs.status import RunDirectory, RunOutput
from calibrant.params import Param


@dataclass(frozen=True)
class OrderResult:
    """A command that was left for a run, and whether the run has ended since."""

    directory: str
    command: str
    ended: bool
    waited_s: float

    def summary(self) -> str:
        if self.ended:
            return (
                f"{self.directory}: {self.command}: the run has ended. More: calibrant acquire status {self.directory}"
            )
        return f"{self.directory}: told to {self.command}; it is still running after {self.waited_s:g} s."

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def stop(
    sequence: RunDirectory = "",
    output: RunOutput = "",
    after: Annotated[str, Param("When to end.", choices=("frame", "lamp"))] = "frame",
    wait: Annotated[float, Param("How long to wait for its end; 0: not at all.", unit="s")] = 0.0,
    state: State = "",
) -> OrderResult:
    """Have a running run end soon: after the frame under way is stored, or after the lamp that burns.

    A warm-up is cut short. The run switches its lamps off as always, and `resume` takes the rest.

    Example:
        calibrant acquire stop night1 --after lamp

    Raises ParameterError where no run is running there.
    """
    return order("stop after lamp" if after == "lamp" else "stop after frame", output or sequence, state, wait)


def order(command: Any, directory: str, state: str, wait: float) -> OrderResult:
    """Leave a command, and wait for the run to end."""
    import time

    from calibrant.acquire.control import LOCK_NAME, find, send
    from calibrant.acquire.lock import holder_of

    where = find(directory, state)
    send(where, command)
    begin = time.monotonic()
    while (running := holder_of(where / LOCK_NAME) is not None) and time.monotonic() - begin < wait:
        time.sleep(0.1)
    return OrderResult(str(where), command, not running, round(time.monotonic() - begin, 1))
