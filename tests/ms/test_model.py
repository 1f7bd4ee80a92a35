"""Who supplies the model of a field."""

from __future__ import annotations

from pathlib import Path

import pytest
from casacore.tables import makecoldesc, table

from calibrant.errors import MeasurementSetError
from calibrant.ms.index import open_index
from calibrant.ms.model import (
    KEYWORD,
    ModelAssignment,
    load_model_assignment,
    read_text,
    remove_casa_models,
    write_text,
)

PARAMETERS = {"kind": "point", "fixed_hz": None}


def test_the_last_setting_wins() -> None:
    both = ModelAssignment({0: {0: PARAMETERS, 1: PARAMETERS}}, has_column=True)
    assert [both.supplier(0, 0), both.supplier(0, 2), both.supplier(1, 0)] == ["virtual", "column", "column"]
    after = both.updated({(0, 0): None, (2, 1): {"kind": "other"}})
    assert [after.supplier(0, 0), after.supplier(0, 1), after.supplier(2, 1)] == ["column", "virtual", "virtual"]
    assert after.spectrum_for(2, 1) == {"kind": "other"}
    assert both.spectrum_for(0, 0) == PARAMETERS
    assert after.updated({(0, 1): None, (2, 1): None}).virtual == {}


def test_without_a_column_it_is_the_unit_model() -> None:
    assert ModelAssignment().supplier(0, 0) == "unit"
    assert ModelAssignment(foreign=frozenset({0})).supplier(0, 0) == "casa"


def test_text_of_the_keyword() -> None:
    assignment = ModelAssignment({3: {1: PARAMETERS}})
    assert read_text(write_text(assignment), "x.ms") == assignment.virtual
    for text in ("{", "[1]", '{"a": {}}'):
        with pytest.raises(MeasurementSetError, match=r"x\.ms: the keyword CALIBRANT_MODEL .* is damaged"):
            read_text(text, "x.ms")


@pytest.mark.oracle
def test_casa_models_are_seen_and_removed(tiny_ms: Path) -> None:
    """SOURCE_MODEL as CASA's setjy(usescratch=False) leaves it: a record in the first row of the source."""
    with table(f"{tiny_ms}/SOURCE", readonly=False, ack=False) as sources:
        sources.addcols(makecoldesc("SOURCE_MODEL", {"valueType": "record", "dataManagerType": "StandardStMan"}))
        sources.putcell("SOURCE_MODEL", 0, {"version": 2})
    with table(str(tiny_ms), readonly=False, ack=False) as main:
        main.putkeyword("definedmodel_field_2", "model_2")
    index = open_index(str(tiny_ms))
    assignment = load_model_assignment(index)
    assert assignment.foreign == {0, 2}
    assert assignment.has_column
    remove_casa_models(index, [0, 2])
    assert load_model_assignment(index).foreign == frozenset()


@pytest.mark.oracle
def test_damaged_keyword_is_named(tiny_ms: Path) -> None:
    with table(str(tiny_ms), readonly=False, ack=False) as main:
        main.putkeyword(KEYWORD, "nonsense")
    with pytest.raises(MeasurementSetError, match=r"tiny\.ms: the keyword CALIBRANT_MODEL"):
        load_model_assignment(open_index(str(tiny_ms)))
