"""The report of an all-sky calibration, and the verbs that write it and the pictures."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibrant.allsky.calibration import Calibration, calibrate
from calibrant.allsky.figures import material, moment, stored_in_gauge, without_stored
from calibrant.allsky.snapshots import CalibrationData, Snapshot, Source
from calibrant.allsky.steering import steering
from calibrant.allsky.verbs.image import image
from calibrant.allsky.verdict import Verdict, judge
from calibrant.errors import CalibrantError, DataError, ExistsError, ParameterError
from calibrant.jobs.allsky_calibrate import calibrate as job
from calibrant.weblog.allsky import render, steps_of, write_allsky_report

SKY = ((20.0, 60.0, 0.3), (150.0, 40.0, 0.2), (260.0, 50.0, 0.15), (320.0, 30.0, 0.1), (90.0, 25.0, 0.0))


def made(sky: tuple[tuple[float, float, float], ...] = SKY, snapshots: int = 1, **changes: object) -> CalibrationData:
    """Data of twelve antennas, the last one dead."""
    rng = np.random.default_rng(5)
    positions = np.column_stack([rng.uniform(-1.2, 1.2, (12, 2)), np.zeros(12)])
    gamma = rng.uniform(0.8, 1.2, 12) * np.exp(1j * rng.uniform(-3, 3, 12))
    gamma[11] = 0
    i, j = np.triu_indices(12, 1)
    taken = []
    for number in range(snapshots):
        known = tuple(Source(f"sat <{k}> (PRN {k})", az + 5 * number, el) for k, (az, el, _) in enumerate(sky))
        u = steering(known, positions, 0.19029)
        v = sum((s[2] * one[i] * one[j].conj() for s, one in zip(sky, u, strict=True)), np.zeros(len(i), complex))
        noise = 0.0015 * (rng.standard_normal(len(i)) + 1j * rng.standard_normal(len(i)))
        v = v * gamma[i] * gamma[j].conj() + noise
        taken.append(Snapshot(1564954711.991 + 300 * number, i, j, v, known, f"made.json: snapshot {number + 1}"))
    usual = CalibrationData(
        "Made <b>array</b>", positions, tuple(taken), gain=np.full(12, 1.5), phase=rng.uniform(-3, 3, 12),
        path="made.json", longitude_deg=170.5, latitude_deg=-45.85,
    )  # fmt: skip
    return replace(usual, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def solved() -> Calibration:
    return calibrate(made())


@pytest.fixture(scope="module")
def text(solved: Calibration) -> str:
    page = render(
        solved, judge(solved), "out dir/gains.json", ("--method BH was noted",), "calibrant allsky calibrate x"
    )
    return re.sub(r'base64,[^"]*', "", page)


@pytest.fixture
def words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without figures, which take most of the time."""
    monkeypatch.setattr("calibrant.weblog.allsky.PLOTS", {})


@pytest.mark.usefixtures("words_only")
def test_page_is_one_file(solved: Calibration, tmp_path: Path) -> None:
    path = write_allsky_report(solved, judge(solved), str(tmp_path / "report.html"))
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert "Verdict: good" in Path(path).read_text()


def test_page_has_no_external_resources(text: str) -> None:
    assert "http" not in text
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]{0,20})', text))


def test_verdict_comes_first_in_words_with_reasons(text: str, solved: Calibration) -> None:
    order = ["Verdict: good", "These gains can be uploaded", "What now</h2>", "The sky before and after</h2>",
             "Evidence</h2>", "Antennas</h2>", "Sources</h2>",
             "Residuals</h2>", "Orientation</h2>", "Notes</h2>"]  # fmt: skip
    body = text[text.index("<main>") :]
    places = [body.index(words) for words in order]
    assert places == sorted(places)
    assert "Antenna 11: no signal." in text
    assert f"{100 * solved.held_out_power:.1f} %" in text


