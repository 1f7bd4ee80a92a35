"""`calibrant station check`: kinds of files, previewed and written fixes, exit code."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from calibrant.errors import CalibrantError
from calibrant.station.rxg import read_rxg
from calibrant.station.verbs.check import check, guess_kind

GOOD = f"""\
range 8000 9000
{datetime.now(UTC):%Y %m %d}
frequency
lcp
0.12
ELEV POLY 1.0
lcp 8100.0 3.0
end_tcal_table
30.0
end_spillover_table
"""
BAD = """\
range 8000 9000
2019 199
 * a blank before the star
frequency
rcp lcp
0.1 0.2
ELEV POLY 1.0
lcp 8100 3
rcp 8000 2
rcp 7000 2
lcp 8000 3
lcp 8000 3
0.0"""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.rxg"
    path.write_text(BAD)
    return path


def test_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "x.rxg").write_text(GOOD)
    result = check([str(tmp_path)])
    assert result.exit_code == 0
    assert (
        result.summary()
        == f"{tmp_path}/x.rxg: receiver gain file, nothing found\n1 file: found 0 errors, 0 warnings, 0 notes."
    )


def test_problems_are_named_with_their_lines(bad: Path) -> None:
    result = check([str(bad)])
    assert result.exit_code == 1
    problems = json.loads(json.dumps(result.to_dict()))["files"][0]["problems"]
    codes = [(problem["line"], problem["code"]) for problem in problems]
    at_the_end = ["RG -711", "RG -813", "RG -899", "RG -804"]
    assert codes == [(2, "RG -211"), (3, "RG -312"), (10, ""), (12, ""), *((13, code) for code in at_the_end)]
    assert f"{bad}:2: error: found '2019 199', expected a date" in result.summary()
    assert "--fix shows how" in result.summary()
    assert bad.read_text() == BAD


def test_fix_previews_and_writes_nothing(bad: Path) -> None:
    result = check([str(bad)], fix=True)
    assert result.exit_code == 1
    assert "\n-2019 199\n" in result.summary()
    assert "\n+2019 0 199\n" in result.summary()
    assert "Nothing was written" in result.summary()
    assert list(bad.parent.iterdir()) == [bad]
    assert bad.read_text() == BAD


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_fix_and_write(bad: Path, end: str) -> None:
    old = BAD.replace("\n", end).encode()
    bad.write_bytes(old)
    result = check([str(bad)], fix=True, write=True)
    assert result.exit_code == 0
    assert [file.read_bytes() for file in bad.parent.glob("*.bak-*")] == [old]
    text = bad.read_bytes().decode()
    assert text.count("\n") == text.count(end)
    problems = check([str(bad)]).to_dict()["files"][0]["problems"]
    assert [(p["line"], p["severity"], p["expected"]) for p in problems] == [(2, "note", "a recent calibration")]
    rxg = read_rxg(bad)
    assert rxg.date == (2019, 7, 18)
    assert [column.tolist() for column in rxg.tcal["r"]] == [[7000, 8000], [2, 2]]
    assert rxg.tcal["l"][0].tolist() == [8000, 8100]


def test_what_needs_a_decision_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x.rxg"
    path.write_text(GOOD.replace("0.12", "0.12 0.13"))
    result = check([str(path)], fix=True, write=True)
    assert result.exit_code == 1
    assert "nothing that can be corrected without a decision" in result.summary()
    assert [file.name for file in tmp_path.iterdir()] == ["x.rxg"]


def test_write_needs_fix(bad: Path) -> None:
    with pytest.raises(CalibrantError, match="--fix"):
        check([str(bad)], write=True)


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"\x1f\x8b\x08" + 30 * b"z", bytes(range(256))])
@pytest.mark.parametrize("name", ["x.rxg", "flux.ctl", "aquir.ctl", "x.antab", "unknown.txt"])
def test_files_that_are_no_text_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    good = tmp_path / "good.rxg"
    good.write_text(GOOD)
    result = check([str(path), str(tmp_path / "absent"), str(good)], fix=True, write=True)
    assert result.exit_code == 1
    assert [bool(file.refused) for file in result.files] == [True, True, False]
    assert "found 2 errors" in result.summary()
    assert path.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 2


def test_kinds_by_name_and_content(tmp_path: Path) -> None:
    def kind(name: str, text: str = "x\n") -> str:
        path = tmp_path / name
        path.write_text(text)
        return guess_kind(str(path))

    assert kind("x.log") == kind("x.log.gz") == "log"
    assert kind("x.rxg") == kind("x.rxg.bak-20261121000000-1") == "rxg"
    assert kind("flux.ctl") == kind("Flux_old.ctl") == "flux"
    assert kind("x.antabfs") == "antab"
    assert kind("ctlpo.ctl") == "aquir"
    assert kind("a", "2016.067.16:04:46.23;Log Opened\n") == "log"
    assert kind("b", "* c\n\nRange 1 2\n") == "rxg"
    assert kind("c", "! x\nGAIN ST ELEV DPFU=1 POLY=1 /\n") == "antab"
    assert kind("d", "* c\n3c48 c 400 26000 2.4 -0.5 0.1 1.0 gauss 100 1.0\n") == "flux"
    # The content counts more than the name.
    assert kind("g.ctl", "! x\n BAND = '90cm'\nSC       GAIN ALTAZ   DPFU =  0.093, 0.092 POLY=  1.000 /\n") == "antab"
    assert kind("x.rxg.txt", "fixed 8080\n2019 0 199\n") == "rxg"
    assert kind("h.rxg", "junk\n2016.067.16:04:46.23;Log Opened\n") == "log"
    assert kind("e", "INITPLLP -1 INITPLLP -2 85 500 600\n0 10 360\n") == "aquir"
    with pytest.raises(CalibrantError, match="--kind"):
        kind("f", "hello world\n")


@pytest.mark.real_data
def test_files_of_the_field_system(shared: Path) -> None:
    folder = shared / "data/rxg/fs_defaults"
    result = check([str(folder), str(folder / "flux.ctl"), str(folder / "ctlpo.ctl")])
    assert [file.kind for file in result.files] == ["rxg", "rxg", "flux", "aquir"]
    assert result.exit_code == 0


def test_packed_files(tmp_path: Path) -> None:
    text = (
        "GAIN ST ELEV DPFU=0.1,0.1 FREQ=8000,9000 POLY=1.0 /\nTSYS ST FT=1.0 TIMEOFF=0\nINDEX='R1','L1' /\n"
        "010 10:00.00 50.0 51.0\n/\n"
    )
    (tmp_path / "x.antab").write_text(text)
    (tmp_path / "y.antab.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "z.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "cut.antab.gz").write_bytes(gzip.compress(text.encode())[:-8])
    plain, packed, unnamed, cut = check(sorted(str(path) for path in tmp_path.glob("*")), fix=True).files[1:] + (
        check([str(tmp_path / "cut.antab.gz")]).files
    )
    assert plain.kind == packed.kind == unnamed.kind == cut.kind == "antab"
    assert plain.problems == packed.problems == unnamed.problems and not packed.refused
    assert "damaged" in cut.refused
    assert "Unpack it first" in check([str(tmp_path / "y.antab.gz")], fix=True, write=True).files[0].refused


def test_procedures_of_an_aquir_file_are_looked_up(tmp_path: Path) -> None:
    control, library = tmp_path / "a.ctl", tmp_path / "a.prc"
    control.write_text(
        "initp -1 postp -2 85 500 600\n0 10 360\ncasa 232327.9 584848 2000 prep 0 0 5 0 postp -2\n", encoding="ascii"
    )
    library.write_text("define  initp         x\nsy=rte_go aquir &\nenddef\ndefine  prep  x\nx\nenddef\n")
    without, known = (check([str(control)], proc=proc).files[0].problems for proc in ([], [str(library)]))
    assert [problem for problem in without if "Give the procedure library" in problem.fix]
    assert not [problem for problem in known if "Give the procedure library" in problem.fix]
    library.write_text("define  initp         x\nsetup\nenddef\ndefine  prep  x\nx\nenddef\n")
    assert "rte_go" in check([str(control)], proc=[str(library)]).summary()
    with pytest.raises(CalibrantError, match=r"no\.prc"):
        check([str(control)], proc=[str(tmp_path / "no.prc")])


@pytest.mark.real_data
def test_every_real_file_is_known_for_what_it_is(shared: Path) -> None:
    data = shared / "data"
    kinds = {
        "antab/rsg12.antab.gz": "antab", "antab/vlba_gains.key": "antab", "fs_logs/r1722yg.log.gz": "log",
        "rxg/fs_defaults/ctlpo.ctl.1950": "aquir", "rxg/vlbeer/feb06_ntl.rxg": "rxg",
    }  # fmt: skip
    result = check([str(data / name) for name in kinds])
    assert [file.kind for file in result.files] == list(kinds.values())
    assert [bool(file.refused) for file in result.files] == [False] * len(kinds)
    for name in ("ctlpo.ctl", "ctlpo.ctl.1950", "ctlpo_no_det.ctl"):
        folder = data / "rxg/fs_defaults"
        assert check([str(folder / name)], proc=[str(folder / "point.prc")]).files[0].problems == ()
