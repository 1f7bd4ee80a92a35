"""`calibrant acquire report`: the page of a run, or of a night of runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from calibrant.params import Param


@dataclass(frozen=True)
class AcquireReport:
    """The verdict and where the pages are; `runs`: of a night, what each run's verdict is."""

    verdict: str
    report: str
    runs: dict[str, str] = field(default_factory=dict)
    pages: tuple[str, ...] = ()

    def summary(self) -> str:
        lines = [f"Verdict: {self.verdict}"]
        lines += [f"  {name}: {verdict}" for name, verdict in self.runs.items()]
        return "\n".join([*lines, f"wrote {self.report}"])

    def to_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "report": self.report, "runs": self.runs, "pages": list(self.pages)}


def report(
    directory: Annotated[str, Param("Directory of a run, or of a night of `acquire schedule --run`.", positional=True)],
    output: Annotated[str, Param("The page to write; empty: report.html in the directory.")] = "",
) -> AcquireReport:
    """Write the report of a run: verdict, time line, frames with thumbnails and levels, what failed and why.

    The page is one file that opens without a server. It is written from the journal, so that runs that are under way,
    ended early or died have one, too. Of a night, there is a page with every calibration's state, and one of each run.

    Example:
        calibrant acquire report night1

    Raises DataError or FormatError where the directory holds no journal that can be read.
    """
    from calibrant.acquire.schedule_run import NAME
    from calibrant.acquire.story import read_story
    from calibrant.weblog.acquire import write_acquire_report

    if (Path(directory) / NAME).is_file():
        return _night(Path(directory), output)
    story = read_story(directory)
    page = write_acquire_report(story, output)
    return AcquireReport(story.verdict, page, pages=(page,))


def _night(directory: Path, output: str) -> AcquireReport:
    from calibrant.acquire import journal
    from calibrant.acquire.schedule_run import read_night
    from calibrant.acquire.story import read_story
    from calibrant.weblog.acquire import write_acquire_report, write_night_report

    evening, states = read_night(directory)
    places = sorted(path.parent for path in directory.glob(f"*/{journal.NAME}"))
    stories = {place.name: read_story(place) for place in places}
    pages = [write_acquire_report(story) for story in stories.values()]
    page = write_night_report(str(directory), evening, states, stories, output)
    unsafe = any(story.verdict == "unsafe" for story in stories.values())
    verdict = "unsafe" if unsafe else "complete" if all(one["state"] == "done" for one in states) else "incomplete"
    return AcquireReport(
        verdict, page, {name: story.verdict for name, story in stories.items()}, (page, *pages)
    )  # fmt: skip
