"""The stages on small observations of every shape: what is decided, and what comes out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.errors import FluxModelError, MeasurementSetError
from calibrant.ms.index import open_index
from calibrant.pipeline.job import BEFORE, Finished, Job
from calibrant.pipeline.observation import observe as look_at
from calibrant.pipeline.plan import check_flux_models, plan_text
from calibrant.pipeline.roles import find_roles
from calibrant.pipeline.run import Run
from calibrant.tasks.flagdata import flagdata
from calibrant.tasks.flagmanager import flagmanager
from calibrant.tasks.setjy import setjy

sys.path.insert(0, str(Path(__file__).parent))
from made import C286, Source, Window, close_to, observe

sys.path.insert(0, str(Path(__file__).parents[1]))
from planted import get

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

PB17 = "Perley-Butler 2017"
PHASE, TARGET = close_to("PHASE", 2.0), close_to("TARGET", 0.5, ra=204.0)
SOURCES = (C286, PHASE, TARGET)
VISITS = ((0, 6), (1, 4), (2, 10), (1, 4))


def prepare(path: Path, refant: str = "", **told: str) -> Job:
    folder = path.parent / "out"
    folder.mkdir()
    run = Run(str(path), str(folder))
    roles = find_roles(run.index, dict.fromkeys(("flux", "bandpass", "phase", "target"), "") | told, PB17)
    return Job(run, roles, look_at(run.index, roles), PB17, refant, str(path))


def calibrated(
    tmp_path: Path, sources: Sequence[Source] = SOURCES, visits: Sequence[tuple[int, int]] = VISITS, **more: Any
) -> tuple[Job, Finished]:
    told = {role: more.pop(role) for role in ("flux", "bandpass", "phase", "target") if role in more}
    job = prepare(observe(tmp_path / "a.ms", sources, visits, **more), **told)
    return job, job.finish()


def flux_of(done: Finished, field: str) -> float:
    return next(flux.flux_jy for flux in done.result.fluxes if flux.field == field)


def steps(done: Finished, name: str) -> list[str]:
    return [step.reason for step in done.result.steps if step.name == name]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Finished]:
    return calibrated(tmp_path_factory.mktemp("plain"), drift=0.01)


def test_an_ordinary_observation_is_good(plain: tuple[Job, Finished]) -> None:
    _, done = plain
    assert done.result.verdict == "good"
    assert flux_of(done, "PHASE") == pytest.approx(flux_of(done, "3C286") * PHASE.flux / C286.flux, rel=0.01)
    assert [f.origin for f in done.result.fluxes] == ["standard", "fluxscale"]
    assert list(done.result.caltables) == ["phase_up", "bandpass", "phase_int", "amplitude", "flux", "phase_scan"]


def test_stages_come_in_their_order(plain: tuple[Job, Finished]) -> None:
    _, done = plain
    names = [step.name for step in done.result.steps]
    assert names == [
        "list", "flags", "a-priori flags", "flux model", "phase_up", "bandpass", "phase_int", "amplitude", "fluxscale",
        "phase_scan", "flags", "apply", "apply", "apply", "flags", "split",
    ]  # fmt: skip


def test_integration_phases_for_the_flux_calibrator_scan_phases_for_the_target(plain: tuple[Job, Finished]) -> None:
    _, done = plain
    flux, phase, target = [step.command for step in done.result.steps if step.name == "apply"]
    assert "phase_int.cal" in flux and "--gainfield ,0,0" in flux
    assert "phase_scan.cal" in phase and "--gainfield ,1,1" in phase
    assert "phase_scan.cal" in target and "--field 2" in target and "--gainfield ,1,1" in target


def test_the_target_comes_out_at_its_flux_density(plain: tuple[Job, Finished]) -> None:
    _, done = plain
    scale = flux_of(done, "3C286") / C286.flux
    path = done.result.target_ms
    good = ~get(path, "FLAG")
    assert get(path, "DATA")[good].mean() == pytest.approx(TARGET.flux * scale, rel=0.02)
    assert set(open_index(path).fields.name) == {"TARGET"}
    residual = get(path, "DATA") - TARGET.flux * scale
    weight = np.broadcast_to(get(path, "WEIGHT")[:, None], residual.shape)
    assert (weight * np.abs(residual) ** 2)[good].mean() / 2 == pytest.approx(1, abs=0.1)


def test_the_plan_says_what_will_be_done(plain: tuple[Job, Finished]) -> None:
    job, _ = plain
    text = "\n".join(plan_text(job.run, job.roles, job.seen, PB17))
    for words in ("3C286", "PHASE", "TARGET", "edge channels (spw 0: 1)", PB17, "no scan starts", job.run.folder):
        assert words in text


def test_flags_are_kept_and_restored(plain: tuple[Job, Finished]) -> None:
    job, _ = plain
    after = get(job.run.ms, "FLAG")
    assert 0 < after.mean() < 0.1
    versions = flagmanager(vis=job.run.ms, mode="list").to_dict()
    assert BEFORE in str(versions)


# ---- models of the flux calibrator ----------------------------------------------------------------------------


@pytest.mark.parametrize("usescratch", [True, False])
def test_a_flux_calibrator_with_a_model_set_by_hand(tmp_path: Path, usescratch: bool) -> None:
    """Its flux density is not in the standard; the model is in MODEL_DATA or virtual."""
    own = close_to("OWN", 6.0)
    path = observe(tmp_path / "a.ms", (own, PHASE, TARGET), VISITS)
    setjy(vis=str(path), field="OWN", fluxdensity=[6.0, 0, 0, 0], usescratch=usescratch)
    job = prepare(path, flux="OWN")
    check_flux_models(job.run, job.roles, job.seen, PB17)
    done = job.finish()
    assert flux_of(done, "OWN") == pytest.approx(6.0)
    assert flux_of(done, "PHASE") == pytest.approx(2.0, rel=0.01)
    assert "OWN: model as set before with setjy" in done.result.notes
    assert done.result.verdict == "good"


@pytest.mark.parametrize("other", [False, True])
def test_a_flux_calibrator_without_a_model_is_an_error_before_anything_is_touched(tmp_path: Path, other: bool) -> None:
    """1 Jy, which a new MODEL_DATA holds for everybody, is no model."""
    path = observe(tmp_path / "a.ms", (close_to("OWN", 6.0), PHASE, TARGET), VISITS)
    if other:
        setjy(vis=str(path), field="PHASE", fluxdensity=[2.0, 0, 0, 0])
    job = prepare(path, flux="OWN")
    with pytest.raises(FluxModelError, match="OWN"):
        check_flux_models(job.run, job.roles, job.seen, PB17)
    assert not get(str(path), "FLAG").any()
    assert not path.with_name("a.ms.flagversions").exists()


def test_all_known_calibrators_get_their_model(tmp_path: Path) -> None:
    """A second calibrator of the standard needs no fluxscale."""
    known = Source("3C147", 22.0, 85.650575, 49.852009)
    path = observe(tmp_path / "a.ms", (C286, known, PHASE, TARGET), ((0, 6), (1, 6), (2, 4), (3, 10), (2, 4)))
    _, done = (job := prepare(path)), job.finish()
    assert [(f.field, f.origin) for f in done.result.fluxes] == [
        ("3C286", "standard"), ("3C147", "standard"), ("PHASE", "fluxscale"),
    ]  # fmt: skip
    assert done.result.verdict == "good"


# ---- shapes of observations -----------------------------------------------------------------------------------


def test_no_separate_phase_calibrator(tmp_path: Path) -> None:
    _, done = calibrated(tmp_path, (C286, TARGET), ((0, 6), (1, 8), (0, 6)))
    assert done.result.roles["phase"] == ["3C286"]
    assert done.result.verdict == "good"
    assert not steps(done, "fluxscale")


def test_no_target(tmp_path: Path) -> None:
    _, done = calibrated(tmp_path, (C286,), ((0, 8),))
    assert done.result.verdict == "good" and done.result.target_ms == ""
    assert "no target: nothing was split" in done.result.notes


def test_every_target_gets_its_nearest_phase_calibrator(tmp_path: Path) -> None:
    """Nearest on the sky, not in number: right ascension 359 is near to 1."""
    near = "CALIBRATE_PHASE#ON_SOURCE"
    sources = (
        Source("3C286", 14.9, C286.ra, C286.dec, "CALIBRATE_FLUX#ON_SOURCE,CALIBRATE_BANDPASS#ON_SOURCE"),
        Source("P1", 2.0, 359.0, 10.0, near),
        Source("P2", 3.0, 20.0, 10.0, near),
        Source("T1", 0.5, 1.0, 10.0, "OBSERVE_TARGET#ON_SOURCE"),
        Source("T2", 0.5, 15.0, 10.0, "OBSERVE_TARGET#ON_SOURCE"),
    )
    visits = ((0, 6), (1, 4), (3, 4), (1, 4), (2, 4), (4, 4), (2, 4))
    _, done = calibrated(tmp_path, sources, visits)
    assert [reason for reason in steps(done, "apply") if reason.startswith("T")] == [
        "T1: phases and amplitudes of P1", "T2: phases and amplitudes of P2",
    ]  # fmt: skip
    assert flux_of(done, "P2") / flux_of(done, "P1") == pytest.approx(1.5, rel=0.02)
    assert sorted(open_index(done.result.target_ms).fields.name) == ["T1", "T2"]


@pytest.mark.parametrize("corr", ["YY", "XX", "XX XY YX YY"])
def test_single_and_full_polarisation(tmp_path: Path, corr: str) -> None:
    _, done = calibrated(tmp_path, windows=(Window(32, 1.4e9, 1e6, corr),))
    assert done.result.verdict == "good"
    assert flux_of(done, "PHASE") == pytest.approx(flux_of(done, "3C286") * PHASE.flux / C286.flux, rel=0.01)


def test_radiometer_and_channel_average_are_left_alone(tmp_path: Path) -> None:
    windows = (Window(4, 184e9, 1e9, "I"), Window(32, 1.4e9, 1e6), Window(1, 1.4e9, 3e7))
    _, done = calibrated(tmp_path, windows=windows, names=("WVR#NOMINAL", "FULL_RES", "FULL_RES#CH_AVG"))
    assert {flux.spw for flux in done.result.fluxes} == {1}
    assert done.result.verdict == "good"


def test_continuum_of_one_channel(tmp_path: Path) -> None:
    """There is nothing to average and no slope to correct, even where the signal is weak."""
    window = Window(1, 1.4e9, 5e7)
    _, done = calibrated(tmp_path, windows=(window, Window(1, 1.5e9, 5e7)), sigma=2.0, nant=10)
    assert "delay" not in done.result.caltables
    assert all("1ch" not in c and "2ch" not in c for c in done.result.commands)


# ---- decisions ------------------------------------------------------------------------------------------------


def test_delays_are_kept_where_they_turn_the_phase(tmp_path: Path) -> None:
    _, done = calibrated(tmp_path, turns=0.6)
    assert next(iter(done.result.caltables)) == "delay"
    assert "--gainfield ,,0,0" in next(step.command for step in done.result.steps if step.name == "apply")
    assert done.result.verdict == "good"


def test_delays_that_do_not_matter_are_dropped(plain: tuple[Job, Finished]) -> None:
    job, done = plain
    assert "delay" not in done.result.caltables
    assert not Path(job.run.path("delay.cal")).exists()
    assert any("not applied" in note for note in done.result.notes)
    assert not any("delay.cal" in command for command in done.result.commands)


def test_a_strong_calibrator_is_solved_every_integration(plain: tuple[Job, Finished]) -> None:
    _, done = plain
    assert steps(done, "phase_int")[0].endswith("(solint int)")
    assert steps(done, "bandpass")[0] == "gain against frequency"


def test_a_faint_phase_calibrator_is_solved_in_longer_intervals(tmp_path: Path) -> None:
    """One integration has a signal-to-noise of about 2, a scan has 5 to 6."""
    faint = (C286, close_to("FAINT", 0.06), TARGET)
    visits = ((0, 12), (1, 12), (2, 30), (1, 12))
    _, done = calibrated(tmp_path, faint, visits, sigma=0.3, drift=0.01, nant=8)
    (reason,) = steps(done, "phase_int")
    assert "(solint int)" not in reason
    assert done.result.verdict in ("good", "check")
    assert flux_of(done, "FAINT") == pytest.approx(0.06 * flux_of(done, "3C286") / C286.flux, rel=0.15)


def test_channels_are_averaged_where_the_bandpass_is_weak(tmp_path: Path) -> None:
    """A channel has a signal-to-noise of about 6 where 10 is wanted: three channels at a time."""
    bright = (C286, close_to("PHASE", 12.0), TARGET)
    window = Window(64, 1.4e9, 1e6)
    _, done = calibrated(tmp_path, bright, sigma=15.0, drift=0.02, nant=8, windows=(window,))
    (reason,) = steps(done, "bandpass")
    assert "channels at a time" in reason
    width = int(reason.split(",")[1].split()[0])
    assert 2 <= width <= 8
    assert f"inf,{width}ch" in next(s.command for s in done.result.steps if s.name == "bandpass")


def test_the_reference_antenna_as_given(tmp_path: Path) -> None:
    job = prepare(observe(tmp_path / "a.ms", SOURCES, VISITS), refant="DV04,DV02")
    done = job.finish()
    assert done.result.refant == "DV04,DV02"
    phases = done.tables["phase_int"].spws[0]
    assert (phases.refant[phases.refant >= 0] == 4).all()


def test_a_bad_antenna_is_flagged_and_gives_up_the_reference(tmp_path: Path) -> None:
    """Phases of one antenna at random in YY: it is flagged there, the rest is solved again."""
    rng = np.random.default_rng(2)
    path = observe(tmp_path / "a.ms", SOURCES, VISITS, nant=8)
    _spoil(path, 0, rng)
    job = prepare(path, refant="DV00,DV03")
    done = job.finish()
    assert done.result.refant == "DV03"
    assert any("DV00 YY spw 0" in note for note in done.result.notes)
    assert "the reference antenna is now DV03" in done.result.notes
    assert get(str(path), "FLAG", "ANTENNA1==0 && ANTENNA2!=0")[..., 1].all()
    assert get(str(path), "FLAG", "ANTENNA1!=0").mean() < 0.1
    assert done.result.verdict == "good"


def _spoil(path: Path, antenna: int, rng: np.random.Generator) -> None:
    from casacore.tables import table

    with table(str(path), readonly=False, ack=False) as tab:
        data, time = tab.getcol("DATA"), tab.getcol("TIME")
        first, second = tab.getcol("ANTENNA1"), tab.getcol("ANTENNA2")
        _, which = np.unique(time, return_inverse=True)
        turn = np.exp(1j * rng.uniform(-np.pi, np.pi, which.max() + 1))[which]
        data[..., 1] *= np.where(first == antenna, turn, 1)[:, None]
        data[..., 1] *= np.where(second == antenna, turn.conj(), 1)[:, None]
        tab.putcol("DATA", data)


def test_interference_on_the_target_is_flagged(tmp_path: Path) -> None:
    from casacore.tables import table

    path = observe(tmp_path / "a.ms", SOURCES, VISITS)
    with table(str(path), readonly=False, ack=False) as tab:
        data = tab.getcol("DATA")
        bad = (tab.getcol("FIELD_ID") == 2) & (np.arange(tab.nrows()) % 7 == 0)
        data[bad, 11] += 40.0
        tab.putcol("DATA", data)
    done = prepare(path).finish()
    assert get(str(path), "FLAG")[bad, 11].all()
    assert any("interference: TARGET spw 0" in note for note in done.result.notes)
    assert done.result.verdict == "good"


def change_target(path: Path, change: Any) -> np.ndarray:
    """DATA of the target after change(data, length of the baselines in m); which rows those are."""
    from casacore.tables import table

    with table(str(path), readonly=False, ack=False) as tab:
        data, mine = tab.getcol("DATA"), tab.getcol("FIELD_ID") == 2
        data[mine] = change(data[mine], np.hypot(*tab.getcol("UVW")[mine, :2].T))
        tab.putcol("DATA", data)
    return mine


def test_a_maser_on_the_target_is_not_flagged(tmp_path: Path) -> None:
    path = observe(tmp_path / "a.ms", SOURCES, VISITS)

    def maser(data: np.ndarray, length: np.ndarray) -> np.ndarray:
        data[:, 20] *= 40
        data[:15, 11] += 40.0  # interference in one integration
        return data

    mine = change_target(path, maser)
    done = prepare(path).finish()
    assert not get(str(path), "FLAG")[mine, 20].any()
    assert get(str(path), "FLAG")[mine, 11][:15].all()
    assert (
        "spw 0 channel 20 of TARGET stands out in all scans: a line, or interference that never stops; not flagged"
        in done.result.notes
    )
    assert done.result.verdict == "good"


def test_structure_on_short_spacings_is_not_flagged(tmp_path: Path) -> None:
    path = observe(tmp_path / "a.ms", SOURCES, VISITS, nant=12)

    def extended(data: np.ndarray, length: np.ndarray) -> np.ndarray:
        data[length <= np.min(length)] *= 40
        data[:66, 11] += 60.0
        return data

    mine = change_target(path, extended)
    done = prepare(path).finish()
    length = np.hypot(*get(str(path), "UVW")[mine, :2].T)
    assert not get(str(path), "FLAG")[mine][length == length.min()][:, 2:-2].any()
    assert get(str(path), "FLAG")[mine, 11][:66].mean() > 0.9
    assert any("spw 0 of TARGET: spacings up to" in note and "not flagged" in note for note in done.result.notes)


# ---- a second run, and failed solutions -------------------------------------------------------------------------


def again(job: Job) -> Finished:
    return Job(Run(job.run.ms, job.run.folder), job.roles, job.seen, PB17, "", job.run.ms).finish()


def test_flags_set_between_two_runs_stay(tmp_path: Path) -> None:
    """Even through a third run, which starts from them."""
    job = prepare(observe(tmp_path / "a.ms", SOURCES, VISITS))
    job.finish()
    once = get(job.run.ms, "FLAG")
    assert not any("since the last run" in note for note in again(job).result.notes)
    np.testing.assert_array_equal(get(job.run.ms, "FLAG"), once)
    flagdata(vis=job.run.ms, mode="manual", antenna="DV01&DV02", spw="0:7~9", flagbackup=False)
    mine = get(job.run.ms, "FLAG") & ~once
    assert mine.any()
    done = again(job)
    assert f"{mine.sum()} visibilities flagged since the last run stay flagged" in done.result.notes
    np.testing.assert_array_equal(get(job.run.ms, "FLAG"), once | mine)
    again(job)
    np.testing.assert_array_equal(get(job.run.ms, "FLAG"), once | mine)
    versions = [version["name"] for key, version in flagmanager(vis=job.run.ms).to_dict().items() if key != "MS"]
    assert {"before_calibrate", "after_calibrate", "before_rerun_1", "before_rerun_2"} <= set(versions)


def test_data_of_failed_solutions_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What applycal flags in the first round is not flagged in the second, unless it fails again."""
    from calibrant.tasks.applycal import applycal

    path = observe(tmp_path / "a.ms", SOURCES, VISITS)

    def burst(data: np.ndarray, length: np.ndarray) -> np.ndarray:
        data[:15, 11] += 40
        return data

    change_target(path, burst)
    job = prepare(path)
    calls = []

    def do(name: str, reason: str, verb: Any, **values: Any) -> Any:
        result = original(name, reason, verb, **values)
        if verb is applycal and values["field"] == "2":
            calls.append(1)
            if len(calls) == 1:  # as if solutions of DV03 had failed
                flagdata(vis=str(path), mode="manual", antenna="DV03", field="2", flagbackup=False)
        return result

    original = job.run.do
    monkeypatch.setattr(job.run, "do", do)
    done = job.finish()
    assert len(calls) == 3  # the burst on DV03 is seen, and flagged, in the second round
    flags = get(str(path), "FLAG", "FIELD_ID==2 && (ANTENNA1==3 || ANTENNA2==3)")
    assert flags[5:, 2:-2].mean() < 0.05
    assert [flag.step for flag in done.result.flags] == [
        "as observed", "a priori", "round 1", "round 2", "failed solutions",
    ]  # fmt: skip
    assert not any(name.startswith("calibrate_") for name in flagversions_of(path))


