"""Points are chosen by what people say of them: sources, detectors, ranges, times of day."""

from __future__ import annotations

import numpy as np
import pytest
from fabricated_points import START, points

from calibrant.errors import ParameterError, SelectionError
from calibrant.station.points import Points
from calibrant.station.select import moment, select


@pytest.fixture
def table() -> Points:
    """12 scans of 4 detectors from 16:00 UTC; casa and cygnusa in turn, the last source a pointing one."""
    made = points()
    made.columns["scan_number"] = made["scan"] + 1
    made.columns["source"] = np.where(made["scan"] == 11, "3c84", made["source"])
    made.columns["type"] = np.where(made["source"] == "3c84", "p", "c")
    return made


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        ({"source": "casa"}, 24),
        ({"source": "CASA,cygnusa"}, 44),
        ({"source": "c*"}, 44),
        ({"source": "!casa"}, 24),
        ({"source": "all"}, 48),
        ({"source": "calibrators"}, 44),
        ({"source": "pointing"}, 4),
        ({"source": "!pointing"}, 44),
        ({"source": "calibrators,3c84"}, 48),
        ({"detector": "1u,3*"}, 24),
        ({"pol": "l", "freq": "8210"}, 12),
        ({"freq": "8205~8215"}, 24),
        ({"freq": "8210.01"}, 24),
        ({"freq": ">8300"}, 24),
        ({"lo": "8080"}, 48),
        ({"scan": "1,3~5"}, 16),
        ({"elevation": "<15"}, 4),
        ({"where": "elevation 12~13"}, 4),
        ({"where": "elevation>12,sefd_jy>0"}, 48),
        ({"source": "casa", "detector": "1u", "scan": "1"}, 1),
    ],
)
def test_selection(table: Points, chosen: dict[str, str], count: int) -> None:
    assert select(table, **chosen).sum() == count


@pytest.mark.parametrize(
    ("text", "scans"),
    [
        ("16:00~16:31", {0, 1, 2}),
        ("16:15", {1}),
        ("16:15:00", {1}),
        ("16:15:01", set()),
        (">18:30", {10, 11}),
        ("<16:10", {0}),
        ("18:20~16:05", {0, 10, 11}),
        ("2016.067.16:00:00~2016.067.16:15:00", {0, 1}),
        ("2016-03-07T16:15", {1}),
        ("2016.067", set(range(12))),
        ("2016.068", set()),
        (">2016-03-07T18:44:00Z", {11}),
    ],
)
def test_times(table: Points, text: str, scans: set[int]) -> None:
    assert START == 1457366400.0  # 2016-03-07T16:00:00
    assert set(table["scan"][select(table, time=text)].tolist()) == scans


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"source": "casb"}, "Did you mean 'casa'"),
        ({"detector": "9u"}, "known: 1u, 2u"),
        ({"freq": "82x"}, "found '82x', expected a number"),
        ({"time": "noon"}, "expected hh:mm"),
        ({"time": "16:00~2016.067.17:00"}, "a date at one end only"),
        ({"time": "2016.068~2016.067"}, "ends before it begins"),
        ({"where": "elevation"}, "expected a quantity and a range"),
        ({"scan": "casb:2"}, "Did you mean 'casa'"),
        ({"scan": "casa:x"}, "found 'x', expected a number"),
    ],
)
def test_what_cannot_be_read_is_explained(table: Points, chosen: dict[str, str], words: str) -> None:
    with pytest.raises(SelectionError, match=words):
        select(table, **chosen)


def test_unknown_quantity_names_the_nearest(table: Points) -> None:
    with pytest.raises(ParameterError, match="elevation"):
        select(table, where="elevatoin>3")


def test_a_moment_keeps_its_zone() -> None:
    assert moment("2026-11-21T18:00")[0] == moment("2026.325.18:00")[0] == moment("2026-11-21T19:00+01:00")[0]
    assert moment("18:30Z") == (66600.0, 60.0, False)
    with pytest.raises(SelectionError, match="start='x': found 'x'"):
        moment("x", "start='x'")


@pytest.mark.parametrize(
    ("text", "scans"),
    [
        ("3,5~6", {2, 4, 5}), ("casa", {0, 2, 4, 6, 8, 10}), ("casa:2", {2}), ("CygnusA:1~2,12", {1, 3, 11}),
        ("casa:>5", {8, 10}), ("casa:9", set()),
    ],
)  # fmt: skip
def test_scans_of_a_source(table: Points, text: str, scans: set[int]) -> None:
    assert set(table["scan"][select(table, scan=text)].tolist()) == scans
