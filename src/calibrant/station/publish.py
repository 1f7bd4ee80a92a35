"""Publish new values into an `.rxg`: planned, shown as a diff, verified, then written atomically with a backup."""

from __future__ import annotations

import difflib
import hashlib
import os
import textwrap
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

import calibrant
from calibrant.errors import DataError, FormatError, ParameterError
from calibrant.station.rxg import Rxg, parse
from calibrant.station.rxg_changes import Changes, describe, effects, uneven
from calibrant.station.rxg_check import check_rxg
from calibrant.station.rxg_edit import SAME_FREQ_MHZ, update_text
from calibrant.station.text import decode, encode, read_bytes, replace_file, split_lines

COMMENT_WIDTH = 96
PRECISION = 1e-4
"""Relative: what is written agrees with what was asked at least this well."""


@dataclass(frozen=True)
class RxgUpdate:
    """A planned change of one file. Nothing is written until `apply_update`."""

    path: str
    old_text: str = field(repr=False)
    new_text: str = field(repr=False)
    diff: str = field(repr=False)
    """Unified."""
    fingerprint: str
    """SHA-256 of the file's bytes when it was planned."""
    words: tuple[str, ...] = ()
    """What changes."""
    effects: tuple[str, ...] = ()
    """What that does to calibrated amplitudes."""

    @property
    def changed(self) -> bool:
        return self.old_text != self.new_text


def plan_update(path: str | os.PathLike[str], changes: Changes, today: date | None = None) -> RxgUpdate:
    """New values for a file, with its date line set to today (UTC) and a comment of what changed and how.

    Raises FormatError where the file has errors, ParameterError for values that it cannot hold or whose ground has
    moved since the fit, DataError should the new text not read back as asked.
    """
    name = os.fspath(path)
    data = read_bytes(name)
    old_text = decode(data, name)
    old = parse(old_text, name)
    _refuse_errors(old_text, name)
    values = changes.keywords()
    new_text = update_text(old_text, **values)
    words: list[str] = []
    result = old
    if new_text != old_text:
        today = today or datetime.now(UTC).date()
        words = describe(old, parse(new_text, name))
        new_text = update_text(old_text, **values, date=today, comment=_comment(words, changes.methods, today))
        _refuse_errors(new_text, f"{name} (new)")
        result = parse(new_text, name)
        _verify(old, result, changes)
        _refuse_moved_ground(result, changes)
    diff = unified_diff(old_text, new_text, name)
    fingerprint = hashlib.sha256(data).hexdigest()
    return RxgUpdate(
        name, old_text, new_text, diff, fingerprint, tuple(words), (*effects(old, result), *uneven(old, result))
    )


def apply_update(update: RxgUpdate, backup: bool = True) -> str:
    """Write a planned update; returns the name of the backup (empty: none).

    Raises DataError where the file has changed since it was planned, or cannot be written; then nothing has changed.
    """
    data = read_bytes(update.path)
    if hashlib.sha256(data).hexdigest() != update.fingerprint:
        raise DataError(f"{update.path}: found other content than when this update was planned. Plan it again.")
    if not update.changed:
        return ""
    return replace_file(update.path, encode(update.new_text, like=data), backup)


def note_update(update: RxgUpdate, changes: Changes) -> tuple[list[str], list[str]]:
    """Write what was changed into the sessions of the logs that were fitted; (session files, why some have no note)."""
    from calibrant.station.session import NOTE, read_session

    noted, lost = [], []
    text = f"update {os.path.basename(update.path)}: {'; '.join((*update.words, *changes.methods))}"
    for log, folder in changes.logs:
        if folder == "none":
            continue
        try:
            session = read_session(log, folder)
            session.edit(NOTE, reason=text)
            session.save()
        except (OSError, DataError, FormatError) as error:
            lost.append(f"{log}: no note in its session: {getattr(error, 'strerror', None) or error}")
        else:
            noted.append(session.path)
    return noted, lost


