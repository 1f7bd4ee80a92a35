"""A run in its normal course, and everything that can end it or leave parts of it out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from calibrant.acquire import journal
from calibrant.acquire.devices import LightState
from calibrant.acquire.events import Documents
from calibrant.acquire.units import remaining, units, wanted

from .engine import SMALL, Bench, Notebook, inventory, plan, virtual

DOINGS = ("on", "off", "expose", "readout", "move")


def doings(bench: Bench) -> list[str]:
    """What was done in order; the switching off of all lamps at once is one thing."""
    lines: list[str] = []
    for call in bench.calls():
        if call.split()[1] not in DOINGS:
            continue
        line = "all off" if call.endswith(" off") and call.split()[0] != lit_last(lines) else call
        if not (line == "all off" and lines and lines[-1] == line):
            lines.append(line)
    return lines


def lit_last(lines: list[str]) -> str:
    """The lamp that was switched on last and not yet off."""
    for line in reversed(lines):
        if line.endswith(" on"):
            return line.split()[0]
        if line.endswith(" off") and line != "all off":
            return ""
    return ""


def test_order_and_overlap_are_those_of_gort(tmp_path: Path) -> None:
    """Reference §1.4, from lvmgort 0.12: the last dark, each lamp's last frame are read beside what follows."""
    devices = inventory("lvm")
    bench = Bench(tmp_path, plan("normal", devices), devices)
    result = virtual(bench.execute(filing=Notebook()))
    assert result.verdict == "complete"
    frames = [*(f"bias-0{n}" for n in range(1, 6)), "dark-01"]
    expected = ["all off"]
    for frame in frames:
        expected += [f"detector expose {frame}", f"detector readout {frame}"]
    expected += ["pointing move calibration"]
    mask = [2, 1, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3]
    for lamp in ("LDLS", "Quartz", "Argon", "Neon", "HgNe", "Xenon"):
        expected += [f"{lamp} on"]
        expected += ["mask move P1-2"] if lamp == "Quartz" else []
        expected += [f"detector expose {lamp.lower()}-01"]
        expected += [f"mask move P1-{number}" for number in mask] if lamp == "Quartz" else []
        expected += [f"detector readout {lamp.lower()}-01", f"{lamp} off"]
    assert doings(bench) == [*expected, "all off"]
    # 2610 s without slew, switching and mask moves, which the simulation has.
    assert 2610 < bench.world.elapsed_s() < 2620


