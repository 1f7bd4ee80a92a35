"""Collecting over real HTTP: the HOWTO's file, and nothing lost whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fabricated_array as made
import pytest

from calibrant.allsky import collect as collecting
from calibrant.allsky.api import Telescope
from calibrant.allsky.snapshots import read_calibration_data
from calibrant.allsky.verbs.collect import collect as verb
from calibrant.errors import DataError, ExistsError, FormatError, ParameterError, ServerError
from calibrant.simulation.tart_api import FakeTelescope, Fault, serve

NONE = collecting.find_sources("none", 5.0)


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def run(api: Telescope, path: Path, n: int = 3, **how: Any) -> collecting.Collected:
    sources = how.pop("sources", None) or collecting.find_sources(f"{api.url}/catalog", 5.0)
    return collecting.collect(api, str(path), n, 0.0, sources, wait_s=how.pop("wait_s", 0.2), **how)


def test_file_is_exactly_that_of_the_howto(both: FakeTelescope, both_api: Telescope, tmp_path: Path) -> None:
    result = run(both_api, tmp_path / "calib.json")
    assert load(tmp_path / "calib.json") == made.content()
    assert result.exit_code == 0 and result.added == 3 and not result.notes
    assert [one.sources for one in result.samples] == [3, 3, 3]
    data = read_calibration_data(str(tmp_path / "calib.json"))
    assert len(data.snapshots) == 3 and data.name == "Test Hill" and not data.notes


def test_saved_after_every_sample(telescope: FakeTelescope, api: Telescope, tmp_path: Path) -> None:
    path, held = tmp_path / "calib.json", []

    def watched(stamp: str, info: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
        held.append(len(load(path)["data"]) if path.exists() else 0)
        return made.SOURCES, ""

    run(api, path, sources=watched)
    assert held == [0, 1, 2]
    assert [item.name for item in tmp_path.iterdir()] == ["calib.json"]


def test_server_dies_midway_nothing_is_lost_and_append_goes_on(telescope: FakeTelescope, tmp_path: Path) -> None:
    path = tmp_path / "calib.json"
    telescope.faults = [Fault("die", "imaging/vis", after=2)]
    with serve(telescope) as url, Telescope(url, backoff_s=(0.01,)) as api:
        with pytest.raises(ServerError, match=r"calib.json holds 2 of 5 sample\(s\); --append goes on"):
            run(api, path, 5)
        assert load(path)["data"] == made.content()["data"][:2]
    telescope.faults.clear()
    with serve(telescope) as url, Telescope(url) as api:
        result = run(api, path, 5, append=True)
    assert (result.added, len(result.samples)) == (3, 5)
    stamps = [entry[0]["timestamp"] for entry in load(path)["data"]]
    assert len(set(stamps)) == 5 and stamps == sorted(stamps)


def test_server_that_is_dead_from_the_start_leaves_no_file(telescope: FakeTelescope, tmp_path: Path) -> None:
    telescope.faults = [Fault("die")]
    with (
        serve(telescope) as url,
        Telescope(url, backoff_s=(0.01,)) as api,
        pytest.raises(ServerError, match="nothing was"),
    ):
        run(api, tmp_path / "calib.json")
    assert not list(tmp_path.iterdir())


def test_a_500_in_between_is_overcome(telescope: FakeTelescope, api: Telescope, tmp_path: Path) -> None:
    telescope.faults = [Fault("error", "imaging/vis", after=1, times=2), Fault("drop", "catalog", times=1)]
    assert run(api, tmp_path / "calib.json").added == 3


def test_slow_server_is_an_error_with_what_is_kept(telescope: FakeTelescope, url: str, tmp_path: Path) -> None:
    telescope.faults = [Fault("slow", "imaging/vis", after=1, seconds=5.0)]
    with (
        Telescope(url, timeout_s=0.4, backoff_s=()) as api,
        pytest.raises(ServerError, match=r"no answer within 0.4 s.*holds 1 of 3"),
    ):
        run(api, tmp_path / "calib.json", sources=NONE)
    assert len(load(tmp_path / "calib.json")["data"]) == 1


def test_existing_file_is_neither_replaced_nor_touched(
    api: Telescope, telescope: FakeTelescope, tmp_path: Path
) -> None:
    path = tmp_path / "calib.json"
    path.write_text("precious")
    with pytest.raises(ExistsError, match="--append"):
        run(api, path)
    with pytest.raises(FormatError, match="is no JSON"):
        run(api, path, append=True)
    with pytest.raises(ParameterError, match="give one of them"):
        run(api, path, append=True, overwrite=True)
    assert path.read_text() == "precious" and not telescope.requests
    assert run(api, path, 1, overwrite=True).added == 1


@pytest.mark.parametrize("text", ["[]", '{"data": [1]}', '{"info": {}, "ant_pos": [], "data": [[{}, []]]}'])
def test_append_to_what_is_no_calibration_file(api: Telescope, tmp_path: Path, text: str) -> None:
    (tmp_path / "calib.json").write_text(text)
    with pytest.raises(FormatError, match="is no calibration file"):
        run(api, tmp_path / "calib.json", append=True)


def test_folder_that_is_absent_is_said_before_anything_is_asked(api: Telescope, telescope: FakeTelescope) -> None:
    with pytest.raises(ParameterError, match="there is no folder"):
        run(api, Path("absent") / "calib.json")
    assert not telescope.requests


def test_append_to_the_file_of_another_array_is_refused(
    api: Telescope, telescope: FakeTelescope, tmp_path: Path
) -> None:
    path = tmp_path / "calib.json"
    run(api, path, 1)
    before = path.read_bytes()
    telescope.positions[0] = [9.0, 9.0, 0.0]
    with pytest.raises(DataError, match="one file holds one array"):
        run(api, path, 2, append=True)
    assert path.read_bytes() == before


def test_append_notes_that_stored_gains_changed(api: Telescope, telescope: FakeTelescope, tmp_path: Path) -> None:
    run(api, tmp_path / "calib.json", 1)
    telescope.gains["gain"][0] = 3.0
    assert "stored gains have changed" in run(api, tmp_path / "calib.json", 2, append=True).summary()


def test_empty_visibilities_are_waited_for(both: FakeTelescope, both_api: Telescope, tmp_path: Path) -> None:
    both.blind, both.mode = True, "off"
    with pytest.raises(ServerError, match=r"is empty after 0\.2 s \(the mode is off\); .* mode vis.*nothing was taken"):
        run(both_api, tmp_path / "calib.json")
    assert len(both.calls("GET", "imaging/vis")) >= 2


def test_the_same_visibilities_are_not_taken_twice(telescope: FakeTelescope, api: Telescope, tmp_path: Path) -> None:
    telescope.frozen = True
    with pytest.raises(ServerError, match=f"is still that of {made.TIMES[0]} after .*holds 1 of 3"):
        run(api, tmp_path / "calib.json")


def test_timestamps_without_zone_are_kept_with_a_word(telescope: FakeTelescope, api: Telescope, tmp_path: Path) -> None:
    telescope.zone = False
    result = run(api, tmp_path / "calib.json", 2)
    assert load(tmp_path / "calib.json")["data"][0][0]["timestamp"] == "2026-11-21T10:00:00.000"
    assert [note for note in result.notes if "without a zone" in note and "--assume-utc" in note] == result.notes
    assert [one[1][0]["az"] for one in load(tmp_path / "calib.json")["data"]] == [30.0, 32.0]


def test_null_gains_are_kept_with_a_word(telescope: FakeTelescope, api: Telescope, tmp_path: Path) -> None:
    telescope.gains["gain"][2] = None
    assert "hold(s) null" in run(api, tmp_path / "calib.json", 1).summary()
    assert load(tmp_path / "calib.json")["gains"]["gain"][2] is None


def test_visibilities_are_kept_where_the_catalogue_fails(
    telescope: FakeTelescope, api: Telescope, tmp_path: Path
) -> None:
    telescope.faults = [Fault("html", "catalog", after=1)]
    result = run(api, tmp_path / "calib.json", 2)
    assert [len(entry[1]) for entry in load(tmp_path / "calib.json")["data"]] == [3, 0]
    assert "no catalogue for 2026-11-21T10:05" in result.summary() and "1 sample(s) have no sources" in result.summary()


def test_offline_catalogue_as_a_list_with_its_caveat(api: Telescope, tmp_path: Path) -> None:
    (tmp_path / "sky.json").write_text(json.dumps(made.SOURCES))
    result = run(api, tmp_path / "calib.json", 2, sources=collecting.find_sources(str(tmp_path / "sky.json"), 5.0))
    assert load(tmp_path / "calib.json")["data"][1][1] == made.SOURCES
    assert any("says nothing of its time" in note for note in result.notes)


def test_offline_catalogue_from_an_earlier_file_is_nearest_in_time(
    telescope: FakeTelescope, api: Telescope, tmp_path: Path
) -> None:
    early = made.content()
    early["data"] = early["data"][:2]
    (tmp_path / "early.json").write_text(json.dumps(early))
    result = run(api, tmp_path / "calib.json", 3, sources=collecting.find_sources(str(tmp_path / "early.json"), 5.0))
    assert [entry[1][0]["az"] for entry in load(tmp_path / "calib.json")["data"]] == [30.0, 32.0, 32.0]
    assert result.notes == [
        f"{tmp_path / 'early.json'}: the catalogue of {made.TIMES[1]} was used for {made.TIMES[2]}, 5 min away; "
        "satellites move half a degree a minute"
    ]
    assert not telescope.calls("GET", "catalog")


def test_file_that_is_no_catalogue(tmp_path: Path) -> None:
    (tmp_path / "sky.json").write_text('{"no": "sky"}')
    with pytest.raises(FormatError, match="is no catalogue"):
        collecting.find_sources(str(tmp_path / "sky.json"), 5.0)


def test_disabled_antennas_are_counted(telescope: FakeTelescope, api: Telescope, tmp_path: Path) -> None:
    telescope.disabled = {4}
    one = run(api, tmp_path / "calib.json", 1).samples[0]
    assert (one.visibilities, one.antennas) == (10, 5)


@pytest.mark.parametrize(
    ("text", "value"), [("5m", 300), ("30s", 30), ("0", 0), ("1.5h", 5400), ("90", 90), ("2 min", 120)]
)
def test_interval(text: str, value: float) -> None:
    assert collecting.seconds(text) == value


@pytest.mark.parametrize("text", ["", "five", "-3s", "5d", "nan"])
def test_interval_that_is_none(text: str) -> None:
    with pytest.raises(ParameterError, match="expected as 30s, 5m, 1h or 0"):
        collecting.seconds(text)


def test_interval_spaces_the_samples(api: Telescope, tmp_path: Path) -> None:
    start = time.monotonic()
    collecting.collect(api, str(tmp_path / "calib.json"), 3, 0.15, NONE)
    assert time.monotonic() - start >= 0.3


def test_ctrl_c_between_samples_keeps_what_there_is(
    api: Telescope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(moment: float, left: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(collecting, "_sleep_until", interrupt)
    result = run(api, tmp_path / "calib.json", 5)
    assert result.interrupted and result.exit_code == 130 and result.added == 1
    assert "holds what was taken; --append goes on" in result.summary()
    assert load(tmp_path / "calib.json")["data"] == made.content()["data"][:1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_process_leaves_a_whole_file(url: str, tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "calib.json"
    script = (
        "import sys; from calibrant.allsky.verbs.collect import collect; "
        f"r = collect({url!r}, {str(path)!r}, 5, '1h', catalog={url + '/catalog'!r}); "
        "print(r.summary()); sys.exit(r.exit_code)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 20
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.05)
    os.kill(process.pid, number)
    out, _ = process.communicate(timeout=20)
    assert load(path)["data"] == made.content()["data"][:1]
    if number == signal.SIGINT:
        assert process.returncode == 130 and "Interrupted" in out


def test_verb(telescope: FakeTelescope, url: str, tmp_path: Path) -> None:
    result = verb(f"{url}/api/v1/", str(tmp_path / "calib.json"), 2, "0", catalog=f"{url}/catalog")
    assert result.to_dict()["samples"][1] == {
        "timestamp": made.TIMES[1],
        "visibilities": 15,
        "antennas": 6,
        "sources": 3,
    }
    assert all(len(line) <= 100 for line in result.summary().replace(str(tmp_path), "").splitlines())
