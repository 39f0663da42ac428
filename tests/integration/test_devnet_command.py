#!/usr/bin/env python3
"""`ee devnet` itself: begun twice, ended half-way, on ports that are taken; what it leaves when a program of it was killed."""
# deadline: 400
import fcntl
import json
import os
import pathlib
import pty
import signal
import socket
import subprocess
import termios
import time
import unittest

from devnet import BIN, OwnDevnet, ended, wait_for


class Starting(OwnDevnet):
    """Devnets that are not up yet."""

    def begin(self, **how):
        """`ee devnet up`, until its control plane is being started."""
        process = subprocess.Popen([str(BIN / "ee"), "devnet", "up", "--port", str(self.net.port)], env=self.net.env, cwd=self.net.home, text=True, **how)
        self.addCleanup(process.kill)
        wait_for("its control plane is started", (self.net.dir / "logs/control.log").exists)
        return process

    def supervisor(self):
        return int((self.net.dir.parent / "devnet.lock").read_text())

    def assertNothingIsLeft(self, supervisor):
        wait_for("its supervisor ended", lambda: ended(supervisor))
        self.assertFalse(self.net.file.exists() or self.net.dir.exists())
        self.assertIn("no devnet is up", self.net.ee("devnet", "status").stdout)

    def test_ctrl_c_ends_what_is_half_made(self):
        terminal, child = pty.openpty()
        self.addCleanup(os.close, terminal)

        def take_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        process = self.begin(stdin=child, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=take_terminal)
        os.close(child)
        supervisor = self.supervisor()
        os.write(terminal, b"\x03")
        said, wrong = process.communicate(timeout=60)
        self.assertEqual((process.returncode, said), (130, ""))
        self.assertIn("ee: cancelled: the devnet was stopped before it was up", wrong)
        self.assertNothingIsLeft(supervisor)
        self.net.up()  # at once

    def test_down_ends_one_that_is_being_started(self):
        process = self.begin(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        supervisor = self.supervisor()
        self.assertIn("devnet is down", self.net.ee("devnet", "down").stdout)
        said, wrong = process.communicate(timeout=60)
        self.assertEqual((process.returncode, said), (130, ""))
        self.assertIn("ee: cancelled: the devnet did not come up: it was told to stop", wrong)
        self.assertNothingIsLeft(supervisor)

    def test_a_second_up_leaves_the_first_alone(self):
        first = self.begin(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.kill(self.supervisor(), signal.SIGSTOP)
        second = self.net.ee("devnet", "up", "--port", str(self.net.port))
        os.kill(self.supervisor(), signal.SIGCONT)
        self.assertError(second, "conflict", 10)
        self.assertIn("a devnet is being started already", second.stderr)
        said, wrong = first.communicate(timeout=120)
        self.assertEqual((first.returncode, wrong), (0, ""), said)
        self.assertTrue(self.net.json("devnet", "status")["healthy"])
        self.assertEqual(self.net.ee("run", "myapp:latest").returncode, 0)
        self.assertError(self.net.ee("devnet", "up"), "conflict", 10)

    def test_a_port_that_was_asked_for_is_had_or_refused(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for option in ("--port", "--registry-port"):
                result = self.net.ee("devnet", "up", option, str(port))
                self.assertError(result, "conflict", 10)
                self.assertIn(f"{option} {port} cannot be had: Address already in use", result.stderr)
                self.assertIn("no devnet is up", self.net.ee("devnet", "status").stdout)


    def test_why_a_program_did_not_start(self):
        """What it said of it, not what stands last in its log."""
        tools = self.net.home / "tools"
        tools.mkdir()
        registry = tools / "docker-registry"
        panic = 'panic: no space\\n\\ngoroutine 1 [running]:\\nmain.main()\\n\\t/src/main.go:24 +0x1d'
        fatal = 'time="now" level=fatal msg="listen \\"here\\": taken" go.version=1\\nUsage:'
        own = "ee-x: io: the disk is full\\n  make room"
        for said, told, advice in ((panic, "panic: no space", ""), (fatal, 'listen "here": taken', ""), (own, "ee-x: io: the disk is full", "make room; "),
                                   ("one\\ntwo", "two", ""), ("", "it said nothing", "")):
            with self.subTest(said=said):
                registry.write_text(f"#!/bin/sh\nprintf '{said}' >&2\nexit 1\n")
                registry.chmod(0o755)
                result = self.net.ee("devnet", "up", "--port", str(self.net.port), env={"PATH": f"{tools}{os.pathsep}{self.net.env['PATH']}"}, timeout=120)
                self.assertError(result, "config", 3)
                self.assertIn(f": registry did not start: {told}\n  {advice}its log is {self.net.dir}/logs/registry.log", result.stderr)


class Hanging(OwnDevnet):
    """A program that is there and does nothing."""

    def test_status_tells_what_it_knows_at_once(self):
        self.net.up()
        control = self.net.pid_of("control")
        os.kill(control, signal.SIGSTOP)
        try:
            since = time.monotonic()
            result, told = self.net.ee("devnet", "status"), json.loads(self.net.ee("--json", "devnet", "status").stdout)
            took = time.monotonic() - since
        finally:
            os.kill(control, signal.SIGCONT)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("its control plane does not answer", result.stdout)
        self.assertRegex(result.stdout, r"node-a +up")
        self.assertIn("timeout: ", result.stdout)
        self.assertNotIn("`ee devnet status`", result.stdout)
        self.assertLess(took, 10)  # 2 s each; without a limit of its own it is 40 s
        self.assertEqual((told["running"], told["healthy"], told["error"]["code"], len(told["programs"])), (True, False, "timeout", 6))
        wait_for("it answers again", lambda: self.net.ee("devnet", "status").returncode == 0)


class Leftovers(OwnDevnet):
    """What killed programs leave, which is taken away all the same: Devnet.down() looks for folders and cgroups."""

    def setUp(self):
        super().setUp()
        self.net.up()
        self.sandboxes = self.net.sandboxes()
        self.assertEqual(self.net.ee("run", "myapp:latest", "--node", "node-a").returncode, 0)
        self.assertNotEqual(self.net.remains(self.sandboxes), [])

    def test_of_an_agent_that_was_killed(self):
        self.net.kill("node-a")
        self.assertEqual(self.net.ee("devnet", "down").returncode, 0)
        self.assertEqual(self.net.remains(self.sandboxes), [])

    def kill_supervisor(self):
        pids = [self.net.pid_of(name) for name in ("control", "node-a", "node-b", "node-c", "uptime-1")]
        for pid in [self.net.profile()["pid"], *pids]:
            os.kill(pid, signal.SIGKILL)
        wait_for("all ended", lambda: all(ended(pid) for pid in pids))

    def test_of_all_that_were_killed(self):
        self.kill_supervisor()
        self.assertNotEqual(self.net.remains(self.sandboxes), [])
        self.assertEqual(self.net.ee("devnet", "down").returncode, 0)
        self.assertEqual(self.net.remains(self.sandboxes), [])

    def test_of_the_one_before(self):
        self.kill_supervisor()
        self.net.up()
        self.assertEqual(self.net.remains(self.sandboxes), [])

    def test_of_a_devnet_that_nobody_took_down(self):
        """The next one that root starts takes it away, once it is old; what runs is left alone."""
        if os.geteuid() != 0:
            self.skipTest("sandboxes of others are below their devnet's folder")
        self.kill_supervisor()
        self.net.file.unlink()
        os.utime(self.sandboxes, (0, 0))
        other = type(self.net)().up()
        self.addCleanup(other.down)
        self.assertEqual(self.net.remains(self.sandboxes), [])
        os.utime(other.sandboxes(), (0, 0))
        self.net.up()
        self.assertEqual(other.ee("run", "myapp:latest").returncode, 0)
        self.assertTrue(other.sandboxes().exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
