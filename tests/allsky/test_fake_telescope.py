"""The simulated telescope as one command, for somebody without a telescope."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import fabricated_array as made
import pytest

from calibrant.allsky.api import Telescope
from calibrant.simulation.tart_api import main

pytestmark = pytest.mark.server


@pytest.mark.parametrize("generation", ["fastapi", "flask"])
def test_it_serves_a_file_until_interrupted(tmp_path: Path, generation: str) -> None:
    (tmp_path / "sim.json").write_text(json.dumps(made.content()))
    call = [sys.executable, "-m", "calibrant.simulation.tart_api", "sim.json", "--generation", generation]
    environment = {**os.environ, "CALIBRANT_TART_PASSWORD": made.PASSWORD}
    with subprocess.Popen(
        call, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        words = "".join(server.stdout.readline() for _ in range(3))
        found = re.search(r"http://127\.0\.0\.1:\d+", words)
        assert found, words
        assert f"collect --api {found[0]} --catalog {found[0]}/catalog" in words
        with Telescope(found[0]) as api:
            assert api.positions() == made.POSITIONS
            api.login(made.PASSWORD)
            api.upload_gains([2.0] * 6, [0.5] * 6)
            assert api.gains()["gain"] == [2.0] * 6
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=20)
    assert server.returncode == 0 and errors == ""
    assert made.PASSWORD not in words


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), ("", "is no JSON"), ("{}", "expected an object with info")]
)
def test_a_file_that_cannot_be_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: str
) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    assert main([str(path)]) == 1
    assert words in capsys.readouterr().err
