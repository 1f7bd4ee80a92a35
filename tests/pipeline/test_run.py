"""Verbs called by a run are remembered as commands; files it writes; flags it counts."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from calibrant.params import Param
from calibrant.pipeline.run import Run

sys.path.insert(0, str(Path(__file__).parent))
from made import C286, close_to, observe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    return Run(str(observe(folder / "a.ms", (C286, close_to("T")), ((0, 3), (1, 1)), nant=3, autos=True)), str(folder))


def test_a_verb_is_called_and_remembered(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    def double(vis: Annotated[str, Param("MS.", positional=True)], number: Annotated[int, Param("Number.")] = 1) -> int:
        return 2 * number

    before = len(run.steps)
    assert run.do("twice", "for more", double, vis="a b.ms", number=21) == 42
    (step,) = run.steps[before:]
    assert (step.name, step.reason) == ("twice", "for more") and step.seconds >= 0
    assert shlex.split(step.command) == ["calibrant", "double", "a b.ms", "--number", "21"]
    assert capsys.readouterr().err == "  twice: for more\n"


def test_a_verb_that_fails_is_no_step(run: Run) -> None:
    @dataclass
    class Broken:
        __name__ = "broken"

        def __call__(self, **values: object) -> None:
            raise ValueError("no")

    before = list(run.steps)
    with pytest.raises(ValueError):
        run.do("broken", "", Broken())
    assert run.steps == before


def test_files(run: Run) -> None:
    assert run.write("lines.txt", ["one", "two"]) == run.path("lines.txt")
    assert Path(run.folder, "lines.txt").read_text() == "one\ntwo\n"


def test_flags_of_cross_correlations_by_antenna_field_and_spw(run: Run) -> None:
    from calibrant.tasks.flagdata import flagdata

    assert run.count_flags("before", "0,1", "0").total == 0
    flagdata(vis=run.ms, mode="manual", antenna="DV00&DV01", field="1", flagbackup=False)
    flagdata(vis=run.ms, mode="manual", autocorr=True, flagbackup=False)
    got = run.count_flags("after", "0,1", "0")
    assert got.total == pytest.approx(1 / 12)
    assert got.by_field == pytest.approx({"3C286": 0.0, "T": 1 / 3})
    assert got.by_antenna == pytest.approx({"DV00": 1 / 8, "DV01": 1 / 8, "DV02": 0.0})
    assert got.by_spw == pytest.approx({"0": 1 / 12})
    assert [flags.step for flags in run.flags] == ["before", "after"]
