"""The verdict: every check at every level, and the words."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.caltable.table import CalTable
from calibrant.ms.index import MSIndex
from calibrant.pipeline import judge as judging
from calibrant.pipeline.judge import judge
from calibrant.pipeline.result import CalibrationResult, FlagFraction, Flux
from calibrant.pipeline.roles import Roles
from calibrant.plots.averages import Averages, ColumnAverages, PartAverages
from calibrant.solve.outcome import Outcome

sys.path.insert(0, str(Path(__file__).parents[1] / "caltable"))
from build import caltable, solutions

NANT = 10
ROLES = Roles([0], [0], [1], [2])


class Fields:
    name = ("FLUX", "PHASE", "TARGET")


class Antennas:
    name = tuple(f"A{n:02d}" for n in range(NANT))

    def __len__(self) -> int:
        return NANT


def index() -> MSIndex:
    """All baselines of ten antennas; nothing on disk."""
    first, second = np.triu_indices(NANT, 1)
    made = MSIndex("x.ms", len(first), (), {"ANTENNA1": first, "ANTENNA2": second})
    made.__dict__ |= {"fields": Fields(), "antennas": Antennas()}
    return made


def table(bad: float = 0.0, outcome: Outcome = Outcome.LOW_SNR, nt: int = 10, step: float = 0.0) -> CalTable:
    """G Jones with a share of bad solutions in every antenna, and phases that change by `step` degrees a time."""
    phase = np.radians(step) * np.arange(nt)[:, None, None, None] * np.ones((nt, NANT, 1, 2))
    outcomes = np.zeros(phase.shape, np.uint8)
    outcomes[: round(bad * nt)] = outcome
    return caltable(solutions(np.exp(1j * phase), flag=outcomes > 0, outcome=outcomes))


def tables(**changes: CalTable) -> dict[str, CalTable]:
    return {"phase_int": table(), "bandpass": table(), "phase_scan": table()} | changes


def column(value: float, shape: int = 4) -> ColumnAverages:
    values = np.full((shape, 2), complex(value))
    return ColumnAverages(values, abs(values), values, abs(values), values, abs(values))


def averages(value: float = 2.0, name: str = "PHASE") -> Averages:
    empty = np.zeros(0)
    ids = np.zeros(0, np.int64)
    columns = {"CORRECTED_DATA": column(value)}
    part = PartAverages(1, name, 0, ("XX", "YY"), empty, ids, ids, empty, empty, np.zeros((0, 2)), columns)
    return Averages([part])


def result(flux: float = 2.0, error: float = 0.01, flagged: float = 0.1) -> CalibrationResult:
    flags = FlagFraction("calibrated", flagged, {}, {"FLUX": 0.0, "PHASE": 0.0, "TARGET": flagged}, {})
    return CalibrationResult(
        obs="x.ms", ms="x.ms", output="out", telescope="T", observed="now", standard="S", refant="A00", roles={},
        fluxes=[Flux("FLUX", 0, 1e9, 10.0, 0.0, "standard"), Flux("PHASE", 0, 1e9, flux, error, "fluxscale")],
        flags=[flags],
    )  # fmt: skip


def verdict(**changes: Any) -> tuple[str, list[str]]:
    given = {"result": result(), "tables": tables(), "averages": averages()} | changes
    return judge(given["result"], given["tables"], given["averages"], index(), changes.get("roles", ROLES))


def lost(count: int) -> CalTable:
    """Phases of which `count` antennas have none, for lack of data."""
    made = table()
    made.spws[0].flag[:, :count] = True
    outcome = made.spws[0].outcome
    assert outcome is not None
    outcome[:, :count] = Outcome.NO_DATA
    return made


def test_good_says_what_is_good() -> None:
    words, reasons = verdict()
    assert words == "good"
    assert reasons == [
        "100.0 % of the phase_int solutions are good",
        "100.0 % of the bandpass solutions are good",
        "100.0 % of the phase_scan solutions are good",
        "10 of 10 antennas are calibrated",
        "PHASE spw 0: 2 Jy known to 0.50 %",
        "PHASE spw 0: calibrated data average to 2 Jy (+0.00 % of its 2 Jy)",
        "TARGET: 10.0 % of the data are flagged",
        "phases change by 0 deg (median) between scans of the calibrator",
    ]


CASES = {
    "solutions": (
        {"tables": tables(bandpass=table(0.2))},
        {"tables": tables(bandpass=table(0.6))},
        "of the bandpass solutions are good",
    ),
    "antennas": (
        {"tables": tables(phase_scan=lost(4))},
        {"tables": tables(phase_scan=lost(7))},
        "of 10 antennas are calibrated (not A00",
    ),
    "flux error": ({"result": result(error=0.2)}, {"result": result(error=0.6)}, "2 Jy known to"),
    "scale": ({"averages": averages(1.7)}, {"averages": averages(1.2)}, "calibrated data average to 1."),
    "scale above": ({"averages": averages(2.3)}, {"averages": averages(3.0)}, "calibrated data average to"),
    "flags": ({"result": result(flagged=0.7)}, {"result": result(flagged=0.99)}, "TARGET: "),
    "drift": (
        {"tables": tables(phase_scan=table(step=70))},
        {"tables": tables(phase_scan=table(step=150))},
        "phases change by",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_check_and_distrust_name_what_is_wrong_first(case: str) -> None:
    check, distrust, sentence = CASES[case]
    for changes, words in ((check, "check"), (distrust, "do not trust")):
        got, reasons = verdict(**changes)
        assert got == words
        assert sentence in reasons[0]
        assert not any("100.0 %" in reason for reason in reasons)


def test_three_antennas_are_too_few_whatever_their_share() -> None:
    made = index()
    few = np.array([0, 0, 1]), np.array([1, 2, 2])
    made._cache |= {"ANTENNA1": few[0], "ANTENNA2": few[1]}
    words, reasons = judge(result(), tables(), averages(), made, ROLES)
    assert words == "do not trust" and reasons[0] == "3 of 3 antennas are calibrated"


def test_data_that_were_not_there_do_not_count_against_the_solutions() -> None:
    words, _ = verdict(tables=tables(bandpass=table(0.6, Outcome.NO_DATA)))
    assert words == "good"


def test_no_solutions_at_all() -> None:
    words, _ = verdict(tables=tables(bandpass=table(1.0, Outcome.NO_DATA)))
    assert words == "do not trust"


@pytest.mark.parametrize(("flux", "error"), [(np.nan, 0.1), (2.0, np.nan), (2.0, np.inf)])
def test_a_flux_that_is_no_number_is_not_trusted(flux: float, error: float) -> None:
    words, _ = verdict(result=result(flux=flux, error=error))
    assert words == "do not trust"


def test_the_worst_check_decides_and_comes_first() -> None:
    words, reasons = verdict(result=result(error=0.6, flagged=0.7), averages=averages(2.3))
    assert words == "do not trust"
    assert ["known to" in reasons[0], *("%" in reason for reason in reasons[1:])] == [True] * 3
    assert len(reasons) == 3


def test_a_phase_that_turns_half_way_round_is_a_small_step() -> None:
    """350 degrees are -10."""
    assert verdict(tables=tables(phase_scan=table(step=350)))[0] == "good"


def test_one_scan_has_no_drift() -> None:
    _, reasons = verdict(tables=tables(phase_scan=table(nt=1)))
    assert not any("between scans" in reason for reason in reasons)


def test_calibrator_without_corrected_data_is_not_compared() -> None:
    nothing = averages(np.nan)
    assert verdict(averages=nothing)[0] == "good"
    assert verdict(averages=averages(1.0, "TARGET"))[0] == "good"


def test_no_target() -> None:
    assert verdict(roles=dataclasses.replace(ROLES, target=[]))[0] == "good"


@pytest.mark.parametrize(("value", "level"), [(0.04, 0), (0.05, 0), (0.06, 1), (0.2, 1), (0.21, 2), (np.nan, 2)])
def test_rising_limits(value: float, level: int) -> None:
    assert judging._level(value, 0.05, 0.2) == level


@pytest.mark.parametrize(("value", "level"), [(0.95, 0), (0.9, 0), (0.8, 1), (0.5, 1), (0.4, 2), (np.nan, 2)])
def test_falling_limits(value: float, level: int) -> None:
    assert judging._level(value, 0.9, 0.5) == level
