#!/usr/bin/env python3
"""The client library's own bad days, with real processes: slow readers, repeated keys, a control plane that restarts or hangs, fork()."""
# deadline: 300
import hashlib
import json
import os
import signal
import subprocess
import textwrap
import time
import unittest

from devnet import BIN, DevnetCase, wait_for

# One process that lives through what happens around it: does what each line of its stdin says, and answers with a status word.
PROGRAM = textwrap.dedent(
    r"""
    #include <eesdk/eesdk.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/wait.h>
    #include <unistd.h>

    static void on_log(void *user, int level, const char *line) {
        if (level <= 1 && strstr(line, "event=")) (*(int *)user)++;
    }

    /* A control plane that is not there, asked twice. How many warnings came while the client lived, and how many after. */
    static ee_status logged(ee_error *err) {
        int lines = 0;
        ee_client *client = NULL;
        ee_client_options options;
        ee_balance balance;
        ee_client_options_init(&options);
        options.url = "https://127.0.0.1:1";
        options.max_retries = 1;
        options.log = on_log;
        options.log_user = &lines;
        char key[80], public_hex[65];
        ee_status st = ee_key_generate(key, public_hex, err);
        options.api_key = key;
        (void)setenv("EE_NETWORK_ID", "abababababababababababababababababababababababababababababababab", 1);
        if (!st) st = ee_client_new(&options, &client, err);
        if (!st && ee_balance_get(client, NULL, &balance, err) == EE_OK) return EE_E_INTERNAL;
        ee_client_free(client);
        int before = lines;
        options.log = NULL;
        if (!st) st = ee_client_new(&options, &client, err);
        if (!st && ee_balance_get(client, NULL, &balance, err) == EE_OK) return EE_E_INTERNAL;
        if (!st) ee_client_free(client);
        (void)unsetenv("EE_NETWORK_ID");
        (void)snprintf(err->message, sizeof err->message, "%d warnings, %d after", before, lines - before);
        return st ? st : EE_E_STATE;
    }

    static ee_status check_job(ee_error *err) {
        static const char *const command[] = {"sh", "-c", "exit 3", NULL};
        ee_job_options options;
        ee_result *result = NULL;
        ee_job_options_init(&options);
        options.image = "myapp:latest";
        options.command = command;
        options.check = 1;
        ee_status st = ee_run_private_job(NULL, &options, &result, err);
        ee_result_free(result);
        return st;
    }

    static ee_status run_job(ee_error *err) {
        ee_job_options options;
        ee_result *result = NULL;
        ee_job_options_init(&options);
        options.image = "myapp:latest";
        ee_status st = ee_run_private_job(NULL, &options, &result, err);
        ee_result_free(result);
        return st;
    }

    static ee_status act(const char *what, ee_error *err) {
        ee_balance balance;
        if (strcmp(what, "transfer") == 0) return ee_transfer_credits(NULL, "contractor-id", "$1", NULL, NULL, NULL, NULL, err);
        if (strcmp(what, "job") == 0) return run_job(err);
        if (strcmp(what, "log") == 0) return logged(err);
        if (strcmp(what, "check") == 0) return check_job(err);
        return ee_balance_get(NULL, NULL, &balance, err);
    }

    int main(void) {
        char line[32];
        while (fgets(line, sizeof line, stdin)) {
            ee_error err = {0};
            line[strcspn(line, "\n")] = 0;
            if (strcmp(line, "fork") == 0) {
                int code = 0;
                pid_t child = fork();
                if (child == 0) _exit(run_job(&err) == EE_OK ? 0 : 1);
                (void)waitpid(child, &code, 0);
                (void)printf("%s\n", code == 0 ? "ok" : "failed");
            } else {
                ee_status st = act(line, &err);
                (void)printf("%s%s%s\n", ee_status_word(st), st ? ": " : "", st ? err.message : "");
            }
            (void)fflush(stdout);
        }
        return 0;
    }
    """
)


class SlowReader(DevnetCase):
    def test_much_output_and_a_slow_reader(self):
        """Output fills every queue on the way while the reader does nothing: what arrives then is every byte, in order."""
        count = 1_000_000
        text = "".join(f"{i}\n" for i in range(1, count + 1)).encode()
        self.assertGreater(len(text), 6 << 20)  # past the client's queue, so that the agent had to stop
        pipeline = f"set -o pipefail; ee run myapp:latest -- seq 1 {count} | (sleep 2; md5sum)"
        result = subprocess.run(["bash", "-c", pipeline], env=self.net.env, capture_output=True, text=True, timeout=100)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout.split()[0], hashlib.md5(text).hexdigest())
        self.assertIn("exit 0", result.stderr)  # and the receipt's output hash was right


