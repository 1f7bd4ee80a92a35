"""One run per inventory: a lock that the kernel lets go when the process dies, and that says who holds it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calibrant.acquire.devices import DeviceBusy
from calibrant.errors import DataError

STATE_VARIABLE = "CALIBRANT_STATE"
TRIES = 4
BETWEEN_TRIES_S = 0.03


def state_directory(given: str | Path = "") -> Path:
    """Where locks lie: as given, $CALIBRANT_STATE, $XDG_STATE_HOME/calibrant, or ~/.local/state/calibrant."""
    if given:
        return Path(given)
    if os.environ.get(STATE_VARIABLE):
        return Path(os.environ[STATE_VARIABLE])
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "calibrant"


@dataclass(frozen=True)
class Holder:
    """Who holds a lock."""

    run: str
    directory: str
    pid: int
    host: str
    since: float

    @classmethod
    def here(cls, run: str, directory: str | Path) -> Holder:
        return cls(run, str(Path(directory).resolve()), os.getpid(), socket.gethostname(), round(time.time(), 3))

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"run {self.run} in {self.directory}, process {self.pid} on {self.host}, since {since}"


class Lock:
    """A locked file with its holder's name in it. Held until `release`, or until the process ends, however."""

    def __init__(self, path: str | Path, holder: Holder, what: str) -> None:
        """Take it. DeviceBusy names the holder where somebody else has it."""
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataError(f"{self.path}: the lock cannot be made: {error.strerror}") from error
        if not self._take():
            os.close(self._file)
            held = _holder(self.path)
            where = f" {held.directory}" if held else ""
            raise DeviceBusy(
                f"{what} is in use by {held or 'somebody else'}; look with 'calibrant acquire status{where}', "
                f"end it with 'calibrant acquire abort{where}'"
            )
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(asdict(holder)).encode(), 0)

    def _take(self) -> bool:
        """A few tries: somebody who only looks at the holder (`holder_of`) has the lock for a moment, too."""
        for _ in range(TRIES):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    os.close(self._file)
                    raise DataError(f"{self.path}: no lock on this file system: {error.strerror}") from error
            time.sleep(BETWEEN_TRIES_S)
        return False

    def fileno(self) -> int:
        """For a child that is to hold the lock on: it is free when the last of the two has ended."""
        return self._file

    def release(self) -> None:
        """Let it go; the file stays, since unlinking it would let two in."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1


def holder_of(path: str | Path) -> Holder | None:
    """Who holds the lock now, None where nobody does."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _holder(Path(path)) or Holder("?", str(Path(path).parent), 0, "?", 0.0)
    finally:
        os.close(handle)
    return None


def _holder(path: Path) -> Holder | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Holder(**content)
    except (OSError, ValueError, TypeError):
        return None
