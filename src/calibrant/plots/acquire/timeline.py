"""What burned, exposed, was read out and moved when, with what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from calibrant.plots.acquire.material import AttemptLine, RunMaterial, Span
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import key, new_figure, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.30
BURNING, WARMING, EXPOSING, DARK, READING, STAND, MOVING = (
    "#E69F00", "#F6D592", "#0072B2", "#4d4d4d", "#56B4E9", "#009E73", "#8a8f98",
)  # fmt: skip
WRONG = "#D55E00"
ALARM = "#b00020"
ROWS = {"expose": "exposures", "readout": "readouts", "mask": "mask", "pointing": "pointing"}
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
LOOK_FOR = (
    "Filled: what happened. Grey lines below the bars: the plan. Lamps burn only for their frames; a readout goes on "
    "beside the next lamp's warm-up."
)


def make(material: RunMaterial) -> Iterator[Drawing]:
    """One drawing for each start of the run."""
    for number, line in enumerate(material.attempts, 1):
        if not line.spans and not line.moments:
            continue
        wrong = [span for span in line.spans if not span.ok]
        yield Drawing(
            name=f"timeline-{number}",
            title=line.title,
            caption=LOOK_FOR,
            alt=f"Bars along time for lamps, exposures, readouts and mask; {len(wrong)} of them ended badly",
            draw=partial(draw, line),
        )


def draw(line: AttemptLine) -> Figure:
    """A row for each lamp that burned, then exposures, readouts, mask, pointing."""
    used = {span.row for span in (*line.spans, *line.planned)}
    rows = [name for name in line.lamps if name in used] + [name for name in ROWS if name in used]
    height = 1.05 + ROW * max(len(rows), 1)
    figure = new_figure(height, "Time line")
    axes = figure.subplots()
    place(figure, left=1.25, top=0.62, bottom=0.42, right=0.25)
    for span in line.planned:
        if span.row in rows:
            axes.plot(
                [span.begin, span.end], [rows.index(span.row) + 0.40] * 2, color="#b4bac3", lw=1.4,
                solid_capstyle="butt", zorder=2,
            )  # fmt: skip
    for span in line.spans:
        if span.row in rows:
            _bar(axes, span, rows.index(span.row))
    for moment in line.moments:
        if moment.kind in ("alarm", "failed", "control"):
            colour = ALARM if moment.kind == "alarm" else WRONG if moment.kind == "failed" else "#222222"
            axes.axvline(moment.time, color=colour, lw=1.1, ls="-" if moment.kind == "alarm" else ":", zorder=5)
            axes.plot(
                moment.time, -0.72, marker={"alarm": "X", "failed": "v"}.get(moment.kind, "s"), color=colour, ms=6,
                clip_on=False, zorder=6,
            )  # fmt: skip
    axes.set_yticks(range(len(rows)), [ROWS.get(name, name) for name in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    last = max([1.0, line.seconds, *(span.end for span in (*line.spans, *line.planned))])
    axes.set_xlim(-0.005 * last, 1.005 * last)
    _ticks(axes, line, last)
    key(figure, _legend(line), columns=11)
    return figure


def _bar(axes: Axes, span: Span, row: int) -> None:
    colour = {
        "burning": BURNING, "warming": WARMING, "readout": READING, "stand": STAND, "move": MOVING,
        "bias": DARK, "dark": DARK,
    }.get(span.kind, EXPOSING)  # fmt: skip
    axes.barh(
        row, span.end - span.begin, left=span.begin, height=0.56, color=colour if span.ok else "white",
        edgecolor=WRONG if not span.ok else "white" if span.kind == "stand" else colour, lw=0.8,
        hatch="" if span.ok else "/////", zorder=3 if span.kind != "warming" else 4,
    )  # fmt: skip


def _ticks(axes: Axes, line: AttemptLine, last: float) -> None:
    """Clock times for real runs, hours and minutes from the start for simulations that are faster."""
    step = next((step for step in STEPS if last / step <= 10), STEPS[-1] * (1 + int(last / STEPS[-1] / 10)))
    first = -line.began % step if line.clock else 0.0
    places = [first + number * step for number in range(int((last - first) // step) + 1)]
    if line.clock:
        form = "%H:%M" if step >= 60 else "%H:%M:%S"
        labels = [f"{datetime.fromtimestamp(line.began + at, UTC):{form}}" for at in places]
    else:
        labels = [_elapsed(at) for at in places]
    axes.set_xticks(places, labels)
    day = f"{datetime.fromtimestamp(line.began, UTC):%Y-%m-%d}"
    axes.set_xlabel(f"UTC, {day}" if line.clock else "time from the start (h:mm:ss), as if it had run in real time")


def _elapsed(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _legend(line: AttemptLine) -> list[tuple[str, str, str]]:
    kinds = {span.kind for span in line.spans}
    moments = {moment.kind for moment in line.moments}
    entries = [
        ("warming up", WARMING, "s", "warming" in kinds),
        ("burning", BURNING, "s", "burning" in kinds),
        ("bias, dark", DARK, "s", bool(kinds & {"bias", "dark"})),
        ("light", EXPOSING, "s", bool(kinds & {"flat", "arc", "object"})),
        ("readout", READING, "s", "readout" in kinds),
        ("mask stands", STAND, "s", "stand" in kinds),
        ("ended badly", WRONG, "s", any(not span.ok for span in line.spans)),
        ("plan", "#b4bac3", "-", bool(line.planned)),
        ("failure", WRONG, "v", "failed" in moments),
        ("command", "#222222", "s", "control" in moments),
        ("alarm", ALARM, "X", "alarm" in moments),
    ]
    return [(label, colour, marker) for label, colour, marker, wanted in entries if wanted]


PLOT = Plot("timeline", "timeline", "Time line", "the journal has nothing that lasted.", make)
