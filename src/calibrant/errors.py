"""Every error that a user can cause or meet, as one tree.

    CalibrantError                 base; the CLI prints its message and exits with 1, no traceback
     ├─ ParameterError             a parameter's value cannot be used
     ├─ SelectionError             selection syntax is wrong, or nothing is selected
     ├─ ExistsError                an output exists and overwriting was not asked for
     ├─ DataError                  a file or table is not what it should be
     │   ├─ MeasurementSetError    missing column or subtable, truncated, unreadable, read-only
     │   │   └─ LockedError        somebody else holds the table
     │   ├─ CalTableError          a calibration table cannot be read, or does not fit the data
     │   └─ FormatError            a file of another format is malformed (names file and place)
     ├─ ServerError                a telescope or catalogue does not answer, or not as it should
     ├─ FluxModelError             no flux model for this source, standard or frequency
     ├─ SolveError                 no solution at all could be found
     └─ DeviceError                an instrument is lost, busy, refuses, or does not answer (kinds: `acquire.devices`)

A message says which file and field, what was found, what was expected, and what to do.
A single solution that fails is not an error but an outcome (`calibrant.solve.outcome`).
"""

from __future__ import annotations


class CalibrantError(Exception):
    """Base of all errors meant for the user. `exit_code` is what the command line returns."""

    exit_code = 1


class ParameterError(CalibrantError):
    """A parameter's value cannot be used."""


class SelectionError(CalibrantError):
    """Selection syntax is wrong, or nothing is selected."""


class ExistsError(CalibrantError):
    """An output exists and overwriting was not asked for."""


class DataError(CalibrantError):
    """A file or table is not what it should be."""


class MeasurementSetError(DataError):
    """A MeasurementSet lacks a column or subtable, is truncated, unreadable or read-only."""


class LockedError(MeasurementSetError):
    """Another process holds the table."""


class CalTableError(DataError):
    """A calibration table cannot be read, or does not fit the data."""


class FormatError(DataError):
    """A file is malformed; the message names the file and the place."""


class ServerError(CalibrantError):
    """A server does not answer, or not as it should: the message names the call, the answer and what to do.

    `status` is the HTTP status of the answer, 0 where none came: then nobody knows whether the call was carried out.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class FluxModelError(CalibrantError):
    """There is no flux model for this source, standard or frequency."""


class SolveError(CalibrantError):
    """No solution at all could be found."""


class DeviceError(CalibrantError):
    """An instrument is lost, busy, refuses, or does not answer; the message names it and what to do."""