def test_names_are_escaped_and_figures_drawn(text: str) -> None:
    assert "<b>" not in text
    assert "Made &lt;b&gt;array" in text
    assert "could not be drawn" not in text
    assert text.count("<img ") == 10
    assert all(re.search(r'alt="[^"]{10,}"', picture) for picture in re.findall(r"<img [^>]*>", text))


def test_upload_is_explained_with_the_users_own_file(text: str) -> None:
    assert "calibrant allsky upload &#39;out dir/gains.json&#39; --api &#34;$TART_API&#34; --dry-run" in text
    assert "calibrant allsky rollback" in text
    assert "CALIBRANT_TART_PASSWORD" in text
    assert "--method BH was noted." in text
    assert "calibrant allsky calibrate x" in text


def test_dead_antennas_have_no_phase_and_gain_zero(text: str) -> None:
    row = text[text.index('<td class="n">11</td>') :].partition("</tr>")[0]
    assert re.findall(r"<td[^>]*>([^<]*)", row)[:6] == ["11", "dead", "0.0000", "–", "–", "–"]


@pytest.mark.usefixtures("words_only")
def test_a_bad_verdict_says_what_to_do_instead(solved: Calibration) -> None:
    page = render(solved, Verdict("do not upload", ("It does not fit.",)))
    assert 'class="verdict bad"' in page
    assert "Do not upload these gains as they are" in page
    assert "allsky collect" in page
    assert "allsky upload" not in re.sub(r'base64,[^"]*', "", page)


@pytest.mark.usefixtures("words_only")
def test_mirrored_arrays_are_uploaded_with_their_positions_after_a_look(solved: Calibration) -> None:
    mirrored = replace(solved, mirror=True, rotation_deg=39.3)
    commands = [command for _, command in steps_of(mirrored, "do not upload", "gains.json")]
    assert commands[0].endswith("--positions --force --dry-run")
    assert not any("upload" in command and "--dry-run" not in command for command in commands)
    page = render(mirrored, Verdict("do not upload", ()))
    assert "mirrored east to west and turned by 39.30" in page


@pytest.mark.parametrize(
    "data",
    [
        made(snapshots=3, gain=np.ones(12), phase=np.zeros(12)),
        made(SKY[:1], gain=None, phase=None, latitude_deg=math.nan, name=""),
    ],
    ids=["three snapshots, stored gains all the same", "one source, no place, nothing stored"],
)
def test_pages_of_little_and_of_much(data: CalibrationData) -> None:
    result = calibrate(data)
    page = re.sub(r'base64,[^"]*', "", render(result, judge(result)))
    assert "could not be drawn" not in page
    assert ("Further snapshots</h2>" in page) == (len(data.snapshots) > 1)
    assert ("Stored gains" in page) == (without_stored(data) == "")


def test_stored_gains_are_compared_in_the_gauge_of_the_reference() -> None:
    data = made(gain=np.linspace(1, 2.1, 12), phase=np.linspace(0, 1.1, 12))
    gain, phase = stored_in_gauge(data, 1)
    assert gain is not None
    assert phase is not None
    assert (gain[1], phase[1]) == (1.0, 0.0)
    dead = made(gain=np.array([0.0, *np.linspace(1, 2, 11)]), phase=np.linspace(0, 1.1, 12))
    gain, _ = stored_in_gauge(dead, 0)
    assert gain is not None
    assert math.isnan(gain[0])
    assert stored_in_gauge(made(gain=np.zeros(12), phase=np.zeros(12)), 0) == (None, None)


def test_residuals_are_of_antennas_with_a_solution(solved: Calibration) -> None:
    what = material(solved, 64)
    assert len(what.observed) == len(what.model) == len(what.length) == 55
    assert np.abs(what.observed - what.model).max() < 0.01
    assert moment(math.nan) == ""


