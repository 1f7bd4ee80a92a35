"""A Field System log of 100 MB, read and reduced: MB/s, the ratio to reading its bytes, and peak memory.

    python benchmarks/station.py [--megabytes 100] [--repeat 3] [--workdir DIR] [--json FILE]

The log is invented: hours of ordinary traffic (schedule, antenna, continuous cal, weather, BBC settings) one after
another, every sixth with a pointing and an ONOFF of 16 detectors, more than most logs have. Every job runs in a process
of its own, taking turns; the log is read once before, so that its bytes come from memory. `--json` writes every run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOUR = "yyyy.ddd.hh"
"""Stands for the first 11 characters of a time stamp in the hour's text."""
DETECTORS = [f"{channel}{side}" for channel in "12345678" for side in "lu"]
PIECE = 1 << 22


# ---- the log ----------------------------------------------------------------------------------------------


def hour(calibration: bool) -> str:
    """One hour: perhaps an ONOFF and a pointing at its beginning, then a scan of a schedule every four minutes."""
    lines = [*onoff(), *pointing()] if calibration else []
    for scan in range(14):
        lines += schedule_scan(4 + 4 * scan)
    return "".join(f"{HOUR}:{minute:02d}:{second:05.2f}{text}\n" for minute, second, text in lines)


def onoff() -> list[tuple[int, float, str]]:
    row = " ".join
    rows = [";source=casa,232324.8,+584859.,2000.", "#onoff#    De    Center  TCal    Flux    DPFU     Gain"]
    rows += [
        f"#onoff#APR {name}   {8212.99 + 10 * i:7.2f} 11.80  587.28  0.100000 0.98000  0.098000 8080.00 c 0.12758"
        for i, name in enumerate(DETECTORS)
    ]
    rows.append("#onoff#ORIG 58468.2   0.00000   0.00000  -0.05488   0.02390   0.00000   0.00000")
    levels = {"ONSO": 12776.0, "ONSC": 14672.0, "OFFC": 13341.0, "OFFS": 11441.0, "ZERO": 774.0}
    visits = ["ONSO", "ONSC", "OFFC", "OFFS", "ZERO", "ONSO", "ONSC", "OFFC", "OFFS", "ONSO", "ONSC"]
    for i, state in enumerate(visits):
        for pair in range(0, len(DETECTORS), 2):
            found = row(f"{name} {levels[state] + 7 * i:9.1f} {3.1:8.1f}" for name in DETECTORS[pair : pair + 2])
            rows.append(f"#onoff#{state} {5.4 + 8.4 * i:7.1f}   0.00000   0.00000 {found}")
    rows += [f"#onoff#SIG {'':21}{name}{'':15}0.0378  1.74   57.1   7.158  0.06" for name in DETECTORS]
    rows += [
        f"#onoff#VAL casa       308.3 34.4 {name} 1 {'lr'[i % 2]} {8212.99 + 10 * i:9.2f} 0.9897 64.57 1413.2 258.2 2.1"
        for i, name in enumerate(DETECTORS)
    ]
    rows.append("#onoff#    source       Az   El  De I P   Center   Comp   Tsys  SEFD  Tcal(j) Tcal(r)")
    return [(0, 0.2 * i, text) for i, text in enumerate(rows)]


def pointing() -> list[tuple[int, float, str]]:
    rows = [
        "source casa       232324.8 +584859 2000.0 2016.067.16:07:35",
        "fivept azel  -2   9 0.40  1 i1  11.7  0.1250     182.3",
        "tsys 305.989  34.696  59.341",
        *[f"lat {i:3d}  58076.  -0.2065    0.174" for i in range(9)],
        "latfit   0.02390  0.1156  7.1777  0.7800  0.0015   5",
        "lonfit  -0.05488  0.1121  7.0756  1.1871  0.0084   5",
        "perform    0.603  1529.1    0.341    5.748",
        "xoffset  307.7682   34.5307  -0.04521   0.02390  0.00195  0.00151 1 1 casa",
    ]
    return [(2, float(i), f"#fivpt#{text}") for i, text in enumerate(rows)]


def schedule_scan(minute: int) -> list[tuple[int, float, str]]:
    rows = [
        f":scan_name=067-{minute:04d},r1730,ny,46,46",
        ":source=0420-014,042043.52,-012728.7,1950.0,neutral",
        "/wx/-5.49,1004.5,95.5,5.5,66.3",
        "?ERROR qo -301 WARNING: ONSOURCE status is SLEWING!",
        *[f"/bbc{i:02d}/ 612.990000,a, 8, 1,agc,109,110,16063,16138,    0,    0" for i in range(1, 9)],
        *["/mk5/!rtime? 0 : 4000 : 21.1 : 37.0 : 0 : 0 : 0 : 0 ;", "#trakl#Source acquired", "/onsource/TRACKING"] * 12,
        *["&preob/onsource", "&midob/data_valid=on", "#setcl#model/0,1457367245.000,0.0,0.0", "/cable/+1.08E-02"] * 10,
    ]
    power = ",".join(f"{name},16289,15397" for name in DETECTORS[:5])
    tsys = ",".join(f"{name},36.9" for name in DETECTORS[:8])
    rows += [f"#tpicd#tpcont/{power}"] * 30 + [f"#tpicd#tsys/{tsys}"] * 2
    return [(minute + int(i >= 60), 0.5 * (i % 60), text) for i, text in enumerate(rows)]


