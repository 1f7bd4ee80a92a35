"""A small INDI client on asyncio, over TCP, with guarantees that an engine needs.

* The end of the connection is noticed at once: every wait under way, and every later call, fails with DeviceLost. A
  server that stays silent although it was asked is lost too (`HEARTBEAT_S`).
* The end of one driver behind the server fails the waits on its devices.
* A wait sees every report since it began, in the order of arrival, and has a time limit.
* Large BLOBs are parsed in pieces and decoded beside the event loop.

The names of properties and their states are libindi's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from calibrant.acquire import indi_xml
from calibrant.acquire.devices import DeviceLost, DeviceRefused, DeviceTimeout
from calibrant.acquire.indi_xml import Message, Property, Value
from calibrant.errors import DeviceError, ParameterError

CHUNK = 1 << 16
LARGE = 1 << 20
"""A BLOB of so many characters is decoded in a thread."""
CONNECT_S = 5.0
ANSWER_S = 5.0
"""How long a driver may take to answer where the caller does not say."""
DRIVER_S = 20.0
"""A driver may take so long to connect to its hardware."""
SIMULATORS = "indi_simulator_"
HEARTBEAT_S = 5.0
"""After so long a silence the server is asked; after as long again it counts as lost."""
_VECTORS = {f"{verb}{kind}Vector" for verb in ("def", "set") for kind in indi_xml.KINDS}


class Watch:
    """Reports of properties of one device from the moment it is made until it is closed, in order."""

    def __init__(self, client: Client, device: str, names: tuple[str, ...]) -> None:
        self.device, self.names = device, names
        self._client = client
        self._queue: asyncio.Queue[Property | DeviceError] = asyncio.Queue()
        client.watches.add(self)
        if client.lost is not None:
            self.put(client.lost)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.watches.discard(self)

    def put(self, report: Property | DeviceError) -> None:
        self._queue.put_nowait(report)

    async def next(self) -> Property:
        """The next report. Raises DeviceLost where the connection or the driver is gone."""
        report = await self._queue.get()
        if isinstance(report, DeviceError):
            if isinstance(report, DeviceLost):
                self.put(report)
            raise type(report)(str(report))
        return report

    async def until(self, condition: Callable[[Property], bool], timeout_s: float, what: str) -> Property:
        """The first report that fulfils the condition. DeviceTimeout; DeviceLost; DeviceRefused at state Alert."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    report = await self.next()
                    if condition(report):
                        return report
                    if report.state == "Alert" and not report.defined:
                        raise DeviceRefused(f"{self.device}: {what}: {self._client.reason(report)}")
        except TimeoutError:
            words = self._client.last_words(self.device)
            raise DeviceTimeout(f"{self.device}: {what}: not within {timeout_s:g} s{words}") from None


