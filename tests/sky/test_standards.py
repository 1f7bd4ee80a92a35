"""Which calibrator a field is, how bright it is then, and what is said where that is not known."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.errors import FluxModelError, FormatError
from calibrant.sky import standards as sky

ARCSEC = np.radians(1 / 3600)
PB17, PT99 = "Perley-Butler 2017", "Perley-Taylor 99"
C286 = (3.539257626070549, 0.5324850225220917)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("1331+30500002_0", "3C286"), ("J1331+3030=3C286", "3C286"), ("3C 286", "3C286"), ("3c_286", "3C286"),
        ("3c286_bp", "3C286"), ("CAL3C286", "3C286"), ("1328+307", "3C286"), ("0137+331=3C48", "3C48"),
        ("3C_147", "3C147"), ("TAU-A", "Taurus A"), ("m87", "Virgo A"), ("CasA", "Cassiopeia A"),
        ("CAS_A", "Cassiopeia A"), ("fornax a", "Fornax A"), ("PKS1934-638", "1934-638"), ("J1939-6342", "1934-638"),
    ],
)  # fmt: skip
def test_names(name: str, source: str) -> None:
    found = sky.find_source(None, name)
    assert found is not None and found.name == source


@pytest.mark.parametrize(
    "name", ["3C480", "3C2860", "13C286", "M870", "SCRAB", "TARGET", "1445+099", "", "Cas", "N5921"]
)
def test_names_of_other_sources(name: str) -> None:
    assert sky.find_source(None, name) is None


def test_position_is_enough() -> None:
    ra, dec = C286
    near = sky.find_source(PB17, "BANDPASS", (ra, dec + 5 * ARCSEC))
    assert near is not None and near.name == "3C286"
    assert sky.find_source(PB17, "BANDPASS", (ra, dec + 20 * ARCSEC)) is None
    assert sky.find_source(PB17, None, (ra - 2 * np.pi, dec)) is not None


def test_extended_source_matches_over_its_extent() -> None:
    ra, dec = next(source.direction for source in sky.known_calibrators() if source.name == "Fornax A")
    found = sky.find_source(PB17, "mosaic 3", (ra, dec + 600 * ARCSEC))
    assert found is not None and found.name == "Fornax A"


def test_name_with_a_slightly_different_position_is_accepted() -> None:
    assert sky.find_source(PB17, "3C286", (C286[0], C286[1] + 30 * ARCSEC)) is not None


def test_name_and_position_that_contradict_are_an_error() -> None:
    with pytest.raises(FluxModelError, match=r"'3C286' has the name of 3C286, but lies 5\.0 deg from it .*standard="):
        sky.find_source(PB17, "3C286", (C286[0], C286[1] + np.radians(5)))
    with pytest.raises(FluxModelError, match="which is where 3C286 is"):
        sky.find_source(PB17, "3C48", C286)


def test_digits_after_coordinates_may_be_another_source() -> None:
    """0137+3315 begins like 3C48's 0137+331, but lies elsewhere: not a contradiction, just another source."""
    assert sky.find_source(PB17, "J0137+3315", (0.4263, 0.6)) is None
    assert sky.find_source(PB17, "1331+30500002_0", C286) is not None


def test_two_names_in_one_field_need_a_position() -> None:
    with pytest.raises(FluxModelError, match="may be 3C48 or 3C286"):
        sky.find_source(PB17, "3C48_3C286")
    found = sky.find_source(PB17, "3C48_3C286", C286)
    assert found is not None and found.name == "3C286"


def test_ngc5921() -> None:
    """CASA on NGC5921, 1331+305, 1413.42 MHz (middle channel)."""
    freq = 1413.42e6
    assert sky.flux_density(PT99, "3C286", freq) == pytest.approx([14.76074], rel=2e-6)
    assert sky.flux_density(PB17, "3C286", freq) == pytest.approx([15.01183], rel=2e-6)


def test_errors_of_the_coefficients() -> None:
    """3C286 at 10 GHz, x = 1: ln10 S sqrt(0.0005^2 + 0.0009^2 + 0.0011^2 + 0.0009^2)."""
    flux = sky.flux_density(PB17, "3C286", 10e9)[0]
    assert sky.flux_error(PB17, "3C286", 10e9) == pytest.approx([2.302585 * flux * np.sqrt(3.08e-6)], rel=1e-6)
    assert np.isnan(sky.flux_error(PT99, "3C286", 10e9)).all()
    # of the flux itself where that is what the standard gives: 0.746 Jy of 27.477 at 150 MHz
    assert sky.flux_error("Scaife-Heald 2012", "3C286", 150e6) == pytest.approx([0.746])


