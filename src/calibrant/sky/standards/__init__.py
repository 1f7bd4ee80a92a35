"""Flux density standards: one TOML file each in this folder; a new standard is one new file.

`docs/how-to/add-a-flux-standard.md` says what goes into it. Names and positions of the calibrators that standards
share are in `sky/calibrators.toml`; a standard may bring sources of its own. Everything is read with the standard
library and checked when first used: a malformed file is named in the error.

Frequencies in Hz, flux densities in Jy, directions (right ascension, declination) J2000 in rad, times MJD in days.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.errors import FluxModelError, FormatError
from calibrant.registry import Registry
from calibrant.sky.model import LogPolynomial, SourceModel

DEFAULT_STANDARD = "Perley-Butler 2017"

POSITION_MATCH = math.radians(10 / 3600)
"""A field this near to a calibrator (or within half its extent) is that calibrator, whatever its name."""
NAME_MATCH = math.radians(60 / 3600)
"""A field with a calibrator's name may be this far from it (or its extent); farther is a contradiction."""
EXTRAPOLATION = 2.0
"""Outside its range a standard is used with a note up to this factor in frequency, and refused beyond."""
STALE_YEARS = 3.0
"""A variable source observed farther than this from the epoch of its coefficients gets a note."""

SOLAR_SYSTEM = (
    "Sun", "Moon", "Mercury", "Venus", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune", "Pluto", "Io", "Europa",
    "Ganymede", "Callisto", "Titan", "Triton", "Ceres", "Pallas", "Vesta", "Juno", "Lutetia",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A calibrator: its names, where it is (ra, dec in rad, J2000), its largest extent (rad, 0: compact)."""

    name: str
    aliases: tuple[str, ...]
    direction: tuple[float, float]
    extent: float = 0.0

    def named(self, text: str) -> str:
        """Is this source meant by a field called `text`? 'yes', 'perhaps' (digits follow coordinates) or ''."""
        found = ""
        for alias in (self.name, *self.aliases):
            match = _pattern(alias).search(text)
            if match:
                if not text[match.end() :][:1].isdigit():
                    return "yes"
                found = "perhaps"
        return found


@dataclass(frozen=True)
class Epoch:
    """Coefficients of one source: pieces by ascending start frequency, errors of the (first piece's) coefficients."""

    pieces: tuple[LogPolynomial, ...]
    errors: tuple[float, ...] = ()
    year: float | None = None


@dataclass(frozen=True)
class Entry:
    """One source of a standard: its epochs (one where it does not vary), and the frequencies they hold for (Hz)."""

    source: Source
    epochs: tuple[Epoch, ...]
    range: tuple[float, float]

    def at(self, mjd: float | None) -> Epoch:
        """The epoch nearest to `mjd` (days), as CASA's interpolation='nearest'; the last one for None."""
        if mjd is None or len(self.epochs) == 1:
            return self.epochs[-1]
        return min(self.epochs, key=lambda epoch: abs((epoch.year or 0.0) - year_of(mjd)))


@dataclass(frozen=True)
class Standard:
    """A flux scale as its file gives it."""

    name: str
    reference: str
    entries: Mapping[str, Entry]


# ---- looking up -----------------------------------------------------------------------------------------------
def standard_names() -> list[str]:
    """The names of all standards, as setjy's `standard` takes them."""
    return list(_standards())


def get_standard(name: str) -> Standard:
    """The standard called `name`; FluxModelError names the known ones."""
    if name not in _standards():
        near = difflib.get_close_matches(name, standard_names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise FluxModelError(
            f"there is no flux standard called {name!r}; known: {', '.join(standard_names())}.{hint} "
            "For any other flux give standard='manual' and fluxdensity."
        )
    return _standards()[name]


def known_calibrators() -> tuple[Source, ...]:
    """Every source of every standard, by right ascension."""
    return _calibrators()


def find_source(
    standard: str | None, name: str | None = None, direction: Sequence[float] | None = None
) -> Source | None:
    """The calibrator that a field called `name` at `direction` (ra, dec in rad, J2000) is, or None.

    standard: only sources of this one (None: of any). A name that means one calibrator at the place of another, or
    at no calibrator's place, raises FluxModelError: one of the two is wrong, and only the user knows which.
    """
    found = _identify(name, direction)
    if found is None or standard is None:
        return found
    return found if found.name in get_standard(standard).entries else None


def flux_density(standard: str, source: str, freq: ArrayLike, mjd: float | None = None) -> NDArray[np.float64]:
    """Jy at `freq` (Hz). mjd: for sources that vary, the time of observation (None: the newest coefficients).

    FluxModelError where a frequency is more than a factor 2 outside the range of the standard (see `notes`).
    """
    check_range(standard, source, freq)
    return source_model(standard, source, mjd).spectrum(freq)


def flux_error(standard: str, source: str, freq: ArrayLike, mjd: float | None = None) -> NDArray[np.float64]:
    """Error of `flux_density` in Jy from the published errors of the coefficients; NaN where none are published.

    ln10 S sqrt(sum_k (e_k x^k)^2), as CASA: the scale's own error (3 to 5 %) is not in it.
    """
    epoch = _entry(standard, source).at(mjd)
    freq = np.atleast_1d(np.asarray(freq, float))
    if not epoch.errors:
        return np.full(len(freq), np.nan)
    log_ratio = np.log10(freq / epoch.pieces[0].reference)
    variance = sum((error * log_ratio**power) ** 2 for power, error in enumerate(epoch.errors))
    return np.asarray(math.log(10) * flux_density(standard, source, freq, mjd) * np.sqrt(variance))


def source_model(standard: str, source: str, mjd: float | None = None) -> SourceModel:
    """The source as a model (a point at the phase centre)."""
    epoch = _entry(standard, source).at(mjd)
    year = f" ({epoch.year:.1f})" if epoch.year is not None else ""
    return SourceModel(epoch.pieces, origin=f"{source}, {standard}{year}")


def check_range(standard: str, source: str, freq: ArrayLike) -> None:
    """FluxModelError where `freq` (Hz) is farther than a factor 2 outside the standard's range for the source."""
    low, high = _entry(standard, source).range
    first, last = float(np.min(freq)), float(np.max(freq))
    if first < low / EXTRAPOLATION or last > high * EXTRAPOLATION:
        others = [
            name
            for name, other in _standards().items()
            if source in other.entries
            and other.entries[source].range[0] <= first
            and other.entries[source].range[1] >= last
        ]
        hint = f"Use standard={others[0]!r}, or" if others else "No known standard covers it: use"
        raise FluxModelError(
            f"{standard} gives {source} between {low / 1e9:g} and {high / 1e9:g} GHz, but {_span(first, last)} is asked"
            f" for. {hint} standard='manual' with fluxdensity."
        )


def notes(standard: str, source: str, freq: ArrayLike, mjd: float | None = None) -> list[str]:
    """Sentences on what is doubtful: frequencies outside the range, an old epoch, an extended source."""
    entry = _entry(standard, source)
    low, high = entry.range
    first, last = float(np.min(freq)), float(np.max(freq))
    result = []
    if first < low or last > high:
        result.append(
            f"{source}: {_span(first, last)} is outside the range of {standard} ({low / 1e9:g} to {high / 1e9:g} GHz); "
            "the flux density is extrapolated."
        )
    epoch = entry.at(mjd)
    if mjd is not None and epoch.year is not None and abs(year_of(mjd) - epoch.year) > STALE_YEARS:
        result.append(
            f"{source} varies: the coefficients of {epoch.year:.1f} are the nearest to the observation of "
            f"{year_of(mjd):.1f}; expect errors of several per cent, more above 10 GHz."
        )
    if entry.source.extent:
        result.append(
            f"{source} is about {math.degrees(entry.source.extent) * 60:g} arcmin across, but the model is a point: "
            "use only baselines that do not resolve it (uvrange)."
        )
    return result


def explain_unknown(standard: str, name: str, direction: Sequence[float] | None) -> FluxModelError:
    """The error for a field that is no calibrator of `standard`: what is known, and what is nearest."""
    get_standard(standard)
    body = solar_system_body(name)
    if body:
        return FluxModelError(
            f"field {name!r} is the solar system body {body}: ephemeris models are not yet available. "
            "Give its flux density with standard='manual' and fluxdensity, or choose another calibrator."
        )
    found = _identify(name, direction)
    if found is not None:
        having = [text for text, other in _standards().items() if found.name in other.entries]
        return FluxModelError(
            f"{standard} has no flux density for {found.name} (field {name!r}); it is in {', '.join(having)}. "
            "Choose one of them, or give standard='manual' and fluxdensity."
        )
    known = list(get_standard(standard).entries)
    return FluxModelError(
        f"field {name!r}{_place(direction)} is no calibrator of {standard}.{_nearest(name, direction)} "
        f"Known: {', '.join(known)}. For any other source give standard='manual' and fluxdensity."
    )


def solar_system_body(name: str) -> str | None:
    """The body that a field name means ('Neptune', 'URANUS_2'), or None."""
    word = re.split(r"[^A-Za-z]", name.strip(), maxsplit=1)[0].lower()
    return next((body for body in SOLAR_SYSTEM if body.lower() == word), None)


def year_of(mjd: float) -> float:
    """Decimal (Julian) year of a Modified Julian Date in days."""
    return 2000.0 + (mjd - 51544.5) / 365.25


def separation(one: Sequence[float], other: Sequence[float]) -> float:
    """Angle between two directions (ra, dec), rad, accurate at small angles."""
    half_ra, half_dec = (one[0] - other[0]) / 2, (one[1] - other[1]) / 2
    term = math.sin(half_dec) ** 2 + math.cos(one[1]) * math.cos(other[1]) * math.sin(half_ra) ** 2
    return 2 * math.asin(min(1.0, math.sqrt(term)))


# ---- matching -------------------------------------------------------------------------------------------------
def _identify(name: str | None, direction: Sequence[float] | None) -> Source | None:
    sure = [source for source in known_calibrators() if name and source.named(name) == "yes"]
    perhaps = [source for source in known_calibrators() if name and source.named(name) == "perhaps"]
    if direction is None:
        return _only(name, sure or perhaps)
    here = [
        source
        for source in known_calibrators()
        if separation(source.direction, direction) <= max(POSITION_MATCH, source.extent / 2)
    ]
    if here and (not sure or here[0] in sure):
        return here[0]
    source = _only(name, sure or perhaps)
    if source is None:
        return None
    distance = separation(source.direction, direction)
    if distance <= max(NAME_MATCH, source.extent) and not here:
        return source
    if not sure:
        return None
    there = f", which is where {here[0].name} is" if here else ""
    raise FluxModelError(
        f"field {name!r} has the name of {source.name}, but lies {_angle(distance)} from it{_place(direction)}{there}. "
        "Correct the name or the position (J2000), or give the flux density with standard='manual'."
    )


def _only(name: str | None, sources: list[Source]) -> Source | None:
    if len(sources) > 1:
        raise FluxModelError(
            f"field {name!r} may be {' or '.join(source.name for source in sources)}; "
            "give the flux density with standard='manual'"
        )
    return sources[0] if sources else None


@cache
def _pattern(alias: str) -> re.Pattern[str]:
    """How an alias is looked for in a field name: any separator for a space; nothing may continue a number or word."""
    text = re.sub(r"^3C(\d)", r"3C \1", alias)
    body = r"[ _-]?".join(re.escape(word) for word in text.split(" "))
    if re.match(r"[JB]?\d{4}[+-]", alias):
        return re.compile(rf"(?<!\d){body}", re.IGNORECASE)
    if alias.startswith("3C"):
        return re.compile(rf"(?<!\d){body}(?!\d)", re.IGNORECASE)
    return re.compile(rf"(?<![A-Z0-9]){body}(?![A-Z0-9])", re.IGNORECASE)


def _nearest(name: str, direction: Sequence[float] | None) -> str:
    words = {alias: source for source in known_calibrators() for alias in (source.name, *source.aliases)}
    near = difflib.get_close_matches(name, list(words), n=1, cutoff=0.7)
    text = f" Nearest by name: {words[near[0]].name}." if near else ""
    if direction is not None:
        source = min(known_calibrators(), key=lambda item: separation(item.direction, direction))
        text += f" Nearest by position: {source.name}, {_angle(separation(source.direction, direction))} away."
    return text


def _angle(angle: float) -> str:
    degrees = math.degrees(angle)
    if degrees >= 1:
        return f"{degrees:.1f} deg"
    return f"{degrees * 60:.1f} arcmin" if degrees * 60 >= 1 else f"{degrees * 3600:.1f} arcsec"


def _place(direction: Sequence[float] | None) -> str:
    if direction is None:
        return ""
    return f" (at RA {math.degrees(direction[0]) % 360:.4f} deg, Dec {math.degrees(direction[1]):+.4f} deg)"


def _span(first: float, last: float) -> str:
    text = f"{first / 1e9:.6g}"
    return f"{text} GHz" if math.isclose(first, last) else f"{text} to {last / 1e9:.6g} GHz"


def _entry(standard: str, source: str) -> Entry:
    entries = get_standard(standard).entries
    if source not in entries:
        raise FluxModelError(f"{standard} has no source called {source!r}; it has {', '.join(entries)}")
    return entries[source]


# ---- reading the files ----------------------------------------------------------------------------------------
@cache
def _standards() -> Registry[Standard]:
    found = sorted(
        (item for item in files(__package__).iterdir() if item.name.endswith(".toml")), key=lambda item: item.name
    )
    members = tuple(read_standard(item.read_text(encoding="utf-8"), item.name) for item in found)
    ordered = sorted(members, key=lambda item: item.name != DEFAULT_STANDARD)
    return Registry("flux standard", tuple(ordered), lambda item: item.name)


@cache
def _catalogue() -> dict[str, Source]:
    item = files("calibrant.sky") / "calibrators.toml"
    table = _parse(item.read_text(encoding="utf-8"), item.name)
    return {name: _source(name, values, f"{item.name}: [{name}]") for name, values in table.items()}


@cache
def _calibrators() -> tuple[Source, ...]:
    sources = {entry.source.name: entry.source for item in _standards().values() for entry in item.entries.values()}
    return tuple(sorted(sources.values(), key=lambda source: source.direction[0]))


def read_standard(text: str, file: str) -> Standard:
    """A standard from the text of its TOML file; FormatError says what is wrong in `file`, and where."""
    table = _parse(text, file)
    _keys(table, file, required={"name", "reference", "form", "reference_frequency", "range", "sources"},
          allowed={"numbers"})  # fmt: skip
    if table["form"] not in ("log10", "flux, log10"):
        raise FormatError(f"{file}: form is {table['form']!r}; it can be 'log10' or 'flux, log10'")
    entries = {name: _read_entry(name, values, table, file) for name, values in table["sources"].items()}
    return Standard(str(table["name"]), str(table["reference"]), entries)


def _read_entry(name: str, values: dict[str, Any], standard: dict[str, Any], file: str) -> Entry:
    where = f"{file}: [sources.{name}]"
    forms = {"coefficients", "epochs", "pieces"}
    _keys(values, where, allowed=forms | {"errors", "range", "aliases", "direction", "extent"})
    if len(forms & values.keys()) != 1:
        raise FormatError(f"{where} needs exactly one of coefficients, epochs, pieces")
    if "direction" in values:
        source = _source(name, {k: values[k] for k in ("aliases", "direction", "extent") if k in values}, where)
    elif name in _catalogue():
        source = _catalogue()[name]
    else:
        raise FormatError(f"{where} is not in calibrators.toml; give its direction (and aliases)")
    if "epochs" in values:
        for item in values["epochs"]:
            _keys(item, f"{where} epochs", required={"year", "coefficients"}, allowed={"errors"})
        epochs = tuple(_epoch([item], item.get("errors"), item["year"], standard, where) for item in values["epochs"])
    elif "pieces" in values:
        for item in values["pieces"]:
            _keys(item, f"{where} pieces", required={"from", "coefficients"})
        epochs = (_epoch(values["pieces"], None, None, standard, where),)
    else:
        epochs = (_epoch([values], values.get("errors"), None, standard, where),)
    low, high = _numbers(values.get("range", standard["range"]), f"{where} range", 2)
    return Entry(source, epochs, (low, high))


def _epoch(
    pieces: list[dict[str, Any]], errors: list[float] | None, year: float | None, standard: dict[str, Any], where: str
) -> Epoch:
    scaled = standard["form"] == "flux, log10"
    reference = float(standard["reference_frequency"])
    polynomials = []
    for item in pieces:
        first, *rest = _numbers(item["coefficients"], f"{where} coefficients")
        polynomials.append(
            LogPolynomial((math.log10(first) if scaled else first, *rest), reference, float(item.get("from", 0.0)))
        )
    spread = _numbers(errors, f"{where} errors", len(pieces[0]["coefficients"])) if errors is not None else ()
    if scaled and spread:
        # of the flux itself: relative error as an error of log10
        spread = (spread[0] / (math.log(10) * pieces[0]["coefficients"][0]), *spread[1:])
    return Epoch(tuple(polynomials), spread, year)


def _source(name: str, values: dict[str, Any], where: str) -> Source:
    _keys(values, where, required={"direction"}, allowed={"aliases", "extent"})
    parts = values["direction"]
    ra = re.fullmatch(r"(\d+)h(\d+)m([\d.]+)s", str(parts[0])) if len(parts) == 2 else None
    dec = re.fullmatch(r"([+-])(\d+)d(\d+)m([\d.]+)s", str(parts[1])) if len(parts) == 2 else None
    if ra is None or dec is None:
        raise FormatError(f'{where} direction is {parts}; it must be like ["13h31m08.29s", "+30d30m33.0s"]')
    hours = int(ra[1]) + int(ra[2]) / 60 + float(ra[3]) / 3600
    degrees = int(dec[2]) + int(dec[3]) / 60 + float(dec[4]) / 3600
    direction = (math.radians(15 * hours), math.copysign(math.radians(degrees), -1 if dec[1] == "-" else 1))
    extent = math.radians(float(values.get("extent", 0.0)) / 60)
    return Source(name, tuple(values.get("aliases", ())), direction, extent)


def _parse(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"{file} is not valid TOML: {error}") from None


def _keys(table: Mapping[str, Any], where: str, required: Iterable[str] = (), allowed: Iterable[str] = ()) -> None:
    missing = sorted(set(required) - table.keys())
    surplus = sorted(table.keys() - set(required) - set(allowed))
    if missing or surplus:
        parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(surplus)}"] * bool(surplus)
        raise FormatError(f"{where} {' and '.join(parts)}")


def _numbers(values: Any, where: str, count: int | None = None) -> tuple[float, ...]:
    good = isinstance(values, list) and values and all(isinstance(item, int | float) for item in values)
    if not good or (count is not None and len(values) != count):
        raise FormatError(f"{where} must be a list of {count or 'some'} numbers; it is {values!r}")
    return tuple(float(item) for item in values)
