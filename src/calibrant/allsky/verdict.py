"""Can these gains be uploaded? Said in words, from what the solution did not see and from a sky that is not there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibrant.allsky.calibration import Calibration

GOOD, CHECK, NO = "good", "check", "do not upload"
GOOD_POWER, POOR_POWER = 0.75, 0.45
"""Held-out explained power: real, calibrated skies reach 0.9; wrong skies, orientation scanned, up to 0.36."""
OF_NULL = 0.75
"""The true sky must leave less than this share of the power that a shuffled one leaves unexplained."""
TURNED_DEG = 5.0
"""A larger rotation means that the antenna positions are wrong, and gains belong to positions."""
FEW_STARTS = 2
SHARP_DEG = 10.0
"""Phases less certain than this do not make an image."""


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


def _against(result: Calibration) -> list[str]:
    """What forbids an upload."""
    reasons = []
    held, null = result.held_out_power, result.null_power
    if held < POOR_POWER:
        reasons.append(
            f"The sky explains {100 * held:.0f} % of the power on baselines that were left out; a calibration explains "
            f"{100 * GOOD_POWER:.0f} % or more. Is the catalogue that of this time and place? Are the positions right?"
        )
    if math.isfinite(null) and 1 - held > OF_NULL * (1 - null):
        reasons.append(
            f"A sky with shuffled azimuths explains {100 * null:.0f} % of that power, nearly as much: "
            "these sources are not what the array sees."
        )
    if held >= POOR_POWER and (result.mirror or abs(result.rotation_deg) > TURNED_DEG):
        how = "mirrored east to west and " if result.mirror else ""
        reasons.append(
            f"The sky fits only with the antennas {how}turned by {result.rotation_deg:.1f} deg: the positions in the "
            "telescope are wrong. Correct them, or upload positions and gains together (upload --positions)."
        )
    lost = sorted({source.name for source in result.sources if source.given and source.state == "silent"})
    if lost:
        reasons.append(f"The given source {', '.join(lost)} was not found: is it on, and where it is said to be?")
    if result.agreement * result.starts < FEW_STARTS and held < GOOD_POWER:
        reasons.append("Only one of the random starts came to this solution; another run may find another.")
    used = sum(antenna.state in ("good", "weak") for antenna in result.antennas)
    if used < len(result.antennas) / 2:
        reasons.append(f"{used} of {len(result.antennas)} antennas have a solution.")
    return reasons


def _doubts(result: Calibration) -> list[str]:
    """What a person should look at before an upload."""
    reasons = []
    if POOR_POWER <= result.held_out_power < GOOD_POWER:
        reasons.append(
            f"The sky explains {100 * result.held_out_power:.0f} % of the power on baselines that were left out: "
            "something else is in the data, or something is not in the catalogue."
        )
    if result.agreement * result.starts < FEW_STARTS and result.held_out_power >= GOOD_POWER:
        reasons.append(f"One of {result.starts} random starts came to this solution.")
    errors = np.array([antenna.phase_err for antenna in result.antennas])
    if np.isfinite(errors).any() and np.degrees(np.nanmax(errors)) > SHARP_DEG:
        worst = int(np.nanargmax(errors))
        reasons.append(f"The phase of antenna {worst} is known to {np.degrees(errors[worst]):.0f} deg only.")
    return reasons


def _support(result: Calibration) -> list[str]:
    """What was found, in sentences."""
    found = sorted({source.name for source in result.sources if source.state == "found"})
    silent = {source.name for source in result.sources} - set(found)
    reasons = [
        f"The model explains {100 * result.held_out_power:.1f} % of the power on baselines that were left out "
        f"({100 * result.power:.1f} % in sample)"
        + (f"; a shuffled sky {100 * max(result.null_power, 0):.0f} %." if math.isfinite(result.null_power) else "."),
        f"{result.agreement * result.starts:.0f} of {result.starts} random starts agree.",
        f"{len(found)} source(s) found, {len(silent)} silent.",
    ]
    if len(found) == 1:
        reasons.append(
            f"With one source the data cannot show an error of its position: 1 deg of direction is about 18 deg of "
            f"phase. Is {found[0]!r} where it is said to be?"
        )
    for state, words in (("dead", "no signal"), ("missing", "no visibilities"), ("weak", "a weak signal")):
        numbers = [str(antenna.number) for antenna in result.antennas if antenna.state == state]
        if numbers:
            reasons.append(f"Antenna(s) {', '.join(numbers)}: {words}.")
    return reasons
