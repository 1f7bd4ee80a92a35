"""Lists of flagging commands: lines such as

    mode='manual' antenna='DV01' timerange='05:00:00~05:00:07' reason='antenna not on source'
    mode='clip' clipminmax=[0,5] spw='0'    # a comment

Values are written as in Python; plain words need no quotes. Without a mode a line is 'manual'.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_origin

from calibrant.errors import ParameterError
from calibrant.registry import unknown

_PAIR = re.compile(r"""\s*(\w+)\s*=\s*('[^']*'|"[^"]*"|\[[^\]]*\]|[^\s'"\[]+)(?=\s|$)""")


@dataclass(frozen=True)
class Line:
    """One command: mode, parameters that were given, reason, and the place it was read from."""

    mode: str
    values: dict[str, Any]
    reason: str
    where: str


def read_list(inpfile: str | list[str], allowed: Mapping[str, Any], modes: tuple[str, ...]) -> list[Line]:
    """The commands of a file, of several files, or of lines given as a list.

    allowed: parameter -> its type. Raises ParameterError with file and line.
    """
    if not inpfile:
        raise ParameterError("mode='list' needs inpfile: a file of flagging commands, or a list of them")
    sources = [inpfile] if isinstance(inpfile, str) else inpfile
    lines: list[Line] = []
    for number, source in enumerate(sources, 1):
        if os.path.isfile(source):
            lines += _read_file(source, allowed, modes)
        elif "=" in source:
            lines.append(_parse(source, f"command {number} of the list", allowed, modes))
        else:
            raise ParameterError(f"inpfile: {source!r} is neither a file nor a command such as mode='manual' scan='1'")
    return lines


def _read_file(path: str, allowed: Mapping[str, Any], modes: tuple[str, ...]) -> Iterator[Line]:
    try:
        with open(path, encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"inpfile {path} cannot be read ({error})") from None
    for number, text in enumerate(lines, 1):
        if text.strip() and not text.strip().startswith("#"):
            yield _parse(text, f"{path}, line {number}", allowed, modes)


def _parse(text: str, where: str, allowed: Mapping[str, Any], modes: tuple[str, ...]) -> Line:
    values: dict[str, Any] = {}
    position = 0
    text = text.strip()
    while position < len(text):
        if text[position:].lstrip().startswith("#"):
            break
        match = _PAIR.match(text, position)
        if not match:
            rest = text[position:].strip()
            raise ParameterError(f"{where}: cannot be understood at {rest!r}; write key='value' pairs")
        key = match[1]
        if key in values:
            raise ParameterError(f"{where}: {key} is given twice")
        values[key] = match[2]
        position = match.end()
    mode, reason = _text(values.pop("mode", "manual")), _text(values.pop("reason", ""))
    if mode not in modes or mode == "list":
        raise ParameterError(f"{where}: " + unknown("mode", mode, tuple(name for name in modes if name != "list")))
    for key in values:
        if key not in allowed:
            raise ParameterError(f"{where}: " + unknown("parameter", key, tuple(allowed)))
    return Line(mode, {key: _value(value, allowed[key], key, where) for key, value in values.items()}, reason, where)


def _text(word: str) -> str:
    return word[1:-1] if word[:1] in "'\"" and word[-1:] == word[:1] and len(word) > 1 else word


def _value(word: str, kind: Any, key: str, where: str) -> Any:
    """`word` as a value of the declared type."""
    if kind is str:
        return _text(word)
    try:
        value = ast.literal_eval({"true": "True", "false": "False"}.get(_text(word).lower(), _text(word)))
    except (ValueError, SyntaxError):
        raise ParameterError(f"{where}: {key}={word} is no value for it") from None
    origin = get_origin(kind) or kind
    if origin is bool and isinstance(value, bool):
        return value
    if origin is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if origin is list and isinstance(value, list | tuple) and all(isinstance(item, int | float) for item in value):
        return [float(item) for item in value]
    raise ParameterError(f"{where}: {key}={word} is no value for it")
