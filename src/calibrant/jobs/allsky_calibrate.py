"""`calibrant allsky calibrate`: visibilities and known sources -> gains, phases, a verdict, and a report of it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

from calibrant.allsky.files import check_output
from calibrant.allsky.verbs.calibrate import CalibrateResult, solve
from calibrant.errors import ParameterError
from calibrant.params import Overwrite, Param, command_line


def calibrate(
    file: Annotated[str, Param("The file of `allsky collect` (or vis .hdf of the telescope).", positional=True)] = "",
    source: Annotated[
        list[str], Param('A known source, as "az=0,el=45,r=25" (degrees, metres; r=far); may be repeated.')
    ] = [],  # noqa: B006
    output: Annotated[str, Param("The gains file to write, as gains.json. Empty: none.")] = "",
    report: Annotated[str, Param("The HTML report to write. Empty: none.")] = "",
    elevation: Annotated[float, Param("Catalogue sources below this are not used.", unit="deg")] = 10.0,
    ignore: Annotated[list[int], Param("Antennas to leave out.")] = [],  # noqa: B006
    reference: Annotated[int, Param("The antenna with gain 1 and phase 0.")] = 0,
    orientation: Annotated[
        str,
        Param(
            "Hold the positions, fit a small rotation, scan all rotations and mirror images, or what the data allow.",
            choices=("auto", "hold", "fit", "scan"),
        ),
    ] = "auto",
    noise: Annotated[
        float, Param("Noise of a visibility, per real and imaginary part; for chi2. 0: the data's own, or 0.0015.")
    ] = 0.0,
    starts: Annotated[int, Param("Random starts of the solution, 8 or more.")] = 16,
    seed: Annotated[int, Param("Seed of the random starts.")] = 1,
    catalogue: Annotated[str, Param("Catalogue file, for visibilities that come without one.")] = "",
    assume_utc: Annotated[bool, Param("Take timestamps without a zone as UTC.")] = False,
    method: Annotated[str, Param("Accepted for old scripts (BH, LB, NM, DE); there is one method here.")] = "",
    api: Annotated[str, Param("Accepted for old scripts; the file has all that is needed.")] = "",
    file_: Annotated[str, Param("The file, as old scripts name it.")] = "",
    dir: Annotated[str, Param("Where old scripts look for METHOD_opt_json.json; -o names the gains file itself.")] = "",
    overwrite: Overwrite = False,
) -> CalibrateResult:
    """Calibrate an all-sky array on point sources: gains and phases of all antennas, with a verdict.

    Given sources are used together with the catalogue's satellites, whose fluxes are fitted. The file of the HOWTO,
    edited to hold one source, works unchanged. Exit code 3: do not upload.

    Example:
        calibrant allsky calibrate calib_data.json --source az=0,el=45,r=25 -o gains.json --report report.html

    Raises DataError, FormatError or ParameterError where the file or a source cannot be used.
    """
    file, output = _old_names(file, file_, output, dir, method)
    values = dict(locals())  # the call as it was meant: for the solution, and for the report to repeat
    for name in ("file_", "dir"):
        del values[name]
    check_output(report, overwrite)
    del values["report"]
    result = solve(**values)
    if not report:
        return result
    from calibrant.weblog.allsky import write_allsky_report

    command = command_line(calibrate, values | {"output": output or "gains.json"}, "allsky calibrate")
    write_allsky_report(result.calibration, result.judged, report, output, result.remarks, command)
    return replace(result, report=report)


def _old_names(file: str, file_: str, output: str, folder: str, method: str) -> tuple[str, str]:
    """(file, gains file) of a call that may be written as for tart_calibrate: --file F --method BH --dir D."""
    if bool(file) == bool(file_):
        found = "two files" if file else "none"
        raise ParameterError(f"found {found}, expected one: calibrant allsky calibrate FILE (or --file FILE)")
    if folder and not output:
        output = os.path.join(folder, f"{method or 'BH'}_opt_json.json")
    return file or file_, output
