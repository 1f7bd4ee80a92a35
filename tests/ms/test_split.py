"""split: averages against their formulas and against noise, weights, ids, subtables, and CASA's own split."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from calibrant.errors import ExistsError, MeasurementSetError, ParameterError, SelectionError
from calibrant.ms.create import create_ms
from calibrant.ms.index import (
    Antennas,
    Fields,
    MSIndex,
    Observation,
    Polarization,
    SpectralWindow,
    open_index,
)
from calibrant.ms.split import Averaging, channel_bins, plan_split, row_bins, write_split
from calibrant.ms.tables import open_subtable, open_table

NANT, NTIME, START = 5, 24, 5230414800.0
ANT1, ANT2 = np.triu_indices(NANT, 1)
NBL = len(ANT1)
SHAPES = {0: (16, 2), 1: (8, 4)}


def simulate(path: Path, seed: int = 1, flag_share: float = 0.2, **extra: bool) -> None:
    """1 Jy with noise of a known, different sigma in every row and correlation, and random flags.

    Scan 1: field 0, scans 2 and 3: field 1; eight integrations of 6 s each; both spws interleaved by time."""
    random = np.random.default_rng(seed)
    width = np.full(16, 1e6)
    spws = [
        SpectralWindow(0, "wide", 1e11 + 1e6 * np.arange(16), width, width, width, 1e11, 16e6, 5, 1),
        SpectralWindow(
            1, "down", 1.1e11 - 2e6 * np.arange(8), -2 * width[:8], 2 * width[:8], 2 * width[:8], 1.1e11, 16e6, 5, 1
        ),
    ]  # fmt: skip
    products = {9: (0, 0), 10: (0, 1), 11: (1, 0), 12: (1, 1)}
    pols = [
        Polarization(np.array(codes, np.int32), np.array([products[c] for c in codes], np.int32))
        for codes in ([9, 12], [9, 10, 11, 12])
    ]
    position = np.array([2225061.0, -5440057.0, -2481681.0]) + random.normal(size=(NANT, 3)) * 100
    names = [f"A{n}" for n in range(NANT)]
    antennas = Antennas(names, names, ["ALT-AZ"] * NANT, position, np.full(NANT, 12.0))
    fields = Fields(["cal", "sci"], ["none"] * 2, np.array([0, 1], np.int32), np.array([[1, -0.4], [1.1, -0.5]]))
    columns = ("DATA", "CORRECTED_DATA") if extra.get("corrected") else ("DATA",)
    with create_ms(
        str(path), antennas=antennas, fields=fields, spws=spws, polarizations=pols, ddids=[(0, 0), (1, 1)],
        states=["CALIBRATE_PHASE#ON_SOURCE", "OBSERVE_TARGET#ON_SOURCE"], nrow=2 * NTIME * NBL, data_columns=columns,
        observations=[Observation("ALMA", "o", "p", np.zeros(2))],
    ) as new:  # fmt: skip
        for step in range(NTIME):
            scan = step // 8
            for ddid, (nchan, ncorr) in SHAPES.items():
                sigma = random.uniform(0.05, 0.2, (NBL, ncorr))
                noise = random.normal(size=(2, NBL, nchan, ncorr)) * sigma[:, None]
                flag = random.random((NBL, nchan, ncorr)) < flag_share
                data = 1 + noise[0] + 1j * noise[1]
                values = {
                    "TIME": np.full(NBL, START + 6 * step + 30 * scan), "INTERVAL": np.full(NBL, 6.0), "ANTENNA1": ANT1,
                    "ANTENNA2": ANT2, "DATA_DESC_ID": np.full(NBL, ddid), "FIELD_ID": np.full(NBL, min(scan, 1)),
                    "SCAN_NUMBER": np.full(NBL, scan + 1), "STATE_ID": np.full(NBL, min(scan, 1)),
                    "UVW": random.normal(size=(NBL, 3)) * 100, "DATA": np.where(flag, 1e3, data), "FLAG": flag,
                    "SIGMA": sigma,
                }  # fmt: skip
                if extra.get("corrected"):
                    # twice as large and noisy: WEIGHT belongs to it, SIGMA to DATA (as after applycal)
                    values |= {"CORRECTED_DATA": 2 * values["DATA"], "WEIGHT": 1 / (4 * sigma**2)}
                new.put_rows((2 * step + ddid) * NBL, values)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("noisy") / "noisy.ms"
    simulate(path)
    return path


def choose(
    index: MSIndex,
    rows: Any = None,
    channels: dict[int, Any] | None = None,
    correlations: dict[int, Any] | None = None,
) -> Any:
    """A selection made by hand (what `calibrant.ms.selection.select` returns)."""
    channels = {spw: np.arange(index.spws[spw].nchan) for spw in range(2)} if channels is None else channels
    chosen = np.isin(index.spw, list(channels)) & (True if rows is None else rows)
    everything = {pol: np.arange(len(p.corr_type)) for pol, p in enumerate(index.polarizations)}
    return SimpleNamespace(
        rows=np.flatnonzero(chosen),
        channels={spw: np.asarray(c) for spw, c in channels.items()},
        correlations=everything if correlations is None else {k: np.array(v) for k, v in correlations.items()},
        describe=lambda: "by hand",
    )


def run(path: Path, out: Path, selection: dict[str, Any] | None = None, **options: Any) -> MSIndex:
    index = open_index(str(path))
    options.setdefault("datacolumn", "data")
    plan = plan_split(index, choose(index, **(selection or {})), **options)
    write_split(plan, str(out), history=["split(...)"])
    return open_index(str(out))


def column(path: Path, name: str, ddid: int) -> np.ndarray:
    tab = open_table(str(path))
    part = tab.query(f"DATA_DESC_ID=={ddid}")
    values = part.getcol(name)
    part.close()
    tab.close()
    return np.asarray(values)


def test_channel_bins() -> None:
    bins = channel_bins(np.array([0, 1, 2, 3, 4, 8, 9, 10]), 2)
    assert bins.index.tolist() == [[0, 1], [2, 3], [8, 9]]  # none across the gap
    assert bins.dropped.tolist() == [4, 10]
    assert channel_bins(np.arange(4), 64).index.tolist() == [[0, 1, 2, 3]]


def test_identity(noisy: Path, tmp_path: Path) -> None:
    """Nothing selected, nothing averaged: every column and every small table comes back."""
    run(noisy, tmp_path / "out.ms")
    for name in set(open_index(str(noisy)).columns) - {"FLAG_CATEGORY"}:
        for ddid in SHAPES:
            got, want = column(tmp_path / "out.ms", name, ddid), column(noisy, name, ddid)
            # SIGMA is made of WEIGHT again
            np.testing.assert_allclose(got, want, rtol=3e-7 if name == "SIGMA" else 0, err_msg=name)
    for name in ("ANTENNA", "FEED", "FIELD", "SOURCE", "SPECTRAL_WINDOW", "POLARIZATION", "DATA_DESCRIPTION", "STATE"):
        before, after = open_index(str(noisy)).subtable(name), open_index(str(tmp_path / "out.ms")).subtable(name)
        assert before.keys() == after.keys()
        for key, value in before.items():
            np.testing.assert_array_equal(value, after[key], err_msg=f"{name}.{key}")


def test_times_keep_their_scale(tmp_path: Path) -> None:
    """TIME is copied as it is, so a TAI observation must stay one (37 s from UTC)."""
    from calibrant.ms.uvfits import set_time_system
    from calibrant.tasks.listobs import listobs
    from calibrant.tasks.split import split

    path, out = str(tmp_path / "in.ms"), str(tmp_path / "out.ms")
    simulate(tmp_path / "in.ms")
    assert open_index(path).time_scale == "UTC"
    set_time_system(path, "TAI")
    split(path, out, field="sci", datacolumn="data")
    assert open_index(out).time_scale == "TAI"
    assert open_table(out).getcolkeywords("TIME_CENTROID")["MEASINFO"] == {"type": "epoch", "Ref": "TAI"}
    assert "(TAI)" in listobs(out).summary() and "(UTC)" not in listobs(out).summary()


@pytest.mark.parametrize(("width", "timebin"), [(1, 0.0), (4, 0.0), (1, 18.0), (4, 18.0), (16, 1e9)])
def test_weight_is_inverse_variance(tmp_path: Path, width: int, timebin: float) -> None:
    """Over many noise realisations in one MS: (V - 1)/sigma of the averages has variance 1, whatever the flags."""
    pulls, counts = [], 0
    for seed in range(3):
        simulate(tmp_path / f"in{seed}.ms", seed=seed)
        out = tmp_path / f"out{seed}.ms"
        run(tmp_path / f"in{seed}.ms", out, averaging=Averaging({0: width, 1: width}, timebin))
        for ddid in SHAPES:
            data, flag = column(out, "DATA", ddid), column(out, "FLAG", ddid)
            averaged = width > 1 or timebin > 0
            weight = column(out, "WEIGHT_SPECTRUM", ddid) if averaged else column(out, "WEIGHT", ddid)[:, None, :]
            pull = (data - 1) * np.sqrt(weight)
            pulls.append(pull[~flag])
            counts += int((~flag).sum())
            row, used = column(out, "WEIGHT", ddid), ~flag
            if averaged:
                mean = (weight * used).sum(1) / np.maximum(used.sum(1), 1)
                np.testing.assert_allclose(row[used.any(1)], mean[used.any(1)], rtol=1e-5)
            np.testing.assert_allclose(column(out, "SIGMA", ddid) ** 2 * row, 1, rtol=1e-5)
    every = np.concatenate(pulls)
    components = np.concatenate([every.real, every.imag])
    error = np.sqrt(2 / len(components))
    assert abs(components.var() - 1) < 4 * error
    assert abs(components.mean()) < 4 / np.sqrt(len(components))


def test_averages_against_the_formula(noisy: Path, tmp_path: Path) -> None:
    """Baseline by baseline in plain loops: scan 2, spw 1, channels 2 to 7 by 3, 20 s."""
    index = open_index(str(noisy))
    out = tmp_path / "out.ms"
    run(
        noisy, out, {"rows": index.scan == 2, "channels": {1: np.arange(2, 8)}},
        averaging=Averaging({1: 3}, 20.0), fields=[1],
    )  # fmt: skip
    got = open_index(str(out))
    assert got.nrow == 2 * NBL  # 8 integrations: 0, 6, 12, 18 and 24, 30, 36, 42 s
    tab, new = open_table(str(noisy)), open_table(str(out))
    for row in (0, 7, 13):
        a, b = got.ant1[row], got.ant2[row]
        half = row // NBL
        times = index.times[8 + 4 * half : 12 + 4 * half]
        want = np.flatnonzero((index.ant1 == a) & (index.ant2 == b) & (index.ddid == 1) & np.isin(index.time, times))
        data = np.stack([tab.getcell("DATA", int(r))[2:8].reshape(2, 3, 4) for r in want])
        good = ~np.stack([tab.getcell("FLAG", int(r))[2:8].reshape(2, 3, 4) for r in want])
        weight = np.stack([np.broadcast_to(tab.getcell("WEIGHT", int(r)), (2, 3, 4)) for r in want]) * good
        total = weight.sum(axis=(0, 2))
        mean = (weight * data).sum(axis=(0, 2)) / np.where(total > 0, total, 1)
        np.testing.assert_array_equal(new.getcell("FLAG", row), ~good.any(axis=(0, 2)))
        np.testing.assert_allclose(new.getcell("DATA", row)[total > 0], mean[total > 0], rtol=1e-5)
        np.testing.assert_allclose(new.getcell("WEIGHT_SPECTRUM", row)[total > 0], total[total > 0], rtol=1e-5)
        share = weight.sum(axis=(1, 2, 3)) / weight.sum()
        uvw = np.stack([tab.getcell("UVW", int(r)) for r in want])
        np.testing.assert_allclose(new.getcell("UVW", row), share @ uvw, rtol=1e-5)
        assert abs(new.getcell("TIME_CENTROID", row) - times[0] - share @ (times - times[0])) < 1e-4
        assert new.getcell("TIME", row) == pytest.approx(times.mean(), abs=1e-5)
        assert new.getcell("INTERVAL", row) == 24.0
    tab.close()
    new.close()
    spw = got.spws[0]
    np.testing.assert_allclose(spw.freq, 1.1e11 - 2e6 * np.array([3, 6]), rtol=1e-15)
    np.testing.assert_array_equal(spw.width, [-6e6, -6e6])
    assert (spw.total_bandwidth, spw.name, got.fields.name) == (12e6, "down", ["sci"])
    assert (got.ddid == 0).all() and (got.field == 0).all() and got.fields.source_id.tolist() == [0]
    assert list(got.subtable("SOURCE")["NAME"]) == ["sci"]
    assert [pol.names for pol in got.polarizations] == [["XX", "XY", "YX", "YY"]]


def test_bins_stay_within_scans_unless_combined(noisy: Path) -> None:
    index = open_index(str(noisy))
    rows = np.arange(index.nrow)
    assert row_bins(index, rows, Averaging(timebin=1e9))[1] == 3 * 2 * NBL
    assert row_bins(index, rows, Averaging(timebin=1e9, combine=("scan",)))[1] == 2 * 2 * NBL  # fields stay apart
    # 12 s holds two integrations of 6 s, not three
    assert row_bins(index, rows, Averaging(timebin=12.0))[1] == 3 * 4 * 2 * NBL


def test_order_of_rows_does_not_matter(noisy: Path, tmp_path: Path) -> None:
    """A shuffled MS gives the same averages."""
    order = np.random.default_rng(3).permutation(open_index(str(noisy)).nrow)
    tab = open_table(str(noisy))
    shuffled = tab.selectrows(order.tolist())
    shuffled.copy(str(tmp_path / "shuffled.ms"), deep=True).close()
    shuffled.close()
    tab.close()
    found = []
    for name, path in (("a.ms", noisy), ("b.ms", tmp_path / "shuffled.ms")):
        run(path, tmp_path / name, averaging=Averaging({0: 4, 1: 4}, 20.0))
        key = np.lexsort([column(tmp_path / name, c, 0) for c in ("ANTENNA2", "ANTENNA1", "TIME")])
        found.append(
            {c: column(tmp_path / name, c, 0)[key] for c in ("DATA", "FLAG", "WEIGHT", "UVW", "TIME_CENTROID")}
        )
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=1e-6, err_msg=name)


def test_correlations_move_with_their_labels(noisy: Path, tmp_path: Path) -> None:
    got = run(noisy, tmp_path / "out.ms", {"correlations": {0: [1, 0], 1: [3, 0]}})
    assert [pol.names for pol in got.polarizations] == [["YY", "XX"], ["YY", "XX"]]
    assert got.polarizations[1].product.tolist() == [[1, 1], [0, 0]]
    for name in ("DATA", "FLAG", "WEIGHT"):
        np.testing.assert_array_equal(column(tmp_path / "out.ms", name, 1), column(noisy, name, 1)[..., [3, 0]])


def test_rows_without_the_correlation_go(noisy: Path, tmp_path: Path) -> None:
    index = open_index(str(noisy))
    plan = plan_split(index, choose(index, correlations={0: [], 1: [1]}), datacolumn="data")
    assert "240 rows have none of the selected correlations" in plan.notes[0]
    write_split(plan, str(tmp_path / "out.ms"))
    got = open_index(str(tmp_path / "out.ms"))
    assert [pol.names for pol in got.polarizations] == [["XY"]]
    assert got.ddid_spw.tolist() == [1] and got.nrow == NTIME * NBL


def test_data_of_a_calibrated_ms_have_the_weights_of_data(tmp_path: Path) -> None:
    simulate(tmp_path / "in.ms", corrected=True)
    run(tmp_path / "in.ms", tmp_path / "raw.ms", datacolumn="data")
    run(tmp_path / "in.ms", tmp_path / "cal.ms", datacolumn="corrected")
    sigma = column(tmp_path / "in.ms", "SIGMA", 0)
    np.testing.assert_allclose(column(tmp_path / "raw.ms", "SIGMA", 0), sigma, rtol=1e-6)
    np.testing.assert_allclose(column(tmp_path / "cal.ms", "SIGMA", 0), 2 * sigma, rtol=1e-6)
    np.testing.assert_array_equal(
        column(tmp_path / "cal.ms", "DATA", 1), column(tmp_path / "in.ms", "CORRECTED_DATA", 1)
    )


def flag_rows(path: Path, rows: Any, channels: slice = slice(None)) -> None:
    tab = open_table(str(path), writable=True)
    for row in np.flatnonzero(rows).tolist():
        flag = tab.getcell("FLAG", row)
        flag[channels] = True
        tab.putcell("FLAG", row, flag)
    tab.close()


def test_flagged_averages_and_rows(tmp_path: Path) -> None:
    """All flagged: the mean of the flagged, flagged; such rows go with keepflags=False."""
    simulate(tmp_path / "in.ms", flag_share=0.0)
    index = open_index(str(tmp_path / "in.ms"))
    flag_rows(tmp_path / "in.ms", (index.ant1 == 0) & (index.scan == 1))
    flag_rows(tmp_path / "in.ms", index.ant1 == 1, slice(0, 4))
    averaging = Averaging({0: 4, 1: 4}, 1e9)
    run(tmp_path / "in.ms", tmp_path / "all.ms", averaging=averaging)
    got = open_index(str(tmp_path / "all.ms"))
    assert got.nrow == 3 * 2 * NBL
    gone = (got.ant1 == 0) & (got.scan == 1)
    np.testing.assert_array_equal(got.column("FLAG_ROW"), gone)
    assert (got.column("EXPOSURE") == 48).all()
    mine = (got.ddid == 0) & (got.ant1 == 1)
    tab = open_table(str(tmp_path / "all.ms"))
    for row in np.flatnonzero(mine).tolist():
        assert tab.getcell("FLAG", row)[:, 0].tolist() == [True, False, False, False]
        used = tab.getcell("WEIGHT_SPECTRUM", row)[1:]
        np.testing.assert_allclose(tab.getcell("WEIGHT", row), used.mean(axis=0), rtol=1e-6)
    row = int(np.flatnonzero(gone)[0])
    np.testing.assert_allclose(tab.getcell("DATA", row), 1, atol=0.2)
    tab.close()
    run(tmp_path / "in.ms", tmp_path / "kept.ms", averaging=averaging, keepflags=False)
    assert open_index(str(tmp_path / "kept.ms")).nrow == 3 * 2 * NBL - 2 * 4
    everything = np.ones(index.nrow, bool)
    flag_rows(tmp_path / "in.ms", everything)
    with pytest.raises(SelectionError, match="every selected row is flagged"):
        run(tmp_path / "in.ms", tmp_path / "none.ms", keepflags=False)


def test_broken_numbers_do_not_spoil_averages(tmp_path: Path) -> None:
    simulate(tmp_path / "in.ms", flag_share=0.0)
    tab = open_table(str(tmp_path / "in.ms"), writable=True)
    cell = tab.getcell("DATA", 0)
    cell[3, 0], cell[4:8, 1] = np.nan, np.inf
    tab.putcell("DATA", 0, cell)
    tab.close()
    index = open_index(str(tmp_path / "in.ms"))
    plan = plan_split(index, choose(index), datacolumn="data", averaging=Averaging({0: 4, 1: 4}))
    assert write_split(plan, str(tmp_path / "out.ms")) == 5
    data, flag = column(tmp_path / "out.ms", "DATA", 0), column(tmp_path / "out.ms", "FLAG", 0)
    assert np.isfinite(data).all()
    assert flag.sum() == 1 and flag[0, 1, 1]
    weight = column(tmp_path / "out.ms", "WEIGHT_SPECTRUM", 0)[0, :, 0]
    np.testing.assert_allclose(weight[0] / weight[1], 0.75, rtol=1e-6)


def test_small_blocks_give_the_same(noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(noisy, tmp_path / "a.ms", averaging=Averaging({0: 2, 1: 2}, 20.0))
    monkeypatch.setattr("calibrant.ms.split.BLOCK_BYTES", 1 << 14)
    monkeypatch.setattr("calibrant.ms.split.MANY_ROWS", 1)
    run(noisy, tmp_path / "b.ms", averaging=Averaging({0: 2, 1: 2}, 20.0))
    for name in ("DATA", "FLAG", "WEIGHT", "WEIGHT_SPECTRUM", "UVW", "TIME", "EXPOSURE"):
        for ddid in SHAPES:
            np.testing.assert_allclose(
                column(tmp_path / "b.ms", name, ddid), column(tmp_path / "a.ms", name, ddid), rtol=1e-6
            )


def test_errors(noisy: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="one column"):
        run(noisy, tmp_path / "out.ms", datacolumn="all")
    with pytest.raises(MeasurementSetError, match="no column CORRECTED_DATA: run applycal first"):
        run(noisy, tmp_path / "out.ms", datacolumn="corrected")
    run(noisy, tmp_path / "out.ms")
    with pytest.raises(ExistsError):
        run(noisy, tmp_path / "out.ms")
    with pytest.raises(ExistsError, match="both input and output"):
        index = open_index(str(noisy))
        write_split(plan_split(index, choose(index), datacolumn="data"), str(noisy), overwrite=True)


def sorted_column(path: Path, name: str, ddid: int) -> np.ndarray:
    """A column of one DATA_DESC_ID, ordered by time and baseline."""
    key = np.lexsort([column(path, c, ddid) for c in ("ANTENNA2", "ANTENNA1", "TIME")])
    return column(path, name, ddid)[key]


@pytest.mark.oracle
def test_casa_splits_the_same_rows(oracle: Path, tmp_path: Path) -> None:
    """split(field='3', spw='0,1', datacolumn='corrected', keepflags=False): every column equal."""
    from calibrant.tasks.split import split

    out, theirs = tmp_path / "sci.ms", oracle / "out" / "sci.ms"
    result = split(str(oracle / "tiny.ms"), str(out), field="3", spw="0,1", keepflags=False)
    assert result.rows_out == 448 and "272 rows are flagged throughout" in result.summary()
    for name in set(open_index(str(theirs)).columns) - {"FLAG_CATEGORY"}:
        for ddid in range(2):
            ours, casa = sorted_column(out, name, ddid), sorted_column(theirs, name, ddid)
            np.testing.assert_allclose(ours, casa, rtol=2e-7, err_msg=name)
    for name in ("SPECTRAL_WINDOW", "FIELD", "SOURCE", "DATA_DESCRIPTION", "SYSCAL", "FEED"):
        got, want = (open_index(str(path)).subtable(name) for path in (out, theirs))
        for key in want:
            np.testing.assert_array_equal(got[key], want[key], err_msg=f"{name}.{key}")


@pytest.mark.oracle
def test_casa_averages_the_same(oracle: Path, tmp_path: Path) -> None:
    """width=[8, 16], timebin='30s': data, weights, times and flags agree.

    SIGMA does not where flags differ between channels: CASA's is the mean of the channels' sigmas, ours is
    1/sqrt(WEIGHT). FLAG_ROW of rows flagged throughout stays unset in CASA's."""
    from calibrant.tasks.split import split

    out, theirs = tmp_path / "avg.ms", oracle / "out" / "sciavg.ms"
    result = split(str(oracle / "tiny.ms"), str(out), field="3", spw="0,1", width=[8, 16], timebin="30s")
    assert [spw["nchan"] for spw in result.spws] == [4, 4]
    for ddid in range(2):
        flag = sorted_column(theirs, "FLAG", ddid)
        np.testing.assert_array_equal(sorted_column(out, "FLAG", ddid), flag)
        ours, casa = sorted_column(out, "DATA", ddid), sorted_column(theirs, "DATA", ddid)
        assert np.abs(ours - casa)[~flag].max() < 1e-6 * np.abs(casa[~flag]).mean()
        for name in ("WEIGHT", "UVW", "EXPOSURE", "INTERVAL"):
            np.testing.assert_allclose(
                sorted_column(out, name, ddid), sorted_column(theirs, name, ddid), rtol=1e-6, err_msg=name
            )
        for name in ("TIME", "TIME_CENTROID"):
            np.testing.assert_allclose(
                sorted_column(out, name, ddid), sorted_column(theirs, name, ddid), rtol=0, atol=1e-5
            )
    got, want = open_index(str(out)).spws, open_index(str(theirs)).spws
    for ours, casa in zip(got, want, strict=True):
        np.testing.assert_allclose(ours.freq, casa.freq, rtol=1e-14)
        np.testing.assert_array_equal(ours.width, casa.width)
        assert (ours.ref_frequency, ours.total_bandwidth) == (casa.ref_frequency, casa.total_bandwidth)


