"""Upload and rollback over real HTTP: what is sent, what is refused, and the telescope's state after every fault."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabricated_array as made
import numpy as np
import pytest

from calibrant.allsky import publish, upload_plan
from calibrant.allsky.api import Telescope
from calibrant.allsky.gainsfile import read_gains
from calibrant.allsky.publish import Published
from calibrant.allsky.verbs.rollback import rollback as rollback_verb
from calibrant.allsky.verbs.upload import upload as upload_verb
from calibrant.errors import DataError, ExistsError, FormatError, ParameterError, ServerError
from calibrant.simulation.tart_api import FakeTelescope, Fault, serve

NEW = [1.0, 1.1, 0.9, 1.2, 0.0, 1.05]
NEW_PHASE = [0.0, 1.0, -2.0, 3.0, 0.0, 0.5]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Backups go to a folder of the test, passwords are in the environment, nobody waits for late calls."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALIBRANT_TART_PASSWORD", made.PASSWORD)
    monkeypatch.setattr(publish, "SETTLE_S", 0.05)


def plan(api: Telescope, path: str, **how: Any) -> upload_plan.Plan:
    return upload_plan.plan_upload(upload_plan.read_live(api), read_gains(path), **how)


def upload(api: Telescope, path: str, settle_s: float = 0.05, **how: Any) -> Published:
    return publish.publish(api, plan(api, path, **how), lambda: made.PASSWORD, settle_s=settle_s)


def state(telescope: FakeTelescope) -> tuple[Any, Any]:
    return copy.deepcopy(telescope.gains), copy.deepcopy(telescope.positions)


def gains_of(path: Path) -> str:
    return made.gains_file(path / "gains.json")


def backup_files() -> list[Path]:
    return sorted(Path().glob("calibrant-backup-*.json"))


def test_upload_sends_exactly_two_lists_and_reads_back(
    both: FakeTelescope, both_api: Telescope, tmp_path: Path
) -> None:
    before = state(both)
    result = upload(both_api, gains_of(tmp_path))
    assert (result.state, result.exit_code) == ("uploaded", 0)
    assert [one.body for one in both.calls("POST", "calibration")] == [{"gain": NEW, "phase_offset": NEW_PHASE}]
    assert both.gains == {"gain": NEW, "phase_offset": NEW_PHASE} and both.positions == before[1]
    kept = json.loads(Path(result.backup).read_text())
    assert kept["gains"] == before[0] and kept["ant_pos"] == before[1] and kept["backup"]["api"] == both_api.url
    assert "Uploaded, and read back as sent." in result.summary()


def test_summary_is_a_diff(api: Telescope, tmp_path: Path) -> None:
    lines = Published(plan(api, gains_of(tmp_path)), "dry run").summary().splitlines()
    assert lines[4].split() == ["1", "1.0000", "1.1000", "+10.00%", "5.73", "57.30", "+51.57"]
    assert lines[3].endswith("same") and lines[7].endswith("dead")
    assert "5 of 6 antennas change; largest gain change +20.00 % (antenna 3), phase" in lines[9]
    assert all(len(line) <= 100 for line in lines) and lines[-1] == "Dry run: nothing was sent."


def test_dry_run_only_reads_and_asks_for_no_password(
    telescope: FakeTelescope, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALIBRANT_TART_PASSWORD")
    result = upload_verb(gains_of(tmp_path), url, dry_run=True)
    assert result.state == "dry run" and result.to_dict()["changed"] == 5
    assert {one.method for one in telescope.requests} == {"GET"}
    assert not backup_files()


def test_values_that_are_there_already_are_not_sent(telescope: FakeTelescope, url: str, tmp_path: Path) -> None:
    telescope.gains = {"gain": list(NEW), "phase_offset": [*NEW_PHASE[:3], 3.0 - 2 * math.pi, *NEW_PHASE[4:]]}
    assert upload_verb(gains_of(tmp_path), url).state == "nothing to do"
    assert not telescope.calls("POST") and not backup_files()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gain": NEW[:5], "phase_offset": NEW_PHASE[:5]}, "has 5 gains .* telescope has 6 antennas"),
        ({"gain": [*NEW[:5], -1.0]}, r"gain\[5\] is -1, expected 0 \(dead\) or more"),
        ({"gain": [*NEW[:5], 100.0]}, r"gain\[5\] is 100"),
        ({"phase_offset": [*NEW_PHASE[:5], 143.0]}, r"phase_offset\[5\] is 143; expected radians. Are these degrees"),
        ({"gain": [0.0] * 6}, "switch the whole telescope off"),
        ({"verdict": "do not upload"}, '"do not upload"; calibrate again, or give --force'),
        ({"telescope": "Rhodes"}, "made for 'Rhodes', and this telescope is 'Test Hill'"),
        ({"antenna_positions": made.POSITIONS[:4]}, "positions of 4 antennas, not of 6"),
        ({"gain": [*NEW[:5], None]}, r"gain\[5\] is None, expected a number \(0 for a dead antenna\)"),
    ],
)
def test_refused_before_anything_is_sent(
    telescope: FakeTelescope, url: str, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        upload_verb(made.gains_file(tmp_path / "gains.json", **changes), url)
    assert not telescope.calls("POST") and not backup_files()


def test_force_overrides_verdict_and_name_but_no_value(telescope: FakeTelescope, url: str, tmp_path: Path) -> None:
    path = made.gains_file(tmp_path / "gains.json", verdict="do not upload", telescope="Old Name")
    result = upload_verb(path, url, force=True)
    assert telescope.gains["gain"] == NEW
    said = " ".join(result.summary().split())
    assert 'verdict of the file is "do not upload"' in said and "Old Name" in said
    path = made.gains_file(tmp_path / "other.json", gain=[*NEW[:5], -1.0])
    with pytest.raises(DataError):
        upload_verb(path, url, force=True)


def test_file_of_another_program_has_no_verdict(telescope: FakeTelescope, url: str, tmp_path: Path) -> None:
    path = made.gains_file(
        tmp_path / "BH_opt_json.json", verdict=None, telescope=None, antenna_positions=None, mirror=None
    )
    result = upload_verb(path, url)
    assert result.state == "uploaded" and "the file has no verdict" in " ".join(result.summary().split())


@pytest.mark.parametrize("turn", [{"rot_degrees": 39.3, "mirror": True}, {"rot_degrees": -2.6}])
def test_gains_of_other_positions_go_with_them_or_not_at_all(
    both: FakeTelescope, both_api: Telescope, tmp_path: Path, turn: dict[str, Any]
) -> None:
    places = made.turned(turn["rot_degrees"])
    path = made.gains_file(tmp_path / "gains.json", **turn, antenna_positions=places)
    with pytest.raises(ParameterError, match=r"belong to antenna positions .*turned by .* --positions"):
        plan(both_api, path)
    result = upload(both_api, path, positions=True)
    assert np.allclose(both.positions, places) and both.gains["gain"] == NEW
    assert [one.path for one in both.calls("POST")] == ["auth", "calibration/antenna_positions", "calibration/gain"]
    assert "restart of the telescope goes back" in result.summary() and "they move by up to" in result.summary()
    # Once the positions are there, gains of that orientation belong to them.
    assert plan(both_api, path).positions is None


def test_rotation_without_positions_in_the_file_is_refused(api: Telescope, tmp_path: Path) -> None:
    path = made.gains_file(tmp_path / "gains.json", rot_degrees=3.2, antenna_positions=None)
    with pytest.raises(ParameterError, match="which it lacks"):
        plan(api, path)
    with pytest.raises(ParameterError, match="holds no antenna_positions"):
        plan(api, path, positions=True)


def test_small_rotation_passes_with_a_word(api: Telescope, tmp_path: Path) -> None:
    path = made.gains_file(tmp_path / "gains.json", rot_degrees=0.6, antenna_positions=made.turned(0.6))
    found = plan(api, path)
    assert found.positions is None and "turned the positions by 0.60 deg" in " ".join(found.remarks)


def test_positions_moved_by_hand_are_seen_without_any_rotation(api: Telescope, tmp_path: Path) -> None:
    places = [[place[0] + 0.2 * (number == 3), *place[1:]] for number, place in enumerate(made.POSITIONS)]
    path = made.gains_file(tmp_path / "gains.json", antenna_positions=places)
    with pytest.raises(ParameterError, match=r"up to 0\.200 m from the telescope's"):
        plan(api, path)


def test_null_live_gains_are_shown_and_replaced(telescope: FakeTelescope, api: Telescope, tmp_path: Path) -> None:
    telescope.gains["gain"][2] = None
    result = upload(api, gains_of(tmp_path))
    assert "null" in result.summary() and telescope.gains["gain"] == NEW
    kept = json.loads(Path(result.backup).read_text())
    assert kept["gain"][2] == 0 and kept["gains"]["gain"][2] is None


def test_a_telescope_with_too_short_a_list_can_be_repaired(
    telescope: FakeTelescope, api: Telescope, tmp_path: Path
) -> None:
    telescope.gains = {"gain": [1.0] * 4, "phase_offset": [0.0] * 4}
    assert upload(api, gains_of(tmp_path)).state == "uploaded"
    assert telescope.gains["gain"] == NEW


def test_expired_token_during_upload(both: FakeTelescope, both_api: Telescope, tmp_path: Path) -> None:
    path = made.gains_file(tmp_path / "gains.json", rot_degrees=5.0, antenna_positions=made.turned(5.0))
    both.faults = [Fault("refuse", "calibration", "POST", after=1, times=1)]
    assert upload(both_api, path, positions=True).state == "uploaded"
    assert both.gains["gain"] == NEW


def test_wrong_password_sends_nothing(
    both: FakeTelescope, both_api: Telescope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(both)
    monkeypatch.setenv("CALIBRANT_TART_PASSWORD", "wrong-one")
    with pytest.raises(
        ServerError, match=r"password was refused.*Nothing was sent; the telescope is as it was"
    ) as caught:
        upload_verb(gains_of(tmp_path), both_api.url)
    assert state(both) == before and "wrong-one" not in str(caught.value)
    assert not both.calls("POST", "calibration") and not backup_files()


def first_only(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A fault of a server that stores what comes first wrongly."""
    calls: list[int] = []

    def alter(gains: dict[str, Any]) -> dict[str, Any]:
        calls.append(1)
        return change(gains) if len(calls) == 1 else gains

    return alter


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: {name: values[:4] for name, values in g.items()}, "stored 4 gains and 4 phases of 6"),
        (lambda g: {**g, "gain": [0.5 * one for one in g["gain"]]}, r"stored other gains .* for 5 antenna\(s\)"),
        (lambda g: {**g, "phase_offset": [-one for one in g["phase_offset"]]}, "antenna 1 has 1.1 and -1 rad"),
        (lambda g: {**g, "gain": [None, *g["gain"][1:]]}, "stored other gains .* antenna 0 has nan"),
    ],
)
def test_server_that_stores_something_else_is_found_out_and_put_back(
    both: FakeTelescope, both_api: Telescope, tmp_path: Path, change: Any, words: str
) -> None:
    before = state(both)
    both.alter = first_only(change)
    with pytest.raises(ServerError, match=rf"{words}.*put back as it was, and reads back so") as caught:
        upload(both_api, gains_of(tmp_path))
    assert state(both) == before and caught.value.exit_code == 1


