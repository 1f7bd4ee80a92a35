"""Fixtures shared by all tests: where real data lie, and unpacked copies of them."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and oracles; tests that need it skip where it is absent."""
    path = Path(os.environ.get("CALIBRANT_SHARED", REPOSITORY.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no real data: {path.name}/ is not beside the repository (or set CALIBRANT_SHARED)")
    return path


@pytest.fixture(scope="session")
def unpack(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """unpack("oracle/tiny_casa.tar.xz") -> folder with the archive's content, unpacked once a session.

    Treat it as read-only: copy what a test changes (`fresh`)."""
    done: dict[str, Path] = {}

    def unpack(name: str) -> Path:
        if name not in done:
            archive = shared / name
            if not archive.exists():
                pytest.skip(f"no real data: shared/{name} is absent")
            folder = tmp_path_factory.mktemp(Path(name).name.split(".")[0])
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            done[name] = folder
        return done[name]

    return unpack


@pytest.fixture(scope="session")
def oracle(unpack: Callable[[str], Path]) -> Path:
    """Folder with tiny.ms, tiny.ms.truth.npz and out/ (CASA's answers)."""
    return unpack("oracle/tiny_casa.tar.xz")


@pytest.fixture
def tiny_ms(oracle: Path, tmp_path: Path) -> Path:
    """A private copy of the oracle's MeasurementSet (with its flag versions)."""
    for name in ("tiny.ms", "tiny.ms.flagversions"):
        if (oracle / name).exists():
            shutil.copytree(oracle / name, tmp_path / name)
    return tmp_path / "tiny.ms"


@pytest.fixture(scope="session")
def casa_python() -> str:
    """The Python of a live CASA; tests that need it skip where CALIBRANT_CASA_PYTHON is not set."""
    path = os.environ.get("CALIBRANT_CASA_PYTHON", "")
    if not path:
        pytest.skip("no live CASA: set CALIBRANT_CASA_PYTHON to a Python that has casatasks")
    return path
