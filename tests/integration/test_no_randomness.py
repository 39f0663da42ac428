#!/usr/bin/env python3
"""Threat Q8: a system that gives no randomness. Programs do not start on it, and say why; nothing is made up instead."""
# deadline: 200
import subprocess
import textwrap
import unittest

from devnet import BIN, DevnetCase, wait_for

# Runs PROGRAM with a kernel that answers getrandom() with EIO, or with one that answers it (FAILS=no).
LAUNCHER = textwrap.dedent(
    """\
    #!/usr/bin/env python3
    import ctypes, os, platform, struct, sys
    number = {"x86_64": 318, "aarch64": 278}[platform.machine()]
    allow, errno_eio = 0x7FFF0000, 0x00050000 | 5
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, errno_eio), (0x06, 0, 0, allow)]  # load nr; equal? EIO; else allow
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("@HP", 4, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if os.environ["FAILS"] == "yes" and (libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0)):  # no new privileges; a filter
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    os.execv(os.environ["PROGRAM"], [os.environ["PROGRAM"], *sys.argv[1:]])
    """
)
SAYS = "io: no randomness from the system"


class NoRandomness(DevnetCase):
    def setUp(self):
        self.launcher = self.net.home / "launcher"
        self.launcher.write_text(LAUNCHER)
        self.launcher.chmod(0o755)

    def start(self, name, program, fails):
        started = self.net.beside(name, f"{program}-{fails}", str(self.launcher), PROGRAM=str(BIN / program), FAILS=fails, EE_CONTROL_PORT="0")
        self.addCleanup(started.stop)
        return started

    def test_Q8_no_program_starts_without_randomness(self):
        for name, program in (("control", "ee-controlplane"), ("node-b", "ee-agent"), ("uptime-1", "ee-uptime")):
            with self.subTest(program=program):
                refused = self.start(name, program, "yes")
                self.assertEqual(refused.process.wait(20), 1)
                last = refused.log().splitlines()[-1]
                self.assertTrue(last.startswith(f"{program}: {SAYS}"), refused.log())
                self.assertIn("(errno 5)", last)
                self.assertNotIn("service.ready", refused.log())

    def test_Q8_nothing_is_asked_without_randomness(self):
        for call in (("balance",), ("run", "myapp:latest"), ("verify", "control")):
            with self.subTest(call=call):
                asked = subprocess.run([str(self.launcher), *call], env={**self.net.env, "PROGRAM": str(BIN / "ee"), "FAILS": "yes"}, capture_output=True, text=True, timeout=30, cwd=self.net.home)
                self.assertEqual((asked.returncode, asked.stdout), (1, ""), asked.stderr)
                self.assertTrue(asked.stderr.startswith("ee: io: TLS: no randomness from the system: "), asked.stderr)

    def test_the_launcher_alone_stops_nobody(self):
        """Positive control: the same programs, with a kernel as it is."""
        asked = subprocess.run([str(self.launcher), "balance"], env={**self.net.env, "PROGRAM": str(BIN / "ee"), "FAILS": "no"}, capture_output=True, text=True, timeout=30, cwd=self.net.home)
        self.assertEqual(asked.returncode, 0, asked.stderr)
        started = self.start("node-b", "ee-agent", "no")
        wait_for("it has its keys", lambda: "event=runtime.ready" in started.log(), 20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
