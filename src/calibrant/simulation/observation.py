"""simulate: a small ALMA-like observation whose truth is known.

Bandpass quasar, 3C286 as flux calibrator (Perley-Butler 2017), phase calibrator and target in turn, at 40 to 44 GHz
(ALMA band 1), XX and YY, all windows in every integration. Everything it does to the data is in the truth beside the
MeasurementSet (`calibrant.simulation.truth` has the equation).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from calibrant.errors import ExistsError, ParameterError
from calibrant.params import DryRun, Overwrite, Param, provenance
from calibrant.progress import progress
from calibrant.simulation.sky import BANDPASS, FLUX, PHASE, SOURCES, TARGET
from calibrant.simulation.truth import Truth

START = "2025/03/20/05:30:00"
GAP = 12.0
"""Seconds between scans."""
BLOCK_BYTES = 16 << 20
DAY = 86400.0
LOWEST = np.radians(10.0)
FIRST_GHZ, LAST_GHZ = 40.0, 44.0
"""Centres of the first and the last spectral window."""
XX, YY = 9, 12


@dataclass(frozen=True)
class SimulationResult:
    """What was made. `truth`: path of the truth; roles: field name -> role; elevation: lowest and highest (deg)."""

    vis: str
    truth: str
    nrow: int
    nscan: int
    seconds: float
    megabytes: float
    antennas: list[str]
    roles: dict[str, str]
    nchan: list[int]
    elevation: tuple[float, float]
    bad_antennas: list[dict[str, Any]] = field(default_factory=list)

    def summary(self) -> str:
        lines = [
            f"{self.vis}: {self.nrow} rows, {self.nscan} scans in {self.seconds / 60:.1f} minutes, "
            f"{self.megabytes:.1f} MB of visibilities",
            f"  {len(self.antennas)} antennas, {len(self.nchan)} spectral windows of "
            f"{', '.join(map(str, self.nchan))} channels, "
            f"elevation {self.elevation[0]:.0f} to {self.elevation[1]:.0f} deg",
            "  " + ", ".join(f"{name} ({role})" for name, role in self.roles.items()),
        ]
        lines += [f"  bad antenna: {bad['name']} ({bad['kind']})" for bad in self.bad_antennas]
        return "\n".join([*lines, f"  truth: {self.truth}"])

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


def simulate(
    vis: Annotated[str, Param("The MeasurementSet to make; its truth is written to VIS.truth.npz.", positional=True)],
    nant: Annotated[int, Param("Number of antennas (12 m).")] = 10,
    nchan: Annotated[int | list[int], Param("Channels of every spectral window, or a list with one number each.")] = 64,
    nspw: Annotated[int, Param("Number of spectral windows, at 40 to 44 GHz.")] = 2,
    bandwidth: Annotated[float, Param("Width of each spectral window.", unit="GHz")] = 2.0,
    integration: Annotated[float, Param("Integration time.", unit="s")] = 6.0,
    cycles: Annotated[int, Param("How often phase calibrator and target alternate.")] = 3,
    bandpass_time: Annotated[float, Param("Length of the scan on the bandpass calibrator.", unit="s")] = 120.0,
    flux_time: Annotated[float, Param("Length of the scan on the flux calibrator.", unit="s")] = 90.0,
    phase_time: Annotated[float, Param("Length of each scan on the phase calibrator.", unit="s")] = 30.0,
    target_time: Annotated[float, Param("Length of each scan on the target.", unit="s")] = 120.0,
    start: Annotated[str, Param("Start of the observation (UTC), YYYY/MM/DD/HH:MM:SS.")] = START,
    radius: Annotated[float, Param("Radius of the array.", unit="m")] = 250.0,
    autocorrelations: Annotated[bool, Param("Write autocorrelations, too.")] = True,
    noise: Annotated[float, Param("Factor on the thermal noise; 0: none (SIGMA and WEIGHT stay those of 1).")] = 1.0,
    phase_rms: Annotated[float, Param("How much antenna phases drift.", unit="deg")] = 30.0,
    bad_antennas: Annotated[int, Param("Number of bad antennas: in turn dead, jumpy in Y, deaf in X.")] = 2,
    rfi: Annotated[bool, Param("Add a carrier and bursts of interference.")] = True,
    zeros: Annotated[bool, Param("Let some integrations of some antennas be exactly zero.")] = True,
    quack: Annotated[bool, Param("Spoil the first integration of every scan.")] = True,
    seed: Annotated[int, Param("Seed of all that is random.")] = 1,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> SimulationResult:
    """Simulate an ALMA-like observation with known truth.

    WEIGHT = 1/SIGMA^2 with SIGMA = noise / sqrt(2 width integration) (half the weight for autocorrelations). Data are
    correlation coefficients: gains are about 1/sqrt(2000 Jy). The same parameters give the same data.
    Raises ParameterError (sizes; a source that is not up), ExistsError.

    Example:
        calibrant simulate sim.ms --nant 12 --nchan 64,480 --cycles 4 --seed 7
    """
    values = {name: value for name, value in locals().items() if name not in ("overwrite", "dry_run")}
    windows = _windows(nant, nchan, nspw, bandwidth, integration, cycles)
    if not 0 <= bad_antennas <= nant:
        raise ParameterError(f"bad_antennas = {bad_antennas}; 0 to {nant} of the {nant} antennas (nant) can be bad")
    rng = np.random.default_rng(seed)
    lengths = {BANDPASS: bandpass_time, FLUX: flux_time, PHASE: phase_time, TARGET: target_time}
    truth = _draw_truth(rng, values, windows, _schedule(start, integration, lengths, cycles))
    baselines = np.triu_indices(nant, 0 if autocorrelations else 1)
    result = _result(vis, truth, len(baselines[0]))
    if not dry_run:
        _check_outputs(vis, overwrite)
        _write(vis, truth, baselines, rng, [provenance(simulate, values)], overwrite)
        truth.save(result.truth)
    return result


# ---- the plan -----------------------------------------------------------------------------------------------


def _windows(
    nant: int, nchan: int | list[int], nspw: int, bandwidth: float, integration: float, cycles: int
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Channel frequencies and widths (Hz) of every spectral window; ParameterError for impossible sizes."""
    counts = nchan if isinstance(nchan, list) else [nchan] * nspw
    if len(counts) != nspw:
        raise ParameterError(f"nchan has {len(counts)} numbers, but there are {nspw} spectral windows (nspw)")
    least = {"nant": (nant, 2), "nspw": (nspw, 1), "nchan": (min(counts, default=0), 1), "cycles": (cycles, 1)}
    for name, (value, limit) in least.items():
        if value < limit:
            raise ParameterError(f"{name} = {value}; at least {limit} is needed")
    for name, size in (("bandwidth", bandwidth), ("integration", integration)):
        if not size > 0:
            raise ParameterError(f"{name} = {size}; a positive number is needed")
    centres = np.linspace(FIRST_GHZ, LAST_GHZ, nspw) * 1e9
    result = []
    for centre, count in zip(centres.tolist(), counts, strict=True):
        width = bandwidth * 1e9 / count
        result.append((centre + (np.arange(count) - (count - 1) / 2) * width, np.full(count, width)))
    return result


