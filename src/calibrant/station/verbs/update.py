"""`calibrant station update`: put fitted values into an `.rxg`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

from calibrant.errors import ParameterError
from calibrant.params import DryRun, Param

if TYPE_CHECKING:
    from calibrant.station.publish import RxgUpdate
    from calibrant.station.rxg_changes import Changes


@dataclass(frozen=True)
class UpdateResult:
    """What changed in a receiver file, or would."""

    update: RxgUpdate
    backup: str
    dry_run: bool
    noted: tuple[str, ...] = ()
    """Session files of the logs, in which the update was noted."""
    not_noted: tuple[str, ...] = ()

    def summary(self) -> str:
        update = self.update
        if not update.changed:
            return f"{update.path}: holds these values already; nothing written."
        lines = [update.diff, "", f"{update.path}:"]
        lines += [f"  {line}" for line in (*update.words, *update.effects)]
        if self.dry_run:
            return "\n".join([*lines, "Dry run: nothing was written."])
        saved = f"; the old file is {os.path.basename(self.backup)}" if self.backup else ""
        lines += [f"Written{saved}.", "The Field System uses it after a restart."]
        lines += [f"Noted in {path}." for path in self.noted]
        return "\n".join([*lines, *self.not_noted])

    def to_dict(self) -> dict[str, Any]:
        return {
            "rxg": self.update.path,
            "changed": self.update.changed,
            "written": self.update.changed and not self.dry_run,
            "backup": self.backup,
            "diff": self.update.diff,
            "changes": list(self.update.words),
            "effects": list(self.update.effects),
            "noted": list(self.noted),
        }


def update(
    rxg: Annotated[str, Param("The receiver gain file to change.", positional=True)],
    from_: Annotated[list[str], Param("JSON of 'calibrant station fit gain|tcal|trec', one or several.")] = [],  # noqa: B006
    dpfu: Annotated[list[str], Param("New DPFU by polarisation: 'l=0.131,r=0.128'.", unit="K/Jy")] = [],  # noqa: B006
    scale_tcal: Annotated[list[str], Param("Factor for all Tcal of a polarisation: 'l=1.02'.")] = [],  # noqa: B006
    trec: Annotated[list[str], Param("New receiver temperature by polarisation: 'l=33'.", unit="K")] = [],  # noqa: B006
    backup: Annotated[bool, Param("Keep the old file beside the new one, as NAME.rxg.bak-YYYYmmddHHMMSS.")] = True,
    dry_run: DryRun = False,
) -> UpdateResult:
    """Put fitted values into an .rxg: shown as a diff, verified, written atomically with a backup.

    Only what changes is touched: comments, other rows and formatting stay. Tcal is merged into the table, frequencies
    that were not observed keep their values. The date is set to today (UTC), and a comment at the end says what
    changed and how it was found; the sessions of the fitted logs get a note. Fits whose ground has changed since, or
    that correct the same deviation twice (gain and Tcal of the same file), are refused.

    Example:
        calibrant station fit gain r1730ny.log --rxg calnyx.rxg --json > gain.json
        calibrant station update calnyx.rxg --from gain.json --dry-run
        calibrant station update calnyx.rxg --from gain.json
    """
    from calibrant.station.publish import apply_update, note_update, plan_update
    from calibrant.station.rxg_changes import read_changes

    changes = _typed(dpfu, scale_tcal, trec)
    for path in from_:
        changes = changes.with_(read_changes(path, os.path.basename(rxg)))
    if not changes:
        raise ParameterError(
            "update: found nothing to change, expected --from fit.json, --dpfu, --scale-tcal or --trec."
        )
    planned = plan_update(rxg, changes)
    if dry_run:
        return UpdateResult(planned, "", dry_run)
    saved = apply_update(planned, backup)
    noted, lost = note_update(planned, changes) if planned.changed else ([], [])
    return UpdateResult(planned, saved, dry_run, tuple(noted), tuple(lost))


def _typed(dpfu: list[str], scale_tcal: list[str], trec: list[str]) -> Changes:
    """The values given on the command line."""
    from calibrant.station.rxg_changes import Changes

    values = {"dpfu": _by_pol("dpfu", dpfu), "scale_tcal": _by_pol("scale_tcal", scale_tcal)}
    values["trec"] = _by_pol("trec", trec)
    given = [f"{name} {pol}cp given as {value:g}" for name, table in values.items() for pol, value in table.items()]
    return Changes(**cast(Any, values), methods=(f"{', '.join(given)} by hand",) if given else ())


def _by_pol(name: str, items: list[str]) -> dict[str, float]:
    result: dict[str, float] = {}
    for item in items:
        pol, _, number = item.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if pol not in ("l", "r") or value != value:
            raise ParameterError(f"{name}: found {item!r}, expected 'l=NUMBER' or 'r=NUMBER'.")
        result[pol] = value
    return result
