"""All-sky arrays: time and accuracy of `calibrant allsky calibrate`, beside what is recorded of tart_calibrate.

    python benchmarks/allsky.py [--repeat 5] [--json FILE] [--with-tart-tools DIR [--method LB] [--limit 300]]

Whole processes, from start to exit, as a user starts them (no limit on threads is set): wall time, and user + system
CPU time as the kernel counts it (`wait4`). Data: `data/tart` of the shared folder (../shared, or CALIBRANT_SHARED).
Errors are gauge-free: one common phase and one common gain are taken out.

Numbers of tart_calibrate are RECORDED: measured once, on a loaded 2-core machine, with tart-tools 1.2.3 (1.4.6 stops
with a NameError). `--with-tart-tools DIR` installs 1.2.3 from PyPI into a virtual environment in DIR and runs it too,
for `--limit` seconds at most; what it says is reported, also when it fails.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
SIMULATED = ("sim_far_inb", "sim_near25_inb", "sim_multi3_inb")
REAL = ("signal_hill_2019-08-04", "rhodes_2022-07-23_calibration_data")
TARGET_CPU = {"sim_far_inb": 1.0, "sim_near25_inb": 1.0, "sim_multi3_inb": 2.0}
RECORDED = [
    # data, method, CPU s, phase rms deg, gain rms %
    ("sim_far_inb", "tart_calibrate 1.2.3 BH, 300 iterations", "1030", "49.9", "13.2"),
    ("sim_far_inb", "tart_calibrate 1.2.3 LB", "3.4", "29.2", "20.4"),
    ("sim_near25_inb", "any of the present tools: far-field model", "-", "14.9", "-"),
    ("sim_multi3_inb", "tart_calibrate 1.2.3 BH, 64 of 300 iterations", "670", "12.3", "14.5"),
    ("sim_multi3_inb", "tart_calibrate 1.2.3 LB", "8.9", "54", "48"),
]
PACKAGES = ("tart==1.2.3", "tart-tools==1.2.3", "numpy==1.26.4", "scipy==1.11.4", "matplotlib", "setuptools<80")


def shared() -> Path:
    folder = Path(os.environ.get("CALIBRANT_SHARED", REPOSITORY.parent / "shared")) / "data/tart"
    if not folder.is_dir():
        raise SystemExit(f"no data: {folder} is absent; set CALIBRANT_SHARED to the folder that has data/tart")
    return folder


def measured(command: list[str], output: Path, limit_s: float = 600.0) -> dict[str, Any]:
    """Run to the end (or the limit): exit code, wall and CPU seconds, output."""
    with output.open("wb") as file:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=output.parent)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - start > limit_s:
                process.kill()
                _, status, usage = os.wait4(process.pid, 0)
                break
            time.sleep(0.005)
        wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    text = output.read_text(errors="replace")
    return {"code": process.returncode, "wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "text": text}


def errors(gain: list[float], phase: list[float], truth: dict[str, Any]) -> tuple[float, float]:
    """(phase rms in degrees, gain rms in percent) of corrections against the truth."""
    true = np.array(truth["gain"]) * np.exp(1j * np.array(truth["phase_offset"]))
    ratio = np.array(gain) * np.exp(1j * np.array(phase)) / true
    ratio = ratio / ratio.mean()
    size = np.abs(ratio) / np.abs(ratio).mean()
    return float(np.degrees(np.sqrt(np.mean(np.angle(ratio) ** 2)))), float(100 * np.sqrt(np.mean((size - 1) ** 2)))


def ours(path: Path, folder: Path, repeat: int) -> dict[str, Any]:
    """Runs of ours on one file (the first is not counted), and the result of the last."""
    command = [sys.executable, "-m", "calibrant.cli.main"]
    script = Path(sys.executable).with_name("calibrant")
    command = [str(script)] if script.exists() else command
    gains = folder / "gains.json"
    words = [*command, "allsky", "calibrate", str(path), "-o", str(gains), "--overwrite", "--json"]
    runs = [measured(words, folder / "ours.txt") for _ in range(repeat + 1)][1:]
    if runs[-1]["code"] not in (0, 3):
        raise SystemExit(f"{path.name}: exit code {runs[-1]['code']}:\n{runs[-1]['text'][-2000:]}")
    result = json.loads(runs[-1]["text"])
    return {
        "cpu": statistics.median(run["cpu"] for run in runs),
        "wall": statistics.median(run["wall"] for run in runs),
        "gains": json.loads(gains.read_text()),
        "result": result,
    }


def tart_tools(home: Path, path: Path, method: str, limit_s: float, folder: Path) -> dict[str, Any]:
    """One run of tart_calibrate from PyPI, and what it found or said."""
    python = home / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    words = [str(python), str(home / "bin/tart_calibrate"), "--api", "http://127.0.0.1:9", "--file", str(path)]
    run = measured([*words, "--method", method, "--dir", str(folder)], folder / "tart.txt", limit_s)
    found = folder / f"{method}_opt_json.json"
    run["gains"] = json.loads(found.read_text()) if found.exists() else None
    return run


def simulations(data: Path, arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    print(f"{'data':<16} {'what':<56} {'CPU s':>7} {'wall s':>7} {'phase deg':>10} {'gain %':>7}")
    rows = []
    for name in SIMULATED:
        truth = json.loads((data / f"{name}.truth.json").read_text())
        run = ours(data / f"{name}.json", folder, arguments.repeat)
        phase, gain = errors(run["gains"]["gain"], run["gains"]["phase_offset"], truth)
        over = "" if run["cpu"] < TARGET_CPU[name] else f"  (over {TARGET_CPU[name]:g} s)"
        print(f"{name:<16} {'calibrant':<56} {run['cpu']:7.2f} {run['wall']:7.2f} {phase:10.3f} {gain:7.2f}{over}")
        rows.append({"data": name, "cpu": run["cpu"], "wall": run["wall"], "phase_deg": phase, "gain_percent": gain})
        for _, what, cpu, was_phase, was_gain in (row for row in RECORDED if row[0] == name):
            print(f"{'':<16} {'RECORDED ' + what:<56} {cpu:>7} {'':>7} {was_phase:>10} {was_gain:>7}")
        if arguments.with_tart_tools:
            rows.append(compare(data / f"{name}.json", truth, arguments, folder))
    return rows


def compare(path: Path, truth: dict[str, Any], arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A line on tart-tools, run here and now."""
    home = Path(arguments.with_tart_tools).resolve()
    with tempfile.TemporaryDirectory(dir=folder) as own:
        run = tart_tools(home, path, arguments.method, arguments.limit, Path(own))
    what = f"tart_calibrate 1.2.3 {arguments.method}, run now"
    if run["gains"]:
        phase, gain = errors(run["gains"]["gain"], run["gains"]["phase_offset"], truth)
        print(f"{'':<16} {what:<56} {run['cpu']:7.2f} {run['wall']:7.2f} {phase:10.3f} {gain:7.2f}")
    else:
        phase = gain = math.nan
        said = (run["text"].strip().splitlines() or ["nothing"])[-1]
        print(f"{'':<16} {what:<56} {run['cpu']:7.2f} {run['wall']:7.2f}  exit {run['code']}: {said[:60]}")
    return {"data": path.stem, "tool": what, "cpu": run["cpu"], "phase_deg": phase, "gain_percent": gain}


def real(data: Path, arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    print(f"\n{'real data':<36} {'CPU s':>7} {'held out':>9} {'null':>6} {'turned':>8}  verdict")
    rows = []
    for name in REAL:
        run = ours(data / "json" / f"{name}.json", folder, arguments.repeat)
        one = run["result"]
        turn = ("mirror " if one["mirror"] else "") + f"{one['rot_degrees']:.1f}"
        print(
            f"{name:<36} {run['cpu']:7.2f} {one['held_out_power']:9.3f} {one['null_power']:6.2f} {turn:>11}  "
            f"{one['verdict']}"
        )
        rows.append({"data": name, "cpu": run["cpu"], "held_out_power": one["held_out_power"]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="counted runs of ours")
    parser.add_argument("--json", default="", help="write every number here")
    parser.add_argument("--with-tart-tools", default="", metavar="DIR", help="virtual environment for tart-tools")
    parser.add_argument("--method", default="LB", choices=("LB", "NM", "DE", "BH"), help="of tart_calibrate")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one run of tart_calibrate")
    arguments = parser.parse_args()
    data = shared()
    with tempfile.TemporaryDirectory() as name:
        rows = [*simulations(data, arguments, Path(name)), *real(data, arguments, Path(name))]
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
