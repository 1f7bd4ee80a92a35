"""What is true in a simulated log, and what the station's files wrongly assume.

Arrays are (scan, detector) unless said otherwise. Temperatures are antenna temperatures in K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calibrant.station.curve import GainCurve
from calibrant.station.fluxctl import FluxTable, default_flux
from calibrant.station.simulate.model import POLS, Band, Detector, Floats, Options, detectors
from calibrant.station.simulate.sky import azel, schedule

NO_DIODE = -100.0
"""Tcal that stands for a missing noise diode; its size is printed as Tsys."""
WHOLE_LOG = ("compression", "nodiode")
TCAL_STEP_MHZ = 50.0
FWHM = 1.22 * 299.792458 * 180.0 / math.pi
"""Degrees x MHz x metres."""

Table = dict[str, tuple[Floats, Floats]]
"""Polarisation -> (MHz, K)."""


@dataclass(frozen=True)
class Receiver:
    """One set of values: the true ones, or those of the rxg file."""

    dpfu: dict[str, float]
    curve: GainCurve
    tcal: Table
    trec_k: dict[str, float]


@dataclass(frozen=True)
class Spoil:
    """Something wrong with a scan. `detectors`: names; empty: all."""

    scan: int
    kind: str
    detectors: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """Everything that is true, in arrays along scans."""

    options: Options
    band: Band
    detectors: tuple[Detector, ...]
    flux_table: FluxTable
    true: Receiver
    assumed: Receiver
    time: Floats
    sources: list[str]
    azimuth: Floats
    elevation: Floats
    """At the start; as VAL prints it where the source does not move."""
    tuning: np.ndarray
    pointing_beams: Floats
    flux_factor: dict[str, float]
    """True flux density divided by that of the table."""
    drift_phase: Floats
    """(detector,)"""
    tau_waves: Floats
    """(3, wave): relative amplitude, period in s and phase of the opacity's changes."""
    spoils: list[Spoil]
    freq_mhz: Floats
    fwhm_deg: Floats
    apparent_jy: Floats
    """Of the table, with the structure correction."""
    correction: Floats
    tcal_k: Floats
    """True; 0 without a diode."""
    tcal_assumed_k: Floats
    """As APR prints it."""

    def tau(self, time: ArrayLike) -> Floats:
        """Zenith opacity."""
        relative, period, phase = self.tau_waves
        seconds = np.asarray(time, dtype=np.float64) - self.options.start
        waves = relative * np.sin(2.0 * math.pi * seconds[..., None] / period + phase)
        return np.asarray(self.band.tau * (1.0 + waves.sum(axis=-1)))

    def transmission(self, time: ArrayLike, elevation: ArrayLike) -> Floats:
        return np.asarray(np.exp(-self.tau(time) / np.sin(np.radians(elevation))))

    def tsys(self, time: Floats, elevation: Floats) -> Floats:
        """System temperature off source with the diode off; last axis added: detector."""
        spill = np.interp(elevation, self.band.spill_elevation, self.band.spill_k)
        sky = self.options.tatm_k * (1.0 - self.transmission(time, elevation))
        return np.asarray((spill + sky)[..., None] + self._per_pol(self.true.trec_k))

    def response(self, time: Floats, elevation: Floats) -> Floats:
        """Antenna temperature per Jy of apparent flux density; last axis added: detector."""
        gain = self.true.curve(elevation)
        if self.options.opacity_corrected:
            gain = gain * self.transmission(time, elevation)
        return np.asarray(gain[..., None] * self._per_pol(self.true.dpfu))

    def receiver_gain(self, time: ArrayLike) -> Floats:
        """Relative gain of the receivers, which drifts; last axis added: detector."""
        phase = 2.0 * math.pi * np.asarray(time)[..., None] / 21600.0 + self.drift_phase
        return np.asarray(1.0 + self.options.drift * np.sin(phase))

    @cached_property
    def assumed_dpfu(self) -> Floats:
        """(detector,) of the rxg file."""
        return self._per_pol(self.assumed.dpfu)

    @cached_property
    def assumed_gain(self) -> Floats:
        """(scan,) g(el) of the rxg file."""
        return self.assumed.curve(self.elevation)

    def spoiled(self, kind: str) -> list[Spoil]:
        return [spoil for spoil in self.spoils if spoil.kind == kind]

    def columns(self, names: tuple[str, ...]) -> list[int]:
        """Indices of detectors; all of them for no name."""
        return [k for k, det in enumerate(self.detectors) if not names or det.name in names]

    def _per_pol(self, values: dict[str, float]) -> Floats:
        return np.array([values[det.pol] for det in self.detectors])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: the true and assumed receiver, and for each scan what a perfect ONOFF would find."""
        response, tsys = self.response(self.time, self.elevation), self.tsys(self.time, self.elevation)
        product = self.assumed_gain[:, None] * self.assumed_dpfu
        tcal_jy = self.tcal_k / response
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(self.tcal_k > 0, product * tcal_jy / self.tcal_assumed_k, np.nan)
        options, site = self.options, self.options.site
        return {
            "seed": options.seed, "band": options.band, "mode": options.mode, "form": options.form,
            "site": {"name": site.name, "longitude_deg": site.longitude_deg, "latitude_deg": site.latitude_deg,
                     "diameter_m": site.diameter_m},
            "tatm_k": options.tatm_k, "lo_mhz": self.band.lo_mhz, "true": _receiver_dict(self.true, self.band),
            "assumed": _receiver_dict(self.assumed, self.band), "flux_factor": self.flux_factor,
            "detectors": [{"name": det.name, "pol": det.pol, "if_chain": det.if_chain, "diode": det.diode}
                          for det in self.detectors],
            "scans": {
                "time": _round(self.time, 3), "source": self.sources, "azimuth_deg": _round(self.azimuth, 4),
                "elevation_deg": _round(self.elevation, 4), "tau": _round(self.tau(self.time), 8),
                "pointing_beams": _round(self.pointing_beams, 5), "freq_mhz": _round(self.freq_mhz, 2),
                "flux_jy": _round(self.apparent_jy * self._factors()[:, None], 6),
                "structure_correction": _round(self.correction, 6), "tcal_k": _round(self.tcal_k, 6),
                "tsys_k": _round(tsys, 5), "sefd_jy": _round(tsys / response, 4), "tcal_jy": _round(tcal_jy, 5),
                "tcal_ratio": _round(ratio, 6),
            },
            "spoiled": [{"scan": spoil.scan, "reason": spoil.kind, "detectors": list(spoil.detectors)}
                        for spoil in self.spoils],
        }  # fmt: skip

    def _factors(self) -> Floats:
        return np.array([self.flux_factor[source] for source in self.sources])

    def flux_jy(self) -> Floats:
        """True apparent flux density."""
        return self.apparent_jy * self._factors()[:, None]


def _round(values: Floats, digits: int) -> list[Any]:
    """Nested lists, nan as None."""
    rounded = np.round(values, digits)
    known = np.isfinite(rounded)
    objects = rounded.astype(object)
    objects[~known] = None
    return list(objects.tolist())


def _receiver_dict(receiver: Receiver, band: Band) -> dict[str, Any]:
    return {
        "dpfu": receiver.dpfu,
        "curve": {"kind": receiver.curve.kind, "coefficients": list(receiver.curve.coefficients),
                  "opacity_corrected": receiver.curve.opacity_corrected},
        "tcal": {pol: {"freq_mhz": list(map(float, freq)), "tcal_k": list(map(float, kelvin))}
                 for pol, (freq, kelvin) in receiver.tcal.items()},
        "trec_k": receiver.trec_k, "spill_elevation": list(band.spill_elevation), "spill_k": list(band.spill_k),
    }  # fmt: skip


def make_truth(options: Options) -> Truth:
    """Draw everything that does not change from level to level. Raises SelectionError where nothing is up."""
    band, site = options.receiver, options.site
    rng = np.random.default_rng([options.seed, 0])
    time, sources = schedule(options)
    names = np.array(sources)
    azimuth, elevation = np.empty(len(time)), np.empty(len(time))
    for source in options.observed:
        mine = names == source
        azimuth[mine], elevation[mine] = azel(source, time[mine], site.longitude_deg, site.latitude_deg)
    if not options.moving:
        azimuth, elevation = np.round(azimuth, 1) % 360.0, np.round(elevation, 1)
    true = Receiver(band.dpfu, band.curve, _true_tcal(band, rng), band.trec_k)
    assumed = _assumed(true, options, rng)
    found = detectors(options)
    table = default_flux()
    tuning = np.arange(len(time)) % options.tunings
    freq = np.array([det.centre_mhz for det in found]).T[tuning]
    fwhm = FWHM / (freq * site.diameter_m)
    apparent, correction = np.empty(freq.shape), np.empty(freq.shape)
    for source in options.observed:
        mine = names == source
        apparent[mine] = table.apparent(source, freq[mine], fwhm[mine], time[mine][:, None], like_fs=True)
        correction[mine] = table.correction(source, freq[mine], fwhm[mine], like_fs=True)
    factors = np.exp(options.flux_error * rng.standard_normal(len(options.observed)))
    spoils = _spoils(options, len(time), found)
    pointing = options.pointing * np.hypot(*rng.standard_normal((2, len(time))))
    return Truth(
        options, band, found, table, true, assumed, time, sources, azimuth, elevation, tuning,
        _off_source(pointing, spoils, rng), dict(zip(options.observed, factors.tolist(), strict=True)),
        rng.uniform(0.0, 2.0 * math.pi, len(found)), _tau_waves(options, rng), spoils, freq, fwhm, apparent, correction,
        _at_detectors(true.tcal, found, freq, 0.0), _at_detectors(assumed.tcal, found, freq, NO_DIODE),
    )  # fmt: skip


def _tau_waves(options: Options, rng: np.random.Generator) -> Floats:
    """One slow wave, and sixteen fast ones of equal amplitude."""
    fast = options.tau_scatter * math.sqrt(2.0 / 16.0)
    relative = np.array([options.tau_change, *np.full(16, fast)])
    period = np.array([43200.0, *rng.uniform(1200.0, 5400.0, 16)])
    return np.array([relative, period, rng.uniform(0.0, 2.0 * math.pi, 17)])


def _true_tcal(band: Band, rng: np.random.Generator) -> Table:
    """A table over the receiver's frequencies: a slope, a slow wave and some structure, one for each polarisation."""
    low, high = (band.lo_mhz + f for f in band.if_mhz)
    freq = np.arange(low - TCAL_STEP_MHZ, high + 1.5 * TCAL_STEP_MHZ, TCAL_STEP_MHZ)
    x = (freq - freq[0]) / (freq[-1] - freq[0])
    table: Table = {}
    for pol in POLS:
        slope, wave, phase = rng.uniform(-0.2, 0.2), rng.uniform(0.05, 0.12), rng.uniform(0.0, 2.0 * math.pi)
        shape = 1.0 + slope * (x - 0.5) + wave * np.sin(7.0 * x + phase) + 0.02 * rng.standard_normal(len(x))
        table[pol] = (freq, np.round(band.tcal_k * shape, 4))
    return table


