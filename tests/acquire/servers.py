"""Real servers for tests: each on a free port of 127.0.0.1, stopped by its process id, gone with the test run.

`unshare -rn` puts a server that would listen on all addresses (indiserver does) into a network of its own; where
that is not allowed, it listens on a free port of all addresses for as long as the test lasts.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

LOOPBACK = Path(__file__).parent / "loopback.py"
SIMULATORS = ("ccd", "lightpanel", "wheel", "telescope", "receiver")
ARC_LAMP = "Arc Lamp Simulator"


def free_port() -> int:
    with socket.socket() as handle:
        handle.bind(("127.0.0.1", 0))
        return int(handle.getsockname()[1])


@cache
def private_network() -> tuple[str, ...]:
    """The command that gives a server a network of its own; empty where the system does not allow that."""
    command = ("unshare", "-rn")
    try:
        done = subprocess.run([*command, "true"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return command if done.returncode == 0 else ()


@dataclass
class Server:
    """A server that runs."""

    port: int
    pid: int
    log: Path
    host: str = "127.0.0.1"
    _starter: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def alive(self) -> bool:
        return self._starter is not None and self._starter.poll() is None

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """As if the server had crashed; returns when it is gone."""
        self.signal(signal.SIGKILL)
        if self._starter is not None:
            self._starter.wait(10)

    def children(self) -> dict[str, int]:
        """Program -> process id of what the server has started (drivers)."""
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, IndexError, ValueError):
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == self.pid:
                    name = (folder / "cmdline").read_bytes().split(b"\0")[0].decode()
                    found[Path(name).name] = int(folder.name)
        return found


@contextlib.contextmanager
def serve(command: list[str], inner_port: int, log: Path, environment: dict[str, str]) -> Iterator[Server]:
    """Start a server that listens on `inner_port`; it is reached on the port that is yielded."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(20)
        port = listener.getsockname()[1]
        with log.open("w") as output:
            starter = subprocess.Popen(
                [*private_network(), sys.executable, str(LOOPBACK), str(listener.fileno()), str(inner_port), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                pass_fds=[listener.fileno()],
                env=os.environ | environment,
            )
    try:
        line = starter.stdout.readline() if starter.stdout else ""
        if not line:
            raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-2000:]}")
        yield Server(port, int(line), log, _starter=starter)
    finally:
        for pipe in (starter.stdin, starter.stdout):
            if pipe is not None:
                pipe.close()
        try:
            starter.wait(10)
        except subprocess.TimeoutExpired:
            starter.kill()
            starter.wait()


@contextlib.contextmanager
def indiserver(folder: Path, simulators: tuple[str, ...] = SIMULATORS) -> Iterator[Server]:
    """INDI's simulators, and a second light panel with the name ARC_LAMP. Skips by name where they are absent."""
    programs = ["indiserver", *(f"indi_simulator_{name}" for name in simulators)]
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)} (Debian: indi-bin)")
    folder.mkdir(parents=True, exist_ok=True)
    arc = folder / "arc_lamp"
    arc.write_text(f'#!/bin/sh\nINDIDEV="{ARC_LAMP}" exec indi_simulator_lightpanel\n')
    arc.chmod(0o755)
    port = 7624 if private_network() else free_port()
    command = [programs[0], "-p", str(port), "-u", str(folder / "socket"), "-r", "3", *programs[1:], str(arc)]
    with serve(command, port, folder / "indiserver.log", {"HOME": str(folder)}) as server:
        yield server


class IndiServers:
    """One server for many tests, started again when a test has killed it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._server: Server | None = None
        self._count = 0

    def get(self) -> Server:
        if self._server is None or not self._server.alive:
            self.stop()
            self._count += 1
            self._server = self._stack.enter_context(indiserver(self._folder / str(self._count)))
        return self._server

    def stop(self) -> None:
        self._stack.close()
        self._server = None


@pytest.fixture(scope="session")
def indi_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndiServers]:
    servers = IndiServers(tmp_path_factory.mktemp("indi"))
    yield servers
    servers.stop()


def wait_until(condition: object, seconds: float, what: str) -> None:
    """Wait (blocking) until `condition()` is true; fails with `what` otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)


