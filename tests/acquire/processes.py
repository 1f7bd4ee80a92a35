"""Runs in processes of their own, to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from calibrant.acquire.drivers.sim_world import SharedState

SCRIPT = """
import json, sys
from calibrant.acquire.verbs.run import run
from calibrant.acquire.verbs.resume import resume
verb, options = sys.argv[1], json.loads(sys.argv[2])
report = {"run": run, "resume": resume}[verb](**options)
print(json.dumps(report.to_dict()))
sys.exit(report.exit_code)
"""
SEQUENCE = """
biases: {count: 1}
lamps: {Argon: {warmup: 1, exposure_time: [40, 2]}}
"""


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "CALIBRANT_STATE": str(tmp_path / "state")}


def start(tmp_path: Path, verb: str = "run", **options: Any) -> subprocess.Popen[str]:
    """A run of the small sequence in `tmp_path/run`, in a process (and process group) of its own."""
    import json

    file = tmp_path / "small.yaml"
    file.write_text(SEQUENCE)
    if verb == "run":
        options = {"sequence": str(file), "inventory": "sim", "speed": 2.0, **options}
    options.setdefault("output", str(tmp_path / "run"))
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, verb, json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
        start_new_session=True,
    )


def lit(directory: Path) -> list[str]:
    """Lamps of the simulated hardware that burn, read from its state file."""
    state = SharedState(directory / "simulated.json")
    return [name for name in state.read()["lamps"] if state.level(name, time.time()) > 0]


def until(what: Any, seconds: float = 20.0) -> bool:
    """Wait until `what()` holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return False


def exposing(directory: Path, key: str) -> bool:
    """The run has begun to integrate this frame."""
    journal = directory / "journal.jsonl"
    return (
        journal.exists()
        and '"kind": "exposure", ' in journal.read_text()
        and f'"key": "{key}", "begin"' in (journal.read_text())
    )
