"""What receiver files say about measured points: Tcal ratio, gain, system temperature, opacity.

With Tcal, DPFU, g, Trec and Tspill of the rxg that serves a point's LO and polarisation, el its elevation:

    tcal_k        = DPFU g(el) Tcal(Jy)        the diode, if the gain is right
    ratio         = tcal_k / Tcal
    gain          = Tcal / Tcal(Jy)            K/Jy, if the diode is right
    tsys_scaled_k = Tsys Tcal / Tcal(APR)
    tsys_minus_tspill_k = tsys_scaled_k - Tspill(el)       under continuous calibration also - Tcal / 2

The Field System's Tsys of continuous calibration is the mean with the diode on and off, so it contains Tcal / 2, which
is neither receiver nor sky.

Opacity from Tsys rests on Tcal. That is right for the gain, which trusts Tcal. Tcal(K) and ratio trust the gain, so
they take it from the SEFD, which does not depend on Tcal: SEFD DPFU g exp(-tau) = Tsys = Trec + Tspill + Tatm (1 -
exp(-tau)), solved for exp(-tau).

Source: gndat and GNPLT, whose numbers these are, except for the half diode and that opacity corrects once, in the
right direction, and the ratio with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import DataError, ParameterError
from calibrant.registry import unknown
from calibrant.station.opacity import (
    CHOICES,
    DEFAULT_TATM,
    tatm_from_surface,
    transmission,
    transmission_from_sefd,
    zenith_opacity,
)

if TYPE_CHECKING:
    from calibrant.station.rxg import Receivers, Rxg

Column = NDArray[Any]
Floats = NDArray[np.float64]
Columns = dict[str, Column]
SCALE_STEPS = 40
"""Of the iteration for a mean gain that is corrected for opacity."""


@dataclass(frozen=True)
class Opacity:
    """How the atmosphere is treated. Raises ParameterError for a choice or temperature that cannot be."""

    tatm_k: float | Literal["weather"] = DEFAULT_TATM
    """Temperature of the atmosphere, K; 'weather': from the logged one at the ground, scan by scan."""
    correct: str = "auto"
    """What is corrected: 'gain', 'tcal', 'both', 'none'; auto: both with an opacity_corrected curve, else none."""
    by_rxg: Mapping[str, str] = field(default_factory=dict)
    """The same for single receivers, by the name of their file."""
    like_gnplt: bool = False
    """Everything from Tsys with the rxg's Tcal, half a continuous diode included, as GNPLT has it."""

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

    def known_tatm(self, temperature_c: Floats) -> tuple[Floats, int]:
        """(Tatm of each point, how many take the median for want of a logged temperature); DataError if all do."""
        found = self.tatm(temperature_c)
        known = np.isfinite(found)
        if not known.any():
            raise DataError("no temperature was logged before these scans; give --tatm 273")
        return np.where(known, found, np.median(found[known])), int((~known).sum())


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
    mean gain (K/Jy), corrected for opacity where gains are. Raises ParameterError where no point lies there.
    """
    result, corrects = _assumed(columns, receivers, opacity)
    tcal, per_jy, error = result["tcal_assumed_k"], columns["tcal_jy"], columns["tcal_jy_err"]
    product = result["dpfu"] * result["curve_gain"]
    air = _Air.of(columns, result, corrects, opacity)
    for_gain = np.full(len(tcal), gain_tcal_k) if np.isfinite(gain_tcal_k) else tcal
    with np.errstate(divide="ignore", invalid="ignore"):
        if gain_at is not None:
            for_gain = _scaled_to(columns, tcal, air, gain_at)
        _put(result, "tcal_k", product * per_jy, np.abs(product) * error)
        _put(result, "ratio", result["tcal_k"] / tcal, result["tcal_k_err"] / tcal)
        _put(result, "gain", for_gain / per_jy, np.abs(for_gain / per_jy**2) * error)
        scale = tcal / columns["apr_tcal_k"]
        _put(result, "tsys_scaled_k", columns["tsys_k"] * scale, columns["tsys_k_err"] * np.abs(scale))
        sky = air.system(tcal) - result["tspill_k"]
        _put(result, "tsys_minus_tspill_k", sky, result["tsys_scaled_k_err"])
        return result | air.opacity() | air.corrected(result, for_gain, product)


def _put(result: Columns, name: str, value: Floats, error: Floats) -> None:
    result[name], result[f"{name}_err"] = value, error


def _groups(*keys: Column) -> list[NDArray[np.int64]]:
    """Rows that have all keys in common."""
    rows: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(zip(*(column.tolist() for column in keys), strict=True)):
        rows.setdefault(key, []).append(row)
    return [np.array(group) for group in rows.values()]


def _assumed(columns: Columns, receivers: Receivers | None, opacity: Opacity) -> tuple[Columns, NDArray[np.bool_]]:
    """Numbers of the rxg files at each point, nan and no name where no file serves it; (point, gain or Tcal(K)):
    whether it is corrected for opacity."""
    size = len(columns["time"])
    names = ("tcal_assumed_k", "dpfu", "curve_gain", "trec_k", "tspill_k")
    result: Columns = {name: np.full(size, np.nan) for name in names}
    corrects = np.zeros((size, 2), dtype=bool)
    files = np.full(size, "", dtype=object)
    for rows in _groups(columns["lo_mhz"], columns["pol"]) if receivers else ():
        lo, pol = float(columns["lo_mhz"][rows[0]]), str(columns["pol"][rows[0]])
        rxg = cast("Receivers", receivers).for_lo(lo, cast(Any, pol)) if pol else None
        if rxg is None:
            continue
        elevation = columns["elevation_deg"][rows]
        tcal = rxg.tcal_at(cast(Any, pol), columns["freq_mhz"][rows])
        numbers = (np.where(tcal > 0, tcal, np.nan), rxg.dpfu[cast(Any, pol)], rxg.curve(elevation),
                   rxg.trec[cast(Any, pol)], rxg.spillover(elevation))  # fmt: skip
        files[rows], corrects[rows] = rxg.name, opacity.corrects(rxg)
        for name, number in zip(names, numbers, strict=True):
            result[name][rows] = number
    return result | {"rxg": files.astype(np.str_)}, corrects


def _scaled_to(columns: Columns, tcal: Floats, air: _Air, gain_at: tuple[float, float, float]) -> Floats:
    """Tcal (K) of each point with which the mean gain between two elevations is as given."""
    low, high, wanted = gain_at
    elevation = columns["elevation_deg"]
    inside = (elevation >= low) & (elevation <= high) & np.isfinite(columns["tcal_jy"]) & ~columns["deleted"]
    # Without a receiver file the diode is taken to be the same at all frequencies of an LO.
    shape = np.where(np.isfinite(tcal), tcal, 1.0)
    # A start that needs no Tcal: the opacity that goes with the wanted gain.
    through = np.where(air.corrects[:, 0], air.through_of_gain(np.full(len(tcal), wanted)), 1.0)
    result = np.full(len(tcal), np.nan)
    for rows in _groups(columns["lo_mhz"], columns["pol"]):
        mine = rows[inside[rows] & np.isfinite(through[rows])]
        if len(mine):
            result[rows] = shape[rows] * wanted / np.mean((shape / columns["tcal_jy"] / through)[mine])
            for _ in range(SCALE_STEPS if air.corrects[mine, 0].any() else 0):
                gain = result[mine] / columns["tcal_jy"][mine] / _positive(air.through_of_tcal(result)[mine])
                # The corrected gain goes with the 1st to 3rd power of Tcal, by how much of Tsys is sky.
                result[rows] *= np.sqrt(wanted / np.nanmean(gain))
    if not np.isfinite(result).any():
        raise ParameterError(f"gain_at={gain_at}: no point lies between elevations {low:g} and {high:g} degrees")
    return result


@dataclass(frozen=True)
class _Air:
    """The atmosphere in front of every point."""

    columns: Columns
    given: Columns
    """What the rxg files say."""
    corrects: NDArray[np.bool_]
    """(point, gain or Tcal(K))"""
    tatm: Floats
    half: Floats
    """Share of the diode in Tsys: 0.5 under continuous calibration."""
    like_gnplt: bool

    @classmethod
    def of(cls, columns: Columns, given: Columns, corrects: NDArray[np.bool_], opacity: Opacity) -> _Air:
        half = np.where(columns["continuous"] & (not opacity.like_gnplt), 0.5, 0.0)
        return cls(columns, given, corrects, opacity.tatm(columns["temperature_c"]), half, opacity.like_gnplt)

    def system(self, tcal: Floats) -> Floats:
        """Tsys with this Tcal (K), without what the diode adds to it, K."""
        return tcal * (self.columns["tsys_k"] / self.columns["apr_tcal_k"] - self.half)

    def through_of_tcal(self, tcal: Floats) -> Floats:
        """Transmission, if this is the diode (K)."""
        return transmission(self.system(tcal) - self.given["tspill_k"], self.given["trec_k"], self.tatm)

    def through_of_gain(self, gain: Floats) -> Floats:
        """Transmission, if this is the gain outside the atmosphere (K/Jy)."""
        sefd = self.columns["sefd_jy"] - self.half * self.columns["tcal_jy"]
        return transmission_from_sefd(sefd * gain, self.given["tspill_k"], self.given["trec_k"], self.tatm)

    def opacity(self) -> Columns:
        """Transmission and zenith opacity of each point with the rxg's Tcal."""
        tcal, airmass = self.given["tcal_assumed_k"], self.columns["airmass"]
        through = self.through_of_tcal(tcal)
        result = {"transmission": through}
        error = self._slope_of_tcal(tcal) * self.columns["tsys_k_err"] / np.abs(self.columns["tsys_k"])
        _put(result, "opacity_zenith", zenith_opacity(through, airmass), error / airmass)
        return result

    def corrected(self, plain: Columns, for_gain: Floats, product: Floats) -> Columns:
        """Gain, Tcal(K) and ratio, corrected for opacity where that was asked for."""
        assumed = self.given["tcal_assumed_k"]
        trusted = assumed if self.like_gnplt else for_gain
        through = _positive(self.through_of_tcal(trusted))
        result = self._corrected("gain", plain, 0, 1.0 / through, self._error(-1.0, self._slope_of_tcal(trusted)))
        if self.like_gnplt:
            error = self._error(1.0, -self._slope_of_tcal(assumed))
        else:
            through = _positive(self.through_of_gain(product))
            sefd, half = (product * self.columns[name] for name in ("sefd_jy", "tcal_jy"))
            half = half * self.half
            size = self.tatm + sefd - half
            # Tcal(Jy) and SEFD = Tcal(Jy) Tsys / Tcal share the noise on the source, part of which cancels.
            error = self._error(1.0 - (sefd - half) / size, -sefd / size)
        for name in ("tcal_k", "ratio"):
            result |= self._corrected(name, plain, 1, through, error)
        return result

    def _corrected(self, name: str, plain: Columns, which: int, factor: Floats, relative: Floats) -> Columns:
        use = self.corrects[:, which]
        value = np.where(use, plain[name] * factor, plain[name])
        result: Columns = {}
        _put(result, f"{name}_corrected", value, np.where(use, np.abs(value) * relative, plain[f"{name}_err"]))
        return result

    def _slope_of_tcal(self, tcal: Floats) -> Floats:
        """Relative change of 1 / transmission with that of Tsys, if this is the diode (K)."""
        system = tcal * self.columns["tsys_k"] / self.columns["apr_tcal_k"]
        return np.asarray(system / (self.tatm * _positive(self.through_of_tcal(tcal))))

    def _error(self, of_tcal: Floats | float, of_tsys: Floats) -> Floats:
        """Relative error of a product of powers of Tcal(Jy) and Tsys, exact to first order.

        Their covariance follows from the error of SEFD, which is Tcal(Jy) Tsys / Tcal.
        """
        names = ("tcal_jy", "tsys_k", "sefd_jy")
        tcal, tsys, sefd = (self.columns[f"{name}_err"] / np.abs(self.columns[name]) for name in names)
        common = of_tcal * of_tsys * (sefd**2 - tcal**2 - tsys**2)
        variance = (of_tcal * tcal) ** 2 + (of_tsys * tsys) ** 2 + common
        # Printed errors are rounded, and may contradict each other.
        least = np.abs(np.abs(of_tcal * tcal) - np.abs(of_tsys * tsys))
        return np.sqrt(np.maximum(variance, least**2))


def _positive(values: Floats) -> Floats:
    return np.where(values > 0, values, np.nan)


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
