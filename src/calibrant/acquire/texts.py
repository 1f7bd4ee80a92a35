"""JSON and YAML text -> plain values; what is broken is named by line and column, with what to write instead."""

from __future__ import annotations

import json
import re
from typing import Any

from calibrant.errors import FormatError

_LAST_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*"|[\w.+-]+|[^\s\w])\s*$')
_WORD = re.compile(r"[A-Za-z_]\w*")
_PYTHON = {"True": "true", "False": "false", "None": "null"}
_MOST = 20
_WORDS = {
    "Unterminated string starting at": "the text that begins here does not end: a '\"' is missing",
    "Invalid control character at": "the line ends within a text: a '\"' is missing",
}


def parse(text: str, name: str, *, json_only: bool = False) -> Any:
    """The value in `text`, read as JSON where it begins with a bracket, else as YAML; FormatError says what is wrong.

    `name` is what the text is called in errors. A key given twice is an error in both.
    """
    if json_only or text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text, object_pairs_hook=_once)
        except json.JSONDecodeError:
            if not json_only and (value := _flow_yaml(text)) is not None:
                return value
            raise FormatError(f"{name} is not valid JSON:\n{_listed(diagnose(text))}") from None
        except _Twice as twice:
            raise FormatError(f"{name}: the key {twice.args[0]!r} stands twice in one object; keep one") from None
    return _yaml(text, name)


class _Twice(Exception):
    """A key stands twice in one mapping."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _Twice(key)
        result[key] = value
    return result


def _listed(faults: list[str]) -> str:
    return "\n".join(f"  {fault}" for fault in faults)


class _Draft:
    """Text under repair: each character remembers where it stood in the original."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.where = list(range(len(text) + 1))
        self.original = text
        self.open_braces = 0
        """Braces that were put in and that want closing at the end."""

    def replace(self, begin: int, end: int, new: str) -> None:
        self.text = self.text[:begin] + new + self.text[end:]
        self.where[begin:end] = [self.where[begin]] * len(new)

    def place(self, position: int) -> str:
        at = self.where[min(position, len(self.where) - 1)]
        line = self.original.count("\n", 0, at) + 1
        return f"line {line}, column {at - (self.original.rfind(chr(10), 0, at) + 1) + 1}"


def diagnose(text: str) -> list[str]:
    """Every fault of broken JSON, as 'line 3, column 15: what to do', found by mending one after the other."""
    draft = _Draft(text)
    faults: list[str] = []
    while len(faults) < _MOST:
        try:
            json.loads(draft.text)
            break
        except json.JSONDecodeError as error:
            fault = _mend(draft, error)
            if fault is None:
                faults.append(f"{draft.place(error.pos)}: {_WORDS.get(error.msg, error.msg)}")
                break
            if fault:
                faults.append(fault)
    return faults


def _mend(draft: _Draft, error: json.JSONDecodeError) -> str | None:
    """Mend one fault and name it; '' where it belongs to a fault named before, None where no mending is known."""
    text, at = draft.text, error.pos
    before = _LAST_TOKEN.search(text[:at])
    if error.msg.startswith("Illegal trailing comma"):
        return _drop_comma(draft, at)
    found = text[at : at + 1]
    if found in ("}", "]") and before and before[1] == ",":
        return _drop_comma(draft, before.start(1))
    if found and (found == "#" or text.startswith("//", at)):
        end = text.find("\n", at)
        return _swap(draft, at, len(text) if end < 0 else end, "", "JSON has no comments: take it out, or write YAML")
    if found == "'" and (close := text.find("'", at + 1)) > 0 and "\n" not in text[at:close]:
        new = '"' + text[at + 1 : close].replace('"', '\\"') + '"'
        return _swap(draft, at, close + 1, new, f"write {new} with double quotes")
    if error.msg.startswith("Expecting ',' delimiter"):
        return _mend_delimiter(draft, at, before)
    if error.msg.startswith("Expecting ':' delimiter") and before:
        return _insert(draft, before.end(1), ":", f"':' is missing after {before[1]}")
    if error.msg.startswith(("Unterminated string", "Invalid control character")):
        return None
    if found in ("}", "]", ",") and before and before[1] == ":":
        return _insert(draft, before.end(1), " null", "a value is missing after ':'")
    if word := _WORD.match(text, at):
        return _mend_word(draft, at, word[0], error.msg)
    if error.msg.startswith("Extra data") and found in ("}", "]"):
        return _swap(draft, at, at + 1, "", f"there is one {found!r} too many; take it out")
    if not found and before:
        return _close(draft)
    return None


