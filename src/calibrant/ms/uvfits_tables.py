"""The headers and tables of a UVFITS file in the MS's words: axes, antennas, fields, spectral windows.

Names and meanings: AIPS Memo 117. Every error names the file and the HDU, keyword, column or byte.
Frames and gaps are treated as CASA's importuvfits does, so that ids and names agree with a CASA import.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import FormatError
from calibrant.ms.index import Antennas, Fields, Polarization, SpectralWindow

FITS_BLOCK = 2880
DTYPES = {8: "u1", 16: ">i2", 32: ">i4", -32: ">f4", -64: ">f8"}
"""BITPIX -> type of the numbers in the file."""

STOKES = {-1: 5, -2: 8, -3: 6, -4: 7, -5: 9, -6: 12, -7: 10, -8: 11}
"""AIPS code -> code of the MS definition: RR LL RL LR, XX YY XY YX."""

MOUNTS = {
    0: "ALT-AZ", 1: "EQUATORIAL", 2: "ORBITING", 3: "X-Y", 4: "ALT-AZ+NASMYTH-R", 5: "ALT-AZ+NASMYTH-L",
    6: "BIZARRE",
}  # fmt: skip

REST, LSRK, LSRD, BARY, GEO, TOPO, GALACTO, LGROUP, CMB = range(9)
"""Codes of frequency frames in an MS (casacore)."""
SPECSYS = {
    "LSRK": LSRK, "LSRD": LSRD, "BARYCENT": BARY, "HELIOCEN": BARY, "GEOCENTR": GEO, "TOPOCENT": TOPO,
    "GALACTOC": GALACTO, "LOCALGRP": LGROUP, "CMBDIPOL": CMB, "SOURCE": REST, "TOPO": TOPO, "BARY": BARY,
}  # fmt: skip
VELTYP = {"LSRD": LSRD, "LSR": LSRK, "BARY": BARY, "HEL": BARY, "GEO": GEO, "TOPO": TOPO, "GALAC": GALACTO}

VLA_CENTRE = np.array([-1601185.365, -5041977.547, 3554875.870])
"""ITRF position of the VLA's centre (m); old archive files give offsets from it in a frame turned to its meridian."""

DIAMETERS = {
    "ATCA": 22.0, "SMA": 6.0, "ATA": 6.1, "HATCREEK": 6.1, "BIMA": 6.1, "GMRT": 45.0, "ALMA": 12.0,
    "IRAM_PDB": 15.0, "IRAM PDB": 15.0, "NOEMA": 15.0,
}  # fmt: skip
"""Dish diameters (m) where the antenna table gives none; 25 m for all others."""


@dataclass(frozen=True)
class Axes:
    """The regular axes of a group in file order: name, length, reference value and pixel, increment."""

    name: list[str]
    length: list[int]
    value: list[float]
    pixel: list[float]
    delta: list[float]

    def find(self, name: str) -> int:
        """Position of the axis, or -1."""
        return self.name.index(name) if name in self.name else -1

    @property
    def nif(self) -> int:
        return self.length[self.find("IF")] if "IF" in self.name else 1


@dataclass(frozen=True)
class AntennaTable:
    """AIPS AN by antenna number: `present` (nant,) is False for numbers that the table leaves out.

    offset (nant, 3) m: of the axes; receptor_angle (nant, 2) rad; time_system: UTC or TAI."""

    antennas: Antennas
    present: NDArray[np.bool_]
    offset: NDArray[np.float64]
    receptor_angle: NDArray[np.float64]
    time_system: str


@dataclass(frozen=True)
class SourceTable:
    """AIPS SU by source number (or the one source of the header): rest_frequency, velocity (nfield, nif) Hz, m/s."""

    fields: Fields
    present: NDArray[np.bool_]
    rest_frequency: NDArray[np.float64]
    velocity: NDArray[np.float64]
    frame: str


@dataclass(frozen=True)
class Table:
    """One binary table: header and records. `column` reads with an error that says what is missing."""

    path: str
    name: str
    header: Any
    records: Any

    def column(self, name: str, default: Any = None) -> NDArray[Any]:
        """A column; `default` for every row where the table lacks it; FormatError without a default."""
        names = {have.strip().upper(): have for have in self.records.names}
        if name in names:
            return np.asarray(self.records[names[name]])
        if default is None:
            raise FormatError(f"{self.path}: table {self.name} has no column {name} (it has {', '.join(names)})")
        return np.full(len(self.records), default)

    def numbers(self, name: str) -> NDArray[np.int64]:
        """The column of row numbers: distinct, from 1."""
        number = self.column(name).astype(np.int64)
        if len(number) == 0 or number.min() < 1 or len(np.unique(number)) != len(number):
            raise FormatError(
                f"{self.path}: column {name} of table {self.name} has the numbers {number.tolist()[:10]}; "
                "distinct ones from 1 were expected"
            )
        return number


