"""Running the command in this process, and looking at what it left alone."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from calibrant.cli.main import main

Command = Callable[..., tuple[int, dict[str, Any]]]
State = dict[str, tuple[int, int, bytes]]


@pytest.fixture(scope="session")
def command() -> Command:
    """command("calibrate", ...) -> exit code, and the JSON it printed ({} if none)."""

    def command(*words: str) -> tuple[int, dict[str, Any]]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = main([*words, "--json"])
        return code, json.loads(out.getvalue() or "{}")

    return command


@pytest.fixture(scope="session")
def state() -> Callable[[Path], State]:
    """state(folder) -> every file under it with size, time of change and content."""

    def state(folder: Path) -> State:
        found = {}
        for path in sorted(folder.rglob("*")):
            about = path.stat()
            content = path.read_bytes() if path.is_file() and about.st_size < 1 << 20 else b""
            found[str(path)] = (about.st_size, about.st_mtime_ns, content)
        return found

    return state


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What survives a power failure is not tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield
