"""The INDI client and driver against a fake server: what a real one does rarely, or never when a test wants it."""

from __future__ import annotations

import asyncio
import base64
import io
import time
import zlib
from collections.abc import Awaitable, Callable
from xml.parsers import expat

import numpy as np
import pytest
from astropy.io import fits

from calibrant.acquire import indi, indi_xml
from calibrant.acquire.altaz import equatorial, separation, sidereal_time
from calibrant.acquire.clock import shielded
from calibrant.acquire.devices import (
    CaptureSpec,
    DeviceBusy,
    DeviceLost,
    DeviceRefused,
    DeviceTimeout,
    LightState,
    Observatory,
)
from calibrant.acquire.drivers.indi import connect
from calibrant.acquire.inventory import Inventory
from calibrant.errors import DeviceError, ParameterError

CAMERA, PANEL = "Camera", "Panel"


def switch(device: str, name: str, verb: str = "def", state: str = "Idle", **elements: bool) -> str:
    part = "defSwitch" if verb == "def" else "oneSwitch"
    body = "".join(f'<{part} name="{key}">\n{"On" if on else "Off"}\n</{part}>' for key, on in elements.items())
    return f'<{verb}SwitchVector device="{device}" name="{name}" state="{state}">{body}</{verb}SwitchVector>'


def numbers(device: str, name: str, verb: str = "def", state: str = "Idle", **elements: float) -> str:
    part = "defNumber" if verb == "def" else "oneNumber"
    limits = 'min="0.01" max="3600"' if verb == "def" else ""
    body = "".join(f'<{part} name="{key}" {limits}>{value}</{part}>' for key, value in elements.items())
    return f'<{verb}NumberVector device="{device}" name="{name}" state="{state}">{body}</{verb}NumberVector>'


def blob(content: bytes, *, size: int | None = None, format: str = ".fits") -> str:
    """As libindi sends it: base64 in lines of 72."""
    packed = zlib.compress(content) if format.endswith(".z") else content
    text = base64.encodebytes(packed).decode()
    announced = len(content) if size is None else size
    return (
        f'<setBLOBVector device="{CAMERA}" name="CCD1" state="Ok">'
        f'<oneBLOB name="CCD1" size="{announced}" format="{format}">\n{text}</oneBLOB></setBLOBVector>'
    )


def image(shape: tuple[int, int] = (8, 6)) -> bytes:
    stream = io.BytesIO()
    header = fits.Header([("EXPTIME", 0.5, "of the camera"), ("GAIN", 90.0, "e/ADU")])
    fits.PrimaryHDU(np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape), header).writeto(stream)
    return stream.getvalue()


