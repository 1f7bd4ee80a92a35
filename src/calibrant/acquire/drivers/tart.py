"""Driver `tart`: snapshots of a TART all-sky array, by its web API.

    address: {url: "https://tart.elec.ac.nz/signal", catalogue: where the sky is asked for (a service, a file, none),
              lights: inventory that has the test source, where there is one}
    detector: {cameras: [one name], address: {sampling_hz: 16368000}}

A frame with option `snapshot: vis` is a calibration file (`info, ant_pos, gains, data`) with as many integrations as
its exposure time holds; `calibrant allsky calibrate` reads it. The first integration that comes is left out: it may
have begun before the exposure did. With `snapshot: raw` it is the telescope's own HDF5 file, downloaded at once (the
telescope keeps few) and compared with its checksum.

Whoever sets the telescope's mode sets it back: in raw mode it takes file after file. For that the password is needed,
from the environment (CALIBRANT_TART_PASSWORD or TART_LOGIN_PW); visibilities are public while the mode is vis.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from calibrant.acquire.devices import (
    CaptureSpec,
    DeviceBusy,
    DeviceLost,
    DeviceRefused,
    DeviceTimeout,
    Frame,
    Light,
    Observatory,
)
from calibrant.acquire.exposing import FollowedDetector
from calibrant.acquire.storage import write_new
from calibrant.allsky.api import CATALOGUE_URL, Telescope
from calibrant.allsky.collect import FindSources, find_sources
from calibrant.allsky.secrets import VARIABLES
from calibrant.errors import DeviceError, ParameterError, ServerError
from calibrant.progress import say

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Inventory
    from calibrant.acquire.plan import Plan

ANSWER_S, BACKOFF_S = 5.0, (0.3,)
CALL_S = 20.0
"""One call with its repetitions, and what is still under way before it."""
DOWNLOAD_S = 120.0
POLL_S = 0.3
FRESH_S = 30.0
"""New visibilities must come so long after they are due."""
FILE_S = 60.0
"""A raw file must be written so long after it was integrated."""
SAMPLING_HZ = 16.368e6
EXPONENTS = range(16, 25)
"""An acquisition has 2 to the power of one of these samples; a telescope ignores others, and says that all is well."""
SHORT = 0.98
"""An acquisition may be shorter than asked by this factor."""
SEEING = ("vis", "vis_save")
"""Modes in which visibilities come."""
SNAPSHOTS = ("vis", "raw")
NOTES = ("phase", "repetition")
HDF5 = b"\x89HDF\r\n\x1a\n"
T = TypeVar("T")


async def connect(
    inventory: Inventory,
    *,
    speed: float = 1.0,
    url: str | None = None,
    directory: str | Path = ".",
    plan: Plan | None = None,
) -> Observatory:
    """Prepare to talk to the telescope; frames become files in `directory`.

    A telescope that does not answer does not stop this: the test source can still be switched off. It is an interlock
    that forbids working. ParameterError for what cannot be meant, and where `plan` needs a password that is not there.
    """
    known = {"url": None, "catalogue": CATALOGUE_URL, "lights": None}
    address = _options(inventory.address, known, f"inventory {inventory.name}: address")
    if not (url or address["url"]):
        raise ParameterError(f"inventory {inventory.name}: address.url: where the telescope's API is")
    if speed != 1.0:
        raise ParameterError(f"speed {speed:g}: a telescope takes its own time; leave speed out, or simulate")
    if len(inventory.detector.cameras) != 1:
        raise ParameterError(f"inventory {inventory.name}: detector.cameras: one name, a TART is one detector")
    if plan is not None and any(step.options.get("snapshot") == "raw" for step in plan.steps) and not password():
        raise ParameterError(f"{plan.name} takes raw data: set {VARIABLES[0]}, the mode has to be changed for it")
    try:
        sources = find_sources(str(address["catalogue"]), ANSWER_S)
    except OSError as error:
        raise ParameterError(f"inventory {inventory.name}: address.catalogue: {error}") from None
    line = Line(str(url or address["url"]))
    detector = TartDetector(line, inventory, Path(directory), sources)
    lights, others = await _lights(inventory, address["lights"])
    return Observatory(
        name=inventory.name,
        driver="tart",
        lights=lights,
        detector=detector,
        interlocks=(Answering(line), *(others.interlocks if others else ())),
        closers=[*([others.close] if others else []), detector.close],
    )


async def _lights(inventory: Inventory, source: str | None) -> tuple[dict[str, Light], Observatory | None]:
    """The test source: a TART has none of its own, so it is a light of another inventory."""
    from calibrant.acquire import drivers
    from calibrant.acquire.inventory import load_inventory

    if not inventory.lamps:
        return {}, None
    if source is None:
        raise ParameterError(
            f"inventory {inventory.name}: address.lights: which inventory {', '.join(inventory.lamps)} is in"
        )
    others = await drivers.connect(load_inventory(source))
    lights = {name.lower(): light for name, light in others.lights.items()}
    if missing := [name for name in inventory.lamps if name.lower() not in lights]:
        await others.close()
        raise ParameterError(f"inventory {inventory.name}: {source} has no light {', '.join(missing)}")
    return {name: lights[name.lower()] for name in inventory.lamps}, others


def _options(given: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    if unknown := sorted(set(given) - set(defaults)):
        raise ParameterError(f"{where}: TART knows no {', '.join(unknown)}; allowed are {', '.join(defaults)}")
    return {**defaults, **given}


def password() -> str:
    """Of the telescope, from the environment; empty where there is none."""
    return next((os.environ[name] for name in VARIABLES if os.environ.get(name)), "")


class Line:
    """The telescope's API: one call after the other, in a thread of its own, so that none overtakes another."""

    def __init__(self, url: str) -> None:
        self.api = Telescope(url, timeout_s=ANSWER_S, backoff_s=BACKOFF_S)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tart")
        self._logged_in = False

    async def call(self, function: Callable[..., T], *args: Any, seconds: float = CALL_S) -> T:
        """What a blocking function returns. DeviceLost where no answer comes, DeviceRefused for an answer of no."""
        work = functools.partial(function, *args)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except TimeoutError:
            raise DeviceTimeout(f"{self.api.url}: no answer within {seconds:g} s") from None
        except ServerError as error:
            raise (DeviceRefused if error.status else DeviceLost)(str(error)) from None
        except RuntimeError as error:
            # The thread or the client has been closed.
            raise DeviceLost(f"{self.api.url}: {error}") from None

    async def log_in(self) -> None:
        """DeviceRefused where there is no password, or it is refused."""
        if self._logged_in:
            return
        word = password()
        if not word:
            raise DeviceRefused(f"{self.api.url}: its mode has to be changed: set {VARIABLES[0]} in the environment")
        if self.api.is_open_to_listeners:
            say("note: the password travels unencrypted (http)")
        await self.call(self.api.login, word)
        self._logged_in = True

    async def perhaps(self, function: Callable[..., T], *args: Any) -> T | None:
        """None for what this telescope does not have."""
        try:
            return await self.call(function, *args)
        except DeviceRefused:
            return None

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        self.api.close()


