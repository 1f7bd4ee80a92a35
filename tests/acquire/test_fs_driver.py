"""The Field System driver against a stand-in that takes SNAP commands and writes a growing log."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_fs import FakeFs, onoff_lines, replay

from calibrant.acquire import fs_log
from calibrant.acquire.compiler import compile_plan
from calibrant.acquire.devices import (
    CaptureSpec,
    DeviceBusy,
    DeviceLost,
    DeviceRefused,
    DeviceTimeout,
    Frame,
    LightState,
    Observatory,
)
from calibrant.acquire.drivers import connect, fs
from calibrant.acquire.fs_files import control, library, programme_of
from calibrant.acquire.fs_log import GrowingLog, LogReader, diode_pattern, parse_stamp
from calibrant.acquire.inventory import Inventory, load_inventory
from calibrant.acquire.plan import Plan
from calibrant.acquire.result import RunResult
from calibrant.acquire.resume import verified
from calibrant.acquire.runner import Run
from calibrant.acquire.sequence import load_sequence
from calibrant.acquire.session import Request, take
from calibrant.errors import ParameterError
from calibrant.station.aquir import check_aquir, parse_aquir, read_procedures
from calibrant.station.fslog import read_log
from calibrant.station.onoff import reduce_scan

KEYS = ["onso-01", "onsc-01", "offc-01", "offs-01", "zero-01", "onso-02", "onsc-02", "offc-02", "offs-02"]
PATTERN = diode_pattern("calonnf", "caloffnf")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs_log, "POLL_S", 0.02)
    monkeypatch.setattr(fs, "SWITCH_S", 3.0)
    monkeypatch.setattr(fs, "OPERATOR_S", 20.0)
    monkeypatch.setattr(fs, "SETTLE_S", 0.3)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[FakeFs]:
    folder = tmp_path / "fs"
    folder.mkdir()
    system = FakeFs(folder)
    yield system
    system.close()


def at(system: FakeFs, *, inject: bool = True, **address: Any) -> Inventory:
    """The shipped inventory, at this stand-in."""
    given = load_inventory("fs").model_dump()
    given["address"] |= {"log": str(system.log), "procedures": str(system.folder), **address}
    if inject:
        given["address"]["inject"] = system.inject
    return Inventory.model_validate(given)


def planned(inventory: Inventory, **onoff: Any) -> Plan:
    block = {"light": "diode", "exposure_time": 5, **onoff}
    return compile_plan(load_sequence({"name": "tcal", "onoff": block}), inventory)


def request(plan: Plan, inventory: Inventory, tmp_path: Path, **more: Any) -> Request:
    return Request(plan, inventory, tmp_path / "run", state=str(tmp_path / "state"), **more)


def run(plan: Plan, inventory: Inventory, tmp_path: Path, **more: Any) -> RunResult:
    return asyncio.run(asyncio.wait_for(take(request(plan, inventory, tmp_path), watch=False, **more), 60))


def on(inventory: Inventory, trial: Callable[[Observatory], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        observatory = await connect(inventory, **options)
        try:
            await trial(observatory)
        finally:
            await observatory.close()

    asyncio.run(asyncio.wait_for(whole(), 60))


async def frame(observatory: Observatory, kind: str, seconds: float = 1.0, **options: Any) -> Frame:
    exposure = await observatory.detector.expose(CaptureSpec(f"{kind}-01", kind, seconds, options=options))  # type: ignore
    await exposure.integrated()
    return (await exposure.read())[0]


# ---- a whole run


def test_an_onoff_is_taken_as_a_sequence(system: FakeFs, tmp_path: Path) -> None:
    inventory = at(system)
    result = run(planned(inventory), inventory, tmp_path)
    assert (result.verdict, result.alarms) == ("complete", ())
    assert [(one.key, one.ok) for one in result.frames] == [(key, True) for key in KEYS]
    (scan,) = read_log(str(system.log), progress=False).scans
    for one in result.frames:
        content = json.loads((tmp_path / "run" / one.path).read_text())
        state, repetition = one.key[:4].upper(), int(one.key[-2:])
        found = {row["detector"]: row["counts"] for row in content["levels"]}
        assert found == {
            name: level.level
            for name, levels in scan.levels.items()
            for level in levels
            if (level.state, level.repetition + 1) == (state, repetition)
        }
        assert ("onoff" in content) is (one.key == KEYS[-1])
    results = {row["detector"]: row["sefd_jy"] for row in content["onoff"]["results"]}
    assert results == pytest.approx({one.detector: one.sefd_jy for one in reduce_scan(scan)})
    assert system.done[-1] == "onoff", "nothing was stopped"
    sums = (tmp_path / "run" / "SHA256SUMS").read_text()
    assert all(one.path in sums for one in result.frames)


def test_the_lights_in_the_journal_are_those_of_the_visits(system: FakeFs, tmp_path: Path) -> None:
    system.unit_s = 0.002
    inventory = at(system)
    assert run(planned(inventory), inventory, tmp_path).verdict == "complete", "although the log is far ahead"
    records = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    steps = [(one["kind"], one.get("asked"), one["state"]) for one in records if one["kind"] == "light"]
    assert steps.count(("light", True, "on")) == 2 and ("light", True, "off") not in steps


def test_a_source_is_gone_to_by_aquir(system: FakeFs, tmp_path: Path) -> None:
    inventory = at(system)
    result = run(planned(inventory, repetitions=1, on_source="virgoa"), inventory, tmp_path)
    assert result.verdict == "complete" and len(result.frames) == 5
    assert "source=virgoa,123049.4,+122328.,2000." in system.done
    (control_file,) = system.folder.glob("cb*.ctl")
    assert f"sy=run aquir {control_file} &" in system.done
    time.sleep(0.1)
    assert system.done[-1] == "sy=brk aquir &", "AQUIR is ended after one pass"


def test_without_injection_a_person_types_what_is_shown(
    system: FakeFs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    def operator(text: str) -> None:
        shown.append(text)
        commands = text.removeprefix("At the Field System, please type:  ").split("   then   ")
        threading.Timer(0.2, lambda: [system.type(command) for command in commands]).start()

    monkeypatch.setattr(fs, "say", operator)
    inventory = at(system, inject=False)
    result = run(planned(inventory, repetitions=1), inventory, tmp_path)
    assert result.verdict == "complete" and len(result.frames) == 5
    assert [text.partition(":  ")[2].split()[0] for text in shown] == ["caloffnf", f"proc={system.done[1][5:]}"]


@pytest.mark.real_data
def test_a_recorded_log_gives_the_same_frames(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Onsala, 2016: two repetitions of one second, replayed line by line while a run watches."""
    recorded = tmp_path / "recorded.log"
    recorded.write_bytes(gzip.decompress((shared / "data" / "fs_logs" / "r1749on.log.gz").read_bytes()))
    lines = recorded.read_text("latin-1").splitlines()
    first = next(number for number, line in enumerate(lines) if line.endswith("&onofif12/onoff"))
    last = next(number for number, line in enumerate(lines) if "#onoff#VAL casa" in line) + 8
    log = tmp_path / "station.log"
    log.write_text(lines[first - 1][:20] + ";caloff\n", "latin-1")
    started = threading.Thread(target=replay, args=(lines[first:last], log, 1.0), daemon=True)
    monkeypatch.setattr(fs, "say", lambda text: started.start() if "cb" in text else None)
    given = load_inventory("fs").model_dump()
    given["address"] |= {"log": str(log), "procedures": str(tmp_path)}
    inventory = Inventory.model_validate(given)
    result = run(planned(inventory, exposure_time=1), inventory, tmp_path)
    assert result.verdict == "complete" and [one.key for one in result.frames] == KEYS
    content = json.loads((tmp_path / "run" / "onsc-02-station.json").read_text())
    assert {row["detector"]: row["counts"] for row in content["levels"]} == {
        "du": 22963.0, "ia": 1162.0, "ib": 1195.0, "ic": 1074.0, "id": 987.0
    }  # fmt: skip
    final = json.loads((tmp_path / "run" / "offs-02-station.json").read_text())["onoff"]
    assert final["source"] == "casa" and final["status"] == "complete"
    # The log prints whole counts: of a source that adds 160 of them, to half a per cent.
    sefd = {row["detector"]: row["sefd_jy"] for row in final["results"]}
    assert sefd == pytest.approx({"du": 2483.8, "ia": 1943.4, "ib": 2013.4, "ic": 1852.6, "id": 2207.1}, rel=0.01)


