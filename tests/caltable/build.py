"""Small solutions for tests: everything not named is plain."""

from __future__ import annotations

from typing import Any

import numpy as np

from calibrant.caltable.table import CalTable, SpwSolutions


def solutions(param: Any, time: Any = None, freq: Any = None, flag: Any = None, **more: Any) -> SpwSolutions:
    """param (nt, nant, nchan, npar); times 0, 100, 200 ... s and channels 100, 101 ... GHz unless given."""
    param = np.asarray(param)
    param = param.astype(np.complex64 if np.iscomplexobj(param) else np.float32)
    nt, nant, nchan, _ = param.shape
    fields: dict[str, Any] = {
        "spw": 0,
        "time": np.arange(nt) * 100.0 if time is None else np.asarray(time, float),
        "interval": np.zeros(nt),
        "field": np.zeros(nt, np.int32),
        "scan": np.ones(nt, np.int32),
        "obs": np.zeros(nt, np.int32),
        "refant": np.zeros((nt, nant), np.int32),
        "freq": 100e9 + 1e9 * np.arange(nchan) if freq is None else np.asarray(freq, float),
        "width": np.full(nchan, 1e9),
        "param": param,
        "error": np.full(param.shape, 0.01, np.float32),
        "snr": np.full(param.shape, 100, np.float32),
        "flag": np.zeros(param.shape, bool) if flag is None else np.asarray(flag, bool),
    }
    return SpwSolutions(**fields | more)


def caltable(*parts: SpwSolutions, kind: str = "G Jones", fields: int = 1) -> CalTable:
    """A table of these parts, with as many antennas as they have."""
    par_type = "Complex" if np.iscomplexobj(parts[0].param) else "Float"
    names = [f"A{k:02d}" for k in range(parts[0].shape[1])]
    spws, field_names = {p.spw: p for p in parts}, [f"F{k}" for k in range(fields)]
    return CalTable(kind, par_type, "x.ms", spws, names, field_names, np.zeros((fields, 2)))
