#!/usr/bin/env python3
"""One client used by many threads at once, with the library and every program built with ThreadSanitizer: what it finds fails here."""
# deadline: 300
# needs: build/tsan
import os
import pathlib
import sys
import textwrap

BUILD = pathlib.Path(os.environ.get("EE_BUILD_DIR", pathlib.Path(__file__).resolve().parents[2] / "build"))
THREADED = BUILD if BUILD.name == "tsan" else BUILD / "tsan"
if not (THREADED / "bin/ee").exists():
    print(f"there are no programs with ThreadSanitizer at {THREADED}/bin (./dev test builds them)")
    sys.exit(77)
os.environ["EE_BUILD_DIR"] = str(THREADED)

import unittest  # noqa: E402

from devnet import DevnetCase  # noqa: E402

# Every thread does everything with one client and one app. The last job of each is cancelled by another thread.
PROGRAM = textwrap.dedent(
    r"""
    #include <eesdk/eesdk.h>
    #include <pthread.h>
    #include <stdio.h>
    #include <string.h>

    enum { THREADS = 4 };
    static ee_client *client;
    static ee_app *app;
    static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER; /* guards failed */
    static int failed;

    static void check(const char *what, ee_status st, ee_status want, const ee_error *err) {
        if (st == want) return;
        pthread_mutex_lock(&counting);
        failed++;
        pthread_mutex_unlock(&counting);
        printf("%s: %s, not %s: %s\n", what, ee_status_word(st), ee_status_word(want), err->message);
    }

    static void *fire(void *cancel) {
        ee_cancel_fire(cancel);
        return NULL;
    }

    static void cancel_a_job(void) {
        ee_error err = {0};
        ee_job *job = NULL;
        ee_job_event event;
        ee_cancel *cancel = NULL;
        pthread_t other;
        check("cancel_new", ee_cancel_new(&cancel, &err), EE_OK, &err);
        ee_status st = ee_job_start(client, EE_JOB(.image = "myapp:latest", .command = EE_LIST("sleep", "60")), &job, &err);
        check("start", st, EE_OK, &err);
        if (!st && pthread_create(&other, NULL, fire, cancel) == 0) {
            while (!(st = ee_job_next(job, -1, cancel, &event, &err))) continue;
            check("cancelled", st, EE_E_CANCELLED, &err);
            pthread_join(other, NULL);
        }
        ee_job_free(job);
        ee_cancel_free(cancel);
    }

    static void *everything(void *unused) {
        ee_error err = {0};
        ee_result *result = NULL;
        ee_response *response = NULL;
        check("job", ee_run_private_job(client, EE_JOB(.image = "myapp:latest", .env = EE_LIST("SECRET=value")), &result, &err), EE_OK, &err);
        ee_result_free(result);
        check("transfer", ee_transfer_credits(client, "contractor-id", "$1", NULL, NULL, NULL, NULL, &err), EE_OK, &err);
        for (int i = 0; i < 3; i++) {
            check("get", ee_get(app, "/api/private", &response, &err), EE_OK, &err);
            ee_response_free(response);
            response = NULL;
        }
        cancel_a_job();
        return unused;
    }

    int main(void) {
        ee_error err = {0};
        pthread_t threads[THREADS];
        check("client", ee_client_new(NULL, &client, &err), EE_OK, &err);
        check("connect", ee_connect(client, "app-name", NULL, &app, &err), EE_OK, &err);
        if (failed) return 1;
        for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, everything, NULL);
        for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
        ee_app_free(app);
        ee_client_free(client);
        puts("done");
        return failed ? 1 : 0;
    }
    """
)


class Threads(DevnetCase):
    def test_one_client_and_many_threads(self):
        program = self.net.compile(PROGRAM, "threads")
        before = self.net.balance()
        result = self.net.run([program], timeout=120)
        self.assertEqual((result.returncode, result.stdout), (0, "done\n"), result.stderr)
        available, locked = self.net.balance()
        self.assertEqual(sum(before) - available - locked, 4_000_000)  # four transfers, and nothing lost

    def test_the_search_finds_a_race(self):
        """Positive control: two threads on one number are reported where Devnet.down() looks."""
        racy = "#include <pthread.h>\nint n;\nvoid *add(void *p) { n++; return p; }\n" \
               "int main(void) { pthread_t t; pthread_create(&t, 0, add, 0); n++; return pthread_join(t, 0); }\n"
        self.net.run([self.net.compile(racy, "racy")])
        found = list(self.net.home.glob("sanitizer.*"))
        self.assertEqual([("data race" in path.read_text()) for path in found], [True])
        found[0].unlink()


if __name__ == "__main__":
    unittest.main(verbosity=2)
