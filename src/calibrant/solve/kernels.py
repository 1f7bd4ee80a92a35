"""Kernels over visibilities: each runs once over a chunk, without the GIL, at memory speed (compiled: `compiler`).

Shapes: vis (nrow, nchan, ncorr) complex64; `bad` (nrow, nchan) unsigned, non-zero = flagged (all correlations of a
channel together: FLAG seen as one integer); weight (nrow, 1 or nchan, ncorr) float32; model (nmodel, nchan, ncorr)
complex64 with `which` (nrow,) choosing the row's model; `hands` (npol,) positions of the parallel hands.
Visibilities that are not finite count as flagged. Selection, never multiplication, keeps rubbish under flags out.
"""

from __future__ import annotations

import numpy as np

from calibrant.solve.compiler import kernel

# reassociation lets reductions be vectorised; NaN keeps its meaning because it marks bad data
FAST = {"reassoc", "contract", "nsz", "arcp"}
HUGE = np.finfo(np.float32).max

_VIS = _MODEL = "complex64[:,:,:]"
_BAD = ("uint8[:,:]", "uint16[:,:]", "uint32[:,:]")
_WEIGHT = "float32[:,:,:]"
_ROWS = "int64[:]"


@kernel(_VIS, _BAD, _WEIGHT, _MODEL, _ROWS, _ROWS, "int64[:,:]", "complex128[:,:]", "float64[:,:]", fastmath=FAST)
def row_sums(vis, bad, weight, model, which, hands, ranges, numerator, norm):  # type: ignore[no-untyped-def]
    """A = sum_ch w V conj(M) and B = sum_ch w |M|^2 of every row and hand, over channel `ranges` [first, end).

    numerator, norm: (nrow, npol), overwritten.
    """
    v = vis.view(np.float32)
    m = model.view(np.float32)
    zero = np.float32(0)
    per_channel = weight.shape[1] > 1
    for row in range(vis.shape[0]):
        k = which[row]
        for p in range(hands.shape[0]):
            c = 2 * hands[p]
            re, im, mm = zero, zero, zero
            for r in range(ranges.shape[0]):
                if per_channel:
                    for ch in range(ranges[r, 0], ranges[r, 1]):
                        w = weight[row, ch, hands[p]]
                        t = v[row, ch, c] * m[k, ch, c] + v[row, ch, c + 1] * m[k, ch, c + 1]
                        u = v[row, ch, c + 1] * m[k, ch, c] - v[row, ch, c] * m[k, ch, c + 1]
                        good = (bad[row, ch] == 0) & (abs(t) <= HUGE) & (abs(u) <= HUGE)
                        re += w * t if good else zero
                        im += w * u if good else zero
                        mm += w * (m[k, ch, c] ** 2 + m[k, ch, c + 1] ** 2) if good else zero
                else:
                    for ch in range(ranges[r, 0], ranges[r, 1]):
                        t = v[row, ch, c] * m[k, ch, c] + v[row, ch, c + 1] * m[k, ch, c + 1]
                        u = v[row, ch, c + 1] * m[k, ch, c] - v[row, ch, c] * m[k, ch, c + 1]
                        good = (bad[row, ch] == 0) & (abs(t) <= HUGE) & (abs(u) <= HUGE)
                        re += t if good else zero
                        im += u if good else zero
                        mm += m[k, ch, c] * m[k, ch, c] + m[k, ch, c + 1] * m[k, ch, c + 1] if good else zero
            factor = 1.0 if per_channel else np.float64(weight[row, 0, hands[p]])
            numerator[row, p] = factor * complex(re, im)
            norm[row, p] = factor * mm


@kernel(
    _VIS, _BAD, _WEIGHT, _MODEL, _ROWS, _ROWS, _ROWS, _ROWS, _ROWS, "complex128[:,:,:,:]", "float64[:,:,:,:]",
    "float64[:]", fastmath=FAST,
)  # fmt: skip
def channel_sums(vis, bad, weight, model, which, hands, bins, cell, baseline, numerator, norm, total):  # type: ignore[no-untyped-def]
    """Add w V conj(M) and w |M|^2 of every channel to the sums of the row's cell, baseline and channel bin.

    bins (nchan,): channel bin, -1 = not selected. numerator, norm: (ncell, nbaseline, nbin, npol), added to.
    total (nrow,): sum of w |M|^2 of the row over bins and hands, overwritten. Rows with cell < 0 are passed over.
    """
    v = vis.view(np.float32)
    m = model.view(np.float32)
    step = 1 if weight.shape[1] > 1 else 0
    for row in range(vis.shape[0]):
        total[row] = 0.0
        if cell[row] < 0:
            continue
        k = which[row]
        a = numerator[cell[row], baseline[row]]
        b = norm[cell[row], baseline[row]]
        sum_row = 0.0
        for p in range(hands.shape[0]):
            c = 2 * hands[p]
            for ch in range(vis.shape[1]):
                bin_ = bins[ch]
                t = v[row, ch, c] * m[k, ch, c] + v[row, ch, c + 1] * m[k, ch, c + 1]
                u = v[row, ch, c + 1] * m[k, ch, c] - v[row, ch, c] * m[k, ch, c + 1]
                if bin_ >= 0 and bad[row, ch] == 0 and abs(t) <= HUGE and abs(u) <= HUGE:
                    w = weight[row, ch * step, hands[p]]
                    mm = w * (m[k, ch, c] * m[k, ch, c] + m[k, ch, c + 1] * m[k, ch, c + 1])
                    a[bin_, p] += complex(w * t, w * u)
                    b[bin_, p] += mm
                    sum_row += mm
        total[row] = sum_row