class Client:
    """One connection to an INDI server. Made by `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        self.address = address
        self.lost: DeviceLost | None = None
        """Why the connection is gone."""
        self.watches: set[Watch] = set()
        self.properties: dict[tuple[str, str], Property] = {}
        """As last reported, without BLOBs."""
        self._messages: dict[str, str] = {}
        self._reader, self._writer = reader, writer
        self._heard = asyncio.Event()
        self._tasks = [asyncio.ensure_future(self._read()), asyncio.ensure_future(self._heartbeat())]

    @property
    def devices(self) -> set[str]:
        return {device for device, _ in self.properties}

    # ---- asking and setting

    async def ask(self, device: str, name: str, *, timeout_s: float = ANSWER_S) -> Property:
        """A property as the driver reports it now, not as it was remembered."""
        with self.watch(device, name) as watch:
            await self._send(indi_xml.get_properties(device, name))
            return await watch.until(lambda report: report.defined, timeout_s, f"no answer on {name}")

    async def defined(self, device: str, name: str, *, timeout_s: float = ANSWER_S) -> Property:
        """A property as last reported; waits for it to appear: most do when the device is being connected."""
        with self.watch(device, name) as watch:
            known = self.properties.get((device, name))
            if known is not None:
                return known
            await self._send(indi_xml.get_properties(device))
            try:
                return await watch.until(lambda _: True, timeout_s, f"{name} did not appear")
            except DeviceTimeout as error:
                raise DeviceTimeout(f"{error}; {self._have(device)}") from None

    async def set(
        self, device: str, name: str, values: Mapping[str, Value], *, timeout_s: float = ANSWER_S
    ) -> Property:
        """Set elements; returns when the driver says Ok or Idle. DeviceRefused at Alert, with the driver's words."""
        asked = ", ".join(f"{element}={value!r}" for element, value in values.items())

        def done(report: Property) -> bool:
            # A definition may still be the answer to an earlier question.
            fresh = not report.defined or all(report.values.get(key) == value for key, value in values.items())
            return fresh and report.state in ("Ok", "Idle")

        with self.watch(device, name) as watch:
            await self.send(device, name, values)
            return await watch.until(done, timeout_s, f"{name} {asked}")

    async def send(self, device: str, name: str, values: Mapping[str, Value]) -> None:
        """Ask for new values and do not wait. DeviceRefused for an unknown element or a number beyond its limits."""
        await self._send(indi_xml.write_property(await self.defined(device, name), values))

    async def enable_blob(self, device: str, name: str) -> None:
        """From now on this BLOB is sent to us."""
        await self._send(indi_xml.enable_blob(device, name))

    def watch(self, device: str, *names: str) -> Watch:
        """Sees every report from now on; a context manager, which closes it."""
        return Watch(self, device, names)

    def reason(self, report: Property) -> str:
        """Why a property is in alert, in the driver's own words."""
        return report.message or f"{report.name} is in state {report.state}{self.last_words(report.device)}"

    def last_words(self, device: str) -> str:
        message = self._messages.get(device)
        return f" (its last message: {message})" if message else ""

    async def close(self) -> None:
        """Let the connection go. Waits under way fail with DeviceLost."""
        self._lose(f"the connection to {self.address} was closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    # ---- inside

    def _have(self, device: str) -> str:
        names = sorted(name for owner, name in self.properties if owner == device)
        if names:
            return f"the device has {', '.join(names)}"
        return f"{self.address} has no such device; it has: {', '.join(sorted(self.devices)) or 'none'}"

    async def _send(self, text: str) -> None:
        if self.lost is None:
            try:
                self._writer.write(text.encode() + b"\n")
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._writer.drain()
            except TimeoutError:
                self._lose(f"INDI server {self.address} takes nothing any more")
            except OSError as error:
                self._lose(f"INDI server {self.address}: {error}")
        if self.lost is not None:
            raise DeviceLost(str(self.lost))

    async def _read(self) -> None:
        parser, reason = indi_xml.Parser(), "it closed the connection (has it died?)"
        try:
            while content := await self._reader.read(CHUNK):
                self._heard.set()
                for message in parser.feed(content):
                    await self._take(message)
        except expat.ExpatError as error:
            reason = f"it sent what is not XML: {error}"
        except OSError as error:
            reason = str(error)
        self._lose(f"INDI server {self.address}: {reason}")

    async def _take(self, message: Message) -> None:
        attributes = message.attributes
        device, name = attributes.get("device", ""), attributes.get("name", "")
        if "message" in attributes:
            self._messages[device] = attributes["message"]
        if message.tag in _VECTORS:
            await self._take_property(message, device, name)
        elif message.tag == "delProperty":
            self._forget(device, name)
        elif message.tag == "pingRequest":
            self._writer.write(f"<pingReply uid={quoteattr(attributes.get('uid', ''))}/>\n".encode())

    async def _take_property(self, message: Message, device: str, name: str) -> None:
        known = self.properties.get((device, name))
        try:
            if any(len(raw) > LARGE for _, raw in message.elements):
                report = await asyncio.to_thread(indi_xml.read_property, message, known)
            else:
                report = indi_xml.read_property(message, known)
        except ValueError as error:
            self._tell(device, name, DeviceRefused(f"{device} sent a value that cannot be read: {error}"))
            return
        blank = report.kind == "BLOB"
        self.properties[device, name] = replace(report, values=dict.fromkeys(report.values, b"")) if blank else report
        self._tell(device, name, report)

    def _forget(self, device: str, name: str) -> None:
        """A property, or without a name the whole device, is no more: its driver ended or was disconnected."""
        for key in [key for key in self.properties if key[0] == device and name in ("", key[1])]:
            del self.properties[key]
        words = self.last_words(device)
        self._tell(device, name, DeviceLost(f"{device} took back {name or 'everything'}: its driver ended?{words}"))

    def _tell(self, device: str, name: str, report: Property | DeviceError) -> None:
        for watch in list(self.watches):
            if watch.device == device and (not name or name in watch.names):
                watch.put(report)

    async def _heartbeat(self) -> None:
        """Ask after a silence. Any byte is an answer: this watches the server; a driver is watched by each wait."""
        while True:
            if await self._hears():
                continue
            questions = [indi_xml.get_properties(device, "CONNECTION") for device in self.devices]
            self._writer.write("".join(questions or [indi_xml.get_properties()]).encode())
            if not await self._hears():
                self._lose(f"INDI server {self.address}: no sign of life for {2 * HEARTBEAT_S:g} s")
                return

    async def _hears(self) -> bool:
        self._heard.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_S):
                await self._heard.wait()
        return self._heard.is_set()

    def _lose(self, reason: str) -> None:
        if self.lost is not None:
            return
        self.lost = DeviceLost(reason)
        for watch in list(self.watches):
            watch.put(self.lost)
        self._writer.transport.abort()


