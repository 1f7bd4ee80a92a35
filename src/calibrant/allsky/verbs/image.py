"""`calibrant allsky image`: the whole sky of a snapshot as a picture or as FITS, before and after."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from calibrant.allsky.files import check_output, write_bytes
from calibrant.allsky.words import folded
from calibrant.errors import DataError, ParameterError
from calibrant.params import Overwrite, Param

if TYPE_CHECKING:
    from calibrant.allsky.gainsfile import Gains
    from calibrant.allsky.image import SeenSource, SkyImage
    from calibrant.allsky.snapshots import CalibrationData, Snapshot

PICTURES = (".png", ".svg", ".pdf")
FITS = (".fits", ".fit", ".fts")


@dataclass(frozen=True)
class ImageResult:
    """Where the image is and how well the sky stands out, for each set of gains."""

    output: str
    images: tuple[SkyImage, ...]
    sources: tuple[SeenSource, ...]
    remarks: tuple[str, ...] = ()

    def summary(self) -> str:
        lines = [f"{'gains':<8} {'antennas':>8} {'peak':>9} {'sigma':>9} {'peak/sigma':>10}   peak at az, el"]
        for one in self.images:
            az, el = one.peak_az_el()
            lines.append(
                f"{one.gains:<8} {one.antennas:8d} {one.peak:9.4f} {one.mad:9.5f} {one.contrast:10.1f}   "
                f"{round(az, 1) % 360:.1f}, {el:.1f} deg"
            )
        found = [one for one in self.sources if one.found]
        if self.sources:
            names = ", ".join(one.source.name for one in found[:4]) + (", ..." if len(found) > 4 else "")
            lines.append(f"Sources: {len(found)} found, {len(self.sources) - len(found)} silent ({names})")
        lines += [folded(remark, "Note: ") for remark in self.remarks]
        return "\n".join([*lines, f"wrote {self.output}"])

    def to_dict(self) -> dict[str, Any]:
        return {
            "output": self.output,
            "images": [
                {
                    "gains": one.gains,
                    "size": one.size,
                    "antennas": one.antennas,
                    "baselines": one.baselines,
                    "peak": one.peak,
                    "mad": one.mad,
                    "peak_over_mad": one.contrast,
                    "peak_az": one.peak_az_el()[0],
                    "peak_el": one.peak_az_el()[1],
                }
                for one in self.images
            ],
            "sources": [
                {
                    "name": one.source.name,
                    "az": one.source.az_deg,
                    "el": one.source.el_deg,
                    "flux": one.flux,
                    "flux_err": one.flux_err,
                    "state": "found" if one.found else "silent",
                }
                for one in self.sources
            ],
            "notes": list(self.remarks),
        }


def image(
    file: Annotated[str, Param("The file of `allsky collect` (or vis .hdf of the telescope).", positional=True)],
    gains: Annotated[str, Param("The gains file to apply. Empty: the gains stored in the telescope.")] = "",
    snapshot: Annotated[int, Param("Which snapshot, from 1.")] = 1,
    output: Annotated[str, Param("The picture (.png, .svg, .pdf) or FITS file to write.")] = "sky.png",
    size: Annotated[int, Param("Cells across the sky.")] = 512,
    compare: Annotated[bool, Param("Without gains, with the stored and with the new ones, side by side.")] = False,
    elevation: Annotated[float, Param("Catalogue sources below this are not marked.", unit="deg")] = 10.0,
    catalogue: Annotated[str, Param("Catalogue file, for visibilities that come without one.")] = "",
    assume_utc: Annotated[bool, Param("Take timestamps without a zone as UTC.")] = False,
    overwrite: Overwrite = False,
) -> ImageResult:
    """Make an all-sky image of a snapshot: north up, east on the left, sources marked.

    Colours are in units of the image's robust scatter; circles are sources that were found with these gains, dots
    those that were not. FITS has right ascension and declination where time and place are known; with --compare one
    extension for each set of gains.

    Example:
        calibrant allsky image calib_data.json --gains gains.json --compare -o sky.png

    Raises DataError, FormatError or ParameterError where there is nothing to image, ExistsError for the output.
    """
    from calibrant.allsky.gainsfile import read_gains
    from calibrant.allsky.verbs.calibrate import read_data

    ending = _ending(output, overwrite)
    data = read_data(file, catalogue, assume_utc)
    if not 1 <= snapshot <= len(data.snapshots):
        raise ParameterError(f"snapshot={snapshot}: {file} has {len(data.snapshots)}, counted from 1")
    one = data.snapshots[snapshot - 1]
    new = read_gains(gains) if gains else None
    remarks: list[str] = []
    images, seen = _images(data, one, new, size, compare, elevation, remarks)
    if ending in FITS:
        from calibrant.allsky.image_fits import write_fits

        write_fits(output, images, data, one, new.verdict if new is not None else "", overwrite)
    else:
        write_bytes(output, _picture(ending, images, seen, data, one), overwrite)
    return ImageResult(output, tuple(images), tuple(seen), tuple(remarks))


def _ending(output: str, overwrite: bool) -> str:
    ending = os.path.splitext(output)[1].lower()
    if ending not in (*PICTURES, *FITS):
        raise ParameterError(f"output={output!r}: expected a name that ends in {', '.join((*PICTURES, FITS[0]))}")
    check_output(output, overwrite)
    return ending


def _images(
    data: CalibrationData,
    snapshot: Snapshot,
    new: Gains | None,
    size: int,
    compare: bool,
    elevation: float,
    remarks: list[str],
) -> tuple[list[SkyImage], list[SeenSource]]:
    """Images with each set of gains wanted, the best last, and the sources seen with that one."""
    import numpy as np

    from calibrant.allsky.figures import stored_in_gauge, without_stored
    from calibrant.allsky.image import make_image, sources_seen

    n, wavelength = len(data.positions), data.wavelength_m
    sets: list[tuple[str, Any, Any, Any]] = [("none", np.ones(n), np.zeros(n), data.positions)]
    gain, phase = stored_in_gauge(data, 0)
    if gain is not None and phase is not None:
        sets.append(("stored", gain, phase, data.positions))
    elif compare or new is None:
        remarks.append(without_stored(data))
    if new is not None:
        if len(new.gain) != n:
            raise DataError(f"{new.path}: has {len(new.gain)} gains, but {data.path} has {n} antennas")
        if new.telescope and data.name and new.telescope != data.name:
            remarks.append(f"{new.path} was made for {new.telescope!r}, and these are data of {data.name!r}")
        sets.append(("new", new.gain, new.phase, _positions(data, new, remarks)))
    name, gain, phase, positions = sets[-1]
    if name == "none":
        remarks.append("the image is of visibilities as measured: calibrate first, and give --gains")
    seen = sources_seen(snapshot, positions, wavelength, gain, phase, elevation)
    wanted = sets if compare else sets[-1:]
    return [make_image(snapshot, p, wavelength, g, f, size, name) for name, g, f, p in wanted], seen


def _positions(data: CalibrationData, new: Gains, remarks: list[str]) -> Any:
    """The positions that the new gains belong to."""
    if new.positions is None or new.positions.shape != data.positions.shape:
        if new.mirror or abs(new.rotation_deg) > 0:
            from calibrant.allsky.steering import turned

            return turned(data.positions, new.rotation_deg, new.mirror)
        return data.positions
    if new.mirror or abs(new.rotation_deg) > 1:
        how = "mirrored and " if new.mirror else ""
        remarks.append(f"the new gains belong to positions {how}turned by {new.rotation_deg:.1f} deg, which were used")
    return new.positions


def _picture(
    ending: str, images: Sequence[SkyImage], seen: Sequence[SeenSource], data: CalibrationData, snapshot: Snapshot
) -> bytes:
    from calibrant.allsky.figures import TITLES, moment, sky_panel
    from calibrant.plots.allsky.material import Mark
    from calibrant.plots.allsky.sky import skies_file

    marks = [Mark(s.source.name, s.source.az_deg, s.source.el_deg, s.found, s.source.given) for s in seen]
    panels = [sky_panel(one, TITLES[one.gains], marks) for one in images]
    title = " · ".join(filter(None, (data.name, moment(snapshot.time))))
    return skies_file(ending, panels, title)
