"""station report: from logs to a verdict in words, as one page, as JSON, and as an exit code."""

from __future__ import annotations

import json
import math
import os
import shlex
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from calibrant.errors import ExistsError, ParameterError
from calibrant.params import Overwrite, Param
from calibrant.station.verbs import options

if TYPE_CHECKING:
    from calibrant.station.fitted import BandFits
    from calibrant.station.judge import Judgement
    from calibrant.station.load import Loaded


@dataclass(frozen=True)
class StationReport:
    """The verdict with its reasons, where the page is, and everything it rests on."""

    verdict: str
    reasons: tuple[str, ...]
    report: str
    judgement: Judgement = field(repr=False)
    fits: dict[str, BandFits] = field(repr=False)
    logs: tuple[str, ...] = ()
    skipped: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    commands: tuple[str, ...] = ()

    def summary(self) -> str:
        lines = [f"Verdict: {self.verdict}"]
        for reason in self.reasons:
            lines += textwrap.wrap(reason, 98, initial_indent="  ", subsequent_indent="    ")
        if self.judgement.bands:
            lines += ["", f"{'band':32s} pol points  ratio scatter    SEFD/Jy  Tsys/K"]
        lines += [
            f"{band.band[:32]:32s}  {band.pol}  {band.points:6d} {_shown(band.ratio_median, '6.3f')}  "
            f"{_shown(band.ratio_scatter, '6.3f')} {_shown(band.sefd_median_jy, '10.0f')} "
            f"{_shown(band.tsys_median_k, '7.1f')}"
            for band in self.judgement.bands
        ]
        for sentence in self.judgement.advice:
            lines += textwrap.wrap(f"advice: {sentence}", 98, subsequent_indent="  ")
        return "\n".join([*lines, f"wrote {self.report}"])

    def to_dict(self) -> dict[str, Any]:
        return self.judgement.to_dict() | {
            "report": self.report,
            "logs": list(self.logs),
            "fits": {name: one.to_dict() for name, one in self.fits.items()},
            "skipped": list(self.skipped),
            "commands": list(self.commands),
        }


def _shown(value: float, form: str) -> str:
    """A number in its column, or a dash."""
    return f"{value:{form}}" if math.isfinite(value) else f"{'-':>{form.split('.')[0]}}"


def report(
    logs: options.Logs,
    rxg: options.Rxg = [],  # noqa: B006
    flux: options.Flux = "",
    source: options.Source = "",
    pol: options.Pol = "",
    lo: options.Lo = "",
    freq: options.Freq = "",
    detector: options.Detector = "",
    scan: options.Scan = "",
    time: options.Time = "",
    elevation: options.Elevation = "",
    where: options.Where = "",
    session: options.Session = "",
    opacity: options.Opacity = "auto",
    tatm: options.Tatm = "273",
    gain_tcal: options.GainTcal = 0.0,
    gain_at: options.GainAt = "",
    like_gnplt: Annotated[bool, Param("Fit as GNPLT does: plain least squares, plain means.")] = False,
    output: Annotated[str, Param("The page to write; its JSON comes beside it as NAME.json.")] = "report.html",
    overwrite: Overwrite = False,
) -> StationReport:
    """Judge a station's amplitude calibration: one page with verdict, figures and tables, and JSON beside it.

    Works with what there is: without rxg files only the log's own assumptions are judged, without noise diode only
    SEFD. Several logs give trends. The exit code is 3 where the verdict is "do not trust".

    Example:
        calibrant station report r1730ny.log --rxg calnyx.rxg,calnys.rxg -o r1730ny.html
        calibrant station report r1*.log --json
    """
    from calibrant.station.bands import band_labels, stations_of
    from calibrant.station.figures import material
    from calibrant.station.fitted import advice_of, fit_all, fit_checks
    from calibrant.station.judge import judge
    from calibrant.station.load import load
    from calibrant.weblog.station import write_station_report

    beside = _outputs(output, overwrite)
    selection = {
        "source": source, "pol": pol, "lo": lo, "freq": freq, "detector": detector, "scan": scan, "time": time,
        "elevation": elevation, "where": where,
    }  # fmt: skip
    treated = options.of_receivers(opacity, tatm, gain_tcal, gain_at, like_gnplt=like_gnplt)
    loaded = load(logs, rxg=rxg, flux=flux, session=session, selection=selection, **treated)
    fits = fit_all(loaded, like_gnplt=like_gnplt)
    judgement = judge(
        loaded.points, logs=loaded.logs, receivers=loaded.receivers, fits=fit_checks(fits), advice=advice_of(fits)
    )
    given = {"flux": flux, "session": session, "opacity": opacity, "tatm": tatm, "gain_tcal": gain_tcal,
             "gain_at": gain_at, "like_gnplt": like_gnplt, **selection}  # fmt: skip
    commands = commands_of(loaded, fits, given)
    drawn = material(loaded, judgement, fits, band_labels(loaded.points, stations_of(loaded.logs)))
    try:
        write_station_report(loaded, judgement, fits, drawn, commands, output)
    except OSError as error:
        raise ParameterError(f"output={output!r}: cannot be written: {error.strerror}") from None
    result = StationReport(
        judgement.verdict, judgement.reasons, output, judgement, fits, tuple(log.path for log in loaded.logs),
        tuple(vars_of(one) for one in loaded.skipped), tuple(commands),
    )  # fmt: skip
    _write_json(result, beside)
    return result


