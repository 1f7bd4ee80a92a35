"""Tcal by frequency: recovered truth, merging, interference, side bands, GNPLT's numbers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from calibrant.errors import SolveError
from calibrant.station import interference
from calibrant.station.fitdata import tcal_data, usable
from calibrant.station.interference import Frequency
from calibrant.station.load import load
from calibrant.station.simulate import Options, simulate_log
from calibrant.station.tcal import TcalData, fit_tcal, merge

FREQ = np.linspace(8200, 8900, 10)
OLD = {p: (np.linspace(8100, 9000, 46), np.full(46, 10.0)) for p in "lr"}


def true_tcal(freq):
    return 10 * (1 + 0.1 * np.sin(np.asarray(freq) / 100))


def measured(rng, scans=10, common=0.0, outliers=0.0):
    pol = np.tile(np.repeat(["l", "r"], len(FREQ)), scans)
    freq, scan = np.tile(FREQ, 2 * scans), np.repeat(np.arange(scans), 2 * len(FREQ))
    true = true_tcal(freq)
    error = 0.02 * true * rng.uniform(0.5, 2, len(true))
    tcal = true + error * rng.normal(size=len(true)) + common * true * rng.normal(size=scans)[scan]
    tcal = np.where(rng.random(len(true)) < outliers, tcal * rng.choice([0.6, 1.5], len(true)), tcal)
    return TcalData(tcal, freq, pol, error, scan)


@pytest.mark.parametrize(("common", "outliers"), [(0.0, 0.0), (0.03, 0.05)])
@pytest.mark.parametrize("method", ["weighted", "smooth"])
def test_pulls(method, common, outliers):
    rng = np.random.default_rng(1)
    pulls = []
    for _ in range(100):
        fit = fit_tcal(measured(rng, 12, common, outliers), OLD, method=method)
        pulls.append([(v.tcal_k - true_tcal(v.freq_mhz)) / v.error_k for v in fit.values])
    # A scan's common error moves all frequencies together: then 100 simulations are 100 pulls.
    assert abs(np.mean(pulls)) < 0.2
    assert 0.85 < np.std(pulls) < (1.2 if common else 1.15)


def test_smooth_is_nearer_to_the_truth():
    data = measured(np.random.default_rng(2), 8)
    off = {
        m: np.std([v.tcal_k - true_tcal(v.freq_mhz) for v in fit_tcal(data, OLD, method=m).values])
        for m in ("weighted", "smooth")
    }
    assert off["smooth"] < off["weighted"]


def test_merge_keeps_what_was_not_observed():
    fit = fit_tcal(measured(np.random.default_rng(3)), OLD)
    freq, tcal = fit.tables["l"]
    assert set(OLD["l"][0]) <= set(freq)
    assert np.all(np.diff(freq) > 0)
    fresh = dict(fit.merged("l"))
    assert all((tcal[i] == fresh[f]) if f in fresh else (tcal[i] == 10.0) for i, f in enumerate(freq.tolist()))
    assert fit.kept["l"] == len(freq) - len(fresh)
    assert merge((np.array([1.0, 3.0]), np.array([1.0, 3.0])), [(2.0, 9.0), (3.0, 4.0)])[1].tolist() == [1, 9, 4]


def test_tolerance_joins_frequencies_and_hits_the_row():
    old = {"l": (np.array([8200.0, 8300.0]), np.array([10.0, 10.0]))}
    data = TcalData(np.array([11.0, 11.2, 12.0]), np.array([8200.1, 8200.3, 8290.0]), np.array(["l"] * 3))
    fit = fit_tcal(data, old, method="mean", tolerance_mhz=0.5)
    assert [(v.freq_mhz, v.count) for v in fit.values] == [(8200.0, 2), (8290.0, 1)]
    assert fit.values[0].tcal_k == pytest.approx(11.1)
    assert fit.tables["l"][0].tolist() == [8200.0, 8290.0, 8300.0]
    assert len(fit_tcal(data, old, method="mean", tolerance_mhz=0.0).values) == 3


def test_interference_is_reported_and_not_merged():
    data = measured(np.random.default_rng(4))
    spoiled = np.where((data.pol == "l") & (data.freq_mhz == FREQ[4]), 1.6, 1.0)
    flat = TcalData(
        10 * data.tcal_k / true_tcal(data.freq_mhz) * spoiled, data.freq_mhz, data.pol, data.error, data.scan
    )
    fit = fit_tcal(flat, OLD)
    masked = [v for v in fit.values if v.masked]
    assert [(v.pol, v.freq_mhz) for v in masked] == [("l", pytest.approx(FREQ[4], abs=0.5))]
    assert masked[0].freq_mhz not in dict(fit.merged("l"))
    assert any("not merged" in note for note in fit.warnings)
    assert not any(v.masked for v in fit_tcal(flat, OLD, mask=False).values)


def sound(**changes) -> Frequency:
    return replace(Frequency(1.0, 0.002, 0.01, 0.0, 1.0, 10.0), **changes)


@pytest.mark.parametrize(
    ("odd", "masked"),
    [
        ({"ratio": 1.13}, ""),  # 13 % off, but as steady as the others: a diode may do that
        ({"ratio": 1.13, "scatter": 0.09}, r"\+1[234] % against its neighbours, scatter 9 % \(others 1.0 %\)"),
        ({"ratio": 0.87, "lost": 0.4}, "-1[234] % .* 40 % of its points are outliers"),
        ({"ratio": 1.13, "compression": 0.9}, "gain compression 0.90"),
        ({"ratio": 1.5}, "on both sides"),
        ({"ratio": 1.01, "scatter": 0.4}, "^scatter 40 %"),
        ({"ratio": 1.01, "scatter": 0.09}, ""),
        ({"ratio": 1.01, "compression": math.nan}, ""),
    ],
)
@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_frequency_is_masked_only_with_evidence(odd, masked, place):
    found = [sound(ratio=1 + 0.01 * (k % 2)) for k in range(8)]
    found[place] = sound(**odd)
    why, noted = interference.judge(found)
    assert [k for k, one in enumerate(why) if one] == ([place] if masked else [])
    assert re.search(masked, why[place])
    assert bool(noted[place]) == (odd == {"ratio": 1.13}) and not any(noted[:place] + noted[place + 1 :])


def test_structure_of_the_table_is_no_interference():
    """A step of 40 % at one frequency, where the old table has steps of 15 % everywhere."""
    found = [sound(ratio=1 + 0.02 * (k % 2), old_k=10 * 1.15 ** (k % 2)) for k in range(8)]
    found[3] = sound(ratio=1.5)
    why, noted = interference.judge(found)
    assert not any(why) and noted[3]
    assert interference.judge(found[:4]) == ([""] * 4, [""] * 4)


@pytest.mark.parametrize("seed", range(1, 6))
def test_masks_on_simulated_logs(tmp_path, seed):
    """None where nothing is wrong; the haunted frequency, and no other, where interference comes back to it."""
    for spoil, fraction in (((), 0.0), (("rfi",), 0.7)):
        options = Options(seed=seed, vlbi=False, spoil=spoil, spoil_fraction=fraction)
        made = simulate_log(tmp_path, options, overwrite=True)
        loaded = load([made.log], rxg=[made.rxg], session="none")
        fit = fit_tcal(tcal_data(usable(loaded, "tcal").points), made.truth.assumed.tcal)
        converters = [det.name for det in made.truth.detectors if not det.is_if]
        haunted = converters[seed % len(converters)]
        mine = loaded.points["detector"] == haunted
        expected = {(str(loaded.points["pol"][mine][0]), float(loaded.points["freq_mhz"][mine][0]))} if spoil else set()
        assert {(v.pol, v.freq_mhz) for v in fit.values if v.masked} == expected
        assert set(dict(fit.merged("l"))) == {v.freq_mhz for v in fit.values if v.pol == "l" and not v.masked}


def test_steps_in_the_table_are_announced():
    old = {p: (f, 0.8 * t) for p, (f, t) in OLD.items()}
    assert any("steps" in note for note in fit_tcal(measured(np.random.default_rng(5)), old).warnings)


def test_sidebands_that_differ_are_listed():
    rng = np.random.default_rng(6)
    detector = np.tile(["1u", "1l", "2u", "2l"], 10)
    freq = np.tile([8204.0, 8196.0, 8304.0, 8296.0], 10)
    tcal = np.where(detector == "1l", 10.8, 10.0) * (1 + 0.01 * rng.normal(size=40))
    data = TcalData(
        tcal, freq, np.array(["l"] * 40), 0.01 * tcal, np.repeat(np.arange(10), 4), detector, np.full(40, 8080.0)
    )
    (pair,) = fit_tcal(data, OLD).sidebands
    assert (pair.upper, pair.lower) == ("1u", "1l")
    assert pair.lower_ratio / pair.upper_ratio == pytest.approx(1.08, abs=0.02)


@pytest.mark.parametrize(("method", "average"), [("mean", np.mean), ("median", np.median)])
def test_like_gnplt(method, average):
    data = measured(np.random.default_rng(7), 4, outliers=0.1)
    fit = fit_tcal(data, OLD, method=method, like_gnplt=True)
    for value in fit.values:
        mine = (data.pol == value.pol) & (data.freq_mhz == min(FREQ, key=lambda f: abs(f - value.freq_mhz)))
        assert value.tcal_k == pytest.approx(average(data.tcal_k[mine]), rel=1e-12)
    assert fit.used.all()


def test_nothing_to_fit_and_json():
    empty = TcalData(np.zeros(0), np.zeros(0), np.zeros(0, "U1"))
    with pytest.raises(SolveError, match="no points"):
        fit_tcal(empty, OLD)
    json.dumps(fit_tcal(measured(np.random.default_rng(8)), OLD).to_dict())
