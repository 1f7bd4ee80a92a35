"""flux.ctl: the Field System's own numbers, its error codes, and what real logs say."""

from __future__ import annotations

import calendar
import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.errors import DataError, FormatError
from calibrant.station.fluxctl import (
    FluxRecord,
    FluxTable,
    Structure,
    check_flux,
    default_flux,
    format_flux,
    parse_flux,
    read_flux,
    update_flux,
)

RECORD = "3c48 c 500 23780 2.465 -0.004 -0.1251 1.5 gauss 100 1s"
BAARS_CASA = "casa p 300 31000 5.745 -0.770 0 240 disk 4m"
APR = re.compile(r"^(\d{4})\.(\d{3})\.(\d\d):(\d\d):([\d.]+)#onoff#(APR|VAL) +(.*)")


def table(*lines: str) -> FluxTable:
    return parse_flux("\n".join(lines) + "\n", "flux.ctl")


def utc(year: int, doy: int) -> float:
    return calendar.timegm((year, 1, 1, 0, 0, 0)) + 86400.0 * (doy - 1)


# ---------------------------------------------------------------- numbers


def test_flux_densities_are_those_of_the_field_system() -> None:
    flux = default_flux().flux
    assert flux("3c123", 4990) == pytest.approx(15.65354, rel=1e-6)
    assert flux("3C48", 8400) == pytest.approx(3.33248, rel=2e-6)
    assert flux("cygnusa", [1500, 5000]) == pytest.approx([1477.0087, 362.6445], rel=1e-6)
    assert flux("taurusa", 5000) == pytest.approx(644.181, rel=1e-6)
    assert flux("ngc7027", 22000) == pytest.approx(5.1501, rel=1e-5)
    assert flux("cygnusa", 8212.99) == pytest.approx(195.6, abs=0.05)


@pytest.mark.parametrize(
    ("source", "mhz", "beam", "expected"),
    [
        ("3c123", 4990, 0.15, 1.000950),
        ("3c123", 4990, 0.02, 1.052311),
        ("casa", 2300, 0.3, 1.017212),
        ("cygnusa", 5000, 0.1, 1.073294),
        ("virgoa", 2300, 0.3, 1.059952),
        ("virgoa", 2520, 0.3, 1.009167),  # in both records: the later one counts
        ("taurusa", 5000, 0.1, 1.330334),
        ("sun", 8400, 0.1, 18.7427),
    ],
)
def test_structure_correction_is_that_of_the_field_system(
    source: str, mhz: float, beam: float, expected: float
) -> None:
    assert default_flux().correction(source, mhz, beam) == pytest.approx(expected, rel=2e-6)


def test_apparent_flux_of_the_manifests_scan() -> None:
    assert default_flux().apparent("cygnusa", 8212.99, 0.12758) == pytest.approx(187.28, abs=0.01)


def test_cas_a_fades_from_the_epoch_of_its_coefficients() -> None:
    new, old = default_flux(), table(BAARS_CASA)
    assert new.record("casa", 2300).flux(2300) == pytest.approx(1273.757, rel=1e-6)  # type: ignore[union-attr]
    # epoch = year + doy / 366: day 183 of 366 is the middle of the year
    assert new.flux("casa", 2300, utc(2024, 183)) == pytest.approx(1128.995, rel=2e-6)
    assert old.record("casa", 2300).flux(2300) == pytest.approx(1433.737, rel=1e-6)  # type: ignore[union-attr]
    yearly = 1 - (0.97 - 0.30 * (np.log10(2300) - 3)) / 100
    assert old.flux("casa", 2300, utc(2006, 1)) == pytest.approx(1144.912 * yearly ** (1 / 366), rel=2e-6)
    both = new.flux("casa", [2300, 8400], [utc(2006, 1), utc(2016, 1)])
    assert both == pytest.approx([new.flux("casa", 2300, utc(2006, 1)), new.flux("casa", 8400, utc(2016, 1))])
    assert np.isnan(new.flux("casa", 2300))


