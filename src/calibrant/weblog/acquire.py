"""The report of a run that took calibration frames: one self-contained HTML page that opens from a file."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from calibrant.acquire.story import Story
from calibrant.acquire.timeline import clock
from calibrant.acquire.twilight import RECIPE as TWILIGHT
from calibrant.plots.acquire import PLOTS
from calibrant.weblog.acquire_material import material, thumbnails
from calibrant.weblog.page import draw_all, render_page, write_page

NAME = "report.html"
HEADINGS = {"timeline": "Time line", "frames": "Frames"}
MARKS = {"complete": "✓", "incomplete": "!", "unfinished": "!", "running": "…", "unsafe": "✕"}
Rows = list[tuple[str, ...]]


def write_acquire_report(story: Story, path: str = "") -> str:
    """Write the page (default: report.html in the directory of the run) through a temporary name; return its path.

    An existing page is replaced. What cannot be drawn is named on the page with the reason.
    """
    return write_page(render(story), path or os.path.join(story.directory, NAME))


def render(story: Story) -> str:
    """The page as text. Every name in it is escaped."""
    sections = draw_all(PLOTS.values(), material(story), HEADINGS)
    return render_page(
        "acquire.html",
        sections,
        story.verdict,
        title=f"{story.name} at {story.inventory}",
        subtitle=subtitle_of(story),
        mark=MARKS[story.verdict],
        reasons=reasons_of(story),
        steps=steps_of(story),
        failed=failed_rows(story),
        events=event_rows(story),
        lamps=lamp_rows(story),
        frames=[(frame, timing(story, frame.planned_s, frame.actual_s)) for frame in story.frames],
        thumbnails=thumbnails(story),
        grouped=grouped,
        mask_words={frame.key: mask_words(frame.places) for frame in story.frames if frame.places},
        checksums=checksums(story),
        facts=facts_of(story),
    )


def write_night_report(
    directory: str, evening: str, states: Sequence[Mapping[str, Any]], stories: dict[str, Story], path: str = ""
) -> str:
    """The page of a whole night: what became of each calibration, with the pages of their runs beside it."""
    times = ("earliest", "latest", "begin", "end")
    rows = [
        (
            one["name"], one["state"], *(_clock(one[name]) for name in times), str(one["attempts"]),
            f"{one['ok']} of {one['frames']}" if one["frames"] else "–", one["reason"] or "–", one["directory"],
        )
        for one in states
    ]  # fmt: skip
    unsafe = [name for name, story in stories.items() if story.verdict == "unsafe"]
    undone = [one for one in states if one["state"] != "done"]
    verdict = "unsafe" if unsafe else "incomplete" if undone else "complete"
    page = render_page(
        "night.html", [], verdict,
        title=f"Night of {evening}", mark=MARKS[verdict], rows=rows, unsafe=unsafe,
        undone=undone, directory=os.path.abspath(directory),
        alarms=[text for name in unsafe for text in stories[name].alarms],
    )  # fmt: skip
    return write_page(page, path or os.path.join(directory, NAME))


def subtitle_of(story: Story) -> str:
    """When, where, how long."""
    first, last = story.attempts[0], story.last
    words = [f"{_stamp(first.began)} to {_stamp(last.ended)} UTC", f"run {last.run}"]
    if last.simulated:
        words.append("simulated" + (f", {last.speed:g} times faster" if last.speed != 1 else ""))
    if len(story.attempts) > 1:
        words.append(f"{len(story.attempts) - 1} times resumed")
    return " · ".join(words)


def reasons_of(story: Story) -> list[str]:
    """The verdict in sentences."""
    good, wanted = len(story.frames) - len(story.missing), len(story.frames)
    # What a person must do about lamps comes first.
    sentences = sorted(story.alarms, key=lambda text: not text.startswith("ALARM"))
    if story.running:
        sentences.append(f"The run is under way; lamps on now: {', '.join(story.burning) or 'none'}.")
    elif story.burning and not story.alarms:
        sentences.append(
            f"Nobody has seen these lamps off since: {', '.join(story.burning)}. A person must look and switch off by "
            "hand."
        )
    sentences.append(f"All {wanted} frames were taken and passed their checks." if good == wanted else
                     f"{good} of {wanted} frames are there and passed their checks.")  # fmt: skip
    if story.last.reason and not story.last.reason.endswith("frames are missing"):
        sentences.append(f"It ended early: {story.last.reason}.")
    if not story.last.verdict and not story.running:
        sentences.append("The journal has no end: its process died.")
    if not story.burning and not story.running:
        when = "at the end" if story.last.verdict else "when the journal ended"
        sentences.append(f"All lamps were off {when}, as read back from them.")
    return sentences


def steps_of(story: Story) -> list[tuple[str, str]]:
    """What to do now, as (sentence, command)."""
    where = shlex.quote(os.path.abspath(story.directory))
    if story.running:
        return [("See what it does now:", f"calibrant acquire status {where}"),
                ("End it after this frame; what is there stays:", f"calibrant acquire stop {where}")]  # fmt: skip
    steps = []
    if story.verdict == "unsafe":
        lamps = ", ".join(story.burning) or "all lamps"
        steps.append((f"Look and switch off by hand: {lamps}.", ""))
    if story.missing and story.plan.get("sequence", {}).get("recipe") == TWILIGHT:
        steps.append(("These flats cannot be resumed: the sky has changed. The schedule takes all of them anew.", ""))
    elif story.missing:
        count = len(story.missing)
        some = "frame that is" if count == 1 else f"{count} frames that are"
        steps.append((f"Take the {some} missing. Nothing that is there is taken again or overwritten:",
                      f"calibrant acquire resume {where}"))  # fmt: skip
    if story.frames and not story.missing:
        steps.append(("Check the files against their checksums:", f"cd {where} && sha256sum -c SHA256SUMS"))
    return steps


def failed_rows(story: Story) -> Rows:
    """Frames that are not good, those without a reason of their own in one line."""
    rows: Rows = [
        (frame.key, frame.state, " ".join(grouped(frame.problems)))
        for frame in story.missing
        if frame.state != "not reached"
    ]
    never = [frame.key for frame in story.missing if frame.state == "not reached"]
    if never:
        rows.append((", ".join(never), "not reached", "the run ended before"))
    return rows


def grouped(problems: Sequence[str]) -> list[str]:
    """What several cameras say in the same words, but for numbers, is said once: 'b1 and 8 others: ...'."""
    alike: dict[str, list[str]] = {}
    for text in problems:
        camera, colon, words = text.partition(": ")
        alike.setdefault(re.sub(r"[\d.]+", "#", words) if colon and " " not in camera else text, []).append(text)
    sentences = []
    for texts in alike.values():
        camera, _, words = texts[0].partition(": ")
        others = f"{len(texts) - 1} other" + ("s" if len(texts) > 2 else "")
        sentences.append(texts[0] if len(texts) == 1 else f"{camera} and {others}: {words}")
    return sentences


def event_rows(story: Story) -> Rows:
    """Alarms, failures, commands and notes in order."""
    rows: Rows = []
    if all(mark.kind == "end" and mark.text == "complete" for attempt in story.attempts for mark in attempt.marks):
        return rows
    for number, attempt in enumerate(story.attempts, 1):
        which = f"{number}: " if len(story.attempts) > 1 else ""
        rows += [(f"{which}{clock(round(mark.time))}", mark.kind, mark.text) for mark in attempt.marks]
    return rows


def lamp_rows(story: Story) -> Rows:
    """Minutes burnt and the state at the end, for every lamp."""
    burnt: dict[str, float] = {}
    for attempt in story.attempts:
        for name in attempt.lights:
            burnt[name] = burnt.get(name, 0.0) + attempt.burnt_s.get(name, 0.0)
    planned = {name: hours * 60 for name, hours in story.plan.get("lamp_hours", {}).items()}
    return [
        (
            name, f"{seconds / 60:.1f}", f"{planned[name]:.1f}" if name in planned else "–",
            story.last.lights.get(name, "unknown"),
        )
        for name, seconds in burnt.items()
    ]  # fmt: skip


def timing(story: Story, planned: float, actual: float | None) -> tuple[str, str, str]:
    """Planned begin, actual begin, difference. A resumed run has its own time: no difference."""
    if actual is None:
        return clock(round(planned)), "–", "–"
    whole = len(story.attempts) == 1
    return clock(round(planned)), clock(round(actual)), f"{actual - planned:+.0f} s" if whole else "–"


def mask_words(places: Sequence[tuple[str, float]]) -> str:
    """'P1-2 20 s, P1-1 20 s'."""
    return ", ".join(f"{place} {seconds:.0f} s" for place, seconds in places)


def checksums(story: Story) -> str:
    """As sha256sum writes them."""
    return "\n".join(f"{file.sha256}  {file.path}" for frame in story.frames for file in frame.files)


def facts_of(story: Story) -> Rows:
    """Provenance."""
    plan = story.plan
    rows: Rows = [("directory", os.path.abspath(story.directory))]
    if plan:
        rows.append(("plan", f"{plan.get('name', '')}, {plan.get('hash', '')}"))
        rows.append(("planned", clock(plan.get("duration_s", 0.0))))
    rows.append(("took", " and ".join(clock(round(attempt.seconds)) for attempt in story.attempts)))
    rows.append(("host", story.last.host or "–"))
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in story.versions.items()) or "–"))
    drivers = {str(device.get("driver", "")) for device in story.devices.values() if isinstance(device, dict)}
    rows.append(("driver", ", ".join(sorted(drivers - {""})) or "–"))
    return rows


def _stamp(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%S}"


def _clock(when: float | None) -> str:
    return "–" if when is None else f"{datetime.fromtimestamp(when, UTC):%H:%M:%S}"
