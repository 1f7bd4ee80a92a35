"""A run's story as figures and thumbnails want it: plain data."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.acquire.story import Attempt, FrameStory, Story
from calibrant.plots.acquire import AttemptLine, FrameLevels, Moment, RunMaterial, Span, thumbnail

MOST_THUMBNAILS = 400
PLANNED_ROWS = {"expose": "expose", "readout": "readout", "point": "pointing", "park": "pointing"}


def material(story: Story) -> RunMaterial:
    """What the figures draw from."""
    return RunMaterial(
        attempts=tuple(_line(story, attempt, number) for number, attempt in enumerate(story.attempts)),
        frames=tuple(_levels(frame) for frame in story.frames),
        cameras=tuple(story.cameras),
        saturation=story.saturation,
    )


def _line(story: Story, attempt: Attempt, number: int) -> AttemptLine:
    lamps = dict.fromkeys([*attempt.lights, *(bar.row for bar in attempt.bars if bar.kind == "burning")])
    began = f"{datetime.fromtimestamp(attempt.began, UTC):%Y-%m-%d %H:%M:%S} UTC"
    what = "Resumed" if attempt.resumed else "Begun" if number == 0 else "Begun again"
    fast = f", simulated {attempt.speed:g} times faster" if attempt.simulated and attempt.speed != 1 else ""
    return AttemptLine(
        title=f"{what} {began}{fast}",
        began=attempt.began,
        seconds=attempt.seconds,
        clock=attempt.speed == 1,
        spans=tuple(Span(bar.row, bar.kind, bar.begin, bar.end, bar.ok) for bar in attempt.bars),
        planned=() if attempt.resumed else tuple(_planned(story.plan)),
        moments=tuple(Moment(mark.time, mark.kind, mark.text) for mark in attempt.marks),
        lamps=tuple(lamps),
    )


def _planned(plan: dict[str, Any]) -> list[Span]:
    """The plan's lamps, exposures, readouts and pointings."""
    spans: list[Span] = []
    lit: dict[str, float] = {}
    for step in plan.get("steps", ()):
        begin, end = step["start_s"], step["start_s"] + step["duration_s"]
        if step["kind"] == "light_on":
            lit.update(dict.fromkeys(step["lights"], begin))
        elif step["kind"] in ("light_off", "all_off"):
            names = step["lights"] or list(lit)
            spans += [Span(name, "burning", lit.pop(name), end) for name in names if name in lit]
        elif step["kind"] in PLANNED_ROWS and end > begin:
            spans.append(Span(PLANNED_ROWS[step["kind"]], step["frame_kind"], begin, end))
    return spans


def _levels(frame: FrameStory) -> FrameLevels:
    there = [file for file in frame.files if file.levels]
    return FrameLevels(
        frame.key, frame.kind, frame.state,
        {file.camera: file.levels["median"] for file in there},
        {file.camera: file.levels["p999"] for file in there},
    )  # fmt: skip


@dataclass(frozen=True)
class Thumbnail:
    """One file of a frame as the page shows it."""

    camera: str
    path: str
    image: str = ""
    """PNG, base64."""
    size: tuple[int, int] = (0, 0)
    words: str = ""
    """Levels; or why there is no picture."""
    ok: bool = True


def thumbnails(story: Story) -> dict[str, list[Thumbnail]]:
    """Frame -> its files; beyond so many, files are named without a picture."""
    left = MOST_THUMBNAILS
    shown: dict[str, list[Thumbnail]] = {}
    for frame in story.frames:
        shown[frame.key] = []
        for file in frame.files:
            levels = file.levels
            words = f"{levels['median']:.0f} / {levels['p999']:.0f}" if levels else ""
            image, size, why = (
                ("", (0, 0), "no picture: there are too many") if left <= 0 else _picture(story, file.path)
            )
            left -= 1
            shown[frame.key].append(Thumbnail(file.camera, file.path, image, size, why or words, file.ok and not why))
    return shown


def _picture(story: Story, path: str) -> tuple[str, tuple[int, int], str]:
    """The picture, its size, and why there is none."""
    try:
        plane = _image(Path(story.directory) / path)
    except (OSError, ValueError, TypeError) as error:
        return "", (0, 0), f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if plane is None:
        return "", (0, 0), "holds no image"
    png = thumbnail(plane)
    return base64.b64encode(png).decode("ascii"), struct.unpack(">II", png[16:24]), ""


def _image(path: Path) -> NDArray[Any] | None:
    """The first image of a FITS file; None where it is another kind of file, or holds none."""
    from astropy.io import fits

    if not path.is_file():
        raise OSError(2, "it is not there any more")
    if ".fit" not in path.name.lower():
        return None
    with fits.open(path) as parts:
        return next((np.asarray(part.data) for part in parts if part.is_image and part.data is not None), None)
