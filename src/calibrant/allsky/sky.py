"""Which sources a calibration uses: those given, and the catalogue's above an elevation, each direction once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from calibrant.allsky.snapshots import CalibrationData, Snapshot, Source
from calibrant.allsky.steering import directions, taken_as_far_deg
from calibrant.errors import DataError, ParameterError

SAME_DEG = 0.5
"""Catalogues list satellites twice under two names; nearer than this no array of metres can tell them apart."""
MATTERS_DEG = 2.0
"""A phase error of this size, from taking a near source as far, is worth a question."""
USUAL_M = (15.0, 25.0, 50.0, 100.0, 200.0, 500.0)


def parse_source(text: str, number: int) -> Source:
    """`az=0,el=45,r=25` (degrees, metres; r=far for a distant one; name=... optional) as a source."""
    fields: dict[str, str] = {}
    for item in text.split(","):
        key, equals, value = item.strip().partition("=")
        if not equals or key not in ("az", "el", "r", "name") or key in fields:
            raise ParameterError(f"source={text!r}: found {item!r}, expected az=DEG,el=DEG,r=METRES[,name=NAME]")
        fields[key] = value
    try:
        az, el = float(fields["az"]), float(fields["el"])
        r = math.inf if fields.get("r") in ("far", "inf") else float(fields.get("r", "nan"))
    except KeyError as error:
        raise ParameterError(f"source={text!r}: {error} is missing, expected az=DEG,el=DEG,r=METRES") from None
    except ValueError:
        raise ParameterError(f"source={text!r}: expected numbers, as az=0,el=45,r=25") from None
    if not 0 <= el <= 90 or not -360 <= az <= 360 or r <= 0:
        raise ParameterError(f"source={text!r}: expected 0 <= el <= 90 and r > 0; azimuth is clockwise from north")
    return Source(fields.get("name", f"given {number}"), az % 360, el, r, given=True)


def whole_sources(texts: Sequence[str]) -> list[str]:
    """Sources as they were meant: the command line cuts one at its commas, unless the option is repeated."""
    whole: list[str] = []
    for text in texts:
        key = text.partition("=")[0].strip()
        if whole and "," not in text and not any(part.strip().startswith(f"{key}=") for part in whole[-1].split(",")):
            whole[-1] += f",{text}"
        else:
            whole.append(text)
    return whole


def chosen_sources(
    data: CalibrationData, given: Sequence[Source], elevation_deg: float
) -> tuple[tuple[Source, ...], ...]:
    """Per snapshot: the given sources and the catalogue's from `elevation_deg` up, without duplicates.

    Raises ParameterError where a distance is missing that matters, DataError where no source is left.
    """
    result = []
    for snapshot in data.snapshots:
        catalogue = [source for source in snapshot.sources if source.el_deg >= elevation_deg]
        sources = distinct_directions([*given, *catalogue])
        for source in sources:
            _check_distance(source, data)
        if not sources:
            raise DataError(_none_left(snapshot, elevation_deg))
        result.append(tuple(_far_if_unknown(source) for source in sources))
    return tuple(result)


def _none_left(snapshot: Snapshot, elevation_deg: float) -> str:
    number = len(snapshot.sources)
    if not number:
        return (
            f"{snapshot.label}: its list of sources is empty; give one with --source az=...,el=...,r=... or --catalogue"
        )
    highest = max(source.el_deg for source in snapshot.sources)
    return (
        f"{snapshot.label}: none of its {number} source(s) is above {elevation_deg:g} deg (the highest is at "
        f"{highest:.1f} deg); lower --elevation, or give a source with --source az=...,el=...,r=..."
    )


def _check_distance(source: Source, data: CalibrationData) -> None:
    if not math.isnan(source.r_m):
        return
    costs = {r: taken_as_far_deg(source, r, data.positions, data.wavelength_m) for r in USUAL_M}
    if max(costs.values()) < MATTERS_DEG:
        return
    words = ", ".join(f"{cost:.0f} deg at {r:g} m" for r, cost in costs.items() if cost >= 0.5)
    raise ParameterError(
        f"source {source.name!r} has no distance r, and near the array it matters: taking it as far would put phases "
        f"wrong by {words} (rms); no residual would show it. Give r in metres, or r=far"
    )


def _far_if_unknown(source: Source) -> Source:
    return replace(source, r_m=math.inf) if math.isnan(source.r_m) else source


def distinct_directions(sources: Sequence[Source]) -> list[Source]:
    """Sources in order, without those nearer than SAME_DEG to an earlier one (near sources count by themselves)."""
    kept: list[Source] = []
    for source in sources:
        s = directions(source.az_deg, source.el_deg)
        twins = [
            other
            for other in kept
            if math.isfinite(other.r_m) == math.isfinite(source.r_m)
            and math.degrees(math.acos(min(1.0, float(directions(other.az_deg, other.el_deg) @ s)))) < SAME_DEG
        ]
        if not twins:
            kept.append(source)
    return kept


def shuffled(sources: Sequence[Sequence[Source]], seed: int) -> tuple[tuple[Source, ...], ...]:
    """A sky that is not there: every source at another azimuth, the same in all snapshots of a name."""
    rng = np.random.default_rng(seed)
    names = sorted({source.name for snapshot in sources for source in snapshot})
    turn = dict(zip(names, rng.uniform(0, 360, len(names)), strict=True))
    return tuple(
        tuple(replace(source, az_deg=(source.az_deg + turn[source.name]) % 360) for source in snapshot)
        for snapshot in sources
    )
