"""`from calibrant import NAME` gives what its home defines, whatever was imported before, and imports nothing early."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import calibrant
from calibrant.cli import verbs

HOMES = calibrant._HOMES


def test_all_is_sorted_and_importable() -> None:
    assert calibrant.__all__ == sorted(calibrant.__all__)
    assert set(calibrant.__all__) == {*HOMES, "__version__"}
    assert set(calibrant.__all__) <= set(dir(calibrant))


@pytest.mark.parametrize("name", HOMES)
def test_name_is_what_its_home_defines(name: str) -> None:
    module, _, own = HOMES[name].partition(":")
    assert getattr(calibrant, name) is getattr(importlib.import_module(module), own or name)


@pytest.mark.parametrize("name", sorted(verbs.VERBS))
def test_verb_of_the_command_line_is_public(name: str) -> None:
    assert getattr(calibrant, name.replace(" ", "_")) is verbs.load(verbs.VERBS[name])


def test_type_checkers_see_the_same_names() -> None:
    stub = Path(calibrant.__file__).with_suffix(".pyi").read_text()
    imported = {
        alias.asname or alias.name: f"{node.module}:{alias.name}" if alias.asname != alias.name else node.module
        for node in ast.parse(stub).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == HOMES


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"'gaincall'; it has: .*gaincal,"):
        _ = calibrant.gaincall


def test_import_brings_in_nothing_but_the_standard_library() -> None:
    script = "import sys; before = set(sys.modules); import calibrant; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    foreign = {name.partition(".")[0] for name in done.stdout.split()} - sys.stdlib_module_names
    assert foreign == {"calibrant"}
