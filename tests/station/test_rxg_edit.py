"""Changes to receiver files: what is written, and every byte that is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.errors import CalibrantError, FormatError, ParameterError
from calibrant.station.curve import GainCurve
from calibrant.station.rxg import Rxg, parse, read_rxg
from calibrant.station.rxg_check import check_rxg
from calibrant.station.rxg_edit import format_rxg, update_text
from calibrant.station.text import apply_fixes, decode, split_lines

TODAY = date(2026, 11, 21)
GOOD = """\
* a comment
RANGE 8000 9000
2009  03 21  (measured)
frequency 1.0
rcp lcp
  0.12\t0.10   K/Jy
* the curve
ELEV POLY 0.8 0.008 -0.00008
lcp  8100.00   3.00   trailing words
*lcp 8200.0 9.9
lcp  8300.00   5.00
* rcp
rcp  8100.00   2.00
rcp  8300.00   4.00
end_tcal_table
30.0 40.0
10 20
end_spillover_table
* history without a newline"""


def changed_lines(old: str, new: str) -> dict[str, str]:
    """Old line -> new line where they differ; both must have the same number of lines."""
    before, after = split_lines(old), split_lines(new)
    assert len(before) == len(after)
    return {a: b for a, b in zip(before, after, strict=True) if a != b}


def test_nothing_to_change() -> None:
    assert update_text(GOOD) is GOOD
    same = parse(GOOD, "x")
    assert update_text(GOOD, dpfu=same.dpfu, trec=same.trec, curve=same.curve, tcal={"l": {8100: 3.0}}) == GOOD
    assert update_text(GOOD, scale_tcal={"l": 1.0}, date=date(2009, 3, 21)) == GOOD


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_edit_touches_its_own_line_only(end: str) -> None:
    text = GOOD.replace("\n", end)
    change = lambda **values: changed_lines(text, update_text(text, **values))  # noqa: E731
    assert change(dpfu={"l": 0.1312345678}) == {f"  0.12\t0.10   K/Jy{end}": f"  0.12\t0.131235   K/Jy{end}"}
    assert change(trec={"r": 33.333}) == {f"30.0 40.0{end}": f"33.33 40.0{end}"}
    assert change(date=TODAY) == {f"2009  03 21  (measured){end}": f"2026  11 21  (measured){end}"}
    assert change(tcal={"l": {8100.004: 3.25}}) == {
        f"lcp  8100.00   3.00   trailing words{end}": f"lcp  8100.00   3.25   trailing words{end}"
    }
    assert change(curve=GainCurve("altaz", (1.0, -1.23456789012e-4), opacity_corrected=True)) == {
        f"ELEV POLY 0.8 0.008 -0.00008{end}": f"ALTAZ POLY 1 -0.00012345679 opacity_corrected{end}"
    }
    assert change(scale_tcal={"r": 1.1}) == {
        f"rcp  8100.00   2.00{end}": f"rcp  8100.00   2.20{end}",
        f"rcp  8300.00   4.00{end}": f"rcp  8300.00   4.40{end}",
    }


def test_the_flag_is_removed_with_a_curve_without_it() -> None:
    flagged = GOOD.replace("-0.00008", "-0.00008 opacity_corrected")
    assert parse(flagged, "x").curve.opacity_corrected
    assert update_text(flagged, curve=parse(GOOD, "x").curve) == GOOD.replace("0.00008", "8e-05")


def test_tcal_is_merged_in_order() -> None:
    measured = {"l": {8050.0: 1.5, 8200.25: 4.12346, 8300.0: 5.5, 8400.0: 6.0}, "r": {8000.0: 9.0, 8500.0: 8.0}}
    new = update_text(GOOD, tcal=measured)
    assert check_rxg(new.replace("2009  03 21  (measured)", "2026 11 21") + "\n", TODAY) == []
    rows = [line for line in split_lines(new) if line.startswith(("lcp  ", "rcp  ", "*"))]
    assert rows[2:] == [
        "lcp  8050.00   1.50\n",
        "lcp  8100.00   3.00   trailing words\n",
        "lcp  8200.25   4.1235\n",
        "*lcp 8200.0 9.9\n",
        "lcp  8300.00   5.50\n",
        "lcp  8400.00   6.00\n",
        "* rcp\n",
        "rcp  8000.00   9.00\n",
        "rcp  8100.00   2.00\n",
        "rcp  8300.00   4.00\n",
        "rcp  8500.00   8.00\n",
        "* history without a newline",
    ]


def test_tcal_of_a_polarisation_that_had_none() -> None:
    text = "".join(line for line in split_lines(GOOD) if not line.startswith("rcp 8") and "rcp  8" not in line)
    new = update_text(text, tcal={"r": {8200.0: 2.0, 8100.0: 1.0}, "l": {8500.0: 1.0}})
    np.testing.assert_array_equal(parse(new, "x").tcal["r"], [[8100, 8200], [1, 2]])
    assert not any(problem.severity == "error" for problem in check_rxg(new, TODAY))


def test_scale_and_merge_together() -> None:
    rxg = parse(update_text(GOOD, scale_tcal={"l": 2.0, "r": 0.5}, tcal={"l": {8100.0: 1.0}}), "x")
    assert rxg.tcal["l"][1].tolist() == [1.0, 10.0]
    assert rxg.tcal["r"][1].tolist() == [1.0, 2.0]


def test_older_layouts_are_written_in_the_newest() -> None:
    second = GOOD.replace("30.0 40.0", "35.0  ! K")
    assert changed_lines(second, update_text(second, trec={"l": 41.0})) == {"35.0  ! K\n": "35.0 41.00  ! K\n"} or (
        parse(update_text(second, trec={"l": 41.0}), "x").trec == {"r": 35.0, "l": 41.0}
    )
    assert parse(update_text(second, dpfu={"l": 0.2}), "x").generation == 3
    assert update_text(second, dpfu={"l": 0.1}) == second
    first = GOOD[: GOOD.index("end_tcal_table")]
    upgraded = parse(update_text(first, trec={"l": 41.0}), "x")
    assert (upgraded.generation, upgraded.trec) == (3, {"r": 0.0, "l": 41.0})


def test_comments_go_to_the_end() -> None:
    new = update_text(GOOD, comment=["calibrant 0.1.0: DPFU", "second\nthird", 300 * "x", "Länge"])
    assert new.startswith(GOOD + "\n* calibrant 0.1.0: DPFU\n* second\n* third\n* xxx")
    assert new.endswith("* L?nge\n")
    assert max(map(len, split_lines(new))) <= 256
    assert parse(new, "x").dpfu == parse(GOOD, "x").dpfu


@pytest.mark.parametrize(
    "values",
    [
        {"dpfu": {"l": float("nan")}},
        {"dpfu": {"l": 0.0}},
        {"dpfu": {"x": 0.1}},
        {"trec": {"l": -1.0}},
        {"trec": {"l": float("inf")}},
        {"scale_tcal": {"l": 0.0}},
        {"scale_tcal": {"l": float("nan")}},
        {"tcal": {"l": {8000.0: float("nan")}}},
        {"tcal": {"l": {-1.0: 2.0}}},
        {"tcal": {"l": {8000.0: 2.0, 8000.004: 2.0}}},
        {"tcal": {"l": {8000.0 + index: 2.0 for index in range(1200)}}},
        {"curve": GainCurve("elev", ())},
        {"curve": GainCurve("elev", (float("nan"),))},
        {"curve": GainCurve("elev", tuple(range(11)))},
    ],
)
def test_values_that_a_file_cannot_hold(values: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match="expected"):
        update_text(GOOD, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "range\n", GOOD.replace("8100.00   3", "nan 3"), GOOD.replace("end_spill", "x")])
def test_a_text_with_errors_is_not_edited(text: str) -> None:
    with pytest.raises(FormatError):
        update_text(text, dpfu={"l": 0.2})


numbers = st.floats(1e-3, 1e3, allow_nan=False).map(lambda value: float(f"{value:.6g}"))
frequencies = st.lists(st.integers(0, 9_000_000), min_size=1, max_size=8, unique=True).map(
    lambda values: np.sort(np.array(values) / 100.0)
)


@st.composite
def receivers(draw: st.DrawFn) -> Rxg:
    pols = draw(st.sampled_from([("l",), ("r",), ("l", "r"), ("r", "l")]))
    kind = draw(st.sampled_from(["fixed", "range"]))
    low, high = sorted(draw(st.tuples(numbers, numbers)))
    lo = (low, high) if kind == "range" or draw(st.booleans()) else (low,)
    tables = {}
    for pol in pols:
        freq = draw(frequencies)
        tables[pol] = (freq, np.array(draw(st.lists(numbers, min_size=len(freq), max_size=len(freq)))))
    coefficients = draw(st.lists(st.floats(-10, 10), min_size=1, max_size=10))
    curve = GainCurve(draw(st.sampled_from(["elev", "altaz"])), tuple(coefficients), draw(st.booleans()))
    elevations = np.array(sorted(draw(st.lists(st.integers(0, 90), max_size=20, unique=True))), dtype=float)
    return Rxg(
        path="x.rxg",
        kind=kind,
        lo_mhz=lo,
        date=draw(st.dates(date(1900, 1, 1), date(2200, 1, 1)).map(lambda day: (day.year, day.month, day.day))),
        beam_kind=draw(st.sampled_from(["frequency", "constant"])),
        beam_value=draw(numbers),
        pols=pols,
        dpfu={pol: draw(numbers) for pol in pols},
        curve=curve,
        tcal=tables,
        trec={pol: draw(numbers) for pol in pols},
        spill_elevation=elevations,
        spill_k=elevations / 3,
        generation=3,
    )


@given(receivers(), st.lists(st.text(st.characters(codec="ascii"), max_size=300), max_size=2))
@settings(max_examples=40, deadline=None)
def test_a_new_file_reads_back_the_same(rxg: Rxg, comments: list[str]) -> None:
    text = format_rxg(rxg, comments)
    back = parse(text, "x.rxg")
    for name in ("kind", "lo_mhz", "date", "beam_kind", "beam_value", "pols", "dpfu", "curve", "trec", "generation"):
        assert getattr(back, name) == getattr(rxg, name)
    for pol in rxg.pols:
        np.testing.assert_array_equal(back.tcal[pol], rxg.tcal[pol])
    np.testing.assert_array_equal(back.spill_k, rxg.spill_k)
    assert not any(problem.severity == "error" for problem in check_rxg(text, TODAY))
    assert update_text(text, dpfu=back.dpfu, trec={}, tcal={}) == text


@given(receivers(), st.data())
@settings(max_examples=40, deadline=None)
def test_random_edits_keep_all_other_lines(rxg: Rxg, data: st.DataObject) -> None:
    text = format_rxg(rxg)
    pol = data.draw(st.sampled_from(rxg.pols))
    dpfu, trec, factor = data.draw(st.tuples(numbers, numbers, st.floats(0.5, 2.0)))
    freq = data.draw(st.integers(0, 9_000_000)) / 100.0
    new = update_text(text, dpfu={pol: dpfu}, trec={pol: trec}, scale_tcal={pol: factor}, tcal={pol: {freq: 7.25}})
    back = parse(new, "x.rxg")
    assert back.dpfu == rxg.dpfu | {pol: dpfu}
    assert back.trec[pol] == pytest.approx(trec, abs=0.00501)
    assert back.tcal_at(pol, freq) == 7.25
    for other in set(rxg.pols) - {pol}:
        np.testing.assert_array_equal(back.tcal[other], rxg.tcal[other])
        assert back.trec[other] == rxg.trec[other]
    keep = rxg.tcal[pol][0][np.abs(rxg.tcal[pol][0] - freq) > 0.01]
    np.testing.assert_allclose(back.tcal_at(pol, keep), factor * rxg.tcal_at(pol, keep), rtol=6e-5)
    mine = (f"{pol}cp ", " ".join(f"{rxg.dpfu[p]!r}" for p in rxg.pols))
    others = [line for line in split_lines(text) if (not line.startswith(mine) and line[0].isalpha()) or line[0] == "*"]
    position = 0
    for line in split_lines(new):
        position += position < len(others) and line == others[position]
    assert position == len(others)


@pytest.mark.real_data
def test_station_files_keep_their_bytes(unpack: Callable[[str], Path]) -> None:
    """One DPFU changed: that line, and the Trec line of the older layout, differ; nothing else."""
    done = 0
    for path in sorted(unpack("data/rxg/apex-tools_station_rxg_flux.tar.xz").rglob("*.rxg")):
        data = path.read_bytes()
        text = decode(data, str(path))
        assert update_text(text) == text
        try:
            rxg = read_rxg(path)
        except CalibrantError:
            continue
        new = update_text(text, dpfu={rxg.pols[0]: rxg.dpfu[rxg.pols[0]] * 1.1})
        assert 1 <= len(changed_lines(text, new)) <= 2
        fixed = apply_fixes(text, check_rxg(text, TODAY))
        assert parse(fixed, "x").generation == 3
        assert not any(problem.severity == "error" for problem in check_rxg(fixed, TODAY))
        done += 1
    assert done == 91
