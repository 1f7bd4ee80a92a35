"""Frames on the disk: whole, never over another file, with headers and checksums."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from calibrant.acquire import storage
from calibrant.acquire.devices import CaptureSpec, Frame, LightState
from calibrant.acquire.headers import LampRecord, StoreContext, frame_header
from calibrant.acquire.storage import StorageError, frame_path, sha256_of, store
from calibrant.errors import DataError, ExistsError

SPEC = CaptureSpec("Quartz-1", "flat", 270.0, "Quartz")
BEGIN = 1763164800.25
"""2025-11-15T00:00:00.250"""


def frame(**changes: Any) -> Frame:
    values: dict[str, Any] = {
        "camera": "b1",
        "begin": BEGIN,
        "end": BEGIN + 270.1,
        "exposure_s": 270.1,
        "data": np.arange(12, dtype=np.uint16).reshape(3, 4) + 65000,
        "header": {"GAIN": (2.0, "[e-/ADU]"), "ccd temperature": (-100.5, "[deg C]"), "EXPTIME": (1.0, "not this")},
    }
    return Frame(**(values | changes))


def context(folder: Path, **changes: Any) -> StoreContext:
    values: dict[str, Any] = {
        "directory": folder,
        "sequence": "normal",
        "step": 7,
        "plan_hash": "0123456789abcdef",
        "run_id": "5d0c0d66-0000-4000-8000-000000000000",
        "observatory": "lvm",
        "driver": "sim",
        "simulated": True,
        "lamps": (
            LampRecord("Quartz", LightState.ON, LightState.ON, 6.5),
            LampRecord("Argon", LightState.OFF, LightState.OFF),
            LampRecord("Neon", LightState.OFF, LightState.ON, 0.1),
        ),
        "mask": (("P1-2", BEGIN + 1, BEGIN + 21), ("P1-11", BEGIN + 23, BEGIN + 43)),
        "versions": {"calibrant": "0.1.0", "numpy": "2"},
    }
    return StoreContext(**(values | changes))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_stored_frame_reads_back_with_all_of_its_header(tmp_path: Path) -> None:
    stored = store(frame(), SPEC, context(tmp_path, lvm_keywords=True))
    assert stored.path == tmp_path / "normal-Quartz-1-b1.fits" == frame_path(context(tmp_path), "Quartz-1", "b1")
    with fits.open(stored.path, checksum=True) as parts:
        header = parts[0].header
        assert np.array_equal(parts[0].data, frame().data) and parts[0].data.dtype == np.uint16
        assert parts["MASK"].data["PLACE"].tolist() == ["P1-2", "P1-11"]
        assert parts["MASK"].data["T0"] == pytest.approx([1, 23]) and parts["MASK"].data["T1"] == pytest.approx(
            [21, 43]
        )
    expected = {
        "IMAGETYP": "flat", "OBJECT": "Quartz", "EXPTIME": 270.1, "EXPREQ": 270.0, "TIMESYS": "UTC",
        "DATE-BEG": "2025-11-15T00:00:00.250", "DATE-END": "2025-11-15T00:04:30.350", "CAMERA": "b1",
        "LAMP1": "Quartz", "LMP1BEG": "on", "LMP1END": "on", "LMP1MIN": 6.5, "LMP2BEG": "off", "LMP3END": "on",
        "ARGON": "OFF", "NEON": "?", "LDLS": "?", "QUARTZ": "ON", "HGNE": "?", "XENON": "?",
        "CALSEQ": "normal", "CALSTEP": 7, "CALKEY": "Quartz-1", "CALPLAN": "0123456789abcdef", "CALTRY": 1,
        "CALRUN": "5d0c0d66-0000-4000-8000-000000000000", "CALIBFIB": "several", "CALDRV": "sim",
        "SIMULATE": True, "CALSOFT": "calibrant 0.1.0; numpy 2", "GAIN": 2.0, "CCD TEMPERATURE": -100.5,
    }  # fmt: skip
    assert {key: header[key] for key in expected} == expected
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o644
    assert names(tmp_path) == {stored.path.name, "SHA256SUMS"}


def test_lvm_keywords_are_an_option_and_one_place_of_the_mask_is_named(tmp_path: Path) -> None:
    one = context(tmp_path, mask=(("P1-2", BEGIN, BEGIN + 270),))
    header = fits.getheader(store(frame(), SPEC, one).path)
    assert "ARGON" not in header and header["CALIBFIB"] == "P1-2"
    with fits.open(frame_path(one, SPEC.key, "b1")) as parts:
        assert len(parts) == 1
    assert "CALIBFIB" not in {card[0] for card in frame_header(frame(), SPEC, context(tmp_path, mask=()))}


def test_times_in_the_mask_s_table_are_nominal(tmp_path: Path) -> None:
    stored = store(frame(), SPEC, context(tmp_path, speed=10.0))
    assert fits.getdata(stored.path, "MASK")["T1"] == pytest.approx([210, 430])


def test_values_that_fits_cannot_have_become_text(tmp_path: Path) -> None:
    odd = frame(header={"TEMP": (float("nan"), "°C"), "NOTE": ("naïve\nlines", ""), "COUNT": (np.int64(3), "")})
    header = fits.getheader(store(odd, SPEC, context(tmp_path)).path)
    assert (header["TEMP"], header["NOTE"], header["COUNT"]) == ("nan", "na?ve?lines", 3)


def test_the_checksums_are_what_sha256sum_reads(tmp_path: Path) -> None:
    for camera in ("b1", "r1"):
        stored = store(frame(camera=camera), SPEC, context(tmp_path))
        assert stored.sha256 == sha256_of(stored.path)
    checked = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True
    )
    assert checked.returncode == 0 and checked.stdout.count(": OK") == 2


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = frame_path(context(tmp_path), SPEC.key, "b1")
    path.write_bytes(b"somebody else's")
    with pytest.raises(ExistsError, match=path.name):
        store(frame(), SPEC, context(tmp_path))
    assert path.read_bytes() == b"somebody else's" and names(tmp_path) == {path.name}
    again = store(frame(), SPEC, context(tmp_path, attempt=2))
    assert again.path.name == "normal-Quartz-1-b1-try2.fits"


def test_nothing_is_overwritten_when_two_write_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = frame_path(context(tmp_path), SPEC.key, "b1")
    free = storage.free_bytes

    def other_is_faster(folder: Path) -> int:
        path.write_bytes(b"other")
        return free(folder)

    monkeypatch.setattr(storage, "free_bytes", other_is_faster)
    with pytest.raises(ExistsError, match=path.name):
        store(frame(), SPEC, context(tmp_path))
    assert path.read_bytes() == b"other" and names(tmp_path) == {path.name}


def test_a_full_disk_is_noticed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "free_bytes", lambda folder: 2**20)
    with pytest.raises(StorageError, match=r"disk full: 1 MiB free, 16 MiB needed"):
        store(frame(), SPEC, context(tmp_path))
    assert names(tmp_path) == set()


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_disk_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, call, fail)
    with pytest.raises(StorageError, match="No space left"):
        store(frame(), SPEC, context(tmp_path))
    assert names(tmp_path) == set()


def test_a_write_cut_short_by_the_system_leaves_nothing(tmp_path: Path) -> None:
    """A real failure in the middle of the write: no file of this process may be longer than 4 KiB."""
    code = (
        "import resource, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from calibrant.acquire.devices import CaptureSpec, Frame\n"
        "from calibrant.acquire.headers import StoreContext\n"
        "from calibrant.acquire.storage import StorageError, store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "frame = Frame('b1', 0.0, 1.0, 1.0, np.arange(10000))\n"
        "try:\n"
        "    store(frame, CaptureSpec('x', 'dark', 1.0), StoreContext(Path(sys.argv[1]), 'cut'))\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot be written: File too large" in done.stdout
    assert names(tmp_path) == set()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file.*cannot be written"):
        store(frame(), SPEC, context(tmp_path / "file"))


def test_names_are_plain_predictable_and_unique(tmp_path: Path) -> None:
    odd = [frame_path(context(tmp_path, sequence="my seq"), key, "CCD Simulator").name for key in ("a/b", "a b", "a_b")]
    assert len(set(odd)) == 3
    assert all(name.startswith("my_seq-a_b-CCD_Simulator") and name.endswith(".fits") for name in odd)
    assert odd[0] == frame_path(context(tmp_path, sequence="my seq"), "a/b", "CCD Simulator").name
    assert not frame_path(context(tmp_path, sequence="../.."), "k", "c").name.startswith(".")
    assert frame_path(context(tmp_path, sequence="../.."), "k", "c").parent == tmp_path


def test_data_that_do_not_go_into_fits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="complex"):
        store(frame(data=np.zeros(3, complex)), SPEC, context(tmp_path))
    with pytest.raises(DataError, match="neither"):
        store(frame(data=None), SPEC, context(tmp_path))
    assert names(tmp_path) == set()


# Files of the instrument.


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_a_file_of_the_instrument_is_verified(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sdR-s-b1-00000001{suffix}"
    fits.PrimaryHDU(np.random.default_rng(0).integers(0, 9, (50, 100))).writeto(path, checksum=True)
    stored = store(frame(data=None, path=str(path)), SPEC, context(tmp_path))
    assert stored.path == path and stored.sha256 == sha256_of(path)
    assert (tmp_path / "SHA256SUMS").read_text() == f"{stored.sha256}  {path.name}\n"


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_a_broken_file_of_the_instrument_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"frame{suffix}"
    fits.PrimaryHDU(np.random.default_rng(0).integers(0, 9, (50, 100))).writeto(path, checksum=True)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[3000] ^= 1
    for content, says in (
        (bytes(flipped), "not a whole"),
        (whole[: len(whole) // 2], "not a whole FITS file"),
        (b"", "empty"),
        (b"x" * 3000, "FITS"),
    ):
        path.write_bytes(content)
        with pytest.raises(StorageError, match=says):
            store(frame(data=None, path=str(path)), SPEC, context(tmp_path))
    path.unlink()
    with pytest.raises(StorageError, match="not here"):
        store(frame(data=None, path=str(path)), SPEC, context(tmp_path))
    assert not (tmp_path / "SHA256SUMS").exists()
