"""One calibration at a time: a lock file beside what is being changed, for the whole job."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from calibrant.errors import LockedError, MeasurementSetError

SUFFIX = ".calibrant-lock"
"""The writer locks the MeasurementSet itself for every task; this file is held across tasks."""


@contextlib.contextmanager
def held(path: str) -> Iterator[None]:
    """Hold `<path>.calibrant-lock`; the file goes at the end. LockedError at once where another process holds it.

    A file left by a killed process is no lock. A path whose folder is not there yet is not locked."""
    name = os.path.realpath(path) + SUFFIX
    if not os.path.isdir(os.path.dirname(name)):
        yield
        return
    handle = _take(name, path)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        os.close(handle)


def _take(name: str, path: str) -> int:
    while True:
        try:
            handle = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            why = f"{name} cannot be written ({error.strerror}); is its folder read-only?"
            raise MeasurementSetError(why) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise LockedError(f"{path} is being calibrated by another calibrant calibrate; wait for its end") from None
        except OSError:
            return handle  # file systems without flock: the writer's own lock remains
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(name)):
                return handle
        os.close(handle)  # removed by its holder between our opening and locking it