def test_server_that_rounds_is_believed(telescope: FakeTelescope, api: Telescope, tmp_path: Path) -> None:
    telescope.alter = lambda gains: {name: [round(one, 4) for one in values] for name, values in gains.items()}
    path = made.gains_file(tmp_path / "gains.json", phase_offset=[0.123456789] * 6)
    assert upload(api, path).state == "uploaded"


def test_server_that_always_stores_too_few_leaves_an_unknown_state(
    telescope: FakeTelescope, api: Telescope, tmp_path: Path
) -> None:
    telescope.alter = lambda gains: {name: values[:4] for name, values in gains.items()}
    with pytest.raises(
        ServerError, match=r"NOT KNOWN what the telescope has now.*allsky rollback --api http"
    ) as caught:
        upload(api, gains_of(tmp_path))
    assert str(backup_files()[0]) in str(caught.value)


def test_500_for_the_gains_puts_the_positions_back(both: FakeTelescope, both_api: Telescope, tmp_path: Path) -> None:
    before = state(both)
    path = made.gains_file(tmp_path / "gains.json", rot_degrees=5.0, antenna_positions=made.turned(5.0))
    both.faults = [Fault("error", "calibration/gain", "POST", times=1)]
    with pytest.raises(ServerError, match=r"answered 500.*put back as it was"):
        upload(both_api, path, positions=True)
    assert state(both) == before
    assert len(both.calls("POST", "calibration/antenna_positions")) == 2


