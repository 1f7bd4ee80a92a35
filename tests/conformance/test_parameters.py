"""Every verb declares its parameters fully, and as CASA does where CASA has the verb."""

from __future__ import annotations

import ast
import inspect
import shlex
import typing
from pathlib import Path
from typing import Any

import pytest

from calibrant.cli import command, verbs
from calibrant.params import Declared, declared

VERBS = sorted(verbs.VERBS)

# Parameters that CASA's verb of the same name does not have, with the reason.
ADDED: dict[str, str] = {
    "dry_run": "says what would be done, touching nothing",
    "overwrite": "an existing output is replaced only when asked for",
}
ADDED_TO_VERB: dict[tuple[str, str], str] = {
    ("bandpass", "refantmode"): "the reference antenna is chosen as gaincal chooses it",
    ("flagmanager", "since"): "restores what was, and keeps what was flagged after another version",
    ("flagdata", "edgechannels"): "mode edge, which CASA has not: channels at the ends of a band",
    ("fluxscale", "error_method"): "CASA's error formula does not give Jy; a jackknife over antennas does",
}

# Defaults that differ from CASA's, with the reason.
DIFFERENT: dict[tuple[str, str], str] = {}


def items(name: str) -> list[Declared]:
    return declared(verbs.load(verbs.VERBS[name]))


@pytest.fixture(scope="session")
def casa_signatures(shared: Path) -> dict[str, dict[str, Any]]:
    """Verb -> parameter -> default, of CASA."""
    result = {}
    for line in (shared / "oracle/results/signatures.txt").read_text().splitlines():
        function = ast.parse(f"def {line}: ...").body[0]
        assert isinstance(function, ast.FunctionDef)
        names = [argument.arg for argument in function.args.args]
        without = len(names) - len(function.args.defaults)
        defaults = [None] * without + [ast.literal_eval(default) for default in function.args.defaults]
        result[function.name] = dict(zip(names, defaults, strict=True))
    return result


def plain(default: Any) -> Any:
    """Defaults that mean the same compare equal: nothing, '' and []; one item and a list of it."""
    if isinstance(default, list | tuple):
        default = list(default)
        return plain(default[0]) if len(default) == 1 else default or None
    return None if default == "" else default


@pytest.mark.parametrize("name", VERBS)
def test_every_parameter_has_a_sentence(name: str) -> None:
    for item in items(name):
        assert item.param.help.endswith("."), f"{name}({item.name}): {item.param.help!r}"
        if item.param.choices and isinstance(item.default, str):
            assert item.default in item.param.choices, f"{name}({item.name})"


@pytest.mark.parametrize("name", VERBS)
def test_verb_is_described_with_examples_that_parse(name: str) -> None:
    verb = verbs.load(verbs.VERBS[name])
    text, lines = verbs.describe(verb)
    assert text.split("\n\n")[0].endswith("."), "the first paragraph is the sentence shown by --help"
    call = ["calibrant", *name.split()]
    own = [words for words in map(shlex.split, lines) if words[: len(call)] == call]
    assert own, f"no example of {name} calls it"
    for words in own:
        context = command.build(name.split()[-1], verb).make_context(name, words[len(call) :])
        given = {key: value for key, value in context.params.items() if key not in ("json_", "debug_")}
        assert command._values(items(name), given)


@pytest.mark.parametrize("name", VERBS)
def test_summary_without_importing_is_the_docstring(name: str) -> None:
    verb = verbs.load(verbs.VERBS[name])
    first = (inspect.getdoc(verb) or "").split("\n\n")[0]
    assert verbs.summary(verbs.VERBS[name]) == " ".join(first.split())


@pytest.mark.parametrize("name", VERBS)
def test_result_speaks_and_is_plain_data(name: str) -> None:
    result = typing.get_type_hints(verbs.load(verbs.VERBS[name]))["return"]
    for method in ("summary", "to_dict"):
        assert callable(getattr(result, method, None)), f"{name} returns {result}, which has no {method}()"


@pytest.mark.oracle
@pytest.mark.parametrize("name", [name for name in VERBS if " " not in name])
def test_names_and_defaults_are_casas(casa_signatures: dict[str, dict[str, Any]], name: str) -> None:
    if name not in casa_signatures:
        pytest.skip(f"CASA has no {name}")
    casa = casa_signatures[name]
    for item in items(name):
        if item.name not in casa:
            assert item.name in ADDED or (name, item.name) in ADDED_TO_VERB, f"CASA has no {name}({item.name})"
        elif not item.required and (name, item.name) not in DIFFERENT:
            assert plain(item.default) == plain(casa[item.name]), f"default of {name}({item.name})"


@pytest.mark.oracle
def test_lists_of_differences_are_not_stale(casa_signatures: dict[str, dict[str, Any]]) -> None:
    ours = {(name, item.name): item.default for name in VERBS for item in items(name)}
    assert set(ADDED_TO_VERB) <= set(ours)
    for (name, parameter), reason in DIFFERENT.items():
        assert plain(ours[name, parameter]) != plain(casa_signatures[name][parameter]), reason
