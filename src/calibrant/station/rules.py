"""Automatic flags: each rule says which points it would delete, and why.

Adding a rule is one `Rule` in `RULES`. A rule gives nan no blame: where its quantity is unknown it deletes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError
from calibrant.registry import Registry

if TYPE_CHECKING:
    from calibrant.station.points import Points

Mask = NDArray[np.bool_]
RATIO_MAD = 1.4826
"""Median absolute deviation of a normal distribution -> its sigma."""
FEWEST_FOR_OUTLIERS = 4
RATIOS = ("ratio_corrected", "ratio", "tcal_ratio")
"""Columns of the Tcal ratio: with the rxg and opacity, with the rxg, with the log's own values."""


@dataclass(frozen=True)
class Rule:
    """`find(points, *limits)` is True where a point is to go; `reason` is formatted with the limits."""

    name: str
    sentence: str
    reason: str
    limits: tuple[float, ...]
    find: Callable[..., Mask]
    default: bool = True
    """Whether `edit --rules default` applies it."""
    needs: tuple[str, ...] = ()
    """Columns of `surroundings` that it reads."""

    def apply(self, points: Points, limits: tuple[float, ...] = ()) -> tuple[Mask, str]:
        """The points that the rule deletes and the reason, with its own limits or those given."""
        used = limits or self.limits
        if len(used) != len(self.limits):
            raise ParameterError(
                f"rule {self.name!r} takes {len(self.limits)} limit(s), as {self.written()}; found {len(used)}"
            )
        with np.errstate(invalid="ignore"):
            return np.asarray(self.find(points, *used), dtype=bool), self.reason.format(*used)

    def written(self) -> str:
        """`name=low~high` with the default limits, as `--rules` takes it."""
        return self.name + ("=" + "~".join(f"{limit:g}" for limit in self.limits) if self.limits else "")


def _outside(name: str) -> Callable[..., Mask]:
    return lambda points, low, high: np.asarray((points[name] < low) | (points[name] > high))


def _above(name: str) -> Callable[..., Mask]:
    return lambda points, limit: np.asarray(points[name] > limit)


def _below(name: str) -> Callable[..., Mask]:
    return lambda points, limit: np.asarray(points[name] < limit)


def _negative_sky(points: Points) -> Mask:
    return np.asarray(points["tsys_minus_tspill_k"] - points["trec_k"] < 0)


def _ratio_outlier(points: Points, sigmas: float) -> Mask:
    """Further than so many robust sigmas from the median of the same detector and frequency."""
    name = next((one for one in RATIOS if np.isfinite(points[one]).any()), RATIOS[-1])
    ratio, error = points[name], points[f"{name}_err"]
    result = np.zeros(len(points), dtype=bool)
    keys = np.char.add(np.char.add(points["detector"], points["pol"]), points["freq_mhz"].astype(str))
    for group in _groups(keys):
        values = ratio[group]
        known = values[np.isfinite(values)]
        if len(known) < FEWEST_FOR_OUTLIERS:
            continue
        middle = np.median(known)
        spread = RATIO_MAD * np.median(np.abs(known - middle))
        result[group] = np.abs(values - middle) > sigmas * np.maximum(spread, np.nan_to_num(error[group]))
    return result


def _groups(keys: NDArray[np.str_]) -> list[NDArray[np.int64]]:
    order = np.argsort(keys, kind="stable")
    _, starts = np.unique(keys[order], return_index=True)
    return np.split(order, starts[1:]) if len(keys) else []


def _noisy(points: Points, percent: float) -> Mask:
    """Error of SEFD or Tcal(Jy) above so many percent of the value."""
    sefd = points["sefd_jy_err"] / np.abs(points["sefd_jy"])
    tcal = points["tcal_jy_err"] / np.abs(points["tcal_jy"])
    return np.asarray(100 * np.fmax(sefd, tcal) > percent)


