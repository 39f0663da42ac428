#!/usr/bin/env python3
"""Runs the measuring programs and prints what they found. Called by ./dev bench [NAME] [--quick].

Programs are found by convention: build/bin/bench_<name> (from tests/bench/bench_<name>.c) and tests/bench/bench_<name>.py. Each writes
build/bench/<name>.json: {"name", "machine", "cases": [{"id", "value", "unit", "against", "ratio", "runs"}]}. Not here: any measurement.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
RESULTS = BUILD / "bench"


def machine():
    """One line that says what a number was measured on."""
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model", "cpu model")):
            model = " ".join(line.split(":", 1)[1].split())
            break
    memory_kib = int(pathlib.Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {memory_kib / 2**20:.1f} GiB, Linux {os.uname().release}"


def programs():
    found = {p.name[len("bench_"):]: [p] for p in (BUILD / "bin").glob("bench_*") if os.access(p, os.X_OK)}
    # A source that is gone leaves its program behind.
    found = {name: command for name, command in found.items() if (ROOT / f"tests/bench/bench_{name}.c").exists()}
    found.update({p.stem[len("bench_"):]: [sys.executable, p] for p in (ROOT / "tests/bench").glob("bench_*.py")})
    return dict(sorted(found.items()))


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def show(result):
    rows = [("case", "value", "unit", "against", "ratio", "runs")]
    for case in result["cases"]:
        ratio = case.get("ratio")
        rows.append((case["id"], number(case["value"]), case["unit"], case.get("against") or "", f"{ratio:.2f}x" if ratio is not None else "", str(case["runs"])))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print(f"\n{result['name']}" + (" (quick: a smoke test, not a measurement)" if result.get("quick") else ""))
    for at, row in enumerate(rows):
        cells = [cell.rjust(w) if i in (1, 4, 5) else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        print("  " + "  ".join(cells).rstrip())
        if at == 0:
            print("  " + "  ".join("-" * w for w in widths))


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description="measure and print tables; results stay in build/bench/")
    parser.add_argument("name", nargs="?", default="", help="run only programs whose name contains this")
    parser.add_argument("--quick", action="store_true", help="few runs: shows that everything works, measures nothing")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    chosen = {name: command for name, command in programs().items() if options.name in name}
    if not chosen:
        print(f"no bench program's name contains '{options.name}'; there are: {', '.join(programs()) or 'none'}", file=sys.stderr)
        return 1
    here = machine()
    print(f"machine: {here}")
    env = dict(os.environ, EE_BENCH_DIR=str(RESULTS), EE_BENCH_MACHINE=here, EE_BUILD_DIR=str(BUILD), EE_SOURCE_DIR=str(ROOT))
    env["PATH"] = f"{BUILD / 'bin'}{os.pathsep}{env['PATH']}"
    python = [BUILD / "python", ROOT / "bindings/python"]
    env["PYTHONPATH"] = os.pathsep.join(str(p) for p in python if (p / "easyenclave/__init__.py").exists())
    failed = []
    for name, command in chosen.items():
        record = RESULTS / f"{name}.json"
        record.unlink(missing_ok=True)
        code = subprocess.run([*command, *(["--quick"] if options.quick else [])], cwd=ROOT, env=env).returncode
        if record.exists():
            show(json.loads(record.read_text()))
        if code or not record.exists():
            failed.append(f"{name} (exit {code}{'' if record.exists() else ', no results'})")
    print()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
