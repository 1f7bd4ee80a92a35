"""`calibrant acquire run`, `resume` and `schedule`, each with a report of what happened at the end.

The verbs themselves are those of `calibrant.acquire.verbs`; this floor may write pages, that one may not.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from calibrant.acquire.verbs.resume import resume as _resume
from calibrant.acquire.verbs.run import run as _run
from calibrant.acquire.verbs.schedule import schedule as _schedule
from calibrant.params import Param

Report = Annotated[bool, Param("Write report.html into the directory at the end.")]


def with_report(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb with one more parameter, `report`; a report that cannot be written changes nothing else."""

    @functools.wraps(verb)
    def reporting(*args: Any, report: bool = True, **values: Any) -> Any:
        result = verb(*args, **values)
        taken = getattr(result, "result", None)
        if report and taken is not None:
            write_report(Path(taken.directory))
        return result

    signature = inspect.signature(verb)
    more = inspect.Parameter("report", inspect.Parameter.KEYWORD_ONLY, default=True, annotation=Report)
    reporting.__signature__ = signature.replace(parameters=[*signature.parameters.values(), more])  # type: ignore[attr-defined]
    reporting.__annotations__ = {**verb.__annotations__, "report": Report}
    return reporting


def write_report(directory: Path) -> None:
    """The page of a run or a night; says where it is, or why there is none."""
    from calibrant.jobs.acquire_report import report
    from calibrant.progress import say

    try:
        say(f"report: {report(str(directory)).report}")
    except Exception as error:
        # The frames are there and the lamps are off: a page must not turn that into a failure.
        why = f"{type(error).__name__}: {error}"
        say(f"the report could not be written ({why}); try: calibrant acquire report {directory}")


run = with_report(_run)
resume = with_report(_resume)
schedule = with_report(_schedule)
