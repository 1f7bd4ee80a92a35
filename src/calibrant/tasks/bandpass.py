"""bandpass: gain against frequency (B) of every antenna, from data of a bright calibrator."""

from __future__ import annotations

from typing import Annotated, Any

from calibrant import params as p
from calibrant.params import Param
from calibrant.tasks.solved import SolveResult, solve_task


def bandpass(
    vis: p.Vis,
    caltable: p.CalTablePath,
    field: p.Field = "",
    spw: p.Spw = "",
    intent: p.Intent = "",
    timerange: p.Timerange = "",
    uvrange: p.Uvrange = "",
    antenna: p.Antenna = "",
    scan: p.Scan = "",
    observation: p.Observation = "",
    solint: Annotated[
        str, Param("Interval in time and, after a comma, in frequency: 'inf', 'inf,8ch', 'inf,4MHz'.", unit="s")
    ] = "inf",
    combine: Annotated[str, Param("What intervals may span: any of scan, field, obs, with commas.")] = "scan",
    refant: p.Refant = "",
    refantmode: p.RefantMode = "flex",
    minblperant: p.MinBlPerAnt = 4,
    minsnr: p.MinSnr = 3.0,
    solnorm: Annotated[bool, Param("Give every bandpass unit rms amplitude and zero mean phase.")] = False,
    bandtype: Annotated[str, Param("B: a solution for every channel or bin.", choices=("B",))] = "B",
    fillgaps: Annotated[int, Param("Interpolate over gaps of at most this many flagged channels.")] = 0,
    corrdepflags: p.CorrDepFlags = False,
    append: Annotated[bool, Param("Add the solutions to an existing table of the same MeasurementSet.")] = False,
    gaintable: p.GainTable = [],  # noqa: B006
    gainfield: p.GainField = [],  # noqa: B006
    interp: p.Interp = [],  # noqa: B006
    spwmap: p.SpwMap = [],  # noqa: B006
    overwrite: p.Overwrite = False,
    dry_run: p.DryRun = False,
) -> SolveResult:
    """Solve for antenna bandpasses and write them as a calibration table.

    V_ij(nu) = b_i(nu) conj(b_j(nu)) M_ij(nu), every channel (or bin of channels) on its own. Correct phases that vary
    in time first (gaincal with solint='int', calmode='p') and give that table in gaintable.

    Raises SelectionError for an empty selection, SolveError if there is not one solution, ExistsError for an
    existing table without overwrite.

    Example:
        calibrant bandpass obs.ms band.bcal --field 0 --refant DV10 --solnorm --gaintable bp_phase.gcal
    """
    p.check_choices(bandpass, {"bandtype": bandtype, "refantmode": refantmode})
    arguments: dict[str, Any] = {key: value for key, value in locals().items() if key != "bandtype"}
    return solve_task(bandpass, "B Jones", **arguments)
