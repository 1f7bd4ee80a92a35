"""What receiver files say about measured points: Tcal ratio, gain, system temperature, opacity.

With Tcal, DPFU, g, Trec and Tspill of the rxg that serves a point's LO and polarisation, el its elevation:

    tcal_k        = DPFU g(el) Tcal(Jy)        the diode, if the gain is right
    ratio         = tcal_k / Tcal
    gain          = Tcal / Tcal(Jy)            K/Jy, if the diode is right
    tsys_scaled_k = Tsys Tcal / Tcal(APR)
    tsys_minus_tspill_k = tsys_scaled_k - Tspill(el)

Source: gndat and GNPLT, whose numbers these are, except that opacity corrects once and in the right direction, and
the ratio with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError
from calibrant.registry import unknown
from calibrant.station.opacity import CHOICES, DEFAULT_TATM, tatm_from_surface, transmission, zenith_opacity

if TYPE_CHECKING:
    from calibrant.station.rxg import Receivers, Rxg

Column = NDArray[Any]
Floats = NDArray[np.float64]
Columns = dict[str, Column]


@dataclass(frozen=True)
class Opacity:
    """How the atmosphere is treated. Raises ParameterError for a choice or temperature that cannot be."""

    tatm_k: float | Literal["weather"] = DEFAULT_TATM
    """Temperature of the atmosphere, K; 'weather': from the logged one at the ground, scan by scan."""
    correct: str = "auto"
    """What is corrected: 'gain', 'tcal', 'both', 'none'; auto: both with an opacity_corrected curve, else none."""
    by_rxg: Mapping[str, str] = field(default_factory=dict)
    """The same for single receivers, by the name of their file."""

    def __post_init__(self) -> None:
        for choice in (self.correct, *self.by_rxg.values()):
            if choice not in CHOICES:
                raise ParameterError(unknown("opacity correction", choice, CHOICES))
        if self.tatm_k != "weather" and not (isinstance(self.tatm_k, float | int) and 0 < self.tatm_k < 400):
            raise ParameterError(f"tatm={self.tatm_k!r}: expected a temperature in K below 400, or 'weather'")

    def corrects(self, rxg: Rxg) -> tuple[bool, bool]:
        """Whether gain and Tcal(K) of the points of a receiver are corrected."""
        choice = self.by_rxg.get(rxg.name, self.correct)
        if choice == "auto":
            choice = "both" if rxg.curve.opacity_corrected else "none"
        return choice in ("gain", "both"), choice in ("tcal", "both")

    def tatm(self, temperature_c: Floats) -> Floats:
        """Tatm of each point, K."""
        if self.tatm_k == "weather":
            return tatm_from_surface(temperature_c)
        return np.full(len(temperature_c), float(self.tatm_k))


def derive(
    columns: Columns,
    receivers: Receivers | None,
    opacity: Opacity,
    *,
    gain_tcal_k: float = np.nan,
    gain_at: tuple[float, float, float] | None = None,
) -> Columns:
    """The columns that depend on receiver files, for points with all the others.

    `gain_tcal_k`: this Tcal in place of the rxg's for the gain, K. `gain_at`: (low, high, gain): the Tcal of every
    receiver and polarisation is scaled so that its points not deleted between two elevations (degrees) have this
    mean gain (K/Jy). Raises ParameterError where no point lies there.
    """
    result = _assumed(columns, receivers, opacity)
    tcal, per_jy, error = result["tcal_assumed_k"], columns["tcal_jy"], columns["tcal_jy_err"]
    product = result["dpfu"] * result["curve_gain"]
    with np.errstate(divide="ignore", invalid="ignore"):
        _put(result, "tcal_k", product * per_jy, np.abs(product) * error)
        _put(result, "ratio", result["tcal_k"] / tcal, result["tcal_k_err"] / tcal)
        for_gain = np.full(len(tcal), gain_tcal_k) if np.isfinite(gain_tcal_k) else tcal
        _put(result, "gain", for_gain / per_jy, np.abs(for_gain / per_jy**2) * error)
        if gain_at is not None:
            factor = _scaled_to(columns, result, gain_at)
            _put(result, "gain", factor / per_jy, np.abs(factor / per_jy**2) * error)
        scale = tcal / columns["apr_tcal_k"]
        _put(result, "tsys_scaled_k", columns["tsys_k"] * scale, columns["tsys_k_err"] * np.abs(scale))
    return result | _atmosphere(columns, result, opacity)


def _put(result: Columns, name: str, value: Floats, error: Floats) -> None:
    result[name], result[f"{name}_err"] = value, error


def _groups(*keys: Column) -> list[NDArray[np.int64]]:
    """Rows that have all keys in common."""
    rows: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(zip(*(column.tolist() for column in keys), strict=True)):
        rows.setdefault(key, []).append(row)
    return [np.array(group) for group in rows.values()]


def _assumed(columns: Columns, receivers: Receivers | None, opacity: Opacity) -> Columns:
    """Numbers of the rxg files at each point; nan, and no name, where no file serves it."""
    size = len(columns["time"])
    names = ("tcal_assumed_k", "dpfu", "curve_gain", "trec_k", "tspill_k", "_correct_gain", "_correct_tcal")
    result: Columns = {name: np.full(size, np.nan) for name in names}
    files = np.full(size, "", dtype=object)
    for rows in _groups(columns["lo_mhz"], columns["pol"]) if receivers else ():
        lo, pol = float(columns["lo_mhz"][rows[0]]), str(columns["pol"][rows[0]])
        rxg = cast("Receivers", receivers).for_lo(lo, cast(Any, pol)) if pol else None
        if rxg is None:
            continue
        elevation = columns["elevation_deg"][rows]
        tcal = rxg.tcal_at(cast(Any, pol), columns["freq_mhz"][rows])
        numbers = (np.where(tcal > 0, tcal, np.nan), rxg.dpfu[cast(Any, pol)], rxg.curve(elevation),
                   rxg.trec[cast(Any, pol)], rxg.spillover(elevation), *opacity.corrects(rxg))  # fmt: skip
        files[rows] = rxg.name
        for name, number in zip(names, numbers, strict=True):
            result[name][rows] = number
    return result | {"rxg": files.astype(np.str_)}


def _scaled_to(columns: Columns, result: Columns, gain_at: tuple[float, float, float]) -> Floats:
    """Tcal (K) of each point with which the mean gain between two elevations is as given."""
    low, high, wanted = gain_at
    elevation = columns["elevation_deg"]
    inside = (elevation >= low) & (elevation <= high) & np.isfinite(columns["tcal_jy"]) & ~columns["deleted"]
    # Without a receiver file the diode is taken to be the same at all frequencies of an LO.
    shape = np.where(np.isfinite(result["tcal_assumed_k"]), result["tcal_assumed_k"], 1.0)
    factor = np.full(len(elevation), np.nan)
    for rows in _groups(columns["lo_mhz"], columns["pol"]):
        mine = rows[inside[rows]]
        if len(mine):
            factor[rows] = shape[rows] * wanted / np.mean(shape[mine] / columns["tcal_jy"][mine])
    if not np.isfinite(factor).any():
        raise ParameterError(f"gain_at={gain_at}: no point lies between elevations {low:g} and {high:g} degrees")
    return factor


def _atmosphere(columns: Columns, given: Columns, opacity: Opacity) -> Columns:
    """Opacity of each point, and gain, Tcal(K) and ratio corrected for it where that was asked for."""
    result: Columns = {}
    tatm = opacity.tatm(columns["temperature_c"])
    error = given["tsys_scaled_k_err"]
    with np.errstate(divide="ignore", invalid="ignore"):
        _put(result, "tsys_minus_tspill_k", given["tsys_scaled_k"] - given["tspill_k"], error)
        through = transmission(result["tsys_minus_tspill_k"], given["trec_k"], tatm)
        usable = np.where(through > 0, through, np.nan)
        relative = error / (tatm * usable)
        tau0 = zenith_opacity(through, columns["airmass"])
        _put(result, "opacity_zenith", tau0, relative / columns["airmass"])
        for name, wanted, factor in (
            ("gain", given["_correct_gain"], 1.0 / usable),
            ("tcal_k", given["_correct_tcal"], usable),
            ("ratio", given["_correct_tcal"], usable),
        ):
            size = np.where(wanted == 1.0, factor, 1.0)
            more = np.where(wanted == 1.0, given[name] * factor * relative, 0.0)
            _put(result, f"{name}_corrected", given[name] * size, np.hypot(given[f"{name}_err"] * size, more))
    del given["_correct_gain"], given["_correct_tcal"]
    return result | {"transmission": through}


def opacity_refusals(columns: Mapping[str, Column]) -> dict[str, int]:
    """Why points have no opacity, and how many; points without receiver file or diode are not counted."""
    known = np.isfinite(columns["tsys_minus_tspill_k"])
    through = columns["transmission"]
    cases = {
        "Trec is 0 in the rxg: unknown": known & (columns["trec_k"] == 0),
        "Tsys - Tspill - Trec is as large as Tatm or larger": known & (through <= 0),
        "no temperature in the log for Tatm": known & ~np.isfinite(through) & (columns["trec_k"] > 0),
        "elevation unknown": known & (through > 0) & ~np.isfinite(columns["airmass"]),
    }
    return {reason: int(mask.sum()) for reason, mask in cases.items() if mask.any()}
