"""Calibration tables applied to data, on the fly or for good: opened, matched to rows, folded into one factor.

A `Chain` answers, for the rows of a chunk, three small arrays over (slot, antenna, channel, receptor): the inverse
of the product of all Jones terms, the factors of the weights, and which of them are flagged. A slot is a distinct
(time, field) of the chunk, so the arrays are tiny against the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import CalTableError, ParameterError, SelectionError
from calibrant.ms.index import MSIndex

if TYPE_CHECKING:
    from calibrant.caltable.table import CalTable, SpwSolutions
    from calibrant.jones import JonesTerm


WHOLE_SIZE = 1 << 18
"""Times x antennas up to which gains that do not depend on frequency are kept for the whole observation."""


@dataclass(frozen=True)
class Factors:
    """slot (nrow,): slot of every row. inverse (nslot, nant, 1 or nchan, 2) complex64: 1/J. weight (nslot, nant, 2)
    float32. spectrum (nslot, nant, nchan, 2) float32 or None: weight factors by channel of terms that have them.
    bad (nslot, nant, 1 or nchan, 2): solution flagged."""

    slot: NDArray[np.int64]
    inverse: NDArray[np.complex64]
    weight: NDArray[np.float32]
    spectrum: NDArray[np.float32] | None
    bad: NDArray[np.bool_]


@dataclass
class AppliedTable:
    """One table with how it is applied: fields of its solutions, interpolation, spw map, weights."""

    path: str
    table: CalTable
    term: JonesTerm
    gainfield: str
    time_interp: str
    freq_interp: str
    spwmap: list[int]
    calwt: bool
    notes: list[str] = field(default_factory=list)
    _prepared: dict[tuple[int, int], Prepared | None] = field(default_factory=dict, repr=False)

    def table_spw(self, spw: int) -> int:
        """The table's spectral window for the data's."""
        if self.term.every_spw:
            return min(self.table.spws)
        if not self.spwmap or self.spwmap == [-1]:
            return spw
        return self.spwmap[0] if len(self.spwmap) == 1 else self.spwmap[spw]

    def covers(self, spw: int) -> bool:
        """Whether the table has solutions for this spectral window of the data."""
        return self.table_spw(spw) in self.table.spws

    def fields_for(self, index: MSIndex, field_id: int) -> list[int] | None:
        """Ids of the table's fields whose solutions serve this field of the data; None: all."""
        if self.gainfield == "":
            return None
        if self.gainfield == "nearest":
            return [self._nearest(index, field_id)]
        return self._named()

    def _named(self) -> list[int]:
        from calibrant.ms.selection import match_fields

        # names and ids of the table: those of the MS differ where it was split off
        wanted = match_fields(self.table.field_names, [], self.gainfield)
        present = set(self.table.fields)
        if not present & set(wanted) and -1 not in present:
            names = ", ".join(f"{self.table.field_names[f]} ({f})" for f in sorted(present))
            raise SelectionError(f"gainfield {self.gainfield!r}: {self.path} has no solutions of it; it has {names}")
        return wanted if -1 not in present else sorted({*wanted, -1})

    def _nearest(self, index: MSIndex, field_id: int) -> int:
        present = [f for f in self.table.fields if f >= 0]
        if not present:
            return -1
        cosine = _unit(self.table.field_direction[present]) @ _unit(index.fields.direction[[field_id]])[0]
        best = np.flatnonzero(cosine >= cosine.max() - 1e-12)
        if len(best) > 1:
            names = ", ".join(self.table.field_names[present[k]] for k in best)
            raise SelectionError(f"gainfield 'nearest': {names} in {self.path} are equally near; name one of them")
        return present[int(best[0])]


