"""Inventories: what is shipped, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibrant.acquire.inventory import INVENTORIES, Inventory, load_inventory
from calibrant.errors import FormatError, ParameterError

SMALL = "name: mine\ndriver: sim\nlamps: {Neon: {flavour: arc}}\ndetector: {cameras: [a]}\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", INVENTORIES)
def test_shipped_inventories_load(name: str) -> None:
    inventory = load_inventory(name)
    assert inventory.name == name
    if inventory.mask is not None:
        assert inventory.mask.default_initial in inventory.mask.places


def test_lvm_is_gorts() -> None:
    lvm = load_inventory("lvm")
    assert lvm.detector.readout_s == 55
    assert len(lvm.detector.cameras) == 9
    assert lvm.mask is not None and len(lvm.mask.places) == 24
    assert (lvm.mask.places["P1-2"], lvm.mask.places["P2-12"]) == (215, 17340)
    assert lvm.positions["calibration"]["sci"] == [70.804, 130.183]
    assert {name: entry.flavour for name, entry in lvm.lamps.items() if entry.flavour == "flat"} == {
        "LDLS": "flat",
        "Quartz": "flat",
    }


def test_lamps_are_found_whatever_the_case() -> None:
    lvm = load_inventory("lvm")
    assert lvm.lamp_name("argon") == "Argon"
    assert lvm.lamp("HGNE").flavour == "arc"
    with pytest.raises(ParameterError, match="Did you mean 'Quartz'"):
        lvm.lamp("Quarz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[a]", "[]"), "detector.cameras"),
        (("flavour: arc", "flavor: arc"), "Did you mean 'flavour'"),
        (("lamps: {Neon: {flavour: arc}}", "lamps: {Neon: {}, neon: {}}"), "upper and lower case"),
        (("driver: sim", "driver: sim\naddress: {password: x}"), "environment"),
        (("{cameras: [a]}", "{cameras: [a], readout_s: -1}"), "detector.readout_s"),
        (("driver: sim\n", ""), "driver: is required"),
    ],
)
def test_wrong_inventories_are_refused(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    assert isinstance(load_inventory(written(tmp_path, SMALL)), Inventory)
    with pytest.raises(FormatError, match=words):
        load_inventory(written(tmp_path, SMALL.replace(*change)))


def test_unknown_inventory_names_the_nearest() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'lvm'"):
        load_inventory("lvn")
