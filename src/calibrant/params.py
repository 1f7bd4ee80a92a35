"""A parameter is declared once, in the signature of the verb it belongs to.

    def gaincal(vis: Vis, caltable: CalTablePath, solint: Annotated[str, Param("...", unit="s")] = "inf")

The command line, `--help`, the documentation and the provenance written into tables are derived from
that declaration. Aliases used by many verbs (`Vis`, `Field`, ...) live here, so one word means one thing.
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Param:
    """What a parameter is for: one sentence, its unit, the values it may take (empty: any)."""

    help: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    positional: bool = False

    def check(self, name: str, value: object) -> None:
        """Raise ParameterError where `value` is a string outside `choices`."""
        if self.choices and isinstance(value, str) and value not in self.choices:
            from calibrant.errors import ParameterError
            from calibrant.registry import unknown

            raise ParameterError(unknown(name, value, self.choices))


Vis = Annotated[str, Param("The MeasurementSet.", positional=True)]
CalTablePath = Annotated[str, Param("The calibration table.", positional=True)]
Field = Annotated[str, Param("Fields by id, name, glob or range: '0,2~3', '3C*'. Empty: all.")]
Spw = Annotated[str, Param("Spectral windows and channels: '0:5~61;70~80,1', '2:1.41~1.42GHz'. Empty: all.")]
Antenna = Annotated[str, Param("Antennas and baselines: 'DV01', '1~3&5', '!DA41', 'A&&&' for autocorrelations.")]
Timerange = Annotated[str, Param("Time range (UTC): '2024/08/15/05:00:00~05:10:00', '>05:00:00'.")]
Scan = Annotated[str, Param("Scan numbers: '1,3~5,>7'.")]
Uvrange = Annotated[str, Param("Projected baseline length: '>100m', '1~20klambda', '0~5km'.")]
Intent = Annotated[str, Param("Scan intents, as globs: '*BANDPASS*'.")]
Correlation = Annotated[str, Param("Correlations: 'XX,YY'.")]
Observation = Annotated[str, Param("Observation ids: '0,2~3'.")]
Refant = Annotated[
    str | list[str], Param("Reference antenna, best first; alternatives after commas. Empty: phases stay relative.")
]
RefantMode = Annotated[
    str,
    Param(
        "flex: an alternative may take over; strict: intervals without the first are flagged.",
        choices=("flex", "strict"),
    ),
]
MinBlPerAnt = Annotated[int, Param("Antennas with fewer baselines than this are not solved for.")]
MinSnr = Annotated[float, Param("Solutions at or below this signal-to-noise ratio are flagged.")]
CorrDepFlags = Annotated[bool, Param("Use a correlation although the other ones of its channel are flagged.")]
GainTable = Annotated[str | list[str], Param("Calibration tables to apply beforehand.")]
GainField = Annotated[
    str | list[str], Param("For each table, the fields whose solutions to use: names, 'nearest', or empty for all.")
]
Interp = Annotated[
    str | list[str], Param("For each table, interpolation in time[,frequency]: 'linear', 'nearest,linearflag'.")
]
SpwMap = Annotated[list[int] | list[list[int]], Param("For each table, which of its spws serves each spw of the data.")]
DryRun = Annotated[bool, Param("Say what would be read and written; touch nothing.")]
Overwrite = Annotated[bool, Param("Replace an existing output.")]


@dataclass(frozen=True)
class Declared:
    """One parameter of a verb as declared: name, type, default (`inspect.Parameter.empty` if none), Param."""

    name: str
    type: Any
    default: Any
    param: Param

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


def declared(verb: Callable[..., Any]) -> list[Declared]:
    """The parameters of a verb, in order. A parameter without a `Param` is a programming error."""
    hints = get_type_hints(verb, include_extras=True)
    result = []
    for name, parameter in inspect.signature(verb).parameters.items():
        hint = hints[name]
        notes = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Param)]
        if not notes:
            raise TypeError(f"{verb.__name__}({name}) has no Param")
        result.append(Declared(name, hint.__origin__, parameter.default, notes[-1]))
    return result


def check_choices(verb: Callable[..., Any], values: dict[str, Any]) -> None:
    """Check every value against the declared choices; raise ParameterError naming the nearest match."""
    for item in declared(verb):
        if item.name in values:
            item.param.check(item.name, values[item.name])


def provenance(verb: Callable[..., Any], values: dict[str, Any]) -> str:
    """The call as one line of Python with the values that differ from the defaults; no password of an address."""
    shown = [
        f"{item.name}={_without_password(repr(values[item.name]))}"
        for item in declared(verb)
        if item.name in values and (item.required or values[item.name] != item.default)
    ]
    return f"{verb.__name__}({', '.join(shown)})"


def _without_password(text: str) -> str:
    return re.sub(r"(://[^/@\s:]*):[^/@\s]*@", r"\1:***@", text)


def command_line(verb: Callable[..., Any], values: dict[str, Any], name: str = "") -> str:
    """The same call as a shell command, which the command line reads back to the same values.

    `name` is what the command line calls the verb, where that is not the function's own name.
    """
    words = ["calibrant", name or verb.__name__]
    options: list[str] = []
    for item in declared(verb):
        if item.name not in values or (not item.required and values[item.name] == item.default):
            continue
        value = values[item.name]
        if item.param.positional:
            words += [shlex.quote(str(word)) for word in (value if _takes_list(item.type) else [value])]
        elif isinstance(value, bool) and not _takes_list(item.type):
            options.append(f"--{'' if value else 'no-'}{item.name.rstrip('_').replace('_', '-')}")
        else:
            text = _list_text(value) if _takes_list(item.type) else str(value)
            options += [f"--{item.name.rstrip('_').replace('_', '-')}", shlex.quote(text)]
    return " ".join(words + options)


def _takes_list(kind: Any) -> bool:
    return any(get_origin(member) in (list, tuple) for member in (kind, *get_args(kind)))


def _list_text(value: Any) -> str:
    """Items as one word of the command line: with commas between, or as a literal where that would be misread."""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if value == "" or (len(items) == 1 and not isinstance(items[0], (str, list, tuple))):
        return str(items[0])
    plain = all(isinstance(item, str) and "," not in item and item == item.strip() for item in items)
    if plain and items not in ([], [""]) and not items[0].startswith("["):
        return ",".join(items)
    return repr(items)
