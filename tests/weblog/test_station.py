"""The station's page and verb: sections, words for what is absent, JSON beside it, exit by verdict."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from calibrant.cli.main import main
from calibrant.errors import DataError, ExistsError, ParameterError
from calibrant.jobs.station_report import report
from calibrant.station.load import load
from calibrant.station.simulate import Options, simulate_log
from calibrant.station.verbs.plot import plot
from calibrant.weblog.station import HEADINGS

NY_X = """fixed 8080 8580.1
2016 3 7
frequency 1.0
rcp
0.1
ELEV POLY 1.0
rcp 8212.99 11.80
rcp 8516.99 12.00
rcp 8932.99 12.20
end_tcal_table
0
end_spillover_table
"""
NY_S = """fixed 2020
2016 3 7
frequency 1.0
rcp
0.038
ELEV POLY 1.0
rcp 2229.99 27.90
rcp 2369.99 18.60
end_tcal_table
0
end_spillover_table
"""
"""From the APR rows of r1730ny.log."""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sim")
    simulate_log(str(folder), Options(seed=3, hours=6, interval_min=30, detectors=2, spoil=("abort",)))
    return folder


@pytest.fixture(scope="module")
def page(simulated: Path) -> Path:
    path = simulated / "report.html"
    log, rxg = (str(next(simulated.glob(f"*.{kind}"))) for kind in ("log", "rxg"))
    report([log], rxg=[rxg], output=str(path))
    return path


def words(page: Path) -> str:
    return re.sub(r'base64,[^"]*', "", page.read_text())


def test_page_is_one_file_and_has_every_section(page: Path) -> None:
    text = words(page)
    assert "http" not in text
    for heading in ("Verdict: ", *(f"<h2>{heading}</h2>" for heading in HEADINGS.values())):
        assert heading in text, heading
    assert text.count("<img ") >= 12
    assert "could not be drawn" not in text


def test_ids_are_unique_and_links_have_targets(page: Path) -> None:
    text = words(page)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


def test_json_beside_the_page_holds_the_same(page: Path) -> None:
    told = json.loads(page.with_suffix(".json").read_text())
    assert f"Verdict: {told['verdict']}" in words(page)
    assert told["bands"][0]["ratio_median"] > 0
    assert set(told["fits"]) == {next(page.parent.glob("*.rxg")).name}
    assert told["commands"][0].startswith("calibrant station onoff ")


def test_without_rxg_the_page_says_what_is_absent(simulated: Path, tmp_path: Path) -> None:
    result = report([str(next(simulated.glob("*.log")))], output=str(tmp_path / "bare.html"))
    text = words(tmp_path / "bare.html")
    assert "give --rxg" in text
    assert "Nothing was deleted." in text
    assert "no rxg file" in text
    assert result.summary().startswith(f"Verdict: {result.verdict}")


def test_fits_as_gnplt_are_those_of_gnplt(simulated: Path, tmp_path: Path) -> None:
    log, rxg = (str(next(simulated.glob(f"*.{kind}"))) for kind in ("log", "rxg"))
    result = report([log], rxg=[rxg], like_gnplt=True, output=str(tmp_path / "g.html"))
    (fits,) = result.fits.values()
    assert fits.gain is not None
    assert "GNPLT" in fits.gain.method.upper()
    assert any("--like-gnplt" in command for command in result.commands)


def test_log_without_onoff_is_never_good(tmp_path: Path) -> None:
    log = tmp_path / "empty.log"
    log.write_text("2024.100.00:00:00.00;MARK IV Field System Version 9.13.2\n2024.100.00:00:01.00:source=casa\n")
    result = report([str(log)], output=str(tmp_path / "e.html"))
    assert result.verdict == "do not trust"
    assert "there is nothing to judge" in words(tmp_path / "e.html")


def test_report_of_some_scans_fits_the_terminal(simulated: Path, tmp_path: Path) -> None:
    log, rxg = (str(next(simulated.glob(f"*.{kind}"))) for kind in ("log", "rxg"))
    result = report([log], rxg=[rxg], scan="1~12", where="elevation>5", output=str(tmp_path / "s.html"))
    assert sum(band.points for band in result.judgement.bands) < len(load([log]).points)
    assert any("--scan" in command and "1~12" in command for command in result.commands)
    lines = [line for line in result.summary().splitlines() if not line.startswith("wrote")]
    assert max(map(len, lines)) <= 100
    assert "nan" not in result.summary()


def test_existing_output_and_strange_names_are_refused(page: Path) -> None:
    log = str(next(page.parent.glob("*.log")))
    with pytest.raises(ExistsError, match="--overwrite"):
        report([log], output=str(page))
    with pytest.raises(ParameterError, match=r"\.html"):
        report([log], output="report.txt")


def test_names_are_escaped(simulated: Path, tmp_path: Path) -> None:
    strange = tmp_path / "a<b>&.log"
    strange.write_bytes(next(simulated.glob("*.log")).read_bytes())
    report([str(strange)], output=str(tmp_path / "x.html"))
    assert "a&lt;b&gt;&amp;.log" in words(tmp_path / "x.html")
    assert "a<b>" not in words(tmp_path / "x.html")


@pytest.mark.parametrize(
    ("x", "y", "fit"),
    [("elevation", "gain", True), ("frequency", "tcal_k", True), ("airmass", "tsys_minus_tspill", True),
     ("time", "ratio", False), ("azimuth", "elevation", False), ("time", "temperature", False)],
)  # fmt: skip
def test_plot_draws_any_pair(simulated: Path, tmp_path: Path, x: str, y: str, fit: bool) -> None:
    log, rxg = (str(next(simulated.glob(f"*.{kind}"))) for kind in ("log", "rxg"))
    path = tmp_path / "p.png"
    result = plot([log], x=x, y=y, rxg=[rxg], fit=fit, errors=True, symbols="both", output=str(path))
    assert path.read_bytes().startswith(b"\x89PNG")
    assert result.included > 0
    with pytest.raises(ExistsError):
        plot([log], x=x, y=y, rxg=[rxg], output=str(path))


def test_every_quantity_can_stand_on_either_axis(simulated: Path, tmp_path: Path) -> None:
    from calibrant.station.load import load
    from calibrant.station.quantities import QUANTITIES
    from calibrant.station.verbs.plot import axis_label, overlays

    log, rxg = (str(next(simulated.glob(f"*.{kind}"))) for kind in ("log", "rxg"))
    loaded = load([log], rxg=[rxg])
    for name, one in QUANTITIES.items():
        assert len(one.of(loaded.points)) == len(loaded.points)
        assert axis_label(one)
        overlays(loaded, "elevation", name, False)
    with pytest.raises(ParameterError, match="nonsense"):
        plot([log], y="nonsense", output=str(tmp_path / "n.png"))
    assert not list(tmp_path.iterdir())


def test_plot_refuses_limits_formats_and_highlights_that_cannot_be(simulated: Path) -> None:
    log = str(next(simulated.glob("*.log")))
    with pytest.raises(ParameterError, match="low~high"):
        plot([log], y="sefd", xlim="ten", output="new.png")
    with pytest.raises(ParameterError, match="low~high"):
        plot([log], y="sefd", xlim="5", output="new.png")
    with pytest.raises(ParameterError, match="no directory 'nosuch'"):
        plot([log], y="sefd", output="nosuch/new.png")
    with pytest.raises(ParameterError, match="no directory 'nosuch'"):
        report([log], output="nosuch/new.html")
    with pytest.raises(DataError, match=r"nothing to draw of gain .* none of \d+ points has both; no rxg file"):
        plot([log], y="gain", output="new.png")
    assert not Path("new.png").exists()
    with pytest.raises(ParameterError, match=r"\.png, \.svg, \.pdf"):
        plot([log], y="sefd", output="new.jpg")
    with pytest.raises(ParameterError, match="nosuch"):
        plot([log], y="sefd", highlight="nosuch", output="new.png")


def run(commands: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Type the commands, `> file` included; what each wrote. They must all succeed."""
    told = {}
    for command in commands:
        line, _, target = command.partition(" > ")
        words = shlex.split(line)
        assert words[0] == "calibrant"
        code = main(words[1:])
        out, err = capsys.readouterr()
        assert code == 0, f"{command}: {err}"
        if target:
            Path(shlex.split(target)[0]).write_text(out)
        told[command] = out
    return told


