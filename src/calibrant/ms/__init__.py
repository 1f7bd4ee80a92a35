"""MeasurementSets (version 2) through python-casacore: index, selection, reading, writing."""
