"""setjy: say what the flux calibrators should look like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import FluxModelError, ParameterError
from calibrant.ms.index import MSIndex, open_index
from calibrant.ms.model import (
    KEYWORD,
    ModelAssignment,
    load_model_assignment,
    read_text,
    remove_casa_models,
    write_text,
)
from calibrant.params import DryRun, Field, Intent, Observation, Param, Scan, Spw, Timerange, Vis
from calibrant.sky.model import SourceModel
from calibrant.sky.standards import (
    DEFAULT_STANDARD,
    check_range,
    explain_unknown,
    get_standard,
    source_model,
)
from calibrant.sky.standards import notes as doubts
from calibrant.tasks.models import calibrator_of, j2000_direction

if TYPE_CHECKING:
    from calibrant.ms.selection import Selection
    from calibrant.ms.writer import MSWriter

MANUAL = "manual"
UNITS = {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "thz": 1e12}
MAX_SPIX = 10.0
FROM_STANDARD = -1.0
"""The value of fluxdensity that means: take it from the standard."""


@dataclass(frozen=True)
class ModelSet:
    """One model that was set: stokes (I, Q, U, V) in Jy at `freq` (Hz), the first channel as in CASA."""

    field: int
    field_name: str
    spw: int
    stokes: tuple[float, float, float, float]
    freq: float
    origin: str
    rows: int


@dataclass(frozen=True)
class SetjyResult:
    """What setjy set. `to_dict` has CASA's form; `notes` are sentences on what is doubtful."""

    vis: str
    models: tuple[ModelSet, ...]
    virtual: bool
    notes: tuple[str, ...]
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """{field id: {spw id: {'fluxd': [I, Q, U, V]}, 'fieldName': name}, 'format': ..., 'notes': [...]}."""
        result: dict[str, Any] = {}
        for item in self.models:
            entry = result.setdefault(str(item.field), {"fieldName": item.field_name})
            entry[str(item.spw)] = {"fluxd": list(item.stokes), "freq": item.freq, "model": item.origin}
        result["format"] = "{field Id: {spw Id: {fluxd: [I,Q,U,V] in Jy}, 'fieldName':field name }}"
        result["notes"] = list(self.notes)
        return result

    def summary(self) -> str:
        """A table of the models, where they were written, and the notes."""
        verb = "would set" if self.dry_run else "set"
        place = "virtual models (CALIBRANT_MODEL)" if self.virtual else "MODEL_DATA"
        lines = [f"setjy {verb} {len(self.models)} models in {self.vis}: {place}"]
        shown = 4 if any(value for item in self.models for value in item.stokes[1:]) else 1
        heads = "".join(f" {head:>8}" for head in ("I (Jy)", "Q", "U", "V")[:shown])
        lines.append(f"{'field':>5}  {'name':<16} {'spw':>3} {'GHz':>10}{heads}  model")
        for item in self.models:
            values = "".join(f" {value:>8.5g}" for value in item.stokes[:shown])
            name = item.field_name[:16]
            lines.append(f"{item.field:>5}  {name:<16} {item.spw:>3} {item.freq / 1e9:>10.5f}{values}  {item.origin}")
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


@dataclass(frozen=True)
class Wanted:
    """What to set for one field: the model (manual: the same for all), and the standard and source it is from."""

    model: SourceModel
    standard: str = MANUAL
    source: str = ""
    mjd: float | None = None


