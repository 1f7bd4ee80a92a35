"""Inventories: what an observatory has (lamps, mask, pointings, detector) and how long its parts take.

A sequence says what to take, an inventory with what. Shipped ones are the YAML files in `inventories/`; a copy with
other values is given by its path. Addresses hold no secrets: those come from the environment, where a driver needs
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from calibrant.acquire import schema_errors, texts
from calibrant.acquire.sequence import LONGEST_WARMUP_S, Flavour, read_text
from calibrant.errors import FormatError, ParameterError

FOLDER = Path(__file__).parent / "inventories"
INVENTORIES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
"""Names of the inventories that are shipped."""

_SECRET = ("password", "passwd", "secret", "token", "apikey", "api_key")
Duration = Annotated[float, Field(ge=0)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class LampEntry(Strict):
    """One lamp, flat panel or noise diode."""

    flavour: Flavour | None = None
    """Of its frames, where the sequence does not say."""
    warmup_s: Annotated[float, Field(ge=0, le=LONGEST_WARMUP_S)] = 120.0
    max_on_s: Annotated[float, Field(gt=0)] | None = None
    """It may not burn longer."""
    max_intensity: Annotated[float, Field(gt=0)] | None = None
    address: dict[str, Any] = {}
    """For the driver: outlet, device, property, ..."""


class Mask(Strict):
    """A mask, wheel or fibre selector with named places."""

    places: Annotated[dict[str, float], Field(min_length=1)]
    """Name -> motor step."""
    default_positions: str = "P1-"
    default_initial: str = "P1-2"
    move_s: Duration = 0.0
    """From one place to the next."""
    address: dict[str, Any] = {}


class DetectorEntry(Strict):
    """The cameras that are exposed together."""

    cameras: Annotated[list[str], Field(min_length=1)]
    readout_s: Duration = 0.0
    shape: Annotated[list[int], Field(min_length=1)] | None = None
    """Of one camera's frame, as numpy has it: rows, columns."""
    bytes_per_frame: Annotated[int, Field(ge=0)] = 0
    """Of one camera."""
    light_tight: bool = False
    """Biases and darks may be taken while a lamp burns."""
    saturation: float | None = None
    """Counts from which a pixel is saturated."""
    bias_level: float | None = None
    """Counts of a frame without light, roughly."""
    address: dict[str, Any] = {}


class Site(Strict):
    """Where the observatory is: degrees, east positive; metres."""

    longitude: Annotated[float, Field(ge=-180, le=360)]
    latitude: Annotated[float, Field(ge=-90, le=90)]
    height: float = 0.0
    sunset_altitude: Annotated[float, Field(ge=-10, le=10)] = -0.833
    """Of the sun's centre, degrees without refraction, when it sets; lower for a place high above its horizon."""
    timezone: str | None = None
    """For people: 'America/Santiago'. Without it, local times are mean solar ones."""


class Inventory(Strict):
    """All devices of one observatory."""

    name: str
    driver: str
    description: str = ""
    lamps: dict[str, LampEntry] = {}
    mask: Mask | None = None
    positions: dict[str, dict[str, list[float]]] = {}
    """Named pointing -> telescope -> [altitude, azimuth], degrees; empty where the driver knows the name itself."""
    detector: DetectorEntry
    slew_s: Duration = 0.0
    """Expected for a pointing; 0: not known, not counted."""
    site: Site | None = None
    interlocks: dict[str, dict[str, Any]] = {}
    """Condition (dome, room light, ...) -> how the driver asks for it."""
    address: dict[str, Any] = {}
    """Of the server, without secrets."""

    def lamp_name(self, name: str) -> str | None:
        """The lamp as the inventory spells it, whatever the case; None where there is none."""
        return next((known for known in self.lamps if known.lower() == name.lower()), None)

    def lamp(self, name: str) -> LampEntry:
        """A lamp's entry, whatever the case of its name; ParameterError with the nearest name."""
        known = self.lamp_name(name)
        if known is None:
            raise ParameterError(self.unknown("lamp", name, list(self.lamps)))
        return self.lamps[known]

    def unknown(self, kind: str, name: str, known: list[str]) -> str:
        """The sentence for a name that the inventory does not have."""
        have = f"it has {', '.join(known)}." if known else "it has none."
        return f"inventory {self.name!r} has no {kind} {name!r}; {have}{schema_errors.nearest(name, known)}"

    @field_validator("lamps")
    @classmethod
    def _distinct(cls, lamps: dict[str, LampEntry]) -> dict[str, LampEntry]:
        if len({name.lower() for name in lamps}) < len(lamps):
            raise ValueError("two lamps differ by upper and lower case only")
        return lamps

    @model_validator(mode="after")
    def _no_secrets(self) -> Inventory:
        entries: list[Any] = [self, self.detector, *self.lamps.values(), *([self.mask] if self.mask else [])]
        for key in (key for entry in entries for key in entry.address):
            if any(word in key.lower() for word in _SECRET):
                raise ValueError(f"address.{key}: secrets do not belong into a file; the driver reads the environment")
        return self


def load_inventory(source: str | Path) -> Inventory:
    """An inventory by its name ('lvm') or from a YAML or JSON file.

    Raises FormatError naming path, value, what is allowed and the nearest match; ParameterError for an unknown name.
    """
    path = FOLDER / f"{source}.yaml" if str(source) in INVENTORIES else Path(source)
    text = read_text(path, "inventory", INVENTORIES)
    given = texts.parse(text, str(path), json_only=path.suffix == ".json")
    if not isinstance(given, dict):
        raise FormatError(f"{path}: found {type(given).__name__}, expected an object with name, driver, detector, ...")
    try:
        return Inventory.model_validate(given)
    except ValidationError as error:
        faults = "\n".join(f"  {fault}" for fault in schema_errors.explain(error, Inventory, given))
        raise FormatError(f"{path} is not a valid inventory:\n{faults}") from None
