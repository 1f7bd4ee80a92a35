"""Calibrant calibrates telescopes."""

__version__ = "0.1.0"