def test_lost_answer_is_looked_up(both: FakeTelescope, both_api: Telescope, tmp_path: Path) -> None:
    both.faults = [Fault("drop", "calibration/gain", "POST")]
    result = upload(both_api, gains_of(tmp_path))
    assert result.state == "uploaded" and "an answer was lost" in result.summary()
    assert len(both.calls("POST", "calibration/gain")) == 1 and both.gains["gain"] == NEW


def test_answer_that_comes_too_late(telescope: FakeTelescope, url: str, tmp_path: Path) -> None:
    """The server stores the gains after the client gave up: put back, and looked at again after a while."""
    before = state(telescope)
    telescope.faults = [Fault("slow", "calibration/gain", "POST", times=1, seconds=0.8)]
    with (
        Telescope(url, timeout_s=0.5, backoff_s=()) as hasty,
        pytest.raises(ServerError, match=r"no answer within 0\.5 s.*put back"),
    ):
        upload(hasty, gains_of(tmp_path), settle_s=0.6)
    time.sleep(0.1)
    assert state(telescope) == before
    assert len(telescope.calls("POST", "calibration/gain")) == 3


def test_server_dies_during_the_upload(telescope: FakeTelescope, tmp_path: Path) -> None:
    before = state(telescope)
    telescope.faults = [Fault("die", "calibration/gain", "POST")]
    path = gains_of(tmp_path)
    with serve(telescope) as url, Telescope(url, backoff_s=(0.01,)) as api, pytest.raises(ServerError) as caught:
        upload(api, path)
    (kept,) = backup_files()
    assert "NOT KNOWN" in str(caught.value) and f"rollback --api {url} {kept}" in str(caught.value)
    telescope.faults.clear()
    telescope.gains["gain"][0] = 7.0
    with serve(telescope, int(url.rpartition(":")[2])) as url:
        assert rollback_verb(url, str(kept)).state == "uploaded"
    assert state(telescope) == before


