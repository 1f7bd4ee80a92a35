"""Counts of every frame: the median, and what only the brightest thousandth of the pixels exceed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from calibrant.plots.acquire.material import RunMaterial
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import BAD, COLOURS, MARKERS, key, new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 80
LOOK_FOR = (
    "Below: medians, the level of the bias where light falls on few pixels. Above: the brightest 0.1 % of the pixels. "
    "Frames of one kind should lie side by side; a lit frame at the level of a bias had no light. Shaded: not good."
)


def make(material: RunMaterial) -> Iterator[Drawing]:
    """One drawing, where files have levels."""
    frames = [frame for frame in material.frames if frame.median]
    if frames:
        more = f" (the first {MOST} of {len(frames)})" if len(frames) > MOST else ""
        yield Drawing(
            name="levels", title=f"Levels of the frames{more}", caption=LOOK_FOR,
            alt="Median and 99.9th percentile of each camera's frames", draw=partial(draw, material),
        )  # fmt: skip


def draw(material: RunMaterial) -> Figure:
    """A column for each frame, a colour and a symbol for each camera."""
    frames = [frame for frame in material.frames if frame.median][:MOST]
    cameras = list(material.cameras)
    figure = new_figure(3.9, "Levels of the frames")
    axes = figure.subplots(2, 1, sharex=True, height_ratios=(1.7, 1))
    crowded = len(frames) > 14
    place(figure, left=0.85, bottom=1.05 if crowded else 0.7, top=0.62, hspace=0.12)
    for number, camera in enumerate(cameras):
        shift = 0.0 if len(cameras) == 1 else 0.56 * (number / (len(cameras) - 1) - 0.5)
        colour, marker = _style(number)
        style: dict[str, Any] = {"color": colour, "marker": marker, "ls": "", "ms": 4.2}
        for panel, values in zip(axes, ("p999", "median"), strict=True):
            points = [(x + shift, getattr(frame, values).get(camera)) for x, frame in enumerate(frames)]
            there = [(x, value) for x, value in points if value is not None]
            panel.plot([x for x, _ in there], [value for _, value in there], **style)
    for panel in axes:
        for x, frame in enumerate(frames):
            if frame.state != "good":
                panel.axvspan(x - 0.5, x + 0.5, color=BAD, lw=0, zorder=0)
    highest = max(value for frame in frames for value in frame.p999.values())
    if material.saturation is not None and highest > 0.3 * material.saturation:
        axes[0].axhline(material.saturation, color="#b00020", lw=1, ls="--")
        axes[0].text(len(frames) - 0.5, material.saturation, "saturation ", ha="right", va="bottom", color="#b00020")
    if highest > 10 * min(value for frame in frames for value in frame.p999.values()):
        axes[0].set_yscale("log")
        for level in (axes[0].yaxis.set_major_formatter, axes[0].yaxis.set_minor_formatter):
            level(_counts)
    axes[0].set_ylabel("brightest 0.1 % (ADU)")
    axes[1].set_ylabel("median (ADU)")
    axes[1].set_xticks(range(len(frames)), [frame.key for frame in frames], rotation=90 if crowded else 25,
                       ha="center" if crowded else "right")  # fmt: skip
    axes[1].set_xlim(-0.6, len(frames) - 0.4)
    key(figure, [(camera, *_style(number)) for number, camera in enumerate(cameras)], columns=9)
    return figure


def _style(number: int) -> tuple[str, str]:
    """Colour and symbol of a camera; after eight, the same colours with other symbols."""
    return COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]


def _counts(value: float, _: int) -> str:
    """1, 2 and 5 of each power of ten."""
    return f"{value:g}" if f"{value:e}"[0] in "125" and f"{value:e}"[2:].startswith("000000") else ""


PLOT = Plot("levels", "frames", "Levels", "no frame has levels.", make)
