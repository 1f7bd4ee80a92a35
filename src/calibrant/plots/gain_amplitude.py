"""Gain amplitude against time, one panel an antenna."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.bandpass_phase import degrees
from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.series import GAIN_KINDS, PHASE_SOLVED, changes_in, draw_series, field_names
from calibrant.plots.solutions import failures, per_hand, shorten, usable
from calibrant.plots.ticks import amplitude_span

if TYPE_CHECKING:
    from calibrant.caltable.table import CalTable

LARGE_CHANGE = 0.5
SAME_LEVEL = 1.3
LOOK_FOR = (
    "Amplitudes steady in time, alike in both hands. Fields are drawn over their own "
    "medians where these differ, as they do before the flux scale is set. Suspicious: amplitudes that fall or jump "
    "(pointing, shadowing, weather), points far from their neighbours, an antenna at a level of its own."
)


def concerns(material: Material, table: CalTable) -> tuple[str, ...]:
    """Failed solutions, and antennas whose amplitude changes much within one field and spw."""
    # where phases were solved too, the phase figure names the failures
    sentences = [] if changes_in(degrees, table, PHASE_SOLVED) else failures(material, table)
    worst: dict[str, float] = {}
    for antenna, name, hand, _, _ in per_hand(material, table):
        for spw in table.spws.values():
            ok = usable(spw)[:, antenna, 0, hand.place]
            amplitude, field = np.abs(spw.param[ok, antenna, 0, hand.place]), spw.field[ok]
            for one in np.unique(field):
                values = amplitude[field == one]
                if len(values) > 1:
                    change = float(np.ptp(values) / np.median(values))
                    worst[name] = max(worst.get(name, 0.0), change)
    sentences += [
        f"{name}: amplitude changes by {100 * change:.0f} % within one field"
        for name, change in worst.items()
        if change > LARGE_CHANGE
    ]
    return shorten(sentences)


def field_levels(table: CalTable) -> dict[int, float]:
    """Median amplitude of each field over everything else."""
    levels = {}
    for field in field_names(table):
        mine = [np.abs(spw.param[spw.field == field])[usable(spw)[spw.field == field]] for spw in table.spws.values()]
        values = np.concatenate([one.ravel() for one in mine])
        if len(values) and np.median(values) > 0:
            levels[field] = float(np.median(values))
    return levels


def scale(level: dict[int, float], field: NDArray[np.int32], gain: Any) -> Any:
    """Amplitude (nt, ...) over the level of its field; the amplitude itself where there are no levels."""
    divisor = np.array([level.get(int(one), 1.0) for one in field])
    return np.abs(gain) / divisor.reshape(-1, *[1] * (np.ndim(gain) - 1))


def medians(table: CalTable, level: dict[int, float]) -> str:
    """The levels in words: ' Medians: 3C286 0.26, ...'; empty where amplitudes are drawn as they are."""
    if not level:
        return ""
    names = field_names(table)
    return " Medians: " + ", ".join(f"{names[field]} {value:.4g}" for field, value in level.items()) + "."


def make(material: Material) -> Iterator[Drawing]:
    """One drawing for each spw of each gain table in which amplitudes were solved."""
    for role, table in material.tables(*GAIN_KINDS):
        if not changes_in(np.abs, table, 1e-5):
            continue
        level = field_levels(table)
        if max(level.values()) < SAME_LEVEL * min(level.values()):
            level = {}
        ylabel = "amplitude / median of the field" if level else "gain amplitude"
        scaled = [scale(level, spw.field, np.abs(spw.param))[usable(spw)] for spw in table.spws.values()]
        ylim = amplitude_span(np.concatenate(scaled))
        for number, spw in enumerate(table.spws):
            title = f"Amplitude against time · {role} · spw {spw}"
            yield Drawing(
                name=f"gain-amplitude-{role}-{spw}",
                title=title,
                caption=LOOK_FOR + medians(table, level),
                alt=f"Gain amplitude against time, one panel for each antenna, table {role}, spw {spw}",
                draw=partial(
                    draw_series, material, table, spw, title, ylabel,
                    partial(scale, level, table.spws[spw].field), ylim, False,
                ),
                concerns=concerns(material, table) if number == 0 else (),
            )  # fmt: skip


PLOT = Plot("gain_amplitude", "gains", "Amplitude against time", "The run solved for no amplitudes against time.", make)
