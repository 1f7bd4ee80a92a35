"""Receiver files: reading all three layouts, evaluation, choice for an LO, and the real files of stations."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.errors import CalibrantError, DataError, FormatError, ParameterError
from calibrant.station.rxg import Receivers, parse, read_rxg
from calibrant.station.rxg_check import check_rxg
from calibrant.station.text import apply_fixes, split_lines

TODAY = date(2026, 11, 21)
GOOD = """\
* a comment
range 8000 9000
2026 11 01
frequency 1.0
* another
rcp lcp
0.12 0.10
ELEV POLY 0.8 0.008 -0.00008
lcp 8100.0 3.0   trailing words
*lcp 8200.0 9.9
lcp 8300.0 5.0
rcp 8100.0 2.0
rcp 8300.0 4.0
end_tcal_table
30.0 40.0
10 20
50 10
90 5
end_spillover_table
* history
*rcp 1 2
"""
LINES = GOOD.splitlines()


def edited(line: int, *new: str) -> str:
    """GOOD with a physical line replaced."""
    return "\n".join([*LINES[: line - 1], *new, *LINES[line:]]) + "\n"


def test_everything_is_read_and_follows_the_order_of_polarisations() -> None:
    rxg = parse(GOOD, "x.rxg")
    assert (rxg.kind, rxg.lo_mhz, rxg.date, rxg.generation) == ("range", (8000.0, 9000.0), (2026, 11, 1), 3)
    assert rxg.pols == ("r", "l")
    assert rxg.dpfu == {"r": 0.12, "l": 0.10}
    assert rxg.trec == {"r": 30.0, "l": 40.0}
    assert rxg.curve.coefficients == (0.8, 0.008, -0.00008)
    np.testing.assert_array_equal(rxg.tcal["l"], [[8100, 8300], [3, 5]])


def test_evaluation() -> None:
    rxg = parse(GOOD, "x.rxg")
    np.testing.assert_allclose(rxg.tcal_at("l", [8000, 8100, 8150, 9000]), [3, 3, 3.5, 5])
    np.testing.assert_array_equal(rxg.tcal_covers("r", [8000, 8100, 8300, 8301]), [False, True, True, False])
    np.testing.assert_allclose(rxg.gain("r", [0, 50]), [0.096, 0.12])
    np.testing.assert_allclose(rxg.spillover([5, 30, 90]), [20, 15, 5])
    with pytest.raises(ParameterError, match="expected one of r"):
        parse(edited(6, "rcp").replace("0.12 0.10", "0.12").replace("lcp", "rcp").replace("30.0 40", "30"), "x").gain(
            "l", 45
        )


def test_fwhm_of_the_reference() -> None:
    """D = 32 m at 22213 MHz, k = 1 (TOG's APR line)."""
    rxg = parse(GOOD, "x.rxg")
    assert rxg.fwhm(22213.0, 32.0) == pytest.approx(0.02948125526067034, rel=1e-12)
    assert parse(edited(4, "constant 0.25"), "x").fwhm([1.0, 2.0], 32.0).tolist() == [0.25, 0.25]
    assert parse(edited(4, "frequency"), "x").beam_value == 1.0


def test_altaz_is_evaluated_at_the_zenith_distance() -> None:
    """Torun's file gives the same curve in both forms."""
    altaz = parse(edited(8, "altaz poly 1.0 -1.0825e-4 -8.377e-7 -5.491e-8"), "x")
    elev = parse(edited(8, "ELEV POLY 0.943443 1.59335e-3 -1.56634e-5 5.491e-8"), "x")
    elevation = np.linspace(0, 90, 91)
    np.testing.assert_allclose(altaz.gain("r", elevation), elev.gain("r", elevation), atol=5e-7)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2026 11 01", "2026 0 305"),
        ("range", "RANGE"),
        ("lcp", "LCP"),
        ("end_tcal_table", "  END_TCAL_TABLE"),
        ("\n", "\r\n"),
        ("rcp 8100.0 2.0", "rcp 8100.0 2.0\n\n   \n"),
    ],
)
def test_spellings_that_mean_the_same(old: str, new: str) -> None:
    assert parse(GOOD.replace(old, new), "x").date == (2026, 11, 1)
    assert parse(GOOD.replace(old, new), "x").tcal_at("l", 8150) == 3.5


