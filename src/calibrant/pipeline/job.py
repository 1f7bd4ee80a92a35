"""The stages of a calibration, in the order in which a careful person takes them."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibrant.caltable.table import CalTable
from calibrant.errors import CalibrantError, MeasurementSetError, SolveError
from calibrant.ms.index import open_index
from calibrant.pipeline import judge, outliers, solutions
from calibrant.pipeline.known import models_of, stays
from calibrant.pipeline.observation import Observed
from calibrant.pipeline.plan import empty_result
from calibrant.pipeline.refant import rank_antennas
from calibrant.pipeline.result import CalibrationResult, Flux
from calibrant.pipeline.roles import Roles, label
from calibrant.pipeline.run import Run
from calibrant.plots.averages import Averages
from calibrant.progress import say
from calibrant.solve.outcome import SENTENCES, Outcome

BEFORE, AFTER = "before_calibrate", "after_calibrate"
"""Versions of the flags: before the first run, and at the end of the last."""
SOLVED, APPLIED = "calibrate_solved", "calibrate_applied"
"""... and within a round: before and after failed solutions flag data."""
DELAY_CHANNELS = 8
"""Delays are solved for in spws with at least so many channels."""
ROUNDS = 3
"""Solve, look, flag, and solve again: at most so often."""
GOOD_SHARE = 0.9
"""A solution interval is long enough where this share of the solutions is good."""
CHANNEL_SNR = 10.0
"""Channels of a bandpass are averaged until their solutions reach this signal-to-noise ratio."""
DELAY_TURNS = 0.05
"""Delays are corrected where they turn the phase by more than this over a band."""
DELAY_SIGMAS = 5.0


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
        self.models: dict[tuple[int, int], Flux] = {}
        self.stage = ""

    def label(self, field: int) -> str:
        return label(self.run.index, field)

    def note(self, text: str) -> None:
        """Say it once, however many rounds find it."""
        if text not in self.result.notes:
            self.result.notes.append(text)

    # ---- selections as text
    def fields(self, ids: list[int]) -> str:
        return ",".join(str(f) for f in ids)

    @property
    def science(self) -> str:
        return self.fields(sorted({*self.roles.calibrators, *self.roles.target}))

    # ---- the whole
    def finish(self) -> Finished:
        try:
            return self._finish()
        except Exception as error:
            self._stopped(error)
            raise

    def _finish(self) -> Finished:
        self.list_scans()
        self.say_how_scans_are()
        self.flag_a_priori()
        self.set_model()
        reasons: list[str] = []
        for round_ in range(1, ROUNDS + 1):
            self.stage = f"in round {round_}"
            self.solve()
            if round_ < ROUNDS:
                self._version("save", SOLVED, "the flags before failed solutions flag data")
            self.apply()
            found = self.flag_what_is_bad(round_) if round_ < ROUNDS else []
            if not found:
                break
            reasons += found
        self.result.notes += reasons
        self._drop(SOLVED)
        self.run.count_flags("failed solutions", self.science, self.seen.spw)
        self.split()
        done = self.conclude()
        self._keep_flags_as(AFTER, "flags at the end of calibrant calibrate")
        return done

    def _stopped(self, error: Exception) -> None:
        """Say how far it came and how to go back, and remember which flags are ours."""
        if not self.stage:
            return
        with contextlib.suppress(CalibrantError, OSError, RuntimeError):
            self._forget(SOLVED, APPLIED)
            self._keep_flags_as(AFTER, "flags where calibrant calibrate stopped")
        written = "flags and CORRECTED_DATA" if "CORRECTED_DATA" in open_index(self.run.ms).columns else "flags"
        text = (
            f"{self.run.ms}: calibrate stopped {self.stage}; its {written} are from there. The flags before: "
            f"calibrant flagmanager {shlex.quote(self.run.ms)} --mode restore --versionname {BEFORE}"
        )
        if isinstance(error, CalibrantError):
            error.args = (f"{error}\n{text}",)
        else:
            error.add_note(text)

    # ---- flag versions
    def _version(self, mode: str, name: str, reason: str, **values: Any) -> Any:
        from calibrant.tasks.flagmanager import flagmanager

        if mode == "save":
            self._forget(name)
        return self.run.do("flags", reason, flagmanager, vis=self.run.ms, mode=mode, versionname=name, **values)

    def _versions(self) -> list[str]:
        from calibrant.ms.flagversions import list_versions

        return [version.name for version in list_versions(self.run.ms)]

    def _forget(self, *names: str) -> None:
        from calibrant.ms import flagversions

        for name in set(names) & set(self._versions()):
            flagversions.delete(self.run.ms, name)

    def _drop(self, name: str) -> None:
        if name in self._versions():
            self._version("delete", name, f"remove the working version {name}")

    def _keep_flags_as(self, name: str, comment: str) -> None:
        from calibrant.ms import flagversions

        self._forget(name)
        flagversions.save(self.run.ms, name, comment)

    def _start_from_first_flags(self) -> None:
        """The flags before the first run, and what the user has flagged since the last one."""
        from calibrant.ms import flagversions

        vis = self.run.ms
        present = flagversions.next_name(vis, "before_rerun")
        flagversions.save(vis, present, "flags when calibrant calibrate was called again")
        if AFTER in self._versions():
            kept = flagversions.restore_since(vis, BEFORE, AFTER)
            if kept:  # they are the user's: from now on part of what every run starts from
                flagversions.save(vis, BEFORE, "flags before calibrant calibrate")
                self.note(f"{kept} visibilities flagged since the last run stay flagged")
            self._forget(AFTER)
        else:
            self.note(
                "the last run did not reach its end: flags set since cannot be told from its own and are not kept"
                f" (all are in version {present})"
            )
        self._version("restore", BEFORE, "start from the flags before the first run")

    # ---- stages
    def list_scans(self) -> None:
        from calibrant.tasks.listobs import listobs

        path = self.run.path("listobs.txt")
        listed = self.run.do("list", "what was observed", listobs, vis=self.run.ms, listfile=path, overwrite=True)
        self.result.listobs = listed.summary()

    def flag_a_priori(self) -> None:
        from calibrant.params import command_line
        from calibrant.tasks.flagdata import flagdata
        from calibrant.tasks.flagmanager import flagmanager

        run, vis = self.run, self.run.ms
        if BEFORE in self._versions():
            self._start_from_first_flags()
        else:
            self._version("save", BEFORE, "keep the flags as they are now", comment="flags before calibrant calibrate")
            if self.result.obs == vis:  # by hand the version is there already, and the flags are not
                again = command_line(flagmanager, {"vis": vis, "mode": "restore", "versionname": BEFORE})
                run.steps[-1] = dataclasses.replace(run.steps[-1], command=again)
        self._forget(AFTER)
        self.stage = "after the a-priori flags"
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

    def say_how_scans_are(self) -> None:
        """Notes on what the shape of the observation makes impossible."""
        if self.seen.scan:
            self.note(
                "scans are not numbered (a scan holds several stretches of a calibrator): one solution for a scan"
                f" spans {self.seen.scan / 60:.1f} min, the longest stretch, instead"
            )
        narrow = [s for s in self.seen.spws if self.run.index.spws[s].nchan < DELAY_CHANNELS]
        if len(narrow) == len(self.seen.spws):
            self.note(f"delays are not solved for: no spw has {DELAY_CHANNELS} channels")

    @property
    def by_scan(self) -> str:
        """solint of one solution for a scan."""
        return f"{self.seen.scan:.6g}s" if self.seen.scan else "inf"

    def set_model(self) -> None:
        """Models set by hand stay; the others come from the standard."""
        from calibrant.tasks.models import calibrator_of
        from calibrant.tasks.setjy import setjy

        index, spws = self.run.index, self.seen.spws
        for field in self.roles.calibrators:
            name = self.label(field)
            in_standard = calibrator_of(index, field, self.standard) is not None
            there = models_of(index, field, spws)
            own = stays(there, spws, in_standard)
            if own:
                self.note(f"{name}: model as set before with setjy")
                if in_standard:
                    self.note(f"{name} is in {self.standard} too; set it with calibrant setjy to use that")
            elif in_standard or field in self.roles.flux:
                done = self.run.do("flux model", f"{name} on {self.standard}", setjy, vis=self.run.ms,
                                   field=str(field), spw=self.seen.spw, standard=self.standard,
                                   usescratch=False)  # fmt: skip
                self.result.notes += list(getattr(done, "notes", ()))
                there = models_of(index, field, spws)
            else:
                continue
            for spw, model in there.items():
                freq, origin = float(index.spws[spw].freq.mean()), "setjy" if own else "standard"
                self.models[field, spw] = Flux(name, spw, freq, model.jy, 0.0, origin, model.resolved)
                if model.resolved:
                    self.note(
                        f"{name} spw {spw}: MODEL_DATA is resolved; {model.jy:.4g} Jy is that of its shortest baselines"
                    )

    def solve(self) -> None:
        self.tables = {}
        self.solve_delay()
        self.solve_bandpass()
        self.solve_gains()

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

        if self.with_delay is False or all(self.run.index.spws[s].nchan < DELAY_CHANNELS for s in self.seen.spws):
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
        lengths = ["int", *(f"{n * self.seen.integration:.6g}s" for n in (3, 6)), self.by_scan]
        for solint in lengths:
            try:
                made = self._solve(role, f"{reason} (solint {solint})", verb, field=field, spw=self.seen.inner,
                                   solint=solint, calmode="p", **self._prior(*prior))  # fmt: skip
            except SolveError:
                if solint == self.by_scan:
                    raise
                continue
            if made.above_minsnr >= GOOD_SHARE * max(made.above_minblperant, 1) or solint == self.by_scan:
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
                    solint=self.by_scan, calmode="a", **self._prior(*base, "phase_int"))  # fmt: skip
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
                    spw=self.seen.inner, solint=self.by_scan, calmode="p", **self._prior(*base))  # fmt: skip

    @property
    def modelled(self) -> list[int]:
        """Calibrators whose flux density is known beforehand."""
        return sorted({field for field, _ in self.models})

    @property
    def resolved(self) -> set[tuple[int, int]]:
        return {key for key, flux in self.models.items() if flux.resolved}

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

        base = self._prior("delay", "bandpass")
        tables = [*base["gaintable"], self.tables[phases], self.tables["flux"]]
        reason = f"{self.label(field)}: phases and amplitudes of {self.label(int(source))}"
        self.run.do(
            "apply", reason, applycal, vis=self.run.ms,
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
            self._version("save", APPLIED, "the flags with those of failed solutions")
            self.run.do(f"flag, round {round_}", "; ".join(reasons)[:200], flagdata, vis=self.run.ms, mode="list",
                        inpfile=self.run.write(f"flags_round_{round_}.txt", commands), flagbackup=False)  # fmt: skip
            self._version("restore", SOLVED, "data of failed solutions are tried again", since=APPLIED)
            self._drop(SOLVED)
            self._drop(APPLIED)
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
        flux = {key: value for key, value in self._flux_by_id().items() if key not in self.resolved}
        rows = select(index, field=self.science, spw=self.seen.spw).rows
        limits = outliers.amplitude_limits(index, rows, flux)
        if not any(limit.share for limit in limits):
            return [], []
        standing = self._sources(outliers.standing_out(index, rows, limits, set(flux)), set(flux))
        left, crowded = outliers.remaining(index, rows, limits, standing)
        commands, reasons = [], []
        for limit in left:
            where = f"{self.label(limit.field)} spw {limit.spw}"
            beyond = f"{100 * limit.share:.3f} % of the data are not within {limit.low:.3g} to {limit.high:.3g} Jy"
            kept = standing.get((limit.field, limit.spw), outliers.Standing())
            if limit.share > outliers.MAX_SHARE:
                self.note(
                    f"{where}: {beyond}, too many to be interference; not flagged (look at the source's structure)"
                )
            elif limit.share > 0:
                hands = ",".join(hand for hand in self.seen.hands[limit.spw] if hand)
                nchan = index.spws[limit.spw].nchan
                uvrange = f" uvrange='>{kept.spacing:.6g}m'" if kept.spacing else ""
                commands.append(
                    f"mode='clip' field='{limit.field}' spw='{_without(limit.spw, kept.kept(nchan), nchan)}'{uvrange}"
                    f" datacolumn='CORRECTED' correlation='ABS_{hands}' clipminmax=[{limit.low:.6g},{limit.high:.6g}]"
                )
                reasons.append(f"flagged as interference: {where}: {beyond}")
        for place in crowded if commands else []:
            kept = standing.get((place.field, place.spw), outliers.Standing())
            uvrange = f" uvrange='>{kept.spacing:.6g}m'" if kept.spacing else ""
            commands.append(
                f"mode='manual' field='{place.field}' scan='{place.scan}' spw='{place.spw}:{place.channel}'{uvrange}"
            )
            reasons.append(
                f"flagged as interference: {self.label(place.field)} scan {place.scan} spw {place.spw} channel"
                f" {place.channel}: {100 * place.share:.0f} % of its data are beyond the limits"
            )
        return commands, reasons

    def _sources(
        self, found: dict[tuple[int, int], outliers.Standing], known: set[tuple[int, int]]
    ) -> dict[tuple[int, int], outliers.Standing]:
        """What stands out on sources without a flux density and not on calibrators too: it is kept, and named."""
        result = {}
        for (field, spw), item in found.items():
            if (field, spw) in known:
                continue
            everywhere = {c for (f, s), other in found.items() if s == spw and (f, s) in known for c in other.channels}
            own = result[field, spw] = dataclasses.replace(item, channels=item.channels - everywhere)
            name = self.label(field)
            if own.channels:
                self.note(
                    f"spw {spw} channel {_ranges(sorted(own.channels))} of {name} stands out in all scans: a line,"
                    " or interference that never stops; not flagged"
                )
            if own.spacing:
                where = f"spacings up to {own.spacing:.3g} m" if np.isfinite(own.spacing) else "all spacings"
                self.note(
                    f"spw {spw} of {name}: {where} stand out in all scans: structure of the source,"
                    " or interference that never stops; not flagged"
                )
        return result

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
        self._count_failures(tables)
        say("  report: averages and figures")
        averages = average_visibilities(index, fields=sorted({*self.roles.calibrators, *self.roles.target}),
                                        spws=self.seen.spws)  # fmt: skip
        result.verdict, result.reasons = judge.judge(result, tables, averages, index, self.roles)
        return Finished(result, tables, averages)

    def _count_failures(self, tables: dict[str, CalTable]) -> None:
        """Solutions that failed; those without data, and antennas without any, are named apart."""
        result, index = self.result, self.run.index
        share = self.run.flags[1].by_antenna
        silent = [name for name in index.antennas.name if share.get(name, 1.0) >= 1.0]
        observed = np.array([name not in silent for name in index.antennas.name])
        empty = []
        for role, table in tables.items():
            scale = getattr(index, "time_scale", "UTC")
            for failed in solutions.failed_solutions(result.caltables[role], table, observed, scale):
                if failed.outcome == SENTENCES[Outcome.NO_DATA]:
                    names = ", ".join(failed.antennas[:4]) + (", ..." if len(failed.antennas) > 4 else "")
                    empty.append(f"{failed.caltable} {failed.count} ({names})")
                else:
                    result.failed.append(failed)
        if silent:
            self.note(f"{len(index.antennas)} antennas, {', '.join(silent)} without data")
        if empty:
            self.note(f"solutions without data, which are no failures: {'; '.join(empty)}")

    def _flux_by_id(self) -> dict[tuple[int, int], float]:
        """(field, spw) -> Jy of the calibrators."""
        known = {key: flux.flux_jy for key, flux in self.models.items()}
        derived = self.flux_result.fluxes if self.flux_result is not None else ()
        return known | {(f.field, f.spw): f.flux for f in derived}

    def _fluxes(self) -> list[Flux]:
        fluxes = [self.models[key] for key in sorted(self.models)]
        derived = self.flux_result.fluxes if self.flux_result is not None else ()
        return fluxes + [Flux(self.label(f.field), f.spw, f.freq, f.flux, f.error, "fluxscale") for f in derived]


def _ranges(numbers: list[int]) -> str:
    """[3, 4, 5, 9] -> '3~5;9'."""
    if not numbers:
        return ""
    groups = np.split(np.array(numbers), np.flatnonzero(np.diff(numbers) != 1) + 1)
    return ";".join(f"{g[0]}~{g[-1]}" if len(g) > 1 else f"{g[0]}" for g in groups)


def _without(spw: int, channels: list[int], nchan: int) -> str:
    """A selection of a spw without some of its channels."""
    return f"{spw}:{_ranges(sorted(set(range(nchan)) - set(channels)))}" if channels else str(spw)