@pytest.mark.parametrize("late_s", [0.0, 0.2])
@pytest.mark.parametrize("path", ["auth", "calibration/antenna_positions", "calibration/gain"])
def test_ctrl_c_leaves_the_telescope_as_it_was(
    telescope: FakeTelescope, api: Telescope, tmp_path: Path, path: str, late_s: float
) -> None:
    """A real SIGINT while a call is under way, carried out before the answer or after we gave up."""
    before = state(telescope)
    gains = made.gains_file(tmp_path / "gains.json", rot_degrees=5.0, antenna_positions=made.turned(5.0))
    telescope.faults = [Fault("slow" if late_s else "late", path, "POST", times=1, seconds=late_s or 0.4)]

    def interrupt() -> None:
        while not telescope.calls("POST", path):
            time.sleep(0.01)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    result = upload(api, gains, settle_s=0.3, positions=True)
    thread.join()
    assert result.interrupted and result.exit_code == 130
    assert result.state == ("unchanged" if path == "auth" else "restored")
    assert "as it was" in result.summary()
    time.sleep(0.1)
    assert state(telescope) == before


def test_a_second_ctrl_c_does_not_disturb_the_repair(telescope: FakeTelescope, api: Telescope, tmp_path: Path) -> None:
    before = state(telescope)
    telescope.alter = first_only(lambda gains: {name: values[:4] for name, values in gains.items()})
    telescope.faults = [Fault("late", "calibration/gain", "POST", after=1, times=1, seconds=0.4)]

    def interrupt() -> None:
        while len(telescope.calls("POST", "calibration/gain")) < 2:
            time.sleep(0.01)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.02)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(ServerError, match="put back as it was"):
        upload(api, gains_of(tmp_path))
    thread.join()
    assert state(telescope) == before


