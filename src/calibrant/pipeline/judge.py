"""The verdict: can the result be trusted? Each check is a sentence with its number; the worst check decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibrant.caltable.table import CalTable
from calibrant.ms.index import MSIndex
from calibrant.pipeline.result import VERDICTS, CalibrationResult
from calibrant.pipeline.roles import Roles
from calibrant.plots.averages import Averages
from calibrant.solve.outcome import Outcome


@dataclass(frozen=True)
class Check:
    """level: 0 good, 1 look at it, 2 do not trust; sentence: what was measured, and against what."""

    level: int
    sentence: str


def judge(
    result: CalibrationResult, tables: dict[str, CalTable], averages: Averages, index: MSIndex, roles: Roles
) -> tuple[str, list[str]]:
    """(verdict, sentences): the worst checks first, or what is good about it where all are."""
    checks = [*_solutions(tables), *_antennas(tables, index), *_fluxes(result), *_corrected(result, averages)]
    checks += [*_flags(result, index, roles), *_drift(tables)]
    worst = max((check.level for check in checks), default=2)
    told = [check for check in checks if check.level > 0] if worst else checks
    told.sort(key=lambda check: -check.level)
    return VERDICTS[worst], [check.sentence for check in told]


def _level(value: float, check: float, distrust: float) -> int:
    """0, 1 or 2 as `value` passes the limits; limits may fall or rise. Not a number is beyond both."""
    if check < distrust:
        return int(not value <= check) + int(not value <= distrust)
    return int(not value >= check) + int(not value >= distrust)


def _solutions(tables: dict[str, CalTable]) -> list[Check]:
    """Share of the solutions that are good, where there are data."""
    checks = []
    for role, table in tables.items():
        good = tried = 0
        for sol in table.spws.values():
            empty = np.zeros_like(sol.flag) if sol.outcome is None else sol.outcome == Outcome.NO_DATA
            good += int((~sol.flag).sum())
            tried += int((~empty).sum())
        share = good / max(tried, 1)
        checks.append(Check(_level(share, 0.9, 0.5), f"{100 * share:.1f} % of the {role} solutions are good"))
    return checks


def _antennas(tables: dict[str, CalTable], index: MSIndex) -> list[Check]:
    table = tables["phase_scan"]
    usable = np.zeros(len(index.antennas), bool)
    for sol in table.spws.values():
        usable |= (~sol.flag).any(axis=(0, 2, 3))
    present = np.unique(np.concatenate([index.ant1, index.ant2]))
    count, total = int(usable[present].sum()), len(present)
    level = 2 if count < 4 else _level(count / max(total, 1), 0.7, 0.4)
    lost = [index.antennas.name[a] for a in present if not usable[a]]
    return [Check(level, f"{count} of {total} antennas are calibrated" + (f" (not {', '.join(lost)})" if lost else ""))]


def _fluxes(result: CalibrationResult) -> list[Check]:
    return [
        Check(
            _level(flux.error_jy / flux.flux_jy, 0.05, 0.2),
            f"{flux.field} spw {flux.spw}: {flux.flux_jy:.4g} Jy known to {100 * flux.error_jy / flux.flux_jy:.2f} %",
        )
        for flux in result.fluxes
        if flux.origin == "fluxscale"
    ]


def _corrected(result: CalibrationResult, averages: Averages) -> list[Check]:
    """The vector average of a calibrator's corrected data against its flux density: scale and coherence."""
    known = {(flux.field, flux.spw): flux for flux in result.fluxes}
    checks = []
    for part in averages.parts:
        flux = known.get((part.field_name, part.spw))
        column = part.columns.get("CORRECTED_DATA")
        if flux is None or column is None or not np.isfinite(column.channel).any():
            continue
        got, jy = float(np.abs(np.nanmean(column.channel))), flux.flux_jy
        if flux.resolved and "MODEL_DATA" in part.columns:  # the same samples of what was expected
            jy = float(np.abs(np.nanmean(part.columns["MODEL_DATA"].channel)))
        off = abs(got / jy - 1)
        checks.append(
            Check(
                _level(off, 0.1, 0.3),
                f"{part.field_name} spw {part.spw}: calibrated data average to {got:.4g} Jy"
                f" ({round(100 * (got / jy - 1), 2) + 0.0:+.2f} % of its {jy:.4g} Jy)",
            )
        )
    return checks


def _flags(result: CalibrationResult, index: MSIndex, roles: Roles) -> list[Check]:
    if not result.flags:
        return []
    last = result.flags[-1]
    return [
        Check(
            _level(last.by_field[name], 0.6, 0.95),
            f"{name}: {100 * last.by_field[name]:.1f} % of the data are flagged",
        )
        for name in (index.fields.name[f] for f in roles.target)
        if name in last.by_field
    ]


def _drift(tables: dict[str, CalTable]) -> list[Check]:
    """Phase from one scan of the phase calibrator to the next: what interpolation to the target has to bridge."""
    steps = []
    for sol in tables["phase_scan"].spws.values():
        if len(sol.time) > 1:
            turn = np.angle(sol.param[1:, :, 0] * sol.param[:-1, :, 0].conj())
            steps.append(np.abs(turn[~(sol.flag[1:, :, 0] | sol.flag[:-1, :, 0])]))
    every = np.concatenate(steps) if steps else np.zeros(0)
    if len(every) == 0:
        return []
    typical = float(np.degrees(np.median(every)))
    level = _level(typical, 60.0, 120.0)
    return [Check(level, f"phases change by {typical:.0f} deg (median) between scans of the calibrator")]
