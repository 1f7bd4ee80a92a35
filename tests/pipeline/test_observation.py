"""What the shape of an observation implies: spectral windows, edges, scan starts, correlations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from calibrant.errors import SelectionError
from calibrant.ms.index import MSIndex
from calibrant.pipeline.observation import Observed, observe
from calibrant.pipeline.roles import Roles

sys.path.insert(0, str(Path(__file__).parent))
from made import C286, Window, close_to, look

TARGET = close_to("TARGET")
ROLES = Roles(flux=[0], bandpass=[0], phase=[0], target=[1])


def index_of(tmp_path: Path, **more: Any) -> MSIndex:
    return look(tmp_path / "a.ms", (C286, TARGET), ((0, 2), (1, 2)), **more)


def seen(tmp_path: Path, **more: Any) -> Observed:
    return observe(index_of(tmp_path, **more), ROLES)


def test_radiometers_and_channel_averages_are_left_out(tmp_path: Path) -> None:
    """ALMA: the water vapour radiometers, a band, its channel average, a square-law detector."""
    windows = (Window(4, 184e9, 1e9), Window(128, 100e9, 1e7), Window(1, 100e9, 1e9), Window(1, 100e9, 2e9))
    names = ("WVR#NOMINAL", "ALMA_RB_03#BB_1#SW-01#FULL_RES", "ALMA_RB_03#BB_1#SW-01#CH_AVG", "BB_1#SQLD")
    got = seen(tmp_path, windows=windows, names=names)
    assert (got.spws, got.spw, got.inner) == ([1], "1", "1:13~114")
    assert got.edges == {1: 4}


def test_one_channel_windows_are_left_out_beside_wider_ones_only(tmp_path: Path) -> None:
    windows = (Window(32, 1.4e9, 1e6), Window(1, 1.5e9, 1e6))
    assert seen(tmp_path, windows=windows, names=("A", "B")).spws == [0]


def test_continuum_of_one_channel_is_calibrated(tmp_path: Path) -> None:
    got = seen(tmp_path, windows=(Window(1, 1.4e9, 5e7), Window(1, 1.5e9, 5e7)))
    assert (got.spws, got.spw, got.inner, got.edges) == ([0, 1], "0,1", "0,1", {0: 0, 1: 0})


def test_narrow_bands_have_no_edges(tmp_path: Path) -> None:
    got = seen(tmp_path, windows=(Window(15), Window(16)))
    assert got.edges == {0: 0, 1: 1} and got.inner == "0,1:2~13"


@pytest.mark.parametrize(("step", "quack"), [(6.0, 5.4), (14.0, 12.6), (30.0, 0.0)])
def test_scan_starts_are_spoilt_where_integrations_are_shorter_than_settling(
    tmp_path: Path, step: float, quack: float
) -> None:
    got = seen(tmp_path, step=step)
    assert got.integration == step
    assert got.quack == pytest.approx(quack)


def test_hands_by_receptor(tmp_path: Path) -> None:
    got = seen(tmp_path, windows=(Window(2, corr="XX YY"), Window(2, corr="YY"), Window(2, corr="XX XY YX YY")))
    assert got.hands == {0: ["XX", "YY"], 1: ["", "YY"], 2: ["XX", "YY"]}


def test_telescope_and_date(tmp_path: Path) -> None:
    got = seen(tmp_path)
    assert (got.telescope, got.when) == ("VLA", "2024-08-15 05:00:00 UTC")


def test_nothing_to_calibrate_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match="no spectral window with data"):
        seen(tmp_path, windows=(Window(4, 184e9, 1e9),), names=("WVR#NOMINAL",))
