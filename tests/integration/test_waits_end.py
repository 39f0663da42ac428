#!/usr/bin/env python3
"""Every wait ends when its caller says so: by the call's own time or by its cancel, whoever it is that does not answer."""
# deadline: 300
import os
import signal
import subprocess
import textwrap
import unittest

from devnet import DevnetCase

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
        return EE_E_INVALID;
    }

    int main(void) {
        char what[32], how[32];
        int after;
        ee_app *app = NULL;
        ee_response *response = NULL;
        ee_error err = {0};
        if (ee_connect(NULL, "app-name", NULL, &app, &err) || ee_get(app, "/", &response, &err)) {
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
            (void)printf("%s %ld %s\n", ee_status_word(st), now_ms() - began, st ? err.message : "");
            (void)fflush(stdout);
            ee_cancel_free(cancel);
        }
        ee_app_free(app);
        return 0;
    }
    """
)


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
            for how, wanted in (("timeout", "timeout"), ("cancel", "cancelled")):
                with self.subTest(how=how):
                    word, late, message = self.ask("connect", 1500, how)
                    self.assertEqual(word, wanted, message)
                    self.assertLess(late, 2000, message)
        finally:
            os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    unittest.main()
