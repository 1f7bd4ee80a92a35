"""ASCOM Alpaca over HTTP: calls, their errors, images, and what all devices have in common.

    server = Server("http://127.0.0.1:11111")
    await server.put("covercalibrator/0", "calibratoron", Brightness=100)

Every answer's ErrorNumber is looked at. There is no connection to lose: a call that nobody answers is `DeviceLost`.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import secrets
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.acquire.devices import DeviceLost, DeviceRefused, DeviceTimeout
from calibrant.allsky.api import checked_url
from calibrant.errors import ParameterError

if TYPE_CHECKING:
    import httpx

ANSWER_S, CONNECT_S, DOWNLOAD_S = 10.0, 3.0, 120.0
POLL_S = 0.1
DRIVER_S = 30.0
"""A server may take so long to connect to its device."""
NOT_IMPLEMENTED, INVALID_VALUE, NOT_CONNECTED = 0x400, 0x401, 0x407
ELEMENTS = {1: "<i2", 2: "<i4", 3: "<f8", 4: "<f4", 5: "<u8", 6: "u1", 7: "<i8", 8: "<u2", 9: "<u4"}
"""Element types of ImageBytes."""
HEAD_BYTES = 44


class Refusal(DeviceRefused):
    """A device answered with an error. `number` is Alpaca's ErrorNumber, or the HTTP status."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class Server:
    """Calls of one server. Every call ends within its time limit."""

    def __init__(self, url: str) -> None:
        import httpx

        self.url = checked_url(url)
        self._client_id = secrets.randbelow(65535) + 1
        self._numbers = itertools.count(1)
        # Instruments are in this network: no proxy. Idle connections go before the server closes them.
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            trust_env=False,
            verify=self.url.startswith("https"),
            limits=httpx.Limits(keepalive_expiry=2.0),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def reach(self) -> None:
        """DeviceLost where nobody answers. What is answered does not matter: not every server has this page."""
        await self._request("GET", "management", "apiversions", {})

    async def get(self, device: str, name: str, **query: Any) -> Any:
        """A property's value."""
        return self._value(*await self._request("GET", device, name, query))

    async def put(self, device: str, name: str, **form: Any) -> None:
        """A command, or a new value of a property."""
        self._value(*await self._request("PUT", device, name, form))

    async def image(self, device: str) -> NDArray[Any]:
        """The camera's image, rows and columns: as ImageBytes where the server can, else as JSON."""
        answer, number = await self._request("GET", device, "imagearray", {}, DOWNLOAD_S)
        what = f"{self.url}: image of {device}"
        if answer.headers.get("content-type", "").startswith("application/imagebytes"):
            return await asyncio.to_thread(image_of_bytes, answer.content, what)
        return await asyncio.to_thread(lambda: image_of_json(self._value(answer, number), what))

    async def _request(
        self, method: str, device: str, name: str, given: Mapping[str, Any], timeout_s: float | None = None
    ) -> tuple[httpx.Response, int]:
        """One call, and its number; a GET whose connection was just closed by the server is made again."""
        import httpx

        number, timeout_s = next(self._numbers), timeout_s or ANSWER_S
        where = f"{self.url}/{device}/{name}" if device == "management" else f"{self.url}/api/v1/{device}/{name}"
        values = {key: str(value) for key, value in given.items()}
        values |= {"ClientID": str(self._client_id), "ClientTransactionID": str(number)}
        query, form = (values, None) if method == "GET" else (None, values)
        headers = {"Accept": "application/imagebytes, application/json"} if name == "imagearray" else {}
        for last in (method != "GET", True):
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await self._client.request(
                        method,
                        where,
                        params=query,
                        data=form,
                        headers=headers,
                        timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
                    )
                break
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise DeviceLost(f"{self.url}: no Alpaca server answers ({error}); is it running?") from None
            except (httpx.TimeoutException, TimeoutError):
                raise DeviceTimeout(f"{where}: no answer within {timeout_s:g} s") from None
            except (httpx.TransportError, RuntimeError) as error:
                # RuntimeError: of a client that has been closed.
                if last or isinstance(error, RuntimeError):
                    raise DeviceLost(f"{where}: the connection was lost ({error or type(error).__name__})") from None
        return answer, number

    def _value(self, answer: httpx.Response, asked: int) -> Any:
        """What a JSON answer holds. DeviceRefused for its error, DeviceLost where the device is not connected."""
        what = f"{answer.request.method} {self.url}{answer.request.url.path}"
        if answer.status_code != 200:
            words = " ".join(answer.text.split())[:200]
            raise Refusal(f"{what}: answered {answer.status_code} {words!r}", answer.status_code)
        try:
            found = answer.json()
            number = int(found.get("ErrorNumber", 0))
            echo = int(found.get("ClientTransactionID", 0))
        except (ValueError, AttributeError, TypeError):
            raise DeviceRefused(f"{what}: answered {answer.text[:100]!r}, expected JSON of an Alpaca server") from None
        if number:
            raise_error(what, number, str(found.get("ErrorMessage", "")))
        if echo not in (0, asked):
            raise DeviceRefused(f"{what}: answered another call ({echo}, not {asked})")
        return found.get("Value")


