"""What a call was, as a shell command: the command line reads it back to the same values, for every verb."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant import params
from calibrant.cli import command, values, verbs
from calibrant.errors import ParameterError
from calibrant.params import Declared, Param, command_line, declared, provenance

VERBS = {name: verbs.load(target) for name, target in verbs.VERBS.items()}


class Seen:
    """A result that only says what the verb was called with."""

    def summary(self) -> str:
        return ""

    def to_dict(self) -> dict[str, Any]:
        return {}


def reader(name: str, verb: Callable[..., Any]) -> Callable[[str], dict[str, Any]]:
    """reader(name, verb)(line) -> the values with which the command line calls the verb."""
    caught: dict[str, Any] = {}

    def caller(**given: Any) -> Seen:
        caught.clear()
        caught.update(given)
        return Seen()

    caller.__name__, caller.__doc__ = verb.__name__, verb.__doc__
    caller.__signature__ = inspect.signature(verb)  # type: ignore[attr-defined]
    caller.__annotations__ = params.get_type_hints(verb, include_extras=True)
    built = command.build(name.split()[-1], caller)
    call = ["calibrant", *name.split()]

    def read(line: str) -> dict[str, Any]:
        words = shlex.split(line)
        assert words[: len(call)] == call
        assert built.main(words[len(call) :], standalone_mode=False) == 0
        defaults = {item.name: item.default for item in declared(verb) if not item.required}
        return defaults | caught

    return read


READERS = {name: reader(name, verb) for name, verb in VERBS.items()}

TEXTS = st.one_of(
    st.sampled_from([
        "", "0", "-1", "1,2", "3C286", "0:5~61;70~80,1", "DV01&&DV02", "!DA41", ">05:00:00", "*BANDPASS*", "a b",
        "it's", 'say "no"', "['x']", "[1, 2]", "--spw", "-o", "$HOME `ls` \\n", "inf", "True", "1e9", "nearest,linear",
        "ü", "Perley-Butler 2017", "a;b|c>d", "{}", "None", " lead", "trail ", "é\ttab", "two\nlines",
    ]),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12),
)  # fmt: skip
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, -1.0, 1e-30, 3e8, 5.4, 0.1 + 0.2])
)
INTEGERS = st.integers(-(10**9), 10**9)


def scalars(kind: Any) -> st.SearchStrategy[Any]:
    return {str: TEXTS, int: INTEGERS, float: NUMBERS, bool: st.booleans()}[kind]


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a declared type: each alternative, lists of lists included."""
    return st.one_of([_member(member) for member in values.members(kind)])


def _member(kind: Any) -> st.SearchStrategy[Any]:
    if getattr(kind, "__origin__", None) is list:
        (inner,) = kind.__args__
        return st.lists(_member(inner), max_size=4)
    return scalars(kind)


def allowed(item: Declared) -> st.SearchStrategy[Any]:
    choices = item.param.choices or values.choices(item.type)
    if choices:
        return st.sampled_from(choices)
    if item.param.positional:
        words = TEXTS.filter(lambda text: text and not text.startswith("-"))
        return st.lists(words, min_size=1, max_size=3) if values.is_list(item.type) else words
    return of_type(item.type)


def same(one: Any, other: Any) -> bool:
    """Equal, where a lone item and a list of it are the same call, and so are empty text and no list."""
    return bool(one == other) or _listed(one) == _listed(other)


