"""What every Jones term in the registry promises."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from calibrant.caltable import casa
from calibrant.jones import TERMS, Place
from calibrant.ms.index import open_index
from calibrant.tasks.applycal import applycal
from calibrant.tasks.bandpass import bandpass
from calibrant.tasks.chain import open_chain
from calibrant.tasks.gaincal import GAINTYPES, gaincal
from planted import Plan, Window, edit, flag, get, plant, referenced, write_table

every_term = pytest.mark.parametrize("kind", list(TERMS))
SOLVABLE = [*GAINTYPES.values(), "B Jones"]
NPAR = {"T Jones": 1, "KAntPos Jones": 3}
"""Parameters an antenna; 2 where not named."""
NEUTRAL = {"B TSYS": 1.0}
"""Parameters that change nothing; 1 for complex terms and 0 for real ones where not named."""
FREQ = 100e9 + 1e7 * np.arange(6)
NT, NANT = 3, 5


def draw(kind: str, neutral: bool = False, nant: int = NANT, nchan: int = len(FREQ)) -> np.ndarray:
    term, rng = TERMS[kind], np.random.default_rng(8)
    shape = (NT, nant, nchan if term.channelized else 1, NPAR.get(kind, 2))
    if neutral:
        value = NEUTRAL.get(kind, 0.0 if term.real else 1.0)
        return np.full(shape, value, np.float32 if term.real else np.complex64)
    values = rng.uniform(0.5, 1.5, shape)
    if kind == "KAntPos Jones":
        values *= 1e-3
    if term.real:
        return values.astype(np.float32)
    return (values * np.exp(1j * rng.uniform(-3, 3, shape))).astype(np.complex64)


def place(nt: int = NT) -> Place:
    toward = np.random.default_rng(2).normal(size=(nt, 3))
    return Place(FREQ, FREQ, toward / np.linalg.norm(toward, axis=1, keepdims=True))


@every_term
def test_factors(kind: str) -> None:
    """(nt, nant, nchan or 1, 2), complex, finite, not 0: they can be divided by."""
    jones = TERMS[kind].factors(draw(kind), place())
    assert jones.shape[:2] == (NT, NANT)
    assert jones.shape[2] in (1, len(FREQ))
    assert jones.shape[3] == 2
    assert np.iscomplexobj(jones)
    assert np.isfinite(jones).all()
    assert (np.abs(jones) > 0).all()
    np.testing.assert_allclose(jones * (1 / jones), 1, rtol=1e-12)


@every_term
def test_unit_solution_is_neutral(kind: str) -> None:
    term, param = TERMS[kind], draw(kind, neutral=True)
    np.testing.assert_allclose(term.factors(param, place()), 1, rtol=1e-12)
    weights = term.weights(param, np.zeros(param.shape, bool))
    if weights is not None:
        np.testing.assert_allclose(weights, 1, rtol=1e-6)


@every_term
def test_weights(kind: str) -> None:
    """(nt, nant, 2) and positive, or None for terms of unit amplitude; 1 where everything is flagged."""
    term, param = TERMS[kind], draw(kind)
    weights = term.weights(param, np.zeros(param.shape, bool))
    if weights is None:
        np.testing.assert_allclose(np.abs(term.factors(param, place())), 1, rtol=1e-12)
        return
    assert weights.shape == (NT, NANT, 2)
    assert (weights > 0).all()
    np.testing.assert_allclose(term.weights(param, np.ones(param.shape, bool)), 1)
    # WEIGHT_out = WEIGHT c_i c_j and V_out = V / (J_i J_j): c is |J|^2 where J does not depend on frequency
    flat = np.repeat(param[:, :, :1], param.shape[2], axis=2)
    jones = np.abs(term.factors(flat, place())[:, :, 0]) ** 2
    np.testing.assert_allclose(term.weights(flat, np.zeros(flat.shape, bool)), jones, rtol=1e-5)


@every_term
def test_describes_itself(kind: str) -> None:
    module = inspect.getmodule(type(TERMS[kind]))
    text = module.__doc__ or ""
    assert re.search(r"\n\s+J_i.* = ", text), "the docstring opens with an equation"
    assert "Source:" in text
    assert type(TERMS[kind]).__doc__
    assert TERMS[kind].kind == kind


def test_order_is_from_the_correlator_to_the_sky() -> None:
    """VisCal's order as far as these terms go (casa.md 4.1), with Tsys where CASA has it."""
    by_order = sorted(TERMS.values(), key=lambda term: term.order)
    names = [term.kind.split()[0] for term in by_order if term.kind != "B TSYS"]
    assert names == ["KAntPos", "B", "K", "G", "T"]
    assert [term.kind for term in TERMS.values()] == [term.kind for term in by_order]


# ---- in files and on data --------------------------------------------------------------------------------------
WINDOW = Window(6, 100e9, 1e7)


def part(kind: str, param: np.ndarray, **more: Any) -> dict[int, dict[str, Any]]:
    return {0: {"param": param, **more}}


@every_term
def test_tables_come_back(kind: str, tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan(nant=NANT, windows=(WINDOW,)))
    param = draw(kind)
    bad = np.random.default_rng(1).uniform(size=param.shape) < 0.2
    table = casa.read(write_table(tmp_path / "t", truth.path, kind, part(kind, param, flag=bad)))
    assert table.kind == kind
    assert table.par_type == ("Float" if TERMS[kind].real else "Complex")
    np.testing.assert_array_equal(table.spws[0].param, param)
    np.testing.assert_array_equal(table.spws[0].flag, bad)


