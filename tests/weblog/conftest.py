"""Tests of the report use the made-up run of the tests of figures."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "plots"))
