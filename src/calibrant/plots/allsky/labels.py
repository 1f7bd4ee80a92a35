"""Names beside points so that they do not lie on each other: a few places a name, the freest one is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""x low, y low, x high, y high."""
ANGLES = (0, 180, 35, -35, 145, -145, 90, -90, 65, -65, 115, -115)
REACHES = (1.0, 1.7, 2.6)


def short_name(name: str) -> str:
    """A satellite's name without what stands in brackets: 'QZS-1 (QZSS/PRN 183)' is QZS-1."""
    return " ".join(name.partition("(")[0].split()) or name.strip()


def place_labels(
    points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], radius: float,
    inside: float, obstacles: Sequence[tuple[float, float]] = (),
) -> list[tuple[float, float] | None]:  # fmt: skip
    """Middles of labels (x, y) beside circles at `points`; None where there is no free place.

    `sizes`: width and height of each; `radius` of the circles; labels stay within `inside` of the origin, and off
    the circles at `points` and `obstacles`.
    """
    taken: list[Box] = [(x - radius, y - radius, x + radius, y + radius) for x, y in (*points, *obstacles)]
    result: list[tuple[float, float] | None] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        best, least = None, math.inf
        for rank, (reach, angle) in enumerate((r, a) for r in REACHES for a in ANGLES):
            c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            middle = (x + reach * radius * 1.3 * c + width / 2 * c, y + reach * radius * 1.3 * s + height / 2 * s)
            box = _box(*middle, width, height)
            cost = sum(_shared(box, other) for other in taken) / (width * height) + 0.008 * rank
            cost += max(0.0, max(math.hypot(bx, by) for bx in box[::2] for by in box[1::2]) - inside) * 10
            if cost < least:
                best, least = middle, cost
        result.append(best if least < 0.35 else None)
        if result[-1] is not None and best is not None:
            taken.append(_box(*best, width, height))
    return result


def _box(x: float, y: float, width: float, height: float) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _shared(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    up = min(one[3], other[3]) - max(one[1], other[1])
    return across * up if across > 0 and up > 0 else 0.0
