"""Makes `build` importable and gives the live CASA a script to run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def casa(casa_python: str) -> Callable[[str, Path], str]:
    """casa("statements", folder) runs Python with casatasks in the folder and returns its output."""

    def run(script: str, folder: Path) -> str:
        done = subprocess.run([casa_python, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"CASA failed: {done.stdout[-1000:]}{done.stderr[-2000:]}")
        return done.stdout

    return run
