"""Tests of figures share the made-up run in fabricated_run.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
