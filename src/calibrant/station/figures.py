"""Points, receivers and fits as the plain arrays that `calibrant.plots.station` draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.station.material import (
    Floats,
    GainPanel,
    Line,
    Pointings,
    StationMaterial,
    TcalPanel,
    TrecPanel,
    TrecSegment,
    Trend,
)
from calibrant.station.bands import groups, ordered_bands, ratio_of
from calibrant.station.judge import RATIO_LIMITS, Judgement
from calibrant.station.judge_coverage import receiver_of

if TYPE_CHECKING:
    from calibrant.station.fitted import BandFits
    from calibrant.station.gaincurve import GainFit
    from calibrant.station.load import Loaded
    from calibrant.station.points import Points
    from calibrant.station.records import FsLog
    from calibrant.station.rxg import Receivers, Rxg
    from calibrant.station.tcal import TcalFit
    from calibrant.station.trec import TrecFit

ELEVATIONS = np.arange(0.0, 90.5, 0.5)
WEATHER = ("temperature_c", "pressure_hpa", "humidity_percent", "wind_speed")


def file_gain(rxg: Rxg, pol: Any) -> Line:
    """DPFU g(el) of a file over all elevations, K/Jy."""
    return Line(ELEVATIONS, np.asarray(rxg.gain(pol, ELEVATIONS)))


def fitted_gain(fit: GainFit, pol: str) -> Line:
    """The fitted gain with one sigma, K/Jy."""
    gain = np.asarray(fit.gain(pol, ELEVATIONS))
    width = fit.band(ELEVATIONS, pol)
    return Line(ELEVATIONS, gain, gain - width, gain + width, fit.elevation_range)


def file_tcal(rxg: Rxg, pol: Any) -> tuple[Floats, Floats]:
    """(MHz, K) of the Tcal table of one polarisation; empty where it has no rows."""
    freq, tcal = rxg.tcal.get(pol, (np.zeros(0), np.zeros(0)))
    return np.asarray(freq, dtype=np.float64), np.asarray(tcal, dtype=np.float64)


def tcal_columns(fit: TcalFit | None, pol: str) -> tuple[Floats, Floats, Floats]:
    """(MHz, K, error) of what was fitted and is not masked, by frequency."""
    values = (
        sorted((one.freq_mhz, one.tcal_k, one.error_k) for one in fit.values if one.pol == pol and not one.masked)
        if fit
        else []
    )
    columns = np.array(values, dtype=np.float64).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]


def trec_segments(fit: TrecFit | None, pol: str, airmass: Floats) -> tuple[TrecSegment, ...]:
    """The curves of the fit of one polarisation, from airmass 0 to the largest."""
    if fit is None or not len(airmass):
        return ()
    from calibrant.station.opacity import tsys_model

    x = np.linspace(0.0, float(np.nanmax(airmass)), 60)
    found = []
    for segment in fit.segments:
        trec, err = segment.trec.get(pol, fit.trec.get(pol)), segment.trec_errors.get(pol, fit.errors.get(pol))
        if trec is None or err is None or segment.note:
            continue
        line = Line(x, np.asarray(tsys_model(x, trec, segment.tau0, fit.tatm_k)))
        middle = (segment.start + segment.end) / 2
        found.append(TrecSegment(middle, trec, err, segment.tau0, segment.tau0_error, line))
    return tuple(found)


def receivers_of(points: Points, receivers: Receivers | None) -> Iterator[tuple[Rxg, str, NDArray[np.bool_]]]:
    """(rxg, pol, mask) of every receiver and polarisation among the points."""
    labels = np.asarray(points["rxg"])
    for name in np.unique(labels):
        for pol in ("l", "r"):
            mine = (labels == name) & (points["pol"] == pol)
            rxg = receiver_of(points, mine, receivers)
            if rxg is not None:
                yield rxg, pol, mine


def material(
    loaded: Loaded, judgement: Judgement, fits: dict[str, BandFits], labels: NDArray[np.str_]
) -> StationMaterial:
    """Everything the report's figures need. `fits`: rxg file name -> what was fitted; `labels`: band of each point."""
    points, receivers = loaded.points, loaded.receivers
    return StationMaterial(
        columns=points.columns,
        band=labels,
        ratio=ratio_of(points),
        bands=ordered_bands(points, labels) if len(points) else (),
        beyond=RATIO_LIMITS[1],
        gains=tuple(_gains(points, receivers, fits)),
        tcals=tuple(_tcals(points, receivers, fits)),
        trecs=tuple(_trecs(points, receivers, fits)),
        pointings=_pointings(loaded.logs),
        weather=_weather(loaded.logs),
        trends=_trends(judgement),
        tables=_tables(points, labels, receivers),
        elevation_gaps=judgement.coverage.elevation_gaps,
    )


