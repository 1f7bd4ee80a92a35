"""Parameters that several acquisition verbs share, each declared once."""

from __future__ import annotations

from typing import Annotated

from calibrant.params import Param

INVENTORY = "lvm"
SequenceName = Annotated[
    str, Param("A sequence: its name (normal, full, testcal, demo, ...), or a JSON or YAML file.", positional=True)
]
InventoryName = Annotated[str, Param("The observatory: the name of a shipped inventory (lvm, sim, ...), or its file.")]
Slew = Annotated[bool, Param("Point before the first lamp.")]
Park = Annotated[bool, Param("Park at the end.")]
