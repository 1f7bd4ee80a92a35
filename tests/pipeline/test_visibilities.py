"""Averages for the figures against plain numpy over the whole MeasurementSet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibrant.ms.index import open_index
from calibrant.pipeline.visibilities import _add_plane, _Sums, average_visibilities


def test_sums_are_weighted_means_without_flagged_and_nan_samples() -> None:
    rng = np.random.default_rng(3)
    nrow, nchan = 50, 12
    values = (rng.normal(size=(nrow, nchan)) + 1j * rng.normal(size=(nrow, nchan))).astype(np.complex64)
    good = rng.random((nrow, nchan)) > 0.3
    weight = rng.uniform(0.5, 2, nrow).astype(np.float32)
    pair, time = rng.integers(0, 6, nrow), np.sort(rng.integers(0, 5, nrow))
    values[7, 3], good[7, 3] = np.nan, True
    sums = _Sums.zeros(6, 5, nchan, 1)
    _add_plane(sums, values, good, weight, pair, time, 0)
    got = sums.result()
    keep = (good & np.isfinite(values)) * weight[:, None]
    clean = np.nan_to_num(values)
    np.testing.assert_allclose(got.channel[:, 0], (keep * clean).sum(0) / keep.sum(0), rtol=1e-5)
    np.testing.assert_allclose(got.channel_amp[:, 0], (keep * np.abs(clean)).sum(0) / keep.sum(0), rtol=1e-5)
    for one in range(6):
        mine = pair == one
        expected = (keep * clean)[mine].sum() / keep[mine].sum()
        np.testing.assert_allclose(got.baseline[one, 0], expected, rtol=1e-5)
    for one in range(5):
        rows = np.flatnonzero(time == one)
        amplitudes = np.abs((keep * clean)[rows].sum(1)).sum() / keep[rows].sum()
        np.testing.assert_allclose(got.time_amp[one, 0], amplitudes, rtol=1e-5)


@pytest.mark.oracle
def test_averages_of_the_oracle_equal_numpy(tiny_ms: Path) -> None:
    from casacore.tables import table

    index = open_index(str(tiny_ms))
    averages = average_visibilities(index)
    part = next(part for part in averages.parts if part.field == 2 and part.spw == 0)
    assert part.field_name == "J0006-0623" and part.correlations == ("XX", "YY")
    tab = table(str(tiny_ms), ack=False).query("DATA_DESC_ID==0 && FIELD_ID==2 && ANTENNA1!=ANTENNA2")
    data, flag, weight = (tab.getcol(name) for name in ("CORRECTED_DATA", "FLAG", "WEIGHT"))
    keep = ~flag * weight[:, None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (keep * data).sum(0) / keep.sum(0)
    np.testing.assert_allclose(part.columns["CORRECTED_DATA"].channel, expected, rtol=2e-5)
    uvw, first, second = (tab.getcol(name) for name in ("UVW", "ANTENNA1", "ANTENNA2"))
    mine = (first == part.ant1[4]) & (second == part.ant2[4])
    np.testing.assert_allclose(part.uvdist[4], np.hypot(uvw[mine, 0], uvw[mine, 1]).mean())
    np.testing.assert_allclose(
        part.columns["CORRECTED_DATA"].baseline[4], (keep * data)[mine].sum((0, 1)) / keep[mine].sum((0, 1)), rtol=2e-5
    )


@pytest.mark.oracle
def test_autocorrelations_and_flagged_rows_are_left_out(tiny_ms: Path) -> None:
    from casacore.tables import table

    with table(str(tiny_ms), readonly=False, ack=False) as tab:
        tab.putcol("FLAG_ROW", tab.getcol("FIELD_ID") == 3)
        second = tab.getcol("ANTENNA2")
        second[:7] = tab.getcol("ANTENNA1")[:7]
        tab.putcol("ANTENNA2", second)
    averages = average_visibilities(open_index(str(tiny_ms)), columns=("DATA",), spws=[0])
    assert {part.spw for part in averages.parts} == {0}
    assert all((part.ant1 != part.ant2).all() for part in averages.parts)
    target = next(part for part in averages.parts if part.field == 3)
    assert np.isnan(target.columns["DATA"].channel).all()
    assert list(target.columns) == ["DATA"]
