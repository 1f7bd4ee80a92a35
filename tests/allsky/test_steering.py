"""Directions, phases and amplitudes at the antennas."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.allsky.snapshots import Source
from calibrant.allsky.steering import directions, steering, taken_as_far_deg, turned

LAMBDA = 0.19
PLACES = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.5, 0.0], [-0.3, 0.2, 0.4]])


def test_azimuth_is_clockwise_from_north() -> None:
    north, east, up = directions([0, 90, 17], [0, 0, 90])
    np.testing.assert_allclose([north, east, up], [[0, 1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)


def test_an_antenna_towards_the_source_is_ahead_in_phase() -> None:
    """V = exp(+2 pi i (r_i - r_j).s / lambda)."""
    (u,) = steering([Source("east", 90.0, 60.0)], PLACES, LAMBDA)
    assert np.angle(u[1] * u[0].conj() * np.exp(-2j * np.pi * 0.5 / LAMBDA)) == pytest.approx(0.0, abs=1e-9)


def test_height_counts() -> None:
    (u,) = steering([Source("zenith", 0.0, 90.0)], PLACES, LAMBDA)
    np.testing.assert_allclose(u[:3], 1.0, atol=1e-9)
    assert np.angle(u[3] * np.exp(-2j * np.pi * 0.4 / LAMBDA)) == pytest.approx(0.0, abs=1e-9)


def test_near_becomes_far() -> None:
    far = steering([Source("s", 30.0, 40.0)], PLACES, LAMBDA)
    distant = steering([Source("s", 30.0, 40.0, 1e6)], PLACES, LAMBDA)
    np.testing.assert_allclose(distant, far, atol=1e-4)


def test_near_is_the_distance_to_each_antenna() -> None:
    """A source 2 m above the first antenna, seen from one 1.5 m aside: 2.5 m."""
    (u,) = steering([Source("s", 0.0, 90.0, 2.0)], PLACES, LAMBDA)
    assert abs(u[2]) == pytest.approx(2.0 / 2.5)
    assert u[2] == pytest.approx(0.8 * np.exp(-2j * np.pi * 0.5 / LAMBDA))


def test_a_sky_without_sources() -> None:
    assert steering([], PLACES, LAMBDA).shape == (0, 4)


def test_the_cost_of_taking_near_as_far() -> None:
    """Of a cross of 1 m arms under a source in the zenith at 10 m: its ends are 5 cm further away than its middle."""
    cross = np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0], [0, 0, 0]])
    path = np.hypot(10.0, 1.0) - 10.0
    cost = taken_as_far_deg(Source("s", 0.0, 90.0), 10.0, cross, LAMBDA)
    assert cost == pytest.approx(360 * path * 0.4 / LAMBDA)  # rms of four of five that are off


def test_turning_is_from_east_to_north_and_mirroring_comes_first() -> None:
    east = np.array([[1.0, 0.0, 0.3]])
    np.testing.assert_allclose(turned(east, 90.0), [[0, 1, 0.3]], atol=1e-12)
    np.testing.assert_allclose(turned(east, 90.0, mirror=True), [[0, -1, 0.3]], atol=1e-12)
