"""The report page: what stands in it, what it does with names and with figures that fail."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fabricated_run as made
import pytest

from calibrant.plots import PLOTS, Material, Plot
from calibrant.plots.plot import Drawing
from calibrant.weblog import report
from calibrant.weblog.observation import elevation, receptors_of, scans_of
from calibrant.weblog.page import draw_plot
from calibrant.weblog.report import draw_sections, gather, render, write_report


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(made.result(), made.caltables(), made.averages(), made.index(), str(path))
    return path


def test_page_is_one_file_without_external_resources(page: Path) -> None:
    text = page.read_text()
    assert os.listdir(page.parent) == ["report.html"]
    assert "http" not in re.sub(r'base64,[^"]*', "", text)
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]{0,20})', text))


def test_verdict_comes_first_and_tables_are_there(page: Path) -> None:
    text = re.sub(r'base64,[^"]*', "", page.read_text())
    assert text.index("Verdict: check") < text.index("Key facts</h2>") < text.index("Flux densities</h2>")
    for words in ("DV02 YY: 80 % of solutions failed", "calibrant bandpass made.ms", "31.0 %", "1.9900",
                  "DV02 YY, SNR 2.1",                   "Perley-Butler 2017", "out/b.bcal", "Fields: 3"):  # fmt: skip
        assert words in text, words


def test_names_are_escaped(page: Path) -> None:
    text = page.read_text()
    assert "<script>" not in text
    assert "made &lt;b&gt;.ms" in text
    assert "TARGET &lt;01&gt; &amp; $x$" in text


def test_every_picture_has_an_alternative_text_and_a_caption(page: Path) -> None:
    text = page.read_text()
    pictures = re.findall(r"<img [^>]*>", text)
    assert len(pictures) > 25
    assert all(re.search(r'alt="[^"]{10,}"', picture) for picture in pictures)
    assert text.count("<figcaption>") == len(pictures)


def test_every_link_within_the_page_has_a_target_and_ids_are_unique(page: Path) -> None:
    text = page.read_text()
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


def test_thirty_antennas_and_four_spws_stay_below_eight_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "big.html"
    tables = made.caltables(30, 4, 128, 60)
    write_report(made.result(30, 4), tables, made.averages(30, 4, 128, 100), made.index(30, 4), str(path))
    assert path.stat().st_size < 8e6


def broken(name: str) -> Plot:
    def draw() -> object:
        raise ValueError("axis <7> is missing")

    def make(material: Material) -> Iterator[Drawing]:
        yield Drawing("good-one", "Good", "caption", "alt", next(iter(PLOTS["scans"].make(material))).draw)
        yield Drawing("bad-one", "Bad", "caption", "alt", draw)  # type: ignore[arg-type]
        raise KeyError("no such table")

    return Plot(name, "gains", "Broken plot", "absent.", make)


def test_figure_that_fails_is_named_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    material = gather(made.result(), made.caltables(), made.averages(), made.index(), {})
    pictures = draw_plot(broken("broken"), material)
    assert [bool(picture.image) for picture in pictures] == [True, False, False]
    assert [picture.error for picture in pictures] == [
        "",
        "ValueError: axis <7> is missing",
        "KeyError: 'no such table'",
    ]
    monkeypatch.setattr(report, "PLOTS", {"scans": PLOTS["scans"], "broken": broken("broken")})
    text = render(made.result(), draw_sections(material), made.index())
    assert "2 figures could not be drawn" in text
    assert "This figure could not be drawn: ValueError: axis &lt;7&gt; is missing" in text
    assert text.count("<img ") == 2


def test_run_without_tables_and_averages_says_what_is_absent(tmp_path: Path) -> None:
    bare = dataclasses.replace(
        made.result(),
        fluxes=[],
        flags=[],
        failed=[],
        steps=[],
        caltables={},
        listobs="",
        reasons=[],
        verdict="do not trust",
    )
    path = tmp_path / "bare.html"
    assert write_report(bare, {}, None, made.index(), str(path)) == str(path)
    text = path.read_text()
    for words in ("The run made no bandpass table.", "No flux densities were set or derived.", "No solution failed.",
                  "Verdict: do not trust", 'class="verdict bad"'):  # fmt: skip
        assert words in text, words


def test_failed_writing_leaves_the_old_report_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr(report, "draw_sections", lambda material: [])
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(made.result(), {}, None, made.index(), str(path))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_scans_come_with_intents_and_elevation() -> None:
    scans = scans_of(made.index())
    assert [scan.number for scan in scans] == [1, 2, 3, 4, 5, 6]
    assert scans[0].intents == ("CALIBRATE_PHASE#ON_SOURCE", "CALIBRATE_WVR#ON_SOURCE")
    assert all(-90 <= scan.elevation <= 90 for scan in scans)
    assert receptors_of(made.index()) == ("XX", "YY")


def test_elevation_agrees_with_astropy() -> None:
    from astropy import units
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    position = made.positions(1)[0]
    when = 60537 * 86400.0 + 18000.0
    with iers.conf.set_temp("auto_download", False):
        site = EarthLocation.from_geocentric(*position, unit=units.m)
        source = SkyCoord(5.99, 0.28, unit="rad")
        truth = source.transform_to(AltAz(obstime=Time(when / 86400, format="mjd"), location=site)).alt.deg
    import numpy as np

    assert elevation(when, np.array([5.99, 0.28]), position) == pytest.approx(truth, abs=0.5)


@pytest.mark.browser
def test_page_renders_without_console_messages(page: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no headless Chromium on this machine")
    out = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={tmp_path / 'page.png'}", "--window-size=400,2000", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (tmp_path / "page.png").stat().st_size > 20_000
    assert "CONSOLE" not in out.stderr
