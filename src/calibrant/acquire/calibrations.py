"""A list of calibrations with the times when they may begin: gort 1.x's `calibrations.yaml`, read strictly.

    - name: quick_cals
      recipe: quick_cals
      min_start_time: 1800
      max_start_time: 3600
      time_mode: secs_after_sunset
      dome: closed

A recipe is one of gort's (quick_cals, bias_sequence, twilight_flats, long_term_calibrations), a shipped sequence
(normal, ...), or a sequence's file, sought beside the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from calibrant.acquire import schema_errors, texts
from calibrant.acquire.sequence import SEQUENCES, Strict, read_text
from calibrant.acquire.twilight import RECIPE as TWILIGHT
from calibrant.errors import FormatError

FOLDER = Path(__file__).parent / "schedules"
SCHEDULES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
"""Names of the lists that are shipped."""
RECIPES = {"long_term_calibrations": "long_term"}
"""gort's recipe -> our sequence, where the names differ."""
TimeMode = Literal["secs_after_sunset", "secs_before_sunrise", "jd", "utc"]
RECIPE_NAMES = (TWILIGHT, *RECIPES, *SEQUENCES)


class Entry(Strict):
    """One calibration. Keys, defaults and meaning are gort's."""

    name: Annotated[str, Field(min_length=1)]
    recipe: str
    min_start_time: float | None = None
    max_start_time: float | None = None
    """It may begin between the two; empty: no limit. Hours for utc, counted from the evening's date."""
    time_mode: TimeMode | None = None
    after: str | None = None
    """Another calibration that has to be over (done, failed or cancelled) before."""
    required: bool = True
    dome: Literal["open", "closed"] | None = None
    close_dome_after: bool = False
    abort_observing: bool = False
    priority: int = 5
    """Of those that may begin, the highest is taken first."""
    max_try_time: Annotated[float, Field(ge=0)] = 300.0
    """A calibration that fails is tried again for so many seconds."""
    allow_post_observing_recovery: bool = True
    """One that failed is tried once more when the night is over."""
    disabled: bool = False

    @model_validator(mode="after")
    def _timed(self) -> Entry:
        if self.after is None and self.min_start_time is None:
            raise ValueError("give min_start_time, or after: nothing says when it begins")
        limited = self.min_start_time is not None or self.max_start_time is not None
        if limited and self.time_mode is None:
            raise ValueError(f"its times need a time_mode: {', '.join(get_args(TimeMode))}")
        if self.min_start_time is not None and self.max_start_time is not None:
            self._ordered(self.min_start_time, self.max_start_time)
        return self

    def _ordered(self, first: float, last: float) -> None:
        if self.time_mode == "secs_before_sunrise" and first < last:
            raise ValueError(
                f"min_start_time {first:g} s before sunrise is later than max_start_time {last:g} s before sunrise: "
                "the larger number is the earlier time"
            )
        # Hours of UTC go on past midnight.
        if self.time_mode in ("secs_after_sunset", "jd") and first > last:
            raise ValueError(f"min_start_time {first:g} is later than max_start_time {last:g}")


class _List(Strict):
    calibrations: Annotated[list[Entry], Field(min_length=1)]


def load_calendar(source: str | Path | Sequence[Mapping[str, Any]]) -> list[Entry]:
    """The entries of a list: by its name ('lvm'), from a YAML or JSON file, or as plain data.

    Raises FormatError naming path, value, what is allowed and the nearest match; ParameterError for an unknown name.
    """
    if not isinstance(source, str | Path):
        return _entries([dict(entry) for entry in source], "the schedule", Path("."))
    path = FOLDER / f"{source}.yaml" if str(source) in SCHEDULES else Path(source)
    text = read_text(path, "schedule", SCHEDULES)
    given = texts.parse(text, str(path), json_only=path.suffix == ".json")
    return _entries(given, str(path), path.parent)


def _entries(given: Any, what: str, folder: Path) -> list[Entry]:
    if not isinstance(given, list):
        raise FormatError(f"{what}: found {type(given).__name__}, expected a list of calibrations: - name: ...")
    wrapped = {"calibrations": given}
    try:
        entries = _List.model_validate(wrapped).calibrations
    except ValidationError as error:
        faults = schema_errors.explain(error, _List, wrapped)
    else:
        entries = [entry.model_copy(update={"recipe": _beside(entry.recipe, folder)}) for entry in entries]
        faults = _faults(entries)
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise FormatError(f"{what} is not a valid schedule:\n{listed}")
    return entries


def _beside(recipe: str, folder: Path) -> str:
    """A file's name is meant from the list's own folder."""
    is_file = Path(recipe).suffix in (".yaml", ".yml", ".json")
    return str(folder / recipe) if is_file else recipe


def _faults(entries: list[Entry]) -> list[str]:
    """Names that are not there, or twice, and chains that bite their tail."""
    names = [entry.name for entry in entries]
    faults = []
    for number, entry in enumerate(entries):
        where = f"calibrations[{number}]"
        if names.index(entry.name) != number:
            faults.append(f"{where}.name: found {entry.name!r}; an entry before has this name, too")
        is_file = Path(entry.recipe).suffix in (".yaml", ".yml", ".json")
        if is_file and not Path(entry.recipe).is_file():
            faults.append(f"{where}.recipe: found {entry.recipe!r}; there is no such file")
        elif not is_file and entry.recipe not in RECIPE_NAMES:
            near = schema_errors.nearest(entry.recipe, RECIPE_NAMES)
            allowed = f"{', '.join(RECIPE_NAMES)}, or a sequence's file"
            faults.append(f"{where}.recipe: found {entry.recipe!r}; allowed: {allowed}.{near}")
        if entry.after is not None and entry.after not in names:
            near = schema_errors.nearest(entry.after, names)
            faults.append(f"{where}.after: found {entry.after!r}; allowed: {', '.join(names)}.{near}")
    return faults or _circles(entries)


def _circles(entries: list[Entry]) -> list[str]:
    after = {entry.name: entry.after for entry in entries}
    faults = []
    for number, entry in enumerate(entries):
        chain = [entry.name]
        while (before := after[chain[-1]]) is not None and before not in chain:
            chain.append(before)
        if before == entry.name:
            words = " after ".join([*chain, entry.name])
            faults.append(f"calibrations[{number}].after: found {entry.after!r}; {words}: none can be the first")
    return faults
