"""The reference antenna: phase zero, alternates held, strict flags."""

from __future__ import annotations

import numpy as np

from calibrant.solve.refant import apply_refant, candidate_order


def gains(ntime: int = 6, nant: int = 5, seed: int = 0):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    return np.exp(1j * rng.uniform(-3, 3, (ntime, nant, 1, 2))), np.ones((ntime, nant, 1, 2), bool)


def test_reference_phase_is_zero_and_differences_stay() -> None:
    gain, good = gains()
    out, ok, used = apply_refant(gain, good, [2, 0, 1, 3, 4])
    np.testing.assert_allclose(np.angle(out[:, 2]), 0, atol=1e-12)
    np.testing.assert_allclose(out / out[:, :1], gain / gain[:, :1], atol=1e-12)
    assert ok.all() and (used == 2).all()


def test_flex_holds_the_phase_of_an_alternate() -> None:
    gain, good = gains()
    good[3, 2] = False
    out, ok, used = apply_refant(gain, good, [2, 0, 1, 3, 4])
    # the preferred one must have been good in the interval before, so it comes back one interval late
    assert used.tolist() == [2, 2, 2, 0, 0, 2]
    np.testing.assert_allclose(np.angle(out[3, 0]), np.angle(out[2, 0]))
    np.testing.assert_allclose(np.angle(out[5, 2]), np.angle(out[4, 2]))
    assert not ok[3, 2].any() and ok[3, [0, 1, 3, 4]].all()


def test_strict_flags_intervals_without_the_first_choice() -> None:
    gain, good = gains()
    good[3, 2] = False
    _, ok, used = apply_refant(gain, good, [2, 0, 1, 3, 4], strict=True)
    assert used[3] == -1 and not ok[3].any()
    assert ok[[0, 1, 2, 4, 5]].all()


def test_gauge_invariance() -> None:
    """A phase common to all antennas of an interval changes nothing."""
    gain, good = gains()
    turned = gain * np.exp(1j * np.linspace(0, 5, 6))[:, None, None, None]
    np.testing.assert_allclose(apply_refant(gain, good, [1])[0], apply_refant(turned, good, [1])[0], atol=1e-12)


def test_candidates_by_distance_from_the_last_choice() -> None:
    position = np.array([[0.0, 0, 0], [10, 0, 0], [11, 0, 0], [50, 0, 0]])
    assert candidate_order([3, 1], position) == [3, 1, 2, 0]
    assert candidate_order([], position) == []