class Answering:
    """Forbids working while the telescope does not answer, or is at somebody else's raw data."""

    name = "telescope"

    def __init__(self, line: Line) -> None:
        self._line = line

    async def check(self) -> list[str]:
        await self._line.call(self._line.api.mode)
        return []


class TartDetector(FollowedDetector):
    """The array: visibilities or raw samples, as files."""

    def __init__(self, line: Line, inventory: Inventory, directory: Path, sources: FindSources) -> None:
        super().__init__()
        where = f"inventory {inventory.name}: detector.address"
        options = _options(inventory.detector.address, {"sampling_hz": SAMPLING_HZ}, where)
        self.cameras = tuple(inventory.detector.cameras)
        self.name = self.cameras[0]
        self.light_tight = False
        self.line, self.sources = line, sources
        self.sampling_hz = float(options["sampling_hz"])
        self._directory = directory
        self._before = ""
        """The mode to go back to; empty: it was not changed."""
        self._exponent_before: int | None = None
        self._telescope = ""

    async def prepare(self) -> None:
        """It answers, takes the password, and is at nobody else's raw data."""
        info = await self.line.call(self.line.api.info)
        self._telescope = str(info["info"].get("name", ""))
        if await self._mode() == "raw":
            raise DeviceBusy(
                f"{self.name}: is taking raw data for somebody else, or was left at it: set its mode to vis"
            )
        if password():
            await self.line.log_in()

    async def _mode(self) -> str:
        return await self.line.call(self.line.api.mode)

    async def _begin(self, spec: CaptureSpec) -> VisWork | RawWork:
        if spec.kind == "bias":
            raise DeviceRefused(f"{self.name}: a TART takes no bias: nothing in it is read without a sky")
        known = ("snapshot", *NOTES)
        if unknown := sorted(set(spec.options) - set(known)):
            raise DeviceRefused(f"{self.name}: no option {', '.join(unknown)}; there are {', '.join(known)}")
        mode, snapshot = await self._mode(), spec.options.get("snapshot", "vis")
        if snapshot not in SNAPSHOTS:
            raise DeviceRefused(f"{self.name}: snapshot {snapshot!r}: expected {' or '.join(SNAPSHOTS)}")
        if mode == "raw":
            raise DeviceBusy(f"{self.name}: is taking raw data for somebody else, or was left at it")
        return await (self._begin_vis(spec, mode) if snapshot == "vis" else self._begin_raw(spec, mode))

    async def _begin_vis(self, spec: CaptureSpec, mode: str) -> VisWork:
        api = self.line.api
        if mode not in SEEING:
            await self._change("vis", mode)
        exponent = await self.line.perhaps(api.samples_exponent, "vis")
        seconds = 2.0 ** (EXPONENTS[-1] if exponent is None else exponent) / self.sampling_hz
        seen = await self.line.call(api.visibilities)
        return VisWork(self, spec, seconds, str(seen.get("timestamp") or ""))

    async def _begin_raw(self, spec: CaptureSpec, mode: str) -> RawWork:
        api, exponent = self.line.api, self.exponent(spec.exposure_s)
        await self.line.log_in()
        old = {str(one.get("filename")) for one in await self.line.call(api.files, "raw")}
        before = await self.line.call(api.samples_exponent, "raw")
        if before != exponent:
            self._exponent_before = before
            await self.line.call(api.set_samples_exponent, "raw", exponent)
            if (is_at := await self.line.call(api.samples_exponent, "raw")) != exponent:
                raise DeviceRefused(f"{self.name}: 2^{exponent} samples were asked for, and 2^{is_at} are set")
        await self.line.call(api.set_saving, "raw", True)
        await self._change("raw", mode)
        return RawWork(self, spec, 2.0**exponent / self.sampling_hz, old)

    def exponent(self, seconds: float) -> int:
        """Of the shortest acquisition that lasts long enough. DeviceRefused where it would be too long."""
        found = max(EXPONENTS[0], math.ceil(math.log2(max(SHORT * seconds * self.sampling_hz, 1.0))))
        if found not in EXPONENTS:
            longest = 2.0 ** EXPONENTS[-1] / self.sampling_hz
            raise DeviceRefused(f"{self.name}: {seconds:g} s of raw data were asked for; at most {longest:.3f} s fit")
        return found

    async def _change(self, mode: str, before: str) -> None:
        await self.line.log_in()
        # Noted first: whatever it answers, the mode may have changed.
        self._before = before
        await self.line.call(self.line.api.set_mode, mode)
        if (is_at := await self._mode()) != mode:
            raise DeviceRefused(f"{self.name}: mode {mode} was asked for, and it is in {is_at}")

    async def _halt(self) -> None:
        """Put the telescope back as it was found, and see it there."""
        api, mode = self.line.api, await self._mode()
        if self._before:
            if mode != self._before:
                await self.line.call(api.set_mode, self._before)
            if (is_at := await self._mode()) != self._before:
                raise DeviceRefused(f"{self.name}: its mode is {is_at} and cannot be set back to {self._before}")
            self._before = ""
        if self._exponent_before is not None:
            await self.line.call(api.set_samples_exponent, "raw", self._exponent_before)
            self._exponent_before = None

    async def put_back(self) -> None:
        await self._halt()

    async def is_idle(self) -> bool:
        await self._mode()
        return not self.working and not self._before

    async def status(self) -> dict[str, Any]:
        return {"mode": await self._mode(), "timestamp": await self.line.call(self.line.api.timestamp)}

    def describe(self) -> dict[str, Any]:
        return {"driver": "tart", "server": self.line.api.url, "telescope": self._telescope}

    async def close(self) -> None:
        try:
            if self._before or self._exponent_before is not None:
                await self._halt()
        except DeviceError as error:
            say(f"ALARM: {self.name} could not be put back as it was found ({error}): set its mode to vis")
        self.line.close()

    def write(self, key: str, ending: str, content: bytes) -> Path:
        """A new file; a second try of the same frame has a name of its own."""
        names = (f"{key}-{self.name}{f'-try{attempt}' if attempt > 1 else ''}{ending}" for attempt in range(1, 1000))
        path = next(path for path in (self._directory / name for name in names) if not path.exists())
        write_new(path, content)
        return path


