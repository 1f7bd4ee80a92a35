"""Subtables of a split MeasurementSet: rows selected, ids renumbered, channels averaged as in MAIN."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.tables import open_subtable

if TYPE_CHECKING:
    from calibrant.ms.split import SplitPlan


def renumber(kept: NDArray[np.int64], size: int) -> NDArray[np.int32]:
    """Old id -> new id, -1 for those not kept; the last entry (old id -1) stays -1."""
    table = np.full(max(size, int(kept.max(initial=-1)) + 1) + 1, -1, np.int32)
    table[kept] = np.arange(len(kept))
    return table


def adapt_subtables(plan: SplitPlan, place: str) -> None:
    """Select, renumber and average in the copied subtables at `place`. FLAG_CMD is emptied: it names old ids."""
    ids = plan.ids
    _adapt_spw_ids(plan, place)
    _adapt_spectral_windows(plan, place)
    _keep_rows(place, "DATA_DESCRIPTION", ids.ddids)
    _map_column(place, "DATA_DESCRIPTION", "SPECTRAL_WINDOW_ID", renumber(ids.spws, 0))
    _map_column(place, "DATA_DESCRIPTION", "POLARIZATION_ID", renumber(ids.pols, 0))
    _adapt_polarizations(plan, place)
    _adapt_fields(plan, place)
    _keep_rows(place, "FLAG_CMD", np.zeros(0, np.int64))


def _keep_rows(place: str, name: str, kept: NDArray[np.int64]) -> None:
    tab = open_subtable(place, name, writable=True)
    gone = np.setdiff1d(np.arange(tab.nrows()), kept)
    if len(gone):
        tab.removerows(gone.tolist())
    tab.close()


def _map_column(place: str, name: str, column: str, table: NDArray[np.int32]) -> None:
    tab = open_subtable(place, name, writable=True)
    if tab.nrows():
        tab.putcol(column, table[tab.getcol(column)])
    tab.close()


def _adapt_spw_ids(plan: SplitPlan, place: str) -> None:
    """In every subtable with a SPECTRAL_WINDOW_ID: drop rows of other spws, renumber, follow channels in SYSCAL."""
    nspw = len(plan.index.spws)
    table = renumber(plan.ids.spws, nspw)
    for name in sorted(os.listdir(place)):
        if name == "DATA_DESCRIPTION" or not os.path.exists(os.path.join(place, name, "table.dat")):
            continue
        tab = open_subtable(place, name)
        has = "SPECTRAL_WINDOW_ID" in tab.colnames() and tab.nrows() > 0
        spw = np.asarray(tab.getcol("SPECTRAL_WINDOW_ID")) if has else np.zeros(0, np.int64)
        tab.close()
        if not has or spw.ndim != 1:
            continue
        known = (spw < 0) | (table[np.clip(spw, -1, nspw)] >= 0)
        _keep_rows(place, name, np.flatnonzero(known))
        _map_column(place, name, "SPECTRAL_WINDOW_ID", table)
        if name == "SYSCAL":
            _average_syscal(plan, place, spw[known])


def _average_syscal(plan: SplitPlan, place: str, spw: NDArray[np.int64]) -> None:
    """*_SPECTRUM of SYSCAL (receptor, channel on disk; channel first here) with the channels of the output."""
    tab = open_subtable(place, "SYSCAL", writable=True)
    columns = [name for name in tab.colnames() if name.endswith("_SPECTRUM")]
    for number, bins in plan.bins.items():
        nchan = plan.index.spws[number].nchan
        if bins.width == 1 and bins.nbin == nchan:
            continue
        for row in np.flatnonzero(spw == number).tolist():
            for column in columns:
                if tab.iscelldefined(column, row) and len(cell := tab.getcell(column, row)) == nchan:
                    tab.putcell(column, row, cell[bins.index].mean(axis=1).astype(cell.dtype))
    tab.close()


def average_windows(plan: SplitPlan, spw: int) -> dict[str, Any]:
    """The cells of SPECTRAL_WINDOW that follow from the channels chosen: frequencies and widths in Hz."""
    window, bins = plan.index.spws[spw], plan.bins[spw]
    freq, width = window.freq[bins.index], window.width[bins.index]
    # weighted with the widths: the frequency that the average of unequal channels stands for
    share = np.abs(width) / np.abs(width).sum(axis=1, keepdims=True)
    centre = freq[:, 0] if bins.width == 1 else (freq * share).sum(axis=1)
    return {
        "NUM_CHAN": bins.nbin,
        "CHAN_FREQ": centre,
        "CHAN_WIDTH": width.sum(axis=1),
        "EFFECTIVE_BW": window.effective_bw[bins.index].sum(axis=1),
        "RESOLUTION": window.resolution[bins.index].sum(axis=1),
        "REF_FREQUENCY": float(centre[0]),
        "TOTAL_BANDWIDTH": float(np.abs(width).sum()),
    }


def _adapt_spectral_windows(plan: SplitPlan, place: str) -> None:
    table = renumber(plan.ids.spws, len(plan.index.spws))
    _keep_rows(place, "SPECTRAL_WINDOW", plan.ids.spws)
    tab = open_subtable(place, "SPECTRAL_WINDOW", writable=True)
    columns = tab.colnames()
    for row, spw in enumerate(plan.ids.spws.tolist()):
        bins = plan.bins[spw]
        if bins.width > 1 or bins.nbin < plan.index.spws[spw].nchan:
            for name, value in average_windows(plan, spw).items():
                tab.putcell(name, row, value)
        if "ASSOC_SPW_ID" in columns and tab.iscelldefined("ASSOC_SPW_ID", row):
            _adapt_associates(tab, row, table)
    tab.close()


def _adapt_associates(tab: Any, row: int, table: NDArray[np.int32]) -> None:
    """ASSOC_SPW_ID names other spws: renumber, and forget those that are gone (with their ASSOC_NATURE)."""
    old = np.atleast_1d(tab.getcell("ASSOC_SPW_ID", row))
    inside = (old >= 0) & (old < len(table) - 1)
    new = np.where(inside, table[np.where(inside, old, -1)], -1)
    tab.putcell("ASSOC_SPW_ID", row, new[new >= 0].astype(np.int32))
    if "ASSOC_NATURE" in tab.colnames() and tab.iscelldefined("ASSOC_NATURE", row):
        nature = tab.getcell("ASSOC_NATURE", row)
        words = nature["array"] if isinstance(nature, dict) else list(nature)
        if len(words) == len(new):
            tab.putcell("ASSOC_NATURE", row, [word for word, number in zip(words, new, strict=True) if number >= 0])


def _adapt_polarizations(plan: SplitPlan, place: str) -> None:
    _keep_rows(place, "POLARIZATION", plan.ids.pols)
    tab = open_subtable(place, "POLARIZATION", writable=True)
    for row, pol in enumerate(plan.ids.pols.tolist()):
        corrs, old = plan.correlations[pol], plan.index.polarizations[pol]
        tab.putcell("NUM_CORR", row, len(corrs))
        tab.putcell("CORR_TYPE", row, old.corr_type[corrs])
        tab.putcell("CORR_PRODUCT", row, old.product[corrs])
    tab.close()


def _adapt_fields(plan: SplitPlan, place: str) -> None:
    """FIELD and SOURCE: rows kept and renumbered. Virtual models (SOURCE_MODEL) hold old ids: left out."""
    sources = renumber(plan.ids.sources, int(plan.index.fields.source_id.max(initial=-1)) + 1)
    _keep_rows(place, "FIELD", plan.ids.fields)
    _map_column(place, "FIELD", "SOURCE_ID", sources)
    if not os.path.isdir(os.path.join(place, "SOURCE")):
        return
    tab = open_subtable(place, "SOURCE", writable=True)
    old = np.asarray(tab.getcol("SOURCE_ID")) if tab.nrows() else np.zeros(0, np.int64)
    if "SOURCE_MODEL" in tab.colnames():
        tab.removecols("SOURCE_MODEL")
    tab.close()
    _keep_rows(place, "SOURCE", np.flatnonzero(np.isin(old, plan.ids.sources)))
    _map_column(place, "SOURCE", "SOURCE_ID", sources)
