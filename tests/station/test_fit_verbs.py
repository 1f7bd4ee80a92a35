"""`calibrant station fit gain|tcal|trec` on a simulated log with known truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibrant.errors import DataError, FormatError, ParameterError, SelectionError
from calibrant.station.load import load
from calibrant.station.rxg_changes import changes_from
from calibrant.station.simulate import Options, simulate_log
from calibrant.station.verbs.edit import edit
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


def test_virtual_points_hold_the_curve_where_nothing_was_observed(station):
    """Given by elevation: an ALTAZ curve is held at the same place; the more weight, the nearer it is drawn."""
    logs, rxg, true = station
    wanted = 1.3 * true["dpfu"]["l"]
    found = {}
    for kind in ("elev", "altaz"):
        for weight in (1, 1000):
            chosen = {"pol": "l", "degree": 2, "kind": kind, "virtual": [f"30={wanted}:{weight}"]}
            fit = fit_gain(logs, rxg, session="none", loss="none", **chosen)
            assert f"virtual points 30={wanted}:{weight}" in fit.method
            found[kind, weight] = fit.curve.dpfu["l"] * float(fit.curve.curve(30.0))
    assert found["elev", 1000] == pytest.approx(found["altaz", 1000], rel=1e-6)
    assert abs(found["elev", 1000] / wanted - 1) < 0.1 < abs(found["elev", 1] / wanted - 1)


def test_virtual_points_as_gnplt_are_repeated_rows(station):
    logs, rxg, _ = station
    fits = [
        fit_gain(logs, rxg, session="none", like_gnplt=True, degree=2, virtual=virtual)
        for virtual in (["5=0.05:2"], ["5=0.05", "5=0.05"])
    ]
    assert fits[0].curve.curve == fits[1].curve.curve and fits[0].curve.dpfu == fits[1].curve.dpfu


@pytest.mark.parametrize(
    ("virtual", "more"),
    [
        (["5"], {}), (["95=0.1"], {}), (["5=0"], {}), (["5=nan"], {}), (["5=0.1:0"], {}), (["5=0.1:x"], {}),
        (["5=0.1"], {"mode": "dpfu"}), (["5=0.1"], {"factors": "factors"}), (["5=0.1"], {"detectors": "factors"}),
    ],
)  # fmt: skip
def test_virtual_points_that_cannot_be(station, virtual, more):
    with pytest.raises(ParameterError, match="virtual"):
        fit_gain(*station[:2], session="none", virtual=virtual, **more)


@pytest.fixture
def copies(station, tmp_path):
    """The log and an rxg with wrong values, to be changed: (log, rxg)."""
    log, rxg = (tmp_path / Path(path).name for path in (station[0][0], station[1][0]))
    log.write_bytes(Path(station[0][0]).read_bytes())
    rxg.write_bytes(Path(station[1][0]).read_bytes())
    return str(log), str(rxg)


def saved(result, path):
    path.write_text(json.dumps(result.to_dict(), default=plain))
    return str(path)


def with_dpfu(fit, value, path):
    """A saved fit with another DPFU."""
    content = json.loads(Path(fit).read_text())
    content["rxg_changes"] = [one | {"dpfu": value} if "dpfu" in one else one for one in content["rxg_changes"]]
    path.write_text(json.dumps(content))
    return str(path)


def test_the_same_deviation_is_not_corrected_twice(copies, tmp_path):
    """Gain and Tcal fitted with one file explain the same; after the first update the second fit is made again."""
    log, rxg = copies
    update(rxg, dpfu=["l=0.2", "r=0.2"], backup=False)
    before = Path(rxg).read_text()
    gain = saved(fit_gain([log], [rxg]), tmp_path / "gain.json")
    tcal = saved(fit_tcal([log], [rxg]), tmp_path / "tcal.json")
    trec = saved(fit_trec([log], [rxg]), tmp_path / "trec.json")
    with pytest.raises(ParameterError, match="corrected twice"):
        update(rxg, [gain, tcal])
    assert Path(rxg).read_text() == before
    update(rxg, [gain, trec], backup=False)
    with pytest.raises(ParameterError, match=r"tcal\.json: was fitted with other .*DPFU lcp"):
        update(rxg, [tcal])
    again = saved(fit_tcal([log], [rxg]), tmp_path / "again.json")
    assert update(rxg, [again], backup=False).update.changed
    with pytest.raises(ParameterError, match=r"gain\.json: was fitted with other Tcal"):
        update(rxg, [with_dpfu(gain, 0.25, tmp_path / "gain.json")])


def test_one_polarisation_after_the_other(copies, tmp_path):
    """GNPLT's check list for Tcal, with both fits made before the first update."""
    log, rxg = copies
    fits = [saved(fit_tcal([log], [rxg], pol=pol), tmp_path / f"{pol}.json") for pol in "lr"]
    for fit in fits:
        update(rxg, [fit], backup=False)


def test_an_update_is_noted_in_the_session_of_the_log(copies, tmp_path):
    log, rxg = copies
    edit([log], delete=True, scan="1", reason="rain")
    made = saved(fit_gain([log], [rxg], mode="dpfu"), tmp_path / "gain.json")
    update(rxg, [made], dry_run=True)
    assert len(edit([log]).logs[0].actions) == 1
    done = update(rxg, [made], backup=False)
    assert done.noted == (f"{log}.edits.jsonl",)
    told = edit([log])
    assert told.logs[0].actions[1][0].startswith(f"2. note: update {Path(rxg).name}: DPFU lcp: ")
    assert told.logs[0].actions[1][1] and told.logs[0].changed == 0
    assert max(map(len, told.summary().splitlines())) <= max(100, len(log) + 60)
    edit([log], undo=True)
    assert edit([log]).logs[0].deleted == 0
    assert "changes no point" in edit([log], delete=True, where="sefd>1e9", reason="x").summary()
    Path(log).unlink()
    other = with_dpfu(made, 0.3, tmp_path / "other.json")
    assert "no note in its session" in update(rxg, [other], backup=False).summary()


@pytest.mark.parametrize(
    "ground", [3, {"tcal": [1]}, {"dpfu": {"l": "x"}}, {"curve": {}}, {"tcal": {"l": [[1, 2, 3]]}}]
)
def test_a_damaged_ground_is_refused(copies, tmp_path, ground):
    path = tmp_path / "fit.json"
    path.write_text(json.dumps({"rxg_changes": [{"pol": "l", "dpfu": 0.1}], "rests_on": ground}))
    with pytest.raises(FormatError, match="rests_on"):
        update(copies[1], [str(path)])