class RepeatedKeys(DevnetCase):
    def test_a_repeated_key_does_not_end_the_job_that_runs(self):
        before = self.net.balance()
        run = ("run", "--key", "once-only", "myapp:latest", "--", "sh", "-c", "echo up; sleep 4; echo done")
        first = subprocess.Popen([str(BIN / "ee"), *run], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(first.stdout.readline(), "up\n")
        again = self.net.ee(*run)
        self.assertIsNone(first.poll())
        self.assertError(again, "conflict", 125)
        self.assertIn("was started with this key before and has its caller", again.stderr)
        out, err = first.communicate(timeout=60)
        self.assertEqual((first.returncode, out), (0, "done\n"), err)
        after_the_end = self.net.ee(*run)
        self.assertError(after_the_end, "conflict", 125)
        job = self.net.json("jobs")["items"][0]
        self.assertIn(f"job {job['id']} was started with this key before and has ended", after_the_end.stderr)
        self.assertEqual(job["state"], "done")
        wait_for("one charge", lambda: sum(self.net.balance()) == sum(before) and self.net.balance()[1] - before[1] == job["charged"]["micros"])


class OneProcess(DevnetCase):
    def setUp(self):
        program = self.net.compile(PROGRAM, "program")
        self.process = subprocess.Popen([program], env=self.net.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tearDown(self):
        self.process.stdin.close()
        self.assertEqual(self.process.wait(timeout=20), 0)
        self.process.stdout.close()

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def test_log_lines_come_to_who_asked_for_them(self):
        self.assertEqual(self.ask("log"), "state: 1 warnings, 0 after")

    def test_a_checked_job_is_named(self):
        self.assertRegex(self.ask("check"), r"^job_failed: job job_\w+ ended with exit code 3$")


    def restart_control(self):
        control = self.net.restart_control()
        self.addCleanup(control.wait)
        self.addCleanup(control.kill)

        def a_node_serves():
            nodes = self.net.ee("--json", "nodes")
            return nodes.returncode == 0 and any(n["eligible"] for n in json.loads(nodes.stdout)["items"])

        wait_for("a node serves", a_node_serves, 40)

    def test_first_orders_after_a_restart_of_the_control_plane(self):
        for order in ("transfer", "job"):
            with self.subTest(order=order):
                self.assertEqual(self.ask(order), "ok")
                self.restart_control()
                self.assertEqual(self.ask(order), "ok")

    def test_a_forked_child_has_a_client_of_its_own(self):
        self.assertEqual(self.ask("job"), "ok")
        self.assertEqual(self.ask("fork"), "ok")
        self.assertEqual(self.ask("job"), "ok")


class MovedApp(DevnetCase):
    def test_connecting_waits_for_an_app_that_is_being_moved(self):
        node = next(app["node"] for app in self.net.json("apps")["items"] if app["name"] == "app-name")
        self.net.kill(node)
        answer = self.net.ee("curl", "app-name/api/private")
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertEqual(json.loads(answer.stdout), {"hello": "from behind the tunnel"})


class HungControlPlane(DevnetCase):
    def test_interrupt_ends_the_call_though_nothing_answers(self):
        job = subprocess.Popen([str(BIN / "ee"), "run", "myapp:latest", "--", "sh", "-c", "echo up; sleep 60"], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(job.stdout.readline(), "up\n")
        control = self.net.pid_of("control")
        self.net.kill("control", signal.SIGSTOP)
        try:
            since = time.monotonic()
            job.send_signal(signal.SIGINT)
            _, err = job.communicate(timeout=60)
            took = time.monotonic() - since
            self.assertEqual(job.returncode, 130, err)
            self.assertIn("ee: cancelled:", err)
            self.assertLess(took, 4.0)
        finally:
            os.kill(control, signal.SIGCONT)
        wait_for("the job ended", lambda: self.net.json("jobs")["items"][0]["state"] in ("done", "failed"), 40)


if __name__ == "__main__":
    unittest.main(verbosity=2)
