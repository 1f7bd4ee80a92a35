"""`calibrant acquire resume`: take the frames that a run left out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from calibrant.acquire.verbs.run import Documents, RunReport, State, execute
from calibrant.params import DryRun, Param


def resume(
    sequence: Annotated[
        str, Param("Directory of the run; or its sequence, with -o DIR. Empty: the run in -o DIR.", positional=True)
    ] = "",
    inventory: Annotated[str, Param("Name or file of the inventory; empty: as when the run began.")] = "",
    output: Annotated[str, Param("Directory of the run.")] = "",
    simulate: Annotated[bool, Param("Needed where the run was a simulation with another inventory's devices.")] = False,
    speed: Annotated[float, Param("Of a simulation; 0: as when the run began.")] = 0.0,
    documents: Documents = "",
    state: State = "",
    dry_run: DryRun = False,
) -> RunReport:
    """Go on with a run that ended early: exactly the frames are taken that are not there yet.

    A frame is there when the files of all its cameras are, each with the checksum of the journal. The sequence and
    the inventory must be as they were: what has changed is listed, and nothing is taken. Lights that still burn are
    switched off first. A simulation goes on as a simulation.

    Example:
        calibrant acquire resume night1

    Raises ParameterError where plan or inventory have changed, DataError where there is no run.
    """
    from calibrant.acquire import session
    from calibrant.acquire.compiler import compile_plan
    from calibrant.acquire.inventory import load_inventory
    from calibrant.acquire.resume import refuse_changes, start_record, verified

    directory, name = which(sequence, output)
    start = start_record(directory)
    devices = load_inventory(inventory or start["inventory"]["source"])
    plan = compile_plan(_sequence(name, start, directory), devices, **start["compiled"])
    old = {part: read_json(directory / part) for part in (session.INVENTORY_NAME, session.PLAN_NAME)}
    refuse_changes(directory, old[session.INVENTORY_NAME], devices.model_dump(mode="json"), "inventory")
    refuse_changes(directory, _decisive(old[session.PLAN_NAME]), _decisive(plan.to_dict()), "plan")
    _same_world(simulate, start, directory)
    before = verified(directory, plan)
    simulated = start["simulated"] and devices.driver != "sim"
    request = session.Request(
        plan, devices, directory, simulated, speed or (start["speed"] if start["simulated"] else 1.0),
        source=start["inventory"]["source"], compiled=start["compiled"], before=before, documents=documents,
        state=state,
    )  # fmt: skip
    if dry_run:
        return _what_is_left(request)
    return execute(request)


def which(sequence: str, output: str) -> tuple[Path, str]:
    """The directory of the run, and the sequence where one is named."""
    from calibrant.errors import ParameterError

    if output:
        return Path(output), sequence
    if sequence and Path(sequence).is_dir():
        return Path(sequence), ""
    raise ParameterError(
        f"{sequence or 'resume'}: name the directory of the run that is to go on: calibrant acquire resume DIR"
    )


def _sequence(name: str, start: dict[str, Any], directory: Path) -> Any:
    """As given, else as it was when the run began."""
    from calibrant.acquire.sequence import load_sequence
    from calibrant.errors import ParameterError

    if "recipe" in start["sequence"]:
        raise ParameterError(
            f"{directory}: {start['plan']['name']} cannot go on: their times follow from the sky, which has changed. "
            "What is there stays; take them anew with the night's list: "
            f"calibrant acquire schedule CALIBRATIONS --run -o {directory.parent}"
        )
    return load_sequence(name) if name else load_sequence({**start["sequence"], "name": start["plan"]["name"]})


def read_json(path: Path) -> Any:
    """DataError or FormatError where a file of the run cannot be read."""
    import json

    from calibrant.errors import DataError, FormatError

    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): nothing says any more what was planned") from error
    except ValueError as error:
        raise FormatError(f"{path}: is damaged ({error}): nothing says any more what was planned") from error


def _decisive(plan: dict[str, Any]) -> dict[str, Any]:
    """What decides which frames are taken, by step; times follow from it."""
    import json

    steps = json.loads(json.dumps(plan["steps"]))
    kept = {
        f"{step['index']} ({step['kind']}{' ' + step['frame'] if step['frame'] else ''})": {
            name: value for name, value in step.items() if name not in ("index", "start_s", "duration_s")
        }
        for step in steps
    }
    return {"name": plan["name"], "step": kept}


def _same_world(simulate: bool, start: dict[str, Any], directory: Path) -> None:
    from calibrant.errors import ParameterError

    if simulate and not start["simulated"]:
        raise ParameterError(f"{directory}: this run was taken with real devices; it cannot go on as a simulation")


def _what_is_left(request: Any) -> RunReport:
    """A dry run: the plan with the steps that are left, one after the other."""
    from dataclasses import replace

    from calibrant.acquire.units import closed_up, remaining

    left = closed_up(remaining(request.plan.steps, set(request.before.done)))
    ends = max((step.start_s + step.duration_s for step in left), default=0.0)
    return RunReport(replace(request.plan, steps=tuple(left), duration_s=ends), str(request.directory))
