"""The listing of a MeasurementSet against CASA 6.7.6.14's listobs, and against made-up rows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.ms.index import MSIndex, open_index
from calibrant.ms.listobs import Listing, array_centre, geodetic, local_offsets, read_listing
from calibrant.ms.listobs_text import listing_text

TINY_SCANS = [  # scan, field, rows, begin, end as CASA prints them
    (1, "J2253+1608", 800, "05:00:00.0", "05:01:00.5"),
    (2, "Neptune", 400, "05:01:12.6", "05:01:42.8"),
    (3, "J0006-0623", 240, "05:01:54.9", "05:02:13.1"),
    (4, "TARGET01", 400, "05:02:25.2", "05:02:55.4"),
    (5, "J0006-0623", 240, "05:03:07.5", "05:03:25.6"),
    (6, "TARGET01", 400, "05:03:37.7", "05:04:08.0"),
    (7, "J0006-0623", 240, "05:04:20.1", "05:04:38.2"),
]


@pytest.fixture(scope="module")
def tiny(oracle: Path) -> Listing:
    return read_listing(open_index(str(oracle / "tiny.ms")))


@pytest.mark.oracle
def test_scans_are_casas(tiny: Listing) -> None:
    text = listing_text(tiny).splitlines()
    for scan, field, rows, begin, end in TINY_SCANS:
        line = next(line for line in text if f"{begin} - {end}" in line)
        assert line.split("- ", 1)[1].split()[1:] == [
            str(scan), str(tiny.index.fields.name.index(field)), field, str(rows), "[0,1,2]", "[6.05]", "each",
        ]  # fmt: skip
    assert tiny.scans[0].intents == ["CALIBRATE_BANDPASS#ON_SOURCE", "CALIBRATE_WVR#ON_SOURCE"]
    assert tiny.scans[0].intervals == pytest.approx([6.048] * 3)


@pytest.mark.oracle
def test_dictionary_is_casas(tiny: Listing) -> None:
    listed = tiny.to_dict()
    assert listed["BeginTime"] == pytest.approx(60537.208333333336, abs=1e-9)
    assert listed["EndTime"] == pytest.approx(60537.21155333335, abs=1e-9)
    assert listed["IntegrationTime"] == pytest.approx(278.2080011367798, abs=1e-5)
    assert (listed["nfields"], listed["numrecords"], listed["timeref"]) == (4, 2720, "UTC")
    assert listed["scan_2"]["0"] == {
        "BeginTime": pytest.approx(60537.20917333334, abs=1e-9), "EndTime": pytest.approx(60537.20952333335, abs=1e-9),
        "FieldId": 1, "FieldName": "Neptune", "IntegrationTime": pytest.approx(6.048), "SpwIds": [0, 1, 2],
        "StateId": 1, "nRow": 400, "scanId": 2,
    }  # fmt: skip
    # CASA gives right ascension from -pi to pi
    assert np.exp(1j * listed["field_0"]["direction"]["m0"]["value"]) == pytest.approx(np.exp(-0.2881430966405436j))
    assert listed["field_0"]["direction"]["m1"]["value"] == pytest.approx(0.28183945219602075, abs=1e-12)
    assert json.loads(json.dumps(listed)) == listed


@pytest.mark.oracle
def test_fields_spws_and_sources_are_casas(tiny: Listing) -> None:
    lines = [" ".join(line.split()) for line in listing_text(tiny).splitlines()]
    assert "2 none J0006-0623 00:06:13.893000 -06.23.35.33000 J2000 2 720" in lines
    assert "1 ALMA_RB_03#BB_2#SW-01#FULL_RES 64 TOPO 109664.812 3662.109 234375.0 109780.1689 2 XX YY" in lines
    assert "2 WVR#NOMINAL 4 TOPO 184190.000 160000.000 7500000.0 186935.0000 3 XX" in lines
    assert "3 TARGET01 2 109782.173000 0" in lines
    assert "Spectral Windows:  (3 unique spectral windows and 2 unique polarization setups)" in listing_text(tiny)


@pytest.mark.oracle
def test_scan_table_fits_a_page(tiny: Listing) -> None:
    text = listing_text(tiny)
    scans = text[: text.index("Spectral Windows")]
    # the line that names the MeasurementSet is as long as its path
    assert max(len(line) for line in scans.splitlines() if tiny.index.path not in line) <= 100


@pytest.mark.oracle
def test_antenna_positions(tiny: Listing, oracle: Path) -> None:
    antennas = tiny.index.antennas
    offsets = local_offsets(antennas.position, array_centre("ALMA", antennas.position))
    casa = [line.split() for line in (oracle / "out" / "listobs.txt").read_text().splitlines()[-len(antennas) :]]
    for k, words in enumerate(casa):
        assert words[1:3] == [antennas.name[k], antennas.station[k]]
        theirs = np.array([float(word) for word in words[-6:-3]])
        # same centre; CASA's up is away from the Earth's centre, ours is vertical: 0.13 degrees apart
        assert offsets[k, 0] == pytest.approx(theirs[0], abs=0.02)
        assert np.linalg.norm(offsets[k]) == pytest.approx(np.linalg.norm(theirs), abs=0.02)
        assert antennas.position[k] == pytest.approx([float(word) for word in words[-3:]], abs=1e-6)


@pytest.mark.oracle
@pytest.mark.casa
def test_live_casa_lists_the_same(tiny: Listing, tiny_ms: Path, casa_python: str) -> None:
    ask = (
        "import json, sys; from casatasks import listobs; d = listobs(sys.argv[1], listfile='out.txt');"
        "print('ANSWER' + json.dumps(d, default=lambda v: v.tolist()))"
    )
    done = subprocess.run(
        [casa_python, "-c", ask, str(tiny_ms)], cwd=tiny_ms.parent, capture_output=True, text=True, check=True
    )
    theirs = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("ANSWER"))[6:])
    ours = tiny.to_dict()
    assert set(ours) == set(theirs)
    for name in (key for key in ours if key.startswith("scan_")):
        assert_same(ours[name], theirs[name])


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Equal dictionaries; numbers to 1e-6 relative, times in days to 1 ms."""
    assert set(ours) == set(theirs)
    for key, value in ours.items():
        if isinstance(value, dict):
            assert_same(value, theirs[key])
        elif isinstance(value, float):
            assert value == pytest.approx(theirs[key], abs=1e-8, rel=1e-11 if value > 1e4 else 1e-6)
        else:
            assert value == theirs[key]


