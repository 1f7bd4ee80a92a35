"""The model visibilities that a solve compares with, and which calibrator a field is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import FluxModelError
from calibrant.ms.index import MSIndex, Polarization
from calibrant.ms.model import ModelAssignment, load_model_assignment
from calibrant.ms.tables import open_subtable

if TYPE_CHECKING:
    from calibrant.sky.standards import Source

FROM_COLUMN = -1
UNIT = 0


@dataclass(frozen=True)
class RowModels:
    """Models of the rows of one DATA_DESC_ID.

    spectra: (nmodel, nchan, ncorr) in Jy; number 0 is the unit model (1 in parallel hands, 0 in cross hands);
    model_of_field: field id -> number in `spectra`, -1 where MODEL_DATA has to be read; needs_column: those fields.
    """

    spectra: NDArray[np.complex64]
    model_of_field: NDArray[np.int32]
    needs_column: frozenset[int]


def row_models(
    index: MSIndex, ddid: int, fields: Iterable[int] | None = None, assignment: ModelAssignment | None = None
) -> RowModels:
    """Who supplies the model of each field in a DATA_DESC_ID: a virtual model, MODEL_DATA, or the unit model.

    fields: the fields that will be used (None: all). One of them with a virtual model of CASA's is a FluxModelError.
    """
    from calibrant.sky.model import SourceModel

    known = assignment or load_model_assignment(index)
    spw = int(index.ddid_spw[ddid])
    freq, pol = index.spws[spw].freq, index.polarizations[int(index.ddid_pol[ddid])]
    used = set(range(len(index.fields))) if fields is None else {int(number) for number in fields}
    which = np.full(len(index.fields), UNIT, np.int32)
    spectra = [unit_model(len(freq), pol)]
    for number in range(len(index.fields)):
        supplier = known.supplier(number, spw)
        if supplier == "casa" and number in used:
            raise FluxModelError(
                f"{index.path}: field {number} ({index.fields.name[number]}) has a virtual model made by CASA, which "
                "cannot be read here; run calibrant setjy for it, or CASA's setjy with usescratch=True"
            )
        parameters = known.spectrum_for(number, spw)
        if parameters is not None:
            which[number] = len(spectra)
            spectra.append(SourceModel.from_dict(parameters).visibilities(freq, pol.corr_type))
        elif supplier == "column":
            which[number] = FROM_COLUMN
    needs = frozenset(np.flatnonzero(which == FROM_COLUMN).tolist())
    return RowModels(np.stack(spectra), which, needs)


def unit_model(nchan: int, pol: Polarization) -> NDArray[np.complex64]:
    """(nchan, ncorr): 1 Jy unpolarised, what CASA assumes where nobody set a model."""
    return np.tile((pol.product[:, 0] == pol.product[:, 1]).astype(np.complex64), (nchan, 1))


def calibrator_of(index: MSIndex, field: int, standard: str | None = None) -> Source | None:
    """The calibrator that a field is, by name and position, in `standard` (None: in any); None where it is none."""
    from calibrant.sky.standards import find_source

    return find_source(standard, index.fields.name[field], j2000_direction(index, field))


def j2000_direction(index: MSIndex, field: int) -> tuple[float, float] | None:
    """Phase centre of a field (ra, dec, J2000, rad); None where it is not given in a fixed equatorial frame."""
    ra, dec = (float(value) for value in index.fields.direction[field])
    frame = _frame(index, field)
    if frame in ("J2000", "ICRS"):
        # 0, 0 is what software writes that does not know the position
        return None if ra == 0 and dec == 0 else (ra, dec)
    if frame not in ("B1950", "B1950_VLA"):
        return None
    from astropy.coordinates import FK4, FK5, SkyCoord

    there = SkyCoord(ra, dec, unit="rad", frame=FK4(equinox="B1950")).transform_to(FK5(equinox="J2000"))
    return float(there.ra.rad), float(there.dec.rad)


def _frame(index: MSIndex, field: int) -> str:
    """Reference frame of PHASE_DIR: one for the column, or by row where the column says so."""
    tab = open_subtable(index.path, "FIELD")
    info = tab.getcolkeywords("PHASE_DIR").get("MEASINFO", {})
    frame = str(info.get("Ref", "J2000"))
    column = info.get("VarRefCol")
    if column in tab.colnames():
        code = tab.getcell(column, field)
        names = dict(zip(info.get("TabRefCodes", []), info.get("TabRefTypes", []), strict=False))
        frame = str(names.get(code, code))
    tab.close()
    return frame
