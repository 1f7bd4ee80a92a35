"""Reading solutions: receptors that are bad are found, good ones are left alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from calibrant.caltable.table import CalTable
from calibrant.pipeline.solutions import BadAntenna, bad_antennas, failed_solutions
from calibrant.solve.outcome import SENTENCES, Outcome

sys.path.insert(0, str(Path(__file__).parents[1] / "caltable"))
from build import caltable, solutions

NT, NANT = 24, 10
REF, BAD = 0, 6


def phases(rng: np.random.Generator, scatter: float = 0.1, nt: int = NT, nant: int = NANT) -> np.ndarray:
    """(nt, nant, 2) rad: drifts from any start, with `scatter` on top; relative to antenna REF."""
    drift = np.cumsum(rng.normal(0, 0.05, (nt, nant, 1)), axis=0)
    raw = rng.uniform(-np.pi, np.pi, (nant, 2)) + drift + rng.normal(0, scatter, (nt, nant, 2))
    return raw - raw[:, REF : REF + 1]


def phase_table(phase: np.ndarray, flag: np.ndarray | None = None, outcome: np.ndarray | None = None) -> CalTable:
    """Two scans of half the times each."""
    nt = len(phase)
    scan = (1 + (np.arange(nt) >= nt // 2)).astype(np.int32)
    param = np.exp(1j * phase)[:, :, None]
    return caltable(solutions(param, scan=scan, flag=flag, outcome=outcome))


def amplitude_table(rng: np.random.Generator, size: np.ndarray | None = None) -> CalTable:
    amplitude = rng.normal(0.05, 0.01, (4, NANT, 1, 2)).clip(0.02) if size is None else size
    return caltable(solutions(amplitude.astype(complex)))


def fresh() -> np.random.Generator:
    return np.random.default_rng(4)


def test_no_false_alarm_on_clean_arrays() -> None:
    """200 arrays: any noise, large drifts, few antennas, antennas whose gains differ by a factor of two."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        nant = int(rng.integers(4, 14))
        phase = phases(rng, scatter=float(rng.choice([0.01, 0.1, 0.4, 1.5])), nt=int(rng.integers(2, 40)), nant=nant)
        size = rng.uniform(0.03, 0.06, (3, nant, 1, 2))
        assert bad_antennas(phase_table(phase), amplitude_table(rng, size)) == [], seed