def _assumed(true: Receiver, options: Options, rng: np.random.Generator) -> Receiver:
    """The rxg file as found at the station: what is wrong with it is off by some ten percent."""
    tcal_error = {pol: rng.uniform(0.85, 1.2) for pol in POLS}
    ripple = {pol: 0.06 * rng.standard_normal(len(true.tcal[pol][0])) for pol in POLS}
    gain_error = {pol: rng.uniform(0.88, 1.12) for pol in POLS}
    result = true
    if "tcal" in options.wrong:
        tcal = {
            pol: (freq, np.round(kelvin * tcal_error[pol] * (1.0 + ripple[pol]), 3))
            for pol, (freq, kelvin) in true.tcal.items()
        }
        result = replace(result, tcal=tcal)
    if "gain" in options.wrong:
        flat = replace(true.curve, kind="elev", coefficients=(1.0,))
        result = replace(result, dpfu={pol: round(v * gain_error[pol], 4) for pol, v in true.dpfu.items()}, curve=flat)
    if "trec" in options.wrong:
        result = replace(result, trec_k={pol: round(1.3 * value, 1) for pol, value in true.trec_k.items()})
    if options.mode == "none":
        none = {pol: (freq, np.full(len(freq), NO_DIODE)) for pol, (freq, _) in true.tcal.items()}
        result = replace(result, tcal=none)
    return result