def test_no_diode_is_a_negative_tcal() -> None:
    text = GOOD.replace("rcp 8100.0 2.0\nrcp 8300.0 4.0", "rcp 8100 -100")
    assert parse(text, "x").tcal_at("r", 8200) == -100
    problems = check_rxg(text, TODAY)
    assert [problem.severity for problem in problems] == ["note"]
    assert "no noise diode" in problems[0].fix


def test_older_layouts_are_read() -> None:
    second = parse(edited(15, "35.0"), "x")
    assert (second.generation, second.trec) == (2, {"r": 35.0, "l": 35.0})
    first = parse("\n".join(LINES[:13]) + "\n", "x")
    assert (first.generation, first.trec, first.tcal_at("r", 8200)) == (1, {"r": 0.0, "l": 0.0}, 3.0)
    assert first.spillover(30.0) == 0
    first = check_rxg("\n".join(LINES[:13]) + "\n", TODAY)
    assert [(problem.severity, problem.code) for problem in first] == [("warning", "RG -699")]


def receiver(name: str, lo: str, pols: str = "lcp rcp") -> object:
    count = len(pols.split())
    lines = [lo, "2026 1 1", "frequency", pols, " ".join(["0.1"] * count), "ELEV POLY 1", f"{pols[:3]} 8000 5",
             "end_tcal_table", " ".join(["0"] * count), "end_spillover_table", ""]  # fmt: skip
    return parse("\n".join(lines), name)


def test_receiver_for_an_lo() -> None:
    files = [
        receiver("a.rxg", "range 8000 9000"),
        receiver("b.rxg", "range 8300 8500"),
        receiver("c.rxg", "fixed 8080 8580.1"),
        receiver("d.rxg", "fixed 8080", "rcp"),
    ]
    receivers = Receivers(reversed(files))
    name = lambda lo, pol=None: getattr(receivers.for_lo(lo, pol), "path", None)  # noqa: E731
    assert name(8580.1005) == "c.rxg"
    assert name(8580.102) == "a.rxg"
    assert name(8080) == "d.rxg"
    assert name(8080, "l") == "c.rxg"
    assert name(8400) == "b.rxg"
    assert name(9000.0005) == "a.rxg"
    assert name(9000.01) is None
    assert "narrowest" in receivers.choose(8400.0)[1]
    assert receivers.choose(8999.0)[1] == ""


def test_receivers_of_a_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \*\.rxg"):
        Receivers.read(tmp_path)
    (tmp_path / "x.rxg").write_text(GOOD)
    (tmp_path / "x.rxg.bak-20260101000000").write_text("no")
    assert [rxg.name for rxg in Receivers.read(tmp_path).files] == ["x.rxg"]


