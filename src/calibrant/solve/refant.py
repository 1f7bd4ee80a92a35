"""The reference antenna: making phases of successive intervals comparable.

Every interval's solution has one free phase per receptor; it is fixed by making the phase of one antenna zero
(as CASA does). `flex`: where that antenna has no solution an alternate takes over and its phase is held at the last
referenced value, so that nothing jumps. `strict`: intervals without the first choice are flagged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def candidate_order(choices: list[int], position: NDArray[np.float64]) -> list[int]:
    """The user's choices, then all other antennas by distance (m) from the last of them."""
    if not choices:
        return []
    distance = np.linalg.norm(position - position[choices[-1]], axis=1)
    others = [int(ant) for ant in np.argsort(distance, kind="stable") if int(ant) not in choices]
    return list(choices) + others


def apply_refant(
    gain: NDArray[np.complex128],
    good: NDArray[np.bool_],
    candidates: list[int],
    strict: bool = False,
) -> tuple[NDArray[np.complex128], NDArray[np.bool_], NDArray[np.int32]]:
    """Reference one spectral window's solutions in time order.

    gain, good: (ntime, nant, nchan, npar). candidates: antennas in order of preference; none: nothing is changed.
    Returns gain, good (strict and channels without reference: changed), and the antenna used (ntime,), -1 for none.
    """
    gain, good = gain.copy(), good.copy()
    used = np.full(len(gain), -1, np.int32)
    if not candidates:
        return gain, good, used
    allowed = candidates[:1] if strict else candidates
    last: int | None = None  # the slot referenced before this one
    for slot in range(len(gain)):
        choice = _choose(good, slot, allowed, last, int(used[last]) if last is not None else None)
        if choice is None:
            good[slot] = False
            continue
        hold = _phasor(gain[last, choice], good[last, choice]) if last is not None else 1.0
        turn = hold * _phasor(gain[slot, choice], good[slot, choice]).conj()
        gain[slot] = np.where(good[slot], gain[slot] * turn, gain[slot])
        good[slot] &= good[slot, choice][None]
        used[slot] = choice
        last = slot
    return gain, good, used


def _phasor(gain: NDArray[np.complex128], good: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """gain/|gain|, 1 where it is not good."""
    size = np.abs(gain)
    ok = good & (size > 0)
    return np.where(ok, gain / np.where(ok, size, 1.0), 1.0)


def _shares(good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share (nant,) of the usable channels in which an antenna is good in every receptor that anybody has.

    good: (nant, nchan, npar) of one slot.
    """
    alive = np.asarray(good.any(axis=0))
    needed, channels = alive.any(axis=0), alive.any(axis=1)
    if not channels.any():
        return np.zeros(len(good))
    return np.asarray(good[:, channels][:, :, needed].all(axis=2).mean(axis=1), float)


def _choose(
    good: NDArray[np.bool_], slot: int, allowed: list[int], last: int | None, previous: int | None
) -> int | None:
    """The first candidate that is good now and was good in the slot referenced before; None if nobody is."""
    order = list(allowed)
    if previous in order[1:]:
        order.remove(previous)
        order.insert(1, previous)
    shares = _shares(good[slot])
    before = _shares(good[last]) if last is not None else shares
    best = shares[order].max()
    if best == 0:
        return None
    for ant in order:
        settled = last is None or ant == previous or before[ant] > 0
        if shares[ant] >= 0.5 * best and settled:
            return ant
    return max(order, key=lambda ant: float(shares[ant]))
