"""flagmanager: saved versions of the flags."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from calibrant.errors import ParameterError
from calibrant.params import DryRun, Param, Vis, check_choices


@dataclass(frozen=True)
class FlagmanagerResult:
    """versions: (name, comment) as they are now; changed: visibilities whose flag changed by a restore."""

    vis: str
    mode: str
    versions: tuple[tuple[str, str], ...]
    done: str = ""
    changed: int = 0
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    def summary(self) -> str:
        lines = [f"{self.vis}: {self.done}"] if self.done else []
        if self.mode == "list":
            lines.append(f"{self.vis} has {len(self.versions)} flag versions" + (":" if self.versions else ""))
            lines += [f"  {name} : {comment}" for name, comment in self.versions]
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def to_dict(self) -> dict[str, Any]:
        """With mode='list' the dictionary of CASA's flagmanager: number -> name and comment, and 'MS'."""
        if self.mode == "list":
            listed: dict[str, Any] = {
                str(number): {"name": name, "comment": comment} for number, (name, comment) in enumerate(self.versions)
            }
            return listed | {"MS": self.vis}
        return asdict(self)


def flagmanager(
    vis: Vis,
    mode: Annotated[
        str,
        Param("What to do with versions.", choices=("list", "save", "restore", "delete", "rename")),
    ] = "list",
    versionname: Annotated[str, Param("The version; for rename, its new name.")] = "",
    oldname: Annotated[str, Param("mode rename: the present name of the version.")] = "",
    comment: Annotated[str, Param("modes save and rename: one line of text kept with the version.")] = "",
    merge: Annotated[
        str,
        Param("mode restore: replace the present flags, or combine with them.", choices=("replace", "or", "and")),
    ] = "replace",
    since: Annotated[str, Param("mode restore: keep what was flagged after this version was saved.")] = "",
    dry_run: DryRun = False,
) -> FlagmanagerResult:
    """List, save, restore, delete or rename flag versions, in the layout that CASA uses.

    Saving under a name that exists renames the older version to NAME.old.TIME.

    Raises ParameterError for an unknown version, MeasurementSetError where a version does not fit, LockedError if
    the MS is in use.

    Example:
        calibrant flagmanager obs.ms --mode restore --versionname flagdata_1
    """
    from calibrant.ms import flagversions
    from calibrant.ms.index import open_index

    check_choices(flagmanager, {"mode": mode, "merge": merge})
    open_index(vis)
    if since and (mode, merge) != ("restore", "replace"):
        raise ParameterError("since belongs to mode='restore' with merge='replace'")
    if mode != "list" and not versionname:
        raise ParameterError(f"mode={mode!r} needs versionname")
    if mode == "rename" and not oldname:
        raise ParameterError("mode='rename' needs oldname, the present name of the version")
    done = {
        "list": "",
        "save": f"flags saved as version {versionname}",
        "restore": f"flags restored from version {versionname} ({merge})",
        "delete": f"version {versionname} deleted",
        "rename": f"version {oldname} is now called {versionname}",
    }[mode]
    changed, notes = 0, []
    if dry_run:
        done = f"would be done: {done}; nothing was touched" if done else ""
    elif mode == "save":
        older = flagversions.save(vis, versionname, comment)
        notes += [f"the version that had this name is now called {older}"] if older else []
    elif mode == "restore" and since:
        changed = flagversions.restore_since(vis, versionname, since)
        notes.append(f"{changed} visibilities flagged after version {since} stay flagged")
    elif mode == "restore":
        changed = flagversions.restore(vis, versionname, merge)
        notes.append(f"{changed} visibilities changed")
    elif mode == "delete":
        flagversions.delete(vis, versionname)
    elif mode == "rename":
        flagversions.rename(vis, oldname, versionname, comment or None)
    versions = tuple((version.name, version.comment) for version in flagversions.list_versions(vis))
    return FlagmanagerResult(vis, mode, versions, done, changed, tuple(notes), dry_run)
