"""What a fit asks to be changed in an `.rxg`: as data, from JSON, and in words.

`"rxg_changes"` of a fit's JSON is a list of {"pol": "l", "dpfu": K/Jy}, {"curve": {"kind", "coefficients",
"opacity_corrected"}}, {"pol", "tcal": [[MHz, K], ...]}, {"pol", "scale_tcal": factor}, {"pol", "trec": K}; an item
or the whole may name the file it is for, as "rxg".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from calibrant.errors import FormatError, ParameterError
from calibrant.station.curve import GainCurve
from calibrant.station.rxg import Rxg
from calibrant.station.rxg_layout import Pol
from calibrant.station.text import read_text

UNEVEN = 0.02
"""Measured Tcal this far from the table's, in the median, are worth a warning where other rows stay."""
KINDS = ("dpfu", "curve", "tcal", "scale_tcal", "trec")
SAME = 1e-4
"""Relative difference up to which a value counts as the one that a fit took."""
_ELEVATIONS = np.arange(5.0, 91.0, 5.0)


@dataclass(frozen=True)
class Ground:
    """What the values of one fit rest on: the content of the rxg file that it took as right, for its polarisations."""

    path: str
    """Of the fit's JSON."""
    pols: tuple[str, ...]
    content: Mapping[str, Any]
    """As `content_of` gives it."""

    def moved(self, rxg: Rxg) -> list[str]:
        """What of it is different in `rxg`, in words."""
        found = []
        curve, dpfu, tcal = (self.content.get(name) for name in ("curve", "dpfu", "tcal"))
        now = rxg.curve(_ELEVATIONS)
        if curve and not np.allclose(GainCurve(curve["kind"], tuple(curve["coefficients"]))(_ELEVATIONS), now, SAME):
            found.append("gain curve")
        for pol in (pol for pol in rxg.pols if pol in self.pols):
            if dpfu and not math.isclose(dpfu[pol], rxg.dpfu[pol], rel_tol=SAME):
                found.append(f"DPFU {pol}cp")
            if tcal:
                freq, kelvin = np.array(tcal[pol], dtype=np.float64).reshape(-1, 2).T
                both = np.union1d(freq, rxg.tcal[pol][0])
                if not np.allclose(rxg.tcal_at(pol, both), np.interp(both, freq, kelvin), SAME):
                    found.append(f"Tcal {pol}cp")
        return found


def content_of(rxg: Rxg, names: Iterable[str]) -> dict[str, Any]:
    """What a fit that trusts `names` ("tcal", "curve", "dpfu") takes from a file, as plain data."""
    content = {
        "tcal": {pol: np.column_stack(rxg.tcal[pol]).tolist() for pol in rxg.pols},
        "curve": {"kind": rxg.curve.kind, "coefficients": list(rxg.curve.coefficients)},
        "dpfu": {str(pol): rxg.dpfu[pol] for pol in rxg.pols},
    }
    return {name: content[name] for name in names}


@dataclass(frozen=True)
class Changes:
    """New values by polarisation (DPFU in K/Jy, Tcal as MHz -> K, Trec in K), and where they come from."""

    dpfu: dict[Pol, float] = field(default_factory=dict)
    curve: GainCurve | None = None
    tcal: dict[Pol, dict[float, float]] = field(default_factory=dict)
    scale_tcal: dict[Pol, float] = field(default_factory=dict)
    trec: dict[Pol, float] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    """How each fit was made, for the comment in the file."""
    grounds: tuple[Ground, ...] = ()
    """What each fit took from the file as right."""
    logs: tuple[tuple[str, str], ...] = ()
    """The logs fitted, each with the directory of its session ("none": without)."""

    def __bool__(self) -> bool:
        return bool(self.dpfu or self.curve or self.tcal or self.scale_tcal or self.trec)

    def keywords(self) -> dict[str, Any]:
        """What `rxg_edit.update_text` takes."""
        return {name: getattr(self, name) or None for name in KINDS}

    def with_(self, other: Changes) -> Changes:
        """Both together; ParameterError where they name the same value."""
        for name in ("dpfu", "tcal", "scale_tcal", "trec"):
            for pol in set(getattr(self, name)) & set(getattr(other, name)):
                raise ParameterError(f"{name} of {pol}cp is given twice, expected once. Leave out one of the fits.")
        if self.curve is not None and other.curve is not None:
            raise ParameterError("the gain curve is given twice, expected once. Leave out one of the fits.")
        return Changes(
            self.dpfu | other.dpfu,
            other.curve if self.curve is None else self.curve,
            self.tcal | other.tcal,
            self.scale_tcal | other.scale_tcal,
            self.trec | other.trec,
            (*self.methods, *other.methods),
            (*self.grounds, *other.grounds),
            (*self.logs, *(one for one in other.logs if one not in self.logs)),
        )


