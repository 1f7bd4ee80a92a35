"""Channels at the edges of spectral windows, where the bandpass falls off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibrant.errors import ParameterError
from calibrant.flag.flagger import Flagger, Rows
from calibrant.ms.index import MSIndex
from calibrant.ms.selection import Selection


@dataclass(frozen=True)
class Edge(Flagger):
    """edgechannels: so many channels at both ends; below 1: that part of the channels at both ends, rounded down."""

    edgechannels: float = 0.05
    mode = "edge"

    def __post_init__(self) -> None:
        whole = float(self.edgechannels).is_integer()
        if not (0 < self.edgechannels < 0.5 or (self.edgechannels >= 1 and whole)):
            raise ParameterError(
                f"edgechannels={self.edgechannels}: give a number of channels (1, 2, ...) or a part of them below 0.5"
            )

    def width(self, nchan: int) -> int:
        """Channels at each end of a window of `nchan` channels."""
        return int(self.edgechannels if self.edgechannels >= 1 else self.edgechannels * nchan)

    def channels(self, index: MSIndex, selection: Selection) -> dict[int, Rows]:
        touched = {}
        for spw, chosen in selection.channels.items():
            nchan = index.spws[spw].nchan
            width = self.width(nchan)
            if 2 * width >= nchan:
                raise ParameterError(
                    f"edgechannels={self.edgechannels} would flag all {nchan} channels of spw {spw}; select other spws"
                )
            touched[spw] = chosen[(chosen < width) | (chosen >= nchan - width)]
        return {spw: np.asarray(chosen, np.int64) for spw, chosen in touched.items()}
