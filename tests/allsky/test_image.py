"""All-sky images: where sources appear, whether the fast transform is the slow one, and whether headers are true."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibrant.allsky.image import (
    beam_shape,
    calibrated,
    direction_cosines,
    make_image,
    sources_seen,
)
from calibrant.allsky.image_fits import geocentric_m, write_fits, zenith_ra_dec
from calibrant.allsky.snapshots import CalibrationData, Snapshot, Source, read_calibration_data
from calibrant.allsky.steering import directions, steering
from calibrant.allsky.sun import sun_az_el
from calibrant.errors import DataError, ExistsError, ParameterError

RNG = np.random.default_rng(7)
POSITIONS = np.column_stack([RNG.uniform(-1.3, 1.3, (16, 2)), RNG.uniform(-0.1, 0.1, 16)])
LAMBDA = 299792458.0 / 1.57542e9
QUIET = pytest.mark.filterwarnings("ignore:.*obsfix")  # astropy says that it derived latitude and longitude
TIME = 1564954711.991
DUNEDIN = {"longitude_deg": 170.5456, "latitude_deg": -45.85177, "height_m": 270.0}


def observed(
    *sources: tuple[float, float, float], gain: np.ndarray | None = None, phase: np.ndarray | None = None
) -> Snapshot:
    """A snapshot of sources (az, el, flux), as antennas with these corrections see it."""
    known = tuple(Source(f"s{k}", az, el) for k, (az, el, _) in enumerate(sources))
    u = steering(known, POSITIONS, LAMBDA)
    i, j = np.triu_indices(len(POSITIONS), 1)
    v = sum((s[2] * one[i] * one[j].conj() for s, one in zip(sources, u, strict=True)), np.zeros(len(i), complex))
    gain = np.ones(len(POSITIONS)) if gain is None else gain
    phase = np.zeros(len(POSITIONS)) if phase is None else phase
    gamma = np.exp(1j * phase) / gain
    return Snapshot(TIME, i, j, v * gamma[i] * gamma[j].conj(), known, "made: snapshot 1")


def apart_deg(one: tuple[float, float], other: tuple[float, float]) -> float:
    return math.degrees(math.acos(min(1.0, float(directions(*one) @ directions(*other)))))


@pytest.mark.parametrize("az", [0.0, 90.0, 180.0, 270.0])
def test_east_is_on_the_left_and_north_at_the_top(az: float) -> None:
    image = make_image(observed((az, 45.0, 0.3)), POSITIONS, LAMBDA, size=256)
    row, column = np.unravel_index(np.nanargmax(image.values), image.values.shape)
    off = 128 * math.cos(math.radians(45))
    expected = {0.0: (128 - off, 128), 90.0: (128, 128 - off), 180.0: (128 + off, 128), 270.0: (128, 128 + off)}[az]
    assert abs(row - expected[0]) < 1.5
    assert abs(column - expected[1]) < 1.5


@pytest.mark.parametrize("place", [(0.0, 45.0), (90.0, 45.0), (213.0, 20.0), (301.5, 71.0), (10.0, 89.0)])
def test_the_peak_is_where_the_source_is_and_as_high_as_its_flux(place: tuple[float, float]) -> None:
    image = make_image(observed((*place, 0.25)), POSITIONS, LAMBDA, size=512)
    assert apart_deg(image.peak_az_el(), place) < 0.2
    assert image.peak == pytest.approx(0.25, rel=6e-3)


def test_the_transform_is_that_of_the_slow_double_loop() -> None:
    gain, phase = RNG.uniform(0.8, 2.0, 16), RNG.uniform(-3, 3, 16)
    gain[5] = 0.0
    snapshot = observed((40.0, 50.0, 0.3), (200.0, 25.0, 0.1), gain=np.where(gain > 0, gain, 1.0), phase=phase)
    image = make_image(snapshot, POSITIONS, LAMBDA, gain, phase, size=32)
    for row in range(0, 32, 3):
        for column in range(0, 32, 3):
            east, north = direction_cosines(32)[column], direction_cosines(32)[row]
            if east**2 + north**2 >= 1:
                assert np.isnan(image.values[row, column])
                continue
            s = np.array([east, north, math.sqrt(1 - east**2 - north**2)])
            total, number = 0.0, 0
            for i, j, v in zip(snapshot.antenna1, snapshot.antenna2, snapshot.visibility, strict=True):
                if 5 not in (i, j):
                    v_cal = v * gain[i] * gain[j] * np.exp(-1j * (phase[i] - phase[j]))
                    turn = np.exp(-2j * np.pi * float((POSITIONS[i] - POSITIONS[j]) @ s) / LAMBDA)
                    total, number = total + (v_cal * turn).real, number + 1
            assert image.values[row, column] == pytest.approx(total / number, abs=2e-7)
    assert (image.antennas, image.baselines) == (15, 105)


def test_gains_turn_noise_into_a_source() -> None:
    gain, phase = RNG.uniform(0.8, 2.0, 16), RNG.uniform(-3, 3, 16)
    snapshot = observed((120.0, 60.0, 0.2), gain=gain, phase=phase)
    before = make_image(snapshot, POSITIONS, LAMBDA)
    after = make_image(snapshot, POSITIONS, LAMBDA, gain, phase, gains="new")
    assert (before.gains, after.gains) == ("none", "new")
    assert after.contrast > 1.5 * before.contrast
    assert apart_deg(after.peak_az_el(), (120.0, 60.0)) < 0.2


def test_antennas_without_a_number_are_left_out() -> None:
    snapshot = observed((0.0, 45.0, 0.2))
    gain, phase = np.ones(16), np.zeros(16)
    gain[3], phase[4] = np.nan, np.nan
    assert np.isnan(calibrated(snapshot, gain, phase)).sum() == 29
    assert make_image(snapshot, POSITIONS, LAMBDA, gain, phase, 64).antennas == 14
    with pytest.raises(DataError, match="no baseline"):
        make_image(snapshot, POSITIONS, LAMBDA, np.zeros(16), phase, 64)
    with pytest.raises(DataError, match="but 16 antennas"):
        make_image(snapshot, POSITIONS, LAMBDA, np.ones(15), np.zeros(15), 64)
    with pytest.raises(ParameterError, match="size=9"):
        make_image(snapshot, POSITIONS, LAMBDA, size=9)


def test_the_beam_is_one_in_the_zenith_and_its_width_is_that_of_the_peak() -> None:
    beam = make_image(observed((0.0, 90.0, 1.0)), POSITIONS, LAMBDA, size=512).values
    assert beam[255:257, 255:257] == pytest.approx(1.0, abs=0.01)
    i, j = np.triu_indices(16, 1)
    major, minor, angle = beam_shape((POSITIONS[i] - POSITIONS[j]) / LAMBDA)
    assert make_image(observed((0.0, 90.0, 1.0)), POSITIONS, LAMBDA, size=32).beam == (major, minor, angle)
    assert 2 < minor <= major < 8
    half = math.radians(major) / 2
    east, north = half * math.sin(math.radians(angle)), half * math.cos(math.radians(angle))
    row, column = round((1 - north) * 256 - 0.5), round((1 - east) * 256 - 0.5)
    assert beam[row, column] == pytest.approx(0.5, abs=0.12)


def test_sources_seen_have_their_fluxes_and_the_others_are_silent() -> None:
    gain, phase = RNG.uniform(0.8, 2.0, 16), RNG.uniform(-3, 3, 16)
    snapshot = observed((40.0, 50.0, 0.3), (200.0, 25.0, 0.0), (310.0, 70.0, 0.1), gain=gain, phase=phase)
    noise = 0.001 * (RNG.standard_normal(120) + 1j * RNG.standard_normal(120))
    snapshot = replace(snapshot, visibility=snapshot.visibility + noise)
    seen = sources_seen(snapshot, POSITIONS, LAMBDA, gain, phase)
    assert [one.source.name for one in seen] == ["s0", "s2", "s1"]
    assert [one.found for one in seen] == [True, True, False]
    assert seen[0].flux == pytest.approx(0.3, abs=4 * seen[0].flux_err)
    assert sources_seen(replace(snapshot, sources=()), POSITIONS, LAMBDA, gain, phase) == []


def made_data(snapshot: Snapshot, **place: float) -> CalibrationData:
    return CalibrationData("Made – array", POSITIONS, (snapshot,), **place)


@QUIET
def test_fits_header_leads_from_a_source_to_its_right_ascension(tmp_path: Path) -> None:
    """An independent way: astropy's AltAz of the same direction, precessed to the equinox of date."""
    from astropy import units as u
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord
    from astropy.io import fits
    from astropy.time import Time
    from astropy.utils import iers
    from astropy.wcs import WCS
    from astropy.wcs.utils import wcs_to_celestial_frame

    az, el = 62.0, 40.0
    snapshot = observed((az, el, 0.3))
    image = make_image(snapshot, POSITIONS, LAMBDA, np.ones(16), np.zeros(16), 512, gains="new")
    path = write_fits(str(tmp_path / "sky.fits"), [image], made_data(snapshot, **DUNEDIN), snapshot, "good")
    with fits.open(path) as file:
        file.verify("exception")
        header, pixels = file[0].header, file[0].data
        wcs, cosines = WCS(header), WCS(header, key="A")
    row, column = np.unravel_index(np.nanargmax(pixels), pixels.shape)
    there = SkyCoord(*wcs.wcs_pix2world(column, row, 0), unit="deg", frame=wcs_to_celestial_frame(wcs))
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        site = EarthLocation.from_geodetic(DUNEDIN["longitude_deg"], DUNEDIN["latitude_deg"], DUNEDIN["height_m"])
        frame = AltAz(obstime=Time(TIME, format="unix"), location=site)
        truth = SkyCoord(az=az * u.deg, alt=el * u.deg, frame=frame)
        assert there.transform_to(frame).separation(truth).deg < 0.25  # half a cell at this elevation
        exact = wcs.wcs_world2pix(*_ra_dec(truth, wcs_to_celestial_frame(wcs)), 0)
        xyz = [header[f"OBSGEO-{axis}"] for axis in "XYZ"]
        assert xyz == pytest.approx([value.to_value("m") for value in site.geocentric], abs=0.01)
    east, north = cosines.wcs_pix2world(*exact, 0)
    assert east == pytest.approx(math.sin(math.radians(az)) * math.cos(math.radians(el)), abs=3e-4)
    assert north == pytest.approx(math.cos(math.radians(az)) * math.cos(math.radians(el)), abs=3e-4)
    assert header["DATE-OBS"] == "2019-08-04T21:38:31.991"
    assert (header["CALIBRAT"], header["GAINS"], header["TELESCOP"]) == ("good", "new", "Made ? array")
    assert header["FREQ"] == 1.57542e9
    assert "BUNIT" in header


