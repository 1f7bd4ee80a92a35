"""The numerical core: arrays in, arrays out; knows nothing of files or telescopes.

Reduce, then solve. For antenna-based diagonal terms that are constant over an interval the data enter chi2 only
through two sums per baseline and interval (and channel),

    A_ij = sum w V_ij conj(M_ij),    B_ij = sum w |M_ij|^2,

    chi2(g) = const - 2 Re sum conj(g_i) g_j A_ij + sum |g_i|^2 |g_j|^2 B_ij,

so one pass over the data (`kernels`, `reduce`) is exact and all iterations (`antenna`) run on the tiny sums.
"""
