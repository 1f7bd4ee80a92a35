"""Where one command spends its time: python benchmarks/phases.py gaincal OBS.ms OUT.gcal --refant A000 ...

Runs the command in this process and prints one JSON object: CPU and wall seconds of each phase, CPU counted in the
thread that did the work. Phases that run in several threads can have more wall than the whole command.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

WRAPPED = {
    "read": ["ms.reader:ChunkReader.read"],
    "sums": ["solve.reduce:Sums.reduce", "solve.reduce:Sums.add"],
    "solve": ["solve.antenna:solve_gains"],
    "correct": ["tasks.applycal:Application._apply"],
    "write columns": ["ms.writer:MSWriter.put", "ms.writer:MSWriter._finish"],
    "write table": ["caltable.casa:write"],
}
"""Phase -> functions whose time it is; none of them calls one of another phase."""


class Clock:
    """Sums CPU and wall seconds of each phase, over all threads."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def timed(self, phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            cpu, wall = time.thread_time(), time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
                with self._lock:
                    self.cpu[phase] += cpu
                    self.wall[phase] += wall

        return wrapper

    def wrap(self, phase: str, target: str) -> None:
        module, _, path = target.partition(":")
        holder: Any = importlib.import_module(f"calibrant.{module}")
        *owners, name = path.split(".")
        for owner in owners:
            holder = getattr(holder, owner)
        setattr(holder, name, self.timed(phase, getattr(holder, name)))


def main() -> int:
    clock = Clock()
    clock.cpu["interpreter"] = clock.wall["interpreter"] = time.process_time()
    load = importlib.import_module
    imports = {"numpy": ["numpy"], "casacore": ["casacore.tables"], "command line": ["calibrant.cli.main"]}
    imports["kernels"] = ["calibrant.solve.kernels"]
    if sys.argv[1] != "applycal":
        imports["kernels"].append("calibrant.solve.antenna")
    for phase, modules in imports.items():
        for module in modules:
            clock.timed(f"import {phase}", load)(module)
    applies = sys.argv[1] == "applycal"
    for phase, targets in WRAPPED.items():
        if phase in (("sums", "solve") if applies else ("correct",)):
            continue  # wrapping imports the module
        for target in targets:
            clock.wrap(phase, target)
    from calibrant.cli.main import main as command

    cpu, wall, known = time.process_time(), time.perf_counter(), dict(clock.cpu)
    code = command(sys.argv[1:])
    inside = sum(clock.cpu.values()) - sum(known.values())
    clock.cpu["rest"] = time.process_time() - cpu - inside
    clock.wall["whole command"] = time.perf_counter() - wall + sum(clock.wall[name] for name in known)
    clock.cpu["whole command"] = time.process_time()
    print(json.dumps({"cpu": clock.cpu, "wall": clock.wall}))
    return code


if __name__ == "__main__":
    sys.exit(main())
