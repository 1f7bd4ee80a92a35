"""The report of a calibration: one self-contained HTML page that opens from a file."""

from __future__ import annotations

import base64
import datetime
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from calibrant.ms.index import MSIndex
from calibrant.pipeline.result import CalibrationResult
from calibrant.plots import PLOTS, SECTIONS, Averages, Drawing, Material, Plot
from calibrant.weblog.observation import receptors_of, scans_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from calibrant.caltable.table import CalTable

HEADINGS = {
    "observation": "Observation",
    "bandpass": "Bandpass",
    "delay": "Delay",
    "gains": "Phase and amplitude against time",
    "solutions": "Solutions that failed",
    "flux": "Flux densities",
    "calibrators": "Calibrated calibrators",
    "target": "Target",
    "flags": "Flags",
}
COLOURS = {"good": "good", "check": "check", "do not trust": "bad"}


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


def write_report(
    result: CalibrationResult,
    caltables: dict[str, CalTable],
    averages: Averages | None,
    index: MSIndex,
    path: str,
    *,
    curves: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] | None = None,
) -> str:
    """Write the report to `path` (through a temporary name) and return it. An existing report is replaced.

    `curves`: field name -> (Hz, Jy) of the flux standard. A figure that cannot be drawn is named on the page
    with the reason; it does not end the report.
    """
    material = gather(result, caltables, averages, index, curves or {})
    page = render(result, draw_sections(material), index)
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


def gather(
    result: CalibrationResult,
    caltables: dict[str, CalTable],
    averages: Averages | None,
    index: MSIndex,
    curves: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> Material:
    """Everything the figures draw from."""
    return Material(
        caltables=caltables,
        averages=averages,
        antennas=index.antennas.name,
        positions=index.antennas.position,
        refant=result.refant.split(",")[0].strip(),
        receptors=receptors_of(index),
        roles=result.roles,
        scans=scans_of(index),
        fluxes=result.fluxes,
        flags=result.flags,
        standard=result.standard,
        time_scale=index.time_scale,
        curves=curves,
    )


def draw_sections(material: Material) -> list[Section]:
    """Draw every figure of the registry, by section."""
    sections = {name: Section(name, HEADINGS[name]) for name in SECTIONS}
    for plot in PLOTS.values():
        section = sections[plot.section]
        pictures = draw_plot(plot, material)
        section.pictures += pictures
        if not pictures:
            section.absent.append(f"{plot.title}: {plot.absent}")
    return list(sections.values())


def draw_plot(plot: Plot, material: Material) -> list[Picture]:
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


def render(result: CalibrationResult, sections: list[Section], index: MSIndex) -> str:
    """The page as text. Every name in it is escaped."""
    from importlib.metadata import version

    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("calibrant.weblog"), autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    environment.filters["jansky"] = lambda value: f"{value:.4g}" if value < 0.1 else f"{value:.4f}"
    return environment.get_template("report.html").render(
        result=result,
        sections=sections,
        tone=COLOURS.get(result.verdict, "check"),
        facts=facts(result, index),
        concerns=concerns_by_text(sections),
        undrawn=[picture for section in sections for picture in section.pictures if picture.error],
        version=version("calibrant"),
        written=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )


def concerns_by_text(sections: list[Section]) -> dict[str, list[Picture]]:
    """Every remark once, with the pictures that make it."""
    found: dict[str, list[Picture]] = {}
    for section in sections:
        for picture in section.pictures:
            for text in picture.concerns:
                found.setdefault(text, []).append(picture)
    return found


def facts(result: CalibrationResult, index: MSIndex) -> list[tuple[str, str]]:
    """What was observed and with what, as (word, value)."""
    spws = [
        f"{spw.id}: {spw.nchan} channels, {spw.freq.min() / 1e9:.4f} to {spw.freq.max() / 1e9:.4f} GHz"
        for spw in index.spws
    ]
    rows = [
        ("Telescope", result.telescope),
        ("Observed", result.observed),
        ("Antennas", f"{len(index.antennas)}, reference {result.refant}"),
        ("Spectral windows", "\n".join(spws)),
        ("Flux standard", result.standard),
        *((f"Role {role}", ", ".join(fields)) for role, fields in result.roles.items()),
        ("Input", result.obs),
        ("MeasurementSet", result.ms),
        ("Calibrated target", result.target_ms),
        ("Output", result.output),
    ]
    return [(word, value) for word, value in rows if value]
