"""Plans: gort's order, overlap and estimates; everything checked before hardware; lamps off in every plan."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.acquire.compiler import compile_plan
from calibrant.acquire.inventory import Inventory, load_inventory
from calibrant.acquire.plan import Plan
from calibrant.acquire.sequence import SEQUENCES, load_sequence
from calibrant.errors import ParameterError

LVM = load_inventory("lvm")
SIM = load_inventory("sim")
ALL_P1 = ["P1-2", "P1-1", "P1-12", "P1-11", "P1-10", "P1-9", "P1-8", "P1-7", "P1-6", "P1-5", "P1-4", "P1-3"]


def plan(given: Any, inventory: Inventory = LVM, **options: Any) -> Plan:
    return compile_plan(load_sequence(given), inventory, **options)


def refused(given: Any, inventory: Inventory = LVM) -> str:
    with pytest.raises(ParameterError) as error:
        plan(given, inventory)
    return str(error.value)


def changed(inventory: Inventory, **parts: dict[str, Any]) -> Inventory:
    """An inventory with other values in some of its parts."""
    update = {name: getattr(inventory, name).model_copy(update=values) for name, values in parts.items()}
    return inventory.model_copy(update=update)


def quartz(exposure: float, **fibsel: Any) -> dict[str, Any]:
    return {"lamps": {"Quartz": {"exposure_time": exposure, "fibsel": fibsel or True}}}


def trace(made: Plan) -> list[str]:
    """As gort's calls would be written down: a readout is 'async' where the next step does not wait for it."""
    words = []
    for step in made.steps:
        text = {"expose": step.frame, "readout": f"read {step.frame}", "point": step.place}.get(step.kind, step.kind)
        lights = " ".join(step.lights) if step.kind.startswith("light") else ""
        words.append(f"{text} {lights}".strip() + (" async" if step.overlaps else ""))
    return words


@pytest.mark.parametrize(("name", "seconds"), [("normal", 2610), ("full", 8950), ("testcal", 3490), ("demo", 150)])
def test_estimates_are_those_of_the_reference(name: str, seconds: float) -> None:
    assert plan(name).duration_s == seconds
    assert plan(name, slew_telescopes=False).duration_s == seconds


@pytest.mark.parametrize(("name", "seconds"), [("normal", 2610), ("full", 8950), ("testcal", 3490), ("demo", 150)])
@pytest.mark.parametrize("slew", [20.0, 500.0])
def test_slew_is_added_and_hides_only_a_readout(name: str, seconds: float, slew: float) -> None:
    # The dark's readout (55 s) lies beside slew and warm-up, so the slew counts in full.
    assert plan(name, LVM.model_copy(update={"slew_s": slew})).duration_s == seconds + slew


def test_readout_longer_than_the_warm_up_is_waited_for() -> None:
    made = plan({"lamps": {"Neon": {"warmup": 10, "exposure_time": 5}, "Argon": {"warmup": 10, "exposure_time": 5}}})
    first, second = made.frames
    assert second.start_s == first.start_s + 5 + 55
    assert made.duration_s == 10 + 5 + 55 + 5 + 55


def test_trace_is_gorts() -> None:
    made = plan(
        {
            "biases": {"count": 2},
            "darks": {"exposure_time": [1, 2], "count": 2},
            "lamps": {"Quartz": {"exposure_time": [1, 2]}, "Neon": {"exposure_time": 3}},
        }
    )
    assert trace(made) == [
        *["all_off", "bias-01", "read bias-01", "bias-02", "read bias-02"],
        *["dark-01", "read dark-01", "dark-02", "read dark-02", "dark-03", "read dark-03", "dark-04"],
        *["read dark-04 async", "calibration", "light_on Quartz", "warm"],
        *["quartz-01", "read quartz-01", "quartz-02", "read quartz-02 async", "light_off Quartz"],
        *["light_on Neon", "warm", "neon-01", "read neon-01 async", "light_off Neon", "all_off"],
    ]
    assert [step.exposure_s for step in made.frames] == [0, 0, 1, 1, 2, 2, 1, 2, 3]


