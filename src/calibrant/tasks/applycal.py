"""applycal: calibration tables applied to data: CORRECTED_DATA, WEIGHT and flags."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from calibrant import params as p
from calibrant.errors import ParameterError
from calibrant.params import Param

if TYPE_CHECKING:
    from calibrant.ms.index import MSIndex
    from calibrant.ms.reader import Chunk
    from calibrant.ms.selection import Selection
    from calibrant.tasks.chain import Chain

MODES = ("", "calflag", "calflagstrict", "calonly", "flagonly", "flagonlystrict", "trial")


@dataclass(frozen=True)
class ApplyResult:
    """What was applied. Counts are of visibilities (row x channel x correlation)."""

    vis: str
    selection: str
    applymode: str
    gaintable: list[str]
    rows: int
    visibilities: int
    flagged_before: int
    flagged_now: int
    uncalibrated_spws: dict[str, list[str]]
    calwt: bool
    flag_version: str
    notes: list[str]
    dry_run: bool = False

    def summary(self) -> str:
        tables = ", ".join(self.gaintable)
        if self.dry_run:
            what = [] if self.applymode.startswith("flag") else ["CORRECTED_DATA"] + ["WEIGHT"] * self.calwt
            what += ["FLAG"] if "flag" in self.applymode else []
            return (
                f"applycal would apply {tables} to {self.rows} rows of {self.vis} ({self.selection}) and write"
                f" {', '.join(what)}. Nothing was touched."
            )
        share = 100.0 / max(self.visibilities, 1)
        lines = [
            f"{self.vis}: {tables} applied to {self.rows} rows ({self.selection}), mode {self.applymode}",
            f"  flagged: {share * self.flagged_before:.2f} % before, {share * self.flagged_now:.2f} % now"
            + (f" (flags before: version {self.flag_version})" if self.flag_version else ""),
        ]
        for spw, paths in self.uncalibrated_spws.items():
            state = "flagged" if "strict" in self.applymode else "left as DATA, not flagged"
            lines.append(f"  spw {spw}: no solutions in {', '.join(paths)}; {state}")
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def applycal(
    vis: p.Vis,
    field: p.Field = "",
    spw: p.Spw = "",
    intent: p.Intent = "",
    timerange: p.Timerange = "",
    uvrange: p.Uvrange = "",
    antenna: p.Antenna = "",
    scan: p.Scan = "",
    observation: p.Observation = "",
    gaintable: p.GainTable = [],  # noqa: B006
    gainfield: p.GainField = [],  # noqa: B006
    interp: p.Interp = [],  # noqa: B006
    spwmap: p.SpwMap = [],  # noqa: B006
    calwt: Annotated[bool | list[bool], Param("Scale WEIGHT with the calibration, for all tables or each.")] = True,
    applymode: Annotated[
        str,
        Param(
            "calflag: failed solutions flag data; calflagstrict: so do missing ones; calonly: no flags.", choices=MODES
        ),
    ] = "",
    flagbackup: Annotated[bool, Param("Save the flags as a version before changing them.")] = True,
    dry_run: p.DryRun = False,
) -> ApplyResult:
    """Divide the calibration out of DATA, into CORRECTED_DATA.

    CORRECTED_ij = DATA_ij / (J_i conj(J_j)), always from DATA, so running twice does not accumulate. With calwt,
    WEIGHT = c_i c_j / SIGMA^2 (c = |g|^2, or 1/Tsys), the inverse variance of CORRECTED_DATA; SIGMA stays that of
    DATA. Only Tsys gives the channels of WEIGHT_SPECTRUM different weights, as in CASA. Data of a spw without
    solutions become CORRECTED_DATA = DATA (never a stale value) and are named.

    Raises ParameterError without a table, SelectionError, CalTableError for a table that does not fit, LockedError if
    the MS is in use.

    Example:
        calibrant applycal obs.ms --field TARGET --gaintable band.bcal,phase.gcal,flux.gcal --gainfield ,J0006,J0006
    """
    from calibrant.ms.index import open_index
    from calibrant.ms.reader import has_cells
    from calibrant.ms.selection import select
    from calibrant.tasks.chain import open_chain

    p.check_choices(applycal, {"applymode": applymode})
    index = open_index(vis)
    chosen = select(
        index, field=field, spw=spw, intent=intent, timerange=timerange, uvrange=uvrange, antenna=antenna, scan=scan,
        observation=observation,
    )  # fmt: skip
    weights = calwt if isinstance(calwt, bool) else list(calwt)
    spectral = has_cells(index, "WEIGHT_SPECTRUM", chosen.rows)
    chain = open_chain(index, gaintable, gainfield, interp, spwmap, weights, spectral_weights=spectral)
    if not chain:
        raise ParameterError("nothing to apply: give gaintable")
    chain.prepare(chosen.rows)
    mode = applymode or "calflag"
    job = Application(index, chosen, chain, mode, spectral)
    where = (field, spw, intent, timerange, uvrange, antenna, scan, observation)
    fingerprint = repr((where, gaintable, gainfield, interp, spwmap, calwt, mode))
    if dry_run or mode == "trial":
        return job.result(vis, dry_run=True)
    return job.run(vis, fingerprint, flagbackup and "flag" in mode)


@dataclass
class Application:
    """One run over the selected rows."""

    index: MSIndex
    selection: Selection
    chain: Chain
    mode: str
    spectral: bool
    counts: Counter[str] = field(default_factory=Counter)
    flag_version: str = ""
    messages: list[str] = field(default_factory=list)

    @property
    def calibrates(self) -> bool:
        return self.mode.startswith("cal")

    @property
    def flags(self) -> bool:
        return "flag" in self.mode

    @property
    def weighs(self) -> bool:
        return self.calibrates and any(t.calwt for t in self.chain.tables)

    def run(self, vis: str, fingerprint: str, backup: bool) -> ApplyResult:
        from calibrant.ms.reader import map_chunks, plan_chunks
        from calibrant.ms.writer import MSWriter
        from calibrant.progress import progress

        columns = ["FLAG"] + (["DATA"] if self.calibrates else []) + (["SIGMA"] if self.weighs else [])
        with MSWriter(self.index.path, task="applycal", fingerprint=fingerprint) as writer:
            if backup:
                self.flag_version = writer.save_flags()
            if self.calibrates:
                writer.ensure_column("CORRECTED_DATA")
            with progress("applycal", total=len(self.selection.rows)) as bar:

                def commit(done: Applied) -> None:
                    for column, values in done.columns.items():
                        writer.put(column, done.rows, values)
                    self.counts.update(done.counts)
                    bar.advance(len(done.rows))

                map_chunks(self.index, plan_chunks(self.index, self.selection.rows), columns, self._apply, commit)
            self.messages = list(writer.messages)
        return self.result(vis)

    def result(self, vis: str, dry_run: bool = False) -> ApplyResult:
        return ApplyResult(
            vis=vis,
            selection=self.selection.describe(),
            applymode=self.mode,
            gaintable=[t.path for t in self.chain.tables],
            rows=len(self.selection.rows),
            visibilities=self.counts["visibilities"],
            flagged_before=self.counts["before"],
            flagged_now=self.counts["now"],
            uncalibrated_spws={
                str(spw): self.chain.missing(spw) for spw in sorted(self.selection.channels) if self.chain.missing(spw)
            },
            calwt=self.weighs,
            flag_version=self.flag_version,
            notes=self.messages + self.chain.notes,
            dry_run=dry_run,
        )

    def _apply(self, chunk: Chunk) -> Applied:
        """Correct one chunk in its own buffers; thread-safe."""
        from calibrant.solve import kernels
        from calibrant.tasks.solving import weights_from_sigma

        flag = chunk["FLAG"]
        before = int(np.count_nonzero(flag))
        counts = {"visibilities": flag.size, "before": before, "now": before}
        if self.chain.missing(chunk.spw):
            return self._without_solutions(chunk, counts)
        index, rows = self.index, chunk.rows
        product = np.ascontiguousarray(index.polarizations[int(index.ddid_pol[chunk.ddid])].product, np.int64)
        ant1, ant2 = index.ant1[rows].astype(np.int64), index.ant2[rows].astype(np.int64)
        factors = self.chain.factors(chunk.spw, rows)
        place = (factors.slot, ant1, ant2, product)
        done: dict[str, NDArray[Any]] = {}
        failed = None  # not flagged, so not half calibrated either
        if self.mode == "calonly" and factors.bad.any():
            failed = np.zeros_like(flag)
            kernels.spread_flags(failed, factors.bad, *place)
        if self.calibrates:
            data = chunk["DATA"]
            original = data[failed] if failed is not None else None
            kernels.correct(data, factors.inverse, *place, data)
            if original is not None:
                data[failed] = original
            done["CORRECTED_DATA"] = data
        if self.flags and factors.bad.any():
            new = kernels.spread_flags(flag, factors.bad, *place)
            if new:
                done["FLAG"] = flag
                counts["now"] += new
        if self.weighs:
            before_weight = weights_from_sigma(chunk["SIGMA"])
            weight = before_weight.copy()
            kernels.scale_weights(weight, factors.weight, *place)
            if self.spectral:
                by_channel = np.repeat(weight[:, None, :], flag.shape[1], axis=1)
                if factors.spectrum is not None:
                    by_channel *= factors.spectrum[factors.slot, ant1][:, :, product[:, 0]]
                    by_channel *= factors.spectrum[factors.slot, ant2][:, :, product[:, 1]]
                    weight = np.median(by_channel, axis=1)
                if failed is not None:
                    by_channel = np.where(failed, before_weight[:, None], by_channel)
                done["WEIGHT_SPECTRUM"] = by_channel
            if failed is not None:
                weight = np.where(failed.all(axis=1), before_weight, weight)
            done["WEIGHT"] = weight
        return Applied(rows, done, counts)

    def _without_solutions(self, chunk: Chunk, counts: dict[str, int]) -> Applied:
        """A spw that a table does not cover: CORRECTED_DATA = DATA, flagged in the strict modes."""
        from calibrant.tasks.solving import weights_from_sigma

        done: dict[str, NDArray[Any]] = {"CORRECTED_DATA": chunk["DATA"]} if self.calibrates else {}
        if self.weighs:  # nor a stale weight
            done["WEIGHT"] = weights_from_sigma(chunk["SIGMA"])
            if self.spectral:
                done["WEIGHT_SPECTRUM"] = np.repeat(done["WEIGHT"][:, None, :], chunk["FLAG"].shape[1], axis=1)
        if "strict" in self.mode and not chunk["FLAG"].all():
            chunk["FLAG"][:] = True
            done["FLAG"] = chunk["FLAG"]
            counts["now"] = counts["visibilities"]
        return Applied(chunk.rows, done, counts)


@dataclass(frozen=True)
class Applied:
    """Columns to write for the rows of a chunk, and counts for the result."""

    rows: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]
    counts: dict[str, int]
