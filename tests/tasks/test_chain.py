"""Which solutions meet which data: gainfield, spwmap, interpolation, flags, order, weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from calibrant.errors import CalTableError, ParameterError, SelectionError
from calibrant.ms.index import MSIndex, open_index
from calibrant.tasks.chain import Chain, open_chain
from planted import START, Plan, Planted, Window, edit, plant, write_table

NANT = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Fields CAL0, CAL1, CAL2 in one line on the sky, 0.1 rad apart; scans of 100 s from START."""
    plan = Plan(nant=NANT, scans=((0, 2), (1, 2), (2, 2)), flux=(1, 1, 1), windows=(Window(4), Window(6, 110e9)))
    return plant(tmp_path_factory.mktemp("chain") / "a.ms", plan)


@pytest.fixture
def index(made: Planted) -> MSIndex:
    return open_index(made.path)


def constant(values: Any, **more: Any) -> dict[str, Any]:
    """One gain a slot, the same for all antennas and receptors."""
    values = np.asarray(values)
    return {"param": np.repeat(np.repeat(values.reshape(-1, 1, 1, 1), NANT, axis=1), 2, axis=3) + 0j, **more}


def gain(chain: Chain, spw: int, rows: Any, antenna: int = 0) -> np.ndarray:
    """The gain (1/inverse) of an antenna at these rows, first channel and receptor."""
    factors = chain.factors(spw, np.asarray(rows))
    return 1 / factors.inverse[factors.slot, antenna, 0, 0]


def rows_of(index: MSIndex, field: int, spw: int = 0) -> np.ndarray:
    return np.flatnonzero((index.field == field) & (index.spw == spw))


# ---- gainfield -------------------------------------------------------------------------------------------------
@pytest.fixture
def by_field(made: Planted, tmp_path: Path) -> str:
    """CAL0 has gain 2 at the start and 3 at 100 s, CAL2 has 5 in between; nothing for CAL1."""
    part = constant([2, 5, 3], time=[START, START + 50, START + 100], field=np.array([0, 2, 0], np.int32))
    return write_table(tmp_path / "G", made.path, "G Jones", {0: part, 1: part})


@pytest.mark.parametrize(
    ("gainfield", "field", "expected"),
    [
        ("", 0, {2.0, 5.0, 3.0}),
        ("CAL0", 2, {2.0, 3.0}),
        ("0", 2, {2.0, 3.0}),
        ("CAL2", 0, {5.0}),
        ("CAL0,CAL2", 1, {2.0, 5.0, 3.0}),
        ("CAL?", 1, {2.0, 5.0, 3.0}),
        ("nearest", 0, {2.0, 3.0}),
        ("nearest", 2, {5.0}),
    ],
)
def test_gainfield(gainfield: str, field: int, expected: set[float], by_field: str, index: MSIndex) -> None:
    chain = open_chain(index, by_field, gainfield, "nearest")
    (table,) = chain.tables
    prepared = chain._prepare(table, 0, field)
    assert prepared is not None
    assert {float(v) for v in np.unique(prepared.own.param.real)} == expected


def test_nearest_between_two_is_an_error(by_field: str, index: MSIndex) -> None:
    chain = open_chain(index, by_field, "nearest")
    with pytest.raises(SelectionError, match=r"CAL0, CAL2 in .*G are equally near; name one"):
        chain.prepare(rows_of(index, 1))


def test_gainfield_without_solutions_is_an_error(by_field: str, index: MSIndex) -> None:
    with pytest.raises(SelectionError, match=r"'CAL1': .*has no solutions of it; it has CAL0 \(0\), CAL2 \(2\)"):
        open_chain(index, by_field, "CAL1").prepare(rows_of(index, 0))
    with pytest.raises(SelectionError, match=r"'CAL7'.*CAL0, CAL1, CAL2"):
        open_chain(index, by_field, "CAL7").prepare(rows_of(index, 0))


def test_fields_are_those_of_the_table(by_field: str, made: Planted, tmp_path: Path) -> None:
    """A target split off has field ids of its own; names and positions in the table count, as in CASA."""
    from calibrant.tasks.split import split

    target = str(tmp_path / "target.ms")
    split(made.path, target, field="CAL2", datacolumn="data")
    index = open_index(target)
    assert index.fields.name == ["CAL2"]
    rows = rows_of(index, 0)
    np.testing.assert_allclose(gain(open_chain(index, by_field, "CAL2"), 0, rows), 5, rtol=1e-6)
    np.testing.assert_allclose(gain(open_chain(index, by_field, "nearest"), 0, rows), 5, rtol=1e-6)
    np.testing.assert_allclose(gain(open_chain(index, by_field, "CAL0"), 0, rows), 3, rtol=0.3)


