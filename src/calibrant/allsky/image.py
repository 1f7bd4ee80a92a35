"""All-sky images of one snapshot: a direct transform of calibrated visibilities, north up and east on the left.

    I(s) = mean over baselines of Re[ V_ij g_i g_j exp(-i (phi_i - phi_j)) exp(-2 pi i (r_i - r_j).s / lambda) ]

so that a lone source of flux S has a peak of S. Rows go from north to south and columns from east to west, the view
of somebody who lies on the back with the head to the north; cells are equal in the direction cosines l (east) and
m (north), the orthographic (SIN) projection. Heights of antennas are taken into account; distances of sources are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky import solver
from calibrant.allsky.sky import distinct_directions
from calibrant.allsky.snapshots import Snapshot, Source
from calibrant.errors import DataError, ParameterError

Real = NDArray[np.float64]
LEAST_SIZE, LARGEST_SIZE = 32, 4096
CHUNK = 16384
"""Directions at a time: their steering vectors stay in the cache."""
FOUND_SIGMA = 5.0


@dataclass(frozen=True)
class SkyImage:
    """`values` (row from the north, column from the east), in correlation of the reference antenna; nan below 0 deg."""

    values: NDArray[np.float32]
    gains: str
    """Which gains were applied: none, stored or new."""
    antennas: int
    baselines: int
    beam: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    """Of the dirty beam in the zenith: major and minor FWHM in degrees, angle from north to east."""

    @property
    def size(self) -> int:
        return len(self.values)

    @property
    def peak(self) -> float:
        return float(np.nanmax(self.values))

    @cached_property
    def mad(self) -> float:
        """Scatter of the sky above the horizon: 1.4826 times the median absolute deviation, a robust sigma."""
        sky = self.values[np.isfinite(self.values)]
        return float(1.4826 * np.median(np.abs(sky - np.median(sky))))

    @property
    def contrast(self) -> float:
        """Peak over MAD: how far the brightest source stands out of the sidelobes."""
        return self.peak / self.mad if self.mad > 0 else math.inf

    def peak_az_el(self) -> tuple[float, float]:
        """Direction of the peak in degrees, by a parabola through the cells beside it."""
        row, column = np.unravel_index(int(np.nanargmax(self.values)), self.values.shape)
        cell = 2.0 / self.size
        l_east = 1.0 - (column + 0.5 + _vertex(self.values[row, :], int(column))) * cell
        m_north = 1.0 - (row + 0.5 + _vertex(self.values[:, column], int(row))) * cell
        distance = min(math.hypot(l_east, m_north), 1.0)
        return math.degrees(math.atan2(l_east, m_north)) % 360, math.degrees(math.acos(distance))


def _vertex(line: NDArray[np.float32], at: int) -> float:
    """Where the parabola through three cells has its top, in cells from the middle one."""
    if not 0 < at < len(line) - 1 or not np.isfinite(line[at - 1 : at + 2]).all():
        return 0.0
    before, here, after = (float(value) for value in line[at - 1 : at + 2])
    bend = before - 2 * here + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def direction_cosines(size: int) -> Real:
    """l of the columns, or m of the rows: middles of `size` cells over [-1, 1], from +1 to -1."""
    return np.asarray(1.0 - (np.arange(size) + 0.5) * 2.0 / size, dtype=np.float64)


def gamma_of(gain: Real, phase: Real) -> NDArray[np.complex128]:
    """What the antennas did to the signal; 0 where the correction is 0, negative or not a number (no antenna)."""
    use = np.isfinite(gain) & np.isfinite(phase) & (gain > 0)
    return np.where(use, np.exp(1j * np.where(use, phase, 0.0)) / np.where(use, gain, 1.0), 0.0)


def calibrated(snapshot: Snapshot, gain: Real, phase: Real) -> NDArray[np.complex128]:
    """V g_i g_j exp(-i (phi_i - phi_j)); nan on baselines of an antenna without a correction."""
    gamma = gamma_of(gain, phase)
    correction = np.divide(1.0, gamma, out=np.full(len(gamma), np.nan, dtype=np.complex128), where=gamma != 0)
    return np.asarray(snapshot.visibility * correction[snapshot.antenna1] * correction[snapshot.antenna2].conj())


def make_image(
    snapshot: Snapshot,
    positions: Real,
    wavelength_m: float,
    gain: Real | None = None,
    phase: Real | None = None,
    size: int = 512,
    gains: str = "",
) -> SkyImage:
    """The image of a snapshot with these corrections (none: as measured); DataError where no baseline is left."""
    if not LEAST_SIZE <= size <= LARGEST_SIZE:
        raise ParameterError(f"size={size}: expected {LEAST_SIZE} to {LARGEST_SIZE} cells across the sky")
    n = len(positions)
    given = gain is not None and phase is not None
    gain, phase = (np.ones(n), np.zeros(n)) if gain is None or phase is None else (gain, phase)
    if len(gain) != n or len(phase) != n:
        raise DataError(f"{snapshot.label}: {len(gain)} gains and {len(phase)} phases, but {n} antennas")
    values = calibrated(snapshot, gain, phase)
    use = np.isfinite(values)
    if not use.any():
        raise DataError(f"{snapshot.label}: no baseline has a gain at both ends; there is nothing to image")
    i, j = snapshot.antenna1[use], snapshot.antenna2[use]
    return SkyImage(
        _transform(i, j, values[use], positions / wavelength_m, size),
        gains or ("applied" if given else "none"),
        len(np.union1d(i, j)),
        int(use.sum()),
        beam_shape((positions[i] - positions[j]) / wavelength_m),
    )


def _transform(
    i: NDArray[np.int64], j: NDArray[np.int64], values: NDArray[np.complex128], turns: Real, size: int
) -> NDArray[np.float32]:
    """The mean of Re[V exp(-2 pi i (r_i - r_j).s)]; `turns` (antenna, 3) are positions in wavelengths."""
    used = np.union1d(i, j)
    v = np.zeros((len(turns), len(turns)), dtype=np.complex128)
    v[i, j], v[j, i] = values, values.conj()
    v = (v[np.ix_(used, used)] / (2 * len(i))).astype(np.complex64)
    # A common height drops out of all baselines, and small numbers keep single precision exact.
    places = turns[used] - turns[used].mean(axis=0)
    l_east, m_north = np.meshgrid(direction_cosines(size), direction_cosines(size))
    above = l_east**2 + m_north**2 < 1.0
    s = np.stack([l_east[above], m_north[above], np.sqrt(1.0 - l_east[above] ** 2 - m_north[above] ** 2)])
    result = np.empty(s.shape[1], dtype=np.float32)
    for start in range(0, s.shape[1], CHUNK):
        cycles = places @ s[:, start : start + CHUNK]
        angle = (-2 * np.pi * (cycles - np.round(cycles))).astype(np.float32)
        steering = np.empty(angle.shape, dtype=np.complex64)
        steering.real, steering.imag = np.cos(angle), np.sin(angle)
        result[start : start + CHUNK] = ((v.T @ steering) * steering.conj()).sum(axis=0).real
    image = np.full((size, size), np.nan, dtype=np.float32)
    image[above] = result
    return image


def beam_shape(baselines: Real) -> tuple[float, float, float]:
    """(major, minor, angle) of the dirty beam in the zenith, of baselines (n, 3) in wavelengths east, north, up.

    FWHM in degrees, angle from north to east: from the curvature of its peak, as of a Gaussian.
    """
    across = baselines[:, :2]
    widths, axes = np.linalg.eigh(across.T @ across / len(across))
    sigma = 1.0 / (2 * np.pi * np.sqrt(np.maximum(widths, 1e-12)))
    fwhm = np.degrees(np.minimum(sigma * math.sqrt(8 * math.log(2)), math.pi))
    east, north = axes[:, 0]
    return float(fwhm[0]), float(fwhm[1]), math.degrees(math.atan2(east, north)) % 180


@dataclass(frozen=True)
class SeenSource:
    """A source and the flux it has with given gains: `found` where it is well above its error."""

    source: Source
    flux: float
    flux_err: float

    @property
    def found(self) -> bool:
        return bool(self.flux > FOUND_SIGMA * self.flux_err)


def sources_seen(
    snapshot: Snapshot, positions: Real, wavelength_m: float, gain: Real, phase: Real, elevation_deg: float = 10.0
) -> list[SeenSource]:
    """Fluxes (not negative) of the snapshot's sources, the gains as they are; the strongest first.

    Errors are of one sigma, from the scatter that is left.
    """
    sources = distinct_directions([source for source in snapshot.sources if source.el_deg >= elevation_deg])
    gamma = gamma_of(gain, phase)
    field = solver.make_field(snapshot, sources, positions, wavelength_m, gamma != 0)
    if not sources or not field.w.any():
        return []
    flux = solver.solve_fluxes(field, gamma[None], np.zeros((1, len(sources))), sweeps=300)[0]
    normal, right = (one[0] for one in solver.flux_equations(field, gamma[None]))
    baselines = field.w.sum() / 2
    left = (np.abs(field.v) ** 2).sum() / 2 - 2 * flux @ right + flux @ normal @ flux
    on = flux > 0
    variance = np.diag(np.linalg.pinv(normal[np.ix_(on, on)], hermitian=True)) if on.any() else np.empty(0)
    errors = np.full(len(sources), np.nan)
    errors[on] = np.sqrt(max(float(left), 0.0) / max(2 * baselines - on.sum(), 1) * variance)
    errors[~on] = np.nanmedian(errors) if on.any() else np.nan
    seen = [SeenSource(*one) for one in zip(sources, flux.tolist(), errors.tolist(), strict=True)]
    return sorted(seen, key=lambda one: -one.flux)