async def connect(host: str, port: int, *, timeout_s: float = CONNECT_S) -> Client:
    """Connect and ask for all properties; they arrive later (`Client.defined`). DeviceLost where nobody answers."""
    address = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        code = getattr(error, "errno", None)
        why = os.strerror(code) if code else str(error) or f"no answer within {timeout_s:g} s"
        raise DeviceLost(f"no INDI server at {address}: {why}; start one: indiserver -p {port} DRIVER ...") from None
    client = Client(reader, writer, address)
    await client._send(indi_xml.get_properties())
    return client


def known_options(given: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """An address of an inventory, after a look at its keys. ParameterError for one that means nothing to INDI."""
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise ParameterError(f"{where}: INDI knows no {', '.join(unknown)}; allowed are {', '.join(allowed)}")
    return given


class Link:
    """The connection to the server; one that was lost is made anew by the next call."""

    def __init__(self, host: str, port: int) -> None:
        self.address = f"{host}:{port}"
        self._host, self._port = host, port
        self._client: Client | None = None
        self._closed = False
        self._connecting = asyncio.Lock()

    async def client(self) -> Client:
        """A live connection. DeviceLost where there is none to be had."""
        async with self._connecting:
            if self._closed:
                raise DeviceLost(f"the connection to {self.address} was closed")
            if self._client is None or self._client.lost is not None:
                if self._client is not None:
                    await self._client.close()
                self._client = await connect(self._host, self._port)
            return self._client

    async def ready(self, device: str) -> Client:
        """A live connection to a server whose driver is connected to this device."""
        client = await self.client()
        if (device, "CONNECTION") not in client.properties:
            await client.defined(device, "CONNECTION")
        if not (await client.ask(device, "CONNECTION")).on("CONNECT"):
            await client.set(device, "CONNECTION", {"CONNECT": True}, timeout_s=DRIVER_S)
        return client

    def simulated(self, device: str) -> bool | None:
        """Whether it is a simulator, as its driver says; None where it is not there."""
        program = str(self.about(device).get("DRIVER_EXEC", ""))
        return program.startswith(SIMULATORS) if program else None

    def about(self, device: str) -> Mapping[str, Value]:
        """What the driver said of itself: DRIVER_NAME, DRIVER_EXEC, DRIVER_VERSION; empty before it was there."""
        info = self._client.properties.get((device, "DRIVER_INFO")) if self._client else None
        return info.values if info else {}

    async def close(self) -> None:
        self._closed = True
        if self._client is not None:
            await self._client.close()


class IndiDevice:
    """What all devices have in common: a name for us, and one for INDI."""

    def __init__(self, link: Link, name: str, device: str) -> None:
        self.link, self.name, self.device = link, name, device

    def describe(self) -> dict[str, Any]:
        about = self.link.about(self.device)
        words = {key.removeprefix("DRIVER_").lower(): str(about[key]) for key in sorted(about)}
        return {"driver": "indi", "server": self.link.address, "device": self.device, **words}

    async def states(self, *names: str) -> dict[str, Any]:
        """Properties as their driver reports them now."""
        client = await self.link.ready(self.device)
        reports = [await client.ask(self.device, name) for name in names if (self.device, name) in client.properties]
        return {report.name: {"state": report.state, **report.values} for report in reports}
