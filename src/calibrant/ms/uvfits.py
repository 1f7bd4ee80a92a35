"""Reading random-groups UVFITS: the visibility format of AIPS (AIPS Memo 117), multi-source or single-source.

    with open_uvfits("NGC5921.fits.gz") as uv:
        uv.antennas.antennas, uv.sources.fields, uv.spws   # what the file describes, in the MS's words
        for block in uv.blocks():                          # what it holds, a few MB at a time

Geometry and signs need no change on the way into an MS: UU, VV, WW (light seconds) are position(a1) - position(a2)
for baseline 256 a1 + a2, which is the UVW of CASA's MSs, and the visibilities carry the phase that belongs to it.
A compressed file (.gz) is unpacked into an unnamed temporary file, because the tables follow the data.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import FormatError
from calibrant.ms.index import Polarization, SpectralWindow
from calibrant.ms.tables import open_subtable, open_table
from calibrant.ms.uvfits_tables import (
    DTYPES,
    FITS_BLOCK,
    AntennaTable,
    Axes,
    SourceTable,
    moving_sources,
    polarization,
    read_antennas,
    read_axes,
    read_primary,
    read_ptypes,
    read_sources,
    read_spws,
    read_stokes,
    read_tables,
    text,
)

SPEED_OF_LIGHT = 299792458.0
MJD_ZERO = 2400000.5
"""Julian Date of Modified Julian Date 0."""
DAY = 86400.0
BLOCK_BYTES = 8 << 20
MANY_ANTENNAS = 65536
"""Baseline numbers above this are 2048 a1 + a2 + 65536; below, 256 a1 + a2."""


@dataclass(frozen=True)
class Block:
    """Some groups of the file, expanded; `first` is the number of the first. n groups, nif IFs. Arrays are fresh.

    time (n,) s of MJD in the file's time system; exposure (n,) s; uvw (n, 3) m; ant1, ant2, array, source,
    freqsel (n,) counted from 0; data (n, nif, nchan, ncorr); weight the same shape, >= 0; flag is True where the
    file's weight is not positive or the visibility is not finite.
    """

    first: int
    time: NDArray[np.float64]
    exposure: NDArray[np.float64]
    uvw: NDArray[np.float64]
    ant1: NDArray[np.int32]
    ant2: NDArray[np.int32]
    array: NDArray[np.int32]
    source: NDArray[np.int32]
    freqsel: NDArray[np.int32]
    data: NDArray[np.complex64]
    weight: NDArray[np.float32]
    flag: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time)


@dataclass
class UVFits:
    """An open UVFITS file. Made by `open_uvfits`. `notes`: what was found and not used, in words."""

    path: str
    stream: IO[bytes] = field(repr=False)
    header: Any = field(repr=False)
    data_start: int
    axes: Axes
    ptypes: list[str]
    stokes: NDArray[np.int32]
    antennas: AntennaTable
    sources: SourceTable
    spws: list[SpectralWindow]
    notes: list[str]

    @property
    def ngroup(self) -> int:
        return int(self.header["GCOUNT"])

    @property
    def nif(self) -> int:
        """Number of IFs; every group becomes so many rows."""
        return self.axes.nif

    @property
    def polarization(self) -> Polarization:
        return polarization(self.stokes)

    @property
    def telescope(self) -> str:
        return text(self.header.get("TELESCOP", "")) or "unknown"

    @property
    def observer(self) -> str:
        return text(self.header.get("OBSERVER", ""))

    @property
    def history(self) -> list[str]:
        """The HISTORY lines of the primary header."""
        return [str(line).rstrip() for line in self.header.get("HISTORY", [])]

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """The groups in file order, about `block_bytes` of the file at a time.

        FormatError names the first group whose numbers point outside the tables."""
        step = max(1, block_bytes // self._group_bytes)
        for first in range(0, self.ngroup, step):
            count = min(step, self.ngroup - first)
            self.stream.seek(self.data_start + first * self._group_bytes)
            raw = np.frombuffer(self.stream.read(count * self._group_bytes), self._dtype).reshape(count, -1)
            block = self._block(first, raw)
            self._check(block)
            yield block

    @cached_property
    def time_step(self) -> float:
        """The shortest step of time (s), to 0.01 s: the integration time where the file gives none."""
        shape = (self.ngroup, self._group_bytes // self._dtype.itemsize)
        steps = np.diff(self._time(np.memmap(self.stream, self._dtype, "r", self.data_start, shape)))
        steps = steps[steps > 0.01]
        return float(np.floor(100 * steps.min() + 0.5) / 100) if len(steps) else 0.0

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(DTYPES[int(self.header["BITPIX"])])

    @property
    def _group_bytes(self) -> int:
        return (len(self.ptypes) + int(np.prod(self.axes.length))) * self._dtype.itemsize

    # ---- random parameters ------------------------------------------------------------------------------
    def _block(self, first: int, raw: NDArray[Any]) -> Block:
        time, exposure = self._time(raw), self._parameter(raw, "INTTIM")
        if exposure is None or not (exposure > 0).all():
            given = np.zeros(len(raw)) if exposure is None else exposure
            exposure = np.where(given > 0, given, self.time_step)
        source = self._number(raw, "SOURCE") if len(self.sources.fields) > 1 else np.zeros(len(raw), np.int32)
        freqsel = self._number(raw, "FREQSEL") if len(self.spws) > self.nif else np.zeros(len(raw), np.int32)
        ant1, ant2, array = self._baseline(raw)
        visibilities = self._visibilities(raw)
        return Block(first, time, exposure, self._uvw(raw), ant1, ant2, array, source, freqsel, *visibilities)

    def _scale(self, number: int) -> tuple[float, float]:
        return float(self.header.get(f"PSCAL{number + 1}", 1.0)), float(self.header.get(f"PZERO{number + 1}", 0.0))

    def _parameter(self, raw: NDArray[Any], name: str) -> NDArray[np.float64] | None:
        """Random parameter `name` (the sum of all so called, as FITS asks), scaled; None where there is none."""
        found = [number for number, ptype in enumerate(self.ptypes) if ptype == name]
        if not found:
            return None
        total = np.zeros(len(raw))
        for number in found:
            scale, zero = self._scale(number)
            total += raw[:, number].astype(np.float64) * scale + zero
        return total

    def _number(self, raw: NDArray[Any], name: str) -> NDArray[np.int32]:
        """A parameter that counts from 1, as numbers from 0; zeros where it is absent."""
        values = self._parameter(raw, name)
        return np.zeros(len(raw), np.int32) if values is None else np.rint(values).astype(np.int32) - 1

    def _time(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        # days before fractions, so that the fraction is not rounded to the 40 microseconds of a Julian Date
        found = [number for number, ptype in enumerate(self.ptypes) if ptype in ("DATE", "_DATE")]
        days = np.full(len(raw), sum(self._scale(number)[1] for number in found) - MJD_ZERO)
        for number in found:
            days += raw[:, number].astype(np.float64) * self._scale(number)[0]
        return days * DAY

    def _uvw(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        uvw = np.empty((len(raw), 3))
        for axis, name in enumerate(("UU", "VV", "WW")):
            ptype = next(ptype for ptype in self.ptypes if ptype.startswith(name))
            # 'UU-L-SIN' are wavelengths at the reference frequency, all others light seconds
            unit = 1 / self.axes.value[self.axes.find("FREQ")] if ptype.startswith(f"{name}-L") else 1.0
            uvw[:, axis] = self._parameter(raw, ptype)
            uvw[:, axis] *= SPEED_OF_LIGHT * unit
        return uvw

    def _baseline(self, raw: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """ANTENNA1, ANTENNA2, subarray."""
        baseline = self._parameter(raw, "BASELINE")
        if baseline is None:
            return self._number(raw, "ANTENNA1"), self._number(raw, "ANTENNA2"), self._number(raw, "SUBARRAY")
        number = np.floor(baseline + 1e-3).astype(np.int64)
        many = number > MANY_ANTENNAS
        base, number_in = np.where(many, 2048, 256), np.where(many, number - MANY_ANTENNAS, number)
        # above 65536 a 32-bit float has no digits left for the subarray
        array = np.where(many, 0, np.rint(100 * (baseline - number)))
        ant1, ant2 = number_in // base - 1, number_in % base - 1
        return ant1.astype(np.int32), ant2.astype(np.int32), array.astype(np.int32)

    # ---- visibilities -----------------------------------------------------------------------------------
    def _visibilities(self, raw: NDArray[Any]) -> tuple[NDArray[np.complex64], NDArray[np.float32], NDArray[np.bool_]]:
        """DATA, weight, flag (n, nif, nchan, ncorr), correlations in the MS's order."""
        cube = self._cube(raw)
        data, weight = np.empty(cube.shape[:-1], np.complex64), np.ones(cube.shape[:-1], np.float32)
        parts: list[NDArray[Any]] = [data.real, data.imag, weight]
        scale, zero = float(self.header.get("BSCALE", 1.0)), float(self.header.get("BZERO", 0.0))
        for out, corr in enumerate(np.argsort(self.stokes, kind="stable").tolist()):
            for number, part in enumerate(parts[: cube.shape[-1]]):
                values = cube[..., corr, number]
                part[..., out] = values if (scale, zero) == (1.0, 0.0) else values * scale + zero
        flag = ~(weight > 0) | ~np.isfinite(data)
        if self._dtype.kind == "i" and "BLANK" in self.header:
            order = np.argsort(self.stokes, kind="stable")
            flag |= (cube == self.header["BLANK"]).any(-1)[..., order]
        np.abs(weight, out=weight)
        weight[~np.isfinite(weight)] = 0
        return data, weight, flag

    def _cube(self, raw: NDArray[Any]) -> NDArray[Any]:
        """The regular axes as (n, IF, FREQ, STOKES, COMPLEX); all others have length 1."""
        length, count = self.axes.length, len(self.axes.length)
        cube = raw[:, len(self.ptypes) :].reshape(len(raw), *length[::-1])
        last = [self.axes.find(name) for name in ("IF", "FREQ", "STOKES", "COMPLEX") if name in self.axes.name]
        order = [position for position in range(count) if position not in last] + last
        # the header counts axes from the fastest, the array from the slowest
        cube = cube.transpose(0, *(count - position for position in order))
        return cube.reshape(len(raw), self.nif, *(length[position] for position in last[-3:]))

    def _check(self, block: Block) -> None:
        limits = (
            ("antenna", np.stack([block.ant1, block.ant2], 1), self.antennas.present, "AN"),
            ("source", block.source[:, None], self.sources.present, "SU"),
            ("frequency id", block.freqsel[:, None], np.ones(len(self.spws) // self.nif, bool), "FQ"),
        )
        for what, number, present, table in limits:
            outside = (number < 0) | (number >= len(present))
            bad = np.argwhere(outside | ~present[np.where(outside, 0, number)])
            if len(bad):
                raise FormatError(
                    f"{self.path}: group {block.first + int(bad[0, 0]) + 1} of the primary HDU has {what} "
                    f"{int(number[tuple(bad[0])]) + 1}, which table AIPS {table} lacks (it has {present.sum()} up to "
                    f"number {len(present)}); the file is damaged"
                )


@contextmanager
def open_uvfits(path: str, antnamescheme: str = "old") -> Iterator[UVFits]:
    """Open a random-groups UVFITS file, plain or gzipped; FormatError names HDU, keyword or byte of what is wrong.

    antnamescheme: 'old' names antennas by their numbers, 'new' as VA01, EA01, CA1 for VLA, EVLA, CARMA (as CASA does).
    """
    if not os.path.isfile(path):
        what = "is a directory" if os.path.isdir(path) else "does not exist"
        raise FormatError(f"{path} {what}; a UVFITS file was expected")
    with _plain(path) as stream:
        yield _describe(path, stream, antnamescheme)


@contextmanager
def _plain(path: str) -> Iterator[IO[bytes]]:
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        if not packed:
            yield stream
            return
    with tempfile.TemporaryFile() as plain, gzip.open(path) as unpacking:
        try:
            shutil.copyfileobj(unpacking, plain, 1 << 20)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FormatError(
                f"{path}: the compressed data break off after {plain.tell()} unpacked bytes ({error}); "
                "copy the file again"
            ) from None
        plain.seek(0)
        yield plain


def _describe(path: str, stream: IO[bytes], antnamescheme: str) -> UVFits:
    header, data_start = read_primary(path, stream)
    axes, ptypes = read_axes(path, header), read_ptypes(path, header)
    stokes = read_stokes(path, axes)
    group = (int(np.prod(axes.length)) + len(ptypes)) * abs(int(header["BITPIX"])) // 8
    end, length = data_start + int(header["GCOUNT"]) * group, os.fstat(stream.fileno()).st_size
    if length < end:
        raise FormatError(
            f"{path}: the data of the primary HDU end at byte {end} (GCOUNT = {header['GCOUNT']}), but the file ends "
            f"at byte {length}, after {(length - data_start) // group} groups; copy it again"
        )
    tables = read_tables(path, stream, data_start + -(-(end - data_start) // FITS_BLOCK) * FITS_BLOCK)
    telescope = text(header.get("TELESCOP", ""))
    antennas = read_antennas(path, tables, telescope, antnamescheme)
    sources = read_sources(path, tables, header, axes, telescope)
    notes = []
    if len(tables["AIPS AN"]) > 1:
        notes.append(f"{len(tables['AIPS AN'])} AIPS AN tables (subarrays): the first one was used for all")
    for what, present in (("antenna", antennas.present), ("source", sources.present)):
        if not present.all():
            gaps = ", ".join(str(number + 1) for number in np.flatnonzero(~present))
            notes.append(f"the file has no {what} {gaps}: flagged empty rows keep the numbering")
    if moving_sources(tables):
        notes.append(f"proper motion of {', '.join(moving_sources(tables))} was ignored")
    spws = read_spws(path, tables, header, axes)
    return UVFits(path, stream, header, data_start, axes, ptypes, stokes, antennas, sources, spws, notes)


def set_time_system(path: str, system: str) -> None:
    """Say in MAIN and all subtables of the MeasurementSet at `path` that times are UTC or TAI; values stay."""
    main = open_table(path, writable=True)
    names = [name for name, value in main.getkeywords().items() if str(value).startswith("Table: ")]
    for table in (main, *(open_subtable(path, name, writable=True) for name in names)):
        for column in table.colnames():
            measure = table.getcolkeywords(column).get("MEASINFO", {})
            if measure.get("type") == "epoch":
                table.putcolkeyword(column, "MEASINFO", {**measure, "Ref": system})
        table.close()
