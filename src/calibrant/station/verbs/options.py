"""Parameters that several station verbs share, each declared once."""

from __future__ import annotations

from typing import Annotated

from calibrant.params import Param

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
Scan = Annotated[str, Param("ONOFF scans by number within their log, from 1: '3,5~7'. Empty: all.")]
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
