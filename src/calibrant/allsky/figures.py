"""From a calibration to what its figures draw: plain arrays and names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky.image import SkyImage, make_image
from calibrant.allsky.snapshots import CalibrationData, Snapshot
from calibrant.allsky.verdict import GOOD_POWER, POOR_POWER
from calibrant.plots.allsky.material import AllskyMaterial, Mark, SkyPanel, SourceFlux

if TYPE_CHECKING:
    from calibrant.allsky.calibration import Calibration

Real = NDArray[np.float64]
TITLES = {"none": "Without calibration", "stored": "Stored gains", "new": "New gains"}
MOST_SNAPSHOTS = 6
SIZE = 400


def material(result: Calibration, size: int = SIZE) -> AllskyMaterial:
    """Everything that the report of a calibration draws."""
    data = result.data
    stored_gain, stored_phase = stored_in_gauge(data, result.reference)
    parts = list(zip(data.snapshots, result.model, strict=True)) if result.model else []
    states = tuple(antenna.state for antenna in result.antennas)
    used = np.array([state in ("good", "weak") for state in states])
    length, observed, model = [np.empty(0)], [np.empty(0, complex)], [np.empty(0, complex)]
    for snapshot, predicted in parts:
        keep = used[snapshot.antenna1] & used[snapshot.antenna2]
        i, j = snapshot.antenna1[keep], snapshot.antenna2[keep]
        length.append(np.linalg.norm(data.positions[i] - data.positions[j], axis=1))
        observed.append(snapshot.visibility[keep])
        model.append(predicted[keep])
    return AllskyMaterial(
        panels=tuple(panels_of(result, size)),
        more=tuple(
            _panel(result, number, _new_image(result, snapshot, size), f"Snapshot {number}")
            for number, snapshot in enumerate(data.snapshots[1:MOST_SNAPSHOTS], 2)
        ),
        gain=result.gain,
        gain_err=np.array([antenna.gain_err for antenna in result.antennas]),
        phase=result.phase,
        phase_err=np.array([antenna.phase_err for antenna in result.antennas]),
        state=states,
        reference=result.reference,
        stored_gain=stored_gain,
        stored_phase=stored_phase,
        length=np.concatenate(length),
        observed=np.concatenate(observed),
        model=np.concatenate(model),
        noise=result.noise,
        scatter=result.scatter,
        sources=tuple(
            SourceFlux(one.name, one.snapshot, one.flux, one.flux_err, one.state == "found", one.given)
            for one in result.sources
        ),
        power=result.power,
        held_out=result.held_out_power,
        null=result.null_power,
        rival=result.rival_power,
        good_power=GOOD_POWER,
        poor_power=POOR_POWER,
        positions=data.positions,
        turned=result.positions,
        rotation_deg=result.rotation_deg,
        mirror=result.mirror,
        orientation=result.rotation_state,
    )


def stored_in_gauge(data: CalibrationData, reference: int) -> tuple[Real | None, Real | None]:
    """Stored gains and phases with gain 1 and phase 0 for the reference antenna; None where they correct nothing."""
    if data.gain is None or data.phase is None or len(data.gain) != len(data.positions):
        return None, None
    use = np.isfinite(data.gain) & np.isfinite(data.phase) & (data.gain > 0)
    gain, phase = np.where(use, data.gain, np.nan), np.where(use, data.phase, np.nan)
    if not use.any() or (np.allclose(gain[use], gain[use][0]) and np.allclose(phase[use], phase[use][0])):
        return None, None
    return (gain / gain[reference], phase - phase[reference]) if use[reference] else (gain, phase)


def without_stored(data: CalibrationData) -> str:
    """Why there is no image with stored gains; empty where there is one."""
    if stored_in_gauge(data, 0)[0] is not None:
        return ""
    if data.gain is None:
        return "the file holds no stored gains"
    return "the stored gains are all the same and the phases too: they correct nothing"


def panels_of(result: Calibration, size: int = SIZE) -> list[SkyPanel]:
    """The first snapshot without gains, with the stored and with the new ones; those that there are."""
    data, snapshot = result.data, result.data.snapshots[0]
    images = [make_image(snapshot, data.positions, data.wavelength_m, size=size, gains="none")]
    gain, phase = stored_in_gauge(data, result.reference)
    if gain is not None and phase is not None:
        images.append(make_image(snapshot, data.positions, data.wavelength_m, gain, phase, size, "stored"))
    images.append(_new_image(result, snapshot, size))
    return [_panel(result, 1, image, TITLES[image.gains]) for image in images]


def _new_image(result: Calibration, snapshot: Snapshot, size: int) -> SkyImage:
    return make_image(snapshot, result.positions, result.data.wavelength_m, result.gain, result.phase, size, "new")


def _panel(result: Calibration, number: int, image: SkyImage, title: str) -> SkyPanel:
    snapshot = result.data.snapshots[number - 1]
    sources = sorted((one for one in result.sources if one.snapshot == number), key=lambda one: -one.flux)
    marks = [Mark(one.name, one.az_deg, one.el_deg, one.state == "found", one.given) for one in sources]
    when = moment(snapshot.time)
    titled = f"{title}, {when}" if number > 1 and when else title
    return sky_panel(image, titled, marks)


def sky_panel(image: SkyImage, title: str, marks: Sequence[Mark]) -> SkyPanel:
    """An image as figures take it."""
    return SkyPanel(image.gains, title, image.values, image.mad, tuple(marks), math.sqrt(image.beam[0] * image.beam[1]))


def moment(time: float) -> str:
    """A time (s since 1970) as UTC to the second; empty where it is not known."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if math.isfinite(time) else ""
