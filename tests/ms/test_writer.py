"""The writer: columns as CASA creates them, every pattern of rows, and what happens when things go wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calibrant.errors import LockedError, MeasurementSetError
from calibrant.ms import flagversions, journal, writer
from calibrant.ms.index import open_index
from calibrant.ms.reader import read_chunks, read_rows
from calibrant.ms.tables import open_table
from calibrant.ms.writer import MSWriter


@pytest.fixture
def plain_ms(tiny_ms: Path) -> str:
    """tiny.ms without MODEL_DATA and CORRECTED_DATA."""
    tab = open_table(str(tiny_ms), writable=True)
    tab.removecols(["MODEL_DATA", "CORRECTED_DATA"])
    tab.close()
    return str(tiny_ms)


def rows_of(path: str, ddid: int) -> np.ndarray:
    return np.flatnonzero(open_index(path).ddid == ddid)


def files(path: str) -> dict[str, bytes]:
    """Content of the MS, apart from the lock file."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(Path(path).rglob("*"))
        if file.is_file() and file.name != "table.lock"
    }


@pytest.mark.oracle
@pytest.mark.parametrize(
    "pick",
    [
        lambda rows: rows[:100],
        lambda rows: rows[::3],
        lambda rows: np.sort(np.random.default_rng(1).choice(rows, 300, replace=False)),
        lambda rows: np.concatenate((rows[:40], rows[60:90], rows[200:300])),
        lambda rows: rows[:0],
    ],
    ids=["run", "stride", "scattered", "runs", "none"],
)
@pytest.mark.parametrize("column", ["DATA", "FLAG", "WEIGHT", "FLAG_ROW"])
def test_put_then_read(tiny_ms: Path, pick, column: str) -> None:
    path = str(tiny_ms)
    rows = pick(rows_of(path, 1))
    everything = rows_of(path, 1)
    before = read_rows(open_index(path), column, everything)
    values = before[np.searchsorted(everything, rows)]
    values = ~values if values.dtype == bool else values * 2 + 1
    with MSWriter(path, "test") as out:
        out.put(column, rows, values)
    expected = before.copy()
    expected[np.searchsorted(everything, rows)] = values
    np.testing.assert_array_equal(read_rows(open_index(path), column, everything), expected)


@pytest.mark.oracle
def test_new_column_has_no_undefined_cell(plain_ms: str) -> None:
    rows = rows_of(plain_ms, 0)
    with MSWriter(plain_ms, "applycal") as out:
        assert out.ensure_column("CORRECTED_DATA")
        assert out.ensure_column("MODEL_DATA")
        for chunk in read_chunks(open_index(plain_ms), rows, ["DATA"]):
            out.put("CORRECTED_DATA", chunk.rows, chunk["DATA"] * 2)
    index = open_index(plain_ms)
    factor = {0: 2, 1: 1, 2: 1}
    for chunk in read_chunks(index, np.arange(index.nrow), ["DATA", "CORRECTED_DATA", "MODEL_DATA"]):
        np.testing.assert_array_equal(chunk["CORRECTED_DATA"], factor[chunk.ddid] * chunk["DATA"])
        np.testing.assert_array_equal(chunk["MODEL_DATA"], np.ones_like(chunk["DATA"]))
    with MSWriter(plain_ms, "applycal") as out:
        assert not out.ensure_column("CORRECTED_DATA")


@pytest.mark.oracle
def test_new_column_is_stored_as_casa_stores_it(plain_ms: str) -> None:
    with MSWriter(plain_ms, "applycal") as out:
        out.ensure_column("CORRECTED_DATA")
    tab = open_table(plain_ms)
    manager = next(m for m in tab.getdminfo().values() if m["COLUMNS"] == ["CORRECTED_DATA"])
    description = tab.getcoldesc("CORRECTED_DATA")
    tab.close()
    assert (manager["TYPE"], manager["NAME"]) == ("TiledShapeStMan", "TiledCorrected")
    assert (description["ndim"], description["valueType"]) == (2, "complex")
    assert description["keywords"] == {"UNIT": "Jy"}


@pytest.mark.oracle
def test_normal_end_leaves_no_journal_and_no_lock(plain_ms: str) -> None:
    with MSWriter(plain_ms, "a") as out:
        out.put_keyword("CALIBRANT_TEST", "x")
        assert os.path.exists(plain_ms + journal.SUFFIX)
    assert not os.path.exists(plain_ms + journal.SUFFIX)
    with MSWriter(plain_ms, "b") as out:
        assert out.get_keyword("CALIBRANT_TEST") == "x"
        assert out.get_keyword("NOT_THERE") is None


@pytest.mark.oracle
def test_error_before_writing_is_forgotten(plain_ms: str) -> None:
    with pytest.raises(ValueError, match="stop"), MSWriter(plain_ms, "a"):
        raise ValueError("stop")
    assert not os.path.exists(plain_ms + journal.SUFFIX)


