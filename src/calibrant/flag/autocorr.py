"""Autocorrelations, which are not visibilities of the sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibrant.flag.flagger import Flagger, Rows
from calibrant.ms.index import MSIndex
from calibrant.ms.selection import Selection


@dataclass(frozen=True)
class Autocorr(Flagger):
    """Rows of an antenna with itself, from a correlator: water-vapour radiometers (also "autos") are left alone.

    The backend is PROCESSOR.TYPE; an MS that does not say counts as made by a correlator (as CASA).
    """

    mode = "autocorr"

    def rows(self, index: MSIndex, selection: Selection) -> Rows:
        rows = selection.rows
        rows = rows[index.ant1[rows] == index.ant2[rows]]
        kinds = index.subtable("PROCESSOR").get("TYPE", ())
        if not len(kinds):
            return rows
        correlator = np.array([str(kind).upper() == "CORRELATOR" for kind in kinds])
        processor = index.column("PROCESSOR_ID")[rows]
        known = (processor >= 0) & (processor < len(correlator))
        return rows[~known | correlator[np.where(known, processor, 0)]]
