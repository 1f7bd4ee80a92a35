"""DPFU with the curve that there is, the scale of a Tcal table, and which of them to change.

New DPFU:   DPFU = mean(gain / g)
Scale Tcal: r = mean(gain / (DPFU g)); all Tcal of this polarisation divided by r

The two change the predicted Tcal ratio alike: gain = Tcal(K) / Tcal(Jy) is proportional to the assumed Tcal. Means are
plain (GNPLT) or weighted and robust. Source of the definitions: GNPLT and the TOG notes (A. Orlati, 2006).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import SolveError
from calibrant.station.curve import GainCurve
from calibrant.station.gaincurve import GainData
from calibrant.station.robust import LIMIT, Array, Loss, RobustFit, robust_fit


@dataclass(frozen=True)
class LevelFit:
    """One level per polarisation: a DPFU (K/Jy) or a scale, with errors."""

    values: dict[str, float]
    errors: dict[str, float]
    counts: dict[str, int]
    """Points used."""
    chi2: float
    dof: int
    scale: float
    scan_scatter: float
    residuals: Array = field(repr=False)
    """(n,) data / model - 1."""
    used: NDArray[np.bool_] = field(repr=False)
    method: str

    def to_dict(self) -> dict[str, Any]:
        names = ("values", "errors", "counts", "chi2", "dof", "scale", "scan_scatter", "method")
        return {name: getattr(self, name) for name in names} | {
            "points": len(self.used),
            "rejected": int((~self.used).sum()),
        }


def new_dpfu(
    data: GainData, curve: GainCurve, *, like_gnplt: bool = False, loss: Loss = "tukey", limit: float = LIMIT
) -> LevelFit:
    """DPFU of each polarisation with an existing curve, K/Jy. Raises SolveError where there is no point.

    `like_gnplt`: plain mean, error from the scatter. GNPLT evaluates an ALTAZ curve at the elevation by mistake; this
    is not copied.
    """
    return _levels(data, curve(data.elevation_deg), like_gnplt, loss, limit)


def scale_tcal(
    data: GainData, curve: GainCurve, dpfu: dict[str, float], *, like_gnplt: bool = False, loss: Loss = "tukey",
    limit: float = LIMIT,
) -> LevelFit:  # fmt: skip
    """r = mean(gain / (DPFU g)) of each polarisation: its Tcal table is to be divided by r. Raises SolveError."""
    scale = np.array([dpfu[p] for p in data.pol.tolist()])
    return _levels(data, scale * curve(data.elevation_deg), like_gnplt, loss, limit)


def _levels(data: GainData, expected: Array, like_gnplt: bool, loss: Loss, limit: float) -> LevelFit:
    usable = np.isfinite(expected) & (expected > 0)
    if not usable.any():
        raise SolveError(
            f"none of the {len(data)} points has a positive gain curve at its elevation; check the rxg file"
        )
    data, expected = data.select(usable), expected[usable]
    pols = data.pols
    design = (data.pol[:, None] == np.array(pols)) * expected[:, None]
    if like_gnplt:
        ratio = data.gain / expected
        means = {p: ratio[data.pol == p] for p in pols}
        values = {p: float(r.mean()) for p, r in means.items()}
        errors = {p: float(r.std(ddof=1) / np.sqrt(len(r))) if len(r) > 1 else float("nan") for p, r in means.items()}
        counts = {p: len(r) for p, r in means.items()}
        left = ratio / np.array([values[p] for p in data.pol.tolist()]) - 1
        used = np.ones(len(data), bool)
        method = "as GNPLT: plain mean"
        return LevelFit(values, errors, counts, float("nan"), len(data) - len(pols), 1.0, 0.0, left, used, method)
    start = [float(np.median((data.gain / expected)[data.pol == p])) for p in pols]
    fit: RobustFit = robust_fit(
        lambda p: (design @ p, design), start, data.gain, data.error, group=data.scan, loss=loss, limit=limit
    )
    return LevelFit(
        {p: float(fit.parameters[i]) for i, p in enumerate(pols)},
        {p: float(fit.errors[i]) for i, p in enumerate(pols)},
        {p: int((fit.used & (data.pol == p)).sum()) for p in pols},
        fit.chi2, fit.dof, fit.scale, fit.common, fit.residuals / (data.gain - fit.residuals), fit.used,
        f"{'weighted' if data.error is not None else 'unweighted'} robust mean",
    )  # fmt: skip


# ---- DPFU or Tcal? ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Remedy:
    """One thing that could be changed: the predicted Tcal ratio (median and robust scatter) after it, and what part
    of the present deviation from 1 it explains, allowing for its number of parameters."""

    name: str
    parameters: int
    median: float
    scatter: float
    explained: float


@dataclass(frozen=True)
class Advice:
    """Tcal ratio now (median, robust scatter) and after each remedy; `best` is the one to use, with the reason."""

    median: float
    scatter: float
    remedies: tuple[Remedy, ...]
    best: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        return vars(self) | {"remedies": [vars(remedy) for remedy in self.remedies]}


def advise(data: GainData, curve: GainCurve, dpfu: dict[str, float], freq_mhz: Array) -> Advice:
    """Which of DPFU, curve and Tcal(nu) explains most of what the Tcal ratio deviates from 1.

    TOG's rule: change what you trust least, the parameter that differs most from what is expected. A common factor of
    a polarisation can be put into DPFU or into the scale of the Tcal table alike.
    """
    ratio = np.array([dpfu[p] for p in data.pol.tolist()]) * curve(data.elevation_deg) / data.gain
    log = np.log(np.where(ratio > 0, ratio, np.nan))
    good = np.isfinite(log)
    log, pol = log[good], data.pol[good]
    good_log = np.abs(log - np.median(log)) <= 5 * max(_width(log), 1e-12)
    log, pol = log[good_log], pol[good_log]
    x = data.elevation_deg[good][good_log] / 90.0
    keys = np.array([f"{p}{f:.3f}" for p, f in zip(pol, freq_mhz[good][good_log], strict=True)])
    per_pol = (pol[:, None] == np.array(data.pols)).astype(float)
    per_freq = (keys[:, None] == np.unique(keys)).astype(float)
    designs = {
        "dpfu": per_pol,
        "curve": np.column_stack([per_pol, x, x**2]),
        "tcal": per_freq,
    }
    before = float((log**2).sum())
    remedies = tuple(_remedy(name, design, log, before) for name, design in designs.items())
    gain = {r.name: r.explained for r in remedies}
    best, reason = _best(gain, float(np.median(log)), _width(log))
    return Advice(float(np.exp(np.median(log))), _width(log), remedies, best, reason)


def _remedy(name: str, design: Array, log: Array, before: float) -> Remedy:
    solution, _, rank, _ = np.linalg.lstsq(design, log, rcond=None)
    left = log - design @ solution
    dof = max(1, len(log) - int(rank))
    after = float((left**2).sum()) / dof * len(log)
    explained = 1.0 - after / before if before > 0 and len(log) > rank else 0.0
    return Remedy(name, int(rank), float(np.exp(np.median(left))), _width(left), max(0.0, explained))


def _best(explained: dict[str, float], offset: float, width: float) -> tuple[str, str]:
    """The remedy to name: the simplest that explains nearly all that can be explained."""
    most = max(explained.values())
    if most < 0.2:
        return "none", "The ratio deviates from 1 no more than points scatter: neither DPFU nor Tcal needs a change."
    if explained["dpfu"] > most - 0.1:
        return "dpfu", (
            f"One factor for each polarisation explains {100 * explained['dpfu']:.0f} % of the deviation: change the "
            "DPFU (--mode dpfu), or, if the diode is what you trust least, scale Tcal (--mode scale)."
        )
    if explained["tcal"] >= explained["curve"]:
        return "tcal", (
            f"The deviation goes with frequency ({100 * explained['tcal']:.0f} % explained, one factor each only "
            f"{100 * explained['dpfu']:.0f} %): change Tcal(K), calibrant station fit tcal."
        )
    return "curve", (
        f"The deviation goes with elevation ({100 * explained['curve']:.0f} % explained, one factor only "
        f"{100 * explained['dpfu']:.0f} %): fit the gain curve (--mode curve)."
    )


def _width(values: Array) -> float:
    """Robust standard deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else float("nan")