def read_changes(path: str, rxg_name: str) -> Changes:
    """The changes for one receiver file from a fit's JSON.

    Raises FormatError for a file that is no such JSON, ParameterError where it was made for other receiver files.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise FormatError(
            f"{path}:{error.lineno}: {error.msg}, expected the JSON of 'calibrant station fit'."
        ) from None
    items = content.get("rxg_changes") if isinstance(content, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise FormatError(
            f"{path}: found no list \"rxg_changes\", expected the JSON of 'calibrant station fit ... --json'."
        )
    method = ". ".join(filter(None, [str(content.get("method", "")), _logs(content.get("logs"))]))
    changes = changes_from(items, rxg_name, content.get("rxg", ""), method, path)
    pols = tuple(str(item["pol"]) for item in items if "pol" in item)
    logs = content.get("logs")
    fitted = tuple((str(log), str(content.get("session", ""))) for log in (logs if isinstance(logs, list) else []))
    return changes.with_(Changes(grounds=(Ground(path, pols, _ground(content, path)),), logs=fitted))


def _ground(content: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """`rests_on` of a fit's JSON; empty where it has none."""
    found = content.get("rests_on", {})
    try:
        for rows in found.get("tcal", {}).values():
            np.array(rows, dtype=np.float64).reshape(-1, 2)
        for value in found.get("dpfu", {}).values():
            _number(value)
        if "curve" in found:
            GainCurve(found["curve"]["kind"], tuple(map(_number, found["curve"]["coefficients"])))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f'{path}: found a "rests_on" that cannot be used ({error}); fit again.') from None
    return cast(Mapping[str, Any], found)


def _logs(logs: Any) -> str:
    names = [os.path.basename(str(log)) for log in logs] if isinstance(logs, list) else []
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"From {', '.join(names[:4])}{more}" if names else ""


def changes_from(items: Iterable[Mapping[str, Any]], rxg_name: str, made_for: Any, method: str, path: str) -> Changes:
    """The same from the list itself; `made_for` is the receiver file of items that name none."""
    result = Changes()
    others = set()
    for item in items:
        names = item.get("rxg") or made_for or rxg_name
        known = {os.path.basename(str(name)) for name in (names if isinstance(names, list) else [names])}
        if rxg_name in known:
            result = result.with_(_one(item, path))
        else:
            others |= known
    if others and not result:
        raise ParameterError(f"{path}: found changes for {', '.join(sorted(others))}, expected some for {rxg_name}.")
    return result.with_(Changes(methods=(method,))) if method else result


