#!/usr/bin/env python3
"""The measuring programs of the verifier work, and the memory it takes is what eesdk/verify.h promises. How fast it is depends on the machine
and is for ./dev bench, not for a test."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(os.environ.get("EE_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("EE_BUILD_DIR", ROOT / "build"))


class Bench(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ee-bench-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def cases(self, name):
        done = subprocess.run([BUILD / f"bin/bench_{name}", "--quick"], env=dict(os.environ, EE_BENCH_DIR=str(self.folder)), capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return {case["id"]: case["value"] for case in json.loads((self.folder / f"{name}.json").read_text())["cases"]}

    def test_memory_is_what_the_header_promises(self):
        said = re.sub(r"\s*\n \*\s*", " ", (ROOT / "sdk/include/eesdk/verify.h").read_text())
        most, with_log = map(int, re.search(r"At most (\d+) KiB of memory beside the collateral, and (\d+) KiB more for a boot log", said).groups())
        found = self.cases("verify_memory")
        self.assertLessEqual(found["verify, beside the collateral: most at once"] + found["stack"], most)
        self.assertLessEqual(found["the same with a boot log of 512 events"], most + with_log)
        self.assertGreater(found["the same with a boot log of 512 events"], found["verify, beside the collateral: most at once"], "the boot log was not read")
        self.assertEqual(found["left when both are freed"], 0)

    def test_every_case_of_verify_gives_a_value(self):
        found = self.cases("verify")
        self.assertEqual(sum(name.startswith("refuse: ") for name in found), 8)
        self.assertTrue(all(value > 0 for value in found.values()), found)

    def test_verifying_when_told(self):
        subprocess.run([BUILD / "tests/ee-sim-platform", self.folder], check=True, timeout=60)
        for now, code, lines in ((int(time.time()), 0, 2), (1, 1, 0)):  # at another time it does not verify, which is no measurement
            done = subprocess.run([BUILD / "bin/bench_verify", "--serve", self.folder, str(now)], input="1\n3\n", capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, len(done.stdout.splitlines())), (code, lines), done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
