"""`calibrant allsky simulate`: a file to calibrate, and the truth to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from calibrant.params import Overwrite, Param


@dataclass(frozen=True)
class SimulateResult:
    """The files written and what is in them."""

    file: str
    truth: str
    antennas: int
    snapshots: int
    sources: int
    emitting: int
    next: str

    def summary(self) -> str:
        return (
            f"{self.file}: {self.antennas} antennas, {self.snapshots} snapshot(s), {self.sources} sources, "
            f"{self.emitting} of them emitting\n{self.truth}: the truth\nNext: {self.next}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "truth": self.truth,
            "antennas": self.antennas,
            "snapshots": self.snapshots,
            "sources": self.sources,
            "emitting": self.emitting,
        }


def simulate(
    file: Annotated[str, Param("The calibration file to write; the truth goes beside it.", positional=True)],
    antennas: Annotated[int, Param("Number of antennas.")] = 24,
    size: Annotated[float, Param("Diameter of the array.", unit="m")] = 2.6,
    snapshots: Annotated[int, Param("Number of snapshots, 15 minutes apart.")] = 1,
    satellites: Annotated[int, Param("Satellites in the catalogue, of which about a third are silent.")] = 30,
    source: Annotated[
        list[str], Param('A source put up for the calibration, as "az=0,el=45,r=25"; may be repeated.')
    ] = [],  # noqa: B006
    flux: Annotated[float, Param("Its strength; all satellites together have 0.3.")] = 0.25,
    noise: Annotated[float, Param("Noise of a visibility, per real and imaginary part.")] = 0.003,
    dead: Annotated[list[int], Param("Antennas without signal.")] = [],  # noqa: B006
    missing: Annotated[list[int], Param("Antennas without visibilities.")] = [],  # noqa: B006
    rotation: Annotated[float, Param("The file's positions have to be turned by this, east to north.", unit="deg")] = 0,
    mirror: Annotated[bool, Param("The file's positions are mirrored, east to west.")] = False,
    seed: Annotated[int, Param("Seed of everything random.")] = 1,
    overwrite: Overwrite = False,
) -> SimulateResult:
    """Simulate snapshots of an all-sky array with known gains: a self-test of the whole chain.

    Example:
        calibrant allsky simulate calib.json --source az=0,el=45,r=25 --snapshots 3

    Raises ParameterError for arrays or skies that cannot be, ExistsError where a file is in the way.
    """
    from calibrant.allsky import simulate as library
    from calibrant.allsky.files import check_output, write_json
    from calibrant.allsky.sky import parse_source, whole_sources

    given = tuple(parse_source(text, number) for number, text in enumerate(whole_sources(source), 1))
    truth = library.make_truth(
        antennas=antennas,
        size_m=size,
        snapshots=snapshots,
        satellites=satellites,
        given=given,
        given_flux=flux,
        noise=noise,
        dead=tuple(dead),
        missing=tuple(missing),
        rotation_deg=rotation,
        mirror=mirror,
        seed=seed,
    )
    beside = file.removesuffix(".json") + ".truth.json"
    for path in (file, beside):
        check_output(path, overwrite)
    write_json(file, library.to_json(truth), overwrite)
    write_json(beside, library.truth_json(truth), overwrite)
    emitting = int(sum((fluxes > 0).sum() for fluxes in truth.fluxes) / snapshots)
    call = " ".join([f"calibrant allsky calibrate {file}", *(f"--source {text}" for text in whole_sources(source))])
    return SimulateResult(file, beside, antennas, snapshots, len(truth.sources[0]), emitting, f"{call} -o gains.json")
