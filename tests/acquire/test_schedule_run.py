"""Running a night: order, retries, what is remembered, and how it goes on after an interruption."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from virtual_time import run as virtual

from calibrant.acquire.calibrations import load_calendar
from calibrant.acquire.inventory import load_inventory
from calibrant.acquire.journal import NAME as JOURNAL
from calibrant.acquire.night import night_of
from calibrant.acquire.plan import Plan
from calibrant.acquire.result import FrameResult, RunResult
from calibrant.acquire.schedule_run import NAME, NightClock, NightResult, Schedule, last_moment, over_in, read_night
from calibrant.errors import DeviceError, ParameterError

LVM = load_inventory("lvm")
assert LVM.site is not None
NIGHT = night_of(LVM.site, "2025-11-15")
SUNSET = NIGHT.sunset or 0.0


class LoopClock(NightClock):
    """The night's time is the loop's, so that it can jump."""

    def __init__(self, begin: float) -> None:
        self._from = begin

    def now(self) -> float:
        return self._from + asyncio.get_running_loop().time()

    async def sleep_until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - self.now()))


class Crew:
    """Takes plans in no time but theirs; `ends` says how each try of a calibration ends, then all go well."""

    def __init__(self, **ends: list[Any]) -> None:
        self.ends = ends
        self.calls: list[tuple[str, str, bool]] = []

    async def take(self, plan: Plan, directory: Path, again: bool) -> RunResult:
        self.calls.append((plan.name, directory.name, again))
        todo = self.ends.get(plan.name, [])
        end = todo.pop(0) if todo else "complete"
        await asyncio.sleep(plan.duration_s)
        if isinstance(end, Exception):
            raise end
        verdict, _, reason = end.partition(": ")
        asked = reason.startswith("stopped")
        directory.mkdir(parents=True, exist_ok=True)
        journal = directory / JOURNAL
        journal.write_text(json.dumps({"kind": "end", "time": 0, "asked": asked}) + "\n")
        frames = tuple(
            FrameResult(step.frame, "", step.frame_kind, "", 0.0, verdict == "complete") for step in plan.frames
        )
        alarms = ("switch it off",) if verdict == "unsafe" else ()
        return RunResult("r", str(directory), str(journal), frames, verdict, reason, alarms)  # type: ignore[arg-type]


def go(folder: Path, crew: Crew, entries: Any = "lvm", begin: float = SUNSET - 60) -> NightResult:
    async def night() -> NightResult:
        return await Schedule(load_calendar(entries), LVM, NIGHT, folder, LoopClock(begin), crew.take).execute()

    return virtual(night())


def states(result: NightResult) -> dict[str, str]:
    return {one.entry.name: one.state for one in result.calibrations}


def one(**more: Any) -> dict[str, Any]:
    return {"name": "one", "recipe": "demo", "min_start_time": 0, "time_mode": "secs_after_sunset", **more}


def test_a_good_night(tmp_path: Path) -> None:
    crew = Crew()
    result = go(tmp_path, crew)
    assert result.verdict == "complete" and set(states(result).values()) == {"done"}
    assert [name for name, _, _ in crew.calls] == ["twilight_flats", "quick_cals", "bias_sequence"]
    flats, cals, biases = result.calibrations
    assert flats.begin == pytest.approx(SUNSET, abs=0.1) and cals.begin == pytest.approx(SUNSET + 1800, abs=0.1)
    assert biases.begin == pytest.approx(cals.end, abs=0.1) and biases.begin < SUNSET + 3600
    evening, last = read_night(tmp_path)
    assert evening == "2025-11-15" and [record["state"] for record in last] == ["done"] * 3
    # Nothing is taken twice.
    again = Crew()
    assert go(tmp_path, again, begin=last_moment(tmp_path) or 0.0).verdict == "complete" and not again.calls
    assert over_in(tmp_path) == ["twilight_flats_sunset", "quick_cals", "bias_sequence"]


def test_retry_takes_what_is_missing(tmp_path: Path) -> None:
    crew = Crew(quick_cals=["incomplete: 1 of 4 frames are missing"], twilight_flats=["incomplete: clouds"])
    entries = [one(recipe="quick_cals", max_try_time=2000), one(name="sky", recipe="twilight_flats", max_try_time=9000)]
    result = go(tmp_path, crew, entries)
    assert states(result) == {"one": "done", "sky": "done"}
    # The sky does not come back: new flats in a new place.
    assert crew.calls == [
        ("quick_cals", "one", False), ("quick_cals", "one", True),
        ("twilight_flats", "sky", False), ("twilight_flats", "sky-2", False),
    ]  # fmt: skip
    assert [progress.attempts for progress in result.calibrations] == [2, 2]


def test_given_up_after_max_try_time_and_tried_once_more_after_the_night(tmp_path: Path) -> None:
    bad = DeviceError("the switch does not answer")
    crew = Crew(demo=[bad] * 4)
    result = go(tmp_path, crew, [one(max_try_time=500), one(name="two", after="one", min_start_time=None)])
    first, second = result.calibrations
    # Three tries of 150 s and pauses of 10 s fit into 500 s; then 'two' had its own.
    assert first.recovered and first.begin == pytest.approx(NIGHT.dawn["nautical"], abs=1)
    assert first.state == "done" and second.state == "done" and result.verdict == "complete"
    reasons = [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()]
    failed = next(record for record in reasons if record.get("state") == "failed")
    assert failed["reason"] == "the switch does not answer (given up after 4 tries)"


def test_no_recovery_where_it_is_not_wanted(tmp_path: Path) -> None:
    crew = Crew(demo=["incomplete: no light"] * 9)
    result = go(tmp_path, crew, [one(max_try_time=0, allow_post_observing_recovery=False)])
    assert (result.verdict, states(result)) == ("incomplete", {"one": "failed"})
    assert "no light" in result.calibrations[0].reason and len(crew.calls) == 1


def test_window_closes_while_retrying(tmp_path: Path) -> None:
    crew = Crew(demo=["incomplete: no light"] * 9)
    entries = [one(max_start_time=200, max_try_time=9000, allow_post_observing_recovery=False)]
    result = go(tmp_path, crew, entries)
    assert states(result) == {"one": "failed"} and len(crew.calls) == 2
    assert go(tmp_path / "late", Crew(), entries, begin=SUNSET + 300).calibrations[0].reason.startswith("too late")


def test_unsafe_ends_the_night(tmp_path: Path) -> None:
    result = go(tmp_path, Crew(quick_cals=["unsafe: LDLS burns"]))
    assert (result.verdict, result.alarms) == ("unsafe", ("switch it off",))
    assert states(result) == {"twilight_flats_sunset": "done", "quick_cals": "failed", "bias_sequence": "waiting"}
    assert "nothing more is done" in result.reason


def test_a_stopped_run_is_cancelled_and_the_next_goes_on(tmp_path: Path) -> None:
    result = go(tmp_path, Crew(quick_cals=["incomplete: stopped after this frame, as asked"]))
    assert states(result)["quick_cals"] == "cancelled" and states(result)["bias_sequence"] == "done"


def test_interrupted_night_goes_on(tmp_path: Path) -> None:
    result = go(tmp_path, Crew(quick_cals=["incomplete: interrupted (Ctrl-C)"]))
    assert result.interrupted and states(result)["quick_cals"] == "retrying"
    crew = Crew()
    result = go(tmp_path, crew, begin=last_moment(tmp_path) or 0.0)
    assert result.verdict == "complete"
    assert [call[1:] for call in crew.calls] == [("quick_cals", True), ("bias_sequence", False)]


def test_killed_night_goes_on(tmp_path: Path) -> None:
    go(tmp_path, Crew())
    lines = (tmp_path / NAME).read_text().splitlines(keepends=True)
    running = next(number for number, line in enumerate(lines) if '"quick_cals"' in line and '"running"' in line)
    (tmp_path / NAME).write_text("".join(lines[: running + 1]))
    crew = Crew()
    result = go(tmp_path, crew, begin=SUNSET + 2000)
    assert result.verdict == "complete"
    assert [call[0] for call in crew.calls] == ["quick_cals", "bias_sequence"]


def test_another_night_or_list_is_refused(tmp_path: Path) -> None:
    go(tmp_path, Crew(), [one()])
    with pytest.raises(ParameterError, match="another list of calibrations"):
        go(tmp_path, Crew(), [one(priority=7)])


def test_what_cannot_be_taken_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("lamps: {Krypton: {exposure_time: 5, flavour: arc}}")
    result = go(tmp_path / "night", Crew(), [one(recipe=str(tmp_path / "odd.yaml"))])
    assert states(result) == {"one": "failed"} and "no lamp 'Krypton'" in result.calibrations[0].reason


def test_simulated_night_from_the_command(tmp_path: Path) -> None:
    """Everything real but the devices, of which there are few, and the clock."""
    from calibrant.jobs.acquire_run import schedule

    few = LVM.model_dump(mode="json") | {"detector": {"cameras": ["b1"], "readout_s": 55}}
    (tmp_path / "few.json").write_text(json.dumps(few))
    entries = [one(name="sky", recipe="twilight_flats", priority=9), one(), one(name="off", disabled=True)]
    (tmp_path / "list.json").write_text(json.dumps(entries))
    result = schedule(
        str(tmp_path / "list.json"), inventory=str(tmp_path / "few.json"), date="2025-11-15", run=True, simulate=True,
        speed=1000.0, output=str(tmp_path / "night"), state=str(tmp_path / "state"),
    )  # fmt: skip
    assert result.exit_code == 0, result.summary()
    assert "12 of 12" in result.summary() and "Verdict: complete" in result.summary()
    assert json.loads(json.dumps(result.to_dict()))["run"]["states"][1]["state"] == "done"
    page = (tmp_path / "night" / "report.html").read_text()
    assert "sky/report.html" in page and "Verdict: complete" in page
    assert len(list((tmp_path / "night" / "sky").glob("*.fits"))) == 12
    header = (tmp_path / "night" / "sky" / "report.html").read_text()
    assert "twilight-12" in header