@pytest.mark.real_data
def test_several_observations_and_mosaic(unpack: Callable[[str], Path]) -> None:
    folder = unpack("data/alma/Antennae_North.cal.lsrk.split.ms.tar.gz")
    listing = read_listing(open_index(str(folder / "Antennae_North.cal.lsrk.split.ms")))
    assert listing.nrow == 9285
    assert listing.end - listing.begin == pytest.approx(1303071.696, abs=1e-3)  # CASA 6.7.6
    first = [(line.scan, line.field, line.nrow) for line in listing.scans if line.observation == 0][:4]
    assert first == [(9, 0, 225), (9, 1, 225), (9, 2, 225), (17, 0, 225)]
    text = listing_text(listing)
    assert "ObservationID = 1         ArrayID = 0" in text
    assert text.count("OBSERVE_TARGET#ON_SOURCE") == len(listing.scans)


@pytest.mark.real_data
def test_vlbi_has_no_states_sources_or_common_horizon(unpack: Callable[[str], Path]) -> None:
    folder = unpack("data/vlba/VLBA_TL016B_rebuilt.ms.tar.gz")
    listing = read_listing(open_index(str(folder / "VLBA_TL016B_rebuilt.ms")))
    subscans = listing.to_dict()["scan_0"]
    assert {k: (s["FieldName"], s["nRow"], s["StateId"]) for k, s in subscans.items()} == {
        "0": ("4C39.25", 22000, -1), "1": ("J1154+6022", 58014, -1),
    }  # fmt: skip
    text = listing_text(listing)
    assert "The SOURCE table is empty" in text
    assert "    -      -   -" in text


@pytest.mark.oracle
def test_order_of_rows_does_not_matter(oracle: Path) -> None:
    index = open_index(str(oracle / "tiny.ms"))
    expected = read_listing(index)
    shuffled = np.random.default_rng(2).permutation(index.nrow)
    for name in list(index._cache):
        index._cache[name] = index._cache[name][shuffled]
    found = read_listing(index)
    assert [(s.scan, s.field, s.nrow, s.spws) for s in found.scans] == [
        (s.scan, s.field, s.nrow, s.spws) for s in expected.scans
    ]
    assert [s.begin for s in found.scans] == [s.begin for s in expected.scans]


def test_ids_with_large_gaps_are_grouped() -> None:
    n = 12
    index = MSIndex("gaps.ms", n, ())
    scan = np.tile(np.array([5, 2_000_000_000], np.int32), n // 2)
    ids = ("DATA_DESC_ID", "FIELD_ID", "STATE_ID", "OBSERVATION_ID", "ARRAY_ID", "ANTENNA1", "ANTENNA2")
    index._cache.update({name: np.zeros(n, np.int32) for name in ids})
    index._cache.update(SCAN_NUMBER=scan, TIME=np.arange(n) + 5e9, INTERVAL=np.full(n, 1.0))
    index.__dict__.update(state_modes=["A#B,C#D"], _data_description=(np.zeros(1, np.int32), np.zeros(1, np.int32)))
    index.subtable = lambda name: {}  # type: ignore[method-assign]
    from calibrant.ms import listobs

    groups = listobs._groups(
        [index.obs, index.array, index.scan, index.field, index.state, index.ddid], index.time, index.time
    )
    lines = listobs._scan_lines(index, groups)
    assert [(line.scan, line.nrow, line.intents) for line in lines] == [
        (5, 6, ["A#B", "C#D"]), (2_000_000_000, 6, ["A#B", "C#D"]),
    ]  # fmt: skip


def test_geodetic_coordinates_are_astropys() -> None:
    from astropy.coordinates import EarthLocation

    places = np.array([[-1601185.4, -5041977.5, 3554875.9], [2225142.2, -5440307.4, -2481029.9], [6378137.0, 0, 0]])
    expected = EarthLocation.from_geocentric(*places.T, unit="m").to_geodetic("WGS84")
    lon, lat = geodetic(places)
    assert np.degrees(lon) == pytest.approx(expected.lon.deg, abs=1e-9)
    assert np.degrees(lat) == pytest.approx(expected.lat.deg, abs=1e-9)


def test_offsets_point_east_north_and_up() -> None:
    centre = np.array([6378137.0, 0.0, 0.0])
    moved = centre + np.array([[0, 10.0, 0], [0, 0, 10.0], [10.0, 0, 0]])
    assert local_offsets(moved, centre) == pytest.approx(10 * np.eye(3), abs=1e-9)


def test_centre_of_an_unknown_array_is_its_mean_antenna() -> None:
    assert array_centre("BACKYARD", np.array([[0.0, 0, 0], [2.0, 4.0, 6.0]])).tolist() == [1.0, 2.0, 3.0]
