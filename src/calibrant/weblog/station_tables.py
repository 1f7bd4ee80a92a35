"""The tables of a station's report: cells as text, ready to be shown."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calibrant.plots.station.common import POL_WORDS, utc_text
from calibrant.weblog.page import number

if TYPE_CHECKING:
    from calibrant.station.fitted import BandFits
    from calibrant.station.judge import Judgement
    from calibrant.station.load import Loaded

MOST_ROWS = 200
"""A longer table ends with the number of rows left out; `--json` has them all."""


@dataclass(frozen=True)
class Table:
    """Columns as (heading, whether numbers); `folded` tables open on a click."""

    title: str
    columns: tuple[tuple[str, bool], ...]
    rows: list[tuple[str, ...]]
    folded: bool = False


def table(title: str, words: str, numbers: str, rows: Iterable[Sequence[Any]], folded: bool = False) -> Table:
    """Headings as texts with ';' between: those of words, then those of numbers."""
    heads = [(head.strip(), False) for head in words.split(";") if head.strip()]
    heads += [(head.strip(), True) for head in numbers.split(";") if head.strip()]
    every = [tuple(str(cell) for cell in row) for row in rows]
    shown = every[:MOST_ROWS]
    if len(every) > MOST_ROWS:
        shown.append((f"and {len(every) - MOST_ROWS} more", *[""] * (len(heads) - 1)))
    return Table(title, tuple(heads), shown, folded)


def tables_of(loaded: Loaded, judgement: Judgement, fits: dict[str, BandFits]) -> dict[str, list[Table]]:
    """Section -> its tables; sections without any are left out."""
    found = {
        "logs": _logs(loaded),
        "ratio": _bands(judgement),
        "sefd": _sefd(judgement),
        "gain": _gain(loaded, fits),
        "tcal": _tcal(fits),
        "trec": _trec(fits),
        "coverage": _coverage(judgement),
        "deleted": _deleted(judgement),
        "trends": _trends(judgement),
        "skipped": _skipped(loaded),
    }
    return {name: [one for one in tables if one.rows] for name, tables in found.items()}


def _pol(pol: str) -> str:
    return POL_WORDS.get(pol, pol)


def _logs(loaded: Loaded) -> list[Table]:
    points = loaded.points
    rows = []
    for index, log in enumerate(loaded.logs):
        status = [scan.status for scan in log.scans]
        counts = [status.count(word) for word in ("complete", "partial", "aborted")]
        used = int(((points["log"] == index) & ~points["deleted"]).sum()) if len(points) else 0
        rows.append(
            (
                os.path.basename(log.path), log.site.name, _when(log.start), _when(log.end), f"{log.lines}", *counts,
                used, len(log.skipped),
            )
        )  # fmt: skip
    broken = [
        (os.path.basename(log.path), scan.line, utc_text(scan.time), scan.source or "–", scan.status, scan.reason)
        for log in loaded.logs for scan in log.scans if scan.status != "complete"
    ]  # fmt: skip
    return [
        table(
            "", "Log; Station; From; To",
            "Lines; Complete scans; Partial; Aborted; Points used; Lines not understood", rows,
        ),
        table(
            f"Scans that did not come to an end ({len(broken)})", "Log; Line; Time; Source; Status; Reason", "", broken,
            folded=len(broken) > 12,
        ),
    ]  # fmt: skip


def _when(time: float) -> str:
    return utc_text(time) if time == time else "–"


def _bands(judgement: Judgement) -> list[Table]:
    rows = [
        (
            band.band, _pol(band.pol), band.points, band.scans, band.sources, number(band.freq_low_mhz, ".2f"),
            number(band.freq_high_mhz, ".2f"), number(band.ratio_median), number(band.ratio_scatter),
            number(band.compression_median, ".4f"),
            number(100 * band.compression_outside, ".0f"),
        )
        for band in judgement.bands
    ]  # fmt: skip
    numbers = "Points; Scans; Sources; From (MHz); To (MHz); Ratio; Scatter; Compression; Outside 0.95–1.05 (%)"
    return [table("", "Band; Pol.", numbers, rows)]


def _sefd(judgement: Judgement) -> list[Table]:
    rows = [
        (
            band.band, _pol(band.pol), number(band.sefd_median_jy, ".0f"), number(100 * band.sefd_scatter, ".1f"),
            number(band.tsys_median_k, ".1f"), band.no_diode,
        )
        for band in judgement.bands
    ]  # fmt: skip
    numbers = "SEFD (Jy, median); Scatter of a detector (%); Tsys (K, median); Points without diode"
    return [table("", "Band; Pol.", numbers, rows)]


def _gain(loaded: Loaded, fits: dict[str, BandFits]) -> list[Table]:
    rows, degrees = [], []
    for rxg in loaded.receivers.files if loaded.receivers is not None else ():
        fit = fits[rxg.name].gain if rxg.name in fits else None
        if fit is None:
            continue
        dpfu_old = {str(pol): value for pol, value in rxg.dpfu.items()}
        for pol, dpfu in fit.dpfu.items():
            old = dpfu_old.get(pol, float("nan"))
            rows.append(
                (
                    rxg.name, _pol(pol), number(old, ".6f"), f"{dpfu:.6f} ± {fit.dpfu_errors[pol]:.6f}",
                    f"{100 * (dpfu / old - 1):+.1f}" if old > 0 else "–", fit.degree, f"{fit.peak_elevation_deg:.1f}",
                    f"{100 * fit.rms:.1f}", number(fit.reduced_chi2, ".2f"),
                )
            )  # fmt: skip
        text = " ".join(f"{coefficient:.6g}" for coefficient in fit.curve.coefficients)
        degrees.append((rxg.name, f"{fit.curve.kind.upper()} POLY {text}", fit.method))
    numbers = "DPFU on file (K/Jy); New DPFU; Change (%); Degree; Peak (°); RMS (%); χ²/dof"
    factors = [
        (name, source, f"{factor.value:.3f} ± {factor.error:.3f}", factor.count)
        for name, fit in fits.items() if fit.gain is not None for source, factor in fit.gain.source_factors.items()
    ]  # fmt: skip
    return [
        table("DPFU", "Receiver; Pol.", numbers, rows),
        table("New curve", "Receiver; Curve; Method", "", degrees),
        table("Flux density factors found (true over assumed)", "Receiver; Source", "Factor; Points", factors),
    ]


def _tcal(fits: dict[str, BandFits]) -> list[Table]:
    rows = [
        (
            name, _pol(one.pol), one.masked, f"{one.freq_mhz:.2f}", number(one.old_k), number(one.tcal_k),
            number(one.error_k), number(one.change_percent, "+.1f"), one.count,
        )
        for name, fit in fits.items() if fit.tcal is not None for one in fit.tcal.values
    ]  # fmt: skip
    numbers = "Frequency (MHz); On file (K); New (K); Error (K); Difference (%); Points"
    title = f"Tcal at {len(rows)} observed frequencies"
    bands = [
        (
            name, _pol(side.pol), f"{side.upper} / {side.lower}", number(side.lo_mhz, ".2f"), number(side.upper_ratio),
            number(side.lower_ratio), number(side.sigma, ".1f"),
        )
        for name, fit in fits.items() if fit.tcal is not None for side in fit.tcal.sidebands
    ]  # fmt: skip
    return [
        table(title, "Receiver; Pol.; Masked because", numbers, rows, folded=len(rows) > 16),
        table(
            "Upper and lower side band differ", "Receiver; Pol.; Detectors",
            "LO (MHz); Upper, measured over assumed; Lower; Sigma", bands,
        ),
    ]  # fmt: skip


def _trec(fits: dict[str, BandFits]) -> list[Table]:
    rows, segments = [], []
    for name, fit in fits.items():
        if fit.trec is None:
            continue
        for pol, trec in fit.trec.trec.items():
            old = {str(key): value for key, value in fit.rxg.trec.items()}.get(pol, 0.0)
            row = (f"{old:.1f}" if old > 0 else "unknown", f"{trec:.1f} ± {fit.trec.errors[pol]:.1f}")
            rows.append((name, _pol(pol), *row, f"{fit.trec.tatm_k:.0f}"))
        segments += [
            (
                name, utc_text(one.start), utc_text(one.end), one.note, one.points,
                f"{one.airmass_range[0]:.2f} to {one.airmass_range[1]:.2f}", number(one.tau0, ".4f"),
                number(one.tau0_error, ".4f"),
            )
            for one in fit.trec.segments
        ]  # fmt: skip
    return [
        table("Receiver temperature", "Receiver; Pol.", "On file (K); New (K); Tatm (K)", rows),
        table(
            f"Opacity by time ({len(segments)} stretches)", "Receiver; From; To; Note", "Points; Airmass; τ₀; Error",
            segments, folded=len(segments) > 12,
        ),
    ]  # fmt: skip


def _coverage(judgement: Judgement) -> list[Table]:
    rows = [
        (
            one.band, _pol(one.pol), len(one.observed), len(one.table), len(one.unobserved), len(one.outside),
            _few(one.unobserved),
        )
        for one in judgement.coverage.frequencies
    ]  # fmt: skip
    numbers = "Observed; In the Tcal table; Of these not observed; Observed outside it; Not observed (MHz)"
    return [table("Frequencies", "Band; Pol.", numbers, rows)]


def _few(values: Sequence[float], most: int = 8) -> str:
    return ", ".join(f"{value:g}" for value in values[:most]) + (" …" if len(values) > most else "")


def _deleted(judgement: Judgement) -> list[Table]:
    rows = [(one.reason, one.points, one.scans, one.detectors) for one in judgement.deleted]
    return [table("", "Reason", "Points; Scans; Detectors", rows)]


def _trends(judgement: Judgement) -> list[Table]:
    rows = [
        (
            one.band, _pol(one.pol), one.log, utc_text(one.time, "%Y-%m-%d"), one.points, number(one.ratio_median),
            number(one.ratio_scatter), number(one.sefd_median_jy, ".0f"), number(one.sefd_scatter_jy, ".0f"),
            number(one.tsys_median_k, ".1f"),
        )
        for one in judgement.trends
    ]  # fmt: skip
    numbers = "Points; Ratio; Scatter; SEFD (Jy); Scatter; Tsys (K)"
    return [table("", "Band; Pol.; Log; Date", numbers, rows, folded=len(rows) > 40)]


def _skipped(loaded: Loaded) -> list[Table]:
    rows = [(os.path.basename(one.file), one.line, one.reason, one.text) for one in loaded.skipped]
    reasons: dict[str, int] = {}
    for one in loaded.skipped:
        reasons[one.reason] = reasons.get(one.reason, 0) + 1
    counted = sorted(reasons.items(), key=lambda item: -item[1])
    return [
        table("By reason", "Reason", "Count", counted),
        table(f"All {len(rows)}", "Log; Line; Reason; Text", "", rows, folded=True),
    ]
