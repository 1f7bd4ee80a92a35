"""Solutions of one kind in memory: `CalTable` holds one `SpwSolutions` per spectral window.

Arrays are numpy, axes (time slot, antenna, channel, parameter). `CalTable.dataset(spw)` is the same memory with
names on its axes (xarray). Times are UTC in seconds of Modified Julian Date, frequencies in Hz.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import CalTableError
from calibrant.solve.outcome import Outcome

if TYPE_CHECKING:
    import xarray

LAYOUT_VERSION = "6.7.6-14"
"""CASA version whose conventions our tables follow; CASA decides by it how to read a delay."""

_SLOT_ARRAYS = (
    "time", "interval", "field", "scan", "obs", "refant", "param", "error", "snr", "flag", "outcome", "present",
)  # fmt: skip


@dataclass
class SpwSolutions:
    """Solutions of one spectral window, in slots of equal (time, field, scan, observation), sorted by time.

    time, interval (nt,) s; field, scan, obs (nt,); refant (nt, nant), -1 where none; freq, width (nchan,) Hz.
    param (nt, nant, nchan, npar) complex64 or float32; error, snr float32, flag bool, outcome uint8: same shape.
    error is that of the complex number (CASA's PARAMERR); outcome holds `solve.outcome.Outcome` codes or is None.
    Every antenna has a place in every slot. `present` (nt, nant) tells where a row stood in the table (None:
    everywhere); an absent solution is flagged, and interpolation in time looks past it.
    """

    spw: int
    time: NDArray[np.float64]
    interval: NDArray[np.float64]
    field: NDArray[np.int32]
    scan: NDArray[np.int32]
    obs: NDArray[np.int32]
    refant: NDArray[np.int32]
    freq: NDArray[np.float64]
    width: NDArray[np.float64]
    param: NDArray[Any]
    error: NDArray[np.float32]
    snr: NDArray[np.float32]
    flag: NDArray[np.bool_]
    outcome: NDArray[np.uint8] | None = None
    present: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        nt, nant, nchan, _ = shape = self.param.shape
        sizes = {name: len(getattr(self, name)) for name in ("time", "interval", "field", "scan", "obs")}
        wrong = [name for name, size in sizes.items() if size != nt]
        wrong += [name for name in ("error", "snr", "flag") if getattr(self, name).shape != shape]
        if self.outcome is not None and self.outcome.shape != shape:
            wrong.append("outcome")
        if self.refant.shape != (nt, nant) or (self.present is not None and self.present.shape != (nt, nant)):
            wrong.append("refant or present")
        if len(self.freq) != nchan or len(self.width) != nchan:
            wrong.append("freq or width")
        if wrong:
            raise CalTableError(f"solutions of spw {self.spw}: {', '.join(wrong)} do not fit param, which is {shape}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(time slots, antennas, channels, parameters)."""
        nt, nant, nchan, npar = self.param.shape
        return nt, nant, nchan, npar

    def slots(self, chosen: NDArray[Any]) -> SpwSolutions:
        """The time slots named by a boolean mask or by ascending numbers."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _SLOT_ARRAYS}
        kept: dict[str, Any] = {name: None if a is None else a[chosen] for name, a in arrays.items()}
        return replace(self, **kept)


@dataclass
class CalTable:
    """One calibration table: `kind` is CASA's name ('G Jones', 'B TSYS', ...), `par_type` 'Complex' or 'Float'.

    field_direction (nfield, 2): right ascension, declination (rad). `provenance`: lines of the table's history, the
    commands that made it. `path` is None until the table is on disk. `spw_names`: of all spectral windows.
    """

    kind: str
    par_type: str
    ms_name: str
    spws: dict[int, SpwSolutions]
    antenna_names: list[str]
    field_names: list[str]
    field_direction: NDArray[np.float64]
    provenance: list[str] = field(default_factory=list)
    path: str | None = None
    casa_version: str = LAYOUT_VERSION
    spw_names: list[str] = field(default_factory=list)

    @property
    def fields(self) -> list[int]:
        """Ids of the fields that have solutions, ascending (-1: any field)."""
        return sorted({int(f) for s in self.spws.values() for f in np.unique(s.field)})

    def select_fields(self, ids: list[int]) -> CalTable:
        """The solutions of these fields only; spectral windows that have none are left out."""
        chosen = {spw: s.slots(np.isin(s.field, ids)) for spw, s in self.spws.items()}
        return replace(self, spws={spw: s for spw, s in chosen.items() if len(s.time)})

    def outcomes(self) -> dict[Outcome, int]:
        """How many solutions ended how; empty where the table does not say."""
        counts: Counter[Outcome] = Counter()
        for s in self.spws.values():
            if s.outcome is not None:
                for code, count in enumerate(np.bincount(s.outcome.ravel(), minlength=len(Outcome))):
                    if count:
                        counts[Outcome(code)] += int(count)
        return dict(counts)

    def dataset(self, spw: int) -> xarray.Dataset:
        """The solutions of `spw` as xarray, sharing memory. dims: time, antenna, frequency, receptor."""
        import xarray

        if spw not in self.spws:
            raise CalTableError(f"{self.path or self.kind}: no solutions for spw {spw}; it has {sorted(self.spws)}")
        s = self.spws[spw]
        dims = ("time", "antenna", "frequency", "receptor")
        variables: dict[str, Any] = {
            "gain": (dims, s.param),
            "error": (dims, s.error),
            "snr": (dims, s.snr),
            "flag": (dims, s.flag),
            "refant": (dims[:2], s.refant),
        }
        if s.outcome is not None:
            variables["outcome"] = (dims, s.outcome)
        coords: dict[str, Any] = {
            "time": ("time", s.time, {"units": "s", "scale": "utc", "format": "mjd seconds"}),
            "antenna": self.antenna_names,
            "frequency": ("frequency", s.freq, {"units": "Hz"}),
            "receptor": np.arange(s.shape[3]),
            "interval": ("time", s.interval, {"units": "s"}),
            "field": ("time", s.field),
            "scan": ("time", s.scan),
            "observation": ("time", s.obs),
            "width": ("frequency", s.width, {"units": "Hz"}),
        }
        attrs = {"kind": self.kind, "spw": spw, "ms": self.ms_name, "provenance": "\n".join(self.provenance)}
        return xarray.Dataset(variables, coords, attrs)

    def describe(self) -> str:
        """What the table holds, in a few lines."""
        lines = [f"{self.path or '(not on disk)'}: {self.kind} of {self.ms_name}, {len(self.antenna_names)} antennas"]
        lines += [self._describe_spw(spw) for spw in sorted(self.spws)]
        lines += [f"  {count} solutions {outcome.sentence}" for outcome, count in self.outcomes().items()]
        return "\n".join(lines + [f"  made by: {line}" for line in self.provenance])

    def _describe_spw(self, spw: int) -> str:
        s = self.spws[spw]
        nt, _, nchan, npar = s.shape
        good = s.snr[~s.flag]
        median = f"median SNR {np.median(good):.4g}" if good.size else "nothing unflagged"
        names = [self.field_names[f] if 0 <= f < len(self.field_names) else "any field" for f in np.unique(s.field)]
        return (
            f"  spw {spw} at {s.freq.mean() / 1e9:.6g} GHz: {nt} times x {nchan} channels x {npar} parameters, "
            f"{100 * s.flag.mean():.3g} % flagged, {median}; {', '.join(names)}"
        )


def concatenate(first: CalTable, second: CalTable) -> CalTable:
    """The solutions of both tables, sorted by time; CalTableError where both solve the same, or channels differ."""
    spws = dict(first.spws)
    for spw, more in second.spws.items():
        spws[spw] = _joined(spws[spw], more, first.path or first.kind) if spw in spws else more
    return replace(first, spws=spws, provenance=first.provenance + second.provenance)


def _joined(one: SpwSolutions, other: SpwSolutions, where: str) -> SpwSolutions:
    if one.shape[1:] != other.shape[1:] or not np.allclose(one.freq, other.freq, rtol=1e-10, atol=0):
        raise CalTableError(
            f"{where}: solutions of spw {one.spw} for {one.shape[2]} channels at {one.freq.mean() / 1e9:.6g} GHz; "
            f"{other.shape[2]} at {other.freq.mean() / 1e9:.6g} GHz cannot be added: select the same channels"
        )
    twice = _slot_keys(one) & _slot_keys(other)
    if twice:
        raise CalTableError(f"{where} has solutions of spw {one.spw} at {len(twice)} of these times already")
    arrays: dict[str, Any] = {}
    for name in _SLOT_ARRAYS:
        a, b = (_slot_array(s, name) for s in (one, other))
        arrays[name] = None if a is None or b is None else np.concatenate([a, b])
    joined = replace(one, **arrays)
    return joined.slots(np.argsort(joined.time, kind="stable"))


def _slot_keys(s: SpwSolutions) -> set[tuple[float, ...]]:
    return set(zip(s.time.tolist(), s.field.tolist(), s.scan.tolist(), s.obs.tolist(), strict=True))


def _slot_array(s: SpwSolutions, name: str) -> NDArray[Any] | None:
    value = getattr(s, name)
    return np.ones(s.shape[:2], bool) if name == "present" and value is None else value
