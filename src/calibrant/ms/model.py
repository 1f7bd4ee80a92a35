"""Who supplies the model of a field: a virtual model kept in the MS, the column MODEL_DATA, or nobody (1 Jy).

Calibrant's virtual models are parameters, not visibilities: the keyword CALIBRANT_MODEL on MAIN holds JSON
`{field id: {spectral window id: parameters}}`. What the parameters mean is the business of `calibrant.sky.model`;
here they are plain dictionaries. CASA does not read them.

CASA keeps virtual models of its own (SOURCE_MODEL records in the SOURCE subtable, or MAIN keywords
`definedmodel_field_N`), which Calibrant cannot evaluate: fields that have one are listed in `foreign`, so that
nobody solves with a wrong model by accident. Setting a model with Calibrant removes CASA's of that field.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from calibrant.errors import MeasurementSetError
from calibrant.ms.index import MSIndex
from calibrant.ms.tables import open_subtable, open_table

KEYWORD = "CALIBRANT_MODEL"
CASA_KEYWORD = "definedmodel_field_"

Parameters = dict[str, Any]
Supplier = Literal["virtual", "column", "unit", "casa"]


@dataclass(frozen=True)
class ModelAssignment:
    """virtual: field id -> spectral window id -> parameters; has_column: MODEL_DATA exists; foreign: see module."""

    virtual: Mapping[int, Mapping[int, Parameters]] = field(default_factory=dict)
    has_column: bool = False
    foreign: frozenset[int] = frozenset()

    def spectrum_for(self, field: int, spw: int) -> Parameters | None:
        """Parameters of the virtual model of a field in a spectral window; None where there is none."""
        return self.virtual.get(field, {}).get(spw)

    def supplier(self, field: int, spw: int) -> Supplier:
        """Who supplies the model: the last setjy wins, then CASA's virtual model, MODEL_DATA, and 1 Jy."""
        if self.spectrum_for(field, spw) is not None:
            return "virtual"
        if field in self.foreign:
            return "casa"
        return "column" if self.has_column else "unit"

    def updated(self, changes: Mapping[tuple[int, int], Parameters | None]) -> ModelAssignment:
        """A copy with the models of (field, spectral window) replaced, or removed where None."""
        virtual = {number: dict(spws) for number, spws in self.virtual.items()}
        for (number, spw), parameters in changes.items():
            if parameters is None:
                virtual.get(number, {}).pop(spw, None)
            else:
                virtual.setdefault(number, {})[spw] = parameters
        return ModelAssignment({n: spws for n, spws in virtual.items() if spws}, self.has_column, self.foreign)


def load_model_assignment(index: MSIndex) -> ModelAssignment:
    """The models of an MS as they are on disk now."""
    tab = open_table(index.path)
    has_column = "MODEL_DATA" in tab.colnames()
    names = tab.keywordnames()
    text = tab.getkeyword(KEYWORD) if KEYWORD in names else "{}"
    tab.close()
    sources = set(_sources_with_casa_models(index.path))
    foreign = {number for number, source in enumerate(index.fields.source_id.tolist()) if source in sources}
    foreign |= {int(name.removeprefix(CASA_KEYWORD)) for name in names if name.startswith(CASA_KEYWORD)}
    return ModelAssignment(read_text(text, index.path), has_column, frozenset(foreign))


def read_text(text: str, path: str) -> dict[int, dict[int, Parameters]]:
    """Virtual models from the text of the keyword."""
    try:
        return {int(f): {int(s): dict(p) for s, p in spws.items()} for f, spws in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise MeasurementSetError(
            f"{path}: the keyword {KEYWORD} (virtual models) is damaged ({error}); set them again with setjy"
        ) from None


def write_text(assignment: ModelAssignment) -> str:
    """The text of the keyword."""
    return json.dumps({str(f): {str(s): p for s, p in spws.items()} for f, spws in assignment.virtual.items()})


def remove_casa_models(index: MSIndex, fields: Iterable[int]) -> None:
    """Empty CASA's virtual models of these fields; those of fields with the same SOURCE_ID go with them."""
    fields = set(fields)
    sources = {int(index.fields.source_id[number]) for number in fields}
    rows = [row for source, rows in _sources_with_casa_models(index.path).items() if source in sources for row in rows]
    if rows:
        tab = open_subtable(index.path, "SOURCE", writable=True)
        for row in rows:
            tab.putcell("SOURCE_MODEL", row, {})
        tab.close()
    tab = open_table(index.path)
    keywords = [name for number in fields if (name := f"{CASA_KEYWORD}{number}") in tab.keywordnames()]
    tab.close()
    if keywords:
        tab = open_table(index.path, writable=True)
        for name in keywords:
            tab.removekeyword(name)
        tab.close()


def _sources_with_casa_models(path: str) -> dict[int, list[int]]:
    """SOURCE_ID -> rows of SOURCE whose SOURCE_MODEL holds a model."""
    if not os.path.isdir(os.path.join(path, "SOURCE")):
        return {}
    tab = open_subtable(path, "SOURCE")
    found: dict[int, list[int]] = {}
    if "SOURCE_MODEL" in tab.colnames():
        for row in range(tab.nrows()):
            if tab.iscelldefined("SOURCE_MODEL", row) and tab.getcell("SOURCE_MODEL", row):
                found.setdefault(int(tab.getcell("SOURCE_ID", row)), []).append(row)
    tab.close()
    return found
