"""The verbs of the command line: where each function lives, and in which group `--help` shows it.

Adding a verb is one line here; a name of several words ("station onoff") stands below its suite. Nothing is
imported until the verb is called: the list of verbs takes its sentences from the source text.
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
    "VLBI station": {
        "station check": "calibrant.station.verbs.check:check",
        "station onoff": "calibrant.station.verbs.onoff:onoff",
        "station edit": "calibrant.station.verbs.edit:edit",
        "station fit gain": "calibrant.station.verbs.fit_gain:fit_gain",
        "station fit tcal": "calibrant.station.verbs.fit_tcal:fit_tcal",
        "station fit trec": "calibrant.station.verbs.fit_trec:fit_trec",
        "station update": "calibrant.station.verbs.update:update",
        "station antab": "calibrant.station.verbs.antab:antab",
        "station report": "calibrant.jobs.station_report:report",
        "station plot": "calibrant.station.verbs.plot:plot",
        "station plan": "calibrant.station.verbs.plan:plan",
        "station simulate": "calibrant.station.verbs.simulate:simulate",
    },
    "All-sky array": {
        "allsky collect": "calibrant.allsky.verbs.collect:collect",
        "allsky calibrate": "calibrant.jobs.allsky_calibrate:calibrate",
        "allsky image": "calibrant.allsky.verbs.image:image",
        "allsky upload": "calibrant.allsky.verbs.upload:upload",
        "allsky rollback": "calibrant.allsky.verbs.rollback:rollback",
        "allsky status": "calibrant.allsky.verbs.status:status",
        "allsky simulate": "calibrant.allsky.verbs.simulate:simulate",
    },
    "Acquisition": {
        "acquire check": "calibrant.acquire.verbs.check:check",
        "acquire plan": "calibrant.acquire.verbs.plan:plan",
        "acquire run": "calibrant.jobs.acquire_run:run",
        "acquire resume": "calibrant.jobs.acquire_run:resume",
        "acquire status": "calibrant.acquire.verbs.status:status",
        "acquire stop": "calibrant.acquire.verbs.stop:stop",
        "acquire abort": "calibrant.acquire.verbs.abort:abort",
        "acquire schedule": "calibrant.jobs.acquire_run:schedule",
        "acquire report": "calibrant.jobs.acquire_report:report",
    },
}

SUITES: dict[str, str] = {
    "station": "Calibrate a VLBI station from Field System logs: onoff, edit, fit, update, antab, report.",
    "station fit": "Fit gain curve and DPFU, Tcal(K), or Trec and opacity.",
    "acquire": "Take calibration frames with real devices, safely: check, plan, run, resume, schedule, report.",
    "allsky": "Calibrate a small all-sky array (TART) on point sources: collect, calibrate, image, upload.",
}
"""Words that stand before verbs, and what their verbs are for."""

VERBS: dict[str, str] = {name: target for group in GROUPS.values() for name, target in group.items()}


def group_of(name: str) -> str:
    """The title under which `--help` shows a verb or a suite."""
    return next(title for title, verbs in GROUPS.items() if any(verb == name or _below(verb, name) for verb in verbs))


def words_after(prefix: str) -> list[str]:
    """The words that may follow a prefix ("" or a suite), in order: verbs and suites."""
    rests = [verb[len(prefix) :].split() for verb in VERBS if not prefix or _below(verb, prefix)]
    return list(dict.fromkeys(rest[0] for rest in rests))


def _below(verb: str, suite: str) -> bool:
    return verb.startswith(f"{suite} ")


def sentence(name: str) -> str:
    """What a verb or a suite is for."""
    return summary(VERBS[name]) if name in VERBS else SUITES[name]


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
    wrapped = _wrapped(tree, function)
    if wrapped:
        return summary(wrapped)
    raise AttributeError(f"module {module!r} defines no function {function!r}")


def _wrapped(tree: ast.Module, function: str) -> str:
    """What `function = wrapper(imported)` wraps, as "module:function"; empty where it is not defined so."""
    homes = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(args=[ast.Name(id=inner)])) if name == function:
                return homes.get(inner, "")
    return ""


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
