"""What the station's figures share: panels, polarisations, UTC axes, legends outside the axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.plots.station.material import Line
from calibrant.plots.style import COLOURS, FAINT, INK, MARKERS, WIDTH, new_figure, place
from calibrant.plots.ticks import robust_span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POLS = ("l", "r", "")
POL_WORDS = {"l": "left", "r": "right", "": "unknown"}
POL_COLOURS = {"l": COLOURS[0], "r": COLOURS[1], "": FAINT}
POL_MARKERS = {"l": "o", "r": "^", "": "s"}
DELETED = "#C1121F"
FILE = COLOURS[2]
FIT = INK
OUTSIDE = COLOURS[5]
DAY = 86400.0
STEPS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY)
MOST_PANELS = 12


def utc_text(time: float, form: str = "%Y-%m-%d %H:%M") -> str:
    """A time (s since 1970, UTC) as text."""
    import datetime

    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime(form)


def utc_ticks(start: float, end: float, most: int = 7) -> tuple[NDArray[np.float64], list[str]]:
    """Round times within [start, end] and labels: the date stands under the first tick and after each midnight."""
    width = max(end - start, 1.0)
    step = next((step for step in STEPS if width / step <= most), math.ceil(width / DAY / most) * DAY)
    ticks = np.asarray(np.arange(math.ceil(start / step), math.floor(end / step) + 1) * float(step), dtype=np.float64)
    if len(ticks) == 0:
        ticks = np.array([round((start + end) / 2)], dtype=np.float64)
    if step >= DAY:
        return ticks, [utc_text(tick, "%Y-%m-%d") for tick in ticks]
    days = np.floor(ticks / DAY)
    dated = np.concatenate([[True], np.diff(days) > 0])
    return ticks, [utc_text(t, "%H:%M\n%Y-%m-%d" if date else "%H:%M") for t, date in zip(ticks, dated, strict=True)]


def utc_axis(axes: Axes, times: ArrayLike, *, most: int = 7, label: bool = True) -> None:
    """The x axis (s since 1970) as UTC with dates."""
    values = np.asarray(times, dtype=np.float64)
    values = values[np.isfinite(values)]
    start, end = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = max(0.03 * (end - start), 120.0)
    axes.set_xlim(start - margin, end + margin)
    axes.set_xticks(*utc_ticks(start - margin, end + margin, most))
    if label:
        axes.set_xlabel("time (UTC)")


def panel_row(
    title: str, names: Sequence[str], *, height: float = 3.3, columns: int = 2, bottom: float = 0.62,
    top: float = 0.62, wspace: float = 0.2, hspace: float = 0.5, sharey: bool = False,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A figure with one axes for each name, `columns` in a row; names as panel titles."""
    columns = min(3 if columns > 1 and len(names) in (3, 5, 6, 9, 11, 12) else columns, max(len(names), 1))
    rows = -(-max(len(names), 1) // columns)
    figure = new_figure(top + bottom + rows * (height - bottom) + (rows - 1) * bottom, title)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    place(figure, top=top, bottom=bottom, left=0.78, wspace=wspace, hspace=hspace)
    axes = [one for row in grid for one in row]
    for spare in axes[len(names) :]:
        spare.set_axis_off()
    for one, name in zip(axes, names, strict=False):
        one.set_title(name, loc="left", color=INK)
    return figure, axes[: len(names)]


def shown(bands: Sequence[str]) -> list[str]:
    """The bands that one figure can hold."""
    return list(bands)[:MOST_PANELS]


def pol_points(
    axes: Axes, x: NDArray[Any], y: NDArray[Any], pol: NDArray[Any], deleted: NDArray[Any], limits: tuple[float, float],
) -> None:  # fmt: skip
    """Points by polarisation; deleted ones as crosses; what lies outside `limits` as arrows on the edge."""
    low, high = limits
    inset = 0.02 * (high - low)
    size = 3.4 if len(x) < 400 else 2.4
    axes.plot(
        x[deleted],
        np.clip(y[deleted], low + inset, high - inset),
        "x",
        color=DELETED,
        ms=size + 0.8,
        mew=0.9,
        alpha=0.65,
        zorder=2,
    )
    for name in POLS:
        mine = (pol == name) & ~deleted & np.isfinite(x) & np.isfinite(y)
        inside = mine & (y >= low) & (y <= high)
        style: Any = {"color": POL_COLOURS[name], "lw": 0, "zorder": 3}
        axes.plot(x[inside], y[inside], marker=POL_MARKERS[name], ms=size, mew=0, alpha=0.8, **style)
        for out, edge, arrow in ((mine & (y > high), high, "^"), (mine & (y < low), low, "v")):
            at = edge + (inset if edge == low else -inset)
            axes.plot(x[out], np.full(int(out.sum()), at), marker=arrow, ms=5.5, mfc="none", mew=0.9, **style)
    axes.set_ylim(low, high)


def legend_entries(pol: NDArray[Any], deleted: NDArray[Any]) -> list[tuple[str, str, str]]:
    """(label, colour, marker) of what `pol_points` draws."""
    entries = [(POL_WORDS[name], POL_COLOURS[name], POL_MARKERS[name]) for name in POLS if np.any(pol == name)]
    return entries + ([("deleted", DELETED, "x")] if np.any(deleted) else [])


def draw_line(axes: Axes, line: Line | None, *, fitted: bool, width: float = 1.6) -> None:
    """A curve from file (solid green) or fitted (dashed, dark, with its band); dotted where extrapolated."""
    if line is None:
        return
    colour, style = (FIT, "--") if fitted else (FILE, "-")
    inside = np.ones(len(line.x), dtype=bool)
    if line.observed is not None:
        inside = (line.x >= line.observed[0]) & (line.x <= line.observed[1])
        axes.plot(line.x, np.where(inside, np.nan, line.y), ":", color=colour, lw=1.0, alpha=0.7, zorder=4)
    axes.plot(line.x, np.where(inside, line.y, np.nan), style, color=colour, lw=width, zorder=5)
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.13, lw=0, zorder=1)


