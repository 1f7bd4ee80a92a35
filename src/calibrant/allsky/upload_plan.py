"""What an upload would change in a telescope, checked before anything is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky.api import Telescope
from calibrant.allsky.backup import about_backup
from calibrant.allsky.gainsfile import Gains, read_gains
from calibrant.allsky.snapshots import positions_from_json
from calibrant.errors import DataError, ParameterError

Real = NDArray[np.float64]

SAME_GAIN, SAME_PHASE, SAME_M = 1e-3, 1e-3, 1e-3
"""Read back as sent: servers round to four digits; a thousandth of a gain, a radian or a metre changes no image."""
MOST_GAIN = 100.0
TURN_DEG = 1.0
"""Gains of positions turned further than this need those positions."""


@dataclass(frozen=True)
class Live:
    """What a telescope has: corrections (nan where it stores null) and positions, also as they came."""

    api: str
    name: str
    gain: Real
    phase: Real
    positions: Real
    raw: dict[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What would be sent, and what is there. Nothing is sent until `publish`."""

    live: Live
    gain: Real
    phase: Real
    positions: Real | None
    """None: they stay as they are."""
    source: str
    remarks: list[str]

    @property
    def gain_change(self) -> Real:
        """New over live gain, minus one; nan where either is 0 or null."""
        with np.errstate(divide="ignore", invalid="ignore"):
            change = self.gain / self.live.gain - 1
        return np.where(np.isfinite(change) & (self.gain > 0), change, np.nan)

    @property
    def phase_change(self) -> Real:
        """New minus live phase, degrees in -180..180; nan where the live one is null."""
        return np.degrees(wrapped(self.phase - self.live.phase))

    @property
    def changed(self) -> NDArray[np.bool_]:
        """(antenna): differs by more than what a server rounds off."""
        gain_same = np.abs(self.gain - self.live.gain) <= SAME_GAIN
        return ~(gain_same & (np.abs(np.radians(self.phase_change)) <= SAME_PHASE))

    @property
    def moves_m(self) -> float:
        """The largest shift of a position; 0 where positions stay."""
        return 0.0 if self.positions is None else largest_shift(self.positions, self.live.positions)


def read_live(api: Telescope) -> Live:
    """What the telescope has now."""
    info, places, gains = api.info(), api.positions(), api.gains()
    positions = positions_from_json(places, api.address("imaging/antenna_positions"))
    # A server takes lists of any length: what is missing of one counts as null, what is too much is left out.
    gain, phase = (_fitted(numbers(gains[name]), len(positions)) for name in ("gain", "phase_offset"))
    inner = info.get("info")
    name = str((inner if isinstance(inner, dict) else info).get("name", ""))
    return Live(api.url, name, gain, phase, positions, {"info": info, "gains": gains, "ant_pos": places})


def _fitted(values: Real, antennas: int) -> Real:
    return np.pad(values[:antennas], (0, max(antennas - len(values), 0)), constant_values=np.nan)


def numbers(values: list[Any]) -> Real:
    return np.array([value if isinstance(value, int | float) else math.nan for value in values], dtype=np.float64)


def plan_upload(live: Live, gains: Gains, positions: bool = False, force: bool = False) -> Plan:
    """Check gains against what the telescope has; DataError or ParameterError says why they cannot be sent.

    `positions`: send the file's positions too. `force`: although the verdict, or the telescope's name, is against it.
    """
    remarks: list[str] = []
    _check_values(gains, live)
    if gains.verdict == "do not upload" and not force:
        raise DataError(
            f'{gains.path}: its verdict is "do not upload"; calibrate again, or give --force if you know better'
        )
    if not gains.verdict:
        remarks.append("the file has no verdict: nothing says whether these gains are good")
    elif gains.verdict != "good":
        remarks.append(f'the verdict of the file is "{gains.verdict}"')
    if gains.telescope and live.name and gains.telescope != live.name:
        words = f"{gains.path} was made for {gains.telescope!r}, and this telescope is {live.name!r}"
        if not force:
            raise DataError(f"{words}; give the right --api, or --force if it is the same one renamed")
        remarks.append(words)
    there = _positions_to_send(live, gains, positions, remarks)
    return Plan(live, gains.gain, gains.phase, there, gains.path, remarks)


