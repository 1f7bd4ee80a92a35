"""The whole sky in one disc, north up and east on the left, as seen lying on one's back with the head to the north."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.allsky.labels import place_labels, short_name
from calibrant.plots.allsky.material import AllskyMaterial, Mark, SkyPanel
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import FAINT, INK, look, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP = "inferno"
"""Perceptually uniform and safe for colour-blind eyes; black is no signal."""
CIRCLE, GIVEN, SILENT = "#8fe3ff", "#9dff9d", "#c9cdd4"
NAMED = 12
PANEL = 5.0
"""Inches of one sky."""
UNDATED = {".svg": "Date", ".pdf": "CreationDate"}
SHARP = 140
"""Dots an inch: people look at these closely."""
SPAN = 1.09
"""Half width of the axes in units of the horizon: room for N, E, S, W."""
LOOK_FOR = (
    "North is up and east on the left: the sky from below. Circles are sources that were found, each should lie on a "
    "bright spot; dots are catalogue sources without signal. Colours are in units of the scatter of each image, so the "
    "more the spots glow, the better the gains. Dashed rings are at 30 and 60 deg of elevation, the edge is the "
    "horizon. The faint pattern everywhere is what few baselines make of bright sources, not sky."
)


@dataclass(frozen=True)
class SkyDrawing(Drawing):
    """A picture with smooth shades: rendered in all colours, not with the palette of the other figures."""

    def png(self) -> bytes:
        with look():
            return smooth_png(self.draw())


def make(material: AllskyMaterial) -> Iterator[Drawing]:
    """A drawing for each set of gains, all on one scale."""
    top = scale_of(material.panels)
    for panel in material.panels:
        yield SkyDrawing(
            name=f"sky-{panel.name}", title=panel.title, caption=LOOK_FOR if panel is material.panels[-1] else "",
            alt=f"All-sky image, {panel.title}: peak over scatter {panel.contrast:.1f}",
            draw=partial(draw_skies, (panel,), "", top),
        )  # fmt: skip


def make_more(material: AllskyMaterial) -> Iterator[Drawing]:
    """Further snapshots with the new gains."""
    top = scale_of(material.more)
    for number, panel in enumerate(material.more, 2):
        yield SkyDrawing(
            name=f"sky-snapshot-{number}", title=panel.title, caption="",
            alt=f"All-sky image, {panel.title}: peak over scatter {panel.contrast:.1f}",
            draw=partial(draw_skies, (panel,), "", top),
        )  # fmt: skip


def scale_of(panels: Sequence[SkyPanel]) -> float:
    """The top of the colour scale for these panels, in units of their scatter."""
    return max((panel.contrast for panel in panels if math.isfinite(panel.contrast)), default=10.0)


def draw_skies(panels: Sequence[SkyPanel], title: str, top: float = math.nan) -> Figure:
    """Skies side by side with one colour bar; `top` of the scale in units of scatter."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    top = top if math.isfinite(top) else scale_of(panels)
    head, foot = (0.72 if title else 0.3), 0.62
    width, height = PANEL * len(panels) + 0.1, PANEL + head + foot
    figure = new_figure(height, title, width=width)
    figure.set_dpi(SHARP)
    norm = Normalize(-2.0, max(top, 6.0))
    for number, panel in enumerate(panels):
        box = ((0.05 + number * PANEL) / width, foot / height, PANEL / width, PANEL / height)
        draw_sky(figure.add_axes(box), panel, norm, heading=title != "" or len(panels) > 1)
    long = min(0.62 * PANEL, 0.5 * width)
    bar = figure.add_axes(((width - long) / 2 / width, 0.42 / height, long / width, 0.1 / height))
    drawn = figure.colorbar(ScalarMappable(norm, MAP), cax=bar, orientation="horizontal")
    drawn.outline.set_visible(False)
    bar.grid(False)
    bar.tick_params(labelsize=8)
    bar.text(1.03, 0.5, "σ", transform=bar.transAxes, fontsize=9, color=INK, va="center")
    return figure