def unified_diff(old: str, new: str, name: str) -> str:
    """The change as a unified diff, without carriage returns; empty where there is none."""
    before, after = ([line.rstrip("\r\n") for line in split_lines(text)] for text in (old, new))
    shown = os.path.basename(name)
    diff = "\n".join(difflib.unified_diff(before, after, f"a/{shown}", f"b/{shown}", n=2, lineterm=""))
    return diff or ("(only the line ends differ)" if old != new else "")


def _comment(words: list[str], methods: tuple[str, ...], today: date) -> list[str]:
    head = f"calibrant {calibrant.__version__} {today.isoformat()}: "
    lines = textwrap.wrap(head + "; ".join(words), COMMENT_WIDTH, subsequent_indent="  ")
    for method in methods:
        lines += textwrap.wrap(method, COMMENT_WIDTH, initial_indent="  ", subsequent_indent="  ")
    return lines


def _refuse_errors(text: str, name: str) -> None:
    for problem in check_rxg(text):
        if problem.severity == "error":
            raise FormatError(f"{problem.describe(name)} See 'calibrant station check --fix {name}' first.")


def _refuse_moved_ground(new: Rxg, changes: Changes) -> None:
    """Values of a fit are wrong beside others than those it took as right: a deviation would be corrected twice."""
    for ground in changes.grounds:
        if moved := ground.moved(new):
            raise ParameterError(
                f"{ground.path}: was fitted with other {', '.join(moved)} than {new.name} will hold: the same "
                "deviation would be corrected twice. Update with one fit, fit again with the new file, then update "
                "with that."
            )


def _verify(old: Rxg, new: Rxg, changes: Changes) -> None:
    """The new content is what was asked, and the rest what it was."""
    wrong = [f"DPFU {pol}cp" for pol in old.pols if not _same(new.dpfu[pol], changes.dpfu.get(pol, old.dpfu[pol]))]
    wrong += [f"Trec {p}cp" for p in old.pols if abs(new.trec[p] - changes.trec.get(p, old.trec[p])) > 0.006]
    elevation = np.linspace(1.0, 90.0, 90)
    wanted = (changes.curve or old.curve)(elevation)
    if not np.allclose(new.curve(elevation), wanted, rtol=0, atol=PRECISION * float(np.max(np.abs(wanted)))):
        wrong.append("gain curve")
    for pol in old.pols:
        asked = changes.tcal.get(pol, {})
        for freq, kelvin in asked.items():
            place = int(np.argmin(np.abs(new.tcal[pol][0] - freq)))
            if abs(new.tcal[pol][0][place] - freq) > SAME_FREQ_MHZ or not _same(new.tcal[pol][1][place], kelvin):
                wrong.append(f"Tcal {pol}cp at {freq:g} MHz")
        wrong += _lost(pol, old, new, changes)
    same = ("kind", "lo_mhz", "beam_kind", "beam_value", "pols")
    wrong += [name for name in same if getattr(old, name) != getattr(new, name)]
    if wrong:
        raise DataError(
            f"{old.path}: the new text does not read back as asked ({', '.join(wrong)}). Nothing was written."
        )


def _lost(pol: Any, old: Rxg, new: Rxg, changes: Changes) -> list[str]:
    """Rows of the old table that should have stayed and have not."""
    asked = np.array(sorted(changes.tcal.get(pol, {})))
    factor = changes.scale_tcal.get(pol, 1.0)
    result = []
    for freq, kelvin in zip(*old.tcal[pol], strict=True):
        if len(asked) and np.min(np.abs(asked - freq)) <= SAME_FREQ_MHZ:
            continue
        there = new.tcal[pol][1][new.tcal[pol][0] == freq]
        if not any(_same(value, kelvin * factor) for value in there):
            result.append(f"Tcal {pol}cp at {freq:g} MHz")
    return result


def _same(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= PRECISION * abs(wanted) + 1e-9