# ---- what goes wrong


@pytest.mark.parametrize("state", ["ONSO", "ONSC", "OFFC", "OFFS"])
def test_an_onoff_that_fails_leaves_the_diode_off(system: FakeFs, tmp_path: Path, state: str) -> None:
    system.dies_at = state
    inventory = at(system)
    result = run(planned(inventory), inventory, tmp_path)
    assert result.verdict == "incomplete" and "nf -22" in result.reason
    assert [one.key for one in result.frames if one.ok] == KEYS[: KEYS.index(f"{state.lower()}-01")]
    reader = LogReader("", PATTERN)
    for line in system.log.read_text().splitlines():
        reader.feed(line)
    assert reader.diode is LightState.OFF and not reader.running


def test_a_resumed_run_takes_the_frames_that_are_missing(system: FakeFs, tmp_path: Path) -> None:
    inventory = at(system)
    plan = planned(inventory)
    system.dies_at = "OFFC"
    assert run(plan, inventory, tmp_path).verdict == "incomplete"
    system.dies_at = ""
    before = verified(tmp_path / "run", plan)
    again = request(plan, inventory, tmp_path, before=before)
    result = asyncio.run(asyncio.wait_for(take(again, watch=False), 60))
    assert result.verdict == "complete" and {one.key for one in result.frames} == set(KEYS)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.6])
