"""fluxscale: flux densities of calibrators from the gains found with a model of unknown scale.

A calibrator solved with a 1 Jy model gets amplitudes |g| = |g_true| sqrt(S). With g_true known from a field of known
flux density, the ratio r of the two, antenna by antenna and receptor by receptor, gives S = median(r)^2. The result is
relative to the model that the solve used. Source: reference behaviour of CASA's fluxscale, with errors of our own.
"""

from __future__ import annotations

import fnmatch
import math
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import CalTableError, ExistsError, ParameterError, SelectionError
from calibrant.params import CalTablePath, DryRun, Overwrite, Param, Scan, Timerange, Vis, check_choices, provenance
from calibrant.registry import unknown

if TYPE_CHECKING:
    from calibrant.caltable.table import CalTable, SpwSolutions

Amplitudes = dict[int, NDArray[np.float64]]
"""spw -> (nant, npar): mean amplitude of the usable solutions of a field, NaN where there is none."""
Masks = dict[int, NDArray[np.bool_]]
"""spw -> (nt, nant): solutions that the selection leaves."""


@dataclass(frozen=True)
class FluxDensity:
    """Flux density (Jy) of a field in one spw at `freq` (Hz), from `count` ratios (antenna x receptor)."""

    field: int
    field_name: str
    spw: int
    freq: float
    flux: float
    error: float
    count: int


@dataclass(frozen=True)
class Spectrum:
    """log10 S = sum_k coefficients[k] log10(freq / ref_freq)^k with its covariance; flux, error at ref_freq (Jy)."""

    ref_freq: float
    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def errors(self) -> NDArray[np.float64]:
        return np.sqrt(np.diag(self.covariance))

    @property
    def flux(self) -> float:
        return float(10 ** self.coefficients[0])

    @property
    def error(self) -> float:
        return float(math.log(10) * self.flux * self.errors[0])


@dataclass(frozen=True)
class FluxscaleResult:
    """What fluxscale found. `spws`: id -> (name, Hz or -1) of all spectral windows; `spectra`: field id -> fit."""

    vis: str
    caltable: str
    fluxtable: str
    reference: tuple[str, ...]
    fluxes: tuple[FluxDensity, ...]
    spectra: dict[int, Spectrum]
    spws: dict[int, tuple[str, float]]
    notes: tuple[str, ...] = ()
    dry_run: bool = False
    lost: tuple[tuple[int, str, int], ...] = field(default=(), repr=False)
    """(field id, name, spw) for which the table has solutions but no flux density was found."""

    def summary(self) -> str:
        lines = [f"{self.caltable}: flux densities relative to {', '.join(self.reference)}"]
        lines += [
            f"  {f.field_name:16.16s} spw {f.spw:2d} {f.freq / 1e9:10.6f} GHz: {f.flux:.6g} +- {f.error:.2g} Jy "
            f"({f.count} ratios)"
            for f in self.fluxes
        ]
        lines += [f"  {note}" for note in self.notes]
        if self.fluxtable:
            lines.append(f"{'would write' if self.dry_run else 'wrote'} {self.fluxtable}")
        return "\n".join(lines)

    def casa_dict(self) -> dict[str, Any]:
        """The dictionary that CASA's fluxscale returns (keys are strings; -1 where there is nothing)."""
        result: dict[str, Any] = {}
        names = {f.field: f.field_name for f in self.fluxes}
        for number, name in names.items():
            found = {f.spw: f for f in self.fluxes if f.field == number}
            entry: dict[str, Any] = {str(spw): _casa_entry(found.get(spw)) for spw in self.spws}
            fit = self.spectra[number]
            entry |= {"fieldName": name, "fitFluxd": fit.flux, "fitFluxdErr": fit.error, "fitRefFreq": fit.ref_freq}
            padded = [0.0] * max(0, 2 - len(fit.coefficients))
            entry |= {"spidx": [*fit.coefficients.tolist(), *padded], "spidxerr": [*fit.errors.tolist(), *padded]}
            result[str(number)] = entry | {"covarMat": fit.covariance.tolist()}
        result["freq"] = [freq for _, freq in self.spws.values()]
        result["spwID"] = list(self.spws)
        result["spwName"] = [name for name, _ in self.spws.values()]
        return result

    def to_dict(self) -> dict[str, Any]:
        """`casa_dict` and what it was made from and with."""
        return self.casa_dict() | {
            "vis": self.vis, "caltable": self.caltable, "fluxtable": self.fluxtable,
            "reference": list(self.reference), "notes": list(self.notes), "dry_run": self.dry_run,
        }  # fmt: skip

    def listing(self) -> str:
        """The text that CASA writes into `listfile`."""
        names = list(dict.fromkeys((f.field, f.field_name) for f in self.fluxes))
        lines = [_listed(number, name, spw, self) for number, name in names for spw in self.spws]
        return "\n".join(lines + [_listed_fit(name, self.spectra[number]) for number, name in names]) + "\n"