def test_unknown_flux_is_nan_with_a_reason_or_one_jansky_like_the_field_system() -> None:
    flux = default_flux()
    assert np.isnan(flux.flux("1618m49", 8209)) and np.isnan(flux.apparent("3c227", 8400, 0.1))
    assert flux.apparent("3c227", [4000, 8400], 0.1, like_fs=True)[1] == 1.0
    assert flux.flux("nobody", 8400, like_fs=True) == 1.0
    assert flux.reason("1618m49", 8209) == "flux unknown: 1618m49 is not in flux.ctl (shipped)"
    assert "3c227 at 500-5000 MHz, not at 8400 MHz" in flux.reason("3c227", 8400)
    assert flux.reason("3c48", 8400) == ""
    assert (flux.type("3c48"), flux.type("casa"), flux.type("x1"), flux.type("3c227", 8400)) == ("c", "p", "x", "x")
    assert flux.size_arcsec("virgoa") == 200 and flux.size_arcsec("nobody") == 0


def test_the_last_record_counts_and_edges_are_inside() -> None:
    pieces = table(
        "a c 100 200 1 0 0 1 gauss 100 1s", "a c 200 300 2 0 0 5 gauss 100 1s", "a p 250 260 3 0 0 2 disk 1s"
    )
    assert pieces.flux("a", [99, 100, 200, 255, 300, 301, np.nan]) == pytest.approx(
        [np.nan, 10, 100, 1000, 100, np.nan, np.nan], nan_ok=True
    )
    assert pieces.sources == ("a",) and pieces.size_arcsec("A") == 5
    assert [problem.line for problem in check_flux("\n".join(["a c 1 2 1 0 0 1 disk 1s"] * 2))][-1] == 2


def test_point_sources_need_no_correction() -> None:
    assert table("a c 100 200 1 0 0 0 disk 0s").correction("a", 150, [0.1, 1.0]) == pytest.approx([1, 1])


# ---------------------------------------------------------------- the shipped table and real logs


@pytest.mark.real_data
def test_shipped_table_has_the_field_systems_sources_and_values(shared: Path) -> None:
    theirs = read_flux(shared / "data/rxg/fs_defaults/flux.ctl")
    assert [replace(r, line=0) for r in default_flux().records] == [replace(r, line=0) for r in theirs.records]
    assert check_flux((shared / "data/rxg/fs_defaults/flux.ctl").read_text()) == []


def test_shipped_table_has_nothing_to_complain_about() -> None:
    text = (Path(parse_flux.__code__.co_filename).parent / "data/flux.ctl").read_text()
    assert check_flux(text) == []


def apriori(log: Path) -> dict[str, np.ndarray]:
    """source -> rows of (time, MHz, apparent Jy, FWHM) of all finished scans."""
    rows: dict[str, list[tuple[float, ...]]] = {}
    block: list[tuple[float, ...]] = []
    with gzip.open(log, "rt", errors="replace") as lines:
        for match in filter(None, map(APR.match, lines)):
            year, doy, hour, minute, second, kind, rest = match.groups()
            words = rest.split()
            if kind == "APR":
                time = utc(int(year), int(doy)) + 3600 * int(hour) + 60 * int(minute) + float(second)
                block.append((time, float(words[1]), float(words[3]), float(words[9])))
            else:
                rows.setdefault(words[0], []).extend(block)
                block = []
    return {source: np.array(found) for source, found in rows.items()}


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("log", "sources"),
    [
        ("r1730ny", ("casa", "cygnusa", "taurusa")),
        ("r4724ny", ("casa", "cygnusa")),
        ("r1749on", ("casa", "cygnusa")),
        ("r1751kk", ("casa", "taurusa")),
        ("r1749ts", ("cygnusa",)),
    ],
)
def test_real_logs_were_made_with_the_shipped_values(shared: Path, log: str, sources: tuple[str, ...]) -> None:
    """APR prints 0.01 Jy and a FWHM of 1e-5 deg: that is all the difference there is."""
    found = apriori(shared / f"data/fs_logs/{log}.log.gz")
    assert tuple(sorted(found)) == sources
    for source, rows in found.items():
        apparent = default_flux().apparent(source, rows[:, 1], rows[:, 3], rows[:, 0])
        np.testing.assert_allclose(apparent, rows[:, 2], atol=0.01)


