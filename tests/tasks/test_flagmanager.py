"""flagmanager: the verb around `ms.flagversions`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from calibrant.errors import LockedError, MeasurementSetError, ParameterError
from calibrant.ms.writer import MSWriter
from calibrant.tasks.flagdata import flagdata
from calibrant.tasks.flagmanager import flagmanager

pytestmark = pytest.mark.oracle

CASA_LIST = {
    "0": {"name": "orig", "comment": "before anything"},
    "1": {"name": "applycal_1", "comment": "Flags autosave on 2026-11-20 22:51:36"},
}


def test_list_is_casas_dictionary(tiny_ms: Path) -> None:
    result = flagmanager(str(tiny_ms))
    assert result.to_dict() == CASA_LIST | {"MS": str(tiny_ms)}
    assert "orig : before anything" in result.summary()


def test_save_restore_rename_delete(tiny_ms: Path) -> None:
    vis = str(tiny_ms)
    before = flagdata(vis, mode="summary").to_dict()
    flagmanager(vis, mode="save", versionname="mine", comment="a comment")
    flagdata(vis, scan="1", flagbackup=False)
    restored = flagmanager(vis, mode="restore", versionname="mine")
    assert restored.changed > 0 and "visibilities changed" in restored.summary()
    assert flagdata(vis, mode="summary").to_dict() == before
    assert flagmanager(vis, mode="rename", oldname="mine", versionname="yours").versions[-1] == ("yours", "a comment")
    assert [name for name, _ in flagmanager(vis, mode="delete", versionname="yours").versions] == ["orig", "applycal_1"]


def test_saving_twice_says_where_the_older_went(tiny_ms: Path) -> None:
    result = flagmanager(str(tiny_ms), mode="save", versionname="orig")
    assert "now called orig.old." in result.summary()


def test_no_versions_at_all(tiny_ms: Path) -> None:
    shutil.rmtree(f"{tiny_ms}.flagversions")
    assert flagmanager(str(tiny_ms)).versions == ()
    with pytest.raises(ParameterError, match="no flag version called 'orig'"):
        flagmanager(str(tiny_ms), mode="restore", versionname="orig")


def test_dry_run(tiny_ms: Path) -> None:
    result = flagmanager(str(tiny_ms), mode="delete", versionname="orig", dry_run=True)
    assert "would be done: version orig deleted" in result.summary()
    assert flagmanager(str(tiny_ms)).to_dict() == CASA_LIST | {"MS": str(tiny_ms)}


def test_words_for_what_is_missing(tiny_ms: Path, tmp_path: Path) -> None:
    vis = str(tiny_ms)
    with pytest.raises(ParameterError, match="needs versionname"):
        flagmanager(vis, mode="save")
    with pytest.raises(ParameterError, match="needs oldname"):
        flagmanager(vis, mode="rename", versionname="a")
    with pytest.raises(ParameterError, match="Did you mean 'restore'"):
        flagmanager(vis, mode="restor")
    with pytest.raises(MeasurementSetError, match="does not exist"):
        flagmanager(str(tmp_path / "none.ms"))


def test_restore_into_an_ms_in_use(tiny_ms: Path) -> None:
    with MSWriter(str(tiny_ms), "test"), pytest.raises(LockedError):
        flagmanager(str(tiny_ms), mode="restore", versionname="orig")
