"""Gain phase against time, one panel an antenna."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.bandpass_phase import degrees
from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.series import GAIN_KINDS, PHASE_SOLVED, changes_in, draw_series
from calibrant.plots.solutions import BOTH_HANDS, failures, hands, shorten, usable
from calibrant.plots.ticks import phase_limit

if TYPE_CHECKING:
    from calibrant.caltable.table import CalTable

JUMP_DEGREES = 60.0
LOOK_FOR = (
    "Phases that drift slowly and alike in both hands, so that they can be interpolated in time; the reference antenna "
    "is at zero. Strokes on the floor are solutions that failed. Suspicious: phases that jump from point to point "
    "(noise, or the atmosphere is faster than the solutions), hands that part, sudden steps."
)


def concerns(material: Material, table: CalTable) -> tuple[str, ...]:
    """Failed solutions, and antennas whose phase is not followed from one solution to the next."""
    sentences = failures(material, table)
    for hand in hands(material, table):
        for antenna, name in enumerate(table.antenna_names):
            jumps = []
            for spw in table.spws.values():
                ok = usable(spw)[:, antenna, 0, hand.place]
                gain, scan, field = spw.param[ok, antenna, 0, hand.place], spw.scan[ok], spw.field[ok]
                near = field[1:] == field[:-1]
                if len(np.unique(scan)) < len(scan):
                    near &= scan[1:] == scan[:-1]
                jumps.append(np.abs(degrees(gain[1:] * gain[:-1].conj()))[near])
            steps = np.concatenate(jumps)
            if len(steps) >= 3 and np.median(steps) > JUMP_DEGREES:
                label = name if hand.name == BOTH_HANDS else f"{name} {hand.name}"
                sentences.append(f"{label}: phase jumps by {np.median(steps):.0f}° between neighbouring solutions")
    return shorten(sentences)


def make(material: Material) -> Iterator[Drawing]:
    """One drawing for each spw of each gain table in which phases were solved."""
    for role, table in material.tables(*GAIN_KINDS):
        if not changes_in(degrees, table, PHASE_SOLVED):
            continue
        every = [degrees(spw.param[usable(spw)]) for spw in table.spws.values()]
        limit = phase_limit(np.concatenate(every))
        for number, spw in enumerate(table.spws):
            title = f"Phase against time · {role} · spw {spw}"
            yield Drawing(
                name=f"gain-phase-{role}-{spw}",
                title=title,
                caption=LOOK_FOR,
                alt=f"Gain phase against time, one panel for each antenna, table {role}, spw {spw}",
                draw=partial(
                    draw_series, material, table, spw, title, "phase (degrees)", degrees, (-limit, limit), True
                ),
                concerns=concerns(material, table) if number == 0 else (),
            )


PLOT = Plot("gain_phase", "gains", "Phase against time", "The run solved for no phases against time.", make)
