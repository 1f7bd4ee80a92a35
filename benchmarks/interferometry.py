"""Whole commands, ours and others', on the same data: wall and CPU seconds and peak memory of each process.

    python benchmarks/interferometry.py --workdir DIR [--cases 'gaincal*'] [--tools calibrant,CASA] [--json FILE]

Others take part where these variables name them, and are left out by name where not: CALIBRANT_CASA_PYTHON (a Python
with casatasks), CALIBRANT_DP3 (DP3.py), CALIBRANT_QUARTICAL (goquartical). benchmarks/README.md explains the rest.
This process imports no numpy: a child's peak memory begins with that of its parent.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
CPUS = os.cpu_count() or 1
READ = ["DATA", "MODEL_DATA", "FLAG", "SIGMA"]
"""What our solves read."""
ALL = ["DATA", "MODEL_DATA", "WEIGHT_SPECTRUM", "FLAG"]


@dataclass(frozen=True)
class Case:
    """One job on one data set. kind: G, P, B (solves) or A (apply); fresh: CORRECTED_DATA is dropped before a run."""

    name: str
    kind: str
    data: str
    calwt: bool = False
    fresh: bool = False
    ours_only: bool = False


CASES = [
    Case("gaincal inf, 1 GB", "G", "full_G"),
    Case("gaincal int, 1 GB", "P", "full_P"),
    Case("bandpass, 1 GB", "B", "full_B"),
    Case("applycal first, 1 GB", "A", "full_A", fresh=True),
    Case("applycal again, 1 GB", "A", "full_A"),
    Case("applycal calwt first, 1 GB", "A", "full_A", calwt=True, fresh=True),
    Case("applycal calwt again, 1 GB", "A", "full_A", calwt=True),
    Case("gaincal inf, 61 MB", "G", "small_G"),
    Case("gaincal int, 61 MB", "P", "small_P"),
    Case("bandpass, 61 MB", "B", "small_B"),
    Case("gaincal inf, 4 GB", "G", "large_G", ours_only=True),
    Case("bandpass, 4 GB", "B", "large_B", ours_only=True),
    Case("applycal first, 4 GB", "A", "large_G", fresh=True, ours_only=True),
    Case("gaincal inf, 0.1 MB: start-up", "G", "tiny_G", ours_only=True),
]
TIMES = {"large": 480}
FLOORS = {"G": 6.0, "P": 4.0, "B": 6.0, "A": 2.0}
"""CPU time of the best other tool over ours, at least, on the 1 GB sets."""
MEMORY_MB = 300
SMALL_WALL = 1.5
PASSES = 2.5


# ---- running ----------------------------------------------------------------------------------------------


@dataclass
class Figures:
    """Runs of one command."""

    case: str
    tool: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    error: str = ""
    accuracy: float | None = None


def run(command: list[str], log: Path) -> tuple[float, float, float, int]:
    """(wall s, user + system s, peak MB, exit status) of a whole process, as the kernel counts them."""
    with log.open("wb") as out:
        start = time.perf_counter()
        child = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent, env=environment(), close_fds=False
        )
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
    per_mb = 1e6 if sys.platform == "darwin" else 1e3
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / per_mb, child.returncode


def environment() -> dict[str, str]:
    """As it is, with byte code kept (an installed package has it) and DP3's demand for one BLAS thread met."""
    values = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return values | {"OPENBLAS_NUM_THREADS": "1"}


