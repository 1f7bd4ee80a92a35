"""Whenever a run is cancelled: lamps off, detector idle, mask still, no partial file, and resume takes the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from calibrant.acquire import journal
from calibrant.acquire.resume import verified

from .engine import Bench, plan, virtual

STEPS = plan().steps
WHOLE = {f"sequence-{step.frame}-{camera}.fits" for step in plan().frames for camera in ("b1", "r1")}


async def cancelled(bench: Bench, index: int, when: str, how: str, **options: Any) -> Any:
    """Run until a step begins, is half done, or has ended; cancel then. The result, None where it was cancelled."""
    run = await bench.make(**options)
    phase = "end" if when == "end" else "begin"

    async def wait() -> None:
        async for record in run.events():
            if record["kind"] == "step" and record["index"] == index and record["phase"] == phase:
                break
        if when == "middle":
            await asyncio.sleep(max(STEPS[index].duration_s / 2, 0.1))

    executing = asyncio.create_task(run.execute())
    await asyncio.wait({asyncio.create_task(wait()), executing}, return_when=asyncio.FIRST_COMPLETED)
    if how == "abort":
        run.abort("test")
    else:
        for _ in range(3):
            executing.cancel()
            await asyncio.sleep(0.3)
    try:
        return await executing
    except asyncio.CancelledError:
        return None


async def check_safe(bench: Bench) -> None:
    assert bench.lit() == []
    assert await bench.observatory.detector.is_idle()
    assert not (await bench.observatory.mask.status())["moving"]
    before = len(bench.calls("mask"))
    await asyncio.sleep(100)
    moved = [call for call in bench.calls("mask")[before:] if " move " in call]
    assert moved == [], "the mask's programme went on after the run"
    assert bench.leftovers() == []
    assert bench.lit() == []


@pytest.mark.parametrize(
    ("when", "how"), [("begin", "abort"), ("middle", "abort"), ("middle", "cancel three times"), ("end", "abort")]
)
@pytest.mark.parametrize("index", range(len(STEPS)), ids=lambda i: f"{i}-{STEPS[i].kind}")
def test_at_every_step(tmp_path: Path, index: int, when: str, how: str) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        result = await cancelled(bench, index, when, how)
        await check_safe(bench)
        if result is not None and index < len(STEPS) - 1:
            assert (result.verdict, result.reason) == ("incomplete", "test")
        end = journal.read(tmp_path)[-1]
        assert end["kind"] == "end" and end["lights_off"]
        first = bench.files()
        assert first <= WHOLE

        again = Bench(tmp_path)
        before = verified(tmp_path, again.plan)
        assert before.notes == ()
        assert {file.path for files in before.done.values() for file in files} == first
        resumed = await again.execute(done=before.done)
        assert resumed.verdict == "complete"
        assert again.files() == WHOLE
        taken = {call.split()[-1] for call in again.calls("detector") if call.startswith("detector expose")}
        assert taken == {step.frame for step in again.plan.frames} - set(before.done), "exactly the missing frames"

    virtual(story())


def test_cancels_while_the_lamp_goes_off_slowly(tmp_path: Path) -> None:
    """gort: a second cancellation during all_off() interrupted it."""

    async def story() -> None:
        bench = Bench(tmp_path)
        index = next(step.index for step in STEPS if step.kind == "expose" and step.lights)
        slow = {"Quartz": [{"kind": "slow_off", "amount": 5.0, "after": 1}]}
        await cancelled(bench, index, "middle", "cancel three times", faults=slow)
        await check_safe(bench)
        # The first was the step all_off, the second took 5 s, and was neither cut short nor begun twice.
        ended = [entry for entry in bench.world.trace if (entry.device, entry.call) == ("Quartz", "off")]
        assert [entry.phase for entry in ended] == ["begin", "end", "begin", "end"]
        assert ended[3].time_s - ended[2].time_s >= 5

    virtual(story())


def test_a_cancelled_task_stays_cancelled(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        run = await bench.make()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(9):
                await run.execute()
        await check_safe(bench)

    virtual(story())


def test_the_end_of_the_event_loop_switches_off(tmp_path: Path) -> None:
    """asyncio.run cancels every task at its end, also the one that switches off."""
    bench = Bench(tmp_path)

    async def story() -> None:
        run = await bench.make(faults={"Quartz": [{"kind": "slow_off", "amount": 5.0, "after": 1}]})
        task = asyncio.create_task(run.execute())
        await asyncio.sleep(16)
        assert bench.lit() == ["Quartz"]
        task.cancel()
        await asyncio.sleep(0.1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        virtual(story())
    assert bench.lit() == []
