"""Where the fibre mask goes during exposures, and which of its places the exposure leaves out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from calibrant.acquire.inventory import Inventory, Mask
from calibrant.acquire.plan import MaskMove
from calibrant.acquire.sequence import Fibsel

_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Program:
    """One exposure's worth of mask: where it stands before, where it goes, and how long the exposure is."""

    start: str
    moves: tuple[MaskMove, ...]
    exposure_s: float


@dataclass(frozen=True)
class Coverage:
    """What becomes of the places in one exposure."""

    needed_s: float
    moves: int
    lost: tuple[str, ...]
    """Places that the exposure never reaches."""
    cut: tuple[str, float] | None
    """The place at which the exposure ends too early, and the seconds it gets."""


class Refused(Exception):
    """The mask cannot do it; the message says where and why."""


def places(fibsel: Fibsel, mask: Mask, inventory: Inventory) -> tuple[list[str], list[str]]:
    """The places in order, and warnings. A pattern matches the beginning of names, sorted by motor step."""
    wanted = mask.default_positions if fibsel.positions is None else fibsel.positions
    if isinstance(wanted, list):
        for name in wanted:
            _known(name, mask, inventory, "positions")
        return list(wanted), []
    match = re.fullmatch if fibsel.anchored else re.match
    found = sorted((name for name in mask.places if match(wanted, name)), key=lambda name: mask.places[name])
    if not found:
        how = "is the whole of no place's name" if fibsel.anchored else "begins no place's name"
        raise Refused(f"positions: {wanted!r} {how}; the mask has {', '.join(mask.places)}")
    if wanted in mask.places and len(found) > 1:
        listed = ", ".join(found)
        advice = f"anchored: true, or positions: [{wanted}], means {wanted} alone"
        return found, [f"positions: {wanted!r} matches {len(found)} places ({listed}): {advice}"]
    return found, []


def initial(fibsel: Fibsel, names: list[str], mask: Mask, inventory: Inventory) -> str:
    """Where the mask is put before: as given; the inventory's default if a pattern includes it; else the first."""
    if fibsel.initial_position is not None:
        _known(fibsel.initial_position, mask, inventory, "initial_position")
        return fibsel.initial_position
    if not isinstance(fibsel.positions, list) and mask.default_initial in names:
        return mask.default_initial
    return names[0]


def _known(name: str, mask: Mask, inventory: Inventory, key: str) -> None:
    if name not in mask.places:
        raise Refused(f"{key}: {inventory.unknown('mask place', name, list(mask.places))}")


def programs(fibsel: Fibsel, exposure_s: float, inventory: Inventory) -> tuple[list[Program], list[str]]:
    """The exposures that one exposure time becomes (one; one for each place with `motion: between`), and warnings."""
    mask = inventory.mask
    if mask is None:
        raise Refused(f"inventory {inventory.name!r} has no mask")
    names, warnings = places(fibsel, mask, inventory)
    if fibsel.motion == "between":
        return [Program(name, (MaskMove(name, exposure_s),), exposure_s) for name in names], warnings
    start = initial(fibsel, names, mask, inventory)
    dwell = fibsel.time_per_position or exposure_s / len(names)
    found = coverage(names, start, dwell, mask.move_s, exposure_s)
    if found.needed_s > exposure_s + _ROUNDING_S:
        text = _sentence(found, names, dwell, mask.move_s, exposure_s)
        if fibsel.coverage == "require":
            raise Refused(text)
        if fibsel.coverage == "stretch":
            exposure_s = found.needed_s
        else:
            warnings.append(text)
    return [Program(start, tuple(MaskMove(name, dwell) for name in names), exposure_s)], warnings


def coverage(names: list[str], start: str, dwell_s: float, move_s: float, exposure_s: float) -> Coverage:
    """Follow the mask through the exposure; a move to where it stands already takes no time."""
    now, at, moves = 0.0, start, 0
    lost: list[str] = []
    cut: tuple[str, float] | None = None
    for name in names:
        moves += name != at
        now += move_s if name != at else 0.0
        if now >= exposure_s - _ROUNDING_S:
            lost.append(name)
        elif now + dwell_s > exposure_s + _ROUNDING_S:
            cut = (name, exposure_s - now)
        now, at = now + dwell_s, name
    return Coverage(now, moves, tuple(lost), cut)


def _sentence(found: Coverage, names: list[str], dwell: float, move_s: float, exposure_s: float) -> str:
    missed = [f"{', '.join(found.lost)} never exposed"] if found.lost else []
    if found.cut:
        missed.append(f"{found.cut[0]} only {found.cut[1]:.3g} s")
    fits = (exposure_s - found.moves * move_s) / len(names)
    shorter = f"time_per_position at most {fits:.3g}, " if fits > 0 else ""
    return (
        f"{len(names)} places of {dwell:g} s and {found.moves} moves of {move_s:g} s take {found.needed_s:g} s, "
        f"the exposure {exposure_s:g} s: {'; '.join(missed)}. "
        f"Set {shorter}the exposure to {found.needed_s:g} s, or coverage: stretch"
    )