def _listed(value: Any) -> list[Any]:
    return [] if value == "" else list(value) if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", VERBS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_call_survives_the_command_line(name: str, data: st.DataObject) -> None:
    items = declared(VERBS[name])
    optional = [item for item in items if not item.required]
    chosen = data.draw(st.lists(st.sampled_from(optional), max_size=4, unique_by=lambda item: item.name))
    call = {item.name: data.draw(allowed(item), label=item.name) for item in items if item.required or item in chosen}
    line = command_line(VERBS[name], call, name)
    got = READERS[name](line)
    wrong = {key: (value, got[key]) for key, value in call.items() if not same(value, got[key])}
    assert not wrong, line


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("applycal", {"gaintable": ["d.cal", "b.cal", "p.cal"], "gainfield": ["", "", "0"],
                  "interp": ["nearest", "nearest,linear", "linear"]}),
    ("applycal", {"gaintable": ["a,b.cal"], "interp": ["linear,linearflag"]}),
    ("applycal", {"gaintable": ["d.cal"], "gainfield": [""], "calwt": False}),
    ("applycal", {"gaintable": ["d.cal", "e.cal"], "gainfield": ["", ""], "calwt": [True, False]}),
    ("applycal", {"gaintable": ["d.cal", "e.cal"], "spwmap": [[0, 0], [1]]}),
    ("applycal", {"gaintable": ["d.cal", "e.cal"], "spwmap": [[], [0, 0]]}),
    ("applycal", {"gaintable": ["d.cal"], "spwmap": [0, 0, 1]}),
    ("applycal", {"gaintable": ["d.cal"], "spwmap": [[0, 0]]}),
    ("applycal", {"gaintable": "with space.cal", "flagbackup": False}),
    ("gaincal", {"refant": ["DV01", "DV02"], "gaintable": ["it's.cal", 'a "b".cal']}),
    ("gaincal", {"refant": "DV01,DV02"}),
    ("gaincal", {"gaintable": ["['x']"], "minsnr": 0.0, "solnorm": True}),
    ("setjy", {"fluxdensity": [1.0, 0.1, 0.0, 0.0], "spix": [-0.7], "reffreq": "1.4GHz"}),
    ("setjy", {"fluxdensity": 2.0, "spix": -0.7, "standard": "Perley-Butler 2017"}),
    ("flagdata", {"mode": "list", "inpfile": ["mode='quack' quackinterval=5", "mode='clip' clipminmax=[0,5]"]}),
    ("flagdata", {"clipminmax": [], "edgechannels": 3.0}),
    ("flagdata", {"inpfile": ["only, one"], "reason": ["a b", "c"]}),
    ("split", {"width": [2, 4], "keepflags": False}),
    ("simulate", {"nchan": [64, 480], "noise": 0.0}),
    ("fluxscale", {"refspwmap": [0, 0], "transfer": ["1", "J0006,x"], "gainthreshold": 0.2}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "call"), CALLS, ids=lambda value: value if isinstance(value, str) else "")
def test_this_call_survives_the_command_line(name: str, call: dict[str, Any]) -> None:
    verb = VERBS[name]
    whole = {item.name: f"a {item.name}" for item in declared(verb) if item.required} | call
    got = READERS[name](command_line(verb, whole, name))
    wrong = {key: (value, got[key]) for key, value in whole.items() if not same(value, got[key])}
    assert not wrong


def test_defaults_are_not_written() -> None:
    line = command_line(VERBS["gaincal"], {"vis": "a.ms", "caltable": "g.cal", "solint": "inf", "calmode": "p"})
    assert line == "calibrant gaincal a.ms g.cal --calmode p"
    assert provenance(VERBS["gaincal"], {"vis": "a.ms", "caltable": "g.cal", "solint": "inf", "calmode": "p"}) == (
        "gaincal(vis='a.ms', caltable='g.cal', calmode='p')"
    )


def test_switches_are_written_as_options() -> None:
    line = command_line(VERBS["applycal"], {"vis": "a.ms", "flagbackup": False, "dry_run": True})
    assert line == "calibrant applycal a.ms --no-flagbackup --dry-run"


def test_a_parameter_without_a_sentence_is_a_programming_error() -> None:
    def verb(vis: Annotated[str, "x"] = "") -> None:
        pass

    with pytest.raises(TypeError, match=r"verb\(vis\) has no Param"):
        declared(verb)


def test_choices_are_checked_with_the_nearest_named() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'ap'"):
        params.check_choices(VERBS["gaincal"], {"calmode": "app"})
    params.check_choices(VERBS["gaincal"], {"calmode": "p"})


def test_declared_tells_name_type_default_and_sentence() -> None:
    def verb(a: Annotated[int, Param("First.")], b: Annotated[str, Param("Second.", unit="s")] = "x") -> None:
        pass

    first, second = declared(verb)
    assert (first.name, first.type, first.required) == ("a", int, True)
    assert (second.default, second.required, second.param.unit) == ("x", False, "s")


def test_provenance_shows_no_password() -> None:
    line = provenance(VERBS["allsky status"], {"api": "http://admin:secret@tart.example.org/x"})
    assert line == "status(api='http://admin:***@tart.example.org/x')"
