"""Calibration sequences: gort's dictionaries unchanged, and more (`version: 1`).

    biases: {count: 5}
    darks: {exposure_time: [90, 900]}
    lamps: {Quartz: {warmup: 20, exposure_time: 120, flavour: flat}}

The schema is gort 0.12's (lvmgort, `calibration_schema.json`; `exposure_times` as in 0.1 is taken too), tightened:
what cannot be meant is refused, with its place, its value and what is allowed. docs/how-to/add-a-sequence.md explains
the keys. Names of lamps and places are checked against an inventory by `compiler.compile_plan`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from calibrant.acquire import schema_errors, texts
from calibrant.errors import FormatError, ParameterError

FOLDER = Path(__file__).parent / "sequences"
SEQUENCES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
"""Names of the sequences that are shipped."""

LONGEST_S = 86400.0
LONGEST_WARMUP_S = 14400.0
MOST = 10000

Section = Literal["biases", "darks", "groups", "lamps", "onoff", "tart"]
SECTIONS: tuple[Section, ...] = get_args(Section)
Flavour = Literal["arc", "flat"]


class Strict(BaseModel):
    """Unknown keys, wrong types, infinities: refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else [value]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _mask(value: Any) -> Any:
    if isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, Mapping | BaseModel):
        raise ValueError("must be true, false, or an object with positions, initial_position, time_per_position, ...")
    return value


def _places(value: Any) -> Any:
    if isinstance(value, tuple):
        value = list(value)
    if value is None or isinstance(value, str) or (isinstance(value, list) and value):
        if isinstance(value, str):
            _regex(value)
        return value
    raise ValueError("must be a regular expression (a text such as 'P1-'), or a list of names")


