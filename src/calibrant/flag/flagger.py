"""What a flagger is.

A flagger is a small frozen value: its fields are parameters of `flagdata`, by the same names. It says which of the
selected rows it touches, looking at the index only; which channels; and, if that depends on the data, which
cells. Flags of cells that it touches are set, or cleared where `clears`. Adding one: a file here, a line in FLAGGERS.
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex
from calibrant.ms.reader import Chunk
from calibrant.ms.selection import Selection

Rows = NDArray[np.int64]


class Flagger(ABC):
    """Base: touches everything selected. Subclasses override what differs."""

    mode: ClassVar[str]
    clears: ClassVar[bool] = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `cells` reads."""
        return ()

    def correlations(self, text: str) -> str:
        """The part of flagdata's `correlation` that selects correlations."""
        return text

    def rows(self, index: MSIndex, selection: Selection) -> Rows:
        """The selected rows that are touched, ascending."""
        return selection.rows

    def channels(self, index: MSIndex, selection: Selection) -> dict[int, Rows]:
        """Spectral window id -> channels that are touched."""
        return selection.channels

    def cells(self, chunk: Chunk) -> NDArray[np.bool_] | None:
        """bool (nrow, nchan, ncorr): the cells that are touched; None: all that are selected."""
        return None
