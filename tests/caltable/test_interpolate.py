"""Interpolation in time and frequency, against numbers by hand and against CASA."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build import solutions
from casacore.tables import table as open_table

from calibrant.caltable import casa as casa_format
from calibrant.caltable.interpolate import (
    FREQUENCY_MODES,
    TIME_MODES,
    interpolate,
    interpolate_frequency,
    interpolate_time,
    parse_interp,
    select_slots,
)
from calibrant.caltable.table import CalTable
from calibrant.errors import ParameterError


def wave(amplitude: Any, degrees: Any) -> Any:
    return np.asarray(amplitude) * np.exp(1j * np.radians(degrees))


def over_time(values: Any, **more: Any) -> Any:
    return solutions(np.reshape(values, (-1, 1, 1, 1)), **more)


def over_frequency(values: Any, **more: Any) -> Any:
    return solutions(np.reshape(values, (1, 1, -1, 1)), **more)


# ---- names -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "modes"),
    [
        ("", ("linear", "linear")),
        ("nearest", ("nearest", "linear")),
        ("linear,linearflag", ("linear", "linearflag")),
        (" linearPD , cubic", ("linearPD", "cubic")),
    ],
)
def test_interp_is_read_as_casa_does(text: str, modes: tuple[str, str]) -> None:
    assert parse_interp(text) == modes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("liner", "Did you mean 'linear'"),
        ("linear,flag", "interpolation in frequency called 'flag'"),
        ("linear,linear,linear", "3 parts"),
        ("linearperscan", "'perscan' is not supported; use 'linear'"),
    ],
)
def test_strange_interp_is_refused_with_the_choices(text: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        parse_interp(text)


# ---- time ------------------------------------------------------------------------------------------------------
def test_phase_takes_the_shorter_way_and_amplitude_is_linear() -> None:
    param, _ = interpolate_time(over_time(wave([1, 2], [170, 190])), [50.0], "linear")
    assert abs(param.item()) == pytest.approx(1.5)
    assert np.degrees(np.angle(param.item())) % 360 == pytest.approx(180)


@pytest.mark.parametrize("mode", TIME_MODES)
def test_outside_the_range_the_nearest_solution_holds(mode: str) -> None:
    param, flag = interpolate_time(over_time(wave([1, 2, 3, 4, 5], 0)), [-1e6, 0, 400, 1e6], mode)
    np.testing.assert_allclose(param.ravel(), [1, 1, 5, 5])
    assert not flag.any()


def test_flagged_solutions_count() -> None:
    sol = over_time(wave([1, 2, 3, 4], 0), flag=np.reshape([0, 1, 0, 0], (4, 1, 1, 1)))
    times = [0, 49, 51, 149, 151, 200, 250]
    assert interpolate_time(sol, times, "nearest")[1].ravel().tolist() == [0, 0, 1, 1, 0, 0, 0]
    assert interpolate_time(sol, times, "linear")[1].ravel().tolist() == [0, 1, 1, 1, 1, 0, 0]


def test_half_way_the_earlier_solution_is_nearest() -> None:
    param, _ = interpolate_time(over_time(wave([1, 2], 0)), [49.9, 50, 50.1], "nearest")
    np.testing.assert_allclose(param.ravel(), [1, 1, 2])


def test_times_of_modified_julian_date_keep_their_precision() -> None:
    """CASA stores seconds in 32 bits: 0.01 s after a day."""
    start = 5.23e9
    sol = over_time([0.0, 1.0], time=[start, start + 10])
    late = over_time([0.0, 0.0, 1.0], time=[start - 86400, start, start + 10])
    for s in (sol, late):
        assert interpolate_time(s, [start + 1.003], "linear")[0].item() == pytest.approx(0.1003, abs=1e-6)


def test_a_microsecond_off_is_the_same_time() -> None:
    """TIME of a solution is a weighted mean: rounding must not bring in the flagged neighbour."""
    sol = over_time(wave([1, 2], 0), flag=np.reshape([1, 0], (2, 1, 1, 1)))
    assert not interpolate_time(sol, [100 - 3e-6], "linear")[1].item()


def test_delays_are_interpolated_as_values() -> None:
    assert interpolate_time(over_time([10.0, -10.0]), [25.0], "linear")[0].item() == pytest.approx(5)


def test_phase_delay_scales_the_tracked_phase() -> None:
    """170 deg to 190 deg at 1.12047 times the frequency: 180 x 1.12047."""
    sol = over_time(wave([1, 1], [170, 190]))
    param, _ = interpolate_time(sol, [0.0, 50.0, 100.0], "linearPD", 1.12047)
    np.testing.assert_allclose(param.ravel(), wave(1, np.array([170, 180, 190]) * 1.12047), rtol=1e-6)
    plain, _ = interpolate_time(sol, [50.0], "linear", 1.12047)
    assert np.degrees(np.angle(plain.item())) % 360 == pytest.approx(180)


def test_turns_are_not_counted_over_flagged_solutions() -> None:
    sol = over_time(wave(1, [-176, -5, 115]), flag=np.reshape([0, 1, 0], (3, 1, 1, 1)))
    param, _ = interpolate_time(sol, [200.0], "linearPD", 1.1)
    assert np.degrees(np.angle(param.item() / wave(1, (115 - 360) * 1.1))) == pytest.approx(0, abs=1e-4)


def test_a_cubic_is_followed_exactly() -> None:
    x = np.arange(6) * 100.0
    cube = 1e-6 * x**3 - 1e-3 * x + 3
    at = np.array([10.0, 150, 333, 499])
    param, _ = interpolate_time(over_time(cube), at, "cubic")
    np.testing.assert_allclose(param.ravel(), 1e-6 * at**3 - 1e-3 * at + 3, rtol=1e-6)


def test_a_single_slot_costs_nothing() -> None:
    sol = solutions(np.ones((1, 50, 100, 2), complex))
    param, flag = interpolate_time(sol, np.arange(1000.0), "linear")
    assert param.shape == flag.shape == (1000, 50, 100, 2)
    assert np.shares_memory(param, sol.param)


def test_absent_rows_are_looked_past() -> None:
    """A flagged solution flags its neighbourhood; one that was never written does not."""
    sol = solutions(np.ones((3, 2, 1, 1)) * np.reshape([1.0, 99.0, 3.0], (3, 1, 1, 1)))
    sol.present = np.array([[1, 1], [1, 0], [1, 1]], bool)
    sol.flag[1, 1] = True
    param, flag = interpolate_time(sol, [100.0], "linear")
    assert param.ravel().tolist() == [99.0, 2.0]
    assert not flag.any()


def test_select_slots_by_field() -> None:
    sol = over_time(wave([1, 2, 3], 0), field=np.array([0, 1, 0], np.int32))
    assert select_slots(sol, None) is sol
    assert select_slots(sol, [0]).time.tolist() == [0, 200]
    assert len(select_slots(sol, [9]).time) == 0


# ---- frequency -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", FREQUENCY_MODES)
def test_the_same_channels_are_copied(mode: str) -> None:
    sol = over_frequency(wave(np.arange(1.0, 7), np.arange(6) * 100))
    out = interpolate_frequency(sol, sol.freq, mode)
    assert np.array_equal(out.param, sol.param)


@pytest.mark.parametrize("mode", FREQUENCY_MODES)
def test_edges_are_constant_and_one_channel_passes(mode: str) -> None:
    sol = over_frequency(wave([1, 2, 3, 4, 5], 0))
    out = interpolate_frequency(sol, np.array([90e9, 100e9, 104e9, 120e9]), mode)
    np.testing.assert_allclose(out.param.ravel(), [1, 1, 5, 5], rtol=1e-6)
    one = over_frequency(wave([3], 20))
    assert interpolate_frequency(one, np.linspace(1e9, 2e9, 7), mode) is one


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)], ids=["upper", "lower sideband"])
def test_amplitude_and_phase_over_frequency(order: slice) -> None:
    sol = over_frequency(wave([1, 2, 3], [170, 190, 230])[order], freq=np.array([1e9, 2e9, 3e9])[order])
    out = interpolate_frequency(sol, np.array([2.25e9, 1.5e9]), "linear").param.ravel()
    np.testing.assert_allclose(np.abs(out), [2.25, 1.5], rtol=1e-6)
    np.testing.assert_allclose(np.degrees(np.angle(out)) % 360, [200, 180], rtol=1e-6)


def test_flagged_channels_are_interpolated_over_unless_asked() -> None:
    flag = np.reshape([0, 0, 1, 0, 0], (1, 1, 5, 1))
    sol = over_frequency([1.0, 2, 99, 4, 5], flag=flag)
    same, between = sol.freq, sol.freq[:-1] + 0.4e9
    filled = interpolate_frequency(sol, same, "linear")
    np.testing.assert_allclose(filled.param.ravel(), [1, 2, 3, 4, 5])
    assert not filled.flag.any()
    assert interpolate_frequency(sol, same, "nearest").param.ravel().tolist() == [1, 2, 2, 4, 5]
    assert interpolate_frequency(sol, same, "linearflag").flag.ravel().tolist() == [0, 0, 1, 0, 0]
    assert interpolate_frequency(sol, between, "linearflag").flag.ravel().tolist() == [0, 1, 1, 0]
    assert interpolate_frequency(sol, between, "nearestflag").flag.ravel().tolist() == [0, 0, 1, 0]
    cubic = interpolate_frequency(sol, between, "cubic")
    np.testing.assert_allclose(cubic.param.ravel(), [1.4, 2.4, 3.4, 4.4], rtol=1e-6)


def test_where_all_channels_are_flagged_so_is_the_result() -> None:
    sol = over_frequency([1.0, 2], flag=np.ones((1, 1, 2, 1)))
    assert interpolate_frequency(sol, np.linspace(99e9, 102e9, 5), "linear").flag.all()


def test_too_few_channels_for_a_cubic_are_noted() -> None:
    notes: list[str] = []
    out = interpolate_frequency(over_frequency([1.0, 2, 3]), np.array([100.5e9, 101.5e9]), "cubic", notes)
    np.testing.assert_allclose(out.param.ravel(), [1.5, 2.5])
    assert notes == ["1 solutions have fewer than 4 unflagged channels: linear instead of cubic"]


def test_spline_and_cubic_follow_a_smooth_band() -> None:
    nu = np.linspace(100e9, 102e9, 65)
    phase = lambda f: 40 * np.sin((f - 100e9) / 2e9 * 6)  # noqa: E731
    sol = over_frequency(wave(2, phase(nu)), freq=nu)
    at = np.linspace(100.2e9, 101.8e9, 200)
    for mode in ("cubic", "spline"):
        np.testing.assert_allclose(interpolate_frequency(sol, at, mode).param.ravel(), wave(2, phase(at)), atol=1e-5)


def test_time_goes_first_where_flags_change() -> None:
    """Slot 1 lacks channel 1: in between, CASA fills it from the channels beside it, not from slot 0."""
    param = np.reshape([[0.0, 50.0, 2.0], [2.0, 99.0, 4.0]], (2, 1, 3, 1))
    flag = np.zeros(param.shape, bool)
    flag[1, 0, 1] = True
    sol = solutions(param, flag=flag)
    value, bad = interpolate(sol, np.array([50.0]), sol.freq, ("linear", "linear"))
    assert value.ravel().tolist() == [1.0, 2.0, 3.0]
    assert not bad.any()


# ---- CASA ------------------------------------------------------------------------------------------------------
SCRIPT = """
import json, sys
import numpy as np
from casatasks import applycal, flagdata
from casatools import table
cases, vis, out, tool = json.loads({cases!r}), {vis!r}, {{}}, table()
for name, (caltable, interp, spwmap) in cases.items():
    flagdata(vis=vis, mode='unflag', flagbackup=False)
    applycal(vis=vis, spw='0,1', gaintable=[caltable], interp=[interp], spwmap=[spwmap], calwt=False, flagbackup=False)
    tool.open(vis)
    for ddid in (0, 1):
        part = tool.query(f'DATA_DESC_ID=={{ddid}}')
        for column in ('CORRECTED_DATA', 'FLAG'):
            out[f'{{name}}/{{ddid}}/{{column}}'] = part.getcol(column).T
        part.close()
    tool.close()
