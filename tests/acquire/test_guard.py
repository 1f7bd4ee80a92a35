"""Processes that are killed, stopped, interrupted: the lamps of the simulated hardware go off all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calibrant.acquire import journal
from calibrant.acquire.control import state_of
from calibrant.acquire.drivers.sim_world import SharedState
from calibrant.acquire.guard import Guard, Orders

from .processes import exposing, lit, start, until


def children(pid: int) -> list[int]:
    """Also those that another thread than the first one started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(word) for task in tasks for word in (task / "children").read_text().split()]


def test_sigkill(tmp_path: Path) -> None:
    run, directory = start(tmp_path), tmp_path / "run"
    assert until(lambda: exposing(directory, "argon-01"))
    assert lit(directory) == ["Argon"]
    guard = children(run.pid)[0]
    # What ends the whole process group does not end the guard: it has a session of its own, and ignores these.
    assert os.getsid(guard) == guard
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guard, number)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    run.communicate()
    assert until(lambda: lit(directory) == [], 15)
    assert until(lambda: journal.read(directory)[-1]["kind"] == "end", 10)
    alarm = next(record for record in journal.read(directory) if record["kind"] == "alarm")
    assert alarm["guard"] and "switched all lights off and verified it" in alarm["text"]
    assert state_of(directory).lights["Argon"] == "off"

    # The frame that was cut off left nothing, and the rest is taken.
    assert not list(directory.glob(".*.part")) and not list(directory.glob("*argon*"))
    again = start(tmp_path, "resume", output=str(directory), speed=50.0)
    output, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert json.loads(output)["verdict"] == "complete"
    assert len(list(directory.glob("*.fits"))) == 6


def test_a_run_that_is_stopped_cannot_keep_a_lamp_burning(tmp_path: Path) -> None:
    """SIGSTOP: the process lives and does nothing. The guard acts when the lamp's time is over."""
    state = tmp_path / "simulated.json"
    orders = make_orders(tmp_path, state)
    SharedState(state).switch("Argon", 1.0)
    guard = Guard(orders)
    guard.lit(1.0)
    assert until(lambda: lit(tmp_path) == [], 15)
    assert "burnt past its time" in journal.read(tmp_path)[0]["text"]
    guard.dismiss()


def make_orders(tmp_path: Path, state: Path) -> Orders:
    return Orders("sim", str(tmp_path / "journal.jsonl"), "r", False, 10.0, 2.0, {"state_path": str(state)})


def test_it_does_nothing_after_a_normal_end(tmp_path: Path) -> None:
    state = tmp_path / "simulated.json"
    guard = Guard(make_orders(tmp_path, state))
    SharedState(state).switch("Argon", 1.0)
    guard.lit(30.0)
    guard.dark()
    guard.dismiss()
    assert not guard.alive
    assert lit(tmp_path) == ["Argon"], "it must not touch anything after 'ok'"
    assert not (tmp_path / "journal.jsonl").exists()


def test_it_takes_over_on_request(tmp_path: Path) -> None:
    state = tmp_path / "simulated.json"
    guard = Guard(make_orders(tmp_path, state))
    SharedState(state).switch("Argon", 1.0)
    assert guard.take_over()
    assert lit(tmp_path) == []
    assert [record["kind"] for record in journal.read(tmp_path)][-1] == "note"


def test_it_says_what_a_person_must_do_when_it_cannot(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    orders = Orders("nowhere.yaml", str(tmp_path / "journal.jsonl"), "r")
    guard = Guard(orders)
    assert not guard.take_over()
    alarm = journal.read(tmp_path)[-1]
    assert "could not reach the devices" in alarm["text"] and "A person must look" in alarm["text"]
    assert alarm["text"] in capfd.readouterr().err


def test_it_is_started_anew_when_it_dies(tmp_path: Path) -> None:
    guard = Guard(make_orders(tmp_path, tmp_path / "simulated.json"))
    os.kill(guard.pid, signal.SIGKILL)
    assert until(lambda: not guard.alive)
    guard.dark()
    guard.restart()
    assert guard.alive
    guard.dismiss()


def test_it_starts_quickly() -> None:
    """Only the standard library before it is needed."""
    slow = ("numpy", "pydantic", "astropy", "asyncio")
    code = f"import sys, calibrant.acquire.guard; print(*(m for m in {slow} if m in sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_run_safely(tmp_path: Path, number: signal.Signals) -> None:
    run, directory = start(tmp_path), tmp_path / "run"
    assert until(lambda: exposing(directory, "argon-01"))
    for _ in range(3):
        os.killpg(run.pid, number)
        time.sleep(0.02)
    output, errors = run.communicate(timeout=30)
    assert run.returncode == (130 if number == signal.SIGINT else 1), errors
    report = json.loads(output)
    assert report["verdict"] == "incomplete" and lit(directory) == []
    assert [frame["ok"] for frame in report["frames"] if frame["path"]] == [True, True]
    assert "already ending" in errors
    # The guard went without a word.
    assert not [record for record in journal.read(directory) if record.get("guard")]
    assert journal.read(directory)[-1]["lights_off"]


def test_the_lock_is_held_until_the_guard_has_done_its_work(tmp_path: Path) -> None:
    run, directory = start(tmp_path), tmp_path / "run"
    assert until(lambda: exposing(directory, "argon-01"))
    second = start(tmp_path)
    _, errors = second.communicate(timeout=30)
    assert second.returncode == 1 and "holds a run already" in errors
    third = start(tmp_path, "resume")
    _, errors = third.communicate(timeout=30)
    assert third.returncode == 1 and f"process {run.pid}" in errors and "is in use by" in errors
    guard = children(run.pid)[0]
    os.kill(guard, signal.SIGSTOP)
    # Not `communicate`: the guard has the same standard error and lives on.
    run.kill()
    run.wait()
    fourth = start(tmp_path, "resume")
    _, errors = fourth.communicate(timeout=30)
    assert "is in use by" in errors
    os.kill(guard, signal.SIGCONT)
    assert until(lambda: lit(directory) == [], 15)
    assert until(lambda: state_of(directory).state == "ended", 10)
    run.communicate()
