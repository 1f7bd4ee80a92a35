"""`calibrant allsky upload`: gains into a telescope, with a diff, a backup and a look at what arrived."""

from __future__ import annotations

from typing import Annotated

from calibrant.allsky.publish import Published
from calibrant.params import DryRun, Param


def upload(
    gains: Annotated[str, Param("The gains file of `allsky calibrate`.", positional=True)],
    api: Annotated[str, Param("The telescope's address, as https://tart.elec.ac.nz/signal.")],
    positions: Annotated[bool, Param("Send the file's antenna positions too: gains of another orientation.")] = False,
    backup: Annotated[str, Param("File for what the telescope has now. Empty: a name made of address and time.")] = "",
    force: Annotated[bool, Param("Although the verdict or the telescope's name is against it.")] = False,
    timeout: Annotated[float, Param("How long an answer is waited for.", unit="s")] = 15.0,
    dry_run: DryRun = False,
) -> Published:
    """Upload gains to a telescope: compared with those it has, backed up, read back, undone if they are not there.

    The password is taken from CALIBRANT_TART_PASSWORD (or TART_LOGIN_PW), or asked for in a terminal. A dry run shows
    the differences and needs no password. `allsky rollback` puts back what was there.

    Example:
        calibrant allsky upload gains.json --api https://tart.elec.ac.nz/signal --dry-run

    Raises FormatError, DataError or ParameterError before anything is sent, ServerError with the telescope's state.
    """
    from calibrant.allsky import publish, upload_plan
    from calibrant.allsky.api import Telescope
    from calibrant.allsky.gainsfile import read_gains
    from calibrant.allsky.secrets import password

    new = read_gains(gains)
    with Telescope(api, timeout) as telescope:
        plan = upload_plan.plan_upload(upload_plan.read_live(telescope), new, positions, force)
        if dry_run:
            return publish.Published(plan, "dry run")
        return publish.publish(telescope, plan, lambda: password(telescope.url), backup)
