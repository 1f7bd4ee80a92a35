"""Every flux standard: the numbers of CASA, sources that are found, spectra that make sense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.sky import standards as sky

CASA: dict[str, Any] = json.loads((Path(__file__).parent.parent / "sky" / "casa_fluxes.json").read_text())
"""Made by tests/sky/make_casa_fluxes.py."""
NEAREST_DEFECT = 2014.7
"""Here CASA's 'nearest' epoch is not the nearest (tests/sky/test_standards.py)."""
PAIRS = [(name, source) for name in sky.standard_names() for source in sky.get_standard(name).entries]


def test_the_default_comes_first() -> None:
    assert sky.standard_names()[0] == sky.DEFAULT_STANDARD
    assert set(sky.standard_names()) >= {"Perley-Butler 2013", "Perley-Taylor 99", "Scaife-Heald 2012"}


@pytest.mark.parametrize("standard", sorted({item["standard"] for item in CASA["fluxes"]}))
def test_flux_densities_of_casa(standard: str) -> None:
    """Every source, nine frequencies from 50 MHz to 43 GHz, variable sources at every epoch: to 2e-6."""
    freq = np.array(CASA["frequencies_hz"])
    seen = set()
    for item in (item for item in CASA["fluxes"] if item["standard"] == standard):
        source = sky.find_source(standard, item["source"], CASA["positions_rad"][item["source"]])
        assert source is not None, item["source"]
        seen.add(source.name)
        if source.name in ("3C48", "3C138", "3C147") and sky.year_of(item["mjd"]) == pytest.approx(NEAREST_DEFECT):
            continue
        flux = sky.source_model(standard, source.name, item["mjd"]).spectrum(freq)
        assert flux == pytest.approx(item["jy"], rel=2e-6), (source.name, sky.year_of(item["mjd"]))
    assert seen == set(sky.get_standard(standard).entries)


def test_casa_takes_the_epoch_before_where_the_next_is_nearer() -> None:
    """The stored number of CASA in 2014.7 is that of the coefficients of 2012.0, ours that of 2017.0."""
    freq = np.array(CASA["frequencies_hz"])
    (item,) = (
        item
        for item in CASA["fluxes"]
        if (item["standard"], item["source"]) == ("Perley-Butler 2017", "3C48")
        and sky.year_of(item["mjd"]) == pytest.approx(NEAREST_DEFECT)
    )
    before = sky.source_model("Perley-Butler 2017", "3C48", item["mjd"] - 365.0).spectrum(freq)
    assert before == pytest.approx(item["jy"], rel=2e-6)
    now = sky.source_model("Perley-Butler 2017", "3C48", item["mjd"])
    assert now.origin == "3C48, Perley-Butler 2017 (2017.0)"


def test_names_that_casa_knows_are_known() -> None:
    for name, jy in CASA["names"].items():
        found = sky.find_source("Perley-Butler 2017", name)
        assert found is not None, name
        if jy is not None:
            spectrum = sky.source_model("Perley-Butler 2017", found.name).spectrum(CASA["names_hz"])
            assert spectrum == pytest.approx(jy, rel=2e-6), name


@pytest.mark.parametrize(("standard", "name"), PAIRS)
def test_source_is_found_by_each_name_and_by_its_place(standard: str, name: str) -> None:
    source = sky.get_standard(standard).entries[name].source
    assert sky.find_source(standard, None, source.direction) == source
    for alias in (source.name, *source.aliases):
        assert sky.find_source(standard, alias) == source


@pytest.mark.parametrize(("standard", "name"), PAIRS)
def test_spectrum_is_positive_and_smooth_in_its_range(standard: str, name: str) -> None:
    entry = sky.get_standard(standard).entries[name]
    low, high = entry.range
    assert 1e7 < low < high < 1e12
    freq = np.geomspace(low, high, 200)
    for epoch in entry.epochs:
        flux = sky.SourceModel(epoch.pieces).spectrum(freq)
        assert (flux > 0.01).all() and (flux < 3e4).all()
        assert np.abs(np.diff(np.log(flux))).max() < 0.1
        assert list(epoch.pieces) == sorted(epoch.pieces, key=lambda piece: piece.start)
    years = [epoch.year or 0.0 for epoch in entry.epochs]
    assert years == sorted(years)


def test_standards_agree_where_they_overlap() -> None:
    """Scales differ by a few per cent (3C286, L band to K band), never by tens."""
    freq = np.array([1.4e9, 5e9, 22e9])
    scales = ["Perley-Butler 2017", "Perley-Butler 2013", "Perley-Taylor 99"]
    flux = np.array([sky.flux_density(name, "3C286", freq) for name in scales])
    assert np.abs(flux / flux[0] - 1).max() < 0.05