def flagversions_of(path: Path) -> list[str]:
    from calibrant.ms.flagversions import list_versions

    return [version.name for version in list_versions(str(path))]


def test_an_error_in_the_middle_says_how_to_go_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calibrant.errors import SolveError

    job = prepare(observe(tmp_path / "a.ms", SOURCES, VISITS))

    def fails() -> None:
        raise SolveError("no solution at all")

    monkeypatch.setattr(job, "split", fails)
    with pytest.raises(SolveError) as caught:
        job.finish()
    text = str(caught.value)
    assert "no solution at all" in text and "stopped in round 1; its flags and CORRECTED_DATA are from there" in text
    assert f"calibrant flagmanager {job.run.ms} --mode restore --versionname before_calibrate" in text


# ---- models set by hand -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("usescratch", [True, False])
def test_a_model_set_for_the_phase_calibrator_counts(tmp_path: Path, usescratch: bool) -> None:
    path = observe(tmp_path / "a.ms", SOURCES, VISITS)
    setjy(vis=str(path), field="PHASE", fluxdensity=[2.0, 0, 0, 0], usescratch=usescratch)
    done = prepare(path).finish()
    assert [(f.field, f.origin) for f in done.result.fluxes] == [("3C286", "standard"), ("PHASE", "setjy")]
    assert flux_of(done, "PHASE") == pytest.approx(2.0)
    assert not steps(done, "fluxscale")
    assert "(set with setjy)" in done.result.summary()


