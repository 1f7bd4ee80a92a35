"""`calibrant acquire abort`: end a run now."""

from __future__ import annotations

from typing import Annotated

from calibrant.acquire.verbs.run import State
from calibrant.acquire.verbs.status import RunDirectory, RunOutput
from calibrant.acquire.verbs.stop import OrderResult, order
from calibrant.params import Param


def abort(
    sequence: RunDirectory = "",
    output: RunOutput = "",
    wait: Annotated[float, Param("How long to wait for its end; 0: not at all.", unit="s")] = 60.0,
    state: State = "",
) -> OrderResult:
    """End a running run now: lamps off, the frame under way thrown away, the mask stopped.

    The frames before stay, and `resume` takes the rest.

    Example:
        calibrant acquire abort night1

    Raises ParameterError where no run is running there.
    """
    return order("abort", output or sequence, state, wait)