def setjy(
    vis: Vis,
    field: Field = "",
    spw: Spw = "",
    intent: Intent = "",
    scan: Scan = "",
    timerange: Timerange = "",
    observation: Observation = "",
    scalebychan: Annotated[bool, Param("A flux for every channel; False: that of the middle of the window.")] = True,
    standard: Annotated[str, Param("The flux standard, or 'manual' with fluxdensity.")] = DEFAULT_STANDARD,
    model: Annotated[str, Param("An image of the source: not supported yet.")] = "",
    fluxdensity: Annotated[
        float | list[float], Param("I or [I,Q,U,V] at reffreq; implies standard='manual'. -1: from the standard.", "Jy")
    ] = -1.0,
    spix: Annotated[
        float | list[float], Param("alpha, or [alpha, beta, ...]: I (nu/reffreq)^(alpha + beta log10(nu/reffreq)).")
    ] = 0.0,
    reffreq: Annotated[str, Param("The frequency of fluxdensity, with its unit.")] = "1GHz",
    usescratch: Annotated[
        bool, Param("Write MODEL_DATA, which CASA reads too; False: a virtual model (fast, Calibrant only).")
    ] = True,
    dry_run: DryRun = False,
) -> SetjyResult:
    """Set the model of calibrators, from a flux standard or by hand.

    A field is matched with the standard's sources by name and position; an unknown one is an error. The last setjy
    on a field wins. Rows of fields without a model get 1 Jy when MODEL_DATA is created, as in CASA.

    Example:
        calibrant setjy obs.ms --field 3C286 --standard "Perley-Butler 2017"
    """
    from calibrant.ms.selection import select

    if model:
        raise ParameterError(f"model={model!r}: image models are not supported yet; leave it empty (point source)")
    if not usescratch and (scan or timerange or observation):
        raise ParameterError(
            "a virtual model holds for a whole field: scan, timerange and observation need usescratch=True"
        )
    by_hand = manual_model(standard, fluxdensity, spix, reffreq)
    index = open_index(vis)
    selection = select(
        index, field=field, spw=spw, intent=intent, scan=scan, timerange=timerange, observation=observation
    )
    wanted = {number: Wanted(by_hand) for number in _fields(index, selection)} if by_hand else {}
    if not by_hand:
        wanted = from_standard(index, selection, standard)
    notes: list[str] = []
    if any(len(chans) < index.spws[number].nchan for number, chans in selection.channels.items()):
        notes.append("the channels named in spw are ignored: a model is set for all channels of a spectral window.")
    changes, models = _changes(index, selection, wanted, scalebychan, notes)
    before = load_model_assignment(index)
    if not dry_run:
        notes += _write(index, selection, before, changes, usescratch)
    siblings = sorted(before.foreign & _siblings(index, set(wanted)))
    if siblings:
        notes.append(f"CASA's virtual models of fields {', '.join(map(str, siblings))} (same SOURCE_ID) go too.")
    return SetjyResult(index.path, tuple(models), not usescratch, tuple(dict.fromkeys(notes)), dry_run)


# ---- what to set ----------------------------------------------------------------------------------------------
def manual_model(
    standard: str, fluxdensity: float | Sequence[float], spix: float | Sequence[float], reffreq: str
) -> SourceModel | None:
    """The model given by hand, or None where the flux is to come from a standard."""
    stokes = [float(value) for value in np.atleast_1d(fluxdensity)]
    if len(stokes) not in (1, 4):
        raise ParameterError(f"fluxdensity is I or [I,Q,U,V]; it has {len(stokes)} numbers")
    given = stokes[0] != FROM_STANDARD
    if given and not stokes[0] > 0:
        raise ParameterError(f"fluxdensity={fluxdensity}: I must be above 0 Jy (-1: from the standard)")
    index = [float(value) for value in np.atleast_1d(spix)]
    if not given:
        if standard == MANUAL:
            raise ParameterError(f"standard='manual' needs fluxdensity=[I,Q,U,V], I above 0 Jy; it is {fluxdensity}")
        if any(index):
            raise ParameterError(f"spix={spix} belongs to fluxdensity; {standard} has its own spectrum")
        return None
    if standard not in (MANUAL, DEFAULT_STANDARD):
        raise ParameterError(f"fluxdensity and standard={standard!r} exclude each other; leave one of them out")
    if index and abs(index[0]) > MAX_SPIX:
        raise ParameterError(f"spix={spix}: a spectral index beyond {MAX_SPIX:g} is refused; is it a flux density?")
    return SourceModel.power_law(stokes, index, frequency(reffreq))


def frequency(text: str) -> float:
    """'1.4GHz' -> Hz. A frame before it ('TOPO 1.4GHz') is accepted; as in CASA's model, it makes no difference."""
    match = re.fullmatch(r"\s*(?:[A-Za-z0-9]+\s+)?([0-9.eE+-]+)\s*([kKmMgGtT]?[hH][zZ])\s*", text)
    try:
        value = float(match[1]) * UNITS[match[2].lower()] if match else 0.0
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ParameterError(f"reffreq={text!r} is not a frequency; write it like '1.4GHz'")
    return value


def from_standard(index: MSIndex, selection: Selection, standard: str) -> dict[int, Wanted]:
    """The calibrator that each selected field is; FluxModelError where one is none."""
    get_standard(standard)
    wanted: dict[int, Wanted] = {}
    unknown: list[int] = []
    for number in _fields(index, selection):
        source = calibrator_of(index, number, standard)
        if source is None:
            unknown.append(number)
            continue
        times = index.time[selection.rows[index.field[selection.rows] == number]]
        mjd = float(times.min() + times.max()) / 2 / 86400
        wanted[number] = Wanted(source_model(standard, source.name, mjd), standard, source.name, mjd)
    if unknown:
        message = str(explain_unknown(standard, index.fields.name[unknown[0]], j2000_direction(index, unknown[0])))
        if wanted:
            known = ", ".join(f"{number} ({index.fields.name[number]})" for number in wanted)
            message += f" Of the selected fields these are: {known}; name them with field."
        raise FluxModelError(message)
    return wanted


def _fields(index: MSIndex, selection: Selection) -> list[int]:
    return [int(number) for number in np.unique(index.field[selection.rows])]


