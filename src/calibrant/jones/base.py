"""What every Jones term answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Place:
    """Where a term is evaluated: freq (nchan,) Hz of the data, table_freq (nchan_table,) Hz of the solutions,
    toward (nt, 3): unit vector to the source in ITRF for terms that need it (`needs_direction`)."""

    freq: NDArray[np.float64]
    table_freq: NDArray[np.float64]
    toward: NDArray[np.float64] | None = None


class JonesTerm(ABC):
    """One diagonal term. `param` is (nt, nant, nchan or 1, npar), complex or real, as stored in its table.

    kind: the name in CASA's tables (VisCal). order: place in the measurement equation, small = near the correlator.
    real: parameters are real (FPARAM). channelized: parameters depend on frequency and are interpolated in it.
    weighs_channels: weights are scaled by channel (in a solve, and in WEIGHT_SPECTRUM).
    needs_direction: depends on where the source stands.
    every_spw: the table's one spectral window serves all. flat: the factors do not depend on frequency.
    """

    kind: str
    order: int
    real: bool = False
    channelized: bool = False
    needs_direction: bool = False
    every_spw: bool = False
    weighs_channels: bool = False
    flat: bool = False

    @abstractmethod
    def factors(self, param: NDArray[np.inexact], place: Place) -> NDArray[np.complex128]:
        """J (nt, nant, nchan or 1, 2): what multiplies the wave."""

    def weights(self, param: NDArray[np.inexact], flag: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """c (nt, nant, 2) with WEIGHT_out = WEIGHT c_i c_j, or None where calibration leaves weights alone.

        `param` and `flag` are on the table's own channels. Flagged solutions give 1.
        """
        return None


class ComplexGain(JonesTerm):
    """A term whose parameters are the factors themselves; weights follow the mean of |g|^2 over channels."""

    def factors(self, param: NDArray[np.inexact], place: Place) -> NDArray[np.complex128]:
        return both_receptors(param).astype(np.complex128)

    def weights(self, param: NDArray[np.inexact], flag: NDArray[np.bool_]) -> NDArray[np.float64]:
        return both_receptors(mean_unflagged(np.abs(param) ** 2, flag))


def both_receptors(values: NDArray[Any]) -> NDArray[Any]:
    """Repeat a single parameter for both receptors; leave two as they are."""
    return np.repeat(values, 2, axis=-1) if values.shape[-1] == 1 else values


def mean_unflagged(values: NDArray[Any], flag: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over channels (axis 2) of what is not flagged; 1 where everything is."""
    good = ~flag
    count = good.sum(axis=2)
    total = np.where(good, values, 0.0).sum(axis=2)
    return np.where(count > 0, total / np.maximum(count, 1), 1.0)
