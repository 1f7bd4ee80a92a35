"""Counting flags: the packed sums against plain ones."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.flag.counts import by_correlation


@pytest.mark.parametrize("ncorr", [1, 2, 3, 4])
@pytest.mark.parametrize("nchan", [1, 7, 255, 256, 1000])
def test_by_correlation(nchan: int, ncorr: int) -> None:
    flags = np.random.default_rng(nchan).random((5, nchan, ncorr)) < 0.7
    flags[0] = True
    np.testing.assert_array_equal(by_correlation(flags), flags.sum(axis=1))
    np.testing.assert_array_equal(by_correlation(flags[:, ::2]), flags[:, ::2].sum(axis=1))