def test_one_jansky_set_by_hand_is_set(tmp_path: Path) -> None:
    """As a virtual model. In MODEL_DATA it is what every field without a model has, and the error says so."""
    own = close_to("OWN", 1.0)
    path = observe(tmp_path / "a.ms", (own, PHASE, TARGET), VISITS)
    setjy(vis=str(path), field="OWN", fluxdensity=[1.0, 0, 0, 0], usescratch=True)
    job = prepare(path, flux="OWN")
    with pytest.raises(FluxModelError, match="if it is 1 Jy, say so"):
        check_flux_models(job.run, job.roles, job.seen, PB17)
    setjy(vis=str(path), field="OWN", fluxdensity=[1.0, 0, 0, 0], usescratch=False)
    check_flux_models(job.run, job.roles, job.seen, PB17)
    done = job.finish()
    assert flux_of(done, "OWN") == pytest.approx(1.0) and done.result.fluxes[0].origin == "setjy"


def test_a_resolved_model_column(tmp_path: Path) -> None:
    """The data follow the model, which falls with spacing: the verdict compares with it, not with one number."""
    from planted import edit

    own = close_to("OWN", 6.0)
    path = observe(tmp_path / "a.ms", (own, PHASE, TARGET), VISITS, nant=10)
    setjy(vis=str(path), field="OWN", fluxdensity=[6.0, 0, 0, 0], usescratch=True)
    length = np.hypot(*get(str(path), "UVW", "FIELD_ID==0")[:, :2].T)
    fall = np.exp(-((length / 400) ** 2))[:, None, None]
    for column in ("DATA", "MODEL_DATA"):
        edit(str(path), column, lambda values: values * fall, "FIELD_ID==0")
    done = prepare(path, flux="OWN").finish()
    (flux,) = [f for f in done.result.fluxes if f.field == "OWN"]
    assert flux.resolved and flux.flux_jy == pytest.approx(6.0 * fall.max(), rel=0.05)
    assert flux_of(done, "PHASE") == pytest.approx(2.0, rel=0.01)
    assert any("MODEL_DATA is resolved" in note for note in done.result.notes)
    assert done.result.verdict == "good"