def test_nearest_epoch_is_the_nearest() -> None:
    """casacore's 'nearest' takes the epoch before (it wants less than half a DAY to the next): not copied."""
    mjd = {year: 51544.5 + (year - 2000) * 365.25 for year in (2014.3, 2014.7, 1970.0, 2030.0)}
    epochs = {epoch.year: epoch.pieces[0] for epoch in sky.get_standard(PB17).entries["3C147"].epochs}
    for when, year in ((2014.3, 2012.0), (2014.7, 2017.0), (1970.0, 1983.4), (2030.0, 2017.0)):
        flux = sky.flux_density(PB17, "3C147", 5e9, mjd[when])
        assert flux == pytest.approx(epochs[year](np.array([5e9])))
    assert sky.flux_density(PB17, "3C147", 5e9) == pytest.approx(epochs[2017.0](np.array([5e9])))


def test_outside_the_range_is_said_or_refused() -> None:
    assert sky.notes(PB17, "3C286", [1e9, 2e9]) == []
    (note,) = sky.notes(PB17, "3C286", [60e9, 70e9])
    assert "60 to 70 GHz is outside the range of Perley-Butler 2017 (0.05 to 50 GHz)" in note
    assert sky.flux_density(PB17, "3C286", 70e9) > 0
    with pytest.raises(FluxModelError, match=r"between 0\.05 and 50 GHz, but 230 GHz is asked for.*standard='manual'"):
        sky.flux_density(PB17, "3C286", 230e9)
    with pytest.raises(FluxModelError, match="Use standard='Perley-Butler 2017'"):
        sky.flux_density("Scaife-Heald 2012", "3C286", 1.4e9)


def test_notes_on_variable_and_extended_sources() -> None:
    (stale,) = sky.notes(PB17, "3C48", 5e9, 60537.0)
    assert "3C48 varies: the coefficients of 2017.0 are the nearest to the observation of 2024.6" in stale
    assert "about 8 arcmin across" in sky.notes(PB17, "Cassiopeia A", 1e9)[0]


def test_unknown_calibrator_is_explained() -> None:
    text = str(sky.explain_unknown(PB17, "3C268", (C286[0] + 1e-3, C286[1])))
    assert "field '3C268' (at RA 202.8" in text
    assert "Nearest by name: 3C286." in text
    assert "Nearest by position: 3C286, 3.0 arcmin away." in text
    assert "Known: J0133-3629, 3C48," in text and "standard='manual'" in text
    assert "it is in Perley-Butler 2017, Perley-Butler 2013" in str(sky.explain_unknown(PT99, "3C123", None))


@pytest.mark.parametrize("name", ["Neptune", "URANUS_2", "ceres"])
def test_planets_are_named_as_such(name: str) -> None:
    assert "ephemeris models are not yet available" in str(sky.explain_unknown(PB17, name, None))


def test_unknown_standard_and_source() -> None:
    with pytest.raises(FluxModelError, match=r"known: .*Did you mean 'Perley-Butler 2017'"):
        sky.get_standard("Perley-Buttler 2017")
    with pytest.raises(FluxModelError, match="Perley-Taylor 99 has no source called '3C123'"):
        sky.flux_density(PT99, "3C123", 1e9)


GOOD = """
name = "Test"
reference = "nobody"
form = "log10"
reference_frequency = 1e9
range = [1e9, 2e9]
[sources."3C286"]
coefficients = [1.0, -0.5]
[sources."New 1"]
direction = ["01h00m00.0s", "-30d00m00.0s"]
pieces = [{ from = 0.0, coefficients = [0.0] }, { from = 1.5e9, coefficients = [1.0] }]
"""


def test_one_file_makes_a_standard() -> None:
    standard = sky.read_standard(GOOD, "test.toml")
    assert standard.entries["3C286"].source.aliases == ("1328+307", "1331+305", "J1331+3030")
    new = standard.entries["New 1"]
    assert np.degrees(new.source.direction) == pytest.approx([15.0, -30.0])
    assert [piece(np.array([1e9]))[0] for piece in new.epochs[0].pieces] == pytest.approx([1.0, 10.0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "Test"', "", r"test\.toml lacks name"),
        ("range = [1e9, 2e9]", "range = [1e9]", r"range must be a list of 2 numbers"),
        ('form = "log10"', 'form = "ln"', "form is 'ln'"),
        ("coefficients = [1.0, -0.5]", "coefficient = [1.0]", r"\[sources.3C286\] has unknown coefficient"),
        ("coefficients = [1.0, -0.5]", "", r"\[sources.3C286\] needs exactly one of coefficients, epochs, pieces"),
        ("coefficients = [1.0, -0.5]", "coefficients = [1, 2]\nerrors = [1]", "errors must be a list of 2 numbers"),
        ('"3C286"', '"3C999"', "not in calibrators.toml"),
        ("01h00m00.0s", "15deg", "it must be like"),
        ("[sources", "[[sources", "not valid TOML"),
    ],
)
def test_malformed_file_is_named_with_the_place(old: str, new: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        sky.read_standard(GOOD.replace(old, new, 1), "test.toml")
