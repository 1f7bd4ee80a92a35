"""importuvfits: a UVFITS file becomes a MeasurementSet, with the ids, names and weights of CASA's importuvfits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.params import DryRun, Overwrite, Param, check_choices, provenance
from calibrant.progress import progress

SCAN_GAP = 300.0
"""A new scan starts after so many seconds without data (CASA's rule)."""


@dataclass(frozen=True)
class ImportResult:
    """What was imported (or would be, after a dry run). flagged: fraction of visibilities, None after a dry run."""

    fitsfile: str
    vis: str
    telescope: str
    nrow: int
    nscan: int | None
    antennas: list[str]
    fields: list[str]
    spws: list[dict[str, float]]
    correlations: list[str]
    flagged: float | None
    notes: list[str]

    def summary(self) -> str:
        done = "would become" if self.flagged is None else "became"
        lines = [
            f"{self.fitsfile} {done} {self.vis}: {self.telescope}, {self.nrow} rows"
            + ("" if self.nscan is None else f" in {self.nscan} scans"),
            f"  {len(self.antennas)} antennas, {len(self.fields)} fields ({', '.join(self.fields[:8])}), "
            f"{' '.join(self.correlations)}",
        ]
        lines += [
            f"  spw {number}: {spw['nchan']:.0f} channels of {spw['width_hz'] / 1e3:.3f} kHz "
            f"at {spw['centre_hz'] / 1e6:.4f} MHz"
            for number, spw in enumerate(self.spws)
        ]
        if self.flagged is not None:
            lines.append(f"  flagged in the file: {100 * self.flagged:.2f} %")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


def importuvfits(
    fitsfile: Annotated[str, Param("The UVFITS file, plain or gzipped.", positional=True)],
    vis: Annotated[str, Param("The MeasurementSet to make.", positional=True)],
    antnamescheme: Annotated[
        str,
        Param("Antenna names: 'old' numbers, 'new' VA01 (VLA), EA01 (EVLA), CA1 (CARMA).", choices=("old", "new")),
    ] = "old",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> ImportResult:
    """Make a MeasurementSet of a random-groups UVFITS file (multi-source or single-source).

    Every group becomes one row for each IF. Weights that are not positive are flags; WEIGHT_SPECTRUM holds the file's
    weights, WEIGHT their mean over channels (the weight of one channel; CASA writes the sum, with which
    WEIGHT and WEIGHT_SPECTRUM contradict each other), SIGMA = 1/sqrt(WEIGHT). Autocorrelations are kept.
    A scan ends where source or frequency id changes, or after 300 s without data.
    Raises FormatError (malformed or truncated file: HDU, keyword or byte), ExistsError, MeasurementSetError.

    Example:
        calibrant importuvfits NGC5921.fits.gz ngc5921.ms --antnamescheme new
    """
    from calibrant.ms.create import check_output, create_ms
    from calibrant.ms.index import Observation
    from calibrant.ms.uvfits import open_uvfits

    check_choices(importuvfits, {"antnamescheme": antnamescheme})
    with open_uvfits(fitsfile, antnamescheme) as uv:
        if dry_run:
            return _result(uv, vis, None, None)
        check_output(vis, overwrite)
        history = [provenance(importuvfits, {"fitsfile": fitsfile, "vis": vis, "antnamescheme": antnamescheme})]
        with create_ms(
            vis,
            antennas=uv.antennas.antennas,
            antenna_offset=uv.antennas.offset,
            fields=uv.sources.fields,
            sources=_sources(uv),
            spws=uv.spws,
            polarizations=[uv.polarization],
            ddids=[(spw.id, 0) for spw in uv.spws],
            observations=[Observation(uv.telescope, uv.observer, "", np.zeros(2))],
            nrow=uv.ngroup * uv.nif,
            weight_spectrum=True,
            direction_frame=uv.sources.frame,
            history=[*uv.history, *history],
            overwrite=overwrite,
        ) as new:
            _finish_subtables(new.path, uv)
            nscan, flagged = _put_groups(new, uv)
        return _result(uv, vis, nscan, flagged / (uv.ngroup * uv.nif * uv.spws[0].nchan * len(uv.stokes)))


def _put_groups(new: Any, uv: Any) -> tuple[int, int]:
    """Copy all groups; (number of scans, of flagged visibilities)."""
    scans, flagged = ScanNumbers(), 0
    with progress("importuvfits", uv.ngroup) as bar:
        for block in uv.blocks():
            new.put_rows(block.first * uv.nif, _rows(block, scans.number(block), uv.nif))
            flagged += int(np.count_nonzero(block.flag))
            bar.advance(len(block))
    return scans.total, flagged


def _rows(block: Any, scan: NDArray[np.int32], nif: int) -> dict[str, NDArray[Any]]:
    """MAIN columns of a block: the IFs of a group are consecutive rows."""
    shape = (len(block) * nif, *block.data.shape[2:])
    per_group = {
        "TIME": block.time, "INTERVAL": block.exposure, "UVW": block.uvw, "ANTENNA1": block.ant1,
        "ANTENNA2": block.ant2, "ARRAY_ID": block.array, "FIELD_ID": block.source, "SCAN_NUMBER": scan,
    }  # fmt: skip
    rows = {name: np.repeat(values, nif, axis=0) for name, values in per_group.items()}
    rows["DATA_DESC_ID"] = (block.freqsel[:, None] * nif + np.arange(nif)).ravel()
    rows["WEIGHT"] = block.weight.mean(2).reshape(shape[0], shape[2])
    return rows | {
        "DATA": block.data.reshape(shape),
        "FLAG": block.flag.reshape(shape),
        "WEIGHT_SPECTRUM": block.weight.reshape(shape),
    }


class ScanNumbers:
    """Numbers scans from 1, in each subarray for itself, over blocks of groups in file order."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, int, float]] = {}
        self._number: dict[int, int] = {}

    @property
    def total(self) -> int:
        return sum(self._number.values())

    def number(self, block: Any) -> NDArray[np.int32]:
        """Scan number of every group of `block`."""
        scan = np.zeros(len(block), np.int32)
        for array in np.unique(block.array).tolist():
            mine = block.array == array
            source, freqsel, time = block.source[mine], block.freqsel[mine], block.time[mine]
            last = self._last.get(array, (-1, -1, -np.inf))
            changed = np.diff(source, prepend=last[0]) != 0
            changed |= np.diff(freqsel, prepend=last[1]) != 0
            changed |= np.diff(time, prepend=last[2]) > SCAN_GAP
            scan[mine] = self._number.get(array, 0) + np.cumsum(changed)
            self._last[array] = (int(source[-1]), int(freqsel[-1]), float(time[-1]))
            self._number[array] = int(scan[mine][-1])
        return scan


def _sources(uv: Any) -> list[Any]:
    """One SOURCE row for each field and spectral window."""
    from calibrant.ms.create_subtables import Source

    fields, table = uv.sources.fields, uv.sources
    return [
        Source(
            row, fields.name[row], fields.direction[row], fields.code[row], spw.id,
            rest_frequency=(float(table.rest_frequency[row, spw.id % uv.nif]),),
            sysvel=(float(table.velocity[row, spw.id % uv.nif]),),
        )
        for row in np.flatnonzero(table.present).tolist()
        for spw in uv.spws
    ]  # fmt: skip


def _finish_subtables(path: str, uv: Any) -> None:
    """What a new MS does not have by default: receptor angles, flagged gaps, the file's time system."""
    from calibrant.ms.tables import open_subtable
    from calibrant.ms.uvfits import set_time_system

    feed = open_subtable(path, "FEED", writable=True)
    feed.putcol("RECEPTOR_ANGLE", uv.antennas.receptor_angle)
    feed.close()
    for name, present in (("ANTENNA", uv.antennas.present), ("FIELD", uv.sources.present)):
        table = open_subtable(path, name, writable=True)
        table.putcol("FLAG_ROW", ~present)
        table.close()
    set_time_system(path, uv.antennas.time_system)


def _result(uv: Any, vis: str, nscan: int | None, flagged: float | None) -> ImportResult:
    spws = [
        {"nchan": float(spw.nchan), "width_hz": float(spw.width[0]), "centre_hz": float(spw.freq.mean())}
        for spw in uv.spws
    ]
    return ImportResult(
        uv.path, vis, uv.telescope, uv.ngroup * uv.nif, nscan, uv.antennas.antennas.name, uv.sources.fields.name,
        spws, uv.polarization.names, flagged, uv.notes,
    )  # fmt: skip
