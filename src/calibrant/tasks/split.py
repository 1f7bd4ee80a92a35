"""split: a part of a MeasurementSet as a new one, selected and averaged, with weights that are inverse variances."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from calibrant import params as p
from calibrant.errors import ParameterError
from calibrant.params import Param, check_choices, provenance

if TYPE_CHECKING:
    from calibrant.ms.split import SplitPlan

UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "hr": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class SplitResult:
    """What was written (or would be, after a dry run). spws: new id -> old id, name, channels, width (Hz)."""

    vis: str
    outputvis: str
    datacolumn: str
    selection: str
    rows_in: int
    rows_out: int
    spws: list[dict[str, Any]]
    fields: list[str]
    correlations: list[str]
    megabytes: float
    notes: list[str]
    dry_run: bool = False

    def summary(self) -> str:
        verb = "would be written to" if self.dry_run else "were written to"
        lines = [
            f"{self.rows_out} rows ({self.megabytes:.1f} MB) {verb} {self.outputvis}",
            f"  from {self.rows_in} rows of {self.vis}",
            f"  {self.datacolumn} -> DATA; {self.selection}",
            f"  fields: {', '.join(self.fields)}; correlations: {' '.join(self.correlations)}",
        ]
        lines += [
            f"  spw {new} (was {spw['old']}): {spw['nchan']} channels of {abs(spw['width_hz']) / 1e3:.3f} kHz"
            for new, spw in enumerate(self.spws)
        ]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def split(
    vis: p.Vis,
    outputvis: Annotated[str, Param("The MeasurementSet to make.", positional=True)],
    field: p.Field = "",
    spw: p.Spw = "",
    scan: p.Scan = "",
    antenna: p.Antenna = "",
    correlation: p.Correlation = "",
    timerange: p.Timerange = "",
    intent: p.Intent = "",
    array: Annotated[str, Param("Subarray ids: '0,2~3'.")] = "",
    uvrange: p.Uvrange = "",
    observation: p.Observation = "",
    datacolumn: Annotated[str, Param("The column that becomes DATA: data, corrected or model.")] = "corrected",
    keepflags: Annotated[bool, Param("Keep rows that are flagged throughout.")] = True,
    width: Annotated[int | list[int], Param("Channels to average: one number, or one for each selected spw.")] = 1,
    timebin: Annotated[str, Param("Length of time averages: '30s', '2min'; 0s: none.", unit="s")] = "0s",
    combine: Annotated[str, Param("What time averages may cross: 'scan', 'state' or 'scan,state'.")] = "",
    overwrite: p.Overwrite = False,
    dry_run: p.DryRun = False,
) -> SplitResult:
    """Write the selected part of a MeasurementSet as a new one.

    Selected spectral windows, fields and correlations are renumbered from 0; antennas, states and observations keep
    their ids. Averages are weighted with 1/variance; WEIGHT of the output is 1/variance of its DATA, SIGMA is
    1/sqrt(WEIGHT), and averaged data have a WEIGHT_SPECTRUM. An average is flagged only if all its samples are. A
    time bin takes the integrations whose middle is less than `timebin` after its first, of one scan, field and state.

    Raises SelectionError (nothing left), MeasurementSetError (no such column), ExistsError, ParameterError.

    Example:
        calibrant split obs.ms target.ms --field TARGET --spw 17,19 --width 4 --timebin 30s
    """
    from calibrant.ms.index import open_index
    from calibrant.ms.selection import field_ids, select
    from calibrant.ms.split import Averaging, plan_split, write_split

    call = provenance(split, dict(locals()))
    check_choices(split, {"datacolumn": datacolumn})
    crossing = _combine(combine)
    seconds = _seconds(timebin)
    index = open_index(vis)
    selection = select(
        index, field=field, spw=spw, scan=scan, antenna=antenna, correlation=correlation, timerange=timerange,
        intent=intent, array=array, uvrange=uvrange, observation=observation,
    )  # fmt: skip
    plan = plan_split(
        index,
        selection,
        datacolumn=datacolumn,
        fields=field_ids(index, field) if field else None,
        averaging=Averaging(_widths(width, sorted(selection.channels)), seconds, crossing),
        keepflags=keepflags,
    )
    notes = list(plan.notes)
    if not dry_run:
        broken = write_split(plan, outputvis, history=[call], overwrite=overwrite)
        if broken:
            notes.append(f"{broken} unflagged visibilities that are not finite were averaged as if flagged")
    return _result(plan, vis, outputvis, selection.describe(), notes, dry_run)


def _result(plan: SplitPlan, vis: str, outputvis: str, selection: str, notes: list[str], dry_run: bool) -> SplitResult:
    from calibrant.ms.split_subtables import average_windows

    windows = {int(spw): average_windows(plan, int(spw)) for spw in plan.ids.spws}
    spws = [
        {
            "old": spw,
            "name": plan.index.spws[spw].name,
            "nchan": window["NUM_CHAN"],
            "width_hz": float(window["CHAN_WIDTH"][0]),
        }
        for spw, window in windows.items()
    ]
    names = [plan.index.polarizations[int(pol)].names[c] for pol in plan.ids.pols for c in plan.correlations[int(pol)]]
    return SplitResult(
        vis=vis,
        outputvis=outputvis,
        datacolumn=plan.column,
        selection=selection,
        rows_in=len(plan.rows),
        rows_out=plan.nrow,
        spws=spws,
        fields=[plan.index.fields.name[int(number)] for number in plan.ids.fields],
        correlations=list(dict.fromkeys(names)),
        megabytes=plan.bytes / 1e6,
        notes=notes,
        dry_run=dry_run,
    )


def _widths(width: int | Sequence[int], spws: list[int]) -> dict[int, int]:
    """Channels to average in each selected spw."""
    widths = [width] * len(spws) if isinstance(width, int) else [int(number) for number in width]
    if len(widths) == 1:
        widths *= len(spws)
    if len(widths) != len(spws):
        raise ParameterError(
            f"width has {len(widths)} numbers, but {len(spws)} spectral windows are selected "
            f"({', '.join(map(str, spws))}): give one number, or one for each"
        )
    if min(widths, default=1) < 1:
        raise ParameterError(f"width={width!r}: a number of channels is 1 or more")
    return dict(zip(spws, widths, strict=True))


def _seconds(timebin: str) -> float:
    """'30s', '2min', '1h', '10', 'inf' in seconds; 0 for no averaging."""
    text = str(timebin).strip().lower()
    if text == "inf":
        return float("inf")
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([a-z]*)", text)
    if not match or match[2] not in UNITS:
        raise ParameterError(f"timebin={timebin!r} is no length of time; write it as '30s', '2min', '1h' or 'inf'")
    return float(match[1]) * UNITS[match[2]]


def _combine(combine: str) -> tuple[str, ...]:
    from calibrant.ms.split import COMBINE

    words = tuple(word.strip() for word in combine.split(",") if word.strip())
    wrong = [word for word in words if word not in COMBINE]
    if wrong:
        raise ParameterError(
            f"combine={combine!r}: time averages may cross {' and '.join(COMBINE)}, not {', '.join(wrong)} "
            "(different fields are different skies)"
        )
    return words
