"""Everything that can be fitted to the points of each receiver file, for the report; failures keep their sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from calibrant.errors import CalibrantError
from calibrant.station.judge import CURVE_ERROR, RATIO_LIMITS, Check, level

if TYPE_CHECKING:
    from calibrant.station.dpfu import Advice
    from calibrant.station.gaincurve import GainFit
    from calibrant.station.load import Loaded
    from calibrant.station.rxg import Rxg
    from calibrant.station.tcal import TcalFit, TcalMethod
    from calibrant.station.trec import TrecFit


@dataclass
class BandFits:
    """What was fitted to one receiver file; None with a sentence in `failed` where it could not be."""

    rxg: Rxg
    gain: GainFit | None = None
    tcal: TcalFit | None = None
    trec: TrecFit | None = None
    advice: Advice | None = None
    failed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        names = ("gain", "tcal", "trec", "advice")
        found = {name: getattr(self, name) for name in names}
        return {name: None if one is None else one.to_dict() for name, one in found.items()} | {"failed": self.failed}


def fit_all(
    loaded: Loaded, *, like_gnplt: bool = False, kinds: Sequence[str] = ("gain", "tcal", "trec", "advice")
) -> dict[str, BandFits]:
    """rxg file name -> fits of the `kinds` to the points that use it. Empty without receivers."""
    found: dict[str, BandFits] = {}
    for rxg in loaded.receivers.files if loaded.receivers is not None else ():
        mine = loaded.points["rxg"] == rxg.name
        if mine.any():
            found[rxg.name] = _fit_one(rxg, replace(loaded, points=loaded.points.where(mine)), like_gnplt, kinds)
    return found


def _fit_one(rxg: Rxg, loaded: Loaded, like_gnplt: bool, kinds: Sequence[str]) -> BandFits:
    fits = BandFits(rxg)
    makers: dict[str, Callable[[], Any]] = {
        "gain": lambda: _gain(loaded, like_gnplt),
        "tcal": lambda: _tcal(loaded, like_gnplt),
        "trec": lambda: _trec(loaded, like_gnplt),
        "advice": lambda: _advice(loaded),
    }
    for name in kinds:
        try:
            setattr(fits, name, makers[name]())
        except CalibrantError as error:
            fits.failed[name] = str(error)
    return fits


def _gain(loaded: Loaded, like_gnplt: bool) -> GainFit:
    from calibrant.station.fitdata import gain_data, usable
    from calibrant.station.gaincurve import fit_gain_curve, gnplt_gain_curve

    use = usable(loaded, "gain")
    curve, data = use.rxg.curve, gain_data(use.points, like_gnplt)
    corrected, _ = loaded.opacity.corrects(use.rxg)
    if like_gnplt:
        first = data.select(data.pol == data.pols[0])
        degree = max(len(curve.coefficients) - 1, 0)
        return gnplt_gain_curve(first, degree=degree, kind=curve.kind, opacity_corrected=corrected)
    return fit_gain_curve(data, kind=curve.kind, detectors="auto", opacity_corrected=corrected)


def _tcal(loaded: Loaded, like_gnplt: bool) -> TcalFit:
    from calibrant.station.fitdata import tcal_data, usable
    from calibrant.station.tcal import fit_tcal

    use = usable(loaded, "tcal")
    tables = {str(pol): table for pol, table in use.rxg.tcal.items()}
    method: TcalMethod = "mean" if like_gnplt else "weighted"
    return fit_tcal(tcal_data(use.points, like_gnplt), tables, method=method, like_gnplt=like_gnplt)


def _trec(loaded: Loaded, like_gnplt: bool) -> TrecFit:
    from calibrant.station.fitdata import trec_data, usable
    from calibrant.station.trec import fit_trec, gnplt_trec

    points = usable(loaded, "trec").points
    tatm, _ = loaded.opacity.known_tatm(points["temperature_c"])
    data = trec_data(points, like_gnplt)
    return gnplt_trec(data, tatm_k=float(tatm.mean())) if like_gnplt else fit_trec(data, tatm_k=tatm)


def _advice(loaded: Loaded) -> Advice:
    from calibrant.station.dpfu import advise
    from calibrant.station.fitdata import gain_data, usable

    use = usable(loaded, "gain")
    dpfu = {str(pol): value for pol, value in use.rxg.dpfu.items()}
    return advise(gain_data(use.points), use.rxg.curve, dpfu, use.points["freq_mhz"])


def fit_checks(fits: dict[str, BandFits]) -> list[Check]:
    """Sentences about the fits: how good they are, and how far they lead from the files."""
    checks = []
    for name, one in fits.items():
        checks += [Check(0, topic, f"{name}: {words}") for topic, words in one.failed.items() if topic != "advice"]
        if one.gain is not None:
            checks += _gain_checks(name, one)
        for topic, fit in (("tcal", one.tcal), ("trec", one.trec)):
            if fit is not None:
                checks += [Check(0, topic, f"{name}: {warning}") for warning in fit.warnings]
    return checks


def _gain_checks(name: str, one: BandFits) -> list[Check]:
    fit = one.gain
    if fit is None:
        return []
    words = f"{name}: gain curve of degree {fit.degree} from {len(fit.used)} points, rms {100 * fit.rms:.1f} %"
    checks = [Check(min(level(fit.rms, CURVE_ERROR), 1), "gain", words)]
    old = {str(pol): value for pol, value in one.rxg.dpfu.items()}
    change = {pol: dpfu / old[pol] - 1 for pol, dpfu in fit.dpfu.items() if old.get(pol, 0.0) > 0}
    for pol, part in change.items():
        new = f"{fit.dpfu[pol]:.5f} ± {fit.dpfu_errors[pol]:.5f}"
        words = f"{name} {pol}: new DPFU {new} K/Jy, {100 * part:+.1f} % from the file"
        checks.append(Check(min(level(abs(part), RATIO_LIMITS), 1), "gain", words))
    if fit.extrapolated:
        low, high = fit.elevation_range
        words = f"its maximum at {fit.peak_elevation_deg:.0f}° lies outside the observed {low:.0f}° to {high:.0f}°"
        wanted = any(abs(part) > RATIO_LIMITS[0] for part in change.values())
        checks.append(Check(int(wanted), "gain", f"{name}: the new DPFU is extrapolated: {words}"))
    return checks + [Check(0, "gain", f"{name}: {warning}") for warning in fit.warnings]


def advice_of(fits: dict[str, BandFits]) -> list[str]:
    """What to change, one sentence for each receiver file."""
    return [f"{name}: {one.advice.reason}" for name, one in fits.items() if one.advice is not None]
