"""One look for all figures: Okabe-Ito colours (safe for colour-blind eyes), sizes, and PNG output.

Figures are made through the object interface (Figure and FigureCanvasAgg): no pyplot, no global figure list.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 12.0
DPI = 100
PALETTE_COLOURS = 96

INK = "#222222"
FAINT = "#8a8f98"
GRID = "#e3e6ea"
BAD = "#fbe3dc"
MODEL = "#222222"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7a5230", "#4d4d4d")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
ROLE_COLOURS = {
    "bandpass": "#0072B2", "flux": "#E69F00", "phase": "#009E73", "target": "#D55E00", "delay": "#56B4E9",
    "check": "#CC79A7",
}  # fmt: skip
SEQUENTIAL = "cividis"
LOSS = "YlOrBr"

LOOK: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.0,
    "figure.facecolor": "white",
    "text.parse_math": False,
    "agg.path.chunksize": 20000,
}


@contextmanager
def look() -> Iterator[None]:
    """Draw and render inside this: sets the style, and restores what was set before."""
    import matplotlib

    with matplotlib.rc_context(LOOK), warnings.catch_warnings():
        # names in scripts that the font lacks become boxes; that must not end a run
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(height: float, title: str, width: float = WIDTH) -> Figure:
    """An empty figure (inches) with its title at top left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.text(0.12 / width, 1 - 0.12 / height, title, ha="left", va="top", fontsize=11.5, weight="bold", color=INK)
    return figure


def place(
    figure: Figure, *, left: float = 0.75, right: float = 0.2, top: float = 0.7, bottom: float = 0.55,
    wspace: float = 0.25, hspace: float = 0.15,
) -> None:  # fmt: skip
    """Set the margins in inches, so that they do not grow with the figure."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, top=1 - top / height, bottom=bottom / height,
        wspace=wspace, hspace=hspace,
    )  # fmt: skip


def key(figure: Figure, entries: Sequence[tuple[str, str, str]], *, columns: int = 8) -> None:
    """A legend at top right from (label, colour, marker); marker '-' is a line, 's' a patch."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, label=label, lw=1.6)
        if marker == "-"
        else Line2D([], [], color=colour, label=label, lw=0, marker=marker, markersize=6)
        for label, colour, marker in entries
    ]
    width, height = figure.get_size_inches()
    if handles:
        figure.legend(
            handles=handles, loc="upper right", bbox_to_anchor=(1 - 0.1 / width, 1 - 0.06 / height),
            ncols=min(columns, len(handles)), handletextpad=0.3, columnspacing=1.2, borderaxespad=0.0,
        )  # fmt: skip


def empty(axes: Axes, words: str) -> None:
    """Say in the middle of an axes why nothing is drawn in it."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=FAINT, fontsize=9)


def to_png(figure: Figure) -> bytes:
    """Render; a palette of 96 colours makes the file a third as large and looks the same."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")
    out = io.BytesIO()
    image.quantize(PALETTE_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        out, "PNG", compress_level=7
    )
    return out.getvalue()


def colours_for(names: Sequence[str]) -> dict[str, str]:
    """A colour a name, in order; the palette repeats after eight."""
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
