"""Sequences: gort's dictionaries unchanged, the extension, and what is refused with which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calibrant.acquire.sequence import SEQUENCES, json_schema, load_sequence
from calibrant.errors import FormatError, ParameterError

SEED_SIMPLE = {
    "biases": {"count": 1},
    "darks": {"exposure_time": [90, 900]},
    "lamps": {"Quartz": {"warmup": 20, "exposure_time": 120, "flavour": "flat"}},
}
SEED_MISSING_BRACE = """{
    "lamps":
        "LDLS": {
            "warmup": 300,
            "exposure_time": 270,
            "fibsel": {
                "initial_position": "P1-2",
                "positions": "P1-"
                "time_per_position": 20,
            }
        }
}
"""
SEED_PYTHON_TRUE = """{
    "lamps":
        "LDLS": {
            "warmup": 300,
            "exposure_time": [270, 300],
            "fibsel": True
        }
}
"""


def lamp(**keys: Any) -> dict[str, Any]:
    return {"lamps": {"Quartz": {"exposure_time": 10, **keys}}}


def refused(source: Any) -> str:
    with pytest.raises(FormatError) as error:
        load_sequence(source)
    return str(error.value)


def test_shipped_sequences_are_gorts() -> None:
    assert set(SEQUENCES) == {"normal", "full", "testcal", "demo", "quick_cals", "bias_sequence", "long_term"}
    normal = load_sequence("normal")
    assert normal.biases and normal.biases.count == 5
    assert list(normal.lamps) == ["LDLS", "Quartz", "Argon", "Neon", "HgNe", "Xenon"]
    assert normal.lamps["Quartz"].fibsel and normal.lamps["Quartz"].fibsel.time_per_position == 20
    full = load_sequence("full")
    assert {tuple(entry.exposure_time) for entry in full.lamps.values()} == {(30, 90, 270)}
    assert load_sequence("testcal").lamps["HgNe"].warmup is None


def test_seed_dictionary_as_dict_json_yaml(tmp_path: Path) -> None:
    json_file, yaml_file = tmp_path / "mine.json", tmp_path / "mine.yaml"
    json_file.write_text(json.dumps(SEED_SIMPLE))
    yaml_file.write_text("biases: {count: 1}\ndarks: {exposure_time: [90, 900]}\n"
                         "lamps:\n  Quartz: {warmup: 20, exposure_time: 120, flavour: flat}\n")  # fmt: skip
    loaded = [load_sequence(source) for source in (SEED_SIMPLE, json_file, str(json_file), yaml_file)]
    assert loaded[0].given == SEED_SIMPLE
    assert [sequence.name for sequence in loaded] == ["sequence", "mine", "mine", "mine"]
    assert len({sequence.model_copy(update={"name": ""}).model_dump_json() for sequence in loaded}) == 1
    assert loaded[0].darks and loaded[0].darks.count == 1


def test_fibsel_in_all_forms() -> None:
    assert load_sequence(lamp()).lamps["Quartz"].fibsel is None
    assert load_sequence(lamp(fibsel=False)).lamps["Quartz"].fibsel is None
    whole = load_sequence(lamp(fibsel=True)).lamps["Quartz"].fibsel
    assert whole and whole.positions is None and whole.coverage == "warn"
    listed = load_sequence(lamp(fibsel={"positions": ["P1-3", "P1-1"]})).lamps["Quartz"].fibsel
    assert listed and listed.positions == ["P1-3", "P1-1"]


def test_exposure_times_of_0_1() -> None:
    old = {"lamps": {"Neon": {"warmup": 5, "exposure_times": [1, 2], "flavour": "arc"}}, "biases": {"count": 2}}
    assert load_sequence(old).lamps["Neon"].exposure_time == [1, 2]
    assert "keep one" in refused({"lamps": {"Neon": {"exposure_time": 1, "exposure_times": [1]}}})


def test_integral_floats_are_counts() -> None:
    sequence = load_sequence({"biases": {"count": 3.0}})
    assert sequence.biases and sequence.biases.count == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["takes no frame", "biases"]),
        ({"lamps": {}}, ["takes no frame"]),
        ({"biases": {"count": -1}}, ["biases.count", "-1"]),
        ({"biases": {"count": 0}}, ["biases.count", "0"]),
        ({"biases": {"count": True}}, ["biases.count", "True"]),
        ({"biases": {"count": "5"}}, ["biases.count", "'5'"]),
        ({"biases": {}}, ["biases.count", "required"]),
        ({"biases": 5}, ["biases", "object", "count"]),
        ({"biases": {"count": 1, "foo": 2}}, ["biases.foo", "unknown key", "count"]),
        ({"darks": {"exposure_time": -5}}, ["darks.exposure_time:", "-5"]),
        ({"darks": {"exposure_time": [90, -5]}}, ["darks.exposure_time[1]", "-5"]),
        ({"darks": {"exposure_time": []}}, ["darks.exposure_time", "at least 1"]),
        ({"darks": {"exposure_time": 1e9}}, ["darks.exposure_time", "86400"]),
        (lamp(exposure_time=0), ["lamps.Quartz.exposure_time"]),
        (lamp(exposure_time=float("nan")), ["lamps.Quartz.exposure_time", "nan"]),
        (lamp(warmup=-1), ["lamps.Quartz.warmup", "-1"]),
        (lamp(flavour="arcs"), ["lamps.Quartz.flavour", "'arcs'", "arc, flat", "Did you mean 'arc'"]),
        (lamp(warmp=3), ["lamps.Quartz.warmp", "Did you mean 'warmup'"]),
        (lamp(fibsel={"positions": 5}), ["lamps.Quartz.fibsel.positions", "5", "regular expression"]),
        (lamp(fibsel={"positions": []}), ["lamps.Quartz.fibsel.positions"]),
        (lamp(fibsel={"positions": "P1-("}), ["lamps.Quartz.fibsel.positions", "not a regular expression"]),
        (lamp(fibsel={"foo": 1}), ["lamps.Quartz.fibsel.foo", "time_per_position"]),
        (lamp(fibsel={"coverage": "reqire"}), ["fibsel.coverage", "require, warn, stretch", "Did you mean 'require'"]),
        (lamp(fibsel="yes"), ["lamps.Quartz.fibsel", "true, false"]),
        (lamp(on_failure="ignore"), ["lamps.Quartz.on_failure", "retry(3)"]),
        (lamp(target_counts={"level": 5, "tmin": 10, "tmax": 1}), ["target_counts", "tmin"]),
        ({"lamps": {"Quartz": {}}}, ["lamps.Quartz.exposure_time", "required"]),
        ({"lamps": {"1": {"exposure_time": 1}}}, ["lamps.1", "letter"]),
        ({"lamp": {}}, ["lamp: unknown key", "Did you mean 'lamps'"]),
        ({"version": 2, "biases": {"count": 1}}, ["version", "2", "1"]),
        ({"biases": {"count": 1}, "order": ["darks"]}, ["order leaves out biases"]),
        ({"biases": {"count": 1}, "order": ["biases", "biases"]}, ["twice"]),
        ({"biases": {"count": 1}, "constraints": {"not_before": "25:00"}}, ["constraints.not_before", "25:00"]),
        ({"biases": {"count": 1}, "overlap_warmup": "bias"}, ["overlap_warmup", "none, bias_dark"]),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(given: dict[str, Any], words: list[str]) -> None:
    message = refused(given)
    assert [word for word in words if word not in message] == []


def test_every_fault_is_named() -> None:
    message = refused({"biases": {"count": -1}, "darks": {"exposure_time": 0}, "foo": 1})
    assert all(word in message for word in ("biases.count", "darks.exposure_time", "foo"))


def test_seed_page_examples_say_what_to_add() -> None:
    message = refused(SEED_MISSING_BRACE)
    assert "line 2, column 13: '{' is missing after \"lamps\":" in message
    assert "line 8, column 35: ',' is missing after \"P1-\"" in message
    assert "line 9, column 40: take out the ','" in message
    message = refused(SEED_PYTHON_TRUE)
    assert "line 2, column 13" in message and "line 6, column 23: write true for True" in message


def test_mended_seed_examples_are_sequences() -> None:
    mended = SEED_MISSING_BRACE.replace('"lamps":', '"lamps": {').replace('"P1-"\n', '"P1-",\n').replace("20,", "20")
    assert list(load_sequence(mended + "}").lamps) == ["LDLS"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"biases": {"count": 1,}}', "line 1, column 23: take out the ','"),
        ('{"darks": {"exposure_time": [1, 2,]}}', "take out the ','"),
        ("{'biases': {'count': 1}}", 'write "biases" with double quotes'),
        ('{"biases": {"count": 1}', "'}' is missing at the end"),
        ('{"biases": {"count": 1}}}', "one '}' too many"),
        ('{"biases" {"count": 1}}', "':' is missing after \"biases\""),
        ('{"biases": {"count": 1} // five\n}', "JSON has no comments"),
        ('{"biases": {"count": 1}, "biases": {"count": 2}}', "'biases' stands twice"),
        ('{"biases: {"count": 1}}', "line 1"),
        ("biases: {count: 1}\nbiases: {count: 2}\n", "'biases' stands twice"),
        ("biases:\n\tcount: 1\n", "line 2, column 1"),
        ("biases: [1, 2\ndarks: 3\n", "line 2"),
    ],
)
def test_broken_text_says_where(text: str, words: str) -> None:
    assert words in refused(text)


def test_broken_text_never_ends_in_another_error() -> None:
    for cut in range(1, len(SEED_MISSING_BRACE)):
        with pytest.raises(FormatError):
            load_sequence(SEED_MISSING_BRACE[:cut] + "\n")


def test_yaml_scalars_are_those_of_1_2() -> None:
    text = "biases: {count: 1}\nlamps: {Neon: {exposure_time: 1e1}}\nconstraints: {not_before: 23:30}\n"
    sequence = load_sequence(text)
    assert sequence.constraints.not_before == "23:30"
    assert sequence.lamps["Neon"].exposure_time == [10.0]


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"normal.*Did you mean 'normal'"):
        load_sequence("norml")
    with pytest.raises(ParameterError, match="cannot read"):
        load_sequence(tmp_path / "absent.yaml")
    image = tmp_path / "image.yaml"
    image.write_bytes(b"\x89PNG\xff")
    assert "not text" in refused(image)
    listed = tmp_path / "listed.json"
    listed.write_text("[1, 2]")
    assert "expected an object" in refused(listed)


def test_extension_is_read() -> None:
    sequence = load_sequence(
        {
            "version": 1,
            "name": "mine",
            "order": ["groups", "biases"],
            "biases": {"count": 3, "discard": 1, "on_failure": "retry(3)"},
            "groups": {"arcs": {"lamps": ["Neon", "Argon"], "exposure_time": 5, "count": 2, "with_dark": True}},
            "overlap_warmup": "bias_dark",
            "readout": {"binning": 2, "window": [0, 0, 10, 10]},
            "constraints": {"dome": "closed", "sun_alt": -5, "not_before": "23:30", "after": "quick_cals"},
            "park_after": True,
            "position": "zenith",
        }
    )
    assert sequence.sections == ["groups", "biases"]
    assert sequence.name == "mine" and sequence.park_after


def test_json_schema_says_the_same() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) >= {"version", "biases", "darks", "lamps", "groups", "onoff", "tart", "order"}
    lamp_schema = schema["$defs"]["Lamp"]
    assert lamp_schema["additionalProperties"] is False
    assert {"exposure_time", "exposure_times"} <= set(lamp_schema["properties"])
    assert {"required": ["exposure_times"]} in lamp_schema["oneOf"]
    assert (
        schema["properties"]["lamps"]["patternProperties"] and not schema["properties"]["lamps"]["additionalProperties"]
    )
    assert schema["$defs"]["Biases"]["properties"]["count"]["minimum"] == 1
    assert json.loads(json.dumps(schema)) == schema