@pytest.mark.oracle
def test_channels_of_tsys_follow(oracle: Path, tmp_path: Path) -> None:
    from calibrant.tasks.split import split

    split(str(oracle / "tiny.ms"), str(tmp_path / "out.ms"), spw="1:8~23", width=4, datacolumn="data")
    new, old = (open_subtable(str(path), "SYSCAL") for path in (tmp_path / "out.ms", oracle / "tiny.ms"))
    spw = old.getcol("SPECTRAL_WINDOW_ID")
    first = int(np.flatnonzero(spw == 1)[0])
    want = old.getcell("TSYS_SPECTRUM", first)[8:24].reshape(4, 4, -1).mean(axis=1)
    np.testing.assert_allclose(new.getcell("TSYS_SPECTRUM", 0), want, rtol=1e-6)
    assert (new.getcol("SPECTRAL_WINDOW_ID") == 0).all() and new.nrows() == (spw == 1).sum()
    new.close()
    old.close()


def test_dry_run_and_words(noisy: Path, tmp_path: Path) -> None:
    from calibrant.tasks.split import split

    options: dict[str, Any] = {"datacolumn": "data", "field": "sci", "spw": "1", "width": 3, "dry_run": True}
    result = split(str(noisy), str(tmp_path / "out.ms"), **options)
    assert list(tmp_path.iterdir()) == []
    assert (result.rows_in, result.rows_out, result.fields) == (160, 160, ["sci"])
    assert "2 channels of spw 1 do not fill a bin of 3 and are left out: 6~7" in result.summary()
    assert json.loads(json.dumps(result.to_dict()))["spws"][0] == {
        "old": 1, "name": "down", "nchan": 2, "width_hz": -6e6
    }  # fmt: skip
    for wrong, message in (
        ({"width": [1, 2]}, "width has 2 numbers, but 1 spectral windows"),
        ({"width": 0}, "1 or more"),
        ({"timebin": "30x"}, "no length of time"),
        ({"combine": "field"}, "different skies"),
    ):
        with pytest.raises(ParameterError, match=message):
            split(str(noisy), str(tmp_path / "out.ms"), **{**options, **wrong})


CASA_CHECK = """
import json, sys
from casatasks import listobs, gaincal, visstat
vis, cal = sys.argv[1:]
listed = listobs(vis=vis, verbose=False)
stat = visstat(vis=vis, datacolumn="data", axis="real", spw="1")
gaincal(vis=vis, caltable=cal, spw="0", refant="A0", solint="inf", calmode="p", minblperant=2)
print("RESULT " + json.dumps([listed["nfields"], list(stat.values())[0]["mean"]]))
"""


@pytest.mark.casa
@pytest.mark.slow
def test_casa_reads_what_we_split(noisy: Path, casa_python: str, tmp_path: Path) -> None:
    run(noisy, tmp_path / "out.ms", averaging=Averaging({0: 4, 1: 2}, 18.0))
    command = [casa_python, "-c", CASA_CHECK, str(tmp_path / "out.ms"), str(tmp_path / "g.cal")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert "RESULT " in done.stdout, done.stdout + done.stderr
    fields, mean = json.loads(done.stdout.split("RESULT ")[1].splitlines()[0])
    assert fields == 2 and abs(mean - 1) < 0.02
