"""The `calibrant` command: finds the verb, runs it, turns errors into a line and an exit code.

Exit codes: 0 good, 1 error, 2 usage, 3 finished but the verdict is "do not trust", 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

import calibrant
from calibrant.cli import verbs
from calibrant.cli.output import complain
from calibrant.errors import CalibrantError
from calibrant.registry import unknown

INTERRUPTED = 130


class _Verbs(TyperGroup):
    """The verbs below a prefix as subcommands; one is imported only when it is the one that was called."""

    prefix = ""

    def list_commands(self, ctx: Any) -> list[str]:
        return verbs.words_after(self.prefix)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The entry for the list of verbs: name, group and first sentence."""
        name = self._full(cmd_name)
        panel = verbs.group_of(name) if not self.prefix else "Verbs"
        return TyperCommand(cmd_name, help=verbs.sentence(name).replace("[", r"\["), rich_help_panel=panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str, Any, list[str]]:
        from calibrant.cli.command import build

        word, rest = args[0], args[1:]
        if word not in self.list_commands(ctx):
            ctx.fail(unknown("verb", self._full(word), tuple(map(self._full, self.list_commands(ctx)))))
        name = self._full(word)
        if name in verbs.SUITES:
            return word, application(name), rest or ["--help"]
        return word, build(word, verbs.load(verbs.VERBS[name])), rest

    def _full(self, word: str) -> str:
        return f"{self.prefix} {word}".strip()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"calibrant {calibrant.__version__}")
        raise typer.Exit()


def application(suite: str = "") -> Any:
    """The whole command, or the part of it below a suite, as an object that typer can run."""
    app = typer.Typer(cls=_Verbs, add_completion=False, rich_markup_mode="rich")
    call = f"calibrant {suite}".strip()

    @app.callback(
        help=verbs.SUITES.get(suite, "Calibrate telescopes: read, flag, solve, judge, apply."),
        epilog=f"Options and an example of a verb: {call} VERB --help",
        context_settings={"help_option_names": ["-h", "--help"]},
        subcommand_metavar="VERB [OPTIONS]",
    )
    def top(
        version: bool = typer.Option(
            False, "--version", callback=_version, is_eager=True, metavar="", help="Print the version."
        ),
    ) -> None:
        pass

    group = typer.main.get_command(app)
    group.prefix = suite  # type: ignore[attr-defined]
    return group


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    debug = "--debug" in words or bool(os.environ.get("CALIBRANT_DEBUG"))
    try:
        code = int(application().main(words, prog_name="calibrant", standalone_mode=False) or 0)
    except Exception as error:
        code = _report(error, debug)
    if code == INTERRUPTED:
        complain("interrupted")
    return code


def _report(error: Exception, debug: bool) -> int:
    """Say what went wrong, and return the exit code."""
    if isinstance(error, typer.TyperException):
        return _report_usage(error)
    if debug:
        traceback.print_exception(error)
    if isinstance(error, CalibrantError):
        complain(str(error))
        return error.exit_code
    if isinstance(error, OSError) and error.strerror:
        complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    elif isinstance(error, MemoryError):
        complain("out of memory")
    else:
        complain(f"{type(error).__name__}: {error}")
        call = "".join(f"{note}\n" for note in getattr(error, "__notes__", ()))
        sys.stderr.write(f"{call}This is a bug in calibrant; --debug shows where.\n")
    return CalibrantError.exit_code


def _report_usage(error: typer.TyperException) -> int:
    complain(error.format_message())
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "calibrant"
    sys.stderr.write(f"Try '{path} --help'.\n")
    return error.exit_code
