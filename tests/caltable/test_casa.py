"""CASA's tables read and written."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build import caltable, solutions
from casacore.tables import table as open_table

from calibrant.caltable import casa as casa_format
from calibrant.caltable.table import CalTable
from calibrant.errors import CalTableError, ExistsError

REFUSED = {"BPOLY.cal": "old format", "bl.cal": "solutions by baseline"}
KINDS = {
    "Gpint.cal": "G Jones", "Tainf.cal": "T Jones", "B.cal": "B Jones", "K.cal": "K Jones", "tsys.cal": "B TSYS",
    "antpos.cal": "KAntPos Jones", "accor.cal": "Accor Jones", "ff.cal": "Fringe Jones", "wvr.cal": "T Jones",
}  # fmt: skip


def assert_same(a: CalTable, b: CalTable) -> None:
    assert sorted(a.spws) == sorted(b.spws)
    for spw in a.spws:
        for item in dataclasses.fields(a.spws[spw]):
            left, right = getattr(a.spws[spw], item.name), getattr(b.spws[spw], item.name)
            np.testing.assert_array_equal(left, right, err_msg=f"spw {spw} {item.name}")
    for name in ("kind", "par_type", "ms_name", "antenna_names", "field_names", "provenance", "casa_version"):
        assert getattr(a, name) == getattr(b, name), name


def rewritten(original: Path, target: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a table, changed through casacore."""
    source = open_table(str(original), ack=False)
    source.copy(str(target), deep=True).close()
    source.close()
    copy = open_table(str(target), readonly=False, ack=False)
    change(copy)
    copy.close()
    return target


@pytest.mark.oracle
def test_every_table_of_casa_survives_reading_and_writing(oracle: Path, tmp_path: Path) -> None:
    paths = sorted(p for p in (oracle / "out").iterdir() if p.name.endswith(".cal") or p.name == "bp.Gpint")
    assert len(paths) > 20
    for path in paths:
        if path.name in REFUSED:
            with pytest.raises(CalTableError, match=REFUSED[path.name]):
                casa_format.read(str(path))
            continue
        original = casa_format.read(str(path))
        assert KINDS.get(path.name, original.kind) == original.kind
        casa_format.write(original, str(tmp_path / path.name), str(oracle / "tiny.ms"))
        assert_same(original, casa_format.read(str(tmp_path / path.name)))


@pytest.mark.real_data
def test_real_tables_of_older_casa_are_read(shared: Path, tmp_path: Path) -> None:
    for archive in sorted((shared / "data" / "casatables").glob("*.tar.gz")):
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path, filter="data")
    bandpass = casa_format.read(str(tmp_path / "sma.ms.bcal"))
    assert bandpass.kind == "B Jones" and len(bandpass.spws) == 12
    assert bandpass.spws[0].shape == (1, 9, 512, 2)
    assert casa_format.read(str(tmp_path / "sma.ms.amp.gcal")).spws[3].shape == (73, 9, 1, 2)


@pytest.mark.oracle
def test_spectral_window_describes_the_solutions(oracle: Path, tmp_path: Path) -> None:
    """One channel a solution, and right bandwidths, where CASA writes frequencies into them."""
    path = str(tmp_path / "g.cal")
    casa_format.write(casa_format.read(str(oracle / "out" / "Gpspw.cal")), path, str(oracle / "tiny.ms"))
    spectral = open_table(f"{path}/SPECTRAL_WINDOW", ack=False)
    assert spectral.getcol("NUM_CHAN").tolist() == [1, 1, 1]
    assert spectral.getcol("FLAG_ROW").tolist() == [False, True, True]
    width = spectral.getcell("CHAN_WIDTH", 0)
    np.testing.assert_allclose(spectral.getcell("RESOLUTION", 0), width)
    np.testing.assert_allclose(spectral.getcell("TOTAL_BANDWIDTH", 0), width.sum())
    spectral.close()


@pytest.mark.oracle
def test_the_columns_are_those_of_casa(oracle: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "g.cal")
    casa_format.write(casa_format.read(str(oracle / "out" / "Gpint.cal")), path, str(oracle / "tiny.ms"))
    theirs, ours = open_table(str(oracle / "out" / "Gpint.cal"), ack=False), open_table(path, ack=False)
    assert ours.colnames() == theirs.colnames()
    for name in ours.colnames():
        assert ours.getcoldesc(name) == theirs.getcoldesc(name)
        if name != "WEIGHT":
            np.testing.assert_array_equal(ours.getcol(name), theirs.getcol(name))
    assert not ours.iscelldefined("WEIGHT", 0)
    assert list(ours.getkeywords()) == list(theirs.getkeywords())
    assert ours.info() == theirs.info()
    ours.close()
    theirs.close()


@pytest.mark.oracle
def test_rows_may_lack_antennas_and_lie_in_any_order(oracle: Path, tmp_path: Path) -> None:
    original = oracle / "out" / "Gpint.cal"
    whole = casa_format.read(str(original))
    source = open_table(str(original), ack=False)
    rows = np.random.default_rng(1).permutation(source.nrows())
    rows = rows[rows != 5]  # slot 0, antenna 5, spw 0
    source.selectrows(rows).copy(str(tmp_path / "mixed.cal"), deep=True).close()
    source.close()
    mixed = casa_format.read(str(tmp_path / "mixed.cal"))
    assert_same(
        dataclasses.replace(whole, spws={1: whole.spws[1]}), dataclasses.replace(mixed, spws={1: mixed.spws[1]})
    )
    sol = mixed.spws[0]
    assert sol.present is not None and not sol.present[0, 5] and sol.present.sum() == sol.present.size - 1
    assert sol.flag[0, 5].all() and sol.refant[0, 5] == -1
    casa_format.write(mixed, str(tmp_path / "again.cal"), str(oracle / "tiny.ms"))
    assert_same(mixed, casa_format.read(str(tmp_path / "again.cal")))


