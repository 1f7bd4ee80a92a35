"""Values out of range, zeros, and numbers that are none (NaN, infinity: always)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError
from calibrant.flag.flagger import Flagger
from calibrant.ms.reader import Chunk
from calibrant.registry import unknown

DATACOLUMNS: dict[str, tuple[str, ...]] = {
    "DATA": ("DATA",),
    "CORRECTED": ("CORRECTED_DATA",),
    "MODEL": ("MODEL_DATA",),
    "RESIDUAL": ("CORRECTED_DATA", "MODEL_DATA"),
    "RESIDUAL_DATA": ("DATA", "MODEL_DATA"),
}
"""datacolumn -> columns read; with two, the second is subtracted from the first."""

OPERATORS: dict[str, Callable[[NDArray[np.complex64]], NDArray[np.float32]]] = {
    "ABS": np.abs,
    "REAL": np.real,
    "IMAG": np.imag,
    "ARG": np.angle,
    "NORM": lambda values: np.square(values.real) + np.square(values.imag),
}


@dataclass(frozen=True)
class Clip(Flagger):
    """clipminmax: [lowest, highest] value that is kept (clipoutside), or flagged (not clipoutside); [] no range.

    clipzeros: exact zeros too. datacolumn: a name of DATACOLUMNS. correlation: what is compared, of which
    correlations: 'ABS_ALL' (the default), 'REAL_XX', 'ARG_XX,YY' (rad), or 'XX' alone for its amplitude.
    """

    clipminmax: tuple[float, ...] = ()
    datacolumn: str = "DATA"
    clipoutside: bool = True
    clipzeros: bool = False
    correlation: str = ""
    mode = "clip"

    def __post_init__(self) -> None:
        if len(self.clipminmax) not in (0, 2) or list(self.clipminmax) != sorted(self.clipminmax):
            raise ParameterError(f"clipminmax={list(self.clipminmax)}: give [lowest, highest], or [] for no range")
        if self.datacolumn.upper() not in DATACOLUMNS:
            raise ParameterError(unknown("datacolumn", self.datacolumn.upper(), tuple(DATACOLUMNS)))
        _expression(self.correlation)

    @property
    def columns(self) -> tuple[str, ...]:
        return DATACOLUMNS[self.datacolumn.upper()]

    def correlations(self, text: str) -> str:
        return _expression(text)[1]

    def cells(self, chunk: Chunk) -> NDArray[np.bool_]:
        first, *second = self.columns
        values: Any = chunk[first] if not second else chunk[first] - chunk[second[0]]
        measured = OPERATORS[_expression(self.correlation)[0]](values)
        touched = ~np.isfinite(values)
        if self.clipminmax:
            # compared in double precision: 0.1 as float32 is not 0.1
            low, high = (np.float64(limit) for limit in self.clipminmax)
            inside = (measured >= low) & (measured <= high)
            touched |= ~inside if self.clipoutside else inside
        if self.clipzeros:
            touched |= measured == 0
        return touched


def _expression(text: str) -> tuple[str, str]:
    """(operator, correlations) of 'ABS_XX,YY'; correlations are '' for ALL."""
    match = re.fullmatch(r"\s*(?:([A-Za-z]+)[_ ]+)?([A-Za-z, ]*)\s*", text)
    if not match:
        raise ParameterError(f"correlation={text!r} is no expression; write 'ABS_ALL', 'REAL_XX', 'ARG_XX,YY' or 'XX'")
    operator = (match[1] or "ABS").upper()
    operator = {"RE": "REAL", "IM": "IMAG"}.get(operator, operator)
    if operator not in OPERATORS:
        raise ParameterError(f"correlation={text!r}: " + unknown("operator", operator, tuple(OPERATORS)))
    names = match[2].strip().upper()
    return operator, "" if names == "ALL" else names
