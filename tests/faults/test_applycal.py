"""applycal killed or interrupted at any moment: a readable MeasurementSet, and the rerun gives the same result."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from calibrant.ms.flagversions import list_versions
from calibrant.ms.index import open_index
from calibrant.ms.reader import read_chunks
from calibrant.tasks.applycal import applycal
from calibrant.tasks.gaincal import gaincal
from planted import Plan, Window, flag, get, plant

RUN = """
import sys, time
from calibrant.ms import reader
from calibrant.tasks.applycal import applycal
import calibrant.solve.kernels
plan = reader.plan_chunks
reader.plan_chunks = lambda index, rows, size=0: plan(index, rows, 1 << 18)  # many small writes
print("ready", flush=True)
applycal(sys.argv[1], gaintable=sys.argv[2])
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, dict[str, str], float]:
    """(MS without CORRECTED_DATA, table with flagged solutions, digests of an undisturbed run, its seconds)."""
    folder = tmp_path_factory.mktemp("faults")
    windows = (Window(64), Window(48, 102e9))
    truth = plant(folder / "a.ms", Plan(nant=12, windows=windows, scans=((0, 20), (1, 20)), order="spw"))
    table = str(folder / "G")
    flag(truth.path, "ANTENNA1==3 && SCAN_NUMBER==1")
    gaincal(truth.path, table, refant="DV00", minsnr=20, minblperant=9)
    for name in ("first.ms", "whole.ms"):  # the first run may have to compile kernels: the second is what others take
        whole = str(folder / name)
        shutil.copytree(truth.path, whole)
        with subprocess.Popen([sys.executable, "-c", RUN, whole, table], stdout=-1, text=True) as run:
            assert run.stdout is not None and run.stdout.readline() == "ready\n"
            start = time.monotonic()
            assert run.wait() == 0
            seconds = time.monotonic() - start
    result = digests(whole)
    assert result["FLAG"] != digests(truth.path, GIVEN)["FLAG"], "the run flags something"
    return truth.path, table, result, seconds


GIVEN = ("FLAG", "WEIGHT", "DATA", "SIGMA")


def digests(path: str, names: tuple[str, ...] = ("CORRECTED_DATA", *GIVEN)) -> dict[str, str]:
    """A digest of each of these columns; reads every cell."""
    index = open_index(path)
    sums = {name: hashlib.sha256() for name in names}
    for chunk in read_chunks(index, np.arange(index.nrow), names):
        for name in names:
            sums[name].update(np.ascontiguousarray(chunk[name]).tobytes())
    return {name: value.hexdigest() for name, value in sums.items()}


def interrupted(path: str, table: str, moment: float, number: signal.Signals) -> int:
    """Start applycal, send the signal `moment` seconds after it began; its return code."""
    with subprocess.Popen([sys.executable, "-c", RUN, path, table], stdout=-1, stderr=-1, text=True) as run:
        assert run.stdout is not None and run.stdout.readline() == "ready\n"
        try:
            return run.wait(moment)
        except subprocess.TimeoutExpired:
            run.send_signal(number)
        return run.wait()


def trials(prepared: tuple[str, str, dict[str, str], float], tmp_path: Path, count: int, seed: int) -> Iterator[int]:
    """Kill one run after the other, each on a fresh copy, at random moments; yield return codes."""
    path, table, expected, seconds = prepared
    rng = random.Random(seed)
    for number in range(count):
        copy = str(tmp_path / f"{number}.ms")
        shutil.copytree(path, copy)
        code = interrupted(copy, table, seconds * rng.random(), signal.SIGKILL)
        seconds *= 1 if code else 0.7  # it was faster than we thought: the machine has less to do
        state = digests(copy, GIVEN)  # what was there can be read; CORRECTED_DATA may not be filled
        assert state["DATA"] == expected["DATA"]
        assert state["SIGMA"] == expected["SIGMA"]
        unfinished = os.path.exists(f"{copy}.calibrant-journal")
        again = applycal(copy, gaintable=table)
        assert digests(copy) == expected
        versions = [version.name for version in list_versions(copy)]
        if unfinished:
            assert versions == ["applycal_1"], "the flags before the first run, not those that it left"
        assert again.flag_version in versions
        assert not os.path.exists(f"{copy}.calibrant-journal")
        assert not [name for name in os.listdir(tmp_path) if "journal" in name]
        shutil.rmtree(copy)
        shutil.rmtree(f"{copy}.flagversions")
        yield code


def test_killed(prepared: tuple[str, str, dict[str, str], float], tmp_path: Path) -> None:
    codes = list(trials(prepared, tmp_path, 6, 1))
    assert codes.count(-signal.SIGKILL) >= 3, "most kills must hit a running task"


@pytest.mark.slow
def test_killed_a_hundred_times(prepared: tuple[str, str, dict[str, str], float], tmp_path: Path) -> None:
    codes = list(trials(prepared, tmp_path, 100, 2))
    assert codes.count(-signal.SIGKILL) >= 60, "most kills must hit a running task"


def test_killed_twice(prepared: tuple[str, str, dict[str, str], float], tmp_path: Path) -> None:
    """The rerun is killed, too."""
    path, table, expected, seconds = prepared
    copy = str(tmp_path / "a.ms")
    shutil.copytree(path, copy)
    for share in (0.6, 0.3, 0.8):
        interrupted(copy, table, share * seconds, signal.SIGKILL)
    applycal(copy, gaintable=table)
    assert digests(copy) == expected


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_ctrl_c(share: float, prepared: tuple[str, str, dict[str, str], float], tmp_path: Path) -> None:
    path, table, expected, seconds = prepared
    copy = str(tmp_path / "a.ms")
    shutil.copytree(path, copy)
    interrupted(copy, table, share * seconds, signal.SIGINT)
    assert digests(copy, GIVEN)["DATA"] == expected["DATA"]
    assert open_index(copy).nrow == open_index(path).nrow
    applycal(copy, gaintable=table)
    assert digests(copy) == expected


def test_a_reader_meanwhile(prepared: tuple[str, str, dict[str, str], float], tmp_path: Path) -> None:
    """gaincal reads while applycal writes, and gets what it would get alone."""
    path, table, expected, _ = prepared
    copy = str(tmp_path / "a.ms")
    shutil.copytree(path, copy)
    with subprocess.Popen([sys.executable, "-c", RUN, copy, table], stdout=-1, text=True) as run:
        assert run.stdout is not None and run.stdout.readline() == "ready\n"
        np.testing.assert_array_equal(get(copy, "SIGMA", "DATA_DESC_ID==0"), get(path, "SIGMA", "DATA_DESC_ID==0"))
        assert digests(copy, GIVEN)["DATA"] == expected["DATA"]
        assert run.wait() == 0
    assert digests(copy) == expected
