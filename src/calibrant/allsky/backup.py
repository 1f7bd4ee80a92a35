"""Backups of what a telescope had before an upload: gains files too, and never one over another."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.allsky.files import load_json, write_json
from calibrant.errors import FormatError, ParameterError

if TYPE_CHECKING:
    from calibrant.allsky.upload_plan import Live

BACKUP_PREFIX = "calibrant-backup"


def write_backup(live: Live, path: str, reason: str) -> str:
    """Write what the telescope has into a new file (empty: a name made of address and time); never over another.

    It is a gains file too: null is 0 there, and as it came under "gains".
    """
    moment = datetime.now(UTC)
    stem = path or f"{BACKUP_PREFIX}-{_slug(live.api)}-{moment:%Y%m%dT%H%M%S}Z.json"
    content = {
        "backup": {"time": moment.isoformat(timespec="milliseconds"), "api": live.api, "before": reason},
        "telescope": live.name,
        "gain": np.nan_to_num(live.gain).tolist(),
        "phase_offset": np.nan_to_num(live.phase).tolist(),
        "rot_degrees": 0.0,
        "antenna_positions": live.positions.tolist(),
        **live.raw,
    }
    number = 1
    while not path and os.path.exists(stem):
        number += 1
        stem = f"{BACKUP_PREFIX}-{_slug(live.api)}-{moment:%Y%m%dT%H%M%S}Z-{number}.json"
    write_json(stem, content, overwrite=False)
    return stem


def mark_undone(path: str) -> None:
    """Say in a backup that its upload was undone: what it holds is still there, and `newest_backup` passes it by."""
    content = load_json(path, "a backup")
    content["backup"]["before"] = "an upload that was undone"
    write_json(path, content, overwrite=True)


def _slug(url: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", url.partition("://")[2]).strip("-")


def newest_backup(url: str, folder: str = ".") -> str:
    """The newest backup of a telescope that an upload left in a folder; ParameterError where there is none."""
    found = []
    for name in os.listdir(folder):
        if name.startswith(f"{BACKUP_PREFIX}-{_slug(url)}-") and name.endswith(".json"):
            path = os.path.join(folder, name)
            about = about_backup(path)
            # What a rollback replaced is left out, so that a second rollback does not put it back; see mark_undone.
            if about.get("before") == "upload":
                found.append((str(about.get("time", "")), path))
    if not found:
        raise ParameterError(
            f"there is no {BACKUP_PREFIX}-{_slug(url)}-*.json of an upload in {os.path.abspath(folder)}; name the file"
        )
    return max(found)[1]


def about_backup(path: str) -> dict[str, Any]:
    """When, where and why a backup was made; FormatError where the file is none."""
    content = load_json(path, "a backup of `calibrant allsky upload`")
    about = content.get("backup") if isinstance(content, dict) else None
    if not isinstance(about, dict):
        raise FormatError(f"{path}: is no backup of `calibrant allsky upload`; for gains there is upload")
    return about