def test_biases_and_darks_alone_point_nowhere_and_are_read_out_each() -> None:
    made = plan({"biases": {"count": 1}, "darks": {"exposure_time": 5}})
    assert trace(made) == ["all_off", "bias-01", "read bias-01", "dark-01", "read dark-01"]
    assert trace(plan({"biases": {"count": 1}, "position": "selfie"}))[1] == "selfie"


def test_last_bias_is_read_out_before_the_lamps() -> None:
    assert "read bias-01 async" not in trace(plan("demo"))


def test_parking_does_not_wait_for_the_readout() -> None:
    made = plan("demo", park_after=True)
    park = next(step for step in made.steps if step.kind == "park")
    assert park.start_s == made.duration_s - 55
    assert plan({"biases": {"count": 1}, "park_after": True}).steps[-1].kind == "park"


def test_mask_goes_by_motor_step_from_the_initial_position() -> None:
    step = next(step for step in plan("normal").frames if step.mask)
    assert [move.place for move in step.mask] == ALL_P1
    assert step.mask_start == "P1-2"
    assert {move.dwell_s for move in step.mask} == {20.0}
    assert plan("normal").warnings == ()


def test_mask_list_keeps_its_order_and_starts_with_its_first() -> None:
    step = plan(quartz(120, positions=["P1-9", "P2-1", "P1-1"])).frames[0]
    assert [move.place for move in step.mask] == ["P1-9", "P2-1", "P1-1"]
    assert step.mask_start == "P1-9"
    assert plan(quartz(600, positions="P2-")).frames[0].mask_start == "P2-11"
    assert plan(quartz(600, positions="P2-", initial_position="P1-1")).frames[0].mask_start == "P1-1"


def test_prefix_that_matches_more_than_its_name_is_warned_of() -> None:
    made = plan(quartz(300, positions="P1-1", time_per_position=10))
    assert [move.place for move in made.frames[0].mask] == ["P1-1", "P1-12", "P1-11", "P1-10"]
    assert "matches 4 places (P1-1, P1-12, P1-11, P1-10)" in made.warnings[0]
    alone = plan(quartz(300, positions="P1-1", anchored=True))
    assert [move.place for move in alone.frames[0].mask] == ["P1-1"]
    assert alone.warnings == ()


def test_default_mask_motion_names_the_places_it_loses() -> None:
    made = plan(quartz(120))
    assert len(made.warnings) == 1
    assert "P1-4, P1-3 never exposed" in made.warnings[0]
    assert made.frames[0].exposure_s == 120


def test_coverage_is_required_or_stretched() -> None:
    slow = changed(LVM, mask={"move_s": 3.0})
    wanted = {"positions": "P1-", "time_per_position": 20}
    assert "P1-3 only 17 s" in refused(quartz(270, coverage="require", **wanted), slow)
    assert plan(quartz(270, coverage="require", **wanted)).warnings == ()
    stretched = plan(quartz(270, coverage="stretch", **wanted), slow)
    assert stretched.frames[0].exposure_s == 12 * 20 + 11 * 3
    assert stretched.warnings == ()


def test_motion_between_exposes_each_place_by_itself() -> None:
    made = plan(
        {"lamps": {"Neon": {"exposure_time": [1, 2], "fibsel": {"positions": ["P1-3", "P1-1"], "motion": "between"}}}}
    )
    assert [(step.mask_start, step.exposure_s) for step in made.frames] == [
        ("P1-3", 1),
        ("P1-3", 2),
        ("P1-1", 1),
        ("P1-1", 2),
    ]


