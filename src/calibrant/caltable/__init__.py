"""Calibration tables: solutions in memory (`table`), CASA's tables on disk (`casa`), interpolation (`interpolate`)."""
