"""Every quantity that can be drawn, selected on or listed, by one name.

    quantity(points, "gain"), quantity(points, "TCal Ratio"), QUANTITIES["sefd"].label

Names of columns are understood, and GNPLT's own names whatever their case, blanks and brackets. What depends on
receiver files is nan where none serves a point, but Tsys, Tcal(K) and its ratio then are those with the log's own
Tcal and gain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError
from calibrant.registry import Registry

if TYPE_CHECKING:
    from calibrant.station.points import Points

Floats = NDArray[np.float64]
SPEED_OF_LIGHT, BOLTZMANN, JANSKY = 299792458.0, 1.380649e-23, 1e-26
"""m/s, J/K, W/m^2/Hz"""
OTHER_WORDS = {"gc": "compression", "el": "elevation", "az": "azimuth", "freq": "frequency", "tau": "opacity"}
"""What people also say; gc is the older GNPLT's word."""


@dataclass(frozen=True)
class Quantity:
    """One thing to put on an axis."""

    name: str
    label: str
    unit: str
    gnplt: str
    """What GNPLT calls it; empty where it has no such item."""
    group: str
    """place, measured, assumed, calculated, corrected or weather."""
    column: str = ""
    compute: Callable[[Points], Floats] | None = None
    error: str = ""
    """Column of its one-sigma error."""
    without_rxg: str = ""
    """Column that stands in where no receiver file serves a point."""

    def of(self, points: Points) -> Floats:
        """Its value at every point; nan where it is unknown."""
        if self.compute is not None:
            return self.compute(points)
        return self._column(points, self.column, self.without_rxg)

    def error_of(self, points: Points) -> Floats | None:
        """Its one-sigma errors; None for a quantity that has none."""
        instead = f"{self.without_rxg}_err" if self.without_rxg else ""
        return self._column(points, self.error, instead) if self.error else None

    @staticmethod
    def _column(points: Points, name: str, instead: str) -> Floats:
        value = np.asarray(points[name], dtype=np.float64)
        return np.where(points["rxg"] == "", points[instead], value) if instead else value


class Quantities(Registry[Quantity]):
    """Quantities by name, by column, or by GNPLT's name."""

    def __init__(self, members: tuple[Quantity, ...]) -> None:
        super().__init__("quantity", members, key=lambda one: one.name)
        self._exact = {one.column: one.name for one in members if one.column} | {one.name: one.name for one in members}
        self._loose: dict[str, str] = {}
        for spelling in ("gnplt", "label", "name"):
            for one in members:
                self._loose.setdefault(_simple(getattr(one, spelling)), one.name)
        self._loose.pop("", None)
        self._loose |= OTHER_WORDS

    def __getitem__(self, name: str) -> Quantity:
        found = self._exact.get(name) or self._loose.get(_simple(name))
        if found is None:
            raise ParameterError(self._unknown(name))
        return super().__getitem__(found)

    def _unknown(self, name: str) -> str:
        """The sentence for a name that does not exist, with the nearest that does, however it is written."""
        simple = _simple(name)
        begin = [own for own in self._loose if simple and (own.startswith(simple) or simple in own)]
        near = min(begin, key=len) if begin else next(iter(get_close_matches(simple, self._loose, 1, 0.5)), "")
        hint = f" Did you mean {self._loose[near]!r}?" if near else ""
        return f"there is no {self.kind} called {name!r}; known: {', '.join(self)}.{hint}"

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._exact or _simple(name) in self._loose)


def _simple(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum() or letter == "*")


def quantity(points: Points, name: str) -> Floats:
    """A quantity at every point, in its unit. ParameterError, with the nearest name, for one that does not exist."""
    return QUANTITIES[name].of(points)


def quantity_error(points: Points, name: str) -> Floats | None:
    """Its one-sigma errors; None for a quantity that has none."""
    return QUANTITIES[name].error_of(points)


def _has_error(
    name: str, label: str, unit: str, gnplt: str, group: str, column: str, without_rxg: str = ""
) -> Quantity:
    return Quantity(name, label, unit, gnplt, group, column, error=f"{column}_err", without_rxg=without_rxg)


def _place(name: str, label: str, unit: str, gnplt: str, column: str) -> Quantity:
    return Quantity(name, label, unit, gnplt, "place", column)


def _plain(name: str, label: str, unit: str, gnplt: str, group: str, column: str) -> Quantity:
    return Quantity(name, label, unit, gnplt, group, column)


def _sky(points: Points) -> Floats:
    return np.asarray(points["tsys_minus_tspill_k"] - points["trec_k"], dtype=np.float64)


def _product(points: Points) -> Floats:
    return np.asarray(points["dpfu"] * points["curve_gain"], dtype=np.float64)


def _g_over_t(points: Points) -> Floats:
    """10 log10(8 pi k / (lambda^2 SEFD)): needs no noise diode (the Field System's govert)."""
    wavelength_m = SPEED_OF_LIGHT / (1e6 * points["freq_mhz"])
    sefd = np.where(points["sefd_jy"] > 0, points["sefd_jy"], np.nan) * JANSKY
    return np.asarray(10 * np.log10(8 * np.pi * BOLTZMANN / (wavelength_m**2 * sefd)), dtype=np.float64)


