"""calibrate: from an observation to calibrated data, tables, a page and a verdict."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from calibrant import params as p
from calibrant.errors import ExistsError
from calibrant.params import Param
from calibrant.pipeline.result import CalibrationResult, Step

if TYPE_CHECKING:
    from calibrant.ms.index import MSIndex
    from calibrant.pipeline.job import Finished
    from calibrant.pipeline.observation import Observed
    from calibrant.pipeline.roles import Roles
    from calibrant.pipeline.run import Run


def calibrate(
    obs: Annotated[str, Param("A MeasurementSet, or a multi-source UVFITS file.", positional=True)],
    output: Annotated[str, Param("Folder for tables, page and target. Empty: NAME.calibrated, here.")] = "",
    standard: Annotated[str, Param("Flux density standard.")] = "Perley-Butler 2017",
    flux: Annotated[str, Param("Flux calibrator, where intents and names do not tell.")] = "",
    bandpass: Annotated[str, Param("Bandpass calibrator, where intents and names do not tell.")] = "",
    phase: Annotated[str, Param("Phase calibrator, where intents and pattern do not tell.")] = "",
    target: Annotated[str, Param("Target, where intents and pattern do not tell.")] = "",
    refant: p.Refant = "",
    overwrite: p.Overwrite = False,
    dry_run: p.DryRun = False,
) -> CalibrationResult:
    """Calibrate an observation end to end, and say whether the result can be trusted.

    Flags what is bad a priori, sets the flux model, solves for delays, bandpass, phases and amplitudes, transfers the
    flux scale, applies everything, flags what the solutions and residuals show to be bad, solves again, and splits the
    target. A MeasurementSet is calibrated in place (CORRECTED_DATA, flags; the flags before are saved as version
    'before_calibrate', and a second run starts from them and from what was flagged since the first); a UVFITS file is
    imported into the output folder first.
    The folder receives the CASA calibration tables, report.html, result.json, commands.sh, listobs.txt and the target.

    Raises SelectionError where a role cannot be found, FluxModelError for an unknown flux calibrator.

    Example:
        calibrant calibrate NGC5921.fits.gz -o ngc5921 --standard "Perley-Taylor 99"
    """
    from calibrant.pipeline.job import Job
    from calibrant.pipeline.lock import held
    from calibrant.pipeline.plan import plan_text
    from calibrant.pipeline.run import Run
    from calibrant.progress import say

    folder = output or _stem(os.path.basename(os.path.normpath(obs))) + ".calibrated"
    told = {"flux": flux, "bandpass": bandpass, "phase": phase, "target": target}
    names = refant if isinstance(refant, str) else ",".join(refant)
    if dry_run:
        return _plan_only(obs, folder, standard, told, names)
    _check_folder(folder, obs, overwrite)
    with held(folder), held(obs) if os.path.isdir(obs) else contextlib.nullcontext():
        _check_folder(folder, obs, overwrite)  # another run may just have made it
        if os.path.isfile(obs):
            with _put_back(folder):
                ms, imported = _import(obs, folder)
                run = Run(ms, folder)
                run.steps.append(imported)
                roles, seen = _look(run, standard, told, names)
        else:
            run = Run(obs, folder)
            roles, seen = _look(run, standard, told, names)
            with _put_back(folder):
                pass
        say("\n".join(plan_text(run, roles, seen, standard, obs)))
        return _publish(Job(run, roles, seen, standard, names, obs).finish(), run)


def _look(run: Run, standard: str, told: dict[str, str], refant: str) -> tuple[Roles, Observed]:
    """Roles and shape of the observation; whatever is wrong with the call is said here, before anything is touched."""
    from calibrant.ms.selection import antenna_ids
    from calibrant.pipeline.observation import observe
    from calibrant.pipeline.plan import check_flux_models
    from calibrant.pipeline.roles import find_roles

    if refant:
        antenna_ids(run.index, refant)
    roles = find_roles(run.index, told, standard)
    seen = observe(run.index, roles)
    check_flux_models(run, roles, seen, standard)
    return roles, seen


MARK = ".calibrant-calibrate"
"""A folder that holds this file is one of ours, and may be replaced."""


def _check_folder(folder: str, obs: str, overwrite: bool) -> None:
    """ExistsError where `folder` exists and must not be replaced."""
    if not os.path.exists(folder):
        return
    if not overwrite:
        raise ExistsError(f"{folder} exists; give --overwrite to replace it, or another --output")
    inside = os.path.commonpath([os.path.realpath(folder), os.path.realpath(obs)]) == os.path.realpath(folder)
    whole = os.path.isdir(folder) and not os.path.islink(folder)
    ours = whole and (not os.listdir(folder) or os.path.exists(os.path.join(folder, MARK)))
    if inside or not ours:
        why = f"{obs} lies in it" if inside else f"it is no folder of calibrant calibrate (no {MARK} in it)"
        raise ExistsError(f"{folder} is not overwritten: {why}; choose another --output")


@contextlib.contextmanager
def _put_back(folder: str) -> Iterator[None]:
    """An empty folder with our mark; what was there before goes at the end, or comes back after an error."""
    folder = os.path.normpath(folder)
    aside = os.path.join(os.path.dirname(folder), f".{os.path.basename(folder)}.old-{os.getpid()}")
    existed = os.path.exists(folder)
    if existed:
        os.rename(folder, aside)
    try:
        os.makedirs(folder)
        write_text(os.path.join(folder, MARK), "made by calibrant calibrate, which may replace this folder\n")
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if existed:
            os.rename(aside, folder)
        raise
    if existed:
        shutil.rmtree(aside)


def _publish(done: Finished, run: Run) -> CalibrationResult:
    """Write the page, result.json and commands.sh into the run's folder."""
    from calibrant.weblog.report import write_report

    result = done.result
    result.report = run.path("report.html")
    curves = standard_curves(run.index, result)
    write_report(result, done.tables, done.averages, run.index, result.report, curves=curves)
    write_text(run.path("commands.sh"), "#!/bin/sh\nset -e\n" + "\n".join(result.commands) + "\n")
    write_text(run.path("result.json"), json.dumps(result.to_dict(), indent=1) + "\n")
    return result


