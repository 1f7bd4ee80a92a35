"""`calibrant allsky rollback`: a telescope's gains and positions as they were before an upload."""

from __future__ import annotations

from typing import Annotated

from calibrant.allsky.publish import Published
from calibrant.params import DryRun, Param


def rollback(
    api: Annotated[str, Param("The telescope's address, as https://tart.elec.ac.nz/signal.")],
    file: Annotated[str, Param("The backup to put back. Empty: the newest of this folder.", positional=True)] = "",
    force: Annotated[bool, Param("Although the backup is of another telescope.")] = False,
    timeout: Annotated[float, Param("How long an answer is waited for.", unit="s")] = 15.0,
    dry_run: DryRun = False,
) -> Published:
    """Put back the gains and positions that a telescope had before an upload, with the same care as the upload.

    What it has now is backed up first. Password as for `allsky upload`.

    Example:
        calibrant allsky rollback --api https://tart.elec.ac.nz/signal

    Raises FormatError, DataError or ParameterError before anything is sent, ServerError with the telescope's state.
    """
    from calibrant.allsky import backup as backups
    from calibrant.allsky import publish, upload_plan
    from calibrant.allsky.api import Telescope
    from calibrant.allsky.secrets import password

    with Telescope(api, timeout) as telescope:
        plan = upload_plan.plan_rollback(
            upload_plan.read_live(telescope), file or backups.newest_backup(telescope.url), force
        )
        if dry_run:
            return publish.Published(plan, "dry run")
        return publish.publish(telescope, plan, lambda: password(telescope.url), reason="rollback")
