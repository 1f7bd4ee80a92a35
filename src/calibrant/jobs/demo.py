"""demo: simulate a small observation, calibrate it, and compare the result with the truth."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from calibrant import params as p
from calibrant.errors import ExistsError
from calibrant.params import Param
from calibrant.pipeline.result import CalibrationResult

if TYPE_CHECKING:
    from calibrant.pipeline.truth import Comparison


@dataclass(frozen=True)
class DemoResult:
    """A calibration and its comparisons with the truth."""

    calibration: CalibrationResult
    comparisons: list[Comparison]

    @property
    def verdict(self) -> str:
        """The calibration's verdict; 'do not trust' where a number misses the truth."""
        return self.calibration.verdict if all(c.ok for c in self.comparisons) else "do not trust"

    def summary(self) -> str:
        missed = [c for c in self.comparisons if not c.ok]
        words = (
            f"All {len(self.comparisons)} numbers agree with the truth of the simulation."
            if not missed
            else f"{len(missed)} of {len(self.comparisons)} numbers miss the truth of the simulation."
        )
        lines = [self.calibration.summary(), "", "compared with the truth:"]
        return "\n".join([*lines, *(c.line() for c in self.comparisons), words])

    def to_dict(self) -> dict[str, Any]:
        return self.calibration.to_dict() | {
            "verdict": self.verdict,
            "truth": [c.to_dict() for c in self.comparisons],
        }


def demo(
    output: Annotated[str, Param("Folder for the simulation and its calibration.")] = "calibrant-demo",
    seed: Annotated[int, Param("Seed of the simulation.")] = 1,
    overwrite: p.Overwrite = False,
) -> DemoResult:
    """Simulate a small ALMA-like observation, calibrate it, and say how well the truth was recovered.

    Bandpass quasar, flux calibrator, phase calibrator and target in two spectral windows, with delays, bandpasses,
    phases and amplitudes that vary in time, noise, bad antennas, interference, zeros and spoilt scan starts. Takes
    some seconds and 100 MB. Look at report.html in the folder's `calibrated`.

    Example:
        calibrant demo -o my-demo
    """
    from calibrant.jobs.calibrate import calibrate
    from calibrant.pipeline.truth import compare
    from calibrant.progress import say
    from calibrant.simulation import load_truth, simulate

    vis, folder = os.path.join(output, "demo.ms"), os.path.join(output, "calibrated")
    for path in (vis, folder):
        if os.path.exists(path) and not overwrite:
            raise ExistsError(f"{path} exists; give --overwrite to replace it, or another --output")
    os.makedirs(output, exist_ok=True)
    simulated = simulate(vis, seed=seed, overwrite=overwrite)
    say(simulated.summary())
    done = calibrate(vis, output=folder, overwrite=overwrite)
    return DemoResult(done, compare(done, load_truth(simulated.truth)))
