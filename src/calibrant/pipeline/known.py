"""Models that a MeasurementSet holds: of which fields the flux density is known, and who said so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibrant.ms.index import MSIndex

SHORTEST = 0.05
"""The flux density of a resolved model is that of this share of its shortest baselines."""
POINT = 0.02
"""A model that differs by more than this part from a constant is resolved."""
UNIT = 1e-5
MANUAL = "manual"


@dataclass(frozen=True)
class Known:
    """The model of a field in one spw. by_hand: not from a flux standard; resolved: `jy` is not the same everywhere."""

    jy: float
    by_hand: bool
    resolved: bool = False


def model_of(index: MSIndex, field: int, spw: int) -> Known | None:
    """The virtual model of a field at the middle of a spw, else that of MODEL_DATA; None where nobody set one.

    MODEL_DATA of 1 Jy everywhere is what fields without a model have: it counts as not set."""
    from calibrant.ms.model import load_model_assignment
    from calibrant.sky.model import SourceModel

    known = load_model_assignment(index)
    parameters = known.spectrum_for(field, spw)
    if parameters is not None:
        model = SourceModel.from_dict(parameters)
        return Known(float(model.spectrum(index.spws[spw].freq.mean())[0]), model.origin == MANUAL)
    return _column(index, field, spw) if known.supplier(field, spw) == "column" else None


def _column(index: MSIndex, field: int, spw: int) -> Known | None:
    from calibrant.ms.reader import read_chunks

    rows = np.flatnonzero((index.field == field) & (index.spw == spw) & (index.ant1 != index.ant2))
    size, length = [], []
    unit, largest = True, 0.0
    for chunk in read_chunks(index, rows, ["MODEL_DATA", "UVW"]):
        model = chunk["MODEL_DATA"]
        product = index.polarizations[int(index.ddid_pol[chunk.ddid])].product
        unit &= bool((np.abs(model - (product[:, 0] == product[:, 1])) < UNIT).all())
        hands = model[:, :, product[:, 0] == product[:, 1]]
        size.append(np.abs(hands).mean(axis=(1, 2)))
        largest = max(largest, float(np.abs(np.angle(hands.mean(axis=(1, 2)))).max()))
        length.append(np.hypot(chunk["UVW"][:, 0], chunk["UVW"][:, 1]))
    if unit:
        return None
    every, distance = np.concatenate(size), np.concatenate(length)
    jy = float(every[distance <= np.quantile(distance, SHORTEST)].mean())
    spread = float(np.abs(every - jy).max()) / max(jy, 1e-30)
    return Known(jy, True, spread > POINT or largest > POINT)


def models_of(index: MSIndex, field: int, spws: list[int]) -> dict[int, Known]:
    """spw -> model, of those spws in which one is set."""
    found = {spw: model_of(index, field, spw) for spw in spws}
    return {spw: model for spw, model in found.items() if model is not None}


def stays(models: dict[int, Known], spws: list[int], in_standard: bool) -> bool:
    """Is what is set there to be used? Set by hand: yes; from a standard: unless the standard asked for has it too."""
    return set(models) == set(spws) and not (in_standard and not all(model.by_hand for model in models.values()))
