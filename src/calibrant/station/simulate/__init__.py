"""Simulated station logs with a known truth: `simulate_log` writes a log, the rxg file to calibrate, flux.ctl, truth.

The forward model, for a detector at frequency f, polarisation p and elevation el, in K of antenna temperature:

    off source   Trec_p + Tspill(el) + Tatm (1 - e^(-tau(t) airmass))
    on source    + DPFU_p g(el) [e^(-tau(t) airmass)] F(f) / C(f) * pointing loss
    diode on     + Tcal_p(f)

times a receiver gain that drifts and fluctuates, with radiometer noise for each sample, in counts of the backend.
The Field System's results are computed from those counts, with the values of the (wrong) rxg file, and printed in
its two record forms.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibrant.errors import DataError, ExistsError
from calibrant.station.fluxctl import default_flux
from calibrant.station.rxg import Rxg
from calibrant.station.rxg_edit import format_rxg
from calibrant.station.simulate.log import Writer
from calibrant.station.simulate.model import Options
from calibrant.station.simulate.truth import Truth, make_truth
from calibrant.station.text import write_new

__all__ = ["Options", "SimulatedStation", "Truth", "make_truth", "simulate_log"]


@dataclass(frozen=True)
class SimulatedStation:
    """Where the files are, and what is true in them."""

    log: str
    rxg: str
    flux: str
    truth_file: str
    truth: Truth
    size_bytes: int
    lines: int

    @property
    def scans(self) -> int:
        return len(self.truth.time)


def simulate_log(
    directory: str | os.PathLike[str], options: Options | None = None, *, overwrite: bool = False
) -> SimulatedStation:
    """Write NAME.log, NAME.rxg (the station's assumed values), flux.ctl and truth.json into a directory.

    Everything follows from the options, seed included: the same options give the same bytes. Raises ParameterError
    for options that cannot be, SelectionError where no source is up, ExistsError where a file exists and `overwrite`
    is not set, DataError where the directory cannot be written.
    """
    options = options or Options()
    place = Path(directory)
    names = {name: place / name for name in (f"{options.name}.log", f"{options.name}.rxg", "flux.ctl", "truth.json")}
    existing = [str(path) for path in names.values() if os.path.lexists(path)]
    if existing and not overwrite:
        raise ExistsError(f"{', '.join(existing)}: exist already. Name another directory, or give --overwrite.")
    truth = make_truth(options)
    writer = Writer(truth)
    log, rxg, flux, truth_file = names.values()
    size, lines = _stream(log, writer.blocks())
    write_new(rxg, format_rxg(assumed_rxg(truth, str(rxg)), _rxg_comments(truth)), overwrite)
    write_new(flux, _shipped_flux(), overwrite)
    record = truth.to_dict() | {"vlbi_scans": writer.vlbi_scans}
    write_new(truth_file, json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n", overwrite)
    return SimulatedStation(str(log), str(rxg), str(flux), str(truth_file), truth, size, lines)


def assumed_rxg(truth: Truth, path: str) -> Rxg:
    """The receiver as the station believes it to be."""
    values, band = truth.assumed, truth.band
    return Rxg(
        path, band.kind, band.rxg_lo_mhz, (2023, 11, 2), "frequency", 1.0, ("l", "r"),
        {"l": values.dpfu["l"], "r": values.dpfu["r"]}, values.curve, {"l": values.tcal["l"], "r": values.tcal["r"]},
        {"l": values.trec_k["l"], "r": values.trec_k["r"]}, np.array(band.spill_elevation), np.array(band.spill_k), 3,
    )  # fmt: skip


def _rxg_comments(truth: Truth) -> list[str]:
    wrong = ", ".join(truth.options.wrong) or "nothing"
    return [f"simulated {truth.band.name} band receiver of {truth.options.site.name}; wrong in this file: {wrong}"]


def _shipped_flux() -> str:
    return Path(default_flux.__code__.co_filename).with_name("data").joinpath("flux.ctl").read_text(encoding="ascii")


def _stream(path: Path, blocks: Iterable[str]) -> tuple[int, int]:
    """Write a text that may be large, block by block, under a temporary name and rename; (bytes, lines)."""
    lines = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise DataError(f"{path.parent}: cannot be written to: {error.strerror}. Name another directory.") from None
    try:
        with open(handle, "w", encoding="ascii", newline="\n") as file:
            for block in blocks:
                lines += block.count("\n")
                file.write(block)
        size = os.path.getsize(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return size, lines