def test_commands_of_two_receivers_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each receiver is fitted with the logs that it serves, and with the selection of the report."""
    monkeypatch.chdir(tmp_path)
    made = [
        simulate_log(folder, Options(seed=3, name=name, hours=8, band=band, detectors=2, vlbi=False))
        for folder, name, band in (("a b", "sim001cb", "C"), ("c", "sim002cb", "X"))
    ]
    result = report(
        [one.log for one in made], rxg=[one.rxg for one in made], flux=made[0].flux, elevation=">14", tatm="260",
        output="r.html",
    )  # fmt: skip
    fits = [command for command in result.commands if " station fit " in command]
    assert len(fits) == 6 and all("--elevation '>14'" in command for command in fits)
    for one in made:
        mine = [command for command in fits if one.rxg in command]
        assert len(mine) == 3 and all(one.log in command for command in mine)
    assert not any(one.log in command and other.rxg in command
                   for command in fits for one in made for other in made if one is not other)  # fmt: skip
    typed = [(command, text) for command, text in run(result.commands, capsys).items() if command in fits]
    for (command, text), kind in zip(typed, ("gain", "tcal", "trec") * 2, strict=True):
        rxg = next(one for one in made if one.rxg in command).rxg
        found, reported = json.loads(text), result.fits[Path(rxg).name].to_dict()
        if kind == "gain":
            assert found["curve"]["dpfu"] == pytest.approx(reported["gain"]["dpfu"])
        elif kind == "trec":
            assert found["fit"]["trec"] == pytest.approx(reported["trec"]["trec"])
        else:
            values = [[one["tcal_k"] for one in fit["values"]] for fit in (found["fit"], reported["tcal"])]
            assert values[0] == pytest.approx(values[1])


@pytest.mark.real_data
def test_commands_of_a_real_log_can_be_typed(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two receivers of one log: what can be fitted is, and the page says why the rest cannot."""
    monkeypatch.chdir(tmp_path)
    log = str(shared / "data/fs_logs/r1730ny.log.gz")
    (tmp_path / "x.rxg").write_text(NY_X)
    (tmp_path / "s.rxg").write_text(NY_S)
    (tmp_path / "other.rxg").write_text(NY_S.replace("fixed 2020", "fixed 4000"))
    result = report([log], rxg=["x.rxg", "s.rxg", "other.rxg"], session="none", output="r.html")
    assert not any("other.rxg" in command for command in result.commands if "fit" in command)
    told = run(result.commands, capsys)
    # At S band every level is far from linear (compression 1.8), so that no Tcal can be used.
    assert sum(" fit tcal " in command for command in told) == 1
    assert all("saturation" in value.masked for value in result.fits["s.rxg"].tcal.values)
    assert set(result.fits) == {"x.rxg", "s.rxg"}


@pytest.mark.real_data
def test_real_log_of_one_station_gets_its_verdict(shared: Path, tmp_path: Path) -> None:
    import gzip

    log = tmp_path / "r1730ny.log"
    log.write_bytes(gzip.decompress(next((shared / "data" / "fs_logs").rglob("r1730ny.log.gz")).read_bytes()))
    result = report([str(log)], output=str(tmp_path / "ny.html"))
    assert result.verdict == "do not trust"  # the rxg files of that day were wrong by a factor of 2.6
    x_band = next(band for band in result.judgement.bands if band.band == "LO 8080.00 MHz")
    assert x_band.ratio_median == pytest.approx(2.61, abs=0.05)
    assert "0 of 68 rows differ from the Field System" in words(tmp_path / "ny.html")
