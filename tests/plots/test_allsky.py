"""Figures of all-sky arrays: what they draw, what they say, and what they do with little or nothing."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from calibrant.errors import CalibrantError
from calibrant.plots.allsky import PLOTS, SECTIONS, AllskyMaterial, Mark, SkyPanel, SourceFlux, draw_skies, smooth_png
from calibrant.plots.allsky.labels import place_labels, short_name
from calibrant.plots.allsky.sky import scale_of
from calibrant.plots.style import look

RNG = np.random.default_rng(3)
N = 8


def panel(name: str = "new", marks: tuple[Mark, ...] | None = None, size: int = 64) -> SkyPanel:
    axis = 1 - (np.arange(size) + 0.5) * 2 / size
    east, north = np.meshgrid(axis, axis)
    sky = np.exp(-((east - 0.5) ** 2 + (north - 0.4) ** 2) / 0.002) + 0.05 * RNG.standard_normal((size, size))
    sky[east**2 + north**2 > 1] = np.nan
    usual = (Mark("GPS 1 (PRN 01)", 51.0, 50.0, True), Mark("my source", 0.0, 45.0, True, True), Mark("s", 9, 9, False))
    return SkyPanel(name, f"{name} gains", sky, 0.05, usual if marks is None else marks)


def material(**changes: object) -> AllskyMaterial:
    i, _ = np.triu_indices(N, 1)
    model = RNG.standard_normal(len(i)) + 1j * RNG.standard_normal(len(i))
    positions = np.column_stack([RNG.uniform(-1, 1, (N, 2)), np.zeros(N)])
    usual = AllskyMaterial(
        panels=(panel("new"),), more=(),
        gain=np.linspace(0.8, 1.2, N), gain_err=np.full(N, 0.01), phase=np.linspace(-3, 3, N),
        phase_err=np.full(N, 0.02), state=("good",) * N, reference=0, stored_gain=np.ones(N),
        stored_phase=np.linspace(3, -3, N), length=RNG.uniform(0.2, 2, len(i)), observed=model + 0.01, model=model,
        noise=0.01, scatter=0.01,
        sources=(SourceFlux("a", 1, 0.3, 0.01, True), SourceFlux("a", 2, 0.2, 0.01, True, True),
                 SourceFlux("b", 1, 0.0, math.nan, False)),
        power=0.95, held_out=0.9, null=0.2, rival=math.nan, good_power=0.75, poor_power=0.5, positions=positions,
        turned=positions, rotation_deg=0.0, mirror=False, orientation="held as asked",
    )  # fmt: skip
    return replace(usual, **changes)  # type: ignore[arg-type]


CASES = {
    "usual": {"panels": (panel("none"), panel("stored"), panel("new")), "more": (panel("new"),)},
    "no stored gains": {"stored_gain": None, "stored_phase": None},
    "stored nan": {"stored_gain": np.full(N, np.nan), "stored_phase": np.full(N, np.nan)},
    "dead, weak, missing": {"state": ("good", "dead", "weak", "missing", "ignored", "good", "good", "good"),
                            "gain_err": np.array([0, np.nan, 0.1, np.nan, np.nan, 0, 0, 0])},
    "mirrored": {"mirror": True, "rotation_deg": 39.3, "rival": 0.4},
    "nothing but one source": {"sources": (SourceFlux("x", 1, 0.2, 0.0, True),), "null": math.nan},
    "one panel without marks": {"panels": (panel(marks=()),)},
    "flat sky": {"panels": (SkyPanel("new", "new", np.zeros((16, 16)), 0.0),)},
    "worse than nothing": {"held_out": -0.3, "null": -0.1},
    "many sources": {"sources": tuple(SourceFlux(f"s{k} (PRN {k})", 1, 1 / (k + 1), 0.1, k < 9) for k in range(150))},
    "zero model": {"model": np.zeros(N * (N - 1) // 2, complex)},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_figure_can_be_drawn(case: str) -> None:
    what = material(**CASES[case])
    for plot in PLOTS.values():
        assert plot.section in SECTIONS
        if plot.name.startswith("sky") and not {"panels", "more"} & CASES[case].keys():
            continue  # skies are slow to draw, and of nothing else
        for drawing in plot.make(what):
            image = Image.open(io.BytesIO(drawing.png()))
            assert min(image.size) > 100
            assert len(drawing.alt) > 10


def test_nothing_solved_draws_no_antennas() -> None:
    dead = material(state=("dead",) * N)
    assert not list(PLOTS["phases"].make(dead))
    assert not list(PLOTS["gains"].make(dead))


def test_weak_antennas_are_named() -> None:
    (drawing,) = PLOTS["gains"].make(material(state=("weak", *("good",) * (N - 1))))
    assert drawing.concerns == ("weak: antenna 0",)


def test_east_of_the_image_is_drawn_on_the_left() -> None:
    """The bright spot (l = 0.5 east, m = 0.4 north) is in the upper left quarter of the picture."""
    with look():
        pixels = np.asarray(Image.open(io.BytesIO(smooth_png(draw_skies([panel(marks=())], "")))).convert("RGB"))
    yellow = (pixels[..., 0] > 200) & (pixels[..., 2] < 150) & (pixels[..., 1] > 120)
    rows, columns = np.nonzero(yellow[: int(0.85 * len(yellow))])  # without the colour bar
    assert len(rows) > 20
    assert np.median(columns) < 0.4 * pixels.shape[1]
    assert np.median(rows) < 0.45 * pixels.shape[0]


def test_all_panels_have_one_scale() -> None:
    weak, strong = panel(), replace(panel(), scatter=0.01)
    assert scale_of((weak, strong)) == pytest.approx(strong.contrast)
    assert scale_of(()) == 10.0


def test_labels_keep_off_each_other_and_inside() -> None:
    points = [(0.0, 0.0), (0.05, 0.0), (0.0, 0.06), (0.95, 0.0)]
    places = place_labels(points, [(0.3, 0.05)] * 4, 0.03, 1.0)
    boxes = [place for place in places if place is not None]
    assert len(boxes) >= 3
    for k, (x, y) in enumerate(boxes):
        assert math.hypot(abs(x) + 0.15, abs(y) + 0.025) < 1.02
        for other_x, other_y in boxes[:k]:
            assert abs(x - other_x) > 0.25 or abs(y - other_y) > 0.04


def test_short_names() -> None:
    assert short_name("GPS BIIF-12  (PRN 32)") == "GPS BIIF-12"
    assert short_name("(odd)") == "(odd)"


def test_unknown_plot_is_refused() -> None:
    with pytest.raises((CalibrantError, KeyError)):
        PLOTS["nothing"]


def test_no_matplotlib_before_drawing() -> None:
    code = "import sys, calibrant.plots.allsky; assert not {'matplotlib', 'scipy', 'astropy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