BAD = [
    (2, "range 9000 8000", "RG -113"),
    (2, "range 8000", "RG -117"),
    (2, "fixed -1", "RG -114"),
    (2, "fixed 9000 8000", "RG -113"),
    (2, "fixed", "RG -115"),
    (2, "fixed 8080 x", "RG -116"),
    (2, "ranges 8000 9000", "RG -112"),
    (3, "0", "RG -211"),
    (3, "2026 11", "RG -211"),
    (3, "0 0 0", "RG -212"),
    (3, "2026 13 1", "RG -212"),
    (4, "gauss 1.0", "RG -312"),
    (4, "frequency 1.0 2.0", "RG -313"),
    (4, "frequency k", "RG -314"),
    (4, "constant", "RG -315"),
    (6, "linear", "RG -412"),
    (6, "rcp both", "RG -413"),
    (7, "0.12", "RG -513"),
    (7, "-0.12 0.1", "RG -511"),
    (7, "0.12 -0.1", "RG -512"),
    (7, "none", "RG -515"),
    (8, "ELEV POLY" + 11 * " 1", "RG -611"),
    (8, "elevation POLY 1", "RG -611"),
    (8, "AZEL POLY 1", "RG -612"),
    (8, "ELEV SPL 1", "RG -613"),
    (8, "ELEV POLY 1 opacity_correct", "RG -614"),
    (9, "lcp 8100", "RG -711"),
    (9, "xcp 8100 3", "RG -712"),
    (9, "lcp -1 3", "RG -714"),
    (15, "-30 40", "RG -811"),
    (15, "30 -40", "RG -812"),
    (16, "10", "RG -911"),
    (20, "lcp 1 2", "RG -13"),
]


@pytest.mark.parametrize(("line", "content", "code"), BAD)
def test_errors_name_line_token_and_the_field_systems_code(line: int, content: str, code: str) -> None:
    problems = [problem for problem in check_rxg(edited(line, content), TODAY) if problem.severity == "error"]
    assert [(problem.line, problem.code) for problem in problems] == [(line, code)]
    assert problems[0].expected and problems[0].fix
    with pytest.raises(FormatError, match=rf"x\.rxg:{line}: error: .*{code}"):
        parse(edited(line, content), "x.rxg")


@pytest.mark.parametrize("line", range(2, 10))
def test_a_missing_line_of_the_header_is_one_problem(line: int) -> None:
    """The lines behind it are not blamed. (Line 5 is a comment, line 9 the first row of a table.)"""
    problems = [problem for problem in check_rxg(edited(line), TODAY) if problem.severity == "error"]
    assert len(problems) == (line not in (5, 9))


@pytest.mark.parametrize("length", range(1, 19))
def test_a_truncated_file_names_what_was_expected_next(length: int) -> None:
    problems = check_rxg("\n".join(LINES[:length]) + "\n", TODAY)
    assert problems[-1].found == "the end of the file" or length > 8
    if length < 19:
        assert any(problem.code.endswith("99") for problem in problems)


def test_one_polarisation() -> None:
    text = GOOD.replace("rcp lcp", "rcp").replace("0.12 0.10", "0.12").replace("30.0 40.0", "30.0")
    assert [problem.code for problem in check_rxg(text, TODAY)] == ["RG -713", "RG -713"]
    text = "\n".join(line for line in text.splitlines() if not line.startswith("lcp")) + "\n"
    assert check_rxg(text, TODAY) == []
    assert check_rxg(text.replace("\n30.0\n", "\n30.0 40.0\n"), TODAY)[0].code == "RG -814"
    assert check_rxg(text.replace("\n0.12\n", "\n0.12 0.1\n"), TODAY)[0].code == "RG -514"


@pytest.mark.parametrize("token", ["nan", "inf", "1.2.3", "12K", "1e999", "1.0d-3", "--1", "0x10"])
@pytest.mark.parametrize(
    ("line", "form"),
    [
        (2, "range {} 9000"),
        (4, "constant {}"),
        (7, "{} 0.1"),
        (8, "ELEV POLY {}"),
        (9, "lcp 8100 {}"),
        (9, "lcp {} 1"),
        (15, "{} 40"),
        (16, "10 {}"),
    ],
)
def test_what_is_not_a_finite_number(token: str, line: int, form: str) -> None:
    with pytest.raises(FormatError, match=rf"^x:{line}: "):
        parse(edited(line, form.format(token)), "x")


