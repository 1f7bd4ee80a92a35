"""Which frames count, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from calibrant.acquire.devices import CaptureSpec, Frame
from calibrant.acquire.framecheck import Expectations, FrameChecker, check_frame, digest, levels

RNG = np.random.default_rng(5)
KNOWN = Expectations(bias_level=1000.0, bias_noise=3.0)


def image(light: float = 0.0, share: float = 1.0) -> np.ndarray[Any, Any]:
    """1000 ADU of bias with 3 ADU of noise, and light on a share of the pixels."""
    data = RNG.normal(1000.0, 3.0, (100, 200))
    data.reshape(-1)[: int(share * data.size)] += light
    return np.clip(np.rint(data), 0, 65535).astype(np.uint16)


def look(
    data: np.ndarray[Any, Any] | None, kind: str = "flat", asked: float = 60.0, measured: float = 60.0, **known: Any
) -> list[str]:
    frame = Frame("b1", 0.0, measured, measured, data)
    expectations = Expectations(**{"bias_level": 1000.0, "bias_noise": 3.0, **known})
    return check_frame(frame, CaptureSpec("k", kind, asked, "Quartz"), expectations)  # type: ignore[arg-type]


def test_good_frames_count() -> None:
    assert look(image(), "bias", 0.0, 0.0) == []
    assert look(image(2.0), "dark", 900.0, 900.0) == []
    assert look(image(5000.0)) == []
    assert look(image(300.0, share=0.003), "arc") == [], "a few lines are enough"
    assert look(image().astype(float), "object") == []


@pytest.mark.parametrize("kind", ["flat", "arc"])
def test_a_lamp_that_is_not_on_is_noticed(kind: str) -> None:
    (sentence,) = look(image(), kind)
    assert sentence.startswith("b1: ") and sentence.endswith(
        "above the bias level: no light of Quartz arrives. Is it on?"
    )
    assert look(image(), kind, light=False) == [], "a detector that does not see the lamps"
    assert look(image(), kind, bias_level=None) == [], "without a level nothing can be said"


def test_cosmic_rays_are_not_the_lamp() -> None:
    hit = image()
    hit.reshape(-1)[RNG.integers(0, hit.size, 10)] = 5000
    assert look(hit, "arc") != []
    assert look(hit, "dark") == []


def test_light_on_a_dark_or_a_bias_is_noticed() -> None:
    assert "light falls on a dark" in look(image(30.0), "dark")[0]
    assert "light falls on a bias" in look(image(30.0), "bias", 0.0, 0.0)[0]
    assert look(image(15.0), "dark", 900.0, 900.0) == [], "dark current of a long one"


@pytest.mark.parametrize(
    ("asked", "measured", "says"), [(60.0, 58.0, "too short"), (900.0, 450.0, "too short"), (60.0, 80.0, "too long")]
)
def test_times_that_differ(asked: float, measured: float, says: str) -> None:
    assert says in look(image(5000.0), "flat", asked, measured)[0]


def test_times_that_hardly_differ_pass() -> None:
    assert look(image(5000.0), "flat", 1.0, 0.95) == look(image(5000.0), "flat", 60.0, 61.0) == []


def test_saturation_is_a_share_of_pixels() -> None:
    assert look(image(70000.0, share=0.005)) == []
    assert look(image(70000.0, share=0.05)) == ["b1: 5.0% of the pixels are saturated."]
    assert "saturated" in look(image(30000.0), saturation=25000.0)[0]


def test_broken_numbers_are_noticed() -> None:
    data = image().astype(float)
    data[3, 4:6] = np.nan
    assert look(data) == ["b1: 2 of 20000 pixels are not finite numbers."]
    assert look(np.zeros((4, 4), np.uint16)) == ["b1: all pixels are 0."]
    assert look(np.zeros((0, 4), np.uint16)) == ["b1: no pixels came."]
    short = look(image(5000.0)[:50], shape=(100, 200))
    assert short == ["b1: (50, 200) pixels came, (100, 200) were expected."]


def test_a_frame_equal_to_the_one_before_is_stuck() -> None:
    data = image(5000.0)
    assert look(data, previous=digest(image(5000.0))) == []
    assert look(data, previous=digest(data)) == [
        "b1: every pixel equals that of the frame before: the readout is stuck."
    ]


def test_the_checker_learns_camera_by_camera() -> None:
    checker = FrameChecker(bias_level=900.0)
    flat, bias = CaptureSpec("f", "flat", 60.0, "Quartz"), CaptureSpec("b", "bias", 0.0)

    def frame(camera: str, data: np.ndarray[Any, Any], seconds: float = 60.0) -> Frame:
        return Frame(camera, 0.0, seconds, seconds, data)

    # 100 ADU above the rough level: may still be the bias.
    assert "no light" in checker.check(frame("b1", image()), flat)[0]
    assert checker.check(frame("b1", image(), 0.0), bias) == []
    assert checker.known["b1"].bias_level == pytest.approx(1000.0, abs=1.0)
    assert checker.known["b1"].bias_noise == pytest.approx(3.0, rel=0.1)
    assert checker.check(frame("b1", image(30.0)), flat) == []
    assert "expected" in checker.check(frame("b1", image(5000.0)[:10]), flat)[0]
    assert checker.check(frame("r1", image(5000.0)[:10]), flat) == [], "another camera, another shape"
    stuck = image(5000.0)
    assert checker.check(frame("b1", stuck), flat) == []
    assert "stuck" in checker.check(frame("b1", stuck), flat)[0]


def test_a_first_frame_has_the_detector_s_shape_unless_it_is_read_in_another_way() -> None:
    binned, plain = CaptureSpec("b", "bias", 0.0, options={"binning": 2}), CaptureSpec("b", "bias", 0.0)
    checker = FrameChecker(shape=(100, 200))
    assert "expected" in checker.check(Frame("b1", 0, 0, 0, image()[:50]), plain)[0]
    assert checker.check(Frame("b1", 0, 0, 0, image()[:50, :100]), binned) == []
    assert "expected" in checker.check(Frame("b1", 0, 0, 0, image()[:25]), binned)[0]


def test_a_bad_bias_teaches_nothing() -> None:
    checker = FrameChecker(bias_level=1000.0)
    spec = CaptureSpec("b", "bias", 0.0)
    assert "light falls" in checker.check(Frame("b1", 0, 0, 0, image(5000.0)), spec)[0]
    assert checker.known == {}


def test_files_of_the_instrument_are_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "frame.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image())]).writeto(path)
    spec = CaptureSpec("f", "flat", 60.0, "Quartz")
    frame = Frame("b1", 0.0, 60.0, 60.0, path=str(path))
    assert "no light" in check_frame(frame, spec, KNOWN)[0]
    assert levels(frame)["median"] == pytest.approx(1000.0, abs=1.0)
    spectrum = tmp_path / "visibilities.hdf"
    spectrum.write_bytes(b"not an image")
    assert check_frame(Frame("v", 0.0, 60.0, 60.0, path=str(spectrum)), spec, KNOWN) == []
    assert levels(Frame("v", 0.0, 60.0, 60.0, path=str(spectrum))) == {}


def test_a_large_image_is_sampled_over_all_columns() -> None:
    large = np.full((3000, 4096), 1000, np.uint16)
    large[:, 0] = 1001
    large[:, 1000:1100] = 3000
    assert look(large, "arc") == []
