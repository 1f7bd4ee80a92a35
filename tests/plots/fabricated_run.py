"""A made-up calibration run: tables, averages, index and result, with known faults. No files, no MS."""

from __future__ import annotations

import numpy as np

from calibrant.caltable.table import CalTable, SpwSolutions
from calibrant.ms.index import Antennas, Fields, MSIndex, Observation, Polarization, SpectralWindow
from calibrant.pipeline.result import CalibrationResult, FailedSolutions, FlagFraction, Flux, Step
from calibrant.plots import Averages, ColumnAverages, Material, PartAverages, Scan

START = 5.2306e9
FIELDS = ["J2253+1608", "J0006-0623", "TARGET <01> & $x$"]
DEAD, WEAK, LOUD = 3, 2, 1
"""Antennas with a fault: no solution at all; most of YY failed; twice the amplitude in XX."""


def names(nant: int) -> list[str]:
    return [f"DV{number:02d}" for number in range(nant)]


def solutions(
    kind: str, nant: int, spw: int, *, nt: int = 1, nchan: int = 1, seed: int = 1, fields: tuple[int, ...] = (0,)
) -> SpwSolutions:
    """Phases that drift, amplitudes near one, with the faults of DEAD, WEAK and LOUD."""
    rng = np.random.default_rng(seed + spw)
    npar = 1 if kind == "T Jones" else 2
    shape = (nt, nant, nchan, npar)
    phase = np.cumsum(rng.normal(0, 0.05, shape), axis=2 if nchan > 1 else 0) + rng.uniform(-3, 3, (1, nant, 1, npar))
    amplitude = 1 + 0.02 * rng.normal(size=shape)
    amplitude[:, LOUD, :, 0] *= 2
    param = (amplitude * np.exp(1j * phase)).astype(np.complex64)
    if kind == "K Jones":
        param = rng.normal(0, 1, shape).astype(np.float32)
    elif kind == "B TSYS":
        param = (80 * amplitude).astype(np.float32)
    flag = np.zeros(shape, bool)
    flag[:, DEAD] = True
    cells = flag[:, WEAK, :, -1]
    cells.reshape(-1)[: int(0.8 * cells.size)] = True
    flag[:, WEAK, :, -1] = cells
    flag[:, :, : nchan // 16] = True
    freq = 90e9 + 4e9 * spw + np.arange(nchan) * 2e9 / nchan
    time = START + np.linspace(0, 1800, nt)
    ids = np.array(fields, np.int32)[np.arange(nt) % len(fields)] if nt > 1 else np.array(fields[:1], np.int32)
    snr = np.where(flag, 0, 60).astype(np.float32)
    snr[:, WEAK, :, -1] = 2
    return SpwSolutions(
        spw=spw, time=time, interval=np.full(nt, 10.0), field=ids, scan=np.arange(nt, dtype=np.int32) // 4 + 1,
        obs=np.zeros(nt, np.int32), refant=np.zeros((nt, nant), np.int32), freq=freq,
        width=np.full(nchan, 2e9 / nchan), param=param, error=np.full(shape, 0.02, np.float32), snr=snr, flag=flag,
    )  # fmt: skip


def table(kind: str, nant: int, spws: int, **options: object) -> CalTable:
    parts = {spw: solutions(kind, nant, spw, **options) for spw in range(spws)}  # type: ignore[arg-type]
    par_type = "Float" if kind in ("K Jones", "B TSYS") else "Complex"
    return CalTable(
        kind=kind, par_type=par_type, ms_name="made.ms", spws=parts, antenna_names=names(nant),
        field_names=list(FIELDS), field_direction=np.zeros((len(FIELDS), 2)),
    )  # fmt: skip


def phase_only(nant: int, spws: int, **options: object) -> CalTable:
    made = table("G Jones", nant, spws, **options)
    for one in made.spws.values():
        one.param /= np.abs(one.param)
    return made


def caltables(nant: int = 8, spws: int = 2, nchan: int = 64, nt: int = 16) -> dict[str, CalTable]:
    return {
        "delay": table("K Jones", nant, spws),
        "tsys": table("B TSYS", nant, spws, nchan=nchan),
        "phase_int": phase_only(nant, spws, nt=nt, fields=(0, 1)),
        "bandpass": table("B Jones", nant, spws, nchan=nchan),
        "amplitude": table("G Jones", nant, spws, nt=4, fields=(0, 1)),
        "both": table("T Jones", nant, spws, nt=4, fields=(1,)),
    }


def column(rng: np.random.Generator, sizes: tuple[int, int, int], flux: float, raw: bool) -> ColumnAverages:
    def values(count: int) -> np.ndarray:
        noise = rng.normal(0, 0.02, (count, 2)) + 1j * rng.normal(0, 0.02, (count, 2))
        turn = np.exp(1j * rng.uniform(-np.pi, np.pi, (count, 2))) if raw else 1.0
        return (flux + noise) * turn

    made = [values(size) for size in sizes]
    return ColumnAverages(made[0], np.abs(made[0]), made[1], np.abs(made[1]), made[2], np.abs(made[2]))


def averages(nant: int = 8, spws: int = 2, nchan: int = 64, nt: int = 20) -> Averages:
    rng = np.random.default_rng(5)
    ant1, ant2 = np.triu_indices(nant, 1)
    parts = []
    for number, name in enumerate(FIELDS):
        for spw in range(spws):
            sizes = (len(ant1), nt, nchan)
            columns = {"DATA": column(rng, sizes, 0.01, True), "CORRECTED_DATA": column(rng, sizes, 2.0, False)}
            parts.append(
                PartAverages(
                    field=number,
                    field_name=name,
                    spw=spw,
                    correlations=("XX", "YY"),
                    freq=90e9 + 4e9 * spw + np.arange(nchan) * 2e9 / nchan,
                    ant1=ant1,
                    ant2=ant2,
                    uvdist=rng.uniform(20, 900, len(ant1)),
                    times=START + np.linspace(0, 600, nt),
                    uv=rng.normal(0, 300, (1500, 2)),
                    columns=columns,
                )
            )
    return Averages(parts)


def scans() -> list[Scan]:
    order = (0, 1, 2, 1, 2, 1)
    return [
        Scan(
            number + 1, FIELDS[field], ("CALIBRATE#ON",), START + 300 * number, START + 300 * number + 240, 55 - number
        )
        for number, field in enumerate(order)
    ]


def result(nant: int = 8, spws: int = 2) -> CalibrationResult:
    fluxes = [Flux(FIELDS[0], spw, 91e9 + 4e9 * spw, 2.5, 0.0, "standard") for spw in range(spws)]
    fluxes += [Flux(FIELDS[1], spw, 91e9 + 4e9 * spw, 2.0 - 0.01 * spw, 0.004, "fluxscale") for spw in range(spws)]
    flags = [
        FlagFraction(
            step, share, dict.fromkeys(names(nant), share), dict.fromkeys(FIELDS, share),
            {str(spw): share for spw in range(spws)},
        )
        for step, share in (("autocorr", 0.02), ("quack", 0.05), ("solutions", 0.31))
    ]  # fmt: skip
    return CalibrationResult(
        obs="made <b>.ms", ms="made.ms", output="out", telescope="ALMA", observed="2024-08-15 05:00 to 05:30 UTC",
        standard="Perley-Butler 2017", refant="DV00",
        roles={"bandpass": [FIELDS[0]], "flux": [FIELDS[0]], "phase": [FIELDS[1]], "target": [FIELDS[2]]},
        verdict="check", reasons=["DV02 YY: 80 % of solutions failed"], notes=["<script>alert(1)</script>"],
        fluxes=fluxes, caltables={"bandpass": "out/b.bcal"}, flags=flags,
        failed=[FailedSolutions("p.gcal", "signal-to-noise at or below minsnr", 13, ["DV02"], [0], "DV02 YY, SNR 2.1")],
        steps=[Step("bandpass", "one solution per channel", "calibrant bandpass made.ms out/b.bcal --solint inf", 1.2)],
        listobs="Fields: 3\n  0 J2253+1608 <none>",
    )  # fmt: skip


def material(nant: int = 8, spws: int = 2, **changes: object) -> Material:
    made = result(nant, spws)
    settings: dict[str, object] = {
        "caltables": caltables(nant, spws), "averages": averages(nant, spws), "antennas": names(nant),
        "positions": positions(nant), "refant": "DV00", "receptors": ("XX", "YY"), "roles": made.roles,
        "scans": scans(), "fluxes": made.fluxes, "flags": made.flags, "standard": made.standard,
    }  # fmt: skip
    return Material(**(settings | changes))  # type: ignore[arg-type]


def positions(nant: int) -> np.ndarray:
    offset = np.random.default_rng(7).normal(0, 200, (nant, 3))
    return np.array([2225000.0, -5440000.0, -2481700.0]) + offset


def index(nant: int = 8, spws: int = 2, nchan: int = 64) -> MSIndex:
    """An index that was read already: two rows a scan."""
    listed = scans()
    numbers = np.repeat([scan.number for scan in listed], 2).astype(np.int32)
    field = np.repeat([FIELDS.index(scan.field) for scan in listed], 2).astype(np.int32)
    time = np.array([moment for scan in listed for moment in (scan.start, scan.end)])
    zeros = np.zeros(len(time), np.int32)
    made = MSIndex("made.ms", len(time), ("TIME",), _cache={
        "SCAN_NUMBER": numbers, "FIELD_ID": field, "TIME": time, "STATE_ID": zeros, "DATA_DESC_ID": zeros,
    })  # fmt: skip
    freq = np.arange(nchan) * 2e9 / nchan
    width = np.full(nchan, 2e9 / nchan)
    made.__dict__.update(
        time_scale="UTC",
        antennas=Antennas(names(nant), names(nant), ["ALT-AZ"] * nant, positions(nant), np.full(nant, 12.0)),
        fields=Fields(list(FIELDS), ["none"] * 3, np.arange(3, dtype=np.int32), np.full((3, 2), -0.1)),
        spws=[
            SpectralWindow(spw, "", 90e9 + 4e9 * spw + freq, width, width, width, 90e9, 2e9, 5, 1)
            for spw in range(spws)
        ],
        polarizations=[Polarization(np.array([9, 12], np.int32), np.array([[0, 0], [1, 1]], np.int32))],
        observations=[Observation("ALMA", "nobody", "none", np.array([START, START + 1800]))],
        state_modes=["CALIBRATE_PHASE#ON_SOURCE,CALIBRATE_WVR#ON_SOURCE"],
    )
    return made