def text(value: object) -> str:
    """A FITS string without its padding."""
    string = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return string.split("\0")[0].strip()


def whole(path: str, header: Any, name: str) -> int:
    """A whole number of the primary header."""
    value = header.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise FormatError(f"{path}: keyword {name} of the primary HDU is {value!r}; a whole number was expected")
    return value


def real(path: str, header: Any, name: str, default: float) -> float:
    """A number of a header, or its default."""
    value = header.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"{path}: keyword {name} is {value!r}; a number was expected")
    return float(value)


# ---- headers ----------------------------------------------------------------------------------------------


def read_primary(path: str, stream: IO[bytes]) -> tuple[Any, int]:
    """Header of the primary HDU, checked to be random groups, and the byte at which its data start."""
    if stream.read(9) != b"SIMPLE  =":
        raise FormatError(f"{path}: byte 0 does not start a FITS header (SIMPLE = T); this is no FITS file")
    header, start = _header(path, stream, 0, "the primary HDU")
    if header.get("NAXIS1") != 0 or header.get("GROUPS") is not True:
        raise FormatError(
            f"{path}: not random-groups UVFITS (the primary HDU has NAXIS1 = {header.get('NAXIS1')}, "
            f"GROUPS = {header.get('GROUPS')}; 0 and T were expected)"
        )
    if whole(path, header, "BITPIX") not in DTYPES:
        raise FormatError(f"{path}: keyword BITPIX is {header['BITPIX']}; 8, 16, 32, -32 or -64 was expected")
    for name in ("PCOUNT", "GCOUNT"):
        if whole(path, header, name) < 1:
            raise FormatError(f"{path}: keyword {name} of the primary HDU is {header[name]}; at least 1 was expected")
    return header, start


def _header(path: str, stream: IO[bytes], position: int, what: str) -> tuple[Any, int]:
    from astropy.io import fits

    stream.seek(position)
    try:
        with warnings.catch_warnings():
            # astropy warns of blemishes (odd END cards, old keywords) that do not matter here
            warnings.simplefilter("ignore")
            header = fits.Header.fromfile(stream)
            for card in header.cards:
                _ = card.value
            return header, stream.tell()
    except (OSError, EOFError, ValueError, fits.VerifyError) as error:
        raise FormatError(
            f"{path}: the header of {what} at byte {position} cannot be read ({error}); "
            "the file is damaged or truncated"
        ) from None


def read_axes(path: str, header: Any) -> Axes:
    """The axes of a group; FormatError where one is missing or of an unexpected length."""
    numbers = range(2, whole(path, header, "NAXIS") + 1)
    keys = (("CRVAL", 0.0), ("CRPIX", 1.0), ("CDELT", 1.0))
    axes = Axes(
        [text(header.get(f"CTYPE{n}", "")).split("-")[0] for n in numbers],
        [whole(path, header, f"NAXIS{n}") for n in numbers],
        *([real(path, header, f"{key}{n}", default) for n in numbers] for key, default in keys),
    )
    for name in ("COMPLEX", "STOKES", "FREQ", "RA", "DEC"):
        if name not in axes.name:
            raise FormatError(f"{path}: the primary HDU has no axis {name} (CTYPE: {', '.join(axes.name)})")
    for name, length in zip(axes.name, axes.length, strict=True):
        if length < 1 or (length > 1 and name not in ("COMPLEX", "STOKES", "FREQ", "IF")):
            raise FormatError(f"{path}: axis {name} of the primary HDU has length {length}; 1 was expected")
    ncomplex = axes.length[axes.find("COMPLEX")]
    if ncomplex not in (2, 3):
        raise FormatError(
            f"{path}: axis COMPLEX of the primary HDU has length {ncomplex}; 2 or 3 was expected "
            "(1: compressed by AIPS; write the file with DOUVCOMP = -1)"
        )
    return axes


