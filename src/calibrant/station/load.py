"""Logs, receivers, fluxes and edits put together: what every station verb starts from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from calibrant.errors import DataError, ParameterError, SelectionError
from calibrant.station.derived import Opacity
from calibrant.station.records import NAN

if TYPE_CHECKING:
    from calibrant.station.fluxctl import FluxTable
    from calibrant.station.onoff import Errors
    from calibrant.station.points import Points
    from calibrant.station.records import FsLog, Skipped
    from calibrant.station.rxg import Receivers
    from calibrant.station.session import Session


@dataclass
class Loaded:
    """Points of all logs with edits applied, and where they come from."""

    points: Points
    logs: list[FsLog]
    receivers: Receivers | None
    flux: FluxTable | None
    sessions: list[Session]
    skipped: list[Skipped]
    """Lines not understood and scans that give no point, of all logs."""
    opacity: Opacity = field(default_factory=Opacity)
    """How the atmosphere was treated."""

    def replay(self) -> None:
        """Set what is deleted, and why, by the sessions as they stand."""
        from calibrant.station.session import needed, replay
        from calibrant.station.surroundings import add_surroundings

        points = self.points
        add_surroundings(points, self.logs, needed(self.sessions))
        for index, session in enumerate(self.sessions):
            mine = points["log"] == index
            part = points.where(mine)
            part["deleted"][:] = False
            part["reason"][:] = ""
            replay(session, part)
            points["deleted"][mine] = part["deleted"]
            points["reason"][mine] = part["reason"]

    @property
    def included(self) -> Points:
        """The points that no edit has deleted."""
        return self.points.where(~self.points["deleted"])


def load(
    logs: Sequence[str],
    *,
    rxg: Sequence[str] = (),
    flux: str = "",
    session: str = "",
    errors: str = "mean",
    selection: dict[str, str] | None = None,
    opacity: Opacity | None = None,
    gain_tcal_k: float = NAN,
    gain_at: tuple[float, float, float] | None = None,
) -> Loaded:
    """Read logs (each once, in order of time), join receivers and fluxes, replay the edits, select.

    `opacity`, `gain_tcal_k` and `gain_at`: see `derived.derive`; `gain_at` takes the mean of what is selected and not
    deleted. Raises DataError where there is no log or no point, SelectionError where the selection leaves none.
    """
    from calibrant.station.fslog import read_log
    from calibrant.station.points import build_points

    found, twice = _each_once(sorted((read_log(path) for path in distinct(logs)), key=lambda log: log.start))
    receivers = read_receivers(rxg)
    table = read_flux_table(flux)
    points, unusable = build_points(
        found, receivers, table, errors=cast("Errors", errors), opacity=opacity, gain_tcal_k=gain_tcal_k
    )
    number_scans(points, found)
    skipped = twice + [line for log in found for line in log.skipped] + unusable
    sessions = [] if session == "none" else _sessions([log.path for log in found], session)
    loaded = Loaded(points, found, receivers, table, sessions, skipped, opacity or Opacity())
    loaded.replay()
    if selection and any(selection.values()):
        loaded.points = points.where(_select(points, selection))
    if gain_at is not None:
        loaded.points = loaded.points.derived(receivers, opacity, gain_at=gain_at)
    return loaded


def _each_once(logs: Sequence[FsLog]) -> tuple[list[FsLog], list[Skipped]]:
    """The logs without copies of others among them (under another name, or packed), and those."""
    from calibrant.station.records import Skipped

    first: dict[tuple[object, ...], FsLog] = {}
    copies = []
    for log in logs:
        content = (log.start, log.end, log.lines, *((scan.line, scan.time) for scan in log.scans))
        if log.scans and content in first:
            why = f"a copy of {first[content].path}: its scans count once"
            copies.append(Skipped(log.path, 1, os.path.basename(log.path), why))
        else:
            first.setdefault((*content, log.path) if content in first else content, log)
    return list(first.values()), copies


def number_scans(points: Points, logs: Sequence[FsLog]) -> None:
    """Add `scan_number`: each point's ONOFF scan within its own log, from 1."""
    first = np.concatenate([[0], np.cumsum([len(log.scans) for log in logs])])
    points.columns["scan_number"] = points["scan"] - first[points["log"]] + 1


def _select(points: Points, selection: dict[str, str]) -> np.ndarray:
    from calibrant.station.select import select

    chosen = select(points, **selection)
    if len(points) and not chosen.any():
        text = " ".join(f"{name}={value!r}" for name, value in selection.items() if value)
        raise SelectionError(f"{text} selects none of the {len(points)} points")
    return chosen


def distinct(paths: Sequence[str]) -> list[str]:
    """Each file once, whatever name it was given by; ParameterError where none is given."""
    if not paths:
        raise ParameterError("no log was given; give at least one, as 'r1730ny.log'")
    seen: dict[str, str] = {}
    for path in paths:
        if not os.path.exists(path):
            raise DataError(f"{path}: there is no such file; expected a Field System log")
        seen.setdefault(os.path.realpath(path), path)
    return list(seen.values())


def read_receivers(paths: Sequence[str]) -> Receivers | None:
    """The receivers of the given rxg files and directories; None where none is given."""
    from calibrant.station.rxg import Receivers

    return Receivers.read(list(paths)) if paths else None


def read_flux_table(path: str) -> FluxTable | None:
    """The flux table of a file, the shipped one for 'default', None for an empty name."""
    from calibrant.station.fluxctl import default_flux, read_flux

    if not path:
        return None
    return default_flux() if path == "default" else read_flux(path)


def _sessions(logs: Sequence[str], folder: str) -> list[Session]:
    from calibrant.station.session import read_session

    if folder and not os.path.isdir(folder):
        raise DataError(f"{folder}: there is no such directory; make it, or leave --session out")
    return [read_session(log, folder) for log in logs]
