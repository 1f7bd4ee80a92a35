"""Solutions in memory."""

from __future__ import annotations

import numpy as np
import pytest
from build import caltable, solutions

from calibrant.errors import CalTableError


def test_dataset_shares_memory_and_names_the_axes() -> None:
    table = caltable(solutions(np.ones((3, 4, 5, 2), complex)))
    data = table.dataset(0)
    assert dict(data.sizes) == {"time": 3, "antenna": 4, "frequency": 5, "receptor": 2}
    assert np.shares_memory(data["gain"].values, table.spws[0].param)
    assert list(data["antenna"].values) == table.antenna_names


def test_dataset_of_an_absent_spw_says_which_there_are() -> None:
    with pytest.raises(CalTableError, match=r"no solutions for spw 7; it has \[0\]"):
        caltable(solutions(np.ones((1, 2, 1, 2), complex))).dataset(7)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CalTableError, match="freq or width do not fit"):
        solutions(np.ones((1, 2, 4, 2), complex), freq=[1e9])


def test_select_fields_drops_spws_without_any() -> None:
    a = solutions(np.ones((2, 2, 1, 2), complex), field=np.array([0, 1], np.int32))
    b = solutions(np.ones((1, 2, 1, 2), complex), spw=1)
    chosen = caltable(a, b, fields=2).select_fields([1])
    assert list(chosen.spws) == [0]
    assert chosen.spws[0].time.tolist() == [100.0]


def test_describe_tells_flags_snr_outcomes_and_history() -> None:
    flag = np.zeros((1, 2, 1, 2), bool)
    flag[0, 0] = True
    table = caltable(solutions(np.ones((1, 2, 1, 2), complex), flag=flag, outcome=(flag * 3).astype(np.uint8)))
    table.provenance = ["gaincal(vis='x.ms')"]
    text = table.describe()
    for words in ("50 % flagged", "median SNR 100", "2 solutions signal-to-noise at or below minsnr", "gaincal(vis"):
        assert words in text
