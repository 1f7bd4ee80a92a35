"""Antenna delays in nanoseconds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.solutions import BOTH_HANDS, failures, hands, per_hand, shorten, usable
from calibrant.plots.style import BAD, MARKERS, key, new_figure, place
from calibrant.plots.ticks import span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calibrant.caltable.table import CalTable

LARGE_NS = 20.0
SPREAD_NS = 1.0
LOOK_FOR = (
    "Delays of a few nanoseconds, alike in both hands and all spws, with the reference antenna at zero. Suspicious: "
    "one antenna far from all others, hands or times that disagree."
)


def concerns(material: Material, table: CalTable) -> tuple[str, ...]:
    """Large delays, and delays that change between times or spws."""
    sentences = failures(material, table)
    for _, name, _, ok, param in per_hand(material, table):
        delays = param[ok].real
        if not len(delays):
            continue
        if np.abs(np.median(delays)) > LARGE_NS:
            sentences.append(f"{name}: delay of {np.median(delays):.1f} ns")
        if np.ptp(delays) > SPREAD_NS:
            sentences.append(f"{name}: delays differ by {np.ptp(delays):.1f} ns between times or spws")
    return shorten(sentences)


def draw(material: Material, role: str, table: CalTable) -> Figure:
    """Delay (ns) of every antenna; colour is the hand, the marker the spw."""
    count = len(table.antenna_names)
    crowded = count > 16
    figure = new_figure(3.7 if crowded else 3.3, f"Delay · {role}")
    axes = figure.subplots()
    place(figure, top=0.5, bottom=0.9 if crowded else 0.55)
    found = hands(material, table)
    alive = np.zeros(count, bool)
    marks = {spw: MARKERS[number % len(MARKERS)] for number, spw in enumerate(table.spws)}
    everything = []
    for spw, one in table.spws.items():
        ok = usable(one)
        alive |= ok.any(axis=(0, 2, 3))
        for level, hand in enumerate(found):
            slot, antenna, _ = np.nonzero(ok[..., hand.place])
            shift = 0.24 * (level - (len(found) - 1) / 2)
            values = one.param[slot, antenna, 0, hand.place].real
            everything.append(values)
            axes.plot(antenna + shift, values, marks[spw], color=hand.colour, ms=5, alpha=0.8)
    for dead in np.flatnonzero(~alive).tolist():
        axes.axvspan(dead - 0.5, dead + 0.5, color=BAD, zorder=0)
    axes.axhline(0, color="#999999", lw=0.8)
    axes.set_ylim(*span(np.concatenate([*everything, [0.0]]), 0.12))
    axes.set_xlim(-0.6, count - 0.4)
    names = [f"{name}*" if name == material.refant else name for name in table.antenna_names]
    axes.set_xticks(np.arange(count), names, rotation=60 if crowded else 0, fontsize=8 if count <= 40 else 7)
    axes.set(ylabel="delay (ns)", xlabel="antenna (* reference; shaded: no solution)")
    entries = [(hand.name, hand.colour, "s") for hand in found if hand.name != BOTH_HANDS]
    key(figure, [*entries, *((f"spw {spw}", "#555555", mark) for spw, mark in list(marks.items())[:8])], columns=10)
    return figure


def make(material: Material) -> Iterator[Drawing]:
    """One drawing for each delay table."""
    for role, table in material.tables("K Jones"):
        yield Drawing(
            name=f"delay-{role}",
            title=f"Delay · {role}",
            caption=LOOK_FOR,
            alt="Delay of each antenna in nanoseconds",
            draw=partial(draw, material, role, table),
            concerns=concerns(material, table),
        )


PLOT = Plot("delay", "delay", "Delay", "The run solved for no delays.", make)
