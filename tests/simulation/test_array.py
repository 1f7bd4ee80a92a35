"""Geometry of the simulated array, against astropy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.simulation.array import SITE, antenna_uvw, elevation, layout
from calibrant.simulation.sky import SOURCES

TIMES = 5249161800.0 + np.arange(0, 3600, 600.0)
"""2025 March 20, 5 h 30 UTC and the following hour."""


def test_layout_has_no_close_pairs() -> None:
    for nant in (2, 10, 64):
        antennas = layout(nant, 250.0)
        distance = np.linalg.norm(antennas.position[:, None] - antennas.position, axis=-1)
        assert distance[np.triu_indices(nant, 1)].min() > 20
        assert len(set(antennas.name)) == nant


def _astropy_uvw(position: NDArray[np.float64], direction: tuple[float, float], second: float) -> NDArray[np.float64]:
    """u, v, w of positions relative to the first: GCRS offsets, projected on the axes of the direction."""
    import astropy.units as u
    from astropy.coordinates import EarthLocation
    from astropy.time import Time
    from astropy.utils import iers

    with iers.conf.set_temp("auto_download", False):
        place, _ = EarthLocation(*(position.T * u.m)).get_gcrs_posvel(Time(second / 86400, format="mjd", scale="utc"))
        xyz = place.xyz.to_value(u.m).T
    ra, dec = direction
    east = np.array([-np.sin(ra), np.cos(ra), 0])
    towards = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    return (xyz - xyz[0]) @ np.array([east, np.cross(towards, east), towards]).T


def test_uvw_agrees_with_astropy() -> None:
    position = np.vstack([SITE, layout(6, 250.0).position])
    for source in SOURCES:
        ours = antenna_uvw(position, np.tile(source.direction, (len(TIMES), 1)), TIMES)
        for number, second in enumerate(TIMES.tolist()):
            expected = _astropy_uvw(position, source.direction, second)
            # UT1 = UTC and no polar motion leave a rotation of microradians
            np.testing.assert_allclose(ours[number], expected, atol=5e-3)


def test_elevations_agree_with_astropy() -> None:
    import astropy.units as u
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    site = EarthLocation(*(SITE * u.m))
    for source in SOURCES:
        with iers.conf.set_temp("auto_download", False):
            frame = AltAz(obstime=Time(TIMES / 86400, format="mjd"), location=site)
            expected = SkyCoord(*source.direction, unit="rad").transform_to(frame).alt.rad
        ours = elevation(np.tile(source.direction, (len(TIMES), 1)), TIMES)
        # up is geocentric here: 0.14 deg from the plumb line at this latitude
        np.testing.assert_allclose(ours, expected, atol=np.radians(0.2))
