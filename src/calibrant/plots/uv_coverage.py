"""Where in the uv plane the target was measured."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.averages import PartAverages
from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import COLOURS, new_figure, place
from calibrant.plots.ticks import nice_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIGHT = 299_792_458.0
LOOK_FOR = (
    "Every point is a visibility and its conjugate, at the middle of the spectral window (a sample of unflagged rows). "
    "The longest reach sets the resolution; gaps and a hole in the middle limit what extended structure can be imaged."
)


def draw(field: str, part: PartAverages) -> Figure:
    """u and v in kilowavelengths, beside the distribution of lengths."""
    scale = float(np.mean(part.freq)) / LIGHT / 1e3
    uv = part.uv * scale
    figure = new_figure(6.0, f"uv coverage · {field} · spw {part.spw}")
    plane, lengths = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.1, 1]})
    place(figure, wspace=0.2)
    both = np.concatenate([uv, -uv])
    plane.plot(both[:, 0], both[:, 1], ",", color=COLOURS[0], alpha=0.7)
    if len(uv) < 4000:
        plane.plot(both[:, 0], both[:, 1], "o", color=COLOURS[0], ms=1.5, alpha=0.6)
    reach = 1.05 * float(np.abs(uv).max()) if uv.any() else 1.0
    ticks, labels = nice_ticks(-reach, reach, 6)
    plane.set(xlim=(reach, -reach), ylim=(-reach, reach), xlabel="u (kλ)", ylabel="v (kλ)")
    plane.set_xticks(ticks, labels)
    plane.set_yticks(ticks, labels)
    plane.set_aspect("equal")
    distance = np.hypot(uv[:, 0], uv[:, 1])
    lengths.hist(distance, bins=40, color=COLOURS[0], alpha=0.85)
    lengths.set(xlabel="projected baseline length (kλ)", ylabel="visibilities in the sample")
    lengths.set_title(f"{distance.min():.3g} to {distance.max():.3g} kλ", loc="left")
    return figure


def make(material: Material) -> Iterator[Drawing]:
    """One drawing for each target, of its first spw that has data."""
    if material.averages is None:
        return
    for target in material.targets:
        part = next((part for part in material.averages.of_field(target) if len(part.uv)), None)
        if part is not None:
            yield Drawing(
                name=f"uv-{part.field}",
                title=f"uv coverage · {target}",
                caption=LOOK_FOR,
                alt=f"uv coverage of {target} and a histogram of baseline lengths",
                draw=partial(draw, target, part),
            )


PLOT = Plot("uv_coverage", "target", "uv coverage", "There are no unflagged data of a target.", make)
