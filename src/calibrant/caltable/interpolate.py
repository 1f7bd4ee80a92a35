"""Solutions brought to the times and channels of the data, with CASA's named modes.

Complex parameters are interpolated as amplitude and phase; the phase takes the shorter way between neighbours
(170 deg to 190 deg passes 180 deg). Real ones (delays, Tsys) are interpolated as they are. Outside the range of the
solutions the nearest one holds. In time, flagged solutions count: 'nearest' picks them, 'linear' flags both
intervals next to them. In frequency, flagged channels are interpolated over, unless the mode ends in 'flag'.
Source: reference behaviour of CASA's applycal, except that times keep their full precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.caltable.table import SpwSolutions
from calibrant.errors import ParameterError
from calibrant.registry import unknown

Array = NDArray[Any]

TIME_MODES = ("nearest", "linear", "cubic", "nearestPD", "linearPD", "cubicPD")
FREQUENCY_MODES = ("nearest", "linear", "cubic", "spline", "nearestflag", "linearflag", "cubicflag", "splineflag")
SAME_FREQUENCY = 1e-10
SAME_TIME_S = 1e-3
"""Times this near are one time: TIME resolves 1 us, and a solution's TIME is a weighted mean of the data's."""

BLOCK_VALUES = 1 << 20


def parse_interp(text: str) -> tuple[str, str]:
    """'linear,linearflag' -> ('linear', 'linearflag'); what is left out is 'linear'.

    Raises ParameterError listing the choices.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2:
        raise ParameterError(f"interp {text!r} has {len(parts)} parts; give 'time' or 'time,frequency'")
    time_mode, freq_mode = (parts + [""])[:2]
    time_mode, freq_mode = time_mode or "linear", freq_mode or "linear"
    for suffix in ("perobs", "perscan", "rel"):
        if time_mode.endswith(suffix):
            raise ParameterError(
                f"interp {text!r}: interpolation '{suffix}' is not supported; use {time_mode.removesuffix(suffix)!r} "
                "and choose solutions with gainfield, or apply scan by scan"
            )
    if time_mode not in TIME_MODES:
        raise ParameterError(f"interp {text!r}: {unknown('interpolation in time', time_mode, TIME_MODES)}")
    if freq_mode not in FREQUENCY_MODES:
        raise ParameterError(f"interp {text!r}: {unknown('interpolation in frequency', freq_mode, FREQUENCY_MODES)}")
    return time_mode, freq_mode


def select_slots(solutions: SpwSolutions, field_ids: Sequence[int] | None) -> SpwSolutions:
    """The slots of these fields (None: all). May be empty."""
    if field_ids is None:
        return solutions
    return solutions.slots(np.isin(solutions.field, list(field_ids)))


# ---- time ------------------------------------------------------------------------------------------------------
def interpolate_time(solutions: SpwSolutions, times: Array, mode: str, scale: float = 1.0) -> tuple[Array, Array]:
    """(param, flag) at `times` (s, UTC), both (ntimes, nant, nchan, npar). A view, not writable, for a single slot.

    `mode`: one of TIME_MODES. `scale`: frequency of the data over that of the solutions; modes ending in 'PD' track
    the phase through time and multiply it by `scale`, as a delay would.
    """
    times = np.asarray(times, float)
    scale = scale if mode.endswith("PD") else 1.0
    mode = mode.removesuffix("PD")
    present = solutions.present
    if present is None or present.all():
        return _at_times(solutions.time, solutions.param, solutions.flag, times, mode, scale)
    shape = (len(times), *solutions.shape[1:])
    param, flag = np.zeros(shape, solutions.param.dtype), np.ones(shape, bool)
    patterns, member = np.unique(present, axis=1, return_inverse=True)
    for k, slots in enumerate(patterns.T):
        if slots.any():
            ants = np.flatnonzero(member.ravel() == k)
            at = np.ix_(slots, ants)
            param[:, ants], flag[:, ants] = _at_times(
                solutions.time[slots], solutions.param[at], solutions.flag[at], times, mode, scale
            )
    return param, flag