def test_field_without_solutions_in_one_window(made: Planted, index: MSIndex, tmp_path: Path) -> None:
    """They are bad, and the note says why."""
    part = constant([2], field=np.array([0], np.int32))
    table = write_table(
        tmp_path / "G", made.path, "G Jones", {0: part, 1: constant([2], field=np.array([1], np.int32))}
    )
    chain = open_chain(index, table, "CAL0")
    assert not chain.factors(0, rows_of(index, 2)).bad.any()
    assert chain.factors(1, rows_of(index, 2, 1)).bad.all()
    assert chain.notes == [f"{table}: no solutions for field CAL2, spw 1"]


# ---- spwmap ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("spwmap", "expected"),
    [([], (2, 3)), ([-1], (2, 3)), ([0], (2, 2)), ([1], (3, 3)), ([1, 0], (3, 2)), ([[0, 0]], (2, 2))],
)
def test_spwmap(spwmap: Any, expected: tuple[int, int], made: Planted, index: MSIndex, tmp_path: Path) -> None:
    table = write_table(tmp_path / "G", made.path, "G Jones", {0: constant([2]), 1: constant([3])})
    chain = open_chain(index, table, spwmap=spwmap)
    for spw in (0, 1):
        np.testing.assert_allclose(gain(chain, spw, rows_of(index, 0, spw)), expected[spw], rtol=1e-6)


def test_spwmap_for_each_table(made: Planted, index: MSIndex, tmp_path: Path) -> None:
    one = write_table(tmp_path / "G", made.path, "G Jones", {0: constant([2]), 1: constant([3])})
    other = write_table(tmp_path / "T", made.path, "G Jones", {0: constant([5])})
    chain = open_chain(index, [one, other], spwmap=[[], [0, 0]])
    np.testing.assert_allclose(gain(chain, 1, rows_of(index, 0, 1)), 15, rtol=1e-6)
    assert open_chain(index, [one, other]).missing(1) == [other]
    assert open_chain(index, [one, other]).missing(0) == []
    with pytest.raises(ParameterError, match=r"spwmap \[0, 0, 0\] .* longer than the 2"):
        open_chain(index, one, spwmap=[0, 0, 0])


# ---- interpolation ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("interp", "expected"),
    [
        ("nearest", [1, 1, 3, 3]),
        ("linear", [1, 1.5, 2.6, 3]),
        ("", [1, 1.5, 2.6, 3]),
        ("linearPD", [1, 1.5, 2.6, 3]),
        ("linear,nearest", [1, 1.5, 2.6, 3]),
    ],
)
def test_time(interp: str, expected: list[float], made: Planted, tmp_path: Path) -> None:
    """Outside of the solutions the nearest one holds; a quarter of the way it is a quarter of the step."""
    part = constant([1, 3], time=[START, START + 100])
    table = write_table(tmp_path / "G", made.path, "G Jones", {0: part})
    index = open_index(made.path)
    times = START + np.array([-10, 25, 80, 200.0])
    chain = open_chain(index, table, interp=interp)
    param, _ = chain._prepare(chain.tables[0], 0, 0).at(times, index.spws[0].freq, chain.tables[0])  # type: ignore[union-attr]
    np.testing.assert_allclose(np.abs(param[:, 0, 0, 0]), expected, rtol=1e-5)


def test_phase_delay_scales_with_frequency(made: Planted, index: MSIndex, tmp_path: Path) -> None:
    turn = np.exp(1j * np.radians([30.0, 50.0]))
    table = write_table(tmp_path / "G", made.path, "G Jones", {0: constant(turn, time=[START - 1, START + 1e4])})
    ratio = index.spws[1].freq.mean() / index.spws[0].freq.mean()
    rows = rows_of(index, 0, 1)
    plain = np.angle(gain(open_chain(index, table, spwmap=[0, 0]), 1, rows))
    scaled = np.angle(gain(open_chain(index, table, interp="linearPD", spwmap=[0, 0]), 1, rows))
    np.testing.assert_allclose(scaled, ratio * plain, rtol=1e-5)


def test_phase_delay_of_combined_windows(made: Planted, index: MSIndex, tmp_path: Path) -> None:
    """Their table bears the number of the lowest spw but lies at the centre of all: that spw is scaled, too (CASA)."""
    centre = np.mean([window.freq.mean() for window in index.spws])
    part = constant(np.exp(1j * np.radians([30.0, 50.0])), time=[START - 1, START + 1e4], freq=[centre])
    table = write_table(tmp_path / "G", made.path, "G Jones", {0: part})
    for spw in (0, 1):
        rows = rows_of(index, 0, spw)
        plain = np.angle(gain(open_chain(index, table, spwmap=[0, 0]), spw, rows))
        scaled = np.angle(gain(open_chain(index, table, interp="linearPD", spwmap=[0, 0]), spw, rows))
        np.testing.assert_allclose(scaled, index.spws[spw].freq.mean() / centre * plain, rtol=1e-5)