@kernel(_VIS, "complex64[:,:,:,:]", _ROWS, _ROWS, _ROWS, "int64[:,:]", _VIS, fastmath=FAST)
def correct(vis, inverse, slot, ant1, ant2, product, out):  # type: ignore[no-untyped-def]
    """out = V / (J_i,p conj(J_j,q)), given inverse = 1/J (nslot, nant, 1 or nchan, 2).

    product (ncorr, 2): receptors p of ANTENNA1 and q of ANTENNA2. `out` may be `vis`.
    """
    v = vis.view(np.float32)
    o = out.view(np.float32)
    f = inverse.view(np.float32)
    for row in range(vis.shape[0]):
        s, i, j = slot[row], ant1[row], ant2[row]
        for c in range(vis.shape[2]):  # outside the channels: twice as fast, the factor stays in registers
            p, q = 2 * product[c, 0], 2 * product[c, 1]
            if inverse.shape[2] == 1:
                gr = f[s, i, 0, p] * f[s, j, 0, q] + f[s, i, 0, p + 1] * f[s, j, 0, q + 1]
                gi = f[s, i, 0, p + 1] * f[s, j, 0, q] - f[s, i, 0, p] * f[s, j, 0, q + 1]
                for ch in range(vis.shape[1]):
                    re, im = v[row, ch, 2 * c], v[row, ch, 2 * c + 1]
                    o[row, ch, 2 * c] = re * gr - im * gi
                    o[row, ch, 2 * c + 1] = re * gi + im * gr
            else:
                for ch in range(vis.shape[1]):
                    gr = f[s, i, ch, p] * f[s, j, ch, q] + f[s, i, ch, p + 1] * f[s, j, ch, q + 1]
                    gi = f[s, i, ch, p + 1] * f[s, j, ch, q] - f[s, i, ch, p] * f[s, j, ch, q + 1]
                    re, im = v[row, ch, 2 * c], v[row, ch, 2 * c + 1]
                    o[row, ch, 2 * c] = re * gr - im * gi
                    o[row, ch, 2 * c + 1] = re * gi + im * gr


@kernel("bool[:,:,:]", "bool[:,:,:,:]", _ROWS, _ROWS, _ROWS, "int64[:,:]", returns=True)
def spread_flags(flag, bad, slot, ant1, ant2, product):  # type: ignore[no-untyped-def]
    """Flag correlation pq where the solution of (i, p) or of (j, q) is bad; count what is newly flagged.

    flag (nrow, nchan, ncorr), changed in place; bad (nslot, nant, 1 or nchan, 2).
    """
    count = 0
    step = 1 if bad.shape[2] > 1 else 0
    for row in range(flag.shape[0]):
        s, i, j = slot[row], ant1[row], ant2[row]
        for ch in range(flag.shape[1]):
            for c in range(flag.shape[2]):
                hit = bad[s, i, ch * step, product[c, 0]] or bad[s, j, ch * step, product[c, 1]]
                if hit and not flag[row, ch, c]:
                    flag[row, ch, c] = True
                    count += 1
    return count


@kernel("float32[:,:]", "float32[:,:,:]", _ROWS, _ROWS, _ROWS, "int64[:,:]")
def scale_weights(weight, factor, slot, ant1, ant2, product):  # type: ignore[no-untyped-def]
    """weight_pq *= c_i,p c_j,q in place; weight (nrow, ncorr), factor (nslot, nant, 2)."""
    for row in range(weight.shape[0]):
        s, i, j = slot[row], ant1[row], ant2[row]
        for c in range(weight.shape[1]):
            weight[row, c] *= factor[s, i, product[c, 0]] * factor[s, j, product[c, 1]]
