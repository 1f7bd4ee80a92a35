"""What each field is for: from scan intents, else from known flux calibrators and the observing pattern, else as told.

Roles: flux (known flux density), bandpass (bright), phase (visited between target scans), target.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import SelectionError
from calibrant.ms.index import MSIndex

ROLES = ("flux", "bandpass", "phase", "target")

INTENT_WORDS = {
    "bandpass": ("CALIBRATE_BANDPASS",),
    "flux": ("CALIBRATE_FLUX", "CALIBRATE_AMPLI"),
    "phase": ("CALIBRATE_PHASE",),
    "target": ("OBSERVE_TARGET",),
}


@dataclass
class Roles:
    """Field ids by role, and how each was found."""

    flux: list[int] = field(default_factory=list)
    bandpass: list[int] = field(default_factory=list)
    phase: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    origin: str = ""

    @property
    def calibrators(self) -> list[int]:
        return sorted({*self.flux, *self.bandpass, *self.phase})

    def names(self, index: MSIndex) -> dict[str, list[str]]:
        return {role: [label(index, f) for f in getattr(self, role)] for role in ROLES}


def label(index: MSIndex, field: int) -> str:
    """The name of a field, with its id where others have the same name."""
    name = index.fields.name[field]
    return name if list(index.fields.name).count(name) == 1 else f"{name} ({field})"


def find_roles(index: MSIndex, told: dict[str, str], standard: str) -> Roles:
    """Roles of the fields that have data. `told`: field selections by role, which win.

    Raises SelectionError naming the role that could not be found and the option that names it.
    """
    from calibrant.ms.selection import field_ids

    given = {role: field_ids(index, text) for role, text in told.items() if text}
    roles = _from_intents(index) or _from_pattern(index, standard, given)
    for role, ids in given.items():
        setattr(roles, role, ids)
        roles.origin = f"{roles.origin}; {role} as given"
    _resolve(roles, given)
    _complete(index, roles, standard)
    return roles


def fields_with_data(index: MSIndex) -> list[int]:
    return [int(f) for f in np.unique(index.field)]


def _from_intents(index: MSIndex) -> Roles | None:
    """Roles by STATE.OBS_MODE; None where the states tell nothing about calibrators."""
    pairs = np.unique(np.stack([index.state, index.field], axis=1), axis=0)
    found: dict[str, set[int]] = {role: set() for role in ROLES}
    for state, field_id in pairs.tolist():
        for intent in index.intents(state):
            for role, words in INTENT_WORDS.items():
                if intent.startswith(words):
                    found[role].add(field_id)
    if not (found["bandpass"] or found["flux"] or found["phase"]):
        return None
    calibrators = found["bandpass"] | found["flux"] | found["phase"]
    # a bandpass or flux calibrator often carries the intent PHASE too; the one visited most is the phase calibrator
    only_phase = found["phase"] - found["bandpass"] - found["flux"]
    return Roles(
        flux=sorted(found["flux"]),
        bandpass=sorted(found["bandpass"]),
        phase=sorted(only_phase or found["phase"]),
        target=sorted(found["target"] - calibrators) or sorted(found["target"]),
        origin="scan intents",
    )


def _resolve(roles: Roles, given: dict[str, list[int]]) -> None:
    """A field given as the target is no calibrator, and one given as a calibrator is no target."""
    targets = set(given.get("target", ()))
    for role in ("flux", "bandpass", "phase"):
        if role not in given:
            setattr(roles, role, [f for f in getattr(roles, role) if f not in targets])
        elif "target" not in given:
            roles.target = [f for f in roles.target if f not in given[role]]


def _from_pattern(index: MSIndex, standard: str, given: dict[str, list[int]]) -> Roles:
    """Known flux calibrators; of the rest, the target is observed longest, the phase calibrator between its scans.

    Calibrators that are given are left out of the guess; a target that is given is not guessed."""
    from calibrant.tasks.models import calibrator_of

    present = fields_with_data(index)
    known = [f for f in present if calibrator_of(index, f, standard) is not None]
    targets = given.get("target", [])
    told = {f for role, ids in given.items() if role != "target" for f in ids}
    others = [f for f in present if f not in told and (f not in known or f in targets)]
    roles = Roles(flux=known, bandpass=list(known), origin="known flux calibrators and observing pattern")
    if not others:
        return roles
    visits, seconds = _visits(index)
    codes = [f for f in others if index.fields.code[f].strip() not in ("", "NONE", "none")]
    calibrators = [f for f in codes if len(codes) < len(others) and f not in targets]
    if not calibrators and len(others) > 1:
        longest = max(targets or others, key=lambda f: seconds.get(f, 0.0))
        calibrators = [_between(longest, others, visits, seconds)]
    roles.phase = calibrators
    roles.target = [f for f in others if f not in calibrators]
    return roles


def _visits(index: MSIndex) -> tuple[NDArray[np.int64], dict[int, float]]:
    """The sequence of fields observed, and the seconds spent on each."""
    first = np.full(len(index.times), np.iinfo(np.int32).max, np.int32)
    np.minimum.at(first, index.time_id, index.field)
    changes = np.concatenate(([True], np.diff(first) != 0))
    gaps = np.diff(index.times)
    usual = float(np.median(gaps)) if len(gaps) else 1.0
    length = np.append(np.minimum(gaps, 2 * usual), usual)
    return first[changes].astype(np.int64), {int(f): float(length[first == f].sum()) for f in np.unique(first)}


def _between(longest: int, others: list[int], visits: NDArray[np.int64], seconds: dict[int, float]) -> int:
    """The field that most often stands next to the one observed longest."""
    beside = {f: 0 for f in others if f != longest}
    for left, right in zip(visits[:-1].tolist(), visits[1:].tolist(), strict=True):
        for one, other in ((left, right), (right, left)):
            if other == longest and one in beside:
                beside[one] += 1
    return max(beside, key=lambda f: (beside[f], -seconds.get(f, 0.0)))


def _complete(index: MSIndex, roles: Roles, standard: str) -> None:
    """Fill what follows from the rest: the flux calibrator must be one whose flux density is known."""
    from calibrant.tasks.models import calibrator_of

    names = ", ".join(f"{index.fields.name[f]} ({f})" for f in fields_with_data(index))
    if not roles.flux:
        known = [f for f in fields_with_data(index) if calibrator_of(index, f, standard) is not None]
        if not known:
            raise SelectionError(
                f"{index.path}: no field is a flux calibrator of {standard}; fields: {names}. "
                "Name one with --flux, or set its model with calibrant setjy and give --flux"
            )
        roles.flux = known
    if not roles.bandpass:
        roles.bandpass = list(roles.flux)
    if not roles.phase:
        roles.phase = [f for f in roles.calibrators if f not in roles.target] or list(roles.bandpass)
    if not roles.target:
        roles.target = [f for f in fields_with_data(index) if f not in roles.calibrators]