def _check_values(gains: Gains, live: Live) -> None:
    """The values can be corrections of this telescope's antennas."""
    antennas = len(live.positions)
    if len(gains.gain) != antennas or len(gains.phase) != antennas:
        raise DataError(
            f"{gains.path}: has {len(gains.gain)} gains and {len(gains.phase)} phases, but the telescope has "
            f"{antennas} antennas; they are of another array"
        )
    for number, (gain, phase) in enumerate(zip(gains.gain, gains.phase, strict=True)):
        if not (math.isfinite(gain) and 0 <= gain < MOST_GAIN):
            raise DataError(f"{gains.path}: gain[{number}] is {gain:g}, expected 0 (dead) or more, below {MOST_GAIN:g}")
        if not (math.isfinite(phase) and abs(phase) <= 4 * math.pi):
            raise DataError(f"{gains.path}: phase_offset[{number}] is {phase:g}; expected radians. Are these degrees?")
    if not gains.gain.any():
        raise DataError(f"{gains.path}: every gain is 0; that would switch the whole telescope off")


def _positions_to_send(live: Live, gains: Gains, wanted: bool, remarks: list[str]) -> Real | None:
    """The positions that go along, if any; ParameterError where gains would go without those they belong to."""
    places = None if gains.positions is None else positions_from_json(gains.positions.tolist(), gains.path)
    if places is not None and len(places) != len(live.positions):
        raise DataError(f"{gains.path}: has positions of {len(places)} antennas, not of {len(live.positions)}")
    if wanted and places is None:
        raise ParameterError(f"{gains.path}: holds no antenna_positions, so --positions has nothing to send")
    if places is not None and largest_shift(places, live.positions) <= SAME_M:
        return None
    turned = gains.mirror or abs(gains.rotation_deg) > TURN_DEG
    # Positions may have changed in ways that a rotation does not tell: since the data were taken, or by hand.
    radius = float(np.abs(live.positions).max())
    moved = places is not None and largest_shift(places, live.positions) > radius * math.radians(TURN_DEG) + SAME_M
    if wanted and places is not None:
        remarks.append(
            "a restart of the telescope goes back to the positions of its configuration file: change them there too"
        )
        return places
    if turned or moved:
        how = ("mirrored, " if gains.mirror else "") + f"turned by {gains.rotation_deg:.2f} deg"
        if not turned:
            how = f"up to {largest_shift(places, live.positions):.3f} m from the telescope's" if moved else how  # type: ignore[arg-type]
        raise ParameterError(
            f"{gains.path}: these gains belong to antenna positions {how}; the sky would be imaged wrongly oriented. "
            + ("Send both with --positions" if places is not None else "Send them with the positions, which it lacks")
        )
    if gains.rotation_deg:
        remarks.append(
            f"the fit turned the positions by {gains.rotation_deg:.2f} deg, and so are images without --positions"
        )
    return None


def largest_shift(one: Real, other: Real) -> float:
    return float(np.sqrt(((one - other) ** 2).sum(axis=1)).max())


def wrapped(phase: Real) -> Real:
    return (phase + np.pi) % (2 * np.pi) - np.pi


def plan_rollback(live: Live, path: str, force: bool = False) -> Plan:
    """A plan that puts back what a backup holds: gains, and positions where they differ."""
    about = about_backup(path)
    gains = read_gains(path)
    name = gains.telescope
    if about.get("api") != live.api and name != live.name and not force:
        raise DataError(
            f"{path}: is a backup of {name or about.get('api')!r}, and this telescope is {live.name or live.api!r}; "
            "give the right one, or --force"
        )
    _check_values(gains, live)
    remarks = [f"backup of {about.get('time')}"]
    places = _positions_to_send(live, gains, gains.positions is not None, remarks)
    return Plan(live, gains.gain, gains.phase, places, path, remarks)
