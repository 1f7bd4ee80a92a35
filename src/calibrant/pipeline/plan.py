"""What will be done, said and checked before anything is done."""

from __future__ import annotations

from calibrant.errors import FluxModelError
from calibrant.pipeline.known import models_of, stays
from calibrant.pipeline.observation import Observed
from calibrant.pipeline.result import CalibrationResult
from calibrant.pipeline.roles import Roles, label
from calibrant.pipeline.run import Run

UNIT_MODEL = (
    "(MODEL_DATA is there, and holds 1 Jy for it, as for every field without a model; if it is 1 Jy, say so with "
    "calibrant setjy --fluxdensity 1 --no-usescratch.)"
)


def plan_text(run: Run, roles: Roles, seen: Observed, standard: str, obs: str = "") -> list[str]:
    """What will be done to `obs` (default: the MeasurementSet), in words, before anything is done."""
    index = run.index
    names = roles.names(index)
    lines = [f"Plan for {obs or run.ms} ({seen.telescope}, {seen.when}, {len(index.antennas)} antennas):"]
    lines += [f"  {role:9s} {', '.join(names[role]) or '-'}" for role in ("flux", "bandpass", "phase", "target")]
    lines.append(f"  roles from {roles.origin}; spw {seen.spw or 'all'}; {seen.integration:.3g} s integrations")
    starts = f"first {seen.quack:.3g} s of scans" if seen.quack else "no scan starts (integrations are long)"
    edges = ", ".join(f"spw {s}: {n}" for s, n in seen.edges.items())
    lines.append(f"  1 flag a priori: autocorrelations, shadows, zeros, {starts}, edge channels ({edges})")
    lines.append(f"  2 flux model of {', '.join(names['flux'])} from {standard}")
    lines.append("  3 delays if needed, phase-up, bandpass, phases, amplitudes, flux scale, scan phases")
    lines.append("  4 apply to calibrators and target; flag what solutions and residuals show to be bad; solve again")
    lines.append(f"  5 split {', '.join(names['target']) or 'nothing'}; report in {run.folder}")
    return lines


def empty_result(run: Run, roles: Roles, seen: Observed, standard: str, obs: str) -> CalibrationResult:
    """A result that says what is known before the first step."""
    return CalibrationResult(
        obs=obs,
        ms=run.ms,
        output=run.folder,
        telescope=seen.telescope,
        observed=seen.when,
        standard=standard,
        refant="",
        roles=roles.names(run.index),
        steps=run.steps,
        flags=run.flags,
    )


def check_flux_models(run: Run, roles: Roles, seen: Observed, standard: str) -> None:
    """FluxModelError where a flux calibrator is neither in the standard nor has a model; touches nothing."""
    from calibrant.ms.model import load_model_assignment
    from calibrant.tasks.models import calibrator_of
    from calibrant.tasks.setjy import setjy

    for field in roles.calibrators:
        models = models_of(run.index, field, seen.spws)
        if stays(models, seen.spws, calibrator_of(run.index, field, standard) is not None):
            continue
        if field in roles.flux:
            try:
                setjy(vis=run.ms, field=str(field), spw=seen.spw, standard=standard, usescratch=False, dry_run=True)
            except FluxModelError as error:
                if not models and load_model_assignment(run.index).has_column:
                    raise FluxModelError(f"{error} {UNIT_MODEL}") from None
                raise
        elif models and any(model.by_hand for model in models.values()):
            there, gone = (", ".join(str(s) for s in seen.spws if (s in models) is has) for has in (True, False))
            raise FluxModelError(
                f"{run.ms}: {label(run.index, field)} has a model in spw {there} but none in spw {gone}; "
                "set one in all of them with calibrant setjy, or in none"
            )
