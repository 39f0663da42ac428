#!/usr/bin/env python3
"""Many jobs at one moment: more than fit on the node that all are quoted, and one more than fit on all nodes. All of them run."""
# deadline: 300
import json
import signal
import subprocess
import textwrap
import unittest

from devnet import BIN, DevnetCase, wait_for

AT_ONCE = 24

WAITER = r"""
#include <eesdk/eesdk.h>
#include <stdio.h>
#include <string.h>

static ee_cancel *cancel;

static int on_progress(void *how, const char *phase, uint64_t done, uint64_t total, const char *message) {
    (void)done;
    (void)total;
    if (!strstr(message, "waiting for room")) return 0;
    printf("%s: waiting\n", phase);
    fflush(stdout);
    if (strcmp(how, "cancel") == 0) ee_cancel_fire(cancel);
    return strcmp(how, "stop") == 0;
}

int main(int argc, char **argv) {
    ee_error err = {0};
    ee_result *result = NULL;
    if (argc != 2 || ee_cancel_new(&cancel, &err)) return 2;
    ee_status st = ee_run_private_job(NULL, EE_JOB(.image = "myapp:latest", .on_progress = on_progress, .user = argv[1], .cancel = cancel), &result, &err);
    printf("%s\n", ee_status_word(st));
    ee_result_free(result);
    ee_cancel_free(cancel);
    return 0;
}
"""


class Parallel(DevnetCase):
    def free(self):
        return {n["node"]: n["vcpus_milli"] - n["vcpus_used_milli"] for n in self.net.json("nodes")["items"]}

    def assert_all_came_back(self, before, free, jobs):
        """Each job held one lock, once; what it did not use is back, and so is its place."""
        rows = self.net.json("jobs")["items"][:jobs]
        self.assertEqual([row["state"] for row in rows], ["done"] * jobs)
        used = sum(row["charged"]["micros"] for row in rows)

        def settled():
            available, locked = self.net.balance()
            return (available, locked) == (before[0] - used, before[1] + used)

        wait_for("what was not used is available again", settled)
        wait_for("every place is free again", lambda: self.free() == free)

    def test_all_of_24_processes_run(self):
        before, free = self.net.balance(), self.free()
        self.assertLess(sum(free.values()), AT_ONCE * 1000)  # one at least has to wait for room
        self.assertGreater(sum(free.values()), max(free.values()) * 2)
        # The shell's job ends when all have ended. Each keeps its place until it has seen that others came too late for the first node.
        line = "ee run myapp:latest -- sh -c 'sleep 0.3; echo done'"
        started = [subprocess.Popen(["bash", "-c", line], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(AT_ONCE)]
        for process in started:
            out, err = process.communicate(timeout=120)
            self.assertEqual((process.returncode, out), (0, "done\n"), err)
        self.assert_all_came_back(before, free, AT_ONCE)

    def test_all_of_24_threads_of_one_client_run(self):
        before, free = self.net.balance(), self.free()
        program = textwrap.dedent(
            f"""
            import concurrent.futures, json
            from easyenclave import Client
            with Client() as client, concurrent.futures.ThreadPoolExecutor({AT_ONCE}) as pool:
                found = [pool.submit(client.run_private_job, "myapp:latest", ["sh", "-c", "sleep 0.3; echo $N"], env={{"N": str(n)}}) for n in range({AT_ONCE})]
                print(json.dumps([f.result().stdout for f in found]))
            """
        )
        result = self.net.run(["python3", "-c", program])
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout), [f"{n}\n" for n in range(AT_ONCE)])
        self.assert_all_came_back(before, free, AT_ONCE)

    def test_room_is_waited_for_and_the_wait_can_be_ended(self):
        before, free = self.net.balance(), self.free()
        holders = {}
        for node, milli in free.items():
            run = ("run", "--node", node, "--vcpus", f"{milli / 1000:g}", "myapp:latest", "--", "sh", "-c", "echo up; sleep 60")
            holders[node] = subprocess.Popen([str(BIN / "ee"), *run], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for holder in holders.values():
            self.assertEqual(holder.stdout.readline(), "up\n")
        for how, word in (("cancel", "cancelled"), ("stop", "cancelled")):
            with self.subTest(how=how):
                ended = self.net.run([self.waiter(), how])
                self.assertEqual(ended.stdout, f"placing: waiting\n{word}\n")
        waits = subprocess.Popen([self.waiter(), "wait"], env=self.net.env, stdout=subprocess.PIPE, text=True)
        self.assertEqual(waits.stdout.readline(), "placing: waiting\n")
        for holder in holders.values():
            holder.send_signal(signal.SIGINT)
        self.assertEqual(waits.communicate(timeout=60)[0], "ok\n")
        for holder in holders.values():
            holder.communicate(timeout=30)
        wait_for("every place is free again", lambda: self.free() == free)
        self.assertEqual(self.net.balance()[1] - before[1], sum(j["charged"]["micros"] for j in self.net.json("jobs")["items"][: len(free) + 1]))

    def waiter(self):
        """A caller that says when it begins to wait for room, and what came of it."""
        source, program = self.net.home / "waiter.c", self.net.home / "waiter"
        if not program.exists():
            source.write_text(WAITER)
            built = self.net.run(["bash", "-c", f"cc {source} -o {program} $(pkg-config --cflags --libs eesdk)"])
            self.assertEqual(built.returncode, 0, built.stderr)
        return str(program)

    def test_what_can_never_fit_is_refused_at_once(self):
        result = self.net.ee("run", "--vcpus", "1000", "myapp:latest", timeout=8)
        self.assertError(result, "no_eligible_node", 125)


if __name__ == "__main__":
    unittest.main(verbosity=2)