def test_abort_breaks_the_onoff_and_makes_safe(system: FakeFs, tmp_path: Path, seconds: float) -> None:
    system.unit_s = 0.1
    inventory = at(system)

    def later(this: Run) -> None:
        asyncio.get_running_loop().call_later(seconds, this.abort, "enough")

    result = run(planned(inventory), inventory, tmp_path, on_run=later)
    assert result.verdict == "incomplete" and result.alarms == ()
    end = system.done.index("sy=brk onoff &")
    name = next(one for one in system.done if one.startswith("proc="))[5:]
    assert [one for one in system.done[end:] if one.startswith("cb")] == [f"{name}e"]
    assert "azeloff=0d,0d" in system.done[end:]
    assert "caloffnf" in [line[21:] for line in system.log.read_text().splitlines()][-3:]


def test_without_injection_an_abort_that_nobody_hears_is_an_alarm(
    system: FakeFs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.unit_s = 0.5
    system.type("caloffnf")
    shown: list[str] = []

    def operator(text: str) -> None:
        shown.append(text)
        if "proc=" in text:
            for command in text.partition(":  ")[2].split("   then   "):
                system.type(command)

    monkeypatch.setattr(fs, "say", operator)
    inventory = at(system, inject=False)

    async def trial(observatory: Observatory) -> None:
        assert observatory.pointing is not None
        await observatory.pointing.move("onsource")
        await observatory.lights["Diode"].set(True)
        monkeypatch.setattr(fs, "SWITCH_S", 0.3)
        with pytest.raises(DeviceTimeout, match="was not broken"):
            await observatory.detector.abort()
        with pytest.raises(DeviceTimeout, match="was not broken"):
            await observatory.lights["Diode"].set(False)

    on(inventory, trial, directory=tmp_path, plan=planned(inventory))
    assert shown[-1].endswith("sy=brk onoff &")


def test_a_move_that_is_given_up_breaks_the_onoff(system: FakeFs, tmp_path: Path) -> None:
    system.unit_s = 2.0
    inventory = at(system)

    async def trial(observatory: Observatory) -> None:
        assert observatory.pointing is not None
        task = asyncio.create_task(observatory.pointing.move("onsource"))
        while not [line for line in system.log.read_text().splitlines() if "APR" in line]:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "sy=brk onoff &" in system.done and await observatory.detector.is_idle()

    on(inventory, trial, directory=tmp_path, plan=planned(inventory))


def test_a_diode_that_does_not_obey_is_noticed(system: FakeFs) -> None:
    system.type("caloffnf")

    async def trial(observatory: Observatory) -> None:
        diode = observatory.lights["Diode"]
        await diode.set(True)
        assert await diode.read() is LightState.ON
        system.stubborn = True
        with pytest.raises(DeviceTimeout, match="no caloffnf is in the log"):
            await diode.set(False)
        assert await diode.read() is LightState.ON

    on(at(system), trial)


def test_a_diode_of_which_the_log_says_nothing_is_switched_off_first(
    system: FakeFs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def known(observatory: Observatory) -> None:
        assert await observatory.lights["Diode"].read() is LightState.OFF and system.done == ["caloffnf"]

    async def unknown(observatory: Observatory) -> None:
        assert await observatory.lights["Diode"].read() is LightState.UNKNOWN

    on(at(system, inject=False), unknown)
    on(at(system), known)


def test_a_program_that_cannot_inject_is_a_loss(system: FakeFs) -> None:
    system.type("caloffnf")

    async def trial(observatory: Observatory) -> None:
        with pytest.raises(DeviceLost, match=r"isn't running|No such file"):
            await observatory.lights["Diode"].set(True)

    (system.folder / "down").touch()
    on(at(system), trial)
    on(at(system, inject=False).model_copy(update={"address": {"log": str(system.log), "inject": ["no-such"]}}), trial)


def test_a_hanging_program_is_killed(system: FakeFs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "INJECT_S", 0.5)
    system.type("caloffnf")
    hanging = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]

    async def trial(observatory: Observatory) -> None:
        with pytest.raises(DeviceLost, match="no end within"):
            await observatory.lights["Diode"].set(True)

    on(at(system, inject=False).model_copy(update={"address": {"log": str(system.log), "inject": hanging}}), trial)


def test_somebody_elses_onoff_is_left_alone(system: FakeFs, tmp_path: Path) -> None:
    system.unit_s = 3.0
    system.type("caloffnf")
    system.type("onoff")
    while "#onoff#APR" not in system.log.read_text():
        time.sleep(0.02)
    inventory = at(system)

    async def trial(observatory: Observatory) -> None:
        (free,) = observatory.interlocks
        assert await free.check() == ["an ONOFF is under way that is not of this run"]
        for work in (observatory.detector.prepare(), frame(observatory, "dark")):
            with pytest.raises(DeviceBusy, match="under way already"):
                await work
        assert "sy=brk onoff &" not in system.done

    on(inventory, trial)
    result = run(planned(inventory), inventory, tmp_path)
    assert result.verdict == "incomplete" and "not of this run" in result.reason


def test_without_a_plan_each_exposure_is_an_onoff_of_its_own(system: FakeFs, tmp_path: Path) -> None:
    async def trial(observatory: Observatory) -> None:
        for kind, state in (("object", "ONSO"), ("flat", "ONSC"), ("dark", "OFFS"), ("bias", "ZERO")):
            one = await frame(observatory, kind, 2.0)
            content = json.loads(Path(one.path).read_text())
            assert content["frame"]["state"] == state and content["onoff"]["results"]
            assert one.exposure_s == 2.0
            assert await observatory.detector.is_idle()
        assert system.done.count("onoff") == 4 and system.done.count("onoff=1,2,75,3,,120,all") == 4

    on(at(system), trial, directory=tmp_path)


def test_an_end_that_takes_too_long_is_not_waited_for(system: FakeFs, tmp_path: Path) -> None:
    system.unit_s = 0.3

    async def trial(observatory: Observatory) -> None:
        observatory.detector.end_s = 0.05  # type: ignore[attr-defined]
        one = await frame(observatory, "object")
        assert json.loads(Path(one.path).read_text())["onoff"]["status"] == "unfinished"
        await observatory.detector.abort()
        assert await observatory.detector.is_idle() and "sy=brk onoff &" in system.done

    on(at(system), trial, directory=tmp_path)


# ---- files


def test_the_written_files_are_what_a_field_system_takes(tmp_path: Path, system: FakeFs) -> None:
    inventory = at(system)
    settings = {**fs.SETTINGS, "detectors": "allu,ia"}
    sources = inventory.address["sources"]
    plan = planned(inventory, repetitions=4, exposure_time=10, on_source="virgoa")
    programme = programme_of(plan, "Diode", "caloffnf", settings, sources)
    (tmp_path / "x.prc").write_text(library(programme))
    procedures = read_procedures(tmp_path / "x.prc")
    text = control(programme, {"lowest_deg": 7.0, "highest_deg": 85.0})
    assert [one for one in check_aquir(text, procedures) if one.severity in ("error", "warning")] == []
    parsed = parse_aquir(text, "x.ctl")
    (target,) = parsed.targets
    assert (target.name, target.dec_deg) == ("virgoa", pytest.approx(12.391, abs=1e-3))
    assert parsed.mask.elevations == (7.0,) and parsed.setup.upper_deg == 85.0
    # 13 moves of 120 s at most, and 19 levels.
    assert target.onoff_wait >= 13 * 2 + 19 * 10 / 60
    name = programme.name
    assert "onoff=4,10,75,3,,120,allu,ia" in procedures[f"{name}s"]
    assert procedures[f"{name}e"][1:] == ["caloffnf", "azeloff=0d,0d"]
    assert procedures[f"{name}p"] == ["caloffnf", "azeloff=0d,0d", "sy=brk aquir &"]
    assert all(len(one) <= 12 for one in procedures)


@pytest.mark.parametrize(
    ("sequence", "words"),
    [
        ({"onoff": {"light": "diode", "exposure_time": 2.5}}, "whole seconds"),
        ({"onoff": {"light": "diode", "exposure_time": 200}}, "whole seconds"),
        ({"onoff": {"light": "diode", "exposure_time": 5, "discard": 1}}, "onso-discard-01: ONOFF has no frames"),
        ({"biases": {"count": 2}}, "bias-01: is no part of an ONOFF"),
    ],
)
def test_what_onoff_cannot_do_is_refused_before_anything_is_written(
    system: FakeFs, sequence: dict[str, Any], words: str
) -> None:
    inventory = at(system)
    plan = compile_plan(load_sequence(sequence), inventory)
    with pytest.raises(ParameterError, match=words):
        asyncio.run(connect(inventory, plan=plan))
    assert system.done == [] and list(system.folder.glob("cb*")) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"address": {}}, "address.log"),
        ({"address": {"log": "x", "port": 1}}, "knows no port"),
        ({"lamps": {}}, "one noise diode"),
        ({"detector": {"cameras": ["a"], "address": {"step": 1}}}, "knows no step"),
    ],
)
def test_inventories_that_cannot_be_meant(change: dict[str, Any], words: str) -> None:
    given = load_inventory("fs").model_dump() | change
    with pytest.raises(ParameterError, match=words):
        asyncio.run(connect(Inventory.model_validate(given)))