@pytest.mark.oracle
def test_outcomes_and_history_are_kept(oracle: Path, tmp_path: Path) -> None:
    table = casa_format.read(str(oracle / "out" / "B.cal"))
    for sol in table.spws.values():
        sol.outcome = np.where(sol.flag, 3, 0).astype(np.uint8)
    table.provenance = ["bandpass(vis='tiny.ms')", "second line"]
    casa_format.write(table, str(tmp_path / "b.cal"), str(oracle / "tiny.ms"))
    assert_same(table, casa_format.read(str(tmp_path / "b.cal")))
    history = open_table(str(tmp_path / "b.cal" / "HISTORY"), ack=False)
    assert any("minsnr" in line for line in history.getcol("MESSAGE"))
    history.close()


@pytest.mark.oracle
def test_delays_of_old_casa_refer_to_ref_frequency(oracle: Path, tmp_path: Path) -> None:
    path = rewritten(
        oracle / "out" / "K.cal", tmp_path / "old.cal", lambda t: t.putkeyword("CASA_Version", "5.1.0-74")
    )
    reference = open_table(f"{path}/SPECTRAL_WINDOW", ack=False).getcol("REF_FREQUENCY")
    old, new = casa_format.read(str(path)), casa_format.read(str(oracle / "out" / "K.cal"))
    assert old.spws[0].freq.tolist() == [reference[0]]
    assert new.spws[0].freq.tolist() != [reference[0]]


@pytest.mark.oracle
def test_existing_outputs_are_protected(oracle: Path, tmp_path: Path) -> None:
    table, ms = casa_format.read(str(oracle / "out" / "K.cal")), str(oracle / "tiny.ms")
    path = str(tmp_path / "k.cal")
    casa_format.write(table, path, ms)
    with pytest.raises(ExistsError, match="give overwrite=True"):
        casa_format.write(table, path, ms)
    casa_format.write(table, path, ms, overwrite=True)
    with pytest.raises(ExistsError, match="not a calibration table"):
        casa_format.write(table, str(tmp_path), ms, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["k.cal"]


@pytest.mark.oracle
def test_solutions_of_another_ms_are_refused(oracle: Path, tmp_path: Path) -> None:
    table = caltable(solutions(np.ones((1, 3, 1, 2), complex)))
    with pytest.raises(CalTableError, match=r"solutions for \[3\] antennas, but .* has 8"):
        casa_format.write(table, str(tmp_path / "x.cal"), str(oracle / "tiny.ms"))
    assert os.listdir(tmp_path) == []


@pytest.mark.oracle
def test_damaged_tables_are_explained(oracle: Path, tmp_path: Path) -> None:
    original = oracle / "out" / "Gpint.cal"
    twice = rewritten(original, tmp_path / "twice.cal", lambda t: t.copyrows(t, 0, t.nrows(), 8))
    far = rewritten(original, tmp_path / "far.cal", lambda t: t.putcell("ANTENNA1", 0, 77))
    empty = tmp_path / "empty.cal"
    whole = open_table(str(original), ack=False)
    whole.query("FALSE").copy(str(empty), deep=True).close()
    whole.close()
    cut = tmp_path / "cut.cal"
    shutil.copytree(original, cut)
    os.truncate(cut / "table.f0", 3000)
    (tmp_path / "hollow").mkdir()
    for path, words in (
        (twice, "has two solutions at TIME"),
        (far, "ANTENNA1 is 0 to 77, but 8 antennas exist"),
        (empty, "has no rows"),
        (cut, "cannot be read|cannot be opened"),
        (tmp_path / "hollow", "without table.dat"),
        (tmp_path / "nowhere", "does not exist"),
        (oracle / "tiny.ms", "a calibration table has type"),
    ):
        with pytest.raises(CalTableError, match=words):
            casa_format.read(str(path))


@pytest.mark.oracle
@pytest.mark.casa
@pytest.mark.slow
def test_live_casa_applies_ours_as_its_own(
    tiny_ms: Path, oracle: Path, tmp_path: Path, casa: Callable[[str, Path], str]
) -> None:
    """With our column of outcomes in every table; gaincal takes them as well."""
    names = ("tsys.cal", "antpos.cal", "K.cal", "B.cal", "Gpint.cal", "Gainf.cal")
    for name in names:
        table = casa_format.read(str(oracle / "out" / name))
        for sol in table.spws.values():
            sol.outcome = sol.flag.astype(np.uint8)
        casa_format.write(table, str(tmp_path / name), str(tiny_ms))
    interp = ["linear,linear", "", "", "linear,linear", "linear", "nearest"]
    corrected = []
    for folder in (oracle / "out", tmp_path):
        tables = [str(folder / name) for name in names]
        casa(
            f"from casatasks import applycal; applycal(vis={str(tiny_ms)!r}, spw='0,1', gaintable={tables!r}, "
            f"interp={interp!r}, flagbackup=False)",
            tmp_path,
        )
        ms = open_table(str(tiny_ms), ack=False)
        rows = ms.query("DATA_DESC_ID == 1")
        corrected.append(rows.getcol("CORRECTED_DATA"))
        rows.close()
        ms.close()  # CASA would wait for the lock
    np.testing.assert_allclose(corrected[1], corrected[0], rtol=1e-6)
    casa(
        f"from casatasks import gaincal; gaincal(vis={str(tiny_ms)!r}, caltable='g.cal', field='0', spw='0', "
        f"gaintable=[{str(tmp_path / 'B.cal')!r}], refant='0')",
        tmp_path,
    )
    assert casa_format.read(str(tmp_path / "g.cal")).kind == "G Jones"
