"""The verbs of the command line: where each function lives, and in which group `--help` shows it.

Adding a verb is one line here. Nothing is imported until the verb is called: the list of verbs takes its
sentences from the source text.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

GROUPS: dict[str, dict[str, str]] = {
    "Whole jobs": {
        "calibrate": "calibrant.jobs.calibrate:calibrate",
        "demo": "calibrant.jobs.demo:demo",
        "simulate": "calibrant.simulation.observation:simulate",
    },
    "Data": {
        "listobs": "calibrant.tasks.listobs:listobs",
        "importuvfits": "calibrant.tasks.importuvfits:importuvfits",
        "split": "calibrant.tasks.split:split",
    },
    "Flags": {
        "flagdata": "calibrant.tasks.flagdata:flagdata",
        "flagmanager": "calibrant.tasks.flagmanager:flagmanager",
    },
    "Calibration": {
        "setjy": "calibrant.tasks.setjy:setjy",
        "gaincal": "calibrant.tasks.gaincal:gaincal",
        "bandpass": "calibrant.tasks.bandpass:bandpass",
        "fluxscale": "calibrant.tasks.fluxscale:fluxscale",
        "applycal": "calibrant.tasks.applycal:applycal",
    },
}

VERBS: dict[str, str] = {name: target for group in GROUPS.values() for name, target in group.items()}


def group_of(name: str) -> str:
    """The title under which `--help` shows a verb."""
    return next(title for title, verbs in GROUPS.items() if name in verbs)


def load(target: str) -> Callable[..., Any]:
    """The function that "module:function" names."""
    module, _, function = target.partition(":")
    verb: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return verb


def summary(target: str) -> str:
    """First paragraph of a verb's docstring, from its source: importing every verb would make help slow."""
    module, _, function = target.partition(":")
    tree = ast.parse(_source(module).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    raise AttributeError(f"module {module!r} defines no function {function!r}")


def _source(module: str) -> Path:
    """The file of a module, found without importing the packages around it."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module named {top!r}", name=top)
    origin = Path(spec.origin)
    return origin.parent.joinpath(*rest).with_suffix(".py") if rest else origin


def describe(verb: Callable[..., Any]) -> tuple[str, list[str]]:
    """A verb's docstring as (what it does, the lines of its `Example:` section).

    The section is the indented block after a line `Example:`; what comes after it is for readers of the code.
    """
    text, _, rest = (inspect.getdoc(verb) or "").partition("\nExample:")
    lines = rest.splitlines()[1:]
    block: list[str] = []
    for line in lines:
        if line.strip() and not line.startswith(" "):
            break
        block.append(line)
    return text.strip(), inspect.cleandoc("\n".join(["", *block])).splitlines()
