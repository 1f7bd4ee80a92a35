"""`calibrant allsky status`: the health of a telescope from its API."""

from __future__ import annotations

from typing import Annotated

from calibrant.allsky.status import Status
from calibrant.params import Param


def status(
    api: Annotated[str, Param("The telescope's address, as https://tart.elec.ac.nz/signal.")],
    timeout: Annotated[float, Param("How long an answer is waited for.", unit="s")] = 15.0,
) -> Status:
    """Say how a telescope is: mode, antennas, radios, age of its visibilities and stored gains, with what to look at.

    The verdict is ok or check. No password is needed.

    Example:
        calibrant allsky status --api https://tart.elec.ac.nz/signal

    Raises ServerError where the telescope does not answer.
    """
    from calibrant.allsky import status as health
    from calibrant.allsky.api import Telescope

    with Telescope(api, timeout) as telescope:
        return health.status(telescope)
