"""Flaggers one by one, on values worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from calibrant.errors import ParameterError
from calibrant.flag import Autocorr, Clip, Edge, Quack, Zeros
from calibrant.flag.shadow import Shadow
from calibrant.ms.selection import Selection


def fake_index(**values: Any) -> Any:
    return SimpleNamespace(**values)


def selection(nrow: int, channels: dict[int, np.ndarray] | None = None) -> Selection:
    return Selection(np.arange(nrow), channels or {}, {})


def scan_index(times: list[float], scans: list[int]) -> Any:
    zeros = np.zeros(len(times), np.int32)
    return fake_index(time=np.array(times), scan=np.array(scans, np.int32), obs=zeros, array=zeros)


@pytest.mark.parametrize(
    ("mode", "expected"), [("beg", [0, 1, 4, 5]), ("tail", [2, 3, 6]), ("endb", [2, 3, 5, 6]), ("end", [0, 1, 4])]
)
def test_quack(mode: str, expected: list[int]) -> None:
    index = scan_index([0, 6, 12, 18, 100, 106, 112], [1, 1, 1, 1, 2, 2, 2])
    found = Quack(quackinterval=6.0, quackmode=mode).rows(index, selection(7))
    assert found.tolist() == expected


def test_quack_tells_equal_scan_numbers_of_two_observations_apart() -> None:
    index = scan_index([0, 6, 12, 100, 106, 112], [1] * 6)
    index.obs = np.array([0, 0, 0, 1, 1, 1], np.int32)
    assert Quack(quackinterval=1.0).rows(index, selection(6)).tolist() == [0, 3]


def test_quack_increment_counts_from_the_given_times() -> None:
    index = scan_index([0, 6, 12, 18, 100, 106], [1, 1, 1, 1, 2, 2])
    flagger = Quack(quackinterval=5.0, quackincrement=True).with_limits([(0, 0, 1, 12.0, 18.0)])
    assert flagger.rows(index, selection(6)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("kinds", [["CORRELATOR", "RADIOMETER"], []])
def test_autocorr_leaves_radiometers(kinds: list[str]) -> None:
    index = fake_index(
        ant1=np.array([0, 0, 1, 1]),
        ant2=np.array([0, 1, 1, 1]),
        subtable=lambda name: {"TYPE": np.array(kinds)} if kinds else {},
        column=lambda name: np.array([0, 0, 1, -1]),
    )
    assert Autocorr().rows(index, selection(4)).tolist() == ([0, 3] if kinds else [0, 2, 3])


def test_shadow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three dishes of 10 m: 0 and 1 are 9 m apart as seen from the source at the first time, 0 behind."""
    uvw = np.array([[9.0, 0, -1], [50, 0, 1], [60, 0, 1], [0, 0, 0], [30.0, 0, -1], [50, 0, 1], [60, 0, 1]])
    index = fake_index(
        times=np.array([0.0, 1.0]),
        time_id=np.array([0, 0, 0, 0, 1, 1, 1]),
        ant1=np.array([0, 0, 1, 0, 0, 0, 1]),
        ant2=np.array([1, 2, 2, 0, 1, 2, 2]),
    )
    index.antennas = type("Antennas", (), {"diameter": np.full(3, 10.0), "__len__": lambda self: 3})()

    def chunks(index: Any, rows: np.ndarray, columns: list[str]) -> list[Any]:
        return [type("Chunk", (), {"rows": rows, "__getitem__": lambda self, name: uvw[rows]})()]

    monkeypatch.setattr("calibrant.flag.shadow.read_chunks", chunks)
    assert Shadow().rows(index, selection(7)).tolist() == [0, 1, 3]
    assert Shadow(tolerance=1.5).rows(index, selection(7)).tolist() == []
    # the baseline that shows the shadow need not be selected
    assert Shadow().rows(index, Selection(np.array([1, 2, 5]), {}, {})).tolist() == [1]


@pytest.mark.parametrize(("edge", "expected"), [(2, [0, 1, 6, 7]), (0.25, [0, 1, 6, 7]), (0.2, [0, 7]), (0.1, [])])
def test_edge(edge: float, expected: list[int]) -> None:
    index = fake_index(spws=[SimpleNamespace(nchan=8)])
    chosen = {0: np.arange(8)}
    assert Edge(edgechannels=edge).channels(index, selection(1, chosen))[0].tolist() == expected


def test_edge_never_takes_a_whole_window() -> None:
    index = fake_index(spws=[SimpleNamespace(nchan=4)])
    with pytest.raises(ParameterError, match="all 4 channels of spw 0"):
        Edge(edgechannels=2).channels(index, selection(1, {0: np.arange(4)}))
    for wrong in (0, -1, 0.5, 1.5):
        with pytest.raises(ParameterError, match="edgechannels"):
            Edge(edgechannels=wrong)


VALUES = np.array([1, -2, 3j, -4j, 0, np.nan, np.inf, 3 + 4j], np.complex64).reshape(1, 8, 1)


@pytest.mark.parametrize(
    ("flagger", "expected"),
    [
        (Clip(), [5, 6]),
        (Clip(clipminmax=(2, 4)), [0, 4, 5, 6, 7]),
        (Clip(clipminmax=(2, 4), clipoutside=False), [1, 2, 3, 5, 6]),
        (Clip(clipminmax=(0, 9), clipzeros=True), [4, 5, 6]),
        (Clip(clipminmax=(0, 9), correlation="REAL_XX"), [1, 5, 6]),
        # CASA's IMAG takes the I for Stokes I and flags by that as well
        (Clip(clipminmax=(-3.5, 3.5), correlation="IMAG_ALL"), [3, 5, 6, 7]),
        (Clip(clipminmax=(-1, 3.2), correlation="ARG_ALL"), [3, 5, 6]),
        (Zeros(), [4, 5, 6]),
        (Zeros(clipminmax=(5, 6)), [4, 5, 6]),
    ],
)
def test_clip(flagger: Clip, expected: list[int]) -> None:
    chunk: Any = {"DATA": VALUES}
    real = flagger.cells(chunk)
    assert np.flatnonzero(real[0, :, 0]).tolist() == expected


def test_clip_of_residuals() -> None:
    chunk: Any = {"CORRECTED_DATA": np.array([[[5 + 0j], [2]]]), "MODEL_DATA": np.array([[[1 + 0j], [1]]])}
    flagger = Clip(clipminmax=(0, 3), datacolumn="residual")
    assert set(flagger.columns) == {"CORRECTED_DATA", "MODEL_DATA"}
    assert flagger.cells(chunk).ravel().tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "names"), [("", ""), ("ABS_ALL", ""), ("abs xx", "XX"), ("REAL_XX,YY", "XX,YY"), ("YY", "YY")]
)
def test_clip_selects_the_correlations_it_names(text: str, names: str) -> None:
    assert Clip(correlation=text).correlations(text) == names