def _error_percent(points: Points) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100 * points["sefd_jy_err"] / np.abs(points["sefd_jy"]), dtype=np.float64)


QUANTITIES = Quantities(
    (
        _place("time", "Time (UTC)", "", "Time", "time"),
        _place("elevation", "Elevation", "deg", "Elevation", "elevation_deg"),
        _place("frequency", "Frequency", "MHz", "Frequency", "freq_mhz"),
        _place("azimuth", "Azimuth", "deg", "Azimuth", "azimuth_deg"),
        _place("airmass", "Airmass", "", "Airmass", "airmass"),
        _place("lo", "Local oscillator", "MHz", "LO", "lo_mhz"),
        _has_error("compression", "Gain compression", "", "Gain Compression", "measured", "compression"),
        _has_error("tsys", "Tsys", "K", "Tsys", "measured", "tsys_scaled_k", "tsys_k"),
        _has_error("sefd", "SEFD", "Jy", "SEFD", "measured", "sefd_jy"),
        _has_error("tcal_jy", "Tcal(Jy)", "Jy", "TCal(Jy)", "measured", "tcal_jy"),
        _has_error("tcal_k", "Tcal(K) from DPFU and gain curve", "K", "TCal(K)", "measured", "tcal_k", "tcal_k_fs"),
        _has_error("ratio", "Tcal ratio", "", "TCal Ratio", "measured", "ratio", "tcal_ratio"),
        _has_error("gain", "Gain", "K/Jy", "Gain", "measured", "gain"),
        _has_error("tsys_log", "Tsys with the log's Tcal", "K", "", "measured", "tsys_k"),
        _has_error("tsys_minus_tspill", "Tsys - Tspill", "K", "Tsys-Tspill", "measured", "tsys_minus_tspill_k"),
        Quantity(
            "sky",
            "Tsys - Tspill - Trec",
            "K",
            "Ts-Tr-Tspill",
            "measured",
            compute=_sky,
            error="tsys_minus_tspill_k_err",
        ),
        _has_error("tcal_ratio", "Tcal ratio with the log's values", "", "", "measured", "tcal_ratio"),
        _has_error("tcal_k_log", "Tcal(K) with the log's gain", "K", "", "measured", "tcal_k_fs"),
        Quantity("g_over_t", "G/T", "dB/K", "", "measured", compute=_g_over_t),
        Quantity("sefd_error", "Error of the SEFD", "%", "", "measured", compute=_error_percent),
        _plain("tcal_assumed", "Assumed Tcal(K)", "K", "Assumed TCal(K)", "assumed", "tcal_assumed_k"),
        _plain("flux", "Assumed source flux", "Jy", "Assumed Source Flux", "assumed", "flux_assumed_jy"),
        _plain("dpfu", "Assumed DPFU", "K/Jy", "Assumed DPFU", "assumed", "dpfu"),
        _plain("gain_curve", "Assumed gain curve", "", "Assumed Gain Curve", "assumed", "curve_gain"),
        Quantity(
            "dpfu_gain_curve",
            "Assumed DPFU * gain curve",
            "K/Jy",
            "Assumed DPFU*Gain Curve",
            "assumed",
            compute=_product,
        ),
        _plain("trec", "Assumed Trec", "K", "Trec", "assumed", "trec_k"),
        _plain("tspill", "Assumed Tspill", "K", "Tspill", "assumed", "tspill_k"),
        _plain("structure_correction", "Structure correction", "", "", "assumed", "structure_correction"),
        _plain("beam", "Beam FWHM", "deg", "", "assumed", "apr_fwhm_deg"),
        _has_error("opacity", "Zenith opacity", "", "Zenith Opacity", "calculated", "opacity_zenith"),
        _plain("transmission", "Transmission exp(-tau)", "", "", "calculated", "transmission"),
        _has_error("gain_corrected", "Gain, opacity corrected", "K/Jy", "", "corrected", "gain_corrected"),
        _has_error("tcal_k_corrected", "Tcal(K), opacity corrected", "K", "", "corrected", "tcal_k_corrected"),
        _has_error("ratio_corrected", "Tcal ratio, opacity corrected", "", "", "corrected", "ratio_corrected"),
        _plain("temperature", "Temperature", "deg C", "Temperature", "weather", "temperature_c"),
        _plain("pressure", "Pressure", "hPa", "Pressure", "weather", "pressure_hpa"),
        _plain("humidity", "Humidity", "%", "Humidity", "weather", "humidity_percent"),
        _plain("wind_speed", "Wind speed", "m/s", "Wind Speed", "weather", "wind_speed"),
        _plain("wind_azimuth", "Wind azimuth", "deg", "Wind Azimuth", "weather", "wind_azimuth_deg"),
    )
)