@every_term
def test_applying_and_corrupting_are_inverse(kind: str, tmp_path: Path) -> None:
    """CORRECTED_DATA times J_i conj(J_j) is DATA again; weights stay those of 1/variance."""
    truth = plant(tmp_path / "a.ms", Plan(nant=NANT, windows=(WINDOW,), scans=((0, 1),)))
    name = write_table(tmp_path / "t", truth.path, kind, part(kind, draw(kind)[:1]))
    applycal(truth.path, gaintable=name)
    index = open_index(truth.path)
    rows = np.arange(index.nrow)
    factors = open_chain(index, name).factors(0, rows)
    inverse = factors.inverse[factors.slot, index.ant1] * factors.inverse[factors.slot, index.ant2].conj()
    data, corrected = get(truth.path, "DATA"), get(truth.path, "CORRECTED_DATA")
    np.testing.assert_allclose(corrected / inverse, data, rtol=2e-6)
    weight = get(truth.path, "WEIGHT") * 0.05**2
    if not TERMS[kind].channelized:
        np.testing.assert_allclose(weight, (1 / np.abs(inverse) ** 2).mean(axis=1), rtol=1e-5)


@every_term
def test_flags_reach_the_data_of_that_antenna_only(kind: str, tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan(nant=NANT, windows=(WINDOW,), scans=((0, 1),)))
    param = draw(kind)[:1]
    bad = np.zeros(param.shape, bool)
    bad[:, 2] = True
    name = write_table(tmp_path / "t", truth.path, kind, part(kind, param, flag=bad))
    factors = open_chain(open_index(truth.path), name).factors(0, np.arange(3))
    flags = np.broadcast_to(factors.bad, (1, NANT, factors.bad.shape[2], 2))
    assert flags[:, 2].all()
    assert not np.delete(flags, 2, axis=1).any()
    np.testing.assert_array_equal(factors.inverse[:, 2], 1)
    np.testing.assert_array_equal(factors.weight[:, 2], 1)


# ---- terms that can be solved for ------------------------------------------------------------------------------
def solve(kind: str, path: str, out: str, refant: str, **more: Any) -> Any:
    if kind == "B Jones":
        bandpass(path, out, refant=refant, combine="scan", **more)
    else:
        gaintype = next(name for name, value in GAINTYPES.items() if value == kind)
        gaincal(path, out, refant=refant, gaintype=gaintype, combine="scan", **more)
    return casa.read(out).spws[0]


def planned(kind: str) -> Plan:
    rng = np.random.default_rng(12)
    plain = {
        "K Jones": {"phase": False, "amplitude": False, "delays": rng.uniform(-4e-9, 4e-9, (8, 2))},
        "B Jones": {"amplitude": False},  # WEIGHT has no frequency axis
    }
    return Plan(
        windows=(Window(17),), scans=((0, 4),), per="all", sigma=0.01, common=kind == "T Jones",
        per_channel=kind == "B Jones", **plain.get(kind, {}),
    )  # fmt: skip


@pytest.mark.parametrize("kind", SOLVABLE)
def test_corrupt_solve_recover(kind: str, tmp_path: Path) -> None:
    """The residual after applying the solution is noise: chi2 a degree of freedom is 1."""
    truth = plant(tmp_path / "a.ms", planned(kind))
    solve(kind, truth.path, str(tmp_path / "t"), "DV00")
    applycal(truth.path, gaintable=str(tmp_path / "t"))
    cross = "ANTENNA1 != ANTENNA2"
    corrected, weight = get(truth.path, "CORRECTED_DATA", cross), get(truth.path, "WEIGHT", cross)
    noise = np.abs(corrected - 1) ** 2
    chi2 = (noise * weight[:, None]).mean() / 2
    assert chi2 == pytest.approx(1, abs=0.1)
    assert not get(truth.path, "FLAG").any()


@pytest.mark.parametrize("kind", SOLVABLE)
def test_reference_antenna_does_not_matter(kind: str, tmp_path: Path) -> None:
    """Solutions with another refant differ by its phase (or delay) alone."""
    truth = plant(tmp_path / "a.ms", planned(kind))
    one = solve(kind, truth.path, str(tmp_path / "t0"), "DV00")
    other = solve(kind, truth.path, str(tmp_path / "t5"), "DV05")
    if kind == "K Jones":  # each comes from its own baselines, so they agree within the noise only
        error = np.hypot(one.error, one.error[:, 5:6]) + other.error
        assert (np.abs(one.param - one.param[:, 5:6] - other.param) < 5 * error).all()
        return
    np.testing.assert_allclose(referenced(one.param, 5), other.param, rtol=0, atol=2e-5)
    np.testing.assert_allclose(one.error, other.error, rtol=1e-4)


@pytest.mark.parametrize("kind", SOLVABLE)
def test_flagged_data_give_flagged_solutions(kind: str, tmp_path: Path) -> None:
    """Antenna 3 has no data: it is flagged with value 1 (0 for delays) and the reason; nobody else is."""
    truth = plant(tmp_path / "a.ms", planned(kind))
    flag(truth.path, "ANTENNA1==3 || ANTENNA2==3")
    found = solve(kind, truth.path, str(tmp_path / "t"), "DV00")
    assert found.flag[:, 3].all()
    assert (found.param[:, 3] == (0 if kind == "K Jones" else 1)).all()
    assert not np.delete(found.flag, 3, axis=1).any()
    assert (found.outcome[:, 3] == 1).all()
    edit(truth.path, "DATA", lambda data: np.where(np.isfinite(data), data, 0))
    applycal(truth.path, gaintable=str(tmp_path / "t"))
