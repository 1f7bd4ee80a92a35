"""FIVPT's rows in the order of the log -> pointings.

A pointing begins with `source` and ends with `xoffset`; between them come the detector (`fivept`), the system
temperature (`tsys`), the fits (`latfit`, `lonfit`: offset, width, peak, ...) and the SEFD (`perform`) of each
iteration, of which the last one counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from calibrant.station.onoffrows import DETECTOR, RowError, numbers
from calibrant.station.records import NAN, Fivpt

UNUSED = ("site", "origin", "lat", "lon", "lin", "laterr", "lonerr", "offset")


@dataclass
class _Pointing:
    line: int = 0
    """0: none has begun."""
    source: str = ""
    axes: str = ""
    detector: str = ""
    azimuth_deg: float = NAN
    elevation_deg: float = NAN
    tsys_k: float = NAN
    sefd_jy: float = NAN
    lat_fwhm: float = NAN
    lon_fwhm: float = NAN


class FivptBlocks:
    """Fed row by row; gives a pointing with its last row."""

    def __init__(self) -> None:
        self._now = _Pointing()

    def row(self, line: int, time: float, text: str) -> Fivpt | None:
        """The text after `#fivpt#`; the pointing that this row has completed. Raises RowError."""
        name, _, rest = text.partition(" ")
        name, fields = name.lower(), rest.split()
        if not name or name in UNUSED:
            return None
        if name == "xoffset":
            now, self._now = self._now, _Pointing()
            return _pointing(line, time, fields, now)
        if name == "source":
            self._now = _Pointing(line, source=fields[0].lower() if fields else "")
        elif name == "fivept":
            self._now.axes, self._now.detector = _words(fields, 9, 0), _words(fields, 9, 5)
        elif name == "tsys":
            self._now.azimuth_deg, self._now.elevation_deg, self._now.tsys_k = _values(name, fields, 3)
        elif name == "perform":
            sefd = _values(name, fields, 2)[1]
            self._now.sefd_jy = sefd if sefd > 0 else NAN
        elif name == "latfit":
            self._now.lat_fwhm = _values(name, fields, 2)[1]
        elif name == "lonfit":
            self._now.lon_fwhm = _values(name, fields, 2)[1]
        else:
            raise RowError(f'FIVPT row: unknown record "{name[:20]}"')
        return None

    @property
    def open_line(self) -> int:
        """Where a pointing without a result began; 0 where there is none."""
        return self._now.line


def _pointing(line: int, time: float, fields: list[str], now: _Pointing) -> Fivpt:
    """`lon lat lonoff latoff siglon siglat ilon ilat [dev] source`, with what came before it."""
    values = _values("xoffset", fields, 8)
    names = fields[8:]
    if len(names) not in (0, 1, 2):
        raise RowError(f"FIVPT row: xoffset with {len(fields)} fields, expected 9 or 10")
    detector = names[0] if len(names) == 2 else now.detector
    if detector and not DETECTOR.fullmatch(detector):
        raise RowError(f'FIVPT row: xoffset: "{detector[:20]}" is no detector')
    widths = [width for width, good in ((now.lat_fwhm, values[7]), (now.lon_fwhm, values[6])) if good == 1]
    # Only for these axes are lon and lat azimuth and elevation; otherwise FIVPT's tsys row has them.
    azel = now.axes in ("", "azel")
    return Fivpt(
        line=line,
        time=time,
        source=names[-1].lower() if names else now.source,
        detector=detector.lower(),
        azimuth_deg=values[0] if azel else now.azimuth_deg,
        elevation_deg=values[1] if azel else now.elevation_deg,
        lat_offset_deg=values[3],
        lon_offset_deg=values[2],
        lat_sigma_deg=values[5],
        lon_sigma_deg=values[4],
        lat_good=values[7] == 1,
        lon_good=values[6] == 1,
        fwhm_deg=sum(widths) / len(widths) if widths else NAN,
        tsys_k=now.tsys_k,
        sefd_jy=now.sefd_jy,
        axes=now.axes or "azel",
        lat_deg=values[1],
    )


def _values(name: str, fields: list[str], count: int) -> list[float]:
    if len(fields) < count:
        raise RowError(f"FIVPT row: {name} with {len(fields)} fields, expected at least {count}")
    return numbers(fields[:count], f"FIVPT row {name}")


def _words(fields: list[str], count: int, index: int) -> str:
    if len(fields) < count:
        raise RowError(f"FIVPT row: fivept with {len(fields)} fields, expected {count}")
    return fields[index].lower()
