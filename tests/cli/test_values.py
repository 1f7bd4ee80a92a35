"""Words of the command line become values of the declared type."""

from __future__ import annotations

import re
from typing import Any, Literal

import pytest

from calibrant.cli.values import Misfit, is_flag, is_list, read, word

MAP = list[int] | list[list[int]]


@pytest.mark.parametrize(
    ("words", "kind", "value"),
    [
        (["int"], str, "int"),
        (["0,2~3"], str, "0,2~3"),
        (["30"], str, "30"),
        (["4"], int, 4),
        (["-1"], float, -1.0),
        (["1e9"], float, 1e9),
        (["nearest"], Literal["nearest", "linear"], "nearest"),
        (["60"], str | float, 60.0),
        (["60s"], str | float, "60s"),
        (["a.G"], list[str], ["a.G"]),
        (["a.G,b.B"], list[str], ["a.G", "b.B"]),
        (["a.G", "b.B"], list[str], ["a.G", "b.B"]),
        (["0,2", ""], list[str], ["0,2", ""]),
        ([",nearest"], list[str], ["", "nearest"]),
        (["['linear,linearflag','nearest']"], list[str], ["linear,linearflag", "nearest"]),
        (["0,1"], list[str], ["0", "1"]),
        (["DV10,DV12"], str | list[str], ["DV10", "DV12"]),
        ([""], list[str], []),
        (["0,0,1"], list[int], [0, 0, 1]),
        (["3"], list[int] | None, [3]),
        (["3"], int | list[int], 3),
        (["0", "1"], list[int], [0, 1]),
        (["[[0,0],[1]]"], MAP, [[0, 0], [1]]),
        (["[0,0],[1]"], MAP, [[0, 0], [1]]),
        (["[0,0]", "[]"], list[list[int]], [[0, 0], []]),
        (["1,0.5"], float | list[float], [1.0, 0.5]),
        (["true,False"], bool | list[bool], [True, False]),
        (["false"], bool | list[bool], False),
        (['{"0": 1.5}'], dict[str, float], {"0": 1.5}),
    ],
)
def test_value(words: list[str], kind: Any, value: Any) -> None:
    got = read(words, kind)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["x"], int),
        (["1.5"], int),
        (["true"], int),
        (["x"], float),
        (["a,b"], list[int]),
        (["1.5"], list[int]),
        (["[a,b]"], list[str]),
        (["[[0,0]"], MAP),
        (["__import__('os').getcwd()"], list[float]),
    ],
)
def test_misfit_names_what_was_expected_and_found(words: list[str], kind: Any) -> None:
    with pytest.raises(Misfit, match=re.escape(f"expected {word(kind)}, found {words[0]!r}")):
        read(words, kind)


def test_kinds() -> None:
    assert is_flag(bool) and not is_flag(bool | list[bool])
    assert is_list(str | list[str]) and is_list(list[int] | None) and not is_list(str)
    assert [word(kind) for kind in (str, int, float, float | list[float])] == ["TEXT", "INT", "NUMBER", "NUMBER|LIST"]
