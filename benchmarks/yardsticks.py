"""What the machine gives: python benchmarks/yardsticks.py OBS.ms COLUMN ... prints one JSON object.

`pass`: wall and CPU seconds of one python-casacore getcolnp pass over the columns, 4 MB pieces into reused buffers,
and their GB; `copy_gb_s`: bytes read and written a second by numpy copies of 64 MB slices, best of several.
Interpreter and imports are not counted.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from casacore.tables import table

PIECE = 4 << 20
SLICE = 64 << 20


def column_pass(path: str, columns: list[str]) -> dict[str, float]:
    tab = table(path, ack=False)
    cells = {name: np.asarray(tab.getcell(name, 0)) for name in columns}
    rows = max(1, PIECE // (8 * cells["DATA"].size))
    buffers = {name: np.empty((rows, *cell.shape), cell.dtype) for name, cell in cells.items()}
    total, wall, cpu = 0, time.perf_counter(), time.process_time()
    for start in range(0, tab.nrows(), rows):
        count = min(rows, tab.nrows() - start)
        for name, buffer in buffers.items():
            tab.getcolnp(name, buffer[:count], start, count, 1)
            total += buffer[:count].nbytes
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "gb": total / 1e9}


def copy_rate() -> float:
    source, target = np.ones(SLICE * 8, np.uint8), np.ones(SLICE * 8, np.uint8)
    best = np.inf
    for _ in range(5):
        for first in range(0, len(source), SLICE):
            start = time.perf_counter()
            target[first : first + SLICE] = source[first : first + SLICE]
            best = min(best, time.perf_counter() - start)
    return 2 * SLICE / best / 1e9


if __name__ == "__main__":
    print(json.dumps({"pass": column_pass(sys.argv[1], sys.argv[2:]), "copy_gb_s": copy_rate()}))