def test_a_model_in_some_spws_only_is_an_error(tmp_path: Path) -> None:
    path = observe(tmp_path / "a.ms", SOURCES, VISITS, windows=(Window(16, 1.4e9, 1e6), Window(16, 1.5e9, 1e6)))
    setjy(vis=str(path), field="PHASE", spw="1", fluxdensity=[2.0, 0, 0, 0], usescratch=False)
    job = prepare(path)
    with pytest.raises(FluxModelError, match="PHASE has a model in spw 1 but none in spw 0"):
        check_flux_models(job.run, job.roles, job.seen, PB17)


# ---- shapes that limit what can be done ---------------------------------------------------------------------------


def test_scans_that_are_not_numbered(tmp_path: Path) -> None:
    from planted import edit

    path = observe(tmp_path / "a.ms", SOURCES, VISITS, drift=0.01, windows=(Window(4, 1.4e9, 1e6),))
    edit(str(path), "SCAN_NUMBER", lambda scan: 0 * scan + 1)
    job = prepare(path)
    assert job.seen.scan == pytest.approx(120.0)
    done = job.finish()
    assert any("scans are not numbered" in note and "2.0 min" in note for note in done.result.notes)
    assert "delays are not solved for: no spw has 8 channels" in done.result.notes
    phases = done.tables["phase_scan"].spws[0]
    assert 2 <= len(phases.time) <= 3  # stretches of 80 s, cut every 120 s


