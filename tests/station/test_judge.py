"""The verdict: what it says of good, doubtful and bad points, and that nothing is never good."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fabricated_points import points

from calibrant.station.bands import band_labels, median_and_scatter, summarise
from calibrant.station.judge import Check, judge, level
from calibrant.station.records import Site
from calibrant.station.trends import changes, trends


def said(result: Any) -> str:
    return "\n".join(result.reasons)


def test_agreeing_points_are_good_and_the_numbers_are_told() -> None:
    result = judge(points(scans=30))
    assert result.verdict == "good"
    assert "LO 8080.00 MHz l: Tcal ratio 1.00" in said(result)
    assert result.coverage.elevation_gaps == ()


@pytest.mark.parametrize(("ratio", "verdict"), [(1.04, "good"), (1.07, "check"), (1.2, "do not trust")])
def test_ratio_decides(ratio: float, verdict: str) -> None:
    result = judge(points(scans=30, ratio=ratio))
    assert result.verdict == verdict
    if verdict != "good":
        assert f"Tcal ratio {ratio:.2f}"[:-1] in said(result)
        assert "good is up to 5.0 %" in said(result)


def test_scatter_of_the_ratio_counts() -> None:
    assert judge(points(scans=30, scatter=0.08)).verdict == "check"
    assert judge(points(scans=30, scatter=0.4)).verdict == "do not trust"


def test_no_points_is_never_good() -> None:
    nothing = judge(points(scans=12).where(np.zeros(48, dtype=bool)))
    assert nothing.verdict == "do not trust"
    assert nothing.reasons == ("there is nothing to judge: no ONOFF scan gives a point",)
    every = judge(points(scans=12, deleted=np.ones(48, dtype=bool)))
    assert every.verdict == "do not trust"
    assert "48 points, all deleted" in said(every)


def test_one_scan_cannot_condemn_and_cannot_be_good() -> None:
    result = judge(points(scans=1, ratio=1.5))
    assert result.verdict == "check"
    assert "fewer than 10 points" in said(result)


def test_points_without_diode_leave_sefd_to_be_judged() -> None:
    result = judge(points(scans=12, no_diode=np.ones(48, dtype=bool)))
    assert result.verdict == "check"
    assert "no noise diode was measured, only SEFD can be judged (24 points)" in said(result)
    assert "SEFD 700 Jy" in "\n".join(check.sentence for check in result.checks) or result.bands[0].sefd_median_jy > 0


def test_compression_is_told_with_its_share() -> None:
    driven = np.full(48, 0.9)
    result = judge(points(scans=12, compression=driven))
    assert "gain compression 0.9000 (median), 100 % of the points outside" in said(result)


def test_gaps_in_elevation_are_named() -> None:
    whole = points(scans=30)
    result = judge(whole.where((whole["elevation_deg"] < 15) | (whole["elevation_deg"] > 38)))
    assert "no data between 14° and 39° elevation" in said(result)
    assert "no data below 41° elevation" in said(judge(whole.where(whole["elevation_deg"] > 40)))


def test_frequencies_without_observation_and_outside_the_table_are_named() -> None:
    class Receiver:
        tcal = dict.fromkeys("lr", (np.array([8000.0, 8100.0, 8200.0, 8300.0]), np.ones(4)))

        def tcal_covers(self, pol: str, freq: Any) -> Any:
            return np.asarray(freq) <= 8300

    receivers = SimpleNamespace(for_lo=lambda lo, pol: Receiver(), choose=lambda lo, pol: (None, ""))
    result = judge(points(scans=30), receivers=receivers)
    covered = result.coverage.frequencies[0]
    assert covered.unobserved == (8000.0, 8100.0)
    assert covered.outside == (8310.0,)
    assert "1 observed frequency outside the Tcal table (8000 to 8300 MHz): 8310 MHz" in said(result)
    assert any("has 2 of 4 frequencies without observation" in check.sentence for check in result.checks)


def test_deleted_points_are_counted_by_reason() -> None:
    made = points(scans=12)
    made["deleted"][:20] = True
    made["reason"][:12] = "gain compression outside 0.95..1.05"
    made["reason"][12:20] = "rain"
    result = judge(made)
    assert [(one.reason, one.points, one.scans) for one in result.deleted] == [
        ("gain compression outside 0.95..1.05", 12, 3),
        ("rain", 8, 2),
    ]
    assert "20 of 48 points (42 %) are deleted" in said(result)


def test_unknown_flux_and_resolved_source_are_named() -> None:
    result = judge(points(scans=12, structure_correction=np.full(48, 1.31)))
    assert "casa, cygnusa: resolved by the beam, structure correction up to 1.31" in said(result)
    unknown = judge(points(scans=12, type=np.full(48, "x"), flux_assumed_jy=np.ones(48)))
    assert "flux density unknown (1.0 Jy assumed) in 48 points" in said(unknown)


def test_disagreement_with_the_field_system_is_counted_and_located(monkeypatch: pytest.MonkeyPatch) -> None:
    from calibrant.station import agreement

    found = agreement.Disagreement("made.log", 375, "2u", "sefd_jy", 1413.2, 1500.0)
    told = agreement.Agreement(48, 47, 0, {}, [found], 1e-3)
    monkeypatch.setattr(agreement, "agreement", lambda scans: told)
    log = SimpleNamespace(scans=[SimpleNamespace(status="aborted")], path="made.log", site=Site("NyAlesun"))
    result = judge(points(scans=30), logs=[log])  # type: ignore[list-item]
    assert result.verdict == "check"
    assert "1 of 48 rows differ" in said(result)
    assert "line 375: 2u sefd_jy 1413.2, printed 1500" in said(result)
    assert "1 of 1 ONOFF scans were aborted (100 %)" in said(result)


def test_checks_of_fits_and_advice_are_carried() -> None:
    result = judge(points(scans=30), fits=[Check(1, "gain", "x.rxg: extrapolated")], advice=["x.rxg: change the DPFU"])
    assert (result.verdict, result.reasons, result.advice) == (
        "check",
        ("x.rxg: extrapolated",),
        ("x.rxg: change the DPFU",),
    )
    assert result.of("gain") == ["x.rxg: extrapolated"]


def test_trends_follow_the_logs_and_tell_changes() -> None:
    made = points(scans=12)
    made["log"][24:] = 1
    made = made.replaced(file=np.where(made["log"] == 1, "b.log", "a.log"))
    made["tcal_ratio"][24:] *= 1.08
    labels = band_labels(made)
    series = trends(made, labels)
    assert [(one.log, one.pol) for one in series] == [("a.log", "l"), ("b.log", "l"), ("a.log", "r"), ("b.log", "r")]
    told = changes(series)
    assert any(
        one.startswith("Tcal ratio of LO 8080.00 MHz l: 1.0") and "in b.log, +7 % against 1.0" in one for one in told
    ), told
    assert trends(points(), band_labels(points())) == ()


def test_bands_are_receivers_and_los() -> None:
    names = np.where(np.arange(48) < 24, "dir/x.rxg", "")
    made = points(scans=12, rxg=names)
    assert set(band_labels(made)) == {"x.rxg", "LO 8080.00 MHz"}
    made["lo_mhz"][:12] = 8580.1
    assert set(band_labels(made)[:24]) == {"x.rxg · LO 8080.00", "x.rxg · LO 8580.10"}
    bands = summarise(made, band_labels(made))
    assert sum(band.points for band in bands) == 48


def test_levels_and_scatter() -> None:
    assert [level(value, (0.05, 0.1)) for value in (0.05, 0.07, 0.2, float("nan"))] == [0, 1, 2, 1]
    assert median_and_scatter([1, 2, 3, 4, 100]) == pytest.approx((3, 1.4826))
    assert np.isnan(median_and_scatter([np.nan])).all()