def _gains(points: Points, receivers: Receivers | None, fits: dict[str, BandFits]) -> Iterator[GainPanel]:
    for rxg, pol, mine in receivers_of(points, receivers):
        use = mine & ~points["deleted"] & np.isfinite(points["gain_corrected"])
        if not use.any():
            continue
        fit = fits[rxg.name].gain if rxg.name in fits else None
        new = fitted_gain(fit, pol) if fit is not None and pol in fit.dpfu else None
        yield GainPanel(
            rxg.name, pol, points["elevation_deg"][use], points["gain_corrected"][use],
            points["gain_corrected_err"][use], points["source"][use], file_gain(rxg, pol), new,
        )  # fmt: skip


def _tcals(points: Points, receivers: Receivers | None, fits: dict[str, BandFits]) -> Iterator[TcalPanel]:
    for rxg, pol, mine in receivers_of(points, receivers):
        use = mine & ~points["deleted"] & np.isfinite(points["tcal_k_corrected"])
        if not use.any():
            continue
        new = tcal_columns(fits[rxg.name].tcal if rxg.name in fits else None, pol)
        measured = points["freq_mhz"][use], points["tcal_k_corrected"][use]
        yield TcalPanel(rxg.name, pol, *measured, *file_tcal(rxg, pol), *new)


def _trecs(points: Points, receivers: Receivers | None, fits: dict[str, BandFits]) -> Iterator[TrecPanel]:
    for rxg, pol, mine in receivers_of(points, receivers):
        use = mine & ~points["deleted"] & np.isfinite(points["tsys_minus_tspill_k"]) & ~points["no_diode"]
        if not use.any():
            continue
        airmass = np.asarray(points["airmass"][use], dtype=np.float64)
        fit = fits[rxg.name].trec if rxg.name in fits else None
        yield TrecPanel(
            rxg.name, pol, airmass, points["tsys_minus_tspill_k"][use], points["time"][use],
            trec_segments(fit, pol, airmass), trec_old=float(rxg.trec.get(pol, 0.0)),  # type: ignore[call-overload]
        )  # fmt: skip


def _pointings(logs: list[FsLog]) -> Pointings | None:
    """FIVPT results as fractions of the beam."""
    every = [one for log in logs for one in log.fivpts if one.fwhm_deg > 0]
    if not every:
        return None

    def column(name: str) -> Floats:
        return np.array([getattr(one, name) for one in every], dtype=np.float64)

    beam = column("fwhm_deg")
    return Pointings(
        time=column("time"), source=np.array([one.source for one in every]), azimuth=column("azimuth_deg"),
        elevation=column("elevation_deg"), lon=column("lon_offset_deg") / beam, lat=column("lat_offset_deg") / beam,
        lon_err=column("lon_sigma_deg") / beam, lat_err=column("lat_sigma_deg") / beam,
        good=np.array([one.lat_good and one.lon_good for one in every], dtype=bool),
    )  # fmt: skip


def _weather(logs: list[FsLog]) -> dict[str, Floats]:
    every = [one for log in logs for one in log.weather]
    names = ("time", *WEATHER)
    return {name: np.array([getattr(one, name) for one in every], dtype=np.float64) for name in names} if every else {}


def _trends(judgement: Judgement) -> tuple[Trend, ...]:
    result = []
    for band, pol in dict.fromkeys((one.band, one.pol) for one in judgement.trends):
        mine = [one for one in judgement.trends if (one.band, one.pol) == (band, pol)]
        columns = [
            np.array([getattr(one, name) for one in mine], dtype=np.float64)
            for name in ("ratio_median", "ratio_scatter", "sefd_median_jy", "sefd_scatter_jy")
        ]
        times = np.array([one.time for one in mine])
        result.append(Trend(band, pol, times, np.array([one.log for one in mine]), *columns))
    return tuple(result)


def _tables(points: Points, labels: NDArray[np.str_], receivers: Receivers | None) -> dict[str, Floats]:
    """Band -> frequencies of its Tcal table, of both polarisations."""
    found: dict[str, Floats] = {}
    for band, pol, mine in groups(points, labels):
        rxg = receiver_of(points, mine, receivers)
        if rxg is not None:
            found[band] = np.union1d(found.get(band, np.zeros(0)), file_tcal(rxg, pol)[0])
    return found
