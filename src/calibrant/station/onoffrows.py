"""One row of ONOFF's output in the log -> numbers.

    APR dev center tcal flux dpfu gain product lo type fwhm
    ORIG second dx dy daz del dha ddec
    ONSO|ONSC|OFFS|OFFC|ZERO seconds daz del {dev counts [rms]}...
    SIG dev comp tsys sefd tcalj [tcalk] tcalr
    VAL source az el dev if pol center comp tsys sefd tcalj tcalr

Fields are separated by blanks; one that overflows is printed as $$$ (nan here) and may run into its neighbour.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from calibrant.station.records import NAN, Apriori, Printed, PrintedSigma

DETECTOR = re.compile(r"(?!(?:nan|inf)$)(?=\d*[a-z])[0-9a-z]{1,5}", re.IGNORECASE)
_RUN_TOGETHER = re.compile(r"(?<=[^\s$])(?=\$)|(?<=\$)(?=[^\s$])|(?<=[0-9.])(?=-)")


class RowError(ValueError):
    """A record whose fields do not decode; the text is "what record: what is wrong"."""


@dataclass(frozen=True, slots=True)
class LevelRow:
    """Levels of several detectors in one integration; rms is nan where it was not printed."""

    state: str
    seconds: float
    daz_deg: float
    del_deg: float
    levels: tuple[tuple[str, float, float], ...]
    """(detector, counts, rms)"""


def number(text: str, record: str) -> float:
    """A printed number; nan for an overflow ($$$) and for what is not finite. Raises RowError otherwise."""
    try:
        value = float(text)
    except ValueError:
        if text.strip() and not text.strip(" $*"):
            return NAN
        raise RowError(f'{record}: "{text.strip()[:20]}" is no number') from None
    if "_" in text:
        raise RowError(f'{record}: "{text[:20]}" is no number')
    return value if math.isfinite(value) else NAN


def numbers(texts: Sequence[str], record: str) -> list[float]:
    """`number` of each; the ordinary case, all plain numbers, at once."""
    try:
        values = [*map(float, texts)]
    except ValueError:
        values = [NAN]
    if math.isfinite(sum(values)) and "_" not in "".join(texts):
        return values
    return [number(text, record) for text in texts]


def apriori(line: int, text: str) -> Apriori:
    """An APR row (the text after `APR`)."""
    fields = _fields(text, "APR row", (10,))
    center, tcal, flux, dpfu, gain, _, lo = numbers(fields[1:8], "APR row")
    kind = fields[8].lower()
    if kind not in ("c", "p", "x"):
        raise RowError(f'APR row: the source type is "{kind[:10]}", expected c, p or x')
    fwhm = number(fields[9], "APR row")
    return Apriori(line, detector(fields[0], "APR row"), center, tcal, flux, dpfu, gain, lo, kind, fwhm)


def printed(line: int, time: float, text: str) -> Printed:
    """A VAL row (the text after `VAL`); the source is empty where it was not printed."""
    source, _, rest = text.strip().partition(" ")
    if _is_number(source):
        source, rest = "", text
    azimuth, elevation, name, chain, pol, *results = _fields(rest, "VAL row", (11,))
    if pol.lower() not in ("l", "r"):
        raise RowError(f'VAL row: the polarisation is "{pol[:10]}", expected l or r')
    center, compression, tsys, sefd, tcal_jy, ratio = numbers(results, "VAL row")
    return Printed(
        line=line,
        time=time,
        source=source.lower(),
        azimuth_deg=number(azimuth, "VAL row"),
        elevation_deg=number(elevation, "VAL row"),
        detector=detector(name, "VAL row"),
        if_chain=chain,
        pol=pol.lower(),
        freq_mhz=center,
        compression=compression,
        tsys_k=tsys,
        sefd_jy=sefd,
        tcal_jy=tcal_jy,
        tcal_ratio=ratio,
    )


def sigma(line: int, text: str) -> PrintedSigma:
    """A SIG row (the text after `SIG`): five numbers, six before FS 9.9.0."""
    fields = _fields(text, "SIG row", (6, 7))
    compression, tsys, sefd, tcal_jy, *rest = numbers(fields[1:], "SIG row")
    tcal_k = rest[0] if len(rest) == 2 else NAN
    return PrintedSigma(line, detector(fields[0], "SIG row"), compression, tsys, sefd, tcal_jy, rest[-1], tcal_k)


def origin(text: str) -> tuple[float, ...]:
    """An ORIG row: second of the day, then six offsets in degrees (seven in some old logs)."""
    return tuple(numbers(_fields(text, "ORIG row", (7, 8)), "ORIG row"))


def levels(state: str, text: str) -> LevelRow:
    """An ONSO, ONSC, OFFS, OFFC or ZERO row, with or without the rms after each count."""
    fields = text.split()
    try:
        return _levels(state, fields)
    except RowError:
        apart = _RUN_TOGETHER.sub(" ", text).split()
        if len(apart) == len(fields):
            raise
        return _levels(state, apart)


def _levels(state: str, fields: list[str]) -> LevelRow:
    record = f"{state} row"
    place, rest = numbers(fields[:3], record), fields[3:]
    if len(place) < 3 or not rest:
        raise RowError(f"{record}: {len(fields)} fields, expected a time, two offsets, and levels")
    step = 3 if len(rest) > 2 and not DETECTOR.fullmatch(rest[2]) else 2
    if len(rest) % step:
        raise RowError(f"{record}: {len(rest)} fields after the offsets, expected {step} for each detector")
    names = [detector(name, record) for name in rest[::step]]
    counts = numbers(rest[1::step], record)
    rms = numbers(rest[2::3], record) if step == 3 else [NAN] * len(names)
    seconds, daz, del_ = place
    return LevelRow(state, seconds, daz, del_, tuple(zip(names, counts, rms, strict=True)))


@lru_cache(maxsize=4096)
def detector(text: str, record: str) -> str:
    """A detector's name in lower case. Raises RowError for what cannot be one."""
    if not DETECTOR.fullmatch(text):
        raise RowError(f'{record}: "{text[:20]}" is no detector')
    return text.lower()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fields(text: str, record: str, counts: tuple[int, ...]) -> list[str]:
    """The fields of a row; where their number is wrong, those that ran together are parted where it is clear."""
    fields = text.split()
    if len(fields) not in counts:
        fields = _RUN_TOGETHER.sub(" ", text).split()
    if len(fields) not in counts:
        expected = " or ".join(str(count) for count in counts)
        raise RowError(f"{record}: {len(fields)} fields, expected {expected}")
    return fields
