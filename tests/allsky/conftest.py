"""A simulated telescope on loopback, of either generation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calibrant.allsky.api import Telescope
from calibrant.simulation.tart_api import GENERATIONS, FakeTelescope, serve

sys.path.insert(0, str(Path(__file__).parent))

import fabricated_array as made

PASSWORD = made.PASSWORD


@pytest.fixture(params=GENERATIONS)
def both(request: pytest.FixtureRequest) -> FakeTelescope:
    """A simulated telescope, once of each generation."""
    return FakeTelescope(made.content(), request.param, PASSWORD)


@pytest.fixture
def telescope() -> FakeTelescope:
    """A simulated telescope of the new generation."""
    return FakeTelescope(made.content(), "fastapi", PASSWORD)


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