np.savez('casa.npz', **out)
"""


def wild(table: CalTable, times: Any, flagged: float, thin: int = 1) -> CalTable:
    """The table with random gains at `times`; every `thin`-th channel is kept, a third of a channel off."""
    rng = np.random.default_rng(5)
    spws = {}
    for spw, s in table.spws.items():
        freq = s.freq if thin == 1 else s.freq[1::thin] + 0.3 * s.width[0]
        shape = (len(times), s.shape[1], len(freq), s.shape[3])
        phase = 6 * rng.random((*shape[:2], 1, shape[3])) + np.cumsum(rng.normal(0, 0.5, shape), axis=2)
        gain = (1 + 0.5 * rng.random(shape)) * np.exp(1j * phase)
        spws[spw] = solutions(gain, times, freq, rng.random(shape) < flagged, spw=spw, width=np.full(len(freq), 1e6))
    return replace(table, spws=spws, provenance=[])


@pytest.mark.oracle
@pytest.mark.casa
@pytest.mark.slow
def test_live_casa_interpolates_the_same(
    oracle: Path, tiny_ms: Path, tmp_path: Path, casa: Callable[[str, Path], str]
) -> None:
    ms = open_table(str(tiny_ms), ack=False)
    seen = np.unique(ms.getcol("TIME"))
    times = seen[0] + np.array([0.02, 0.2, 0.36, 0.5, 0.71, 0.9]) * (seen[-1] - seen[0])
    times[2] = seen[len(seen) // 3]
    gain, band = (casa_format.read(str(oracle / "out" / name)) for name in ("Gpint.cal", "B.cal"))
    made = {"G": wild(gain, times, 0.08), "B": wild(band, times[[0, 3, 5]], 0.1), "C": wild(band, times[:1], 0.1, 3)}
    made["G0"] = replace(made["G"], spws={0: made["G"].spws[0]})
    for name, table in made.items():
        casa_format.write(table, str(tmp_path / name), str(tiny_ms))
    asked = [("G", mode) for mode in ("nearest", "linear")] + [("G0", "linearPD")]
    asked += [("B", "linear,linear"), ("B", "linear,linearflag"), ("B", "nearest,nearest")]
    asked += [("C", f"nearest,{mode}") for mode in ("nearest", "linear", "cubic", "linearflag", "nearestflag")]
    cases = {f"{n} {m}": (str(tmp_path / n), m, [0, 0, 0] if n == "G0" else []) for n, m in asked}
    shutil.copytree(tiny_ms, tmp_path / "casa.ms")
    casa(SCRIPT.format(cases=json.dumps(cases), vis="casa.ms"), tmp_path)
    theirs = np.load(tmp_path / "casa.npz")
    channels = open_table(f"{tiny_ms}/SPECTRAL_WINDOW", ack=False)
    for name, mode in asked:
        for ddid in (0, 1):
            rows = ms.query(f"DATA_DESC_ID == {ddid}")
            at, number = np.unique(rows.getcol("TIME"), return_inverse=True)
            freq = channels.getcell("CHAN_FREQ", ddid)
            sol = made[name].spws[0 if name == "G0" else ddid]
            scale = float(freq.mean() / sol.freq.mean()) if name == "G0" else 1.0
            param, bad = interpolate(sol, at, freq, parse_interp(mode), scale)
            first, second = rows.getcol("ANTENNA1"), rows.getcol("ANTENNA2")
            data = rows.getcol("DATA")
            flag = np.broadcast_to(bad[number, first] | bad[number, second], data.shape)
            case = f"{name} {mode}/{ddid}"
            assert np.array_equal(flag, theirs[f"{case}/FLAG"]), case
            ours = data / (param[number, first] * param[number, second].conj())
            # CASA's times are 32 bits wide: a few 1e-6
            np.testing.assert_allclose(ours[~flag], theirs[f"{case}/CORRECTED_DATA"][~flag], rtol=4e-6, err_msg=case)
