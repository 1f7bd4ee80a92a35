"""Every kernel against its plain-numpy twin."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from calibrant.solve import kernels
from calibrant.solve.reduce import any_flag

RNG = np.random.default_rng(7)


def complex_noise(*shape: int) -> NDArray[np.complex64]:
    return (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(np.complex64)


def data(ncorr: int, nweight: int = 1) -> tuple[NDArray, ...]:
    nrow, nchan, nmodel = 40, 19, 3
    vis, model = complex_noise(nrow, nchan, ncorr), complex_noise(nmodel, nchan, ncorr)
    flag = RNG.random((nrow, nchan, ncorr)) < 0.1
    vis[flag] = np.nan
    vis[3, 4] = np.inf  # not finite although not flagged: must not count
    weight = RNG.uniform(0.5, 2, (nrow, nchan if nweight > 1 else 1, ncorr)).astype(np.float32)
    which = RNG.integers(0, nmodel, nrow)
    return vis, flag, weight, model, which


def numpy_terms(vis, flag, weight, model, which, hands):  # type: ignore[no-untyped-def]
    """w V conj(M) and w |M|^2 of every row, channel and hand; 0 where not used."""
    good = ~flag.any(axis=2)[:, :, None] & np.isfinite(vis[:, :, hands])
    m = model[which][:, :, hands]
    w = np.broadcast_to(weight, vis.shape)[:, :, hands]
    a = np.where(good, w * np.where(good, vis[:, :, hands], 0) * m.conj(), 0)
    return a, np.where(good, w * np.abs(m) ** 2, 0)


@pytest.mark.parametrize("ncorr", [1, 2, 3, 4])
@pytest.mark.parametrize("nweight", [1, 19])
def test_row_sums(ncorr: int, nweight: int) -> None:
    vis, flag, weight, model, which = data(ncorr, nweight)
    hands = np.array([0] if ncorr == 1 else [0, ncorr - 1])
    ranges = np.array([[2, 9], [11, 17]])
    a, b = np.empty((40, len(hands)), complex), np.empty((40, len(hands)))
    kernels.row_sums(vis, any_flag(flag), weight, model, which, hands, ranges, a, b)
    terms_a, terms_b = numpy_terms(vis, flag, weight, model, which, hands)
    used = np.r_[2:9, 11:17]
    np.testing.assert_allclose(a, terms_a[:, used].sum(axis=1), rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(b, terms_b[:, used].sum(axis=1), rtol=2e-5)


@pytest.mark.parametrize("ncorr", [1, 2, 4])
def test_channel_sums(ncorr: int) -> None:
    vis, flag, weight, model, which = data(ncorr)
    hands = np.array([0] if ncorr == 1 else [0, ncorr - 1])
    bins = np.repeat(np.arange(-1, 9), 2)[:19]
    cell, baseline = RNG.integers(-1, 3, 40), RNG.integers(0, 5, 40)
    a, b, total = np.zeros((3, 5, 9, len(hands)), complex), np.zeros((3, 5, 9, len(hands))), np.empty(40)
    kernels.channel_sums(vis, any_flag(flag), weight, model, which, hands, bins, cell, baseline, a, b, total)
    terms_a, terms_b = numpy_terms(vis, flag, weight, model, which, hands)
    expect_a, expect_b = np.zeros_like(a), np.zeros_like(b)
    for row in np.flatnonzero(cell >= 0):
        for channel in np.flatnonzero(bins >= 0):
            expect_a[cell[row], baseline[row], bins[channel]] += terms_a[row, channel]
            expect_b[cell[row], baseline[row], bins[channel]] += terms_b[row, channel]
    np.testing.assert_allclose(a, expect_a, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(b, expect_b, rtol=1e-5)
    expect_total = np.where(cell >= 0, terms_b[:, bins >= 0].sum(axis=(1, 2)), 0)
    np.testing.assert_allclose(total, expect_total, rtol=1e-5)


@pytest.mark.parametrize("nchan_table", [1, 19])
def test_correct_flags_and_weights(nchan_table: int) -> None:
    vis, flag, weight, _, _ = data(4)
    vis = np.nan_to_num(vis, posinf=0, neginf=0)
    slot, ant1, ant2 = RNG.integers(0, 2, 40), RNG.integers(0, 6, 40), RNG.integers(0, 6, 40)
    product = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    inverse = complex_noise(2, 6, nchan_table, 2)
    out = np.empty_like(vis)
    kernels.correct(vis, inverse, slot, ant1, ant2, product, out)
    left, right = inverse[slot, ant1][:, :, product[:, 0]], inverse[slot, ant2][:, :, product[:, 1]]
    np.testing.assert_allclose(out, vis * left * right.conj(), rtol=1e-5, atol=1e-5)
    bad = RNG.random((2, 6, nchan_table, 2)) < 0.2
    expect = flag | bad[slot, ant1][:, :, product[:, 0]] | bad[slot, ant2][:, :, product[:, 1]]
    after = flag.copy()
    assert kernels.spread_flags(after, bad, slot, ant1, ant2, product) == expect.sum() - flag.sum()
    assert (after == expect).all()
    factor = RNG.uniform(0.5, 2, (2, 6, 2)).astype(np.float32)
    scaled = weight[:, 0].copy()
    kernels.scale_weights(scaled, factor, slot, ant1, ant2, product)
    np.testing.assert_allclose(
        scaled, weight[:, 0] * factor[slot, ant1][:, product[:, 0]] * factor[slot, ant2][:, product[:, 1]], rtol=1e-6
    )
