"""The TART driver against the simulated telescope, over HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_tart import PASSWORD, FakeTart

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
from calibrant.acquire.drivers import connect, tart
from calibrant.acquire.inventory import Inventory, load_inventory
from calibrant.acquire.plan import Plan
from calibrant.acquire.sequence import load_sequence
from calibrant.acquire.session import Request, take
from calibrant.allsky.snapshots import read_calibration_data
from calibrant.errors import ParameterError
from calibrant.simulation.tart_api import Fault, serve

Trial = Callable[[Observatory], Awaitable[None]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tart, "POLL_S", 0.02)
    monkeypatch.setenv("CALIBRANT_TART_PASSWORD", PASSWORD)
    monkeypatch.delenv("TART_LOGIN_PW", raising=False)


@pytest.fixture
def world() -> FakeTart:
    return FakeTart(period_s=0.05)


@pytest.fixture
def url(world: FakeTart) -> Iterator[str]:
    with serve(world) as address:
        yield address


@pytest.fixture
def inventory(url: str) -> Inventory:
    return at(url)


def at(url: str, **address: Any) -> Inventory:
    """The shipped inventory, at this address."""
    known = load_inventory("tart")
    return known.model_copy(update={"address": {"url": url, "catalogue": f"{url}/catalog", **address}})


@pytest.fixture
def on(inventory: Inventory, tmp_path: Path) -> Callable[..., None]:
    """on(trial) runs an async trial on the telescope; frames go into `tmp_path`."""

    def run(trial: Trial, other: Inventory | None = None) -> None:
        async def whole() -> None:
            observatory = await connect(other or inventory, directory=tmp_path)
            try:
                await trial(observatory)
            finally:
                await observatory.close()

        asyncio.run(asyncio.wait_for(whole(), 60))

    return run


async def snapshot(observatory: Observatory, seconds: float = 1.0, kind: str = "object", **options: Any) -> Frame:
    exposure = await observatory.detector.expose(CaptureSpec("tart-01", kind, seconds, options=options))  # type: ignore
    await exposure.integrated()
    return (await exposure.read())[0]


def test_a_snapshot_is_a_calibration_file(on: Callable[..., None], world: FakeTart, tmp_path: Path) -> None:
    async def trial(observatory: Observatory) -> None:
        await observatory.detector.prepare()
        frame = await snapshot(observatory, 3.0, snapshot="vis")
        assert Path(frame.path) == tmp_path / "tart-01-tart.json" and frame.data is None
        assert frame.exposure_s == pytest.approx(3 * 2**24 / 16.368e6)
        data = read_calibration_data(frame.path)
        assert data.name == "Test Hill" and len(data.snapshots) == 3
        assert [len(one.sources) for one in data.snapshots] == [3, 3, 3]
        assert len({one.time for one in data.snapshots}) == 3
        again = await snapshot(observatory)
        assert Path(again.path).name == "tart-01-tart-try2.json", "nothing is overwritten"

    on(trial)
    assert world.modes == [] and world.mode == "vis", "visibilities need no other mode"


def test_the_first_integration_is_left_out(on: Callable[..., None], world: FakeTart) -> None:
    world.period_s = 0.3

    async def trial(observatory: Observatory) -> None:
        before = (await asyncio.to_thread(observatory.detector.line.api.visibilities))["timestamp"]  # type: ignore
        frame = await snapshot(observatory)
        (taken,) = json.loads(Path(frame.path).read_text())["data"]
        stamps = sorted([before, taken[0]["timestamp"]])
        assert stamps[0] == before
        assert _seconds(stamps[1]) - _seconds(stamps[0]) >= 1.99, "one integration lies between them"

    on(trial)


def _seconds(stamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(stamp).timestamp()


def test_raw_data_are_downloaded_checked_and_the_mode_set_back(
    on: Callable[..., None], world: FakeTart, tmp_path: Path
) -> None:
    async def trial(observatory: Observatory) -> None:
        await observatory.detector.prepare()
        frame = await snapshot(observatory, 0.1, snapshot="raw")
        assert world.mode == "vis" and world.modes == ["raw", "vis"]
        content = Path(frame.path).read_bytes()
        assert content.startswith(b"\x89HDF") and Path(frame.path).name == "tart-01-tart.hdf"
        # 2^21 samples are the fewest that last 0.1 s.
        assert frame.exposure_s == pytest.approx(2**21 / 16.368e6)
        assert world.exponents["raw"] == 20, "the exponent is set back, too"
        assert await observatory.detector.is_idle()

    on(trial)


def test_the_number_of_samples_is_checked_before_anything_changes(on: Callable[..., None], world: FakeTart) -> None:
    async def trial(observatory: Observatory) -> None:
        with pytest.raises(DeviceRefused, match=r"at most 1\.025 s fit"):
            await snapshot(observatory, 2.0, snapshot="raw")
        detector = observatory.detector
        found = [detector.exponent(seconds) for seconds in (0.0, 0.001, 0.5, 1.0, 1.025)]  # type: ignore[attr-defined]
        assert found == [16, 16, 23, 24, 24]
        assert world.modes == [] and world.exponents["raw"] == 20

    on(trial)


@pytest.mark.parametrize("spoil", ["truncate", "exchange"])
def test_a_raw_file_that_is_not_what_the_telescope_has_is_no_frame(
    on: Callable[..., None], world: FakeTart, tmp_path: Path, spoil: str
) -> None:
    world.spoil = spoil

    async def trial(observatory: Observatory) -> None:
        with pytest.raises(DeviceRefused, match="sha256"):
            await snapshot(observatory, 0.1, snapshot="raw")
        assert world.mode == "vis"

    on(trial)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["integrating", "beginning"])
def test_a_cancelled_raw_frame_leaves_the_telescope_as_it_was(
    on: Callable[..., None], world: FakeTart, tmp_path: Path, where: str
) -> None:
    world.period_s, world.mode = 30.0, "off"
    if where == "beginning":
        world.faults.append(Fault("slow", "mode/raw", "POST", seconds=0.5))

    async def trial(observatory: Observatory) -> None:
        task = asyncio.create_task(snapshot(observatory, 0.1, snapshot="raw"))
        await asyncio.sleep(0.4)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.mode == "off" and world.exponents["raw"] == 20
        assert await observatory.detector.is_idle()

    on(trial)
    assert list(tmp_path.iterdir()) == []


def test_another_mode_is_changed_for_visibilities_and_set_back(on: Callable[..., None], world: FakeTart) -> None:
    world.mode = "diag"

    async def trial(observatory: Observatory) -> None:
        await snapshot(observatory)
        assert world.modes == ["vis", "diag"] and world.mode == "diag"

    on(trial)


def test_somebody_elses_raw_data_are_left_alone(on: Callable[..., None], world: FakeTart) -> None:
    world.mode = "raw"

    async def trial(observatory: Observatory) -> None:
        for work in (observatory.detector.prepare(), snapshot(observatory), snapshot(observatory, snapshot="raw")):
            with pytest.raises(DeviceBusy, match="raw data"):
                await work
        assert world.mode == "raw" and world.modes == []

    on(trial)


def test_a_telescope_that_does_not_obey_is_noticed(on: Callable[..., None], world: FakeTart) -> None:
    world.stubborn = True

    async def trial(observatory: Observatory) -> None:
        with pytest.raises(DeviceRefused, match="mode raw was asked for, and it is in vis"):
            await snapshot(observatory, 0.1, snapshot="raw")

    on(trial)


@pytest.mark.parametrize("kind", ["blind", "frozen"])
def test_visibilities_that_do_not_come_are_not_waited_for_for_ever(
    on: Callable[..., None], world: FakeTart, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(tart, "FRESH_S", -0.7)
    world.period_s, world.blind = 1e6, kind == "blind"

    async def trial(observatory: Observatory) -> None:
        with pytest.raises(DeviceTimeout, match="no new visibilities"):
            await snapshot(observatory)
        assert await observatory.detector.is_idle()

    on(trial)


def test_without_the_password_only_visibilities_are_taken(
    on: Callable[..., None], world: FakeTart, inventory: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALIBRANT_TART_PASSWORD")

    async def trial(observatory: Observatory) -> None:
        await observatory.detector.prepare()
        await snapshot(observatory)
        with pytest.raises(DeviceRefused, match="set CALIBRANT_TART_PASSWORD"):
            await snapshot(observatory, 0.1, snapshot="raw")
        assert world.modes == []

    on(trial)
    plan = planned({"tart": {"count": 1, "mode": "raw"}}, inventory)
    with pytest.raises(ParameterError, match="takes raw data: set CALIBRANT_TART_PASSWORD"):
        asyncio.run(connect(inventory, directory=tmp_path, plan=plan))


def test_a_wrong_password_is_refused_before_anything_is_taken(
    on: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALIBRANT_TART_PASSWORD", "wrong one")

    async def trial(observatory: Observatory) -> None:
        with pytest.raises(DeviceRefused) as refused:
            await observatory.detector.prepare()
        assert "password was refused" in str(refused.value) and "wrong one" not in str(refused.value)

    on(trial)


def test_a_telescope_that_is_away_forbids_working_but_not_connecting(tmp_path: Path) -> None:
    async def trial() -> None:
        observatory = await connect(at("http://127.0.0.1:9", catalogue="none"), directory=tmp_path)
        with pytest.raises(DeviceLost):
            await observatory.interlocks[0].check()
        with pytest.raises(DeviceLost):
            await observatory.detector.abort()
        await observatory.close()
        with pytest.raises(DeviceLost):
            await observatory.detector.status()

    asyncio.run(asyncio.wait_for(trial(), 30))


def test_what_a_tart_cannot_do_is_refused(on: Callable[..., None]) -> None:
    async def trial(observatory: Observatory) -> None:
        with pytest.raises(DeviceRefused, match="takes no bias"):
            await snapshot(observatory, 0.0, "bias")
        with pytest.raises(DeviceRefused, match="no option binning"):
            await snapshot(observatory, binning=2)
        with pytest.raises(DeviceRefused, match="expected vis or raw"):
            await snapshot(observatory, snapshot="cal")

    on(trial)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"address": {"url": "http://u:p@host"}}, "user or password"),
        ({"address": {}}, "where the telescope's API is"),
        ({"address": {"url": "http://127.0.0.1:9", "sky": 1}}, "TART knows no sky"),
        ({"address": {"url": "http://127.0.0.1:9", "catalogue": "nowhere.json"}}, "address.catalogue"),
        ({"detector": {"cameras": ["a", "b"]}}, "one name"),
        ({"lamps": {"Source": {}}}, "address.lights"),
    ],
)
def test_inventories_that_cannot_be_meant(change: dict[str, Any], words: str) -> None:
    given = load_inventory("tart").model_dump() | change
    with pytest.raises(ParameterError, match=words):
        asyncio.run(connect(Inventory.model_validate(given)))


def test_a_telescope_takes_its_own_time(inventory: Inventory) -> None:
    with pytest.raises(ParameterError, match="its own time"):
        asyncio.run(connect(inventory, speed=10.0))


def planned(sequence: dict[str, Any], inventory: Inventory) -> Plan:
    return compile_plan(load_sequence(sequence), inventory)


def with_source(url: str) -> Inventory:
    """The telescope with a test source, which is a lamp of the simulated observatory."""
    given = at(url, lights="sim").model_dump()
    given["lamps"] = {"quartz": {"warmup_s": 0.0, "flavour": "flat"}}
    return Inventory.model_validate(given)


def test_the_test_source_is_a_light_of_another_inventory(on: Callable[..., None], url: str) -> None:
    async def trial(observatory: Observatory) -> None:
        source = observatory.lights["quartz"]
        await source.set(True)
        assert await source.read() in (LightState.ON, LightState.WARMING)
        frame = await snapshot(observatory, 1.0, "flat")
        assert json.loads(Path(frame.path).read_text())["frame"]["kind"] == "flat"
        await source.set(False)
        assert await source.read() is LightState.OFF

    on(trial, with_source(url))
    given = with_source(url).model_dump() | {"lamps": {"Pulsar": {}}}
    with pytest.raises(ParameterError, match="sim has no light Pulsar"):
        asyncio.run(connect(Inventory.model_validate(given)))


@pytest.mark.parametrize("mode", ["vis", "raw"])
def test_a_sequence_of_snapshots_is_run(
    inventory: Inventory, world: FakeTart, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tart, "DOWNLOAD_S", 20.0)
    seconds = 1.0 if mode == "vis" else 0.1
    plan = planned({"name": "sky", "tart": {"count": 2, "mode": mode, "exposure_time": seconds}}, inventory)
    request = Request(plan, inventory, tmp_path / "run", state=str(tmp_path / "state"))
    result = asyncio.run(asyncio.wait_for(take(request, watch=False), 60))
    assert result.verdict == "complete"
    assert [frame.ok for frame in result.frames] == [True, True]
    ending = "json" if mode == "vis" else "hdf"
    names = sorted(path.name for path in (tmp_path / "run").glob(f"*-tart.{ending}"))
    assert names == [f"tart-01-tart.{ending}", f"tart-02-tart.{ending}"]
    sums = (tmp_path / "run" / "SHA256SUMS").read_text().splitlines()
    assert [line.split()[1] for line in sums] == names
    assert world.mode == "vis"