@pytest.mark.oracle
def test_run_that_failed_half_way_is_repeated_and_others_are_told(tiny_ms: Path) -> None:
    path = str(tiny_ms)
    rows = rows_of(path, 0)[:10]
    flags = np.ones((10, 32, 2), bool)
    with pytest.raises(ValueError, match="stop"), MSWriter(path, "flagdata", "p") as out:
        name = out.save_flags()
        out.note("limit", 3.5)
        out.put("FLAG", rows, flags)
        raise ValueError("stop")
    with MSWriter(path, "applycal", "q") as out:
        assert not out.resumed
        assert "flagdata did not reach its end" in out.messages[0] and name in out.messages[0]
    with MSWriter(path, "flagdata", "p") as out:
        assert out.resumed
        assert out.noted("limit") == 3.5
        assert out.save_flags() == name
    assert not os.path.exists(path + journal.SUFFIX)
    assert [version.name for version in flagversions.list_versions(path)].count(name) == 1


LOCKER = """
import sys
from casacore.tables import table
tab = table(sys.argv[1], readonly=False, ack=False, lockoptions="permanent")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.oracle
def test_locked_by_another_program(tiny_ms: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(tiny_ms)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None and other.stdout.readline() == "locked\n"
        with pytest.raises(LockedError, match="in use by another process"):
            MSWriter(str(tiny_ms), "a").__enter__()
        other.stdin.close()
        other.wait()
    with MSWriter(str(tiny_ms), "a"):
        pass


@pytest.mark.oracle
def test_locked_by_another_writer(tiny_ms: Path) -> None:
    with MSWriter(str(tiny_ms), "a"), pytest.raises(LockedError, match="another calibrant task"):
        MSWriter(str(tiny_ms), "b").__enter__()


@pytest.mark.oracle
def test_read_only(tiny_ms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(MeasurementSetError, match="read-only"):
        MSWriter(str(tiny_ms), "a").__enter__()


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MeasurementSetError, match="does not exist"):
        MSWriter(str(tmp_path / "none.ms"), "a").__enter__()


@pytest.mark.oracle
def test_no_room_for_a_column_is_known_beforehand(plain_ms: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(plain_ms)
    monkeypatch.setattr(writer, "free_bytes", lambda path: 2_000_000)
    with pytest.raises(MeasurementSetError, match="nothing was changed"), MSWriter(plain_ms, "applycal") as out:
        out.ensure_column("CORRECTED_DATA")
    after = files(plain_ms)
    assert {name for name in after if after[name] != before.get(name)} == set()


DISK = """
import sys
from calibrant.ms import writer
real = writer.free_bytes
with writer.MSWriter(sys.argv[1], "applycal") as out:
    writer.free_bytes = lambda path: 1 << 40
    out.ensure_column("CORRECTED_DATA")
    writer.free_bytes = real
