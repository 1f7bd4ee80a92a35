"""Publishing into a receiver file: planned, verified, atomic, with a backup, and refused where it must be."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from calibrant.errors import CalibrantError, DataError, FormatError, ParameterError
from calibrant.station.curve import GainCurve
from calibrant.station.publish import apply_update, plan_update
from calibrant.station.rxg import read_rxg
from calibrant.station.rxg_changes import Changes, read_changes
from calibrant.station.text import apply_fixes, read_text, write_new
from calibrant.station.verbs.update import update

TODAY = date(2026, 11, 21)
TEXT = """\
range 8000 9000
2026 11 01
frequency 1.0
lcp rcp
0.12 0.10
ELEV POLY 1.0
lcp 8100.0 3.0
lcp 8300.0 5.0
rcp 8100.0 2.0
end_tcal_table
30.0 40.0
end_spillover_table
"""


@pytest.fixture
def rxg(tmp_path: Path) -> Path:
    path = tmp_path / "x.rxg"
    path.write_text(TEXT)
    path.chmod(0o640)
    return path


def fit(tmp_path: Path, name: str = "fit.json", **content: Any) -> str:
    path = tmp_path / name
    path.write_text(json.dumps(content))
    return str(path)


def test_plan_then_apply(rxg: Path) -> None:
    planned = plan_update(rxg, Changes(dpfu={"l": 0.13}, methods=("mean of 12 points",)), TODAY)
    assert rxg.read_text() == TEXT
    assert planned.words == ("DPFU lcp: 0.12 -> 0.13 K/Jy (+8.33 %)",)
    assert planned.effects == ("lcp at elevation 45: gain +8.33 %, Tsys/gain -7.69 %; Tcal ratio times 1.083",)
    assert planned.diff.splitlines()[:2] == ["--- a/x.rxg", "+++ b/x.rxg"]
    assert [line for line in planned.diff.splitlines()[2:] if line[0] in "+-"] == [
        "-2026 11 01",
        "+2026 11 21",
        "-0.12 0.10",
        "+0.13 0.10",
        "+* calibrant 0.1.0 2026-11-21: DPFU lcp: 0.12 -> 0.13 K/Jy (+8.33 %)",
        "+*   mean of 12 points",
    ]
    backup = Path(apply_update(planned))
    assert read_rxg(rxg).dpfu == {"l": 0.13, "r": 0.10}
    assert read_rxg(rxg).date == (2026, 11, 21)
    assert backup.read_text() == TEXT
    assert backup.name.startswith("x.rxg.bak-2")
    assert sorted(rxg.parent.glob("*.rxg")) == [rxg]
    assert len(list(rxg.parent.iterdir())) == 2
    assert [file.stat().st_mode & 0o777 for file in (rxg, backup)] == [0o640, 0o640]


def test_backups_are_never_overwritten(rxg: Path) -> None:
    names = {apply_update(plan_update(rxg, Changes(dpfu={"l": 0.13 + index / 100}), TODAY)) for index in range(3)}
    assert len(names) == 3
    assert min(Path(name).read_text() == TEXT for name in sorted(names)[:1])


def test_refused_where_the_file_has_changed_meanwhile(rxg: Path) -> None:
    planned = plan_update(rxg, Changes(dpfu={"l": 0.13}), TODAY)
    rxg.write_text(TEXT + "* somebody else\n")
    with pytest.raises(DataError, match="found other content"):
        apply_update(planned)
    assert rxg.read_text() == TEXT + "* somebody else\n"
    assert list(rxg.parent.iterdir()) == [rxg]


def test_refused_where_it_cannot_be_written(rxg: Path) -> None:
    planned = plan_update(rxg, Changes(dpfu={"l": 0.13}), TODAY)
    rxg.chmod(0o444)
    with pytest.raises(DataError, match="not writable"):
        apply_update(planned)
    assert list(rxg.parent.iterdir()) == [rxg]


def test_a_failure_while_writing_leaves_the_file(rxg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan_update(rxg, Changes(dpfu={"l": 0.13}), TODAY)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match="No space left"):
        apply_update(planned, backup=False)
    assert rxg.read_text() == TEXT
    assert list(rxg.parent.iterdir()) == [rxg]


def test_a_link_stays_a_link(rxg: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.rxg"
    link.symlink_to(rxg)
    apply_update(plan_update(link, Changes(dpfu={"l": 0.13}), TODAY), backup=False)
    assert link.is_symlink()
    assert read_rxg(rxg).dpfu["l"] == 0.13


def test_bytes_of_latin_1_stay(rxg: Path) -> None:
    rxg.write_bytes(b"* f\xfcr Onsala\r\n" + TEXT.replace("\n", "\r\n").encode())
    apply_update(plan_update(rxg, Changes(trec={"r": 44.0}), TODAY))
    data = rxg.read_bytes()
    assert data.startswith(b"* f\xfcr Onsala\r\nrange")
    assert data.count(b"\n") == data.count(b"\r\n")
    assert b"\r\n30.0 44.00\r\n" in data


def test_nothing_to_change_writes_nothing(rxg: Path) -> None:
    result = update(str(rxg), dpfu=["l=0.12"])
    assert not result.update.changed
    assert list(rxg.parent.iterdir()) == [rxg]
    assert "nothing written" in result.summary()


@pytest.mark.parametrize("text", [TEXT.replace("8300.0 5", "8000.0 5"), TEXT.removesuffix("\n"), TEXT + "1 2\n"])
def test_a_file_with_errors_is_refused_and_left(rxg: Path, text: str) -> None:
    rxg.write_text(text)
    with pytest.raises(FormatError, match=r"x\.rxg:\d+: error"):
        plan_update(rxg, Changes(dpfu={"l": 0.13}), TODAY)
    assert rxg.read_text() == text


def test_all_changes_of_two_fits(rxg: Path, tmp_path: Path) -> None:
    gain = fit(
        tmp_path,
        rxg="/usr2/control/rxg_files/x.rxg",
        method="joint fit of 2 polarisations, degree 2",
        logs=["a.log"],
        rxg_changes=[
            {"pol": "l", "dpfu": 0.13},
            {"curve": {"kind": "altaz", "coefficients": [1.0, 0.0, -1e-5], "opacity_corrected": True}},
            {"pol": "r", "scale_tcal": 1.1},
            {"pol": "r", "dpfu": 9.0, "rxg": "other.rxg"},
        ],
    )
    tcal = fit(
        tmp_path,
        "tcal.json",
        rxg_changes=[{"pol": "l", "tcal": [[8100.0, 3.3], [8200.0, 4.4]]}, {"pol": "r", "trec": 50.0}],
    )
    dry = update(str(rxg), from_=[gain, tcal], dry_run=True)
    assert rxg.read_text() == TEXT
    assert dry.summary().splitlines()[-1] == "Dry run: nothing was written."
    assert json.loads(json.dumps(dry.to_dict()))["written"] is False
    done = update(str(rxg), from_=[gain, tcal], dpfu=["r=0.11"])
    assert done.summary().splitlines()[-2:] == [
        "The Field System uses it after a restart.",
        "a.log: no note in its session: No such file or directory",
    ]
    new = read_rxg(rxg)
    assert new.dpfu == {"l": 0.13, "r": 0.11}
    assert new.curve == GainCurve("altaz", (1.0, 0.0, -1e-5), opacity_corrected=True)
    assert new.trec == {"l": 30.0, "r": 50.0}
    assert [column.tolist() for column in new.tcal["l"]] == [[8100, 8200, 8300], [3.3, 4.4, 5.0]]
    assert new.tcal["r"][1].tolist() == [2.2]
    assert "*   joint fit of 2 polarisations, degree 2. From a.log\n" in rxg.read_text()
    assert "DPFU rcp: 0.1 -> 0.11 K/Jy (+10.00 %)" in done.to_dict()["changes"]
    assert max(map(len, rxg.read_text().splitlines())) <= 100


def test_measured_rows_among_old_ones_of_another_scale(rxg: Path) -> None:
    measured = {"l": {8150.0: 3.85, 8200.0: 4.4, 8250.0: 4.95}}
    warned = plan_update(rxg, Changes(tcal={"l": measured["l"]}), TODAY).effects
    assert warned[-1] == (
        "Warning: the new Tcal of lcp lie +10.00 % from the old table, of which 2 rows stay;"
        " --scale-tcal l=1.1 would bring those along"
    )
    together = plan_update(rxg, Changes(tcal={"l": measured["l"]}, scale_tcal={"l": 1.1}), TODAY)
    assert not any("Warning" in line for line in together.effects)
    assert "lcp 8100.0 3.3\nlcp 8150.0 3.85\nlcp 8200.0 4.4\nlcp 8250.0 4.95\nlcp 8300.0 5.5\n" in together.new_text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "rxg_changes"),
        ({"rxg_changes": [1]}, "rxg_changes"),
        ({"rxg_changes": [{"pol": "l"}]}, "expected one of dpfu"),
        ({"rxg_changes": [{"pol": "x", "dpfu": 1}]}, "polarisation 'x'"),
        ({"rxg_changes": [{"pol": "l", "dpfu": None}]}, "TypeError"),
        ({"rxg_changes": [{"pol": "l", "dpfu": float("nan")}]}, "finite"),
        ({"rxg_changes": [{"pol": "l", "tcal": [[1]]}]}, "cannot be used"),
        ({"rxg_changes": [{"curve": {"kind": "spline", "coefficients": [1]}}]}, "spline"),
        ({"rxg_changes": [{"pol": "l", "dpfu": 0.1}, {"pol": "l", "dpfu": 0.2}]}, "given twice"),
        ({"rxg": "y.rxg", "rxg_changes": [{"pol": "l", "dpfu": 0.1}]}, "changes for y.rxg"),
    ],
)
def test_json_that_cannot_be_used(rxg: Path, tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(CalibrantError, match=message):
        update(str(rxg), from_=[fit(tmp_path, **content)])
    assert rxg.read_text() == TEXT


def test_other_bad_input(rxg: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{\n"rxg_changes": [')
    with pytest.raises(FormatError, match=r"broken\.json:2"):
        read_changes(str(broken), "x.rxg")
    for given in (
        {},
        {"dpfu": ["l"]},
        {"dpfu": ["x=1"]},
        {"dpfu": ["l=nan"]},
        {"trec": ["l=-3"]},
        {"scale_tcal": ["l=0"]},
    ):
        with pytest.raises(ParameterError):
            update(str(rxg), **given)
    with pytest.raises(DataError, match="cannot be read"):
        update(str(tmp_path / "absent.rxg"), dpfu=["l=1"])
    assert rxg.read_text() == TEXT


def test_writing_new_files(tmp_path: Path) -> None:
    write_new(tmp_path / "new.rxg", TEXT)
    assert read_text(tmp_path / "new.rxg") == TEXT
    with pytest.raises(CalibrantError, match="existing file"):
        write_new(tmp_path / "new.rxg", "")
    write_new(tmp_path / "new.rxg", "x\n", overwrite=True)
    with pytest.raises(DataError, match="Nothing was changed"):
        write_new(tmp_path / "absent" / "new.rxg", TEXT)
    assert [file.name for file in tmp_path.iterdir()] == ["new.rxg"]
    assert apply_fixes("a\nb", []) == "a\nb"