def _ra_dec(truth, frame) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """The direction as right ascension and declination of a frame; infinitely far."""
    moved = truth.icrs.transform_to(frame)
    return moved.ra.deg, moved.dec.deg


def test_zenith_and_sun_agree_with_astropy() -> None:
    from astropy.coordinates import PrecessedGeocentric, get_sun
    from astropy.time import Time
    from astropy.utils import iers

    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        time = Time(TIME, format="unix")
        lst = time.sidereal_time("mean", longitude=DUNEDIN["longitude_deg"]).deg
        sun = get_sun(time).transform_to(PrecessedGeocentric(equinox=time, obstime=time))
    ra, dec = zenith_ra_dec(TIME, DUNEDIN["longitude_deg"], DUNEDIN["latitude_deg"])
    assert ra == pytest.approx(lst, abs=0.005)
    east, north, up = directions(*sun_az_el(TIME, DUNEDIN["longitude_deg"], DUNEDIN["latitude_deg"]))
    lat = math.radians(dec)
    sun_dec = math.degrees(math.asin(up * math.sin(lat) + north * math.cos(lat)))
    hour = math.degrees(math.atan2(-east, up * math.cos(lat) - north * math.sin(lat)))
    assert sun_dec == pytest.approx(sun.dec.deg, abs=0.02)
    assert (ra - hour) % 360 == pytest.approx(sun.ra.deg, abs=0.02)


