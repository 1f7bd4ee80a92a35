"""What a fit's values will do, before they are put into the rxg file: on the points themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.station.bands import median_and_scatter

if TYPE_CHECKING:
    from calibrant.station.derived import Opacity
    from calibrant.station.points import Points
    from calibrant.station.rxg import Rxg


@dataclass(frozen=True)
class Prediction:
    """One polarisation: Tcal ratio (median, robust scatter) before and after, and new over old of what antabs hold.

    A visibility amplitude is multiplied by the root of Tsys / (DPFU g); nan where nothing is known.
    """

    pol: str
    points: int
    old_ratio: float
    old_scatter: float
    ratio: float
    scatter: float
    tsys: float
    """Median over the points of new Tsys / old Tsys."""
    sefd: float
    """The same of Tsys / (DPFU g)."""

    def describe(self) -> str:
        """`pol l: ratio 0.936 ± 0.024 -> 1.000 ± 0.006, Tsys -6.2 %, Tsys/gain -6.2 %, amplitudes -3.1 %`."""
        ratios = f"{self.old_ratio:.3f} ± {self.old_scatter:.3f} -> {self.ratio:.3f} ± {self.scatter:.3f}"
        changes = f"Tsys {100 * (self.tsys - 1):+.1f} %, Tsys/gain {100 * (self.sefd - 1):+.1f} %"
        return f"pol {self.pol}: ratio {ratios}, {changes}, amplitudes {100 * (self.sefd**0.5 - 1):+.1f} %"


def predict(points: Points, rxg: Rxg, changes: Iterable[Mapping[str, Any]], opacity: Opacity) -> tuple[Prediction, ...]:
    """Effect of a fit's `rxg_changes` on points of one receiver. Raises what `update` would raise."""
    from calibrant.station.rxg import Receivers, parse
    from calibrant.station.rxg_changes import changes_from
    from calibrant.station.rxg_edit import update_text
    from calibrant.station.text import read_text

    wanted = changes_from(changes, rxg.name, rxg.name, "", rxg.path)
    if not wanted:
        return ()
    new = parse(update_text(read_text(rxg.path), **wanted.keywords()), rxg.path)
    before, after = (points.derived(Receivers([one]), opacity) for one in (rxg, new))
    return tuple(_prediction(before, after, str(pol)) for pol in np.unique(points["pol"]))


def _prediction(before: Points, after: Points, pol: str) -> Prediction:
    mine = before["pol"] == pol
    with np.errstate(divide="ignore", invalid="ignore"):
        tsys = after["tcal_assumed_k"] / before["tcal_assumed_k"]
        gain = after["dpfu"] * after["curve_gain"] / (before["dpfu"] * before["curve_gain"])
    return Prediction(
        pol,
        int(mine.sum()),
        *median_and_scatter(before["ratio_corrected"][mine]),
        *median_and_scatter(after["ratio_corrected"][mine]),
        median_and_scatter(tsys[mine])[0],
        median_and_scatter((tsys / gain)[mine])[0],
    )
