"""Every figure in the registry: draws a full run, survives an empty one, and describes itself."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from calibrant.plots import PLOTS, SECTIONS

sys.path.insert(0, str(Path(__file__).parent.parent / "plots"))
import fabricated_run as made

every_plot = pytest.mark.parametrize("name", list(PLOTS))
MOST_BYTES = 400_000


@every_plot
def test_describes_itself(name: str) -> None:
    plot = PLOTS[name]
    assert plot.section in SECTIONS
    assert plot.absent.endswith(".")
    assert plot.title


@every_plot
def test_draws_a_full_run(name: str) -> None:
    from PIL import Image

    drawings = list(PLOTS[name].make(made.material()))
    assert drawings
    assert len({drawing.name for drawing in drawings}) == len(drawings)
    for drawing in drawings[:2]:
        assert drawing.title and drawing.alt and len(drawing.caption) > 60, drawing.name
        png = drawing.png()
        image = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
        assert len(png) < MOST_BYTES
        assert image.shape[1] == 1200
        assert (image < 200).mean() > 0.001, "the picture is blank"


@every_plot
def test_draws_sixty_antennas(name: str) -> None:
    drawing = next(iter(PLOTS[name].make(made.material(60, 1))))
    assert len(drawing.png()) < MOST_BYTES


@every_plot
def test_has_nothing_to_draw_in_an_empty_run(name: str) -> None:
    empty = made.material(
        caltables={}, averages=None, antennas=[], positions=np.zeros((0, 3)), roles={}, scans=[], fluxes=[], flags=[]
    )
    assert list(PLOTS[name].make(empty)) == []


@every_plot
def test_draws_a_run_in_which_everything_is_flagged(name: str) -> None:
    material = made.material()
    for table in material.caltables.values():
        for spw in table.spws.values():
            spw.flag[:] = True
    for part in material.averages.parts:  # type: ignore[union-attr]
        for column in part.columns.values():
            for values in vars(column).values():
                values[:] = np.nan
    for drawing in PLOTS[name].make(material):
        assert drawing.png()