def _siblings(index: MSIndex, fields: set[int]) -> set[int]:
    sources = {int(index.fields.source_id[number]) for number in fields}
    return {n for n, source in enumerate(index.fields.source_id.tolist()) if source in sources} - fields


def _changes(
    index: MSIndex, selection: Selection, wanted: dict[int, Wanted], scalebychan: bool, notes: list[str]
) -> tuple[dict[tuple[int, int], SourceModel], list[ModelSet]]:
    """The model of every selected (field, spectral window), and the same for people."""
    changes: dict[tuple[int, int], SourceModel] = {}
    models = []
    pairs, counts = np.unique(
        np.stack([index.field[selection.rows], index.spw[selection.rows]]), axis=1, return_counts=True
    )
    for (number, spw), rows in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        freq, what = index.spws[spw].freq, wanted[number]
        if what.source:
            check_range(what.standard, what.source, freq)
            notes += doubts(what.standard, what.source, freq, what.mjd)
        model = what.model if scalebychan else replace(what.model, fixed=float(np.median(freq)))
        first = float(model.fixed or freq[0])
        i, q, u, v = model.stokes([first])[0].tolist()
        changes[number, spw] = model
        models.append(ModelSet(number, index.fields.name[number], spw, (i, q, u, v), first, model.origin, rows))
    return changes, models


# ---- writing --------------------------------------------------------------------------------------------------
def _write(
    index: MSIndex,
    selection: Selection,
    before: ModelAssignment,
    changes: dict[tuple[int, int], SourceModel],
    usescratch: bool,
) -> list[str]:
    """The column first, then the keyword: a killed run leaves the old virtual models in force.

    Returns what the writer has to say."""
    from calibrant.ms.writer import MSWriter

    parameters = {key: model.to_dict() for key, model in changes.items()}
    fingerprint = f"{usescratch} {sorted(parameters.items())} rows {len(selection.rows)} {int(selection.rows.sum())}"
    with MSWriter(index.path, task="setjy", fingerprint=fingerprint) as writer:
        if usescratch:
            noted = writer.noted("virtual")
            if noted is None:
                writer.note("virtual", write_text(before))
            else:
                before = replace(before, virtual=read_text(noted, index.path))
            _write_column(index, selection, before, changes, writer)
            after = before.updated(dict.fromkeys(changes))
        else:
            after = before.updated(dict(parameters))
        writer.put_keyword(KEYWORD, write_text(after))
    replaced = before.foreign & {number for number, _ in changes}
    if replaced:
        remove_casa_models(index, replaced)
    return writer.messages


def _write_column(
    index: MSIndex,
    selection: Selection,
    before: ModelAssignment,
    changes: dict[tuple[int, int], SourceModel],
    writer: MSWriter,
) -> None:
    """MODEL_DATA of the selected rows. The writer fills the rest of a new column with the unit model."""
    from calibrant.ms.reader import plan_chunks
    from calibrant.progress import progress

    which, spectra = _rows_to_write(index, selection, before, changes)
    rows = np.flatnonzero(which >= 0)
    writer.ensure_column("MODEL_DATA")
    with progress("setjy", len(rows)) as bar:
        for plan in plan_chunks(index, rows):
            writer.put("MODEL_DATA", plan.rows, spectra[plan.ddid][which[plan.rows]])
            bar.advance(len(plan.rows))


def _rows_to_write(
    index: MSIndex, selection: Selection, before: ModelAssignment, changes: dict[tuple[int, int], SourceModel]
) -> tuple[NDArray[np.int32], dict[int, NDArray[np.complex64]]]:
    """Row -> number in the spectra of its DATA_DESC_ID, -1: leave alone; the spectra (nmodel, nchan, ncorr).

    Rows of a field that were not selected keep the virtual model they had, which from now on stands in the column.
    """
    which = np.full(index.nrow, -1, np.int32)
    chosen = np.zeros(index.nrow, bool)
    chosen[selection.rows] = True
    spectra: dict[int, NDArray[np.complex64]] = {}
    for ddid in np.unique(index.ddid[selection.rows]).tolist():
        spw = int(index.ddid_spw[ddid])
        freq, codes = index.spws[spw].freq, index.polarizations[int(index.ddid_pol[ddid])].corr_type
        found: list[NDArray[np.complex64]] = []
        for (number, other), model in changes.items():
            if other != spw:
                continue
            mine = (index.ddid == ddid) & (index.field == number)
            old = before.spectrum_for(number, spw)
            if old is not None and (mine & ~chosen).any():
                which[mine & ~chosen] = len(found)
                found.append(SourceModel.from_dict(old).visibilities(freq, codes))
            which[mine & chosen] = len(found)
            found.append(model.visibilities(freq, codes))
        spectra[ddid] = np.stack(found)
    return which, spectra
