"""What the figures say about a run with known faults, and what they do with little or nothing."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import fabricated_run as made
import numpy as np
import pytest

from calibrant.plots import PLOTS, Material
from calibrant.plots.antennas import local_offsets
from calibrant.plots.panels import Panels
from calibrant.plots.series import cut
from calibrant.plots.solutions import frequency_groups, shorten
from calibrant.plots.ticks import amplitude_span, clock_ticks, day_of, nice_ticks, phase_limit, robust_span


def concerns(material: Material, plot: str) -> str:
    return "\n".join(text for drawing in PLOTS[plot].make(material) for text in drawing.concerns)


def test_failed_solutions_are_named_with_share_and_snr() -> None:
    text = concerns(made.material(), "bandpass_amplitude")
    assert "no solution at all: DV03" in text
    assert "DV02 YY: 80 % of solutions failed, median SNR of the rest 2.0" in text


def test_an_antenna_unlike_the_others_is_named() -> None:
    assert "DV01 XX: typical bandpass amplitude 2" in concerns(made.material(), "bandpass_amplitude")


def test_healthy_tables_raise_no_concern() -> None:
    material = made.material()
    for table in material.caltables.values():
        for spw in table.spws.values():
            spw.flag[:] = False
            spw.snr[:] = 50
            spw.param[:, made.LOUD, :, 0] = spw.param[:, 0, :, 0]
            if table.kind == "K Jones":
                spw.param /= 10
    for plot in ("bandpass_amplitude", "bandpass_phase", "gain_phase", "gain_amplitude", "delay"):
        assert concerns(material, plot) == "", plot


def test_phase_that_is_not_followed_is_named() -> None:
    table = made.phase_only(6, 1, nt=40)
    table.spws[0].param[:, 4, 0, 1] = np.exp(1j * np.random.default_rng(0).uniform(-3, 3, 40))
    text = concerns(made.material(6, 1, caltables={"phase_int": table}), "gain_phase")
    assert "DV04 YY: phase jumps by" in text
    assert text.count("phase jumps") == 1


def test_phase_only_table_has_no_amplitude_figure() -> None:
    material = made.material(caltables={"phase_int": made.phase_only(8, 2, nt=10)})
    assert len(list(PLOTS["gain_phase"].make(material))) == 2
    assert not list(PLOTS["gain_amplitude"].make(material))


def test_amplitudes_of_fields_at_different_levels_are_drawn_over_their_medians() -> None:
    table = made.table("G Jones", 8, 1, nt=4, fields=(0, 1))
    table.spws[0].param[1::2] *= 5
    (drawing,) = PLOTS["gain_amplitude"].make(made.material(8, 1, caltables={"amplitude": table}))
    assert "Medians: J2253+1608 1" in drawing.caption
    assert "J0006-0623 4.99" in drawing.caption


def test_baselines_of_one_antenna_off_the_model_are_named() -> None:
    averages = made.averages()
    part = averages.parts[0]
    part.columns["CORRECTED_DATA"].baseline[(part.ant1 == 5) | (part.ant2 == 5)] *= 1.5
    assert "DV05 XX spw 0: amplitude 3" in concerns(made.material(averages=averages), "corrected_uvdist")


def test_channel_with_interference_is_named() -> None:
    averages = made.averages()
    averages.parts[0].columns["CORRECTED_DATA"].channel[17, 0] = 9
    assert concerns(made.material(averages=averages), "corrected_frequency") == "spw 0 XX: channel 17 off the others"


def test_flux_that_disagrees_between_spws_is_named() -> None:
    material = made.material(8, 6)
    fluxes = list(material.fluxes)
    fluxes[-2] = dataclasses.replace(fluxes[-2], flux_jy=3.0)
    text = concerns(dataclasses.replace(material, fluxes=fluxes), "flux_densities")
    assert "J0006-0623 spw 4: 3 Jy lies" in text


def test_step_that_flags_much_is_named() -> None:
    assert concerns(made.material(), "flag_fractions") == "step solutions flagged 26 % of the data"


def test_long_lists_of_concerns_end_with_a_count() -> None:
    assert shorten([str(number) for number in range(11)])[-1] == "and 3 more of this kind"


def test_neighbouring_spws_share_a_figure_and_distant_or_overlapping_ones_do_not() -> None:
    table = made.table("B Jones", 4, 4, nchan=16)
    for spw, start in enumerate((1.0e9, 1.064e9, 1.5e9, 1.51e9)):
        table.spws[spw].freq[:] = start + np.arange(16) * 4e6
        table.spws[spw].width[:] = 4e6
    assert frequency_groups(table) == [[0, 1], [2], [3]]


@pytest.mark.parametrize("nant", [1, 8, 60])
def test_panels_have_a_place_for_every_antenna(nant: int) -> None:
    panels = Panels(
        made.names(nant), title="t", xlabel="x", ylabel="y", xlim=(0, 1), ylim=(0, 1),
        xticks=nice_ticks(0, 1), yticks=nice_ticks(0, 1),
    )  # fmt: skip
    corners = [panels.corner(number) for number in range(nant)]
    assert len(set(corners)) == nant
    assert min(y for _, y in corners) > 0


def test_values_off_the_scale_are_marked_at_the_edge() -> None:
    panels = Panels(
        ["A"], title="t", xlabel="x", ylabel="y", xlim=(0, 1), ylim=(0, 1),
        xticks=nice_ticks(0, 1), yticks=nice_ticks(0, 1),
    )  # fmt: skip
    panels.add(0, [0.2, 0.5, 0.8], [0.5, 7.0, -3.0], "#000000", marker="o")
    assert [style[1] for style in panels._strokes] == ["o", "^", "v"]


def test_lines_break_where_phases_wrap_and_at_the_ends_of_scans() -> None:
    x, y = cut(np.arange(5.0), np.array([170.0, -170, -160, -150, -140]), np.array([1, 1, 1, 2, 2]), True)
    assert np.isnan(y).tolist() == [False, True, False, False, True, False, False]
    assert len(x) == len(y)
    _, joined = cut(np.arange(3.0), np.array([1.0, 2, 3]), np.array([1, 2, 3]), True)
    assert not np.isnan(joined).any()


def test_clock_ticks_are_round_times_within_the_range() -> None:
    day = 60537 * 86400.0
    ticks, labels = clock_ticks(day + 18000.0, day + 18278.0, 4)
    assert labels == ["05:00", "05:02", "05:04"]
    assert ticks[0] == day + 18000
    assert day_of(day + 18000.0) == "2024-08-15"


def test_limits() -> None:
    assert robust_span(np.r_[np.linspace(1, 2, 50), 1e6])[1] < 3
    assert amplitude_span(np.array([1.0, 1.0001, 1.0002, 0.9999])) == pytest.approx((0.97, 1.03), abs=1e-3)
    assert amplitude_span(np.full(4, np.nan)) == (0.0, 1.0)
    assert phase_limit([3.0, np.nan]) == 10.0
    assert phase_limit([175.0]) == 180.0
    assert nice_ticks(97.0, 99.0, 3)[1] == ["97", "98", "99"]


def test_offsets_point_east_and_north() -> None:
    north_pole_side = np.array([[6.4e6, 0, 0], [6.4e6, 10, 0], [6.4e6, 0, 20]])
    offsets = local_offsets(north_pole_side)
    assert offsets[1] - offsets[0] == pytest.approx([10, 0, 0], abs=1e-3)
    assert offsets[2] - offsets[0] == pytest.approx([0, 20, 0], abs=1e-3)


def test_style_leaves_matplotlib_as_it_was() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    next(iter(PLOTS["scans"].make(made.material()))).png()
    assert dict(matplotlib.rcParams) == before


def test_importing_plots_loads_no_matplotlib() -> None:
    code = "import calibrant.plots, calibrant.weblog.report, sys; print({'matplotlib', 'jinja2'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"
