"""Parameters that several station verbs share, each declared once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from calibrant.errors import ParameterError
from calibrant.params import Param

if TYPE_CHECKING:
    from calibrant.station.derived import Opacity as Treatment

Logs = Annotated[list[str], Param("Field System logs (.log or .log.gz).", positional=True)]
Rxg = Annotated[list[str], Param("Receiver gain files, or directories of .rxg files.")]
Flux = Annotated[
    str, Param("flux.ctl to take flux densities from; 'default': the shipped one. Empty: as printed in the log.")
]
Source = Annotated[
    str, Param("Sources: names, globs, 'calibrators', 'pointing'; '!' before an item leaves it out. Empty: all.")
]
Detector = Annotated[str, Param("Detectors: '1u,i*', '!ia'. Empty: all.")]
Pol = Annotated[str, Param("Polarisation.", choices=("", "l", "r"))]
Freq = Annotated[str, Param("Detector centre frequencies: '8212.99,8300~8400,>8500'. Empty: all.", unit="MHz")]
Lo = Annotated[str, Param("Local oscillators: '8080,2020'. Empty: all.", unit="MHz")]
Scan = Annotated[
    str, Param("ONOFF scans by number within their log, from 1: '3,5~7'; or of a source: 'casa:2'. Empty: all.")
]
Time = Annotated[
    str, Param("Time range (UTC): '16:10~17:00', '2016.067.16:14:00~2016.067.18:00:00', '>2016-03-07T16:14'.")
]
Elevation = Annotated[str, Param("Elevations: '20~40', '>15'. Empty: all.", unit="deg")]
Where = Annotated[
    str, Param("Any quantities: 'gain>0.1,compression 0.95~1.05', all of which must hold. Empty: no condition.")
]
Session = Annotated[
    str, Param("Directory of the session files with the edits; empty: beside each log; 'none': ignore edits.")
]
SigmaKind = Annotated[
    str,
    Param(
        "Errors of ONOFF's results: 'mean', of the mean over repetitions; 'fs', the Field System's SIG.",
        choices=("mean", "fs"),
    ),
]
Opacity = Annotated[
    str,
    Param(
        "What is corrected for opacity: auto (both, where the rxg's curve says opacity_corrected), none, gain, tcal, "
        "both; for single receivers 'none,x.rxg=both'."
    ),
]
Tatm = Annotated[
    str, Param("Temperature of the atmosphere in K, or 'weather': from the logged one at the ground.", unit="K")
]
GainTcal = Annotated[
    float, Param("One noise diode for all frequencies, for the gain instead of the rxg's table. 0: none.", unit="K")
]
GainAt = Annotated[
    str,
    Param("Mean gain at some elevations, to which the gain's Tcal is scaled: '30~60=0.11'. Empty: none.", unit="K/Jy"),
]


def of_receivers(
    opacity: str, tatm: str, gain_tcal: float = 0.0, gain_at: str = "", *, like_gnplt: bool = False
) -> dict[str, Any]:
    """What `load` takes, from the options; ParameterError for what cannot be."""
    if gain_tcal and gain_at:
        raise ParameterError("--gain-tcal and --gain-at both set the Tcal of the gain; give one of them")
    if not 0 <= gain_tcal < 1e4:
        raise ParameterError(f"gain_tcal is {gain_tcal}; give the noise diode in K, or 0 for the rxg's table")
    return {
        "opacity": treatment(opacity, tatm, like_gnplt=like_gnplt),
        "gain_tcal_k": gain_tcal or float("nan"),
        "gain_at": _gain_at(gain_at) if gain_at else None,
    }


def treatment(opacity: str, tatm: str, *, like_gnplt: bool = False) -> Treatment:
    """How the atmosphere is treated."""
    from calibrant.station.derived import Opacity as Treatment

    every, named = "auto", {}
    for item in filter(None, (word.strip() for word in opacity.split(","))):
        name, equals, choice = item.rpartition("=")
        if equals:
            named[name.strip()] = choice.strip()
        else:
            every = item
    return Treatment(kelvin(tatm), every, named, like_gnplt)


def kelvin(tatm: str) -> float | Literal["weather"]:
    """A temperature of the atmosphere; ParameterError for what cannot be one."""
    if tatm == "weather":
        return "weather"
    try:
        number = float(tatm)
    except ValueError:
        number = 0.0
    if not 100.0 <= number <= 400.0:
        raise ParameterError(f"tatm is {tatm!r}; give kelvin between 100 and 400, or 'weather'")
    return number


def _gain_at(text: str) -> tuple[float, float, float]:
    """(low, high, gain) of 'low~high=gain'."""
    span, _, gain = text.partition("=")
    low, _, high = span.partition("~")
    try:
        found = (float(low), float(high), float(gain))
    except ValueError:
        found = (0.0, 0.0, 0.0)
    if not (found[0] < found[1] and found[2] > 0):
        raise ParameterError(f"gain_at={text!r}: expected elevations and a gain in K/Jy, as '30~60=0.11'")
    return found