def raise_error(what: str, number: int, message: str) -> None:
    """The error that an Alpaca ErrorNumber means."""
    words = f"{what}: error 0x{number:X}: {' '.join(message.split())[:200] or 'no message'}"
    if number == NOT_CONNECTED:
        raise DeviceLost(f"{words}; the server has no connection to the device")
    raise Refusal(words, number)


def image_of_bytes(content: bytes, what: str) -> NDArray[Any]:
    """An image in ImageBytes (version 1): 11 numbers of 4 bytes, then columns. DeviceRefused for anything else."""
    if len(content) < HEAD_BYTES:
        raise DeviceRefused(f"{what}: {len(content)} bytes are no ImageBytes: truncated?")
    version, number, _, _, start, _, element, rank, *dimensions = struct.unpack("<11i", content[:HEAD_BYTES])
    if number:
        raise_error(what, number, content[start:].decode("utf-8", "replace"))
    shape = tuple(dimensions[:rank])
    if version != 1 or element not in ELEMENTS or rank not in (2, 3) or min(shape) < 1 or start < HEAD_BYTES:
        raise DeviceRefused(f"{what}: ImageBytes of version {version}, type {element}, shape {shape} is not understood")
    kind = np.dtype(ELEMENTS[element])
    size = math.prod(shape) * kind.itemsize
    if len(content) - start != size:
        raise DeviceRefused(f"{what}: {len(content) - start} bytes came for {shape}, expected {size}: truncated?")
    return _upright(np.frombuffer(content, kind, offset=start).reshape(shape))


def image_of_json(value: Any, what: str) -> NDArray[Any]:
    """An image that came as a JSON list of columns."""
    try:
        data = np.array(value)
    except ValueError:
        data = np.zeros(0)
    if data.ndim not in (2, 3) or data.dtype.kind not in "iuf":
        raise DeviceRefused(f"{what}: the columns of the image differ in length, or are no numbers")
    return _upright(data)


def _upright(columns: NDArray[Any]) -> NDArray[Any]:
    """Alpaca's [x, y(, plane)] as numpy's and FITS's [(plane,) row, column]; 16 bits where they are enough."""
    data = columns.T
    if data.dtype.kind == "i" and data.dtype.itemsize > 2 and data.min() >= 0 and data.max() < 65536:
        return np.ascontiguousarray(data, dtype=np.uint16)
    return np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))


class AlpacaDevice:
    """What all devices have in common: a name for us, and one for the server."""

    def __init__(self, server: Server, name: str, device: str) -> None:
        kind, _, number = device.partition("/")
        if not kind.isalpha() or not number.isdigit():
            raise ParameterError(
                f"{name}: device {device!r}: expected it as camera/0, covercalibrator/0, switch/0, ..."
            )
        self.server, self.name, self.device = server, name, device.lower()
        self.about: dict[str, Any] = {}

    async def ready(self) -> None:
        """Have the server connected to the device."""
        if not await self.get("connected"):
            await self.put("connected", Connected=True)
            await self.until(lambda: self.get("connected"), DRIVER_S, "the server does not connect to it")
        if not self.about:
            found = {name: await self.perhaps(name) for name in ("name", "driverinfo", "driverversion")}
            self.about = {name: value for name, value in found.items() if value is not None}

    @property
    def simulated(self) -> bool:
        """It says of itself that it is a simulator."""
        return "simul" in " ".join(map(str, self.about.values())).lower()

    async def get(self, name: str, **query: Any) -> Any:
        return await self.server.get(self.device, name, **query)

    async def put(self, name: str, **form: Any) -> None:
        await self.server.put(self.device, name, **form)

    async def perhaps(self, name: str) -> Any:
        """A property that the device may not have: None."""
        try:
            return await self.get(name)
        except DeviceRefused:
            return None

    async def until(self, condition: Callable[[], Awaitable[Any]], seconds: float, what: str) -> None:
        """Ask until it is so; DeviceTimeout saying `what` is wrong."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not await condition():
            if loop.time() > deadline:
                raise DeviceTimeout(f"{self.name} ({self.device}): {what} within {seconds:g} s")
            await asyncio.sleep(POLL_S)

    def describe(self) -> dict[str, Any]:
        return {"driver": "alpaca", "server": self.server.url, "device": self.device, **self.about}

    async def states(self, *names: str) -> dict[str, Any]:
        return {name: await self.perhaps(name) for name in names}


def known_options(given: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    """An address of an inventory with the defaults. ParameterError for keys that mean nothing here."""
    if unknown := sorted(set(given) - set(defaults)):
        raise ParameterError(f"{where}: Alpaca knows no {', '.join(unknown)}; allowed are {', '.join(defaults)}")
    return {**defaults, **given}
