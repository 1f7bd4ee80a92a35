"""Figures of a run: what they draw, what they say, and what they do with little or nothing."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from calibrant.plots.acquire import PLOTS, AttemptLine, FrameLevels, Moment, RunMaterial, Span, thumbnail
from calibrant.plots.acquire.thumbnail import WIDTH

SPANS = (
    Span("Argon", "burning", 100, 300),
    Span("Argon", "warming", 100, 220),
    Span("expose", "bias", 0, 0),
    Span("expose", "arc", 220, 250),
    Span("readout", "readout", 250, 305, ok=False),
    Span("mask", "stand", 220, 240),
    Span("pointing", "move", 60, 100),
)
LINE = AttemptLine(
    "Begun", 1.7e9, 320, True, SPANS, SPANS[:1],
    (Moment(300, "alarm", "x"), Moment(250, "failed", "y"), Moment(200, "control", "z")), ("Argon", "Neon"),
)  # fmt: skip
LEVELS = FrameLevels("arc-01", "arc", "good", {"b": 1000.0, "r": 1010.0}, {"b": 40000.0, "r": 900.0})


def material(**changes: object) -> RunMaterial:
    usual = RunMaterial((LINE,), (LEVELS, replace(LEVELS, key="arc-02", state="bad")), ("b", "r"), 65535.0)
    return replace(usual, **changes)  # type: ignore[arg-type]


CASES: dict[str, dict[str, object]] = {
    "usual": {},
    "two attempts, one simulated": {"attempts": (LINE, replace(LINE, clock=False, planned=()))},
    "one bar": {"attempts": (replace(LINE, spans=SPANS[:1], moments=(), planned=(), lamps=("Argon",)),)},
    "only an alarm": {"attempts": (replace(LINE, spans=(), planned=()),)},
    "a whole day": {"attempts": (replace(LINE, seconds=90000),)},
    "an instant": {"attempts": (replace(LINE, seconds=0.0, spans=(Span("expose", "bias", 0, 0),), planned=()),)},
    "many frames and cameras": {
        "frames": tuple(replace(LEVELS, key=f"long-name-{n}") for n in range(100)),
        "cameras": tuple("abcdefghijkl"),
    },
    "no saturation": {"saturation": None},
    "zero counts": {"frames": (FrameLevels("zero", "bias", "good", {"b": 0.0}, {"b": 0.0}),)},
}


@pytest.mark.parametrize("case", CASES)
def test_every_figure_is_drawn(case: str) -> None:
    drawings = [drawing for plot in PLOTS.values() for drawing in plot.make(material(**CASES[case]))]
    assert drawings
    for drawing in drawings:
        image = Image.open(io.BytesIO(drawing.png()))
        assert image.width >= 1000 and drawing.alt and drawing.caption


def test_nothing_to_draw() -> None:
    nothing = replace(LINE, spans=(), planned=(), moments=())
    for plot in PLOTS.values():
        assert not list(plot.make(material(attempts=(nothing,), frames=()))) and plot.absent


def test_thumbnail_is_small_and_stretched() -> None:
    plane = np.full((1000, 500), 100, np.uint16)
    plane[:100] = 200
    plane[3, 3] = 65535
    image = Image.open(io.BytesIO(thumbnail(plane)))
    assert max(image.size) <= WIDTH and image.height > image.width
    grey = np.asarray(image)
    # The first rows are at the bottom; one hot pixel does not make all else black.
    assert grey[-5, 20] > 250 and grey[5, 20] < 5


@pytest.mark.parametrize("plane", [np.zeros((4, 4)), np.full((5, 5), np.nan), np.arange(300.0), np.ones((2, 3, 4))])
def test_odd_images(plane: np.ndarray) -> None:
    assert Image.open(io.BytesIO(thumbnail(plane))).width >= 1


def test_imports_nothing_of_the_engine() -> None:
    names = "[m for m in sys.modules if m.startswith(('calibrant.acquire', 'matplotlib'))]"
    code = f"import sys, calibrant.plots.acquire; print({names})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
