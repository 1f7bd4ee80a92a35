"""Does a frame count? Looked at before it is stored as done: is the lamp really on, is it saturated, is it whole.

Every finding is a sentence. Thresholds, in ADU of the image:

| check | a frame fails when |
|---|---|
| shape | it is not the detector's (else: not that of the camera's frames before) |
| numbers | a value is not finite, or all values are equal |
| stuck | every value equals that of the camera's frame before |
| short | it lasted less than 98 % of the requested time minus 0.1 s, or 10 % plus 5 s more |
| saturated | more than 1 % of the pixels reach the saturation level |
| lamp on | the brightest 0.1 % of a flat or arc do not exceed a bias by 20 ADU and 6 sigma of its noise |
| dark | the mean of a dark or bias exceeds a bias by 10 ADU and 0.02 ADU/s |

The level of a bias is the median of the camera's last good bias of the run; before there is one, the inventory's rough
level with 100 ADU of tolerance; without either, light is not judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.acquire.devices import CaptureSpec, Frame

SHORT, SHORT_S = 0.98, 0.1
LONG, LONG_S = 1.10, 5.0
SATURATED = 0.01
LIGHT_ADU, LIGHT_SIGMA = 20.0, 6.0
DARK_ADU, DARK_RATE = 10.0, 0.02
ROUGH_ADU = 100.0
RESHAPING = frozenset({"binning", "window", "mode"})
"""Options of a readout with which the first frame need not have the detector's own shape."""
_SAMPLE = 2**20
"""Pixels that are looked at for levels; a larger image is thinned out."""


@dataclass(frozen=True)
class Expectations:
    """What is known before a frame of one camera comes. None or empty: not known, not judged."""

    shape: tuple[int, ...] | None = None
    saturation: float | None = None
    """ADU; otherwise the header's SATURATE, or the largest value of the data type."""
    bias_level: float | None = None
    """ADU of a frame without light."""
    bias_noise: float = 0.0
    """ADU, one sigma of a pixel of a bias."""
    tolerance: float = 0.0
    """ADU by which the level may differ from the truth."""
    light: bool = True
    """Whether the lamps can be seen at all: not by a simulated camera that knows nothing of the lamp beside it."""
    previous: str = ""
    """`digest` of the camera's frame before."""


def check_frame(frame: Frame, spec: CaptureSpec, expectations: Expectations = Expectations()) -> list[str]:
    """What is wrong with a frame, in sentences; empty: it counts."""
    problems = _time(frame, spec)
    data = _pixels(frame)
    if data is None:
        return problems
    if expectations.shape is not None and data.shape != tuple(expectations.shape):
        problems.append(f"{frame.camera}: {data.shape} pixels came, {tuple(expectations.shape)} were expected.")
    wrong = _numbers(frame.camera, data)
    if wrong:
        return [*problems, wrong]
    if expectations.previous and digest(data) == expectations.previous:
        problems.append(f"{frame.camera}: every pixel equals that of the frame before: the readout is stuck.")
    problems += _saturation(frame, data, expectations)
    return problems + _light(frame, spec, _sample(data), expectations)


class FrameChecker:
    """`check_frame` for the frames of one run: learns shape, level of a bias and the frame before, camera by camera."""

    def __init__(
        self,
        *,
        shape: tuple[int, ...] | None = None,
        saturation: float | None = None,
        bias_level: float | None = None,
        light: bool = True,
    ) -> None:
        self._start = Expectations(shape, saturation, bias_level, tolerance=ROUGH_ADU, light=light)
        self._cameras: dict[str, Expectations] = {}

    @property
    def known(self) -> Mapping[str, Expectations]:
        """Camera -> what was learnt."""
        return self._cameras

    def check(self, frame: Frame, spec: CaptureSpec) -> list[str]:
        """What is wrong with a frame; a frame without fault is learnt from."""
        known = self._cameras.get(frame.camera, self._start)
        if frame.camera not in self._cameras and not RESHAPING.isdisjoint(spec.options):
            known = replace(known, shape=None)
        problems = check_frame(frame, spec, known)
        data = _pixels(frame)
        if not problems and data is not None:
            known = replace(known, shape=data.shape, previous=digest(data))
            if spec.kind == "bias":
                sample = _sample(data)
                level = float(np.median(sample))
                noise = 1.4826 * float(np.median(np.abs(sample - level)))
                known = replace(known, bias_level=level, bias_noise=noise, tolerance=0.0)
            self._cameras[frame.camera] = known
        return problems


