"""The journal, and what a resumed run makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calibrant.acquire import journal
from calibrant.acquire.compiler import compile_plan
from calibrant.acquire.inventory import load_inventory
from calibrant.acquire.journal import Journal
from calibrant.acquire.resume import differences, verified
from calibrant.acquire.sequence import load_sequence
from calibrant.acquire.units import closed_up, remaining
from calibrant.acquire.verbs.resume import resume
from calibrant.acquire.verbs.run import run
from calibrant.errors import DataError, FormatError, ParameterError

from .engine import SMALL, Bench, virtual


def test_records_are_lines_of_json(tmp_path: Path) -> None:
    book = Journal(tmp_path / "journal.jsonl")
    book.append("note", text="ä", value=float("nan"))
    book.close()
    assert Journal(tmp_path / "journal.jsonl").append("note", text="b")["text"] == "b"
    assert [record["text"] for record in journal.read(tmp_path)] == ["ä", "b"]
    assert json.loads((tmp_path / "journal.jsonl").read_text().splitlines()[0])["value"] is None


def test_every_record_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    book = Journal(tmp_path / "journal.jsonl")
    before = len(synced)
    book.append("note", text="a")
    book.append("note", text="b")
    assert len(synced) == before + 2


def test_a_torn_last_line_never_was(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    book = Journal(path)
    book.append("note", text="whole")
    with path.open("a") as stream:
        stream.write('{"kind": "frame", "key": "bi')
    assert [record["text"] for record in journal.read(tmp_path)] == ["whole"]
    Journal(path).append("note", text="after")
    assert [record["text"] for record in journal.read(tmp_path)] == ["whole", "after"]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"kind": "note", "time": 1}\nrubbish\n{"kind": "note", "time": 2}\n')
    with pytest.raises(FormatError, match="line 2"):
        journal.read(tmp_path)
    with pytest.raises(DataError, match="no journal"):
        journal.read(tmp_path / "nowhere")


def test_half_a_line_is_taken_back_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    book = Journal(tmp_path / "journal.jsonl")
    book.append("note", text="a")
    real = os.write
    monkeypatch.setattr("os.write", lambda handle, data: real(handle, data[: len(data) // 2]))
    with pytest.raises(OSError, match="full"):
        book.append("note", text="b")
    monkeypatch.undo()
    book.append("note", text="c")
    assert [record["text"] for record in journal.read(tmp_path)] == ["a", "c"]


def test_frames_that_were_touched_are_taken_again(tmp_path: Path) -> None:
    async def first() -> Bench:
        bench = Bench(tmp_path)
        assert (await bench.execute()).verdict == "complete"
        return bench

    bench = virtual(first())
    (tmp_path / "sequence-dark-01-b1.fits").write_bytes(b"changed")
    (tmp_path / "sequence-argon-01-r1.fits").unlink()
    before = verified(tmp_path, bench.plan)
    assert set(before.done) == {"bias-01", "quartz-01", "argon-02"}
    assert "is not what was stored" in before.notes[0] and "has gone" in before.notes[1]

    async def again() -> Any:
        return await Bench(tmp_path).execute(done=before.done)

    result = virtual(again())
    assert result.verdict == "complete"
    assert len(result.frames) == 10
    # What is there is not overwritten.
    assert (tmp_path / "sequence-dark-01-b1.fits").read_bytes() == b"changed"
    assert {frame.path for frame in result.frames if frame.key == "dark-01"} == {
        "sequence-dark-01-b1-try2.fits",
        "sequence-dark-01-r1-try2.fits",
    }


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of the small sequence with files of its own, which can be changed."""
    monkeypatch.setenv("CALIBRANT_STATE", str(tmp_path / "state"))
    (tmp_path / "seq.json").write_text(json.dumps({"biases": {"count": 2}}))
    source = Path(__file__).parents[2] / "src/calibrant/acquire/inventories/sim.yaml"
    (tmp_path / "inv.yaml").write_text(source.read_text())
    report = run(str(tmp_path / "seq.json"), str(tmp_path / "inv.yaml"), output=str(tmp_path / "run"), speed=500)
    assert report.verdict == "complete" and report.exit_code == 0
    return tmp_path


def test_resume_of_a_complete_run_takes_nothing(taken: Path) -> None:
    files = sorted((taken / "run").glob("*.fits"))
    report = resume(str(taken / "run"))
    assert report.verdict == "complete"
    assert sorted((taken / "run").glob("*.fits")) == files
    assert len(report.to_dict()["frames"]) == 4
    kinds = [record["kind"] for record in journal.read(taken / "run")]
    assert kinds.count("exposure") == 2 and kinds.count("start") == 2


def test_resume_refuses_a_changed_plan(taken: Path) -> None:
    (taken / "seq.json").write_text(json.dumps({"biases": {"count": 3}}))
    with pytest.raises(ParameterError, match="the plan has changed since this run began"):
        resume(str(taken / "seq.json"), output=str(taken / "run"))


def test_resume_refuses_a_changed_inventory_and_says_what(taken: Path) -> None:
    path = taken / "inv.yaml"
    path.write_text(
        path.read_text().replace("Argon: {flavour: arc, warmup_s: 2}", "Argon: {flavour: arc, warmup_s: 9}")
    )
    with pytest.raises(ParameterError, match=r"lamps\.Argon\.warmup_s: 2.* -> 9"):
        resume(str(taken / "run"))


def test_resume_does_not_mix_worlds(taken: Path) -> None:
    path = taken / "run" / "journal.jsonl"
    path.write_text(path.read_text().replace('"simulated": true', '"simulated": false'))
    with pytest.raises(ParameterError, match="real devices"):
        resume(str(taken / "run"), simulate=True)


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="name the directory"):
        resume()
    with pytest.raises(DataError, match="no journal"):
        resume(str(tmp_path))


def test_resume_dry_run(taken: Path) -> None:
    (taken / "run" / "seq-bias-02-b1.fits").unlink()
    report = resume(str(taken / "run"), dry_run=True)
    assert report.verdict == "dry run"
    assert [step["frame"] for step in report.to_dict()["steps"] if step["kind"] == "expose"] == ["bias-02"]
    # Times are those of what is left.
    assert (report.plan.duration_s, report.plan.steps[-1].start_s) == (1.0, 0.0)


def test_times_of_what_is_left() -> None:
    whole = compile_plan(load_sequence("normal"), load_inventory("lvm"))
    assert closed_up(whole.steps) == list(whole.steps)
    done = [step.frame for step in whole.frames]
    left = closed_up(remaining(whole.steps, set(done[:-1])))
    # Warm-up of Xenon, its exposure, its readout.
    assert max(step.start_s + step.duration_s for step in left) == 120 + 30 + 55


def test_what_follows_the_sky_cannot_go_on(taken: Path) -> None:
    path = taken / "run" / "journal.jsonl"
    path.write_text(path.read_text().replace('"sequence": {', '"sequence": {"recipe": "twilight_flats", '))
    with pytest.raises(ParameterError, match=r"the sky, which has changed.*take them anew"):
        resume(str(taken / "run"))


def test_differences() -> None:
    old: dict[str, Any] = {"a": 1, "b": {"c": [1, 2]}, "gone": 0}
    new: dict[str, Any] = {"a": 1, "b": {"c": [1, 3]}, "new": 0}
    assert differences(old, new) == ["b.c[1]: 2 -> 3", "gone: 0 -> nothing", "new: nothing -> 0"]
    assert differences(SMALL, SMALL) == []