@dataclass(frozen=True)
class Schedule:
    """time (ntime,) s: middles of the integrations; interval s; scan and field (ntime,)."""

    time: NDArray[np.float64]
    interval: float
    scan: NDArray[np.int32]
    field: NDArray[np.int32]


def _schedule(start: str, integration: float, lengths: dict[int, float], cycles: int) -> Schedule:
    order = [BANDPASS, FLUX, *([PHASE, TARGET] * cycles), PHASE]
    counts = [max(1, round(lengths[source] / integration)) for source in order]
    begin = _seconds(start) + np.concatenate(([0], np.cumsum(np.array(counts) * integration + GAP)[:-1]))
    time = np.concatenate(
        [first + (np.arange(count) + 0.5) * integration for first, count in zip(begin, counts, strict=True)]
    )
    scan = np.repeat(np.arange(1, len(order) + 1, dtype=np.int32), counts)
    return Schedule(time, integration, scan, np.repeat(np.array(order, np.int32), counts))


def _seconds(start: str) -> float:
    from datetime import UTC, datetime

    try:
        moment = datetime.strptime(start, "%Y/%m/%d/%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise ParameterError(f"start = {start!r}; a time like {START} (UTC) was expected") from None
    return moment.timestamp() + 40587 * DAY


def _check_outputs(vis: str, overwrite: bool) -> None:
    from calibrant.ms.create import check_output

    check_output(vis, overwrite)
    if os.path.exists(_truth_path(vis)) and not overwrite:
        raise ExistsError(f"{_truth_path(vis)} exists; choose another name or set overwrite=True (--overwrite)")


def _truth_path(vis: str) -> str:
    return f"{os.path.normpath(vis)}.truth.npz"


def _draw_truth(
    rng: Generator,
    values: dict[str, Any],
    windows: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
    plan: Schedule,
) -> Truth:
    from calibrant.simulation import array, instrument, sky

    freqs, widths = [freq for freq, _ in windows], [width for _, width in windows]
    antennas = array.layout(values["nant"], values["radius"])
    direction = np.array([source.direction for source in SOURCES])
    _check_elevation(direction, plan)
    gains = instrument.draw_instrument(rng, len(antennas), freqs, plan.time, np.radians(values["phase_rms"]))
    instrument.add_bad_antennas(gains, rng, values["bad_antennas"], antennas.name)
    if values["quack"]:
        instrument.add_quack(gains, rng, plan.scan)
    sigma = np.array([1 / np.sqrt(2 * width[0] * plan.interval) for width in widths]) * (values["noise"] or 1.0)
    rfi, zeroed = np.zeros((0, 6)), np.zeros((0, 2), np.int32)
    if values["rfi"]:
        rfi = instrument.draw_rfi(rng, len(antennas), [len(freq) for freq in freqs], plan.scan, sigma)
    if values["zeros"]:
        zeroed = instrument.draw_zeroed(rng, len(antennas), plan.scan)
    flux = []
    for spw, freq in enumerate(freqs):
        spectra = np.array([source.spectrum(freq) for source in SOURCES])
        spectra[TARGET] *= sky.line(freq, spw, len(freqs))
        flux.append(spectra)
    points = [
        (number, *(np.sin(np.array([east, north]) * sky.ARCSEC)), part)
        for number, source in enumerate(SOURCES)
        for east, north, part in source.points
    ]
    return Truth(
        antennas.name, [source.name for source in SOURCES], [source.role for source in SOURCES], antennas.position,
        direction, freqs, widths, plan.time, plan.interval, plan.scan, plan.field, gains.delay, gains.bandpass,
        gains.phase, gains.amplitude, sigma, flux, np.array(points), rfi, zeroed, gains.quacked, gains.bad_antennas,
        values,
    )  # fmt: skip


def _check_elevation(direction: NDArray[np.float64], plan: Schedule) -> None:
    from calibrant.simulation.array import elevation

    height = elevation(direction[plan.field], plan.time)
    low = int(height.argmin())
    if height[low] < LOWEST:
        raise ParameterError(
            f"{SOURCES[plan.field[low]].name} is at an elevation of {np.degrees(height[low]):.0f} deg in scan "
            f"{plan.scan[low]}; choose another start (3C286 culminates at {START}, and 4 minutes earlier every day), "
            "or a shorter observation"
        )


def _result(vis: str, truth: Truth, nbaseline: int) -> SimulationResult:
    from calibrant.simulation.array import elevation

    height = np.degrees(elevation(truth.direction[truth.time_field], truth.time))
    nchan = [len(freq) for freq in truth.freq]
    return SimulationResult(
        vis,
        _truth_path(vis),
        len(truth.time) * len(nchan) * nbaseline,
        int(truth.scan[-1]),
        float(truth.time[-1] - truth.time[0] + truth.interval),
        len(truth.time) * nbaseline * sum(nchan) * 16 / 1e6,
        truth.antenna,
        dict(zip(truth.field, truth.roles, strict=True)),
        nchan,
        (float(height.min()), float(height.max())),
        truth.bad_antennas,
    )


# ---- the data -----------------------------------------------------------------------------------------------


def _write(
    vis: str,
    truth: Truth,
    baselines: tuple[NDArray[Any], NDArray[Any]],
    rng: Generator,
    history: list[str],
    overwrite: bool,
) -> None:
    from calibrant.ms.create import create_ms
    from calibrant.ms.index import Fields, Observation, Polarization
    from calibrant.simulation.array import layout

    count = len(truth.field)
    fields = Fields(truth.field, ["none"] * count, np.arange(count, dtype=np.int32), truth.direction)
    nspw, per_time = len(truth.freq), len(truth.freq) * len(baselines[0])
    with (
        create_ms(
            vis,
            antennas=layout(len(truth.antenna), truth.parameters["radius"]),
            fields=fields,
            spws=[_spectral_window(spw, truth) for spw in range(nspw)],
            polarizations=[Polarization(np.array([XX, YY], np.int32), np.array([[0, 0], [1, 1]], np.int32))],
            ddids=[(spw, 0) for spw in range(nspw)],
            states=[source.intent for source in SOURCES],
            observations=[Observation("ALMA", "calibrant", "simulated", np.zeros(2))],
            nrow=len(truth.time) * per_time,
            history=history,
            overwrite=overwrite,
        ) as new,
        progress("simulate", len(truth.time)) as bar,
    ):
        for times in _blocks(truth, len(baselines[0])):
            uvw = _uvw(truth, times, baselines)
            new.put_rows(times.start * per_time, _ids(truth, times, baselines, uvw))
            _put_visibilities(new, truth, times, baselines, uvw, rng)
            bar.advance(times.stop - times.start)


def _blocks(truth: Truth, nbaseline: int) -> Iterator[slice]:
    """Runs of times of one field with about BLOCK_BYTES of data."""
    step = max(1, BLOCK_BYTES // (nbaseline * 16 * sum(len(freq) for freq in truth.freq)))
    edges = [0, *(np.flatnonzero(np.diff(truth.scan)) + 1).tolist(), len(truth.scan)]
    for first, last in pairwise(edges):
        for begin in range(first, last, step):
            yield slice(begin, min(begin + step, last))


def _spectral_window(spw: int, truth: Truth) -> Any:
    from calibrant.ms.index import SpectralWindow

    freq, width = truth.freq[spw], truth.width[spw]
    name = f"ALMA_RB_01#BB_{spw + 1}#SW-01#FULL_RES"
    topocentric, upper = 5, 2
    return SpectralWindow(spw, name, freq, width, width, width, float(freq[0]), float(width.sum()), topocentric, upper)


def _uvw(truth: Truth, times: slice, baselines: tuple[NDArray[Any], NDArray[Any]]) -> NDArray[np.float64]:
    """UVW (time, baseline, 3) in m: ANTENNA1 minus ANTENNA2."""
    from calibrant.simulation.array import antenna_uvw

    uvw = antenna_uvw(truth.position, truth.direction[truth.time_field[times]], truth.time[times])
    return np.asarray(uvw[:, baselines[0]] - uvw[:, baselines[1]])


def _ids(
    truth: Truth, times: slice, baselines: tuple[NDArray[Any], NDArray[Any]], uvw: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """All columns but the visibilities and weights; rows run over time, window, baseline."""
    nspw, nbaseline, count = len(truth.freq), len(baselines[0]), times.stop - times.start
    per_time = nspw * nbaseline
    return {
        "TIME": np.repeat(truth.time[times], per_time),
        "INTERVAL": np.full(count * per_time, truth.interval),
        "SCAN_NUMBER": np.repeat(truth.scan[times], per_time),
        "FIELD_ID": np.repeat(truth.time_field[times], per_time),
        "STATE_ID": np.repeat(truth.time_field[times], per_time),
        "DATA_DESC_ID": np.tile(np.repeat(np.arange(nspw), nbaseline), count),
        "ANTENNA1": np.tile(baselines[0], count * nspw),
        "ANTENNA2": np.tile(baselines[1], count * nspw),
        "UVW": np.repeat(uvw[:, None], nspw, axis=1).reshape(-1, 3),
    }


def _put_visibilities(
    new: Any,
    truth: Truth,
    times: slice,
    baselines: tuple[NDArray[Any], NDArray[Any]],
    uvw: NDArray[np.float64],
    rng: Generator,
) -> None:
    """DATA, FLAG, WEIGHT and SIGMA of a block, with as few calls as the shapes of the windows allow."""
    nspw, nbaseline, count = len(truth.freq), len(baselines[0]), times.stop - times.start
    cubes = [_visibilities(truth, spw, times, baselines, uvw, rng) for spw in range(nspw)]
    sigma = [_sigma(truth, spw, baselines) for spw in range(nspw)]
    first = times.start * nspw * nbaseline
    if len({cube.shape for cube in cubes}) == 1:
        data = np.stack(cubes, 1).reshape(-1, *cubes[0].shape[2:])
        _put_run(new, first, data, np.tile(np.concatenate(sigma), (count, 1)))
        return
    for number in range(count):
        for spw, cube in enumerate(cubes):
            _put_run(new, first + (number * nspw + spw) * nbaseline, cube[number], sigma[spw])


def _put_run(new: Any, first: int, data: NDArray[np.complex64], sigma: NDArray[np.float32]) -> None:
    new.put_rows(first, {"DATA": data, "FLAG": np.zeros(data.shape, bool), "SIGMA": sigma})


def _sigma(truth: Truth, spw: int, baselines: tuple[NDArray[Any], NDArray[Any]]) -> NDArray[np.float32]:
    """SIGMA (baseline, pol); autocorrelations have half the weight."""
    auto = baselines[0] == baselines[1]
    sigma = truth.sigma[spw] * np.where(auto, np.sqrt(2), 1.0)
    return np.repeat(sigma[:, None], 2, axis=1).astype(np.float32)


def _visibilities(
    truth: Truth,
    spw: int,
    times: slice,
    baselines: tuple[NDArray[Any], NDArray[Any]],
    uvw: NDArray[np.float64],
    rng: Generator,
) -> NDArray[np.complex64]:
    """DATA (time, baseline, chan, pol) of one window and block: the equation of `calibrant.simulation.truth`."""
    first, second = baselines
    auto = np.flatnonzero(first == second)
    gain = truth.gain(spw, times).astype(np.complex64)
    data = gain[:, first]
    data *= gain.conj()[:, second]
    data *= truth.model(spw, int(truth.time_field[times.start]), uvw)[..., None]
    power = np.abs(truth.spectral_gain(spw)[first[auto]].transpose(0, 2, 1)) ** 2
    data[:, auto] = power
    if truth.parameters["noise"]:
        _add_noise(data, auto, float(truth.sigma[spw]), rng)
    for _, channel, begin, end, antenna, strength in truth.rfi[truth.rfi[:, 0] == spw].tolist():
        inside = slice(max(int(begin) - times.start, 0), max(int(end) + 1 - times.start, 0))
        rows = slice(None) if antenna < 0 else np.flatnonzero((first == antenna) | (second == antenna))
        data[inside, rows, int(channel)] += np.float32(strength)
    for number, antenna in truth.zeroed.tolist():
        if times.start <= number < times.stop:
            data[number - times.start, (first == antenna) | (second == antenna)] = 0
    return data


def _add_noise(data: NDArray[np.complex64], auto: NDArray[np.int64], sigma: float, rng: Generator) -> None:
    """Gaussian noise of `sigma` in real and imaginary part; autocorrelations stay real: sqrt(2) sigma times power."""
    noise = rng.standard_normal((*data.shape, 2), np.float32).view(np.complex64)[..., 0]
    noise *= np.float32(sigma)
    noise[:, auto] = np.sqrt(2) * noise[:, auto].real * data[:, auto].real
    data += noise