def limits_of(*arrays: Any, least: float = 0.0) -> tuple[float, float]:
    """Limits that hold the bulk of all arrays; never narrower than `least` of the middle."""
    values = np.concatenate([np.ravel(np.asarray(one, dtype=np.float64)) for one in arrays])
    low, high = robust_span(values)
    finite = values[np.isfinite(values)]
    if least and len(finite):
        middle = float(np.median(finite))
        low, high = min(low, middle - abs(least * middle)), max(high, middle + abs(least * middle))
    return low, high


def category_styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(colour, marker) for each name; pairs repeat only after 64 names."""
    count = len(COLOURS)
    return {
        name: (COLOURS[n % count], MARKERS[(n // count + n) % len(MARKERS)] if len(names) > count else MARKERS[0])
        for n, name in enumerate(names)
    }


def letters(number: int) -> str:
    """0 -> A ... 25 -> Z, 26 -> AA, ...: never the same twice."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def side_legend(figure: Figure, handles: Sequence[Any], title: str = "", *, width: float = WIDTH) -> None:
    """A legend at the right of the axes, in as many columns as its entries need."""
    if not handles:
        return
    height = figure.get_size_inches()[1]
    figure.legend(
        handles=list(handles), loc="upper right", bbox_to_anchor=(1 - 0.1 / width, 1 - 0.5 / height), title=title,
        ncols=legend_columns(len(handles), height), handletextpad=0.6, columnspacing=1.0, borderaxespad=0.0,
        labelspacing=0.35, alignment="left",
    )  # fmt: skip


def legend_columns(count: int, height: float) -> int:
    """Columns that `count` entries need beside axes of `height` inches."""
    return max(1, -(-count // max(int((height - 1.0) / 0.19), 1)))


def faint_zero(axes: Axes, value: float) -> None:
    """A thin line across the axes."""
    axes.axhline(value, color=FAINT, lw=0.9, zorder=1.5)