@pytest.mark.parametrize(
    ("sequence", "words"),
    [
        ({"lamps": {"Quarz": {"exposure_time": 1}}}, ["lamps.Quarz", "Argon, Neon", "Did you mean 'Quartz'"]),
        ({"lamps": {"neon": {"exposure_time": 1}, "Neon": {"exposure_time": 1}}}, ["same lamp"]),
        ({"groups": {"g": {"lamps": ["Neon", "Agon"], "exposure_time": 1}}}, ["groups.g.lamps[1]", "'Argon'"]),
        ({"groups": {"g": {"lamps": ["Neon", "neon"], "exposure_time": 1}}}, ["groups.g.lamps", "twice"]),
        ({"groups": {"g": {"lamps": ["Neon", "LDLS"], "exposure_time": 1}}}, ["groups.g.flavour", "arc, flat"]),
        (quartz(10, positions="P3"), ["lamps.Quartz.fibsel: positions", "'P3'", "P1-1"]),
        (quartz(10, positions=["P1-1", "P1-13"]), ["'P1-13'", "Did you mean"]),
        (quartz(10, initial_position="P9"), ["initial_position", "'P9'"]),
        ({"lamps": {"Neon": {"exposure_time": 1}}, "position": "calibraton"}, ["position", "'calibration'"]),
        ({"lamps": {"Neon": {"exposure_time": 1, "intensity": 1}}}, ["lamps.Neon.intensity", "switched"]),
        ({"lamps": {"Neon": {"exposure_time": 1, "target_counts": {"level": 7e4}}}}, ["saturates at 65535"]),
        ({"lamps": {"Neon": {"exposure_time": 1}}, "overlap_warmup": "bias_dark"}, ["light-tight"]),
        ({"onoff": {"light": "diode", "exposure_time": 1}}, ["onoff.light", "onoff.on_source", "onoff.off_source"]),
    ],
)
def test_checked_before_hardware_moves(sequence: dict[str, Any], words: list[str]) -> None:
    message = refused(sequence)
    assert [word for word in words if word not in message] == []


def test_lamp_without_default_flavour_needs_one() -> None:
    assert "lamps.Krypton.flavour: is required" in refused({"lamps": {"Krypton": {"exposure_time": 1}}}, SIM)
    made = plan({"lamps": {"Krypton": {"exposure_time": 1, "flavour": "arc"}}}, SIM)
    assert made.frames[0].frame_kind == "arc"
    assert "no lamp 'Krypton'" in refused({"lamps": {"Krypton": {"exposure_time": 1, "flavour": "arc"}}}, LVM)


def test_no_mask_no_fibsel() -> None:
    assert "has no mask" in refused(quartz(10), SIM.model_copy(update={"mask": None}))


def test_lamp_that_burns_too_long_is_refused() -> None:
    lamps = {**LVM.lamps, "Neon": LVM.lamps["Neon"].model_copy(update={"max_on_s": 300.0})}
    limited = LVM.model_copy(update={"lamps": lamps})
    message = refused({"lamps": {"Neon": {"exposure_time": [100, 100]}}}, limited)
    assert "would burn 375 s on end" in message and "300 s" in message
    on = next(
        step for step in plan({"lamps": {"Neon": {"exposure_time": 100}}}, limited).steps if step.kind == "light_on"
    )
    assert on.options == {"planned_on_s": 220.0, "max_on_s": 300.0}


def test_group_burns_together_with_one_warm_up() -> None:
    made = plan("quick_cals")
    on = next(step for step in made.steps if step.kind == "light_on")
    assert on.lights == ("HgNe", "Neon", "Argon", "Xenon")
    assert [step.options["warmup_s"] for step in made.steps if step.kind == "warm"] == [180, 120, 300]
    assert [step.object for step in made.frames[:2]] == ["HgNe+Neon+Argon+Xenon"] * 2
    longest = plan({"groups": {"g": {"lamps": ["Neon", "LDLS"], "flavour": "flat", "exposure_time": 1}}}, SIM)
    assert next(step for step in longest.steps if step.kind == "warm").duration_s == 3


def test_warm_up_beside_biases_begins_as_late_as_it_can() -> None:
    sequence = {
        "overlap_warmup": "bias_dark",
        "biases": {"count": 5},
        "darks": {"exposure_time": 3.0},
        "lamps": {"LDLS": {"exposure_time": 1, "warmup": 6}},
    }
    made = plan(sequence, SIM, slew_telescopes=False)
    assert trace(made).index("light_on LDLS") == trace(made).index("read bias-03") + 1
    warm = next(step for step in made.steps if step.kind == "warm")
    on = next(step for step in made.steps if step.kind == "light_on")
    assert warm.start_s + warm.duration_s - on.start_s == 6
    apart = plan({**sequence, "overlap_warmup": "none"}, SIM, slew_telescopes=False)
    assert made.duration_s == apart.duration_s - 5
    nothing = plan({"overlap_warmup": "bias_dark", "lamps": {"LDLS": {"exposure_time": 1}}}, SIM)
    assert "nothing overlaps" in nothing.warnings[0]


