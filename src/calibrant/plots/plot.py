"""What a figure is: a `Plot` looks at the material and yields `Drawing`s, each drawn only when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from calibrant.plots.style import look, to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

M = TypeVar("M")
"""What a kind of figure draws from: `plots.material.Material`, `plots.station.material.StationMaterial`."""

SECTIONS = ("observation", "bandpass", "delay", "gains", "solutions", "flux", "calibrators", "target", "flags")
"""Sections of the report, in the order read."""


@dataclass(frozen=True)
class Drawing:
    """One picture. `caption` says what to look for; `concerns` what is suspicious here, one sentence each."""

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Figure]
    concerns: tuple[str, ...] = ()

    def png(self) -> bytes:
        """The picture as PNG."""
        with look():
            return to_png(self.draw())


@dataclass(frozen=True)
class Plot(Generic[M]):
    """A kind of figure. `absent` is the sentence for a run that has nothing to draw here."""

    name: str
    section: str
    title: str
    absent: str
    make: Callable[[M], Iterable[Drawing]]
