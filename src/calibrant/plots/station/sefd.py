"""SEFD against one quantity: shared by two figures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from calibrant.plots.plot import Drawing
from calibrant.plots.station.banded import X_LABELS, draw_banded, has
from calibrant.plots.station.common import limits_of
from calibrant.plots.station.material import Floats, StationMaterial


def sefd_drawing(material: StationMaterial, name: str, x_name: str, caption: str) -> Iterator[Drawing]:
    """The drawing of one axis, where there is SEFD at all."""
    sefd = material.get("sefd_jy")
    sefd = np.where(sefd > 0, sefd, np.nan)
    if has(material, sefd):
        words = X_LABELS[x_name].split(" (")[0]
        title = f"SEFD against {words}"
        yield Drawing(
            name=name, title=title, caption=caption, alt=f"{title}, one panel for each band",
            draw=partial(draw_banded, material, x_name, sefd, title, "SEFD (Jy)", _limits),
        )  # fmt: skip


def _limits(values: Floats) -> tuple[float, float]:
    low, high = limits_of(values, least=0.1)
    return max(low, 0.0), high
