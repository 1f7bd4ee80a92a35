"""A point source at the phase centre with a spectrum: what most calibrators are.

Every spectrum here is a polynomial in the logarithm of frequency,

    log10 I(nu) = a_0 + a_1 x + a_2 x^2 + ...,   x = log10(nu / nu_0),

which is what the flux standards publish, and what CASA's S_0 (nu/nu_0)^(alpha + beta x + ...) is with
a = (log10 S_0, alpha, beta, ...): the logarithm in the exponent is log10, not ln (tested against CASA).
Q, U and V are constant fractions of I, as in CASA's setjy. Flux densities in Jy, frequencies in Hz.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.errors import FluxModelError

_CORRELATION = {
    1: (1, 0, 0, 0), 2: (0, 1, 0, 0), 3: (0, 0, 1, 0), 4: (0, 0, 0, 1),
    5: (1, 0, 0, 1), 6: (0, 1, 1j, 0), 7: (0, 1, -1j, 0), 8: (1, 0, 0, -1),
    9: (1, 1, 0, 0), 10: (0, 0, 1, 1j), 11: (0, 0, 1, -1j), 12: (1, -1, 0, 0),
}  # fmt: skip
"""Correlation code of the MS (I Q U V, RR RL LR LL, XX XY YX YY) as a sum of I, Q, U, V. Unpolarised: RR = XX = I."""


@dataclass(frozen=True)
class LogPolynomial:
    """log10 of I in Jy as a polynomial in log10(nu / reference), used from the frequency `start` upwards (Hz)."""

    coefficients: tuple[float, ...]
    reference: float = 1e9
    start: float = 0.0

    def __call__(self, freq: NDArray[np.float64]) -> NDArray[np.float64]:
        """I in Jy at `freq`."""
        log_ratio = np.log10(freq / self.reference)
        return np.asarray(10.0 ** np.polynomial.polynomial.polyval(log_ratio, self.coefficients))


@dataclass(frozen=True)
class SourceModel:
    """A point source at the phase centre.

    pieces: the spectrum of I, by ascending `start`; fractions: Q/I, U/I, V/I;
    fixed: every channel gets the flux at this frequency (Hz), None: the flux at its own;
    origin: where the numbers come from, for people.
    """

    pieces: tuple[LogPolynomial, ...]
    fractions: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fixed: float | None = None
    origin: str = ""

    @classmethod
    def power_law(
        cls, stokes: Sequence[float], spix: Sequence[float] = (), reffreq: float = 1e9, origin: str = "manual"
    ) -> SourceModel:
        """stokes: I, Q, U, V (Jy) at `reffreq` (Hz); spix: alpha, beta, ... of the module's formula."""
        flux, *polarised = (*stokes, 0.0, 0.0, 0.0)[:4]
        if not flux > 0:
            raise FluxModelError(f"a flux model needs a Stokes I above 0 Jy; {flux:g} Jy was given")
        fractions = (polarised[0] / flux, polarised[1] / flux, polarised[2] / flux)
        piece = LogPolynomial((float(np.log10(flux)), *map(float, spix)), float(reffreq))
        return cls((piece,), fractions, None, origin)

    def spectrum(self, freq: ArrayLike) -> NDArray[np.float64]:
        """I in Jy, (nchan,), at `freq` (nchan,) in Hz."""
        freq = np.atleast_1d(np.asarray(freq, float))
        at = np.full_like(freq, self.fixed) if self.fixed is not None else freq
        flux = self.pieces[0](at)
        for piece in self.pieces[1:]:
            flux = np.where(at > piece.start, piece(at), flux)
        return flux

    def stokes(self, freq: ArrayLike) -> NDArray[np.float64]:
        """I, Q, U, V in Jy, (nchan, 4)."""
        return self.spectrum(freq)[:, None] * np.array([1.0, *self.fractions])

    def visibilities(self, freq: ArrayLike, corr_types: ArrayLike) -> NDArray[np.complex64]:
        """Model visibilities in Jy, (nchan, ncorr): no phase, the source is at the phase centre.

        corr_types: the codes of POLARIZATION.CORR_TYPE. Linear feeds are taken at parallactic angle 0, as CASA does.
        """
        return (self.stokes(freq) @ stokes_to_correlations(corr_types)).astype(np.complex64)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON; `from_dict` undoes it."""
        pieces = [
            {"coefficients": list(piece.coefficients), "reference_hz": piece.reference, "start_hz": piece.start}
            for piece in self.pieces
        ]
        return {
            "kind": "point",
            "log10_flux": pieces,
            "fractions": list(self.fractions),
            "fixed_hz": self.fixed,
            "origin": self.origin,
        }

    @classmethod
    def from_dict(cls, parameters: Mapping[str, Any]) -> SourceModel:
        if parameters.get("kind") != "point":
            raise FluxModelError(f"a model of kind {parameters.get('kind')!r} is not known here; known: 'point'")
        pieces = tuple(
            LogPolynomial(tuple(item["coefficients"]), item["reference_hz"], item["start_hz"])
            for item in parameters["log10_flux"]
        )
        q, u, v = parameters["fractions"]
        return cls(pieces, (q, u, v), parameters["fixed_hz"], parameters["origin"])


def stokes_to_correlations(corr_types: ArrayLike) -> NDArray[np.complex128]:
    """(4, ncorr): what I, Q, U, V contribute to each correlation (codes of the MS)."""
    codes = [int(code) for code in np.atleast_1d(corr_types)]
    unknown = [code for code in codes if code not in _CORRELATION]
    if unknown:
        raise FluxModelError(
            f"correlation code {unknown[0]} has no model; known are 1 to 12 (I to V, RR to LL, XX to YY)"
        )
    return np.array([_CORRELATION[code] for code in codes], complex).T
