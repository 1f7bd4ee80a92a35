"""Everything selected."""

from __future__ import annotations

from dataclasses import dataclass

from calibrant.flag.flagger import Flagger


@dataclass(frozen=True)
class Manual(Flagger):
    """Flags what the selection names."""

    mode = "manual"


@dataclass(frozen=True)
class Unflag(Flagger):
    """Clears the flags of what the selection names."""

    mode = "unflag"
    clears = True
