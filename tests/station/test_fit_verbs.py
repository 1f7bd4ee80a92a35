"""`calibrant station fit gain|tcal|trec` on a simulated log with known truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibrant.errors import DataError, ParameterError, SelectionError
from calibrant.station.load import load
from calibrant.station.rxg_changes import changes_from
from calibrant.station.simulate import Options, simulate_log
from calibrant.station.verbs.fit_gain import fit_gain
from calibrant.station.verbs.fit_tcal import fit_tcal
from calibrant.station.verbs.fit_trec import fit_trec
from calibrant.station.verbs.update import update


@pytest.fixture(scope="module")
def station(tmp_path_factory):
    """A quiet C band log: (log, rxg, truth)."""
    options = Options(
        seed=3, band="C", hours=10.0, interval_min=20.0, repetitions=3, wrong=(), moving=False, drift=0.0, vlbi=False
    )
    made = simulate_log(tmp_path_factory.mktemp("quiet"), options)
    with open(made.truth_file, encoding="utf-8") as file:
        return [made.log], [made.rxg], json.load(file)["true"]


def plain(value):
    return value.tolist() if hasattr(value, "tolist") else value.item()


def checked(result, rxg):
    """The result as JSON, its words narrow enough, its changes accepted by `update`."""
    assert max(map(len, result.summary().splitlines())) <= 110
    content = json.loads(json.dumps(result.to_dict(), default=plain))
    assert content["rxg"] == rxg[0].rsplit("/", 1)[-1]
    assert content["logs"] and content["method"] and content["rxg_changes"]
    assert changes_from(content["rxg_changes"], content["rxg"], content["rxg"], content["method"], "fit.json")
    return content


def test_gain(station):
    logs, rxg, true = station
    found = fit_gain(logs, rxg, session="none")
    checked(found, rxg)
    fit = found.curve
    for pol, value in true["dpfu"].items():
        assert fit.dpfu[pol] == pytest.approx(value, abs=4 * fit.dpfu_errors[pol])
    elevation = np.array([15.0, 45.0, 80.0])
    expected = np.polynomial.polynomial.polyval(elevation, true["curve"]["coefficients"])
    assert np.all(np.abs(fit.curve(elevation) - expected) < 4 * fit.band(elevation) + 1e-6)
    assert fit.curve.opacity_corrected
    assert not fit_gain(logs, rxg, session="none", opacity="none").curve.curve.opacity_corrected
    assert found.advice.best == "none" or found.advice.median == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("mode", ["dpfu", "scale"])
def test_levels(station, mode):
    logs, rxg, true = station
    for like_gnplt in (False, True):
        found = fit_gain(logs, rxg, mode=mode, session="none", like_gnplt=like_gnplt)
        checked(found, rxg)
        for pol, value in found.level.values.items():
            assert value == pytest.approx(true["dpfu"][pol] if mode == "dpfu" else 1.0, rel=0.01)


def test_tcal(station):
    logs, rxg, true = station
    for method in ("weighted", "mean", "median", "smooth"):
        found = fit_tcal(logs, rxg, method=method, session="none")
        checked(found, rxg)
        for value in found.fit.values:
            expected = np.interp(value.freq_mhz, *true["tcal"][value.pol].values())
            assert value.tcal_k == pytest.approx(expected, rel=0.01)


def test_trec(station):
    logs, rxg, true = station
    for options in ({}, {"per_segment": True, "interval": 5.0}, {"tatm": "weather"}, {"like_gnplt": True}):
        found = fit_trec(logs, rxg, session="none", **options)
        checked(found, rxg)
        for pol, value in true["trec_k"].items():
            assert found.fit.trec[pol] == pytest.approx(value, rel=0.05)


def test_nothing_to_fit_is_said(station, tmp_path):
    logs, rxg, _ = station
    with pytest.raises(ParameterError, match="--rxg"):
        fit_gain(logs, [], session="none")
    with pytest.raises(SelectionError):
        fit_tcal(logs, rxg, session="none", source="nosuch")
    other = tmp_path / "other.rxg"
    with open(rxg[0], encoding="utf-8") as file:
        other.write_text(
            "\n".join("fixed 12" if line.startswith("range") else line for line in file.read().split("\n"))
        )
    with pytest.raises(DataError, match=r"none of the \d+ points .* no rxg file"):
        fit_trec(logs, [str(other)], session="none")
    with pytest.raises(ParameterError, match="kelvin"):
        fit_trec(logs, rxg, session="none", tatm="warm")


@pytest.mark.parametrize("wrong", [("tcal",), ("gain",)])
def test_what_is_predicted_comes_true(tmp_path, wrong):
    """The ratio with the rxg file as `update` then writes it, and what Tsys and Tsys over gain become."""
    made = simulate_log(tmp_path, Options(seed=5, hours=10.0, interval_min=30.0, vlbi=False, wrong=wrong))
    for verb in (fit_gain, fit_tcal):
        found = verb([made.log], [made.rxg], session="none")
        (tmp_path / "fit.json").write_text(json.dumps(found.to_dict(), default=plain))
        new = tmp_path / "new" / "sim001cb.rxg"
        new.parent.mkdir(exist_ok=True)
        new.write_bytes(Path(made.rxg).read_bytes())
        update(str(new), from_=[str(tmp_path / "fit.json")])
        before, after = (load([made.log], rxg=[str(rxg)], session="none").points for rxg in (made.rxg, new))
        for one in found.predicted:
            mine = before["pol"] == one.pol
            assert one.old_ratio == pytest.approx(np.median(before["ratio_corrected"][mine]))
            assert one.ratio == pytest.approx(np.median(after["ratio_corrected"][mine]), rel=2e-4)
            tsys = (after["tsys_scaled_k"] / before["tsys_scaled_k"])[mine]
            assert one.tsys == pytest.approx(np.median(tsys), rel=2e-4)
            assert one.describe() in " ".join(found.summary().split())
        if wrong == ("tcal",) and verb is fit_tcal:
            assert all(abs(one.ratio - 1) < 0.002 and abs(one.sefd - one.tsys) < 1e-9 for one in found.predicted)
        if wrong == ("gain",) and verb is fit_gain:
            assert all(abs(one.ratio - 1) < 0.01 and one.tsys == 1.0 != one.sefd for one in found.predicted)