def _at_detectors(table: Table, found: tuple[Detector, ...], freq: Floats, absent: float) -> Floats:
    columns = [
        np.interp(freq[:, k], *table[det.pol]) if det.diode else np.full(len(freq), absent)
        for k, det in enumerate(found)
    ]
    return np.stack(columns, axis=1)


def _spoils(options: Options, scans: int, found: tuple[Detector, ...]) -> list[Spoil]:
    """Which scans something happens to, and to which detectors. One thing for each scan, besides what lasts."""
    rng = np.random.default_rng([options.seed, 1])
    converters = [det.name for det in found if not det.is_if]
    spoils = []
    if "nodiode" in options.spoil:
        spoils += [Spoil(scan, "nodiode", ("u5",)) for scan in range(scans)]
    if "compression" in options.spoil:
        spoils += [Spoil(scan, "compression", (converters[-1],)) for scan in range(scans)]
    kinds = [kind for kind in options.spoil if kind not in WHOLE_LOG]
    count = min(scans, max(len(kinds), round(options.spoil_fraction * scans))) if kinds else 0
    for number, scan in enumerate(sorted(rng.permutation(scans)[:count].tolist())):
        kind = kinds[number % len(kinds)]
        names: tuple[str, ...] = ()
        if kind in ("rfi", "overflow"):
            size = int(rng.integers(1, 3)) if kind == "rfi" else 1
            drawn = set(rng.choice(converters, min(size, len(converters)), replace=False).tolist())
            # Interference comes back to its frequency.
            haunted = {converters[options.seed % len(converters)]} if kind == "rfi" else set()
            names = tuple(sorted(drawn | haunted))
        spoils.append(Spoil(scan, kind, names))
    return spoils


def _off_source(pointing: Floats, spoils: list[Spoil], rng: np.random.Generator) -> Floats:
    """Distances from the source in beams, large where the pointing failed."""
    result = pointing.copy()
    for spoil in spoils:
        if spoil.kind == "pointing":
            result[spoil.scan] = rng.uniform(0.25, 0.6)
    return result
