"""Point sources away from the phase centre."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from calibrant.sky.model import SourceModel
from calibrant.sky.predict import SPEED_OF_LIGHT, PointComponent, direction_cosines, predict

FREQ = np.array([1.0e9, 1.5e9])
UVW = np.array([[100.0, 200.0, 50.0], [-300.0, 10.0, 5.0]])


def test_source_at_the_centre_has_no_phase() -> None:
    model = SourceModel.power_law([2.0], [-0.7])
    vis = predict(UVW, FREQ, [PointComponent(model)], [5, 8])
    assert vis == pytest.approx(np.broadcast_to(model.spectrum(FREQ)[:, None], (2, 2, 2)))


def test_sources_add_with_the_phase_of_their_place() -> None:
    one, two = SourceModel.power_law([2.0]), SourceModel.power_law([0.5], [1.0])
    l, m = 1e-3, -2e-3  # noqa: E741
    n = np.sqrt(1 - l**2 - m**2)
    turns = (UVW @ np.array([l, m, n - 1]))[:, None] * FREQ / SPEED_OF_LIGHT
    expected = 2.0 + 0.5 * FREQ / 1e9 * np.exp(2j * np.pi * turns)
    vis = predict(UVW, FREQ, [PointComponent(one), PointComponent(two, l, m)], [9])
    assert vis[:, :, 0] == pytest.approx(expected, abs=1e-6)


def test_direction_cosines_point_east_and_north() -> None:
    centre = (1.0, 0.5)
    assert direction_cosines(centre, centre) == pytest.approx((0, 0))
    assert direction_cosines((1.0 + 1e-4, 0.5), centre)[0] == pytest.approx(1e-4 * np.cos(0.5), rel=1e-6)
    assert direction_cosines((1.0, 0.5 + 1e-4), centre)[1] == pytest.approx(1e-4, rel=1e-6)


FT = """
import json, sys
import numpy as np
from casatasks import ft
from casatools import componentlist, table
ms, ra, dec, out = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
cl = componentlist()
cl.addcomponent(flux=1.0, dir=f"J2000 {ra!r}rad {dec!r}rad", shape="point", freq="100GHz")
cl.rename(ms + ".cl"); cl.close()
ft(ms, field="0", spw="0", complist=ms + ".cl", usescratch=True)
tb = table(); tb.open(ms); q = tb.query("FIELD_ID==0 && DATA_DESC_ID==0 && ANTENNA1!=ANTENNA2")
model = q.getcol("MODEL_DATA")[0].T
np.savez(out, uvw=q.getcol("UVW").T, model=model)
"""


@pytest.mark.oracle
@pytest.mark.casa
def test_sign_and_geometry_are_those_of_casa(tiny_ms: Path, casa_python: str, tmp_path: Path) -> None:
    from calibrant.ms.index import open_index

    index = open_index(str(tiny_ms))
    centre = index.fields.direction[0]
    where = (float(centre[0]) + 3e-5, float(centre[1]) - 2e-5)
    out = tmp_path / "ft.npz"
    command = [casa_python, "-c", FT, str(tiny_ms), repr(where[0]), repr(where[1]), str(out)]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    casa = np.load(out)
    component = PointComponent(SourceModel.power_law([1.0]), *direction_cosines(where, centre.tolist()))
    vis = predict(casa["uvw"], index.spws[0].freq, [component], [9])[:, :, 0]
    assert np.ptp(np.angle(vis)) > 1
    assert np.abs(vis - casa["model"]).max() < 2e-5, json.dumps(where)
