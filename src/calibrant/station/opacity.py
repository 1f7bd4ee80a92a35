"""The atmosphere above one antenna, from its system temperature.

    Tsys - Tspill(el) = Trec + Tatm (1 - exp(-tau)),   tau = tau0 * airmass

Temperatures in K, tau in nepers, tau0 at the zenith. The transmission exp(-tau) lowers the response to a source:
a measured gain times exp(+tau), once, is the gain outside the atmosphere, and with a curve of such gains the
noise diode in K is DPFU g exp(-tau) Tcal(Jy). Source: the Field System's tpi/onoff model, as GNPLT applies it,
with the direction of the correction put right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DEFAULT_TATM = 273.0
CHOICES = ("auto", "none", "gain", "tcal", "both")
"""What is corrected for opacity; auto: both where the rxg's curve says `opacity_corrected`, else none."""


def transmission(tsys_minus_tspill_k: ArrayLike, trec_k: ArrayLike, tatm_k: ArrayLike = DEFAULT_TATM) -> Floats:
    """exp(-tau) = 1 - (Tsys - Tspill - Trec) / Tatm; nan where Trec is 0 (unknown). May come out <= 0 or > 1."""
    trec = np.asarray(trec_k, dtype=np.float64)
    sky = np.asarray(tsys_minus_tspill_k, dtype=np.float64) - np.where(trec > 0, trec, np.nan)
    return np.asarray(1.0 - sky / np.asarray(tatm_k, dtype=np.float64))


def transmission_from_sefd(
    power_k: ArrayLike, tspill_k: ArrayLike, trec_k: ArrayLike, tatm_k: ArrayLike = DEFAULT_TATM
) -> Floats:
    """exp(-tau) = (Tatm + Tspill + Trec) / (Tatm + SEFD G), the gain G (K/Jy) being that outside the atmosphere.

    `power_k`: SEFD G, which is Tsys / exp(-tau). No noise diode enters. nan where Trec is 0 (unknown).
    """
    trec, tatm = np.asarray(trec_k, dtype=np.float64), np.asarray(tatm_k, dtype=np.float64)
    warm = tatm + np.asarray(tspill_k, dtype=np.float64) + np.where(trec > 0, trec, np.nan)
    return np.asarray(warm / (tatm + np.asarray(power_k, dtype=np.float64)))


def zenith_opacity(transmitted: ArrayLike, airmass: ArrayLike) -> Floats:
    """tau0 = -ln(exp(-tau)) / airmass; nan where the transmission is not positive."""
    value = np.asarray(transmitted, dtype=np.float64)
    return np.asarray(-np.log(np.where(value > 0, value, np.nan)) / np.asarray(airmass, dtype=np.float64))


def tsys_model(airmass: ArrayLike, trec_k: ArrayLike, tau0: ArrayLike, tatm_k: ArrayLike = DEFAULT_TATM) -> Floats:
    """Tsys - Tspill that the model gives at an airmass."""
    tau = np.asarray(tau0, dtype=np.float64) * np.asarray(airmass, dtype=np.float64)
    return np.asarray(trec_k, dtype=np.float64) + np.asarray(tatm_k, dtype=np.float64) * -np.expm1(-tau)


def tatm_from_surface(temperature_c: ArrayLike) -> Floats:
    """Mean temperature (K) of the atmosphere from the one at the ground: 70.2 + 0.72 Ts, Ts in K (Bevis 1992)."""
    return np.asarray(70.2 + 0.72 * (np.asarray(temperature_c, dtype=np.float64) + 273.15))
