"""What every flagger promises: checked for each member of FLAGGERS on arrival."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from calibrant.flag import FLAGGERS, Flagger
from calibrant.flag.command import bind, run
from calibrant.ms.index import open_index
from calibrant.ms.selection import select
from calibrant.tasks.flagdata import MODES, in_lists


@pytest.mark.parametrize("mode", FLAGGERS)
def test_is_a_frozen_value_described_in_words(mode: str) -> None:
    kind = FLAGGERS[mode]
    assert issubclass(kind, Flagger) and kind.mode == mode
    assert dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(")
    assert kind() == kind()


@pytest.mark.parametrize("mode", FLAGGERS)
def test_its_parameters_are_flagdatas(mode: str) -> None:
    assert mode in MODES
    defaults = {item.name: item.default for item in in_lists()}
    own = {field.name: field.default for field in dataclasses.fields(FLAGGERS[mode]) if field.name != "limits"}
    for name, default in own.items():
        assert name in defaults, f"flagdata has no parameter {name}"
        if (mode, name) != ("zeros", "clipzeros"):
            assert default == (tuple(defaults[name]) if isinstance(defaults[name], list) else defaults[name])


@pytest.mark.oracle
@pytest.mark.parametrize("mode", FLAGGERS)
def test_stays_inside_the_selection_and_only_adds(mode: str, oracle: Path) -> None:
    """Rows, channels and correlations outside are not touched; flags are only set, or only cleared."""
    index = open_index(str(oracle / "tiny.ms"))
    selection = select(index, spw="0:0~9", scan="1~3", correlation="XX")
    command = bind(index, FLAGGERS[mode](), selection)
    assert np.isin(command.rows, selection.rows).all()
    assert (np.diff(command.rows) > 0).all()
    written: list[tuple[np.ndarray, np.ndarray]] = []
    changes = run(index, [command], lambda rows, flags: written.append((rows.copy(), flags.copy())))
    assert not (changes.unflagged if not command.flagger.clears else changes.flagged).any()
    assert command.changed == changes.flagged.sum() + changes.unflagged.sum()
    for rows, flags in written:
        before = _flags(index, rows)
        inside = np.zeros(flags.shape, bool)
        inside[np.ix_(np.isin(rows, selection.rows), np.arange(10), [0])] = True
        np.testing.assert_array_equal(flags[~inside], before[~inside])


def _flags(index, rows: np.ndarray) -> np.ndarray:
    from calibrant.ms.reader import read_rows

    return read_rows(index, "FLAG", rows)
