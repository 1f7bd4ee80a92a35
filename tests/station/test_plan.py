"""What is up when, the elevations that a gain curve lacks, and two orders of visits."""

from __future__ import annotations

import calendar
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from calibrant.errors import DataError, ExistsError, FormatError, ParameterError
from calibrant.station.aquir import Call, Target, parse_aquir, read_aquir
from calibrant.station.fluxctl import default_flux
from calibrant.station.plan import aquir_order, coverage, filled, gain_sources, suggested_order, whats_up
from calibrant.station.records import Site
from calibrant.station.sky_position import tracks
from calibrant.station.verbs.plan import plan

START = calendar.timegm((2026, 11, 21, 18, 0, 0))
ONSALA = Site("Onsala", "on", 11.92, 57.39, 25.0)
HEAD = "initp -1 initp -2 85 180 180\n"
CONTROL = (
    HEAD + "0 10 360\n"
    "3c123 043704.17 +294015.1 2000 prep -1 10 5 0 postp -2\n"
    "casa 232324.8 +584859. 2000 prep -1 10 5 0 postp -2\n"
    "oj287 085448.9 +200631. 2000 prep -1 10 0 0 postp -2\n"
    "0521m365 052257.98 -362730.9 2000 prep -1 10 5 0 postp -2\n"
    "3c295 141120.65 +521209.1 2000 prep -1 10 5 0 postp -2\n"
)


def target(name: str, ra: str, dec: str, epoch: float = 2000.0) -> Target:
    return Target(name, ra, dec, epoch, Call("prep", -1), 10, 5, 0, Call("postp", -2))


def minutes(hours: float, start: float = START) -> np.ndarray:
    return start + 60.0 * np.arange(60 * hours + 1)


# ---------------------------------------------------------------- positions


def test_a_published_azimuth_and_elevation() -> None:
    """Meeus, Astronomical Algorithms, example 13.b: Venus from Washington, in apparent coordinates."""
    venus = target("venus", "230916.641", "-064311.61", 1987.2727)
    moment = calendar.timegm((1987, 4, 10, 19, 21, 0))
    seen = tracks(
        [venus],
        Site("", "", -(77 + 3 / 60 + 56 / 3600), 38 + 55 / 60 + 17 / 3600, 0.0),
        np.array([moment, moment + 1.0]),
    )
    assert seen.azimuth_deg[0, 0] == pytest.approx(180 + 68.0337, abs=0.01)
    assert seen.elevation_deg[0, 0] == pytest.approx(15.1249, abs=0.01)


def test_sources_culminate_at_90_minus_the_distance_to_the_zenith() -> None:
    now = [target("a", "043704", "+294015", 2026.9), target("b", "120000", "-102030", 2026.9)]
    top = tracks(now, ONSALA, minutes(24)).elevation_deg.max(axis=1)
    assert top == pytest.approx([90 - 57.39 + item.dec_deg for item in now], abs=0.02)


def test_sun_and_moon() -> None:
    noon = calendar.timegm((2000, 6, 21, 6, 0, 0))
    sun = tracks([target("SUN", "0", "0")], Site("", "", 0.0, 51.4769, 46.0), minutes(12, noon))
    assert sun.elevation_deg.max() == pytest.approx(90 - 51.4769 + 23.438, abs=0.01)
    assert sun.times[sun.elevation_deg[0].argmax()] == pytest.approx(noon + 6 * 3600 + 110, abs=90)  # equation of time
    # Meeus, example 47.a: RA 134.688470, Dec 13.768368 at 1992 April 12 0h TD; in the zenith of that place
    moment = calendar.timegm((1992, 4, 11, 23, 59, 1))
    days = moment / 86400 + 2440587.5 - 2451545.0
    longitude = (134.688470 - 280.46061837 - 360.98564736629 * days) % 360
    moon = tracks([target("moon", "0", "0")], Site("", "", longitude, 13.768368, 0.0), np.array([moment, moment + 1.0]))
    assert moon.elevation_deg[0, 0] > 89.9


