#!/usr/bin/env python3
"""Threats L1-L4, W11: a marker given as env is found nowhere but in the job. With positive controls, so that a search that finds nothing
is known to be able to find something."""
# deadline: 300
import os
import pathlib
import re
import secrets
import subprocess
import time
import unittest

from devnet import BIN, DevnetCase, wait_for


def memory_has(pid, needle):
    """Search a process's whole writable memory."""
    found = False
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not m or "[vvar" in line:
                continue
            start, end = int(m[1], 16), int(m[2], 16)
            try:
                memory.seek(start)
                while start < end and not found:
                    block = memory.read(min(end - start, 1 << 24))
                    if not block:
                        break
                    found = needle in block
                    start += len(block)
            except OSError:
                continue
            if found:
                return True
    return False


def files_with(folder, needle):
    hits = []
    for path in pathlib.Path(folder).rglob("*"):
        try:
            if path.is_file() and not path.is_symlink() and needle in path.read_bytes():
                hits.append(str(path))
        except OSError:
            pass
    return hits


def argv_with(needle):
    hits = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if needle in (entry / "cmdline").read_bytes():
                    hits.append(entry.name)
            except OSError:
                pass
    return hits


class Secrets(DevnetCase):
    def test_L2_L3_W11_marker_is_nowhere_but_in_the_job(self):
        marker = "marker-" + secrets.token_hex(16)
        needle = marker.encode()
        job = subprocess.Popen(
            [str(BIN / "ee"), "run", "--node", "node-a", "myapp:latest", "-e", "SECRET", "--", "sh", "-c", "echo started ${#SECRET}; sleep 20"],
            env={**self.net.env, "SECRET": marker}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            self.assertEqual(job.stdout.readline(), f"started {len(marker)}\n")
            # Positive controls: the caller has it in memory; a file and an argv with it are found.
            self.assertTrue(memory_has(job.pid, needle), "the search of memory finds nothing where the secret is")
            control = self.net.home / "control.txt"
            control.write_text(marker)
            self.assertEqual(files_with(self.net.home, needle), [str(control)], "files with the secret")
            control.unlink()
            with subprocess.Popen(["sh", "-c", "read line", marker], stdin=subprocess.PIPE) as shown:  # ends with its input
                wait_for("argv is found", lambda: argv_with(needle))
            # The search itself.
            self.assertEqual(argv_with(needle), [], "argv with the secret")
            for name in ("control", "node-a", "node-b", "uptime-1"):
                pid = self.net.pid_of(name)
                self.assertFalse(memory_has(pid, needle), f"{name}'s memory has the secret")  # node-a's agent handed it over, and wiped it
                self.assertEqual(files_with(f"/proc/{pid}/fd", needle), [])
            for folder in (self.net.home, self.net.env["XDG_CACHE_HOME"], "/run", "/var/log", "/var/lib/containers"):
                self.assertEqual(files_with(folder, needle) if os.path.isdir(folder) else [], [], folder)
        finally:
            job.kill()
            job.wait()
            job.stdout.close()
            job.stderr.close()

    def test_L4_no_core_dumps(self):
        for name in ("control", "node-a", "uptime-1"):
            limits = pathlib.Path(f"/proc/{self.net.pid_of(name)}/limits").read_text()
            core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
            self.assertEqual(core.split()[4:6], ["0", "0"], name)

    def test_L2_keys_are_not_in_logs(self):
        key = self.net.profile()["api_key"].encode()
        self.net.ee("balance")
        self.assertEqual(files_with(self.net.dir / "logs", key), [])
        self.assertEqual(files_with(self.net.dir / "logs", b"ee_sk_"), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
