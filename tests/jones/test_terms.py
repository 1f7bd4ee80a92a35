"""Each term against the equation in its docstring, with numbers."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.errors import ParameterError
from calibrant.jones import TERMS
from calibrant.jones.base import Place, mean_unflagged

FREQ = 100e9 + 1e9 * np.arange(4)
PLACE = Place(FREQ, FREQ)


def test_delay_is_zero_at_its_reference_channel() -> None:
    """1 ns is one turn in 1 GHz, from CHAN_FREQ[nchan // 2] of the table."""
    param = np.array([[[[1.0, -0.25]]]], np.float32)
    jones = TERMS["K Jones"].factors(param, PLACE)
    turns = np.array([-2, -1, 0, 1])
    np.testing.assert_allclose(jones[0, 0, :, 0], np.exp(2j * np.pi * turns), atol=1e-12)
    np.testing.assert_allclose(jones[0, 0, :, 1], np.exp(-0.5j * np.pi * turns), atol=1e-6)
    other = TERMS["K Jones"].factors(param, Place(FREQ, np.array([100.5e9])))
    np.testing.assert_allclose(other[0, 0, 0, 0], -1, atol=1e-9)
    assert TERMS["K Jones"].weights(param, np.zeros(param.shape, bool)) is None


def test_gain_and_common_gain() -> None:
    g = np.array([[[[2 + 1j, 3j]]]], np.complex64)
    np.testing.assert_allclose(TERMS["G Jones"].factors(g, PLACE)[0, 0, 0], [2 + 1j, 3j])
    np.testing.assert_allclose(TERMS["G Jones"].weights(g, np.zeros(g.shape, bool))[0, 0], [5, 9], rtol=1e-6)
    np.testing.assert_allclose(TERMS["T Jones"].factors(g[..., :1], PLACE)[0, 0, 0], [2 + 1j, 2 + 1j])
    np.testing.assert_allclose(
        TERMS["T Jones"].weights(g[..., :1], np.zeros((1, 1, 1, 1), bool))[0, 0], [5, 5], rtol=1e-6
    )


def test_bandpass_weighs_with_its_mean_power() -> None:
    b = np.array([1, 2j, 3, 4], np.complex64).reshape(1, 1, 4, 1) * np.ones(2, np.complex64)
    flag = np.zeros(b.shape, bool)
    flag[0, 0, 3, 0] = True
    np.testing.assert_allclose(TERMS["B Jones"].factors(b, PLACE)[0, 0, :, 1], [1, 2j, 3, 4])
    np.testing.assert_allclose(TERMS["B Jones"].weights(b, flag)[0, 0], [14 / 3, 30 / 4], rtol=1e-6)


def test_system_temperature() -> None:
    """V sqrt(T_i T_j) are Kelvin; weights go with 1 over the band's mean."""
    kelvin = np.array([50, 100, 0, 150], np.float32).reshape(1, 1, 4, 1) * np.ones(2, np.float32)
    jones = TERMS["B TSYS"].factors(kelvin, PLACE)
    np.testing.assert_allclose(1 / jones[0, 0, [0, 1, 3], 0] ** 2, [50, 100, 150], rtol=1e-12)
    assert np.isfinite(jones).all()
    np.testing.assert_allclose(TERMS["B TSYS"].weights(kelvin, kelvin < 0)[0, 0], [0.01, 0.01], rtol=1e-6)


def test_antenna_position() -> None:
    """3 mm towards the source are one turn at 100 GHz (nearly), more path the higher the frequency."""
    offset = np.array([0.0, 0.0, 299792458.0 / 100e9], np.float32).reshape(1, 1, 1, 3)
    toward = np.array([[0.0, 0.6, 0.8]])
    jones = TERMS["KAntPos Jones"].factors(offset, Place(FREQ, FREQ, toward))
    np.testing.assert_allclose(jones[0, 0, :, 0], np.exp(2j * np.pi * 0.8 * FREQ / 100e9), atol=1e-6)
    np.testing.assert_array_equal(jones[..., 0], jones[..., 1])
    with pytest.raises(ValueError, match="direction"):
        TERMS["KAntPos Jones"].factors(offset, PLACE)


def test_directions_agree_with_astropy() -> None:
    """The unit vectors that antenna positions need, without any table of Earth rotation in astropy (0.3 arcsec)."""
    from types import SimpleNamespace

    from astropy import units
    from astropy.coordinates import CIRS, ITRS, EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    from calibrant.ms.geometry import direction_itrf

    position = np.array([[2225061.0, -5440057.0, -2481681.0]])
    index = SimpleNamespace(
        antennas=SimpleNamespace(position=position), fields=SimpleNamespace(direction=np.array([[1.0, -0.4]]))
    )
    times = 5230414800.0 + np.array([0.0, 7200.0])
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        moment = Time(times / 86400, format="mjd", scale="utc")
        place = EarthLocation.from_geocentric(*position[0], unit="m")
        far = SkyCoord(1.0, -0.4, unit="rad").transform_to(CIRS(obstime=moment))
        seen = far.transform_to(ITRS(obstime=moment)).cartesian
    ours = direction_itrf(index, 0, times)  # type: ignore[arg-type]
    theirs = np.stack([seen.x.value, seen.y.value, seen.z.value], axis=1)
    angle = np.linalg.norm(ours - theirs / np.linalg.norm(theirs, axis=1, keepdims=True), axis=1)
    assert place.lat < 0 * units.deg
    assert (angle < 1e-3).all(), "aberration (20 arcsec) and a second of UT1-UTC at most"
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1)


def test_mean_unflagged() -> None:
    values = np.array([1.0, 2, 6]).reshape(1, 1, 3, 1)
    flag = np.array([False, True, False]).reshape(1, 1, 3, 1)
    assert mean_unflagged(values, flag).item() == 3.5
    assert mean_unflagged(values, flag | True).item() == 1


def test_unknown_terms_name_the_known() -> None:
    with pytest.raises(ParameterError, match=r"no calibration type called 'G Jone'.*Did you mean 'G Jones'"):
        TERMS["G Jone"]
