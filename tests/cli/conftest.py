from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calibrant.cli import verbs
from calibrant.cli.main import main


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line with toy verbs instead of the real ones."""
    table = {"toycal": "toy_verbs:toycal"}
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setattr(verbs, "GROUPS", {"Toys": table})
    monkeypatch.setattr(verbs, "VERBS", table)


@pytest.fixture
def given(toys: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """given("--solint", "int") -> the values with which the toy verb was called."""

    def given(*words: str) -> dict[str, Any]:
        assert main(["toycal", "obs.ms", *words, "--json"]) == 0
        values: dict[str, Any] = json.loads(capsys.readouterr().out)["given"]
        return values

    return given