def draw_sky(axes: Axes, panel: SkyPanel, norm: object, heading: bool = True) -> None:
    """One sky: image in units of its scatter, horizon, rings, letters, sources."""
    shown = np.asarray(panel.image, dtype=np.float32) / (panel.scatter if panel.scatter > 0 else 1.0)
    axes.set_axis_off()
    # x is -l: east, l = +1, is at the left.
    drawn = axes.imshow(shown, extent=(-1, 1, -1, 1), cmap=MAP, norm=norm, interpolation="bilinear", zorder=1)  # type: ignore[arg-type]
    from matplotlib.patches import Circle

    horizon = Circle((0, 0), 1.0, transform=axes.transData)
    drawn.set_clip_path(horizon)
    axes.add_patch(Circle((0, 0), 1.0, fill=False, ec=INK, lw=1.3, zorder=4))
    for elevation in (30, 60):
        ring = math.cos(math.radians(elevation))
        axes.add_patch(Circle((0, 0), ring, fill=False, ec="white", lw=0.6, ls=(0, (4, 4)), alpha=0.4, zorder=2))
        axes.text(0, -ring + 0.012, f"{elevation}°", color="white", alpha=0.65, fontsize=7, ha="center", va="bottom")
    for letter, x, y in (("N", 0, 1.045), ("E", -1.045, 0), ("S", 0, -1.045), ("W", 1.045, 0)):
        axes.text(x, y, letter, ha="center", va="center", fontsize=10.5, weight="bold", color=INK)
    axes.set(xlim=(-SPAN, SPAN), ylim=(-SPAN, SPAN))
    axes.set_aspect("equal")
    words = f"peak / σ = {panel.contrast:.1f}"
    if heading:
        axes.text(0, SPAN + 0.075, panel.title, ha="center", va="bottom", fontsize=10.5, weight="bold", color=INK)
        axes.text(0, SPAN + 0.062, words, ha="center", va="top", fontsize=9, color=FAINT)
    else:
        axes.text(0, SPAN + 0.02, words, ha="center", va="bottom", fontsize=10, color=INK)
    _mark(axes, panel)


def _mark(axes: Axes, panel: SkyPanel) -> None:
    from matplotlib.patheffects import withStroke

    dark = [withStroke(linewidth=2.2, foreground="#000000b0")]
    radius = min(max(1.15 * math.radians(panel.beam_deg) / 2 + 0.012, 0.03), 0.08)
    found = [mark for mark in panel.marks if mark.found]
    silent = [_xy(mark) for mark in panel.marks if not mark.found]
    if silent:
        axes.plot(*zip(*silent, strict=True), ".", color=SILENT, ms=3.2, mew=0, alpha=0.75, zorder=3)
    from matplotlib.patches import Circle

    for mark in found:
        colour = GIVEN if mark.given else CIRCLE
        axes.add_patch(Circle(_xy(mark), radius, fill=False, ec=colour, lw=1.2, zorder=5, path_effects=dark))
    named = found[:NAMED]
    names = [short_name(mark.name) for mark in named]
    inch = 2 * SPAN / PANEL
    sizes = [(0.061 * len(name) * inch + 0.02, 0.115 * inch) for name in names]
    places = place_labels([_xy(mark) for mark in named], sizes, radius, 0.985, [_xy(mark) for mark in found[NAMED:]])
    for name, place in zip(names, places, strict=True):
        if place is not None:
            axes.text(*place, name, color="white", fontsize=7, ha="center", va="center", zorder=6, path_effects=dark)


def _xy(mark: Mark) -> tuple[float, float]:
    az, el = math.radians(mark.az_deg), math.radians(mark.el_deg)
    return -math.sin(az) * math.cos(el), math.cos(az) * math.cos(el)


def smooth_png(figure: Figure) -> bytes:
    """Render in full colour."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=7)
    return out.getvalue()


def skies_file(ending: str, panels: Sequence[SkyPanel], title: str) -> bytes:
    """Skies side by side as the content of a .png, .svg or .pdf file."""
    with look():
        figure = draw_skies(panels, title)
        if ending == ".png":
            return smooth_png(figure)
        out = io.BytesIO()
        # no date: the same data give the same file
        figure.savefig(out, format=ending[1:], metadata={UNDATED[ending]: None})
        return out.getvalue()


PLOT = Plot("sky", "sky", "The sky before and after", "there is no snapshot to image.", make)
PLOT_MORE = Plot("sky-snapshots", "snapshots", "Further snapshots", "there is one snapshot.", make_more)
