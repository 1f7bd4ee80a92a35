"""Where sources are as seen from the array: directions in the Earth-fixed frame (ITRF)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex


def direction_itrf(index: MSIndex, field_id: int, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (ntime, 3) in ITRF from the array to the field's phase centre (J2000) at `times` (UTC, s of MJD)."""
    from casacore.measures import measures
    from casacore.quanta import quantity

    tool = measures()
    x, y, z = (quantity(float(v), "m") for v in index.antennas.position.mean(axis=0))
    tool.do_frame(tool.position("ITRF", x, y, z))
    ra, dec = index.fields.direction[field_id]
    source = tool.direction("J2000", quantity(float(ra), "rad"), quantity(float(dec), "rad"))
    result = np.empty((len(times), 3))
    for k, time in enumerate(times):
        tool.do_frame(tool.epoch("UTC", quantity(float(time), "s")))
        seen = tool.measure(source, "ITRF")
        lon, lat = seen["m0"]["value"], seen["m1"]["value"]
        result[k] = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    return result
