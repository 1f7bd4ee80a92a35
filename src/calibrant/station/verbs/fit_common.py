"""What the three `calibrant station fit` verbs share: options, reading, and words."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from calibrant.errors import ParameterError
from calibrant.params import Param

if TYPE_CHECKING:
    from calibrant.station.fitdata import Usable
    from calibrant.station.predict import Prediction

LossName = Annotated[
    str,
    Param(
        "How bad points are kept from spoiling the fit: tukey and clip leave them out, huber weighs them down.",
        choices=("tukey", "huber", "clip", "none"),
    ),
]
Limit = Annotated[float, Param("Points farther off than this are left out.", unit="sigma")]
LikeGnplt = Annotated[
    bool, Param("GNPLT's own numbers: printed values, unweighted, nothing rejected, its way of averaging.")
]


@dataclass(frozen=True)
class Common:
    """Which receiver and logs a fit is of, and which points."""

    rxg: str
    logs: tuple[str, ...]
    used: str
    left_out: dict[str, int]
    points: int
    rests_on: dict[str, Any] = field(default_factory=dict)
    """What the fit took from the rxg file as right; `update` refuses values whose ground has changed."""
    session: str = ""

    def head(self) -> list[str]:
        logs = ", ".join(os.path.basename(log) for log in self.logs)
        return [f"{self.rxg} from {logs}", self.used]

    def foot(self, what: str) -> list[str]:
        return [
            "Nothing was written. To use it:",
            f"  calibrant station fit {what} ... --json > fit.json",
            f"  calibrant station update {self.rxg} --from fit.json --dry-run",
        ]

    def to_dict(self) -> dict[str, Any]:
        return {
            "rxg": self.rxg, "logs": list(self.logs), "session": self.session, "points": self.points,
            "left_out": self.left_out, "rests_on": self.rests_on,
        }  # fmt: skip


def common(use: Usable, logs: tuple[str, ...], session: str, *trusted: str) -> Common:
    """The common part of a result; `trusted`: what was taken from the rxg file, of "tcal", "curve" and "dpfu"."""
    from calibrant.station.rxg_changes import content_of

    return Common(
        use.rxg.name, logs, use.describe(), use.left_out, len(use.points), content_of(use.rxg, trusted), session
    )


def selection(*values: str) -> dict[str, str]:
    names = ("source", "detector", "pol", "freq", "lo", "scan", "time", "elevation", "where")
    return dict(zip(names, values, strict=True))


def usable_points(
    kind: str, logs: list[str], rxg: list[str], flux: str, session: str, errors: str, selected: dict[str, str],
    **treated: Any,
) -> tuple[Usable, tuple[str, ...]]:  # fmt: skip
    """(points of one receiver that can be fitted, names of the logs); `treated`: what `options.of_receivers` gives."""
    from calibrant.station.fitdata import usable
    from calibrant.station.load import load

    loaded = load(logs, rxg=rxg, flux=flux, session=session, errors=errors, selection=selected, **treated)
    return usable(loaded, kind), tuple(log.path for log in loaded.logs)


def check_robust(loss: str, limit: float, losses: Sequence[str]) -> None:
    if loss not in losses:
        raise ParameterError(f"loss is {loss!r}; give one of {', '.join(losses)}")
    if not limit > 1.0:
        raise ParameterError(f"limit is {limit}; give a number of sigma above 1, as 4")


def quality(reduced_chi2: float, dof: int, rms: float, scatter: float, rejected: int) -> str:
    """Reduced chi2, scatter and rejected points in one line."""
    chi2 = f"reduced chi2 {reduced_chi2:.2f} ({dof} degrees of freedom), " if math.isfinite(reduced_chi2) else ""
    shared = f", {100 * scatter:.1f} % between scans" if scatter > 0 else ""
    left = f", {rejected} outliers left out" if rejected else ""
    return f"  {chi2}residuals {100 * rms:.2f} % rms{shared}{left}"


def predicted(found: Sequence[Prediction]) -> list[str]:
    """What the new values will do, before they are used."""
    lines = ["Predicted Tcal ratio of these points, and what antabs will hold:"] if found else []
    for one in found:
        lines += textwrap.wrap(one.describe(), 98, initial_indent="  ", subsequent_indent="    ")
    return lines


def notes(warnings: Sequence[str]) -> list[str]:
    """Warnings, wrapped to 100 columns."""
    lines: list[str] = []
    for warning in warnings:
        lines += textwrap.wrap(f"Warning: {warning}", 98, subsequent_indent="  ")
    return lines
