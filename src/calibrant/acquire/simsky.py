"""What a simulated spectrograph camera sees: a pure function of light, time and a seed.

An image has one trace (row) for each fibre: a few *science* fibres that every lamp lights, and one fibre for each
place of the mask that gets light only while the mask stands there. Along a row lies the lamp's spectrum: emission
lines at their true wavelengths for arcs, a black body for continuum lamps. On top: bias level, dark current, cosmic
rays, Poisson and read noise, gain, full well. Units: e- until `render` divides by the gain; ADU in the image.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SCIENCE_FIBRES = 4

BANDS = {"b": (3600.0, 5800.0), "r": (5750.0, 7570.0), "z": (7520.0, 9800.0)}
"""First letter of a camera's name -> wavelengths in Angstrom (LVM's arms); any other camera sees all of it."""

LINES: dict[str, dict[float, float]] = {
    "argon": {
        4158.6: 0.30, 4200.7: 0.28, 4259.4: 0.15, 4510.7: 0.10, 5162.3: 0.05, 5558.7: 0.08, 6032.1: 0.08, 6416.3: 0.12,
        6965.4: 0.60, 7067.2: 0.45, 7272.9: 0.25, 7383.9: 0.50, 7503.9: 0.60, 7635.1: 1.00, 7948.2: 0.60, 8115.3: 1.00,
        8264.5: 0.70, 8424.6: 0.80, 9122.9: 0.90, 9657.8: 0.50,
    },
    "neon": {
        4837.3: 0.06, 5037.8: 0.06, 5330.8: 0.10, 5400.6: 0.20, 5852.5: 0.80, 6143.1: 0.80, 6402.2: 1.00, 6678.3: 0.70,
        6929.5: 0.70, 7032.4: 1.00, 7245.2: 0.50, 7535.8: 0.20, 8377.6: 0.35, 8495.4: 0.25, 8780.6: 0.25, 9148.7: 0.10,
    },
    "hgne": {
        4046.6: 0.80, 4358.3: 1.00, 5460.7: 1.00, 5769.6: 0.40, 5852.5: 0.50, 6402.2: 0.70, 7032.4: 0.60, 7245.2: 0.30,
        8377.6: 0.25, 8495.4: 0.20, 8780.6: 0.20,
    },
    "xenon": {
        4624.3: 0.40, 4671.2: 0.60, 4734.2: 0.40, 4807.0: 0.25, 4916.5: 0.25, 6318.1: 0.20, 7119.6: 0.30, 7584.7: 0.20,
        8231.6: 1.00, 8280.1: 0.80, 8819.4: 1.00, 9045.4: 0.60, 9162.7: 0.60, 9799.7: 0.80,
    },
}  # fmt: skip
"""Lamp -> air wavelength in Angstrom -> strength, 1 the brightest. Other arc lamps get lines made from the name."""

TEMPERATURES = {"quartz": 3000.0, "ldls": 9000.0}
"""Continuum lamp -> temperature of the black body in K; others 3200."""

PEAK_RATE = {"arc": 400.0, "flat": 300.0}
"""e-/s in the brightest pixel of a warm lamp at full intensity: 200 and 150 ADU/s."""


@dataclass(frozen=True)
class Camera:
    """A simulated detector. Defaults are of a good CCD; the bias level differs from camera to camera."""

    name: str
    shape: tuple[int, int]
    gain: float = 2.0
    """e- per ADU."""
    read_noise: float = 4.0
    """e- rms."""
    dark_rate: float = 0.002
    """e-/s/pixel."""
    cosmics: float = 2e-6
    """Hits per pixel and second."""
    saturation: int = 65535
    """ADU."""

    @property
    def bias_level(self) -> float:
        """ADU; a different one for each camera, always the same for one name."""
        return 950.0 + zlib.crc32(self.name.encode()) % 100

    @property
    def band(self) -> tuple[float, float]:
        """The wavelengths it sees, in Angstrom."""
        return BANDS.get(self.name[:1].lower(), (BANDS["b"][0], BANDS["z"][1]))


@dataclass(frozen=True)
class Illumination:
    """How long one lamp shone into the open shutter: seconds of a warm lamp at full intensity."""

    lamp: str
    flavour: str
    total_s: float
    """On the science fibres."""
    places: Mapping[str, float]
    """On the fibre at each place of the mask, only while the mask stood there."""


def trace_rows(shape: tuple[int, int], places: Sequence[str]) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Row of each science fibre, and of the fibre at each place of the mask."""
    rows = np.linspace(2.0, shape[0] - 3.0, SCIENCE_FIBRES + len(places))
    return rows[:SCIENCE_FIBRES], dict(zip(places, rows[SCIENCE_FIBRES:].tolist(), strict=True))


