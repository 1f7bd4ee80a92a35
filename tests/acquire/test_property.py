"""Whatever is planned and whatever fails, no lamp burns in the end, or somebody is told which."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibrant.acquire.inventory import load_inventory

from .engine import Bench, Notebook, plan, virtual

LAMPS = ("Argon", "Quartz", "Neon")
policies = st.sampled_from(["stop", "skip", "retry(1)", "retry(2)"])
times = st.lists(st.integers(1, 8), min_size=1, max_size=2)
lamps = st.dictionaries(
    st.sampled_from(LAMPS),
    st.fixed_dictionaries(
        {"warmup": st.integers(0, 5), "exposure_time": times, "on_failure": policies},
        optional={
            "fibsel": st.just({"positions": ["P1-1", "P1-2"], "time_per_position": 0.5}),
            "discard": st.integers(0, 1),
            "with_dark": st.booleans(),
        },
    ),
    max_size=2,
)
groups = st.dictionaries(
    st.just("together"),
    st.fixed_dictionaries(
        {"lamps": st.just(["Xenon", "HgNe"]), "exposure_time": times, "flavour": st.just("arc"), "on_failure": policies}
    ),
    max_size=1,
)
sequences = st.fixed_dictionaries(
    {"version": st.just(1), "biases": st.fixed_dictionaries({"count": st.integers(1, 2), "on_failure": policies})},
    optional={
        "darks": st.fixed_dictionaries({"exposure_time": times}),
        "lamps": lamps,
        "groups": groups,
        "overlap_warmup": st.sampled_from(["none", "bias_dark"]),
        "park_after": st.booleans(),
        "order": st.just(["lamps", "darks", "biases", "groups"]),
    },
)
kinds = {
    "lamp": ["hang", "refuse", "stuck", "slow_off", "lost", "lamp_dies"],
    "detector": ["hang", "refuse", "short", "truncated", "lost"],
    "mask": ["hang", "refuse", "slow_move", "lost"],
    "pointing": ["hang", "refuse", "lost"],
    "server": ["server_dead"],
}


@st.composite
def faults(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {}
    devices = st.sampled_from([*LAMPS, "Xenon", "detector", "mask", "pointing", "server"])
    for device in draw(st.lists(devices, max_size=3, unique=True)):
        kind = draw(st.sampled_from(kinds.get(device, kinds["lamp"])))
        found[device] = {"kind": kind, "after": draw(st.integers(0, 6)), "times": draw(st.integers(0, 3))}
    return found


ends = st.one_of(
    st.none(), st.tuples(st.sampled_from(["abort", "cancel", "stop", "dome", "weather"]), st.floats(0.1, 60))
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sequence=sequences, wrong=faults(), end=ends)
def test_no_plan_and_no_fault_leaves_a_lamp_on(
    sequence: dict[str, Any], wrong: dict[str, Any], end: tuple[str, float] | None
) -> None:
    if "order" in sequence:
        sequence["order"] = [part for part in sequence["order"] if sequence.get(part)]
    made = plan(sequence)

    async def story(directory: Path) -> None:
        bench = Bench(directory, made)
        run = await bench.make(faults=wrong, filing=Notebook())
        weather = next(lock for lock in bench.observatory.interlocks if lock.name == "weather")
        weather.open_shutter_only = True
        executing = asyncio.create_task(run.execute())
        result = None
        if end is not None:
            await asyncio.wait({executing}, timeout=end[1])
            act(end[0], run, executing, bench)
        try:
            result = await executing
        except asyncio.CancelledError:
            assert end is not None and end[0] == "cancel"
        alarms = " ".join(run.ledger.alarms)
        for lamp in bench.lit():
            assert lamp in alarms, f"{lamp} burns and nobody is told"
            assert wrong.get(lamp) or "server" in wrong, f"{lamp} burns although nothing is wrong with it"
        if result is not None:
            assert (result.verdict == "unsafe") == bool(run.ledger.stream.records[-1]["lights_off"] is False)
            missing = [frame for frame in result.frames if not frame.ok]
            assert (result.verdict == "complete") <= (not missing)
            assert all(frame.problem for frame in missing)
        if not wrong:
            assert await bench.observatory.detector.is_idle()

    with tempfile.TemporaryDirectory() as folder:
        virtual(story(Path(folder)))


def act(what: str, run: Any, executing: Any, bench: Bench) -> None:
    if what == "abort":
        run.abort("hypothesis")
    elif what == "cancel":
        executing.cancel()
    elif what == "stop":
        run.stop_after_frame()
    else:
        bench.world.state.set_interlock(what, "hypothesis")


def test_the_inventory_has_the_lamps_of_this_test() -> None:
    assert set(LAMPS) < set(load_inventory("sim").lamps)
