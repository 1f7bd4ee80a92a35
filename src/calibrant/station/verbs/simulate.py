"""`calibrant station simulate`: a log, its rxg file and flux.ctl with a known truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from calibrant.params import Overwrite, Param

if TYPE_CHECKING:
    from calibrant.station.simulate import SimulatedStation


@dataclass(frozen=True)
class SimulateResult:
    """What was written, and what is true in it."""

    station: SimulatedStation

    def summary(self) -> str:
        made, options = self.station, self.station.truth.options
        observed = ", ".join(sorted(set(made.truth.sources)))
        lines = [
            f"{made.log}: {made.scans} ONOFF scans of {observed}, {len(made.truth.detectors)} detectors, "
            f"{made.lines} lines",
            f"{made.rxg}: what the station assumes; wrong in it: {', '.join(options.wrong) or 'nothing'}",
            f"{made.flux}: the flux densities of the sources",
            f"{made.truth_file}: what is true, to compare results with",
        ]
        spoiled = {kind: len({spoil.scan for spoil in made.truth.spoiled(kind)}) for kind in options.spoil}
        if spoiled:
            lines.append("spoiled scans: " + ", ".join(f"{kind} {number}" for kind, number in spoiled.items()))
        log, rxg = made.log, made.rxg
        lines += [
            "try next:",
            f"  calibrant station onoff {log}",
            f"  calibrant station fit tcal {log} --rxg {rxg}",
            f"  calibrant station report {log} --rxg {rxg}",
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        made = self.station
        return {
            "log": made.log, "rxg": made.rxg, "flux": made.flux, "truth": made.truth_file, "scans": made.scans,
            "detectors": [det.name for det in made.truth.detectors], "lines": made.lines,
            "size_bytes": made.size_bytes, "seed": made.truth.options.seed,
            "spoiled": [{"scan": spoil.scan, "reason": spoil.kind, "detectors": list(spoil.detectors)}
                        for spoil in made.truth.spoils],
        }  # fmt: skip


def simulate(
    directory: Annotated[str, Param("Where to write NAME.log, NAME.rxg, flux.ctl and truth.json.", positional=True)],
    seed: Annotated[int, Param("The same seed and options give the same files.")] = 1,
    name: Annotated[str, Param("Name of the log: experiment and the station's two letters.")] = "sim001cb",
    band: Annotated[str, Param("Receiver.", choices=("C", "X", "K"))] = "C",
    hours: Annotated[float, Param("Length of the log.", unit="h")] = 12.0,
    interval: Annotated[float, Param("From one ONOFF to the next.", unit="min")] = 15.0,
    sources: Annotated[str, Param("Sources: 'casa,virgoa'. Empty: calibrators that suit the band.")] = "",
    mode: Annotated[
        str, Param("How the noise diode is switched.", choices=("switched", "continuous", "none"))
    ] = "switched",
    form: Annotated[str, Param("Form of the records: new, or old as before FS 9.9.0.", choices=("new", "old"))] = "new",
    rack: Annotated[str, Param("Backend, which names the detectors.", choices=("dbbc", "vc", "dbbc3"))] = "dbbc",
    detectors: Annotated[int, Param("Converters for each polarisation, besides one IF detector.")] = 4,
    tunings: Annotated[int, Param("Sets of converter frequencies, used in turn.")] = 1,
    repetitions: Annotated[int, Param("Repetitions of each ONOFF.")] = 2,
    integration: Annotated[int, Param("Length of each level; 1 prints whole counts.", unit="s")] = 5,
    wrong: Annotated[str, Param("What the rxg file has wrong: any of 'tcal,gain,trec', or 'none'.")] = "tcal,trec",
    spoil: Annotated[
        str,
        Param("What goes wrong: any of 'rfi,pointing,compression,jump,overflow,nodiode,abort,partial', or 'all'."),
    ] = "",
    spoil_fraction: Annotated[float, Param("Share of the scans that go wrong, 0 to 1.")] = 0.15,
    noise: Annotated[float, Param("Factor on the random noise; 0: none.")] = 1.0,
    overwrite: Overwrite = False,
) -> SimulateResult:
    """Simulate a station's log with a known truth: to learn with, and to test a calibration.

    The rxg file holds the station's old, partly wrong values; truth.json holds the right ones.

    Example:
        calibrant station simulate demo --seed 7 --hours 12 --tunings 3 --spoil rfi,pointing,abort
    """
    from calibrant.station.simulate import Options, simulate_log
    from calibrant.station.simulate.model import SPOILS

    options = Options(
        seed=seed, name=name, band=band, hours=hours, interval_min=interval, sources=_words(sources), mode=mode,
        form=form, rack=rack, detectors=detectors, tunings=tunings, repetitions=repetitions, integration=integration,
        wrong=() if wrong == "none" else _words(wrong), spoil=SPOILS if spoil == "all" else _words(spoil),
        spoil_fraction=spoil_fraction, noise=noise,
    )  # fmt: skip
    return SimulateResult(simulate_log(directory, options, overwrite=overwrite))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip().lower() for word in text.split(",") if word.strip())
