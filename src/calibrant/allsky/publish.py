"""Put gains into a telescope, and take them out again: planned, shown, backed up, sent, read back, undone if wrong.

Positions go before gains: a restart of the telescope forgets uploaded positions but keeps gains, so that a transfer
broken between the two heals itself. Gains whose orientation differs from the telescope's positions go only together
with the positions that they belong to.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky.api import Telescope
from calibrant.allsky.gainsfile import Gains, read_gains, write_json
from calibrant.allsky.snapshots import positions_from_json
from calibrant.errors import CalibrantError, DataError, FormatError, ParameterError, ServerError
from calibrant.progress import say

Real = NDArray[np.float64]

SAME_GAIN, SAME_PHASE, SAME_M = 1e-3, 1e-3, 1e-3
"""Read back as sent: servers round to four digits; a thousandth of a gain, a radian or a metre changes no image."""
MOST_GAIN = 100.0
TURN_DEG = 1.0
"""Gains of positions turned further than this need those positions."""
SETTLE_S = 2.0
"""A call whose answer is not known may be carried out so much later."""
RESTORES = 2
BACKUP_PREFIX = "calibrant-backup"


class Mismatch(CalibrantError):
    """What was read back is not what was sent."""


@dataclass(frozen=True)
class Live:
    """What a telescope has: corrections (nan where it stores null) and positions, also as they came."""

    api: str
    name: str
    gain: Real
    phase: Real
    positions: Real
    raw: dict[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What would be sent, and what is there. Nothing is sent until `publish`."""

    live: Live
    gain: Real
    phase: Real
    positions: Real | None
    """None: they stay as they are."""
    source: str
    remarks: list[str]

    @property
    def gain_change(self) -> Real:
        """New over live gain, minus one; nan where either is 0 or null."""
        with np.errstate(divide="ignore", invalid="ignore"):
            change = self.gain / self.live.gain - 1
        return np.where(np.isfinite(change) & (self.gain > 0), change, np.nan)

    @property
    def phase_change(self) -> Real:
        """New minus live phase, degrees in -180..180; nan where the live one is null."""
        return np.degrees(_wrapped(self.phase - self.live.phase))

    @property
    def changed(self) -> NDArray[np.bool_]:
        """(antenna): differs by more than what a server rounds off."""
        gain_same = np.abs(self.gain - self.live.gain) <= SAME_GAIN
        return ~(gain_same & (np.abs(np.radians(self.phase_change)) <= SAME_PHASE))

    @property
    def moves_m(self) -> float:
        """The largest shift of a position; 0 where positions stay."""
        return 0.0 if self.positions is None else _largest_shift(self.positions, self.live.positions)


@dataclass(frozen=True)
class Published:
    """What became of a plan. `state`: dry run, nothing to do, uploaded, restored, unchanged."""

    plan: Plan
    state: str
    backup: str = ""
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        return 130 if self.interrupted else 0

    def summary(self) -> str:
        plan = self.plan
        lines = [f"{plan.live.name or plan.live.api}: gains of {plan.source}", *_table(plan), *_changes(plan)]
        lines += [f"Note: {remark}" for remark in plan.remarks]
        lines += [f"Backup of what was there: {self.backup}"] if self.backup else []
        return "\n".join([*lines, _STATES[self.state]])

    def to_dict(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "state": self.state,
            "api": plan.live.api,
            "telescope": plan.live.name,
            "source": plan.source,
            "backup": self.backup,
            "changed": int(plan.changed.sum()),
            "positions_move_m": plan.moves_m,
            "positions_sent": plan.positions is not None,
            "notes": list(plan.remarks),
            "antennas": [
                {
                    "antenna": number,
                    "live_gain": plan.live.gain[number],
                    "live_phase": plan.live.phase[number],
                    "gain": plan.gain[number],
                    "phase": plan.phase[number],
                    "changed": bool(plan.changed[number]),
                }
                for number in range(len(plan.gain))
            ],
        }


_STATES = {
    "dry run": "Dry run: nothing was sent.",
    "nothing to do": "The telescope has these values already; nothing was sent.",
    "uploaded": "Uploaded, and read back as sent.",
    "restored": "Interrupted: the telescope was put back as it was, and read back so.",
    "unchanged": "Interrupted: nothing was sent; the telescope is as it was.",
}