def write_log(path: Path, megabytes: float) -> None:
    texts = [hour(calibration=True), *[hour(calibration=False)] * 5]
    with path.open("w") as file:
        for count in range(max(1, round(megabytes * 1e6 / sum(map(len, texts)) * len(texts)))):
            days, of_day = divmod(count, 24)
            years, day = divmod(days, 365)
            file.write(texts[count % len(texts)].replace(HOUR, f"{2001 + years}.{day + 1:03d}.{of_day:02d}"))


# ---- the jobs ---------------------------------------------------------------------------------------------


def read_bytes(path: str) -> str:
    size = 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(PIECE):
            size += len(piece)
    return f"{size} bytes"


def parse(path: str) -> str:
    from calibrant.station.fslog import read_log

    log = read_log(path, progress=False)
    if log.skipped or any(scan.status != "complete" for scan in log.scans):
        raise SystemExit("the benchmark's own log was not understood")
    return f"{log.lines} lines, {len(log.scans)} scans"


def stream(path: str) -> str:
    from calibrant.station.fslog import records

    return f"{sum(1 for _ in records(path))} records"


def reduce(path: str) -> str:
    """What `calibrant station onoff` does before it prints: parse, recompute every scan, compare with VAL."""
    from calibrant.station.agreement import agreement
    from calibrant.station.fslog import read_log
    from calibrant.station.points import build_points

    log = read_log(path, progress=False)
    points, _ = build_points([log])
    found = agreement(log.scans, 1e-3)
    return f"{len(points)} points, {found.rows} VAL rows compared"


JOBS: dict[str, Callable[[str], str]] = {
    "read bytes": read_bytes,
    "read_log": parse,
    "reduced": reduce,
    "all records": stream,
}
"""Each gets the path of the log and says what it found."""


def job(name: str, path: str) -> None:
    """In the child: run a job and print its figures. Imports are counted with the work."""
    start = time.perf_counter()
    result = JOBS[name](path)
    wall = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    per_mb = 1e6 if sys.platform == "darwin" else 1e3
    figures = {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / per_mb}
    sys.stdout.write(json.dumps(figures | {"result": result}) + "\n")


def measure(name: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--job", name, "--log", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"job": name, "megabytes": path.stat().st_size / 1e6, "load": os.getloadavg()[0]} | figures


def run(folder: Path, megabytes: float, repeat: int) -> list[dict[str, Any]]:
    """All jobs on the whole log, and on a tenth of it, which shows whether memory grows with the log."""
    runs = []
    for size in (megabytes / 10, megabytes):
        path = folder / f"bench{size:.0f}.log"
        if not path.exists():
            write_log(path, size)
        read_bytes(str(path))
        for _ in range(repeat):
            runs += [measure(name, path) for name in JOBS]
    return runs


def table(runs: list[dict[str, Any]]) -> str:
    lines = [f"{'job':14s} {'MB':>6s} {'wall s':>7s} {'CPU s':>6s} {'MB/s':>6s} {'x bytes':>8s} {'peak MB':>8s}"]
    for size in sorted({one["megabytes"] for one in runs}):
        walls = {
            name: statistics.median(one["wall_s"] for one in runs if (one["job"], one["megabytes"]) == (name, size))
            for name in JOBS
        }
        for name, wall in walls.items():
            those = [one for one in runs if (one["job"], one["megabytes"]) == (name, size)]
            cpu = statistics.median(one["cpu_s"] for one in those)
            peak = max(one["peak_mb"] for one in those)
            ratio = wall / walls["read bytes"]
            figures = f"{size:6.1f} {wall:7.3f} {cpu:6.2f} {size / wall:6.0f} {ratio:8.0f} {peak:8.0f}"
            lines.append(f"{name:14s} {figures}  {those[0]['result']}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100.0, help="size of the log")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each job")
    parser.add_argument("--workdir", type=Path, help="keep the logs here; default: a temporary directory")
    parser.add_argument("--json", type=Path, help="write every run")
    parser.add_argument("--job", choices=sorted(JOBS), help=argparse.SUPPRESS)
    parser.add_argument("--log", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        job(options.job, options.log)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.workdir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        runs = run(folder, options.megabytes, options.repeat)
    sys.stdout.write(table(runs) + "\n")
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
