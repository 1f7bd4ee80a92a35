"""What became of a solution, as a sentence. Codes are stored with the solutions and never change meaning."""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """Outcome of one solution (one antenna, receptor, interval, channel)."""

    CONVERGED = 0
    NO_DATA = 1
    TOO_FEW_BASELINES = 2
    LOW_SNR = 3
    NOT_CONVERGED = 4
    NO_REFERENCE = 5
    FILLED = 6

    @property
    def sentence(self) -> str:
        """What it means and what to try."""
        return SENTENCES[self]


SENTENCES = {
    Outcome.CONVERGED: "converged",
    Outcome.NO_DATA: "all data of this antenna are flagged or absent; see flagdata(mode='summary')",
    Outcome.TOO_FEW_BASELINES: "fewer baselines than minblperant have unflagged data; unflag, or lower minblperant",
    Outcome.LOW_SNR: "signal-to-noise at or below minsnr; use a longer solint, combine spws, or lower minsnr",
    Outcome.NOT_CONVERGED: "the solver did not converge; look for interference or a wrong model",
    Outcome.NO_REFERENCE: "the reference antenna has no solution here; give alternatives in refant",
    Outcome.FILLED: "interpolated over a gap of flagged channels (fillgaps)",
}
