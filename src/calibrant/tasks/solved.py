"""What gaincal and bandpass do around the solve: check outputs, open priors, normalise, write, report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.errors import CalTableError, ExistsError, ParameterError, SelectionError
from calibrant.params import provenance

if TYPE_CHECKING:
    from calibrant.caltable.table import CalTable
    from calibrant.ms.index import MSIndex


@dataclass(frozen=True)
class SolveResult:
    """What a solve left behind. Counts are of single solutions (antenna x receptor x interval x channel)."""

    verb: str
    vis: str
    caltable: str
    kind: str
    selection: str
    spws: list[int]
    refant: str
    intervals: int
    intervals_without_data: int
    expected: int
    with_data: int
    above_minblperant: int
    above_minsnr: int
    median_snr: float
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dry_run: bool = False

    def summary(self) -> str:
        if self.dry_run:
            return (
                f"{self.verb} would read {self.vis} ({self.selection}), solve {self.kind} in {self.intervals} intervals"
                f" of spw {', '.join(map(str, self.spws))}, and write {self.caltable}. Nothing was touched."
            )
        share = 100.0 * self.above_minsnr / max(self.expected, 1)
        lines = [
            f"{self.caltable}: {self.kind}, {self.above_minsnr} of {self.expected} solutions good ({share:.1f} %)",
            f"  {self.intervals} intervals, spw {', '.join(map(str, self.spws))},"
            f" reference antenna {self.refant or '-'}, median SNR {self.median_snr:.0f}",
        ]
        if self.intervals_without_data:
            lines.append(f"  {self.intervals_without_data} intervals have no unflagged data and were not written")
        return "\n".join(lines + [f"  {text}" for text in self.failed + self.notes])

    def to_dict(self) -> dict[str, Any]:
        from dataclasses import asdict

        return asdict(self)


def solve_task(
    verb: Callable[..., SolveResult],
    kind: str,
    *,
    vis: str,
    caltable: str,
    solint: str,
    combine: str,
    refant: str | list[str],
    refantmode: str,
    minblperant: int,
    minsnr: float,
    solnorm: bool,
    corrdepflags: bool,
    append: bool,
    gaintable: str | Sequence[str],
    gainfield: str | Sequence[str],
    interp: str | Sequence[str],
    spwmap: Sequence[int] | Sequence[Sequence[int]],
    overwrite: bool,
    dry_run: bool,
    normtype: str = "mean",
    calmode: str = "ap",
    fillgaps: int = 0,
    **selection: str,
) -> SolveResult:
    """Run one solving verb; `selection` holds its data selection."""
    from calibrant.ms.index import open_index
    from calibrant.ms.selection import select
    from calibrant.tasks.chain import open_chain
    from calibrant.tasks.intervals import parse_combine, parse_solint, plan_cells
    from calibrant.tasks.solving import Solve, solve

    check_output(caltable, overwrite or append, dry_run)
    index = open_index(vis)
    chosen = select(index, **selection)
    names = refant if isinstance(refant, str) else ",".join(refant)
    how = Solve(
        kind=kind,
        solint=parse_solint(solint),
        combine=parse_combine(combine),
        refants=_refants(index, names),
        calmode=calmode,
        strict=refantmode == "strict",
        minblperant=minblperant,
        minsnr=minsnr,
        corrdepflags=corrdepflags,
        channelized=kind == "B Jones",
    )
    if how.channelized and "spw" in how.combine:
        raise ParameterError("bandpass cannot combine spws: every channel has a solution of its own")
    if (how.solint.nchan or how.solint.hertz) and kind in ("G Jones", "T Jones"):
        raise ParameterError(f"solint {solint!r}: gaintype {kind[0]!r} has one solution for all selected channels")
    chain = open_chain(index, gaintable, gainfield, interp, spwmap, spectral_weights=True)
    chain.prepare(chosen.rows)
    common: dict[str, Any] = {"verb": verb.__name__, "vis": vis, "caltable": caltable, "kind": kind}
    common["selection"] = chosen.describe()
    if dry_run:
        cells = plan_cells(index, chosen.rows, how.solint, how.combine)
        return SolveResult(
            **common, spws=sorted(chosen.channels), refant=names, intervals=len(cells), intervals_without_data=0,
            expected=0, with_data=0, above_minblperant=0, above_minsnr=0, median_snr=0.0, dry_run=True,
        )  # fmt: skip
    table, stats = solve(index, chosen, how, chain, f"{verb.__name__} {os.path.basename(caltable)}")
    if solnorm:
        _normalise(table, normtype)
    if fillgaps:
        _fill_gaps(table, fillgaps, stats)
    values = {
        "vis": vis, "caltable": caltable, "solint": solint, "combine": combine, "refant": names, "calmode": calmode,
        "minsnr": minsnr, "minblperant": minblperant, "gaintable": gaintable, "gainfield": gainfield,
        "interp": interp, "spwmap": spwmap, "solnorm": solnorm, "normtype": normtype, "refantmode": refantmode,
        "corrdepflags": corrdepflags, "fillgaps": fillgaps, "append": append, **selection,
    }  # fmt: skip
    if kind != "B Jones":
        values["gaintype"] = kind[0]
    table.provenance = [provenance(verb, values), *stats.sentences()]
    if append and os.path.exists(caltable):
        table = _appended(index, caltable, table)
    _write(table, caltable, vis, overwrite or append)
    used = ", ".join(index.antennas.name[ant] for ant, _ in stats.refants.most_common() if ant >= 0)
    return SolveResult(
        **common,
        spws=sorted(table.spws),
        refant=used,
        intervals=stats.intervals,
        intervals_without_data=stats.intervals_without_data,
        expected=stats.expected,
        with_data=stats.with_data,
        above_minblperant=stats.above_minblperant,
        above_minsnr=stats.above_minsnr,
        median_snr=_median_snr(table),
        failed=stats.sentences(),
        notes=chain.notes,
    )


def _refants(index: MSIndex, names: str) -> list[int]:
    from calibrant.ms.selection import antenna_ids

    try:
        return antenna_ids(index, names) if names else []
    except SelectionError as error:
        raise SelectionError(f"refant {names!r}: {error}") from None


def check_output(path: str, overwrite: bool, dry_run: bool) -> None:
    """Raise ExistsError where `path` exists and may not be replaced; what is no calibration table never is."""
    from calibrant.caltable import casa

    if os.path.exists(path) and not overwrite and not dry_run:
        raise ExistsError(f"{path} exists; give --overwrite to replace it, or another name")
    if not dry_run:
        casa.check_output(path, overwrite)


def _write(table: CalTable, path: str, vis: str, overwrite: bool) -> None:
    from calibrant.caltable import casa

    casa.write(table, path, vis, overwrite=overwrite)


def _median_snr(table: CalTable) -> float:
    values = [sol.snr[~sol.flag] for sol in table.spws.values()]
    joined = np.concatenate(values) if values else np.zeros(0)
    return float(np.median(joined)) if len(joined) else 0.0


def _normalise(table: CalTable, normtype: str) -> None:
    from calibrant.solve.normalise import normalise_bandpass, normalise_gain

    if table.kind == "K Jones":
        raise ParameterError("solnorm has no meaning for delays (gaintype 'K')")
    for sol in table.spws.values():
        factor = (
            normalise_bandpass(sol.param, sol.flag)
            if table.kind == "B Jones"
            else normalise_gain(sol.param, sol.flag, normtype)
        )
        sol.param[:] = np.where(sol.flag, sol.param, sol.param / factor)
        sol.error[:] = np.where(sol.flag, sol.error, sol.error / np.abs(factor))


def _fill_gaps(table: CalTable, width: int, stats: Any) -> None:
    from calibrant.solve.normalise import fill_gaps
    from calibrant.solve.outcome import Outcome

    for sol in table.spws.values():
        filled_gain, filled = fill_gaps(sol.param, sol.flag, width)
        sol.param[:] = filled_gain
        sol.flag[filled] = False
        if sol.outcome is not None:
            before = np.bincount(sol.outcome[filled])
            stats.outcomes.subtract({code: int(n) for code, n in enumerate(before) if n})
            stats.outcomes[int(Outcome.FILLED)] += int(filled.sum())
            stats.above_minsnr += int(filled.sum())
            sol.outcome[filled] = Outcome.FILLED


def _appended(index: MSIndex, path: str, new: CalTable) -> CalTable:
    """The table at `path` with the new solutions added; CalTableError where they do not belong together."""
    from calibrant.caltable import casa
    from calibrant.caltable.table import concatenate

    old = casa.read(path)
    if old.kind != new.kind or old.ms_name != new.ms_name:
        raise CalTableError(
            f"{path} holds {old.kind} of {old.ms_name}; {new.kind} of {new.ms_name} cannot be appended to it"
        )
    return concatenate(old, new)