def fluxscale(
    vis: Vis,
    caltable: CalTablePath,
    fluxtable: Annotated[str, Param("Table to write, with gains on the right scale. Empty: none.")] = "",
    reference: Annotated[str | list[str], Param("Fields of known flux density: ids, names, globs, ranges.")] = "",
    transfer: Annotated[str | list[str], Param("Fields to be found. Empty: all others in the table.")] = "",
    listfile: Annotated[str, Param("Text file to write with the flux densities. Empty: none.")] = "",
    incremental: Annotated[bool, Param("Write only the factors, to be applied beside the original table.")] = False,
    fitorder: Annotated[int, Param("Order of the polynomial in log-log fitted over the spws.")] = 1,
    refspwmap: Annotated[list[int], Param("For each spw, the spw of the reference to use. -1: the same.")] = [-1],  # noqa: B006
    gainthreshold: Annotated[
        float, Param("Leave out gains that differ from their median by more than this fraction. -1: none.")
    ] = -1.0,
    antenna: Annotated[str, Param("Antennas to use: names or ids; with '!' those to leave out. Empty: all.")] = "",
    timerange: Timerange = "",
    scan: Scan = "",
    error_method: Annotated[
        str,
        Param(
            "jackknife: from the scatter of the ratios and of the antennas' means, whichever is larger; "
            "casa: CASA's formula, which is not in Jy.",
            choices=("jackknife", "casa"),
        ),
    ] = "jackknife",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> FluxscaleResult:
    """Find the flux densities of `transfer` from those of `reference`, by the gains in `caltable` (G or T).

    The MeasurementSet is only read for selections by antenna, time or scan, and for the subtables of `fluxtable`.
    Raises SelectionError for fields that are not in the table, CalTableError where nothing can be compared.

    Example:
        calibrant fluxscale obs.ms amp.gcal --fluxtable flux.gcal --reference 3C286 --transfer J1337-1257
    """
    values = dict(locals())
    from calibrant.caltable import casa

    check_choices(fluxscale, {"error_method": error_method})
    if not dry_run:
        _check_outputs(fluxtable, listfile, overwrite)
    table = casa.read(caltable)
    _check_table(table)
    references, transfers = _fields(table, reference, transfer)
    usable = _usable(table, vis, antenna, timerange, scan)
    spwmap = _spwmap(refspwmap, table)
    known = _mean_over_fields([_amplitudes(table, f, usable, gainthreshold) for f in references])
    if not known:
        names = ", ".join(table.field_names[f] for f in references)
        raise CalTableError(f"{caltable}: the reference {names} has no unflagged solutions (within the selection)")
    found, lost, notes = _compare(table, known, transfers, usable, gainthreshold, spwmap, error_method)
    if not found:
        raise CalTableError(f"{caltable}: no flux density could be found. {' '.join(notes)}")
    result = FluxscaleResult(
        vis, caltable, fluxtable, tuple(table.field_names[f] for f in references), tuple(found),
        {f: _fit([x for x in found if x.field == f], fitorder) for f in dict.fromkeys(x.field for x in found)},
        _all_spws(table), tuple(notes), dry_run, tuple(lost),
    )  # fmt: skip
    if dry_run:
        return result
    if fluxtable:
        scaled = _incremental(table, references, result) if incremental else _scaled(table, result)
        scaled.provenance = [*table.provenance, provenance(fluxscale, values), *result.listing().splitlines()]
        casa.write(scaled, fluxtable, vis, overwrite)
    if listfile:
        _write_text(listfile, result.listing())
    return result


# ---- what is asked for -----------------------------------------------------------------------------------------
def _check_outputs(fluxtable: str, listfile: str, overwrite: bool) -> None:
    from calibrant.caltable import casa

    if fluxtable:
        casa.check_output(fluxtable, overwrite)
    if listfile and os.path.exists(listfile) and not overwrite:
        raise ExistsError(f"{listfile} exists; give overwrite=True to replace it, or another name")


def _check_table(table: CalTable) -> None:
    nchan = max(s.shape[2] for s in table.spws.values())
    if table.par_type != "Complex" or nchan > 1:
        raise CalTableError(
            f"{table.path} holds {table.kind!r} with {nchan} channels; fluxscale compares the amplitudes of gains "
            "without frequency axis: give a table made by gaincal (G or T)"
        )


def _fields(table: CalTable, reference: str | list[str], transfer: str | list[str]) -> tuple[list[int], list[int]]:
    """Ids of the reference and of the transfer fields."""
    references = _matched(table, "reference", reference)
    if not references:
        there = ", ".join(table.field_names[f] for f in table.fields if f >= 0)
        raise ParameterError(f"reference is empty; name the field of known flux density, one of {there}")
    others = [f for f in table.fields if f >= 0 and f not in references]
    named = _matched(table, "transfer", transfer)
    transfers = [f for f in named if f not in references]
    if named and not transfers:
        raise ParameterError(f"transfer={transfer!r} names the reference only; name the fields to be found, or none")
    transfers = transfers or others
    if not transfers:
        raise SelectionError(f"{table.path} has solutions of the reference only; solve the other fields into it too")
    return references, transfers


def _matched(table: CalTable, parameter: str, text: str | list[str]) -> list[int]:
    """Ids of fields with solutions in the table, for ids, ranges, names and globs."""
    words = ",".join(text if isinstance(text, list) else [text]).split(",")
    there = {f: table.field_names[f] for f in table.fields if f >= 0}
    result: list[int] = []
    for word in (w.strip() for w in words if w.strip()):
        ends = word.split("~")
        if all(end.strip().isdigit() for end in ends) and len(ends) <= 2:
            hits = [f for f in there if int(ends[0]) <= f <= int(ends[-1])]
        else:
            hits = [f for f, name in there.items() if fnmatch.fnmatchcase(name, word)]
        if not hits:
            choices = unknown("field", word, tuple(there.values()))
            raise SelectionError(f"{parameter} {word!r}: no such field has solutions in {table.path}; {choices}")
        result += [f for f in hits if f not in result]
    return result


def _usable(table: CalTable, vis: str, antenna: str, timerange: str, scan: str) -> Masks:
    """The solutions that the selection by antenna, time and scan leaves."""
    masks = {spw: np.ones(s.shape[:2], bool) for spw, s in table.spws.items()}
    if not (antenna or timerange or scan):
        return masks
    from calibrant.ms.index import open_index
    from calibrant.ms.selection import antenna_ids, select

    index = open_index(vis)
    if antenna:
        named = np.isin(np.arange(len(index.antennas)), antenna_ids(index, antenna.replace("!", "")))
        for mask in masks.values():
            mask &= ~named if antenna.lstrip().startswith("!") else named
    if timerange or scan:
        chosen = np.unique(index.time_id[select(index, timerange=timerange, scan=scan).rows])
        for spw, mask in masks.items():
            mask &= np.isin(_nearest(index.times, table.spws[spw].time), chosen)[:, None]
    if not any(mask.any() for mask in masks.values()):
        raise SelectionError(
            f"antenna={antenna!r}, timerange={timerange!r}, scan={scan!r} leave no solution of {table.path}"
        )
    return masks


def _nearest(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions in ascending `times` of what is nearest to each of `wanted`."""
    after = np.clip(np.searchsorted(times, wanted), 1, max(len(times) - 1, 1))
    after = np.minimum(after, len(times) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after)


def _spwmap(refspwmap: list[int], table: CalTable) -> dict[int, int]:
    """spw -> spw of the reference solutions."""
    if list(refspwmap) in ([], [-1]):
        return {spw: spw for spw in table.spws}
    strange = [spw for spw in refspwmap if spw not in table.spws and spw >= 0]
    if strange:
        raise ParameterError(f"refspwmap names spw {strange}; {table.path} has solutions for {sorted(table.spws)}")
    mapped = {spw: refspwmap[spw] for spw in table.spws if spw < len(refspwmap)}
    return {spw: mapped.get(spw, spw) if mapped.get(spw, spw) >= 0 else spw for spw in table.spws}


# ---- amplitudes and ratios -------------------------------------------------------------------------------------
def _amplitudes(table: CalTable, field_id: int, usable: Masks, threshold: float) -> Amplitudes:
    """Mean amplitudes of a field; spws without any usable solution are left out."""
    result: Amplitudes = {}
    for spw, s in table.spws.items():
        slots = s.field == field_id
        good = ~s.flag[slots, :, 0] & usable[spw][slots][:, :, None]
        amplitude = np.abs(s.param[slots, :, 0]).astype(float)
        if threshold >= 0 and good.any():
            median = np.median(amplitude[good])
            good &= np.abs(amplitude - median) <= threshold * median
        if good.any():
            count = good.sum(axis=0)
            total = np.where(good, amplitude, 0.0).sum(axis=0)
            result[spw] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return result


def _mean_over_fields(fields: list[Amplitudes]) -> Amplitudes:
    """Mean over several references, of those that have the antenna."""
    result: Amplitudes = {}
    for spw in sorted({spw for f in fields for spw in f}):
        stacked = np.stack([f[spw] for f in fields if spw in f])
        count = np.isfinite(stacked).sum(axis=0)
        result[spw] = np.where(count > 0, np.nansum(stacked, axis=0) / np.maximum(count, 1), np.nan)
    return result


def _compare(
    table: CalTable, known: Amplitudes, transfers: list[int], usable: Masks, threshold: float,
    spwmap: dict[int, int], method: str,
) -> tuple[list[FluxDensity], list[tuple[int, str, int]], list[str]]:  # fmt: skip
    """(flux densities, (field, name, spw) without one, sentences about those)."""
    found, lost, notes = [], [], []
    for number in transfers:
        name, own = table.field_names[number], _amplitudes(table, number, usable, threshold)
        for spw, s in sorted(table.spws.items()):
            if not np.any(s.field == number):
                continue
            why = _missing(own.get(spw), known.get(spwmap[spw]), spwmap[spw])
            if why:
                lost.append((number, name, spw))
                notes.append(f"{name}, spw {spw}: {why}.")
                continue
            ratio = own[spw] / known[spwmap[spw]]
            flux, error, count = _flux(ratio, method)
            found.append(FluxDensity(number, name, spw, float(s.freq[0]), flux, error, count))
            if count == 1 and method != "casa":
                notes.append(f"{name}, spw {spw}: a single ratio; its error is unknown and given as the flux.")
    return found, lost, notes


def _missing(own: NDArray[np.float64] | None, known: NDArray[np.float64] | None, spw: int) -> str:
    """Why two sets of amplitudes cannot be compared; '' where they can."""
    if own is None:
        return "no unflagged solutions"
    if known is None:
        return f"the reference has no unflagged solutions in spw {spw} (see refspwmap)"
    if own.shape != known.shape or not np.isfinite(own / known).any():
        return "no antenna has unflagged solutions both here and on the reference"
    return ""


def _flux(ratio: NDArray[np.float64], method: str) -> tuple[float, float, int]:
    """(flux density, error, number of ratios) from ratios (nant, npar), NaN where there is none.

    With r the median of N ratios, S = r^2 and sigma_S = 2 r sigma_r. The variance of the median of normal values is
    that of their mean times pi/2, less for small N. The variance of the mean is s^2/N if all ratios are independent;
    but X and Y of an antenna drift together, so the antennas are also left out in turn (the jackknife, which for the
    mean is the scatter of the antennas' means), and the larger of the two counts. Simulated, the pulls have a width
    of 0.98 to 1.09 from 8 antennas on, be X and Y independent or not.
    """
    values = ratio[np.isfinite(ratio)]
    count = len(values)
    median = float(np.median(values))
    flux = median**2
    if method == "casa":
        return flux, 2 * float(values.std(ddof=1)) / math.sqrt(count - 1) if count > 1 else 0.0, count
    if count == 1:
        return flux, flux, count
    variance = float(values.var(ddof=1)) / count
    has = np.isfinite(ratio).sum(axis=1)
    if (has > 0).sum() > 1:
        variance = max(variance, _jackknife(np.nansum(ratio, axis=1)[has > 0], has[has > 0]))
    efficiency = math.pi / 2 * count / (count + (math.pi / 2 - 1 if count % 2 else 1.2))
    return flux, 2 * median * math.sqrt(variance * max(efficiency, 1.0)), count


def _jackknife(total: NDArray[np.float64], count: NDArray[np.int64]) -> float:
    """Variance of the mean of all ratios, by leaving out one antenna at a time (their sums and numbers given)."""
    without = (total.sum() - total) / (count.sum() - count)
    return float((len(total) - 1) / len(total) * ((without - without.mean()) ** 2).sum())


def _fit(fluxes: list[FluxDensity], order: int) -> Spectrum:
    """Weighted polynomial in log10 S against log10 nu, of at most as many terms as there are spws."""
    if order < 0:
        raise ParameterError(f"fitorder is {order}; give 0 (constant), 1 (spectral index), 2 (curvature), ...")
    log_freq = np.log10([f.freq for f in fluxes])
    flux = np.array([f.flux for f in fluxes])
    error = np.array([f.error for f in fluxes])
    centre = log_freq.mean()
    columns = np.vander(log_freq - centre, min(order, len(fluxes) - 1) + 1, increasing=True)
    sigma = np.where(error > 0, error, flux) / (flux * math.log(10))
    weighted = columns / sigma[:, None]
    covariance = np.asarray(np.linalg.pinv(weighted.T @ weighted), np.float64)
    coefficients = covariance @ (columns / sigma[:, None] ** 2).T @ np.log10(flux)
    return Spectrum(float(10**centre), coefficients, covariance)


# ---- what is written -------------------------------------------------------------------------------------------
def _scaled(table: CalTable, result: FluxscaleResult) -> CalTable:
    """The table with the gains of the transfer fields divided by sqrt(S); without S they are flagged."""
    spws = {spw: replace(s, param=s.param.copy(), flag=s.flag.copy()) for spw, s in table.spws.items()}
    for item in result.fluxes:
        s = spws[item.spw]
        s.param[s.field == item.field] /= np.float32(math.sqrt(item.flux))
    for number, _, spw in result.lost:
        spws[spw].flag[spws[spw].field == number] = True
    return replace(table, spws=spws, provenance=[])


def _incremental(table: CalTable, references: list[int], result: FluxscaleResult) -> CalTable:
    """One slot a field, at the mean time of its solutions: 1 for the references, 1/sqrt(S) for the others."""
    factors = {(f.field, f.spw): 1 / math.sqrt(f.flux) for f in result.fluxes}
    lost = {(number, spw) for number, _, spw in result.lost}
    spws = {}
    for spw, s in table.spws.items():
        numbers = [f for f in np.unique(s.field).tolist() if f in references or (f, spw) in factors or (f, spw) in lost]
        numbers.sort(key=lambda f: s.time[s.field == f].mean())
        spws[spw] = _factor_slots(s, numbers, [factors.get((f, spw), 1.0) for f in numbers])
        spws[spw].flag[[(f, spw) in lost for f in numbers]] = True
    return replace(table, spws=spws, provenance=[])


def _factor_slots(s: SpwSolutions, numbers: list[int], factors: list[float]) -> SpwSolutions:
    first = [int(np.argmax(s.field == f)) for f in numbers]
    shape = (len(numbers), *s.shape[1:])
    param = np.broadcast_to(np.reshape(np.array(factors, np.complex64), (-1, 1, 1, 1)), shape).copy()
    return replace(
        s.slots(np.array(first)),
        time=np.array([s.time[s.field == f].mean() for f in numbers]),
        scan=np.full(len(numbers), -1, np.int32),
        refant=np.full(shape[:2], -1, np.int32),
        param=param,
        error=np.zeros(shape, np.float32),
        snr=np.zeros(shape, np.float32),
        flag=np.zeros(shape, bool),
        outcome=None,
        present=None,
    )


def _all_spws(table: CalTable) -> dict[int, tuple[str, float]]:
    count = max(len(table.spw_names), max(table.spws) + 1)
    names = table.spw_names + [""] * count
    return {k: (names[k], float(table.spws[k].freq[0]) if k in table.spws else -1.0) for k in range(count)}


def _casa_entry(found: FluxDensity | None) -> dict[str, list[float]]:
    if found is None:
        return {"fluxd": [-1.0] * 4, "fluxdErr": [-1.0] * 4, "numSol": [-1.0] * 4}
    first = {"fluxd": found.flux, "fluxdErr": found.error, "numSol": float(found.count)}
    return {name: [value, 0.0, 0.0, 0.0] for name, value in first.items()}


def _listed(number: int, name: str, spw: int, result: FluxscaleResult) -> str:
    item = next((f for f in result.fluxes if (f.field, f.spw) == (number, spw)), None)
    if item is None:
        return f"# Flux density for {name} in SpW={spw} is:  INSUFFICIENT DATA "
    ratio = item.flux / item.error if item.error > 0 else math.inf
    return (
        f"# Flux density for {name} in SpW={spw} (freq={item.freq:g} Hz) is: {item.flux:g} +/- {item.error:g} "
        f"(SNR = {ratio:g}, N = {item.count})"
    )


def _listed_fit(name: str, fit: Spectrum) -> str:
    order = len(fit.coefficients) - 1
    words = {1: " (spectral index)"}
    terms = " ".join(
        f"a_{k}{words.get(k, '')} ={fit.coefficients[k]:g} +/- {fit.errors[k]:g}" for k in range(1, order + 1)
    )
    covariance = " ".join(f"covar({i},{j})={value:g}" for (i, j), value in np.ndenumerate(fit.covariance))
    return (
        f"# Fitted spectrum for {name} with fitorder={order}: Flux density = {fit.flux:g} +/- {fit.error:g} "
        f"(freq={fit.ref_freq / 1e9:g} GHz) spidx: {terms} covariance matrix for the fit:  {covariance}"
    )


def _write_text(path: str, text: str) -> None:
    temporary = f"{path}.tmp-{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(temporary, path)