def _at_times(time: Array, param: Array, flag: Array, times: Array, mode: str, scale: float) -> tuple[Array, Array]:
    scaling = scale != 1.0 and np.iscomplexobj(param)
    phase = _tracked(param, flag if scaling else None) * scale if np.iscomplexobj(param) and len(time) > 1 else None
    own = _polar(np.abs(param), np.angle(param) * scale if phase is None else phase, param) if scaling else param
    if len(time) == 1:
        shape = (len(times), *param.shape[1:])
        return np.broadcast_to(own, shape), np.broadcast_to(flag, shape)
    before = np.clip(np.searchsorted(time, times, side="right") - 1, 0, len(time) - 2)
    gap = time[before + 1] - time[before]
    weight = np.clip((times - time[before]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
    weight[np.abs(times - time[before]) < SAME_TIME_S] = 0.0
    weight[np.abs(times - time[before + 1]) < SAME_TIME_S] = 1.0
    if mode == "nearest":
        pick = before + (weight > 0.5)
        return own[pick], flag[pick]
    low, high = before + (weight == 1), before + (weight > 0)
    result = own[low]
    inside = np.flatnonzero((weight > 0) & (weight < 1))
    if len(inside):
        cubic = mode == "cubic" and len(time) >= 4 and bool(np.all(np.diff(time) > 0))
        curve = _cubic if cubic else _linear
        result[inside] = _between(param, phase, lambda y: curve(time, y, times[inside], before[inside]))
    return result, flag[low] | flag[high]


def _between(param: Array, phase: Array | None, curve: Callable[[Array], Array]) -> Array:
    """Run `curve` along axis 0 of amplitude and phase, or (without phase) of the values."""
    if phase is None:
        return curve(param.astype(float)).astype(param.dtype)
    return _polar(curve(np.abs(param).astype(float)), curve(phase), param)


def _polar(amplitude: Array, phase: Array, like: Array) -> Array:
    result = np.empty(phase.shape, like.dtype)
    result.real, result.imag = amplitude * np.cos(phase), amplitude * np.sin(phase)
    return result


def _tracked(param: Array, flag: Array | None = None) -> Array:
    """Phase without jumps of more than half a turn along axis 0 (rad); turns are not counted at flagged places."""
    phase = np.angle(param).astype(float)
    if flag is None or not flag.any():
        return np.unwrap(phase, axis=0)
    number = np.arange(len(phase)).reshape(-1, *[1] * (phase.ndim - 1))
    last = np.maximum.accumulate(np.where(flag, -1, number), axis=0)
    last = np.where(last < 0, np.argmin(flag, axis=0), last)  # before the first good one, that one
    filled = np.take_along_axis(phase, last, axis=0)
    return phase + np.unwrap(filled, axis=0) - filled


def _linear(x: Array, y: Array, at: Array, before: Array) -> Array:
    """Straight lines through (x, y) along axis 0; `before`: number of the point left of each `at`."""
    weight = ((at - x[before]) / (x[before + 1] - x[before])).reshape(-1, *[1] * (y.ndim - 1))
    return y[before] * (1 - weight) + y[before + 1] * weight


def _cubic(x: Array, y: Array, at: Array, before: Array) -> Array:
    """The cubic through the four nearest points (two on either side, where there are) along axis 0."""
    first = np.clip(before - 1, 0, len(x) - 4)
    nodes = x[first[:, None] + np.arange(4)]
    result = np.zeros((len(at), *y.shape[1:]))
    for k in range(4):
        others = [j for j in range(4) if j != k]
        basis = np.prod((at[:, None] - nodes[:, others]) / (nodes[:, [k]] - nodes[:, others]), axis=1)
        result += basis.reshape(-1, *[1] * (y.ndim - 1)) * y[first + k]
    return result


# ---- time and frequency -----------------------------------------------------------------------------------------
def interpolate(
    solutions: SpwSolutions,
    times: Array,
    freq: Array,
    modes: tuple[str, str],
    scale: float = 1.0,
    notes: list[str] | None = None,
) -> tuple[Array, Array]:
    """(param, flag) at `times` and `freq`, (ntimes, nant, nchan, npar), in the order that CASA uses.

    CASA interpolates in time first, then over the channels that are flagged then. Doing frequency first gives the
    same for far less work, unless other channels are flagged in one slot than in the next.
    """
    time_mode, freq_mode = modes
    if solutions.shape[2] == 1 or time_mode.startswith("nearest") or not flags_change(solutions):
        on_data = interpolate_frequency(solutions, freq, freq_mode, notes)
        return interpolate_time(on_data, times, time_mode, scale)
    param, flag = interpolate_time(solutions, times, time_mode, scale)
    count = len(times)
    at_times = replace(
        solutions.slots(np.zeros(count, int)), time=times, param=param, flag=flag, outcome=None, present=None
    )
    on_data = interpolate_frequency(at_times, freq, freq_mode, notes)
    return on_data.param, on_data.flag


def flags_change(solutions: SpwSolutions) -> bool:
    """Whether channels that are flagged in one slot are usable in another (whole lines flagged do not matter)."""
    lines = solutions.flag
    usable = ~lines.all(axis=2, keepdims=True)
    anywhere = np.any(lines & usable, axis=0, keepdims=True)
    return bool(np.any((anywhere != lines) & usable))


# ---- frequency -------------------------------------------------------------------------------------------------
def interpolate_frequency(
    solutions: SpwSolutions, freq: Array, mode: str, notes: list[str] | None = None
) -> SpwSolutions:
    """Solutions on the channels `freq` (Hz) of the data. A single channel stays one channel.

    `mode`: one of FREQUENCY_MODES. error and snr are those of the nearest usable channel. Where fewer channels than
    the mode needs are unflagged, a simpler mode is used and counted in `notes`.
    """
    freq = np.asarray(freq, float)
    nchan = solutions.shape[2]
    if nchan == 1:
        return solutions
    same = len(freq) == nchan and np.allclose(freq, solutions.freq, rtol=SAME_FREQUENCY, atol=0)
    if same and (mode.endswith("flag") or not solutions.flag.any()):
        return replace(solutions, freq=freq)
    order = np.argsort(solutions.freq, kind="stable")
    lines = {name: _lines(getattr(solutions, name), order) for name in ("param", "error", "snr", "flag")}
    out = {name: np.empty((len(values), len(freq)), values.dtype) for name, values in lines.items()}
    work = _Frequency(solutions.freq[order], freq, mode)
    for block in _blocks(len(lines["flag"]), max(nchan, len(freq))):
        good = ~lines["flag"][block]
        nearest, out["param"][block] = work.run(lines["param"][block], good)
        out["flag"][block] = work.flags(good)
        for name in ("error", "snr"):
            out[name][block] = np.take_along_axis(lines[name][block], nearest, axis=1)
    if notes is not None:
        notes += work.notes()
    nt, nant, _, npar = solutions.shape
    shaped: dict[str, Any] = {k: np.moveaxis(v.reshape(nt, nant, npar, len(freq)), 3, 2) for k, v in out.items()}
    width = np.abs(np.gradient(freq)) if len(freq) > 1 else solutions.width[:1]
    return replace(solutions, freq=freq, width=width, outcome=None, **shaped)


def _lines(values: Array, order: Array) -> Array:
    """(nt, nant, nchan, npar) -> (nt * nant * npar, nchan), channels by ascending frequency."""
    return np.moveaxis(values[:, :, order], 2, 3).reshape(-1, len(order))


def _blocks(count: int, length: int) -> Iterator[slice]:
    """Slices of lines small enough for the temporaries to stay in bounds."""
    step = max(1, BLOCK_VALUES // length)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


class _Frequency:
    """Interpolation of many lines from ascending channels `x` to `at`; flags differ from line to line."""

    def __init__(self, x: Array, at: Array, mode: str) -> None:
        self.x, self.at = x, at
        self.flagging = mode.endswith("flag")
        self.mode = mode.removesuffix("flag")
        self.left = np.clip(np.searchsorted(x, at * (1 + SAME_FREQUENCY), side="right") - 1, 0, len(x) - 2)
        self.simpler = 0

    def run(self, values: Array, good: Array) -> tuple[Array, Array]:
        """(number of the nearest usable channel, interpolated values), both (nline, nout)."""
        low, high, weight = self._brackets(good)
        nearest = np.where(weight > 0.5, high, low)
        picked = np.take_along_axis(values, nearest, axis=1)
        if self.mode == "nearest":
            return nearest, picked
        between = (weight > 0) & (weight < 1)
        if self.mode == "linear":
            a, b = np.take_along_axis(values, low, axis=1), np.take_along_axis(values, high, axis=1)
            return nearest, np.where(between, _mix(a, b, weight), picked)
        return nearest, np.where(between, self._curves(values, good), picked)

    def _brackets(self, good: Array) -> tuple[Array, Array, Array]:
        """Unflagged channels on either side of every output, and the weight of the upper one."""
        count = len(self.x)
        number = np.arange(count)
        before = np.maximum.accumulate(np.where(good, number, -1), axis=1)[:, self.left]
        after = np.minimum.accumulate(np.where(good, number, count)[:, ::-1], axis=1)[:, ::-1][:, self.left + 1]
        low = np.where(before < 0, np.where(after == count, 0, after), before)
        high = np.where(after == count, low, after)
        gap = self.x[high] - self.x[low]
        weight = np.clip((self.at - self.x[low]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0) * (gap > 0)
        same = SAME_FREQUENCY * self.at
        weight[np.abs(self.at - self.x[low]) <= same] = 0.0
        weight[(np.abs(self.at - self.x[high]) <= same) & (gap > 0)] = 1.0
        return low, high, weight

    def _curves(self, values: Array, good: Array) -> Array:
        """Cubic or spline, for all lines that share their flags at once."""
        result = np.zeros((len(values), len(self.at)), values.dtype)
        patterns, member = np.unique(good, axis=0, return_inverse=True)
        for k, usable in enumerate(patterns):
            lines = np.flatnonzero(member.ravel() == k)
            count = int(usable.sum())
            if count >= 2:
                self.simpler += len(lines) if count < 4 else 0
                y = values[np.ix_(lines, np.flatnonzero(usable))].T
                phase = _tracked(y) if np.iscomplexobj(y) else None
                result[lines] = _between(y, phase, self._curve(self.x[usable])).T
        return result

    def _curve(self, x: Array) -> Callable[[Array], Array]:
        at = np.clip(self.at, x[0], x[-1])
        before = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
        if len(x) < 4:
            return lambda y: _linear(x, y, at, before)
        if self.mode == "cubic":
            return lambda y: _cubic(x, y, at, before)
        from scipy.interpolate import CubicSpline

        return lambda y: CubicSpline(x, y, axis=0, bc_type="natural")(at)

    def flags(self, good: Array) -> Array:
        """Flags of the outputs: lines without any usable channel; with 'flag', what flagged channels touch."""
        nothing = ~good.any(axis=1, keepdims=True)
        if not self.flagging:
            return np.broadcast_to(nothing, (len(good), len(self.at)))
        bad, last = ~good, len(self.x) - 1
        left, right = self.left, self.left + 1
        nearer = np.where(self.at - self.x[left] > self.x[right] - self.at, right, left)
        if self.mode == "nearest":
            return nothing | bad[:, nearer]
        touched = bad[:, left] | bad[:, right]
        if self.mode != "linear":
            touched |= bad[:, np.maximum(left - 1, 0)] | bad[:, np.minimum(right + 1, last)]
        on_channel = np.abs(self.at - self.x[nearer]) <= SAME_FREQUENCY * self.at
        return nothing | np.where(on_channel, bad[:, nearer], touched)

    def notes(self) -> list[str]:
        if not self.simpler:
            return []
        return [f"{self.simpler} solutions have fewer than 4 unflagged channels: linear instead of {self.mode}"]


def _mix(a: Array, b: Array, weight: Array) -> Array:
    """From a to b: amplitude and phase (the shorter way) or value, linearly."""
    if not np.iscomplexobj(a):
        return (a * (1 - weight) + b * weight).astype(a.dtype)
    phase = np.angle(a.astype(complex))
    step = np.angle(b.astype(complex)) - phase
    step -= 2 * np.pi * np.round(step / (2 * np.pi))
    amplitude = np.abs(a) * (1 - weight) + np.abs(b) * weight
    return (amplitude * np.exp(1j * (phase + weight * step))).astype(a.dtype)
