"""Exact zeros, which correlators write where they have no data."""

from __future__ import annotations

from dataclasses import dataclass

from calibrant.flag.clip import Clip


@dataclass(frozen=True)
class Zeros(Clip):
    """Visibilities that are exactly zero, or no numbers: `clip` with clipzeros and no range."""

    clipminmax: tuple[float, ...] = ()
    clipzeros: bool = True
    mode = "zeros"

    def __post_init__(self) -> None:
        object.__setattr__(self, "clipminmax", ())
        object.__setattr__(self, "clipzeros", True)
        super().__post_init__()