def read_ptypes(path: str, header: Any) -> list[str]:
    """Names of the random parameters; FormatError where one that is needed is missing."""
    ptypes = [text(header.get(f"PTYPE{number + 1}", "")) for number in range(int(header["PCOUNT"]))]
    missing = [name for name in ("UU", "VV", "WW") if not any(ptype.startswith(name) for ptype in ptypes)]
    missing += ["DATE"] if "DATE" not in ptypes else []
    if "BASELINE" not in ptypes and not {"ANTENNA1", "ANTENNA2"} <= set(ptypes):
        missing.append("BASELINE")
    if missing:
        raise FormatError(f"{path}: no random parameter {', '.join(missing)} (PTYPE: {', '.join(ptypes)})")
    return ptypes


def read_tables(path: str, stream: IO[bytes], position: int) -> dict[str, list[Table]]:
    """The tables AIPS AN, FQ and SU after the byte `position`, by name, in file order."""
    from astropy.io import fits

    tables: dict[str, list[Table]] = {}
    length, number = os.fstat(stream.fileno()).st_size, 1
    while length - position >= FITS_BLOCK:
        what = f"extension HDU {number}"
        header, start = _header(path, stream, position, what)
        try:
            name = text(header.get("EXTNAME", ""))
            lengths = [header[f"NAXIS{n + 1}"] for n in range(header["NAXIS"])]
            words = int(np.prod(lengths)) if lengths else 0
            size = abs(header["BITPIX"]) // 8 * (words + header.get("PCOUNT", 0))
            if start + size > length:
                raise EOFError(f"its data end at byte {start + size}, the file at byte {length}")
            if name in ("AIPS AN", "AIPS FQ", "AIPS SU"):
                stream.seek(position)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    records = fits.BinTableHDU.fromstring(stream.read(start + size - position)).data
                    records.names  # noqa: B018 (reads the column descriptions, which may be wrong)
                tables.setdefault(name, []).append(Table(path, name, header, records))
        except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, fits.VerifyError) as error:
            raise FormatError(
                f"{path}: {what} at byte {position} cannot be read ({error}); the file is damaged or truncated"
            ) from None
        position, number = start + -(-size // FITS_BLOCK) * FITS_BLOCK, number + 1
    return tables


# ---- antennas ---------------------------------------------------------------------------------------------


def read_antennas(path: str, tables: dict[str, list[Table]], telescope: str, scheme: str) -> AntennaTable:
    """The first AIPS AN table. `scheme`: see `antenna_name`."""
    if "AIPS AN" not in tables:
        raise FormatError(f"{path}: no table AIPS AN; antenna positions are needed")
    table = tables["AIPS AN"][0]
    number = table.numbers("NOSTA")
    row, count = number - 1, int(number.max())
    present = np.zeros(count, bool)
    present[row] = True
    stations, mounts = [""] * count, ["ALT-AZ"] * count
    for at, name, mount in zip(row.tolist(), table.column("ANNAME"), table.column("MNTSTA", 0).tolist(), strict=True):
        stations[at] = text(name)
        mounts[at] = "ALT-AZ" if telescope == "SMA" else MOUNTS.get(int(mount), "SPACE-HALCA")
    position, offset = np.zeros((count, 3)), np.zeros((count, 3))
    angle, diameter = np.zeros((count, 2)), np.zeros(count)
    position[row] = _positions(table)
    offset[row, 0] = table.column("STAXOF", 0.0)
    angle[row] = np.radians(np.stack([table.column("POLAA", 0.0), table.column("POLAB", 0.0)], 1).astype(float))
    diameter[row] = _diameters(table, telescope, number)
    names = [antenna_name(telescope, at + 1, scheme) for at in range(count)]
    system = text(table.header.get("TIMSYS", table.header.get("TIMESYS", "TAI"))) or "TAI"
    if system not in ("UTC", "TAI", "IAT"):
        raise FormatError(f"{path}: keyword TIMSYS of table AIPS AN is {system!r}; UTC, TAI or IAT was expected")
    antennas = Antennas(names, stations, mounts, position, diameter)
    return AntennaTable(antennas, present, offset, angle, "UTC" if system == "UTC" else "TAI")


def antenna_name(telescope: str, number: int, scheme: str) -> str:
    """The name CASA gives antenna `number` (from 1): 'old' its number, 'new' VA01 (VLA), EA01 (EVLA), CA1 (CARMA)."""
    if scheme == "new" and telescope in ("VLA", "EVLA"):
        return f"{'VA' if telescope == 'VLA' else 'EA'}{number:02d}"
    return f"CA{number}" if scheme == "new" and telescope == "CARMA" else str(number)


def _positions(table: Table) -> NDArray[np.float64]:
    """ITRF positions (n, 3) m: the array's centre plus the offsets, turned or mirrored where the file's frame is."""
    centre = np.array([real(table.path, table.header, f"ARRAY{axis}", 0.0) for axis in "XYZ"])
    offset = table.column("STABXYZ").astype(float).reshape(len(table.records), 3)
    old = text(table.header.get("ARRNAM", "")) == "VLA" and "FRAME" not in table.header
    if old and np.abs(centre - VLA_CENTRE).max() < 10:
        centre = VLA_CENTRE
        east = np.arctan2(centre[1], centre[0])
        turn = np.array([[np.cos(east), -np.sin(east), 0], [np.sin(east), np.cos(east), 0], [0, 0, 1]])
        offset = offset @ turn.T
    if text(table.header.get("XYZHAND", "RIGHT")).upper() == "LEFT":
        offset = offset * [1, -1, 1]
    return centre + offset


def _diameters(table: Table, telescope: str, number: NDArray[np.int64]) -> NDArray[np.float64]:
    given = table.column("DIAMETER", 0.0).astype(float)
    if (given > 0).any():
        return given
    if telescope in ("OVRO", "CARMA"):
        return np.where(number <= 6, 10.4, 6.1)
    if telescope == "ALMA":
        return np.array([7.0 if text(name).startswith("CM") else 12.0 for name in table.column("ANNAME")])
    return np.full(len(number), DIAMETERS.get(telescope, 25.0))


# ---- fields -----------------------------------------------------------------------------------------------


def read_sources(path: str, tables: dict[str, list[Table]], header: Any, axes: Axes, telescope: str) -> SourceTable:
    """The AIPS SU table; without one, the source of the primary header."""
    epoch = real(path, header, "EPOCH", real(path, header, "EQUINOX", 2000.0))
    if "AIPS SU" not in tables:
        direction = _wrapped(np.array([[axes.value[axes.find("RA")], axes.value[axes.find("DEC")]]]))
        fields = Fields([text(header.get("OBJECT", "")) or "unknown"], [""], np.zeros(1, np.int32), direction)
        rest = np.full((1, axes.nif), real(path, header, "RESTFREQ", 0.0))
        return SourceTable(fields, np.ones(1, bool), rest, np.zeros((1, axes.nif)), _frame(epoch, telescope))
    table = tables["AIPS SU"][0]
    row = table.numbers("ID. NO.") - 1
    count = int(row.max()) + 1
    names, codes = [""] * count, [""] * count
    qualifiers = table.column("QUAL", 0).astype(int)
    several = len(np.unique(qualifiers)) > 1
    columns = (table.column("SOURCE"), qualifiers.tolist(), table.column("CALCODE", ""))
    for at, name, qualifier, code in zip(row.tolist(), *columns, strict=True):
        names[at] = f"{text(name)}_{qualifier}" if several else text(name)
        codes[at] = text(code)
    present = np.zeros(count, bool)
    present[row] = True
    direction, rest, velocity = np.zeros((count, 2)), np.zeros((count, axes.nif)), np.zeros((count, axes.nif))
    direction[row] = _wrapped(np.stack([table.column("RAEPO"), table.column("DECEPO")], 1).astype(float))
    rest[row] = table.column("RESTFREQ", 0.0).reshape(len(row), -1)[:, : axes.nif]
    velocity[row] = table.column("LSRVEL", 0.0).reshape(len(row), -1)[:, : axes.nif]
    # -1 marks a planet that the correlator tracked
    epochs = sorted(set(table.column("EPOCH", epoch).astype(float).tolist()) - {-1.0})
    if len(epochs) > 1:
        found = ", ".join(map(str, epochs))
        raise FormatError(f"{path}: column EPOCH of table AIPS SU has {found}; one epoch was expected")
    fields = Fields(names, codes, np.arange(count, dtype=np.int32), direction)
    return SourceTable(fields, present, rest, velocity, _frame(epochs[0] if epochs else epoch, telescope))


def _wrapped(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions in rad, longitudes within (-pi, pi] as an MS has them."""
    angles = np.radians(degrees)
    angles[:, 0] = np.arctan2(np.sin(angles[:, 0]), np.cos(angles[:, 0]))
    return angles


def _frame(epoch: float, telescope: str) -> str:
    if abs(epoch - 1950.0) < 0.01:
        return "B1950_VLA" if telescope == "VLA" else "B1950"
    return "J2000"


def moving_sources(tables: dict[str, list[Table]]) -> list[str]:
    """Names of sources with a proper motion."""
    if "AIPS SU" not in tables:
        return []
    table = tables["AIPS SU"][0]
    moving = (table.column("PMRA", 0.0) != 0) | (table.column("PMDEC", 0.0) != 0)
    return [text(name) for name in table.column("SOURCE")[moving]]


# ---- frequencies and correlations -------------------------------------------------------------------------


def read_spws(path: str, tables: dict[str, list[Table]], header: Any, axes: Axes) -> list[SpectralWindow]:
    """One spectral window a frequency id and IF, IF running fastest. A lower sideband has negative widths."""
    axis, nif = axes.find("FREQ"), axes.nif
    channel = np.arange(axes.length[axis]) + 1 - axes.pixel[axis]
    frame = _frequency_frame(tables, header)
    if "AIPS FQ" in tables:
        offset, width, total = _frequency_setups(tables["AIPS FQ"][0], nif)
    elif nif == 1:
        offset, width = np.zeros((1, 1)), np.full((1, 1), axes.delta[axis])
        total = np.abs(width * len(channel))
    else:
        raise FormatError(f"{path}: {nif} IFs but no table AIPS FQ, which gives their frequencies")
    result = []
    for number, (shift, step, band) in enumerate(zip(offset.ravel(), width.ravel(), total.ravel(), strict=True)):
        centre, widths = float(axes.value[axis] + shift), np.full(len(channel), step)
        size, sideband = np.abs(widths), 1 if step > 0 else -1
        freq = centre + channel * step
        result.append(SpectralWindow(number, "none", freq, widths, size, size, centre, float(band), frame, sideband))
    return result


def _frequency_setups(table: Table, nif: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """IF offset, signed channel width and total bandwidth (nfreqid, nif) Hz, by frequency id."""
    number = table.numbers("FRQSEL")
    if number.max() != len(number):
        raise FormatError(
            f"{table.path}: column FRQSEL of table AIPS FQ has the numbers {number.tolist()[:10]}; "
            f"1 to {len(number)} were expected"
        )
    columns = []
    for name, default in (("IF FREQ", None), ("CH WIDTH", None), ("TOTAL BANDWIDTH", None), ("SIDEBAND", 1)):
        cells = table.column(name, default).astype(float).reshape(len(number), -1)
        if cells.shape[1] not in (nif, 1):
            raise FormatError(
                f"{table.path}: column {name} of table AIPS FQ has {cells.shape[1]} values a row; "
                f"{nif} (IFs) were expected"
            )
        columns.append(np.broadcast_to(cells, (len(number), nif))[np.argsort(number)])
    offset, width, total, sideband = columns
    # a lower sideband is written as a negative width, as SIDEBAND -1, or as both
    return offset, np.where(sideband < 0, -np.abs(width), width), total


def _frequency_frame(tables: dict[str, list[Table]], header: Any) -> int:
    """Code of the frequency frame: SPECSYS, else VELTYP of the source table, else VELREF, else topocentric."""
    specsys = text(header.get("SPECSYS", "")).upper()
    if specsys in SPECSYS:
        return SPECSYS[specsys]
    veltyp = text(tables["AIPS SU"][0].header.get("VELTYP", "")).upper() if "AIPS SU" in tables else ""
    for word, code in VELTYP.items():
        if word in veltyp:
            return code
    velref = header.get("VELREF", 3)
    return {1: LSRK, 2: BARY}.get(velref % 256 if isinstance(velref, int) else 3, TOPO)


def read_stokes(path: str, axes: Axes) -> NDArray[np.int32]:
    """MS code of every correlation, in file order."""
    axis = axes.find("STOKES")
    pixel = np.arange(axes.length[axis]) + 1 - axes.pixel[axis]
    codes = np.rint(axes.value[axis] + pixel * axes.delta[axis]).astype(int).tolist()
    unknown = [code for code in codes if code not in STOKES]
    if unknown:
        raise FormatError(
            f"{path}: axis STOKES of the primary HDU has code {unknown[0]}; correlations of receptors (-1 to -8: RR LL "
            "RL LR XX YY XY YX) were expected: Stokes parameters cannot be calibrated antenna by antenna"
        )
    return np.array([STOKES[code] for code in codes], np.int32)


def polarization(stokes: NDArray[np.int32]) -> Polarization:
    """The correlations in the MS's order (RR RL LR LL)."""
    codes = np.sort(stokes)
    return Polarization(codes, np.stack([(codes - 5) % 4 // 2, (codes - 5) % 2], 1).astype(np.int32))
