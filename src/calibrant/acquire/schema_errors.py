"""What a pydantic model refuses, as sentences: JSON path, value found, what is allowed, nearest match."""

from __future__ import annotations

import difflib
import types
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

_LONGEST = 60


def explain(error: ValidationError, model: type[BaseModel], given: Any) -> list[str]:
    """One sentence for each fault of `given`, which `model` refused."""
    sentences = []
    for fault in error.errors(include_url=False):
        where, value = _locate(given, fault["loc"], missing=fault["type"] == "missing")
        sentences.append(f"{_path(where)}: {_sentence(fault, where, value, model)}")
    return list(dict.fromkeys(sentences))


def nearest(word: str, allowed: list[str] | tuple[str, ...]) -> str:
    """' Did you mean ...?', or nothing; without regard to case."""
    folded = {item.lower(): item for item in allowed}
    near = difflib.get_close_matches(word.lower(), list(folded), n=1)
    return f" Did you mean {folded[near[0]]!r}?" if near else ""


def _locate(given: Any, loc: tuple[int | str, ...], missing: bool) -> tuple[list[int | str], Any]:
    """The part of `loc` that exists in what was given, and the value there: the rest is pydantic's own steps."""
    where: list[int | str] = []
    value = given
    for part in loc:
        if _has(value, part):
            # A key that is a number is still a key, not a place in a list.
            part, value = (str(part) if isinstance(value, dict) else part), value[part]
        elif missing and isinstance(value, dict):
            return [*where, part], None
        else:
            continue
        where.append(part)
    return where, value


def _has(value: Any, part: int | str) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)


def _path(where: list[int | str]) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the whole"


def _sentence(fault: Any, where: list[int | str], value: Any, model: type[BaseModel]) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        keys = _keys(model, where[:-1])
        return f"unknown key; known here: {', '.join(keys)}.{nearest(str(where[-1]), keys)}"
    if kind == "missing":
        return "is required and is not there"
    if kind == "literal_error":
        allowed = [item.strip("'") for item in context["expected"].replace(" or ", ", ").split(", ")]
        return f"found {_shown(value)}; allowed: {', '.join(allowed)}.{nearest(str(value), allowed)}"
    if kind == "value_error":
        return f"found {_shown(value)}; {context['error']}"
    if fault["loc"][-1:] == ("[key]",):
        return f"found {where[-1]!r}; a name is a text with at least one letter"
    if kind in ("model_type", "dict_type"):
        keys = _keys(model, where)
        return f"found {_shown(value)}; must be an object{' with ' + ', '.join(keys) if keys else ''}"
    if kind == "too_short":
        return f"found {_shown(value)}; must have at least {context['min_length']} item(s)"
    words = fault["msg"].replace("Input should be", "must be")
    return f"found {_shown(value)}; {words[:1].lower()}{words[1:]}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _keys(model: Any, where: list[int | str]) -> list[str]:
    """The keys that the model knows at a path."""
    kinds = [model]
    for part in where:
        kinds = [member for kind in kinds for member in _below(kind, part)]
    return [
        field.alias or name
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for name, field in kind.model_fields.items()
    ]


def _below(kind: Any, part: int | str) -> list[Any]:
    """The types that stand under `part` in a type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        return _members(field.annotation) if field else []
    if get_origin(kind) is dict:
        return _members(get_args(kind)[1])
    if get_origin(kind) in (list, tuple):
        return _members(get_args(kind)[0])
    return []


def _members(kind: Any) -> list[Any]:
    if get_origin(kind) in (Union, types.UnionType):
        return [part for member in get_args(kind) for part in _members(member)]
    if hasattr(kind, "__metadata__"):
        return _members(get_args(kind)[0])
    return [kind]