def _mend_delimiter(draft: _Draft, at: int, before: re.Match[str] | None) -> str | None:
    text = draft.text
    found = text[at : at + 1]
    if not found:
        return _close(draft)
    if found == ":" and before and before[1].startswith('"'):
        colon = _LAST_TOKEN.search(text[: before.start(1)])
        if colon and colon[1] == ":":
            key = _LAST_TOKEN.search(text[: colon.start(1)])
            draft.open_braces += 1
            of = f"{key[1]}:" if key else "':'"
            message = f"'{{' is missing after {of} (and a '}}' to close it at the end)"
            return _insert(draft, colon.end(1), " {", message)
    if before and (found in '"{[-' or found.isalnum()):
        return _insert(draft, before.end(1), ",", f"',' is missing after {before[1]}")
    if found in "}]":
        return _swap(draft, at, at + 1, "]" if found == "}" else "}", f"{found!r} does not close what was opened last")
    return None


def _mend_word(draft: _Draft, at: int, word: str, message: str) -> str:
    if word in _PYTHON and message.startswith("Expecting value"):
        return _swap(draft, at, at + len(word), _PYTHON[word], f"write {_PYTHON[word]} for {word}: JSON is not Python")
    return _swap(draft, at, at + len(word), f'"{word}"', f'write "{word}" with quotes')


def _drop_comma(draft: _Draft, at: int) -> str:
    return _swap(draft, at, at + 1, "", "take out the ',': nothing follows it")


def _swap(draft: _Draft, begin: int, end: int, new: str, message: str) -> str:
    place = draft.place(begin)
    draft.replace(begin, end, new)
    return f"{place}: {message}"


def _insert(draft: _Draft, at: int, new: str, message: str) -> str:
    place = draft.place(at)
    draft.replace(at, at, new)
    return f"{place}: {message}"


def _close(draft: _Draft) -> str:
    """Close what is open at the end of the text."""
    stack: list[str] = []
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', draft.text):
        if token[0] in "{[":
            stack.append("}" if token[0] == "{" else "]")
        elif token[0] in "}]" and stack:
            stack.pop()
    closing = stack[-1] if stack else "}"
    at = len(draft.text.rstrip())
    place = draft.place(at)
    draft.replace(at, at, closing)
    if closing == "}" and draft.open_braces:
        draft.open_braces -= 1
        return ""
    return f"{place}: {closing!r} is missing at the end"


def _flow_yaml(text: str) -> Any:
    """YAML in braces whose keys have no quotes, `{biases: {count: 5}}`; None where it is not YAML either."""
    if '"' in text or "'" in text:
        return None
    try:
        return _yaml(text, "")
    except FormatError:
        return None


def _yaml(text: str, name: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise FormatError(f"{name} is not valid YAML:\n  {place}{_yaml_words(error)}") from None
    except yaml.YAMLError as error:
        raise FormatError(f"{name} is not valid YAML: {error}") from None
    except _Twice as twice:
        raise FormatError(f"{name}: the key {twice.args[0]!r} stands twice in one mapping; keep one") from None


def _yaml_words(error: Any) -> str:
    words = str(error.problem or error.context)
    if "\\t" in words:
        return f"{words}: indent with spaces, not tabs"
    if "mapping values are not allowed" in words:
        return f"{words}: a line above lacks its ':' or its indentation, or a text with ': ' wants quotes"
    return words


_LOADER: list[type[Any]] = []


def _integer(loader: Any, node: Any) -> int:
    return int(loader.construct_scalar(node))


def _loader() -> type[Any]:
    """A safe loader with the scalars of YAML 1.2: 23:30 and on are text, 1e3 is a number; keys only once."""
    if _LOADER:
        return _LOADER[0]
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {}
    for tag, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?\d+", list("-+0123456789")),
        (
            "float",
            r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
            list("-+.0123456789"),
        ),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), first)
    Loader.add_constructor("tag:yaml.org,2002:int", _integer)

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        return _once(
            [(loader.construct_object(k, deep=True), loader.construct_object(v, deep=True)) for k, v in node.value]
        )

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    _LOADER.append(Loader)
    return Loader
