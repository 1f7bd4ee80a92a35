"""The verb listobs: selection, files, results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calibrant.errors import ExistsError, MeasurementSetError, SelectionError
from calibrant.tasks.listobs import listobs

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def vis(oracle: Path) -> str:
    return str(oracle / "tiny.ms")


def test_summary_has_all_sections(vis: str) -> None:
    text = listobs(vis).summary()
    for words in ("Observer: make_ms", "Observation: ALMA", "Data records: 2720", "Timerange (UTC)"):
        assert words in text
    for section in ("Fields: 4", "Spectral Windows:", "Sources: 12", "Antennas: 8:"):
        assert section in text


def test_without_verbose_no_scans_and_no_positions(vis: str) -> None:
    text = listobs(vis, verbose=False).summary()
    assert "Antennas: 8: DA41 DV01" in text
    assert "Timerange" not in text and "ITRF" not in text


def test_selected_rows_are_counted(vis: str) -> None:
    result = listobs(vis, intent="*PHASE*", spw="0", antenna="DA41&DV01")
    listed = result.to_dict()
    assert [name for name in listed if name.startswith("scan_")] == ["scan_3", "scan_5", "scan_7"]
    assert listed["numrecords"] == 9
    assert listed["scan_3"]["0"]["SpwIds"] == [0]
    assert "Antennas: 2:" in result.summary() and "Fields: 1" in result.summary()
    json.dumps(listed)


def test_listfile(vis: str, tmp_path: Path) -> None:
    path = tmp_path / "listing.txt"
    result = listobs(vis, listfile=str(path))
    assert result.summary() == f"written to {path}"
    assert path.read_text().rstrip("\n") == result.text
    with pytest.raises(ExistsError, match="overwrite=True"):
        listobs(vis, listfile=str(path))
    listobs(vis, field="0", listfile=str(path), overwrite=True)
    assert "Data records: 800 " in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["listing.txt"]


def test_errors_in_words(vis: str, tmp_path: Path) -> None:
    with pytest.raises(MeasurementSetError, match="does not exist"):
        listobs(str(tmp_path / "none.ms"))
    with pytest.raises(SelectionError, match="Did you mean 'Neptune'"):
        listobs(vis, field="neptune")
