"""Frames onto the disk: whole or not at all, never over another file, with a list of checksums.

A frame is written to a hidden file in its own folder, brought to the disk, and linked to its name: `link` fails where
the name exists, and a crash leaves at most a hidden file that nobody takes for data. `SHA256SUMS` beside the frames
is what `sha256sum -c` reads.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibrant.acquire.devices import CaptureSpec, Frame
from calibrant.acquire.headers import StoreContext, frame_header, mask_rows
from calibrant.errors import DataError, ExistsError

SUMS = "SHA256SUMS"
RESERVE = 16 * 2**20
"""Bytes that stay free on the disk: the journal must still be written."""
FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz")
_PERMISSIONS = 0o644


class StorageError(DataError):
    """A frame cannot be stored: disk full, folder read-only. Taking it again does not help."""


@dataclass(frozen=True)
class Stored:
    """A frame that lies safely on the disk."""

    path: Path
    sha256: str


def frame_path(context: StoreContext, key: str, camera: str) -> Path:
    """Where a frame goes: sequence, key and camera. The same in every run of the plan, and unique within it."""
    plain = f"{context.sequence}-{key}-{camera}"
    name = re.sub(r"[^A-Za-z0-9._+-]+", "_", plain).lstrip(".")
    if name != plain:
        # Two keys may become one when their odd characters are replaced.
        name += f"-{zlib.crc32(plain.encode()):08x}"
    return context.directory / (name + (f"-try{context.attempt}" if context.attempt > 1 else "") + ".fits")


def store(frame: Frame, spec: CaptureSpec, context: StoreContext) -> Stored:
    """Write a frame, or verify the file that the instrument wrote itself; its checksum goes into SHA256SUMS.

    Raises ExistsError naming the file that is there already, StorageError where the disk does not take it.
    """
    if frame.data is None:
        stored = Stored(Path(frame.path), _verify(frame))
    else:
        path = frame_path(context, spec.key, frame.camera)
        content = _fits(frame, spec, context)
        write_new(path, content)
        stored = Stored(path, hashlib.sha256(content).hexdigest())
    with _as_storage_error(context.directory / SUMS):
        _list(stored, context.directory)
    return stored


def write_new(path: Path, content: bytes) -> None:
    """Write a new file, and its folder where there is none: the whole file or nothing. Raises as `store` does."""
    with _as_storage_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content)


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_bytes(folder: Path) -> int:
    """What this user may still write on the disk of a folder."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


# Bytes.


def _fits(frame: Frame, spec: CaptureSpec, context: StoreContext) -> bytes:
    """The file's content."""
    from astropy.io import fits

    data = np.asarray(frame.data)
    if data.dtype.kind not in "buif":
        raise DataError(f"{frame.camera}: data of type {data.dtype} do not go into FITS; integers or floats do")
    image = fits.PrimaryHDU(data.astype(np.uint8) if data.dtype.kind == "b" else data)
    for card in frame_header(frame, spec, context):
        image.header[card[0]] = card[1:]
    parts: list[Any] = [image]
    if rows := mask_rows(frame, context):
        table = np.array(rows, dtype=[("PLACE", f"S{max(len(row[0]) for row in rows)}"), ("T0", "f8"), ("T1", "f8")])
        mask = fits.BinTableHDU(table, name="MASK")
        mask.header["TUNIT2"] = mask.header["TUNIT3"] = "s"
        mask.header["COMMENT"] = "Stands of the mask, in seconds from DATE-BEG."
        parts.append(mask)
    content = io.BytesIO()
    fits.HDUList(parts).writeto(content, checksum=True)
    return content.getvalue()


def _write(path: Path, content: bytes) -> None:
    if path.exists():
        raise ExistsError(f"{path} exists; nothing is overwritten: choose another folder, or resume that run")
    free, needed = free_bytes(path.parent), len(content) + RESERVE
    if free < needed:
        raise StorageError(
            f"{path}: disk full: {free / 2**20:.0f} MiB free, {needed / 2**20:.0f} MiB needed; make room"
        )
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with open(part, "xb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), _PERMISSIONS)
            os.fsync(file.fileno())
        os.link(part, path)
    except FileExistsError:
        raise ExistsError(f"{path} exists; nothing is overwritten: choose another folder, or resume that run") from None
    finally:
        part.unlink(missing_ok=True)
    _sync(path.parent)


def _list(stored: Stored, directory: Path) -> None:
    """One line more in SHA256SUMS: written at once, so that lines of two writers do not mix."""
    inside = stored.path.is_relative_to(directory)
    name = stored.path.relative_to(directory) if inside else stored.path.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    sums = os.open(directory / SUMS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _PERMISSIONS)
    try:
        os.write(sums, f"{stored.sha256}  {name}\n".encode())
        os.fsync(sums)
    finally:
        os.close(sums)
    _sync(directory)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _as_storage_error(path: Path) -> Any:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}; nothing is left of it") from error


# Files of the instrument.


def _verify(frame: Frame) -> str:
    """The checksum of a file that the instrument wrote, after it was found to be readable."""
    path = Path(frame.path)
    if not frame.path:
        raise DataError(f"{frame.camera}: neither data nor a file came")
    if not path.is_file():
        raise StorageError(f"{path}: the instrument says that it wrote this file, but it is not here")
    _readable(path)
    return sha256_of(path)


def _readable(path: Path) -> None:
    """A FITS file is read to its end (a truncated one is not); of others only the size is looked at."""
    if path.stat().st_size == 0:
        raise StorageError(f"{path}: empty")
    if not path.name.lower().endswith(FITS_SUFFIXES):
        return
    from astropy.io import fits

    try:
        # A file of our own making is closed also where astropy fails to open it.
        with open(path, "rb") as file, fits.open(file, memmap=False, lazy_load_hdus=False) as parts:
            for part in parts:
                part.verify("exception")
                if 0 in (part.verify_checksum(), part.verify_datasum()):
                    raise StorageError(f"{path}: not a whole FITS file: the checksum of part {part.name!r} is wrong")
                _ = part.data
    except (OSError, ValueError, TypeError, fits.VerifyError, Warning, EOFError) as error:
        raise StorageError(f"{path}: not a whole FITS file: {error}") from error
