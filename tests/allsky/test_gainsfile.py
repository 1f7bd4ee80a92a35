"""Gains files, as other programs read them too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skies

from calibrant.allsky.calibration import calibrate
from calibrant.allsky.files import write_json
from calibrant.allsky.gainsfile import gains_json, read_gains
from calibrant.allsky.verbs.calibrate import CalibrateResult
from calibrant.allsky.verdict import judge
from calibrant.errors import ExistsError, FormatError


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    _, data = skies.simulated(antennas=8, satellites=8, snapshots=2, dead=(5,), seed=2)
    result = calibrate(data)
    return gains_json(result, judge(result))


def test_what_old_tools_look_for(content: dict[str, Any]) -> None:
    assert {"gain", "phase_offset", "rot_degrees", "antenna_positions", "message"} <= content.keys()
    assert len(content["gain"]) == len(content["phase_offset"]) == len(content["antenna_positions"]) == 8
    assert all(isinstance(value, float) for key in ("gain", "phase_offset") for value in content[key])
    assert content["gain"][0] == 1.0 and content["phase_offset"][0] == 0.0


def test_a_dead_antenna_is_zero_and_never_null(content: dict[str, Any]) -> None:
    assert content["gain"][5] == 0.0 and content["phase_offset"][5] == 0.0
    assert content["state"][5] == "dead" and content["gain_error"][5] is None


def test_there_and_back(content: dict[str, Any], tmp_path: Path) -> None:
    path = str(tmp_path / "gains.json")
    write_json(path, content, overwrite=False)
    gains = read_gains(path)
    np.testing.assert_array_equal(gains.gain, content["gain"])
    np.testing.assert_array_equal(gains.phase, content["phase_offset"])
    np.testing.assert_array_equal(gains.positions, content["antenna_positions"])
    assert gains.verdict == content["verdict"] and not gains.mirror
    assert [one.name for one in tmp_path.iterdir()] == ["gains.json"]


def test_nothing_is_overwritten_unasked(content: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "gains.json"
    path.write_text("mine")
    with pytest.raises(ExistsError, match="--overwrite"):
        write_json(str(path), content, overwrite=False)
    assert path.read_text() == "mine"
    write_json(str(path), content, overwrite=True)
    assert read_gains(str(path)).path == str(path)


def test_what_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(str(tmp_path / "gains.json"), {"gain": [float("nan")]}, overwrite=False)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "BH_opt_json.json"
    path.write_text(json.dumps({"gain": [1.0, 1.2], "rot_degrees": 3.18, "phase_offset": [0.0, -1], "optimum": -69.6}))
    gains = read_gains(str(path))
    assert gains.rotation_deg == 3.18 and gains.positions is None and gains.verdict == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "has no gain and phase_offset"),
        ('{"gain": [1, null], "phase_offset": [0, 0]}', r"gain\[1\] is None, expected a number \(0 for a dead"),
        ('{"gain": [1, true], "phase_offset": [0, 0]}', r"gain\[1\] is True"),
        ('{"gain": [1, NaN], "phase_offset": [0, 0]}', r"gain\[1\] is nan"),
        ('{"gain": [1, 1], "phase_offset": [0]}', "2 gains but 1 phases"),
        ('{"gain": 1, "phase_offset": [0]}', r"gain\[0\] is None"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "gains.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=words):
        read_gains(str(path))


def test_the_whole_summary_fits_a_terminal() -> None:
    """Sentences too, which may be long, and no phase is minus zero."""
    _, data = skies.simulated(satellites=8, given=(skies.NEAR,), seed=2)
    result = calibrate(data, sources=(replace(skies.NEAR, name="a source with quite a long name " * 4),))
    verdict = judge(result)
    summary = CalibrateResult(result, replace(verdict, reasons=(*verdict.reasons, "word " * 60))).summary()
    assert max(map(len, summary.splitlines())) <= 100
    assert " -0.00 " not in summary and str(result.antennas[0].phase) == "0.0"


def test_the_call_of_the_old_howto_works_unchanged(tmp_path: Path) -> None:
    """tart_calibrate --api URL --file F --method BH --dir D writes D/BH_opt_json.json."""
    from calibrant.cli.main import main

    data = tmp_path / "calib_data.json"
    assert main(["allsky", "simulate", str(data), "--satellites", "0", "--source", "az=0,el=45,r=25"]) == 0
    edited = json.loads(data.read_text())
    edited["data"][0][1] = [{"az": 0.0, "el": 45.0, "jy": 100000.0, "name": "my source", "r": 25.0}]
    data.write_text(json.dumps(edited))
    call = ["--api", "http://127.0.0.1:1/x", "--file", str(data), "--method", "BH", "--dir", str(tmp_path)]
    assert main(["allsky", "calibrate", *call]) == 0
    gains = json.loads((tmp_path / "BH_opt_json.json").read_text())
    assert len(gains["gain"]) == len(gains["phase_offset"]) == 24
    assert main(["allsky", "calibrate", str(data), *call]) == 1, "two files"
    assert main(["allsky", "calibrate"]) == 1, "no file"
