"""One calibration run: verbs called, remembered and timed, so that every step can be redone by hand."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from calibrant.ms.index import MSIndex, open_index
from calibrant.params import command_line
from calibrant.pipeline.result import FlagFraction, Step
from calibrant.progress import say


class Run:
    """Calls verbs on one MeasurementSet. `folder` receives tables and pages; `steps` is what was done."""

    def __init__(self, ms: str, folder: str) -> None:
        self.ms, self.folder = ms, folder
        self.index: MSIndex = open_index(ms)
        self.steps: list[Step] = []
        self.flags: list[FlagFraction] = []

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def write(self, name: str, lines: list[str]) -> str:
        """Write a text file into the folder; its path."""
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return path

    def reopen(self) -> None:
        """Look at the MeasurementSet again after columns were added."""
        self.index = open_index(self.ms)

    def do(self, name: str, reason: str, verb: Callable[..., Any], **values: Any) -> Any:
        """Call `verb`, and remember it under `name` with the reason for it."""
        say(f"  {name}: {reason}")
        start = time.monotonic()
        result = verb(**values)
        self.steps.append(Step(name, reason, command_line(verb, values), time.monotonic() - start))
        return result

    def count_flags(self, step: str, field: str, spw: str) -> FlagFraction:
        """Flagged shares of the cross-correlations of the science data now, remembered under `step`."""
        from calibrant.tasks.flagdata import flagdata

        counts = flagdata(vis=self.ms, mode="summary", field=field, spw=spw, antenna="*&*").to_dict()

        def shares(axis: str) -> dict[str, float]:
            return {name: n["flagged"] / max(n["total"], 1) for name, n in counts.get(axis, {}).items()}

        fraction = FlagFraction(
            step, counts["flagged"] / max(counts["total"], 1), shares("antenna"), shares("field"), shares("spw")
        )
        self.flags.append(fraction)
        return fraction
