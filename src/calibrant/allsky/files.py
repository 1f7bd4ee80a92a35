"""Files of this package: JSON read with a word on what was expected, outputs whole or not at all."""

from __future__ import annotations

import json
import os
from typing import Any

from calibrant.errors import ExistsError, FormatError, ParameterError


def load_json(path: str, expected: str) -> Any:
    """The content of a JSON file; FormatError says what was `expected` where it is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise FormatError(f"{path}: is no JSON ({error}); expected {expected}") from None


def check_output(path: str, overwrite: bool) -> None:
    """Say before the work, not after it, that an output cannot be written; an empty path is no output.

    Raises ExistsError for a file that is in the way, ParameterError where there is no folder for it.
    """
    if not path:
        return
    if os.path.isdir(path):
        raise ParameterError(f"{path}: is a folder; give the name of a file in it")
    if os.path.exists(path) and not overwrite:
        raise ExistsError(f"{path} exists; give another name or --overwrite")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ParameterError(f"{path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise ParameterError(f"{path}: nothing can be written in {folder}; give another place")


def write_bytes(path: str, content: bytes, overwrite: bool) -> str:
    """Write through a temporary name in the same folder, so that there is never half a file; returns the path."""
    check_output(path, overwrite)
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}.tmp-{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename, error.filename2 = path, None  # the user's name for it, not ours
        raise
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return path


def write_json(path: str, content: Any, overwrite: bool) -> str:
    """As `write_bytes`; nan is refused, as it is no JSON."""
    return write_bytes(path, f"{json.dumps(content, indent=1, allow_nan=False)}\n".encode(), overwrite)