def as_file(data: CalibrationData, path: Path) -> str:
    """The data as the file of `allsky collect`."""
    entries = [
        [{"timestamp": "2019-08-04T21:38:31.991Z",
          "data": [{"i": int(i), "j": int(j), "re": v.real, "im": v.imag}
                   for i, j, v in zip(one.antenna1, one.antenna2, one.visibility, strict=True)]},
         [{"name": s.name, "az": s.az_deg, "el": s.el_deg, "r": 2e7, "jy": 1.5e6} for s in one.sources]]
        for one in data.snapshots
    ]  # fmt: skip
    gains = None
    if data.gain is not None and data.phase is not None:
        gains = {"gain": data.gain.tolist(), "phase_offset": data.phase.tolist()}
    info = {"info": {"name": data.name, "location": {"lon": 170.5, "lat": -45.85, "alt": 270.0}}}
    content = {"info": info, "ant_pos": data.positions.tolist(), "gains": gains, "data": entries}
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.usefixtures("words_only")
def test_job_and_image_verb_write_what_they_say(tmp_path: Path) -> None:
    file, gains, report = as_file(made(), tmp_path / "calib.json"), tmp_path / "gains.json", tmp_path / "report.html"
    result = job(file, output=str(gains), report=str(report))
    assert (result.verdict, result.output, result.report) == ("good", str(gains), str(report))
    assert f"Report: {report}" in result.summary()
    assert "The same again" in report.read_text()
    with pytest.raises(ExistsError):
        job(file, report=str(report))

    sky = image(file, gains=str(gains), output=str(tmp_path / "sky.png"), compare=True, size=128)
    assert [one.gains for one in sky.images] == ["none", "stored", "new"]
    assert sky.images[-1].contrast > 1.2 * sky.images[0].contrast
    assert [one.found for one in sky.sources] == [True, True, True, True, False]
    json.dumps(sky.to_dict(), allow_nan=False)
    with pytest.raises(ExistsError):
        image(file, output=str(tmp_path / "sky.png"))
    assert image(file, output=str(tmp_path / "sky.svg"), size=64).output.endswith(".svg")


def test_image_verb_writes_fits_with_an_extension_for_each_set_of_gains(tmp_path: Path) -> None:
    from astropy.io import fits

    data = made()
    file = as_file(replace(data, gain=np.linspace(1, 2, 12), phase=data.phase), tmp_path / "calib.json")
    gains = tmp_path / "gains.json"
    job(file, output=str(gains))
    image(file, gains=str(gains), output=str(tmp_path / "sky.fits"), compare=True, size=64)
    with fits.open(tmp_path / "sky.fits") as units:
        assert [(one.header["GAINS"], one.header["CALIBRAT"]) for one in units] == [
            ("none", "not judged"), ("stored", "not judged"), ("new", "good"),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"snapshot": 2}, "counted from 1"),
        ({"output": "sky.jpg"}, "expected a name that ends"),
        ({"size": 5}, "size=5"),
    ],
)
def test_image_verb_refuses(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    file = as_file(made(), tmp_path / "calib.json")
    with pytest.raises(ParameterError, match=words):
        image(file, **{"output": str(tmp_path / "sky.png"), **changes})  # type: ignore[arg-type]


def test_image_verb_refuses_gains_of_another_array(tmp_path: Path) -> None:
    file, gains = as_file(made(), tmp_path / "calib.json"), tmp_path / "gains.json"
    gains.write_text('{"gain": [1, 1], "phase_offset": [0, 0]}')
    with pytest.raises(DataError, match="has 2 gains"):
        image(file, gains=str(gains), output=str(tmp_path / "sky.png"))
    with pytest.raises(CalibrantError):
        image(str(gains), output=str(tmp_path / "sky.png"))


def test_calibrate_without_a_report_imports_no_drawing(tmp_path: Path) -> None:
    file = as_file(made(), tmp_path / "calib.json")
    code = (
        "import sys; from calibrant.jobs.allsky_calibrate import calibrate; calibrate(sys.argv[1]); "
        "bad = {'matplotlib', 'scipy', 'jinja2', 'astropy', 'casacore', 'numba', 'PIL'}; "
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, file], check=True)