def test_limits() -> None:
    rows = [f"lcp {7000 + index / 2} 3" for index in range(1199)]
    assert parse(edited(9, *rows[: 1200 - 3]), "x").tcal["l"][0].size == 1198
    many = [problem for problem in check_rxg(edited(9, *rows), TODAY) if problem.severity == "error"]
    assert {problem.code for problem in many} == {"RG -715"}
    spill = [f"{index} 3" for index in range(21)]
    assert "RG -912" in [problem.code for problem in check_rxg(edited(16, *spill), TODAY)]
    assert [p.code for p in check_rxg(edited(9, "lcp 8100 3" + " " * 300 + "x"), TODAY)] == ["RG -704"]
    assert [p.severity for p in check_rxg(edited(5, "*" + 300 * "x"), TODAY)] == ["warning"]


def test_what_the_field_system_reads_wrongly_without_a_word() -> None:
    unsorted = check_rxg(edited(9, "lcp 8400 3"), TODAY)
    assert [(p.line, p.severity, p.code) for p in unsorted] == [(11, "error", "")]
    mixed = GOOD.replace("rcp 8100.0 2.0\n", "").replace("lcp 8100.0", "rcp 8100.0 2.0\nlcp 8100.0")
    assert [p.severity for p in check_rxg(mixed, TODAY)] == ["warning"]
    assert parse(mixed, "x").tcal_at("r", 8200) == 3
    spill = check_rxg(edited(16, "90 1"), TODAY)
    assert [(p.line, p.severity) for p in spill] == [(17, "error")]


def test_warnings_and_notes() -> None:
    def words(line: int, content: str) -> list[str]:
        return [f"{problem.severity} {problem.found}" for problem in check_rxg(edited(line, content), TODAY)]

    assert words(3, "2002 07 18") == ["note 2002 7 18, 24 years ago"]
    assert words(3, "2026 11 22") == ["warning 2026 11 22"]
    assert words(3, "2026 02 30") == ["warning 2026 2 30"]
    assert words(8, "ELEV POLY 8.10563E-01 9.74073E-03 -2.33249E-04 3.46868E-06 -2.13463E-08") == [
        "note a curve with maximum 1.0298 at elevation 64.7"
    ]
    assert words(8, "ELEV POLY 1 -0.02")[0].startswith("warning a gain of -0.8 at elevation 90")
    assert words(11, "lcp 8100 4") == ["warning 'lcp 8100' again (first in line 9)"]
    assert words(9, "lcp 8100 0")[0].startswith("warning Tcal 0 K")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_is_done_to_a_file_is_read_or_refused(data: st.DataObject) -> None:
    """And what `check` finds without a decision left is a file without errors after the fix, or says what is left."""
    lines = list(LINES)
    tokens = st.sampled_from(
        ["", "nan", "-1", "1e300", "lcp", "rcp 1 2", "*", " * x", "end_tcal_table", "0 0", "é", "\t"]
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from(["drop", "token", "line", "cut", "swap"]))
        if kind == "drop":
            lines[place : place + data.draw(st.integers(0, 3))] = [""]
        elif kind == "cut":
            lines[place] = lines[place][: data.draw(st.integers(0, 20))]
        elif kind == "swap":
            lines[place], lines[0] = lines[0], lines[place]
        elif kind == "line":
            lines.insert(place, data.draw(tokens))
        else:
            words = lines[place].split(" ")
            words[data.draw(st.integers(0, len(words) - 1))] = data.draw(tokens)
            lines[place] = " ".join(words)
    text = "\n".join(lines)
    problems = check_rxg(text, TODAY)
    assert all(0 <= problem.line <= len(split_lines(text)) for problem in problems)
    undecided = [problem for problem in problems if problem.severity == "error" and problem.edit is None]
    try:
        rxg = parse(text, "x")
    except FormatError:
        assert undecided
    else:
        assert not undecided or all("beyond all" in problem.found for problem in undecided)
        assert set(rxg.dpfu) == set(rxg.trec) == set(rxg.tcal) == set(rxg.pols)
        fixed = apply_fixes(apply_fixes(text, problems), check_rxg(apply_fixes(text, problems), TODAY))
        assert parse(fixed, "x").dpfu == rxg.dpfu