@pytest.mark.real_data
def test_an_older_table_agrees_but_for_cas_a(shared: Path, unpack: Callable[[str], Path]) -> None:
    older = read_flux(unpack("data/rxg/apex-tools_station_rxg_flux.tar.xz") / "control/flux.ctl")
    found = apriori(shared / "data/fs_logs/r1730ny.log.gz")
    ratio = {s: older.apparent(s, rows[:, 1], rows[:, 3], rows[:, 0]) / rows[:, 2] for s, rows in found.items()}
    np.testing.assert_allclose(ratio["cygnusa"], 1, atol=3e-5)
    np.testing.assert_allclose(ratio["taurusa"], 1, atol=3e-5)
    assert np.all(abs(ratio["casa"] - 1) > 0.05)
    assert older.apparent("cygnusa", 8212.99, 0.12758) == pytest.approx(187.28, abs=0.01)


@pytest.mark.real_data
def test_a_source_that_no_table_has_was_taken_as_one_jansky(shared: Path) -> None:
    rows = apriori(shared / "data/fs_logs/r4736hb.log.gz")["1618m49"]
    assert np.all(rows[:, 2] == 1.0)
    np.testing.assert_array_equal(default_flux().apparent("1618m49", rows[:, 1], rows[:, 3], like_fs=True), rows[:, 2])


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("abcdefghijk c 1 2 1 1 1 1 disk 1s", "FX -6", "11 characters"),
        ("3c48", "FX -7", "the end of the line after '3c48'"),
        ("3c48 x", "FX -8", "the type 'x'"),
        (" * a comment", "FX -8", "behind a blank"),
        ("3c48 c", "FX -10", "after 'c'"),
        ("3c48 c low", "FX -11", "'low'"),
        ("3c48 c nan", "FX -11", "'nan'"),
        ("3c48 c 1_0", "FX -11", "'1_0'"),
        ("3c48 c 1", "FX -12", "highest frequency"),
        ("3c48 c 1 inf", "FX -13", "'inf'"),
        ("3c48 c 1 2", "FX -14", "coefficient a"),
        ("3c48 c 1 2 z", "FX -15", "'z'"),
        ("3c48 c 1 2 1", "FX -16", "coefficient b"),
        ("3c48 c 1 2 1 z", "FX -17", "'z'"),
        ("3c48 c 1 2 1 1", "FX -18", "coefficient c"),
        ("3c48 c 1 2 1 1 z", "FX -19", "'z'"),
        ("3c48 c 1 2 1 1 1", "FX -20", "size"),
        ("3c48 c 1 2 1 1 1 z", "FX -21", "'z'"),
        ("3c48 c 1 2 1 1 1 1", "FX -22", "structure model"),
        ("3c48 c 1 2 1 1 1 1 gauss", "FX -23", "percent"),
        ("3c48 c 1 2 1 1 1 1 gauss 1s", "FX -24", "'1s'"),
        ("3c48 c 1 2 1 1 1 1 gauss 100", "FX -25", "axis"),
        ("3c48 c 1 2 1 1 1 1 gauss 100 5", "FX -26", "without a blank"),
        ("3c48 c 1 2 1 1 1 1 gauss 100 5s z", "FX -28", "'z'"),
        ("3c48 c 1 2 1 1 1 1 gauss 60 5s 5s 4s", "FX -30", "'4s'"),
        ("3c48 c 1 2 1 1 1 1 gauss 60 5s 5s 40", "FX -31", "second component's axis"),
        ("3c48 c 1 2 1 1 1 1 gauss 60 5s 5s 40 4", "FX -32", "'4'"),
        ("3c48 c 1 2 1 1 1 1 gauss 60 5s 5s 40 4s -4s", "FX -34", "'-4s'"),
        ("3c48 c 1 2 1 1 1 1 2pts", "FX -35", "separation"),
        ("3c48 c 1 2 1 1 1 1 2pts s", "FX -36", "'s'"),
        ("3c48 c 1 2 1 1 1 1 disk", "FX -37", "diameter"),
        ("3c48 c 1 2 1 1 1 1 disk 1", "FX -38", "'1'"),
        ("3c48 c 1 2 1 1 1 1 ring 1s", "FX -39", "'ring'"),
        ("3c48 c 1 2 1 1 1 1 disk 1s remark", "FX -40", "'remark'"),
        ("3c48 c 1 2 1 1 1 1 gauss 60 5s 5s 40 4s 4s 4s", "FX -40", "'4s'"),
        ("* " + 300 * "x", "FX -4", "302 characters"),
    ],
)
def test_every_error_has_its_line_and_the_field_systems_code(line: str, code: str, says: str) -> None:
    text = f"* head\r\n{RECORD}\r\n\r\n{line}\r\n"
    problems = [problem for problem in check_flux(text) if problem.severity == "error"]
    assert [(problem.line, problem.code) for problem in problems] == [(4, code)]
    assert problems[0].fix and says in problems[0].describe("flux.ctl")
    with pytest.raises(FormatError, match=rf"^flux.ctl:4: error: .*\({code}\)"):
        parse_flux(text, "flux.ctl")


