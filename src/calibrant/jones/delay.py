"""K: delay of an antenna, a phase that is linear in frequency.

    J_i(nu) = exp(2 pi i tau_i (nu - nu_ref)),   tau in ns in the table,
    nu_ref = CHAN_FREQ[nchan // 2] of the table's own spectral window.

Source: CASA's 'K Jones' tables (FPARAM). Tables of CASA before 5.3.0-107 mean REF_FREQUENCY instead;
the caltable reader hands over the right reference as `table_freq`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.jones.base import JonesTerm, Place, both_receptors


class Delay(JonesTerm):
    """K: delay in ns, a receptor each."""

    kind = "K Jones"
    order = 40
    real = True

    def factors(self, param: NDArray[np.inexact], place: Place) -> NDArray[np.complex128]:
        reference = place.table_freq[len(place.table_freq) // 2]
        turns = both_receptors(param).astype(float) * 1e-9 * (place.freq - reference)[None, None, :, None]
        return np.exp(2j * np.pi * turns)
