#!/usr/bin/env python3
"""What an agent refuses, or cannot finish, is told to the caller in its own word; and what it occupied is free again at once."""
# deadline: 240
import json
import os
import shutil
import signal
import subprocess
import tempfile
import textwrap
import unittest

from devnet import BIN, DevnetCase, wait_for

VCPUS = "5"  # of the 8 a node has: two such jobs do not fit at once

# A caller that stops between its admission and its visit to the agent, until it is told to go on.
LATE_CALLER = textwrap.dedent(
    """\
    #include <eesdk/eesdk.h>
    #include <stdio.h>
    #include <string.h>
    static int progress(void *user, const char *phase, uint64_t done, uint64_t total, const char *message) {
        (void)user, (void)done, (void)total, (void)message;
        if (strcmp(phase, "attesting") != 0) return 0;
        puts("admitted");
        fflush(stdout);
        return getchar() == EOF;
    }
    int main(void) {
        ee_error err = {0};
        ee_result *result = NULL;
        ee_status st = ee_run_private_job(NULL, EE_JOB(.image = "myapp:latest", .node = "node-b", .env = EE_LIST("SECRET=value"), .on_progress = progress), &result, &err);
        if (st) printf("%s: %s\\n", err.word, err.message);
        ee_result_free(result);
        return ee_status_exit_code(st);
    }
    """
)


class JobBadDays(DevnetCase):
    @classmethod
    def setUpClass(cls):
        """A registry storage of its own: a blob of it is taken away."""
        cls.cache = tempfile.mkdtemp(prefix="ee-cache-")
        cls.cache_before = os.environ.get("EE_TEST_CACHE")
        os.environ["EE_TEST_CACHE"] = cls.cache
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            os.environ.pop("EE_TEST_CACHE")
            if cls.cache_before is not None:
                os.environ["EE_TEST_CACHE"] = cls.cache_before
            shutil.rmtree(cls.cache, ignore_errors=True)

    def start(self, argv):
        return subprocess.Popen(argv, env=self.net.env, cwd=self.net.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def late_caller(self):
        return self.net.compile(LATE_CALLER, "late")

    def test_capacity_is_free_when_the_run_has_ended(self):
        """The first job's caller stands still and takes nothing of its result; its node runs the next job that needs the same room."""
        first = self.start([str(BIN / "ee"), "run", "--node", "node-a", "--vcpus", VCPUS, "myapp:latest", "--", "sh", "-c", "echo up; sleep 1"])
        try:
            self.assertEqual(first.stdout.readline(), "up\n")
            first.send_signal(signal.SIGSTOP)
            wait_for("the first job is booked", lambda: self.net.json("jobs")["items"][0]["state"] == "done", 20)
            second = self.net.ee("run", "--node", "node-a", "--vcpus", VCPUS, "myapp:latest", "--", "echo", "second")
            self.assertEqual((second.returncode, second.stdout), (0, "second\n"), second.stderr)
        finally:
            first.send_signal(signal.SIGCONT)
        _, err = first.communicate(timeout=30)
        self.assertEqual(first.returncode, 0, err)

    def test_failure_before_the_caller_came_keeps_its_word(self):
        """The image cannot be pulled and the job fails before its caller opens its channel: the caller hears why, and pays nothing."""
        before = self.net.balance()
        program = self.late_caller()
        blobs = [path for path in os.scandir(f"{self.cache}/easyenclave/devnet/registry/docker/registry/v2/blobs/sha256")]
        layers = [f"{d.path}/{b}/data" for d in blobs for b in os.listdir(d.path) if os.path.getsize(f"{d.path}/{b}/data") > 100_000]
        self.assertEqual(len(layers), 1, layers)
        os.rename(layers[0], layers[0] + ".away")
        try:
            caller = self.start([program])
            self.assertEqual(caller.stdout.readline(), "admitted\n")
            log = self.net.dir / "logs/node-b.log"
            wait_for("the agent gave up", lambda: "event=job.failed" in log.read_text(errors="replace"), 40)
            out, err = caller.communicate("\n", timeout=30)
        finally:
            os.rename(layers[0] + ".away", layers[0])
        self.assertEqual(out.split(":")[0], "image", out + err)
        self.assertNotIn("no such job", out)
        wait_for("the lock is back", lambda: self.net.balance() == before, 20)
        again = self.net.ee("run", "--node", "node-b", "myapp:latest", "--", "echo", "again")
        self.assertEqual((again.returncode, again.stdout), (0, "again\n"), again.stderr)

    def test_Q14_a_registry_that_serves_other_bytes_is_found_out(self):
        """One byte of a layer changes behind the digest that was asked for: nothing of it runs."""
        before, storage = self.net.balance(), f"{self.cache}/easyenclave/devnet/registry/docker/registry/v2/blobs/sha256"
        known = {b for d in os.scandir(storage) for b in os.listdir(d.path)}
        self.net.push_hello()
        new = [f"{d.path}/{b}/data" for d in os.scandir(storage) for b in os.listdir(d.path) if b not in known]
        self.addCleanup(lambda: [shutil.rmtree(os.path.dirname(blob)) for blob in new])
        layer = max(new, key=os.path.getsize)
        with open(layer, "r+b") as blob:
            blob.seek(os.path.getsize(layer) // 2)
            byte = blob.read(1)
            blob.seek(-1, os.SEEK_CUR)
            blob.write(bytes([byte[0] ^ 1]))
        result = self.net.ee("--json", "run", "hello:latest")
        self.assertEqual((result.returncode, result.stdout), (125, ""))
        error = json.loads(result.stderr.splitlines()[-1])["error"]
        self.assertEqual(error["code"], "image")
        self.assertRegex(error["message"], r"/hello@sha256:[0-9a-f]{12}\.\.\.: the registry delivered something else than was asked for$")
        wait_for("the lock is back", lambda: self.net.balance() == before, 20)

    def test_job_whose_caller_never_comes_is_let_go(self):
        """Cancelled by its caller between admission and channel: the agent's room and the lock come back."""
        before = self.net.balance()
        caller = self.start([self.late_caller()])
        self.assertEqual(caller.stdout.readline(), "admitted\n")
        out, err = caller.communicate("", timeout=30)
        self.assertEqual((caller.returncode, out.split(":")[0]), (130, "cancelled"), err)
        wait_for("the lock is back", lambda: self.net.balance() == before, 60)


class AppBadDays(DevnetCase):
    def test_app_that_stopped_listening_is_unavailable(self):
        """It ran, and its process is there, but nothing listens: the agent's own word reaches the caller."""
        up = self.net.ee("apps", "deploy", "deaf", "myapp:latest", "--port", "9000", "--", "sh", "-c", "nc -l -p 9000; sleep 600")
        self.assertEqual(up.returncode, 0, up.stderr)
        result = self.net.ee("--json", "curl", "deaf/x")  # asks again for 30 s: an app that is being moved comes back
        self.assertEqual((result.returncode, result.stdout), (9, ""))
        error = json.loads(result.stderr)["error"]
        self.assertEqual(error["code"], "app_unavailable")
        self.assertIn("nothing listens on port 9000", error["message"])
        self.assertEqual(self.net.ee("apps", "stop", "deaf").returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
