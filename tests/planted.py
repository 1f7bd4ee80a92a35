"""Small MeasurementSets with planted gains: V_ij,pq = g_ip conj(g_jq) M_pq + noise, everything else plain.

Import with `sys.path.insert(0, str(Path(__file__).parents[1]))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from calibrant.ms.create import create_ms
from calibrant.ms.index import Antennas, Fields, Observation, Polarization, SpectralWindow

START = 5230414800.0
STEP = 6.0
AUTO_POWER = 1000.0
"""Autocorrelations are this large: whoever lets them into a solve notices."""
CODES = {"I": (1, (0, 0)), "XX": (9, (0, 0)), "XY": (10, (0, 1)), "YX": (11, (1, 0)), "YY": (12, (1, 1))}


@dataclass(frozen=True)
class Window:
    nchan: int = 8
    first: float = 100e9
    width: float = 10e6
    corr: str = "XX YY"

    @property
    def freq(self) -> np.ndarray:
        return self.first + self.width * np.arange(self.nchan)


@dataclass
class Plan:
    """What is observed. scans: (field, integrations) each; sigma: per axis, one for all fields or one each;
    per: what shares a gain: 'int', 'scan', 'field', 'all' or a number of seconds; same_spw: spws share gains;
    common: X and Y share gains; constant_amplitude: |g| is 1; order: 'time', 'spw' or 'shuffled'."""

    nant: int = 8
    windows: Sequence[Window] = (Window(), Window(4, 102e9))
    scans: Sequence[tuple[int, int]] = ((0, 5), (1, 5))
    flux: Sequence[complex] = (1.0, 1.0)
    sigma: float | Sequence[float] = 0.05
    per: str | float = "scan"
    per_channel: bool = False
    same_spw: bool = False
    common: bool = False
    phase: bool = True
    amplitude: bool = True
    autos: bool = True
    order: str = "time"
    weight_spectrum: bool = False
    delays: np.ndarray | None = None
    seed: int = 1


@dataclass
class Planted:
    """gain[spw] (ntime, nant, nchan, 2); time, scan, field (ntime,); sigma (nfield,)."""

    path: str
    plan: Plan
    time: np.ndarray
    scan: np.ndarray
    field: np.ndarray
    sigma: np.ndarray
    gain: list[np.ndarray] = field(default_factory=list)


def antennas(count: int) -> Antennas:
    angle = np.arange(count) * 2.4
    radius = 50.0 + 20 * np.arange(count)
    flat = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(count)], axis=1)
    names = [f"DV{n:02d}" for n in range(count)]
    position = np.array([2225061.0, -5440057.0, -2481681.0]) + flat
    return Antennas(names, [f"A{n:03d}" for n in range(count)], ["ALT-AZ"] * count, position, np.full(count, 12.0))


def polarization(corr: str) -> Polarization:
    codes = [CODES[name] for name in corr.split()]
    return Polarization(np.array([c for c, _ in codes], np.int32), np.array([p for _, p in codes], np.int32))


def spectral_window(number: int, window: Window) -> SpectralWindow:
    width = np.full(window.nchan, window.width)
    wide = np.abs(width)
    return SpectralWindow(number, f"SPW{number}", window.freq, width, wide, wide, window.first, wide.sum(), 5, 1)


def field_names(count: int) -> list[str]:
    return [f"CAL{n}" for n in range(count)]


def plant(path: Path, plan: Plan | None = None, **changes: Any) -> Planted:
    """Write the MeasurementSet and return what is in it."""
    plan = plan or Plan(**changes)
    rng = np.random.default_rng(plan.seed)
    lengths = [count for _, count in plan.scans]
    scan = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    which = np.repeat([number for number, _ in plan.scans], lengths)
    time = START + STEP * np.arange(len(scan)) + 30.0 * (scan - 1)
    nfield = len(plan.flux)
    sigma = np.broadcast_to(np.asarray(plan.sigma, float), (nfield,)).copy()
    truth = Planted(str(path), plan, time, scan, which, sigma, _gains(plan, rng, time, scan, which))
    ant1, ant2 = np.triu_indices(plan.nant, 0 if plan.autos else 1)
    blocks = [(t, s) for t in range(len(time)) for s in range(len(plan.windows))]
    rows = np.array([(t, s, i, j) for t, s in blocks for i, j in zip(ant1, ant2, strict=True)])
    if plan.order == "spw":
        rows = rows[np.argsort(rows[:, 1], kind="stable")]
    elif plan.order == "shuffled":
        rows = rows[rng.permutation(len(rows))]
    _write(truth, rows, rng)
    return truth


def _gains(plan: Plan, rng: Any, time: np.ndarray, scan: np.ndarray, which: np.ndarray) -> list[np.ndarray]:
    if isinstance(plan.per, str):
        key = {"int": np.arange(len(time)), "scan": scan, "field": which, "all": np.zeros(len(time), int)}[plan.per]
    else:  # intervals of this length from the start of every scan
        first = np.array([time[scan == s].min() for s in scan])
        key = scan * 1000 + np.floor((time - first + 1e-5) / plan.per).astype(int)
    _, cell = np.unique(key, return_inverse=True)
    result: list[np.ndarray] = []
    common: np.ndarray | None = None
    for window in plan.windows:
        if common is not None:
            result.append(_delayed(plan, window, np.repeat(common, window.nchan, axis=2)))
            continue
        shape = (cell.max() + 1, plan.nant, window.nchan if plan.per_channel else 1, 1 if plan.common else 2)
        size = rng.uniform(0.7, 1.4, shape) if plan.amplitude else np.ones(shape)
        turn = rng.uniform(-np.pi, np.pi, shape) if plan.phase else np.zeros(shape)
        gain = np.broadcast_to((size * np.exp(1j * turn))[cell], (len(time), plan.nant, window.nchan, 2)).copy()
        common = gain[:, :, :1].copy() if plan.same_spw else None
        result.append(_delayed(plan, window, gain))
    return result


def _delayed(plan: Plan, window: Window, gain: np.ndarray) -> np.ndarray:
    if plan.delays is None:
        return gain
    offset = window.freq - window.freq[window.nchan // 2]
    return gain * np.exp(2j * np.pi * plan.delays[None, :, None, :] * offset[:, None])


def _write(truth: Planted, rows: np.ndarray, rng: Any) -> None:
    plan, (t, s, ant1, ant2) = truth.plan, rows.T
    nfield = len(plan.flux)
    corrs = list(dict.fromkeys(window.corr for window in plan.windows))
    direction = np.stack([1.0 + 0.1 * np.arange(nfield), np.full(nfield, -0.4)], axis=1)
    options: dict[str, Any] = {"weight_spectrum": True} if plan.weight_spectrum else {}
    with create_ms(
        truth.path,
        antennas=antennas(plan.nant),
        fields=Fields(field_names(nfield), [""] * nfield, np.arange(nfield, dtype=np.int32), direction),
        spws=[spectral_window(n, window) for n, window in enumerate(plan.windows)],
        polarizations=[polarization(corr) for corr in corrs],
        ddids=[(n, corrs.index(window.corr)) for n, window in enumerate(plan.windows)],
        observations=[Observation("ALMA", "me", "P1", np.zeros(2))],
        states=["CALIBRATE_PHASE#ON_SOURCE"],
        nrow=len(rows),
        **options,
    ) as new:
        position = antennas(plan.nant).position
        columns = {"TIME": truth.time[t], "INTERVAL": np.full(len(t), STEP), "ANTENNA1": ant1, "ANTENNA2": ant2,
                   "DATA_DESC_ID": s, "FIELD_ID": truth.field[t], "SCAN_NUMBER": truth.scan[t],
                   "UVW": position[ant1] - position[ant2]}  # fmt: skip
        new.put_rows(0, columns)
        starts = np.flatnonzero(np.diff(s, prepend=-1))
        for begin, end in zip(starts, np.append(starts[1:], len(s)), strict=True):
            part = slice(int(begin), int(end))
            spw = int(s[begin])
            data, sigma = _visibilities(truth, spw, rows[part], rng)
            cubes = {"DATA": data, "FLAG": np.zeros(data.shape, bool), "SIGMA": sigma}
            if plan.weight_spectrum:
                cubes["WEIGHT_SPECTRUM"] = np.repeat((1 / sigma**2)[:, None], data.shape[1], axis=1)
            new.put_rows(int(begin), cubes)


def _visibilities(truth: Planted, spw: int, rows: np.ndarray, rng: Any) -> tuple[np.ndarray, np.ndarray]:
    t, _, ant1, ant2 = rows.T
    product = polarization(truth.plan.windows[spw].corr).product
    gain = truth.gain[spw]
    data = gain[t, ant1][..., product[:, 0]] * gain[t, ant2][..., product[:, 1]].conj()
    flux = np.asarray(truth.plan.flux)[truth.field[t]]
    data *= flux[:, None, None] * (product[:, 0] == product[:, 1])
    sigma = np.repeat(truth.sigma[truth.field[t]][:, None], len(product), axis=1)
    data += sigma[:, None] * (rng.normal(size=data.shape) + 1j * rng.normal(size=data.shape))
    data[ant1 == ant2] = AUTO_POWER
    return data, sigma


def edit(path: str, column: str, change: Any, query: str = "") -> None:
    """Put change(values) in place of a column of the MeasurementSet (all rows, or those of a TaQL condition)."""
    from casacore.tables import table

    tab = table(path, readonly=False, ack=False)
    part = tab.query(query) if query else tab
    part.putcol(column, change(part.getcol(column)))
    part.close()
    tab.close()


def flag(path: str, query: str = "", change: Any = None) -> None:
    """Flag all data of a TaQL condition, or put change(flags); shape by shape."""
    for ddid in np.unique(get(path, "DATA_DESC_ID")).tolist():
        condition = f"DATA_DESC_ID=={ddid}" + (f" && ({query})" if query else "")
        edit(path, "FLAG", change or (lambda flags: flags | True), condition)


def get(path: str, column: str, query: str = "") -> np.ndarray:
    """A column through casacore, of all rows or of those of a TaQL condition."""
    from casacore.tables import table

    tab = table(path, ack=False)
    part = tab.query(query) if query else tab
    values = part.getcol(column)
    part.close()
    tab.close()
    return np.asarray(values)


def referenced(gain: np.ndarray, refant: int = 0) -> np.ndarray:
    """Gains (ntime, nant, ...) with the phase of `refant` taken out."""
    ref = gain[:, refant : refant + 1]
    return gain * (ref / np.abs(ref)).conj()


def write_table(path: Path, ms: str, kind: str, parts: dict[int, dict[str, Any]]) -> str:
    """A calibration table of a MeasurementSet; for each spw at least param (nt, nant, nchan, npar), optionally time,
    field, scan, flag, freq (default: one channel at the middle of the window, times START + 100 s n)."""
    from calibrant.caltable import casa
    from calibrant.caltable.table import CalTable, SpwSolutions
    from calibrant.ms.index import open_index

    index = open_index(ms)
    spws = {}
    for spw, given in parts.items():
        param = np.asarray(given["param"])
        param = param.astype(np.complex64 if np.iscomplexobj(param) else np.float32)
        nt, nant, nchan, _ = param.shape
        window = index.spws[spw]
        freq = window.freq if nchan == window.nchan and nchan > 1 else np.array([window.freq.mean()])
        zero = np.zeros(param.shape, np.float32)
        plain = np.zeros(nt, np.int32)
        values: dict[str, Any] = {
            "time": START + 100.0 * np.arange(nt), "interval": np.zeros(nt), "field": plain, "scan": plain + 1,
            "obs": plain, "refant": np.zeros((nt, nant), np.int32), "freq": freq, "width": np.full(len(freq), 1e6),
            "error": zero + 0.01, "snr": zero + 100, "flag": zero > 0,
        }  # fmt: skip
        values |= {key: np.asarray(value) for key, value in given.items() if key != "param"}
        spws[spw] = SpwSolutions(spw=spw, param=param, **values)
    par_type = "Complex" if np.iscomplexobj(param) else "Float"
    table = CalTable(
        kind, par_type, Path(ms).name, spws, index.antennas.name, index.fields.name, index.fields.direction
    )
    casa.write(table, str(path), ms)
    return str(path)
