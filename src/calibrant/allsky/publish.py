"""Put gains into a telescope, and take them out again: planned, shown, backed up, sent, read back, undone if wrong.

Positions go before gains: a restart of the telescope forgets uploaded positions but keeps gains, so that a transfer
broken between the two heals itself. Gains whose orientation differs from the telescope's positions go only together
with the positions that they belong to (`upload_plan`).
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibrant.allsky.api import Telescope
from calibrant.allsky.backup import mark_undone, write_backup
from calibrant.allsky.upload_plan import SAME_GAIN, SAME_M, SAME_PHASE, Plan, Real, largest_shift, numbers, wrapped
from calibrant.allsky.words import folded
from calibrant.errors import CalibrantError, ExistsError, ServerError
from calibrant.progress import say

SETTLE_S = 2.0
"""A call whose answer is not known may be carried out so much later."""
RESTORES = 2


class Mismatch(CalibrantError):
    """What was read back is not what was sent."""


class Guard:
    """Ctrl-C, or the end of the session: KeyboardInterrupt once, but nothing while `closed`."""

    closed = False

    def __call__(self, number: int, frame: object) -> None:
        if self.closed:
            say("one moment: the telescope is being put back as it was")
            return
        self.closed = True
        raise KeyboardInterrupt


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
        lines += [folded(remark, "Note: ") for remark in plan.remarks]
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


def publish(
    api: Telescope,
    plan: Plan,
    password: Callable[[], str],
    backup: str = "",
    reason: str = "upload",
    settle_s: float | None = None,
) -> Published:
    """Log in, back up, send, read back; undo where what is read back is not what was sent.

    Ctrl-C before anything was sent leaves the telescope alone; afterwards it is put back. ServerError, with the state
    of the telescope and the name of the backup in its message, where the upload did not succeed.
    """
    if not plan.changed.any() and plan.positions is None:
        return Published(plan, "nothing to do")
    if backup and os.path.exists(backup):
        raise ExistsError(f"{backup} exists; backups are never written over: give another name")
    word = password()
    if api.is_open_to_listeners:
        plan.remarks.append("the password travels unencrypted (http)")
        say(f"note: {plan.remarks[-1]}")
    settle_s = SETTLE_S if settle_s is None else settle_s
    path = ""
    with _guarded() as guard:
        try:
            # A refused login leaves no backup: the newest one stays that of the last upload.
            api.login(word)
            path = write_backup(plan.live, backup, reason)
            say(f"backup of what the telescope has: {path}")
            _send(api, plan)
            _verify(api, plan.gain, plan.phase, plan.positions)
        except KeyboardInterrupt:
            guard.closed = True
            if path:
                _restore(api, plan, path, "interrupted", settle_s)
            return Published(plan, "restored" if path else "unchanged", path, interrupted=True)
        except Exception as error:
            guard.closed = True
            if not path and isinstance(error, ServerError):
                raise ServerError(f"{error}. Nothing was sent; the telescope is as it was", error.status) from None
            if not path:
                raise
            if isinstance(error, ServerError) and error.status == 0 and _arrived(api, plan):
                plan.remarks.append(f"an answer was lost ({error}), but everything reads back as sent")
                return Published(plan, "uploaded", path)
            _restore(api, plan, path, str(error), settle_s)
            if not isinstance(error, CalibrantError):
                raise
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
    there, turn = numbers(found["gain"]), numbers(found["phase_offset"])
    if len(there) != len(gain) or len(turn) != len(phase):
        raise Mismatch(f"the telescope stored {len(there)} gains and {len(turn)} phases of {len(gain)} that were sent")
    wrong = ~((np.abs(there - gain) <= SAME_GAIN) & (np.abs(wrapped(turn - phase)) <= SAME_PHASE))
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
    if len(found) != len(positions) or not largest_shift(np.array(found, dtype=np.float64), positions) <= SAME_M:
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
            mark_undone(backup)
            return
        except (ServerError, Mismatch) as error:
            trouble = error
    raise ServerError(
        f"{why}. It is NOT KNOWN what the telescope has now: putting back failed ({trouble}). What it had is in "
        f"{backup}; when it answers again: calibrant allsky rollback --api {live.api} {backup}"
    )


@contextmanager
def _guarded() -> Iterator[Guard]:
    """The guard of a transfer, in place of the handlers of SIGINT, SIGTERM and SIGHUP."""
    guard = Guard()
    # Python allows handlers in the main thread only; elsewhere nobody raises KeyboardInterrupt either.
    main = threading.current_thread() is threading.main_thread()
    names = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if main and hasattr(signal, name)]
    before = {name: signal.signal(name, guard) for name in names}
    try:
        yield guard
    finally:
        for name, handler in before.items():
            signal.signal(name, signal.SIG_DFL if handler is None else handler)