# RabbitMQ, and actors of SDSS that are not there.

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The wrapper in /usr/sbin changes the user, and starts a broker even when it is asked for its version."""
CLU_ACTORS = Path(__file__).parent / "clu_actors.py"


@dataclass
class Broker:
    """A RabbitMQ server on a port of 127.0.0.1."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """As if it had crashed."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def rabbitmq(folder: Path) -> Iterator[Broker]:
    """RabbitMQ and the port mapper of Erlang that it needs, both on 127.0.0.1 only. Skips by name where absent."""
    epmd = shutil.which("epmd")
    if not RABBITMQ.exists() or epmd is None:
        pytest.skip("not installed: rabbitmq-server (Debian: rabbitmq-server)")
    folder.mkdir(parents=True, exist_ok=True)
    port, epmd_port, distribution_port = free_port(), free_port(), free_port()
    (folder / "plugins").write_text("[].\n")
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
    environment = os.environ | {
        "HOME": str(folder),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ALLOW_INPUT": "1",  # the shell becomes the server: one process, whose id we have
        "RABBITMQ_SERVER_START_ARGS": "-noshell -kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    with contextlib.ExitStack() as stack, (folder / "output").open("w") as output:
        for command in ([epmd], [str(RABBITMQ)]):
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder
            )
            stack.callback(_end, process)
        wait_until(lambda: process.poll() is not None or _talks_amqp(port), 60, "starting RabbitMQ")
        if process.poll() is not None:
            raise RuntimeError(f"RabbitMQ did not start: {(folder / 'output').read_text()[-2000:]}")
        yield Broker(port, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _talks_amqp(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.settimeout(2)
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return bool(connection.recv(1))
    return False


@dataclass
class Actors:
    """Stand-in actors in a process of their own. `folder` holds lamps.json, faults.json, log.jsonl and data/."""

    port: int
    folder: Path
    speed: float
    process: subprocess.Popen[bytes]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def lamps(self) -> dict[str, bool]:
        """The truth about every lamp."""
        return dict(json.loads((self.folder / "lamps.json").read_text()))

    def fault(self, actor: str, command: str, kind: str, times: int = 1, amount: float = 0.0) -> None:
        """One more fault, for the next `times` commands of that kind."""
        path = self.folder / "faults.json"
        faults = json.loads(path.read_text()) if path.exists() else []
        name = f"{time.monotonic_ns()}"
        faults.append({"id": name, "actor": actor, "command": command, "kind": kind, "times": times, "amount": amount})
        path.with_suffix(".new").write_text(json.dumps(faults))
        path.with_suffix(".new").replace(path)

    def log(self) -> list[list[str]]:
        """Actor and words of every command so far."""
        path = self.folder / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def inventory(self) -> Path:
        """A file: LVM's inventory, with two spectrographs, on this broker."""
        import yaml

        from calibrant.acquire.inventory import FOLDER

        given = yaml.safe_load((FOLDER / "lvm.yaml").read_text())
        given["address"] |= {"host": "127.0.0.1", "port": self.port, "simulated": True}
        given["interlocks"] = {"dome": {"actor": "lvmecp", "key": "dome_status_labels", "has": ["CLOSED"]}}
        given["detector"] |= {
            "cameras": ["b1", "r1", "z1", "b2", "r2", "z2"],
            "shape": [48, 64],
            "bytes_per_frame": 6144,
            "bias_level": 1000.0,
            "readout_s": 5,
            "address": {
                "actors": ["lvmscp.sp1", "lvmscp.sp2"],
                "exposure_number": str(self.data / "nextExposureNumber"),
            },
        }
        path = self.folder / "inventory.yaml"
        path.write_text(yaml.safe_dump(given))
        return path

    def say(self, actor: str, **status: Any) -> None:
        """What lvmecp or lvm.overwatcher answers from now on."""
        (self.folder / f"{actor}.json").write_text(json.dumps(status))

    def mend(self) -> None:
        """No more faults, and what is said is what is said by default."""
        for actor in ("lvmecp", "lvm.overwatcher"):
            (self.folder / f"{actor}.json").unlink(missing_ok=True)
        (self.folder / "faults.json").unlink(missing_ok=True)


@contextlib.contextmanager
def clu_actors(port: int, folder: Path, speed: float) -> Iterator[Actors]:
    """The actors of an observatory on a broker; names, commands and answers are those of LVM."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(CLU_ACTORS), str(port), str(folder), str(speed)]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until(lambda: (folder / "ready").exists() or process.poll() is not None, 30, "starting the actors")
        if process.poll() is not None:
            raise RuntimeError(f"the actors did not start: {(folder / 'output').read_text()[-2000:]}")
        yield Actors(port, folder, speed, process)
    finally:
        _end(process)


class CluWorld:
    """One broker and one set of actors for many tests, started again when a test has killed them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._brokers, self._stages = contextlib.ExitStack(), contextlib.ExitStack()
        self._broker: Broker | None = None
        self._actors: Actors | None = None
        self._count = 0

    def broker(self) -> Broker:
        if self._broker is None or not self._broker.alive:
            self.stop()
            self._broker = self._brokers.enter_context(rabbitmq(self._new_folder("rabbitmq")))
        return self._broker

    def actors(self, speed: float = 100.0) -> Actors:
        """Actors that run so fast, on a broker that lives, without faults."""
        broker = self.broker()
        if self._actors is None or not self._actors.alive or self._actors.speed != speed:
            self._stages.close()
            self._actors = self._stages.enter_context(clu_actors(broker.port, self._new_folder("actors"), speed))
        self._actors.mend()
        return self._actors

    def stop(self) -> None:
        self._stages.close()
        self._brokers.close()
        self._broker = self._actors = None

    def _new_folder(self, name: str) -> Path:
        self._count += 1
        return self._folder / f"{name}{self._count}"


@pytest.fixture(scope="session")
def clu_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CluWorld]:
    world = CluWorld(tmp_path_factory.mktemp("clu"))
    yield world
    world.stop()
