"""Stand-ins for LVM's actors, on a real RabbitMQ by sdss-clu: they answer as lvmnps, archon, lvmtan, lvmpwi do.

    python clu_actors.py PORT FOLDER SPEED

FOLDER gets `lamps.json` (the truth about the lamps), `log.jsonl` (every command), `data/` (frames as LVM names them)
and `ready`. Light reaches the spectrographs while a lamp burns and the shutter is open. Everything takes its nominal
time divided by SPEED. `faults.json` there: [{id, actor, command, kind, times, amount}] with kind hang (no answer ever),
fail, schema (an answer outside the actor's own schema), garbage (no JSON), stuck (answers, does nothing),
slow (takes `amount` nominal seconds more), lost file (names a file less than it should).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np
from clu.actor import AMQPActor
from clu.parsers.click import CluGroup, get_schema, ping, version

LAMPS = ("Argon", "Neon", "LDLS", "Quartz", "HgNe", "Xenon")
SPECTROGRAPHS = ("sp1", "sp2")
TELESCOPES = ("sci", "spec", "skye", "skyw")
READOUT_S, SWITCH_S, MASK_S, SLEW_S = 5.0, 0.2, 2.0, 5.0
BIAS, NOISE, RATE = 1000.0, 3.0, 20.0
"""ADU; ADU a second of a burning lamp."""
SHAPE = (48, 64)


class Hall:
    """What the actors share: the lamps, the clock, the faults, the folder."""

    def __init__(self, folder: Path, speed: float) -> None:
        self.folder, self.speed = folder, speed
        self.on = dict.fromkeys(LAMPS, False)
        self.history: list[tuple[float, int]] = [(0.0, 0)]
        """(time, lamps that burn from then on)."""
        self.used: dict[str, int] = {}
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self.write()

    def write(self) -> None:
        path = self.folder / "lamps.json"
        path.with_suffix(".new").write_text(json.dumps(self.on))
        path.with_suffix(".new").replace(path)

    def switch(self, lamp: str, on: bool) -> None:
        self.on[lamp] = on
        self.history.append((time.time(), sum(self.on.values())))
        self.write()

    def lit_s(self, begin: float, end: float) -> float:
        """Nominal seconds of lamps between two moments."""
        times = [when for when, _ in self.history[1:]] + [float("inf")]
        parts = zip(self.history, times, strict=True)
        return self.speed * sum(max(0.0, min(end, until) - max(begin, when)) * n for (when, n), until in parts)

    def fault(self, actor: str, command: str, kinds: tuple[str, ...]) -> dict[str, Any] | None:
        path = self.folder / "faults.json"
        for fault in json.loads(path.read_text()) if path.exists() else []:
            if (fault["actor"], fault["command"]) == (actor, command) and fault["kind"] in kinds:
                self.used[fault["id"]] = self.used.get(fault["id"], 0) + 1
                if self.used[fault["id"]] <= fault["times"]:
                    return dict(fault)
        return None

    async def take(self, nominal_s: float) -> None:
        await asyncio.sleep(nominal_s / self.speed)


class StandIn(AMQPActor):
    """An actor that logs, and that can be made to misbehave."""

    def __init__(self, name: str, port: int, hall: Hall, schema: dict[str, Any]) -> None:
        super().__init__(name, host="127.0.0.1", port=port, version="stand-in")
        self.hall = hall
        self.load_schema({"type": "object", "properties": schema, "additionalProperties": False}, is_file=False)

    def parse_command(self, command: Any) -> Any:
        words = command.body.split()
        with (self.hall.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps([self.name, command.body]) + "\n")
        fault = self.hall.fault(self.name, words[0] if words else "", ("hang", "fail", "schema", "garbage", "slow"))
        kind = fault["kind"] if fault else ""
        if kind == "hang":
            command.set_status("RUNNING")
        elif kind == "fail":
            command.fail(error="the hardware says no")
        elif kind == "schema":
            command.set_status("RUNNING")
            # The end of the command is in a reply that its own schema refuses: it never comes.
            command.finish(nobody_knows_this_keyword=1)
        elif kind == "garbage":
            asyncio.get_running_loop().create_task(self.garbage(command))
        elif fault:
            asyncio.get_running_loop().create_task(self.later(command, fault["amount"]))
        else:
            return super().parse_command(command)
        return command

    async def later(self, command: Any, nominal_s: float) -> None:
        await self.hall.take(nominal_s)
        super().parse_command(command)

    async def garbage(self, command: Any) -> None:
        import aio_pika

        headers = {"message_code": ":", "command_id": command.command_id, "sender": self.name}
        headers["commander_id"] = command.commander_id
        message = aio_pika.Message(b"\xff{", headers=headers, correlation_id=command.command_id)
        await self.connection.exchange.publish(message, routing_key=f"reply.{command.commander_id}")


def group() -> CluGroup:
    @click.group(cls=CluGroup)
    def parser(*_: Any) -> None:
        """The commands of one actor."""

    for command in (ping, version, get_schema):
        parser.add_command(command)
    return parser  # type: ignore[return-value]


# ---- lvmnps

nps_parser = group()


class Switch(StandIn):
    """lvmnps.calib."""

    parser = nps_parser

    def outlet(self, name: str) -> dict[str, Any]:
        lamp = next((lamp for lamp in LAMPS if lamp.lower() == name.lower()), None)
        if lamp is None:
            raise KeyError(name)
        return {
            "name": lamp,
            "normalised_name": lamp.lower(),
            "id": LAMPS.index(lamp) + 1,
            "state": self.hall.on[lamp],
        }

    async def switch(self, command: Any, outlets: tuple[str, ...], on: bool, off_after: float | None = None) -> None:
        await self.hall.take(SWITCH_S)
        try:
            names = [self.outlet(name)["name"] for name in outlets]
        except KeyError as unknown:
            command.fail(error=f"Invalid outlet {unknown}.")
            return
        stuck = self.hall.fault(self.name, "on" if on else "off", ("stuck",))
        for name in [] if stuck else names:
            self.hall.switch(name, on)
            if timer := self.hall.timers.pop(name, None):
                timer.cancel()
            if off_after:
                loop, delay = asyncio.get_running_loop(), off_after / self.hall.speed
                self.hall.timers[name] = loop.call_later(delay, self.hall.switch, name, False)
        command.finish(outlets=[self.outlet(name) for name in names])


@nps_parser.command(name="status")
@click.argument("OUTLET", type=str, required=False)
async def nps_status(command: Any, outlet: str | None) -> None:
    actor = command.actor
    if outlet is not None:
        try:
            command.finish(outlet_info=actor.outlet(outlet))
        except KeyError:
            command.fail(error=f"Invalid outlet {outlet!r}.")
        return
    command.info(nps_type="netio")
    command.info(outlet_names=list(LAMPS))
    command.info(outlets=[actor.outlet(lamp) for lamp in LAMPS])
    command.finish()


@nps_parser.command(name="on")
@click.argument("OUTLETS", nargs=-1)
@click.option("--off-after", type=float)
async def nps_on(command: Any, outlets: tuple[str, ...], off_after: float | None) -> None:
    await command.actor.switch(command, outlets, True, off_after)


@nps_parser.command(name="off")
@click.argument("OUTLETS", nargs=-1)
async def nps_off(command: Any, outlets: tuple[str, ...]) -> None:
    await command.actor.switch(command, outlets, False)


@nps_parser.command(name="all-off")
async def nps_all_off(command: Any) -> None:
    await command.actor.switch(command, LAMPS, False)


# ---- lvmscp

scp_parser = group()


class Spectrograph(StandIn):
    """lvmscp.spN: three cameras behind one shutter."""

    parser = scp_parser

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.states = {"IDLE"}
        self.exposure: dict[str, Any] | None = None
        self.work: asyncio.Task[Any] | None = None

    async def do(self, command: Any, work: Any) -> None:
        """Run something that `abort` can end."""
        self.work = asyncio.ensure_future(work)
        try:
            await self.work
        except asyncio.CancelledError:
            command.fail(error="Exposure was aborted.")

    async def integrate(self, command: Any, seconds: float, flavour: str, seqno: int | None) -> None:
        number_file = self.hall.folder / "data" / "nextExposureNumber"
        number = seqno if seqno is not None else int(number_file.read_text() or 1)
        number_file.write_text(str(number + 1))
        self.states = {"EXPOSING"}
        begin, lamps = time.time(), dict(self.hall.on)
        await self.hall.take(seconds)
        self.exposure = {"seconds": seconds, "flavour": flavour, "number": number, "begin": begin, "end": time.time()}
        self.exposure["lamps"] = lamps
        self.states = {"IDLE", "READOUT_PENDING"}
        command.finish()

    async def read(self, command: Any, header: dict[str, Any]) -> None:
        if self.exposure is None:
            command.fail(error="No exposure data found.")
            return
        self.states = {"READING"}
        await self.hall.take(READOUT_S)
        self.states = {"FETCHING"}
        files = await asyncio.to_thread(self.write_files, header, self.exposure)
        self.exposure, self.states = None, {"IDLE"}
        if self.hall.fault(self.name, "read", ("lost file",)):
            files = files[1:]
        command.info(filenames=files)
        command.finish()

    def write_files(self, header: dict[str, Any], exposure: dict[str, Any]) -> list[str]:
        from astropy.io import fits

        folder = self.hall.folder / "data" / "61000"
        folder.mkdir(parents=True, exist_ok=True)
        shut = exposure["flavour"] in ("bias", "dark")
        lit = 0.0 if shut else self.hall.lit_s(exposure["begin"], exposure["end"])
        files = []
        for colour in "brz":
            camera = f"{colour}{self.name[-1]}"
            rng = np.random.default_rng([exposure["number"], ord(colour), int(self.name[-1])])
            data = rng.normal(BIAS, NOISE, SHAPE)
            data[:, ::4] += RATE * lit
            image = fits.PrimaryHDU(np.clip(data, 0, 65535).astype(np.uint16))
            image.header.update(header)
            image.header["EXPTIME"], image.header["IMAGETYP"] = exposure["seconds"], exposure["flavour"]
            image.header["EXPOSURE"], image.header["CCD"], image.header["SPEC"] = exposure["number"], camera, self.name
            for lamp, on in exposure["lamps"].items():
                image.header[lamp.upper()] = "ON" if on else "OFF"
            path = folder / f"sdR-s-{camera}-{exposure['number']:08d}.fits.gz"
            part = path.with_name(f".part-{path.name}")
            image.writeto(part, checksum=True)
            os.link(part, path)
            part.unlink()
            files.append(str(path))
        return files


@scp_parser.command(name="status")
@click.option("--simple", is_flag=True)
async def scp_status(command: Any, simple: bool) -> None:
    command.info(status={"controller": command.actor.name, "status": 1, "status_names": sorted(command.actor.states)})
    command.finish()


@scp_parser.command(name="reset")
async def scp_reset(command: Any) -> None:
    actor = command.actor
    if actor.work is not None:
        actor.work.cancel()
    actor.exposure, actor.states = None, {"IDLE"}
    command.finish()


@scp_parser.command(name="expose")
@click.argument("EXPOSURE-TIME", type=float, required=False)
@click.option("--bias", "flavour", flag_value="bias")
@click.option("--dark", "flavour", flag_value="dark")
@click.option("--flat", "flavour", flag_value="flat")
@click.option("--arc", "flavour", flag_value="arc")
@click.option("--object", "flavour", flag_value="object", default="object")
@click.option("--readout/--no-readout", " /-R", default=True)
@click.option("--window-mode", type=str)
@click.option("-s", "--seqno", type=int)
async def scp_expose(
    command: Any,
    exposure_time: float | None,
    flavour: str,
    readout: bool,
    window_mode: str | None,
    seqno: int | None,
) -> None:
    actor = command.actor
    if actor.states != {"IDLE"}:
        command.fail(error=f"Controller {actor.name} is {sorted(actor.states)}.")
    elif readout:
        command.fail(error="These stand-ins expose with --no-readout only.")
    else:
        await actor.do(command, actor.integrate(command, exposure_time or 0.0, flavour, seqno))


@scp_parser.command(name="read")
@click.option("--header", type=str, default="{}")
async def scp_read(command: Any, header: str) -> None:
    await command.actor.do(command, command.actor.read(command, json.loads(header)))


@scp_parser.command(name="abort")
@click.option("--flush", is_flag=True)
@click.option("--reset", is_flag=True)
async def scp_abort(command: Any, flush: bool, reset: bool) -> None:
    actor = command.actor
    if actor.work is None or actor.states == {"IDLE"}:
        command.fail(error="No exposure found.")
        return
    actor.work.cancel()
    await asyncio.sleep(0)
    if reset:
        actor.exposure, actor.states = None, {"IDLE"}
    command.finish()


@scp_parser.command(name="wait-until-idle")
@click.option("--allow-errored", is_flag=True)
async def scp_wait_until_idle(command: Any, allow_errored: bool) -> None:
    while command.actor.states != {"IDLE"}:
        await command.actor.hall.take(1.0)
    command.finish("All controllers are IDLE.")


# ---- lvmtan: the fibre selector

tan_parser = group()


class Mask(StandIn):
    """lvm.spec.fibsel."""

    parser = tan_parser
    step, moving = 0.0, False
    halt = asyncio.Event()

    async def move(self, command: Any, step: float) -> None:
        self.halt.clear()
        self.moving = True
        slow = self.hall.fault(self.name, "moveAbsolute", ("drift",))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout((MASK_S + (slow["amount"] if slow else 0.0)) / self.hall.speed):
                await self.halt.wait()
        self.moving = False
        if self.halt.is_set():
            self.step = (self.step + step) / 2
            command.fail(error="Motion was stopped.")
            return
        if not self.hall.fault(self.name, "moveAbsolute", ("stuck",)):
            self.step = step
        command.finish(Position=self.step)


@tan_parser.command(name="isReachable")
async def tan_reachable(command: Any) -> None:
    command.finish(Reachable=True)


@tan_parser.command(name="isMoving")
async def tan_moving(command: Any) -> None:
    command.finish(Moving=command.actor.moving)


@tan_parser.command(name="status")
async def tan_status(command: Any) -> None:
    actor = command.actor
    command.finish(Reachable=True, AtHome=actor.step == 0, Moving=actor.moving, Position=actor.step, Units="STEPS")


@tan_parser.command(name="moveAbsolute")
@click.argument("POSITION", type=float)
async def tan_move(command: Any, position: float) -> None:
    await command.actor.move(command, position)


@tan_parser.command(name="moveToHome")
async def tan_home(command: Any) -> None:
    await command.actor.move(command, 0.0)


@tan_parser.command(name="stop")
async def tan_stop(command: Any) -> None:
    command.actor.halt.set()
    command.finish()


# ---- lvmpwi: the telescopes

pwi_parser = group()


class Mount(StandIn):
    """lvm.TELESCOPE.pwi."""

    parser = pwi_parser

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.altitude, self.azimuth, self.enabled, self.slewing = -60.0, 90.0, False, False
        self.halt = asyncio.Event()


@pwi_parser.command(name="status")
async def pwi_status(command: Any) -> None:
    actor = command.actor
    command.finish(
        is_connected=True,
        is_enabled=actor.enabled,
        is_slewing=actor.slewing,
        altitude_degs=actor.altitude,
        azimuth_degs=actor.azimuth,
    )


@pwi_parser.command(name="setConnected")
@click.argument("ENABLE", type=bool)
async def pwi_connected(command: Any, enable: bool) -> None:
    command.finish(is_connected=enable)


@pwi_parser.command(name="setEnabled")
@click.argument("ENABLE", type=bool)
async def pwi_enabled(command: Any, enable: bool) -> None:
    command.actor.enabled = enable
    command.finish(is_enabled=enable)


@pwi_parser.command(name="findHome")
async def pwi_home(command: Any) -> None:
    command.finish()


@pwi_parser.command(name="gotoAltAzJ2000")
@click.argument("ALT_D", type=float)
@click.argument("AZ_D", type=float)
async def pwi_goto(command: Any, alt_d: float, az_d: float) -> None:
    actor = command.actor
    if not actor.enabled:
        command.fail(error="the axes are disabled")
        return
    actor.halt.clear()
    actor.slewing = True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SLEW_S / actor.hall.speed):
            await actor.halt.wait()
    actor.slewing = False
    if not actor.halt.is_set():
        actor.altitude, actor.azimuth = alt_d, az_d
    command.finish(altitude_degs=actor.altitude, azimuth_degs=actor.azimuth)


@pwi_parser.command(name="stop")
async def pwi_stop(command: Any) -> None:
    command.actor.halt.set()
    command.finish()


# ---- the enclosure, and the robot

status_parser = group()


class Teller(StandIn):
    """Answers `status` with what FOLDER/NAME.json says: lvmecp, lvm.overwatcher."""

    parser = status_parser


@status_parser.command(name="status")
async def tell(command: Any) -> None:
    path = command.actor.hall.folder / f"{command.actor.name}.json"
    default = {"lvmecp": {"dome_status_labels": "CLOSED,POSITION_UNKNOWN"}, "lvm.overwatcher": {"status": {}}}
    command.info(json.loads(path.read_text()) if path.exists() else default[command.actor.name])
    command.finish()


TEXT, NUMBER, FLAG, LIST, OBJECT = ({"type": kind} for kind in ("string", "number", "boolean", "array", "object"))
SWITCH = {"nps_type": TEXT, "outlet_names": LIST, "outlets": LIST, "outlet_info": OBJECT}
TAN = {"Reachable": FLAG, "AtHome": FLAG, "Moving": FLAG, "Position": NUMBER, "Units": TEXT}
PWI = {
    "is_connected": FLAG,
    "is_enabled": FLAG,
    "is_slewing": FLAG,
    "altitude_degs": NUMBER,
    "azimuth_degs": NUMBER,
}


async def main(port: int, folder: Path, speed: float) -> None:
    warnings.simplefilter("ignore")
    hall = Hall(folder, speed)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "nextExposureNumber").write_text("1")
    actors: list[Any] = [Switch("lvmnps.calib", port, hall, SWITCH), Mask("lvm.spec.fibsel", port, hall, TAN)]
    spectrograph = {"status": OBJECT, "filenames": LIST, "filename": TEXT}
    actors += [Spectrograph(f"lvmscp.{name}", port, hall, spectrograph) for name in SPECTROGRAPHS]
    actors += [Mount(f"lvm.{name}.pwi", port, hall, PWI) for name in TELESCOPES]
    actors += [Teller("lvmecp", port, hall, {"dome_status_labels": TEXT})]
    actors += [Teller("lvm.overwatcher", port, hall, {"status": OBJECT})]
    await asyncio.gather(*(actor.start() for actor in actors))
    (folder / "ready").touch()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
