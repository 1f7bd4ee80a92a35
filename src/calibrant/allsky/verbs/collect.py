"""`calibrant allsky collect`: visibilities and catalogue from a telescope into a calibration file."""

from __future__ import annotations

from typing import Annotated

from calibrant.allsky.collect import Collected
from calibrant.params import Overwrite, Param


def collect(
    api: Annotated[str, Param("The telescope's address, as https://tart.elec.ac.nz/signal.")],
    output: Annotated[str, Param("The file to write.")] = "calibration_data.json",
    n: Annotated[int, Param("Samples that the file shall hold at the end.")] = 5,
    interval: Annotated[str, Param("Time between samples: 30s, 5m, 1h or 0.")] = "5m",
    catalog: Annotated[
        str,
        Param(
            "Where the sources are from: the address of a catalogue service, a file (a list of sources, or earlier "
            "samples), or none. Empty: the public service of TART."
        ),
    ] = "",
    append: Annotated[bool, Param("Go on with an existing file of the same telescope.")] = False,
    timeout: Annotated[float, Param("How long an answer is waited for.", unit="s")] = 15.0,
    overwrite: Overwrite = False,
) -> Collected:
    """Collect calibration data from a telescope: info, positions, gains, visibilities and the sources in its sky.

    The file is saved after every sample, so that nothing is lost when the telescope or the network fails; --append
    goes on from there. It is the file of the HOWTO: other TART tools read it.

    Example:
        calibrant allsky collect --api https://tart.elec.ac.nz/signal --n 5 --interval 5m -o calib.json

    Raises ServerError, ExistsError, ParameterError, FormatError or DataError.
    """
    from calibrant.allsky import collect as collecting
    from calibrant.allsky.api import CATALOGUE_URL, Telescope

    pause = collecting.seconds(str(interval))
    sources = collecting.find_sources(catalog or CATALOGUE_URL, timeout)
    with Telescope(api, timeout) as telescope:
        return collecting.collect(telescope, output, n, pause, sources, append, overwrite)