def test_more_records_than_the_field_system_takes() -> None:
    text = f"{RECORD}\n" * 102
    errors = [problem for problem in check_flux(text) if problem.severity == "error"]
    assert [(p.line, p.code) for p in errors] == [(101, "FX -5")]
    parse_flux(f"{RECORD}\n" * 100, "flux.ctl")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("3c286 c 1000 50000 1.2481 -0.4507 -0.1798 1 gauss 100 1s", "of GHz in most papers"),
        ("3c286 c 1 50 1.2481 -0.4507 -0.1798 1 gauss 100 1s", "if it is GHz"),
        ("3c48 c 23780 500 2.465 -0.004 -0.1251 1.5 gauss 100 1s", "Exchange them"),
        ("virgoa c 500 2520 4.484 -0.603 -0.028 200 gauss 80.8 40s 20s 20 10m 10m", "100.8 percent"),
        ("3c48 c 500 23780 2.465 -0.004 -0.1251 -2 gauss 100 1s", "a size of -2"),
        ("3c48 c 500 23780 2465 -0.004 -0.1251 1 gauss 100 1s", "a flux density that an antenna can measure"),
    ],
)
def test_what_is_accepted_but_probably_mistaken_is_a_warning(line: str, says: str) -> None:
    (problem,) = check_flux(line + "\n")
    assert problem.severity == "warning" and says in problem.describe("flux.ctl")


def test_a_file_that_is_no_flux_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flux.ctl"
    for content in (b"", b"\x00\x01\x02" * 50, b"* only a comment\n"):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"flux\.ctl"):
            read_flux(path)
    with pytest.raises(DataError, match="nothere"):
        read_flux(tmp_path / "nothere")


# ---------------------------------------------------------------- writing

numbers = st.floats(-1e4, 1e4, allow_subnormal=False)
angles = st.sampled_from([1 / 3600, 23 / 3600, 4.2 / 60, 0.52, 0.1234567891, 0.0])
structures = st.one_of(
    st.builds(lambda size: Structure("disk", size_deg=size), angles),
    st.builds(lambda size: Structure("2pts", size_deg=size), angles),
    st.builds(
        lambda parts: Structure("gauss", tuple(parts)),
        st.lists(st.tuples(numbers, angles, angles), min_size=1, max_size=2),
    ),
)
records = st.builds(
    FluxRecord,
    st.text("abcz019.+-", min_size=1, max_size=10),
    st.sampled_from("cp"),
    numbers,
    numbers,
    st.tuples(numbers, numbers, numbers),
    numbers,
    structures,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(records, min_size=1, max_size=5))
def test_written_tables_read_back_the_same(found: list[FluxRecord]) -> None:
    again = parse_flux(format_flux(found, ["made by a test"]), "flux.ctl").records
    assert [replace(record, line=0) for record in again] == found


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_editing_keeps_comments_order_and_line_ends(end: str) -> None:
    text = f"* head{end}{end}{RECORD}{end}* between{end}{BAARS_CASA}"
    found = parse_flux(text, "flux.ctl").records
    changed = update_flux(text, {3: replace(found[0], name="3c49"), 5: None}, [found[1]])
    lines = changed.split(end)
    assert lines[:2] == ["* head", ""] and lines[3] == "* between" and changed.endswith(end)
    again = parse_flux(changed, "flux.ctl").records
    assert [(r.name, r.line) for r in again] == [("3c49", 3), ("casa", 5)]
    assert update_flux(f"{text}{end}", {}) == f"{text}{end}"