def band(values: Any, bad: Any = ()) -> dict[str, Any]:
    values = np.asarray(values, complex)
    param = np.broadcast_to(values[:, None], (1, NANT, len(values), 2)).copy()
    flag = np.zeros(param.shape, bool)
    flag[:, :, list(bad)] = True
    return {"param": param, "flag": flag}


@pytest.mark.parametrize(
    ("interp", "expected", "bad"),
    [
        ("linear,linear", [1, 2, 3, 4], [0, 0, 0, 0]),
        ("linear", [1, 2, 3, 4], [0, 0, 0, 0]),
        ("linear,linearflag", None, [0, 0, 1, 0]),
        ("nearest,nearestflag", None, [0, 0, 1, 0]),
    ],
)
def test_flagged_channels(
    interp: str, expected: Any, bad: list[int], made: Planted, index: MSIndex, tmp_path: Path
) -> None:
    """Interpolated over, unless the mode ends in 'flag'."""
    table = write_table(tmp_path / "B", made.path, "B Jones", {0: band([1, 2, 99, 4], bad=[2])})
    factors = open_chain(index, table, interp=interp).factors(0, rows_of(index, 0))
    flags = np.broadcast_to(factors.bad, (1, NANT, 4, 2)) if factors.bad.shape[2] == 1 else factors.bad
    np.testing.assert_array_equal(flags[0, 0, :, 0], np.array(bad, bool))
    if expected:
        np.testing.assert_allclose(1 / factors.inverse[0, 0, :, 0], expected, rtol=1e-5)


def test_a_narrow_window_takes_the_bandpass_of_a_wide_one(made: Planted, index: MSIndex, tmp_path: Path) -> None:
    """spwmap to other channels: linear in frequency, constant outside."""
    table = write_table(tmp_path / "B", made.path, "B Jones", {0: band([1, 2, 3, 4])})
    factors = open_chain(index, table, spwmap=[0, 0]).factors(1, rows_of(index, 0, 1))
    np.testing.assert_allclose(1 / factors.inverse[0, 0, :, 0], [4] * 6, rtol=1e-5)


@pytest.mark.parametrize(("interp", "bad"), [("nearest", [0, 1, 1, 0, 0]), ("linear", [0, 1, 1, 1, 0])])
def test_flagged_solutions_in_time(interp: str, bad: list[int], made: Planted, index: MSIndex, tmp_path: Path) -> None:
    """A flagged solution flags what picks it; with linear both intervals beside it."""
    part = constant([1, 9, 1], time=START + np.array([0, 10, 20]))
    flags = np.zeros((3, NANT, 1, 2), bool)
    flags[1, 2, 0, 1] = True
    table = write_table(tmp_path / "G", made.path, "G Jones", {0: {**part, "flag": flags}})
    chain = open_chain(index, table, interp=interp)
    prepared = chain._prepare(chain.tables[0], 0, 0)
    assert prepared is not None
    _, got = prepared.at(START + np.array([0, 6, 10, 16, 20]), index.spws[0].freq, chain.tables[0])
    expected = [0, 1, 1, 0, 0] if interp == "nearest" else [0, 1, 1, 1, 0]
    np.testing.assert_array_equal(got[:, 2, 0, 1], np.array(expected, bool))
    assert not got[:, 2, 0, 0].any()
    assert not np.delete(got, 2, axis=1).any()
    assert expected == bad


# ---- the product of several --------------------------------------------------------------------------------------
def test_order_is_physical_and_weights_multiply(made: Planted, index: MSIndex, tmp_path: Path) -> None:
    """Whatever the order in gaintable; K leaves weights alone; calwt by table."""
    g = write_table(tmp_path / "G", made.path, "G Jones", {0: constant([2])})
    b = write_table(tmp_path / "B", made.path, "B Jones", {0: band([1, 1, 3, 3])})
    k = write_table(tmp_path / "K", made.path, "K Jones", {0: {"param": np.zeros((1, NANT, 1, 2), np.float32)}})
    rows = rows_of(index, 0)
    for tables in ([g, b, k], [k, b, g]):
        chain = open_chain(index, tables)
        assert [t.path for t in chain.tables] == [b, k, g]
        factors = chain.factors(0, rows)
        np.testing.assert_allclose(1 / factors.inverse[0, 0, :, 0], [2, 2, 6, 6], rtol=1e-6)
        np.testing.assert_allclose(factors.weight, 4 * 5, rtol=1e-6)
    one = open_chain(index, [g, b, k], calwt=[True, False, True]).factors(0, rows)
    np.testing.assert_allclose(one.weight, 4, rtol=1e-6)


