"""FITS header of a calibration frame: what was asked, what was measured, what shone, and whose plan it was.

| keyword | meaning |
|---|---|
| IMAGETYP, OBJECT | bias, dark, flat, arc or object; the lamp or source, else the kind |
| EXPREQ, EXPTIME | seconds asked for, and measured |
| DATE-BEG, DATE-END | shutter open and shut, UTC |
| LAMPn, LMPnBEG, LMPnEND, LMPnMIN | name, state at start and end, minutes on at the end, of every lamp |
| CALSEQ, CALSTEP, CALKEY, CALPLAN, CALRUN | sequence, number of the step, key of the frame, plan's hash, run |
| CALIBFIB | where the mask stood, if at one place only; else the table MASK tells |
| SIMULATE | T for frames of a simulation: never to be taken for data |
| CALDRV, CALSOFT | driver; versions of the software |

As an option the lamps also stand as LVM writes them: ARGON ... XENON = 'ON', 'OFF' or '?'.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from calibrant.acquire.devices import CaptureSpec, Frame, LightState

Card = tuple[str, Any, str]
"""Keyword, value, comment."""

LVM_LAMPS = ("Argon", "Neon", "LDLS", "Quartz", "HgNe", "Xenon")


@dataclass(frozen=True)
class LampRecord:
    """A lamp as it was read from the device at the start and at the end of an integration."""

    name: str
    begin: LightState
    end: LightState
    minutes_on: float = 0.0
    """At the end of the integration; 0 where it is off."""


@dataclass(frozen=True)
class StoreContext:
    """Where a frame goes, and what its header says about the run."""

    directory: Path
    sequence: str
    step: int = 0
    plan_hash: str = ""
    run_id: str = ""
    observatory: str = ""
    driver: str = ""
    simulated: bool = False
    speed: float = 1.0
    """Of the simulation: stamps are real seconds, times in the MASK table nominal ones."""
    lamps: Sequence[LampRecord] = ()
    mask: Sequence[tuple[str, float, float]] = ()
    """(place, from, to) of the mask's stands during the integration; UTC, seconds since 1970."""
    lvm_keywords: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    header: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    """More of the caller's own: keyword -> (value, comment)."""
    attempt: int = 1
    """2, 3, ... for a frame taken again: the file before stays, this one gets another name."""


def frame_header(frame: Frame, spec: CaptureSpec, context: StoreContext) -> list[Card]:
    """The cards in order, each keyword once. The instrument's own stand last; they never replace ours."""
    cards: list[Card] = [
        ("IMAGETYP", spec.kind, "bias, dark, flat, arc or object"),
        ("OBJECT", spec.object or spec.kind, "lamp or source"),
        ("EXPTIME", frame.exposure_s, "[s] exposure time, measured"),
        ("EXPREQ", spec.exposure_s, "[s] exposure time, requested"),
        ("TIMESYS", "UTC", ""),
        ("DATE-BEG", iso(frame.begin), "shutter opened"),
        ("DATE-END", iso(frame.end), "shutter closed"),
        ("OBSERVAT", context.observatory, "inventory"),
        ("CAMERA", frame.camera, ""),
        ("CALSEQ", context.sequence, "sequence"),
        ("CALSTEP", context.step, "number of the step in its plan"),
        ("CALKEY", spec.key, "frame within the plan"),
        ("CALTRY", context.attempt, "attempt at this frame"),
        ("CALPLAN", context.plan_hash, "hash of the plan"),
        ("CALRUN", context.run_id, "run"),
        ("CALDRV", context.driver, "driver"),
        ("CALSOFT", "; ".join(f"{name} {version}" for name, version in context.versions.items()), "software"),
        ("SIMULATE", context.simulated, "T: a simulation, not data"),
        *_lamp_cards(context.lamps),
        *(_lvm_cards(context.lamps) if context.lvm_keywords else ()),
        *_mask_cards(context.mask),
    ]
    cards += [(key, *value) for key, value in {**context.header, **frame.header}.items()]
    return list({keyword(key): (keyword(key), _value(value), _ascii(comment)) for key, value, comment in cards[::-1]}
                .values())[::-1]  # fmt: skip


def mask_rows(frame: Frame, context: StoreContext) -> list[tuple[str, float, float]]:
    """(place, t0, t1) in nominal seconds from DATE-BEG; empty where the mask did not move."""
    if len(context.mask) < 2:
        return []
    return [
        (place, (begin - frame.begin) * context.speed, (end - frame.begin) * context.speed)
        for place, begin, end in context.mask
    ]


def iso(utc: float) -> str:
    """UTC seconds since 1970 as FITS writes a date, to the millisecond."""
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")


def keyword(name: str) -> str:
    """A FITS keyword: as it is where it fits, otherwise HIERARCH."""
    name = name.upper().removeprefix("HIERARCH ")
    return name if re.fullmatch(r"[A-Z0-9_-]{1,8}", name) else f"HIERARCH {_ascii(name)}"


def _lamp_cards(lamps: Iterable[LampRecord]) -> list[Card]:
    cards: list[Card] = []
    for number, lamp in enumerate(lamps, 1):
        cards += [
            (f"LAMP{number}", lamp.name, ""),
            (f"LMP{number}BEG", str(lamp.begin), "state when the shutter opened"),
            (f"LMP{number}END", str(lamp.end), "state when the shutter closed"),
            (f"LMP{number}MIN", round(lamp.minutes_on, 3), "[min] on, at the end"),
        ]
    return cards


def _lvm_cards(lamps: Iterable[LampRecord]) -> list[Card]:
    """LVM's six lamps: ON or OFF only where the lamp was so at the start and at the end."""
    known = {lamp.name.lower(): lamp for lamp in lamps}
    lit = (LightState.ON, LightState.WARMING)
    cards: list[Card] = []
    for name in LVM_LAMPS:
        lamp, state = known.get(name.lower()), "?"
        if lamp is not None and lamp.begin in lit and lamp.end in lit:
            state = "ON"
        elif lamp is not None and lamp.begin == lamp.end == LightState.OFF:
            state = "OFF"
        cards.append((name.upper(), state, "lamp, as LVM writes it"))
    return cards


def _mask_cards(mask: Sequence[tuple[str, float, float]]) -> list[Card]:
    if not mask:
        return []
    place = mask[0][0] if len(mask) == 1 else "several"
    return [("CALIBFIB", place, "place of the mask" if len(mask) == 1 else "see the table MASK")]


def _value(value: Any) -> bool | int | float | str:
    """As FITS can have it."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _ascii(str(value))


def _ascii(text: str) -> str:
    """FITS has printable ASCII only."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)