def test_procedures_go_where_the_field_system_finds_them(system: FakeFs, tmp_path: Path) -> None:
    inventory = at(system, procedures=str(tmp_path / "nowhere"))
    with pytest.raises(ParameterError, match="there is no directory"):
        asyncio.run(connect(inventory, plan=planned(inventory)))


def test_no_log_is_a_loss(tmp_path: Path) -> None:
    for place in (tmp_path / "none.log", tmp_path):
        given = load_inventory("fs").model_dump()
        given["address"]["log"] = str(place)
        with pytest.raises(DeviceLost, match="cannot be read"):
            asyncio.run(connect(Inventory.model_validate(given)))


# ---- the log


def read(lines: list[str]) -> LogReader:
    reader = LogReader("x.log", PATTERN)
    for line in lines:
        reader.feed(line)
    return reader


def stamped(texts: list[str], start: float = 0.0) -> list[str]:
    return [f"2026.325.12:{int((start + n) // 60):02d}:{(start + n) % 60:05.2f}{text}" for n, text in enumerate(texts)]


def test_stamps_are_utc() -> None:
    assert parse_stamp("2026.325.16:00:01.50;x") == 1795276801.5
    assert [parse_stamp(text) for text in ("", "26.325.16:00:01.50", "0000.001.00:00:00.00")] == [None] * 3


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (";calonnf", "on"), (":caloffnf", "off"), ("&prep/calon", "on"), (";CALOFF", "off"), (";calofffp", "off"),
        (";caloncal", "unknown"), ("/calonnf/x", "unknown"), ('"calonnf', "unknown"), (";calonnf=1", "unknown"),
    ],
)  # fmt: skip
def test_commands_that_switch_the_diode(text: str, state: str) -> None:
    assert read(stamped([text])).diode.value == state


