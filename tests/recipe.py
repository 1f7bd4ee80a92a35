"""How the oracle's tables were made with CASA (oracle/tiny_casa), and how solutions are compared with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.caltable.table import CalTable
from calibrant.ms.index import open_index
from calibrant.solve.antenna import _for_calmode

CALIBRATORS = "0,1,2"
FIRST = ["tsys.cal", "antpos.cal", "wvr.cal"]
FIRST_INTERP = ["linear,linear", "linear", "linear"]
BANDPASS_TABLES = [*FIRST, "B.cal"]


def edges(vis: str) -> str:
    """All channels but those at the edges of the bands."""
    n0, n1 = (spw.nchan for spw in open_index(vis).spws[:2])
    cut0, cut1 = max(1, n0 // 16), max(1, n1 // 32)
    return f"0:{cut0}~{n0 - 1 - cut0},1:{cut1}~{n1 - 1 - cut1}"


def middle(vis: str) -> str:
    n0, n1 = (spw.nchan for spw in open_index(vis).spws[:2])
    return f"0:{int(0.4 * n0)}~{int(0.6 * n0)},1:{int(0.4 * n1)}~{int(0.6 * n1)}"


def apply_before(oracle: Path, gainfield: str, more: list[str]) -> dict[str, Any]:
    """gaintable, gainfield and interp of CASA's call: Tsys, positions and WVR, then `more`."""
    paths = [str(oracle / "out" / name) for name in FIRST + more]
    interp = FIRST_INTERP + ["linear,linear" if name.startswith("B") else "linear" for name in more]
    fields = ["", "", gainfield] + [""] * len(more) if gainfield else []
    return {"gaintable": paths, "gainfield": fields, "interp": interp}


def compare(ours: CalTable, theirs: CalTable, tolerance: float, errors: float = 0.01) -> None:
    """Everything equal but the solutions: they agree within `tolerance` error bars, and at rms a fifth of that; error
    bars agree within `errors`."""
    assert (ours.kind, ours.par_type, ours.ms_name) == (theirs.kind, theirs.par_type, theirs.ms_name)
    assert sorted(ours.spws) == sorted(theirs.spws)
    for spw, they in theirs.spws.items():
        we = ours.spws[spw]
        np.testing.assert_array_equal(we.flag, they.flag)
        np.testing.assert_allclose(we.time, they.time, rtol=0, atol=1e-4)
        np.testing.assert_allclose(we.freq, they.freq, rtol=1e-12)
        for name in ("refant", "field", "scan", "obs", "interval"):
            np.testing.assert_array_equal(getattr(we, name), getattr(they, name), err_msg=name)
        good = ~we.flag
        difference = np.abs(we.param - they.param)[good] / they.error[good]
        assert difference.max() < tolerance
        assert np.sqrt(np.mean(difference**2)) < tolerance / 5 + 1e-3
        np.testing.assert_allclose(we.error[good], they.error[good], rtol=errors)
        np.testing.assert_array_equal(we.param[~good & (they.param == 1)], 1)


def record_sums(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any, Any]]:
    """(batch, baselines, sums) of every pass that a task makes from now on."""
    from calibrant.tasks import solving

    held: list[tuple[Any, Any, Any]] = []
    run = solving.Pass.run

    def recorded(self: Any, bar: Any) -> Any:
        sums = run(self, bar)
        held.append((self.batch, self.baselines, sums))
        return sums

    monkeypatch.setattr(solving.Pass, "run", recorded)
    return held


def excess_chi2(held: list[tuple[Any, Any, Any]], ours: CalTable, theirs: CalTable, calmode: str) -> np.ndarray:
    """chi2 of our solutions over that of theirs, minus 1, for all intervals and channels in which all are good."""
    result = []
    for batch, baselines, sums in held:
        seen = np.flatnonzero(sums.weight > 0)
        order = seen[np.argsort(sums.time[seen], kind="stable")]
        a, b = _for_calmode(sums.numerator[order], sums.norm[order], calmode)
        chi2 = [_chi2(a, b, baselines, table.spws[batch.spw].param) for table in (ours, theirs)]
        bad = ours.spws[batch.spw].flag | theirs.spws[batch.spw].flag
        good = ~bad.any(axis=(1, 3))
        result.append(chi2[0][good] / chi2[1][good] - 1)
    return np.concatenate(result)


def _chi2(a: np.ndarray, b: np.ndarray, baselines: Any, gain: np.ndarray) -> np.ndarray:
    model = gain[:, baselines.ant1].astype(complex) * gain[:, baselines.ant2].conj()
    used = b > 0
    residual = np.where(used, a / np.where(used, b, 1) - model, 0)
    return np.asarray((b * np.abs(residual) ** 2).sum(axis=(1, 3)))
