"""`calibrant acquire check`: is a sequence valid, and can this observatory take it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from calibrant.acquire.verbs import options
from calibrant.params import Param


@dataclass(frozen=True)
class CheckResult:
    """What is wrong with a sequence, and what a person should know; with `schema`, the schema alone."""

    sequence: str
    inventory: str
    frames: int
    duration_s: float
    problems: list[str]
    warnings: list[str]
    schema: dict[str, Any] | None = None

    @property
    def exit_code(self) -> int:
        return 1 if self.problems else 0

    def summary(self) -> str:
        import json

        from calibrant.acquire.timeline import duration_words, wrapped

        if self.schema is not None:
            return json.dumps(self.schema, indent=2)
        if self.problems:
            return "\n".join(self.problems)
        took = duration_words(self.duration_s)
        valid = f"{self.sequence}: valid; inventory {self.inventory} can take its {self.frames} frame(s) in {took}."
        return "\n".join([valid, *wrapped(self.warnings, "warning: ")])

    def to_dict(self) -> dict[str, Any]:
        if self.schema is not None:
            return self.schema
        return {
            "sequence": self.sequence,
            "inventory": self.inventory,
            "valid": not self.problems,
            "problems": [fault.strip() for text in self.problems for fault in text.splitlines()[1:] or [text]],
            "warnings": self.warnings,
            "frames": self.frames,
            "duration_s": self.duration_s,
        }


def check(
    sequence: options.SequenceName = "",
    inventory: options.InventoryName = options.INVENTORY,
    schema: Annotated[bool, Param("Print the JSON schema of sequences instead.")] = False,
) -> CheckResult:
    """Check a sequence and whether an observatory can take it; nothing is moved or switched.

    Every fault is listed with its place in the file, what was found, what is allowed and the nearest match. With
    faults, the exit code is 1. Warnings (mask places that an exposure leaves out, ...) do not make it fail.

    Example:
        calibrant acquire check normal

    Raises ParameterError where no sequence is named, or the inventory is not there.
    """
    from calibrant.acquire.compiler import compile_plan
    from calibrant.acquire.inventory import load_inventory
    from calibrant.acquire.sequence import SEQUENCES, json_schema, load_sequence
    from calibrant.errors import CalibrantError, ParameterError

    if schema:
        return CheckResult("", "", 0, 0.0, [], [], json_schema())
    if not sequence:
        raise ParameterError(f"name a sequence: {', '.join(SEQUENCES)}, or a JSON or YAML file")
    devices = load_inventory(inventory)
    try:
        plan = compile_plan(load_sequence(sequence), devices)
    except CalibrantError as error:
        return CheckResult(sequence, devices.name, 0, 0.0, [str(error)], [])
    return CheckResult(sequence, devices.name, len(plan.frames), plan.duration_s, [], list(plan.warnings))
