"""Views of calibration tables that several figures share: series, hands, what failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.material import Material
from calibrant.plots.style import COLOURS

if TYPE_CHECKING:
    from calibrant.caltable.table import CalTable, SpwSolutions

FAILED_SHARE = 0.3
LOW_SNR = 5.0
MOST_CONCERNS = 8
SOLVED_KINDS = ("G Jones", "T Jones", "B Jones", "K Jones")
BOTH_HANDS = "both hands"


@dataclass(frozen=True)
class Hand:
    """One receptor that has solutions: its place on the last axis, its name, its colour."""

    place: int
    name: str
    colour: str


def usable(solutions: SpwSolutions) -> NDArray[np.bool_]:
    """(nt, nant, nchan, npar): unflagged and finite."""
    return ~solutions.flag & np.isfinite(solutions.param)


def hands(material: Material, table: CalTable) -> list[Hand]:
    """The receptors that have at least one solution in the table; T terms have one for both."""
    first = next(iter(table.spws.values()), None)
    if first is None:
        return []
    count = first.param.shape[-1]
    if count == 1:
        return [Hand(0, BOTH_HANDS, COLOURS[0])]
    names = list(material.receptors) + [f"receptor {number}" for number in range(len(material.receptors), count)]
    alive = [any(bool(usable(spw)[..., place].any()) for spw in table.spws.values()) for place in range(count)]
    found = [Hand(place, names[place], COLOURS[place]) for place in range(count) if alive[place]]
    return found or [Hand(place, names[place], COLOURS[place]) for place in range(count)]


def panel_names(table: CalTable, material: Material) -> list[str]:
    """Antenna names as panel titles, the reference antenna marked."""
    return [f"{name} (reference)" if name == material.refant else name for name in table.antenna_names]


def with_data(table: CalTable) -> NDArray[np.bool_]:
    """(nant,): antennas with at least one solution."""
    alive = np.zeros(len(table.antenna_names), bool)
    for spw in table.spws.values():
        alive |= usable(spw).any(axis=(0, 2, 3))
    return alive


def frequency_groups(table: CalTable) -> list[list[int]]:
    """Spws that share a figure: neighbours in frequency, not overlapping, gaps no wider than the windows."""
    edges = {
        spw: (float(one.freq.min()), float(one.freq.max()), float(np.abs(one.width).mean()))
        for spw, one in table.spws.items()
    }
    groups: list[list[int]] = []
    for spw in sorted(edges, key=lambda spw: edges[spw][0]):
        low, high, channel = edges[spw]
        if groups:
            before = edges[groups[-1][-1]]
            gap, wider = low - before[1], max(high - low, before[1] - before[0]) + channel
            if -channel < gap <= wider and len(groups[-1]) < 16:
                groups[-1].append(spw)
                continue
        groups.append([spw])
    return groups


def spw_words(spws: list[int]) -> str:
    """'spw 0' or 'spw 0, 1, 2'."""
    return "spw " + ", ".join(str(spw) for spw in spws)


def per_hand(material: Material, table: CalTable) -> Iterator[tuple[int, str, Hand, Any, Any]]:
    """(antenna, 'DV03 YY', hand, ok, param) of antennas that have data; ok, param: 1-d, over all spws."""
    alive = with_data(table)
    for hand in hands(material, table):
        suffix = "" if hand.name == BOTH_HANDS else f" {hand.name}"
        for antenna in np.flatnonzero(alive):
            ok = np.concatenate([usable(spw)[:, antenna, :, hand.place].ravel() for spw in table.spws.values()])
            param = np.concatenate([spw.param[:, antenna, :, hand.place].ravel() for spw in table.spws.values()])
            yield int(antenna), f"{table.antenna_names[antenna]}{suffix}", hand, ok, param


def failures(material: Material, table: CalTable) -> list[str]:
    """Sentences on antennas whose solutions failed or are weak: 'DV03 YY: 80 % of solutions failed, ...'."""
    dead = [name for name, alive in zip(table.antenna_names, with_data(table), strict=True) if not alive]
    sentences = [f"no solution at all: {', '.join(dead)}"] if dead else []
    for antenna, name, hand, ok, _ in per_hand(material, table):
        snr = np.concatenate([spw.snr[:, antenna, :, hand.place].ravel() for spw in table.spws.values()])
        kept = snr[ok & np.isfinite(snr) & (snr > 0)]
        median = float(np.median(kept)) if len(kept) else float("nan")
        failed = 1 - float(ok.mean())
        if failed >= FAILED_SHARE:
            weak = f", median SNR of the rest {median:.1f}" if np.isfinite(median) else ""
            sentences.append(f"{name}: {100 * failed:.0f} % of solutions failed{weak}")
        elif table.kind in SOLVED_KINDS and median < LOW_SNR:
            sentences.append(f"{name}: median SNR only {median:.1f}")
    return sentences


def shorten(sentences: list[str]) -> tuple[str, ...]:
    """At most eight sentences; the last says how many more there are."""
    if len(sentences) <= MOST_CONCERNS:
        return tuple(sentences)
    return (*sentences[:MOST_CONCERNS], f"and {len(sentences) - MOST_CONCERNS} more of this kind")


def outliers(values: dict[str, float], share: float, what: str, unit: str = "") -> list[str]:
    """Names whose value lies more than `share` of the median (and 6 MAD) off the median of all."""
    numbers = np.array(list(values.values()))
    if len(numbers) < 4:
        return []
    middle = float(np.nanmedian(numbers))
    reach = max(share * abs(middle), 6 * 1.4826 * float(np.nanmedian(np.abs(numbers - middle))))
    return [
        f"{name}: {what} {value:.3g}{unit}, the others about {middle:.3g}{unit}"
        for name, value in values.items()
        if abs(value - middle) > reach
    ]
