"""A calibrated simulation against its truth: fluxes, gains, the target's sky, weights, and what should be flagged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex, open_index
from calibrant.ms.reader import Chunk, read_chunks
from calibrant.pipeline.result import CalibrationResult
from calibrant.simulation.truth import Truth
from calibrant.tasks.chain import open_chain

SIGMAS = 4.0
FOUND_SHARE = 0.95
"""Of the data that are bad, at least this share must be flagged."""


@dataclass(frozen=True)
class Comparison:
    """One number against its truth: `sigma` is its expected error; ok: no further from it than `limit`."""

    what: str
    expected: float
    got: float
    sigma: float
    ok: bool
    limit: float = float("nan")

    def line(self) -> str:
        mark = "ok " if self.ok else "OFF"
        return f"  {mark} {self.what:55.55s} {self.got:10.4g}  truth {self.expected:8.4g} +- {self.limit:.2g}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(result: CalibrationResult, truth: Truth) -> list[Comparison]:
    """All comparisons of a finished run with the truth of its simulation."""
    index = open_index(result.ms)
    return [*_fluxes(result, truth), *_gains(result, truth, index), *_target(truth, index), *_flags(truth, index)]


def _within(what: str, expected: float, got: float, sigma: float) -> Comparison:
    return Comparison(what, expected, got, sigma, bool(abs(got - expected) <= SIGMAS * sigma), SIGMAS * sigma)


def _fluxes(result: CalibrationResult, truth: Truth) -> Iterator[Comparison]:
    for flux in result.fluxes:
        expected = float(truth.flux[flux.spw][truth.field.index(flux.field)].mean())
        sigma = flux.error_jy if flux.origin == "fluxscale" else 1e-3 * expected
        yield _within(f"flux density of {flux.field}, spw {flux.spw} (Jy)", expected, flux.flux_jy, sigma)


# ---- gains ----------------------------------------------------------------------------------------------------


def _gains(result: CalibrationResult, truth: Truth, index: MSIndex) -> Iterator[Comparison]:
    """What the tables say an antenna did on the bandpass calibrator, against what it did."""
    names = {path.rsplit("/", 1)[-1].removesuffix(".cal"): path for path in result.caltables.values()}
    field = index.fields.name.index(result.roles["bandpass"][0])
    tables = [names[n] for n in ("delay", "bandpass", "phase_int", "flux") if n in names]
    fields = ["" if n < len(tables) - 2 else str(field) for n in range(len(tables))]
    modes = ["nearest,linearflag" if "bandpass" in path else "linear" for path in tables]
    chain = open_chain(index, tables, fields, modes)
    spoilt = {(bad["antenna"], pol) for bad in truth.bad_antennas for pol in bad["pols"]}
    names_of_bad = {bad["name"] for bad in truth.bad_antennas}
    refant = index.antennas.name.index(next(n for n in result.refant.split(",") if n not in names_of_bad))
    for spw in sorted({flux.spw for flux in result.fluxes}):
        rows = np.flatnonzero((index.field == field) & (index.spw == spw))
        times = np.unique(index.time[rows])
        first = rows[np.searchsorted(index.time[rows], times)]
        factors = chain.factors(spw, first)
        which = np.searchsorted(truth.time, times - 1e-3)
        ratio = 1.0 / factors.inverse.astype(complex) / truth.gain(spw)[which]
        good = ~np.broadcast_to(factors.bad, ratio.shape) & ~truth.quacked[which][:, None, None, None]
        for antenna, pol in spoilt:
            good[:, antenna, :, pol] = False
        ratio *= np.exp(-1j * np.angle(ratio[:, refant : refant + 1]))
        good &= good[:, refant : refant + 1]
        good[:, refant] = False
        noise = _expected_noise(chain, spw, field)
        phase = np.degrees(np.sqrt(np.mean(np.angle(ratio[good]) ** 2)))
        limit = 1.3 * np.degrees(noise)
        yield Comparison(f"phase of the gains, spw {spw}, rms error (deg)", 0.0, phase, np.degrees(noise),
                         bool(phase <= limit), limit)  # fmt: skip
        size = float(np.std(np.abs(ratio[good])))
        limit = 1.3 * noise + 0.01
        yield Comparison(f"amplitude of the gains, spw {spw}, rms relative error", 0.0, size, noise,
                         bool(size <= limit), limit)  # fmt: skip


def _expected_noise(chain: Any, spw: int, field: int) -> float:
    """Relative error of a product of gains from the tables' own errors, with the reference antenna's share."""
    total = 0.0
    for applied in chain.tables:
        sol = applied.table.spws[spw]
        if applied.term.kind == "K Jones":
            continue
        usable = ~sol.flag & (sol.snr > 0) & (sol.field == field)[:, None, None, None]
        per_axis = 1.0 / sol.snr[usable] if applied.path.endswith("phase_int.cal") else 1 / sol.snr[usable] / np.sqrt(2)
        total += 2 * float(np.mean(per_axis**2))
    return float(np.sqrt(total))


# ---- the target -----------------------------------------------------------------------------------------------


def _target(truth: Truth, index: MSIndex) -> Iterator[Comparison]:
    """CORRECTED_DATA of the target against its sky: scale, and scatter in units of what WEIGHT promises."""
    target = truth.roles.index("target")
    for spw in range(len(truth.freq)):
        rows = np.flatnonzero((index.field == target) & (index.spw == spw) & (index.ant1 != index.ant2))
        up = down = chi2 = 0.0
        count = 0
        for chunk in read_chunks(index, rows, ["CORRECTED_DATA", "FLAG", "WEIGHT", "UVW"]):
            model = truth.model(spw, target, chunk["UVW"])[:, :, None]
            weight = np.where(chunk["FLAG"], 0.0, chunk["WEIGHT"][:, None, :])
            vis = np.where(chunk["FLAG"], 0, chunk["CORRECTED_DATA"])
            up += float((weight * (vis * model.conj()).real).sum())
            down += float((weight * np.abs(model) ** 2).sum())
            chi2 += float((weight * np.abs(vis - model) ** 2).sum())
            count += 2 * int(np.count_nonzero(~chunk["FLAG"]))
        # phases between calibrator scans are interpolated: turbulence adds a little to the noise
        # the scale of the target follows that of the flux calibrator, so its error does not fall below a percent
        scale = up / max(down, 1e-30)
        error = float(np.hypot(down**-0.5, 0.01))
        yield _within(f"target, spw {spw}: calibrated over true visibilities", 1.0, scale, error)
        yield _within(f"target, spw {spw}: variance x WEIGHT (noise as promised)", 1.0, chi2 / max(count, 1), 0.015)


# ---- flags ----------------------------------------------------------------------------------------------------


def _flags(truth: Truth, index: MSIndex) -> Iterator[Comparison]:
    """Share of the truly bad visibilities that are flagged, by kind of trouble, on all fields."""
    kinds = ["bad antennas", "interference", "zeros", "scan starts"]
    bad = dict.fromkeys(kinds, 0)
    found = dict.fromkeys(kinds, 0)
    rows = np.flatnonzero(index.ant1 != index.ant2)
    for chunk in read_chunks(index, rows, ["FLAG"]):
        for kind, cells in _bad_cells(truth, index, chunk).items():
            bad[kind] += int(np.count_nonzero(cells))
            found[kind] += int(np.count_nonzero(cells & chunk["FLAG"]))
    for kind in kinds:
        if bad[kind]:
            share = found[kind] / bad[kind]
            yield Comparison(f"{kind}: share that was flagged", 1.0, share, 1 - FOUND_SHARE, share >= FOUND_SHARE,
                             1 - FOUND_SHARE)  # fmt: skip


def _bad_cells(truth: Truth, index: MSIndex, chunk: Chunk) -> dict[str, NDArray[np.bool_]]:
    shape = chunk["FLAG"].shape
    time = np.searchsorted(truth.time, index.time[chunk.rows] - 1e-3)
    ant1, ant2 = index.ant1[chunk.rows], index.ant2[chunk.rows]
    antennas, interference = np.zeros(shape, bool), np.zeros(shape, bool)
    for bad in truth.bad_antennas:
        hit = ((ant1 == bad["antenna"]) | (ant2 == bad["antenna"])) & (time >= bad["first"]) & (time <= bad["last"])
        for pol in bad["pols"]:
            antennas[hit, :, pol] = True
    for spw, channel, first, last, antenna, _ in truth.rfi.tolist():
        if spw == chunk.spw:
            hit = (time >= first) & (time <= last) & ((antenna < 0) | (ant1 == antenna) | (ant2 == antenna))
            interference[hit, int(channel)] = True
    zeros = np.zeros(len(chunk.rows), bool)
    for number, antenna in truth.zeroed.tolist():
        zeros |= (time == number) & ((ant1 == antenna) | (ant2 == antenna))
    return {
        "bad antennas": antennas,
        "interference": interference,
        "zeros": np.broadcast_to(zeros[:, None, None], shape),
        "scan starts": np.broadcast_to(truth.quacked[time][:, None, None], shape),
    }
