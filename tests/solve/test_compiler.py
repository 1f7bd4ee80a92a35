"""Stored kernels: found again without numba, made again when anything is wrong with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calibrant.solve import kernels

SOURCE = '''
import numpy as np
from calibrant.solve.compiler import kernel

def twice(x):
    return 2 * x

@kernel(("float32[:,:]", "float64[:,:]"), "int64", "float64[:]", helpers=(twice,), returns=True)
def row_totals(values, start, out):
    """Sum of every row from `start` on, doubled; returns the number of rows."""
    for row in range(values.shape[0]):
        total = 0.0
        for column in range(start, values.shape[1]):
            total += values[row, column]
        out[row] = twice(total)
    return values.shape[0]
'''

RUN = """
import sys
import numpy as np
import toy
out = np.zeros(3)
count = toy.row_totals(np.arange(12, dtype=sys.argv[1]).reshape(3, 4), 1, out)
print(count, out.tolist(), "numba" in sys.modules)
"""


def run(folder: Path, dtype: str = "float64") -> str:
    done = subprocess.run(
        [sys.executable, "-c", RUN, dtype], cwd=folder, capture_output=True, text=True, check=True,
        env={"PATH": "", "HOME": str(folder / "home"), "PYTHONPATH": str(folder)},
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "toy.py").write_text(SOURCE)
    return tmp_path


def stored(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kernel"))


def test_a_stored_kernel_needs_no_numba(toy: Path) -> None:
    expected = "3 [12.0, 36.0, 60.0]"
    assert run(toy) == f"{expected} True"
    assert len(stored(toy)) == 1
    assert run(toy) == f"{expected} False"
    assert run(toy, "float32") == f"{expected} True"
    assert len(stored(toy)) == 2


def test_a_damaged_or_outdated_kernel_is_made_again(toy: Path) -> None:
    first = run(toy)
    (path,) = stored(toy)
    path.write_bytes(path.read_bytes()[:-100])
    assert run(toy) == first
    (toy / "toy.py").write_text(SOURCE.replace("2 * x", "3 * x"))
    assert run(toy) == "3 [18.0, 54.0, 90.0] True"


def test_without_a_folder_to_write_to_kernels_are_compiled_each_time(toy: Path) -> None:
    (toy / "__pycache__").write_text("a file where a folder should be")
    (toy / "home").write_text("another")
    assert run(toy) == run(toy) == "3 [12.0, 36.0, 60.0] True"


def test_arguments_are_checked_before_pointers_are_handed_over() -> None:
    weight, factor = np.ones((4, 2), np.float32), np.ones((1, 3, 2), np.float32)
    rows, product = np.zeros(4, np.int64), np.zeros((2, 2), np.int64)
    kernels.scale_weights(weight, factor, rows, rows, rows, product)
    with pytest.raises(TypeError, match="float64"):
        kernels.scale_weights(weight.astype(float), factor, rows, rows, rows, product)
    with pytest.raises(TypeError, match="C-contiguous"):
        kernels.scale_weights(weight[:, ::-1], factor, rows, rows, rows, product)
    with pytest.raises(TypeError, match="C-contiguous"):
        kernels.scale_weights(weight[0], factor, rows, rows, rows, product)
