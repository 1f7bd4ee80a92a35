"""The report of a VLBI station: one self-contained HTML page that opens from a file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from calibrant.plots.station import PLOTS
from calibrant.plots.station.common import utc_text
from calibrant.plots.station.material import StationMaterial
from calibrant.weblog.page import Section, draw_all, render_page, write_page
from calibrant.weblog.station_tables import Table, tables_of

if TYPE_CHECKING:
    from calibrant.station.fitted import BandFits
    from calibrant.station.judge import Judgement
    from calibrant.station.load import Loaded

HEADINGS = {
    "logs": "Logs",
    "ratio": "Tcal ratio",
    "sefd": "SEFD",
    "gain": "Gain curve",
    "tcal": "Tcal against frequency",
    "trec": "Trec and opacity",
    "compression": "Compression",
    "coverage": "Coverage",
    "deleted": "Deleted",
    "pointing": "Pointing",
    "weather": "Weather",
    "trends": "Trends",
    "skipped": "Lines not used",
    "reproduce": "How to reproduce",
}
"""Sections of the page, in the order read."""
NOTHING = {
    "logs": "No log was read.",
    "deleted": "Nothing was deleted.",
    "skipped": "Every line that concerns the calibration was understood.",
    "reproduce": "No command was recorded.",
}
"""What a section says that has nothing else to say."""


@dataclass
class StationSection(Section):
    """A section with sentences and tables before its pictures."""

    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def write_station_report(
    loaded: Loaded, judgement: Judgement, fits: dict[str, BandFits], material: StationMaterial,
    commands: Sequence[str], path: str,
) -> str:  # fmt: skip
    """Write the page to `path` through a temporary name and return it. An existing page is replaced.

    A figure that cannot be drawn is named on the page with the reason; it does not end the report.
    """
    sections = gather(loaded, judgement, fits, material, commands)
    return write_page(render(loaded, judgement, sections), path)


def gather(
    loaded: Loaded, judgement: Judgement, fits: dict[str, BandFits], material: StationMaterial, commands: Sequence[str]
) -> list[StationSection]:
    """Every section with its sentences, tables and pictures; a section with nothing says so."""
    tables = tables_of(loaded, judgement, fits)
    sections = []
    for drawn in draw_all(PLOTS.values(), material, HEADINGS):
        plain = {item.name: getattr(drawn, item.name) for item in dataclasses.fields(Section)}
        section = StationSection(**plain, sentences=judgement.of(drawn.name), tables=tables.get(drawn.name, []))
        if section.name == "reproduce":
            section.commands = list(commands)
        if not (section.pictures or section.tables or section.sentences or section.commands or section.absent):
            section.absent = [NOTHING.get(section.name, "There is nothing to show.")]
        sections.append(section)
    return sections


def render(loaded: Loaded, judgement: Judgement, sections: Iterable[StationSection]) -> str:
    """The page as text. Every name in it is escaped."""
    return render_page(
        "station.html", list(sections), judgement.verdict, reasons=judgement.reasons,
        advice=judgement.advice, title=title_of(loaded), subtitle=subtitle_of(loaded),
    )  # fmt: skip


def title_of(loaded: Loaded) -> str:
    """Station and logs."""
    names = [os.path.basename(log.path) for log in loaded.logs]
    stations = list(
        dict.fromkeys(log.site.name or log.site.code for log in loaded.logs if log.site.name or log.site.code)
    )
    told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{', '.join(stations)}: {told}" if stations else told


def subtitle_of(loaded: Loaded) -> str:
    """Time covered, scans, and the files compared with."""
    times = [time for log in loaded.logs for time in (log.start, log.end) if time == time]
    words = [f"{utc_text(min(times))} to {utc_text(max(times))} UTC"] if times else []
    words.append(f"{sum(len(log.scans) for log in loaded.logs)} ONOFF scans")
    names = sorted({rxg.name for rxg in loaded.receivers.files}) if loaded.receivers is not None else []
    words.append(f"rxg: {', '.join(names[:4])}{' …' if len(names) > 4 else ''}" if names else "no rxg file")
    return " · ".join(words)