def test_positions_between_computed_ones_are_good_to_an_arc_minute() -> None:
    sources = [target("high", "232324.8", "+584859"), target("low", "091805.7", "-120544"), target("moon", "0", "0")]
    every_minute = tracks(sources, ONSALA, minutes(6))
    exact = tracks(sources, ONSALA, every_minute.times[2::37])
    np.testing.assert_allclose(every_minute.elevation_deg[:, 2::37], exact.elevation_deg, atol=1 / 60)


LINE = re.compile(r"^(\d{4})\.(\d{3})\.(\d\d):(\d\d):([\d.]+)#onoff#(ORIG|VAL) +(.*)")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("log", "site"),
    [("r1730ny", (11.87, 78.93, 89.6)), ("r1749on", (11.92, 57.39, 25.3)), ("r1751kk", (-159.66, 22.13, 1140.0))],
)
def test_real_logs_saw_the_sources_where_they_should_be(shared: Path, log: str, site: tuple[float, ...]) -> None:
    """VAL gives 0.1 deg at the start, and agrees with geometric elevations (refraction would add 0.07 at 14 deg)."""
    places = {t.name: t for t in read_aquir(shared / "data/rxg/fs_defaults/ctlpo.ctl").targets}
    begun, seen = 0.0, {}
    with gzip.open(shared / f"data/fs_logs/{log}.log.gz", "rt", errors="replace") as lines:
        for match in filter(None, map(LINE.match, lines)):
            year, day, hour, minute, second = (float(word) for word in match.groups()[:5])
            if match[6] == "ORIG":
                begun = calendar.timegm((int(year), 1, 1, 0, 0, 0)) + 86400 * (day - 1)
                begun += 3600 * hour + 60 * minute + second
            else:
                words = match[7].split()
                seen[begun, words[0]] = float(words[1]), float(words[2])
    assert len(seen) >= 2
    for (time, name), (azimuth, elevation) in seen.items():
        found = tracks([places[name]], Site("", "", *site), np.array([time, time + 1.0]))
        assert found.elevation_deg[0, 0] == pytest.approx(elevation, abs=0.06)
        turn = (found.azimuth_deg[0, 0] - azimuth + 180) % 360 - 180
        assert abs(turn) * np.cos(np.radians(elevation)) < 0.06


# ---------------------------------------------------------------- what is up


def test_up_means_above_the_mask_and_below_the_upper_limit() -> None:
    sky = whats_up(parse_aquir(CONTROL.replace("0 10 360", "0 30 180 10 360"), "a.ctl"), ONSALA, START, 24)
    names = [t.name for t in sky.control.targets]
    for n, name in enumerate(names):
        azimuth, elevation = sky.tracks.azimuth_deg[n], sky.tracks.elevation_deg[n]
        low = np.where(azimuth <= 180, 30, 10)
        np.testing.assert_array_equal(sky.up[n], (elevation > low) & (elevation < 85), err_msg=name)
    assert sky.intervals(names.index("0521m365")) == []
    casa = sky.intervals(names.index("casa"))  # culminates at 88 deg: lost above 85, and in the east below 30
    assert len(casa) == 2 and START < casa[0][0] < casa[0][1] < casa[1][0] < casa[1][1] < START + 86400


def test_rise_and_set_are_right_to_a_minute() -> None:
    """cos H = (sin 10 - sin lat sin dec) / (cos lat cos dec): the hours that a source is above 10 deg."""
    control = parse_aquir(HEAD + "0 10 360\nvirgoa 123049.42 +122328.0 2000 prep -1 0 5 0 postp -2\n", "a.ctl")
    sky = whats_up(control, ONSALA, START, 24)
    ((rise, end),) = sky.intervals(0)
    dec, lat = np.radians(12.2437), np.radians(57.39)  # precessed to 2026.9
    half = np.degrees(np.arccos((np.sin(np.radians(10)) - np.sin(lat) * np.sin(dec)) / (np.cos(lat) * np.cos(dec))))
    assert end - rise == pytest.approx(2 * half / 360.9856 * 86400, abs=120)