def test_ctrl_c_in_a_process_of_its_own(telescope: FakeTelescope, url: str, tmp_path: Path) -> None:
    before = state(telescope)
    telescope.faults = [Fault("late", "calibration/gain", "POST", times=1, seconds=2.0)]
    script = (
        "import sys; from calibrant.allsky import publish; publish.SETTLE_S = 0.05;"
        "from calibrant.allsky.verbs.upload import upload;"
        f"r = upload({gains_of(tmp_path)!r}, {url!r}); print(r.summary()); sys.exit(r.exit_code)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 20
    while not telescope.calls("POST", "calibration/gain") and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "put back as it was" in out and "Traceback" not in err
    assert state(telescope) == before
    assert made.PASSWORD not in out + err


def test_a_fault_of_our_own_is_put_back_too(
    telescope: FakeTelescope, api: Telescope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, verify, calls = state(telescope), publish._verify, []

    def stumbles(*values: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        verify(*values)

    monkeypatch.setattr(publish, "_verify", stumbles)
    with pytest.raises(ZeroDivisionError):
        upload(api, gains_of(tmp_path))
    assert state(telescope) == before and len(calls) == 3


def test_handlers_of_signals_are_left_as_they_were(api: Telescope, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    upload(api, gains_of(tmp_path))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_rollback_puts_back_gains_and_positions_of_the_newest_upload(
    both: FakeTelescope, both_api: Telescope, tmp_path: Path
) -> None:
    before = state(both)
    url = both_api.url
    path = made.gains_file(tmp_path / "gains.json", rot_degrees=5.0, antenna_positions=made.turned(5.0))
    upload_verb(path, url, positions=True)
    first = rollback_verb(url)
    assert first.state == "uploaded" and state(both) == before
    assert rollback_verb(url).state == "nothing to do"
    # What the rollback replaced is kept too, and can be put back by name.
    rollback_verb(url, first.backup)
    assert both.gains["gain"] == NEW and np.allclose(both.positions, made.turned(5.0))


def test_rollback_passes_by_uploads_that_were_undone(telescope: FakeTelescope, url: str, tmp_path: Path) -> None:
    before = state(telescope)
    upload_verb(gains_of(tmp_path), url)
    telescope.alter = first_only(lambda gains: {name: values[:4] for name, values in gains.items()})
    with pytest.raises(ServerError, match="put back"):
        upload_verb(made.gains_file(tmp_path / "other.json", gain=[2.0] * 6), url)
    assert telescope.gains["gain"] == NEW and len(backup_files()) == 2
    assert rollback_verb(url).state == "uploaded" and state(telescope) == before


def test_rollback_takes_the_newest(telescope: FakeTelescope, url: str, tmp_path: Path) -> None:
    for scale in (2.0, 3.0):
        upload_verb(made.gains_file(tmp_path / f"gains{scale}.json", gain=[scale] * 6), url)
    assert len(backup_files()) == 2
    rollback_verb(url)
    assert telescope.gains["gain"] == [2.0] * 6


def test_rollback_without_or_with_a_foreign_backup(url: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="there is no calibrant-backup-127"):
        rollback_verb(url)
    with pytest.raises(FormatError, match="is no backup"):
        rollback_verb(url, gains_of(tmp_path))
    foreign = made.gains_file(tmp_path / "b.json", telescope="Rhodes", backup={"api": "https://b.example", "time": ""})
    with pytest.raises(DataError, match="backup of 'Rhodes', and this telescope is 'Test Hill'"):
        rollback_verb(url, foreign)
    assert rollback_verb(url, foreign, force=True, dry_run=True).state == "dry run"


def test_named_backup_is_never_written_over(telescope: FakeTelescope, url: str, tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text("precious")
    with pytest.raises(ExistsError):
        upload_verb(gains_of(tmp_path), url, backup="kept.json")
    assert (tmp_path / "kept.json").read_text() == "precious" and not telescope.calls("POST")
    assert upload_verb(gains_of(tmp_path), url, backup="mine.json").backup == "mine.json"


def test_password_is_in_no_file_or_result(telescope: FakeTelescope, url: str, tmp_path: Path) -> None:
    result = upload_verb(gains_of(tmp_path), url)
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    secrets = [made.PASSWORD, *telescope.tokens, *telescope.refresh_tokens]
    assert not [one for one in secrets if one in written + result.summary() + repr(result) + str(result.to_dict())]


@pytest.mark.real_data
def test_whole_way_from_collecting_to_rolling_back(shared: Path, tmp_path: Path) -> None:
    """collect, calibrate, upload, status and rollback of a simulated telescope with known gains."""
    from calibrant.allsky.calibration import calibrate
    from calibrant.allsky.collect import collect, find_sources
    from calibrant.allsky.files import write_json
    from calibrant.allsky.gainsfile import gains_json
    from calibrant.allsky.snapshots import read_calibration_data
    from calibrant.allsky.status import status
    from calibrant.allsky.verdict import judge

    content = json.loads((shared / "data/tart/sim_multi3_inb.json").read_text())
    fake = FakeTelescope(content, "flask", made.PASSWORD)
    with serve(fake) as url, Telescope(url) as api:
        fake.frozen = True
        assert "not calibrated" in status(api).summary()
        fake.frozen = False
        collect(api, "calib.json", 3, 0.0, find_sources(f"{url}/catalog", 5.0))
        data = read_calibration_data("calib.json")
        original = read_calibration_data(str(shared / "data/tart/sim_multi3_inb.json"))
        for ours, theirs in zip(data.snapshots, original.snapshots, strict=True):
            assert np.array_equal(ours.visibility, theirs.visibility) and ours.time == theirs.time
            assert ours.sources == theirs.sources
        result = calibrate(data)
        write_json("gains.json", gains_json(result, judge(result)), False)
        assert upload_verb("gains.json", url).state == "uploaded"
        assert np.allclose(fake.gains["phase_offset"], result.phase)
        assert "not calibrated" not in status(api).summary()
        assert rollback_verb(url).state == "uploaded"
    assert fake.gains["gain"] == [1.0] * 24