def test_extension_reaches_the_frames() -> None:
    made = plan(
        {
            "readout": {"binning": 2},
            "lamps": {"Neon": {"exposure_time": [1, 2], "count": 2, "discard": 1, "with_dark": True,
                               "on_failure": "retry(3)", "target_counts": {"level": 2e4}}},
        },
    )  # fmt: skip
    assert [step.frame for step in made.frames] == [
        *["neon-discard-01", "neon-01", "neon-02", "neon-03", "neon-04"],
        *["neon-dark-01", "neon-dark-02", "neon-dark-03", "neon-dark-04"],
    ]
    assert [step.exposure_s for step in made.frames] == [1, 1, 1, 2, 2, 1, 1, 2, 2]
    discarded, kept = made.frames[0].options, made.frames[1].options
    assert discarded["discard"] is True and "discard" not in kept
    assert kept["binning"] == 2 and kept["on_failure"] == "retry(3)" and kept["target_counts"]["level"] == 2e4
    assert made.data_bytes == 8 * 9 * LVM.detector.bytes_per_frame
    off = next(step.start_s for step in made.steps if step.kind == "light_off")
    assert all(step.start_s >= off for step in made.frames if step.frame_kind == "dark")
    assert "20000 counts" in made.warnings[0]


RADIO = Inventory.model_validate(
    {
        "name": "radio",
        "driver": "sim",
        "lamps": {"diode": {"flavour": "flat", "warmup_s": 0.0}},
        "positions": {"onsource": {}, "offsource": {}},
        "slew_s": 10.0,
        "detector": {"cameras": ["rx"]},
    }
)


def test_onoff_is_the_field_systems_order() -> None:
    made = plan({"onoff": {"light": "diode", "exposure_time": 2.0}}, RADIO)
    frames = [(step.object, step.frame_kind, step.lights) for step in made.frames]
    lit = ("diode",)
    once = [("ONSO", "object", ()), ("ONSC", "flat", lit), ("OFFC", "flat", lit), ("OFFS", "dark", ())]
    assert frames == [*once, ("ZERO", "bias", ()), *once]
    assert made.duration_s == 4 * 10 + 8 * 2


def test_tart_snapshots_keep_their_interval() -> None:
    made = plan({"tart": {"count": 3, "interval": 10.0, "mode": "raw"}}, RADIO)
    assert [step.start_s for step in made.frames] == [0, 10, 20]
    assert {step.options["snapshot"] for step in made.frames} == {"raw"}
    assert "less than" in plan({"tart": {"count": 2, "interval": 0.5}}, RADIO).warnings[0]


def test_hash_follows_what_is_taken_only() -> None:
    base = lamps_only()
    same = plan(base, LVM.model_copy(update={"slew_s": 99.0}))
    assert plan(base).hash == plan(base).hash == same.hash
    others = [
        lamps_only(exposure_time=2),
        lamps_only(warmup=9),
        lamps_only(flavour="flat"),
        lamps_only(count=2),
        lamps_only(discard=1),
        lamps_only(on_failure="skip"),
        lamps_only(fibsel=True),
        lamps_only(fibsel={"time_per_position": 0.01}),
        {**base, "readout": {"binning": 2}},
        {**base, "position": "zenith"},
        {**base, "park_after": True},
    ]
    hashes = [plan(other).hash for other in [base, *others]]
    assert len(set(hashes)) == len(hashes)
    assert plan(base, SIM).hash != plan(base).hash


def lamps_only(**keys: Any) -> dict[str, Any]:
    return {"lamps": {"Neon": {"exposure_time": 1, **keys}}}


