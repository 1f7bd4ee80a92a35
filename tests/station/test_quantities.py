"""Quantities: every item of GNPLT's axes by its own name and by ours."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.errors import ParameterError
from calibrant.station.points import Points
from calibrant.station.quantities import QUANTITIES, quantity, quantity_error

GNPLT = {
    "Time": "time",
    "Elevation": "elevation",
    "Frequency": "frequency",
    "Azimuth": "azimuth",
    "Airmass": "airmass",
    "Gain Compression": "compression",
    "GC": "compression",
    "Tsys": "tsys",
    "SEFD": "sefd",
    "TCal(Jy)": "tcal_jy",
    "TCal(K)": "tcal_k",
    "TCal Ratio": "ratio",
    "Gain": "gain",
    "Tsys-Tspill": "tsys_minus_tspill",
    "Temperature": "temperature",
    "Pressure": "pressure",
    "Humidity": "humidity",
    "Wind Speed": "wind_speed",
    "Wind Azimuth": "wind_azimuth",
    "Assumed TCal(K)": "tcal_assumed",
    "Assumed Source Flux": "flux",
    "Assumed DPFU": "dpfu",
    "Assumed Gain Curve": "gain_curve",
    "Assumed DPFU*Gain Curve": "dpfu_gain_curve",
    "Zenith Opacity": "opacity",
    "LO": "lo",
    "Trec": "trec",
    "Tspill": "tspill",
}


@pytest.fixture
def points() -> Points:
    """Two points whose numeric columns are all different; the second one without receiver file."""
    table = Points.empty(2)
    numbers = [name for name, column in table.columns.items() if column.dtype.kind == "f"]
    columns = {name: np.array([number, number + 0.5]) for number, name in enumerate(numbers, start=1)}
    return table.replaced(**columns, rxg=np.array(["x.rxg", ""]))


@pytest.mark.parametrize(("theirs", "ours"), GNPLT.items())
def test_gnplt_names(points: Points, theirs: str, ours: str) -> None:
    assert QUANTITIES[theirs].name == ours
    np.testing.assert_array_equal(quantity(points, theirs), quantity(points, ours))


@pytest.mark.parametrize("name", list(QUANTITIES))
def test_every_quantity_can_be_had(points: Points, name: str) -> None:
    one = QUANTITIES[name]
    assert one.name == name and one.label and name in QUANTITIES
    assert quantity(points, name).shape == (2,)
    assert np.isfinite(quantity(points, name)).all()
    error = quantity_error(points, name)
    assert error is None or (error.shape == (2,) and not np.array_equal(error, quantity(points, name)))


def test_columns_are_names_too(points: Points) -> None:
    for column in ("sefd_jy", "elevation_deg", "tcal_ratio", "gain_corrected"):
        np.testing.assert_array_equal(quantity(points, column), points[column])
    np.testing.assert_array_equal(quantity(points, "sky"), points["tsys_minus_tspill_k"] - points["trec_k"])


def test_the_logs_own_values_stand_in_without_a_receiver_file(points: Points) -> None:
    assert quantity(points, "tsys").tolist() == [points["tsys_scaled_k"][0], points["tsys_k"][1]]
    assert quantity(points, "TCal Ratio").tolist() == [points["ratio"][0], points["tcal_ratio"][1]]
    error = quantity_error(points, "ratio")
    assert error is not None and error.tolist() == [points["ratio_err"][0], points["tcal_ratio_err"][1]]


def test_unknown_name_has_a_hint() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'elevation'"):
        QUANTITIES["elevaton"]
    assert "nothing of the kind" not in QUANTITIES
    nearest = {"humid": "humidity", "wind": "wind_speed", "GC2": "compression", "Tsys-Tspil": "tsys_minus_tspill"}
    for word, meant in nearest.items():
        with pytest.raises(ParameterError, match=f"Did you mean '{meant}'"):
            QUANTITIES[word]
    assert QUANTITIES["freq"].name == "frequency" and QUANTITIES["El"].name == "elevation"


def test_g_over_t_is_that_of_govert() -> None:
    """10 log10(8 pi k / (lambda^2 SEFD)): 1000 Jy at 8400 MHz, lambda 3.569 cm."""
    table = Points.empty(2)
    table.columns |= {"freq_mhz": np.array([8400.0, 8400.0]), "sefd_jy": np.array([1000.0, -3.0])}
    value = quantity(table, "G/T")
    assert value[0] == pytest.approx(10 * np.log10(8 * np.pi * 1.380649e-23 / (0.0356895783**2 * 1e-23)))
    assert value[0] == pytest.approx(44.35, abs=0.01) and np.isnan(value[1])
