"""How far a table or corrected data are from the truth: python benchmarks/accuracy.py OBS.ms TABLE.

Prints the rms of gain - truth after both are made phase zero on antenna 0 (TABLE: any CASA table), or, for the word
CORRECTED_DATA in place of a table, the rms of one part of CORRECTED_DATA - MODEL_DATA in unflagged parallel hands.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray


def referenced(gain: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """gain (..., antenna, receptor) with the phase of antenna 0 taken out."""
    return gain * np.exp(-1j * np.angle(gain[..., :1, :]))


def of_table(ms: str, path: str) -> float:
    from calibrant.caltable import casa

    truth = np.load(f"{ms.rstrip('/')}.truth.npz")["gain"]
    (solutions,) = casa.read(path).spws.values()
    gain = np.where(solutions.flag, np.nan, solutions.param).swapaxes(1, 2)
    return float(np.sqrt(np.nanmean(np.abs(referenced(gain) - referenced(truth)) ** 2)))


def of_corrected(ms: str) -> float:
    from calibrant.ms.index import open_index
    from calibrant.ms.reader import read_chunks

    index = open_index(ms)
    total, count = 0.0, 0
    for chunk in read_chunks(index, np.arange(index.nrow), ["CORRECTED_DATA", "MODEL_DATA", "FLAG"]):
        left = (chunk["CORRECTED_DATA"] - chunk["MODEL_DATA"])[~chunk["FLAG"]]
        total += float(np.sum(np.abs(left) ** 2, dtype=np.float64))
        count += 2 * len(left)
    return float(np.sqrt(total / count))


if __name__ == "__main__":
    observation, what = sys.argv[1:3]
    print(of_corrected(observation) if what == "CORRECTED_DATA" else of_table(observation, what))
