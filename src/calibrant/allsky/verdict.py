"""Can these gains be uploaded? Said in words, from what the solution did not see and from a sky that is not there.

Where the limits come from, in held-out power:

- right skies: 0.91 (Dunedin 2019), 0.998 (simulated).
- 78 wrong skies made of three files (azimuths shuffled; satellites moved as in 15 minutes and an hour), all
  orientations tried for each: 0.12 to 0.46; 0.34 at most of those that stayed within 6 deg of the positions.
- Rhodes 2022, whose positions are mirrored and turned: 0.52 when put right. It then leaves 0.65 of what the next best
  orientation leaves unexplained; of wrong skies the best orientation leaves 0.78 or more.
- skies of 2 to 6 sources: a wrong one explains up to 0.96, as one strong source fits in any direction; it is told by
  the number of sources found and by shuffled skies that explain as much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibrant.allsky.calibration import Calibration

GOOD, CHECK, NO = "good", "check", "do not upload"
GOOD_POWER, POOR_POWER = 0.75, 0.5
"""Held-out power of a calibration, and the least that is not forbidden."""
OF_NULL = 0.75
"""The true sky must leave less than this share of the power that a shuffled one leaves unexplained."""
OF_NULL_OF_FEW, FEW_FOUND = 0.5, 3
"""The same where fewer sources than this were found: two fit many a wrong sky."""
OF_RIVAL = 0.72
"""An orientation is recognised where it leaves less than this share of what the next best leaves unexplained."""
TURNED_DEG = 5.0
"""A larger rotation means that the antenna positions are wrong, and gains belong to positions."""
FEW_STARTS = 2
SHARP_DEG = 10.0
"""Phases less certain than this do not make an image."""
SPARE = 0.5
"""Fewer spare data for every unknown, and the held-out power says little."""


@dataclass(frozen=True)
class Verdict:
    """`verdict`: good, check or do not upload; `reasons`: sentences, the weightiest first."""

    verdict: str
    reasons: tuple[str, ...]


def judge(result: Calibration) -> Verdict:
    """The verdict on a calibration."""
    against = _against(result)
    doubts = _doubts(result)
    word = NO if against else CHECK if doubts else GOOD
    return Verdict(word, (*against, *doubts, *_support(result), *result.notes))


def _percent(power: float) -> str:
    return f"{100 * max(power, 0.0):.0f} %"


def _recognised(result: Calibration) -> bool:
    """Whether the antennas are clearly oriented otherwise than their positions say."""
    moved = result.mirror or abs(result.rotation_deg) > TURNED_DEG
    clear = not math.isfinite(result.rival_power) or 1 - result.power < OF_RIVAL * (1 - result.rival_power)
    return moved and clear and not _like_null(result)


def _like_null(result: Calibration) -> bool:
    null, share = result.null_power, OF_NULL if len(_heard(result)) >= FEW_FOUND else OF_NULL_OF_FEW
    return math.isfinite(null) and 1 - result.held_out_power > share * (1 - max(null, 0.0))


def _heard(result: Calibration) -> set[str]:
    return {source.name for source in result.sources if source.state == "found"}


def _agreeing(result: Calibration) -> int:
    return round(result.agreement * result.starts)


def _against(result: Calibration) -> list[str]:
    """What forbids an upload."""
    reasons = [*_orientation_wrong(result), *_sky_wrong(result)]
    lost = {source.name for source in result.sources if source.given} - _heard(result)
    if lost:
        names = ", ".join(sorted(lost))
        reasons.append(f"The given source {names} was not found: is it on, and where it is said to be?")
    heard, listed = _heard(result), {source.name for source in result.sources if source.name.lower() != "sun"}
    known = {source.name for source in result.sources if source.given or math.isfinite(source.r_m)}
    if len(heard) == 1 and len(listed) > 1 and not heard & known:
        reasons.append(
            f"Only one of {len(listed)} sources was found, and one source fits in any direction: nothing shows that it "
            f"is {min(heard)!r}. If it is yours, say where it is with --source."
        )
    used = sum(antenna.state in ("good", "weak") for antenna in result.antennas)
    if used < len(result.antennas) / 2:
        reasons.append(f"Only {used} of {len(result.antennas)} antennas have a solution; look at the others first.")
    return reasons


def _orientation_wrong(result: Calibration) -> list[str]:
    if not _recognised(result):
        return []
    how = "mirrored east to west and " if result.mirror else ""
    rival = f" (next best {_percent(result.rival_power)})" if math.isfinite(result.rival_power) else ""
    return [
        f"The sky fits only with the antennas {how}turned by {result.rotation_deg:.1f} deg; then it explains "
        f"{_percent(result.power)} of the power{rival}. The positions in the telescope are wrong: correct them and "
        "calibrate again, or upload positions and gains together (upload with --positions --force)."
    ]


def _sky_wrong(result: Calibration) -> list[str]:
    held, reasons = result.held_out_power, []
    if held < POOR_POWER:
        reasons.append(
            f"The sky explains {_percent(held)} of the power on baselines that were left out; a calibration explains "
            f"{_percent(GOOD_POWER)} or more. Is the catalogue that of this time and place? Are the positions right? "
            "Is there interference?"
        )
    if _like_null(result):
        reasons.append(
            f"A sky with shuffled azimuths explains {_percent(result.null_power)} of that power, nearly as much: "
            "these sources are not what the array sees."
        )
    moved = result.mirror or abs(result.rotation_deg) > TURNED_DEG
    if not reasons and moved and not _recognised(result):
        reasons.append(
            f"The antennas were turned by {result.rotation_deg:.1f} deg{' and mirrored' if result.mirror else ''} to "
            f"fit, but another orientation explains nearly as much ({_percent(result.rival_power)}): none is certain."
        )
    if _agreeing(result) < FEW_STARTS and held < GOOD_POWER:
        reasons.append(
            f"Only {_agreeing(result)} of {result.starts} random starts came to this solution; another run may find "
            "another. Take more snapshots."
        )
    return reasons


def _doubts(result: Calibration) -> list[str]:
    """What a person should look at before an upload."""
    reasons = []
    if POOR_POWER <= result.held_out_power < GOOD_POWER:
        reasons.append(
            f"The sky explains {_percent(result.held_out_power)} of the power on baselines that were left out: "
            "something else is in the data, or something is not in the catalogue."
        )
    if _agreeing(result) < FEW_STARTS and result.held_out_power >= GOOD_POWER:
        reasons.append(
            f"Only {_agreeing(result)} of {result.starts} random starts came to this solution. Take more snapshots."
        )
    errors = np.array([antenna.phase_err for antenna in result.antennas])
    if np.isfinite(errors).any() and np.degrees(np.nanmax(errors)) > SHARP_DEG:
        worst = int(np.nanargmax(errors))
        reasons.append(f"The phase of antenna {worst} is known to {np.degrees(errors[worst]):.0f} deg only.")
    if result.unknowns > 0 and result.degrees < SPARE * result.unknowns:
        reasons.append(
            f"There are {result.degrees + result.unknowns} data for {result.unknowns} unknowns, too few to be sure of "
            "anything: take more snapshots, or fewer sources (--elevation)."
        )
    return reasons


def _support(result: Calibration) -> list[str]:
    """What was found, in sentences."""
    found = sorted(_heard(result))
    silent = {source.name for source in result.sources} - set(found)
    null = f"; a shuffled sky {_percent(result.null_power)}." if math.isfinite(result.null_power) else "."
    reasons = [
        f"The model explains {100 * result.held_out_power:.1f} % of the power on baselines that were left out "
        f"({100 * result.power:.1f} % in sample){null}",
        f"{_agreeing(result)} of {result.starts} random starts agree.",
        f"{len(found)} source(s) found, {len(silent)} silent.",
    ]
    if len(found) == 1:
        reasons.append(
            f"With one source the data cannot show an error of its position: 1 deg of direction is about "
            f"{_degree_costs(result):.0f} deg of phase. Is {found[0]!r} where it is said to be?"
        )
    for state, words in (("dead", "no signal"), ("missing", "no visibilities"), ("weak", "a weak signal")):
        numbers = [str(antenna.number) for antenna in result.antennas if antenna.state == state]
        if numbers:
            reasons.append(f"Antenna{'s' * (len(numbers) > 1)} {', '.join(numbers)}: {words}.")
    return reasons


def _degree_costs(result: Calibration) -> float:
    """Rms phase error, over the antennas, of a source one degree from where it is said to be."""
    spread = float(np.std(result.data.positions[:, :2], axis=0).mean())
    return math.radians(1.0) * 360.0 * spread / result.data.wavelength_m
