"""The whole calibration, on the traps of the old HOWTO and on arrays that lack something."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skies

from calibrant.allsky.calibration import calibrate
from calibrant.allsky.snapshots import CalibrationData, from_json
from calibrant.allsky.verbs.calibrate import CalibrateResult, solve
from calibrant.allsky.verdict import judge
from calibrant.errors import DataError, FormatError, ParameterError, SolveError

Content = dict[str, Any]


@pytest.fixture
def howto() -> Content:
    """The HOWTO's file: one near source, put in by hand, with the HOWTO's own brightness."""
    content = skies.content(satellites=0, given=(skies.NEAR,), noise=0.005, seed=12)
    content["data"][0][1] = [{"az": 0.0, "el": 45.0, "jy": 100000.0, "name": "my source", "r": 25.0}]
    return content


@pytest.fixture
def sky() -> Content:
    """A file with satellites, as it is collected."""
    return skies.content(antennas=12, satellites=12, snapshots=2, seed=12)


def run(folder: Path, content: Content, **options: Any) -> CalibrateResult:
    path = folder / "calib_data.json"
    path.write_text(json.dumps(content))
    return solve(str(path), **options)


def true_gamma(**options: Any) -> np.ndarray:
    truth, _ = skies.simulated(**options)
    return np.asarray(np.exp(1j * truth.phase) / truth.gain)


# ---- traps of the HOWTO -----------------------------------------------------------------------------------


def test_the_howtos_file_works_as_it_is(howto: Content, tmp_path: Path) -> None:
    """jy 100000.0, which the old program silently dropped; one source; --method BH."""
    result = run(tmp_path, howto, method="BH", api="https://example.org", output=str(tmp_path / "gains.json"))
    assert result.verdict == "good" and result.exit_code == 0
    truth = true_gamma(satellites=0, given=(skies.NEAR,), noise=0.005, seed=12)
    phase, gain = skies.rms_errors(result.calibration.gamma, truth)
    assert phase < 0.3 and gain < 0.5
    written = json.loads((tmp_path / "gains.json").read_text())
    assert written["rot_degrees"] == 0.0 and len(written["gain"]) == 24
    assert any("--method BH was noted and not needed" in remark for remark in result.remarks)


@pytest.mark.parametrize("jy", [100000.0, 1.5e6, 0.0, None, "bright"])
def test_the_catalogues_brightness_is_not_looked_at(howto: Content, jy: Any) -> None:
    howto["data"][0][1][0]["jy"] = jy
    assert judge(calibrate(from_json(howto, "x"))).verdict == "good"


def test_the_direction_of_one_source_is_asked_about(howto: Content) -> None:
    reasons = judge(calibrate(from_json(howto, "x"))).reasons
    (words,) = (reason for reason in reasons if reason.startswith("With one source"))
    assert re.search(r"1 deg of direction is about \d\d deg of phase. Is 'my source' where it is said to be", words)


def test_a_source_given_by_option_needs_no_edited_file(howto: Content, tmp_path: Path) -> None:
    edited = run(tmp_path, howto).calibration
    howto["data"][0][1] = []
    given = run(tmp_path, howto, source=["az=0", "el=45", "r=25"]).calibration
    np.testing.assert_allclose(given.gamma, edited.gamma, atol=1e-6)


def test_a_catalogue_for_visibilities_that_were_collected_without_one(sky: Content, tmp_path: Path) -> None:
    """`collect --catalog none`; each snapshot gets the catalogue nearest in time."""
    usual = run(tmp_path, sky).calibration
    (tmp_path / "sky.json").write_text(json.dumps(sky))
    bare = {**sky, "data": [[seen, []] for seen, _ in sky["data"]]}
    result = run(tmp_path, bare, catalogue=str(tmp_path / "sky.json"))
    np.testing.assert_array_equal(result.calibration.gamma, usual.gamma)
    assert result.calibration.notes == usual.notes
    seen, known = sky["data"][0]
    sunless = [seen, [one for one in known if one["name"] != "sun"]]  # a sun of another time is refused
    (tmp_path / "early.json").write_text(json.dumps({**sky, "data": [sunless]}))
    late = run(tmp_path, bare, catalogue=str(tmp_path / "early.json"))
    assert any("15 min away; satellites move half a degree a minute" in note for note in late.calibration.notes)
    with pytest.raises(ParameterError, match="every snapshot has its own sources"):
        run(tmp_path, sky, catalogue=str(tmp_path / "sky.json"))


TRAPS: list[tuple[str, Callable[[Content], Any], type[Exception], str]] = [
    ("source deleted", lambda c: c["data"][0][1].clear(), DataError, "its list of sources is empty; give one with"),
    ("no source left", lambda c: c["data"][0][1][0].update(el=4.0), DataError, "none of its 1 source.s. is above 10"),
    ("no distance", lambda c: c["data"][0][1][0].pop("r"), ParameterError, r"deg at 25 m.*Give r in"),
    ("empty vis", lambda c: c["data"][0][0]["data"].clear(), DataError, "there are no visibilities"),
    ("all zero", lambda c: [row.update(re=0.0, im=0.0) for row in c["data"][0][0]["data"]], SolveError, "is zero"),
    ("no zone", lambda c: c["data"][0][0].update(timestamp="2019-05-10T00:39:27"), FormatError, "has no zone"),
    ("nan", lambda c: c["data"][0][0]["data"][5].update(im=math.nan), FormatError, "are not finite"),
    ("schema", lambda c: c.update(data={"vis": []}), FormatError, "data is dict, expected a list"),
]


@pytest.mark.parametrize(("spoil", "error", "words"), [row[1:] for row in TRAPS], ids=[row[0] for row in TRAPS])
def test_traps_are_refused_in_words(
    howto: Content, tmp_path: Path, spoil: Callable[[Content], Any], error: type[Exception], words: str
) -> None:
    spoil(howto)
    with pytest.raises(error, match=words):
        run(tmp_path, howto)


def test_a_catalogue_of_another_time_is_refused(sky: Content, tmp_path: Path) -> None:
    assert run(tmp_path, sky).verdict == "good"
    for row in sky["data"]:
        row[0]["timestamp"] = row[0]["timestamp"].replace("T00:", "T01:")
    with pytest.raises(DataError, match="the catalogue is of another time or place"):
        run(tmp_path, sky)


def test_a_time_without_zone_is_accepted_on_request(sky: Content, tmp_path: Path) -> None:
    for row in sky["data"]:
        row[0]["timestamp"] = row[0]["timestamp"].removesuffix("Z")
    assert run(tmp_path, sky, assume_utc=True).verdict == "good"


def test_null_gains_do_not_matter(sky: Content) -> None:
    sky["gains"]["gain"][4] = None
    result = calibrate(from_json(sky, "x"))
    assert judge(result).verdict == "good"
    assert "stored gain is null for antenna(s) 4" in judge(result).reasons


def test_missing_baselines_cost_little(sky: Content) -> None:
    rows = sky["data"][0][0]["data"]
    del rows[::4]
    result = calibrate(from_json(sky, "x"))
    truth = true_gamma(antennas=12, satellites=12, snapshots=2, seed=12)
    assert skies.rms_errors(result.gamma, truth)[0] < 1.5
    assert judge(result).verdict == "good"


def test_two_names_of_a_satellite(sky: Content) -> None:
    for row in sky["data"]:
        row[1].insert(0, {**row[1][0], "name": "the same by another name", "az": row[1][0]["az"] + 0.1})
    result = calibrate(from_json(sky, "x"))
    assert judge(result).verdict == "good"
    assert len({source.name for source in result.sources if source.name.startswith("SAT")}) == 11


# ---- sources that are not there ---------------------------------------------------------------------------


def test_a_given_source_that_is_silent(sky: Content) -> None:
    result = calibrate(from_json(sky, "x"), sources=(replace(skies.NEAR, name="mast"),))
    verdict = judge(result)
    assert verdict.verdict == "do not upload"
    assert verdict.reasons[0] == "The given source mast was not found: is it on, and where it is said to be?"


def test_a_beacon_among_silent_satellites() -> None:
    truth, _ = skies.simulated(satellites=10, given=(skies.NEAR,), seed=3)
    dark = replace(truth, fluxes=tuple(np.where(np.arange(11) == 0, flux, 0.0) for flux in truth.fluxes))
    result = calibrate(_data(dark), sources=(skies.NEAR,))
    assert judge(result).verdict == "good" and math.isnan(result.null_power)


@pytest.mark.parametrize(("satellites", "seed"), [(2, 1), (3, 2), (4, 4), (5, 5)])
def test_wrong_skies_of_few_sources_are_refused(satellites: int, seed: int) -> None:
    """One source fits in any direction: that one of several was found is no evidence."""
    _, data = skies.simulated(satellites=satellites, silent=0.0, seed=seed)
    assert judge(calibrate(data)).verdict == "good"
    assert judge(calibrate(skies.shuffled(data, seed))).verdict == "do not upload"


def _data(truth: Any) -> CalibrationData:
    from calibrant.allsky.simulate import to_json

    return from_json(to_json(truth), "x")


# ---- antennas ---------------------------------------------------------------------------------------------


def test_ignored_antennas_are_left_out(sky: Content) -> None:
    result = calibrate(from_json(sky, "x"), ignore=[2, 0])
    assert [one.state for one in result.antennas[:3]] == ["ignored", "good", "ignored"]
    assert result.reference == 1 and result.gain[1] == 1.0 and result.gain[0] == 0.0
    assert "Antenna 0 has no signal; antenna 1 is the reference in its place." in result.notes


def test_another_reference(sky: Content) -> None:
    first, third = calibrate(from_json(sky, "x")), calibrate(from_json(sky, "x"), reference=3)
    assert third.gain[3] == pytest.approx(1.0) and third.phase[3] == pytest.approx(0.0)
    assert skies.rms_errors(first.gamma, third.gamma)[0] < 1e-3
    assert third.antennas[3].phase_err == 0.0


def test_a_dead_reference_is_replaced_and_said_so() -> None:
    truth, data = skies.simulated(antennas=12, satellites=12, snapshots=2, dead=(0,), seed=4)
    result = calibrate(data)
    assert result.antennas[0].state == "dead" and result.reference == 1
    assert "Antenna 0 has no signal; antenna 1 is the reference in its place." in judge(result).reasons
    gamma = (np.exp(1j * truth.phase) / truth.gain)[1:]
    assert skies.rms_errors(result.gamma[1:], gamma)[0] < 1.5


def test_all_antennas_dead() -> None:
    _, data = skies.simulated(antennas=8, satellites=8, dead=tuple(range(8)), seed=4)
    assert judge(calibrate(data)).verdict == "do not upload"


@pytest.mark.parametrize(("option", "words"), [({"ignore": [12]}, "no antenna 12"), ({"reference": 99}, "no such")])
def test_antennas_that_are_not_there(sky: Content, option: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        calibrate(from_json(sky, "x"), **option)


def test_too_few_antennas(sky: Content) -> None:
    with pytest.raises(DataError, match="3 antennas have visibilities and are not ignored; 4 are needed"):
        calibrate(from_json(sky, "x"), ignore=range(9))


def test_the_same_seed_gives_the_same(sky: Content) -> None:
    one, two = calibrate(from_json(sky, "x"), seed=5), calibrate(from_json(sky, "x"), seed=5)
    np.testing.assert_array_equal(one.gamma, two.gamma)
    assert one.held_out_power == two.held_out_power and one.null_power == two.null_power


def test_chi2_is_one_where_the_noise_is_known(sky: Content) -> None:
    result = calibrate(from_json(sky, "x"), noise=0.003)
    assert result.chi2 == pytest.approx(1.0, abs=0.25)
    assert result.scatter == pytest.approx(0.003, rel=0.15)


def test_the_model_is_in_the_order_of_the_data(sky: Content) -> None:
    data = from_json(sky, "x")
    for model, snapshot in zip(calibrate(data).model, data.snapshots, strict=True):
        assert np.sqrt(np.mean(np.abs(model - snapshot.visibility) ** 2)) < 0.006