APR = "#onoff#APR 1u   8212.99 11.80  187.28  0.100000 1.00000  0.100000 8080.00 c 0.12758"
ONSO = "#onoff#ONSO     2.1   0.00000   0.00000 1u 16062.0 1.0"


def test_an_onoff_ends_by_its_results_an_error_or_silence() -> None:
    begin = [APR, ONSO]
    assert read(stamped(begin)).running
    broken = read(stamped([*begin, "?ERROR nf   -1 Break in ONOFF."]))
    assert not broken.running and broken.entries[-1].text == "nf -1 Break in ONOFF."
    for harmless in (
        "?ERROR nf  -82 Overflow.",
        "?ERROR nf   -3 Already.",
        "?ERROR nf -7 WARNING: x",
        "?ERROR sp -4 y",
    ):
        assert read(stamped([*begin, harmless])).running
    assert read([*stamped(begin), *stamped([";wx"], 1700)]).running
    assert not read([*stamped(begin), *stamped([";wx"], 1900)]).running


def test_an_onoff_after_one_that_was_cut_off_counts_anew() -> None:
    reader = read(stamped([APR, ONSO, "#onoff#    De    Center  TCal", APR, ONSO]))
    assert [entry.kind for entry in reader.entries] == ["begin", "visit", "end", "begin", "visit"]
    assert [entry.repetition for entry in reader.entries if entry.kind == "visit"] == [1, 1]
    assert reader.running