class VisWork:
    """Visibilities: integrations that begin after the exposure did."""

    def __init__(self, detector: TartDetector, spec: CaptureSpec, seconds: float, last: str) -> None:
        self._detector, self._spec, self._seconds, self._last = detector, spec, seconds, last
        self.wanted = max(1, math.ceil(SHORT * spec.exposure_s / seconds))
        self._begin = self._end = time.time()
        self._seen: list[dict[str, Any]] = []

    async def integrate(self) -> None:
        await self._next()
        self._begin = time.time()
        while len(self._seen) < self.wanted:
            self._seen.append(await self._next())
        self._end = time.time()
        await self._detector.put_back()

    async def _next(self) -> dict[str, Any]:
        """The next visibilities, when they are there."""
        api, loop = self._detector.line.api, asyncio.get_running_loop()
        patience = self._seconds + FRESH_S
        deadline = loop.time() + patience
        while True:
            seen = await self._detector.line.call(api.visibilities)
            stamp = str(seen.get("timestamp") or "")
            if seen["data"] and stamp and stamp != self._last:
                self._last = stamp
                return seen
            if loop.time() > deadline:
                what = f"still those of {self._last}" if seen["data"] else "none"
                raise DeviceTimeout(f"{self._detector.name}: no new visibilities within {patience:g} s, {what}")
            await asyncio.sleep(POLL_S)

    async def collect(self) -> list[Frame]:
        line, spec = self._detector.line, self._spec
        content = {
            "info": await line.call(line.api.info),
            "ant_pos": await line.call(line.api.positions),
            "gains": await line.call(line.api.gains),
        }
        data = []
        for seen in self._seen:
            sources, words = await line.call(self._detector.sources, str(seen["timestamp"]), content["info"])
            if words:
                say(f"note: {words}")
            data.append([seen, sources])
        about = {"key": spec.key, "kind": spec.kind, "object": spec.object, "begin": self._begin, "end": self._end}
        text = json.dumps({**content, "data": data, "frame": about}, indent=1, allow_nan=False)
        path = await asyncio.to_thread(self._detector.write, spec.key, ".json", f"{text}\n".encode())
        lasted = len(data) * self._seconds
        return [Frame(self._detector.name, self._begin, self._end, lasted, path=str(path))]


