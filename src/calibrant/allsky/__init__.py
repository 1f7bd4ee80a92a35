"""Small all-sky arrays (TART and kin): calibrated on point sources in a second, judged, published safely.

    from calibrant.allsky.snapshots import read_calibration_data
    from calibrant.allsky.calibration import calibrate
    result = calibrate(read_calibration_data("calib.json"))

Measurement equation, with antennas at r (ENU metres) and sources in the directions s = (sin az cos el,
cos az cos el, sin el), azimuth clockwise from north:

    V_ij = gamma_i conj(gamma_j) sum_s S_s exp(+2 pi i (r_i - r_j).s / lambda)

What telescopes store is the correction: gain = 1/|gamma|, phase_offset = arg(gamma).
"""