def _table(plan: Plan) -> list[str]:
    head = f"{'':>4} {'live':>9} {'new':>9} {'change':>8}   {'live':>9} {'new':>9} {'change':>8}"
    lines = [f"{'':>4} {'gain':>28}   {'phase, degrees':>28}", head]
    columns = (plan.live.gain, plan.gain, plan.gain_change, np.degrees(plan.live.phase), np.degrees(plan.phase))
    for number, (old, new, ratio, old_deg, new_deg) in enumerate(zip(*columns, strict=True)):
        change = f"{100 * ratio:+7.2f}%" if math.isfinite(ratio) else f"{'-':>8}"
        turn = plan.phase_change[number]
        lines.append(
            f"{number:4d} {_shown(old)} {_shown(new)} {change}   {_shown(old_deg, 2)} {_shown(new_deg, 2)} "
            + (f"{turn:+8.2f}" if math.isfinite(turn) else f"{'-':>8}")
            + ("" if plan.changed[number] else "  same")
            + ("  dead" if new == 0 else "")
        )
    return lines


def _shown(value: float, digits: int = 4) -> str:
    return f"{value:9.{digits}f}" if math.isfinite(value) else f"{'null':>9}"


def _changes(plan: Plan) -> list[str]:
    ratio, turn = plan.gain_change, plan.phase_change
    line = f"{plan.changed.sum()} of {len(plan.gain)} antennas change"
    if np.isfinite(ratio).any():
        worst = int(np.nanargmax(np.abs(ratio)))
        line += f"; largest gain change {100 * ratio[worst]:+.2f} % (antenna {worst})"
    if np.isfinite(turn).any():
        worst = int(np.nanargmax(np.abs(turn)))
        line += f", phase {turn[worst]:+.2f} deg (antenna {worst})"
    lines = [f"{line}."]
    if plan.positions is not None:
        lines.append(f"Antenna positions go along: they move by up to {plan.moves_m:.3f} m.")
    return lines


def read_live(api: Telescope) -> Live:
    """What the telescope has now; DataError where its gains are not one of each an antenna."""
    info, places, gains = api.info(), api.positions(), api.gains()
    positions = positions_from_json(places, api.address("imaging/antenna_positions"))
    gain, phase = (_numbers(gains[name]) for name in ("gain", "phase_offset"))
    inner = info.get("info")
    name = str((inner if isinstance(inner, dict) else info).get("name", ""))
    return Live(api.url, name, gain, phase, positions, {"info": info, "gains": gains, "ant_pos": places})


def _numbers(values: list[Any]) -> Real:
    return np.array([value if isinstance(value, int | float) else math.nan for value in values], dtype=np.float64)


def plan_upload(live: Live, gains: Gains, positions: bool = False, force: bool = False, name: str = "") -> Plan:
    """Check gains against what the telescope has; DataError or ParameterError says why they cannot be sent.

    `positions`: send the file's positions too. `force`: although the verdict, or the telescope's name, is against it.
    """
    remarks: list[str] = []
    _check_values(gains, live)
    if gains.verdict == "do not upload" and not force:
        raise DataError(
            f'{gains.path}: its verdict is "do not upload"; calibrate again, or give --force if you know better'
        )
    if not gains.verdict:
        remarks.append("the file has no verdict: nothing says whether these gains are good")
    elif gains.verdict != "good":
        remarks.append(f'the verdict of the file is "{gains.verdict}"')
    if name and live.name and name != live.name:
        words = f"{gains.path} was made for {name!r}, and this telescope is {live.name!r}"
        if not force:
            raise DataError(f"{words}; give the right --api, or --force if it is the same one renamed")
        remarks.append(words)
    there = _positions_to_send(live, gains, positions, remarks)
    return Plan(live, gains.gain, _wrapped(gains.phase), there, gains.path, remarks)


def _check_values(gains: Gains, live: Live) -> None:
    """The values can be corrections of this telescope's antennas."""
    antennas = len(live.positions)
    if len(gains.gain) != antennas or len(gains.phase) != antennas:
        raise DataError(
            f"{gains.path}: has {len(gains.gain)} gains and {len(gains.phase)} phases, but the telescope has "
            f"{antennas} antennas; they are of another array"
        )
    if len(live.gain) != antennas or len(live.phase) != antennas:
        raise DataError(
            f"{live.api}: stores {len(live.gain)} gains and {len(live.phase)} phases for {antennas} antennas, so there "
            "is nothing sound to go back to; repair that in the telescope first"
        )
    for number, (gain, phase) in enumerate(zip(gains.gain, gains.phase, strict=True)):
        if not (math.isfinite(gain) and 0 <= gain < MOST_GAIN):
            raise DataError(f"{gains.path}: gain[{number}] is {gain:g}, expected 0 (dead) or more, below {MOST_GAIN:g}")
        if not (math.isfinite(phase) and abs(phase) <= 4 * math.pi):
            raise DataError(f"{gains.path}: phase_offset[{number}] is {phase:g}; expected radians. Are these degrees?")
    if not gains.gain.any():
        raise DataError(f"{gains.path}: every gain is 0; that would switch the whole telescope off")