def test_frames_events_and_files(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        run = await bench.make()
        early = [record async for record in both(run)]
        late = [record async for record in run.events()]
        assert early == late == journal.read(tmp_path)
        assert next(record["kind"] for record in late) == "start" and late[-1]["kind"] == "end"
        assert [r["key"] for r in late if r["kind"] == "exposure"] == [step.frame for step in bench.plan.frames]
        places = [record["place"] for record in late if record["kind"] == "mask"]
        assert places == ["P1-1", "P1-2"]

    async def both(run: Any) -> Any:
        executing = asyncio.create_task(run.execute())
        async for record in run.events():
            yield record
        result = await executing
        assert result.verdict == "complete" and result.exit_code == 0
        assert [frame.path for frame in result.frames] == sorted(
            (frame.path for frame in result.frames), key=[frame.path for frame in result.frames].index
        )
        assert all((tmp_path / frame.path).is_file() and frame.ok for frame in result.frames)
        assert len(result.frames) == 2 * len(run.plan.frames)

    virtual(story())


def test_header_tells_lamp_and_mask(tmp_path: Path) -> None:
    from astropy.io import fits

    virtual(Bench(tmp_path).execute())
    with fits.open(tmp_path / "sequence-quartz-01-b1.fits") as parts:
        header = parts[0].header
        assert (header["IMAGETYP"], header["OBJECT"], header["EXPREQ"], header["CALSEQ"]) == (
            "flat", "Quartz", 8, "sequence",
        )  # fmt: skip
        number = next(n for n in range(1, 9) if header[f"LAMP{n}"] == "Quartz")
        assert (header[f"LMP{number}BEG"], header[f"LMP{number}END"]) == ("on", "on")
        # 4 s of warm-up, the mask's move, 8 s of exposure.
        assert header[f"LMP{number}MIN"] == pytest.approx(12.2 / 60, abs=0.01)
        assert list(parts["MASK"].data["PLACE"]) == ["P1-1", "P1-2"]
        stays = parts["MASK"].data["T1"] - parts["MASK"].data["T0"]
        assert list(stays) == pytest.approx([3, 3], abs=0.6)


@pytest.mark.parametrize(("slowness", "missed"), [(1.0, []), (40.0, ["P1-2"])])
def test_places_that_the_mask_does_not_reach_in_time_are_named(
    tmp_path: Path, slowness: float, missed: list[str]
) -> None:
    faults = {"mask": {"kind": "slow_move", "amount": slowness, "times": 0}}
    virtual(Bench(tmp_path).execute(faults=faults))
    notes = [record["text"] for record in journal.read(tmp_path) if record["kind"] == "note"]
    said = [text for text in notes if "the exposure ended before the mask came to" in text]
    assert said == [f"quartz-01: the exposure ended before the mask came to {place}" for place in missed]


def test_bluesky_documents(tmp_path: Path) -> None:
    async def story() -> Documents:
        documents = Documents()
        run = await Bench(tmp_path).make()
        run.events().listen(documents)
        await run.execute()
        return documents

    documents = virtual(story())
    names = [name for name, _ in documents.documents]
    assert names == ["start", "descriptor", *["event"] * 10, "stop"]
    start, descriptor, *events, stop = (document for _, document in documents.documents)
    assert descriptor["run_start"] == stop["run_start"] == start["uid"]
    assert {event["descriptor"] for event in events} == {descriptor["uid"]}
    assert all(set(event["data"]) == set(descriptor["data_keys"]) == set(event["timestamps"]) for event in events)
    assert [event["seq_num"] for event in events] == list(range(1, 11))
    assert stop["exit_status"] == "success" and stop["num_events"] == {"primary": 10}
    target = tmp_path / "documents.jsonl"
    documents.write(target)
    assert len(target.read_text().splitlines()) == len(names)


# ---- ending on request


def test_stop_after_frame(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        run = await bench.make()
        async for _record in ended(run, lambda r: r["kind"] == "exposure" and r["key"] == "argon-01"):
            run.stop_after_frame("test")
        result = run_result(run)
        assert result.verdict == "incomplete" and "stopped after this frame" in result.reason
        assert result.exit_code == 1
        assert {frame.key for frame in result.frames if frame.ok} == {"bias-01", "dark-01", "quartz-01", "argon-01"}
        assert next(frame for frame in result.frames if not frame.ok).problem == "not reached"
        assert bench.lit() == []

    virtual(story())


def test_stop_after_frame_cuts_a_warmup_short(tmp_path: Path) -> None:
    async def story() -> None:
        sequence = {"biases": {"count": 1}, "lamps": {"Argon": {"warmup": 3000, "exposure_time": 3}}}
        bench = Bench(tmp_path, plan(sequence))
        run = await bench.make()
        async for _record in ended(run, lambda r: r.get("step") == "warm"):
            run.stop_after_frame("test")
        assert bench.world.elapsed_s() < 100
        assert bench.lit() == []
        assert run_result(run).verdict == "incomplete"

    virtual(story())


def test_stop_after_lamp(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        run = await bench.make()
        async for _record in ended(run, lambda r: r["kind"] == "exposure" and r["key"] == "quartz-01"):
            run.stop_after_lamp("test")
        result = run_result(run)
        assert {frame.key for frame in result.frames if frame.ok} == {"bias-01", "dark-01", "quartz-01"}
        assert not [call for call in bench.calls("Argon") if call.endswith(" on")]
        assert bench.lit() == []

    virtual(story())


RESULTS: dict[int, Any] = {}


async def ended(run: Any, moment: Any) -> Any:
    """Execute the run to its end; yields once, at the first record for which `moment` holds."""
    executing = asyncio.create_task(run.execute())
    seen = False
    async for record in run.events():
        if not seen and moment(record):
            seen = True
            yield record
    RESULTS[id(run)] = await executing
    assert seen


def run_result(run: Any) -> Any:
    return RESULTS.pop(id(run))


# ---- before the start


def test_unknown_light_stops_the_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    result = virtual(bench.execute(faults={"Neon": {"kind": "hang", "call": "read", "times": 0}}))
    assert "nobody can tell whether these lights burn: Neon" in result.reason
    assert result.verdict == "unsafe" and result.exit_code == 3
    assert "Neon" in result.alarms[0] and "person" in result.alarms[0]
    assert not [call for call in bench.calls() if call.split()[1] in ("on", "expose", "move")]


def test_lights_left_on_are_switched_off_first(tmp_path: Path) -> None:
    async def story() -> Any:
        bench = Bench(tmp_path)
        run = await bench.make()
        bench.world.state.switch("Xenon", 1.0, bench.world.utc())
        result = await run.execute()
        notes = [record["text"] for record in journal.read(tmp_path) if record["kind"] == "note"]
        assert "lights were on before the run: Xenon; they are switched off" in notes
        assert bench.lit() == []
        return result

    assert virtual(story()).verdict == "complete"


def test_interlock_forbids_the_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    result = virtual(bench.execute(interlocks={"room light": "somebody is in the room"}))
    assert (result.verdict, result.reason) == ("incomplete", "room light: somebody is in the room")
    assert not [call for call in bench.calls() if call.split()[1] in ("on", "expose", "move")]


# ---- while it runs


def test_interlock_ends_the_run(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        run = await bench.make()
        async for _ in ended(run, lambda r: r["kind"] == "exposure" and r["key"] == "quartz-01"):
            bench.world.state.set_interlock("dome", "the dome is open")
        result = run_result(run)
        assert (result.verdict, result.reason) == ("incomplete", "dome: the dome is open")
        assert bench.lit() == [] and await bench.observatory.detector.is_idle()
        assert {frame.key for frame in result.frames if frame.ok} == {"bias-01", "dark-01"}

    virtual(story())


def test_weather_ends_only_frames_with_the_shutter_open(tmp_path: Path) -> None:
    """pyobs #672."""
    sequence = {**SMALL, "order": ["lamps", "biases", "darks"]}

    async def story() -> None:
        bench = Bench(tmp_path, plan(sequence))
        run = await bench.make()
        weather = next(lock for lock in bench.observatory.interlocks if lock.name == "weather")
        weather.open_shutter_only = True
        async for _ in ended(run, lambda r: r["kind"] == "exposure" and r["key"] == "quartz-01"):
            bench.world.state.set_interlock("weather", "rain")
        result = run_result(run)
        assert {frame.key for frame in result.frames if frame.ok} == {"bias-01", "dark-01"}
        assert {frame.problem for frame in result.frames if not frame.ok} == {"weather: rain"}
        assert result.verdict == "incomplete" and bench.lit() == []

    virtual(story())


def test_a_lamp_may_burn_only_so_long(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    result = virtual(bench.execute(max_on_s={"Quartz": 10.0}))
    assert result.reason == "Quartz has been burning for more than 10 s"
    history = bench.world.state.history("Quartz")
    assert [level for _, level in history] == [1.0, 0.0]
    assert history[1][0] - history[0][0] < 10 + 6
    assert bench.lit() == []


def test_leases(tmp_path: Path) -> None:
    """A lamp with a timer of its own goes off although nobody is there to switch it."""

    async def story() -> None:
        bench = Bench(tmp_path)
        run = await bench.make(hardware_lease=True, max_on_s={"Quartz": 30.0})
        async for _ in ended(run, lambda r: r["kind"] == "light" and r["asked"]):
            history = bench.world.state.history("Quartz")
            assert [level for _, level in history] == [1.0, 0.0]
            assert history[1][0] - history[0][0] == pytest.approx(30)
        assert run_result(run).verdict == "complete"

    virtual(story())


# ---- failures


@pytest.mark.parametrize(
    ("policy", "good", "verdict"),
    [
        ("stop", {"bias-01", "dark-01"}, "incomplete"),
        ("skip", {"bias-01", "dark-01", "argon-01", "argon-02"}, "incomplete"),
        ("retry(2)", {"bias-01", "dark-01", "quartz-01", "argon-01", "argon-02"}, "complete"),
    ],
)
@pytest.mark.parametrize("fault", ["refuse", "hang"])
def test_on_failure(tmp_path: Path, policy: str, good: set[str], verdict: str, fault: str) -> None:
    lamps: Any = {name: {**lamp, "on_failure": policy} for name, lamp in SMALL["lamps"].items()}  # type: ignore[attr-defined]
    bench = Bench(tmp_path, plan({**SMALL, "lamps": lamps}))
    faults = {"Quartz": {"kind": fault, "call": "on", "times": 2}}
    result = virtual(bench.execute(faults=faults))
    assert {frame.key for frame in result.frames if frame.ok} == good
    assert result.verdict == verdict
    assert bench.lit() == []
    if policy == "skip":
        problem = next(frame.problem for frame in result.frames if frame.key == "quartz-01")
        assert "Quartz" in problem


def test_a_frame_that_fails_its_checks_is_kept_and_does_not_count(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    result = virtual(bench.execute(faults={"Argon": "lamp_dies"}))
    assert result.verdict == "incomplete" and result.reason == "2 of 5 frames are missing"
    bad = [frame for frame in result.frames if not frame.ok]
    assert {frame.key for frame in bad} == {"argon-01", "argon-02"}
    assert all((tmp_path / frame.path).is_file() and "Is it on?" in frame.problem for frame in bad)


def test_a_bad_frame_is_taken_again_where_the_plan_says_so(tmp_path: Path) -> None:
    sequence = {"lamps": {"Argon": {"exposure_time": [3, 4], "on_failure": "retry(2)"}}}
    bench, notebook = Bench(tmp_path, plan(sequence)), Notebook()
    notebook.problems = {"argon-02": ["too dark", "too dark", ""]}
    result = virtual(bench.execute(filing=notebook))
    assert result.verdict == "complete"
    assert notebook.kept == ["argon-01", "argon-02", "argon-02", "argon-02"]


def test_the_second_try_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Nothing is overwritten: the second file is the one that counts."""
    sequence = {"biases": {"count": 1}, "lamps": {"Argon": {"exposure_time": 3, "on_failure": "retry(1)"}}}
    bench = Bench(tmp_path, plan(sequence))
    result = virtual(bench.execute(faults={"detector": {"kind": "truncated", "after": 1}}))
    assert result.verdict == "complete"
    assert {frame.path for frame in result.frames if frame.key == "argon-01"} == {
        "sequence-argon-01-b1-try2.fits", "sequence-argon-01-r1-try2.fits",
    }  # fmt: skip
    assert bench.files() >= {"sequence-argon-01-b1.fits", "sequence-argon-01-b1-try2.fits"}


def test_a_readout_that_fails_late_is_tried_again_at_the_end(tmp_path: Path) -> None:
    lamps: Any = {name: {**lamp, "on_failure": "retry(1)"} for name, lamp in SMALL["lamps"].items()}  # type: ignore[attr-defined]
    bench = Bench(tmp_path, plan({**SMALL, "lamps": lamps}))
    faults = {"detector": {"kind": "refuse", "call": "readout", "after": 2}}
    result = virtual(bench.execute(faults=faults))
    exposed = [call.split()[-1] for call in bench.calls("detector") if call.startswith("detector expose")]
    assert exposed == ["bias-01", "dark-01", "quartz-01", "argon-01", "argon-02", "quartz-01"]
    assert result.verdict == "complete"


def test_slow_mask_is_homed_and_tried_once_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    result = virtual(bench.execute(faults={"mask": {"kind": "hang", "call": "move"}}))
    assert result.verdict == "complete"
    assert "mask stop" in bench.calls("mask")


def test_lamp_that_goes_off_ends_the_exposure(tmp_path: Path) -> None:
    async def story() -> None:
        sequence = {"lamps": {"Argon": {"warmup": 2, "exposure_time": 500}}}
        bench = Bench(tmp_path, plan(sequence))
        run = await bench.make()
        async for _ in ended(run, lambda r: r["kind"] == "exposure"):
            bench.world.state.switch("Argon", 0.0, bench.world.utc())
        result = run_result(run)
        assert result.reason == "Argon went off while it was needed"
        assert bench.world.elapsed_s() < 30 and bench.files() == set()
        assert await bench.observatory.detector.is_idle()

    virtual(story())


def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calibrant.acquire import storage

    calls = iter([10**12] * 4 + [0] * 100)
    monkeypatch.setattr(storage, "free_bytes", lambda folder: next(calls))
    bench = Bench(tmp_path)
    result = virtual(bench.execute())
    assert "disk full" in result.reason and result.verdict == "incomplete"
    assert {frame.key for frame in result.frames if frame.ok} == {"bias-01", "dark-01"}
    assert bench.lit() == [] and bench.leftovers() == []


def test_a_journal_that_cannot_be_written_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        run = await bench.make()

        def full(*args: Any, **fields: Any) -> Any:
            raise OSError(28, "No space left on device")

        async for _ in ended(run, lambda r: r["kind"] == "exposure" and r["key"] == "quartz-01"):
            monkeypatch.setattr(run.journal, "append", full)
        result = run_result(run)
        assert "journal cannot be written: No space left on device" in result.reason
        assert result.verdict == "incomplete" and bench.lit() == []

    virtual(story())


def test_a_fault_of_the_program_is_raised_when_all_is_safe(tmp_path: Path) -> None:
    class Broken(Notebook):
        def keep(self, frames: Any, spec: Any, evidence: Any) -> Any:
            if spec.object:
                raise KeyError("a bug")
            return super().keep(frames, spec, evidence)

    bench = Bench(tmp_path)
    with pytest.raises(KeyError, match="a bug"):
        virtual(bench.execute(filing=Broken()))
    assert bench.lit() == []
    assert journal.read(tmp_path)[-1]["kind"] == "end"


# ---- more of the sequence language


def test_target_counts(tmp_path: Path) -> None:
    target = {"level": 20000, "tol": 0.1, "tmin": 1, "tmax": 60}
    sequence = {"lamps": {"Quartz": {"warmup": 1, "exposure_time": 4, "target_counts": target}}}
    bench, notebook = Bench(tmp_path, plan(sequence)), Notebook()
    result = virtual(bench.execute(filing=notebook))
    tries = [record for record in journal.read(tmp_path) if record["kind"] == "trial"]
    assert [(t["exposure_s"], t["level"], t["ok"]) for t in tries] == [(4, 4000, False), (20, 20000, True)]
    assert result.verdict == "complete" and notebook.kept == ["quartz-01"]


def test_target_counts_out_of_reach(tmp_path: Path) -> None:
    target = {"level": 20000, "tol": 0.1, "tmin": 1, "tmax": 10}
    sequence = {"lamps": {"Quartz": {"warmup": 1, "exposure_time": 4, "target_counts": target}}}
    bench = Bench(tmp_path, plan(sequence))
    tries: list[Any] = []

    async def story() -> Any:
        run = await bench.make()
        run.events().listen(lambda record: tries.append(record) if record["kind"] == "trial" else None)
        run._hands.filing.level = lambda frames: (5000.0, 1000.0)  # type: ignore[method-assign]
        return await run.execute()

    result = virtual(story())
    assert [t["exposure_s"] for t in tries] == [4, 10]
    assert "5000 counts after 2 tries, 20000 are wanted" in result.frames[0].problem
    assert not result.frames[0].ok


def test_discarded_frames_are_taken_and_not_stored(tmp_path: Path) -> None:
    sequence = {"biases": {"count": 2, "discard": 1}, "lamps": {"Argon": {"exposure_time": [3, 4], "discard": 2}}}
    bench = Bench(tmp_path, plan(sequence))
    result = virtual(bench.execute())
    assert result.verdict == "complete"
    assert {frame.key for frame in result.frames} == {"bias-01", "bias-02", "argon-01", "argon-02"}
    exposed = [call.split()[-1] for call in bench.calls("detector") if call.startswith("detector expose")]
    assert len(exposed) == 7 and len(bench.files()) == 8


def test_on_off_comes_back_to_its_source_for_a_second_try(tmp_path: Path) -> None:
    devices = inventory().model_copy(
        update={"positions": {name: {"main": [45.0, 90.0]} for name in ("onsource", "offsource", "calibration")}}
    )
    onoff = {"light": "Krypton", "exposure_time": 2, "repetitions": 1, "on_failure": "retry(1)"}
    bench = Bench(tmp_path, plan({"version": 1, "onoff": onoff}, devices), devices)
    faults = {"detector": {"kind": "refuse", "call": "expose", "after": 2}}
    result = virtual(bench.execute(filing=Notebook(), faults=faults))
    assert result.verdict == "complete"
    moves = [call.split()[-1] for call in bench.calls("pointing") if " move " in call]
    assert moves == ["onsource", "offsource", "offsource"]


def test_what_is_left_lights_no_lamp_for_nothing() -> None:
    steps = plan().steps
    everything = {step.frame for step in wanted(steps)}
    left = remaining(steps, everything - {"argon-02"})
    assert [step.kind for step in left] == [
        "all_off", "point", "light_on", "warm", "expose", "readout", "light_off", "all_off",
    ]  # fmt: skip
    assert {name for step in left for name in step.lights} == {"Argon"}
    assert [step.kind for step in remaining(steps, everything)] == ["all_off", "all_off"]
    assert remaining(steps, set()) == list(steps)


def test_units() -> None:
    parts = units(plan().steps)
    assert [str(unit) for unit in parts] == ["all_off", "bias-01", "dark-01", "point", "Quartz", "Argon", "all_off"]
    assert [unit.open_shutter for unit in parts] == [False, False, False, False, True, True, False]


def test_lamps_are_warm_when_frames_begin(tmp_path: Path) -> None:
    """With the warm-up hidden behind biases, and the biases there already: the lamp still gets its time."""
    sequence = {
        "version": 1,
        "biases": {"count": 3},
        "lamps": {"Argon": {"warmup": 30, "exposure_time": 3}},
        "overlap_warmup": "bias_dark",
    }

    async def story() -> None:
        bench = Bench(tmp_path, plan(sequence))
        from calibrant.acquire.result import FrameResult

        there = {f"bias-0{n}": [FrameResult(f"bias-0{n}", "", "bias", "", 0, True)] for n in (1, 2, 3)}
        run = await bench.make(done=there)
        async for _ in ended(run, lambda r: r["kind"] == "exposure"):
            since = bench.world.state.history("Argon")[0][0]
            assert bench.world.utc() - since >= 30
            assert await bench.observatory.lights["Argon"].read() is LightState.ON
        assert run_result(run).verdict == "complete"

    virtual(story())
