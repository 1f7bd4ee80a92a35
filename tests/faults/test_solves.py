"""Solves that are killed or fail leave no half table, and never touch the one that was there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from calibrant.caltable import casa
from calibrant.errors import CalibrantError, CalTableError
from calibrant.tasks.gaincal import gaincal
from planted import Plan, Planted, Window, plant

RUN = """
import sys
from calibrant.tasks.gaincal import gaincal
import calibrant.solve.antenna, calibrant.solve.kernels
print("ready", flush=True)
gaincal(sys.argv[1], sys.argv[2], solint="int", refant="DV00", overwrite=True)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    windows = (Window(64), Window(48, 102e9))
    return plant(tmp_path_factory.mktemp("solves") / "a.ms", Plan(nant=12, windows=windows, scans=((0, 20), (1, 20))))


def run(path: str, out: str, moment: float | None, number: signal.Signals = signal.SIGKILL) -> float:
    """Run gaincal in a process of its own; kill it after `moment` seconds. Seconds it took."""
    with subprocess.Popen([sys.executable, "-c", RUN, path, out], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        start = time.monotonic()
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        process.wait()
        return time.monotonic() - start


def contents(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != "table.lock"}


def test_killed_solve_leaves_the_old_table(made: Planted, tmp_path: Path) -> None:
    out = str(tmp_path / "G")
    gaincal(made.path, out, solint="inf", refant="DV00")
    old, before = casa.read(out), contents(Path(made.path))
    spare = str(tmp_path / "spare")
    seconds = run(made.path, spare, None)
    new = casa.read(spare)
    seen = set()
    for share in np.linspace(0.1, 1.0, 6):
        run(made.path, out, float(share) * seconds)
        found = casa.read(out)
        assert len(found.spws[0].time) in (len(old.spws[0].time), len(new.spws[0].time))
        seen.add(len(found.spws[0].time))
    assert len(old.spws[0].time) in seen
    assert contents(Path(made.path)) == before
    gaincal(made.path, out, solint="int", refant="DV00", overwrite=True)
    np.testing.assert_array_equal(casa.read(out).spws[0].param, new.spws[0].param)


def test_ctrl_c_leaves_nothing(made: Planted, tmp_path: Path) -> None:
    run(made.path, str(tmp_path / "G"), 0.05, signal.SIGINT)
    names = [name for name in os.listdir(tmp_path) if name != "G"]
    assert names == []
    if (tmp_path / "G").exists():
        casa.read(str(tmp_path / "G"))


def test_two_runs_give_the_same_bits(made: Planted, tmp_path: Path) -> None:
    """Threads do not change results: sums are added in the order of the rows."""
    for name in ("one", "two"):
        gaincal(made.path, str(tmp_path / name), solint="int", refant="DV00")
    one, two = (casa.read(str(tmp_path / name)).spws[0] for name in ("one", "two"))
    for name in ("param", "error", "snr", "flag", "time"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("broken", ["truncated", "empty", "no antennas"])
def test_broken_prior(broken: str, made: Planted, tmp_path: Path) -> None:
    """The message names the table, and no output appears."""
    prior = tmp_path / "P"
    gaincal(made.path, str(prior), refant="DV00")
    main = prior / "table.f0"
    if broken == "truncated":
        os.truncate(main, main.stat().st_size // 3)
    elif broken == "empty":
        (prior / "table.dat").write_bytes(b"")
    else:
        shutil.rmtree(prior / "ANTENNA")
    with pytest.raises(CalTableError, match=r"P\b.*(truncated|does not exist|cannot be)"):
        gaincal(made.path, str(tmp_path / "G"), gaintable=str(prior))
    assert sorted(os.listdir(tmp_path)) == ["P"]


def test_output_that_cannot_be_written(made: Planted, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for out in ("file/G", "file"):
        with pytest.raises(CalibrantError, match="file"):
            gaincal(made.path, str(tmp_path / out), overwrite=True)
    assert (tmp_path / "file").read_text() == "precious"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "precious").write_text("yes")
    with pytest.raises(CalibrantError, match="not a calibration table"):
        gaincal(made.path, str(folder), overwrite=True)
    assert (folder / "precious").exists()
