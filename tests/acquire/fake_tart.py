"""The simulated telescope with a clock of its own for visibilities, and raw files as the real server has them."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "allsky"))
import fabricated_array as made

from calibrant.simulation.tart_api import FakeTelescope

PASSWORD = made.PASSWORD


@dataclass
class FakeTart(FakeTelescope):
    """New visibilities every `period_s` in the modes that see; a raw file as often in mode raw."""

    content: dict[str, Any] = field(default_factory=made.content)
    password: str = PASSWORD
    period_s: float = 0.1
    exponents: dict[str, int] = field(default_factory=lambda: {"raw": 20, "vis": 24})
    saving: bool = False
    stubborn: bool = False
    """Does not change its mode, and says that it does."""
    spoil: str = ""
    """truncate or exchange: what becomes of raw files on the way."""
    keep: int = 10
    modes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._files: dict[str, bytes] = {}
        self._since = time.monotonic()
        self._ticks = 0

    def tick(self) -> None:
        """What has happened since it was asked last."""
        new = int((time.monotonic() - self._since) / self.period_s) - self._ticks
        self._ticks += new
        if self.mode in ("vis", "vis_save"):
            self._served += new
        for _ in range(new if self.mode == "raw" and self.saving else 0):
            name = f"raw/2026/11/21/data_{len(self._files):06d}.hdf"
            self._files[name] = b"\x89HDF\r\n\x1a\n" + bytes(2 ** self.exponents["raw"] // 64) + name.encode()

    @property
    def listed(self) -> list[dict[str, Any]]:
        """The newest raw files, as the server lists them."""
        return [
            {"filename": name, "checksum": hashlib.sha256(content).hexdigest(), "timestamp": name[-11:-4]}
            for name, content in list(self._files.items())[-self.keep :]
        ]

    def _visibilities(self) -> Any:
        frozen, self.frozen = self.frozen, True
        try:
            return super()._visibilities()
        finally:
            self.frozen = frozen

    def _read(self, path: str) -> Any:
        self.tick()
        words = path.split("/")
        if path == "raw/data":
            return 200, self.listed
        if words[0] == "acquire" and words[2] == "num_samples_exp":
            return 200, {"N_samples_exp": self.exponents[words[1]]}
        if path in self._files:
            content = self._files[path]
            return 200, {"": content, "truncate": content[:-1], "exchange": content + b"x"}[self.spoil]
        return super()._read(path)

    def _write(self, method: str, path: str, body: Any) -> Any:
        self.tick()
        words = path.split("/")
        if method == "PUT" and words[0] == "acquire":
            if words[2] == "save":
                self.saving = words[3] == "1"
                return 200, {"save": int(self.saving)}
            # As the real one: silent about what it cannot do.
            if 16 <= int(words[3]) <= 24:
                self.exponents[words[1]] = int(words[3])
            return 200, {"N_samples_exp": self.exponents[words[1]]}
        if method == "POST" and words[0] == "mode":
            self.modes.append(words[1])
            if self.stubborn:
                return 200, {"mode": words[1]}
        return super()._write(method, path, body)
