"""A simulated telescope on loopback, of either generation."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from calibrant.allsky.api import Telescope
from calibrant.simulation.tart_api import GENERATIONS, FakeTelescope, serve

PASSWORD = "correct horse"


def _fabricated() -> ModuleType:
    """tests/allsky/fabricated.py, which importlib mode does not find by name."""
    spec = importlib.util.spec_from_file_location("allsky_fabricated", Path(__file__).with_name("fabricated.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def array() -> ModuleType:
    """The fabricated array: content(), gains_file(), turned(), POSITIONS, SOURCES, TIMES."""
    return _fabricated()


@pytest.fixture(params=GENERATIONS)
def both(request: pytest.FixtureRequest, array: ModuleType) -> FakeTelescope:
    """A simulated telescope, once of each generation."""
    return FakeTelescope(array.content(), request.param, PASSWORD)


@pytest.fixture
def telescope(array: ModuleType) -> FakeTelescope:
    """A simulated telescope of the new generation."""
    return FakeTelescope(array.content(), "fastapi", PASSWORD)


@pytest.fixture
def url(telescope: FakeTelescope) -> Iterator[str]:
    """Where `telescope` answers."""
    with serve(telescope) as address:
        yield address


@pytest.fixture
def api(url: str) -> Iterator[Telescope]:
    """A client of `telescope` that waits briefly between repetitions."""
    with Telescope(url, timeout_s=5.0, backoff_s=(0.01, 0.01)) as client:
        yield client


@pytest.fixture
def both_api(both: FakeTelescope) -> Iterator[Telescope]:
    """A client of `both`."""
    with serve(both) as address, Telescope(address, timeout_s=5.0, backoff_s=(0.01, 0.01)) as client:
        yield client