def test_lines_that_are_damaged_say_nothing() -> None:
    reader = read(["", "rubbish", *stamped(["#onoff#APR 1u", APR, "#onoff#ONSO x y z", ONSO, "?ERROR"])])
    assert [entry.kind for entry in reader.entries] == ["begin", "visit"]


def test_a_growing_log_is_read_by_whole_lines_and_followed_to_the_next_file(tmp_path: Path) -> None:
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    first.write_text("\n".join(stamped([APR, ONSO[:30]])))

    async def trial() -> None:
        log = GrowingLog(tmp_path, PATTERN)
        await log.refresh()
        assert [entry.kind for entry in log.entries] == ["begin"] and log.path == str(first)
        with open(first, "a") as file:
            file.write(ONSO[30:] + "\n")
        await log.refresh()
        assert [entry.kind for entry in log.entries] == ["begin", "visit"]
        second.write_text("\n".join(stamped([";calonnf", ""], 5)))
        await log.refresh()
        assert log.reader.diode is LightState.ON and log.path == str(second)
        second.write_text("\n".join(stamped([";caloff", ""])))
        await log.refresh()
        assert log.reader.diode is LightState.OFF
        with pytest.raises(DeviceTimeout, match=r"nothing came within 0\.1 s"):
            await log.until(lambda: None, 0.1, "nothing came")

    asyncio.run(trial())


def test_the_template_is_an_onoff(system: FakeFs) -> None:
    lines = system._lines()
    assert lines == onoff_lines(system.folder / "simulated-2" / "sim001cb.log") and "#onoff#APR" in "".join(lines)


def test_real_time_only(system: FakeFs) -> None:
    with pytest.raises(ParameterError, match="its own time"):
        asyncio.run(connect(at(system), speed=10.0))


def test_what_the_station_has_not_is_refused(system: FakeFs) -> None:
    system.type("caloffnf")

    async def trial(observatory: Observatory) -> None:
        assert observatory.pointing is not None
        with pytest.raises(DeviceRefused, match="no place 'moon'"):
            await observatory.pointing.move("moon")
        with pytest.raises(DeviceRefused, match="no option binning"):
            await frame(observatory, "dark", binning=2)
        with pytest.raises(DeviceRefused, match="expected one of ONSO"):
            await frame(observatory, "dark", phase="ONS")
        assert await observatory.pointing.position() == ""

    on(at(system), trial)

    async def nobody(observatory: Observatory) -> None:
        with pytest.raises(DeviceRefused, match="without inject nothing can be started"):
            await frame(observatory, "dark")
        with pytest.raises(DeviceRefused, match="only ONOFF or a person"):
            await observatory.lights["Diode"].set(True)

    on(at(system, inject=False), nobody)
