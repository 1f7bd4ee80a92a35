"""Small text files that people edit: read without losing a byte, refuse what is not text, replace atomically."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from calibrant.errors import DataError, ExistsError, FormatError
from calibrant.station.problem import Problem, apply_edits

LARGEST = 20_000_000
"""Bytes; logs are read by `fslog`, which streams."""

GZIP = b"\x1f\x8b"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file with its line ends as they are (`\\r\\n` stays).

    `encode` gives the same bytes back. Raises FormatError for an empty, binary or very large file, DataError where
    it cannot be read.
    """
    return decode(read_bytes(path), os.fspath(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file of reasonable size; DataError where it cannot be read."""
    name = os.fspath(path)
    try:
        if os.path.getsize(name) > LARGEST:
            raise FormatError(f"{name}: found {os.path.getsize(name)} bytes, expected at most {LARGEST}. Is it a log?")
        return Path(name).read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}. Give the name of a file that exists.") from None


def unpacked(data: bytes, path: str) -> bytes:
    """The content of a .gz file, anything else as it is; FormatError for a damaged one."""
    if not data.startswith(GZIP):
        return data
    import gzip
    import zlib

    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise FormatError(f"{path}: the gz file is damaged ({error}); fetch it again.") from error


def decode(data: bytes, path: str) -> str:
    """UTF-8, else Latin-1 (station files hold umlauts of both kinds); FormatError for empty and binary content."""
    if not data.strip():
        raise FormatError(f"{path}: found an empty file, expected text. Restore it from a backup.")
    wrong = len(_CONTROL.findall(data))
    if data.startswith(GZIP) or b"\x00" in data or wrong > 0.01 * len(data):
        raise FormatError(f"{path}: found binary data, expected a text file. Unpack it first if it is compressed.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def encode(text: str, like: bytes) -> bytes:
    """`text` in the encoding that `decode` found for `like`."""
    try:
        like.decode("utf-8")
    except UnicodeDecodeError:
        return text.encode("latin-1", errors="replace")
    return text.encode("utf-8")


def split_lines(text: str) -> list[str]:
    """Physical lines with their own ends; only `\\n` ends a line, as for the Field System."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def line_end(lines: list[str]) -> str:
    """The line end that most lines have: `\\r\\n` or `\\n`."""
    return "\r\n" if 2 * sum(line.endswith("\r\n") for line in lines) > len(lines) else "\n"


def apply_fixes(text: str, problems: Sequence[Problem]) -> str:
    """The text with the edits of all problems made, in its own line ends, its last line ended."""
    end = line_end(split_lines(text)).removesuffix("\n")
    mended = [
        replace(
            problem, edit=replace(problem.edit, lines=tuple(line.rstrip("\r") + end for line in problem.edit.lines))
        )
        for problem in problems
        if problem.edit is not None
    ]
    if not mended:
        return text
    return "\n".join([*apply_edits(text.removesuffix("\n").split("\n"), mended), ""])


def write_new(path: str | os.PathLike[str], text: str, overwrite: bool = False) -> None:
    """Write a new text file: complete or not at all. ExistsError where it exists and `overwrite` is not set."""
    if os.path.lexists(path) and not overwrite:
        raise ExistsError(f"{os.fspath(path)}: found an existing file, expected none. Give another name, or overwrite.")
    _replace(Path(path), text.encode("utf-8"), None)


def replace_file(path: str | os.PathLike[str], data: bytes, backup: bool = True) -> str:
    """Replace an existing file atomically, its permissions kept; returns the name of the backup (empty: none).

    The backup lies beside it as `NAME.bak-YYYYmmddHHMMSS` (UTC) and never replaces another one. Neither it nor the
    temporary file keeps the extension: the Field System reads every `*.rxg` of a directory. A symbolic link stays
    one; the file it points to is replaced.
    """
    target = Path(path).resolve()
    if not os.access(target, os.W_OK) or not target.stat().st_mode & 0o222:
        raise DataError(f"{os.fspath(path)}: is not writable. Change its permissions, or work on a copy.")
    saved = _backup(target) if backup else ""
    _replace(target, data, target.stat().st_mode & 0o7777)
    return saved


def _backup(path: Path) -> str:
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    names = [f"{path}.bak-{stamp}", *(f"{path}.bak-{stamp}-{number}" for number in range(1, 100))]
    for name in names:
        try:
            with open(name, "xb") as copy:
                copy.write(path.read_bytes())
                os.fsync(copy.fileno())
        except FileExistsError:
            continue
        except OSError as error:
            raise DataError(f"{name}: no backup could be written: {error.strerror}. Nothing was changed.") from None
        os.chmod(name, path.stat().st_mode & 0o7777)
        return name
    raise ExistsError(f"{path}: found {len(names)} backups of this second, expected none. Try again.")


def _replace(path: Path, data: bytes, mode: int | None) -> None:
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise DataError(f"{path.parent}: cannot be written to: {error.strerror}. Nothing was changed.") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask() if mode is None else mode)
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        raise DataError(f"{path}: cannot be written: {error.strerror}. Nothing was changed.") from None
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
