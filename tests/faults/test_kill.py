"""Writing tasks killed (SIGKILL) at any moment: the MS stays readable, and the same call again gives the same result.

A task under test is one entry of TASKS. The default run kills at random moments; the slow runs make 100 trials a task,
and kill at system calls that write into the MS, one after the other.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.ms import flagversions, journal
from calibrant.ms.index import open_index
from calibrant.ms.reader import SHAPES, read_chunks, read_rows
from calibrant.ms.tables import open_table
from calibrant.ms.writer import MSWriter
from calibrant.tasks.flagmanager import flagmanager

pytestmark = pytest.mark.oracle

TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "flagdata": (
        "calibrant.tasks.flagdata:flagdata",
        {
            "mode": "list",
            "inpfile": [
                "mode='manual' autocorr=True",
                "mode='quack' quackinterval=7",
                "mode='quack' quackinterval=7 quackincrement=True",
                "mode='edge' edgechannels=2 spw='0,1'",
                "mode='clip' clipminmax=[0,0.003] spw='0,1'",
                "mode='unflag' scan='4'",
            ],
        },
    ),
    "applycal": (
        "calibrant.tasks.applycal:applycal",
        {"spw": "0,1", "gaintable": ["{oracle}/out/B.cal", "{oracle}/out/Gpint.cal"], "calwt": True},
    ),
}
"""name -> (module:function, keyword arguments besides vis); '{oracle}' in text is the oracle's folder."""

CALL = """
import importlib, json, sys
job = json.loads(sys.argv[1])
getattr(importlib.import_module(job["module"]), job["function"])(job["vis"], **job["keywords"])
"""


