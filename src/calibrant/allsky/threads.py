"""One BLAS thread for matrices of an array's size.

The products here are of 24 to a few hundred rows. OpenBLAS splits them over all cores and its threads then wait in a
busy loop for the next one: on two shared cores a calibration took 7 s of CPU instead of 1 s.
"""

from __future__ import annotations

import ctypes
import glob
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

Count = tuple[Callable[[], int], Callable[[int], None]]


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, OpenBLAS of numpy's wheels uses one thread; other libraries are left as they are."""
    counts = _openblas()
    before = [get() for get, _ in counts]
    try:
        for _, put in counts:
            put(1)
        yield
    finally:
        for (_, put), number in zip(counts, before, strict=True):
            put(number)


def _openblas() -> list[Count]:
    """(read, set) the number of threads, of each OpenBLAS beside numpy."""
    folder = os.path.dirname(np.__file__)
    found = []
    for path in glob.glob(f"{folder}.libs/*openblas*") + glob.glob(f"{folder}/.dylibs/*openblas*"):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for name in ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads"):
            if hasattr(library, name.format("get")) and hasattr(library, name.format("set")):
                found.append((getattr(library, name.format("get")), getattr(library, name.format("set"))))
                break
    return found
