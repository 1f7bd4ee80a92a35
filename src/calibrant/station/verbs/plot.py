"""`calibrant station plot`: any quantity against any other, as a picture."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import DataError, ExistsError, ParameterError
from calibrant.params import Overwrite, Param
from calibrant.station.select import FREQUENCY_TOLERANCE_MHZ
from calibrant.station.verbs import options

if TYPE_CHECKING:
    from calibrant.plots.station import Scatter
    from calibrant.station.load import Loaded
    from calibrant.station.points import Points

FORMATS = (".png", ".svg", ".pdf")
COLOURS = ("source", "pol", "freq", "time", "detector", "lo", "log")
SYMBOLS = ("points", "letters", "both")
CORRECTED = ("gain", "tcal_k", "ratio")
"""Quantities that are drawn corrected for opacity where that is asked for."""
GROUP_LABELS = {"lo": "LO", "pol": "polarisation", "freq": "frequency"}
MOST_FREQUENCIES = 16
"""More frequencies than this are coloured by value, with a scale instead of a legend."""


@dataclass(frozen=True)
class PlotResult:
    """What was drawn: points included and deleted, and those that lack one of the two quantities."""

    output: str
    x: str
    y: str
    included: int
    deleted: int
    missing: int
    notes: tuple[str, ...] = field(default=())

    def summary(self) -> str:
        lines = [f"{self.output}: {self.y} against {self.x}, {self.included} points"]
        if self.deleted:
            lines.append(f"  {self.deleted} deleted")
        if self.missing:
            lines.append(f"  {self.missing} points have no {self.x} or no {self.y}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "notes": list(self.notes)}


def plot(
    logs: options.Logs,
    x: Annotated[str, Param("Quantity of the X axis; an unknown name lists all.")] = "elevation",
    y: Annotated[str, Param("Quantity of the Y axis.")] = "gain",
    rxg: options.Rxg = [],  # noqa: B006
    flux: options.Flux = "",
    source: options.Source = "",
    pol: options.Pol = "",
    lo: options.Lo = "",
    freq: options.Freq = "",
    detector: options.Detector = "",
    scan: options.Scan = "",
    time: options.Time = "",
    elevation: options.Elevation = "",
    where: options.Where = "",
    session: options.Session = "",
    opacity: options.Opacity = "auto",
    tatm: options.Tatm = "273",
    gain_tcal: options.GainTcal = 0.0,
    gain_at: options.GainAt = "",
    colour: Annotated[str, Param("What the colours tell.", choices=COLOURS)] = "source",
    highlight: Annotated[str, Param("Sources, detectors or frequencies (MHz) to draw in black: 'casa,8212.99'.")] = "",
    symbols: Annotated[
        str, Param("Points, the letter of their source (A to Z, then AA, AB, ...), or both.", choices=SYMBOLS)
    ] = "points",
    show_deleted: Annotated[bool, Param("Draw deleted points too, as red crosses.")] = False,
    errors: Annotated[bool, Param("Draw error bars of one sigma.")] = False,
    fit: Annotated[bool, Param("Fit what belongs to the axes: gain curve, Tcal(K), or Trec and opacity.")] = False,
    xlim: Annotated[str, Param("Limits of the X axis: '10~80'; points outside are drawn on the border.")] = "",
    ylim: Annotated[str, Param("Limits of the Y axis: '0.08~0.12'.")] = "",
    output: Annotated[str, Param("Picture to write: .png, .svg or .pdf. Empty: Y-X.png, here.")] = "",
    overwrite: Overwrite = False,
) -> PlotResult:
    """Draw any quantity of ONOFF scans against any other: PNG, SVG or PDF.

    What belongs to the axes is drawn with them: the gain curve on file (gain against elevation), the Tcal table
    (tcal_k against frequency), Trec (tsys_minus_tspill against airmass), a line at 1 (Tcal ratio). Points outside the
    limits stay in fits. Gain, Tcal(K) and ratio are corrected for opacity as --opacity says.

    Example:
        calibrant station plot r1730ny.log --x elevation --y sefd --source calibrators -o sefd.png
        calibrant station plot ef.log --rxg x.rxg --x elevation --y gain --pol l --symbols letters --fit -o gain.pdf
    """
    from calibrant.plots.station import draw_scatter
    from calibrant.plots.station.scatter import save
    from calibrant.station.load import load
    from calibrant.station.quantities import QUANTITIES

    _ = QUANTITIES[x], QUANTITIES[y]  # an unknown name is refused before anything is read
    path = _output(output, x, y, overwrite)
    selection = {
        "source": source, "pol": pol, "lo": lo, "freq": freq, "detector": detector, "scan": scan, "time": time,
        "elevation": elevation, "where": where,
    }  # fmt: skip
    treated = options.of_receivers(opacity, tatm, gain_tcal, gain_at)
    loaded = load(logs, rxg=rxg, flux=flux, session=session, selection=selection, **treated)
    limits = (*_limits("xlim", xlim), *_limits("ylim", ylim))
    what, notes = _scatter(
        loaded, x, y, colour, highlight, limits, symbols=symbols,
        show_deleted=show_deleted, errors=errors, fit=fit,
    )  # fmt: skip
    finite = np.isfinite(what.x) & np.isfinite(what.y)
    if not finite.any():
        unserved = int((loaded.points["rxg"] == "").sum()) if loaded.receivers is not None else 0
        lost = [f"{unserved} belong to an LO that no rxg file serves"] if unserved else []
        why = "; ".join([f"none of {len(finite)} points has both", *lost, *(note.rstrip(".") for note in notes)])
        raise DataError(f"there is nothing to draw of {y} against {x}: {why}. Nothing was written.")
    try:
        save(lambda: draw_scatter(what), path)
    except OSError as error:
        raise ParameterError(f"output={path!r}: cannot be written: {error.strerror}") from None
    gone = what.deleted
    counts = int((finite & ~gone).sum()), int((finite & gone).sum()), int((~finite).sum())
    return PlotResult(path, x, y, *counts, tuple(notes))


def _output(output: str, x: str, y: str, overwrite: bool) -> str:
    path = output or f"{y}-{x}.png"
    if os.path.splitext(path)[1].lower() not in FORMATS:
        raise ParameterError(f"output={path!r}: expected a name that ends in {', '.join(FORMATS)}")
    if os.path.exists(path) and not overwrite:
        raise ExistsError(f"{path} exists; give --overwrite to replace it, or another --output")
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise ParameterError(f"output={path!r}: there is no directory {folder!r}; make it, or give another --output")
    return path


def _limits(name: str, text: str) -> tuple[float, float]:
    """'low~high'; either end may be left out."""
    if not text:
        return np.nan, np.nan
    low, mark, high = text.partition("~")
    try:
        if not mark:
            raise ValueError(text)
        pair = (float(low) if low.strip() else np.nan, float(high) if high.strip() else np.nan)
    except ValueError:
        raise ParameterError(f"{name}={text!r}: expected 'low~high', as '10~80'") from None
    if pair[0] >= pair[1]:
        raise ParameterError(f"{name}={text!r}: the lower limit must be below the upper one")
    return pair


def _scatter(
    loaded: Loaded, x: str, y: str, colour: str, highlight: str, limits: Any, *, symbols: str, show_deleted: bool,
    errors: bool, fit: bool,
) -> tuple[Scatter, list[str]]:  # fmt: skip
    """The picture as plain arrays, and remarks about it."""
    from calibrant.plots.station import Scatter
    from calibrant.station.quantities import QUANTITIES, quantity

    points = loaded.points
    across, up = (QUANTITIES[_as_corrected(points, QUANTITIES[name].name)] for name in (x, y))
    extras, notes = overlays(loaded, across.name, up.name, fit)
    notes += _notes(points, across.name, up.name)
    names = ", ".join(os.path.basename(log.path) for log in loaded.logs[:3])
    more = f" and {len(loaded.logs) - 3} more" if len(loaded.logs) > 3 else ""
    what = Scatter(
        x=np.asarray(quantity(points, across.name), dtype=np.float64),
        y=np.asarray(quantity(points, up.name), dtype=np.float64),
        title=f"{up.label} against {across.label[:1].lower()}{across.label[1:]} · {names}{more}",
        xlabel=axis_label(across), ylabel=axis_label(up), source=np.asarray(points["source"]),
        deleted=np.asarray(points["deleted"], dtype=bool), highlighted=_highlighted(points, highlight),
        show_deleted=show_deleted, with_points=symbols != "letters",
        with_letters=symbols != "points", limits=limits,
        x_time=across.name == "time", y_time=up.name == "time",
        x_err=_errors(points, across.name) if errors else None, y_err=_errors(points, up.name) if errors else None,
        **_colouring(points, colour), **extras,
    )  # fmt: skip
    return what, notes


def _as_corrected(points: Points, name: str) -> str:
    """The quantity corrected for opacity, where any point is to be."""
    if name not in CORRECTED:
        return name
    plain, corrected = points[name], points[f"{name}_corrected"]
    return name if np.array_equal(plain, corrected, equal_nan=True) else f"{name}_corrected"


def _notes(points: Points, x: str, y: str) -> list[str]:
    """What is not as it seems, and why points lack a quantity."""
    from calibrant.station.unknowns import opacities, places

    told = [f"{name} is drawn corrected for opacity; --opacity none: as measured"
            for name in CORRECTED if f"{name}_corrected" in (x, y)]  # fmt: skip
    told += places(points)
    return told + list(opacities(points) if told or {"opacity", "transmission"} & {x, y} else ())


def axis_label(quantity: Any) -> str:
    """`Elevation (°)`; no brackets where there is no unit."""
    unit = {"deg": "°", "deg C": "°C"}.get(quantity.unit, quantity.unit)
    return f"{quantity.label} ({unit})" if unit else str(quantity.label)


def _errors(points: Points, name: str) -> NDArray[np.float64] | None:
    from calibrant.station.quantities import quantity_error

    return quantity_error(points, name)


def _colouring(points: Points, colour: str) -> dict[str, Any]:
    """Categories for the legend, or values for a colour scale."""
    if colour == "time":
        return {"shade": np.asarray(points["time"]), "shade_label": "time (UTC)"}
    if colour == "freq" and len(np.unique(points["freq_mhz"])) > MOST_FREQUENCIES:
        return {"shade": np.asarray(points["freq_mhz"]), "shade_label": "frequency (MHz)"}
    if colour in ("freq", "lo"):
        words = [f"{value:.2f} MHz" for value in points[f"{colour}_mhz"]]
    elif colour == "log":
        words = [os.path.basename(str(name)) for name in points["file"]]
    elif colour == "pol":
        words = [{"l": "left", "r": "right"}.get(str(pol), "unknown") for pol in points["pol"]]
    else:
        words = [str(name) for name in points[colour]]
    return {"group": np.array(words, dtype=np.str_), "group_label": GROUP_LABELS.get(colour, colour)}


def _highlighted(points: Points, text: str) -> NDArray[np.bool_]:
    """Points of the named sources, detectors or frequencies."""
    lit = np.zeros(len(points), dtype=bool)
    for item in filter(None, (part.strip().lower() for part in text.split(","))):
        hit = (points["source"] == item) | (np.char.lower(points["detector"].astype(np.str_)) == item)
        with contextlib.suppress(ValueError):
            hit |= np.abs(points["freq_mhz"] - float(item)) < FREQUENCY_TOLERANCE_MHZ
        if not hit.any():
            raise ParameterError(f"highlight={text!r}: {item!r} is no source, detector or frequency of these points")
        lit |= hit
    return lit


def overlays(loaded: Loaded, x: str, y: str, fit: bool) -> tuple[dict[str, Any], list[str]]:
    """Lines and marks that belong to a pair of axes, and remarks where they cannot be drawn."""
    from calibrant.station import overlay

    y = y.removesuffix("_corrected")
    if y in ("ratio", "tcal_ratio"):
        return {"level": 1.0, "level_label": "ratio 1"}, []
    make = {
        ("elevation", "gain"): overlay.gain, ("frequency", "tcal_k"): overlay.tcal,
        ("airmass", "tsys_minus_tspill"): overlay.trec,
    }.get((x, y))  # fmt: skip
    if make is None:
        return {}, ["nothing is fitted to this pair of axes"] if fit else []
    if loaded.receivers is None:
        return {}, ["no rxg file was given: no curve to draw and nothing to fit"]
    return make(loaded, fit)