"""


@pytest.mark.oracle
def test_disk_really_full(plain_ms: str, tmp_path: Path) -> None:
    """A small file system, filled up while CORRECTED_DATA is written."""
    small = tmp_path / "small"
    small.mkdir()
    target = small / "tiny.ms"
    size = sum(file.stat().st_size for file in Path(plain_ms).rglob("*") if file.is_file()) + 2_700_000
    commands = (
        f"mount -t tmpfs -o size={size} tmpfs {small} && cp -r {plain_ms} {target} || exit 77; "
        f"{sys.executable} -c '{DISK}' {target}; echo $? > {tmp_path}/code; cp -r {small}/. {tmp_path}/after"
    )
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: a small file system cannot be mounted")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", commands], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("a small file system cannot be mounted here")
    assert (tmp_path / "code").read_text().strip() == "1", done.stderr
    assert "the disk is full" in done.stderr and "terminate" not in done.stderr
    after = str(tmp_path / "after" / "tiny.ms")
    index = open_index(after)
    assert "CORRECTED_DATA" not in index.columns
    original = open_index(plain_ms)
    for ours, theirs in zip(
        read_chunks(index, np.arange(index.nrow), ["DATA"]),
        read_chunks(original, np.arange(index.nrow), ["DATA"]),
        strict=True,
    ):
        np.testing.assert_array_equal(ours["DATA"], theirs["DATA"])


@pytest.mark.oracle
@pytest.mark.parametrize("broken", ["table.f3", "table.dat", "table.f8"])
def test_header_cut_by_a_kill_is_repaired(tiny_ms: Path, broken: str) -> None:
    """casacore truncates and rewrites headers: a kill between the two leaves an empty file."""
    path = str(tiny_ms)
    rows = rows_of(path, 0)
    with pytest.raises(ValueError, match="stop"), MSWriter(path, "flagdata", "p") as out:
        out.put("FLAG", rows, np.ones((len(rows), 32, 2), bool))
        raise ValueError("stop")
    expected = files(path)
    (tiny_ms / broken).write_bytes(b"")
    index = open_index(path)  # a reader repairs as well
    assert all(chunk["FLAG"].all() for chunk in read_chunks(index, rows, ["FLAG"]))
    assert files(path) == expected
    (tiny_ms / broken).write_bytes(b"")
    with MSWriter(path, "flagdata", "p") as out:
        assert any("repaired" in message for message in out.messages)
        out.put("FLAG", rows, np.ones((len(rows), 32, 2), bool))


@pytest.mark.oracle
def test_column_interrupted_at_its_creation_is_undone(plain_ms: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill after the table knows the column, before the column's own file is there."""
    with pytest.raises(KeyboardInterrupt), MSWriter(plain_ms, "applycal", "p") as out:
        monkeypatch.setattr(out, "flush", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        out.ensure_column("CORRECTED_DATA")
    newest = max(Path(plain_ms).glob("table.f*"), key=lambda file: int(file.name.split("_")[0][7:]))
    newest.unlink()
    with MSWriter(plain_ms, "applycal", "p") as out:
        assert out.resumed
        assert "CORRECTED_DATA" not in out.columns
        out.ensure_column("CORRECTED_DATA")
    assert "CORRECTED_DATA" in open_index(plain_ms).columns


@pytest.mark.oracle
def test_column_that_a_kill_left_short_is_repaired(plain_ms: str, tmp_path: Path) -> None:
    """A short tile file is an error, unless the journal knows that the column was being filled."""
    rows = rows_of(plain_ms, 0)
    with pytest.raises(ValueError, match="stop"), MSWriter(plain_ms, "applycal", "p") as out:
        out.ensure_column("CORRECTED_DATA")
        out.put("CORRECTED_DATA", rows, read_rows(open_index(plain_ms), "DATA", rows))
        raise ValueError("stop")
    with pytest.raises(MeasurementSetError, match="applycal, which fills it, did not reach its end: run it again"):
        read_rows_chunked(plain_ms, "CORRECTED_DATA")
    tab = open_table(plain_ms)
    file = Path(plain_ms) / f"table.f{tab.getdminfo('CORRECTED_DATA')['SEQNR']}_TSM1"
    tab.close()
    os.truncate(file, file.stat().st_size // 2)
    with MSWriter(plain_ms, "applycal", "p") as out:
        out.ensure_column("CORRECTED_DATA")
    np.testing.assert_array_equal(
        read_rows(open_index(plain_ms), "CORRECTED_DATA", rows), read_rows(open_index(plain_ms), "DATA", rows)
    )
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(MeasurementSetError, match=f"{file.name}.*truncated"):
        MSWriter(plain_ms, "applycal", "p").__enter__()
    assert os.path.getsize(file) > 0 and not os.path.exists(plain_ms + journal.SUFFIX)


def read_rows_chunked(path: str, column: str) -> None:
    index = open_index(path)
    for _ in read_chunks(index, np.arange(index.nrow), [column]):
        pass


def test_unreadable_journal(tiny_ms: Path) -> None:
    Path(f"{tiny_ms}{journal.SUFFIX}").write_text("{")
    with pytest.raises(MeasurementSetError, match="cannot be read"):
        MSWriter(str(tiny_ms), "a").__enter__()


CASA_CHAIN = """
import sys
from casatasks import applycal, flagmanager, gaincal, split
vis, cal, out = sys.argv[1:]
flagmanager(vis, mode="restore", versionname="orig")
gaincal(vis=vis, caltable=cal, field="0", spw="0:16", refant="DV01", solint="int", minsnr=0)
applycal(vis=vis, field="0", spw="0", gaintable=[cal], flagbackup=False, applymode="calonly")
split(vis=vis, outputvis=out, datacolumn="corrected")
"""


@pytest.mark.oracle
@pytest.mark.casa
def test_casa_uses_our_columns(plain_ms: str, tmp_path: Path, casa_python: str) -> None:
    """gaincal divides by our MODEL_DATA, applycal writes into our CORRECTED_DATA, split reads it."""
    with MSWriter(plain_ms, "setjy") as out:
        out.ensure_column("MODEL_DATA")
        out.ensure_column("CORRECTED_DATA")
        for ddid, nchan in ((0, 32), (1, 64)):
            rows = rows_of(plain_ms, ddid)
            out.put("MODEL_DATA", rows, np.full((len(rows), nchan, 2), 12, np.complex64))
    cal, corrected = str(tmp_path / "g.cal"), str(tmp_path / "split.ms")
    command = [casa_python, "-c", CASA_CHAIN, plain_ms, cal, corrected]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    index = open_index(plain_ms)
    cross = np.flatnonzero((index.field == 0) & (index.ddid == 0) & (index.ant1 != index.ant2))
    channel = read_rows(index, "CORRECTED_DATA", cross)[:, 16]
    assert np.median(np.abs(channel)) == pytest.approx(12, rel=0.05)
    assert open_index(corrected).nrow > 0