def test_common_and_separate_receptors(made: Planted, index: MSIndex, tmp_path: Path) -> None:
    param = np.full((1, NANT, 1, 1), 2 + 0j)
    flags = np.zeros(param.shape, bool)
    flags[0, 1] = True
    table = write_table(tmp_path / "T", made.path, "T Jones", {0: {"param": param, "flag": flags}})
    factors = open_chain(index, table).factors(0, rows_of(index, 0))
    np.testing.assert_array_equal(factors.bad[0, :, 0], [[False] * 2, [True] * 2, [False] * 2, [False] * 2])
    np.testing.assert_allclose(1 / factors.inverse[0, :, 0, :], [[2, 2], [1, 1], [2, 2], [2, 2]], rtol=1e-6)
    np.testing.assert_allclose(factors.weight[0], [[4, 4], [1, 1], [4, 4], [4, 4]], rtol=1e-6)


def test_slots_are_times_and_fields_in_any_order_of_rows(made: Planted, index: MSIndex, tmp_path: Path) -> None:
    part = constant([1, 2, 3], time=START + np.array([0, 50, 100]), field=np.array([0, 1, 2], np.int32))
    table = write_table(tmp_path / "G", made.path, "G Jones", {0: part})
    chain = open_chain(index, table, "nearest", "nearest")
    rows = np.random.default_rng(1).permutation(np.flatnonzero(index.spw == 0))
    np.testing.assert_allclose(gain(chain, 0, rows), index.field[rows] + 1, rtol=1e-6)
    assert len(chain.factors(0, rows).inverse) == 6


@pytest.mark.parametrize("kind", ["G Jones", "B Jones", "K Jones", "B TSYS"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("flagged", [True, False])
def test_values_that_are_not_finite(
    kind: str, value: float, flagged: bool, made: Planted, index: MSIndex, tmp_path: Path
) -> None:
    """Under flags they do nothing; outside they count as flagged, and it is said."""
    param = np.ones((2, NANT, 4 if kind[0] == "B" else 1, 2), complex if "Jones" in kind and kind[0] != "K" else float)
    param[1, 2] = value
    flags = np.zeros(param.shape, bool)
    flags[1, 2] = flagged
    chain = open_chain(index, write_table(tmp_path / "t", made.path, kind, {0: {"param": param, "flag": flags}}))
    factors = chain.factors(0, rows_of(index, 0))
    assert np.isfinite(factors.inverse).all()
    assert np.isfinite(factors.weight).all()
    assert factors.bad[1:, 2].all()
    assert not np.delete(factors.bad, 2, axis=1).any()
    assert bool(chain.notes) == (not flagged)


def test_gains_of_zero_count_as_flagged(made: Planted, index: MSIndex, tmp_path: Path) -> None:
    chain = open_chain(index, write_table(tmp_path / "G", made.path, "G Jones", {0: constant([0])}))
    factors = chain.factors(0, rows_of(index, 0))
    assert factors.bad.all()
    assert (factors.inverse == 1).all()
    assert "8 solutions of spw 0 are 0 or not finite" in chain.notes[0]


def test_no_table_is_neutral(index: MSIndex) -> None:
    chain = open_chain(index)
    assert not chain
    factors = chain.factors(0, rows_of(index, 0))
    assert (factors.inverse == 1).all()
    assert (factors.weight == 1).all()
    assert not factors.bad.any()


def test_lists_too_long_and_wrong_tables(made: Planted, index: MSIndex, tmp_path: Path) -> None:
    g = write_table(tmp_path / "G", made.path, "G Jones", {0: constant([2])})
    for name, value in (
        ("gainfield", ["", "CAL0"]),
        ("interp", ["", "nearest"]),
        ("spwmap", [[0], [0]]),
        ("calwt", [True, True]),
    ):
        with pytest.raises(ParameterError, match=f"{name} has 2 entries for 1 tables"):
            open_chain(index, g, **{name: value})
    with pytest.raises(CalTableError, match="absent does not exist"):
        open_chain(index, [g, str(tmp_path / "absent")])
    with pytest.raises(ParameterError, match="spline"):
        open_chain(index, g, interp="spline")  # CASA crashes
    edit(f"{g}/ANTENNA", "NAME", lambda names: ["X01", *names[1:]])
    with pytest.raises(CalTableError, match=r"other antennas than those of .*X01 instead of DV00"):
        open_chain(index, g)
