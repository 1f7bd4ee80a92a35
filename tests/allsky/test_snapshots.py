"""Calibration files: what is read, and what is refused with words that say which entry and what to do."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skies

from calibrant.allsky.snapshots import (
    CalibrationData,
    catalogue_sources,
    from_json,
    parse_time,
    positions_from_json,
    read_calibration_data,
)
from calibrant.errors import DataError, FormatError

Content = dict[str, Any]


@pytest.fixture
def content() -> Content:
    return skies.content(antennas=6, satellites=5, snapshots=2)


def read(content: Content) -> CalibrationData:
    return from_json(content, "calib.json")


def test_a_file_is_read(content: Content, tmp_path: Path) -> None:
    path = tmp_path / "calib.json"
    path.write_text(json.dumps(content))
    data = read_calibration_data(str(path))
    assert data.positions.shape == (6, 3) and len(data.snapshots) == 2
    assert data.name == "Simulated array" and data.frequency_hz == 1.57542e9
    assert data.latitude_deg == pytest.approx(-45.85177)
    assert data.wavelength_m == pytest.approx(0.190294, abs=1e-6)
    assert len(data.snapshots[0].visibility) == 15
    assert data.snapshots[1].time - data.snapshots[0].time == pytest.approx(900.0)
    assert data.size_m == pytest.approx(max(math.dist(a, b) for a in data.positions for b in data.positions))


def test_info_without_its_second_info_is_read(content: Content) -> None:
    assert read({**content, "info": content["info"]["info"]}).name == "Simulated array"


def test_a_reversed_baseline_is_turned(content: Content) -> None:
    row = content["data"][0][0]["data"][0]
    turned = {"i": row["j"], "j": row["i"], "re": row["re"], "im": -row["im"]}
    before = read(content).snapshots[0]
    content["data"][0][0]["data"][0] = turned
    np.testing.assert_array_equal(read(content).snapshots[0].visibility, before.visibility)


def test_autocorrelations_are_left_out(content: Content) -> None:
    content["data"][0][0]["data"].append({"i": 2, "j": 2, "re": 1.0, "im": 0.0})
    assert len(read(content).snapshots[0].visibility) == 15


def _vis(content: Content) -> list[Content]:
    rows: list[Content] = content["data"][0][0]["data"]
    return rows


def _set(content: Content, **changes: Any) -> None:
    _vis(content)[0].update(changes)


SPOILED: list[tuple[str, Callable[[Content], Any], type[Exception], str]] = [
    ("no vis", lambda c: _vis(c).clear(), DataError, "snapshot 1: there are no visibilities"),
    ("Flask's empty answer", lambda c: c["data"][0].__setitem__(0, []), FormatError, "expected .visibilities, sources"),
    ("no snapshots", lambda c: c["data"].clear(), DataError, "data is empty, expected at least one snapshot"),
    ("no positions", lambda c: c.pop("ant_pos"), FormatError, "expected an object with info, ant_pos"),
    ("flat positions", lambda c: c.update(ant_pos=[[0, 1]] * 6), FormatError, r"shape \(6, 2\), expected"),
    ("antenna", lambda c: _set(c, j=9), FormatError, "names antenna 9, but there are positions of 6"),
    ("twice", lambda c: _vis(c).append(_vis(c)[0]), FormatError, "a baseline occurs twice"),
    ("nan", lambda c: _set(c, re=math.nan), FormatError, "1 visibilities are not finite"),
    ("words", lambda c: _set(c, re="much"), FormatError, "a visibility is not {i, j, re, im} with numbers"),
    ("no zone", lambda c: c["data"][1][0].update(timestamp="2019-05-10T00:39:27.377"), FormatError, "has no zone"),
    ("no time", lambda c: c["data"][0][0].update(timestamp="yesterday"), FormatError, "expected as 2019-05-10T00:39"),
    ("gain count", lambda c: c["gains"]["gain"].pop(), FormatError, "gains.gain has 5 values, expected 6"),
    ("source", lambda c: c["data"][0][1][0].pop("az"), FormatError, "source 1 is .* expected {name, az, el, r}"),
]


@pytest.mark.parametrize(("spoil", "error", "words"), [row[1:] for row in SPOILED], ids=[row[0] for row in SPOILED])
def test_what_is_wrong_is_said(
    content: Content, spoil: Callable[[Content], Any], error: type[Exception], words: str
) -> None:
    spoil(content)
    with pytest.raises(error, match=words):
        read(content)


def test_no_json(tmp_path: Path) -> None:
    path = tmp_path / "calib.json"
    path.write_text('{"info": ')
    with pytest.raises(FormatError, match="is no JSON"):
        read_calibration_data(str(path))
    with pytest.raises(FormatError, match="found list, expected an object"):
        from_json([], "calib.json")


def test_a_time_without_zone_is_utc_where_it_is_said_so() -> None:
    assert parse_time("2019-05-10T00:39:27", "x", assume_utc=True) == parse_time("2019-05-10T00:39:27Z", "x")
    assert parse_time("2019-05-10T12:39:27+12:00", "x") == parse_time("2019-05-10T00:39:27Z", "x")
    assert math.isnan(parse_time(None, "x"))


def test_null_gains_are_noted(content: Content) -> None:
    content["gains"]["gain"][3] = None
    data = read(content)
    assert data.gain is not None and math.isnan(data.gain[3])
    assert data.notes == ("stored gain is null for antenna(s) 3",)


def test_absent_gains_are_noted(content: Content) -> None:
    del content["gains"]
    data = read(content)
    assert data.gain is None and "no 'before'" in data.notes[0]


def test_positions_inside_an_object() -> None:
    assert positions_from_json({"antenna_positions": [[0, 0, 0], [1, 0, 0], [0, 1, 0]]}, "x").shape == (3, 3)


def test_distances() -> None:
    """Satellites are far, sources near the array near, and one without a distance is asked for later."""
    rows = [{"az": 1, "el": 2, "r": 2.1e7}, {"az": 1, "el": 2, "r": 25.0}, {"az": 1, "el": 2}]
    far, near, unknown = catalogue_sources(rows, "x")
    assert math.isinf(far.r_m) and near.r_m == 25.0 and math.isnan(unknown.r_m)
    assert unknown.name == "source 3"
