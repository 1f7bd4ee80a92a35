"""A stand-in for a Field System: takes SNAP commands from a program that injects them, and writes a log while ONOFF
"runs". What it writes is an ONOFF of the station simulator (or a recorded one), with the times of now.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from calibrant.acquire.fs_log import parse_stamp
from calibrant.station.simulate import Options, simulate_log

INJECT = """
import os, sys
folder = sys.argv[1]
if os.path.exists(os.path.join(folder, "down")):
    sys.exit("fs isn't running")
with open(os.path.join(folder, "commands"), "a") as file:
    file.write(sys.argv[-1] + "\\n")
"""
LEVEL = re.compile(r"#onoff#(ONSO|ONSC|OFFC|OFFS|ZERO) ")


def onoff_lines(log: Path) -> list[str]:
    """The lines of the first whole ONOFF of a log, without their stamps."""
    lines = log.read_text("latin-1").splitlines()
    first = next(number for number, line in enumerate(lines) if "#onoff#    De " in line or line.endswith(";onoff"))
    last = [number for number, line in enumerate(lines) if "#onoff#    source" in line and number > first][1]
    wanted = [line for line in lines[first : last + 1] if "#onoff#" in line or re.search(r"[;:]cal(on|off)nf$", line)]
    return [line[20:] for line in wanted]


@dataclass
class FakeFs:
    """`unit_s`: real seconds for a second of ONOFF."""

    folder: Path
    unit_s: float = 0.05
    repetitions: int = 2
    dies_at: str = ""
    """State at which ONOFF gives up with error nf -22."""
    deaf: bool = False
    """Takes commands and does nothing."""
    stubborn: bool = False
    """Does not switch the diode."""
    done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = self.folder / "station.log"
        self._stamp(";\"calibrant's tests")
        self.inject = [sys.executable, "-S", "-c", INJECT, str(self.folder)]
        self._template: dict[int, list[str]] = {}
        self._samples = 1
        self._library: dict[str, list[str]] = {}
        self._onoff: threading.Thread | None = None
        self._break, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._break.set()
        self._thread.join(5)
        if self._onoff is not None:
            self._onoff.join(5)

    def break_down(self) -> None:
        """No commands are taken any more, and the log is gone."""
        (self.folder / "down").touch()
        self.close()
        self.log.unlink()

    def type(self, command: str) -> None:
        """As an operator does."""
        self._do(command)

    def _serve(self) -> None:
        commands, seen = self.folder / "commands", 0
        while not self._end.wait(0.01):
            lines = commands.read_text().splitlines() if commands.exists() else []
            for command in lines[seen:]:
                self._do(command)
            seen = len(lines)

    def _do(self, command: str) -> None:
        self.done.append(command)
        if self.deaf:
            return
        if command.startswith("proc="):
            text = (self.folder / f"{command[5:]}.prc").read_text()
            found = re.findall(r"^define\s+(\S+)[^\n]*\n(.*?)^enddef", text, re.M | re.S)
            self._library = {name: body.splitlines() for name, body in found}
        elif command in self._library:
            self._stamp(f";{command}")
            for one in self._library[command]:
                self._do(one)
        elif command.startswith("onoff="):
            self.repetitions, self._samples = (int(word) for word in command[6:].split(",")[:2])
            self._stamp(f";{command}")
        elif command == "onoff":
            self._start()
        elif command.startswith("sy=run aquir"):
            self._aquir(Path(command.split()[2]))
        elif command == "sy=brk onoff &":
            self._break.set()
        elif command in ("calonnf", "caloffnf") and not self.stubborn:
            self._stamp(f";{command}")

    def _aquir(self, control: Path) -> None:
        lines = [line.split() for line in control.read_text().splitlines() if not line.startswith("*")]
        self._do(lines[0][0])
        self._do(lines[2][0])
        self._start()
        if self._onoff is not None:
            threading.Thread(target=lambda: (self._onoff.join(), self._do(lines[2][9])), daemon=True).start()

    def _start(self) -> None:
        if self._onoff is not None and self._onoff.is_alive():
            self._stamp("?ERROR nf   -3 ONOFF is already running.")
            return
        self._break.clear()
        self._onoff = threading.Thread(target=self._run, daemon=True)
        self._onoff.start()

    def _lines(self) -> list[str]:
        if self.repetitions not in self._template:
            made = self.folder / f"simulated-{self.repetitions}"
            options = Options(hours=0.2, interval_min=10.0, repetitions=self.repetitions, vlbi=False, fivpt=False,
                              detectors=1, integration=5)  # fmt: skip
            self._template[self.repetitions] = onoff_lines(Path(simulate_log(made, options).log))
        return self._template[self.repetitions]

    def _run(self) -> None:
        """The template's lines, one after the other. As in recorded logs, the diode is off at both ends."""
        lines, last = [*self._lines()], ""
        origin = next(number for number, line in enumerate(lines) if "#onoff#ORIG" in line)
        lines.insert(origin, ";caloffnf")
        result = next(number for number, line in enumerate(lines) if "#onoff#SIG" in line)
        lines.insert(result, ";caloffnf")
        for line in lines:
            match = LEVEL.match(line)
            state = match[1] if match else ""
            if state and state != last and state != "ZERO" and self._break.wait(self.unit_s * self._samples + 0.02):
                self._stamp("?ERROR nf   -1 Break in ONOFF.")
                return
            last = state or last
            if state and state == self.dies_at:
                self._stamp("?ERROR nf  -22 Antenna did not come on source within the time allowed.")
                return
            self._stamp(line)

    def _stamp(self, text: str) -> None:
        now = datetime.fromtimestamp(time.time(), UTC)
        with open(self.log, "a") as file:
            file.write(f"{now:%Y.%j.%H:%M:%S}.{now.microsecond // 10000:02d}{text}\n")


def replay(lines: list[str], log: Path, seconds: float) -> None:
    """Append the lines of a recorded log, as they are, within this time; diode and visits one after the other."""
    for line in lines:
        if parse_stamp(line) is not None and ("#onoff#ON" in line or "#onoff#OFF" in line):
            time.sleep(seconds / 20)
        with open(log, "a", encoding="latin-1") as file:
            file.write(line + "\n")