def _one(item: Mapping[str, Any], path: str) -> Changes:
    kinds = [kind for kind in KINDS if kind in item]
    if len(kinds) != 1:
        raise FormatError(
            f"{path}: found a change with {kinds or 'nothing known'}, expected one of {', '.join(KINDS)}."
        )
    kind, value = kinds[0], item[kinds[0]]
    try:
        if kind == "curve":
            coefficients = tuple(map(_number, value["coefficients"]))
            shape = str(value["kind"]).lower()
            if shape not in ("elev", "altaz"):
                raise ValueError(f"curve {shape!r}")
            return Changes(curve=GainCurve(cast(Any, shape), coefficients, bool(value.get("opacity_corrected"))))
        pol = item["pol"]
        if pol not in ("l", "r"):
            raise ValueError(f"polarisation {pol!r}")
        if kind == "tcal":
            return Changes(tcal={cast(Pol, pol): {_number(freq): _number(kelvin) for freq, kelvin in value}})
        content: dict[str, Any] = {kind: {pol: _number(value)}}
        return Changes(**content)
    except (KeyError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {error}"
        raise FormatError(
            f"{path}: found a change of {kind} that cannot be used ({found}); see 'station fit'."
        ) from None


def _number(value: Any) -> float:
    result = float(value)
    if not math.isfinite(result):
        raise ValueError(f"{value!r} is not a finite number")
    return result


def describe(old: Rxg, new: Rxg) -> list[str]:
    """What changes from one content to the other, and what that does to results, in words."""
    lines = [
        f"DPFU {pol}cp: {old.dpfu[pol]:.6g} -> {new.dpfu[pol]:.6g} K/Jy ({_percent(new.dpfu[pol], old.dpfu[pol])})"
        for pol in old.pols
        if new.dpfu[pol] != old.dpfu[pol]
    ]
    if new.curve != old.curve:
        lines.append(f"gain curve: {_curve_words(old.curve)} -> {_curve_words(new.curve)}")
    for pol in old.pols:
        lines += _tcal_words(pol, old, new)
    lines += [
        f"Trec {pol}cp: {_kelvin(old.trec[pol])} -> {_kelvin(new.trec[pol])}"
        for pol in old.pols
        if new.trec[pol] != old.trec[pol]
    ]
    if new.generation != old.generation:
        lines.append("layout: as of FS 9.11, with one Trec per polarisation")
    return lines


def effects(old: Rxg, new: Rxg) -> list[str]:
    """What the new content does to calibrated amplitudes, per polarisation, at 45 degrees elevation."""
    lines = []
    for pol in old.pols:
        gain = float(new.gain(pol, 45.0) / old.gain(pol, 45.0)) if float(old.gain(pol, 45.0)) else math.nan
        freq = old.tcal[pol][0]
        ratio = _ratio(new.tcal_at(pol, freq), old.tcal_at(pol, freq))
        words = []
        if abs(ratio - 1) > 1e-6:
            words.append(f"Tsys {_percent(ratio, 1.0)} (median over the table)")
        if math.isfinite(gain) and abs(gain - 1) > 1e-6:
            words.append(f"gain {_percent(gain, 1.0)}")
        if words:
            sefd = f"Tsys/gain {_percent(ratio / gain, 1.0)}" if math.isfinite(gain) else ""
            words += [sefd] if sefd else []
            lines.append(f"{pol}cp at elevation 45: {', '.join(words)}; Tcal ratio times {gain / ratio:.4g}")
    return lines


def uneven(old: Rxg, new: Rxg) -> list[str]:
    """Tables in which measured rows now stand among old ones of another scale: Tcal jumps between them."""
    lines = []
    for pol in old.pols:
        before = dict(zip(*(column.tolist() for column in old.tcal[pol]), strict=True))
        after = dict(zip(*(column.tolist() for column in new.tcal[pol]), strict=True))
        kept = [freq for freq, kelvin in after.items() if before.get(freq) == kelvin]
        measured = [freq for freq in after if freq not in kept]
        ratio = _ratio(np.array([after[freq] for freq in measured]), old.tcal_at(pol, measured))
        if kept and measured and abs(ratio - 1) > UNEVEN:
            lines.append(
                f"Warning: the new Tcal of {pol}cp lie {_percent(ratio, 1.0)} from the old table, of which {len(kept)}"
                f" rows stay; --scale-tcal {pol}={ratio:.4g} would bring those along"
            )
    return lines


def _tcal_words(pol: Pol, old: Rxg, new: Rxg) -> list[str]:
    before = dict(zip(*(column.tolist() for column in old.tcal[pol]), strict=True))
    after = dict(zip(*(column.tolist() for column in new.tcal[pol]), strict=True))
    changed = [freq for freq in before if freq in after and after[freq] != before[freq]]
    added = [freq for freq in after if freq not in before]
    if not changed and not added:
        return []
    kept = len(before) - len(changed)
    ratio = _ratio(np.array([after[freq] for freq in changed]), np.array([before[freq] for freq in changed]))
    words = f"{len(changed)} of {len(before)} rows changed"
    words += f" (median {_percent(ratio, 1.0)})" if changed else ""
    return [f"Tcal {pol}cp: {words}, {len(added)} added, {kept} kept"]


def _ratio(new: Any, old: Any) -> float:
    good = np.asarray(old) != 0
    return float(np.median(np.asarray(new)[good] / np.asarray(old)[good])) if good.any() else 1.0


def _curve_words(curve: GainCurve) -> str:
    if len(curve.coefficients) == 1:
        return f"constant {curve.coefficients[0]:g}{', opacity corrected' if curve.opacity_corrected else ''}"
    place, largest = curve.maximum()
    flag = ", opacity corrected" if curve.opacity_corrected else ""
    return f"{curve.kind.upper()} degree {len(curve.coefficients) - 1}, maximum {largest:.4f} at {place:.1f} deg{flag}"


def _kelvin(value: float) -> str:
    return f"{value:g} K" if value else "unknown"


def _percent(new: float, old: float) -> str:
    return f"{100 * (new / old - 1):+.2f} %" if old else "was 0"
