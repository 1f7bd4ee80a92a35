"""The report of an all-sky calibration: one self-contained HTML page that opens from a file."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from calibrant.allsky.figures import material, moment, stored_in_gauge, without_stored
from calibrant.allsky.verdict import GOOD_POWER, POOR_POWER, TURNED_DEG
from calibrant.plots.allsky import PLOTS
from calibrant.weblog.page import Section, draw_all, render_page, write_page

if TYPE_CHECKING:
    from calibrant.allsky.calibration import Calibration, FoundSource
    from calibrant.allsky.verdict import Verdict

HEADINGS = {
    "sky": "The sky before and after",
    "snapshots": "Further snapshots",
    "evidence": "Evidence",
    "antennas": "Antennas",
    "sources": "Sources",
    "residuals": "Residuals",
    "orientation": "Orientation",
}
"""Sections with figures, in the order read."""
MEANING = {
    "good": "These gains can be uploaded.",
    "check": "Read the reasons, look at the pictures, and then decide whether to upload these gains.",
    "do not upload": "Do not upload these gains as they are. Nothing has been sent to the telescope.",
}
Rows = list[tuple[str, ...]]
Columns = list[tuple[str, bool]]


def write_allsky_report(
    result: Calibration,
    verdict: Verdict,
    path: str,
    gains: str = "",
    remarks: Sequence[str] = (),
    command: str = "",
) -> str:
    """Write the page to `path` through a temporary name and return it. An existing page is replaced.

    `gains` is the gains file that belongs to it (empty: none was written); `command` is what writes it again.
    A figure that cannot be drawn is named on the page with the reason; it does not end the report.
    """
    return write_page(render(result, verdict, gains, remarks, command), path)


def render(
    result: Calibration, verdict: Verdict, gains: str = "", remarks: Sequence[str] = (), command: str = ""
) -> str:
    """The page as text. Every name in it is escaped."""
    sections = draw_all(PLOTS.values(), material(result), HEADINGS)
    return render_page(
        "allsky.html",
        [section for section in sections if worth_showing(section)],
        verdict.verdict,
        reasons=verdict.reasons,
        meaning=MEANING.get(verdict.verdict, ""),
        title=result.data.name or "All-sky array",
        subtitle=subtitle_of(result),
        steps=steps_of(result, verdict.verdict, gains, command),
        command=command,
        evidence=(EVIDENCE_COLUMNS, evidence_rows(result)),
        antennas=(antenna_columns(result), antenna_rows(result)),
        found=(source_columns(result), source_rows(result, found=True)),
        silent=(source_columns(result), source_rows(result, found=False)),
        orientation=orientation_words(result),
        notes=notes_of(result, remarks),
    )


def notes_of(result: Calibration, remarks: Sequence[str]) -> list[str]:
    """What was odd, each thing once, as sentences."""
    said = [*result.data.notes, *remarks] + ([] if result.data.gain is None else [without_stored(result.data)])
    return [text[:1].upper() + text[1:].removesuffix(".") + "." for text in dict.fromkeys(filter(None, said))]


def worth_showing(section: Section) -> bool:
    """Whether a section says more than that there is one snapshot."""
    return section.name != "snapshots" or bool(section.pictures)


def subtitle_of(result: Calibration) -> str:
    """File, time, snapshots, antennas, frequency."""
    data = result.data
    used = sum(antenna.state in ("good", "weak") for antenna in result.antennas)
    words = [os.path.basename(data.path), moment(data.snapshots[0].time)]
    if len(data.snapshots) > 1:
        words.append(f"{len(data.snapshots)} snapshots")
    words += [f"{used} of {len(result.antennas)} antennas", f"{data.frequency_hz / 1e6:.2f} MHz"]
    return " · ".join(word for word in words if word)


def steps_of(result: Calibration, verdict: str, gains: str, command: str = "") -> list[tuple[str, str]]:
    """What to do next, as (sentence, command)."""
    file = shlex.quote(result.data.path or "calib_data.json")
    name = shlex.quote(gains or "gains.json")
    calibrate = command or f"calibrant allsky calibrate {file} --output {name}"
    positions = " --positions" if result.mirror or abs(result.rotation_deg) > TURNED_DEG else ""
    if verdict == "do not upload" and not positions:
        return [
            ("Is the catalogue of the time and place of the data? Collect both together again:",
             'calibrant allsky collect --api "$TART_API" --n 5 --interval 5m -o calib.json'),
            ("If the array may be turned or mirrored, try all orientations:", f"{calibrate} --orientation scan"),
            ("If antennas are broken, leave them out:", f"{calibrate} --ignore 3,7"),
        ]  # fmt: skip
    steps = [] if gains else [("Write the gains to a file:", calibrate)]
    force = " --force" if verdict == "do not upload" else ""
    upload = f'calibrant allsky upload {name} --api "$TART_API"{positions}{force}'
    if positions:
        steps.append((
            "These gains are right only together with new antenna positions. Look first at how the antennas stand "
            "(are east and west swapped in the survey?). If they stand as the map below says, this shows what an "
            "upload of both would change, and changes nothing:", f"{upload} --dry-run",
        ))  # fmt: skip
        steps.append(("Or correct the positions in the telescope, and collect and calibrate again:",
                      'calibrant allsky collect --api "$TART_API" --n 5 --interval 5m -o calib.json'))  # fmt: skip
    else:
        steps.append(("See what an upload would change. This sends nothing and needs no password:",
                      f"{upload} --dry-run"))  # fmt: skip
    if verdict != "do not upload":
        steps.append((
            "Upload. The gains that the telescope has now are saved first, and the new ones are read back. The "
            "password comes from CALIBRANT_TART_PASSWORD, TART_LOGIN_PW, or is asked for:", upload,
        ))  # fmt: skip
        steps.append(("If the images are worse than before, put the old gains back:",
                      'calibrant allsky rollback --api "$TART_API"'))  # fmt: skip
    return steps


EVIDENCE_COLUMNS: Columns = [("what", False), ("value", True), ("what it means", False)]


def evidence_rows(result: Calibration) -> Rows:
    """What speaks for and against, with a yardstick for each."""
    rows: Rows = [
        ("power explained on baselines left out", _percent(result.held_out_power),
         f"{100 * GOOD_POWER:.0f} % and more is good; below {100 * POOR_POWER:.0f} % nothing was calibrated"),
        ("power explained in sample", _percent(result.power),
         "always higher; a wrong sky reaches 40 to 50 % with one snapshot"),
        ("the same for a shuffled sky, left out", _percent(result.null_power),
         "every source at another azimuth: must be far below the first line" if math.isfinite(result.null_power) else
         "not tried: too few sources to shuffle"),
        ("random starts that agree", f"{result.agreement * result.starts:.0f} of {result.starts}",
         "two and more; the solution does not depend on where it began"),
        ("chi2 per degree of freedom", f"{result.chi2:.0f}" if result.chi2 >= 100 else f"{result.chi2:.3g}",
         f"against a noise of {result.noise:g} per component; 1 is noise alone, real skies have more in them than the "
         "catalogue"),
        ("rms residual per component", f"{result.scatter:.2g}", f"noise {result.noise:.2g}"),
    ]  # fmt: skip
    errors = [math.degrees(one.phase_err) for one in result.antennas if math.isfinite(one.phase_err)]
    if errors:
        rows.append(("largest phase error of an antenna", f"{max(errors):.2f} deg", "one sigma; 10 deg blur an image"))
    if math.isfinite(result.rival_power):
        rows.append(("next best orientation, in sample", _percent(result.rival_power),
                     f"the one taken explains {_percent(result.power)}"))  # fmt: skip
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def antenna_columns(result: Calibration) -> Columns:
    """Stored values have columns where the file has them."""
    columns: Columns = [("antenna", True), ("state", False), ("gain", True), ("±", True), ("phase (deg)", True)]
    columns.append(("±", True))
    if stored_in_gauge(result.data, result.reference)[0] is not None:
        columns += [("stored gain", True), ("stored phase", True), ("change (deg)", True)]
    return columns


def antenna_rows(result: Calibration) -> Rows:
    """One row an antenna."""
    gain, phase = stored_in_gauge(result.data, result.reference)
    rows: Rows = []
    for one in result.antennas:
        solved = one.state in ("good", "weak")
        state = "reference" if one.number == result.reference else one.state
        cells = [str(one.number), state, _text(one.gain, ".4f"), "–", "–", "–"]
        if solved:
            new = math.degrees(one.phase)
            cells[3:] = [_text(one.gain_err, ".4f"), f"{new + 0.0:.2f}", _text(math.degrees(one.phase_err), ".2f")]
        if gain is not None and phase is not None:
            old = (math.degrees(phase[one.number]) + 180) % 360 - 180
            change = (math.degrees(one.phase) - old + 180) % 360 - 180 if solved else math.nan
            cells += [_text(gain[one.number], ".4f"), _text(old, ".2f"), _text(change, "+.1f")]
        rows.append(tuple(cells))
    return rows


def _text(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "–"


def source_columns(result: Calibration) -> Columns:
    """With several snapshots directions are those of the first, and fluxes means."""
    columns: Columns = [("source", False), ("flux", True), ("±", True)]
    columns += [("found in", True)] if len(result.data.snapshots) > 1 else []
    return [*columns, ("az (deg)", True), ("el (deg)", True), ("distance", True)]


def source_rows(result: Calibration, found: bool) -> Rows:
    """A row for each name, the brightest first: those found in any snapshot, or those found in none."""
    by_name: dict[str, list[FoundSource]] = {}
    for one in result.sources:
        by_name.setdefault(one.name, []).append(one)
    rows: list[tuple[float, tuple[str, ...]]] = []
    for name, ones in by_name.items():
        hits = sum(one.state == "found" for one in ones)
        if (hits > 0) != found:
            continue
        flux = sum(one.flux for one in ones) / len(ones)
        error = math.sqrt(sum(one.flux_err**2 for one in ones)) / len(ones)
        first = ones[0]
        given = " (given)" if first.given else ""
        cells = [name + given, f"{flux:.4f}", _text(error, ".4f")]
        if len(result.data.snapshots) > 1:
            cells.append(f"{hits} of {len(ones)}")
        cells += [f"{first.az_deg:.2f}", f"{first.el_deg:.2f}", _distance(first.r_m)]
        rows.append((flux, tuple(cells)))
    return [row for _, row in sorted(rows, key=lambda pair: -pair[0])]


def _distance(metres: float) -> str:
    return f"{metres:g} m" if math.isfinite(metres) else "far"


def orientation_words(result: Calibration) -> list[str]:
    """What was found about the orientation of the array, and what it means."""
    digits = 2 if not result.rotation_err_deg < 0.01 else 4
    error = f" ± {result.rotation_err_deg:.{digits}f}" if math.isfinite(result.rotation_err_deg) else ""
    mirror = "mirrored east to west and " if result.mirror else ""
    apart = result.data.positions[:, None] - result.data.positions[None]
    heights = 100 * float(apart[..., 2].max())
    words = [
        f"{len(result.antennas)} antennas; the longest baseline is {result.data.size_m:.2f} m, heights differ by up to "
        f"{heights:.1f} cm."
    ]
    turned = [f"The array is {mirror}turned by {result.rotation_deg:.{digits}f}{error} deg: {result.rotation_state}."]
    if "held" in result.rotation_state:
        turned = [f"The stored orientation was kept ({result.rotation_state})."]
    words += turned
    if result.mirror:
        words.append(
            "A mirror image cannot be seen in distances between antennas, so a survey with a tape can have it. It was "
            "inferred from the sky; compare the map with the antennas on the ground before you believe it."
        )
    if math.isfinite(result.rotation_err_deg):
        words.append("A positive angle turns the antennas from east towards north (anticlockwise on the map).")
    return words
