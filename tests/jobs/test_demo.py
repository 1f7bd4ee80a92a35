"""The demo recovers its truth; a spoilt observation is not trusted; an MS in place is calibrated twice alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.errors import ExistsError
from calibrant.jobs.demo import DemoResult, demo
from calibrant.ms.index import open_index
from calibrant.ms.reader import read_chunks
from calibrant.pipeline.result import CalibrationResult
from calibrant.pipeline.truth import Comparison
from calibrant.simulation import simulate

SMALL: dict[str, Any] = {
    "nant": 8, "nchan": 32, "nspw": 1, "cycles": 2, "bandpass_time": 60, "flux_time": 60, "target_time": 60,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(command: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of the demo as JSON."""
    code, result = command("demo", "-o", str(tmp_path_factory.mktemp("demo") / "out"))
    assert code == 0
    return dict(result)


def test_every_number_agrees_with_the_truth(run: dict[str, Any]) -> None:
    assert run["verdict"] == "good"
    assert [item for item in run["truth"] if item["ok"] is not True] == []
    assert all(set(item) == {"what", "expected", "got", "sigma", "ok", "limit"} for item in run["truth"])
    words = " ".join(item["what"] for item in run["truth"])
    for topic in ("flux density", "phase of the gains", "amplitude of the gains", "target", "WEIGHT", "interference"):
        assert topic in words
    assert all(item["sigma"] > 0 and np.isfinite(item["got"]) for item in run["truth"])


def test_the_result_has_what_calibrate_says(run: dict[str, Any]) -> None:
    assert {"verdict", "fluxes", "caltables", "report", "commands"} <= set(run)
    assert Path(run["report"]).is_file()
    assert run["roles"] == {
        "flux": ["3C286"], "bandpass": ["J1256-0547"], "phase": ["J1337-1257"], "target": ["TARGET"],
    }  # fmt: skip
    assert Path(run["caltables"][0]).name == "delay.cal"


def test_every_spoilt_antenna_is_named(run: dict[str, Any]) -> None:
    from calibrant.simulation import load_truth

    notes = " ".join(run["notes"])
    jumpy = [bad["name"] for bad in load_truth(run["ms"]).bad_antennas if bad["kind"] == "jumpy"]
    assert jumpy and all(name in notes for name in jumpy)


def test_a_second_run_in_place_starts_from_the_first_flags_and_gives_the_same(
    run: dict[str, Any], tmp_path: Path, command: Any
) -> None:
    ms = run["ms"]
    assert "CORRECTED_DATA" in open_index(ms).columns
    versions = Path(ms + ".flagversions", "FLAG_VERSION_LIST").read_text()
    assert versions.count("before_calibrate") == 1
    first = _content(ms)
    code, again = command("calibrate", ms, "-o", str(tmp_path / "again"))
    assert code == 0
    for one, other in zip(first, _content(ms), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again["fluxes"] == run["fluxes"]
    assert again["flags"][0]["total"] == 0
    assert "--mode restore --versionname before_calibrate" in " ".join(again["commands"])


def _content(ms: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of CORRECTED_DATA of every row as bits, FLAG counts, WEIGHT: what two runs must agree in exactly."""
    index = open_index(ms)
    bits, flags = np.zeros(index.nrow, np.uint64), np.zeros(index.nrow, np.int64)
    weight = np.zeros((index.nrow, 2), np.float32)
    for chunk in read_chunks(index, np.arange(index.nrow), ["CORRECTED_DATA", "FLAG", "WEIGHT"]):
        values = np.ascontiguousarray(chunk["CORRECTED_DATA"]).view(np.uint64)[..., :]
        place = np.arange(1, values[0].size + 1, dtype=np.uint64).reshape(values.shape[1:])
        bits[chunk.rows] = (values * place).sum(axis=(1, 2), dtype=np.uint64)
        flags[chunk.rows] = chunk["FLAG"].sum(axis=(1, 2))
        weight[chunk.rows] = chunk["WEIGHT"]
    return bits, flags, weight


def test_it_does_not_overwrite_unless_told(run: dict[str, Any]) -> None:
    with pytest.raises(ExistsError, match="--overwrite"):
        demo(output=str(Path(run["ms"]).parent))


@pytest.mark.parametrize("spoil", [{"bad_antennas": 5}, {"phase_rms": 2000.0}])
def test_a_spoilt_observation_is_not_trusted(tmp_path: Path, command: Any, spoil: dict[str, Any]) -> None:
    """More bad antennas than good ones; phases that turn within seconds."""
    ms = tmp_path / "a.ms"
    simulate(str(ms), **SMALL, **spoil)
    code, result = command("calibrate", str(ms), "-o", str(tmp_path / "out"))
    assert code == 3
    assert result["verdict"] == "do not trust"
    assert result["reasons"]


@pytest.fixture
def spoilt() -> Callable[..., DemoResult]:
    def make(verdict: str, *ok: bool) -> DemoResult:
        calibration = CalibrationResult("a", "a", "o", "T", "now", "S", "A", {}, verdict=verdict)
        return DemoResult(calibration, [Comparison("flux", 1.0, 1.0 if good else 2.0, 0.1, good) for good in ok])

    return make


def test_one_number_off_the_truth_is_enough(spoilt: Callable[..., DemoResult]) -> None:
    assert spoilt("good", True, True).verdict == "good"
    assert spoilt("check", True, True).verdict == "check"
    missed = spoilt("good", True, False)
    assert missed.verdict == "do not trust"
    assert "1 of 2 numbers miss the truth" in missed.summary() and "OFF flux" in missed.summary()
    assert [item["ok"] for item in missed.to_dict()["truth"]] == [True, False]
    assert missed.to_dict()["verdict"] == "do not trust"
