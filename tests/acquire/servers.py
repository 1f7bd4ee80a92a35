"""Real servers for tests: each on a free port of 127.0.0.1, stopped by its process id, gone with the test run.

`unshare -rn` puts a server that would listen on all addresses (indiserver does) into a network of its own; where
that is not allowed, it listens on a free port of all addresses for as long as the test lasts.
"""

from __future__ import annotations

import contextlib
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
        """As if the server had crashed."""
        self.signal(signal.SIGKILL)

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
