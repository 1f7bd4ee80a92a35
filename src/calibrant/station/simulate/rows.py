"""ONOFF's records as the Field System prints them: fields, widths and overflow. Text behind `#onoff#`.

old: before FS 9.9.0 (SIG has six numbers, compression with two decimals; the ratio of VAL has four); new: since.
"""

from __future__ import annotations

from calibrant.station.simulate.levels import Measured
from calibrant.station.simulate.truth import Truth

LINE = 78
"""Characters that the level records of one line may have."""


def fixed(value: float, width: int, decimals: int) -> str:
    """A number in a field; one that does not fit loses decimals, the last one leaves its point, then `$$$`."""
    text = f"{value:{width}.{decimals}f}"
    if len(text) <= width and "n" not in text:
        return text
    for fewer in range(decimals - 1, -1, -1):
        text = f"{value:#{width}.{fewer}f}"
        if len(text) <= width and "n" not in text:
            return text
    return "$" * width


def name_width(truth: Truth) -> int:
    """Two characters for a detector, four where the backend has longer names."""
    return 4 if any(len(det.name) > 2 for det in truth.detectors) else 2


def apr_rows(truth: Truth, scan: int) -> list[str]:
    """The heading and one APR row for each detector."""
    width = name_width(truth)
    dpfu, gain = truth.assumed_dpfu.tolist(), float(truth.assumed_gain[scan])
    freq, tcal = truth.freq_mhz[scan].tolist(), truth.tcal_assumed_k[scan].tolist()
    flux, fwhm = truth.apparent_jy[scan].tolist(), truth.fwhm_deg[scan].tolist()
    flux_decimals = 1 if truth.options.form == "old" else 2
    kind = truth.flux_table.type(truth.sources[scan])
    rows = [f"    {'De':{width}}    Center  TCal    Flux    DPFU     Gain    Product   LO    T   FWHM"]
    for k, det in enumerate(truth.detectors):
        rows.append(
            f"APR {det.name:<{width}} {freq[k]:9.2f} {fixed(tcal[k], 5, 3)} "
            f"{fixed(flux[k], 7, flux_decimals)}  {dpfu[k]:8.6f} {gain:7.5f}  "
            f"{dpfu[k] * gain:8.6f} {truth.band.lo_mhz:7.2f} {kind} {fwhm[k]:7.5f}"
        )
    return rows


def level_rows(truth: Truth, measured: Measured, row: int, step: int, offset: tuple[float, float]) -> list[str]:
    """The rows of one level: as many detectors in each line as fit."""
    taken = measured.steps[step]
    width = name_width(truth)
    whole = truth.options.integration == 1
    start = f"{taken.state} {taken.seconds:7.1f} {offset[0]:9.5f} {offset[1]:9.5f}"
    rows, line = [], start
    levels, rms = measured.levels[row, step].tolist(), measured.rms[row, step].tolist()
    for k, det in enumerate(truth.detectors):
        if taken.state[-1] == "C" and not det.diode:
            continue
        if whole:
            text = f" {det.name:<{width}} {levels[k]:5.0f}"
        else:
            text = f" {det.name:<{width}} {fixed(levels[k], 8, 1)}  {fixed(rms[k], 7, 1)}"
        if len(line) + len(text) > LINE:
            rows.append(line)
            line = start
        line += text
    rows.append(line)
    return rows


def sig_rows(truth: Truth, measured: Measured, row: int) -> list[str]:
    """One SIG row for each detector, its columns below those of VAL."""
    width = name_width(truth)
    old = truth.options.form == "old"
    sigmas = {name: values[row].tolist() for name, values in measured.sigmas.items()}
    rows = []
    for k, det in enumerate(truth.detectors):
        rows.append(
            f"SIG{'':23}{det.name:<{width}}{'':15}{_compression(sigmas, k, old)} {fixed(sigmas['tsys'][k], 5, 2)} "
            f"{fixed(sigmas['sefd'][k], 6, 1)} {fixed(sigmas['tcal_jy'][k], 7, 3)} "
            + (f"{fixed(sigmas['tcal_k'][k], 5, 3)} " if old else "")
            + fixed(sigmas["ratio"][k], 5, 2)
        )
    return rows


def _compression(sigmas: dict[str, list[float]], k: int, old: bool) -> str:
    return fixed(sigmas["compression"][k], 5, 2) if old else fixed(sigmas["compression"][k], 6, 4)


def val_heading(truth: Truth) -> str:
    """The heading before and after the VAL rows."""
    return f"    source       Az   El  {'De':{name_width(truth)}} I P   Center   Comp   Tsys  SEFD  Tcal(j) Tcal(r)"


def val_rows(truth: Truth, measured: Measured, row: int, scan: int) -> list[str]:
    """One VAL row for each detector."""
    width = name_width(truth)
    ratio = (6, 4) if truth.options.form == "old" else (5, 2)
    start = f"VAL {truth.sources[scan]:<10} {truth.azimuth[scan]:5.1f} {truth.elevation[scan]:4.1f}"
    freq = truth.freq_mhz[scan].tolist()
    found = {name: values[row].tolist() for name, values in measured.results.items()}
    return [
        f"{start} {det.name:<{width}} {det.if_chain} {det.pol} {freq[k]:9.2f} "
        f"{fixed(found['compression'][k], 6, 4)} {fixed(found['tsys'][k], 5, 2)} {fixed(found['sefd'][k], 6, 1)} "
        f"{fixed(found['tcal_jy'][k], 7, 3)} {fixed(found['ratio'][k], *ratio)}"
        for k, det in enumerate(truth.detectors)
    ]
