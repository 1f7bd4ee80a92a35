"""The main job on the VLA's observation of NGC 5921 (HI line, 1995), against CASA's numbers."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.caltable import casa
from calibrant.errors import ExistsError, FluxModelError, MeasurementSetError, SelectionError
from calibrant.jobs.calibrate import MARK, calibrate
from calibrant.ms.index import open_index
from calibrant.ms.reader import read_chunks

PT99, PB17 = "Perley-Taylor 99", "Perley-Butler 2017"
FLUX, PHASE, TARGET = "1331+30500002_0", "1445+09900002_0", "N5921_2"
HI = 1420.405752e6
SYSTEMIC = 1480.0
"""km/s, of NGC 5921."""
SPEED_OF_LIGHT = 299792.458


@pytest.fixture(scope="session")
def uvfits(shared: Path) -> Path:
    path = shared / "data" / "vla" / "NGC5921.fits.gz"
    if not path.exists():
        pytest.skip("no real data: shared/data/vla/NGC5921.fits.gz is absent")
    return path


@pytest.fixture(scope="module")
def run(uvfits: Path, command: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result as JSON, on the scale of Perley and Taylor 1999."""
    folder = tmp_path_factory.mktemp("ngc5921") / "out"
    code, result = command("calibrate", str(uvfits), "-o", str(folder), "--standard", PT99)
    assert code == 0
    return dict(result)


def flux_of(result: dict[str, Any], field: str) -> float:
    (flux,) = [flux for flux in result["fluxes"] if flux["field"] == field]
    return float(flux["flux_jy"])


