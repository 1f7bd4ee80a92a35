"""The stages of a calibration, in the order in which a careful person takes them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibrant.caltable.table import CalTable
from calibrant.errors import MeasurementSetError, SolveError
from calibrant.ms.index import MSIndex
from calibrant.pipeline import judge, outliers, solutions
from calibrant.pipeline.observation import Observed
from calibrant.pipeline.refant import rank_antennas
from calibrant.pipeline.result import CalibrationResult, Flux
from calibrant.pipeline.roles import Roles
from calibrant.pipeline.run import Run
from calibrant.plots.averages import Averages
from calibrant.progress import say

BEFORE = "before_calibrate"
ROUNDS = 3
"""Solve, look, flag, and solve again: at most so often."""
GOOD_SHARE = 0.9
"""A solution interval is long enough where this share of the solutions is good."""
CHANNEL_SNR = 10.0
"""Channels of a bandpass are averaged until their solutions reach this signal-to-noise ratio."""
DELAY_TURNS = 0.05
"""Delays are corrected where they turn the phase by more than this over a band."""
DELAY_SIGMAS = 5.0


def plan_text(run: Run, roles: Roles, seen: Observed, standard: str) -> list[str]:
    """What will be done, in words, before anything is done."""
    index = run.index
    names = roles.names(index)
    lines = [f"Plan for {run.ms} ({seen.telescope}, {seen.when}, {len(index.antennas)} antennas):"]
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
    from calibrant.tasks.models import calibrator_of
    from calibrant.tasks.setjy import setjy

    for field in roles.flux:
        if calibrator_of(run.index, field, standard) is not None or not set_beforehand(run.index, field, seen):
            setjy(vis=run.ms, field=str(field), spw=seen.spw, standard=standard, usescratch=False, dry_run=True)


def set_beforehand(index: MSIndex, field: int, seen: Observed) -> bool:
    """Does the MeasurementSet hold a model of this field other than 1 Jy?"""
    values = [model_flux(index, field, spw) for spw in seen.spws]
    return any(value is not None and value != 1.0 for value in values)


def model_flux(index: MSIndex, field: int, spw: int) -> float | None:
    """Jy of the model of a field in the middle of a spw: the virtual model's, or MODEL_DATA's; None without any."""
    from calibrant.ms.model import load_model_assignment
    from calibrant.ms.reader import read_rows
    from calibrant.sky.model import SourceModel

    known = load_model_assignment(index)
    parameters = known.spectrum_for(field, spw)
    if parameters is not None:
        return float(SourceModel.from_dict(parameters).spectrum(index.spws[spw].freq.mean())[0])
    rows = np.flatnonzero((index.field == field) & (index.spw == spw) & (index.ant1 != index.ant2))
    if known.supplier(field, spw) != "column" or not len(rows):
        return None
    first = rows[index.ddid[rows] == index.ddid[rows[0]]][:1]
    hands = index.polarizations[int(index.ddid_pol[index.ddid[first[0]]])].parallel
    return float(np.abs(read_rows(index, "MODEL_DATA", first)[..., hands]).mean())


@dataclass(frozen=True)
class Finished:
    """A finished run: what it says, and what its page is drawn from."""

    result: CalibrationResult
    tables: dict[str, CalTable]
    averages: Averages


class Job:
    """The stages of one run, in order. Tables are made again in every round, under the same names."""

    def __init__(self, run: Run, roles: Roles, seen: Observed, standard: str, refant: str, obs: str) -> None:
        self.run, self.roles, self.seen, self.standard = run, roles, seen, standard
        self.refant = refant
        self.result = empty_result(run, roles, seen, standard, obs)
        self.tables: dict[str, str] = {}
        self.flux_result: Any = None
        self.with_delay: bool | None = None

    # ---- selections as text
    def fields(self, ids: list[int]) -> str:
        return ",".join(str(f) for f in ids)

    @property
    def science(self) -> str:
        return self.fields(sorted({*self.roles.calibrators, *self.roles.target}))

    # ---- the whole
    def finish(self) -> Finished:
        self.list_scans()
        self.flag_a_priori()
        self.set_model()
        reasons: list[str] = []
        for round_ in range(1, ROUNDS + 1):
            self.solve_and_apply()
            found = self.flag_what_is_bad(round_) if round_ < ROUNDS else []
            if not found:
                break
            reasons += found
        self.result.notes += reasons
        self.run.count_flags("calibrated", self.science, self.seen.spw)
        self.split()
        return self.conclude()

    # ---- stages
    def list_scans(self) -> None:
        from calibrant.tasks.listobs import listobs

        path = self.run.path("listobs.txt")
        listed = self.run.do("list", "what was observed", listobs, vis=self.run.ms, listfile=path, overwrite=True)
        self.result.listobs = listed.summary()

    def flag_a_priori(self) -> None:
        from calibrant.ms.flagversions import list_versions
        from calibrant.tasks.flagdata import flagdata
        from calibrant.tasks.flagmanager import flagmanager

        run, vis = self.run, self.run.ms
        if BEFORE in [version.name for version in list_versions(vis)]:
            run.do("flags", "start from the flags before the first run", flagmanager, vis=vis, mode="restore",
                   versionname=BEFORE)  # fmt: skip
        else:
            run.do("flags", "keep the flags as they are now", flagmanager, vis=vis, mode="save", versionname=BEFORE,
                   comment="flags before calibrant calibrate")  # fmt: skip
        run.count_flags("as observed", self.science, self.seen.spw)
        commands = ["mode='manual' autocorr=True", "mode='shadow'", "mode='clip' clipzeros=True"]
        if self.seen.quack:
            commands.append(f"mode='quack' quackinterval={self.seen.quack:.6g}")
        commands += [f"mode='edge' spw='{s}' edgechannels={n}" for s, n in self.seen.edges.items() if n]
        run.do("a-priori flags", "autocorrelations, shadows, zeros, scan starts, band edges", flagdata, vis=vis,
               mode="list", inpfile=run.write("flags_a_priori.txt", commands), flagbackup=False)  # fmt: skip
        fraction = run.count_flags("a priori", self.science, self.seen.spw)
        if fraction.total >= 1.0:
            raise MeasurementSetError(f"{vis}: all data are flagged already; restore the flags version {BEFORE!r}")
        if not self.refant:
            self.refant = ",".join(rank_antennas(run.index, fraction.by_antenna)[:4])
        self.result.refant = self.refant

    def set_model(self) -> None:
        from calibrant.tasks.models import calibrator_of
        from calibrant.tasks.setjy import setjy

        index = self.run.index
        known = [f for f in self.roles.calibrators if calibrator_of(index, f, self.standard) is not None]
        for field in sorted({*self.roles.flux, *known}):
            if field not in known and set_beforehand(index, field, self.seen):
                self.result.notes.append(f"{index.fields.name[field]}: model as set before with setjy")
                continue
            why = f"{index.fields.name[field]} on {self.standard}"
            done = self.run.do("flux model", why, setjy, vis=self.run.ms, field=str(field), spw=self.seen.spw,
                               standard=self.standard, usescratch=False)  # fmt: skip
            self.result.notes += list(getattr(done, "notes", ()))

    def solve_and_apply(self) -> None:
        self.tables = {}
        self.solve_delay()
        self.solve_bandpass()
        self.solve_gains()
        self.apply()

    def _prior(self, *names: str) -> dict[str, Any]:
        """gaintable and interp of the tables made so far under these names."""
        interp = {"delay": "nearest", "bandpass": "nearest,linear", "phase_up": "linear", "phase_int": "linear"}
        used = [name for name in names if name in self.tables]
        return {"gaintable": [self.tables[n] for n in used], "interp": [interp[n] for n in used]}

    def _solve(self, role: str, reason: str, verb: Callable[..., Any], **values: Any) -> Any:
        path = self.run.path(f"{role}.cal")
        result = self.run.do(role, reason, verb, vis=self.run.ms, caltable=path, refant=self.refant.split(","),
                             overwrite=True, **values)  # fmt: skip
        self.tables[role] = path
        return result

    def solve_delay(self) -> None:
        """Delays from the bandpass calibrator; kept only where they matter."""
        from calibrant.caltable import casa
        from calibrant.tasks.gaincal import gaincal

        if self.with_delay is False or all(self.run.index.spws[s].nchan < 8 for s in self.seen.spws):
            return
        try:
            self._solve("delay", "phase slopes across the band", gaincal, field=self.fields(self.roles.bandpass),
                        spw=self.seen.spw, gaintype="K", solint="inf", combine="scan")  # fmt: skip
        except SolveError as error:
            self.with_delay = False
            self.result.notes.append(f"delays could not be solved for and are not applied ({error})")
            return
        table = casa.read(self.tables["delay"])
        needed = False
        for spw, sol in table.spws.items():
            good = ~sol.flag
            turns = np.abs(sol.param) * 1e-9 * abs(self.run.index.spws[spw].total_bandwidth)
            sure = np.abs(sol.param) > DELAY_SIGMAS * sol.error
            needed |= bool((good & sure & (turns > DELAY_TURNS)).any())
        self.with_delay = needed
        if not needed:
            del self.tables["delay"]
            self.run.steps.pop()
            shutil.rmtree(self.run.path("delay.cal"))
            self.result.notes.append("delays turn the phase by less than 0.05 turns over the band: not applied")

    def solve_bandpass(self) -> None:
        from calibrant.tasks.bandpass import bandpass
        from calibrant.tasks.gaincal import gaincal

        field = self.fields(self.roles.bandpass)
        self._phases("phase_up", "phases in time, so that the bandpass can be averaged", gaincal, field, ("delay",))
        common = {"field": field, "spw": self.seen.spw, "combine": "scan", "solnorm": True}
        prior = self._prior("delay", "phase_up")
        made = self._solve("bandpass", "gain against frequency", bandpass, solint="inf", **common, **prior)
        good = made.above_minsnr / max(made.with_data, 1)
        if made.median_snr < CHANNEL_SNR or good < GOOD_SHARE:
            width = int(np.ceil((CHANNEL_SNR / max(made.median_snr, 1.0)) ** 2))
            width = max(2, min(width, max(2, min(self.run.index.spws[s].nchan for s in self.seen.spws) // 8)))
            self.run.steps.pop()
            self._solve("bandpass", f"gain against frequency, {width} channels at a time for signal-to-noise", bandpass,
                        solint=f"inf,{width}ch", **common, **prior)  # fmt: skip

    def _phases(self, role: str, reason: str, verb: Callable[..., Any], field: str, prior: tuple[str, ...]) -> Any:
        """Phases on the shortest interval that gives good solutions: int, then longer, then scans."""
        lengths = ["int", *(f"{n * self.seen.integration:.6g}s" for n in (3, 6)), "inf"]
        for solint in lengths:
            try:
                made = self._solve(role, f"{reason} (solint {solint})", verb, field=field, spw=self.seen.inner,
                                   solint=solint, calmode="p", **self._prior(*prior))  # fmt: skip
            except SolveError:
                if solint == "inf":
                    raise
                continue
            if made.above_minsnr >= GOOD_SHARE * max(made.above_minblperant, 1) or solint == "inf":
                return made
            self.run.steps.pop()
        return made

    def solve_gains(self) -> None:
        from calibrant.tasks.fluxscale import fluxscale
        from calibrant.tasks.gaincal import gaincal

        cals = self.fields(self.roles.calibrators)
        base = ("delay", "bandpass")
        self._phases("phase_int", "phases of the calibrators in time", gaincal, cals, base)
        self._solve("amplitude", "amplitudes of the calibrators by scan", gaincal, field=cals, spw=self.seen.inner,
                    solint="inf", calmode="a", **self._prior(*base, "phase_int"))  # fmt: skip
        transfer = [f for f in self.roles.calibrators if f not in self.modelled]
        self.tables["flux"] = self.tables["amplitude"]
        if transfer:
            self.flux_result = self.run.do(
                "fluxscale", "flux densities of the other calibrators", fluxscale, vis=self.run.ms,
                caltable=self.tables["amplitude"], fluxtable=self.run.path("flux.cal"),
                reference=[str(f) for f in self.roles.flux], transfer=[str(f) for f in transfer],
                listfile=self.run.path("fluxscale.txt"), overwrite=True,
            )  # fmt: skip
            self.tables["flux"] = self.run.path("flux.cal")
        self._solve("phase_scan", "phases by scan, for the target", gaincal, field=self.fields(self.roles.phase),
                    spw=self.seen.inner, solint="inf", calmode="p", **self._prior(*base))  # fmt: skip

    @property
    def modelled(self) -> list[int]:
        """Calibrators whose flux density is known beforehand."""
        from calibrant.ms.model import load_model_assignment

        known = load_model_assignment(self.run.index)
        virtual = [f for f in self.roles.calibrators if known.spectrum_for(f, self.seen.spws[0]) is not None]
        return sorted({*self.roles.flux, *virtual})

    def apply(self) -> None:
        """Integration phases to bandpass and flux calibrators; scan phases of the phase calibrator to it and target."""
        own = [f for f in self.roles.calibrators if f not in self.roles.phase]
        for field in own:
            self._apply(field, "phase_int", str(field))
        for field in self.roles.phase:
            self._apply(field, "phase_scan", str(field))
        for field in self.roles.target:
            nearest = self._nearest(field)
            self._apply(field, "phase_scan", str(nearest))
        self.run.reopen()

    def _nearest(self, target: int) -> int:
        """The phase calibrator nearest on the sky."""
        direction = self.run.index.fields.direction
        ra, dec = direction[:, 0], direction[:, 1]
        unit = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
        return max(self.roles.phase, key=lambda f: float(unit[f] @ unit[target]))

    def _apply(self, field: int, phases: str, source: str) -> None:
        from calibrant.tasks.applycal import applycal

        name = self.run.index.fields.name
        base = self._prior("delay", "bandpass")
        tables = [*base["gaintable"], self.tables[phases], self.tables["flux"]]
        self.run.do(
            "apply", f"{name[field]}: phases and amplitudes of {name[int(source)]}", applycal, vis=self.run.ms,
            field=str(field), spw=self.seen.spw, gaintable=tables,
            gainfield=["" for _ in base["gaintable"]] + [source, source],
            interp=[*base["interp"], "linear", "linear"], flagbackup=False,
        )  # fmt: skip

    # ---- look, and flag
    def flag_what_is_bad(self, round_: int) -> list[str]:
        """Flag what the solutions and the residuals show to be bad; what was found, in words."""
        from calibrant.tasks.flagdata import flagdata

        commands, reasons, names = self._bad_antennas()
        kept = [name for name in self.refant.split(",") if name not in names]
        if kept and kept[0] != self.refant.split(",")[0]:
            reasons.append(f"the reference antenna is now {kept[0]}")
        self.refant = self.result.refant = ",".join(kept) or self.refant
        more, why = self._outliers()
        commands, reasons = commands + more, reasons + why
        if commands:
            self.run.do(f"flag, round {round_}", "; ".join(reasons)[:200], flagdata, vis=self.run.ms, mode="list",
                        inpfile=self.run.write(f"flags_round_{round_}.txt", commands), flagbackup=False)  # fmt: skip
            self.run.count_flags(f"round {round_}", self.science, self.seen.spw)
        return reasons

    def _bad_antennas(self) -> tuple[list[str], list[str], set[str]]:
        """Flag commands, reasons, and the names of the bad antennas."""
        from calibrant.caltable import casa

        index = self.run.index
        found = solutions.bad_antennas(casa.read(self.tables["phase_int"]), casa.read(self.tables["amplitude"]))
        commands, reasons = [], []
        for bad in found:
            hand = self.seen.hands[bad.spw][bad.receptor] if bad.receptor < len(self.seen.hands[bad.spw]) else ""
            name = index.antennas.name[bad.antenna]
            commands.append(f"mode='manual' antenna='{name}' spw='{bad.spw}' correlation='{hand}'")
            reasons.append(f"flagged: {name} {hand} spw {bad.spw}: {bad.reason}")
        return commands, reasons, {index.antennas.name[bad.antenna] for bad in found}

    def _outliers(self) -> tuple[list[str], list[str]]:
        """Clip commands for amplitudes far from a calibrator's flux density, or from noise on the target."""
        from calibrant.ms.selection import select

        index = self.run.index
        flux = {(index.fields.name.index(f.field), f.spw): f.flux_jy for f in self._fluxes()}
        rows = select(index, field=self.science, spw=self.seen.spw).rows
        commands, reasons = [], []
        limits = outliers.amplitude_limits(index, rows, flux)
        for limit in limits:
            where = f"{index.fields.name[limit.field]} spw {limit.spw}"
            beyond = f"{100 * limit.share:.2g} % of the data are not within {limit.low:.3g} to {limit.high:.3g} Jy"
            if limit.share > outliers.MAX_SHARE:
                self.result.notes.append(
                    f"{where}: {beyond}, too many to be interference; not flagged (look at the source's structure)"
                )
            elif limit.share > 0:
                hands = ",".join(hand for hand in self.seen.hands[limit.spw] if hand)
                commands.append(
                    f"mode='clip' field='{limit.field}' spw='{limit.spw}' datacolumn='CORRECTED'"
                    f" correlation='ABS_{hands}' clipminmax=[{limit.low:.6g},{limit.high:.6g}]"
                )
                reasons.append(f"flagged as interference: {where}: {beyond}")
        for place in outliers.crowded_channels(index, rows, limits) if commands else []:
            commands.append(f"mode='manual' scan='{place.scan}' spw='{place.spw}:{place.channel}'")
            reasons.append(
                f"flagged as interference: scan {place.scan} spw {place.spw} channel {place.channel}:"
                f" {100 * place.share:.0f} % of its data are beyond the limits"
            )
        return commands, reasons

    # ---- the end
    def split(self) -> None:
        from calibrant.tasks.split import split

        if not self.roles.target:
            self.result.notes.append("no target: nothing was split")
            return
        shares = self.run.flags[-1].by_field
        if all(shares.get(self.run.index.fields.name[f], 1.0) >= 1.0 for f in self.roles.target):
            self.result.notes.append("the target is flagged throughout: nothing was split")
            return
        self.result.target_ms = self.run.path("target.ms")
        self.run.do("split", "the calibrated target", split, vis=self.run.ms, outputvis=self.result.target_ms,
                    field=self.fields(self.roles.target), spw=self.seen.spw, datacolumn="corrected", keepflags=False,
                    overwrite=True)  # fmt: skip

    def conclude(self) -> Finished:
        from calibrant.caltable import casa
        from calibrant.pipeline.visibilities import average_visibilities

        result, index = self.result, self.run.index
        tables = {role: casa.read(path) for role, path in self.tables.items() if role != "amplitude"}
        result.caltables = dict(self.tables)
        result.fluxes = self._fluxes()
        observed = np.zeros(len(index.antennas), bool)
        observed[np.unique(np.concatenate([index.ant1, index.ant2]))] = True
        for role, table in tables.items():
            result.failed += solutions.failed_solutions(result.caltables[role], table, observed)
        say("  report: averages and figures")
        averages = average_visibilities(index, fields=sorted({*self.roles.calibrators, *self.roles.target}),
                                        spws=self.seen.spws)  # fmt: skip
        result.verdict, result.reasons = judge.judge(result, tables, averages, index, self.roles)
        return Finished(result, tables, averages)

    def _fluxes(self) -> list[Flux]:
        index, fluxes = self.run.index, []
        for field in self.modelled:
            for spw in self.seen.spws:
                value = model_flux(index, field, spw)
                if value is not None:
                    freq = float(index.spws[spw].freq.mean())
                    fluxes.append(Flux(index.fields.name[field], spw, freq, value, 0.0, "standard"))
        if self.flux_result is not None:
            fluxes += [Flux(f.field_name, f.spw, f.freq, f.flux, f.error, "fluxscale") for f in self.flux_result.fluxes]
        return fluxes
