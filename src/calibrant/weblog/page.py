"""What all pages share: pictures in sections, drawing that cannot end a report, the template, writing in one step."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from calibrant.plots.plot import Drawing, Plot

M = TypeVar("M")
TONES = {
    "good": "good", "complete": "good", "check": "check",
    "do not trust": "bad", "do not upload": "bad", "unsafe": "bad",
}  # fmt: skip
"""Verdict -> class in the style sheet."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it: an embedded image, or `error`, why it could not be drawn."""

    name: str
    title: str
    caption: str
    alt: str
    concerns: tuple[str, ...] = ()
    image: str = ""
    size: tuple[int, int] = (0, 0)
    error: str = ""


@dataclass
class Section:
    """Pictures under one heading; `absent` says what there was nothing to draw for."""

    name: str
    heading: str
    pictures: list[Picture] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def draw_all(plots: Iterable[Plot[M]], material: M, headings: dict[str, str]) -> list[Section]:
    """Draw every figure; sections in the order of `headings` (name -> heading)."""
    sections = {name: Section(name, heading) for name, heading in headings.items()}
    for plot in plots:
        section = sections[plot.section]
        pictures = draw_plot(plot, material)
        section.pictures += pictures
        if not pictures:
            section.absent.append(f"{plot.title}: {plot.absent}")
    return list(sections.values())


def draw_plot(plot: Plot[M], material: M) -> list[Picture]:
    """The pictures of one kind of figure; what goes wrong becomes a picture that says so."""
    pictures = []
    try:
        for drawing in plot.make(material):
            pictures.append(_draw(drawing))
    except Exception as error:
        pictures.append(Picture(plot.name, plot.title, "", "", error=_words(error)))
    return pictures


def _draw(drawing: Drawing) -> Picture:
    said = (drawing.name, drawing.title, drawing.caption, drawing.alt, drawing.concerns)
    try:
        png = drawing.png()
    except Exception as error:
        return Picture(*said, error=_words(error))
    return Picture(*said, image=base64.b64encode(png).decode("ascii"), size=struct.unpack(">II", png[16:24]))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def concerns_by_text(sections: Sequence[Section]) -> dict[str, list[Picture]]:
    """Every remark once, with the pictures that make it."""
    found: dict[str, list[Picture]] = {}
    for section in sections:
        for picture in section.pictures:
            for text in picture.concerns:
                found.setdefault(text, []).append(picture)
    return found


def render_page(template: str, sections: Sequence[Section], verdict: str, **values: Any) -> str:
    """The page as text. Every name in it is escaped."""
    import datetime
    from importlib.metadata import version

    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("calibrant.weblog"), autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    environment.filters["jansky"] = lambda value: f"{value:.4g}" if value < 0.1 else f"{value:.4f}"
    environment.filters["number"] = number
    return environment.get_template(template).render(
        sections=sections,
        verdict=verdict,
        tone=TONES.get(verdict, "check"),
        concerns=concerns_by_text(sections),
        undrawn=[picture for section in sections for picture in section.pictures if picture.error],
        version=version("calibrant"),
        written=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        **values,
    )


def number(value: float | None, form: str = ".3f") -> str:
    """A number, or a dash for what is not known."""
    return "–" if value is None or value != value else format(value, form)


def write_page(page: str, path: str) -> str:
    """Write `page` to `path` through a temporary name and return the path; an existing file is replaced."""
    temporary = os.path.join(os.path.dirname(os.path.abspath(path)), f".{os.path.basename(path)}.tmp-{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return path
