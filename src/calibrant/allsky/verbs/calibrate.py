"""What `calibrant allsky calibrate` computes and says; the verb itself, which also writes the report, is in jobs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calibrant.allsky.words import folded

if TYPE_CHECKING:
    from calibrant.allsky.calibration import Calibration
    from calibrant.allsky.snapshots import CalibrationData
    from calibrant.allsky.verdict import Verdict

DO_NOT_UPLOAD = 3


@dataclass(frozen=True)
class CalibrateResult:
    """Gains, phases and sources of an array, and whether they can be uploaded."""

    calibration: Calibration
    judged: Verdict
    output: str = ""
    report: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        return self.judged.verdict

    @property
    def exit_code(self) -> int:
        return DO_NOT_UPLOAD if self.verdict == "do not upload" else 0

    def summary(self) -> str:
        result = self.calibration
        lines = [f"Verdict: {self.verdict}", *map(folded, self.judged.reasons), ""]
        lines += [f"{'ant':>3} {'gain':>8} {'+-':>7} {'phase deg':>10} {'+-':>6}  state"]
        for one in result.antennas:
            phase, phase_err = math.degrees(one.phase), math.degrees(one.phase_err)
            lines.append(
                f"{one.number:3d} {one.gain:8.4f} {_text(one.gain_err, 7, 4)} {phase:10.2f} {_text(phase_err, 6, 2)}  "
                + (one.state if one.number != result.reference else "reference")
            )
        lines += ["", *self._sources(), folded(self._orientation(), "Orientation: ")]
        lines += [folded(remark, "Note: ") for remark in self.remarks]
        lines += [f"Gains: {self.output}"] if self.output else []
        lines += [f"Report: {self.report}"] if self.report else []
        return "\n".join(lines)

    def _sources(self) -> list[str]:
        found = [source for source in self.calibration.sources if source.state == "found"]
        lines = [f"{'source':<32} {'az':>7} {'el':>6} {'r':>8} {'flux':>9} {'+-':>8}  snapshot"]
        for source in sorted(found, key=lambda one: -one.flux)[:12]:
            where = "far" if math.isinf(source.r_m) else f"{source.r_m:.1f} m"
            lines.append(
                f"{source.name[:32]:<32} {source.az_deg:7.2f} {source.el_deg:6.2f} {where:>8} {source.flux:9.4f} "
                f"{source.flux_err:8.4f}  {source.snapshot}"
            )
        return lines + ([f"... and {len(found) - 12} more (--json has all)"] if len(found) > 12 else [])

    def _orientation(self) -> str:
        result = self.calibration
        error = f" +- {result.rotation_err_deg:.2f}" if math.isfinite(result.rotation_err_deg) else ""
        mirror = "mirrored, " if result.mirror else ""
        return f"{mirror}turned {result.rotation_deg:.2f}{error} deg ({result.rotation_state})"

    def to_dict(self) -> dict[str, Any]:
        result = self.calibration
        return {
            "verdict": self.verdict,
            "reasons": list(self.judged.reasons),
            "held_out_power": result.held_out_power,
            "power": result.power,
            "null_power": result.null_power,
            "chi2": result.chi2,
            "noise": result.noise,
            "scatter": result.scatter,
            "agreement": result.agreement,
            "starts": result.starts,
            "reference": result.reference,
            "rot_degrees": result.rotation_deg,
            "rot_degrees_err": result.rotation_err_deg,
            "rotation_state": result.rotation_state,
            "mirror": result.mirror,
            "antennas": [
                {
                    "antenna": one.number,
                    "gain": one.gain,
                    "phase": one.phase,
                    "gain_err": one.gain_err,
                    "phase_err": one.phase_err,
                    "state": one.state,
                }
                for one in result.antennas
            ],
            "sources": [
                {
                    "snapshot": source.snapshot,
                    "name": source.name,
                    "az": source.az_deg,
                    "el": source.el_deg,
                    "r": source.r_m,
                    "flux": source.flux,
                    "flux_err": source.flux_err,
                    "state": source.state,
                    "given": source.given,
                }
                for source in result.sources
            ],
            "notes": [*result.notes, *self.remarks],
            "gains_file": self.output,
            "report": self.report,
        }


def _text(value: float, width: int, digits: int) -> str:
    return f"{value:{width}.{digits}f}" if math.isfinite(value) else " " * (width - 1) + "-"


def solve(
    file: str,
    *,
    source: Sequence[str] = (),
    output: str = "",
    elevation: float = 10.0,
    ignore: Sequence[int] = (),
    reference: int = 0,
    orientation: str = "auto",
    noise: float = 0.0,
    starts: int = 16,
    seed: int = 1,
    catalogue: str = "",
    assume_utc: bool = False,
    method: str = "",
    api: str = "",
    overwrite: bool = False,
) -> CalibrateResult:
    """What `allsky calibrate` does, but for the report; the parameters are explained there (jobs/allsky_calibrate).

    Raises DataError, FormatError or ParameterError where the file or a source cannot be used.
    """
    from calibrant.allsky import calibration, gainsfile
    from calibrant.allsky.files import check_output, write_json
    from calibrant.allsky.sky import parse_source, whole_sources
    from calibrant.allsky.sun import check_catalogue_time
    from calibrant.allsky.verdict import judge

    check_output(output, overwrite)
    given = [parse_source(text, number) for number, text in enumerate(whole_sources(list(source)), 1)]
    data = read_data(file, catalogue, assume_utc)
    check_catalogue_time(data)
    result = calibration.calibrate(
        data,
        sources=given,
        elevation_deg=elevation,
        ignore=ignore,
        reference=reference,
        orientation=orientation,
        noise=noise or math.nan,
        starts=max(starts, 8),
        seed=seed,
    )
    judged = judge(result)
    if output:
        write_json(output, gainsfile.gains_json(result, judged), overwrite)
    return CalibrateResult(result, judged, output, remarks=tuple(_remarks(method, api, starts)))


def read_data(file: str, catalogue: str = "", assume_utc: bool = False) -> CalibrationData:
    """A calibration file (JSON) or the telescope's visibilities (HDF5) by the name's ending."""
    from calibrant.allsky.snapshots import read_calibration_data, with_catalogue

    if file.endswith((".hdf", ".h5", ".hdf5")):
        from calibrant.allsky.hdf import read_vis_hdf

        return read_vis_hdf(file, catalogue)
    data = read_calibration_data(file, assume_utc)
    return with_catalogue(data, catalogue) if catalogue else data


def _remarks(method: str, api: str, starts: int) -> list[str]:
    remarks = []
    if method:
        remarks.append(f"--method {method} was noted and not needed: the solution is found directly, from many starts")
    if api:
        remarks.append(f"--api {api} was not asked: the file has all that is needed")
    if starts < 8:
        remarks.append(f"{starts} starts are too few to compare; 8 were used")
    return remarks
