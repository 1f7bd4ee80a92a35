"""Benchmark data: a MeasurementSet of a point source seen through known gains, and the gains beside it.

    python benchmarks/make_ms.py OUT.ms --kind G                    # 0.99 GB of DATA, 2.6 GB of columns
    python benchmarks/make_ms.py OUT.ms --kind G --times 480        # four times as much
    python benchmarks/make_ms.py OUT.ms --kind G --size small       # 61 MB of DATA

DATA = g_i M conj(g_j) + noise, MODEL_DATA = M = 1 Jy (0 in the cross hands), WEIGHT_SPECTRUM = 1/noise^2 (complex
variance), 2 % of the channels flagged with rubbish of 1000 Jy under the flags, so that a solver that looks at flagged
data shows it. The kinds: G, gains of every scan; P, phases of every integration (a random walk); B, a gain in every
channel, constant in time. Truth: OUT.ms.truth.npz with `gain` (time or scan, channel or 1, antenna, receptor).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.create import create_ms
from calibrant.ms.index import Antennas, Fields, Observation, Polarization, SpectralWindow

SIZES = {"full": (64, 128, 120), "small": (32, 64, 60), "tiny": (8, 8, 8)}
"""Antennas, channels, integrations; always 4 correlations and 4 scans."""
NSCAN, NCORR = 4, 4
NOISE = 0.1
"""rms of the real and of the imaginary part of a visibility, Jy."""
FLAGGED = 0.02
START, STEP = 5.0e9, 8.0
LATITUDE = np.deg2rad(-30.0)
SITE = np.array([5109224.0, 2006790.0, -3238100.0])
RA, DEC = 0.5, -0.5


@dataclass(frozen=True)
class Plan:
    """Sizes and the random numbers of one data set."""

    kind: str
    nant: int
    nchan: int
    ntime: int
    seed: int

    @property
    def baselines(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.triu_indices(self.nant, 1)

    @property
    def scan(self) -> NDArray[np.int64]:
        """Scan of every integration, from 1."""
        return np.arange(self.ntime) * NSCAN // self.ntime + 1


def gains(plan: Plan, rng: np.random.Generator) -> NDArray[np.complex128]:
    """True gains (scan, integration or 1; channel or 1; antenna; receptor)."""
    steps = {"G": (NSCAN, 1), "P": (plan.ntime, 1), "B": (1, plan.nchan)}[plan.kind]
    shape = (*steps, plan.nant, 2)
    phase = rng.uniform(-np.pi, np.pi, shape if plan.kind == "G" else (1, 1, *shape[2:]))
    if plan.kind == "P":
        return np.exp(1j * (phase + np.cumsum(rng.normal(0, 0.2, shape), axis=0)))
    if plan.kind == "B":
        phase = phase + rng.normal(0, 0.3, shape)
    return (1 + rng.uniform(-0.2, 0.2, shape)) * np.exp(1j * phase)


def make(path: str, plan: Plan, overwrite: bool = False) -> None:
    """Write the MeasurementSet and its truth."""
    rng = np.random.default_rng(plan.seed)
    truth = gains(plan, rng)
    positions = _positions(plan, rng)
    nbl = len(plan.baselines[0])
    with create_ms(
        path,
        antennas=Antennas(
            [f"A{k:03d}" for k in range(plan.nant)],
            [f"P{k:03d}" for k in range(plan.nant)],
            ["ALT-AZ"] * plan.nant,
            positions,
            np.full(plan.nant, 13.5),
        ),
        fields=Fields(["POINT"], [""], np.zeros(1, np.int32), np.array([[RA, DEC]])),
        spws=[_window(plan)],
        polarizations=[
            Polarization(np.array([9, 10, 11, 12], np.int32), np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.int32))
        ],
        ddids=[(0, 0)],
        observations=[Observation("MeerKAT", "nobody", "benchmark", np.zeros(2))],
        nrow=nbl * plan.ntime,
        data_columns=("DATA", "MODEL_DATA"),
        weight_spectrum=True,
        overwrite=overwrite,
    ) as new:
        for k, columns in enumerate(_integrations(plan, truth, positions, rng)):
            new.put_rows(k * nbl, columns)
    np.savez(f"{path.rstrip('/')}.truth.npz", kind=plan.kind, gain=truth)


def _window(plan: Plan) -> SpectralWindow:
    freq, width = 1e9 + 1e6 * np.arange(plan.nchan), np.full(plan.nchan, 1e6)
    return SpectralWindow(0, "SPW0", freq, width, width, width, float(freq[0]), float(width.sum()), 5, 1)


def _positions(plan: Plan, rng: np.random.Generator) -> NDArray[np.float64]:
    """A flat random array of 500 m rms, ITRF."""
    east, north = rng.normal(0, 500.0, (2, plan.nant))
    longitude = np.arctan2(SITE[1], SITE[0])
    to_east = np.array([-np.sin(longitude), np.cos(longitude), 0])
    to_north = np.array(
        [-np.sin(LATITUDE) * np.cos(longitude), -np.sin(LATITUDE) * np.sin(longitude), np.cos(LATITUDE)]
    )
    return SITE + east[:, None] * to_east + north[:, None] * to_north


def _uvw(plan: Plan, positions: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    i, j = plan.baselines
    h = 2 * np.pi * k * STEP / 86164.0
    sin, cos = np.sin(h), np.cos(h)
    turn = np.array(
        [
            [sin, cos, 0],
            [-np.sin(DEC) * cos, np.sin(DEC) * sin, np.cos(DEC)],
            [np.cos(DEC) * cos, -np.cos(DEC) * sin, np.sin(DEC)],
        ]
    )
    return (positions[j] - positions[i]) @ turn.T


def _integrations(
    plan: Plan, truth: NDArray[np.complex128], positions: NDArray[np.float64], rng: np.random.Generator
) -> Iterator[dict[str, NDArray[np.generic]]]:
    """The columns of one integration after the other."""
    i, j = plan.baselines
    shape = (len(i), plan.nchan, NCORR)
    model = np.zeros(shape, np.complex64)
    model[:, :, [0, 3]] = 1
    weight = np.full(shape, 1 / (2 * NOISE**2), np.float32)
    sigma = np.full(shape[::2], np.sqrt(2) * NOISE, np.float32)
    for k in range(plan.ntime):
        slot = {"G": int(plan.scan[k]) - 1, "P": k, "B": 0}[plan.kind]
        seen = truth[slot].astype(np.complex64)
        data = NOISE * rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]
        for receptor, hand in ((0, 0), (1, 3)):
            data[:, :, hand] += (seen[:, i, receptor] * seen[:, j, receptor].conj()).T
        flag = np.broadcast_to(rng.random((*shape[:2], 1), np.float32) < FLAGGED, shape)
        data[flag] = 1e3
        row = np.ones(shape[0], np.int32)
        yield {
            "TIME": np.full(shape[0], START + STEP * (k + 0.5)),
            "INTERVAL": np.full(shape[0], STEP),
            "ANTENNA1": i,
            "ANTENNA2": j,
            "SCAN_NUMBER": row * plan.scan[k],
            "UVW": _uvw(plan, positions, k),
            "DATA": data,
            "MODEL_DATA": model,
            "FLAG": flag,
            "WEIGHT_SPECTRUM": weight,
            "WEIGHT": weight[:, 0],
            "SIGMA": sigma,
        } | dict.fromkeys(("DATA_DESC_ID", "FIELD_ID", "ARRAY_ID", "OBSERVATION_ID"), 0 * row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--kind", choices="GPB", default="G")
    parser.add_argument("--size", choices=SIZES, default="full", help="antennas, channels and integrations at once")
    parser.add_argument("--times", type=int, help="number of integrations, a multiple of 4")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args()
    nant, nchan, ntime = SIZES[args.size]
    plan = Plan(args.kind, nant, nchan, args.times or ntime, args.seed)
    make(args.out, plan, args.overwrite)
    rows = nant * (nant - 1) // 2 * plan.ntime
    print(f"{args.out}: {rows} rows, {rows * nchan * NCORR * 8 / 1e9:.3f} GB of DATA")


if __name__ == "__main__":
    main()