def helper(name: str, *arguments: str) -> str:
    """Output of one of our scripts or of a Python text, run by the Python that runs this."""
    script = [str(HERE / name)] if name.endswith(".py") else ["-c", name]
    done = subprocess.run([sys.executable, *script, *arguments], capture_output=True, text=True, env=environment())
    if done.returncode:
        raise SystemExit(f"{name.splitlines()[0]} {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout.strip()


def warm(path: Path) -> None:
    """Read every file once, so that all runs find it in memory; and let earlier writes reach the disk."""
    os.sync()
    for name in path.rglob("*"):
        if name.is_file():
            with name.open("rb", buffering=0) as file:
                while file.read(1 << 22):
                    pass


DROP = """
import sys
from casacore.tables import table
tab = table(sys.argv[1], readonly=False, ack=False)
if "CORRECTED_DATA" in tab.colnames():
    tab.removecols("CORRECTED_DATA")
tab.close()
"""


# ---- data -------------------------------------------------------------------------------------------------


def data_set(workdir: Path, name: str) -> Path:
    """The data set, made where it is not there yet. full_A is a copy of full_G, because it is written into."""
    size, kind = name.split("_")
    path = workdir / f"{name}.ms"
    if path.exists():
        return path
    if kind == "A":
        shutil.copytree(data_set(workdir, f"{size}_G"), path)
        shutil.copy(workdir / f"{size}_G.ms.truth.npz", workdir / f"{name}.ms.truth.npz")
        return path
    say(f"making {path.name}")
    times = ["--times", str(TIMES[size])] if size in TIMES else []
    helper("make_ms.py", str(path), "--kind", kind, "--size", "full" if times else size, *times)
    return path


# ---- tools ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tool:
    """How to run a case; `solutions` is where it writes its solutions, or finds them to apply."""

    name: str
    command: Callable[[Case, str, str], list[str]]
    suffix: str = ".cal"
    kinds: str = "GPBA"
    weights: bool = True


def calibrant(case: Case, ms: str, solutions: str) -> list[str]:
    program = Path(sys.executable).with_name("calibrant")
    start = [str(program) if program.exists() else shutil.which("calibrant") or "calibrant"]
    if case.kind == "A":
        how = ["--interp", "nearest", "--applymode", "calonly", "--calwt", str(case.calwt).lower()]
        return [*start, "applycal", ms, "--gaintable", solutions, *how, "--no-flagbackup"]
    job = {
        "G": ["gaincal", ms, solutions, "--solint", "inf"],
        "P": ["gaincal", ms, solutions, "--solint", "int", "--calmode", "p"],
        "B": ["bandpass", ms, solutions, "--solint", "inf", "--combine", "scan"],
    }[case.kind]
    return [*start, *job, "--refant", "A000", "--minsnr", "0", "--overwrite"]


def casa(case: Case, ms: str, solutions: str) -> list[str]:
    common = f"vis={ms!r}, caltable={solutions!r}, refant='A000', minsnr=0"
    call = {
        "G": f"gaincal({common}, solint='inf')",
        "P": f"gaincal({common}, solint='int', calmode='p')",
        "B": f"bandpass({common}, solint='inf', combine='scan')",
        "A": f"applycal(vis={ms!r}, gaintable=[{solutions!r}], interp=['nearest'], calwt=[{case.calwt}],"
        " flagbackup=False, applymode='calonly')",
    }[case.kind]
    verb = call.partition("(")[0]
    fresh = "" if case.kind == "A" else f"import shutil; shutil.rmtree({solutions!r}, ignore_errors=True); "
    return [os.environ["CALIBRANT_CASA_PYTHON"], "-c", f"{fresh}from casatasks import {verb}; {call}"]


def dp3(case: Case, ms: str, solutions: str, step: str) -> list[str]:
    start = [os.environ["CALIBRANT_DP3"], f"msin={ms}", "msin.datacolumn=DATA", "msin.weightcolumn=WEIGHT_SPECTRUM"]
    start += [f"numthreads={CPUS}", "steps=[cal]"]
    if case.kind == "A":
        terms = ["cal.amp.correction=amplitude000", "cal.ph.correction=phase000"]
        how = ["cal.type=applycal", f"cal.parmdb={solutions}", "cal.steps=[amp,ph]", *terms]
        weights = f"cal.updateweights={str(case.calwt).lower()}"
        return [*start, "msout=.", "msout.datacolumn=CORRECTED_DATA", *how, weights]
    per_scan = 15 if case.data.startswith("small") else 30
    interval, channels = {"G": (per_scan, 0), "P": (1, 0), "B": (0, 1)}[case.kind]
    mode = "diagonalphase" if case.kind == "P" else "diagonal"
    common = [f"cal.solint={interval}", f"cal.nchan={channels}", "cal.maxiter=50", "cal.tolerance=1e-5"]
    if step == "gaincal":
        model = ["cal.usemodelcolumn=true", "cal.modelcolumn=MODEL_DATA", "cal.propagatesolutions=true"]
        solver = ["cal.type=gaincal", f"cal.caltype={mode}", f"cal.parmdb={solutions}", *model]
    else:
        method = ["cal.solveralgorithm=directioniterative", "cal.stepsize=0.5", "cal.datause=dual"]
        output = [f"cal.h5parm={solutions}", "cal.modeldatacolumns=[MODEL_DATA]"]
        solver = ["cal.type=ddecal", f"cal.mode={mode}", *output, *method]
    return [*start, "msout=", *solver, *common]


def quartical(case: Case, ms: str, solutions: str) -> list[str]:
    scans = "[FIELD_ID,DATA_DESC_ID]" if case.kind == "B" else "[SCAN_NUMBER,FIELD_ID,DATA_DESC_ID]"
    threads = (CPUS, 1) if case.kind == "B" else (1, CPUS)
    term = {
        "G": ["G.type=diag_complex", "G.time_interval=0", "G.freq_interval=0"],
        "P": ["G.type=phase", "G.time_interval=1", "G.freq_interval=0"],
        "B": ["G.type=diag_complex", "G.time_interval=0", "G.freq_interval=1", "G.respect_scan_boundaries=False"],
    }["G" if case.kind == "A" else case.kind]
    out = f"{solutions}.applied" if case.kind == "A" else solutions
    job = ["solver.iter_recipe=[50]"]
    if case.kind == "A":
        written = ["output.products=[corrected_data]", "output.columns=[CORRECTED_DATA]"]
        job = ["solver.iter_recipe=[0]", f"G.load_from={solutions}/G", *written]
    return [
        *(os.environ["CALIBRANT_QUARTICAL"], f"input_ms.path={ms}", "input_ms.data_column=DATA"),
        *("input_ms.weight_column=WEIGHT_SPECTRUM", "input_ms.time_chunk=0", "input_ms.freq_chunk=0"),
        *(f"input_ms.group_by={scans}", "input_model.recipe=MODEL_DATA", f"output.gain_directory={out}"),
        *(f"output.log_directory={out}.logs", "output.overwrite=True", "output.flags=False", "solver.terms=[G]"),
        *(f"solver.threads={threads[0]}", f"dask.threads={threads[1]}", "solver.propagate_flags=False"),
        *("solver.reference_antenna=0", "solver.convergence_criteria=1e-6", *term, *job),
    ]


OURS = Tool("calibrant", calibrant)
OTHERS = {
    "CALIBRANT_CASA_PYTHON": [Tool("CASA", casa)],
    "CALIBRANT_DP3": [
        Tool("DP3 ddecal", lambda *job: dp3(*job, step="ddecal"), ".h5", kinds="GPB"),
        Tool("DP3 gaincal", lambda *job: dp3(*job, step="gaincal"), ".h5", kinds="GPB"),
        Tool("DP3 applycal", lambda *job: dp3(*job, step="gaincal"), ".h5", kinds="A"),
    ],
    "CALIBRANT_QUARTICAL": [Tool("QuartiCal", quartical, ".qc", weights=False)],
}


def tools() -> tuple[list[Tool], list[str]]:
    """Those that can run, and a sentence for each that cannot."""
    found, missing = [OURS], []
    for variable, members in OTHERS.items():
        if os.environ.get(variable):
            found += members
        else:
            missing.append(f"{members[0].name.split()[0]}: not measured, because {variable} is not set")
    return found, missing


# ---- the measurements -------------------------------------------------------------------------------------


def measure(workdir: Path, case: Case, present: list[Tool], repeat: int, others: int) -> list[Figures]:
    """Every tool's runs of a case, taken in turn so that all see the same machine."""
    ms = data_set(workdir, case.data)
    taking = [t for t in present if case.kind in t.kinds and (t is OURS or not case.ours_only)]
    taking = [t for t in taking if t.weights or not case.calwt]
    if case.kind == "A":
        _prepare_tables(workdir, case, taking)
    warm(ms)
    figures = {tool.name: Figures(case.name, tool.name) for tool in taking}
    for count in range(1 + max(repeat, others)):  # the first, uncounted, fills caches and compiles kernels
        for tool in taking:
            wanted = count <= (repeat if tool is OURS else others) and not (count == 0 and _once(tool))
            if wanted and not figures[tool.name].error:
                _one_run(workdir, case, tool, ms, figures[tool.name], counted=count > 0)
    for tool in taking:
        if not figures[tool.name].error:
            figures[tool.name].accuracy = _accuracy(workdir, case, tool, ms)
    return list(figures.values())


def _one_run(workdir: Path, case: Case, tool: Tool, ms: Path, figures: Figures, counted: bool) -> None:
    log = workdir / "last.log"
    if case.fresh:
        helper(DROP, str(ms))
    os.sync()
    load = os.getloadavg()[0]
    wall, cpu, peak, status = run(tool.command(case, str(ms), str(_solutions(workdir, case, tool))), log)
    if status:
        figures.error = f"exit status {status}: {_tail(log)}"
    elif counted:
        figures.wall.append(round(wall, 4))
        figures.cpu.append(round(cpu, 4))
        figures.peak_mb.append(round(peak, 1))
        figures.load.append(round(load, 2))


def _accuracy(workdir: Path, case: Case, tool: Tool, ms: Path) -> float | None:
    """Of the last solutions (CASA tables only), or of CORRECTED_DATA after one more run of ours."""
    if case.kind != "A":
        return (
            float(helper("accuracy.py", str(ms), str(_solutions(workdir, case, tool))))
            if tool.suffix == ".cal"
            else None
        )
    if tool is not OURS:
        return None
    run(tool.command(case, str(ms), str(_solutions(workdir, case, tool))), workdir / "last.log")
    return float(helper("accuracy.py", str(ms), "CORRECTED_DATA"))


def _once(tool: Tool) -> bool:
    """Whether a tool needs no run to warm up: it has no caches of its own."""
    return tool.name.startswith(("DP3", "CASA"))


def _solutions(workdir: Path, case: Case, tool: Tool) -> Path:
    name = tool.name.split()[0].lower() if case.kind == "A" else tool.name.replace(" ", "_").lower()
    source = case.data.replace("_A", "_G")
    return workdir / f"{source}.{name}{'.apply' if case.kind == 'A' else ''}{tool.suffix}"


def _prepare_tables(workdir: Path, case: Case, taking: list[Tool]) -> None:
    """Solve for the tables that will be applied, each tool its own."""
    solve = Case("", "G", case.data.replace("_A", "_G"))
    for tool in taking:
        path = _solutions(workdir, case, tool)
        if not path.exists():
            run(tool.command(solve, str(data_set(workdir, solve.data)), str(path)), workdir / "last.log")


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "no output"


def yardsticks(workdir: Path) -> dict[str, object]:
    """The machine itself, and our phases on the 1 GB sets."""
    ms = data_set(workdir, "full_G")
    warm(ms)
    found: dict[str, object] = {}
    for label, columns in (("columns our solves read", READ), ("all columns", ALL)):
        runs = [json.loads(helper("yardsticks.py", str(ms), *columns)) for _ in range(3)]
        found[label] = min((one["pass"] for one in runs), key=lambda one: one["cpu"])
        found["copy_gb_s"] = max(one["copy_gb_s"] for one in runs)
    found["phases"] = {}
    for case in (CASES[0], CASES[1], CASES[2], CASES[4], CASES[7]):
        path = data_set(workdir, case.data)
        words = calibrant(case, str(path), str(_solutions(workdir, case, OURS)))[1:]
        warm(path)
        runs = [json.loads(helper("phases.py", *words).splitlines()[-1]) for _ in range(3)]
        found["phases"][case.name] = min(runs, key=lambda one: one["cpu"]["whole command"])  # type: ignore[index]
    return found


# ---- what is printed --------------------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, flush=True)


def rows_of(case: Case, figures: list[Figures]) -> list[str]:
    """Lines of the table: min and median of wall and CPU, peak memory, CPU against ours."""
    ours = next((f for f in figures if f.tool == OURS.name and f.cpu), None)
    lines = []
    for one in figures:
        if one.error or not one.cpu:
            lines.append(f"{case.name:30s} {one.tool:13s} {one.error or 'no run'}"[:100])
            continue
        ratio = f"{statistics.median(one.cpu) / statistics.median(ours.cpu):7.1f}" if ours else ""
        accuracy = f"{one.accuracy:10.3e}" if one.accuracy is not None else ""
        spread = " ".join(f"{min(v):6.2f} {statistics.median(v):6.2f}" for v in (one.wall, one.cpu))
        lines.append(f"{case.name:30s} {one.tool:13s} {spread} {max(one.peak_mb):7.0f} {ratio:7s} {accuracy}")
    return lines


HEAD = f"{'case':30s} {'tool':13s} {'wall s':>13s} {'CPU s':>13s} {'peak MB':>7s} {'CPU/our':>7s} {'rms error':>10s}"
SUB = f"{'':44s} {'min':>6s} {'median':>6s} {'min':>6s} {'median':>6s}"


def verdicts(found: list[Figures], yard: dict[str, object]) -> list[str]:
    """The floors of the project against the medians."""
    median = {
        (f.case, f.tool): (statistics.median(f.wall), statistics.median(f.cpu), max(f.peak_mb)) for f in found if f.cpu
    }
    lines = []
    for case in CASES:
        mine = median.get((case.name, OURS.name))
        if mine is None:
            continue
        others = {tool: m[1] for (name, tool), m in median.items() if name == case.name and tool != OURS.name}
        if case.data.startswith("full"):
            lines.append(_verdict(f"{case.name}: peak memory, MB", mine[2], MEMORY_MB, most=True))
        if case.data.startswith("full") and others:
            best = min(others, key=lambda tool: others[tool])
            lines.append(_verdict(f"{case.name}: CPU of {best} / ours", others[best] / mine[1], FLOORS[case.kind]))
        if case.data.startswith("small"):
            lines.append(_verdict(f"{case.name}: wall s", mine[0], SMALL_WALL, most=True))
    return lines + _scaling(median, yard)


def _scaling(median: dict[tuple[str, str], tuple[float, float, float]], yard: dict[str, object]) -> list[str]:
    def ours(name: str) -> tuple[float, float, float] | None:
        return median.get((name, OURS.name))

    lines = []
    startup = ours(CASES[-1].name)
    passes = yard.get("columns our solves read")
    for job in ("gaincal inf", "gaincal int", "bandpass", "applycal first"):
        full, large = ours(f"{job}, 1 GB"), ours(f"{job}, 4 GB")
        if startup and full and isinstance(passes, dict) and not job.startswith("apply"):
            ratio = (full[1] - startup[1]) / passes["cpu"]
            lines.append(_verdict(f"{job}, 1 GB: (CPU - start-up) / getcolnp pass", ratio, PASSES, most=True))
        if full and large:
            lines.append(_verdict(f"{job}: peak memory, 4 GB / 1 GB", large[2] / full[2], 1.1, most=True))
            if startup:
                ratio = (large[1] - startup[1]) / (full[1] - startup[1]) / 4
                lines.append(_verdict(f"{job}: CPU per visibility, 4 GB / 1 GB", ratio, 1.15, most=True))
    return lines


def _verdict(what: str, value: float, bound: float, most: bool = False) -> str:
    good = value <= bound if most else value >= bound
    return f"  {'yes' if good else 'NO ':3s} {what:62s} {value:8.2f}  ({'at most' if most else 'at least'} {bound:g})"


def show_yardsticks(yard: dict[str, object]) -> None:
    if not yard:
        return
    say(f"\nnumpy copy, 64 MB slices: {yard['copy_gb_s']:.1f} GB/s (read + written)")
    for label in ("columns our solves read", "all columns"):
        one = yard[label]
        assert isinstance(one, dict)
        say(f"getcolnp pass, {label}: {one['gb']:.2f} GB, wall {one['wall']:.2f} s, CPU {one['cpu']:.2f} s")
    say("\nWhere our CPU seconds go (wall in brackets; threads add up)")
    phases = yard["phases"]
    assert isinstance(phases, dict)
    for name, one in phases.items():
        parts = [f"{phase} {cpu:.2f} ({one['wall'].get(phase, 0):.2f})" for phase, cpu in one["cpu"].items()]
        text = f"{name}: "
        for part in parts:
            if len(text) + len(part) > 98:
                say(text)
                text = "    "
            text += part + ", "
        say(text.rstrip(", "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="data sets are made and kept here: 30 GB for all")
    parser.add_argument("--cases", default="*", help="glob patterns of case names, with ; between them")
    parser.add_argument("--tools", default="", help="only these, with commas; all that are found otherwise")
    parser.add_argument("--repeat", type=int, default=7, help="counted runs of calibrant")
    parser.add_argument("--others", type=int, default=3, help="counted runs of the other tools")
    parser.add_argument("--no-yardsticks", action="store_true")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    args.workdir.mkdir(parents=True, exist_ok=True)
    args.workdir = args.workdir.resolve()
    present, missing = tools()
    if args.tools:
        wanted = [name.strip().lower() for name in args.tools.split(",")]
        present = [t for t in present if t is OURS or any(t.name.lower().startswith(name) for name in wanted)]
    chosen = [c for c in CASES if any(fnmatch.fnmatch(c.name, pattern) for pattern in args.cases.split(";"))]
    say(f"{platform.machine()}, {CPUS} CPUs, load {os.getloadavg()[0]:.2f}; whole processes, page cache warm,")
    say("CPU = user + system; 1 GB means 0.99 GB of DATA, 2.6 GB of columns (README.md)")
    for sentence in missing:
        say(sentence)
    say(f"\n{HEAD}\n{SUB}")
    found: list[Figures] = []
    for case in chosen:
        mine = measure(args.workdir, case, present, args.repeat, args.others)
        found += mine
        say("\n".join(rows_of(case, mine)))
    yard = {} if args.no_yardsticks else yardsticks(args.workdir)
    show_yardsticks(yard)
    lines = verdicts(found, yard)
    say("\nFloors (medians)\n" + "\n".join(lines))
    say(f"load at the end {os.getloadavg()[0]:.2f}")
    if args.json:
        report = {"figures": [asdict(one) for one in found], "yardsticks": yard, "floors": lines, "missing": missing}
        args.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
