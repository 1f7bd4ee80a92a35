"""The reference antenna: central, and little flagged."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from calibrant.pipeline.refant import antenna_scores, rank_antennas

sys.path.insert(0, str(Path(__file__).parent))
from made import C286, look

LINE = np.stack([np.array([0.0, 100, 200, 300, 400]), np.zeros(5), np.zeros(5)], axis=1)


def test_the_middle_of_the_array_is_best() -> None:
    score = antenna_scores(LINE, np.zeros(5))
    np.testing.assert_allclose(score, [1.0, 1.5, 2.0, 1.5, 1.0])


def test_flags_count_as_much_as_distance() -> None:
    score = antenna_scores(LINE, np.array([0, 0, 0.6, 0, 0]))
    assert score.argmax() == 1
    np.testing.assert_allclose(score[2], 1.4)


def test_an_antenna_without_data_is_no_reference_and_does_not_move_the_middle() -> None:
    far = np.vstack([LINE, [[1e6, 0, 0]]])
    score = antenna_scores(far, np.array([0, 0, 0, 0, 0, 1.0]))
    np.testing.assert_allclose(score[:5], antenna_scores(LINE, np.zeros(5)))
    assert score[5] == -np.inf


def test_nothing_left() -> None:
    assert (antenna_scores(LINE, np.ones(5)) == -np.inf).all()


def test_one_antenna_or_all_at_one_place() -> None:
    assert np.isfinite(antenna_scores(LINE[:1], np.zeros(1))).all()
    assert np.isfinite(antenna_scores(np.zeros((3, 3)), np.zeros(3))).all()


def test_names_best_first_without_those_that_have_no_data(tmp_path: Path) -> None:
    """Antennas stand 50, 70, 90 ... m from the array's centre; DV04 is unknown to the counts, so it has no data."""
    index = look(tmp_path / "a.ms", (C286,), ((0, 1),), nant=5)
    ranked = rank_antennas(index, {"DV00": 0.9, "DV01": 0.1, "DV02": 0.1, "DV03": 1.0})
    assert sorted(ranked) == ["DV00", "DV01", "DV02"] and ranked[-1] == "DV00"
