"""Any quantity against any other: what `calibrant station plot` draws, with the habits of GNPLT as options."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.station.common import (
    DELETED,
    FILE,
    FIT,
    OUTSIDE,
    category_styles,
    draw_line,
    legend_columns,
    letters,
    side_legend,
    utc_axis,
)
from calibrant.plots.station.material import Floats, Line
from calibrant.plots.style import FAINT, INK, MODEL, SEQUENTIAL, empty, look, new_figure, place, to_png
from calibrant.plots.ticks import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 6.2
LETTER_SIZE = 8.5
MOST_GROUPS = 64
FEW_LINES = 6
"""More lines than these are drawn thin."""
UNDATED = {"svg": "Date", "pdf": "CreationDate"}


@dataclass(frozen=True)
class Scatter:
    """One picture. Arrays have one value a point; `limits` is (x low, x high, y low, y high), nan for automatic.

    `group` colours by category, `shade` (with `shade_label`) by value; `source` gives the letters.
    """

    x: Floats
    y: Floats
    title: str
    xlabel: str
    ylabel: str
    source: NDArray[Any]
    group: NDArray[Any] | None = None
    group_label: str = ""
    shade: Floats | None = None
    shade_label: str = ""
    x_err: Floats | None = None
    y_err: Floats | None = None
    deleted: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    highlighted: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    show_deleted: bool = False
    with_points: bool = True
    with_letters: bool = False
    x_time: bool = False
    y_time: bool = False
    limits: tuple[float, float, float, float] = (np.nan, np.nan, np.nan, np.nan)
    level: float = np.nan
    """A horizontal line, such as Tcal ratio 1."""
    level_label: str = ""
    from_file: Sequence[tuple[str, Line]] = ()
    fitted: Sequence[tuple[str, Line]] = ()
    marks: Sequence[tuple[str, float, float]] = ()
    """(label, x, y): single marked values, such as Trec at airmass 0."""


def draw_scatter(what: Scatter) -> Figure:
    """The figure: axes at the left, the legend outside at the right."""
    deleted = what.deleted if len(what.deleted) else np.zeros(len(what.x), dtype=bool)
    finite = np.isfinite(what.x) & np.isfinite(what.y)
    wanted = finite & (what.show_deleted | ~deleted)
    names = list(dict.fromkeys(what.source[wanted].tolist()))
    handles = _handles(what, wanted & ~deleted, bool(np.any(wanted & deleted)), names)
    columns = legend_columns(len(handles), HEIGHT)
    longest = max([len(handle.get_label()) for handle in handles], default=0)
    figure = new_figure(HEIGHT, what.title)
    axes = figure.subplots()
    bar = 0.0 if what.shade is None else 1.0
    reach = 0.4 + columns * (0.42 + 0.078 * min(longest, 34)) if handles else 0.25
    place(figure, left=0.9, right=reach + bar, top=0.55, bottom=0.75)
    xlim, ylim = _limits(what, finite & ~deleted, wanted)
    axes.set(xlim=xlim, ylim=ylim, xlabel=what.xlabel, ylabel=what.ylabel)
    if not wanted.any():
        empty(axes, "nothing selected has both quantities")
    _draw_points(axes, what, wanted & ~deleted, names, xlim, ylim)
    _draw_deleted(axes, what, wanted & deleted, xlim, ylim)
    _draw_lines(axes, what, xlim)
    for x_axis in (True, False):
        _time_axis(axes, what, xlim, ylim, x_axis)
    side_legend(figure, handles, what.group_label)
    return figure


def _limits(what: Scatter, kept: Any, wanted: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """Autoscaled on what is included (on everything shown where nothing is), unless given."""
    use = kept if kept.any() else wanted
    lines = [line for _, line in (*what.from_file, *what.fitted)]
    xs, ys = span(what.x[use]), span(what.y[use])
    if what.marks or lines:
        xs = (min([xs[0], *(x for _, x, _ in what.marks)]), xs[1])
        inside = [_between(line, *xs) for line in lines]
        ys = span(np.concatenate([what.y[use], *inside, [y for _, _, y in what.marks]]))
    chosen = [given if np.isfinite(given) else auto for given, auto in zip(what.limits, (*xs, *ys), strict=True)]
    return (chosen[0], chosen[1]), (chosen[2], chosen[3])


def _between(line: Line, low: float, high: float) -> Floats:
    """Values of a line within limits of x, those at the limits included."""
    ends = np.array([end for end in (low, high) if line.x.min() < end < line.x.max()])
    return np.concatenate([line.y[(line.x >= low) & (line.x <= high)], np.interp(ends, line.x, line.y)])


def _draw_points(axes: Axes, what: Scatter, kept: Any, names: list[str], xlim: Any, ylim: Any) -> None:
    inside = (what.x >= xlim[0]) & (what.x <= xlim[1]) & (what.y >= ylim[0]) & (what.y <= ylim[1])
    colours, markers = _styles(what, axes, kept & inside)
    size = 5.2 if kept.sum() < 300 else 3.8 if kept.sum() < 3000 else 2.4
    for at in _groups(what, kept & inside, markers):
        first = int(np.flatnonzero(at)[0])
        if what.y_err is not None or what.x_err is not None:
            _errors(axes, what, at, colours)
        if what.with_points:
            axes.scatter(
                what.x[at], what.y[at], c=[colours[i] for i in np.flatnonzero(at)], marker=markers[first],
                s=size**2, linewidths=0, alpha=0.85, zorder=3,
            )  # fmt: skip
    if what.with_letters:
        _letters(axes, what, kept & inside, names, colours)
    out = kept & ~inside
    axes.plot(
        np.clip(what.x[out], *xlim), np.clip(what.y[out], *ylim), "D", color=OUTSIDE, ms=5, mec=INK, mew=0.5,
        clip_on=False, zorder=6,
    )  # fmt: skip
    lit = kept & inside & what.highlighted if len(what.highlighted) else np.zeros(len(what.x), dtype=bool)
    axes.plot(what.x[lit], what.y[lit], "o", color="black", ms=size + 2.5, mec="white", mew=0.6, zorder=5)


def _styles(what: Scatter, axes: Axes, kept: Any) -> tuple[list[Any], list[str]]:
    """Colour and marker of every point."""
    if what.shade is not None:
        return _shaded(what, axes, kept), ["o"] * len(what.x)
    labels = what.group if what.group is not None else np.full(len(what.x), "")
    styles = category_styles(_names(what))
    return [styles.get(str(one), (MODEL, "o"))[0] for one in labels], [
        styles.get(str(one), (MODEL, "o"))[1] for one in labels
    ]


def _names(what: Scatter) -> list[str]:
    """Categories in the order of the legend, over all points: a colour does not change with what is deleted."""
    return [] if what.group is None else list(dict.fromkeys(str(one) for one in what.group))


def _shaded(what: Scatter, axes: Axes, kept: Any) -> list[Any]:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    shade = np.asarray(what.shade, dtype=np.float64)
    low, high = span(shade[kept], 0.0)
    norm, cmap = Normalize(low, high), colormaps[SEQUENTIAL]
    figure = axes.get_figure(root=True)
    bar = figure.colorbar(ScalarMappable(norm, cmap), ax=axes, pad=0.015, aspect=32, fraction=0.04)  # type: ignore[union-attr]
    bar.outline.set_visible(False)
    bar.set_label(what.shade_label)
    if what.shade_label.startswith("time"):
        from calibrant.plots.station.common import utc_ticks

        ticks, labels = utc_ticks(low, high, 6)
        bar.set_ticks(ticks.tolist(), labels=labels)
    return [cmap(norm(value)) if np.isfinite(value) else FAINT for value in shade]


def _groups(what: Scatter, kept: Any, markers: list[str]) -> list[NDArray[np.bool_]]:
    """Masks of points that share a marker."""
    marks = np.asarray(markers)
    return [chosen for mark in dict.fromkeys(markers) if (chosen := kept & (marks == mark)).any()]


def _errors(axes: Axes, what: Scatter, at: Any, colours: Any) -> None:
    def pick(err: Floats | None) -> Any:
        return None if err is None else np.where(np.isfinite(err[at]), np.abs(err[at]), 0.0)

    paints: Any = [colours[i] for i in np.flatnonzero(at)]
    axes.errorbar(
        what.x[at], what.y[at], xerr=pick(what.x_err), yerr=pick(what.y_err), fmt="none", elinewidth=0.7,
        ecolor=paints, alpha=0.55, zorder=2,
    )  # fmt: skip


def _letters(axes: Axes, what: Scatter, kept: Any, names: list[str], colours: list[Any]) -> None:
    by_name = {name: letters(number) for number, name in enumerate(names)}
    shift = (4.5, 4.5) if what.with_points else (0.0, 0.0)
    for i in np.flatnonzero(kept):
        axes.annotate(
            by_name[str(what.source[i])], (what.x[i], what.y[i]), xytext=shift, textcoords="offset points",
            ha="center", va="center", fontsize=LETTER_SIZE - (2 if what.with_points else 0),
            color=INK if what.with_points else colours[i], weight="normal" if what.with_points else "bold", zorder=4,
        )  # fmt: skip


def _draw_deleted(axes: Axes, what: Scatter, gone: Any, xlim: Any, ylim: Any) -> None:
    x, y = np.clip(what.x[gone], *xlim), np.clip(what.y[gone], *ylim)
    axes.plot(x, y, "x", color=DELETED, ms=5.5, mew=1.0, alpha=0.8, zorder=4, clip_on=False)


def _draw_lines(axes: Axes, what: Scatter, xlim: Any) -> None:
    if np.isfinite(what.level):
        axes.axhline(what.level, color=FAINT, lw=1.2, zorder=1.5)
    for fitted, lines in ((False, what.from_file), (True, what.fitted)):
        width = 1.6 if len(lines) <= FEW_LINES else 0.8
        for _, line in lines:
            draw_line(axes, line, fitted=fitted, width=width)
            _tag(axes, line, xlim, FIT if fitted else FILE)
    for _, x, y in what.marks:
        axes.plot([x], [y], marker="D", color=FILE, ms=8, mec="white", mew=0.8, zorder=7, clip_on=False, lw=0)


def _tag(axes: Axes, line: Line, xlim: Any, colour: str) -> None:
    """The name of a curve at its right end."""
    inside = np.flatnonzero((line.x >= xlim[0]) & (line.x <= xlim[1]) & np.isfinite(line.y))
    if line.tag and len(inside):
        at = inside[-1]
        axes.annotate(
            line.tag, (line.x[at], line.y[at]), xytext=(-3, 5), textcoords="offset points", ha="right", color=colour,
            weight="bold", zorder=7,
        )  # fmt: skip


def _time_axis(axes: Axes, what: Scatter, xlim: Any, ylim: Any, x_axis: bool) -> None:
    from calibrant.plots.station.common import utc_ticks

    if x_axis and what.x_time:
        utc_axis(axes, xlim)
        axes.set_xlim(*xlim)
        axes.set_xlabel(what.xlabel)
    elif not x_axis and what.y_time:
        axes.set_yticks(*utc_ticks(*ylim))


def _handles(what: Scatter, kept: Any, has_deleted: bool, names: list[str]) -> list[Any]:
    """What the legend says: categories with data, letters, lines, and the states of points."""
    from matplotlib.lines import Line2D

    def mark(label: str, colour: str, marker: str, **more: Any) -> Any:
        return Line2D([], [], color=colour, marker=marker, lw=0, ms=6, label=label, **more)

    result: list[Any] = []
    if what.group is not None:
        there = {str(one) for one in what.group[kept]}
        by_letter = what.with_letters and bool(np.all(what.group == what.source))
        for name, (colour, marker) in category_styles(_names(what)).items():
            if name in there and len(result) < MOST_GROUPS:
                letter = letters(names.index(name)) if by_letter and name in names else ""
                text = f"{letter}  {name}" if letter else name
                result.append(mark(text, colour, marker if what.with_points else "s"))
        if len(there) > MOST_GROUPS:
            result.append(mark(f"and {len(there) - MOST_GROUPS} more", FAINT, ""))
    if what.with_letters and not (what.group is not None and np.all(what.group == what.source)):
        result += [mark(f"{letters(n)}  {name}", INK, "") for n, name in enumerate(names)]
    result += [Line2D([], [], color=FILE, lw=1.6, label=label) for label, _ in what.from_file]
    result += [Line2D([], [], color=FIT, lw=1.6, ls="--", label=label) for label, _ in what.fitted if label]
    result += [mark(label, FILE, "D") for label, _, _ in what.marks]
    if np.isfinite(what.level) and what.level_label:
        result.append(Line2D([], [], color=FAINT, lw=1.2, label=what.level_label))
    if len(what.highlighted) and np.any(what.highlighted & kept):
        result.append(mark("highlighted", "black", "o"))
    if has_deleted:
        result.append(mark("deleted", DELETED, "x"))
    given = np.asarray(what.limits, dtype=np.float64)
    if np.isfinite(given).any():
        result.append(mark("outside the limits", OUTSIDE, "D", mec=INK, mew=0.5))
    return result


def save(draw: Callable[[], Figure], path: str) -> None:
    """Draw and write a .png, .svg or .pdf through a temporary name; an existing file is replaced."""
    form = os.path.splitext(path)[1][1:].lower()
    temporary = f"{path}.tmp-{os.getpid()}"
    try:
        with look():
            figure = draw()
            if form == "png":
                with open(temporary, "wb") as file:
                    file.write(to_png(figure))
            else:
                # no date: the same points give the same file
                figure.savefig(temporary, format=form, metadata={UNDATED[form]: None})
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