def test_fields_of_the_same_name_carry_their_id(tmp_path: Path) -> None:
    sources = (C286, close_to("PHASE", 2.0), close_to("SAME", 0.5, ra=204.0), close_to("SAME", 0.5, ra=204.1))
    path = observe(tmp_path / "a.ms", sources, ((0, 6), (1, 4), (2, 6), (3, 6), (1, 4)))
    done = prepare(path, phase="PHASE", target="SAME").finish()
    assert done.result.roles["target"] == ["SAME (2)", "SAME (3)"]


def test_antennas_without_data_are_named_once(tmp_path: Path) -> None:
    path = observe(tmp_path / "a.ms", SOURCES, VISITS)
    flagdata(vis=str(path), mode="manual", antenna="DV05", flagbackup=False)
    done = prepare(path).finish()
    assert "6 antennas, DV05 without data" in done.result.notes
    assert done.result.failed == []


# ---- trouble --------------------------------------------------------------------------------------------------


def test_all_flagged_already_is_an_error(tmp_path: Path) -> None:
    path = observe(tmp_path / "a.ms", SOURCES, VISITS)
    flagdata(vis=str(path), mode="manual", flagbackup=False)
    with pytest.raises(MeasurementSetError, match="all data are flagged already"):
        prepare(path).finish()


