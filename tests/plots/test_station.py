"""Figures of the station: each draws, says what is absent, and marks what it must."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import fabricated_station as made
import numpy as np
import pytest

from calibrant.plots.station import PLOTS, SECTIONS, Scatter, draw_scatter
from calibrant.plots.station.common import category_styles, letters, utc_text, utc_ticks
from calibrant.plots.station.material import Line, StationMaterial
from calibrant.plots.station.scatter import save
from calibrant.plots.style import look

BARE = {"gains": (), "tcals": (), "trecs": (), "pointings": None, "weather": {}, "trends": (), "tables": {}}


def scatter(**changes: Any) -> Scatter:
    table = made.columns()
    given: dict[str, Any] = {
        "x": table["elevation_deg"], "y": table["sefd_jy"], "title": "SEFD", "xlabel": "x", "ylabel": "y",
        "source": table["source"], "group": table["source"], "deleted": table["deleted"],
    }  # fmt: skip
    return Scatter(**(given | changes))


def texts(figure: Any) -> list[str]:
    """Every text of a figure: axes, legends, annotations."""
    from matplotlib.text import Text

    return [one.get_text() for one in figure.findobj(Text) if one.get_text()]


@pytest.mark.parametrize("name", list(PLOTS))
def test_every_figure_draws_and_is_described(name: str) -> None:
    drawings = list(PLOTS[name].make(made.material()))
    assert drawings
    assert PLOTS[name].section in SECTIONS
    for drawing in drawings:
        assert drawing.png().startswith(b"\x89PNG")
        assert drawing.caption.endswith((".", "!"))
        assert len(drawing.alt) > 10


@pytest.mark.parametrize("name", ["gain_curve", "tcal_table", "trec", "pointing", "weather", "trends"])
def test_figure_without_its_data_is_absent_in_words(name: str) -> None:
    assert list(PLOTS[name].make(made.material(**BARE))) == []
    assert PLOTS[name].absent.endswith(".")


def test_one_scan_without_diode_still_draws_sefd() -> None:
    table = {key: values[:16] for key, values in made.columns().items()}
    table["no_diode"] = np.ones(16, dtype=bool)
    material = StationMaterial(table, np.full(16, "LO 8080.00 MHz"), np.full(16, np.nan), ("LO 8080.00 MHz",))
    drawn = [drawing.name for plot in PLOTS.values() for drawing in plot.make(material) if drawing.png()]
    assert {"sefd-frequency", "sefd-elevation", "coverage"} <= set(drawn)
    assert not any(name.startswith(("ratio", "compression", "gain", "tcal")) for name in drawn)


def test_letters_never_repeat() -> None:
    names = [letters(number) for number in range(1000)]
    assert len(set(names)) == 1000
    assert (names[0], names[25], names[26], names[51], names[52], names[701], names[702]) == (
        *("A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"),
    )  # fmt: skip


def test_colour_and_marker_together_tell_sixty_four_names_apart() -> None:
    styles = category_styles([f"{number:03d}u" for number in range(64)])
    assert len(set(styles.values())) == 64


def test_legend_names_every_source_once_with_its_letter() -> None:
    table = made.columns()
    sources = np.array([f"source{scan}" for scan in range(30)])[table["scan"] % 30]
    with look():
        figure = draw_scatter(scatter(source=sources, group=sources, with_letters=True, with_points=False))
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    shown = [label for label in labels if "source" in label]
    assert len(shown) == len(set(shown)) == len(set(sources))
    assert any(label.startswith("Z  ") or label.startswith("X  ") for label in shown)


@pytest.mark.parametrize("count", [1, 8, 20, 40])
def test_legend_stays_outside_of_the_axes_and_inside_of_the_figure(count: int) -> None:
    table = made.columns()
    group = np.array([f"{number:03d}u" for number in range(count)])[np.arange(len(table["time"])) % count]
    with look():
        figure = draw_scatter(scatter(group=group, group_label="detector"))
        figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    axes = figure.axes[0].get_window_extent()
    width, height = figure.get_size_inches() * figure.dpi
    assert axes.x1 <= box.x0 <= box.x1 <= width + 1
    assert 0 <= box.y0 <= box.y1 <= height + 1


def test_deleted_points_show_only_when_asked() -> None:
    with look():
        assert "deleted" not in texts(draw_scatter(scatter()))
        assert "deleted" in texts(draw_scatter(scatter(show_deleted=True)))


def test_points_outside_limits_lie_on_the_border() -> None:
    with look():
        figure = draw_scatter(scatter(limits=(20.0, 60.0, np.nan, np.nan)))
    assert figure.axes[0].get_xlim() == (20.0, 60.0)
    assert "outside the limits" in texts(figure)
    edge = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert set(np.unique(np.concatenate([line.get_xdata() for line in edge]))) <= {20.0, 60.0}


def test_lines_of_file_and_fit_are_solid_and_dashed_with_their_band() -> None:
    x = np.linspace(0, 90, 10)
    fit = Line(x, np.full(10, 900.0), np.full(10, 880.0), np.full(10, 920.0), (20.0, 70.0), "l")
    with look():
        figure = draw_scatter(scatter(from_file=[("x.rxg l", Line(x, np.full(10, 950.0)))], fitted=[("fit l", fit)]))
    styles = {line.get_linestyle() for line in figure.axes[0].lines}
    assert {"-", "--", ":"} <= styles
    assert {"x.rxg l", "fit l", "l"} <= set(texts(figure))


def test_nothing_to_draw_is_said() -> None:
    with look():
        figure = draw_scatter(scatter(y=np.full(len(made.columns()["time"]), np.nan)))
    assert "nothing selected has both quantities" in texts(figure)


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_saved_pictures_have_the_format_of_their_name_and_repeat(name: str, magic: bytes, tmp_path: Any) -> None:
    path = tmp_path / name
    save(lambda: draw_scatter(scatter()), str(path))
    assert path.read_bytes().startswith(magic)
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_failed_drawing_leaves_no_file(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="broken"):
        save(lambda: (_ for _ in ()).throw(ValueError("broken")), str(tmp_path / "a.png"))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_utc_ticks_show_the_date_first_and_after_midnight() -> None:
    start = made.START + 6 * 3600.0
    ticks, labels = utc_ticks(start, start + 10 * 3600.0, 6)
    assert labels[0].endswith("\n2016-03-07")
    assert labels[ticks.tolist().index(1457395200.0)] == "00:00\n2016-03-08"
    assert utc_ticks(start, start + 90 * 86400.0)[1][0] == "2016-03-14"
    assert utc_text(0.0) == "1970-01-01 00:00"


def test_bands_without_values_get_no_panel() -> None:
    material = made.material()
    ratio = np.where(material.band == list(made.BANDS)[1], material.ratio, np.nan)
    (drawing,) = PLOTS["ratio_time"].make(dataclasses.replace(material, ratio=ratio))
    with look():
        assert len(drawing.draw().axes) == 1


def test_importing_the_station_figures_loads_nothing_slow() -> None:
    code = (
        "import calibrant.plots.station, sys;"
        "print({'matplotlib', 'casacore', 'numba', 'scipy', 'astropy', 'calibrant.station'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"