def _regex(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None


def _failure(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"stop|skip|retry(\(\d{1,2}\))?", value):
        return value
    raise ValueError("must be stop, skip, retry or, with the number of attempts, retry(3)")


_NUMBER = {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_S}
Seconds = Annotated[float, Field(gt=0, le=LONGEST_S)]
Times = Annotated[
    list[Seconds],
    BeforeValidator(_as_list),
    Field(min_length=1),
    WithJsonSchema({"oneOf": [_NUMBER, {"type": "array", "minItems": 1, "items": _NUMBER}]}),
]
Count = Annotated[int, Field(ge=1, le=MOST), BeforeValidator(_whole)]
Some = Annotated[int, Field(ge=0, le=MOST), BeforeValidator(_whole)]
LampName = Annotated[str, Field(pattern=r"[A-Za-z]")]
OnFailure = Annotated[
    str,
    BeforeValidator(_failure),
    WithJsonSchema({"type": "string", "pattern": r"^(stop|skip|retry(\(\d{1,2}\))?)$"}),
]


class Frames(Strict):
    """What every block of frames may say."""

    discard: Some = 0
    """First frames that are taken and thrown away."""
    on_failure: OnFailure = "stop"
    """A frame that fails: stop the run, skip the frame, or try again so often."""


class Biases(Frames):
    count: Count


class Darks(Frames):
    exposure_time: Times
    count: Count = 1
    """Of each exposure time."""


class Fibsel(Strict):
    """How the fibre mask moves during an exposure."""

    initial_position: str | None = None
    positions: Annotated[
        str | list[str] | None,
        BeforeValidator(_places),
        WithJsonSchema({"oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]}),
    ] = None
    """A regular expression for the beginning of names (sorted by motor step), or names in the order wanted."""
    time_per_position: Seconds | None = None
    anchored: bool = False
    """The regular expression must match the whole name: P1-1 is then P1-1 alone."""
    coverage: Literal["require", "warn", "stretch"] = "warn"
    """Where moving and staying take longer than the exposure: refuse, warn, or expose longer."""
    motion: Literal["during", "between"] = "during"
    """during: all positions in each exposure. between: exposures of its own for each position, the mask at rest."""


class TargetCounts(Strict):
    """Find the exposure time that gives a level; the given exposure time is the first try."""

    level: Annotated[float, Field(gt=0)]
    tol: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """As a fraction of the level."""
    max_tries: Annotated[int, Field(ge=1, le=20), BeforeValidator(_whole)] = 5
    tmin: Seconds = 0.1
    tmax: Seconds = 300.0

    @model_validator(mode="after")
    def _range(self) -> TargetCounts:
        if self.tmin >= self.tmax:
            raise ValueError(f"tmin must be below tmax, which is {self.tmax:g}")
        return self


class Lit(Frames):
    """Frames of something switched on."""

    warmup: Annotated[float, Field(ge=0, le=LONGEST_WARMUP_S)] | None = None
    """Default: of the inventory."""
    exposure_time: Times
    count: Count = 1
    """Of each exposure time."""
    flavour: Flavour | None = None
    """Default: of the inventory."""
    fibsel: Annotated[
        Fibsel | None,
        BeforeValidator(_mask),
        WithJsonSchema({"type": "boolean"}),
    ] = None
    intensity: Annotated[float, Field(ge=0)] | None = None
    target_counts: TargetCounts | None = None
    with_dark: bool = False
    """After the lamp is off, a dark for each exposure."""

    @model_validator(mode="before")
    @classmethod
    def _as_in_0_1(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "exposure_times" in value:
            if "exposure_time" in value:
                raise ValueError("has exposure_time and exposure_times (its name in gort 0.1): keep one")
            return {("exposure_time" if key == "exposure_times" else key): item for key, item in value.items()}
        return value


class Lamp(Lit):
    pass


class Group(Lit):
    """Lamps that burn together."""

    lamps: Annotated[list[LampName], Field(min_length=1)]


class OnOff(Frames):
    """The Field System's ONOFF: on source without and with the diode, off source with and without, and zero."""

    light: str
    """The noise diode."""
    exposure_time: Seconds
    repetitions: Annotated[int, Field(ge=1, le=100), BeforeValidator(_whole)] = 2
    on_source: str = "onsource"
    off_source: str = "offsource"
    zero: bool = True
    """After the first repetition, one frame with the attenuators in."""


class Tart(Frames):
    """Snapshots of an all-sky array."""

    count: Count
    interval: Annotated[float, Field(ge=0, le=LONGEST_S)] = 0.0
    """From start to start, s."""
    mode: Literal["vis", "raw"] = "vis"
    exposure_time: Seconds = 1.0
    light: str | None = None
    """A test source that is on for the snapshots."""


class Readout(Strict):
    """Options of the detector, for every frame."""

    binning: Annotated[int, Field(ge=1, le=64), BeforeValidator(_whole)] | None = None
    mode: str | None = None
    window: Annotated[list[int], Field(min_length=4, max_length=4)] | None = None
    """x, y, width, height."""


class Constraints(Strict):
    """When the sequence may run."""

    dome: Literal["open", "closed"] | None = None
    sun_alt: Annotated[float, Field(ge=-90, le=90)] | None = None
    """The sun has to be below this altitude, degrees."""
    not_before: str | None = None
    not_after: str | None = None
    """UTC, '23:30' or '2026-11-21T23:30:00': the whole sequence lies between the two."""
    after: str | None = None
    """A sequence that has to be done before."""

    @field_validator("not_before", "not_after")
    @classmethod
    def _time(cls, value: str | None) -> str | None:
        if value is not None:
            from calibrant.acquire.constraints import parse_time

            parse_time(value)
        return value


class Sequence(Strict):
    """What to take, without saying with which instrument."""

    version: Literal[1] = 1
    name: str = ""
    description: str = ""
    biases: Biases | None = None
    darks: Darks | None = None
    lamps: dict[LampName, Lamp] = {}
    groups: dict[LampName, Group] = {}
    onoff: OnOff | None = None
    tart: Tart | None = None
    order: Annotated[list[Section], Field(min_length=1)] = list(SECTIONS)
    position: str | None = None
    """The named pointing; default: 'calibration' before the first lamp."""
    park_after: bool = False
    overlap_warmup: Literal["none", "bias_dark"] = "none"
    """bias_dark: the first lamp warms up while biases and darks are taken; only with a light-tight detector."""
    readout: Readout = Readout()
    constraints: Constraints = Constraints()
    _given: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def given(self) -> dict[str, Any]:
        """The sequence as it was written."""
        return self._given

    @property
    def sections(self) -> list[str]:
        """Those that are there, in the order in which they are taken."""
        return [name for name in self.order if getattr(self, name)]

    @model_validator(mode="after")
    def _complete(self) -> Sequence:
        there = [name for name in SECTIONS if getattr(self, name)]
        if not there:
            raise ValueError(f"the sequence takes no frame: give at least one of {', '.join(SECTIONS)}")
        if lost := [name for name in there if name not in self.order]:
            raise ValueError(f"order leaves out {', '.join(lost)}: name every part that the sequence has")
        if len(set(self.order)) < len(self.order):
            raise ValueError("order names a part twice")
        return self


def load_sequence(source: str | Path | Mapping[str, Any]) -> Sequence:
    """A sequence by its name ('normal'), from a JSON or YAML file, from such text, or from a dictionary.

    Raises FormatError naming path, value, what is allowed and the nearest match; ParameterError for an unknown name.
    """
    if isinstance(source, Mapping):
        return _sequence(dict(source), "the sequence", str(source.get("name", "")) or "sequence")
    if isinstance(source, str) and source in SEQUENCES:
        path = FOLDER / f"{source}.yaml"
        return _sequence(texts.parse(path.read_text("utf-8"), path.name), path.name, source)
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        return _sequence(texts.parse(source, "the sequence"), "the sequence", "sequence")
    path = Path(source)
    text = read_text(path, "sequence", SEQUENCES)
    return _sequence(texts.parse(text, str(path), json_only=path.suffix == ".json"), str(path), path.stem)


def read_text(path: Path, kind: str, names: tuple[str, ...]) -> str:
    """The text of a file that a user named; ParameterError where it is not there, with the names that would do."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"{path} is not text: a {kind} is a JSON or YAML file in UTF-8") from None
    except OSError as error:
        if path.suffix or len(path.parts) > 1:
            raise ParameterError(f"cannot read the {kind} {path}: {error.strerror}") from None
    near = schema_errors.nearest(str(path), names)
    raise ParameterError(
        f"there is no {kind} called {str(path)!r}; known: {', '.join(names)}, or a JSON or YAML file.{near}"
    )


def _sequence(given: Any, what: str, name: str) -> Sequence:
    if not isinstance(given, dict):
        raise FormatError(f"{what}: found {type(given).__name__}, expected an object with biases, darks, lamps, ...")
    try:
        sequence = Sequence.model_validate(given)
    except ValidationError as error:
        faults = "\n".join(f"  {fault}" for fault in schema_errors.explain(error, Sequence, given))
        raise FormatError(f"{what} is not a valid sequence:\n{faults}") from None
    if not sequence.name:
        sequence = sequence.model_copy(update={"name": name})
    sequence._given = given
    return sequence


def json_schema() -> dict[str, Any]:
    """The schema of a sequence, for editors and other programs (draft 2020-12)."""
    schema = Sequence.model_json_schema()
    schema["$defs"]["Fibsel"] = Fibsel.model_json_schema()
    for name in ("Lamp", "Group"):
        part = schema["$defs"][name]
        part["properties"]["fibsel"] = {"oneOf": [{"type": "boolean"}, {"$ref": "#/$defs/Fibsel"}]}
        part["properties"]["exposure_times"] = {
            "type": "array",
            "minItems": 1,
            "items": dict(_NUMBER),
            "description": "Its name in gort 0.1.",
        }
        part["required"] = [key for key in part["required"] if key != "exposure_time"]
        part["oneOf"] = [{"required": ["exposure_time"]}, {"required": ["exposure_times"]}]
    for name in ("lamps", "groups"):
        schema["properties"][name]["additionalProperties"] = False
    schema["anyOf"] = [{"required": [name]} for name in SECTIONS]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