class FakeServer:
    """Answers as told: `answers` maps (verb, property) to text; `exposes` is what an exposure does."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, dict[str, str]]] = []
        self.properties = {
            (CAMERA, "CONNECTION"): switch(CAMERA, "CONNECTION", CONNECT=True, DISCONNECT=False),
            (CAMERA, "CCD_EXPOSURE"): numbers(CAMERA, "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=1.0),
            (CAMERA, "CCD_ABORT_EXPOSURE"): switch(CAMERA, "CCD_ABORT_EXPOSURE", ABORT=False),
            (
                CAMERA,
                "CCD1",
            ): f'<defBLOBVector device="{CAMERA}" name="CCD1" state="Idle"><defBLOB name="CCD1"/></defBLOBVector>',
            (PANEL, "CONNECTION"): switch(PANEL, "CONNECTION", CONNECT=True, DISCONNECT=False),
            (PANEL, "FLAT_LIGHT_CONTROL"): switch(
                PANEL, "FLAT_LIGHT_CONTROL", FLAT_LIGHT_ON=False, FLAT_LIGHT_OFF=True
            ),
        }
        self.exposes: Callable[[float], Awaitable[None]] = self.expose
        self.panel_obeys = True
        self.mute = False
        self.aborted = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._exposure: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.die()
        self._server.close()
        await asyncio.sleep(0)

    def die(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def tell(self, text: str) -> None:
        for writer in self._writers:
            writer.write(text.encode())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        parser = indi_xml.Parser()
        while content := await reader.read(65536):
            for message in parser.feed(content):
                if not self.mute:
                    self._answer(message, writer)

    def _answer(self, message: indi_xml.Message, writer: asyncio.StreamWriter) -> None:
        device, name = message.attributes.get("device", ""), message.attributes.get("name", "")
        self.got.append((message.tag, name, {a["name"]: text for a, text in message.elements}))
        if message.tag == "getProperties":
            for (owner, key), text in self.properties.items():
                if device in ("", owner) and name in ("", key):
                    writer.write(text.encode())
        elif name == "CCD_EXPOSURE":
            seconds = float(
                dict(message.elements and [(message.elements[0][0]["name"], message.elements[0][1])]).popitem()[1]
            )
            self._exposure = asyncio.create_task(self.exposes(seconds))
            self._tasks.append(self._exposure)
        elif name == "CCD_ABORT_EXPOSURE":
            self.aborted += 1
            if self._exposure:
                self._exposure.cancel()
            self.tell(switch(CAMERA, name, "set", "Ok", ABORT=False))
            self.state("Idle", 0.0)
        elif name == "FLAT_LIGHT_CONTROL":
            asked_on = message.elements[0][0]["name"] == "FLAT_LIGHT_ON"
            on = asked_on if self.panel_obeys else not asked_on
            values = {"FLAT_LIGHT_ON": on, "FLAT_LIGHT_OFF": not on}
            self.properties[PANEL, name] = switch(PANEL, name, state="Ok", **values)
            self.tell(switch(PANEL, name, "set", "Ok", **values))

    def state(self, state: str, left: float) -> None:
        self.properties[CAMERA, "CCD_EXPOSURE"] = numbers(CAMERA, "CCD_EXPOSURE", state=state, CCD_EXPOSURE_VALUE=left)
        self.tell(numbers(CAMERA, "CCD_EXPOSURE", "set", state, CCD_EXPOSURE_VALUE=left))

    async def expose(self, seconds: float) -> None:
        self.state("Busy", seconds)
        await asyncio.sleep(seconds)
        self.state("Busy", 0.0)
        self.tell(blob(image()))
        self.state("Ok", 0.0)


def run(trial: Callable[[FakeServer, int], Awaitable[None]], timeout_s: float = 20.0) -> None:
    async def whole() -> None:
        server = FakeServer()
        port = await server.start()
        try:
            async with asyncio.timeout(timeout_s):
                await trial(server, port)
        finally:
            await server.stop()

    asyncio.run(whole())


def on_client(trial: Callable[[FakeServer, indi.Client], Awaitable[None]]) -> None:
    async def whole(server: FakeServer, port: int) -> None:
        client = await indi.connect("127.0.0.1", port)
        try:
            await trial(server, client)
        finally:
            await client.close()

    run(whole)


def inventory(**changes: object) -> Inventory:
    values = {
        "name": "fake",
        "driver": "indi",
        "lamps": {"Quartz": {"flavour": "flat", "address": {"device": PANEL}}},
        "detector": {"cameras": [CAMERA]},
    }
    return Inventory.model_validate(values | changes)


def on_observatory(trial: Callable[[FakeServer, Observatory], Awaitable[None]], **changes: object) -> None:
    async def whole(server: FakeServer, port: int) -> None:
        observatory = await connect(inventory(**changes), port=port)
        try:
            await trial(server, observatory)
        finally:
            await observatory.close()

    run(whole)


# ---- XML


STREAM = (
    switch(CAMERA, "CONNECTION", CONNECT=True, DISCONNECT=False)
    + '<message device="Camera" timestamp="2026-11-21T00:00:00" message="cooler &lt;on&gt;"/>\n'
    + numbers(CAMERA, "CCD_EXPOSURE", "set", "Busy", CCD_EXPOSURE_VALUE=0.5)
    + blob(bytes(range(256)) * 20)
)


@pytest.mark.parametrize("size", [1, 7, 100, 10**6])
def test_messages_are_whole_however_the_bytes_arrive(size: int) -> None:
    parser, messages = indi_xml.Parser(), []
    content = STREAM.encode()
    for start in range(0, len(content), size):
        messages += parser.feed(content[start : start + size])
    assert [message.tag for message in messages] == [
        "defSwitchVector", "message", "setNumberVector", "setBLOBVector",
    ]  # fmt: skip
    assert messages[1].attributes["message"] == "cooler <on>"
    first = indi_xml.read_property(messages[0], None)
    assert first.on("CONNECT") and not first.on("DISCONNECT") and first.defined
    assert indi_xml.read_property(messages[2], None).number("CCD_EXPOSURE_VALUE") == 0.5
    assert indi_xml.read_property(messages[3], None).values["CCD1"] == bytes(range(256)) * 20


def test_a_message_that_is_not_complete_is_not_delivered() -> None:
    parser = indi_xml.Parser()
    assert parser.feed(STREAM[: STREAM.index("</setBLOBVector>")].encode())[-1].tag == "setNumberVector"


def test_a_drivers_odd_letters_are_taken_as_they_are() -> None:
    parser = indi_xml.Parser()
    (utf8,) = parser.feed('<message device="Kühler" message="−5 °C"/>'.encode())
    (latin,) = parser.feed('<message device="D" message="-5 °C"/>'.encode("latin-1"))
    assert utf8.attributes == {"device": "Kühler", "message": "−5 °C"} and latin.attributes["message"] == "-5 °C"


def test_what_is_not_xml_is_an_error() -> None:
    with pytest.raises(expat.ExpatError):
        indi_xml.Parser().feed(b"HTTP/1.1 400 Bad Request <<<")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.5", 1.5), (" -2e3\n", -2000.0), ("12:30:00", 12.5), ("-0:30:36", -0.51), ("10 15", 10.25), ("-1;30", -1.5)],
)
def test_numbers_in_all_their_forms(text: str, value: float) -> None:
    assert indi_xml.number(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "abc", "1:2:3:4", "1:x"])
def test_what_is_no_number_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|float"):
        indi_xml.number(text)


def test_a_compressed_blob_is_unpacked_and_a_short_one_is_refused() -> None:
    (good,) = indi_xml.Parser().feed(blob(b"content" * 100, format=".fits.z").encode())
    assert indi_xml.read_property(good, None).values["CCD1"] == b"content" * 100
    (short,) = indi_xml.Parser().feed(blob(b"content", size=10).encode())
    with pytest.raises(ValueError, match=r"CCD1\.CCD1: 7 bytes came, 10 were announced"):
        indi_xml.read_property(short, None)


def test_what_is_sent_is_checked_and_escaped() -> None:
    (message,) = indi_xml.Parser().feed(numbers("A & B", "N", X=1).replace("A & B", "A &amp; B").encode())
    known = indi_xml.read_property(message, None)
    assert known.device == "A & B"
    text = indi_xml.write_property(known, {"X": 2.5})
    (back,) = indi_xml.Parser().feed(text.encode())
    assert (back.tag, back.attributes["device"], back.elements) == (
        "newNumberVector",
        "A & B",
        [({"name": "X"}, "2.5")],
    )
    with pytest.raises(DeviceRefused, match=r"5000.* is outside 0\.01 \.\.\. 3600"):
        indi_xml.write_property(known, {"X": 5000.0})
    with pytest.raises(DeviceRefused, match="no such element; it has X"):
        indi_xml.write_property(known, {"Y": 1.0})


# ---- the client


def test_a_set_waits_through_busy_to_the_end() -> None:
    async def trial(server: FakeServer, client: indi.Client) -> None:
        async def slow(seconds: float) -> None:
            server.state("Busy", seconds)
            await asyncio.sleep(0.1)
            server.state("Ok", 0.0)

        server.exposes = slow
        begin = time.monotonic()
        report = await client.set(CAMERA, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 2.0})
        assert report.state == "Ok" and time.monotonic() - begin >= 0.1

    on_client(trial)


def test_an_alert_is_a_refusal_with_the_drivers_words() -> None:
    async def trial(server: FakeServer, client: indi.Client) -> None:
        async def fail(seconds: float) -> None:
            server.tell(f'<message device="{CAMERA}" message="shutter stuck"/>')
            server.state("Alert", seconds)

        server.exposes = fail
        with pytest.raises(DeviceRefused, match=r"Camera: CCD_EXPOSURE.*Alert.*shutter stuck"):
            await client.set(CAMERA, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 2.0})

    on_client(trial)


def test_no_answer_is_a_timeout_that_names_device_and_property() -> None:
    async def trial(server: FakeServer, client: indi.Client) -> None:
        await client.defined(CAMERA, "CCD_EXPOSURE")
        server.mute = True
        with pytest.raises(DeviceTimeout, match=r"Camera: CCD_EXPOSURE CCD_EXPOSURE_VALUE=2.0: not within 0.1 s"):
            await client.set(CAMERA, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 2.0}, timeout_s=0.1)

    on_client(trial)


def test_what_is_not_there_is_named_beside_what_is() -> None:
    async def trial(server: FakeServer, client: indi.Client) -> None:
        with pytest.raises(DeviceTimeout, match=r"FILTER_SLOT did not appear.*the device has CCD1, CCD_ABORT"):
            await client.defined(CAMERA, "FILTER_SLOT", timeout_s=0.1)
        with pytest.raises(DeviceTimeout, match=r"has no such device; it has: Camera, Panel"):
            await client.defined("Cammera", "CONNECTION", timeout_s=0.1)

    on_client(trial)


def test_a_state_is_asked_for_not_remembered() -> None:
    async def trial(server: FakeServer, client: indi.Client) -> None:
        await client.defined(PANEL, "FLAT_LIGHT_CONTROL")
        lit = switch(PANEL, "FLAT_LIGHT_CONTROL", FLAT_LIGHT_ON=True, FLAT_LIGHT_OFF=False)
        server.properties[PANEL, "FLAT_LIGHT_CONTROL"] = lit
        assert not client.properties[PANEL, "FLAT_LIGHT_CONTROL"].on("FLAT_LIGHT_ON")
        assert (await client.ask(PANEL, "FLAT_LIGHT_CONTROL")).on("FLAT_LIGHT_ON")

    on_client(trial)


def test_every_wait_fails_at_once_when_the_server_dies() -> None:
    async def trial(server: FakeServer, client: indi.Client) -> None:
        await client.defined(CAMERA, "CCD_EXPOSURE")
        server.mute = True
        waits = [
            asyncio.create_task(client.ask(CAMERA, "CCD_EXPOSURE", timeout_s=100)),
            asyncio.create_task(client.set(CAMERA, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 1.0}, timeout_s=100)),
            asyncio.create_task(client.defined(CAMERA, "NEVER", timeout_s=100)),
            asyncio.create_task(client.watch(PANEL, "CONNECTION").next()),
        ]
        await asyncio.sleep(0.05)
        begin = time.monotonic()
        server.die()
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert time.monotonic() - begin < 1.0
        assert [type(result) for result in results] == [DeviceLost] * 4
        assert "closed the connection" in str(results[0])
        with pytest.raises(DeviceLost):
            await client.ask(CAMERA, "CCD_EXPOSURE")
        with pytest.raises(DeviceLost):
            await client.watch(CAMERA, "CCD_EXPOSURE").next()

    on_client(trial)


def test_a_server_that_says_nothing_any_more_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indi, "HEARTBEAT_S", 0.1)

    async def trial(server: FakeServer, client: indi.Client) -> None:
        await client.defined(CAMERA, "CCD_EXPOSURE")
        wait = asyncio.create_task(client.watch(CAMERA, "CCD_EXPOSURE").next())
        await asyncio.sleep(0.5)
        assert not wait.done() and client.lost is None, "an idle server that answers is not lost"
        server.mute = True
        with pytest.raises(DeviceLost, match="no sign of life"):
            await asyncio.wait_for(wait, 2)

    on_client(trial)


def test_nonsense_from_the_server_ends_the_connection_with_a_reason() -> None:
    async def trial(server: FakeServer, client: indi.Client) -> None:
        await client.defined(CAMERA, "CCD_EXPOSURE")
        wait = asyncio.create_task(client.watch(CAMERA, "CCD_EXPOSURE").next())
        await asyncio.sleep(0)
        server.tell("<setNumberVector device=")
        server.tell("<<<")
        with pytest.raises(DeviceLost, match="not XML"):
            await wait

    on_client(trial)


def test_nobody_there_is_said_with_what_to_do() -> None:
    async def trial(server: FakeServer, port: int) -> None:
        await server.stop()
        with pytest.raises(DeviceLost, match=r"no INDI server at 127\.0\.0\.1:\d+.*indiserver -p"):
            await indi.connect("127.0.0.1", port)

    run(trial)


def test_the_end_of_one_driver_fails_only_its_own_waits() -> None:
    async def trial(server: FakeServer, client: indi.Client) -> None:
        await client.defined(PANEL, "CONNECTION")
        of_camera = asyncio.create_task(client.watch(CAMERA, "CCD_EXPOSURE").next())
        of_panel = asyncio.create_task(client.watch(PANEL, "CONNECTION").next())
        await asyncio.sleep(0)
        server.tell(f'<delProperty device="{CAMERA}"/>')
        with pytest.raises(DeviceLost, match="Camera took back everything"):
            await of_camera
        assert client.devices == {PANEL} and not of_panel.done() and client.lost is None
        of_panel.cancel()

    on_client(trial)


def test_a_value_that_cannot_be_read_fails_the_wait_not_the_connection() -> None:
    async def trial(server: FakeServer, client: indi.Client) -> None:
        await client.defined(CAMERA, "CCD_EXPOSURE")
        with client.watch(CAMERA, "CCD_EXPOSURE") as watch:
            server.tell(numbers(CAMERA, "CCD_EXPOSURE", "set", CCD_EXPOSURE_VALUE=1).replace(">1<", ">soon<"))
            with pytest.raises(DeviceRefused, match="CCD_EXPOSURE_VALUE"):
                await watch.next()
        assert (await client.ask(CAMERA, "CCD_EXPOSURE")).state == "Idle"

    on_client(trial)


def test_pings_are_answered() -> None:
    async def trial(server: FakeServer, client: indi.Client) -> None:
        await client.defined(CAMERA, "CONNECTION")
        server.tell('<pingRequest uid="7"/>')
        await client.ask(CAMERA, "CONNECTION")
        await asyncio.sleep(0.05)
        assert "pingReply" in [tag for tag, _, _ in server.got]

    on_client(trial)


def test_a_large_blob_does_not_hold_up_the_loop() -> None:
    async def trial(server: FakeServer, client: indi.Client) -> None:
        await client.defined(CAMERA, "CCD1")
        content = np.random.default_rng(1).bytes(24 << 20)
        packed = blob(content)
        late: list[float] = []

        async def tick() -> None:
            while True:
                begin = time.perf_counter()
                await asyncio.sleep(0.005)
                late.append(time.perf_counter() - begin)

        with client.watch(CAMERA, "CCD1") as watch:
            server.tell(packed)
            await asyncio.sleep(0)
            ticking = asyncio.create_task(tick())
            report = await watch.next()
            ticking.cancel()
        assert report.values["CCD1"] == content
        assert client.properties[CAMERA, "CCD1"].values == {"CCD1": b""}, "frames are not kept"
        # Decoded at one go, it would be late by some hundred milliseconds.
        assert np.median(late) < 0.05 and len(late) > 10

    on_client(trial)


# ---- the devices


def spec(seconds: float, kind: str = "dark") -> CaptureSpec:
    return CaptureSpec("key", kind, seconds)  # type: ignore[arg-type]


def test_a_frame_is_data_headers_and_times() -> None:
    async def trial(server: FakeServer, observatory: Observatory) -> None:
        await observatory.detector.prepare()
        before = time.time()
        exposure = await observatory.detector.expose(spec(0.2))
        await exposure.integrated()
        (frame,) = await exposure.read()
        assert frame.data is not None and frame.data.shape == (8, 6) and frame.data.dtype == np.uint16
        assert frame.data[7, 5] == 47 and frame.data.dtype.isnative
        assert frame.header == {"EXPTIME": (0.5, "of the camera"), "GAIN": (90.0, "e/ADU")}
        assert 0.2 <= frame.exposure_s < 0.4 and before <= frame.begin < frame.end <= time.time()

    on_observatory(trial)


def test_a_bias_takes_the_least_time_the_camera_knows() -> None:
    async def trial(server: FakeServer, observatory: Observatory) -> None:
        await (await observatory.detector.expose(spec(0.0, "bias"))).read()
        asked = [values for tag, name, values in server.got if (tag, name) == ("newNumberVector", "CCD_EXPOSURE")]
        assert asked == [{"CCD_EXPOSURE_VALUE": "0.01"}]

    on_observatory(trial)


def test_cancelling_while_the_exposure_begins_stops_the_camera() -> None:
    async def trial(server: FakeServer, observatory: Observatory) -> None:
        async def late(seconds: float) -> None:
            await asyncio.sleep(0.2)
            await server.expose(seconds)

        server.exposes = late
        task = asyncio.create_task(observatory.detector.expose(spec(60.0)))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.3)
        assert await observatory.detector.is_idle()

    on_observatory(trial)


def test_a_frame_that_arrives_while_it_is_aborted_is_thrown_away() -> None:
    async def trial(server: FakeServer, observatory: Observatory) -> None:
        async def never_idle(seconds: float) -> None:
            server.state("Busy", seconds)
            await asyncio.sleep(0.1)
            server.state("Busy", 0.0)
            server.tell(blob(image()))
            server.state("Ok", 0.0)

        server.exposes = never_idle
        exposure = await observatory.detector.expose(spec(5.0))
        await asyncio.sleep(0.2)
        await observatory.detector.abort()
        with pytest.raises(DeviceRefused, match="aborted"):
            await exposure.read()
        (frame,) = await (await observatory.detector.expose(spec(5.0))).read()
        assert frame.data is not None

    on_observatory(trial)


@pytest.mark.parametrize(
    ("content", "format", "match"),
    [
        (image()[:2880], ".fits", "cannot be read"),
        (image()[:-100], ".fits", "truncated"),
        (b"\xff\xd8", ".jpg", "expected .fits"),
    ],
)
def test_a_damaged_frame_is_refused(content: bytes, format: str, match: str) -> None:
    async def trial(server: FakeServer, observatory: Observatory) -> None:
        async def damaged(seconds: float) -> None:
            server.state("Busy", 0.0)
            server.tell(blob(content, format=format))
            server.state("Ok", 0.0)

        server.exposes = damaged
        with pytest.raises(DeviceRefused, match=match):
            await (await observatory.detector.expose(spec(0.1))).read()

    on_observatory(trial)


def test_an_exposure_that_does_not_end_is_a_timeout_and_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibrant.acquire.indi_detector.GRACE_S", 0.1)

    async def trial(server: FakeServer, observatory: Observatory) -> None:
        async def hang(seconds: float) -> None:
            server.state("Busy", seconds)

        server.exposes = hang
        exposure = await observatory.detector.expose(spec(0.1))
        with pytest.raises(DeviceTimeout, match="the exposure does not end"):
            await exposure.integrated()
        assert server.aborted == 1 and await observatory.detector.is_idle()

    on_observatory(trial)


def test_a_count_down_that_stands_still_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibrant.acquire.indi_detector.STALL_S", 0.2)

    async def trial(server: FakeServer, observatory: Observatory) -> None:
        async def stall(seconds: float) -> None:
            server.state("Busy", seconds)
            server.state("Busy", seconds - 1)
            server.state("Busy", seconds - 2)

        server.exposes = stall
        exposure = await observatory.detector.expose(spec(900.0))
        begin = time.monotonic()
        with pytest.raises(DeviceTimeout):
            await exposure.integrated()
        assert time.monotonic() - begin < 5 and server.aborted == 1

    on_observatory(trial)


def test_somebody_elses_exposure_is_left_alone() -> None:
    async def trial(server: FakeServer, observatory: Observatory) -> None:
        server.state("Busy", 412.0)
        for call in (observatory.detector.prepare(), observatory.detector.expose(spec(1.0))):
            with pytest.raises(DeviceBusy, match=r"412 s are left.*CCD_ABORT_EXPOSURE"):
                await call
        assert server.aborted == 0 and not await observatory.detector.is_idle()

    on_observatory(trial)


def test_when_one_of_two_cameras_fails_the_other_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indi.Client.defined, "__kwdefaults__", {"timeout_s": 0.2})

    async def trial(server: FakeServer, observatory: Observatory) -> None:
        with pytest.raises(DeviceError, match="no such device"):
            await observatory.detector.expose(spec(60.0))
        assert server.aborted == 1 and (await observatory.detector.heads[0].is_idle())  # type: ignore[attr-defined]

    on_observatory(trial, detector={"cameras": [CAMERA, "Other"]})


def test_a_panel_that_does_not_obey_is_noticed() -> None:
    async def trial(server: FakeServer, observatory: Observatory) -> None:
        light = observatory.lights["Quartz"]
        await light.set(True)
        assert await light.read() is LightState.ON
        server.panel_obeys = False
        with pytest.raises(DeviceRefused, match="switched off, but Panel says on"):
            await light.set(False)
        server.panel_obeys = True
        await light.set(False)
        assert await light.read() is LightState.OFF

    on_observatory(trial)


def test_a_panel_between_two_states_is_unknown() -> None:
    async def trial(server: FakeServer, observatory: Observatory) -> None:
        both = dict.fromkeys(("FLAT_LIGHT_ON", "FLAT_LIGHT_OFF"), False)
        server.properties[PANEL, "FLAT_LIGHT_CONTROL"] = switch(PANEL, "FLAT_LIGHT_CONTROL", **both)
        assert await observatory.lights["Quartz"].read() is LightState.UNKNOWN

    on_observatory(trial)


def test_lights_are_reached_again_after_the_connection_broke() -> None:
    async def trial(server: FakeServer, observatory: Observatory) -> None:
        light = observatory.lights["Quartz"]
        await light.set(True)
        server.die()
        await asyncio.sleep(0.05)
        await light.set(False)
        assert await light.read() is LightState.OFF

    on_observatory(trial)


def test_a_device_that_is_not_there_forbids_working_but_not_switching_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indi.Client.defined, "__kwdefaults__", {"timeout_s": 0.2})

    async def trial(server: FakeServer, observatory: Observatory) -> None:
        (problem,) = await observatory.interlocks[0].check()
        assert "Lost Camera: CONNECTION did not appear" in problem
        await observatory.lights["Quartz"].set(False)

    on_observatory(trial, detector={"cameras": ["Lost Camera"]})


def test_conditions_are_switches_or_states() -> None:
    async def trial(server: FakeServer, observatory: Observatory) -> None:
        _, switched, state, unknown = observatory.interlocks
        assert await switched.check() == ["covered: Panel: FLAT_LIGHT_CONTROL FLAT_LIGHT_ON is not on"]
        assert await state.check() == []
        server.state("Alert", 0.0)
        assert await state.check() == ["camera: Camera: CCD_EXPOSURE is in state Alert"]
        assert "not known" in (await unknown.check())[0]

    conditions = {
        "covered": {"device": PANEL, "property": "FLAT_LIGHT_CONTROL", "element": "FLAT_LIGHT_ON"},
        "camera": {"device": CAMERA, "property": "CCD_EXPOSURE"},
        "wrong": {"device": PANEL, "property": "FLAT_LIGHT_CONTROL", "element": "NONE"},
    }
    on_observatory(trial, interlocks=conditions)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"address": {"hots": "x"}}, r"inventory fake: address: INDI knows no hots; allowed are host, port"),
        ({"lamps": {"Q": {"address": {"outlet": 3}}}}, r"lamp Q: address: INDI knows no outlet"),
        ({"detector": {"cameras": ["C"], "address": {"kind": "cdd"}}}, r"kind 'cdd': expected ccd or sensor"),
        ({"positions": {"a": {"m1": [1.0, 2.0], "m2": [1.0, 2.0]}}}, r"positions of m1, m2; INDI moves one mount"),
        ({"positions": {"a": {"m1": [1.0, 2.0]}, "b": {}}}, r"positions b have no coordinates"),
    ],
)
def test_an_inventory_that_cannot_be_meant_is_refused(changes: dict[str, object], match: str) -> None:
    async def trial(server: FakeServer, port: int) -> None:
        with pytest.raises(ParameterError, match=match):
            await connect(inventory(**changes), port=port)

    run(trial)


def test_real_devices_take_their_own_time() -> None:
    async def trial(server: FakeServer, port: int) -> None:
        info = '<defText name="DRIVER_EXEC">indi_asi_ccd</defText>'
        server.properties[CAMERA, "DRIVER_INFO"] = (
            f'<defTextVector device="{CAMERA}" name="DRIVER_INFO" state="Idle">{info}</defTextVector>'
        )
        with pytest.raises(ParameterError, match="real devices"):
            await connect(inventory(), port=port, speed=10.0)

    run(trial)


def test_no_description_holds_more_than_it_should() -> None:
    async def trial(server: FakeServer, observatory: Observatory) -> None:
        described = observatory.lights["Quartz"].describe()
        assert described["driver"] == "indi" and described["device"] == PANEL
        assert (await shielded(observatory.detector.status()))[0][CAMERA]["CCD_EXPOSURE"]["state"] == "Idle"

    on_observatory(trial)


# ---- where a mount is sent


def test_altitude_and_azimuth_against_astropy() -> None:
    import astropy.units as u
    from astropy.coordinates import TETE, AltAz, EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    place = EarthLocation.from_geodetic(-70.7 * u.deg, -29.0 * u.deg, 2380 * u.m)
    now = Time("2025-11-15T03:00:00", scale="utc")
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        for altitude, azimuth in ((42.3, 101.3), (70.8, 250.1), (1.0, 350.0), (89.0, 10.0)):
            horizon = SkyCoord(azimuth * u.deg, altitude * u.deg, frame=AltAz(obstime=now, location=place))
            theirs = horizon.transform_to(TETE(obstime=now, location=place))
            ours = equatorial(altitude, azimuth, -29.0, sidereal_time(float(now.unix), -70.7))
            assert separation(ours, (theirs.ra.deg, theirs.dec.deg)) < 0.01
