"""The truth of simulated logs comes back through the whole chain: log -> points -> fit, with honest errors.

A pull is (found - true) / error. Over many simulations pulls have mean 0 and scatter 1 where the errors are right.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibrant.station.fitdata import gain_data, tcal_data, trec_data, usable
from calibrant.station.gaincurve import fit_gain_curve
from calibrant.station.load import Loaded, load
from calibrant.station.simulate import Options, SimulatedStation, simulate_log
from calibrant.station.tcal import fit_tcal
from calibrant.station.trec import fit_trec

NIGHT = Options(
    hours=16.0, interval_min=20.0, detectors=3, vlbi=False, fivpt=False, moving=False, opacity_corrected=False
)
Pulls = dict[str, list[float]]


def chain(folder: Path, options: Options) -> tuple[SimulatedStation, Loaded]:
    made = simulate_log(folder, options, overwrite=True)
    return made, load([made.log], rxg=[made.rxg], flux=made.flux, session="none")


def gain_pulls(folder: Path, options: Options, pulls: Pulls) -> None:
    """Tcal is right, DPFU and curve are not."""
    add_gain(*chain(folder, replace(options, wrong=("gain",))), pulls)


def add_gain(made: SimulatedStation, loaded: Loaded, pulls: Pulls) -> None:
    fit = fit_gain_curve(gain_data(usable(loaded, "gain").points), degree=2)
    true = made.truth.true
    for pol in ("l", "r"):
        pulls["dpfu"].append((fit.dpfu[pol] - true.dpfu[pol]) / fit.dpfu_errors[pol])
    for elevation in (15.0, 30.0, 70.0):
        error = float(fit.band(elevation))
        pulls[f"curve at {elevation:.0f}"].append(float(fit.curve(elevation) - true.curve(elevation)) / error)


def tcal_pulls(folder: Path, options: Options, pulls: Pulls) -> None:
    """The gain is right, Tcal is not."""
    made, loaded = chain(folder, replace(options, wrong=("tcal",), tunings=3))
    fit = fit_tcal(tcal_data(usable(loaded, "tcal").points), made.truth.assumed.tcal)
    for value in fit.values:
        true = float(np.interp(value.freq_mhz, *made.truth.true.tcal[value.pol]))
        pulls["tcal"].append((value.tcal_k - true) / value.error_k)


def trec_pulls(folder: Path, options: Options, pulls: Pulls, hours: float = 4.0) -> None:
    """Tcal is right; Trec and the opacity are unknown."""
    add_trec(*chain(folder, replace(options, wrong=("trec",))), pulls, hours)


def add_trec(made: SimulatedStation, loaded: Loaded, pulls: Pulls, hours: float) -> None:
    points = usable(loaded, "trec").points
    fit = fit_trec(trec_data(points), interval_hours=hours)
    truth = made.truth
    for pol in ("l", "r"):
        pulls["trec"].append((fit.trec[pol] - truth.true.trec_k[pol]) / fit.errors[pol])
    times = np.unique(points["time"])
    for part in fit.segments:
        mine = (times > part.start - 1.0) & (times < part.end + 1.0)
        pulls["tau"].append((part.tau0 - float(truth.tau(times[mine]).mean())) / part.tau0_error)


def hourly_trec_pulls(folder: Path, options: Options, pulls: Pulls) -> None:
    """The same with a time of its own for the opacity of each hour."""
    trec_pulls(folder, options, pulls, 1.0)


def gain_and_trec_pulls(folder: Path, options: Options, pulls: Pulls) -> None:
    """Both from one log: neither fit reads what the other one finds."""
    made = chain(folder, replace(options, wrong=("gain", "trec")))
    add_gain(*made, pulls)
    add_trec(*made, pulls, 4.0)


KINDS = {
    "gain and trec": gain_and_trec_pulls,
    "gain": gain_pulls,
    "tcal": tcal_pulls,
    "trec": trec_pulls,
    "trec_hourly": hourly_trec_pulls,
}
STEADY = replace(NIGHT, tau_change=0.0, tau_scatter=0.0)
"""An opacity that is constant in the four hours of a segment."""
OPTIONS = {"gain": NIGHT, "tcal": NIGHT, "trec": STEADY, "gain and trec": STEADY}


def simulations(folder: Path, kind: str, count: int, options: Options) -> Pulls:
    pulls: Pulls = defaultdict(list)
    for seed in range(count):
        KINDS[kind](folder, replace(options, seed=seed), pulls)
    return pulls


def check(pulls: Pulls, count: int, scatter: tuple[float, float], mean: float) -> None:
    """Mean and scatter of all pulls, and none that a normal distribution would not give."""
    for name, listed in pulls.items():
        values = np.array(listed)
        assert len(values) >= count
        assert scatter[0] < values.std() < scatter[1], f"{name}: scatter {values.std():.2f} of {len(values)} pulls"
        assert abs(values.mean()) < mean, f"{name}: mean {values.mean():+.2f} of {len(values)} pulls"
        assert np.abs(values).max() < 5.5, name


@pytest.mark.parametrize("kind", ["gain", "tcal", "trec"])
def test_pulls_are_normal(tmp_path: Path, kind: str) -> None:
    """Twenty simulations: a scatter of 1 is known to 0.16, a mean to 0.22."""
    check(simulations(tmp_path, kind, 20, OPTIONS[kind]), 20, (0.6, 1.45), 0.8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gain and trec", "tcal"])
def test_pulls_of_two_hundred_simulations_are_normal(tmp_path: Path, kind: str) -> None:
    check(simulations(tmp_path, kind, 200, OPTIONS[kind]), 200, (0.85, 1.25), 0.35)


def test_gain_outside_the_atmosphere(tmp_path: Path) -> None:
    """K band: the sky takes up to 40 percent of the source; every gain is brought back with its own opacity."""
    options = replace(NIGHT, band="K", opacity_corrected=True)
    check(simulations(tmp_path, "gain", 12, options), 12, (0.45, 1.6), 1.0)


def test_trec_while_the_opacity_changes(tmp_path: Path) -> None:
    """30 percent in twelve hours, and scatter from scan to scan: linear between hourly times is enough."""
    options = replace(NIGHT, tau_change=0.3, tau_scatter=0.03)
    check(simulations(tmp_path, "trec_hourly", 10, options), 10, (0.5, 1.35), 0.9)


def test_one_night_with_everything_that_goes_wrong(tmp_path: Path) -> None:
    """Interference, lost pointings, a jump, dead diodes, aborted and partial runs: Tcal still comes back."""
    spoil = ("rfi", "pointing", "jump", "overflow", "nodiode", "abort", "partial")
    options = replace(NIGHT, hours=24.0, wrong=("tcal",), tunings=3, moving=True, spoil=spoil, spoil_fraction=0.2)
    made, loaded = chain(tmp_path, options)
    fit = fit_tcal(tcal_data(usable(loaded, "tcal").points), made.truth.assumed.tcal)
    old = []
    for value in fit.values:
        true = float(np.interp(value.freq_mhz, *made.truth.true.tcal[value.pol]))
        old.append(abs(value.old_k / true - 1.0))
        assert value.tcal_k == pytest.approx(true, rel=0.01)
    assert max(old) > 0.1


def test_tcal_through_the_atmosphere(tmp_path: Path) -> None:
    """With a curve outside the atmosphere Tcal(K) needs the opacity, whatever the assumed Tcal is."""
    for band in ("C", "K"):
        options = replace(NIGHT, band=band, opacity_corrected=True)
        check(simulations(tmp_path, "tcal", 5, options), 90, (0.8, 1.2), 0.4)


def test_trec_of_continuous_calibration(tmp_path: Path) -> None:
    """Half the diode is in Tsys, and no part of the receiver."""
    options = replace(STEADY, mode="continuous")
    check(simulations(tmp_path, "trec", 8, options), 16, (0.5, 1.5), 0.8)


def test_gain_and_tcal_of_continuous_calibration(tmp_path: Path) -> None:
    options = replace(NIGHT, mode="continuous", band="K", opacity_corrected=True)
    check(simulations(tmp_path, "gain", 8, options), 8, (0.4, 1.5), 0.9)
    check(simulations(tmp_path, "tcal", 4, options), 70, (0.8, 1.25), 0.4)
