"""Flag versions in CASA's layout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from calibrant.errors import MeasurementSetError, ParameterError
from calibrant.ms import flagversions
from calibrant.ms.flagversions import FlagVersion
from calibrant.ms.index import open_index
from calibrant.ms.reader import read_chunks
from calibrant.ms.writer import MSWriter

pytestmark = pytest.mark.oracle


def flags(path: str) -> list[np.ndarray]:
    index = open_index(path)
    return [chunk["FLAG"].copy() for chunk in read_chunks(index, np.arange(index.nrow), ["FLAG"])] + [
        index.column("FLAG_ROW")
    ]


def same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def invert_some(path: str) -> None:
    index = open_index(path)
    with MSWriter(path, "test") as out:
        for chunk in read_chunks(index, np.flatnonzero(index.scan == 1), ["FLAG"]):
            out.put("FLAG", chunk.rows, ~chunk["FLAG"])
        out.put("FLAG_ROW", np.arange(5), ~index.column("FLAG_ROW")[:5])


def test_lists_what_casa_wrote(tiny_ms: Path) -> None:
    assert flagversions.list_versions(str(tiny_ms)) == [
        FlagVersion("orig", "before anything"),
        FlagVersion("applycal_1", "Flags autosave on 2026-11-20 22:51:36"),
    ]


@pytest.mark.parametrize("merge", ["replace", "or", "and"])
def test_save_change_restore(tiny_ms: Path, merge: str) -> None:
    path = str(tiny_ms)
    before = flags(path)
    flagversions.save(path, "ours", "a comment")
    invert_some(path)
    changed = flags(path)
    assert not same(before, changed)
    flagversions.restore(path, "ours", merge)
    if merge == "replace":
        expected = before
    else:
        combine = np.logical_or if merge == "or" else np.logical_and
        expected = [combine(a, b) for a, b in zip(before, changed, strict=True)]
    assert same(flags(path), expected)
    assert flagversions.restore(path, "ours", merge) == 0


def test_restores_what_casa_saved(tiny_ms: Path) -> None:
    """'orig' was saved before any flag was set."""
    assert flagversions.restore(str(tiny_ms), "orig") > 0
    assert not any(part.any() for part in flags(str(tiny_ms)))


def test_same_name_sets_the_older_aside(tiny_ms: Path) -> None:
    path = str(tiny_ms)
    older = flagversions.save(path, "orig", "again")
    assert older is not None and older.startswith("orig.old.")
    listed = flagversions.list_versions(path)
    # the older keeps its own comment (CASA gives it the new one)
    assert listed[0] == FlagVersion(older, "before anything")
    assert listed[-1] == FlagVersion("orig", "again")
    flagversions.restore(path, older)
    assert not any(part.any() for part in flags(path))


def test_next_name_takes_the_lowest_free_number(tiny_ms: Path) -> None:
    path = str(tiny_ms)
    assert flagversions.next_name(path, "applycal") == "applycal_2"
    flagversions.save(path, "applycal_2")
    flagversions.delete(path, "applycal_1")
    assert flagversions.next_name(path, "applycal") == "applycal_1"
    assert flagversions.next_name(path, "flagdata") == "flagdata_1"


def test_rename_and_delete(tiny_ms: Path) -> None:
    path = str(tiny_ms)
    flagversions.rename(path, "orig", "first", "new words")
    assert flagversions.list_versions(path)[0] == FlagVersion("first", "new words")
    assert (Path(flagversions.folder(path)) / "flags.first" / "table.dat").exists()
    flagversions.delete(path, "first")
    assert [version.name for version in flagversions.list_versions(path)] == ["applycal_1"]
    assert not (Path(flagversions.folder(path)) / "flags.first").exists()


def test_errors_name_what_exists(tiny_ms: Path) -> None:
    path = str(tiny_ms)
    with pytest.raises(ParameterError, match=r"no flag version called 'org'.*orig, applycal_1.*Did you mean 'orig'"):
        flagversions.restore(path, "org")
    with pytest.raises(ParameterError, match="no merge called"):
        flagversions.restore(path, "orig", "xor")
    with pytest.raises(ParameterError, match="already has"):
        flagversions.rename(path, "orig", "applycal_1")
    for name in ("", "a/b", "a : b", " a"):
        with pytest.raises(ParameterError, match="cannot be the name"):
            flagversions.save(path, name)


def test_version_of_another_ms(tiny_ms: Path, tmp_path: Path) -> None:
    from casacore.tables import table

    saved = table(flagversions.table_path(str(tiny_ms), "orig"), ack=False)
    saved.selectrows(list(range(100))).copy(str(tmp_path / "short"), deep=True).close()
    saved.close()
    (tmp_path / "tiny.ms.flagversions" / "flags.orig").rename(tmp_path / "away")
    (tmp_path / "short").rename(tmp_path / "tiny.ms.flagversions" / "flags.orig")
    with pytest.raises(MeasurementSetError, match="has 100 rows"):
        flagversions.restore(str(tiny_ms), "orig")


CASA = """
import sys
from casatasks import flagmanager
vis = sys.argv[1]
names = [v["name"] for k, v in flagmanager(vis, mode="list").items() if k != "MS"]
print("NAMES", *names)
flagmanager(vis, mode="restore", versionname="ours")
flagmanager(vis, mode="rename", oldname="ours", versionname="theirs", comment="renamed by CASA")
flagmanager(vis, mode="save", versionname="casa_saved", comment="by CASA")
"""


@pytest.mark.casa
def test_casa_and_we_share_versions(tiny_ms: Path, tmp_path: Path, casa_python: str) -> None:
    path = str(tiny_ms)
    before = flags(path)
    flagversions.save(path, "ours", "by us")
    invert_some(path)
    done = subprocess.run([casa_python, "-c", CASA, path], check=True, cwd=tmp_path, capture_output=True, text=True)
    assert "NAMES orig applycal_1 ours" in done.stdout
    assert same(flags(path), before)
    listed = flagversions.list_versions(path)
    assert FlagVersion("theirs", "renamed by CASA") in listed
    invert_some(path)
    flagversions.restore(path, "casa_saved")
    assert same(flags(path), before)


def test_restore_keeps_what_was_flagged_since(tiny_ms: Path) -> None:
    """FLAG and FLAG_ROW: the base, or what is flagged now and was not in the later version."""
    path = str(tiny_ms)
    flagversions.save(path, "base")
    before = flags(path)
    invert_some(path)
    flagversions.save(path, "done")
    done = flags(path)
    index = open_index(path)
    with MSWriter(path, "test") as out:
        for chunk in read_chunks(index, np.flatnonzero(index.scan == 2), ["FLAG"]):
            out.put("FLAG", chunk.rows, chunk["FLAG"] | (np.arange(chunk["FLAG"].shape[1]) == 1)[:, None])
        out.put("FLAG_ROW", np.arange(7), np.ones(7, bool))
    now = flags(path)
    kept = flagversions.restore_since(path, "base", "done")
    expected = [b | (n & ~d) for b, n, d in zip(before, now, done, strict=True)]
    assert same(flags(path), expected)
    assert kept == sum(int((e & ~b).sum()) for e, b in zip(expected[:-1], before[:-1], strict=True)) > 0
    with pytest.raises(ParameterError, match="nobody"):
        flagversions.restore_since(path, "base", "nobody")