def _positions_to_send(live: Live, gains: Gains, wanted: bool, remarks: list[str]) -> Real | None:
    """The positions that go along, if any; ParameterError where gains would go without those they belong to."""
    places = None if gains.positions is None else positions_from_json(gains.positions.tolist(), gains.path)
    if places is not None and len(places) != len(live.positions):
        raise DataError(f"{gains.path}: has positions of {len(places)} antennas, not of {len(live.positions)}")
    if wanted and places is None:
        raise ParameterError(f"{gains.path}: holds no antenna_positions, so --positions has nothing to send")
    if places is not None and _largest_shift(places, live.positions) <= SAME_M:
        return None
    turned = gains.mirror or abs(gains.rotation_deg) > TURN_DEG
    # Positions may have changed in ways that a rotation does not tell: since the data were taken, or by hand.
    radius = float(np.abs(live.positions).max())
    moved = places is not None and _largest_shift(places, live.positions) > radius * math.radians(TURN_DEG) + SAME_M
    if wanted and places is not None:
        remarks.append(
            "a restart of the telescope goes back to the positions of its configuration file: change them there too"
        )
        return places
    if turned or moved:
        how = ("mirrored, " if gains.mirror else "") + f"turned by {gains.rotation_deg:.2f} deg"
        if not turned:
            how = f"up to {_largest_shift(places, live.positions):.3f} m from the telescope's" if moved else how  # type: ignore[arg-type]
        raise ParameterError(
            f"{gains.path}: these gains belong to antenna positions {how}; the sky would be imaged wrongly oriented. "
            + ("Send both with --positions" if places is not None else "Send them with the positions, which it lacks")
        )
    if gains.rotation_deg:
        remarks.append(
            f"the fit turned the positions by {gains.rotation_deg:.2f} deg; without --positions images stay turned by that"
        )
    return None


def _largest_shift(one: Real, other: Real) -> float:
    return float(np.sqrt(((one - other) ** 2).sum(axis=1)).max())


def _wrapped(phase: Real) -> Real:
    return (phase + np.pi) % (2 * np.pi) - np.pi


def telescope_of(path: str) -> str:
    """The telescope's name that a gains file holds; empty where it holds none."""
    with open(path, encoding="utf-8") as file:
        return str(json.load(file).get("telescope") or "")


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


