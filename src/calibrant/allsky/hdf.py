"""Visibilities that a telescope archives: HDF5 with a minute of one-second integrations and no catalogue."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky.snapshots import (
    L1_HZ,
    CalibrationData,
    make_snapshot,
    parse_time,
    read_catalogue,
)
from calibrant.errors import FormatError

NEEDED = ("config", "baselines", "vis", "antenna_positions", "timestamp")


def read_vis_hdf(path: str, catalogue: str = "") -> CalibrationData:
    """One snapshot, the mean over the file, with the sources of a catalogue file (or none).

    `noise` is that of the mean, from the scatter between integrations. FormatError where datasets lack or do not
    fit together.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            missing = [name for name in NEEDED if name not in file]
            if missing:
                raise FormatError(f"{path}: has no {', '.join(missing)}; expected a telescope's vis file")
            content = {name: file[name][()] for name in file}
    except OSError as error:
        raise FormatError(f"{path}: cannot be read as HDF5 ({error})") from None
    config = _config(content["config"], path)
    vis, pairs = np.asarray(content["vis"]), np.asarray(content["baselines"], dtype=np.int64)
    if vis.ndim != 2 or pairs.shape != (vis.shape[1], 2) or not len(vis):
        raise FormatError(f"{path}: vis has shape {vis.shape} and baselines {pairs.shape}; expected (T, B) and (B, 2)")
    positions = np.asarray(content["antenna_positions"], dtype=np.float64)
    label = f"{path}: mean of {len(vis)} integrations"
    times = [parse_time(_text(stamp), label, assume_utc=True) for stamp in np.ravel(content["timestamp"])]
    middle = float(np.mean(times))
    sources, note = read_catalogue(catalogue, middle) if catalogue else ((), "")
    snapshot = make_snapshot(middle, pairs, vis.mean(axis=0).astype(np.complex128), sources, label, len(positions))
    location = config.get("location") or config
    return CalibrationData(
        name=str(config.get("name", "")),
        positions=positions,
        snapshots=(snapshot,),
        frequency_hz=float(config.get("operating_frequency") or config.get("frequency") or L1_HZ),
        longitude_deg=float(location.get("lon", "nan")),
        latitude_deg=float(location.get("lat", "nan")),
        height_m=float(location.get("alt", "nan")),
        gain=_column(content.get("gains"), len(positions)),
        phase=_column(content.get("phases"), len(positions)),
        noise=mean_noise(vis),
        path=path,
        notes=(note,) if note else (),
    )


def mean_noise(vis: NDArray[Any]) -> float:
    """Noise per component of the mean over axis 0, from differences of neighbours: slow changes cancel."""
    if len(vis) < 2:
        return float("nan")
    apart = np.diff(vis, axis=0)
    one = np.sqrt(np.median(np.abs(apart) ** 2) / np.log(2) / 4)
    return float(one / np.sqrt(len(vis)))


def _config(value: Any, path: str) -> dict[str, Any]:
    try:
        config = json.loads(_text(np.ravel(value)[0]))
    except (json.JSONDecodeError, IndexError) as error:
        raise FormatError(f"{path}: config is no JSON ({error})") from None
    return dict(config)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _column(value: Any, antennas: int) -> NDArray[np.float64] | None:
    numbers = np.asarray(value if value is not None else [], dtype=np.float64).ravel()
    return numbers if len(numbers) == antennas else None