@QUIET
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["signal_hill_2019-08-04.json", "rhodes_2022-07-23_calibration_data.json"])
def test_the_suns_pixel_has_the_suns_right_ascension(shared: Path, tmp_path: Path, name: str) -> None:
    from astropy.coordinates import PrecessedGeocentric, get_sun
    from astropy.io import fits
    from astropy.time import Time
    from astropy.utils import iers
    from astropy.wcs import WCS
    from astropy.wcs.utils import wcs_to_celestial_frame

    data = read_calibration_data(str(shared / "data" / "tart" / "json" / name))
    snapshot = data.snapshots[0]
    az, el = sun_az_el(snapshot.time, data.longitude_deg, data.latitude_deg)
    listed = [(one.az_deg, one.el_deg) for one in snapshot.sources if one.name == "sun"]
    if listed:
        assert apart_deg(listed[0], (az, el)) < 0.1
        az, el = listed[0]
    image = make_image(snapshot, data.positions, data.wavelength_m, size=512)
    path = write_fits(str(tmp_path / "sky.fits"), [image], data, snapshot)
    wcs = WCS(fits.getheader(path))
    east, north, up = directions(az, el)
    if up <= 0:
        pytest.skip("the sun was down")
    column, row = 255.5 - 256 * east, 255.5 + 256 * north
    ra, dec = wcs.wcs_pix2world(column, row, 0)
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        time = Time(snapshot.time, format="unix")
        date = wcs_to_celestial_frame(wcs).equinox
        sun = get_sun(time).transform_to(PrecessedGeocentric(equinox=date, obstime=time))
    assert math.hypot((ra - sun.ra.deg) * math.cos(math.radians(dec)), dec - sun.dec.deg) < 0.1


