"""Progress: quiet for short work, lines in logs, a bar on a terminal, all of it on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from calibrant import progress as module
from calibrant.progress import enable, progress, say


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


@pytest.fixture(autouse=True)
def switched_on() -> Iterator[None]:
    yield
    enable(True)


def test_work_under_a_second_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("apply", 10) as bar:
        for _ in range(10):
            clock.now += 0.09
            bar.advance()
    assert capsys.readouterr() == ("", "")


def test_a_line_every_ten_seconds_where_there_is_no_terminal(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("apply", 100) as bar:
        for _ in range(25):
            clock.now += 1.0
            bar.advance(4)
    assert capsys.readouterr() == ("", "apply: 40 % after 10 s\napply: 80 % after 20 s\n")


def test_a_bar_on_a_terminal_goes_away(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("apply", 4) as bar:
        clock.now += 2
        bar.advance(2)
        assert bar._rich is not None
        assert bar._rich.tasks[0].completed == 2
    assert bar._rich.live.is_started is False
    assert capsys.readouterr().out == ""


def test_a_bar_is_closed_after_an_error(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(KeyboardInterrupt), progress("apply", 4) as bar:
        clock.now += 2
        bar.advance()
        raise KeyboardInterrupt
    assert bar._rich is not None and bar._rich.live.is_started is False


def test_nothing_to_do_is_no_division_by_zero(clock: Clock) -> None:
    with progress("apply", 0) as bar:
        clock.now += 20
        bar.advance(0)


def test_words_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_switched_off_it_is_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    enable(False)
    say("hello")
    with progress("apply", 4) as bar:
        clock.now += 60
        bar.advance()
    assert capsys.readouterr() == ("", "")
