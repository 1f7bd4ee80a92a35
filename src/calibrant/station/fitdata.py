"""From points to what the fits take: one receiver, usable rows, weights; and how many were left out and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import DataError, ParameterError
from calibrant.station.gaincurve import GainData
from calibrant.station.robust import Array, steady_errors
from calibrant.station.rules import RULES
from calibrant.station.tcal import TcalData, typical
from calibrant.station.trec import TrecData

if TYPE_CHECKING:
    from calibrant.station.load import Loaded
    from calibrant.station.points import Points
    from calibrant.station.rxg import Rxg

QUANTITY = {"gain": "gain_corrected", "tcal": "tcal_k_corrected", "trec": "tsys_minus_tspill_k"}
"""What each kind of fit needs of a point."""


@dataclass(frozen=True)
class Usable:
    """The points of one receiver that can be fitted, and how many of all could not, by reason."""

    rxg: Rxg
    points: Points
    total: int
    left_out: dict[str, int]

    def describe(self) -> str:
        """`120 of 150 points: 20 deleted, 10 without noise diode left out`."""
        why = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"{len(self.points)} of {self.total} points" + (f": {why} left out" if why else "")


def usable(loaded: Loaded, kind: str) -> Usable:
    """The points for a fit of "gain", "tcal" or "trec".

    Raises ParameterError where no rxg file was given or several match, DataError where no point is left.
    """
    points = loaded.points
    if loaded.receivers is None:
        raise ParameterError("no rxg file was given; a fit starts from one: give --rxg FILE")
    reasons = _reasons(points, kind)
    keep = reasons == ""
    counted = Counter(reason for reason in reasons.tolist() if reason)
    left_out = dict(counted.most_common())
    if not keep.any():
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "the logs hold no ONOFF results"
        raise DataError(f"none of the {len(points)} points can be fitted: {why}")
    names = Counter(str(name) for name in points["rxg"][keep])
    if len(names) > 1:
        listed = ", ".join(f"{name} ({count} points)" for name, count in names.most_common())
        raise ParameterError(f"the points belong to {listed}; fit one receiver at a time: give one --rxg, or --lo")
    name = next(iter(names))
    rxg = next(r for r in loaded.receivers.files if r.name == name)
    return Usable(rxg, points.where(keep), len(points), left_out)


def _reasons(points: Points, kind: str) -> NDArray[np.str_]:
    """Why each point cannot be used; '' where it can. The first reason counts."""
    result = np.full(len(points), "", dtype="U60")
    value = np.asarray(points[QUANTITY[kind]], dtype=np.float64)
    plain = QUANTITY[kind].removesuffix("_corrected")
    unknown_flux = np.zeros(len(points), bool) if kind == "trec" else RULES["flux_unknown"].apply(points)[0]
    checks = (
        (points["deleted"], "deleted by edits"),
        (points["pol"] == "", "of unknown polarisation (no VAL row)"),
        (np.array([str(name) in ("", "nan") for name in points["rxg"]], bool), "of an LO that no rxg file serves"),
        (~np.isfinite(points["elevation_deg"]), "of unknown elevation (no VAL row)"),
        (points["no_diode"], "without noise diode"),
        (unknown_flux, "of a source of unknown flux density"),
        (~np.isfinite(value) & np.isfinite(points[plain]), "without opacity (no Trec, or Tsys too high for it)"),
        (~np.isfinite(value), "without a value"),
        (np.isfinite(value) & (value <= 0), "not positive"),
    )
    for mask, reason in checks:
        result[np.asarray(mask, bool) & (result == "")] = reason
    return result


def gain_data(points: Points, like_gnplt: bool = False, trusted: Literal["tcal", "gain"] = "tcal") -> GainData:
    """Gains; `like_gnplt`: from the values that the Field System printed, without errors.

    `trusted`: whether the atmosphere is taken out with the opacity that the rxg's Tcal or its gain gives.
    """
    gain, error = (np.asarray(points[f"gain_corrected{part}"], dtype=np.float64) for part in ("", "_err"))
    if trusted == "gain":
        gain = points["dpfu"] * points["curve_gain"] / points["ratio_corrected"]
        error = np.abs(gain / points["ratio_corrected"]) * points["ratio_corrected_err"]
    # The noise of on minus off is a fraction of Tsys, the signal the flux density times the gain.
    noise = points["tsys_k"] / points["flux_assumed_jy"] * gain / points["gain"]
    steady = steady_errors(error, noise)
    if like_gnplt:
        gain, steady = gain * points["tcal_jy"] / points["fs_tcal_jy"], None
    return cast(
        GainData,
        _finite(
            GainData, points, gain=gain, error=steady, elevation_deg=points["elevation_deg"],
            source=points["source"], detector=points["detector"],
        ),
    )  # fmt: skip


def virtual_points(items: Sequence[str]) -> list[tuple[float, float, int]]:
    """(elevation in degrees, gain in K/Jy, weight) from 'ELEVATION=GAIN[:WEIGHT]'; ParameterError for anything else."""
    found = []
    for item in items:
        place, _, rest = item.partition("=")
        gain, colon, weight = rest.partition(":")
        try:
            one = (float(place), float(gain), int(weight) if colon else 1)
        except ValueError:
            one = (math.nan, math.nan, 0)
        if not (0 <= one[0] <= 90 and 0 < one[1] < math.inf and 1 <= one[2] <= 1000):
            raise ParameterError(
                f"virtual: found {item!r}, expected an elevation from 0 to 90 degrees, a gain in K/Jy and a whole "
                "weight, as '5=0.08:3'"
            )
        found.append(one)
    return found


def with_virtual(data: GainData, points: Sequence[tuple[float, float, int]]) -> GainData:
    """The data with points that were not measured: for each polarisation, as `weight` rows of the median error.

    GNPLT's virtual points; given by elevation, so that they are right for ALTAZ too. Each is a scan of its own.
    """
    rows = [(elevation, gain, pol) for elevation, gain, weight in points for _ in range(weight) for pol in data.pols]
    count = len(rows)
    elevation, gain, pol = (np.array(column) for column in zip(*rows, strict=True))
    first = 0 if data.scan is None else int(data.scan.max()) + 1

    def more(column: Any, new: Any) -> Any:
        return None if column is None else np.concatenate([column, new])

    typical_error = math.nan if data.error is None else float(np.median(data.error))
    return GainData(
        more(data.gain, gain), more(data.elevation_deg, elevation), more(data.pol, pol),
        more(data.error, np.full(count, typical_error)),
        more(data.scan, first + np.arange(count)), more(data.source, np.full(count, "virtual")),
        more(data.detector, np.full(count, "virtual")),
    )  # fmt: skip


def tcal_data(points: Points, like_gnplt: bool = False) -> TcalData:
    """Measured Tcal in K with the gain of the rxg file."""
    tcal = np.asarray(points["tcal_k_corrected"], dtype=np.float64)
    # 1/Tcal is what has normal noise: see tcal.fit_tcal.
    noise = points["tsys_k"] / (points["flux_assumed_jy"] * points["curve_gain"]) * points["tcal_k"] / tcal
    inverse = steady_errors(points["tcal_k_corrected_err"] / tcal**2, noise)
    _, same = np.unique(np.char.add(points["pol"], points["detector"]), return_inverse=True)
    error = None if inverse is None else inverse * typical(tcal, same) ** 2
    if like_gnplt:
        tcal, error = tcal * points["fs_tcal_jy"] / points["tcal_jy"], None
    return cast(
        TcalData,
        _finite(
            TcalData, points, tcal_k=tcal, error=error, freq_mhz=points["freq_mhz"], detector=points["detector"],
            lo_mhz=points["lo_mhz"], compression=points["compression"],
        ),
    )  # fmt: skip


def trec_data(points: Points, like_gnplt: bool = False) -> TrecData:
    """Tsys - Tspill; `like_gnplt`: from the printed Tsys, airmass with two decimals as its data file has it."""
    value, airmass = np.asarray(points["tsys_minus_tspill_k"], dtype=np.float64), points["airmass"]
    error = steady_errors(points["tsys_minus_tspill_k_err"])
    if like_gnplt:
        scaled = points["fs_tsys_k"] * points["tcal_assumed_k"] / points["apr_tcal_k"]
        value, error, airmass = scaled - points["tspill_k"], None, np.round(airmass, 2)
    return cast(
        TrecData,
        _finite(
            TrecData, points, tsys_minus_tspill_k=value, error=error, airmass=airmass, time=points["time"],
            detector=points["detector"],
        ),
    )  # fmt: skip


def _finite(cls: Any, points: Points, **columns: Any) -> Any:
    """The data with what all kinds share; DataError where printed values are missing."""
    values: Array = next(iter(columns.values()))
    if not np.all(np.isfinite(values)):
        raise DataError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} points have no value printed by the Field System; "
            "leave --like-gnplt out, or delete these points"
        )
    return cls(pol=points["pol"], scan=points["scan"], **columns)
