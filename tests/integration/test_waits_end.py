#!/usr/bin/env python3
"""Every wait ends when its caller says so: by the call's own time or by its cancel, whoever it is that does not answer."""
# deadline: 300
import os
import signal
import pathlib
import subprocess
import sys
import textwrap
import time
import unittest

from devnet import BIN, DevnetCase, own_caller, wait_for

# Connects to the app, then makes one call for each line "CALL AFTER_MS HOW": given up by its timeout, or by a cancel that is fired then.
# Answers "word milliseconds".
PROGRAM = textwrap.dedent(
    r"""
    #include <eesdk/eesdk.h>
    #include <signal.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/time.h>
    #include <time.h>

    static ee_cancel *to_fire;
    static void on_alarm(int number) {
        (void)number;
        ee_cancel_fire(to_fire);
    }

    static long now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000 + now.tv_nsec / 1000000;
    }

    static ee_status act(ee_app *app, const char *what, uint32_t timeout_ms, ee_cancel *cancel, ee_error *err) {
        if (strcmp(what, "request") == 0) {
            ee_request_options options;
            ee_response *response = NULL;
            ee_request_options_init(&options);
            options.timeout_ms = timeout_ms;
            options.cancel = cancel;
            ee_status st = ee_app_request(app, "GET", "/", &options, &response, err);
            ee_response_free(response);
            return st;
        }
        if (strcmp(what, "connect") == 0) {
            ee_connect_options options;
            ee_app *other = NULL;
            ee_connect_options_init(&options);
            options.timeout_ms = timeout_ms;
            options.cancel = cancel;
            ee_status st = ee_connect(NULL, "app-name", &options, &other, err);
            ee_app_free(other);
            return st;
        }
        if (strcmp(what, "balance") == 0) {
            ee_balance balance;
            return ee_balance_get(NULL, cancel, &balance, err);
        }
        if (strcmp(what, "transfer") == 0)
            return ee_transfer_credits(NULL, "contractor-id", "$1", NULL, "the-one-key", cancel, NULL, err);
        if (strcmp(what, "call") == 0) {
            char *json = NULL;
            return ee_client_call(NULL, "GET", "/v1/nodes", NULL, NULL, cancel, &json, err);
        }
        if (strcmp(what, "attestation") == 0) { /* of a client of its own: the default one has its verdict */
            ee_client *client = NULL;
            const ee_verdict *verdict = NULL;
            ee_status st = ee_client_new(NULL, &client, err);
            if (!st) st = ee_client_attestation(client, cancel, &verdict, err);
            ee_client_free(client);
            return st;
        }
        if (strcmp(what, "deploy") == 0 || strcmp(what, "hung-app") == 0) {
            static const char *const command[] = {"sleep", "300", NULL};
            ee_deploy_options options;
            char *json = NULL;
            ee_deploy_options_init(&options);
            options.name = "never-opens";
            options.image = "myapp:latest";
            options.command = command;
            options.port = 8080;
            options.cancel = cancel;
            return ee_app_deploy(NULL, &options, 60000, &json, err);
        }
        if (strcmp(what, "stop") == 0) return ee_app_stop(NULL, "never-opens", cancel, err);
        return EE_E_INVALID;
    }

    int main(void) {
        char what[32], how[32];
        int after;
        ee_app *app = NULL;
        ee_response *response = NULL;
        ee_error err = {0};
        if (ee_transfer_credits(NULL, "contractor-id", "$1", NULL, NULL, NULL, NULL, &err) || ee_connect(NULL, "app-name", NULL, &app, &err) ||
            ee_get(app, "/", &response, &err)) {
            (void)printf("%s: %s\n", err.word, err.message);
            return 1;
        }
        ee_response_free(response);
        (void)puts("ready");
        (void)fflush(stdout);
        while (scanf("%31s %d %31s", what, &after, how) == 3) {
            ee_cancel *cancel = NULL;
            memset(&err, 0, sizeof err);
            if (strcmp(how, "cancel") == 0) {
                struct itimerval timer = {.it_value = {after / 1000, after % 1000 * 1000}};
                if (ee_cancel_new(&cancel, &err)) return 1;
                to_fire = cancel;
                (void)signal(SIGALRM, on_alarm);
                (void)setitimer(ITIMER_REAL, &timer, NULL);
            }
            long began = now_ms();
            ee_status st = act(app, what, cancel ? 0 : (uint32_t)after, cancel, &err);
            (void)printf("%s %ld %s %s\n", ee_status_word(st), now_ms() - began, st ? err.message : "", err.idempotency_key);
            (void)fflush(stdout);
            ee_cancel_free(cancel);
        }
        ee_app_free(app);
        return 0;
    }
    """
)


GO = """
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/easyenclave/easyenclave/bindings/go"
)

func main() {
	client, err := easyenclave.Default()
	if err != nil {
		panic(err)
	}
	if _, err := client.TransferCredits(context.Background(), "contractor-id", "$1"); err != nil {
		panic(err)
	}
	fmt.Println("dev")
	bufio.NewReader(os.Stdin).ReadString('\\n')
	ctx, done := context.WithTimeout(context.Background(), time.Second)
	defer done()
	_, err = client.TransferCredits(ctx, "contractor-id", "$1")
	var unknown *easyenclave.OutcomeUnknownError
	is := errors.As(err, &unknown)
	fmt.Printf("unknown=%v key=%v cause=%v %v\\n", is, is && unknown.IdempotencyKey != "", errors.Is(err, context.DeadlineExceeded), err)
}
"""


