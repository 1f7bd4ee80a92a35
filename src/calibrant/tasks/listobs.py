"""listobs: what a MeasurementSet contains."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from calibrant import params as p
from calibrant.errors import ExistsError
from calibrant.params import Param

if TYPE_CHECKING:
    from calibrant.ms.listobs import Listing


@dataclass(frozen=True)
class ListobsResult:
    """`listing`: the content as data. `text`: as CASA lists it. listfile: where the text was written, or ''."""

    listing: Listing
    text: str
    listfile: str = ""

    def summary(self) -> str:
        return f"written to {self.listfile}" if self.listfile else self.text

    def to_dict(self) -> dict[str, Any]:
        """CASA's layout: scan_N -> {subscan -> ...}, field_N, nfields, BeginTime, EndTime, ... (days of MJD)."""
        return self.listing.to_dict()


def listobs(
    vis: p.Vis,
    spw: p.Spw = "",
    field: p.Field = "",
    antenna: p.Antenna = "",
    uvrange: p.Uvrange = "",
    timerange: p.Timerange = "",
    correlation: p.Correlation = "",
    scan: p.Scan = "",
    intent: p.Intent = "",
    array: Annotated[str, Param("Subarray ids: '0,2~3'.")] = "",
    observation: p.Observation = "",
    verbose: Annotated[bool, Param("List scans, sources and antenna positions too.")] = True,
    listfile: Annotated[str, Param("Write the listing to this file instead of showing it. Empty: show it.")] = "",
    overwrite: p.Overwrite = False,
) -> ListobsResult:
    """List what a MeasurementSet contains: observation, scans with intents, fields, spectral windows, antennas.

    Only ids and times are read, no visibilities. With a selection, the rows selected are listed and counted.

    Example:
        calibrant listobs obs.ms --intent '*BANDPASS*' --listfile bandpass.txt
    """
    from calibrant.ms.index import open_index
    from calibrant.ms.listobs import read_listing
    from calibrant.ms.listobs_text import listing_text
    from calibrant.ms.selection import select

    if listfile and os.path.exists(listfile) and not overwrite:
        raise ExistsError(f"{listfile} exists; give overwrite=True to replace it, or another listfile")
    index = open_index(vis)
    wanted = {
        "spw": spw, "field": field, "antenna": antenna, "uvrange": uvrange, "timerange": timerange, "scan": scan,
        "correlation": correlation, "intent": intent, "array": array, "observation": observation,
    }  # fmt: skip
    rows = select(index, **wanted).rows if any(text.strip() for text in wanted.values()) else None
    listing = read_listing(index, rows)
    text = listing_text(listing, verbose)
    if listfile:
        _write(listfile, text)
    return ListobsResult(listing, text, listfile)


def _write(path: str, text: str) -> None:
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.tmp-{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    os.rename(temporary, path)
