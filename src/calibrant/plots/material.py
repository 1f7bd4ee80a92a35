"""Everything a figure may draw from, as plain data (weblog gathers it from a run)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.averages import Averages

if TYPE_CHECKING:
    from calibrant.caltable.table import CalTable

TARGET_ROLE = "target"


class FluxPoint(Protocol):
    """A flux density: field name, spw, Hz, Jy, Jy, and 'standard' or 'fluxscale'."""

    @property
    def field(self) -> str: ...
    @property
    def spw(self) -> int: ...
    @property
    def freq_hz(self) -> float: ...
    @property
    def flux_jy(self) -> float: ...
    @property
    def error_jy(self) -> float: ...
    @property
    def origin(self) -> str: ...


class FlagStep(Protocol):
    """Fractions flagged after a step."""

    @property
    def step(self) -> str: ...
    @property
    def total(self) -> float: ...
    @property
    def by_antenna(self) -> dict[str, float]: ...


@dataclass(frozen=True)
class Scan:
    """One scan on one field: start, end in s (MJD, UTC); elevation of its middle in degrees (NaN: not known)."""

    number: int
    field: str
    intents: tuple[str, ...]
    start: float
    end: float
    elevation: float = float("nan")


@dataclass(frozen=True)
class Material:
    """`caltables`: role -> table, in the order made. `roles`: role -> field names. positions (nant, 3) m ITRF.

    `receptors`: names of the parallel hands in the order of the solutions' last axis. `curves`: field name ->
    (frequencies in Hz, flux densities in Jy) of the flux standard.
    """

    caltables: dict[str, CalTable]
    averages: Averages | None
    antennas: list[str]
    positions: NDArray[np.float64]
    refant: str
    receptors: tuple[str, ...]
    roles: dict[str, list[str]]
    scans: list[Scan] = field(default_factory=list)
    fluxes: Sequence[FluxPoint] = ()
    flags: Sequence[FlagStep] = ()
    standard: str = ""
    time_scale: str = "UTC"
    curves: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)

    @property
    def targets(self) -> list[str]:
        return list(dict.fromkeys(self.roles.get(TARGET_ROLE, [])))

    @property
    def calibrators(self) -> list[str]:
        """Fields with any role other than target, each once, in order."""
        names = [name for role, fields in self.roles.items() if role != TARGET_ROLE for name in fields]
        return [name for name in dict.fromkeys(names) if name not in self.targets]

    def roles_of(self, name: str) -> list[str]:
        """The roles a field plays."""
        return [role for role, fields in self.roles.items() if name in fields]

    def flux_of(self, name: str, spw: int) -> float | None:
        """The flux density in Jy used for a field in a spw, None where there is none."""
        return next((flux.flux_jy for flux in self.fluxes if flux.field == name and flux.spw == spw), None)

    def tables(self, *kinds: str) -> list[tuple[str, CalTable]]:
        """(role, table) of the tables of these kinds ('B Jones', ...), in the order made."""
        return [(role, table) for role, table in self.caltables.items() if table.kind in kinds]