def test_fits_without_time_or_place_has_direction_cosines(tmp_path: Path) -> None:
    from astropy.io import fits
    from astropy.wcs import WCS

    snapshot = replace(observed((90.0, 30.0, 0.3)), time=math.nan)
    before = make_image(snapshot, POSITIONS, LAMBDA, size=128)
    images = [before, replace(before, gains="new")]
    path = write_fits(str(tmp_path / "sky.fits"), images, made_data(snapshot), snapshot, "check")
    with fits.open(path) as file:
        header = file[0].header
        assert [unit.header["EXTNAME"] for unit in file] == ["NONE", "NEW"]
        assert [unit.header["CALIBRAT"] for unit in file] == ["not judged", "check"]
    assert "DATE-OBS" not in header
    assert "OBSGEO-X" not in header
    row, column = np.unravel_index(np.nanargmax(images[0].values[::-1]), (128, 128))
    assert WCS(header).wcs_pix2world(column, row, 0) == pytest.approx((math.cos(math.radians(30)), 0), abs=0.01)
    with pytest.raises(ExistsError):
        write_fits(path, images, made_data(snapshot), snapshot)


def test_geocentric_places() -> None:
    assert geocentric_m(0, 0, 10) == pytest.approx((6378147, 0, 0))
    assert geocentric_m(0, 90, 0) == pytest.approx((0, 0, 6356752.314), abs=1e-3)


@pytest.mark.real_data
def test_contrast_of_stored_and_new_gains_is_that_of_the_reference(shared: Path) -> None:
    """Peak over MAD in Dunedin with the stored gains: 12.1 (reference section 4)."""
    data = read_calibration_data(str(shared / "data" / "tart" / "json" / "signal_hill_2019-08-04.json"))
    image = make_image(data.snapshots[0], data.positions, data.wavelength_m, data.gain, data.phase, gains="stored")
    assert image.contrast == pytest.approx(12.1, abs=0.6)
