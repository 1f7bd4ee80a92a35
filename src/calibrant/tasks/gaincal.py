"""gaincal: gains against time (G, T) and delays (K) of every antenna, from calibrator data and a model."""

from __future__ import annotations

from typing import Annotated, Any

from calibrant import params as p
from calibrant.params import Param
from calibrant.tasks.solved import SolveResult, solve_task

GAINTYPES = {"G": "G Jones", "T": "T Jones", "K": "K Jones"}


def gaincal(
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
    solint: Annotated[str, Param("Length of a solution interval: 'int', 'inf', '30s', '2min'.", unit="s")] = "inf",
    combine: Annotated[str, Param("What intervals may span: any of scan, field, spw, obs, with commas.")] = "",
    refant: p.Refant = "",
    refantmode: p.RefantMode = "flex",
    minblperant: p.MinBlPerAnt = 4,
    minsnr: p.MinSnr = 3.0,
    solnorm: Annotated[bool, Param("Divide each spw's gains by their overall rms amplitude.")] = False,
    normtype: Annotated[str, Param("Average used by solnorm.", choices=("mean", "median"))] = "mean",
    gaintype: Annotated[
        str,
        Param("G: a gain for each receptor; T: one for both; K: delay, in ns.", choices=tuple(GAINTYPES)),
    ] = "G",
    calmode: Annotated[str, Param("Solve for phase, amplitude or both.", choices=("ap", "p", "a"))] = "ap",
    corrdepflags: p.CorrDepFlags = False,
    append: Annotated[bool, Param("Add the solutions to an existing table of the same MeasurementSet.")] = False,
    gaintable: p.GainTable = [],  # noqa: B006
    gainfield: p.GainField = [],  # noqa: B006
    interp: p.Interp = [],  # noqa: B006
    spwmap: p.SpwMap = [],  # noqa: B006
    overwrite: p.Overwrite = False,
    dry_run: p.DryRun = False,
) -> SolveResult:
    """Solve for antenna gains or delays and write them as a calibration table.

    V_ij = g_i conj(g_j) M_ij, with M the model that setjy set (a unit point source where none is set). Weights are
    1/SIGMA^2. PARAMERR is the error of the complex gain, scaled by the scatter of the data; SNR = |g| / PARAMERR.
    Tables in gaintable are applied on the fly. A single solution that fails is flagged and its reason is counted.

    Raises SelectionError for an empty selection, SolveError if there is not one solution, ExistsError for an
    existing table without overwrite.

    Example:
        calibrant gaincal obs.ms phase.gcal --field 0,2 --solint int --refant DV10 --calmode p --gaintable band.bcal
    """
    p.check_choices(gaincal, {"normtype": normtype, "gaintype": gaintype, "calmode": calmode, "refantmode": refantmode})
    arguments: dict[str, Any] = {key: value for key, value in locals().items() if key != "gaintype"}
    return solve_task(gaincal, GAINTYPES[gaintype], **arguments)
