"""A telescope's web API without the telescope: for tests, the demo and dry runs of a site's own scripts.

    with serve(FakeTelescope(content)) as url:
        ...                                     # real HTTP on 127.0.0.1

`content` is a calibration file (info, ant_pos, gains, data): its snapshots are what the telescope measures, one after
the other. Both generations of the API: "flask" (old) and "fastapi" (new), with their own ways of saying no. The
catalogue service is there too, as `URL/catalog`. Faults on request: see `Fault`.

For people without a telescope, until Ctrl-C: `python -m calibrant.simulation.tart_api calib.json [--generation flask]`.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import math
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from calibrant.errors import CalibrantError, ParameterError

GENERATIONS = ("fastapi", "flask")
MODES = ("off", "diag", "raw", "vis", "vis_save", "cal", "rt_syn_img")
FAULTS = ("error", "html", "slow", "die", "drop", "late", "refuse", "redirect")
PREFIX = "/api/v1/"
START_PATIENCE_S = 10.0
TICK_S = 0.01

Answer = tuple[int, Any]
"""Status and content: text goes out as it is, bytes as HTML, anything else as JSON."""


@dataclass
class Fault:
    """Something that goes wrong with calls whose method and path begin as given.

    kind: error (status 500), html (a page instead of JSON), slow (answers after `seconds`), die (half an answer, then
    the server is gone), drop (carried out, but the answer is lost), late (carried out and answered after `seconds`),
    refuse (401), redirect (to `where`).
    """

    kind: str
    path: str = ""
    method: str = ""
    after: int = 0
    """So many matching calls go well before."""
    times: float = math.inf
    """So many calls are hit."""
    seconds: float = 1.0
    where: str = "/elsewhere"

    def hits(self, method: str, path: str) -> bool:
        if not (method.startswith(self.method) and path.startswith(self.path)):
            return False
        self.after -= 1
        if self.after >= 0:
            return False
        self.times -= 1
        return self.times >= 0


@dataclass(frozen=True)
class Request:
    """One call as the server saw it."""

    method: str
    path: str
    body: Any = None
    scheme: str = ""
    """Of the Authorization header: JWT, Bearer or empty."""


@dataclass
class FakeTelescope:
    """The state behind the API; an ASGI application. Change its fields to change what it answers."""

    content: dict[str, Any]
    generation: str = "fastapi"
    password: str = "password"
    token_s: float = 900.0
    """Access tokens are accepted so long."""
    faults: list[Fault] = field(default_factory=list)
    alter: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """What becomes of uploaded gains before they are stored: a server with a fault of its own."""
    mode: str = "vis"
    blind: bool = False
    """No visibilities yet."""
    frozen: bool = False
    """The same visibilities again and again."""
    zone: bool = True
    """Timestamps end with Z."""
    disabled: set[int] = field(default_factory=set)
    radio_mean: dict[int, float] = field(default_factory=dict)
    """By channel, where it is not 0.5."""
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.generation not in GENERATIONS:
            raise ParameterError(f"generation is {self.generation!r}, expected one of {', '.join(GENERATIONS)}")
        info = self.content.get("info") or {}
        self.info: dict[str, Any] = copy.deepcopy(info.get("info", info))
        self.positions: list[list[float]] = copy.deepcopy(self.content["ant_pos"])
        antennas = len(self.positions)
        self.info.setdefault("num_antenna", antennas)
        stored = self.content.get("gains") or {"gain": [1.0] * antennas, "phase_offset": [0.0] * antennas}
        self.gains: dict[str, Any] = {name: list(stored[name]) for name in ("gain", "phase_offset")}
        self.tokens: dict[str, float] = {}
        self.refresh_tokens: set[str] = set()
        self._served = 0
        self._stop: Callable[[], None] = lambda: None

    @property
    def new(self) -> bool:
        return self.generation == "fastapi"

    def calls(self, method: str, path: str = "") -> list[Request]:
        """The calls made so far of one method, to paths that begin as given."""
        return [one for one in self.requests if one.method == method and one.path.startswith(path)]

    def expire(self) -> None:
        """Every access token is past its time."""
        self.tokens = dict.fromkeys(self.tokens, -math.inf)

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        path = path.removeprefix(PREFIX) if path.startswith(PREFIX) else path.lstrip("/")
        body = await _body(receive)
        header = dict(scope["headers"]).get(b"authorization", b"").decode()
        self.requests.append(Request(method, path, body, header.partition(" ")[0]))
        query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode()).items()}
        fault = next((one for one in self.faults if one.hits(method, path)), None)
        answer = await self._with_fault(fault, lambda: self._answer(method, path, body, header, query))
        await _send(send, answer, fault)
        if fault is not None and fault.kind == "die":
            self._stop()

    async def _with_fault(self, fault: Fault | None, answer: Callable[[], Answer]) -> Answer:
        if fault is None or fault.kind == "drop":
            return answer()
        if fault.kind in ("slow", "late"):
            found = answer() if fault.kind == "late" else None
            await asyncio.sleep(fault.seconds)
            return found or answer()
        return {
            "error": (500, b"<html><body><h1>Internal Server Error</h1></body></html>"),
            "html": (200, b"<!doctype html><html><title>Welcome to nginx!</title></html>"),
            "refuse": (401, self._no("Could not validate credentials")),
            "redirect": (307, fault.where),
            "die": (200, {}),
        }[fault.kind]

    def _no(self, words: str) -> dict[str, Any]:
        return {"detail": words} if self.new else {"msg": words}

    def _answer(self, method: str, path: str, body: Any, header: str, query: dict[str, str]) -> Answer:
        if (method, path) == ("GET", "catalog/catalog"):
            return self._catalogue(query)
        if method == "GET":
            return self._read(path)
        if method == "POST" and path in ("auth", "refresh", "auth/refresh"):
            return self._tokens(path, body, header)
        refusal = self._refusal(header)
        if refusal is not None:
            return refusal
        return self._write(method, path, body)

    def _read(self, path: str) -> Answer:
        reads: dict[str, Callable[[], Answer]] = {
            "info": lambda: (200, {"info": self.info}),
            "imaging/vis": self._visibilities,
            "imaging/antenna_positions": lambda: (200, self.positions),
            "imaging/timestamp": self._timestamp,
            "calibration/gain": self._gains,
            "mode": lambda: (200, {"modes": list(MODES)}),
            "mode/current": lambda: (200, {"mode": self.mode}),
            "channel": lambda: (200, [{"channel_id": i, "enabled": self._on(i)} for i in self._channels()]),
            "status/fpga": lambda: (200, self._fpga()),
            "status/channel": lambda: (200, [self._channel(i) for i in self._channels()]),
        }
        return reads[path]() if path in reads else (404, {"detail": "Not Found"} if self.new else b"<h1>Not Found</h1>")

    def _visibilities(self) -> Answer:
        if self.blind:
            return 200, {"data": []} if self.new else []
        snapshot = self._snapshot()
        self._served += not self.frozen
        rows = [row for row in snapshot["data"] if not {row["i"], row["j"]} & self.disabled]
        return 200, {**snapshot, "data": rows}

    def _snapshot(self) -> dict[str, Any]:
        """What is measured now; after the last snapshot the same sky again, a second later each time."""
        data = self.content["data"]
        number = min(self._served, len(data) - 1)
        found = dict(data[number][0])
        stamp = found.get("timestamp")
        if stamp:
            moment = datetime.fromisoformat(stamp) + timedelta(seconds=self._served - number)
            text = moment.replace(tzinfo=None).isoformat(timespec="milliseconds")
            found["timestamp"] = text + ("Z" if self.zone else "")
        return found

    def _timestamp(self) -> Answer:
        if self.blind:
            return (404, {"detail": "No visibility timestamp available"}) if self.new else (200, {})
        stamp = self._snapshot()["timestamp"]
        return 200, json.dumps(stamp) if self.new else stamp

    def _gains(self) -> Answer:
        wanted = len(self.positions)
        return 200, {name: values[:wanted] for name, values in self.gains.items()}

    def _channels(self) -> range:
        return range(len(self.positions))

    def _on(self, channel: int) -> int:
        return int(channel not in self.disabled)

    def _channel(self, channel: int) -> dict[str, Any]:
        mean = self.radio_mean.get(channel, 0.5)
        return {
            "id": channel,
            "enabled": self._on(channel),
            "phase": {"N_samples": 200, "measured": 3, "ok": 1, "stability": 1.0, "threshold": 0.95},
            "radio_mean": {"mean": mean, "ok": int(abs(mean - 0.5) < 0.2), "threshold": 0.2},
            "freq": [],
            "power": [],
        }

    def _fpga(self) -> dict[str, Any]:
        return {
            "hostname": "simulated",
            "timestamp": self._snapshot()["timestamp"],
            "AQ_SYSTEM": {"512Mb": 1, "SDRAM_ready": 1, "enabled": 1, "error": 0, "overflow": 0, "state": 1},
            "TC_DEBUG": {"count": 0, "debug": 0, "numantenna": len(self.positions), "shift": 0},
        }

    def _catalogue(self, query: dict[str, str]) -> Answer:
        if not {"lat", "lon"} <= query.keys():
            return 200, "Exception: Missing Required Parameter 'lat'"
        data = self.content["data"]
        if "date" not in query:
            return 200, data[-1][1]
        asked = _seconds(query["date"])
        return 200, min(data, key=lambda one: abs(_seconds(one[0].get("timestamp", query["date"])) - asked))[1]

    def _tokens(self, path: str, body: Any, header: str) -> Answer:
        if path == "auth":
            if not isinstance(body, dict) or (body.get("username"), body.get("password")) != ("admin", self.password):
                return 401, self._no("Bad username or password")
            refresh = secrets.token_hex(16)
            self.refresh_tokens.add(refresh)
            return 200, {"access_token": self._token(), "refresh_token": refresh}
        if path != ("auth/refresh" if self.new else "refresh"):
            return 404, {"detail": "Not Found"} if self.new else b"<h1>Not Found</h1>"
        # The new server does not look at the refresh token; the old one does.
        if not self.new and header.partition(" ")[2] not in self.refresh_tokens:
            return 401, self._no("Token is not known")
        return 200, {"access_token": self._token()}

    def _token(self) -> str:
        token = secrets.token_hex(16)
        self.tokens[token] = time.monotonic() + self.token_s
        return token

    def _refusal(self, header: str) -> Answer | None:
        scheme, _, token = header.partition(" ")
        if scheme not in (("JWT", "Bearer") if self.new else ("JWT",)) or token not in self.tokens:
            return 401, self._no("Could not validate credentials")
        if time.monotonic() < self.tokens[token]:
            return None
        if self.new:
            return 401, {"detail": "Could not validate credentials"}
        return 200, {"status": 401, "sub_status": 101, "msg": "The token has expired"}

    def _write(self, method: str, path: str, body: Any) -> Answer:
        words = path.split("/")
        if (method, path) == ("POST", "calibration/gain"):
            return self._store_gains(body)
        if (method, path) == ("POST", "calibration/antenna_positions"):
            return self._store_positions(body)
        if method == "POST" and words[0] == "mode" and words[-1] in MODES:
            self.mode = words[-1]
            return 200, {"mode": self.mode}
        if method == "PUT" and words[0] == "channel" and len(words) == 3:
            (self.disabled.discard if words[2] == "1" else self.disabled.add)(int(words[1]))
            return 200, {"channel_id": int(words[1]), "enabled": int(words[2])}
        return 404, self._no("Not Found")

    def _store_gains(self, body: Any) -> Answer:
        names = {"gain", "phase_offset"}
        if not isinstance(body, dict) or not names <= body.keys():
            return (422, {"detail": "Field required"}) if self.new else (500, b"<h1>Internal Server Error</h1>")
        if self.new and (body.keys() - names or not all(_is_number(one) for name in names for one in body[name])):
            return 422, {"detail": [{"type": "extra_forbidden or float_type", "input": body}]}
        stored = {name: list(body[name]) for name in names}
        self.gains = self.alter(stored) if self.alter else stored
        return 200, {}

    def _store_positions(self, body: Any) -> Answer:
        if self.new and isinstance(body, dict):
            body = body.get("antenna_positions") if body.keys() == {"antenna_positions"} else None
        if not isinstance(body, list) or not all(isinstance(place, list) for place in body):
            return (422, {"detail": "Invalid format"}) if self.new else (500, b"<h1>Internal Server Error</h1>")
        self.positions = body
        return 200, {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace(" ", "+")).replace(tzinfo=None).timestamp()


async def _body(receive: Callable[..., Awaitable[dict[str, Any]]]) -> Any:
    whole = b""
    while True:
        message = await receive()
        whole += message.get("body", b"")
        if not message.get("more_body"):
            break
    try:
        return json.loads(whole) if whole else None
    except ValueError:
        return whole.decode("utf-8", "replace")


async def _send(send: Callable[..., Awaitable[None]], answer: Answer, fault: Fault | None) -> None:
    """Send an answer, or half of one where the fault wants the connection to break."""
    status, content = answer
    kind, extra = b"text/html", []
    if status == 307:
        body, extra = b"", [(b"location", str(content).encode())]
    elif isinstance(content, bytes | str):
        body = content if isinstance(content, bytes) else content.encode()
    else:
        body, kind = json.dumps(content).encode(), b"application/json"
    broken = fault is not None and fault.kind in ("die", "drop")
    length = 1_000_000 if broken else len(body)
    headers = [(b"content-type", kind), (b"content-length", str(length).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": broken})
    # A response that ends before its announced length makes the server close the connection.


@contextmanager
def serve(telescope: FakeTelescope, port: int = 0) -> Iterator[str]:
    """Run the telescope's API on 127.0.0.1 (port 0: a free one) in a thread; yields its address, stops at the end."""
    try:
        import uvicorn
    except ModuleNotFoundError:
        raise ParameterError("the simulated telescope needs uvicorn: pip install uvicorn") from None
    # Named as TCP, so that asyncio sends answers without delay.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    config = uvicorn.Config(
        telescope, http="h11", ws="none", lifespan="off", loop="asyncio", log_config=None, log_level="critical"
    )

    class Prompt(uvicorn.Server):
        """Stops at once, whatever is under way: tests start many of these, and a fault is to look like death."""

        async def main_loop(self) -> None:
            while not await self.on_tick(0):
                await asyncio.sleep(TICK_S)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for one in self.servers:
                one.close()
            for connection in list(self.server_state.connections):
                connection.shutdown()
            for task in list(self.server_state.tasks):
                task.cancel()
            await asyncio.sleep(TICK_S)

    server = Prompt(config)

    def stop() -> None:
        server.should_exit = server.force_exit = True

    telescope._stop = stop
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until = time.monotonic() + START_PATIENCE_S
    while not server.started and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        stop()
        thread.join(START_PATIENCE_S)
        listening.close()