def digest(data: NDArray[Any]) -> str:
    """Of all pixels: equal for equal images."""
    return hashlib.blake2b(np.ascontiguousarray(data).tobytes(), digest_size=16).hexdigest()


def levels(frame: Frame) -> dict[str, float]:
    """Mean, median, 99.9th percentile and maximum of a frame, for the journal and the report; empty without pixels."""
    data = _pixels(frame)
    if data is None or data.size == 0:
        return {}
    sample = _sample(data)
    return {
        "mean": float(np.mean(sample)),
        "median": float(np.median(sample)),
        "p999": float(np.percentile(sample, 99.9)),
        "max": float(np.max(data)),
    }


def _time(frame: Frame, spec: CaptureSpec) -> list[str]:
    measured, asked = frame.exposure_s, spec.exposure_s
    if measured < SHORT * asked - SHORT_S:
        return [f"{frame.camera}: exposed for {measured:g} s, {asked:g} s were asked for: too short."]
    if spec.kind != "bias" and measured > LONG * asked + LONG_S:
        return [f"{frame.camera}: exposed for {measured:g} s, {asked:g} s were asked for: too long."]
    return []


def _numbers(camera: str, data: NDArray[Any]) -> str:
    if data.size == 0:
        return f"{camera}: no pixels came."
    bad = 0 if data.dtype.kind in "bui" else int(np.count_nonzero(~np.isfinite(data)))
    if bad:
        return f"{camera}: {bad} of {data.size} pixels are not finite numbers."
    if data.min() == data.max():
        return f"{camera}: all pixels are {data.flat[0]}."
    return ""


def _saturation(frame: Frame, data: NDArray[Any], expectations: Expectations) -> list[str]:
    level = expectations.saturation
    if level is None and "SATURATE" in frame.header:
        level = float(frame.header["SATURATE"][0])
    if level is None and data.dtype.kind in "ui":
        level = float(np.iinfo(data.dtype).max)
    if level is None:
        return []
    share = np.count_nonzero(data >= level) / data.size
    return [f"{frame.camera}: {share:.1%} of the pixels are saturated."] if share > SATURATED else []


def _light(frame: Frame, spec: CaptureSpec, sample: NDArray[Any], expected: Expectations) -> list[str]:
    """Is it lit where a lamp should shine, and dark where none should?"""
    if expected.bias_level is None:
        return []
    if spec.kind in ("flat", "arc") and spec.exposure_s > 0 and expected.light:
        excess = float(np.percentile(sample, 99.9)) - expected.bias_level
        if excess < max(LIGHT_ADU, LIGHT_SIGMA * expected.bias_noise) + expected.tolerance:
            lamp = spec.object or "the lamp"
            return [f"{frame.camera}: {excess:.0f} ADU above the bias level: no light of {lamp} arrives. Is it on?"]
    if spec.kind in ("bias", "dark"):
        excess = float(np.mean(sample)) - expected.bias_level
        if excess > max(DARK_ADU, DARK_RATE * spec.exposure_s) + expected.tolerance:
            return [f"{frame.camera}: {excess:.0f} ADU above the bias level: light falls on a {spec.kind}."]
    return []


def _sample(data: NDArray[Any]) -> NDArray[Any]:
    flat = data.reshape(-1)
    # An odd step does not fall on the same columns of every row.
    return flat[:: (flat.size // _SAMPLE) | 1] if flat.size > _SAMPLE else flat


def _pixels(frame: Frame) -> NDArray[Any] | None:
    """The image: delivered, or read from the instrument's own FITS file; None where there is no image."""
    if frame.data is not None:
        return frame.data
    from pathlib import Path

    from calibrant.acquire.storage import FITS_SUFFIXES

    if not frame.path.lower().endswith(FITS_SUFFIXES) or not Path(frame.path).is_file():
        return None
    from astropy.io import fits

    with fits.open(frame.path) as parts:
        return next((np.asarray(part.data) for part in parts if part.data is not None and part.is_image), None)