def vars_of(skipped: Any) -> dict[str, Any]:
    """A line that was not used, as plain data."""
    return {name: getattr(skipped, name) for name in ("file", "line", "reason", "text")}


def commands_of(loaded: Loaded, made: dict[str, BandFits], given: dict[str, Any]) -> list[str]:
    """What to type to see the points, to fit, and to put the result into the files; `given`: options of the report.

    Each rxg file comes with the logs that it serves, and with the fits that have something to put into it.
    """
    from calibrant.params import command_line, declared
    from calibrant.station.verbs.edit import edit
    from calibrant.station.verbs.fit_gain import fit_gain
    from calibrant.station.verbs.fit_tcal import fit_tcal
    from calibrant.station.verbs.fit_trec import fit_trec
    from calibrant.station.verbs.onoff import onoff
    from calibrant.station.verbs.update import update

    def line(verb: Any, name: str, **values: Any) -> str:
        known = {one.name for one in declared(verb)}
        return command_line(verb, {key: value for key, value in (given | values).items() if key in known}, name)

    logs = [log.path for log in loaded.logs]
    files = loaded.receivers.files if loaded.receivers is not None else ()
    session = "" if given["session"] == "none" else given["session"]
    lines = [
        line(onoff, "station onoff", logs=logs, rxg=[rxg.path for rxg in files]),
        line(edit, "station edit", logs=logs, rules="default", dry_run=True, session=session),
    ]
    fits = {"gain": fit_gain, "tcal": fit_tcal, "trec": fit_trec}
    for rxg in files:
        mine = loaded.points.where(loaded.points["rxg"] == rxg.name)
        serves = [logs[index] for index in sorted(set(mine["log"].tolist()))]
        for kind, verb in fits.items():
            fitted = getattr(made[rxg.name], kind) if rxg.name in made else None
            if fitted is None or (kind == "tcal" and not any(map(fitted.merged, rxg.pols))):
                continue
            found = f"{os.path.splitext(rxg.name)[0]}-{kind}.json"
            fit = line(verb, f"station fit {kind}", logs=serves, rxg=[rxg.path])
            lines.append(f"{fit} --json > {shlex.quote(found)}")
            lines.append(line(update, "station update", rxg=rxg.path, from_=[found], dry_run=True))
    return lines


def _outputs(output: str, overwrite: bool) -> str:
    """The name of the JSON file; ExistsError where either exists and must not be replaced."""
    stem, suffix = os.path.splitext(output)
    if suffix.lower() not in (".html", ".htm"):
        raise ParameterError(f"output={output!r}: expected a name that ends in .html")
    for path in (output, f"{stem}.json"):
        if os.path.exists(path) and not overwrite:
            raise ExistsError(f"{path} exists; give --overwrite to replace it, or another --output")
    folder = os.path.dirname(output)
    if folder and not os.path.isdir(folder):
        raise ParameterError(f"output={output!r}: there is no directory {folder!r}; make it, or give another --output")
    return f"{stem}.json"


def _write_json(result: StationReport, path: str) -> None:
    from calibrant.plain import plain
    from calibrant.station.text import write_new

    text = json.dumps(plain(result.to_dict()), indent=1, allow_nan=False, ensure_ascii=False)
    write_new(path, text + "\n", overwrite=True)