def test_an_antenna_whose_solutions_fail() -> None:
    rng = fresh()
    flag = np.zeros((NT, NANT, 1, 2), bool)
    flag[: NT // 2 + 1, BAD, :, 1] = True
    flag[: NT // 2, BAD + 1] = True
    assert bad_antennas(phase_table(phases(rng), flag), amplitude_table(rng)) == [
        BadAntenna(BAD, 0, 1, "54 % of its phase solutions fail")
    ]


def test_an_antenna_without_data_does_not_fail() -> None:
    """Flagged data are no reason to flag more."""
    rng = fresh()
    flag = np.zeros((NT, NANT, 1, 2), bool)
    flag[:, BAD] = True
    outcome = np.where(flag, Outcome.NO_DATA, Outcome.CONVERGED).astype(np.uint8)
    assert bad_antennas(phase_table(phases(rng), flag, outcome), amplitude_table(rng)) == []


@pytest.mark.parametrize("receptor", [0, 1])
def test_an_antenna_whose_phase_jumps(receptor: int) -> None:
    rng = fresh()
    phase = phases(rng)
    phase[:, BAD, receptor] += rng.uniform(-np.pi, np.pi, NT)
    (bad,) = bad_antennas(phase_table(phase), amplitude_table(rng))
    assert (bad.antenna, bad.spw, bad.receptor) == (BAD, 0, receptor)
    assert "phase jumps by" in bad.reason


def test_a_reference_antenna_that_jumps_is_found_and_nobody_else() -> None:
    """In the table it is everybody else that jumps, by the same angle."""
    rng = fresh()
    phase = phases(rng)
    jumps = rng.uniform(-np.pi, np.pi, NT)
    phase[:, np.arange(NANT) != REF, 1] -= jumps[:, None]
    assert [(b.antenna, b.receptor) for b in bad_antennas(phase_table(phase), amplitude_table(rng))] == [(REF, 1)]


def test_two_jumping_antennas_with_one_of_them_the_reference() -> None:
    rng = fresh()
    phase = phases(rng)
    phase[:, BAD] += rng.uniform(-np.pi, np.pi, (NT, 2))
    phase[:, np.arange(NANT) != REF] -= rng.uniform(-np.pi, np.pi, (NT, 1, 2))
    found = {b.antenna for b in bad_antennas(phase_table(phase), amplitude_table(rng))}
    assert found == {REF, BAD}


def test_a_jump_between_scans_is_no_jump() -> None:
    """The phase may do what it likes while nobody looks."""
    rng = fresh()
    phase = phases(rng)
    phase[NT // 2 :, BAD] += 3.0
    assert bad_antennas(phase_table(phase), amplitude_table(rng)) == []


def test_too_few_solutions_say_nothing_about_jumps() -> None:
    rng = fresh()
    phase = phases(rng, nt=4)
    phase[:, BAD] += rng.uniform(-np.pi, np.pi, (4, 2))
    assert bad_antennas(phase_table(phase), amplitude_table(rng)) == []


@pytest.mark.parametrize(("factor", "words"), [(0.03, "0.03 times"), (10.0, "10 times")])
def test_an_antenna_off_scale(factor: float, words: str) -> None:
    rng = fresh()
    size = np.full((4, NANT, 1, 2), 0.05)
    size[:, BAD, :, 0] *= factor
    assert bad_antennas(phase_table(phases(rng)), amplitude_table(rng, size)) == [
        BadAntenna(BAD, 0, 0, f"its gain is {words} that of the others")
    ]


def test_single_polarisation() -> None:
    """The second receptor has no data anywhere."""
    rng = fresh()
    outcome = np.zeros((NT, NANT, 1, 2), np.uint8)
    outcome[..., 1] = Outcome.NO_DATA
    phase = phases(rng)
    phase[:, BAD] += rng.uniform(-np.pi, np.pi, (NT, 2))
    table = phase_table(phase, outcome == Outcome.NO_DATA, outcome)
    size = caltable(solutions(np.full((4, NANT, 1, 2), 0.05 + 0j), flag=np.arange(2) * np.ones((4, NANT, 1, 1))))
    assert [(b.antenna, b.receptor) for b in bad_antennas(table, size)] == [(BAD, 0)]


def test_everything_flagged() -> None:
    rng = fresh()
    flag = np.ones((NT, NANT, 1, 2), bool)
    size = caltable(solutions(np.ones((4, NANT, 1, 2), complex), flag=flag[:4]))
    assert len(bad_antennas(phase_table(phases(rng), flag), size)) == 2 * NANT


def test_failures_by_outcome_most_frequent_first() -> None:
    outcome = np.zeros((3, 4, 5, 2), np.uint8)
    outcome[0, 2, :, 1] = Outcome.LOW_SNR
    outcome[:, 3] = Outcome.NO_DATA
    outcome[:, :, 0] = Outcome.NO_DATA
    outcome[1, 1, 3, 0] = Outcome.FILLED
    table = caltable(solutions(np.ones(outcome.shape, complex), outcome=outcome, flag=outcome > 0))
    missing, weak = failed_solutions("folder/b.cal", table, np.ones(4, bool))
    assert (missing.outcome, missing.count, missing.antennas) == (SENTENCES[Outcome.NO_DATA], 24, ["A03"])
    assert (weak.caltable, weak.outcome, weak.count) == ("b.cal", SENTENCES[Outcome.LOW_SNR], 4)
    assert (weak.antennas, weak.spws, weak.example) == (["A02"], [0], "A02 receptor 1, spw 0, 00:00:00 UTC")


def test_antennas_that_were_not_there_do_not_fail() -> None:
    outcome = np.zeros((3, 4, 1, 2), np.uint8)
    outcome[:, 3] = Outcome.NO_DATA
    table = caltable(solutions(np.ones(outcome.shape, complex), outcome=outcome, flag=outcome > 0))
    assert failed_solutions("g.cal", table, np.array([1, 1, 1, 0], bool)) == []
    assert failed_solutions("g.cal", caltable(solutions(np.ones((1, 2, 1, 2), complex))), np.ones(2, bool)) == []
