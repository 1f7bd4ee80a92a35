"""Calibrant calibrates telescopes: the verbs, and the types that they return or raise.

    from calibrant import gaincal, bandpass, applycal

Verbs of a suite have its name before theirs: `station_onoff` is `calibrant station onoff`.

Names are imported when first used, so that `import calibrant` costs nothing. `__init__.pyi` tells type
checkers the same names.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "CalTable": "calibrant.caltable.table",
    "CalibrantError": "calibrant.errors",
    "CalibrationResult": "calibrant.pipeline.result",
    "acquire_abort": "calibrant.acquire.verbs.abort:abort",
    "acquire_check": "calibrant.acquire.verbs.check:check",
    "acquire_plan": "calibrant.acquire.verbs.plan:plan",
    "acquire_report": "calibrant.jobs.acquire_report:report",
    "acquire_resume": "calibrant.jobs.acquire_run:resume",
    "acquire_run": "calibrant.jobs.acquire_run:run",
    "acquire_schedule": "calibrant.jobs.acquire_run:schedule",
    "acquire_status": "calibrant.acquire.verbs.status:status",
    "acquire_stop": "calibrant.acquire.verbs.stop:stop",
    "allsky_calibrate": "calibrant.jobs.allsky_calibrate:calibrate",
    "allsky_collect": "calibrant.allsky.verbs.collect:collect",
    "allsky_image": "calibrant.allsky.verbs.image:image",
    "allsky_rollback": "calibrant.allsky.verbs.rollback:rollback",
    "allsky_simulate": "calibrant.allsky.verbs.simulate:simulate",
    "allsky_status": "calibrant.allsky.verbs.status:status",
    "allsky_upload": "calibrant.allsky.verbs.upload:upload",
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
    "station_antab": "calibrant.station.verbs.antab:antab",
    "station_check": "calibrant.station.verbs.check:check",
    "station_edit": "calibrant.station.verbs.edit:edit",
    "station_fit_gain": "calibrant.station.verbs.fit_gain:fit_gain",
    "station_fit_tcal": "calibrant.station.verbs.fit_tcal:fit_tcal",
    "station_fit_trec": "calibrant.station.verbs.fit_trec:fit_trec",
    "station_onoff": "calibrant.station.verbs.onoff:onoff",
    "station_plan": "calibrant.station.verbs.plan:plan",
    "station_plot": "calibrant.station.verbs.plot:plot",
    "station_report": "calibrant.jobs.station_report:report",
    "station_simulate": "calibrant.station.verbs.simulate:simulate",
    "station_update": "calibrant.station.verbs.update:update",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'calibrant' has no attribute {name!r}; it has: {', '.join(__all__)}")
    module, _, own = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(module), own or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