def warm_seconds(age_from_s: float, age_to_s: float, warmup_s: float) -> float:
    """Integral of the warm-up curve 1 - 0.9 exp(-4 age/warmup) between two ages: seconds of a warm lamp."""
    if warmup_s <= 0:
        return age_to_s - age_from_s
    tau = warmup_s / 4.0
    return float((age_to_s - age_from_s) - 0.9 * tau * (np.exp(-age_from_s / tau) - np.exp(-age_to_s / tau)))


def burning_seconds(
    history: Sequence[tuple[float, float]], begin: float, end: float, warmup_s: float, speed: float = 1.0
) -> float:
    """Seconds of a warm lamp at full intensity in [begin, end] from its switchings [(UTC, level), ...] in order.

    Stamps are real seconds; the result and `warmup_s` are nominal (real times speed). A lamp off is cold at once.
    """
    total, lit_since = 0.0, None
    for index, (time, level) in enumerate(history):
        until = history[index + 1][0] if index + 1 < len(history) else np.inf
        lit_since = (time if lit_since is None else lit_since) if level > 0 else None
        first, last = max(time, begin), min(until, end)
        if lit_since is not None and last > first:
            total += level * warm_seconds((first - lit_since) * speed, (last - lit_since) * speed, warmup_s)
    return total


@lru_cache(maxsize=256)
def spectrum(lamp: str, flavour: str, band: tuple[float, float], columns: int) -> NDArray[np.float64]:
    """e-/s in each column on the middle row of a trace, of a warm lamp at full intensity."""
    wavelengths = np.linspace(band[0], band[1], columns)
    name = lamp.lower()
    if flavour == "arc":
        lines = LINES.get(name) or _lines_by_name(name)
        sigma = 1.2 * (wavelengths[1] - wavelengths[0])
        profile = sum(strength * np.exp(-0.5 * ((wavelengths - line) / sigma) ** 2) for line, strength in lines.items())
        return PEAK_RATE["arc"] * np.asarray(profile, float)
    photons = 1.0 / (wavelengths**4 * np.expm1(1.438777e8 / (wavelengths * TEMPERATURES.get(name, 3200.0))))
    return PEAK_RATE["flat"] * (0.1 + 0.9 * photons / photons.max())


def _lines_by_name(name: str) -> dict[float, float]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return dict(zip(rng.uniform(3700.0, 9700.0, 30).tolist(), rng.uniform(0.1, 1.0, 30).tolist(), strict=True))


def light_image(camera: Camera, lamps: Sequence[Illumination], places: Sequence[str]) -> NDArray[np.float64]:
    """Expected e- in each pixel from the lamps."""
    image = np.zeros(camera.shape)
    science, standards = trace_rows(camera.shape, places)
    rows = np.arange(camera.shape[0])[:, None]
    for lamp in lamps:
        seconds = [(row, lamp.total_s) for row in science.tolist()]
        seconds += [(standards[place], time) for place, time in lamp.places.items() if place in standards]
        profile = sum(time * np.exp(-0.5 * ((rows - row) / 0.5) ** 2) for row, time in seconds if time > 0)
        image += profile * spectrum(lamp.lamp, lamp.flavour, camera.band, camera.shape[1])[None, :]
    return image


def render(
    camera: Camera, electrons: NDArray[np.float64], dark_s: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """The image in ADU from the expected e- of light, after `dark_s` seconds of dark current and cosmic rays."""
    signal = rng.poisson(electrons + camera.dark_rate * dark_s).astype(float)
    _add_cosmics(signal, camera.cosmics * dark_s * signal.size, rng)
    signal += rng.normal(0.0, camera.read_noise, camera.shape)
    return np.clip(np.rint(camera.bias_level + signal / camera.gain), 0, camera.saturation).astype(np.uint16)


def _add_cosmics(signal: NDArray[np.float64], expected: float, rng: np.random.Generator) -> None:
    for _ in range(rng.poisson(expected)):
        row, column = rng.integers(signal.shape[0]), rng.integers(signal.shape[1])
        signal[row, column : column + rng.integers(1, 4)] += rng.uniform(500.0, 5000.0)
