"""The health of a telescope as its API tells it, in words: what is off, silent, stale or not stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from calibrant.allsky.api import Telescope
from calibrant.allsky.words import folded
from calibrant.errors import ServerError

STALE_S = 300.0
"""Visibilities older than this are no longer being made."""
AHEAD_S = 60.0
MEASURING = ("vis", "vis_save", "cal", "rt_syn_img")
"""Modes in which visibilities are made."""


@dataclass(frozen=True)
class Status:
    """What was found; `reasons` are what a person should look at, `missing` what the API did not answer."""

    api: str
    name: str
    antennas: int
    mode: str = ""
    timestamp: str = ""
    age_s: float = math.nan
    visibilities: int = 0
    disabled: list[int] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)
    """Enabled, but without visibilities."""
    bad_radio: list[str] = field(default_factory=list)
    bad_phase: list[str] = field(default_factory=list)
    dead_gains: list[int] = field(default_factory=list)
    null_gains: list[int] = field(default_factory=list)
    calibrated: bool = True
    missing: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        return "check" if self.reasons else "ok"

    def summary(self) -> str:
        age = f", {_ago(self.age_s)}" if math.isfinite(self.age_s) else ""
        on = self.antennas - len(self.disabled)
        lines = [
            f"{self.name or self.api}: {self.verdict}",
            *map(folded, self.reasons),
            f"Mode: {self.mode or 'not known'}",
            f"Latest visibilities: {self.timestamp or 'none'}{age}; {self.visibilities} baselines",
            f"Antennas: {on} of {self.antennas} enabled" + (f" (off: {_list(self.disabled)})" if self.disabled else ""),
        ]
        lines += [f"Not answered: {what}" for what in self.missing]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, **vars(self)}


def status(api: Telescope, now: float | None = None) -> Status:
    """Ask a telescope for everything it tells about itself. ServerError where it does not answer at all.

    `now`: seconds since 1970, for the age of its visibilities; the clock of this machine where it is None.
    """
    info = api.info()
    inner = info.get("info")
    about = inner if isinstance(inner, dict) else info
    missing: list[str] = []

    def asked(what: str, call: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return call()
        except ServerError as error:
            if error.status == 0:
                raise
            missing.append(f"{what} (status {error.status})")
            return otherwise

    places = asked("imaging/antenna_positions", api.positions, [])
    seen = asked("imaging/vis", api.visibilities, {"data": []})
    gains = asked("calibration/gain", api.gains, {"gain": [], "phase_offset": []})
    mode = asked("mode/current", api.mode, "")
    channels = asked("channel", api.channels, [])
    health = asked("status/channel", api.channel_status, [])
    fpga = asked("status/fpga", api.fpga_status, {})
    stamp = str(seen.get("timestamp") or asked("imaging/timestamp", api.timestamp, ""))
    antennas = len(places) or int(about.get("num_antenna") or 0)
    disabled = _disabled(channels, health)
    heard = {row[end] for row in seen["data"] for end in ("i", "j")}
    found = Status(
        api=api.url,
        name=str(about.get("name", "")),
        antennas=antennas,
        mode=mode,
        timestamp=stamp,
        age_s=_age(stamp, now),
        visibilities=len(seen["data"]),
        disabled=disabled,
        silent=[one for one in range(antennas) if seen["data"] and one not in heard and one not in disabled],
        bad_radio=_bad(health, "radio_mean", "mean", disabled),
        bad_phase=_bad(health, "phase", "stability", disabled),
        dead_gains=[number for number, value in enumerate(gains["gain"]) if value == 0],
        null_gains=_null(gains),
        calibrated=_is_calibrated(gains),
        missing=missing,
    )
    found.reasons.extend(_reasons(found, about, gains, places, fpga))
    return found


def _disabled(channels: list[dict[str, Any]], health: list[dict[str, Any]]) -> list[int]:
    """Channels that are off, from either list."""
    off = {int(one["channel_id"]) for one in channels if "channel_id" in one and not one.get("enabled", 1)}
    return sorted(off | {int(one["id"]) for one in health if "id" in one and not one.get("enabled", 1)})


def _bad(health: list[dict[str, Any]], what: str, value: str, disabled: list[int]) -> list[str]:
    """Channels whose check failed, with what was measured: ["3 (0.98)"]."""
    return [
        f"{one.get('id')} ({one[what].get(value)})"
        for one in health
        if isinstance(one.get(what), dict) and not one[what].get("ok", 1) and one.get("id") not in disabled
    ]


def _null(gains: dict[str, Any]) -> list[int]:
    pairs = zip(gains["gain"], gains["phase_offset"], strict=False)
    return [number for number, pair in enumerate(pairs) if None in pair]


def _is_calibrated(gains: dict[str, Any]) -> bool:
    """False where all phases are equal: nobody ever measured them."""
    phases = [value for value in gains["phase_offset"] if value is not None]
    return not phases or any(value != phases[0] for value in phases)


def _age(stamp: str, now: float | None) -> float:
    """Seconds since a timestamp, without a zone as UTC; nan where it is none."""
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return math.nan
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (datetime.now(UTC).timestamp() if now is None else now) - moment.timestamp()


def _reasons(
    found: Status, about: dict[str, Any], gains: dict[str, Any], places: list[Any], fpga: dict[str, Any]
) -> list[str]:
    """What a person should look at, in sentences."""
    rules = [
        (found.mode == "off", "The telescope is off (mode off)."),
        (
            bool(found.mode) and found.mode not in ("off", *MEASURING),
            f"No visibilities are made in mode {found.mode}; the mode for that is vis.",
        ),
        (not found.visibilities, "There are no visibilities: none measured yet, or all channels are off."),
        (found.age_s > STALE_S, f"The visibilities are old: {_ago(found.age_s)}. Is the correlator running?"),
        (found.age_s < -AHEAD_S, "The visibilities are from the future: a clock is wrong, here or there."),
        (bool(found.disabled), f"Antenna(s) {_list(found.disabled)} are switched off."),
        (bool(found.silent), f"Antenna(s) {_list(found.silent)} are on but have no visibilities."),
        (bool(found.bad_radio), f"Radio mean out of bounds for channel(s) {', '.join(found.bad_radio)}."),
        (bool(found.bad_phase), f"Sampling phase unstable for channel(s) {', '.join(found.bad_phase)}."),
        (
            bool(found.null_gains),
            f"Stored gain or phase is null for antenna(s) {_list(found.null_gains)}: upload again.",
        ),
        (bool(found.dead_gains), f"Stored gain is 0 (dead) for antenna(s) {_list(found.dead_gains)}."),
        (not found.calibrated, "All stored phases are equal: the telescope is not calibrated."),
        (bool(_system(fpga).get("error")), "The acquisition system reports an error."),
        (bool(_system(fpga).get("overflow")), "The acquisition system reports an overflow."),
    ]
    counts = {
        "info": int(about.get("num_antenna") or found.antennas),
        "positions": len(places) or found.antennas,
        "gains": len(gains["gain"]) or found.antennas,
        "phases": len(gains["phase_offset"]) or found.antennas,
    }
    unequal = len(set(counts.values())) > 1
    words = ", ".join(f"{name} {count}" for name, count in counts.items())
    rules.append((unequal, f"The telescope does not agree with itself on how many antennas it has: {words}."))
    return [text for is_so, text in rules if is_so]


def _system(fpga: dict[str, Any]) -> dict[str, Any]:
    found = fpga.get("AQ_SYSTEM")
    return found if isinstance(found, dict) else {}


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _ago(age_s: float) -> str:
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("min", 60.0)):
        if abs(age_s) >= 2 * length:
            return f"{age_s / length:.0f} {unit} ago"
    return f"{age_s:.0f} s ago"
