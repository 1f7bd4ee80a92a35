"""The verbs run, status, stop, abort, and the lock."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from calibrant.acquire import journal
from calibrant.acquire.control import COMMANDS_NAME, Inbox, find, running, state_of
from calibrant.acquire.devices import DeviceBusy
from calibrant.acquire.lock import Holder, Lock, holder_of, state_directory
from calibrant.acquire.verbs.abort import abort
from calibrant.acquire.verbs.run import run
from calibrant.acquire.verbs.status import status
from calibrant.acquire.verbs.stop import stop
from calibrant.errors import CalibrantError, DataError, ExistsError, ParameterError

from .processes import exposing, lit, start, until


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALIBRANT_STATE", str(tmp_path / "state"))


def test_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sequence = tmp_path / "seq.yaml"
    sequence.write_text("biases: {count: 1}\nlamps: {Argon: {warmup: 1, exposure_time: 3}}\n")
    documents = tmp_path / "documents.jsonl"
    report = run(str(sequence), "sim", output=str(tmp_path / "run"), simulate=True, speed=20, documents=str(documents))
    content = report.to_dict()
    json.dumps(content)
    assert (content["verdict"], report.exit_code) == ("complete", 0)
    for frame in content["frames"]:
        assert {"path", "kind", "lamp", "exposure_s", "ok"} <= set(frame)
        assert Path(frame["path"]).is_file()
    assert {(f["kind"], f["lamp"], f["exposure_s"]) for f in content["frames"]} == {
        ("bias", "", 0),
        ("arc", "Argon", 3),
    }
    lines = report.summary().splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[-1].startswith("Verdict: complete. 2 of 2 frames are good")
    shown = capsys.readouterr().err
    assert (
        "all lamps off" in shown and "expose argon-01 Argon, 3 s" in shown and "argon-01 is stored, 2 file(s)" in shown
    )
    assert len(documents.read_text().splitlines()) == 7
    # Everything is let go.
    assert running() == [] and status(str(tmp_path / "run")).state.state == "ended"


def test_dry_run_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = run("normal", dry_run=True)
    assert list(tmp_path.iterdir()) == []
    content = report.to_dict()
    assert (content["verdict"], content["duration_s"], content["frames"]) == ("dry run", 2610, [])
    assert content["steps"][0]["kind"] == "all_off"
    assert "Dry run" in report.summary()


def test_a_directory_holds_one_run(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("")
    with pytest.raises(ExistsError, match="holds a run already: go on with 'calibrant acquire resume"):
        run("demo", "sim", output=str(tmp_path), simulate=True, speed=100)


def test_real_devices_have_no_speed(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="real devices"):
        run("demo", "lvm", output=str(tmp_path / "x"), speed=10)
    with pytest.raises(ParameterError, match="above 0"):
        run("demo", "sim", output=str(tmp_path / "x"), speed=0)


def test_stop_and_status_of_a_running_run(tmp_path: Path) -> None:
    process, directory = start(tmp_path, speed=12.0), tmp_path / "run"
    assert until(lambda: exposing(directory, "argon-01"))
    # Nobody says which run: there is only one.
    now = status()
    assert now.state.state == "running" and now.state.lights["Argon"] != "off"
    assert (now.state.frames_done, now.state.frames_wanted) == (1, 3)
    text = now.summary()
    assert "expose argon-01 Argon, 40 s" in text and f"Process {process.pid} on" in text and "Lights" in text
    json.dumps(now.to_dict())
    assert not stop().ended
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    report = json.loads(output)
    assert "stopped after this frame" in report["reason"]
    assert [frame["key"] for frame in report["frames"] if frame["ok"]] == ["bias-01"] * 2 + ["argon-01"] * 2
    ended = status(str(directory))
    assert (ended.state.state, ended.state.verdict) == ("ended", "incomplete")
    assert "resume" in ended.summary() and "all off" in ended.summary()


def test_abort_of_a_running_run(tmp_path: Path) -> None:
    process, directory = start(tmp_path), tmp_path / "run"
    assert until(lambda: exposing(directory, "argon-01"))
    answer = abort(str(directory))
    assert answer.ended and "has ended" in answer.summary()
    process.communicate(timeout=30)
    assert lit(directory) == []
    assert f"process {os.getpid()}" in state_of(directory).reason
    with pytest.raises(ParameterError, match="no run is running here"):
        abort(str(directory))


def test_nothing_is_running(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no run is running"):
        status()
    with pytest.raises(DataError, match="no journal"):
        status(str(tmp_path))


def test_several_runs_have_to_be_told_apart(tmp_path: Path) -> None:
    locks = [
        Lock(state_directory() / "locks" / f"{name}.lock", Holder.here(name, tmp_path / name), name) for name in "ab"
    ]
    with pytest.raises(ParameterError, match=r"several runs.*\n.*run a in.*\n.*run b in"):
        find()
    for lock in locks:
        lock.release()


def test_lock(tmp_path: Path) -> None:
    path = tmp_path / "lvm.lock"
    held = Lock(path, Holder.here("first", tmp_path / "night1"), "inventory 'lvm'")
    with pytest.raises(DeviceBusy, match=r"inventory 'lvm' is in use by run first in .*night1, process \d+ on "):
        Lock(path, Holder.here("second", tmp_path), "inventory 'lvm'")
    holder = holder_of(path)
    assert holder is not None and holder.run == "first"
    held.release()
    held.release()
    assert holder_of(path) is None and holder_of(tmp_path / "none.lock") is None
    Lock(path, Holder.here("third", tmp_path), "inventory 'lvm'").release()


def test_a_look_does_not_hinder(tmp_path: Path) -> None:
    """Who only asks for the holder has the lock for a moment; that must not make a start fail."""
    path, end = tmp_path / "x.lock", time.monotonic() + 0.5

    def look() -> None:
        while time.monotonic() < end:
            holder_of(path)

    looker = threading.Thread(target=look)
    looker.start()
    while time.monotonic() < end:
        Lock(path, Holder.here("r", tmp_path), "x").release()
    looker.join()


def test_where_the_state_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_directory() == tmp_path / "state"
    assert state_directory("here") == Path("here")
    monkeypatch.delenv("CALIBRANT_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert state_directory() == Path("/xdg/calibrant")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_directory() == Path.home() / ".local/state/calibrant"


def test_inbox(tmp_path: Path) -> None:
    path = tmp_path / COMMANDS_NAME
    path.write_text('{"command": "abort"}\n')
    inbox = Inbox(tmp_path)
    assert inbox.fetch() == [], "commands to an earlier run"
    with path.open("a") as stream:
        stream.write('rubbish\n{"command": "dance"}\n{"command": "abort", "by": "me"}\n{"comm')
    assert inbox.fetch() == [("abort", "me")]
    assert inbox.fetch() == []


def test_a_run_that_died_is_told_from_one_that_ended(tmp_path: Path) -> None:
    book = journal.Journal(tmp_path / "journal.jsonl")
    plan: dict[str, Any] = {"name": "demo", "hash": "0", "steps": 3, "frames": ["a", "b"], "duration_s": 10}
    book.append("start", run="r", plan=plan, inventory={"name": "lvm"}, cameras=["c"])
    book.append("light", light="Argon", asked=True, state="on", verified=True)
    found = status(str(tmp_path))
    assert found.state.state == "died"
    assert "DIED" in found.summary() and "Argon on" in found.summary()


def test_errors_are_for_people(tmp_path: Path) -> None:
    for wrong in ({"sequence": "nomal"}, {"sequence": "demo", "inventory": "lmv"}):
        with pytest.raises(CalibrantError):
            run(**wrong, output=str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()
