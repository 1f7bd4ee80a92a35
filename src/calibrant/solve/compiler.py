"""numba, started without what our kernels do not use.

As it starts, numba imports scipy.linalg to see whether there is a BLAS (0.2 s of CPU time, a third of its start).
Kernels here call no linear algebra; code elsewhere that does makes numba look again when it is compiled.
"""

from __future__ import annotations

import sys

from numba import njit

__all__ = ["njit"]


def _start() -> None:
    from numba.np import linalg

    if "scipy.linalg" in sys.modules or not hasattr(linalg, "ensure_blas"):
        return
    ask, linalg.ensure_blas = linalg.ensure_blas, lambda: None
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        linalg.ensure_blas = ask


_start()
