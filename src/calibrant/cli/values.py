"""Words of the command line -> values of the type that a verb declares.

Scalars are written plainly. A list is written `a,b`, or the option is repeated (each word is then one item,
commas included), or as a Python or JSON list: `[[0,0],[1]]`, `['linear,linearflag','nearest']`.
"""

from __future__ import annotations

import ast
import json
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin


class Misfit(ValueError):
    """Text that is no value of the wanted type."""


def members(kind: Any) -> list[Any]:
    """The alternatives of a type: those of a union without None, or the type itself."""
    if get_origin(kind) in (Union, types.UnionType):
        return [part for member in get_args(kind) if member is not type(None) for part in members(member)]
    return [kind]


def is_flag(kind: Any) -> bool:
    """True for plain bool: an option without a value."""
    return members(kind) == [bool]


def is_list(kind: Any) -> bool:
    """True where the type accepts a list (the option may be repeated)."""
    return any((get_origin(member) or member) in (list, tuple) for member in members(kind))


def choices(kind: Any) -> tuple[str, ...]:
    """The strings that a Literal type allows; empty for other types."""
    return tuple(word for member in members(kind) if get_origin(member) is Literal for word in get_args(member))


def word(kind: Any) -> str:
    """How a type is called in help: TEXT, INT, NUMBER, LIST, ... joined by |."""
    names = {bool: "BOOL", int: "INT", float: "NUMBER", str: "TEXT", dict: "DICT"}
    shown = ["LIST" if is_list(m) else names.get(get_origin(m) or m, "TEXT") for m in members(kind)]
    return "|".join(dict.fromkeys(shown))


def read(texts: Sequence[str], kind: Any) -> Any:
    """The value of type `kind` that the words given to one option stand for; else Misfit."""
    try:
        return _read_list(texts, kind) if is_list(kind) else _read_one(texts[-1], kind)
    except Misfit:
        quote = "; text in a list with brackets is quoted: ['a','b']" if texts[-1].startswith("[") else ""
        raise Misfit(f"expected {word(kind)}, found {' '.join(texts)!r}{quote}") from None


def _read_list(texts: Sequence[str], kind: Any) -> Any:
    if len(texts) > 1:
        return _fit([_plain(text, kind) for text in texts], kind)
    text = texts[0].strip()
    if not text:
        return []
    try:
        return _fit(_literal(text), kind)
    except Misfit:
        if text.startswith("["):
            raise
    return _fit([_plain(item, kind) for item in text.split(",")], kind)


def _read_one(text: str, kind: Any) -> Any:
    if str in members(kind) or choices(kind):
        others = [member for member in members(kind) if member is not str and get_origin(member) is not Literal]
        for member in others:
            try:
                return _fit(_literal(text), member)
            except Misfit:
                continue
        return text
    return _fit(_literal(text), kind)


def _plain(item: str, kind: Any) -> Any:
    """An item of a list: text where the type has lists of text, else a literal."""
    of_text = any(get_args(member)[:1] == (str,) for member in members(kind))
    return item.strip() if of_text else _literal(item)


def _literal(text: str) -> Any:
    """A number, bool, list or dict written in Python or JSON; `0,1` is a list; anything else is a Misfit."""
    for attempt in (json.loads, ast.literal_eval):
        for candidate in (text.strip(), f"[{text}]"):
            try:
                return attempt(candidate)
            except (ValueError, SyntaxError, TypeError):
                continue
    try:
        return float(text)
    except ValueError:
        raise Misfit(text) from None


def _fit(value: Any, kind: Any) -> Any:
    """`value` as the first alternative of `kind` that takes it (an item alone fills a list)."""
    for member in members(kind):
        try:
            return _fit_member(value, member)
        except Misfit:
            continue
    if is_list(kind) and not isinstance(value, list | tuple):
        return _fit([value], kind)
    raise Misfit(repr(value))


def _fit_member(value: Any, kind: Any) -> Any:
    if kind is Any:
        return value
    origin = get_origin(kind) or kind
    if origin in (list, tuple) and isinstance(value, list | tuple):
        inner = get_args(kind)[:1]
        return [_fit(item, inner[0]) for item in value] if inner else list(value)
    if origin is dict and isinstance(value, dict):
        return value
    if origin is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if origin in (bool, int, str) and type(value) is origin:
        return value
    raise Misfit(repr(value))