def _slug(url: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", url.partition("://")[2]).strip("-")


def newest_backup(url: str, folder: str = ".") -> str:
    """The newest backup of a telescope that an upload left in a folder; ParameterError where there is none."""
    found = []
    for name in os.listdir(folder):
        if name.startswith(f"{BACKUP_PREFIX}-{_slug(url)}-") and name.endswith(".json"):
            path = os.path.join(folder, name)
            about = _about(path)
            # What a rollback replaced is left out, so that a second rollback does not put it back.
            if about.get("before") == "upload":
                found.append((str(about.get("time", "")), path))
    if not found:
        raise ParameterError(
            f"there is no {BACKUP_PREFIX}-{_slug(url)}-*.json of an upload in {os.path.abspath(folder)}; name the file"
        )
    return max(found)[1]


def _about(path: str) -> dict[str, Any]:
    """When, where and why a backup was made; FormatError where the file is none."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        about = content["backup"]
    except (ValueError, KeyError, TypeError):
        about = None
    if not isinstance(about, dict):
        raise FormatError(f"{path}: is no backup of `calibrant allsky upload`; for gains there is upload")
    return about


def plan_rollback(live: Live, path: str, force: bool = False) -> Plan:
    """A plan that puts back what a backup holds: gains, and positions where they differ."""
    about = _about(path)
    name = telescope_of(path)
    if about.get("api") != live.api and name != live.name and not force:
        raise DataError(
            f"{path}: is a backup of {name or about.get('api')!r}, and this telescope is {live.name or live.api!r}; "
            "give the right one, or --force"
        )
    gains = read_gains(path)
    _check_values(gains, live)
    remarks = [f"backup of {about.get('time')}"]
    places = _positions_to_send(live, gains, gains.positions is not None, remarks)
    return Plan(live, gains.gain, _wrapped(gains.phase), places, path, remarks)


def publish(
    api: Telescope, plan: Plan, password: str, backup: str = "", reason: str = "upload", settle_s: float = SETTLE_S
) -> Published:
    """Back up, log in, send, read back; undo where what is read back is not what was sent.

    Ctrl-C before anything was sent leaves the telescope alone; afterwards it is put back. ServerError, with the state
    of the telescope and the name of the backup in its message, where the upload did not succeed.
    """
    if not plan.changed.any() and plan.positions is None:
        return Published(plan, "nothing to do")
    if api.is_open_to_listeners:
        plan.remarks.append("the password travelled unencrypted (http)")
    path = write_backup(plan.live, backup, reason)
    say(f"backup of what the telescope has: {path}")
    begun = False
    with _one_interruption():
        try:
            api.login(password)
            begun = True
            _send(api, plan)
            _verify(api, plan.gain, plan.phase, plan.positions)
        except KeyboardInterrupt:
            if begun:
                _restore(api, plan, path, "interrupted", settle_s)
            return Published(plan, "restored" if begun else "unchanged", path, interrupted=True)
        except (ServerError, Mismatch) as error:
            if not begun:
                raise ServerError(f"{error}. Nothing was sent; the telescope is as it was", 0) from None
            if isinstance(error, ServerError) and error.status == 0 and _arrived(api, plan):
                plan.remarks.append(f"an answer was lost ({error}), but everything reads back as sent")
                return Published(plan, "uploaded", path)
            _restore(api, plan, path, str(error), settle_s)
            raise ServerError(
                f"{error}. The telescope was put back as it was, and reads back so (backup: {path})",
                getattr(error, "status", 0),
            ) from None
    return Published(plan, "uploaded", path)


def _send(api: Telescope, plan: Plan) -> None:
    if plan.positions is not None:
        api.upload_positions(plan.positions.tolist())
        _verify_positions(api, plan.positions)
    api.upload_gains(plan.gain.tolist(), plan.phase.tolist())


def _verify(api: Telescope, gain: Real, phase: Real, positions: Real | None) -> None:
    """Mismatch where the telescope does not have these values."""
    found = api.gains()
    there, turn = _numbers(found["gain"]), _numbers(found["phase_offset"])
    if len(there) != len(gain) or len(turn) != len(phase):
        raise Mismatch(f"the telescope stored {len(there)} gains and {len(turn)} phases of {len(gain)} that were sent")
    wrong = ~((np.abs(there - gain) <= SAME_GAIN) & (np.abs(_wrapped(turn - phase)) <= SAME_PHASE))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise Mismatch(
            f"the telescope stored other gains than were sent for {wrong.sum()} antenna(s): antenna {first} has "
            f"{there[first]:g} and {turn[first]:g} rad, not {gain[first]:g} and {phase[first]:g} rad"
        )
    if positions is not None:
        _verify_positions(api, positions)


def _verify_positions(api: Telescope, positions: Real) -> None:
    found = api.positions()
    if len(found) != len(positions) or not _largest_shift(np.array(found, dtype=np.float64), positions) <= SAME_M:
        raise Mismatch("the telescope reads back other antenna positions than were sent")


def _arrived(api: Telescope, plan: Plan) -> bool:
    try:
        _verify(api, plan.gain, plan.phase, plan.positions)
    except CalibrantError:
        return False
    return True


def _restore(api: Telescope, plan: Plan, backup: str, why: str, settle_s: float) -> None:
    """Put back what was there and read it back, twice: a call under way may come in late.

    ServerError where that cannot be done: then only the message and the backup know.
    """
    live = plan.live
    gain, phase = np.nan_to_num(live.gain), np.nan_to_num(live.phase)
    positions = live.positions if plan.positions is not None else None
    say(f"{why}; putting back what was there")
    trouble: CalibrantError | None = None
    for _ in range(RESTORES):
        try:
            if positions is not None:
                api.upload_positions(positions.tolist())
            api.upload_gains(gain.tolist(), phase.tolist())
            _verify(api, gain, phase, positions)
            time.sleep(settle_s)
            _verify(api, gain, phase, positions)
            return
        except (ServerError, Mismatch) as error:
            trouble = error
    raise ServerError(
        f"{why}. It is NOT KNOWN what the telescope has now: putting back failed ({trouble}). What it had is in "
        f"{backup}; when it answers again: calibrant allsky rollback --api {live.api} {backup}"
    )


@contextmanager
def _one_interruption() -> Iterator[None]:
    """The first Ctrl-C (or end of the session) raises KeyboardInterrupt; later ones do not disturb the repair."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = []

    def interrupted(number: int, frame: object) -> None:
        seen.append(number)
        if len(seen) == 1:
            raise KeyboardInterrupt
        say("one moment: the telescope is being put back as it was")

    names = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(name, interrupted) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
