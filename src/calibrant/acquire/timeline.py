"""A plan in text: a table of its steps, and bars along time for lamps, mask and detector."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from itertools import groupby

from calibrant.acquire.plan import Plan, Step

WIDTH = 100
_LABEL = 13
_BARS = WIDTH - _LABEL - 2
_TICKS = 4
LEGEND = "░ warming up or moving  █ on, exposing or reading"


def clock(seconds: float) -> str:
    """'0:43:30'; tenths where they matter."""
    whole = round(seconds, 1)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:02.0f}" if rest == int(rest) else f"{hours}:{minutes:02d}:{rest:04.1f}"


def duration_words(seconds: float) -> str:
    """'2610 s (0:43:30)'."""
    return f"{seconds:g} s ({clock(seconds)})"


def size_words(size: int) -> str:
    """'3.63 GB'."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def wrapped(texts: Iterable[str], prefix: str = "  ") -> list[str]:
    """Each text behind the prefix, lines not longer than a table."""
    indent = " " * len(prefix)
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, WIDTH, initial_indent=prefix, subsequent_indent=indent, break_long_words=False)
    ]


def table(plan: Plan) -> list[str]:
    """A row for each step; an exposure and its readout are one row, and frames that are alike too."""
    rows = [f"{'step':>9}  {'begin':>9}  {'takes':>9}  what"]
    for steps in _rows(plan.steps):
        first, last = steps[0], steps[-1]
        number = str(first.index) if first is last else f"{first.index}-{last.index}"
        took = last.start_s + last.duration_s - first.start_s
        text = f"{number:>9}  {clock(first.start_s):>9}  {clock(took):>9}  "
        rows += textwrap.wrap(_words(steps), WIDTH, initial_indent=text, subsequent_indent=" " * len(text))
    return rows


def _rows(steps: tuple[Step, ...]) -> list[list[Step]]:
    """Steps that are one row: an exposure with its readout, and the exposures after it that are alike."""
    rows: list[list[Step]] = []
    for step in steps:
        if rows and _joins(rows[-1], step):
            rows[-1].append(step)
        else:
            rows.append([step])
    return rows


def _joins(row: list[Step], step: Step) -> bool:
    first, last = row[0], row[-1]
    if step.kind == "readout":
        return last.kind == "expose" and not step.overlaps
    if step.kind != "expose" or last.kind != "readout" or first.kind != "expose":
        return False
    return _same(first) == _same(step)


def _same(step: Step) -> tuple[object, ...]:
    return step.frame.rpartition("-")[0], step.exposure_s, step.mask_start, step.mask


def _words(steps: list[Step]) -> str:
    step = steps[0]
    lights = ", ".join(step.lights)
    match step.kind:
        case "all_off":
            return "all lamps off"
        case "point" | "park":
            return f"{step.kind} to {step.place}" if step.kind == "point" else "park"
        case "light_on":
            return f"{lights} on" + (f" at {step.options['intensity']:g}" if "intensity" in step.options else "")
        case "warm":
            return f"warm up {lights}: until {step.options['warmup_s']:g} s after switching on"
        case "light_off":
            return f"{lights} off"
        case "wait":
            return "wait for the next snapshot"
        case "readout":
            return f"{step.frame} is read out beside the next steps"
    return _frames_words(steps)


def _frames_words(steps: list[Step]) -> str:
    frames = [step for step in steps if step.kind == "expose"]
    first, last = frames[0], frames[-1]
    name = first.frame if first is last else f"{first.frame} to {last.frame}"
    time = f", {first.exposure_s:g} s" if first.frame_kind != "bias" else ""
    if len(frames) > 1:
        time = f", {len(frames)} x {first.exposure_s:g} s" if time else f", {len(frames)} frames"
    words = f"{name}: {first.frame_kind}{' of ' + first.object if first.object else ''}{time}"
    if first.mask:
        places = [move.place for move in first.mask]
        words += f"; mask {' '.join(places)}"
        words += f", {first.mask[0].dwell_s:g} s each" if len(places) > 1 else ""
    if any(step.kind == "readout" for step in steps):
        words += ", read out" if len(frames) == 1 else ", each read out"
    return words + ("; thrown away" if first.options.get("discard") else "")


def bars(plan: Plan) -> list[str]:
    """One line for pointing, each lamp, the mask, exposing and reading, along time; overlaps are seen at a glance."""
    total = plan.duration_s
    if total <= 0:
        return []
    spans = list(_spans(plan))
    names = list(dict.fromkeys(name for name, *_ in spans))
    # As one reads an exposure: what moves, what burns, what looks.
    names.sort(key=lambda name: {"pointing": 0, "mask": 2, "exposing": 3, "reading": 4}.get(name, 1))
    lines = []
    for name in names:
        cells = [" "] * _BARS
        for _, begin, end, mark in (span for span in spans if span[0] == name):
            first = min(int(begin / total * _BARS), _BARS - 1)
            last = max(first + 1, round(end / total * _BARS))
            cells[first:last] = mark * (min(last, _BARS) - first)
        label = name if len(name) <= _LABEL else name[: _LABEL - 1] + "…"
        lines.append(f"{label:>{_LABEL}} |{''.join(cells)}".rstrip())
    return [_axis(total), *lines, f"{'':>{_LABEL}}  {LEGEND}"]


def _axis(total: float) -> str:
    line = [" "] * (_BARS + 1)
    for tick in range(_TICKS + 1):
        text = clock(round(total * tick / _TICKS))
        place = min(tick * _BARS // _TICKS, _BARS + 1 - len(text))
        line[place : place + len(text)] = text
    return f"{'':>{_LABEL}} {''.join(line)}"


def _spans(plan: Plan) -> Iterable[tuple[str, float, float, str]]:
    """(row, begin, end, mark) of everything that takes time."""
    on: dict[str, float] = {}
    warm_at: dict[str, float] = {}
    for step in plan.steps:
        end = step.start_s + step.duration_s
        if step.kind in ("point", "park") and step.duration_s:
            yield "pointing", step.start_s, end, "░"
        elif step.kind == "light_on":
            on.update(dict.fromkeys(step.lights, step.start_s))
            warm_at.update(dict.fromkeys(step.lights, step.start_s))
        elif step.kind == "warm":
            warm_at.update(dict.fromkeys(step.lights, end))
        elif step.kind == "light_off":
            for light in step.lights:
                yield light, on[light], warm_at[light], "░"
                yield light, warm_at[light], step.start_s, "█"
        elif step.kind == "expose":
            if step.duration_s:
                yield "exposing", step.start_s, end, "█"
            if len(step.mask) > 1:
                yield "mask", step.start_s, end, "░"
        elif step.kind == "readout" and step.duration_s:
            yield "reading", step.start_s, end, "█"


def kinds(plan: Plan) -> str:
    """'5 bias, 1 dark, 2 flat, 4 arc'."""
    names = sorted((step.frame_kind for step in plan.frames), key=("bias", "dark", "flat", "arc", "object").index)
    return ", ".join(f"{len(list(group))} {name}" for name, group in groupby(names))
