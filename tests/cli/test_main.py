"""The command line as a user meets it: options, output, errors and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import calibrant
from calibrant.cli.main import main

Given = Callable[..., dict[str, Any]]

SLOW_TO_IMPORT = ("casacore", "numba", "astropy", "xarray", "scipy", "matplotlib", "pandas", "pydantic", "numpy")


def test_what_is_not_given_keeps_the_default_of_the_verb(given: Given) -> None:
    assert given() == {
        "vis": "obs.ms",
        "caltable": "",
        "solint": "inf",
        "calmode": "ap",
        "interp": "linear",
        "gaintable": None,
        "refant": "",
        "spwmap": None,
        "calwt": True,
        "fluxdensity": -1,
        "minsnr": 3.0,
        "minblperant": 4,
        "parang": False,
        "output": "",
        "dry_run": False,
    }


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["out.cal"], "caltable", "out.cal"),
        (["--solint", "int"], "solint", "int"),
        (["--solint=30s"], "solint", "30s"),
        (["--calmode", "p"], "calmode", "p"),
        (["--interp", "nearest"], "interp", "nearest"),
        (["--gaintable", "a", "--gaintable", "b"], "gaintable", ["a", "b"]),
        (["--gaintable", "a,b"], "gaintable", ["a", "b"]),
        (["--spwmap", "[[0,0],[1]]"], "spwmap", [[0, 0], [1]]),
        (["--calwt", "true,false"], "calwt", [True, False]),
        (["--fluxdensity", "-1"], "fluxdensity", -1.0),
        (["--minsnr", "5"], "minsnr", 5.0),
        (["--parang"], "parang", True),
        (["--no-parang"], "parang", False),
        (["-o", "results"], "output", "results"),
        (["--dry-run"], "dry_run", True),
        (["--dry_run"], "dry_run", True),
    ],
)
def test_option(given: Given, words: list[str], name: str, value: Any) -> None:
    assert given(*words)[name] == value


def test_json_has_numbers_for_numpy_and_null_for_nan(toys: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["toycal", "obs.ms", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["nan"], result["array"], result["bool"]) == (None, [0, 1, 2], True)
    assert result["gain"] == {"real": 1.0, "imag": -2.0}


def test_summary_in_words(toys: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["toycal", "obs.ms"]) == 0
    assert capsys.readouterr() == ("summary of obs.ms\n", "")


def test_a_verdict_against_the_result_is_exit_code_3(toys: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["toycal", "bad.ms"]) == 3


@pytest.mark.parametrize(
    ("vis", "code", "message"),
    [
        ("broken.ms", 1, "error: broken.ms: no column DATA\n"),
        ("missing.ms", 1, "error: missing.ms: No such file or directory\n"),
        ("slow.ms", 130, "error: interrupted\n"),
    ],
)
def test_error_is_one_line(toys: None, capsys: pytest.CaptureFixture[str], vis: str, code: int, message: str) -> None:
    assert main(["toycal", vis]) == code
    assert capsys.readouterr() == ("", message)


def test_a_bug_is_called_a_bug_and_names_the_call(toys: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["toycal", "bug.ms", "--solint", "int"]) == 1
    assert capsys.readouterr().err == (
        "error: ZeroDivisionError: division by zero\n"
        "in toycal(vis='bug.ms', solint='int')\n"
        "This is a bug in calibrant; --debug shows where.\n"
    )


@pytest.mark.parametrize("how", ["option", "environment"])
def test_debug_shows_the_traceback(
    toys: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "environment":
        monkeypatch.setenv("CALIBRANT_DEBUG", "1")
    assert main(["toycal", "broken.ms", *(["--debug"] if how == "option" else [])]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.endswith("error: broken.ms: no column DATA\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toycla"], "Did you mean 'toycal'?"),
        (["toycal", "obs.ms", "--gaintabel", "x"], "--gaintable"),
        (["toycal", "obs.ms", "--calmode", "pp"], "Did you mean 'p'?"),
        (["toycal", "obs.ms", "--interp", "lineer"], "Did you mean 'linear'?"),
        (["toycal", "obs.ms", "--minsnr", "x"], "--minsnr: expected NUMBER, found 'x'"),
        (["toycal"], "Missing argument 'VIS'"),
        (["--verzion"], "--version"),
    ],
)
def test_usage_error(toys: None, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(words) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert message in error
    assert error.splitlines()[-1].startswith("Try 'calibrant")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"calibrant {calibrant.__version__}\n"


def test_help_of_a_verb_teaches(
    toys: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["toycal", "--help"]) == 0
    text = capsys.readouterr().out
    assert "It reads the data once." in text
    assert "Interval [of time]. Unit: s. [default: inf]" in text
    assert "One of: ap, p, a." in text
    assert "calibrant toycal obs.ms toy.cal --solint 30s" in text
    assert text.index("Calibration applied first") > text.index("--solint")


def test_no_words_at_all_is_a_call_for_help(toys: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Solve for toys." in capsys.readouterr().out


def test_help_imports_nothing_slow() -> None:
    script = f"""
import sys
from calibrant.cli.main import main
code = main(["--help"])
slow = sorted(set({SLOW_TO_IMPORT}) & set(sys.modules))
sys.exit(f"imported: {{slow}}" if slow else code)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from calibrant.cli import main, verbs
verbs.VERBS = {{"toycal": "toy_verbs:toycal"}}
sys.stdin.read()
sys.exit(main.main(["toycal", "obs.ms"]))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin and child.stdout and child.stderr
    child.stdout.close()
    child.stdin.close()
    assert child.wait(timeout=60) == 0
    assert child.stderr.read() == ""
    child.stderr.close()
