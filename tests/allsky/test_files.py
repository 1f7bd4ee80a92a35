"""Files: outputs whole or not at all, and said beforehand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from calibrant.allsky.files import check_output, load_json, write_bytes, write_json
from calibrant.allsky.verbs.calibrate import solve
from calibrant.allsky.verbs.image import image
from calibrant.allsky.verbs.simulate import simulate
from calibrant.errors import ExistsError, FormatError, ParameterError


@pytest.mark.parametrize("verb", [solve, image])
def test_a_folder_that_is_not_there_is_said_before_the_data_are_read(verb: Callable[..., object]) -> None:
    with pytest.raises(ParameterError, match=r"^nowhere/out.png: there is no folder .*nowhere; make it first"):
        verb("no data.json", output="nowhere/out.png")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="is a folder; give the name of a file in it"):
        check_output(str(tmp_path), overwrite=True)


def test_a_folder_without_leave_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.access` is asked as it is for a user; the tests may be run by root, who may write anywhere."""
    monkeypatch.setattr(os, "access", lambda path, how: False)
    with pytest.raises(ParameterError, match=f"nothing can be written in {tmp_path}"):
        write_json(str(tmp_path / "x.json"), {}, overwrite=False)


def test_a_failed_write_names_the_users_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.json"
    path.write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_bytes(str(path), b"half", overwrite=True)
    assert caught.value.filename == str(path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_no_json_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "empty.json").touch()
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name in ("empty.json", "binary.json"):
        with pytest.raises(FormatError, match=rf"{name}: is no JSON .*; expected a pie"):
            load_json(str(tmp_path / name), "a pie")


def test_a_simulation_is_written_with_its_truth_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "sim.truth.json").write_text("mine")
    with pytest.raises(ExistsError, match=r"sim\.truth\.json exists"):
        simulate(str(tmp_path / "sim.json"), antennas=6, satellites=2)
    assert [one.name for one in tmp_path.iterdir()] == ["sim.truth.json"]
