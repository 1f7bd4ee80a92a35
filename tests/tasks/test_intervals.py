"""Solution intervals against the rules of the reference (casa.md 4.5)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from calibrant.errors import ParameterError
from calibrant.ms.index import MSIndex, open_index
from calibrant.tasks.intervals import Cells, Solint, parse_combine, parse_solint, plan_cells
from planted import Plan, Planted, Window, edit, plant


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int", Solint(0.0)),
        ("inf", Solint(np.inf)),
        ("", Solint(np.inf)),
        ("infinite", Solint(np.inf)),
        ("30s", Solint(30.0)),
        ("30", Solint(30.0)),
        ("2min", Solint(120.0)),
        ("1.5h", Solint(5400.0)),
        ("1e2s", Solint(100.0)),
        ("1d", Solint(86400.0)),
        ("inf,8ch", Solint(np.inf, nchan=8)),
        ("60s, 4MHz", Solint(60.0, hertz=4e6)),
        ("inf,0.5GHz", Solint(np.inf, hertz=5e8)),
    ],
)
def test_solint(text: str, expected: Solint) -> None:
    assert parse_solint(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1m", "use 'min'"),
        *((text, "is not a time") for text in ("5x", "0s", "-3s", "1.2.3s")),
        *((text, "no channel width") for text in ("int,0ch", "inf,8", "inf,0.5ch", "inf,1.2.3MHz")),
        ("inf,8ch,2", "at most one comma"),
    ],
)
def test_solint_that_means_nothing(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parse_solint(text)


def test_combine() -> None:
    assert parse_combine("") == frozenset()
    assert parse_combine(" scan, field ") == {"scan", "field"}
    with pytest.raises(ParameterError, match="'channel' is none of scan, field, spw, obs"):
        parse_combine("scan,channel")


@pytest.fixture(scope="module", params=["time", "spw", "shuffled"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    scans = ((0, 4), (1, 3), (0, 4))
    windows = (Window(2), Window(3, 102e9))
    return plant(
        tmp_path_factory.mktemp("cells") / "a.ms", Plan(nant=3, scans=scans, windows=windows, order=request.param)
    )


def cells_of(index: MSIndex, solint: str, combine: str = "") -> Cells:
    return plan_cells(index, np.arange(index.nrow), parse_solint(solint), parse_combine(combine))


@pytest.mark.parametrize(
    ("solint", "combine", "count"),
    [
        ("int", "", 22), ("inf", "", 6), ("inf", "scan", 4), ("inf", "field", 6), ("inf", "scan,field", 2),
        ("inf", "spw", 3), ("int", "spw", 11), ("inf", "scan,field,spw,obs", 1), ("12s", "", 12), ("13s", "", 10),
    ],
)  # fmt: skip
def test_every_row_is_in_the_right_cell(solint: str, combine: str, count: int, made: Planted) -> None:
    index = open_index(made.path)
    cells = cells_of(index, solint, combine)
    assert len(cells) == count
    assert sorted(set(cells.cell.tolist())) == list(range(count))
    for number in range(count):
        mine = np.flatnonzero(cells.cell == number)
        values = {"field": index.field[mine], "scan": index.scan[mine], "spw": index.spw[mine]}
        for name, column in values.items():
            distinct = np.unique(column)
            if name not in combine:
                assert len(distinct) == 1
            if name == "spw":
                assert cells.spw[number] == (0 if "spw" in combine else distinct[0])
            else:
                assert getattr(cells, name)[number] == (distinct[0] if len(distinct) == 1 else -1)
        times = index.time[mine]
        assert cells.first[number] == times.min()
        if solint == "int":
            assert len(np.unique(times)) == 1
        if solint.endswith("s"):
            assert np.ptp(times) < float(solint[:-1])
    by_spw = np.lexsort((cells.first, cells.spw))
    assert (by_spw == np.arange(count)).all(), "numbered by spw, then time"


@pytest.mark.parametrize(
    ("solint", "lengths"), [("20s", [4, 3, 3]), ("18.144s", [3, 3, 3, 1]), ("6.048s", [1] * 10), ("1s", [1] * 10)]
)
def test_grid_starts_at_the_first_integration(solint: str, lengths: list[int], tmp_path: Path) -> None:
    """CASA's answers for ten integrations of 6.048 s."""
    made = plant(tmp_path / "a.ms", Plan(nant=2, scans=((0, 10),), windows=(Window(2),), autos=False))
    for column in ("TIME", "TIME_CENTROID"):
        edit(made.path, column, lambda time: made.time[0] + np.arange(10) * 6.048)
    cells = cells_of(open_index(made.path), solint)
    assert np.bincount(cells.cell).tolist() == lengths


def test_solint_crosses_scans_only_when_they_are_combined(made: Planted) -> None:
    index = open_index(made.path)
    assert len(cells_of(index, "1000s")) == 6
    assert len(cells_of(index, "1000s", "scan")) == 4
    assert len(cells_of(index, "50s", "scan,field,spw")) == 3  # 0, 54 and 102 s after the start


def test_a_selection_of_rows(made: Planted) -> None:
    """The grid starts at the first selected integration."""
    index = open_index(made.path)
    rows = np.flatnonzero((index.time > made.time[0] + 1) & (index.spw == 1))
    cells = plan_cells(index, rows, parse_solint("12s"), frozenset())
    assert len(cells.cell) == len(rows)
    assert cells.first[0] == made.time[1]
    assert (cells.spw == 1).all()


def test_observations_and_arrays(tmp_path: Path) -> None:
    """OBSERVATION_ID divides unless combined, ARRAY_ID always."""
    made = plant(tmp_path / "a.ms", Plan(nant=3, scans=((0, 4),), windows=(Window(2),)))
    half = np.arange(24) >= 12
    edit(made.path, "OBSERVATION_ID", lambda ids: ids * 0 + half)
    index = open_index(made.path)
    assert len(cells_of(index, "inf")) == 2
    assert len(cells_of(index, "inf", "obs")) == 1
    edit(made.path, "ARRAY_ID", lambda ids: ids * 0 + half)
    assert len(cells_of(open_index(made.path), "inf", "obs")) == 2
