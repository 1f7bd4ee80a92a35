"""What a Field System is given for the ONOFF of a plan: SNAP procedures, and an AQUIR control file for a source.

Both ways end with the diode off and the offsets at zero: in the procedure that runs when all is done, and in the one
that an operator (or this program) runs when something went wrong. AQUIR's terminate procedure is not enough: AQUIR
ends without it when ONOFF takes too long, is busy or fails to start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrant.acquire.plan import Plan, Step
from calibrant.acquire.storage import write_new
from calibrant.errors import ExistsError, ParameterError
from calibrant.station.aquir import check_aquir

PHASES = ("ONSO", "ONSC", "OFFC", "OFFS", "ZERO")
MOST_REPETITIONS = MOST_SAMPLES = 100
SETTINGS: dict[str, Any] = {
    "detectors": "all",
    "step_beams": 3.0,
    "cutoff_deg": 75.0,
    "wait_s": 120,
    "prefix": "",
}
"""Of ONOFF: its parameters besides repetitions and samples. `prefix`: of procedures that it calls at first points."""
ELEVATION = {"lowest_deg": 5.0, "highest_deg": 88.0}


@dataclass(frozen=True)
class Programme:
    """An ONOFF, ready to be written down."""

    name: str
    """Of the files and the beginning of the procedures' names: 'cb' and the beginning of the plan's hash."""
    title: str
    repetitions: int
    samples: int
    off: str
    """The command that switches the diode off."""
    settings: Mapping[str, Any]
    source: str = ""
    place: tuple[str, str, float] | None = None
    """Right ascension hhmmss.s, declination +ddmmss., epoch; None: the antenna is there already."""

    @property
    def parameters(self) -> str:
        """The command that sets ONOFF up."""
        known = self.settings
        words = (
            self.repetitions, self.samples, f"{known['cutoff_deg']:g}", f"{known['step_beams']:g}", known["prefix"],
            f"{known['wait_s']:g}", known["detectors"],
        )  # fmt: skip
        return "onoff=" + ",".join(map(str, words))

    @property
    def safe(self) -> tuple[str, ...]:
        """Commands after which the diode is off and the antenna points where it is told."""
        return (self.off, "azeloff=0d,0d")

    @property
    def minutes(self) -> int:
        """That ONOFF may take: every move its longest."""
        moves = 4 + 2 * self.repetitions + 1
        levels = (4 * self.repetitions + 3) * (1.1 * self.samples + 3.0)
        return math.ceil((moves * self.settings["wait_s"] + levels) / 60.0) + 1


def programme_of(
    plan: Plan, lamp: str, off: str, settings: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]
) -> Programme:
    """The ONOFF of a plan. ParameterError lists what a Field System's ONOFF cannot do of it."""
    shots = [step for step in plan.steps if step.kind == "expose"]
    faults = [fault for step in shots if (fault := _fault(step))]
    times = sorted({step.exposure_s for step in shots if step.frame_kind != "bias"})
    if len(times) > 1:
        faults.append("exposure times differ")
    if shots and any(time != round(time) or not 1 <= time <= MOST_SAMPLES for time in times):
        faults.append(f"exposure_time {times[0]:g}: ONOFF takes whole seconds, 1 to {MOST_SAMPLES}")
    if foreign := sorted({name for step in plan.steps for name in step.lights} - {lamp}):
        faults.append(f"ONOFF switches {lamp} only, not {', '.join(foreign)}")
    if faults or not shots:
        raise ParameterError(f"{plan.name}: a Field System cannot take this: {'; '.join(faults or ['no frame'])}")
    repetitions = max(int(step.options["repetition"]) for step in shots)
    name = f"cb{plan.hash[:6]}"
    places = [step.place for step in plan.steps if step.kind == "point" and step.place in sources]
    found = Programme(name, f"{plan.name} {plan.hash}", repetitions, round(times[0]), off, settings)
    if not places:
        return found
    entry = sources[places[0]]
    place = (str(entry["ra"]), str(entry["dec"]), float(entry.get("epoch", 2000.0)))
    return Programme(**{**vars(found), "source": places[0].lower(), "place": place})


def _fault(step: Step) -> str:
    if step.options.get("discard"):
        return f"{step.frame}: ONOFF has no frames to throw away"
    if step.options.get("phase") not in PHASES:
        return f"{step.frame}: is no part of an ONOFF"
    if int(step.options.get("repetition", 0)) > MOST_REPETITIONS:
        return f"{step.frame}: at most {MOST_REPETITIONS} repetitions"
    return ""


def procedures(programme: Programme) -> dict[str, list[str]]:
    """Name -> SNAP commands."""
    name, safe = programme.name, list(programme.safe)
    found = {
        # The offsets stay: a pointing's corrections are in them, and ONOFF adds its own and takes them back.
        f"{name}s": [f'"calibrant {programme.title}: set up', programme.off, programme.parameters],
        f"{name}e": [f'"calibrant {programme.title}: end, diode off and offsets zero', *safe],
    }
    if programme.place is None:
        return {**found, name: [f"{name}s", "onoff"]}
    ra, dec, epoch = programme.place
    found[f"{name}s"].append("sy=rte_go aquir &")
    # AQUIR begins anew for ever: it is ended after its first pass, and then runs the terminate procedure.
    found[f"{name}p"] = [*safe, "sy=brk aquir &"]
    return {**found, programme.source: [f"source={programme.source},{ra},{dec},{epoch:g}."]}


def library(programme: Programme) -> str:
    """A SNAP procedure library (.prc)."""
    parts = [
        "\n".join([f"define  {name:<12}  00000000000", *commands, "enddef"])
        for name, commands in procedures(programme).items()
    ]
    return "\n".join(parts) + "\n"


def control(programme: Programme, elevation: Mapping[str, float]) -> str:
    """An AQUIR control file; empty where no source has to be gone to. ParameterError where it would be wrong."""
    if programme.place is None:
        return ""
    ra, dec, epoch = programme.place
    name, wait = programme.name, 4 * round(programme.settings["wait_s"])
    lines = [
        f"* calibrant {programme.title}",
        f"{name}s -1 {name}e 0 {elevation['highest_deg']:g} {max(wait, 60)} 0",
        f"0 {elevation['lowest_deg']:g} 360",
        f"{programme.source} {ra} {dec} {epoch:g} {name}s -2 0 {programme.minutes} 0 {name}p 0",
    ]
    text = "\n".join(lines) + "\n"
    wrong = [problem for problem in check_aquir(text, procedures(programme)) if problem.severity == "error"]
    if wrong:
        raise ParameterError(wrong[0].describe(f"the AQUIR control file for {programme.source}"))
    return text


@dataclass(frozen=True)
class Written:
    """Files, and what has to be typed (or injected) at the Field System."""

    files: tuple[Path, ...]
    start: tuple[str, ...]
    end: str
    """The procedure that makes everything safe."""


def write(programme: Programme, directory: Path, elevation: Mapping[str, float]) -> Written:
    """Write library and control file. A file that is there with the same content is left as it is."""
    prc, ctl = directory / f"{programme.name}.prc", directory / f"{programme.name}.ctl"
    texts = {prc: library(programme), ctl: control(programme, elevation)}
    files = tuple(path for path, text in texts.items() if text)
    for path in files:
        try:
            write_new(path, texts[path].encode("ascii"))
        except ExistsError:
            if path.read_bytes() != texts[path].encode("ascii"):
                raise
    run = programme.name if programme.place is None else f"sy=run aquir {ctl.resolve()} &"
    return Written(files, (f"proc={programme.name}", run), f"{programme.name}e")
