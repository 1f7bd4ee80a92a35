"""Edits: rules delete what they say; a session is ordered, reversible, replayable and says why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fabricated_points import points

from calibrant.errors import DataError, FormatError, ParameterError
from calibrant.station.points import Points
from calibrant.station.rules import RULES, parse_rules
from calibrant.station.session import Session, counts, read_session, replay, session_path


@pytest.fixture
def table() -> Points:
    made = points()
    made.columns["scan_number"] = made["scan"] + 1
    return made


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "made.log"
    path.write_text("2016.067.16:00:00.00;log\n")
    return str(path)


def changed(table: Points, name: str, rows: list[int], value: float) -> Points:
    column = table[name].copy()
    column[rows] = value
    return table.replaced(**{name: column})


@pytest.mark.parametrize(
    ("rule", "column", "value"),
    [
        ("compression", "compression", 1.2),
        ("compression", "compression", 0.94),
        ("elevation", "elevation_deg", 3.0),
        ("ratio_outlier", "tcal_ratio", 1.5),
        ("noisy", "sefd_jy_err", 100.0),
        ("structure", "structure_correction", 1.3),
        ("not_positive", "sefd_jy", -5.0),
        ("no_result", "sefd_jy", np.nan),
        ("flux_unknown", "flux_assumed_jy", np.nan),
        ("pointing", "pointing_beams", 0.5),
        ("sun", "sun_deg", 1.0),
        ("moon", "moon_deg", 1.0),
    ],
)
def test_rule_deletes_the_bad_row_and_no_other(table: Points, rule: str, column: str, value: float) -> None:
    for name in ("pointing_beams", "sun_deg", "moon_deg"):
        table.columns[name] = np.full(len(table), 0.1 if name == "pointing_beams" else 90.0)
    found, reason = RULES[rule].apply(changed(table, column, [7], value))
    expected = [7] if rule != "flux_unknown" else np.flatnonzero(~np.isfinite(table["apr_flux_jy"])).tolist()
    if rule == "flux_unknown":
        table.columns["apr_flux_jy"][7] = np.nan
        found, reason = RULES[rule].apply(changed(table, column, [7], value))
        expected = [7]
    assert np.flatnonzero(found).tolist() == expected
    assert reason


def test_negative_sky(table: Points) -> None:
    known = table.replaced(tsys_minus_tspill_k=np.full(48, 50.0), trec_k=np.where(np.arange(48) == 3, 60.0, 40.0))
    assert np.flatnonzero(RULES["negative_sky"].apply(known)[0]).tolist() == [3]
    assert not RULES["negative_sky"].apply(table)[0].any(), "nothing is known of Trec: nothing is deleted"


def test_field_systems_one_jansky_for_an_unknown_source_is_no_flux(table: Points) -> None:
    unknown = table.replaced(type=np.full(48, "x"), flux_assumed_jy=np.ones(48))
    assert RULES["flux_unknown"].apply(unknown)[0].all()


def test_parse_rules() -> None:
    assert [rule.name for rule, _ in parse_rules("default")] == [name for name, rule in RULES.items() if rule.default]
    (first, limits), (second, none) = parse_rules("compression=0.9~1.1, negative_sky")
    assert (first.name, limits, second.name, none) == ("compression", (0.9, 1.1), "negative_sky", ())
    with pytest.raises(ParameterError, match=r"expected it as compression=0.95~1.05"):
        parse_rules("compression=0.9")
    with pytest.raises(ParameterError, match="Did you mean 'compression'"):
        parse_rules("compresion")


def test_edits_are_replayed_in_order_and_undone(log: str, table: Points) -> None:
    session = read_session(log)
    session.edit("delete", select={"source": "casa"}, reason="rain")
    session.edit("undelete", select={"scan": "1"}, reason="it was dry")
    session.edit("rule", rule="elevation", limits=(20.0, 90.0))
    session.save()
    again = read_session(log)
    assert again.actions == session.actions
    replay(again, table)
    low = table["elevation_deg"] < 20
    assert np.array_equal(table["deleted"], (table["source"] == "casa") & (table["scan"] != 0) | low)
    assert counts(table) == [("rain [1]", 20), ("elevation outside 20..90 deg [3]", int(low.sum()))]

    again.undo()
    again.undo()
    assert [action.n for action in again.active()] == [1]
    again.redo()
    assert [action.n for action in again.active()] == [1, 2]
    again.undo(1)
    assert [action.n for action in again.active()] == [2]
    again.save()
    assert [action.n for action in read_session(log).active()] == [2]
    assert len(Path(session_path(log)).read_text().splitlines()) == 1 + 3 + 4


def test_rules_of_one_call_are_undone_together(log: str) -> None:
    session = read_session(log)
    session.edit("delete", select={"scan": "1"}, reason="x")
    for name in ("compression", "elevation", "noisy"):
        session.edit("rule", rule=name, limits=RULES[name].limits, call=2)
    session.undo()
    assert [action.n for action in session.active()] == [1]
    session.redo()
    assert [action.n for action in session.active()] == [1, 2, 3, 4]


def test_nothing_to_undo_or_redo(log: str) -> None:
    session = read_session(log)
    with pytest.raises(ParameterError, match="nothing to undo"):
        session.undo()
    session.edit("delete", select={"scan": "1"}, reason="x")
    with pytest.raises(ParameterError, match="nothing to redo"):
        session.redo()
    with pytest.raises(ParameterError, match=r"as 7; in force: \[1\]"):
        session.undo(7)


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        '{"n": 5, "at": "", "action": "delete"}',
        '{"n": 1, "at": "", "action": "explode"}',
        '{"n": 1, "at": "", "action": "rule", "rule": "none"}',
        '{"n": 1, "surprise": 1}',
    ],
)
def test_a_damaged_session_is_refused_with_its_line(log: str, line: str) -> None:
    head = json.dumps({"calibrant_session": 1, "log": "made.log", "size": 25})
    Path(session_path(log)).write_text(f"{head}\n{line}\n")
    with pytest.raises(FormatError, match=r"made\.log\.edits\.jsonl:2: found"):
        read_session(log)


def test_session_elsewhere(log: str, tmp_path: Path) -> None:
    other = tmp_path / "mine"
    other.mkdir()
    session = read_session(log, str(other))
    session.edit("delete", select={"scan": "1"}, reason="x")
    session.save()
    assert (other / "made.log.edits.jsonl").exists()
    assert not Path(session_path(log)).exists()
    assert isinstance(read_session(log), Session) and not read_session(log).actions


def test_a_directory_that_cannot_be_written_to(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    session = read_session(log)
    session.edit("delete", select={"scan": "1"}, reason="x")
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(DataError, match=r"Permission denied.*--session DIRECTORY"):
        session.save()
    assert not Path(session_path(log)).exists()