def standard_curves(index: MSIndex, result: CalibrationResult) -> dict[str, tuple[Any, Any]]:
    """Field name -> (Hz, Jy) of the flux standard over the observed range."""
    from calibrant.pipeline.roles import label
    from calibrant.sky.standards import flux_density, get_standard
    from calibrant.tasks.models import calibrator_of

    freq = np.concatenate([index.spws[f.spw].freq for f in result.fluxes]) if result.fluxes else np.zeros(0)
    curves = {}
    labels = [label(index, field) for field in range(len(index.fields))]
    for name in {f.field for f in result.fluxes if f.origin == "standard"}:
        source = calibrator_of(index, labels.index(name), result.standard)
        if source is not None and source.name in get_standard(result.standard).entries:
            hertz = np.linspace(freq.min(), freq.max(), 100)
            curves[name] = (hertz, flux_density(result.standard, source.name, hertz))
    return curves


def write_text(path: str, text: str) -> None:
    """Write a text file at once: temporary name, then rename."""
    temporary = f"{path}.tmp-{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(temporary, path)


def _plan_only(obs: str, folder: str, standard: str, told: dict[str, str], refant: str) -> CalibrationResult:
    """The plan as notes of a result; a UVFITS file is imported into a temporary folder to look at it."""
    from calibrant.pipeline.plan import empty_result, plan_text
    from calibrant.pipeline.run import Run

    with tempfile.TemporaryDirectory() as temporary:
        ms = obs
        if os.path.isfile(obs):
            ms, _ = _import(obs, temporary)
        run = Run(ms, folder)
        roles, seen = _look(run, standard, told, refant)
        result = empty_result(run, roles, seen, standard, obs)
        result.notes = [*plan_text(run, roles, seen, standard, obs), "Nothing was touched (dry run)."]
        result.verdict = "planned"
        return result


def _import(obs: str, folder: str) -> tuple[str, Step]:
    """Import a UVFITS file into `folder`; the path of the MeasurementSet and the step."""
    from calibrant.tasks.importuvfits import importuvfits

    name = _stem(os.path.basename(obs))
    ms = os.path.join(folder, name + ".ms")
    values = {"fitsfile": obs, "vis": ms, "antnamescheme": "new", "overwrite": True}
    importuvfits(**values)  # type: ignore[arg-type]
    return ms, Step("import", "UVFITS to MeasurementSet", p.command_line(importuvfits, values), 0.0)


def _stem(path: str) -> str:
    """`path` without the suffixes of observations."""
    for suffix in (".gz", ".fits", ".uvfits", ".FITS", ".UVFITS", ".ms"):
        path = path.removesuffix(suffix)
    return path
