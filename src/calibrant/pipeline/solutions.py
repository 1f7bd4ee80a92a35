"""Reading solutions as a person does: which failed and why, and which antennas they show to be bad."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.caltable.table import CalTable, SpwSolutions
from calibrant.pipeline.result import FailedSolutions
from calibrant.solve.outcome import SENTENCES, Outcome

MAX_FAILED = 0.5
"""An antenna's receptor is bad where more than this share of its phase solutions fail."""
AMPLITUDE_RANGE = 4.0
"""... or where its gain differs from the array's median by more than this factor."""
MAX_SCATTER = 0.6
"""... or where its phase scatters by more than this (rad) from one integration to the next within scans."""
SCATTER_RATIO = 4.0
"""(and by this factor more than the array's median)."""


@dataclass(frozen=True)
class BadAntenna:
    """An antenna's receptor in one spw that should be flagged; receptor 0 or 1; scan -1: all."""

    antenna: int
    spw: int
    receptor: int
    reason: str


def failed_solutions(
    name: str, table: CalTable, observed: NDArray[np.bool_], scale: str = "UTC"
) -> list[FailedSolutions]:
    """Failures of a table by outcome, most frequent first. observed (nant,): antennas that have data at all;
    scale: of the times."""
    counts: dict[Outcome, int] = defaultdict(int)
    where: dict[Outcome, tuple[set[str], set[int], str]] = {}
    for spw, sol in table.spws.items():
        if sol.outcome is None:
            continue
        for code in np.unique(sol.outcome).tolist():
            outcome = Outcome(code)
            if outcome in (Outcome.CONVERGED, Outcome.FILLED):
                continue
            hit = (sol.outcome == code) & observed[None, :, None, None]
            if outcome == Outcome.NO_DATA:  # channels that are flagged for everybody are no news
                hit &= (sol.outcome != code).any(axis=(1, 3), keepdims=True)
            if not hit.any():
                continue
            antennas = {table.antenna_names[a] for a in np.flatnonzero(hit.any(axis=(0, 2, 3)))}
            slot, ant, _, par = (int(v[0]) for v in np.nonzero(hit))
            example = f"{table.antenna_names[ant]} receptor {par}, spw {spw}, {_clock(sol.time[slot])} {scale}"
            names, spws, first = where.get(outcome, (set(), set(), example))
            where[outcome] = (names | antennas, spws | {spw}, first)
            counts[outcome] += int(hit.sum())
    result = []
    for outcome, count in sorted(counts.items(), key=lambda item: -item[1]):
        names, spws, example = where[outcome]
        result.append(
            FailedSolutions(os.path.basename(name), SENTENCES[outcome], count, sorted(names), sorted(spws), example)
        )
    return result


def _clock(mjd_seconds: float) -> str:
    seconds = round(mjd_seconds % 86400)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def bad_antennas(phase: CalTable, amplitude: CalTable) -> list[BadAntenna]:
    """Receptors that the phase and amplitude solutions show to be bad, each with the reason."""
    found: dict[tuple[int, int, int], str] = {}
    for spw, sol in phase.spws.items():
        found |= {(ant, spw, par): why for (ant, par), why in _failing(sol).items()}
        found |= {(ant, spw, par): why for (ant, par), why in _jumping(sol).items()}
    for spw, sol in amplitude.spws.items():
        found |= {(ant, spw, par): why for (ant, par), why in _off_scale(sol).items()}
    return [BadAntenna(ant, spw, par, why) for (ant, spw, par), why in sorted(found.items())]


def _failing(sol: SpwSolutions) -> dict[tuple[int, int], str]:
    no_data = np.zeros_like(sol.flag) if sol.outcome is None else sol.outcome == Outcome.NO_DATA
    tried = (~no_data).sum(axis=(0, 2))
    failed = (sol.flag & ~no_data).sum(axis=(0, 2))
    share = failed / np.maximum(tried, 1)
    return {
        (int(a), int(p)): f"{100 * share[a, p]:.0f} % of its phase solutions fail"
        for a, p in zip(*np.nonzero((share > MAX_FAILED) & (tried > 0)), strict=True)
    }


def _jumping(sol: SpwSolutions) -> dict[tuple[int, int], str]:
    """Phases that scatter far more than those of the other antennas from one solution to the next."""
    same = (np.diff(sol.scan) == 0) & (np.diff(sol.field) == 0)
    if same.sum() < 4:
        return {}
    step = np.angle(sol.param[1:, :, 0] * sol.param[:-1, :, 0].conj())[same]
    good = ~(sol.flag[1:, :, 0] | sol.flag[:-1, :, 0])[same]
    step = np.where(good, step, np.nan)
    # what most antennas do at once is the reference antenna's doing
    step = np.angle(np.exp(1j * (step - _median(step)[:, None])))
    enough = good.sum(axis=0) >= 4
    scatter = np.zeros(enough.shape)
    scatter[enough] = np.sqrt(np.nanmean(step[:, enough] ** 2, axis=0)) / np.sqrt(2)
    usual = np.median(scatter[enough]) if enough.any() else 0.0
    bad = enough & (scatter > MAX_SCATTER) & (scatter > SCATTER_RATIO * usual)
    return {
        (int(a), int(p)): f"its phase jumps by {np.degrees(scatter[a, p]):.0f} deg rms between integrations"
        for a, p in zip(*np.nonzero(bad), strict=True)
    }


def _median(step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over antennas (axis 1) of phase steps (rad) around their mean direction; 0 where there are none."""
    turned = np.where(np.isfinite(step), np.exp(1j * np.nan_to_num(step)), 0.0)
    middle = np.angle(turned.sum(axis=1))
    around = np.angle(np.exp(1j * (step - middle[:, None])))
    usable = np.isfinite(around).any(axis=1)
    result = np.zeros_like(middle)
    if usable.any():
        rest = np.nanmedian(np.where(usable[:, None], around, 0.0), axis=1)
        result[usable] = (middle + rest)[usable]
    return result


def _off_scale(sol: SpwSolutions) -> dict[tuple[int, int], str]:
    size = np.where(sol.flag, np.nan, np.abs(sol.param))[:, :, 0]
    enough = np.isfinite(size).any(axis=0)
    typical: NDArray[np.float64] = np.full(enough.shape, np.nan)
    typical[enough] = np.nanmedian(size[:, enough], axis=0)
    if not enough.any():
        return {}
    middle = np.nanmedian(typical)
    ratio = typical / middle
    bad = enough & ((ratio > AMPLITUDE_RANGE) | (ratio < 1 / AMPLITUDE_RANGE))
    return {
        (int(a), int(p)): f"its gain is {ratio[a, p]:.2g} times that of the others"
        for a, p in zip(*np.nonzero(bad), strict=True)
    }