def main(arguments: list[str] | None = None) -> int:
    """Serve the simulated telescope of a calibration file until Ctrl-C; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m calibrant.simulation.tart_api",
        description="Serve a simulated telescope on 127.0.0.1: its snapshots are those of a calibration file.",
        epilog="Its password is what CALIBRANT_TART_PASSWORD holds, or else the word: password.",
    )
    parser.add_argument("file", help="a file of `calibrant allsky simulate` or `collect`")
    parser.add_argument("--port", type=int, default=0, help="0 (default): a free one")
    parser.add_argument("--generation", choices=GENERATIONS, default="fastapi", help="of the API (default: fastapi)")
    given = parser.parse_args(arguments)
    try:
        telescope = FakeTelescope(
            _content(given.file), given.generation, os.environ.get("CALIBRANT_TART_PASSWORD") or "password"
        )
        with serve(telescope, given.port) as url:
            sys.stdout.write(_how_to_use(url))
            sys.stdout.flush()
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except (CalibrantError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _content(path: str) -> dict[str, Any]:
    """A calibration file as it is; FormatError where it is none."""
    from calibrant.allsky.files import load_json
    from calibrant.allsky.snapshots import from_json

    content: dict[str, Any] = load_json(path, "the file of `calibrant allsky collect`")
    from_json(content, path, assume_utc=True)
    return content


def _how_to_use(url: str) -> str:
    return (
        f"Simulated telescope: {url}   (Ctrl-C ends it)\n"
        f"  calibrant allsky collect --api {url} --catalog {url}/catalog --n 3 --interval 1s -o collected.json\n"
        f"  calibrant allsky status --api {url}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
