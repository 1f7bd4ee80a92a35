"""Limits beyond which amplitudes are interference: noise and structure stay, spikes go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibrant.ms.index import MSIndex, open_index
from calibrant.ms.writer import MSWriter
from calibrant.pipeline.outliers import MAX_SHARE, SIGMAS, Limit, Standing, amplitude_limits, remaining, standing_out

sys.path.insert(0, str(Path(__file__).parent))
from made import C286, Window, close_to, observe

SIGMA, FLUX = 0.5, 3.0
NT, NBL, NCHAN = 40, 15, 16

Fill = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> MSIndex:
    """One field with XX, XY, YX, YY and autocorrelations, another with nothing to look at."""
    path = tmp_path_factory.mktemp("outliers") / "a.ms"
    window = Window(NCHAN, corr="XX XY YX YY")
    observe(path, (C286, close_to("T")), ((0, NT), (1, 2)), windows=(window,), autos=True)
    return open_index(str(path))


def limits(index: MSIndex, change: Fill, flux: float = FLUX) -> list[Limit]:
    """Limits where CORRECTED_DATA of field 0 is flux plus noise, changed by `change`; field 1 is 0."""
    rng = np.random.default_rng(3)
    rows = np.arange(index.nrow)
    values = SIGMA * (rng.normal(size=(index.nrow, NCHAN, 4)) + 1j * rng.normal(size=(index.nrow, NCHAN, 4)))
    values[:, :, [0, 3]] += flux
    cross = index.ant1 != index.ant2
    values[~cross] = 1000.0
    mine = cross & (index.field == 0)
    values[mine] = change(values[mine].reshape(NT, NBL, NCHAN, 4)).reshape(-1, NCHAN, 4)
    values[index.field == 1] = 0
    with MSWriter(index.path, task="test", fingerprint=str(rng.random())) as writer:
        writer.ensure_column("CORRECTED_DATA")
        writer.put("CORRECTED_DATA", rows, values.astype(np.complex64))
    return amplitude_limits(open_index(index.path), rows, {(0, 0): flux} if flux else {})


def only(found: list[Limit]) -> Limit:
    (limit,) = found
    assert (limit.field, limit.spw) == (0, 0)
    return limit


def test_noise_is_no_interference(empty: MSIndex) -> None:
    """Autocorrelations and cross hands do not count, and a field that is 0 throughout has no limits."""
    limit = only(limits(empty, lambda values: values))
    assert limit.share == 0
    np.testing.assert_allclose(limit.high, FLUX + SIGMAS * SIGMA, rtol=0.03)
    assert limit.low == 0


def test_noise_of_a_faint_target(empty: MSIndex) -> None:
    limit = only(limits(empty, lambda values: values, flux=0.0))
    assert limit.share == 0 and limit.low == 0
    np.testing.assert_allclose(limit.high, SIGMAS * SIGMA, rtol=0.03)


@pytest.mark.parametrize("flux", [0.0, FLUX])
def test_spikes_are_found(empty: MSIndex, flux: float) -> None:
    def spikes(values: np.ndarray) -> np.ndarray:
        values[::4, 3, 5] += 100.0
        return values

    limit = only(limits(empty, spikes, flux))
    assert limit.share == pytest.approx(NT / 4 / (NT * NBL * NCHAN))
    assert 0 < limit.share < MAX_SHARE


def test_a_band_full_of_interference_does_not_move_the_limit(empty: MSIndex) -> None:
    def loud(values: np.ndarray) -> np.ndarray:
        values[:, :, :4] += 50.0
        return values

    limit = only(limits(empty, loud))
    assert limit.share == pytest.approx(0.25, abs=0.001)
    assert limit.high < FLUX + 2 * SIGMAS * SIGMA


def test_missing_signal_is_found_where_the_source_is_bright(empty: MSIndex) -> None:
    def gone(values: np.ndarray) -> np.ndarray:
        values[:5, 2] -= 40 * SIGMA
        return values

    limit = only(limits(empty, gone, flux=40 * SIGMA))
    assert limit.low == pytest.approx(32 * SIGMA, rel=0.05)
    assert limit.share == pytest.approx(5 / (NT * NBL))


def test_a_bright_resolved_source_is_not_clipped(empty: MSIndex) -> None:
    """Two short baselines see much more than the others: too many samples to be interference."""

    def resolved(values: np.ndarray) -> np.ndarray:
        values[:, :2] += 60 * SIGMA
        return values

    assert only(limits(empty, resolved, flux=0.0)).share > MAX_SHARE


def test_flagged_and_nan_samples_do_not_count(empty: MSIndex) -> None:
    def broken(values: np.ndarray) -> np.ndarray:
        values[0, 0, 0] = np.nan
        return values

    assert only(limits(empty, broken)).share == 0


# ---- what is the source's own ---------------------------------------------------------------------------------


def standing(index: MSIndex, change: Fill, flux: float = 0.0) -> tuple[Standing, float, list[int]]:
    """What stands out in field 0, the share that is left as interference, and its crowded channels."""
    found = limits(index, change, flux)
    index, rows = open_index(index.path), np.arange(index.nrow)
    known = {(0, 0)} if flux else set()
    out = standing_out(index, rows, found, known)
    left, crowded = remaining(index, rows, found, {} if flux else out)
    return out[0, 0], only(left).share, [place.channel for place in crowded]


@pytest.mark.parametrize("jy", [7 * SIGMA, 20.0])
def test_a_line_in_one_channel_is_the_source(empty: MSIndex, jy: float) -> None:
    def maser(values: np.ndarray) -> np.ndarray:
        values[:, :, 5] += jy
        return values

    assert standing(empty, maser) == (Standing(frozenset({5})), 0.0, [])


def test_interference_beside_a_line_is_still_found(empty: MSIndex) -> None:
    def both(values: np.ndarray) -> np.ndarray:
        values[:, :, 5] += 20.0
        values[:8, :, 11] += 50.0
        return values

    found, share, crowded = standing(empty, both)
    assert found == Standing(frozenset({5})) and crowded == [11]
    assert share == pytest.approx(8 / NT / NCHAN)


def test_a_channel_that_is_too_bright_on_a_calibrator_all_the_time(empty: MSIndex) -> None:
    def carrier(values: np.ndarray) -> np.ndarray:
        values[:, :, 5] += 20.0
        return values

    found, share, _ = standing(empty, carrier, FLUX)
    assert found.channels == {5} and share == pytest.approx(1 / NCHAN)


def test_interference_that_comes_and_goes_or_is_on_some_baselines_is_no_source(empty: MSIndex) -> None:
    def bursts(values: np.ndarray) -> np.ndarray:
        values[: NT // 2, :, 5] += 20.0
        values[:, 7, 9] += 20.0
        return values

    found, share, _ = standing(empty, bursts)
    assert found == Standing() and share > 0.03


def _order(index: MSIndex) -> np.ndarray:
    """Baselines by length."""
    from calibrant.ms.reader import read_rows

    return np.argsort(np.hypot(*read_rows(index, "UVW", np.flatnonzero(index.ant1 != index.ant2)[:NBL])[:, :2].T))


@pytest.mark.parametrize("line", [False, True])
def test_emission_on_the_shortest_spacings_is_the_source(empty: MSIndex, line: bool) -> None:
    """In all channels, or in those of a line only."""
    short = _order(empty)[:2]
    channels = [4, 5] if line else list(range(NCHAN))

    def extended(values: np.ndarray) -> np.ndarray:
        values[:, short[:, None], channels] += 20.0
        values[3, :, 12] += 50.0
        return values

    found, share, crowded = standing(empty, extended)
    assert found.channels == (set(channels) if line else set())
    assert (found.spacing > 0) is not line
    assert 0 < share < 1.01 / NT / NCHAN
    assert crowded == []
