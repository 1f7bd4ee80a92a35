"""The truth of a simulated observation, as it lies beside the MeasurementSet in `<vis>.truth.npz`.

    truth = load_truth("obs.ms.truth.npz")
    truth.gain(spw=0)            # (time, antenna, channel, polarization), everything an antenna does
    truth.flux[0][field]         # Jy at every channel of spw 0

The equation of every cross-correlation (autocorrelations are the normalised power of the receiver, |B|^2):

    V_ij,pp(t, nu) = g_ip(t, nu) conj(g_jp(t, nu)) M_ij(nu) + rfi + noise,   i = ANTENNA1, j = ANTENNA2
    g_ip(t, nu)    = amplitude_ip(t) exp(i phase_ip(t)) bandpass_ip(nu) exp(2 pi i delay_ip (nu - nu_0)), nu_0 = freq[0]
    M_ij(nu)       = S(nu) sum_k fraction_k exp(+2 pi i nu/c (u l_k + v m_k + w (n_k - 1)))

and exactly 0 in the rows of `zeroed`. Noise: standard deviation `sigma` of the real and of the imaginary part.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import FormatError

PER_WINDOW = ("freq", "width", "bandpass", "flux")
"""Attributes that are lists with one array a spectral window."""


@dataclass
class Truth:
    """Axes: spw, ant(enna), pol (X, Y), chan, time, field.

    freq, width: per spw (chan,) Hz; time (time,) UTC s, the middle of each integration; interval s; scan and
    time_field (time,); direction (field, 2) rad; roles of the fields; position (ant, 3) ITRF m;
    delay (spw, ant, pol) s; bandpass: per spw (ant, pol, chan) complex; phase (spw, ant, pol, time) rad;
    amplitude (spw, ant, pol, time); sigma (spw,); flux: per spw (field, chan) Jy;
    points (n, 4): field, l, m (direction cosines), fraction of the flux;
    rfi (n, 6): spw, channel, first and last time number, antenna (-1: all baselines), visibility added;
    zeroed (n, 2): time number, antenna; quacked (time,): True where the antennas were not yet on source;
    bad_antennas: dicts with antenna, name, kind ('dead', 'jumpy', 'deaf'), pols, first and last time number;
    parameters: those of `simulate`.
    """

    antenna: list[str]
    field: list[str]
    roles: list[str]
    position: NDArray[np.float64]
    direction: NDArray[np.float64]
    freq: list[NDArray[np.float64]]
    width: list[NDArray[np.float64]]
    time: NDArray[np.float64]
    interval: float
    scan: NDArray[np.int32]
    time_field: NDArray[np.int32]
    delay: NDArray[np.float64]
    bandpass: list[NDArray[np.complex128]]
    phase: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    sigma: NDArray[np.float64]
    flux: list[NDArray[np.float64]]
    points: NDArray[np.float64]
    rfi: NDArray[np.float64]
    zeroed: NDArray[np.int32]
    quacked: NDArray[np.bool_]
    bad_antennas: list[dict[str, Any]]
    parameters: dict[str, Any]

    def spectral_gain(self, spw: int) -> NDArray[np.complex128]:
        """Bandpass and delay (ant, pol, chan)."""
        offset = self.freq[spw] - self.freq[spw][0]
        return self.bandpass[spw] * np.exp(2j * np.pi * self.delay[spw][..., None] * offset)

    def temporal_gain(self, spw: int, times: slice = slice(None)) -> NDArray[np.complex128]:
        """Amplitude and phase (time, ant, pol)."""
        values = self.amplitude[spw][..., times] * np.exp(1j * self.phase[spw][..., times])
        return np.moveaxis(values, -1, 0)

    def gain(self, spw: int, times: slice = slice(None)) -> NDArray[np.complex128]:
        """The whole gain (time, ant, chan, pol)."""
        spectral = self.spectral_gain(spw).transpose(0, 2, 1)
        return self.temporal_gain(spw, times)[:, :, None, :] * spectral

    def model(self, spw: int, field: int, uvw: NDArray[np.float64]) -> NDArray[np.complex64]:
        """Visibilities (..., chan) of a field without gains and noise, Jy; uvw (..., 3) m."""
        from calibrant.simulation.sky import fringe

        mine = self.points[self.points[:, 0] == field]
        if len(mine) == 1 and not mine[0, 1:3].any():
            return np.broadcast_to(self.flux[spw][field], (*uvw.shape[:-1], len(self.freq[spw]))).astype(np.complex64)
        waves = sum(np.float32(part) * fringe(uvw, self.freq[spw], east, north) for _, east, north, part in mine)
        return np.asarray(waves * self.flux[spw][field].astype(np.float32))

    def save(self, path: str) -> None:
        """Write to `path` (.npz), first under a temporary name."""
        arrays: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in PER_WINDOW:
                arrays |= {f"{item.name}_{spw}": array for spw, array in enumerate(value)}
            elif isinstance(value, np.ndarray):
                arrays[item.name] = value
        rest = {
            i.name: getattr(self, i.name) for i in fields(self) if i.name not in arrays and i.name not in PER_WINDOW
        }
        place = f"{path}.tmp-{os.getpid()}"
        with open(place, "wb") as stream:
            np.savez_compressed(stream, text=json.dumps(rest | {"windows": len(self.freq)}), **arrays)
        os.rename(place, path)


def load_truth(path: str) -> Truth:
    """The truth beside a simulated MeasurementSet; `path` is that of the .npz file or of the MeasurementSet."""
    name = path if path.endswith(".npz") else f"{os.path.normpath(path)}.truth.npz"
    if not os.path.exists(name):
        raise FormatError(f"{name} does not exist; only simulated MeasurementSets have a truth beside them")
    try:
        with np.load(name) as stored:
            arrays: dict[str, Any] = {key: stored[key] for key in stored.files}
        values = json.loads(str(arrays.pop("text")))
        windows = range(values.pop("windows"))
        for key in PER_WINDOW:
            values[key] = [arrays.pop(f"{key}_{spw}") for spw in windows]
        return Truth(**values, **arrays)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise FormatError(f"{name} is no truth written by calibrant simulate ({error})") from None
