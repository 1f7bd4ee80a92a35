"""A frame as a small picture: grey, stretched between two percentiles."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH = 132
"""Pixels at most, in both directions."""
LOW, HIGH = 1.0, 99.7
"""Percentiles that become black and white."""


def thumbnail(image: NDArray[Any]) -> bytes:
    """PNG of a two-dimensional image, the first row at the bottom. A larger one is averaged, a spectrum is a stripe."""
    from PIL import Image

    plane = np.atleast_2d(np.asarray(image, float))
    while plane.ndim > 2:
        plane = plane[0]
    plane = _averaged(plane)
    finite = plane[np.isfinite(plane)]
    low, high = np.percentile(finite, (LOW, HIGH)) if finite.size else (0.0, 1.0)
    grey = np.clip((np.nan_to_num(plane, nan=low) - low) / max(high - low, 1e-12), 0, 1)
    picture = Image.fromarray(np.rint(255 * grey[::-1]).astype(np.uint8))
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=9)
    return out.getvalue()


def _averaged(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of blocks, so that thin lines stay; what does not fill a block is cut off."""
    factor = -(-max(plane.shape) // WIDTH)
    rows, columns = (max(1, min(factor, size)) for size in plane.shape)
    height, width = plane.shape[0] // rows, plane.shape[1] // columns
    blocks = plane[: height * rows, : width * columns].reshape(height, rows, width, columns)
    return np.asarray(blocks.mean(axis=(1, 3)))
