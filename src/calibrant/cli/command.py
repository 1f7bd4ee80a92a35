"""A verb -> its command: arguments, options and help, all derived from the verb's declaration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer

from calibrant.cli import output, values
from calibrant.cli.verbs import describe
from calibrant.errors import ParameterError
from calibrant.params import Declared, Param, declared, provenance

DO_NOT_TRUST = 3
LISTS = """Lists: a,b or the option repeated. With a comma inside an item: "['a,b','c']"."""

RUNNING = "Running"
PANELS: dict[str, tuple[str, ...]] = {
    "Selection": (
        *("field", "spw", "antenna", "timerange", "scan", "uvrange", "intent", "correlation", "state"),
        *("observation", "array", "feed", "selectdata", "msselect"),
        *("source", "detector", "pol", "freq", "lo", "time", "elevation", "where", "session"),
    ),
    "Calibration applied first": (
        "gaintable",
        "gainfield",
        "interp",
        "spwmap",
        "parang",
        "docallib",
        "callib",
    ),
    RUNNING: ("output", "dry_run", "overwrite"),
}


def build(name: str, verb: Callable[..., Any]) -> Any:
    """The typer command of a verb. It returns the exit code: 0, or 3 where the verdict is against it."""
    items = declared(verb)

    def run(**given: Any) -> int:
        chosen = _values(items, given)
        try:
            result = verb(**chosen)
        except Exception as error:
            error.add_note(f"in {provenance(verb, chosen)}")
            raise
        output.show(result, as_json=given["json_"])
        return getattr(result, "exit_code", 0) or (DO_NOT_TRUST if _distrusted(result) else 0)

    parameters = [_parameter(item) for item in items] + _always()
    # typer reads both; a signature alone leaves it the **given of `run`.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    text, example = describe(verb)
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(
        name,
        help=_escape(_unwrapped(text)),
        epilog=_epilog(items, example),
        context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": _dashes},
    )(run)
    return typer.main.get_command(app)


def _distrusted(result: Any) -> bool:
    return bool(getattr(result, "verdict", "") == "do not trust")


def _dashes(option: str) -> str:
    return option.replace("_", "-")


def _parameter(item: Declared) -> inspect.Parameter:
    """One declared parameter as typer wants it; what is not given is not passed, the verb has the defaults."""
    many = values.is_list(item.type)
    kind: Any = bool if values.is_flag(item.type) else list[str] if many else str
    options: dict[str, Any] = {"help": _help(item), "show_default": False}
    options["metavar"] = item.name.upper() if item.param.positional else _metavar(item)
    default: Any = ... if item.required else None
    annotation = kind if item.required else kind | None
    if item.param.positional:
        info = typer.Argument(default, **options)
    else:
        panel = next((title for title, names in PANELS.items() if item.name in names), None)
        info = typer.Option(default, *_spellings(item), rich_help_panel=panel, **options)
    return inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=annotation)


def _spellings(item: Declared) -> list[str]:
    option = f"--{_dashes(item.name.rstrip('_'))}"
    if values.is_flag(item.type):
        return [f"{option}/--no-{_dashes(item.name)}"]
    return [option, "-o"] if item.name == "output" else [option]


def _choices(item: Declared) -> tuple[str, ...]:
    return item.param.choices or values.choices(item.type)


def _metavar(item: Declared) -> str:
    if values.is_flag(item.type):
        return ""
    return "CHOICE" if _choices(item) else values.word(item.type)


def _help(item: Declared) -> str:
    """The declared sentence, then choices, unit and default."""
    parts = [item.param.help]
    if _choices(item):
        parts.append(f"One of: {', '.join(choice or repr('') for choice in _choices(item))}.")
    if item.param.unit:
        parts.append(f"Unit: {item.param.unit}.")
    if not item.required and item.default not in ("", None, [], (), {}):
        parts.append(f"[default: {_shown(item.default)}]")
    return _escape(" ".join(parts))


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, list | tuple) and not any(isinstance(part, list | tuple) for part in default):
        return ",".join(str(part) for part in default)
    return str(default)


def _unwrapped(text: str) -> str:
    """Paragraphs as one line each, so that the terminal wraps them; indented blocks stay as they are."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(part if "\n " in part else " ".join(part.split()) for part in paragraphs)


def _escape(text: str) -> str:
    """Brackets are text here, not rich's markup."""
    return text.replace("[", r"\[")


def _epilog(items: list[Declared], example: list[str]) -> str:
    paragraphs = [LISTS] if any(values.is_list(item.type) and not item.param.positional for item in items) else []
    if example:
        paragraphs.append("Example:\n" + "\n".join(f"  {line}" for line in example))
    return _escape("\n\n".join(paragraphs))


def _always() -> list[inspect.Parameter]:
    """The options that every verb has."""
    kind = inspect.Parameter.KEYWORD_ONLY
    sentences = {"json": "Print the result as JSON.", "debug": "Show the traceback of an error."}
    return [
        inspect.Parameter(
            f"{name}_",
            kind,
            default=typer.Option(False, f"--{name}", metavar="", help=text, rich_help_panel=RUNNING),
            annotation=bool,
        )
        for name, text in sentences.items()
    ]


def _values(items: list[Declared], given: dict[str, Any]) -> dict[str, Any]:
    """The given options as values for the verb."""
    result = {}
    for item in items:
        raw = given[item.name]
        if raw is None or raw in ([], ()):
            continue
        result[item.name] = raw if isinstance(raw, bool) else _value(item, [raw] if isinstance(raw, str) else raw)
    return result


def _value(item: Declared, texts: list[str]) -> Any:
    hint = item.name.upper() if item.param.positional else _spellings(item)[0].partition("/")[0]
    try:
        # Words that stand alone are items as they are: a file's name may hold commas and brackets.
        many = item.param.positional and values.is_list(item.type)
        value = list(texts) if many else values.read(texts, item.type)
        for part in value if isinstance(value, list) else [value]:
            _check_choice(item, part)
    except (values.Misfit, ParameterError) as error:
        raise typer.BadParameter(str(error), param_hint=hint) from None
    return value


def _check_choice(item: Declared, value: Any) -> None:
    if _choices(item):
        Param(item.param.help, choices=_choices(item)).check(item.name, value)