def waits(pid):
    """In poll, in the kernel, with Ctrl-C caught: there is somebody to interrupt."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        where = pathlib.Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return False
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1], 16)
    return caught & 1 << (signal.SIGINT - 1) and "poll" in where


def threads(pid):
    """Where in the kernel each of them is; "poll_schedule..." is a call of ours that waits, "ep_poll" the loop."""
    return [path.read_text().strip() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/wchan")]


class WaitsEnd(DevnetCase):
    def setUp(self):
        program = self.net.compile(PROGRAM, "program")
        self.process = subprocess.Popen([program], env=self.net.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.assertEqual(self.process.stdout.readline(), "ready\n")

    def tearDown(self):
        self.process.stdin.close()
        self.assertEqual(self.process.wait(timeout=20), 0)
        self.process.stdout.close()

    def ask(self, what, after_ms, how):
        """(word, how much later than it should have been)."""
        self.process.stdin.write(f"{what} {after_ms} {how}\n")
        self.process.stdin.flush()
        word, took, message = self.process.stdout.readline().split(" ", 2)
        return word, int(took) - after_ms, message

    def test_an_app_request_ends_although_it_must_dial(self):
        for name in ("node-a", "node-b", "node-c"):
            self.net.kill(name)
        try:
            for what in ("request", "connect"):
                for how, words in (("timeout", {"timeout", "app_unavailable"}), ("cancel", {"cancelled"})):
                    with self.subTest(what=what, how=how):
                        word, late, message = self.ask(what, 1500, how)
                        self.assertIn(word, words, message)
                        self.assertLess(late, 2000, message)
        finally:
            self.assertEqual(self.net.ee("devnet", "heal", timeout=120).returncode, 0)

    def test_a_control_plane_that_hangs(self):
        pid = self.net.pid_of("control")
        os.kill(pid, signal.SIGSTOP)
        try:
            for what, how, wanted in (
                ("transfer", "cancel", "outcome_unknown"),
                ("connect", "timeout", "timeout"),
                ("connect", "cancel", "cancelled"),
                ("balance", "cancel", "cancelled"),
                ("transfer", "cancel", "cancelled"),
                ("call", "cancel", "cancelled"),
                ("attestation", "cancel", "cancelled"),
                ("deploy", "cancel", "cancelled"),
                ("stop", "cancel", "cancelled"),
            ):
                with self.subTest(what=what, how=how):
                    word, late, message = self.ask(what, 1000, how)
                    self.assertEqual(word, wanted, message)
                    self.assertLess(late, 2000, message)
                    if wanted == "outcome_unknown":  # its order left on the open connection; the other had none to leave on
                        self.assertIn("the-one-key", message)
        finally:
            os.kill(pid, signal.SIGCONT)
        again = self.net.ee("transfer", "contractor-id", "$1", "--key", "the-one-key")  # it cannot happen twice
        self.assertEqual(again.returncode, 0, again.stderr)

    def test_an_app_that_never_opens_its_port(self):
        word, late, message = self.ask("hung-app", 2500, "cancel")
        self.assertEqual(word, "cancelled", message)
        self.assertLess(late, 2000)
        self.assertIn("the wait for app never-opens was cancelled; it goes on to start", message)
        self.assertEqual(self.net.ee("apps", "stop", "never-opens").returncode, 0)

    def interrupt(self, *args):
        """(exit code, seconds that one Ctrl-C took, stderr)."""
        process = subprocess.Popen([str(BIN / "ee"), *args], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for("it waits in C", lambda: waits(process.pid))
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        return process.returncode, time.monotonic() - began, err

    def test_one_interrupt_is_enough(self):
        pid = self.net.pid_of("control")
        os.kill(pid, signal.SIGSTOP)
        try:
            for args in (("balance",), ("transfer", "contractor-id", "$1"), ("nodes",), ("verify", "control"), ("apps", "stop", "app-name"), ("run", "myapp:latest")):
                with self.subTest(args=args):
                    code, seconds, err = self.interrupt(*args)
                    self.assertEqual(code, 130, err)
                    self.assertLess(seconds, 2, err)
        finally:
            os.kill(pid, signal.SIGCONT)

    @own_caller
    def test_contexts_and_interrupts_of_other_languages(self):
        program = self.net.go_program("ended", GO)
        python = "import easyenclave, sys\nprint(easyenclave.Client().balance().account, flush=True)\nsys.stdin.readline()\neasyenclave.transfer_credits('contractor-id', '$1')"
        for name, argv in (("go", [program]), ("python", [sys.executable, "-c", python])):
            pid = self.net.pid_of("control")
            with self.subTest(name=name), subprocess.Popen([str(a) for a in argv], env=self.net.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                self.assertEqual(process.stdout.readline(), "dev\n")
                os.kill(pid, signal.SIGSTOP)
                try:
                    process.stdin.write("go\n")
                    process.stdin.flush()
                    if name == "python":
                        wait_for("a call is made", lambda: any("poll_schedule" in where for where in threads(process.pid)))
                        process.send_signal(signal.SIGINT)
                    began = time.monotonic()
                    out, err = process.communicate(timeout=20)
                    self.assertLess(time.monotonic() - began, 3)
                finally:
                    os.kill(pid, signal.SIGCONT)
                self.assertIn("KeyboardInterrupt" if name == "python" else "unknown=true key=true cause=true", out + err)


if __name__ == "__main__":
    unittest.main()
