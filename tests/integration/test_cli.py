#!/usr/bin/env python3
"""`ee` as a citizen of a shell: pipes that end, names that are whole, hints that exist, words for people and JSON for programs."""
# deadline: 300
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import fcntl
import unittest

from devnet import BIN, ROOT, DevnetCase, wait_for


class Cli(DevnetCase):
    def shell(self, line, timeout=60, env=None):
        return subprocess.run(["bash", "-c", line], env={**self.net.env, **(env or {})}, capture_output=True, text=True, timeout=timeout, cwd=self.net.home)

    def terminal(self, *args, columns=80, timeout=30):
        """What a terminal of that width shows."""
        parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([str(BIN / "ee"), *args], env=self.net.env, stdin=child, stdout=child, stderr=subprocess.PIPE, cwd=self.net.home)
        os.close(child)
        shown = b""
        try:
            while block := os.read(parent, 65536):
                shown += block
        except OSError:  # the other side is closed: that is how a terminal ends
            pass
        os.close(parent)
        process.stderr.close()
        self.assertEqual(process.wait(timeout), 0, shown)
        return shown

    # ---- 1: output that nobody reads

    def test_a_closed_pipe_ends_and_unlocks_the_job(self):
        before = self.net.balance()
        result = self.shell("ee run myapp:latest --timeout 10m -- yes | head -1; echo ${PIPESTATUS[0]}", timeout=30)
        self.assertEqual(result.stdout.split(), ["y", "141"], result.stderr)
        job = self.net.json("jobs")["items"][0]
        self.assertEqual(job["reason"], "cancelled")
        available, locked = self.net.balance()
        self.assertEqual(locked, before[1])
        self.assertLess(before[0] - available, 1000)  # of the 5,000 micros locked for ten minutes

    def test_a_closed_stderr_pipe_ends_the_job(self):
        result = self.shell("ee run myapp:latest -- sh -c 'yes >&2' 2>&1 >/dev/null | head -1; echo ${PIPESTATUS[0]}", timeout=30)
        self.assertEqual(result.stdout.split(), ["y", "141"])

    def test_a_full_disk_is_an_error(self):
        for line in ("ee run myapp:latest -- echo hi", "ee nodes", "ee --version", "ee help", "ee --json balance", "ee curl app-name/api/private", "ee devnet logs control"):
            with self.subTest(line=line):
                result = self.shell(f"{line} >/dev/full")
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertIn("standard output could not be written", result.stderr)
        self.assertEqual(self.shell("ee --version >&-").returncode, 1)

    # ---- 8: amounts

    def test_a_negative_amount_is_an_amount(self):
        for amount in ("-1", "-$5", "-.5"):
            self.assertError(self.net.ee("transfer", "contractor-id", amount), "invalid_amount", 2)

    # ---- 9: global flags

    def test_a_flag_without_its_value(self):
        for args in (["balance", "--profile"], ["balance", "--url"], ["--color"], ["balance", "--profile="], ["balance", "--color=blue"]):
            with self.subTest(args=args):
                self.assertError(self.net.ee(*args), "invalid", 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
