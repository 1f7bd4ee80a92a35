"""The gain curve of an antenna: a polynomial in elevation or zenith distance.

    g(x) = c0 + c1 x + ... + cn x^n,   x = elevation (ELEV) or 90 - elevation (ALTAZ), degrees

Source: the Field System's rxg format (line 6); one curve serves both polarisations, and the gain in K/Jy is
DPFU * g.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

CurveKind = Literal["elev", "altaz"]


@dataclass(frozen=True)
class GainCurve:
    """Coefficients, low order first, of g(x); whether the atmosphere has been taken out of it."""

    kind: CurveKind
    coefficients: tuple[float, ...]
    opacity_corrected: bool = False

    def __call__(self, elevation_deg: ArrayLike) -> NDArray[np.float64]:
        """g at elevations in degrees."""
        x = self.argument(elevation_deg)
        return np.asarray(np.polynomial.polynomial.polyval(x, np.asarray(self.coefficients)), dtype=np.float64)

    def argument(self, elevation_deg: ArrayLike) -> NDArray[np.float64]:
        """x of the polynomial: elevation, or zenith distance for ALTAZ."""
        elevation = np.asarray(elevation_deg, dtype=np.float64)
        return elevation if self.kind == "elev" else 90.0 - elevation

    def to(self, kind: CurveKind) -> GainCurve:
        """The same curve written in the other variable: x -> 90 - x, exact."""
        if kind == self.kind:
            return self
        reflected = np.polynomial.Polynomial(self.coefficients)(np.polynomial.Polynomial([90.0, -1.0]))
        return replace(self, kind=kind, coefficients=tuple(float(c) for c in reflected.coef))

    def scaled(self, factor: float) -> GainCurve:
        return replace(self, coefficients=tuple(c * factor for c in self.coefficients))

    def maximum(self, low_deg: float = 0.0, high_deg: float = 90.0) -> tuple[float, float]:
        """(elevation, g) of the largest value between two elevations, from the roots of the derivative."""
        curve = np.polynomial.Polynomial(self.to("elev").coefficients)
        places = [low_deg, high_deg, *_real_roots(curve.deriv().coef, low_deg, high_deg)]
        values = curve(np.array(places))
        best = int(np.argmax(values))
        return float(places[best]), float(values[best])


def _real_roots(coefficients: ArrayLike, low: float, high: float) -> list[float]:
    terms = np.asarray(coefficients, dtype=np.float64)
    # Terms that never matter between 0 and 90 degrees would only overflow.
    size = np.abs(terms) * 90.0 ** np.arange(len(terms))
    terms = terms[: np.flatnonzero(size > 1e-15 * size.max())[-1] + 1] if size.any() else terms[:0]
    if len(terms) < 2:
        return []
    roots = np.polynomial.polynomial.polyroots(terms)
    real = roots[np.abs(roots.imag) < 1e-9 * np.maximum(1.0, np.abs(roots.real))].real
    return [float(root) for root in real if low < root < high]
