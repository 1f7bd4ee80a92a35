"""Flagging: one flagger per file, known by its name in FLAGGERS."""

from __future__ import annotations

from calibrant.flag.autocorr import Autocorr
from calibrant.flag.clip import Clip
from calibrant.flag.edge import Edge
from calibrant.flag.flagger import Flagger
from calibrant.flag.manual import Manual, Unflag
from calibrant.flag.quack import Quack
from calibrant.flag.shadow import Shadow
from calibrant.flag.zeros import Zeros
from calibrant.registry import Registry

FLAGGERS: Registry[type[Flagger]] = Registry(
    "flagging mode",
    (Manual, Autocorr, Shadow, Quack, Clip, Zeros, Edge, Unflag),
    key=lambda flagger: flagger.mode,
)