def _unit(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (n, 3) of directions (n, 2), rad."""
    ra, dec = direction[:, 0], direction[:, 1]
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


@dataclass(frozen=True)
class Prepared:
    """Solutions of one table for a (spw, field) of the data: `own` on the table's channels, `on_data` on the data's."""

    own: SpwSolutions
    on_data: SpwSolutions | None
    constant: bool
    scale: float

    def at(
        self, times: NDArray[np.float64], freq: NDArray[np.float64], applied: AppliedTable
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(param, flag) at `times` on the data's channels."""
        from calibrant.caltable.interpolate import interpolate, interpolate_time

        if self.on_data is None:
            return interpolate(self.own, times, freq, (applied.time_interp, applied.freq_interp), self.scale)
        return interpolate_time(self.on_data, times, applied.time_interp, self.scale)


class Chain:
    """The tables of `gaintable`, in their physical order, to be applied in a solve or for good.
    spectral_weights: weights have a frequency axis, so Tsys acts on them by channel (B by its mean, as in CASA)."""

    def __init__(self, index: MSIndex, tables: Sequence[AppliedTable], spectral_weights: bool = False) -> None:
        self.index = index
        self.tables = sorted(tables, key=lambda t: t.term.order)
        self._spectral_weights = spectral_weights
        self._whole: dict[tuple[int, int], Factors | None] = {}

    def __bool__(self) -> bool:
        return bool(self.tables)

    def missing(self, spw: int) -> list[str]:
        """Paths of the tables that have no solutions for this spectral window."""
        return [t.path for t in self.tables if not t.covers(spw)]

    @property
    def notes(self) -> list[str]:
        return sorted({note for t in self.tables for note in t.notes})

    def prepare(self, rows: NDArray[np.int64]) -> None:
        """Choose the solutions for all these rows now, so that a gainfield that does not fit is told before anything
        is written (SelectionError)."""
        key = self.index.spw[rows].astype(np.int64) * len(self.index.fields) + self.index.field[rows]
        for spw, field_id in (divmod(int(k), len(self.index.fields)) for k in np.unique(key)):
            for applied in self.tables:
                if applied.covers(spw):
                    self._prepare(applied, spw, field_id)

    def factors(self, spw: int, rows: NDArray[np.int64]) -> Factors:
        """What the tables say for these rows of one spectral window (see `Factors`)."""
        fields = self.index.field[rows]
        if (fields == fields[0]).all() and (whole := self._whole_observation(spw, int(fields[0]))) is not None:
            return replace(whole, slot=self.index.time_id[rows].astype(np.int64))
        time_id = self.index.time_id[rows]
        key = time_id.astype(np.int64) * (int(fields.max()) + 1) + fields
        starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        distinct, place = np.unique(key[starts], return_inverse=True)
        slot = np.repeat(place.astype(np.int64), np.diff(np.append(starts, len(key))))
        first = np.zeros(len(distinct), np.int64)
        first[place[::-1]] = starts[::-1]
        parts = []
        slot_field, slot_time = fields[first], self.index.time[rows[first]]
        for field_id in np.unique(slot_field):
            mine = np.flatnonzero(slot_field == field_id)
            parts.append((mine, self._fold(spw, int(field_id), slot_time[mine])))
        return _join(slot, len(distinct), parts)

    def _whole_observation(self, spw: int, field_id: int) -> Factors | None:
        """Factors at all times of the MS, made once, where they are small because no term depends on frequency."""
        key = (spw, field_id)
        if key not in self._whole:
            times, nant = self.index.times, len(self.index.antennas)
            flat = all(table.term.flat for table in self.tables)
            made = None
            if flat and len(times) * nant <= WHOLE_SIZE:
                everything = np.arange(len(times))
                made = _join(everything, len(times), [(everything, self._fold(spw, field_id, times))])
            self._whole[key] = made
        return self._whole[key]

    def _fold(self, spw: int, field_id: int, times: NDArray[np.float64]) -> _Folded:
        nant = len(self.index.antennas)
        folded = _Folded(
            np.ones((1, nant, 1, 2), np.complex128), np.ones((1, nant, 2)), None, np.zeros((1, nant, 1, 2), bool)
        )
        for applied in self.tables:
            folded = self._times_table(folded, applied, spw, field_id, times)
        return folded

    def _times_table(
        self, folded: _Folded, applied: AppliedTable, spw: int, field_id: int, times: NDArray[np.float64]
    ) -> _Folded:
        from calibrant.caltable.interpolate import interpolate_time
        from calibrant.jones import Place
        from calibrant.jones.base import both_receptors

        prepared = self._prepare(applied, spw, field_id)
        if prepared is None:
            return _Folded(folded.jones, folded.weight, folded.spectrum, folded.bad | True)
        term = applied.term
        at = times[:1] if prepared.constant else times
        place_freq = self.index.spws[spw].freq
        param, flag = prepared.at(at, place_freq, applied)
        toward = self._toward(field_id, at) if term.needs_direction else None
        place = Place(place_freq, prepared.own.freq, toward)
        jones = term.factors(param, place)
        if term.needs_direction:  # one position offset: three numbers, flagged together
            flag = np.asarray(flag.any(axis=-1, keepdims=True))
        bad = both_receptors(flag)
        jones = np.where(bad, 1.0, jones) if bad.shape[2] in (1, jones.shape[2]) else jones
        weight, spectrum = folded.weight, folded.spectrum
        if applied.calwt:
            if term.weighs_channels and self._spectral_weights:
                squared = np.abs(jones) ** 2
                spectrum = squared if spectrum is None else spectrum * squared
            else:
                own, own_flag = (
                    interpolate_time(prepared.own, at, applied.time_interp, prepared.scale)
                    if prepared.own is not prepared.on_data
                    else (param, flag)
                )
                factor = term.weights(own, own_flag)
                weight = weight if factor is None else weight * factor
        return _Folded(folded.jones * jones, weight, spectrum, folded.bad | bad)

    def _prepare(self, applied: AppliedTable, spw: int, field_id: int) -> Prepared | None:
        from calibrant.caltable.interpolate import flags_change, interpolate_frequency, select_slots

        key = (spw, field_id)
        if key not in applied._prepared:
            table_spw = applied.table_spw(spw)
            solutions = select_slots(applied.table.spws[table_spw], applied.fields_for(self.index, field_id))
            if len(solutions.time) == 0:
                applied.notes.append(
                    f"{applied.path}: no solutions for field {self.index.fields.name[field_id]}, spw {spw}"
                )
                applied._prepared[key] = None
                return None
            data_freq = self.index.spws[spw].freq
            notes: list[str] = []
            on_data: SpwSolutions | None = solutions
            if applied.term.channelized:
                # channels flagged in one slot only must be bridged after the interpolation in time, as CASA does
                after = flags_change(solutions) and not applied.time_interp.startswith("nearest")
                on_data = None if after else interpolate_frequency(solutions, data_freq, applied.freq_interp, notes)
            applied.notes += [f"{applied.path}: {note}" for note in notes]
            # a combined table lies at a frequency of its own, also for the spw whose number it bears
            elsewhere = table_spw != spw or not applied.term.channelized
            scale = float(data_freq.mean() / solutions.freq.mean()) if elsewhere else 1.0
            constant = len(solutions.time) == 1 and not applied.term.needs_direction
            applied._prepared[key] = Prepared(solutions, on_data, constant, scale)
        return applied._prepared[key]

    def _toward(self, field_id: int, times: NDArray[np.float64]) -> NDArray[np.float64]:
        from calibrant.ms.geometry import direction_itrf

        return direction_itrf(self.index, field_id, times)


@dataclass(frozen=True)
class _Folded:
    """Product of terms so far; axes as in `Factors`, time axis 1 or nslot."""

    jones: NDArray[np.complex128]
    weight: NDArray[np.float64]
    spectrum: NDArray[np.float64] | None
    bad: NDArray[np.bool_]


def _join(slot: NDArray[np.int64], nslot: int, parts: list[tuple[NDArray[np.int64], _Folded]]) -> Factors:
    """Put the fields' slots together."""
    nant = parts[0][1].jones.shape[1]
    nchan = max(p.jones.shape[2] for _, p in parts)
    nflag = max(p.bad.shape[2] for _, p in parts)
    inverse = np.empty((nslot, nant, nchan, 2), np.complex64)
    weight = np.empty((nslot, nant, 2), np.float32)
    bad = np.empty((nslot, nant, nflag, 2), bool)
    widths = [p.spectrum.shape[2] for _, p in parts if p.spectrum is not None]
    spectrum = np.ones((nslot, nant, max(widths), 2), np.float32) if widths else None
    for mine, part in parts:
        inverse[mine] = 1.0 / part.jones
        weight[mine] = part.weight
        bad[mine] = part.bad
        if spectrum is not None and part.spectrum is not None:
            spectrum[mine] = part.spectrum
    return Factors(slot, inverse, weight, spectrum, bad)


def open_chain(
    index: MSIndex,
    gaintable: str | Sequence[str] = (),
    gainfield: str | Sequence[str] = (),
    interp: str | Sequence[str] = (),
    spwmap: Sequence[int] | Sequence[Sequence[int]] = (),
    calwt: bool | Sequence[bool] = True,
    spectral_weights: bool = False,
) -> Chain:
    """Open `gaintable` with its parallel lists as CASA understands them (short lists are filled with defaults).

    Raises CalTableError for a table that does not fit the MS, ParameterError for lists that are too long.
    """
    paths = [gaintable] if isinstance(gaintable, str) else list(gaintable)
    paths = [path for path in paths if path]
    count = len(paths)
    fields = _parallel("gainfield", [gainfield] if isinstance(gainfield, str) else list(gainfield), count, "")
    interps = _parallel("interp", [interp] if isinstance(interp, str) else list(interp), count, "linear")
    maps = _parallel("spwmap", _nested(spwmap), count, [])
    weights = [calwt] * count if isinstance(calwt, bool) else _parallel("calwt", list(calwt), count, True)
    if isinstance(calwt, (list, tuple)) and len(calwt) == 1:
        weights = [bool(calwt[0])] * count
    tables = [_open(index, *row) for row in zip(paths, fields, interps, maps, weights, strict=True)]
    return Chain(index, tables, spectral_weights)


def _nested(spwmap: Sequence[int] | Sequence[Sequence[int]]) -> list[list[int]]:
    """CASA takes one flat list for a single table, or a list of lists."""
    items: list[Any] = list(spwmap)
    if not items:
        return []
    if all(isinstance(item, (int, np.integer)) for item in items):
        return [[int(item) for item in items]]
    return [[int(v) for v in item] for item in items]


def _parallel(name: str, given: list[Any], count: int, default: Any) -> list[Any]:
    if len(given) > count and not (len(given) == 1 and given[0] in ("", default, [])):
        raise ParameterError(f"{name} has {len(given)} entries for {count} tables in gaintable; give at most {count}")
    return given[:count] + [default] * (count - len(given))


def _open(
    index: MSIndex, path: str, gainfield: str, interp: str, spwmap: list[int], calwt: bool
) -> AppliedTable:
    from calibrant.caltable import casa
    from calibrant.caltable.interpolate import parse_interp
    from calibrant.jones import TERMS

    table = casa.read(path)
    if table.kind not in TERMS:
        raise CalTableError(f"{path} holds {table.kind!r}, which cannot be applied yet; can be: {', '.join(TERMS)}")
    nant = len(index.antennas)
    for spw, solutions in table.spws.items():
        if solutions.param.shape[1] != nant:
            raise CalTableError(
                f"{path} has {solutions.param.shape[1]} antennas in spw {spw}, {index.path} has {nant}; "
                "the table belongs to another MeasurementSet"
            )
    if table.antenna_names != index.antennas.name:
        other = [pair for pair in zip(table.antenna_names, index.antennas.name, strict=False) if pair[0] != pair[1]]
        raise CalTableError(
            f"{path} was made for other antennas than those of {index.path}: "
            + ", ".join(f"{theirs} instead of {ours}" for theirs, ours in other[:3])
        )
    nspw = len(index.spws)
    if len(spwmap) > nspw:
        raise ParameterError(f"spwmap {spwmap} for {path} is longer than the {nspw} spectral windows of {index.path}")
    if 1 < len(spwmap) < nspw:
        spwmap = spwmap + list(range(len(spwmap), nspw))
    time_interp, freq_interp = parse_interp(interp)
    notes: list[str] = []
    table = replace(table, spws={spw: _usable(path, sol, notes) for spw, sol in table.spws.items()})
    return AppliedTable(path, table, TERMS[table.kind], gainfield, time_interp, freq_interp, spwmap, calwt, notes)


def _usable(path: str, solutions: SpwSolutions, notes: list[str]) -> SpwSolutions:
    """Values that cannot be divided by (not finite, gains of 0) flagged and out of the way; new ones are noted."""
    param = solutions.param
    gain = np.iscomplexobj(param)
    bad = ~np.isfinite(param) | (gain & (param == 0))
    if not bad.any():
        return solutions
    count = int((bad & ~solutions.flag).sum())
    if count:
        notes.append(f"{path}: {count} solutions of spw {solutions.spw} are 0 or not finite, taken as flagged")
    value = param.dtype.type(1 if gain else 0)
    return replace(solutions, param=np.where(bad, value, param), flag=solutions.flag | bad)