@pytest.mark.parametrize("name", SEQUENCES)
def test_shipped_sequences_compile_and_lamp_hours_add_up(name: str) -> None:
    made = plan(name)
    check_invariants(made)
    assert all(0 < hours < 1 for hours in made.lamp_hours.values())


def check_invariants(made: Plan) -> None:
    """What holds of every plan."""
    on: set[str] = set()
    begun = 0.0
    for step in made.steps:
        assert step.duration_s >= 0 and step.start_s >= begun
        begun = step.start_s
        assert step.start_s + step.duration_s <= made.duration_s + 1e-6
        if step.kind == "light_on":
            assert not on & set(step.lights)
            on |= set(step.lights)
        elif step.kind == "light_off":
            on -= set(step.lights)
        elif step.kind == "expose" and step.frame_kind in ("flat", "arc"):
            assert set(step.lights) == on and on
    assert not on
    keys = [step.frame for step in made.frames]
    assert len(set(keys)) == len(keys)
    assert keys == [step.frame for step in made.steps if step.kind == "readout"]
    assert made.steps[0].kind == "all_off"
    assert [step.index for step in made.steps] == list(range(len(made.steps)))
    reading = 0.0
    for step in made.steps:
        if step.kind == "expose":
            assert step.start_s >= reading
        if step.kind == "readout":
            reading = step.start_s + step.duration_s


TIMES = st.lists(st.floats(0.1, 100), min_size=1, max_size=3)
LIT = {
    "exposure_time": TIMES,
    "flavour": st.sampled_from(["arc", "flat"]),
}
OPTIONAL = {
    "count": st.integers(1, 3),
    "warmup": st.floats(0, 50),
    "discard": st.integers(0, 2),
    "with_dark": st.booleans(),
    "on_failure": st.sampled_from(["stop", "skip", "retry(2)"]),
    "fibsel": st.sampled_from(
        [True, False, {"positions": "P1-"}, {"positions": ["P2-1", "P1-1"], "coverage": "stretch"},
         {"positions": "P2", "motion": "between"}]
    ),
}  # fmt: skip
NAMES = st.sampled_from(list(SIM.lamps))
LAMP = st.fixed_dictionaries(LIT, optional=OPTIONAL)
GROUP = st.fixed_dictionaries({**LIT, "lamps": st.lists(NAMES, min_size=1, max_size=3, unique=True)}, optional=OPTIONAL)
SEQUENCE = st.fixed_dictionaries(
    {"biases": st.fixed_dictionaries({"count": st.integers(1, 4)})},
    optional={
        "darks": st.fixed_dictionaries({"exposure_time": TIMES, "count": st.integers(1, 3)}),
        "lamps": st.dictionaries(NAMES, LAMP, max_size=3),
        "groups": st.dictionaries(st.sampled_from(["arcs", "flats"]), GROUP, max_size=2),
        "overlap_warmup": st.sampled_from(["none", "bias_dark"]),
        "order": st.permutations(["biases", "darks", "lamps", "groups"]),
        "park_after": st.booleans(),
        "tart": st.just({"count": 2, "interval": 5.0}),
    },
).filter(lambda given: "tart" not in given or "order" not in given)


def expected_frames(given: dict[str, Any]) -> int:
    total = int(given["biases"]["count"])
    darks = given.get("darks")
    total += len(darks["exposure_time"]) * darks["count"] if darks else 0
    for block in [*given.get("lamps", {}).values(), *given.get("groups", {}).values()]:
        fibsel = block.get("fibsel")
        places = 2 if isinstance(fibsel, dict) and fibsel.get("motion") else 1
        kept = len(block["exposure_time"]) * block.get("count", 1) * places
        total += kept * (2 if block.get("with_dark") else 1) + block.get("discard", 0)
    return total + (2 if "tart" in given else 0)


@settings(deadline=None, max_examples=150)
@given(SEQUENCE)
def test_random_sequences_make_sound_plans(given: dict[str, Any]) -> None:
    made = plan(given, SIM)
    check_invariants(made)
    assert len(made.frames) == expected_frames(given)
    lit = {light for step in made.steps if step.kind == "light_on" for light in step.lights}
    assert set(made.lamp_hours) == lit
    assert plan(given, SIM) == made