def test_not_a_text() -> None:
    for content in ("", "\n", "word\n", "* only comments\n"):
        with pytest.raises(FormatError):
            parse(content, "x")


@pytest.mark.parametrize("content", [b"", b"\n \n", bytes(range(256)), b"\x1f\x8b\x08" + 50 * b"a", b"range\x00 1 2\n"])
def test_files_that_are_no_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.rxg").write_bytes(content)
    with pytest.raises(FormatError, match=r"x\.rxg: found"):
        read_rxg(tmp_path / "x.rxg")
    with pytest.raises(DataError, match="cannot be read"):
        read_rxg(tmp_path / "absent.rxg")


@pytest.mark.real_data
def test_92_station_files(unpack: Callable[[str], Path]) -> None:
    """91 are read; one is refused for a reason that the Field System has too: its range is upside down."""
    root = unpack("data/rxg/apex-tools_station_rxg_flux.tar.xz")
    files = sorted(root.rglob("*.rxg"))
    assert len(files) == 92
    generations: Counter[int] = Counter()
    refused = []
    for path in files:
        try:
            generations[read_rxg(path).generation] += 1
        except CalibrantError as error:
            refused.append(str(error).removeprefix(str(root)))
    assert generations == {2: 86, 3: 5}
    assert len(refused) == 1
    assert "mar07trl.rxg:2: error: found 'range 2400 1000'" in refused[0]
    assert "RG -113" in refused[0]


@pytest.mark.real_data
def test_problems_of_the_station_files(unpack: Callable[[str], Path]) -> None:
    """Every problem names a line; the errors are spill-over tables that fall, of which FS takes the first row only."""
    root = unpack("data/rxg/apex-tools_station_rxg_flux.tar.xz")
    errors: Counter[str] = Counter()
    for path in root.rglob("*.rxg"):
        problems = check_rxg(path.read_text("latin-1"), TODAY)
        assert all(problem.line > 0 for problem in problems)
        errors.update(problem.found for problem in problems if problem.severity == "error")
    assert errors == {"elevations out of order": 16, "'range 2400 1000'": 1}


@pytest.mark.real_data
def test_files_of_the_field_system_and_of_stations(shared: Path, unpack: Callable[[str], Path]) -> None:
    receivers = Receivers.read([shared / "data/rxg/fs_defaults", shared / "data/rxg/vlbeer"])
    assert len(receivers) == 6
    jodrell = receivers.for_lo(4840.0)
    assert jodrell is not None
    assert jodrell.curve.maximum()[1] == pytest.approx(1, abs=1e-7)
    assert jodrell.tcal_at("l", 4943.25) == pytest.approx((9.88 + 2.3104) / 2)
    fwhm = json.loads((shared / "data/rxg/fixtures.json").read_text())["fwhm_deg_32m_22213"]
    assert jodrell.fwhm(22213.0, 32.0) == pytest.approx(fwhm, rel=1e-12)


@pytest.mark.real_data
def test_the_field_systems_own_tcal(unpack: Callable[[str], Path]) -> None:
    """`goodresult` is a receiver file (its data lines) and the APR rows that FS printed from it."""
    path = next(unpack("data/rxg/apex-tools_station_rxg_flux.tar.xz").rglob("goodresult"))
    lines = path.read_text().splitlines()
    table = lines[: next(index for index, line in enumerate(lines) if line.startswith("="))]
    rxg = parse("\n".join(table) + "\n", "goodresult")
    rows = [line.split()[1:] for line in lines if "#APR" in line]
    assert len(rows) == 8
    for detector, freq, tcal, _, dpfu, gain, product, *_ in rows:
        pol = "l" if int(detector[0]) % 2 else "r"
        assert math.floor(100 * rxg.tcal_at(pol, float(freq)) + 1e-6) / 100 == float(tcal)  # FS cut digits off
        assert rxg.gain(pol, 45.0) == pytest.approx(float(product)) == float(dpfu) * float(gain)
