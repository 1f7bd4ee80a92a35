"""A verb with one parameter of every kind, for the tests of the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np

from calibrant.errors import DataError
from calibrant.params import CalTablePath, DryRun, Param, Vis


@dataclass(frozen=True)
class ToyResult:
    values: dict[str, Any] = field(default_factory=dict)
    verdict: str = "good"

    def summary(self) -> str:
        return f"summary of {self.values['vis']}"

    def to_dict(self) -> dict[str, Any]:
        numbers = {"nan": np.float32("nan"), "array": np.arange(3), "bool": np.bool_(True), "gain": 1 - 2j}
        return {"given": self.values, "verdict": self.verdict, **numbers}


def toycal(
    vis: Vis,
    caltable: CalTablePath = "",
    solint: Annotated[str, Param("Interval [of time].", unit="s")] = "inf",
    calmode: Annotated[str, Param("What to solve for.", choices=("ap", "p", "a"))] = "ap",
    interp: Annotated[Literal["nearest", "linear"], Param("Interpolation.")] = "linear",
    gaintable: Annotated[list[str] | None, Param("Tables.")] = None,
    refant: Annotated[str | list[str], Param("Antennas.")] = "",
    spwmap: Annotated[list[int] | list[list[int]] | None, Param("Map.")] = None,
    calwt: Annotated[bool | list[bool], Param("Weights.")] = True,
    fluxdensity: Annotated[float | list[float], Param("Flux density.", unit="Jy")] = -1,
    minsnr: Annotated[float, Param("Threshold.")] = 3.0,
    minblperant: Annotated[int, Param("Baselines.")] = 4,
    parang: Annotated[bool, Param("Parallactic angle.")] = False,
    output: Annotated[str, Param("Folder.")] = "",
    dry_run: DryRun = False,
) -> ToyResult:
    """Solve for toys.

    It reads the data
    once.

    Example:
        calibrant toycal obs.ms toy.cal --solint 30s
    """
    given = dict(locals())
    if vis == "broken.ms":
        raise DataError("broken.ms: no column DATA")
    if vis == "missing.ms":
        raise FileNotFoundError(2, "No such file or directory", vis)
    if vis == "bug.ms":
        raise ZeroDivisionError("division by zero")
    if vis == "slow.ms":
        raise KeyboardInterrupt
    return ToyResult(given, "do not trust" if vis == "bad.ms" else "good")
