"""The report of a calibration: one self-contained HTML page that opens from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibrant.ms.index import MSIndex
from calibrant.pipeline.result import CalibrationResult
from calibrant.plots import PLOTS, SECTIONS, Averages, Material
from calibrant.weblog.observation import receptors_of, scans_of
from calibrant.weblog.page import Section, draw_all, render_page, write_page

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
    return write_page(render(result, draw_sections(material), index), path)


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
    return draw_all(PLOTS.values(), material, {name: HEADINGS[name] for name in SECTIONS})


def render(result: CalibrationResult, sections: list[Section], index: MSIndex) -> str:
    """The page as text. Every name in it is escaped."""
    return render_page("report.html", sections, result.verdict, result=result, facts=facts(result, index))


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
