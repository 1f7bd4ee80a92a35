"""What fields are for: by intents, by the pattern of the observation, as told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from calibrant.errors import SelectionError
from calibrant.pipeline.roles import find_roles

sys.path.insert(0, str(Path(__file__).parent))
from made import C286, Source, close_to, look

PB17 = "Perley-Butler 2017"
PHASE, TARGET, SECOND = close_to("J1330+30"), close_to("TARGET", ra=205.0), close_to("OTHER", ra=210.0)


def intent(*words: str) -> str:
    return ",".join(f"{word}#ON_SOURCE" for word in words)


ALMA = (
    Source("J1256", intent=intent("CALIBRATE_BANDPASS", "CALIBRATE_PHASE", "CALIBRATE_WVR")),
    Source("Ceres", intent=intent("CALIBRATE_FLUX", "CALIBRATE_PHASE")),
    Source("J1337", intent=intent("CALIBRATE_PHASE", "CALIBRATE_WVR")),
    Source("M83", intent=intent("OBSERVE_TARGET")),
    Source("M83b", intent=intent("OBSERVE_TARGET")),
    Source("J1400", intent=intent("OBSERVE_CHECK_SOURCE")),
    Source("J1500", intent=intent("CALIBRATE_POINTING", "CALIBRATE_ATMOSPHERE")),
)


def told(**values: str) -> dict[str, str]:
    return dict.fromkeys(("flux", "bandpass", "phase", "target"), "") | values


def found(tmp_path: Path, sources: tuple[Source, ...], visits: tuple[int, ...], **values: str) -> dict[str, list[str]]:
    index = look(tmp_path / "a.ms", sources, [(source, 4 if source == len(sources) - 1 else 2) for source in visits])
    return find_roles(index, told(**values), PB17).names(index)


def test_from_intents(tmp_path: Path) -> None:
    visits = (6, 0, 6, 1, 2, 3, 5, 2, 4, 2)
    assert found(tmp_path, ALMA, visits) == {
        "flux": ["Ceres"], "bandpass": ["J1256"], "phase": ["J1337"], "target": ["M83", "M83b"],
    }  # fmt: skip


def test_intents_with_one_calibrator_for_everything(tmp_path: Path) -> None:
    both = Source("J1256", intent=intent("CALIBRATE_BANDPASS", "CALIBRATE_FLUX", "CALIBRATE_PHASE"))
    assert found(tmp_path, (both, ALMA[3]), (0, 1, 0)) == {
        "flux": ["J1256"], "bandpass": ["J1256"], "phase": ["J1256"], "target": ["M83"],
    }  # fmt: skip


def test_intents_without_a_flux_calibrator_take_the_field_that_the_standard_knows(tmp_path: Path) -> None:
    known = Source(C286.name, 14.9, C286.ra, C286.dec, intent("CALIBRATE_BANDPASS"))
    roles = found(tmp_path, (known, ALMA[2], ALMA[3]), (0, 1, 2, 1))
    assert roles["flux"] == ["3C286"] and roles["phase"] == ["J1337"]


def test_several_phase_calibrators_by_intent(tmp_path: Path) -> None:
    second = Source("J1338", intent=intent("CALIBRATE_PHASE"))
    roles = found(tmp_path, (*ALMA[:4], second), (0, 1, 2, 3, 4, 3, 2))
    assert roles["phase"] == ["J1337", "J1338"]


def test_from_the_pattern(tmp_path: Path) -> None:
    """The target is what is observed longest, the phase calibrator stands between its scans."""
    assert found(tmp_path, (C286, PHASE, TARGET), (0, 1, 2, 1, 2, 1)) == {
        "flux": ["3C286"], "bandpass": ["3C286"], "phase": ["J1330+30"], "target": ["TARGET"],
    }  # fmt: skip


def test_from_the_pattern_with_two_targets(tmp_path: Path) -> None:
    roles = found(tmp_path, (C286, PHASE, SECOND, TARGET), (0, 1, 3, 1, 3, 1, 2, 1, 3, 1))
    assert roles["phase"] == ["J1330+30"] and roles["target"] == ["OTHER", "TARGET"]


def test_calibrator_codes_tell(tmp_path: Path) -> None:
    """VLA data carry a code for calibrators: here the calibrator is what is observed longest."""
    coded = close_to("1445+099", code="C")
    assert found(tmp_path, (C286, TARGET, coded), (0, 2, 1, 2))["phase"] == ["1445+099"]


def test_no_separate_phase_calibrator(tmp_path: Path) -> None:
    roles = found(tmp_path, (C286, TARGET), (0, 1, 0))
    assert roles["phase"] == ["3C286"] and roles["target"] == ["TARGET"]


def test_no_target(tmp_path: Path) -> None:
    roles = found(tmp_path, (C286,), (0,))
    assert roles["phase"] == ["3C286"] and roles["target"] == []


def test_fields_without_data_have_no_role(tmp_path: Path) -> None:
    roles = found(tmp_path, (C286, SECOND, PHASE, TARGET), (0, 2, 3, 2))
    assert all("OTHER" not in names for names in roles.values())


def test_no_flux_calibrator_names_the_option_and_the_fields(tmp_path: Path) -> None:
    with pytest.raises(
        SelectionError, match=r"no field is a flux calibrator of Perley-Butler 2017.*J1330\+30 \(0\).*--flux"
    ):
        found(tmp_path, (PHASE, TARGET), (0, 1, 0))


def test_a_flux_calibrator_as_told_is_no_target(tmp_path: Path) -> None:
    """No field is in the standard: the one named is taken out of the guess for the others."""
    roles = found(tmp_path, (SECOND, PHASE, TARGET), (0, 1, 2, 1, 2, 1), flux="OTHER")
    assert roles == {"flux": ["OTHER"], "bandpass": ["OTHER"], "phase": ["J1330+30"], "target": ["TARGET"]}


def test_a_target_as_told_leaves_the_phase_calibrator_to_be_found(tmp_path: Path) -> None:
    """By time alone the last field would be the target."""
    roles = found(tmp_path, (C286, TARGET, PHASE), (0, 2, 1, 2), target="TARGET")
    assert roles["phase"] == ["J1330+30"] and roles["target"] == ["TARGET"]


def test_a_phase_calibrator_as_told(tmp_path: Path) -> None:
    roles = found(tmp_path, (C286, TARGET, PHASE), (0, 2, 1, 2), phase="2")
    assert roles["phase"] == ["J1330+30"] and roles["target"] == ["TARGET"]


def test_told_wins_over_intents(tmp_path: Path) -> None:
    index = look(tmp_path / "a.ms", ALMA[:5], [(source, 2) for source in (0, 1, 2, 3, 2, 4)])
    roles = find_roles(index, told(flux="J1256", target="M83b"), PB17)
    assert roles.names(index) == {
        "flux": ["J1256"], "bandpass": ["J1256"], "phase": ["J1337"], "target": ["M83b"],
    }  # fmt: skip
    assert roles.origin == "scan intents; flux as given; target as given"
    assert roles.calibrators == [0, 2]


def test_a_calibrator_can_be_told_to_be_the_target(tmp_path: Path) -> None:
    roles = found(tmp_path, ALMA[:4], (0, 1, 2, 3, 2), target="J1256", bandpass="Ceres")
    assert roles["target"] == ["J1256"] and roles["bandpass"] == ["Ceres"]


def test_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match="NOBODY"):
        found(tmp_path, (C286, PHASE, TARGET), (0, 1, 2, 1), phase="NOBODY")