class Trial:
    """One task on copies of one MS; `expected` is what an undisturbed run leaves."""

    def __init__(self, name: str, original: Path, folder: Path, oracle: Path) -> None:
        target, keywords = TASKS[name]
        self.module, self.function = target.split(":")
        text = json.dumps(keywords).replace("{oracle}", str(oracle))
        self.keywords: dict[str, Any] = json.loads(text)
        self.original, self.folder = original, folder
        for _ in range(2):  # the second run is timed: the first loads and compiles
            self.fresh()
            start = time.monotonic()
            self.run()
        self.seconds = time.monotonic() - start
        self.expected = content(self.vis)
        self.versions = flagversions.list_versions(self.vis)

    @property
    def vis(self) -> str:
        return str(self.folder / "trial.ms")

    def fresh(self) -> None:
        """A new copy of the MS, without anything that an earlier trial left."""
        for leftover in self.folder.glob("trial.ms*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        for suffix in ("", ".flagversions"):
            shutil.copytree(f"{self.original}{suffix}", f"{self.vis}{suffix}")

    def run(self) -> Any:
        return getattr(importlib.import_module(self.module), self.function)(self.vis, **self.keywords)

    def check(self) -> None:
        """Readable after the kill; identical after the rerun; nothing left over."""
        unfinished = {column for run in journal.load(self.vis).killed for column in run.columns}
        assert content(self.vis, leave_out=unfinished)
        done = not unfinished and flagversions.list_versions(self.vis)[-1].name == self.versions[-1].name
        ended = done and not list(self.folder.glob(f"trial.ms{journal.SUFFIX}*"))
        if not ended:  # killed after its end it has nothing to repeat (quackincrement and unflag would do more)
            self.run()
        after = content(self.vis)
        assert set(after) == set(self.expected)
        for name, values in self.expected.items():
            np.testing.assert_array_equal(after[name], values, err_msg=name)
        names = [version.name for version in flagversions.list_versions(self.vis)]
        assert names == [version.name for version in self.versions]
        left = list(self.folder.glob(f"trial.ms{journal.SUFFIX}*"))
        assert not left, (self.folder / left[0]).read_text()[:2000]
        for version in self.versions[-1:]:
            flagmanager(self.vis, mode="restore", versionname=version.name)
            before, restored = content(str(self.original)), content(self.vis)
            for name in [key for key in before if key.startswith("FLAG ")]:
                np.testing.assert_array_equal(restored[name], before[name], err_msg=f"version {version.name}")


def content(path: str, leave_out: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Every column of MAIN that Calibrant knows, by column and DATA_DESC_ID."""
    index = open_index(path)
    found: dict[str, np.ndarray] = {}
    for column in index.columns:
        if column in leave_out or column == "FLAG_CATEGORY":
            continue
        if column in SHAPES:
            for ddid in np.unique(index.ddid):
                rows = np.flatnonzero(index.ddid == ddid)
                found[f"{column} {ddid}"] = read_rows(index, column, rows)
        else:
            found[column] = index.column(column)
    return found


@pytest.fixture
def original(tiny_ms: Path) -> Path:
    """tiny.ms with a third of its rows flagged, and without CORRECTED_DATA, which applycal then has to create."""
    path = str(tiny_ms)
    flagmanager(path, mode="restore", versionname="orig")
    tab = open_table(path, writable=True)
    tab.removecols(["CORRECTED_DATA"])
    tab.close()
    index, rng = open_index(path), np.random.default_rng(3)
    with MSWriter(path, "test") as out:
        for chunk in read_chunks(index, np.arange(index.nrow), ["FLAG"]):
            rows = rng.random((len(chunk.rows), 1, 1)) < 0.3
            out.put("FLAG", chunk.rows, np.broadcast_to(rows, chunk["FLAG"].shape).copy())
        out.put("FLAG_ROW", np.arange(index.nrow), rng.random(index.nrow) < 0.3)
    return tiny_ms


def kill_at_random(trial: Trial, trials: int) -> int:
    """Kill so many runs at random moments; returns how many were killed before they had ended."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([trial.module, "casacore.tables"])
    chance, killed = random.Random(5), 0
    for number in range(trials):
        trial.fresh()
        target = getattr(importlib.import_module(trial.module), trial.function)
        process = context.Process(target=target, args=(trial.vis,), kwargs=trial.keywords)
        process.start()
        process.join((number + chance.random()) / trials * 1.3 * trial.seconds)
        process.kill()
        process.join()
        killed += process.exitcode != 0
        trial.check()
    return killed


@pytest.mark.parametrize("name", TASKS)
def test_killed_at_random_moments(name: str, original: Path, tmp_path: Path, oracle: Path) -> None:
    assert kill_at_random(Trial(name, original, tmp_path, oracle), 4) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_killed_at_random_moments_100_times(name: str, original: Path, tmp_path: Path, oracle: Path) -> None:
    assert kill_at_random(Trial(name, original, tmp_path, oracle), 100) > 30


WRITES = "write,pwrite64,ftruncate,rename,unlink,openat,mkdir,fsync"


def runs_killed_at_each_write(trial: Trial, step: int) -> Iterator[int]:
    """Run under strace, killed at the n-th writing system call, for growing n until the run survives."""
    job = {"module": trial.module, "function": trial.function, "vis": trial.vis, "keywords": trial.keywords}
    number = 1
    while True:
        trial.fresh()
        paths = [f"--trace-path={file}" for file in sorted(trial.folder.glob("trial.ms/table.*"))]
        paths += [f"--trace-path={trial.vis}{part}" for part in (journal.SUFFIX, ".flagversions/FLAG_VERSION_LIST")]
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={WRITES}", *paths]
        command += ["-e", f"inject={WRITES}:signal=SIGKILL:when={number}"]
        command += [sys.executable, "-c", CALL, json.dumps(job)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return
        assert done.returncode == -9, done.stderr
        yield number
        number += step


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_killed_at_system_calls(name: str, original: Path, tmp_path: Path, oracle: Path) -> None:
    if shutil.which("strace") is None or subprocess.run(["strace", "-qq", "true"], capture_output=True).returncode:
        pytest.skip("strace is needed to stop a process at a system call")
    trial = Trial(name, original, tmp_path, oracle)
    count = 0
    for _ in runs_killed_at_each_write(trial, step=3):
        trial.check()
        count += 1
    assert count > 10