@pytest.mark.real_data
class TestNGC5921:
    def test_flux_on_the_scale_of_1999(self, run: dict[str, Any]) -> None:
        """CASA: 2.48427 Jy."""
        assert flux_of(run, PHASE) == pytest.approx(2.484, abs=0.003)
        assert flux_of(run, FLUX) == pytest.approx(14.76, abs=0.01)

    def test_flux_on_the_scale_of_2017(self, uvfits: Path, tmp_path: Path, command: Any) -> None:
        """CASA: 2.52654 Jy."""
        code, result = command("calibrate", str(uvfits), "-o", str(tmp_path / "out"))
        assert code == 0 and result["standard"] == PB17
        assert flux_of(result, PHASE) == pytest.approx(2.527, abs=0.003)

    def test_keys_of_the_result(self, run: dict[str, Any]) -> None:
        assert run["verdict"] == "good"
        assert {"verdict", "fluxes", "caltables", "report", "commands"} <= set(run)
        for flux in run["fluxes"]:
            assert {"field", "spw", "flux_jy", "error_jy"} <= set(flux)
        (phase,) = [flux for flux in run["fluxes"] if flux["field"] == PHASE]
        assert phase["spw"] == 0 and 0.001 < phase["error_jy"] < 0.01

    def test_roles_from_the_observing_pattern(self, run: dict[str, Any]) -> None:
        """The data have no intents; 3C286 goes by its J2000 name."""
        assert run["roles"] == {"flux": [FLUX], "bandpass": [FLUX], "phase": [PHASE], "target": [TARGET]}

    def test_tables_are_readable(self, run: dict[str, Any]) -> None:
        tables = [casa.read(path) for path in run["caltables"]]
        assert [table.kind for table in tables].count("B Jones") == 1
        assert all(len(table.antenna_names) == 28 or len(table.antenna_names) == 27 for table in tables)
        assert all((~sol.flag).any() for table in tables for sol in table.spws.values())

    def test_the_page_holds_the_verdict(self, run: dict[str, Any]) -> None:
        page = Path(run["report"]).read_text(encoding="utf-8")
        assert run["verdict"] in page.lower() and PHASE in page and "2.484" in page
        assert "http://" not in page.replace("http://www.w3.org", "")

    def test_the_folder(self, run: dict[str, Any]) -> None:
        names = {path.name for path in Path(run["output"]).iterdir()}
        assert {"report.html", "result.json", "commands.sh", "listobs.txt", "target.ms", "NGC5921.ms"} <= names
        assert not any(".tmp-" in name for name in names)

    def test_hydrogen_line_of_the_target(self, run: dict[str, Any]) -> None:
        """A rotating disk: more than 20 channels in a row stand 5 sigma above the rest, around its velocity."""
        freq, spectrum = _spectrum(run["target_ms"])
        velocity = SPEED_OF_LIGHT * (1 - freq / HI)
        seen = np.isfinite(spectrum)
        free = seen & (np.abs(velocity - SYSTEMIC) > 110)
        assert free.sum() > 12
        level, noise = spectrum[free].mean(), spectrum[free].std()
        line = seen & (spectrum > level + 5 * noise)
        assert line.sum() > 20
        assert np.abs(velocity[line] - SYSTEMIC).max() < 110
        assert spectrum[line].max() > level + 15 * noise
        assert 0.03 < spectrum[line].max() < 0.05
        centre = (velocity * (spectrum - level))[line].sum() / (spectrum - level)[line].sum()
        assert centre == pytest.approx(SYSTEMIC, abs=40)

    def test_autocorrelations_are_there_and_flagged(self, run: dict[str, Any]) -> None:
        """They are 100 times stronger than the source: a solve that uses them ends at 10 to 13 Jy."""
        index = open_index(run["ms"])
        rows = np.flatnonzero(index.ant1 == index.ant2)
        assert len(rows) > 500
        power = []
        for chunk in read_chunks(index, rows, ["DATA", "FLAG"]):
            assert chunk["FLAG"].all()
            power.append(np.abs(chunk["DATA"]).mean())
        assert np.mean(power) > 0
        assert abs(flux_of(run, PHASE) - 2.48) < 0.1

    def test_autocorrelations_that_are_not_flagged_are_not_solved_with(
        self, run: dict[str, Any], tmp_path: Path, command: Any
    ) -> None:
        ms = tmp_path / "a.ms"
        shutil.copytree(run["ms"], ms)
        solve = [c for c in run["commands"] if "amplitude.cal" in c and " gaincal " in c][-1]
        words = [str(ms) if word == run["ms"] else word for word in shlex.split(solve)[1:]]
        words[2] = str(tmp_path / "before.cal")
        assert command(*words)[0] == 0
        assert command("flagdata", str(ms), "--mode", "unflag", "--antenna", "*&&&", "--no-flagbackup")[0] == 0
        words[2] = str(tmp_path / "after.cal")
        assert command(*words)[0] == 0
        before, after = (casa.read(str(tmp_path / name)).spws[0] for name in ("before.cal", "after.cal"))
        np.testing.assert_array_equal(before.flag, after.flag)
        np.testing.assert_array_equal(before.param, after.param)

    def test_the_commands_by_hand_give_the_same(self, run: dict[str, Any], tmp_path: Path, command: Any) -> None:
        """In another folder: all it needs of the first are the lists of flags."""
        old, new = Path(run["output"]), tmp_path / "again"
        new.mkdir()
        for path in old.glob("flags_*.txt"):
            shutil.copy(path, new / path.name)
        fluxes: dict[str, Any] = {}
        for line in run["commands"]:
            code, result = command(*(word.replace(str(old), str(new)) for word in shlex.split(line)[1:]))
            assert code == 0, line
            if " fluxscale " in line:
                fluxes = result
        flux = next(f["0"]["fluxd"][0] for f in fluxes.values() if isinstance(f, dict) and f.get("fieldName") == PHASE)
        assert flux == pytest.approx(flux_of(run, PHASE), rel=1e-6)
        script = (old / "commands.sh").read_text().splitlines()
        assert script[:2] == ["#!/bin/sh", "set -e"] and script[2:] == run["commands"]
        np.testing.assert_array_equal(*(_spectrum(str(folder / "target.ms"))[1] for folder in (old, new)))

    def test_it_does_not_overwrite_unless_told(
        self, run: dict[str, Any], uvfits: Path, state: Callable[[Path], Any]
    ) -> None:
        before = state(Path(run["output"]))
        with pytest.raises(ExistsError, match="--overwrite"):
            calibrate(str(uvfits), output=run["output"])
        assert state(Path(run["output"])) == before

    def test_dry_run_says_the_plan_and_touches_nothing(
        self, run: dict[str, Any], uvfits: Path, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch,
        state: Callable[[Path], Any],
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        before = state(Path(run["output"]))
        for obs in (str(uvfits), run["ms"]):
            code, result = command("calibrate", obs, "-o", "new", "--dry-run")
            assert (code, result["verdict"], result["fluxes"], result["commands"]) == (0, "planned", [], [])
            plan = "\n".join(result["notes"])
            for words in (FLUX, PHASE, TARGET, "autocorrelations", "bandpass", PB17, "Nothing was touched"):
                assert words in plan
        assert state(Path(run["output"])) == before
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.slow
    def test_a_second_run_gives_the_same(self, run: dict[str, Any], uvfits: Path, command: Any, tmp_path: Path) -> None:
        folder = tmp_path / "out"
        shutil.copytree(run["output"], folder)
        (folder / "left.txt").write_text("from the first run")
        code, again = command("calibrate", str(uvfits), "-o", str(folder), "--standard", PT99, "--overwrite")
        assert code == 0
        assert again["fluxes"] == run["fluxes"]
        assert not (folder / "left.txt").exists()


def _spectrum(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Frequency (Hz) and vector average (Jy, real part) of all baselines in DATA, NaN where all is flagged."""
    index = open_index(path)
    rows = np.flatnonzero(index.ant1 != index.ant2)
    total, weights = np.zeros(index.spws[0].nchan), np.zeros(index.spws[0].nchan)
    for chunk in read_chunks(index, rows, ["DATA", "FLAG", "WEIGHT"]):
        weight = np.where(chunk["FLAG"], 0, chunk["WEIGHT"][:, None])
        total += (weight * chunk["DATA"].real).sum(axis=(0, 2))
        weights += weight.sum(axis=(0, 2))
    with np.errstate(invalid="ignore"):
        return index.spws[0].freq, total / weights


# ---- what is wrong with a call is said before anything is touched -----------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    from calibrant.simulation import simulate

    path = tmp_path_factory.mktemp("small") / "a.ms"
    simulate(
        str(path), nant=4, nchan=4, nspw=1, cycles=1, bandpass_time=12, flux_time=12, phase_time=12, target_time=12
    )
    return str(path)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"flux": "NOBODY"}, SelectionError, "NOBODY"),
        ({"refant": "DV99"}, SelectionError, "DV99"),
        ({"flux": "J1256-0547"}, FluxModelError, "J1256-0547"),
        ({"obs": "missing.ms"}, MeasurementSetError, "missing.ms does not exist"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_wrong_call_touches_nothing(
    small: str, tmp_path: Path, state: Callable[[Path], Any], values: dict[str, str], error: type[Exception],
    words: str, dry_run: bool,
) -> None:  # fmt: skip
    before = state(Path(small).parent)
    with pytest.raises(error, match=words):
        calibrate(**({"obs": small, "output": str(tmp_path / "out"), "dry_run": dry_run} | values))  # type: ignore[arg-type]
    assert state(Path(small).parent) == before
    assert not (tmp_path / "out").exists()


def test_overwrite_keeps_the_old_results_where_the_call_is_wrong(small: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / MARK).touch()
    (folder / "commands.sh").write_text("# precious")
    with pytest.raises(SelectionError):
        calibrate(small, output=str(folder), flux="NOBODY", overwrite=True)
    assert (folder / "commands.sh").read_text() == "# precious"


def test_overwrite_does_not_delete_what_is_not_ours(small: str, tmp_path: Path) -> None:
    for name in ("thesis.tex", "commands.sh"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ExistsError, match=r"no folder of calibrant calibrate"):
        calibrate(small, output=str(tmp_path), overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("where", ["", ".."])
def test_overwrite_does_not_delete_the_observation(small: str, where: str) -> None:
    folder = Path(small) / where
    (folder / MARK).touch()
    with pytest.raises(ExistsError, match="lies in it"):
        calibrate(small, output=str(folder), overwrite=True)
    assert open_index(small).nrow > 0
    (folder / MARK).unlink()


@pytest.mark.parametrize("before", [False, True])
def test_a_broken_uvfits_file_leaves_the_folder_as_it_was(tmp_path: Path, before: bool) -> None:
    from calibrant.errors import FormatError

    bad, folder = tmp_path / "bad.fits", tmp_path / "out"
    bad.write_bytes(b"SIMPLE  =                    T" + b" " * 100)
    if before:
        folder.mkdir()
        (folder / MARK).touch()
        (folder / "report.html").write_text("the last run")
    with pytest.raises(FormatError, match=r"bad\.fits"):
        calibrate(str(bad), output=str(folder), overwrite=before)
    left = {"bad.fits", "out"} if before else {"bad.fits"}
    assert {path.name for path in tmp_path.iterdir()} == left
    assert not before or (folder / "report.html").read_text() == "the last run"


@pytest.mark.real_data
def test_a_wrong_call_for_a_uvfits_file_leaves_no_folder(uvfits: Path, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match="NOBODY"):
        calibrate(str(uvfits), output=str(tmp_path / "out"), refant="NOBODY")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real_data
def test_the_plan_for_a_uvfits_file_names_the_file(uvfits: Path, tmp_path: Path) -> None:
    plan = calibrate(str(uvfits), output=str(tmp_path / "out"), dry_run=True).notes[0]
    assert plan.startswith(f"Plan for {uvfits} (")


def test_two_at_once_on_one_measurement_set(small: str, tmp_path: Path) -> None:
    """The second is told at once, touches nothing, and the lock goes with the first."""
    import subprocess
    import sys

    from calibrant.errors import LockedError
    from calibrant.pipeline.lock import SUFFIX, held

    hold = (
        "import sys; from calibrant.pipeline.lock import held\n"
        "with held(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, small], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match="another calibrant calibrate"):
            calibrate(small, output=str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()
        first.communicate("")
    assert not Path(small + SUFFIX).exists()
    Path(small + SUFFIX).write_text("left by a killed process")
    with held(small):
        pass
    assert not Path(small + SUFFIX).exists()
