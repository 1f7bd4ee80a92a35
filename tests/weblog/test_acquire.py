"""The page of a run: verdict in words, what failed, how to go on; for runs that ended in every way."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from calibrant.acquire import session
from calibrant.acquire.compiler import compile_plan
from calibrant.acquire.inventory import Inventory, load_inventory
from calibrant.acquire.runner import Run
from calibrant.acquire.sequence import load_sequence
from calibrant.acquire.story import read_story
from calibrant.errors import DataError
from calibrant.jobs.acquire_report import report
from calibrant.jobs.acquire_run import with_report
from calibrant.params import declared
from calibrant.weblog.acquire import grouped

SEQUENCE = {
    "name": "two lamps",
    "biases": {"count": 1},
    "lamps": {
        "Argon": {"warmup": 5, "exposure_time": [10, 20], "on_failure": "skip"},
        "Quartz": {"warmup": 5, "exposure_time": 24, "fibsel": {"positions": ["P1-1", "P1-2"], "time_per_position": 8}},
    },
}


@pytest.fixture(scope="module")
def few() -> Inventory:
    """The LVM with two cameras."""
    lvm = load_inventory("lvm")
    detector = lvm.detector.model_copy(update={"cameras": ["b1", "r1"], "readout_s": 5.0})
    return lvm.model_copy(update={"detector": detector})


@pytest.fixture(scope="module")
def take(few: Inventory, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def taken(name: str, on_run: Callable[[Run], None] | None = None, **options: Any) -> Path:
        folder = tmp_path_factory.mktemp(name) / "run"
        plan = compile_plan(load_sequence(SEQUENCE), few)
        request = session.Request(
            plan, few, folder, True, 100.0, state=str(folder.parent / "state"), options=options, floor_s=1.0
        )
        asyncio.run(session.take(request, on_run=on_run, watch=False))
        return folder

    return taken


@pytest.fixture(scope="module")
def complete(take: Callable[..., Path]) -> Path:
    return take("complete")


def page_of(folder: Path) -> str:
    return Path(report(str(folder)).report).read_text("utf-8")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith(("data:", "#")):
                self.outside.append(value)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S)))


def test_complete_run(complete: Path) -> None:
    page = page_of(complete)
    words = text_of(page)
    assert "Verdict: complete" in words and "All 4 frames were taken and passed their checks." in words
    assert "All lamps were off at the end" in words and "What is missing" not in words
    assert "sha256sum -c SHA256SUMS" in words
    links = _Links()
    links.feed(page)
    assert links.outside == []
    assert page.count("<img") == 2 + 4 * 2 and "could not be drawn" not in words
    for line in (complete / "SHA256SUMS").read_text().splitlines():
        assert line.split()[0] in page
    assert "mask: 2 places" in words and re.search(r"P1-1 \d+ s, P1-2 \d+ s", words)
    assert 'class="verdict good"' in page and "prefers-color-scheme: dark" in page


def test_story_of_a_complete_run(complete: Path) -> None:
    story = read_story(complete)
    assert story.verdict == "complete" and not story.burning and not story.missing
    rows = {bar.row for bar in story.last.bars}
    assert {"Argon", "Quartz", "expose", "readout", "mask"} <= rows
    assert all(bar.ok and bar.end >= bar.begin for bar in story.last.bars)
    exposures = {bar.label: bar.end - bar.begin for bar in story.last.bars if bar.row == "expose"}
    assert exposures == pytest.approx({"bias-01": 0, "argon-01": 10, "argon-02": 20, "quartz-01": 24}, abs=1)
    for bar in story.last.bars:
        if bar.kind == "warming":
            burning = next(b for b in story.last.bars if b.row == bar.row and b.kind == "burning")
            assert burning.begin <= bar.begin + 1 and bar.end <= burning.end
    assert [frame.planned_s for frame in story.frames] == sorted(frame.planned_s for frame in story.frames)


def test_aborted_run(take: Callable[..., Path]) -> None:
    def soon(run: Run) -> None:
        async def watch() -> None:
            async for record in run.events():
                if record["kind"] == "exposure" and record["key"] == "argon-02":
                    run.abort("aborted from the control room")

        asyncio.get_running_loop().create_task(watch())

    folder = take("aborted", soon)
    words = text_of(page_of(folder))
    assert "Verdict: incomplete" in words and "It ended early: aborted from the control room." in words
    assert "2 of 4 frames are there" in words and f"calibrant acquire resume {folder}" in words
    assert "argon-02 not stored its exposure began; no file was stored" in words
    assert "abort (aborted from the control room)" in words
    story = read_story(folder)
    assert next(bar for bar in story.last.bars if bar.row == "expose" and not bar.ok).label == "argon-02"


def test_dead_lamp(take: Callable[..., Path]) -> None:
    words = text_of(page_of(take("dead", faults={"Argon": {"kind": "lamp_dies", "after": 2}})))
    assert "Verdict: incomplete" in words
    assert re.search(r"argon-02 bad b1 and 1 other: \d+ ADU above the bias level: no light of Argon arrives", words)


def _ended(folder: Path, to: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Path:
    """A copy whose journal is changed."""
    shutil.copytree(folder, to)
    path = to / "journal.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(record) + "\n" for record in change(records)))
    return to


def _until_quartz_burns(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lit = next(n for n, r in enumerate(records) if r["kind"] == "light" and r["light"] == "Quartz" and r["asked"])
    return records[: lit + 1]


def test_killed_run_with_a_lamp_on(complete: Path, tmp_path: Path) -> None:
    folder = _ended(complete, tmp_path / "killed", _until_quartz_burns)
    story = read_story(folder)
    assert (story.verdict, story.burning) == ("unsafe", ["Quartz"])
    words = text_of(page_of(folder))
    assert "Verdict: unsafe" in words and "Nobody has seen these lamps off since: Quartz." in words
    assert "Look and switch off by hand: Quartz." in words and "calibrant acquire resume" in words
    assert "The journal has no end: its process died." in words


def test_run_that_is_under_way(complete: Path, tmp_path: Path) -> None:
    from calibrant.acquire.control import LOCK_NAME
    from calibrant.acquire.lock import Holder, Lock

    folder = _ended(complete, tmp_path / "running", _until_quartz_burns)
    lock = Lock(folder / LOCK_NAME, Holder.here("r", folder), "the directory")
    words = text_of(page_of(folder))
    lock.release()
    assert "Verdict: running" in words and "lamps on now: Quartz" in words and "calibrant acquire stop" in words


def test_interlock(take: Callable[..., Path]) -> None:
    def soon(run: Run) -> None:
        async def watch() -> None:
            async for record in run.events():
                if record["kind"] == "exposure" and record["key"] == "argon-01":
                    run.observatory.world.state.set_interlock("dome", "the dome opens")  # type: ignore[attr-defined]

        asyncio.get_running_loop().create_task(watch())

    words = text_of(page_of(take("interlock", soon)))
    assert "Verdict: incomplete" in words and "dome: the dome opens" in words


def test_alarm(complete: Path, tmp_path: Path) -> None:
    def alarm(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        end = records[-1] | {"verdict": "unsafe", "reason": "server died", "lights_off": False}
        light = {"kind": "light", "time": end["time"], "light": "Neon", "asked": False, "state": "unknown",
                 "verified": False, "problem": "no answer"}  # fmt: skip
        said = {"kind": "alarm", "time": end["time"], "text": "ALARM: switch off <Neon> by hand", "lights": ["Neon"]}
        return [*records[:-1], light, said, end]

    page = page_of(_ended(complete, tmp_path / "alarm", alarm))
    assert 'class="verdict bad"' in page and "ALARM: switch off &lt;Neon&gt; by hand" in page
    assert "<Neon>" not in page


def test_resumed_run(take: Callable[..., Path], few: Inventory) -> None:
    from calibrant.acquire.resume import verified

    folder = take("resumed", lambda run: run.stop_after_frame())
    plan = compile_plan(load_sequence(SEQUENCE), few)
    request = session.Request(
        plan, few, folder, True, 100.0, before=verified(folder, plan), state=str(folder.parent / "state")
    )
    asyncio.run(session.take(request, watch=False))
    story = read_story(folder)
    assert len(story.attempts) == 2 and story.verdict == "complete"
    words = text_of(page_of(folder))
    assert "1 times resumed" in words and "Resumed 20" in words and "Verdict: complete" in words


def test_lost_file_and_files_of_other_kinds(complete: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    shutil.copytree(complete, folder)
    next(folder.glob("*argon-01-b1*")).unlink()
    next(folder.glob("*argon-02-b1*")).write_bytes(b"not a FITS file")
    words = text_of(page_of(folder))
    assert "Verdict: incomplete" in words and re.search(r"argon-01-b1\S* has gone", words), words
    assert "it is not there any more" in words and "cannot be read" in words


def test_twilight_flats_are_not_resumed(complete: Path, tmp_path: Path) -> None:
    folder = _ended(complete, tmp_path / "sky", lambda records: records[:-1])
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | {"sequence": {"recipe": "twilight_flats"}}))
    next(folder.glob("*argon-01-b1*")).unlink()
    words = text_of(page_of(folder))
    assert "cannot be resumed: the sky has changed" in words and "calibrant acquire resume" not in words


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no journal of a run"):
        report(str(tmp_path))


def test_problems_of_cameras_are_said_once() -> None:
    assert grouped(["b1: 6 ADU above", "r1: 7 ADU above", "the shutter: is stuck", "z1: other"]) == [
        "b1 and 1 other: 6 ADU above", "the shutter: is stuck", "z1: other",
    ]  # fmt: skip


def test_verbs_with_a_report(complete: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from calibrant.acquire.verbs.run import run

    wrapped = with_report(run)
    assert [one.name for one in declared(wrapped)] == [*(one.name for one in declared(run)), "report"]
    assert wrapped.__doc__ == run.__doc__

    class Taken:
        result = type("R", (), {"directory": str(complete)})()

    def verb(sequence: str) -> Any:
        return Taken()

    (complete / "report.html").unlink(missing_ok=True)
    with_report(verb)("x", report=False)
    assert not (complete / "report.html").exists()
    with_report(verb)("x")
    assert (complete / "report.html").exists()
    Taken.result.directory = "/nowhere"
    with_report(verb)("x")
    assert "the report could not be written" in capsys.readouterr().err