def test_coverage_names_what_is_done_what_can_come_and_what_never_does() -> None:
    control = parse_aquir(CONTROL, "a.ctl")
    sky = whats_up(control, ONSALA, START, 2)
    done = [("3c123", 41.0), ("3c123", 44.0), ("casa", 61.0), ("quasar", 15.0), ("sun", 12.0)]
    bins = {item.low_deg: item for item in coverage(sky, default_flux(), done)}
    assert bins[40].done == {"3c123": 2} and bins[40].state == "covered" and bins[60].done == {"casa": 1}
    assert bins[10].done == {} and bins[10].state == "later"  # 3c123 sets in the morning; an unknown flux is no help
    assert bins[0].state == "limits" and bins[30].state == "reachable"
    assert {name for name, _, _ in bins[30].reachable} == {"3c123"}
    for _, first, last in bins[30].reachable:
        rows = slice(sky.minute(first), sky.minute(last) + 1)
        assert np.all((sky.tracks.elevation_deg[0, rows] >= 30) & (sky.tracks.elevation_deg[0, rows] < 40))
    assert {name for name, _, _ in bins[80].reachable} == {"casa"}  # a pointing source where no calibrator comes
    alone = whats_up(parse_aquir(HEAD + "0 10 360\n" + CONTROL.split("\n")[2] + "\n", "a.ctl"), ONSALA, START, 3)
    assert {item.low_deg: item.state for item in coverage(alone, default_flux())}[80] == "never"
    assert len(coverage(sky, default_flux(), width=5)) == 18


# ---------------------------------------------------------------- the order of visits


def test_aquir_takes_the_order_of_the_file_and_its_waits() -> None:
    sky = whats_up(parse_aquir(CONTROL.replace("85", "90"), "a.ctl"), ONSALA, START, 2)
    visits = aquir_order(sky, slew=1e9)
    assert [v.name for v in visits[:6]] == ["3c123", "casa", "3c295"] + ["3c123", "casa", "3c295"]
    assert np.diff([v.time for v in visits[:3]]) == pytest.approx([15 * 60 + 10] * 2)
    assert visits[0].time == START + 10 and visits[-1].time < START + 7200
    slow = aquir_order(sky, slew=1.0)
    assert not all(v.reached for v in slow)  # 180 s at 1 deg/min: error AQ -20


def test_nothing_up_ends_all_the_same() -> None:
    control = parse_aquir(HEAD + "0 10 360\n" + CONTROL.split("\n")[5] + "\n", "a.ctl")
    sky = whats_up(control, ONSALA, START, 3)
    assert (
        aquir_order(sky, 40.0) == [] and suggested_order(sky, default_flux(), coverage(sky, default_flux()), 40.0) == []
    )


def test_the_suggested_order_fills_what_lacks_from_known_sources_that_stay_up() -> None:
    control = parse_aquir(CONTROL, "a.ctl")
    sky, flux = whats_up(control, ONSALA, START, 24), default_flux()
    bins = coverage(sky, flux, [("3c123", 25.0)])
    sources = list(gain_sources(control, flux))
    assert [control.targets[n].name for n in sources] == ["3c123", "casa", "3c295"] or 3 in sources
    visits = suggested_order(sky, flux, bins, slew=40.0)
    assert "oj287" not in {v.name for v in visits}
    lacking = [b for b in bins if b.state == "reachable"]
    assert len(filled(visits, bins, sources)) >= len(filled(aquir_order(sky, 40.0), bins, sources))
    assert len(filled(visits, bins, sources)) >= len(lacking) - 1
    for visit in visits:
        assert sky.up[visit.target, sky.minute(visit.time)] or visit.elevation_deg < 11
        assert sky.up[visit.target, sky.minute(visit.time + 15 * 60)]


def test_a_pointing_source_is_visited_where_no_calibrator_ever_comes() -> None:
    """Cas A culminates at 70 degrees on Spitsbergen, Cygnus A at 52."""
    lines = HEAD + "0 10 360\n" + CONTROL.split("\n")[3] + "\ncygnusa 195928.4 +404402. 2000 prep -1 0 15 0 postp -2\n"
    control = parse_aquir(lines, "a.ctl")
    sky, flux = whats_up(control, Site("NyAlesun", "ny", 11.87, 78.93, 90.0), START, 24), default_flux()
    assert gain_sources(control, flux) == {0: "p", 1: "c"}
    bins = coverage(sky, flux, [("casa", 65.0)])
    visits = suggested_order(sky, flux, bins, slew=40.0)
    assert len(filled(visits, bins, [0, 1])) == len(filled(aquir_order(sky, 40.0), bins, [0, 1]))
    assert {v.name for v in visits} == {"casa", "cygnusa"}