def _flux_unknown(points: Points) -> Mask:
    flux = np.where(np.isfinite(points["flux_assumed_jy"]), points["flux_assumed_jy"], points["apr_flux_jy"])
    # The Field System takes 1.0 Jy for a source that its flux.ctl does not know at this frequency.
    return ~np.isfinite(flux) | ((points["type"] == "x") & np.isclose(flux, 1.0))


def _not_positive(points: Points) -> Mask:
    with_diode = ~points["no_diode"]
    return np.asarray((points["sefd_jy"] <= 0) | (with_diode & (points["tcal_jy"] <= 0)))


def _overflow(points: Points) -> Mask:
    return ~np.isfinite(points["sefd_jy"])


RULES: Registry[Rule] = Registry(
    "rule",
    (
        Rule(
            "compression",
            "gain compression outside its limits (interference or a detector driven too hard)",
            "gain compression outside {0:g}..{1:g}",
            (0.95, 1.05),
            _outside("compression"),
        ),
        Rule(
            "negative_sky",
            "Tsys - Trec - Tspill below 0: colder than the receiver alone",
            "Tsys - Trec - Tspill < 0",
            (),
            _negative_sky,
        ),
        Rule(
            "elevation",
            "elevation outside its limits",
            "elevation outside {0:g}..{1:g} deg",
            (5.0, 88.0),
            _outside("elevation_deg"),
        ),
        Rule(
            "ratio_outlier",
            "Tcal ratio far from the median of its detector",
            "Tcal ratio more than {0:g} robust sigmas from its detector's median",
            (5.0,),
            _ratio_outlier,
        ),
        Rule(
            "noisy",
            "error of SEFD or Tcal(Jy) too large, in percent",
            "error of SEFD or Tcal(Jy) above {0:g} %",
            (10.0,),
            _noisy,
        ),
        Rule(
            "structure",
            "structure correction of a resolved source too large",
            "structure correction above {0:g}",
            (1.2,),
            _above("structure_correction"),
        ),
        Rule("flux_unknown", "no flux density known for the source", "flux density unknown", (), _flux_unknown),
        Rule(
            "not_positive",
            "SEFD or Tcal(Jy) not positive: off brighter than on",
            "SEFD or Tcal(Jy) <= 0",
            (),
            _not_positive,
        ),
        Rule("no_result", "no SEFD: overflow ($$$) or missing levels", "no SEFD could be computed", (), _overflow),
        Rule(
            "pointing",
            "the last pointing on the source was off by too many beams, or failed",
            "last FIVPT off by more than {0:g} beams, or failed",
            (0.2,),
            _above("pointing_beams"),
            default=False,
            needs=("pointing_beams",),
        ),
        Rule(
            "sun",
            "too near the sun, degrees",
            "within {0:g} deg of the sun",
            (5.0,),
            _below("sun_deg"),
            default=False,
            needs=("sun_deg",),
        ),
        Rule(
            "moon",
            "too near the moon, degrees",
            "within {0:g} deg of the moon",
            (2.0,),
            _below("moon_deg"),
            default=False,
            needs=("moon_deg",),
        ),
    ),
    key=lambda rule: rule.name,
)


def parse_rules(text: str) -> list[tuple[Rule, tuple[float, ...]]]:
    """`compression=0.9~1.1,structure` -> rules with limits (the rule's own where none are given); 'default': all."""
    if text == "default":
        return [(rule, rule.limits) for rule in RULES.values() if rule.default]
    result = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, limits = item.partition("=")
        rule = RULES[name]
        try:
            numbers = tuple(float(number) for number in limits.split("~")) if limits else rule.limits
        except ValueError:
            raise ParameterError(f"rules={text!r}: found {item!r}, expected it as {rule.written()}") from None
        if len(numbers) != len(rule.limits):
            raise ParameterError(f"rules={text!r}: found {item!r}, expected it as {rule.written()}")
        result.append((rule, numbers))
    return result