@pytest.mark.parametrize("verb", ["gaincal", "applycal", "split"])
@pytest.mark.parametrize("trouble", [KeyboardInterrupt, OSError])
def test_after_an_interruption_the_data_are_readable_and_flags_can_be_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, trouble: type[BaseException]
) -> None:
    path = observe(tmp_path / "a.ms", SOURCES, VISITS, autos=True)
    flagdata(vis=str(path), mode="manual", scan="2", antenna="DV01", flagbackup=False)
    before = get(str(path), "FLAG")
    job = prepare(path)
    calls = []

    def interrupted(name: str, reason: str, called: Any, **values: Any) -> Any:
        calls.append(called.__name__)
        if called.__name__ == verb and calls.count(verb) == (1 if verb == "split" else 2):
            raise trouble
        return do(name, reason, called, **values)

    do = job.run.do
    monkeypatch.setattr(job.run, "do", interrupted)
    with pytest.raises(trouble):
        job.finish()
    assert (get(str(path), "FLAG") != before).any()
    flagmanager(vis=str(path), mode="restore", versionname=BEFORE)
    np.testing.assert_array_equal(get(str(path), "FLAG"), before)
    monkeypatch.undo()
    again = Job(Run(str(path), job.run.folder), job.roles, job.seen, PB17, "", str(path)).finish()
    assert again.result.verdict == "good"
