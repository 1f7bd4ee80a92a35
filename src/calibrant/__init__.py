"""Calibrant calibrates telescopes: the verbs, and the types that they return or raise.

    from calibrant import gaincal, bandpass, applycal

Names are imported when first used, so that `import calibrant` costs nothing. `__init__.pyi` tells type
checkers the same names.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "CalTable": "calibrant.caltable.table",
    "CalibrantError": "calibrant.errors",
    "CalibrationResult": "calibrant.pipeline.result",
    "applycal": "calibrant.tasks.applycal",
    "bandpass": "calibrant.tasks.bandpass",
    "calibrate": "calibrant.jobs.calibrate",
    "demo": "calibrant.jobs.demo",
    "flagdata": "calibrant.tasks.flagdata",
    "flagmanager": "calibrant.tasks.flagmanager",
    "fluxscale": "calibrant.tasks.fluxscale",
    "gaincal": "calibrant.tasks.gaincal",
    "importuvfits": "calibrant.tasks.importuvfits",
    "listobs": "calibrant.tasks.listobs",
    "setjy": "calibrant.tasks.setjy",
    "simulate": "calibrant.simulation.observation",
    "split": "calibrant.tasks.split",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'calibrant' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
