"""`calibrant acquire plan`: what a sequence will do, step by step, and how long that takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from calibrant.acquire.verbs import options
from calibrant.params import Param

if TYPE_CHECKING:
    from calibrant.acquire.plan import Plan


@dataclass(frozen=True)
class PlanResult:
    """A plan at a time of the clock."""

    plan: Plan
    begin: float
    """UTC seconds since 1970."""
    forbidden: list[str]
    """What the sequence's constraints say against this time."""
    notes: list[str]
    start_given: bool

    @property
    def exit_code(self) -> int:
        return 1 if self.forbidden and self.start_given else 0

    def summary(self) -> str:
        from calibrant.acquire import timeline
        from calibrant.acquire.constraints import utc

        plan = self.plan
        lamps = ", ".join(f"{name} {hours * 60:.1f} min" for name, hours in plan.lamp_hours.items())
        facts = [
            f"{plan.name} with inventory {plan.inventory}: {timeline.duration_words(plan.duration_s)}, "
            f"{len(plan.frames)} frames ({timeline.kinds(plan)}), plan {plan.hash}",
            f"Begins {utc(self.begin)}, ends {utc(self.begin + plan.duration_s)}.",
            f"Lamps burn: {lamps or 'none'}. Data: {timeline.size_words(plan.data_bytes)}.",
        ]
        lines = [*timeline.wrapped(facts, ""), *timeline.wrapped(self.notes, "note: ")]
        lines += [*timeline.wrapped(plan.warnings, "warning: "), *timeline.wrapped(self.forbidden, "may not run: ")]
        return "\n".join([*lines, "", *timeline.table(plan), "", *timeline.bars(plan)])

    def to_dict(self) -> dict[str, Any]:
        from calibrant.acquire.constraints import utc

        plan = self.plan
        return {
            "name": plan.name,
            "inventory": plan.inventory,
            "hash": plan.hash,
            "duration_s": plan.duration_s,
            "begin": utc(self.begin),
            "end": utc(self.begin + plan.duration_s),
            "frames": [step.frame for step in plan.frames],
            "lamp_hours": plan.lamp_hours,
            "data_bytes": plan.data_bytes,
            "warnings": list(plan.warnings),
            "notes": self.notes,
            "forbidden": self.forbidden,
            "steps": [asdict(step) for step in plan.steps],
            "sequence": plan.sequence,
        }


def plan(
    sequence: options.SequenceName,
    inventory: options.InventoryName = options.INVENTORY,
    start: Annotated[str, Param("When it begins (UTC): 23:30, 2026-11-21T23:30:00. Empty: now.")] = "",
    slew_telescopes: options.Slew = True,
    park_after: options.Park = False,
) -> PlanResult:
    """Show what a sequence will do: steps with their times, a time line, lamp hours, data volume, end.

    Nothing is moved or switched. Bars that stand above each other are what overlaps: readouts beside the next lamp's
    warm-up, for one. With --start, the exit code is 1 where the sequence's constraints forbid that time.

    Example:
        calibrant acquire plan normal --start 23:30

    Raises FormatError for an invalid sequence, ParameterError where this observatory cannot take it.
    """
    import time

    from calibrant.acquire.compiler import compile_plan
    from calibrant.acquire.constraints import broken, start_time
    from calibrant.acquire.inventory import load_inventory
    from calibrant.acquire.sequence import load_sequence

    devices, wanted = load_inventory(inventory), load_sequence(sequence)
    made = compile_plan(wanted, devices, slew_telescopes=slew_telescopes, park_after=park_after)
    begin = start_time(start, time.time())
    forbidden = broken(wanted.constraints, begin, begin + made.duration_s, devices.site)
    notes = []
    if not devices.slew_s and any(step.kind in ("point", "park") for step in made.steps):
        notes.append(f"the slew is not counted: inventory {devices.name} has no slew_s")
    if wanted.constraints.dome:
        notes.append(f"the dome has to be {wanted.constraints.dome}")
    if wanted.constraints.after:
        notes.append(f"{wanted.constraints.after} has to be done before")
    return PlanResult(made, begin, forbidden, notes, bool(start))
