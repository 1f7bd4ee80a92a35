"""All-sky images as FITS, with headers that are true: a map program shows the right ascension of what it points at.

The zenith is the reference point of an orthographic (SIN) projection. Its declination is the latitude, its right
ascension the local mean sidereal time, both in the equinox of date (RADESYS FK5 and EQUINOX): good to 0.01 deg, what
nutation and aberration come to. Where time or place are not known the axes are direction cosines, and say so.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from calibrant.allsky.files import check_output, write_bytes
from calibrant.allsky.image import SkyImage
from calibrant.allsky.snapshots import CalibrationData, Snapshot
from calibrant.allsky.sun import J2000

WGS84_RADIUS_M, WGS84_FLATTENING = 6378137.0, 1 / 298.257223563
Card = tuple[str, Any, str]


def zenith_ra_dec(time: float, longitude_deg: float, latitude_deg: float) -> tuple[float, float]:
    """Right ascension (local mean sidereal time) and declination of the zenith, degrees, equinox of date."""
    days = (time - J2000) / 86400.0
    centuries = days / 36525.0
    greenwich = 280.46061837 + 360.98564736629 * days + 0.000387933 * centuries**2
    return (greenwich + longitude_deg) % 360, latitude_deg


def geocentric_m(longitude_deg: float, latitude_deg: float, height_m: float) -> tuple[float, float, float]:
    """Earth-fixed x, y, z on the WGS 84 ellipsoid."""
    longitude, latitude = math.radians(longitude_deg), math.radians(latitude_deg)
    squared = WGS84_FLATTENING * (2 - WGS84_FLATTENING)
    normal = WGS84_RADIUS_M / math.sqrt(1 - squared * math.sin(latitude) ** 2)
    across = (normal + height_m) * math.cos(latitude)
    up = (normal * (1 - squared) + height_m) * math.sin(latitude)
    return across * math.cos(longitude), across * math.sin(longitude), up


def write_fits(
    path: str,
    images: Sequence[SkyImage],
    data: CalibrationData,
    snapshot: Snapshot,
    verdict: str = "",
    overwrite: bool = False,
) -> str:
    """Write the images, the first as the primary array and more as extensions named by their gains.

    The file comes under a temporary name first; ExistsError where it exists and `overwrite` is not set.
    """
    from astropy.io import fits

    check_output(path, overwrite)
    units = []
    for number, image in enumerate(images):
        header = fits.Header()
        for name, value, comment in header_cards(image, data, snapshot, verdict):
            room = 80 - 10 - 2 - 3 - max(20, len(repr(value)) + 2)  # what a card has left for its comment
            header[name] = (value, comment if len(comment) <= room else "")
        # FITS rows go upwards: the first is the south.
        pixels = image.values[::-1].copy()
        kind = fits.ImageHDU if number else fits.PrimaryHDU
        units.append(kind(pixels, header))
        units[-1].header["EXTNAME"] = image.gains.upper()
    content = io.BytesIO()
    fits.HDUList(units).writeto(content, checksum=True)
    return write_bytes(path, content.getvalue(), overwrite)


def header_cards(image: SkyImage, data: CalibrationData, snapshot: Snapshot, verdict: str = "") -> list[Card]:
    """All cards beyond the structural ones."""
    major, minor, angle = image.beam
    cards: list[Card] = [
        ("BUNIT", "", "no unit: correlation coefficient"),
        ("TELESCOP", _ascii(data.name) or "unknown", ""),
        ("FREQ", data.frequency_hz, "[Hz] frequency observed"),
        ("GAINS", image.gains, "gains applied: none, stored or new"),
        ("CALIBRAT", _verdict(image, verdict), "verdict on these gains"),
        ("NANT", image.antennas, "antennas in this image"),
        ("NBASE", image.baselines, "baselines in this image"),
        ("PEAK", image.peak, "largest value"),
        ("MAD", image.mad, "1.4826 * median absolute deviation"),
        ("BMAJ", major, "[deg] dirty beam in the zenith, FWHM"),
        ("BMIN", minor, "[deg]"),
        ("BPA", angle, "[deg] from north to east"),
        ("ORIGIN", "calibrant", ""),
    ]
    if snapshot.label:
        cards.append(("FILENAME", _ascii(os.path.basename(snapshot.label))[:60], "visibilities from"))
    return cards + _time_cards(snapshot) + _place_cards(data) + _axes(image.size, data, snapshot)


def _verdict(image: SkyImage, verdict: str) -> str:
    return (verdict or "not known") if image.gains == "new" else "not judged"


def _ascii(text: str) -> str:
    """FITS headers hold printable ASCII only."""
    return text.encode("ascii", "replace").decode()


def _time_cards(snapshot: Snapshot) -> list[Card]:
    if not math.isfinite(snapshot.time):
        return []
    moment = datetime.fromtimestamp(snapshot.time, UTC)
    return [
        ("TIMESYS", "UTC", ""),
        ("DATE-OBS", moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3], "of the visibilities"),
        ("MJD-OBS", snapshot.time / 86400.0 + 40587.0, "[d]"),
    ]


def _place_cards(data: CalibrationData) -> list[Card]:
    if not (math.isfinite(data.longitude_deg) and math.isfinite(data.latitude_deg)):
        return []
    height = data.height_m if math.isfinite(data.height_m) else 0.0
    xyz = geocentric_m(data.longitude_deg, data.latitude_deg, height)
    cards: list[Card] = [(f"OBSGEO-{axis}", value, "[m] WGS 84") for axis, value in zip("XYZ", xyz, strict=True)]
    return [
        *cards,
        ("SITELONG", data.longitude_deg, "[deg] east"),
        ("SITELAT", data.latitude_deg, "[deg]"),
        ("SITEELEV", height, "[m]" if math.isfinite(data.height_m) else "[m] not known, taken as 0"),
    ]


def _axes(size: int, data: CalibrationData, snapshot: Snapshot) -> list[Card]:
    """The celestial axes where time and place are known, and direction cosines always."""
    middle, cell = (size + 1) / 2, 2.0 / size
    ra, dec = zenith_ra_dec(snapshot.time, data.longitude_deg, data.latitude_deg)
    if not (math.isfinite(ra) and math.isfinite(dec)):
        return _cosines("", middle, cell)
    year = 2000.0 + (snapshot.time - J2000) / 86400.0 / 365.25
    cards: list[Card] = [
        ("WCSNAME", "sky", "equinox of date"),
        ("RADESYS", "FK5", ""),
        ("EQUINOX", round(year, 4), "mean equinox of date"),
        ("CTYPE1", "RA---SIN", "to the right: west"),
        ("CRVAL1", ra, "[deg] zenith: local sidereal time"),
        ("CRPIX1", middle, "the zenith"),
        ("CDELT1", -math.degrees(cell), "[deg] in the zenith"),
        ("CUNIT1", "deg", ""),
        ("CTYPE2", "DEC--SIN", "up: north"),
        ("CRVAL2", dec, "[deg] zenith: latitude"),
        ("CRPIX2", middle, "the zenith"),
        ("CDELT2", math.degrees(cell), "[deg] in the zenith"),
        ("CUNIT2", "deg", ""),
    ]
    return cards + _cosines("A", middle, cell)


def _cosines(alternate: str, middle: float, cell: float) -> list[Card]:
    """Axes in direction cosines: sin(az) cos(el) and cos(az) cos(el)."""
    cards: list[Card] = [(f"WCSNAME{alternate}", "direction cosines", "")]
    for axis, (name, step) in enumerate((("EAST", -cell), ("NORTH", cell)), 1):
        cards += [
            (f"CTYPE{axis}{alternate}", name, f"direction cosine towards the {name.lower()}"),
            (f"CRVAL{axis}{alternate}", 0.0, "the zenith"),
            (f"CRPIX{axis}{alternate}", middle, ""),
            (f"CDELT{axis}{alternate}", step, ""),
        ]
    return cards
