"""Flux densities of the calibrators against frequency, with the standard's curve."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import colours_for, new_figure, place
from calibrant.plots.ticks import nice_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DISAGREE_SIGMA = 5.0
LARGE_ERROR = 0.1
PANEL_COLUMNS = 4
LOOK_FOR = (
    "Dots are derived from the gains, squares are set by the flux standard; bars are one standard error. The line is "
    "the standard's curve where it is known, else a power law through the points. Suspicious: spectral windows that "
    "disagree by more than their errors, large errors, a spectrum that rises or falls implausibly."
)


def power_law(freq: np.ndarray, flux: np.ndarray, error: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Weighted straight line in log-log through the points, evaluated at `at`."""
    middle = np.log(freq).mean()
    weight = flux / np.where(error > 0, error, flux * 1e-3)
    fit = np.polynomial.polynomial.polyfit(np.log(freq) - middle, np.log(flux), 1, w=weight)
    return np.exp(np.polynomial.polynomial.polyval(np.log(at) - middle, fit))


def draw(material: Material) -> Figure:
    """One panel a field."""
    fields = list(dict.fromkeys(flux.field for flux in material.fluxes))
    columns = min(len(fields), PANEL_COLUMNS)
    rows = -(-len(fields) // columns)
    figure = new_figure(1.0 + 2.6 * rows, "Flux densities")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    place(figure, top=0.75, wspace=0.32, hspace=0.5)
    colours = colours_for(fields)
    for axes, field in zip(grid, fields, strict=False):
        _draw_field(material, axes, field, colours[field])
    for axes in grid[len(fields) :]:
        axes.set_axis_off()
    return figure


def _draw_field(material: Material, axes: Axes, field: str, colour: str) -> None:
    points = [flux for flux in material.fluxes if flux.field == field]
    freq, value, error = (
        np.array([getattr(flux, name) for flux in points], float) for name in ("freq_hz", "flux_jy", "error_jy")
    )
    set_by = points[0].origin in ("standard", "setjy")
    axes.errorbar(
        freq / 1e9, value, error, fmt="s" if set_by else "o", ms=5, color=colour, capsize=3, elinewidth=1.2, zorder=3
    )
    width = max(float(np.ptp(freq)) * 0.1, float(freq.mean()) * 0.005)
    at = np.linspace(freq.min() - width, freq.max() + width, 60)
    if field in material.curves:
        at, curve = material.curves[field]
        axes.plot(at / 1e9, curve, color=colour, lw=1, alpha=0.7)
    elif len(points) > 1 and (value > 0).all():
        axes.plot(at / 1e9, power_law(freq, value, error, at), color=colour, lw=1, alpha=0.7)
    low, high = float((value - error).min()), float((value + error).max())
    pad = max(0.35 * (high - low), 0.02 * abs(float(value.mean())))
    axes.set(xlim=((freq.min() - width) / 1e9, (freq.max() + width) / 1e9), ylim=(low - pad, high + pad))
    axes.set_xticks(*nice_ticks(*axes.get_xlim(), 3))
    axes.set(xlabel="frequency (GHz)", ylabel="flux density (Jy)")
    words = {"standard": f"standard {material.standard}", "setjy": "set with setjy"}
    axes.set_title(f"{field} ({words.get(points[0].origin, 'derived')})", loc="left")


def concerns(material: Material) -> tuple[str, ...]:
    """Large errors, and spws that lie far off the power law of their field."""
    sentences = []
    for flux in material.fluxes:
        if not flux.flux_jy > 0:
            sentences.append(f"{flux.field} spw {flux.spw}: flux density {flux.flux_jy:.3g} Jy is not positive")
        elif flux.error_jy > LARGE_ERROR * flux.flux_jy:
            percent = 100 * flux.error_jy / flux.flux_jy
            sentences.append(f"{flux.field} spw {flux.spw}: error of {percent:.0f} %")
    for field in dict.fromkeys(flux.field for flux in material.fluxes if flux.origin == "fluxscale"):
        points = [flux for flux in material.fluxes if flux.field == field and flux.flux_jy > 0]
        if len(points) < 3:
            continue
        freq, value, error = (
            np.array([getattr(flux, name) for flux in points], float) for name in ("freq_hz", "flux_jy", "error_jy")
        )
        off = np.abs(value - power_law(freq, value, error, freq)) / np.hypot(error, 0.01 * value)
        sentences += [
            f"{field} spw {flux.spw}: {flux.flux_jy:.4g} Jy lies {sigma:.0f} standard errors off the other spws"
            for flux, sigma in zip(points, off, strict=True)
            if sigma > DISAGREE_SIGMA
        ]
    return tuple(sentences)


def make(material: Material) -> Iterator[Drawing]:
    """One drawing of all fields."""
    if not material.fluxes:
        return
    yield Drawing(
        name="flux-densities",
        title="Flux densities against frequency",
        caption=LOOK_FOR,
        alt="Flux density against frequency, one panel for each calibrator, with errors",
        draw=partial(draw, material),
        concerns=concerns(material),
    )


PLOT = Plot("flux_densities", "flux", "Flux densities", "No flux densities were set or derived.", make)