# ---------------------------------------------------------------- the verb


@pytest.fixture
def control(tmp_path: Path) -> Path:
    path = tmp_path / "tonight.ctl"
    path.write_text(CONTROL)
    return path


def test_the_page_fits_and_says_it_all(control: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    new = "better.ctl"
    result = plan(control.name, site="11.92,57.39,25", start="2026-11-21T18:00", output=new)
    page = result.summary()
    assert max(map(len, page.splitlines())) <= 100
    for words in (
        "2026.325.18:00:00 to 2026.326.18:00:00 UTC",
        "Never up, with the highest elevation: 0521m365",
        "outside the mask and the upper limit",
        "In the order of the file",
        "wait -1 for 'prep'",
        f"wrote {new}",
    ):
        assert words in " ".join(page.split())
    casa = next(source for source in result.sources if source.name == "casa")
    assert len(casa.line) == 72 and set(casa.line) <= set(".012345678")
    assert [t.name for t in read_aquir(new).targets] == [v.name for v in result.suggested]
    assert json.loads(json.dumps(result.to_dict(), default=float))["sources"][0]["up"]
    with pytest.raises(ExistsError):
        plan(control.name, site="11.92,57.39,25", start="2026-11-21T18:00", output=new)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["better.ctl", "tonight.ctl"]


def test_a_window_of_several_days_names_the_days(control: Path) -> None:
    result = plan(str(control), site="-159.66,22.13,1140", start="2026-11-21T18:00", hours=72, bin_width=5)
    page = result.summary().splitlines()
    assert max(map(len, page[1:])) <= 100 and len(result.bins) == 18
    assert any("0521m365" in line and "326.08:07-326.15:47" in line for line in page)


def test_start_may_be_written_as_in_a_log_and_defaults_to_now(control: Path) -> None:
    assert plan(str(control), site="11.92,57.39,25", start="2026.325.18:00", hours=1).start == START
    assert plan(str(control), site="11.92,57.39,25", hours=1).start % 60 == 0


@pytest.mark.real_data
def test_site_and_done_scans_come_from_a_log(shared: Path, control: Path) -> None:
    log = str(shared / "data/fs_logs/r1749on.log.gz")
    result = plan(str(control), done=[log], start="2026-11-21T18:00", hours=6)
    assert result.site.longitude_deg == pytest.approx(11.92) and result.site.name.strip() == "Onsala"
    assert {item.low_deg: item.done for item in result.bins if item.done} == {10: {"cygnusa": 1}, 20: {"casa": 1}}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "no site"),
        ({"site": "11.92,57.39"}, "site="),
        ({"site": "nan,57,0"}, "site="),
        ({"site": "11,95,0"}, "latitude"),
        ({"site": "11,57,0", "start": "tomorrow"}, "start="),
        ({"site": "11,57,0", "start": "18:00"}, "no date"),
        ({"site": "11,57,0", "hours": 0.0}, "hours="),
        ({"site": "11,57,0", "hours": 1000.0}, "hours="),
        ({"site": "11,57,0", "bin_width": 0.0}, "bin_width="),
        ({"site": "11,57,0", "slew": float("nan")}, "slew="),
    ],
)
def test_bad_parameters_are_refused(control: Path, options: dict, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        plan(str(control), **options)


def test_bad_files_are_refused(tmp_path: Path, control: Path) -> None:
    with pytest.raises(DataError, match="nothere"):
        plan(str(tmp_path / "nothere"), site="11,57,0")
    control.write_text(CONTROL.replace("+294015.1", "+29:40"))
    with pytest.raises(FormatError, match=r"tonight.ctl:3: .*'\+29:40'"):
        plan(str(control), site="11,57,0")