class RawWork:
    """One file of raw samples."""

    def __init__(self, detector: TartDetector, spec: CaptureSpec, seconds: float, old: set[str]) -> None:
        self._detector, self._spec, self._seconds, self._old = detector, spec, seconds, old
        self._begin = self._end = time.time()
        self._file: dict[str, Any] = {}

    async def integrate(self) -> None:
        """Until a new file is listed; then the mode is set back at once, for it goes on taking files."""
        api, loop = self._detector.line.api, asyncio.get_running_loop()
        deadline = loop.time() + self._seconds + FILE_S
        while not self._file:
            files = await self._detector.line.call(api.files, "raw")
            new = [one for one in files if str(one.get("filename")) not in self._old and one.get("checksum")]
            # The oldest of the new ones: it was begun first.
            self._file = min(new, key=lambda one: str(one.get("timestamp")), default={})
            if not self._file and loop.time() > deadline:
                raise DeviceTimeout(f"{self._detector.name}: no raw file within {self._seconds + FILE_S:g} s")
            if not self._file:
                await asyncio.sleep(POLL_S)
        self._end = time.time()
        await self._detector.put_back()

    async def collect(self) -> list[Frame]:
        line, name = self._detector.line, str(self._file["filename"])
        content = await line.call(line.api.download, name, DOWNLOAD_S, seconds=DOWNLOAD_S + CALL_S)
        found, wanted = hashlib.sha256(content).hexdigest(), str(self._file["checksum"]).lower()
        if found != wanted:
            raise DeviceRefused(
                f"{self._detector.name}: {name}: sha256 {found[:12]}..., the telescope says {wanted[:12]}..."
            )
        if not content.startswith(HDF5):
            raise DeviceRefused(f"{self._detector.name}: {name}: {len(content)} bytes, and no HDF5 file")
        path = await asyncio.to_thread(self._detector.write, self._spec.key, ".hdf", content)
        return [Frame(self._detector.name, self._begin, self._end, self._seconds, path=str(path))]
