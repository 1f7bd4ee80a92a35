"""solnorm and fillgaps."""

from __future__ import annotations

import numpy as np

from calibrant.solve.normalise import fill_gaps, normalise_bandpass, normalise_gain


def test_bandpass_has_unit_rms_and_zero_mean_phase() -> None:
    rng = np.random.default_rng(0)
    gain = rng.uniform(0.5, 2, (1, 3, 20, 2)) * np.exp(1j * rng.normal(1.0, 0.2, (1, 3, 20, 2)))
    flag = rng.random(gain.shape) < 0.2
    out = gain / normalise_bandpass(gain, flag)
    for ant in range(3):
        for pol in range(2):
            good = out[0, ant, ~flag[0, ant, :, pol], pol]
            np.testing.assert_allclose(np.sqrt(np.mean(np.abs(good) ** 2)), 1)
            np.testing.assert_allclose(np.angle(np.sum(good / np.abs(good))), 0, atol=1e-12)


def test_gain_normalisation_is_one_factor() -> None:
    gain = np.array([1.0, 2.0, 100.0]).reshape(3, 1, 1, 1).astype(complex)
    flag = np.array([False, False, True]).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(normalise_gain(gain, flag, "mean"), np.sqrt(2.5))
    np.testing.assert_allclose(normalise_gain(gain, flag, "median"), np.sqrt(2.5))
    assert normalise_gain(gain, np.ones_like(flag), "mean") == 1.0


def test_gaps_are_filled_up_to_the_width_and_never_at_the_edges() -> None:
    gain = (np.arange(10) + 1.0).reshape(1, 1, 10, 1) * np.exp(1j * np.linspace(3, 4, 10)).reshape(1, 1, 10, 1)
    flag = np.zeros((1, 1, 10, 1), bool)
    flag[0, 0, [0, 3, 6, 7]] = True
    broken = gain.copy()
    broken[flag] = 99
    out, filled = fill_gaps(broken, flag, width=1)
    assert np.flatnonzero(filled[0, 0, :, 0]).tolist() == [3]
    np.testing.assert_allclose(out[0, 0, 3], gain[0, 0, 3])
    out, filled = fill_gaps(broken, flag, width=2)
    assert np.flatnonzero(filled[0, 0, :, 0]).tolist() == [3, 6, 7]
    np.testing.assert_allclose(out[filled], gain[filled])
