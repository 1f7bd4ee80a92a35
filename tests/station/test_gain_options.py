"""Where Tcal of the gain and the opacity come from: the same options in every verb."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibrant.errors import ParameterError
from calibrant.jobs.station_report import report
from calibrant.station.derived import Opacity
from calibrant.station.load import load
from calibrant.station.rxg_edit import update_text
from calibrant.station.simulate import Options, SimulatedStation, simulate_log
from calibrant.station.verbs import options
from calibrant.station.verbs.edit import edit
from calibrant.station.verbs.fit_gain import fit_gain
from calibrant.station.verbs.fit_tcal import fit_tcal
from calibrant.station.verbs.onoff import onoff
from calibrant.station.verbs.plot import plot

K_BAND = Options(
    seed=4, band="K", hours=10, interval_min=30, detectors=2, vlbi=False, moving=False, wrong=("tcal",), noise=0.1
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedStation:
    return simulate_log(tmp_path_factory.mktemp("k"), K_BAND)


def test_words_of_the_options() -> None:
    assert options.of_receivers("auto", "273")["opacity"] == Opacity()
    found = options.treatment("none,k.rxg=both, x.rxg = gain", "weather", like_gnplt=True)
    assert found == Opacity("weather", "none", {"k.rxg": "both", "x.rxg": "gain"}, True)
    assert options.of_receivers("gain", "280", gain_at="30~60=0.11")["gain_at"] == (30.0, 60.0, 0.11)
    assert options.of_receivers("gain", "280", 3.5)["gain_tcal_k"] == 3.5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("boht", "273"), "Did you mean 'both'"), (("x.rxg=al", "273"), "opacity correction"),
        (("auto", "20"), "between 100"), (("auto", "warm"), "'weather'"),
        (("auto", "273", 3.0, "30~60=0.1"), "give one of them"),
        (("auto", "273", -1.0), "gain_tcal"), (("auto", "273", 0.0, "60~30=0.1"), "30~60=0.11"),
        (("auto", "273", 0.0, "30=0.1"), "30~60=0.11"), (("auto", "273", 0.0, "30~60"), "30~60=0.11"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(given: tuple, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        options.of_receivers(*given)


def test_scaled_gain_is_that_of_what_is_included(made: SimulatedStation, tmp_path: Path) -> None:
    """Deleted points and those of other elevations do not count; corrected gain is scaled where gain is corrected."""
    edit([made.log], rxg=[made.rxg], delete=True, where="gain<0.09", reason="test", session=str(tmp_path))
    for opacity, name in (("none", "gain"), ("gain", "gain_corrected")):
        treated = options.of_receivers(opacity, "273", gain_at="25~70=0.2")
        points = load([made.log], rxg=[made.rxg], session=str(tmp_path), **treated).points
        assert 0 < points["deleted"].sum() < len(points)
        for pol in ("l", "r"):
            used = (points["pol"] == pol) & ~points["deleted"]
            used &= (points["elevation_deg"] >= 25) & (points["elevation_deg"] <= 70)
            assert points[name][used].mean() == pytest.approx(0.2, rel=1e-6)


def test_one_tcal_for_all(made: SimulatedStation) -> None:
    """The true diode given for one frequency: gain and its opacity are right whatever the rxg says."""
    truth = made.truth.true
    points = load([made.log], rxg=[made.rxg], session="none").points
    first = float(points["freq_mhz"][points["pol"] == "l"][0])
    tcal = float(np.interp(first, *truth.tcal["l"]))
    treated = options.of_receivers("auto", "273", tcal)
    points = load([made.log], rxg=[made.rxg], session="none", **treated).points
    mine = (points["pol"] == "l") & (points["freq_mhz"] == first)
    expected = truth.dpfu["l"] * truth.curve(points["elevation_deg"][mine])
    assert abs(np.median(points["gain_corrected"][mine] / expected) - 1) < 0.01
    with_table = load([made.log], rxg=[made.rxg], session="none").points
    assert abs(np.median(with_table["gain_corrected"][mine] / expected) - 1) > 0.03


def test_the_verbs_agree(made: SimulatedStation, tmp_path: Path) -> None:
    kwargs = {"rxg": [made.rxg], "session": "none", "opacity": "gain", "tatm": "260"}
    rows = onoff([made.log], gain_at="30~60=0.1", **kwargs).rows
    gains = [row["gain_corrected"] for row in rows if 30 <= row["elevation_deg"] <= 60 and row["pol"] == "r"]
    assert np.mean(gains) == pytest.approx(0.1)
    fit = fit_gain([made.log], gain_at="30~60=0.1", **kwargs)
    assert fit.curve.curve.opacity_corrected and "gain scaled to 30~60=0.1" in fit.method
    assert fit.curve.dpfu["r"] == pytest.approx(0.1, rel=0.1)
    # What to change is told of the rxg's own Tcal.
    assert fit.advice.median == pytest.approx(fit_gain([made.log], **kwargs).advice.median)
    assert not fit_gain([made.log], **(kwargs | {"opacity": "tcal"})).curve.curve.opacity_corrected
    fits = [fit_tcal([made.log], **(kwargs | {"opacity": one})).fit for one in ("none", "gain", "both")]
    tcal = [fit.values[0].tcal_k for fit in fits]
    assert tcal[0] == tcal[1] > 1.02 * tcal[2]
    drawn = plot([made.log], x="elevation", y="gain", gain_tcal=5.0, output=str(tmp_path / "g.png"), **kwargs)
    assert any("drawn corrected for opacity" in note for note in drawn.notes)
    page = report([made.log], output=str(tmp_path / "r.html"), **kwargs)
    assert page.fits[Path(made.rxg).name].gain.curve.opacity_corrected
    assert any("--opacity gain --tatm 260" in command for command in page.commands)


def test_scale_of_tcal_through_the_atmosphere(made: SimulatedStation, tmp_path: Path) -> None:
    """The gain is trusted, and with it the opacity: whatever the rxg's Tcal, scaled it is the same."""
    other = tmp_path / "other.rxg"
    other.write_text(update_text(Path(made.rxg).read_text(), scale_tcal={"l": 1.3, "r": 0.8}))
    found = [fit_gain([made.log], rxg=[str(rxg)], mode="scale", session="none").level for rxg in (made.rxg, other)]
    for pol, factor in (("l", 1.3), ("r", 0.8)):
        assert found[1].values[pol] / found[0].values[pol] == pytest.approx(factor, rel=1e-3)
    with pytest.raises(ParameterError, match="mode is scale"):
        fit_gain([made.log], rxg=[made.rxg], mode="scale", gain_tcal=3.0)
