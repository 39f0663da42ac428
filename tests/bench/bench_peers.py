#!/usr/bin/env python3
"""Ours beside other people's verifiers: the same quote and collateral, nothing kept from one verification to the next, in turns. Those that
cannot be installed are left out, and said to be. In processor time, so that it holds on a machine where others work. Not for what they
judge (tests/integration/test_peer_differential.py). Run by ./dev bench peers [--quick]."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(os.environ.get("EE_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(ROOT / "tests/peer"))
from install import JAVASCRIPT, PYTHON, javascript_peer, javascript_version, python_peer  # noqa: E402
from verdicts import BUILD  # noqa: E402

OURS = "easyenclave, in C"


class Looping:
    """A process that verifies as often as it is told."""

    def __init__(self, name, command, each):
        self.name, self.each, self.runs = name, each, []
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self):
        self.process.stdin.write(f"{self.each}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: {self.name} ended")
        return float(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


def verifiers(folder, quick):
    now = int(time.time())
    # Long enough for a timer each, and for a compiler that learns while it runs.
    found = [Looping(OURS, [BUILD / "bin/bench_verify", "--serve", folder, now], 20 if quick else 200)]
    peers = [(f"dcap-qvl {version()}, in Rust", python_peer(), [sys.executable, ROOT / "tests/peer/loop.py", PYTHON, folder, now], 100),
             (f"@phala/dcap-qvl {javascript_version()}, in JavaScript", javascript_peer(), ["node", ROOT / "tests/peer/loop.js", JAVASCRIPT, folder, now], 30)]
    for name, missing, command, each in peers:
        if missing:
            print(f"left out: {name}: {missing}", flush=True)
        else:
            found.append(Looping(name, command, 5 if quick else each))
    return found


def version():
    lines = (ROOT / "tests/peer/requirements.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith("dcap-qvl==")).split("==")[1].split()[0]


def measure(all_of_them, runs):
    for _ in range(2):  # thrown away
        for one in all_of_them:
            one.run()
    for _ in range(runs):
        for one in all_of_them:
            one.runs.append(one.run())
    base = statistics.median(all_of_them[0].runs)
    for one in all_of_them:
        value = statistics.median(one.runs)
        against = None if one.name == OURS else OURS
        yield dict(id=one.name, value=value, unit="us", against=against, ratio=against and value / base, runs=len(one.runs), min=min(one.runs), max=max(one.runs))


def main():
    quick = "--quick" in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="ee-bench-") as folder:
        subprocess.run([BUILD / "tests/ee-sim-platform", folder], check=True)
        found = verifiers(folder, quick)
        try:
            cases = list(measure(found, 3 if quick else 9))
        finally:
            for one in found:
                one.close()
    results = pathlib.Path(os.environ.get("EE_BENCH_DIR", BUILD / "bench"))
    record = dict(name="peers", machine=os.environ.get("EE_BENCH_MACHINE", ""), quick=quick, cases=cases)
    (results / "peers.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
