#!/usr/bin/env python3
"""What becomes of work whose caller lets go of it, or loses the way to it: forgotten jobs, a dead control plane, forwarded ports."""
# deadline: 300
import json
import os
import signal
import socket
import subprocess
import sys
import unittest

from devnet import BIN, DevnetCase, own_caller, wait_for

PYTHON = """
import easyenclave, gc, sys
client = easyenclave.Client()
def start():
    return client.start_private_job("myapp:latest", ["sh", "-c", "yes | head -c 9000000; sleep 1; exit 7"]).id
print(start(), flush=True)
del client
gc.collect()
sys.stdin.readline()
"""

GO = """
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/easyenclave/easyenclave/bindings/go"
)

func start() string {
	client, err := easyenclave.New(easyenclave.Config{})
	if err != nil {
		panic(err)
	}
	job, err := client.Start(context.Background(), easyenclave.JobSpec{Image: "myapp:latest", Command: []string{"sh", "-c", "yes | head -c 9000000; sleep 1; exit 7"}})
	if err != nil {
		panic(err)
	}
	return job.ID()
}

func main() {
	fmt.Println(start())
	for i := 0; i < 10; i++ {
		runtime.GC()
	}
	bufio.NewReader(os.Stdin).ReadString('\\n')
}
"""


class LetGo(DevnetCase):
    def job(self, job_id):
        return self.net.json("jobs", "show", job_id)

    @own_caller
    def test_a_forgotten_job_goes_on(self):
        """More output than any queue holds, and nobody takes it: only Close and the end of the process cancel a job."""
        for name, argv in (("python", [sys.executable, "-c", PYTHON]), ("go", [self.net.go_program("forget", GO)])):
            with self.subTest(name=name), subprocess.Popen([str(a) for a in argv], env=self.net.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                job_id = process.stdout.readline().strip()
                wait_for("the job has ended", lambda: self.job(job_id)["state"] in ("done", "failed"), 60)
                job = self.job(job_id)
                self.assertEqual((job["state"], job["reason"], job["exit_code"]), ("done", "exited", 7), job)
                process.communicate("\n", timeout=20)

    def test_what_was_written_first_comes_first(self):
        for _ in range(20):
            told = subprocess.run([str(BIN / "ee"), "-q", "run", "myapp:latest", "--", "sh", "-c", "echo err >&2; echo out"], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
            self.assertEqual((told.returncode, told.stdout), (0, "err\nout\n"))

    def test_a_dead_control_plane_is_not_the_nodes_fault(self):
        for who, says in (("control", "control plane went away"), ("node", "went away while job")):
            with self.subTest(who=who):
                job = subprocess.Popen([str(BIN / "ee"), "--json", "run", "--key", f"lost-{who}", "myapp:latest", "--", "sh", "-c", "echo up; sleep 60"], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                running = lambda: [j for j in self.net.json("jobs")["items"] if j["state"] == "running"]
                found = wait_for("it runs", running)[0]
                self.net.kill("control" if who == "control" else found["node"])
                _, err = job.communicate(timeout=60)
                error = json.loads(err[err.index("{") :])["error"]
                self.assertEqual(error["code"], "job_lost", error)
                self.assertIn(says, error["message"])
                self.assertIn(found["node"], error["message"])
                self.assertEqual(error["details"]["job_id"], found["id"])
                self.assertEqual("run it again to use another node" in error["hint"], who == "node", error)
                self.assertEqual(self.net.ee("devnet", "heal", timeout=120).returncode, 0)
                ended = wait_for("it has ended", lambda: (j := self.job(found["id"]))["state"] in ("done", "failed") and j, 60)
                self.assertEqual(ended["reason"], "cancelled" if who == "control" else "job_lost", ended)

    # ---- forwarded ports

    def forward(self, app="app-name"):
        process = subprocess.Popen([str(BIN / "ee"), "--json", "forward", app], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process, int(json.loads(process.stdout.readline())["url"].rsplit(":", 1)[1])

    def test_a_forward_tells_what_it_could_not_carry(self):
        process, port = self.forward()
        socket.create_connection(("127.0.0.1", port)).close()  # takes the connection that ee_connect() made
        pid = self.net.pid_of("control")
        os.kill(pid, signal.SIGSTOP)
        try:
            waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
            process.send_signal(signal.SIGINT)  # three connections are being dialed: none of them holds it up
            self.assertEqual(process.wait(timeout=5), 130)
            for one in waiting:
                one.settimeout(5)
                try:
                    self.assertEqual(one.recv(1), b"")
                except ConnectionResetError:  # it was still in the backlog
                    pass
                one.close()
        finally:
            os.kill(pid, signal.SIGCONT)
        self.net.json("apps", "deploy", "mine", "myapp:latest", "--port", "8080", "--", "httpd", "-f", "-p", "8080")
        process, port = self.forward("mine")
        socket.create_connection(("127.0.0.1", port)).close()
        self.assertEqual(self.net.ee("apps", "stop", "mine").returncode, 0)
        try:
            with socket.create_connection(("127.0.0.1", port)) as one:
                one.settimeout(60)
                self.assertEqual(one.recv(1), b"")
            error = json.loads(process.stderr.readline())["error"]
            self.assertIn(error["code"], ("app_unavailable", "not_found"), error)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)

    @own_caller
    def test_nothing_is_carried_after_the_end(self):
        program = (
            "import easyenclave, socket\n"
            "app = easyenclave.connect('app-name')\n"
            "forward = app.forward()\n"
            "one = socket.create_connection(('127.0.0.1', forward.port))\n"
            "one.settimeout(20)\n"
            "ask = b'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n'\n"
            "one.sendall(ask)\n"
            "assert one.recv(1) == b'H'\n"
            "forward.close()\n"
            "left = b''\n"
            "while True:\n"
            "    try:\n"
            "        got = one.recv(65536)\n"
            "    except ConnectionResetError:\n"
            "        break\n"
            "    if not got: break\n"
            "print('ended')\n"
        )
        done = self.net.run([sys.executable, "-c", program])
        self.assertEqual((done.returncode, done.stdout), (0, "ended\n"), done.stderr)


if __name__ == "__main__":
    unittest.main()
