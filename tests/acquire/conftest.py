"""Fixtures of the acquisition tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from servers import clu_world, indi_servers

__all__ = ["clu_world", "indi_servers"]
