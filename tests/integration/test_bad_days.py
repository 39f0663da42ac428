#!/usr/bin/env python3
"""What bad input and bad luck get: a clear error with the stable word, and nothing locked, moved or left running."""
# deadline: 400
import json
import os
import pathlib
import shutil
import signal
import subprocess
import unittest

from devnet import BIN, Devnet, DevnetCase, environment, own_caller, wait_for


class BadInput(DevnetCase):
    def setUp(self):
        self.before = self.net.balance()

    def tearDown(self):
        """Money that moved or stayed locked through a refusal is a defect."""
        wait_for("locks back", lambda: self.net.balance() == self.before, 15)

    def test_unknown_account(self):
        self.assertError(self.net.ee("transfer", "contractor-di", "$1"), "not_found", 4)

    def test_amounts(self):
        for amount in ("$1e3", "1,000", "$0", "0.0000001", "1.5.2", "", "$", "£5", "NaN", "99999999999999999999"):
            with self.subTest(amount=amount):
                self.assertError(self.net.ee("transfer", "contractor-id", amount), "invalid_amount", 2)
        self.assertError(self.net.ee("transfer", "--", "contractor-id", "-1"), "invalid_amount", 2)

    def test_low_balance_has_numbers(self):
        result = self.net.ee("transfer", "contractor-id", "$999999")
        self.assertError(result, "low_balance", 5)
        self.assertIn("$999999.00", result.stderr)
        document = json.loads(self.net.ee("--json", "transfer", "contractor-id", "$999999").stderr)
        self.assertEqual(document["error"]["needed"]["micros"], 999_999_000_000)
        self.assertEqual(document["error"]["available"]["micros"], self.before[0])

    def test_a_name_is_shown_as_it_was_written(self):
        result = self.net.ee("transfer", "zo\u00eb\u540d", "$1")
        self.assertError(result, "not_found", 4)
        self.assertIn('there is no account "zo\u00eb\u540d"', result.stderr)

    def test_cost_over_the_cap(self):
        result = self.net.ee("run", "myapp:latest", "--max-cost", "$0.000001")
        self.assertError(result, "budget_exceeded", 5)

    def test_image_that_does_not_exist(self):
        self.assertError(self.net.ee("run", "nosuch:latest"), "image", 125)
        absent = self.net.ee("run", "myapp@sha256:" + "0" * 64)
        self.assertError(absent, "image", 125)
        self.assertIn("/myapp@sha256:000000000000...: the registry has no such image: push it there, or check its name and digest\n", absent.stderr)
        for foreign in ("docker://", "Error", "manifest", "skopeo"):
            self.assertNotIn(foreign, absent.stderr)
        self.assertError(self.net.ee("run", "UPPER:latest"), "image", 125)

    def test_command_not_in_the_image(self):
        for command, told in (("/no/such/program", "is not in the image"), ("index.html", "is not in the image"), ("/www", "is a folder of the image, not a program"),
                              ("/www/index.html", "is in the image but is not executable: it has no executable bit")):
            with self.subTest(command=command):
                result = self.net.ee("run", "myapp:latest", "--", command)
                self.assertError(result, "command_not_found", 125)
                self.assertIn(f'the command "{command}" {told}\n', result.stderr)

    def test_no_eligible_node_has_reasons(self):
        result = self.net.ee("run", "myapp:latest", "--vcpus", "64")
        self.assertError(result, "no_eligible_node", 125)
        for node in ("node-a", "node-b", "node-c"):
            self.assertIn(node, result.stderr)
        document = json.loads(self.net.ee("--json", "run", "myapp:latest", "--vcpus", "64").stderr)
        self.assertEqual(set(document["error"]["details"]["rejected"]), {"node-a", "node-b", "node-c"})

    def test_node_that_does_not_exist(self):
        for args, code in ((["run"], 4), (["run", "--quote"], 4), (["apps", "deploy", "x", "--port", "80"], 4)):
            with self.subTest(args=args):
                result = self.net.ee(*args, "--node", "node-d", "myapp:latest") if args[0] == "run" else self.net.ee(*args[:3], "myapp:latest", *args[3:], "--node", "node-d")
                self.assertError(result, "not_found", code)
                self.assertEqual(result.stderr.count("node-d"), 1)
                self.assertRegex(result.stderr, 'there is no node "node-d".*node-[abc]')

    def test_only_the_node_that_was_asked_for_is_explained(self):
        result = self.net.ee("run", "--node", "node-b", "--vcpus", "64", "myapp:latest")
        self.assertError(result, "no_eligible_node", 125)
        self.assertIn("node-b: has ", result.stderr)
        self.assertNotIn("node-a", result.stderr)
        self.assertNotIn("asked for", result.stderr)

    def test_app_unknown(self):
        self.assertError(self.net.ee("curl", "no-app/x"), "not_found", 4)

    def test_an_app_that_ends_says_how_to_see_more(self):
        result = self.net.ee("apps", "deploy", "ends", "myapp:latest", "--port", "8080", "--", "sh", "-c", "echo why >&2; exit 3")
        self.assertError(result, "app_unavailable", 9)
        self.assertIn("app ends did not start: it ended with exit code 3\n  an app's output is not kept in this version: run its image and command as a job", result.stderr)
        self.assertEqual(self.net.ee("apps", "stop", "ends").returncode, 0)

    @own_caller
    def test_too_much_stdin_says_what_there_is(self):
        program = "import easyenclave as ee\ntry:\n    ee.run_private_job('myapp:latest', stdin=bytes(1048577))\nexcept ee.LimitError as error:\n    print(error)"
        result = self.net.run(["python3", "-c", program])
        self.assertEqual(result.stdout, "limit: stdin has 1048577 bytes; at most 1048576\n  larger input is not streamed in this version: what does not change can be part of the image\n", result.stderr)

    def test_usage(self):
        self.assertError(self.net.ee("run"), "invalid", 2)
        self.assertError(self.net.ee("run", "myapp:latest", "-e", "NOT_SET_ANYWHERE"), "invalid", 2)
        self.assertError(self.net.ee("frobnicate"), "invalid", 2)
        self.assertError(self.net.ee("run", "myapp:latest", "--timeout", "soon"), "invalid", 2)

    def test_same_words_in_http(self):
        """The control plane's own answers carry the same words; unsigned requests are refused."""
        url = self.net.profile()["url"]
        for path, method, word, status in (("/v1/balances/me", "GET", "auth", 401), ("/v1/nope", "GET", "not_found", 404), ("/v1/credits/purchase", "POST", "auth", 401), ("/v1/jobs", "PUT", "invalid", 405)):
            got = subprocess.run(["curl", "-sk", "-X", method, "-w", "\n%{http_code}", f"{url}{path}"], capture_output=True, text=True).stdout
            body, _, code = got.rpartition("\n")
            self.assertEqual((json.loads(body)["error"]["code"], int(code)), (word, status))


class Configuration(DevnetCase):
    def test_nothing_configured(self):
        home = self.net.home / "nobody"
        (home / "run").mkdir(parents=True, mode=0o700, exist_ok=True)
        result = subprocess.run([str(BIN / "ee"), "balance"], env=environment(home), capture_output=True, text=True)
        self.assertError(result, "config", 3)
        self.assertIn("ee devnet up", result.stderr)

    def test_absent_profile(self):
        self.assertError(self.net.ee("--profile", "nope", "balance"), "config", 3)

    def test_planted_devnet_file(self):
        home = self.net.home / "planted"
        folder = home / "run/easyenclave"
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        planted = folder / "devnet.json"
        shutil.copy(self.net.file, planted)
        planted.chmod(0o644)
        result = subprocess.run([str(BIN / "ee"), "balance"], env=environment(home), capture_output=True, text=True)
        self.assertError(result, "config", 3)
        planted.unlink()
        planted.symlink_to(self.net.file)
        result = subprocess.run([str(BIN / "ee"), "balance"], env=environment(home), capture_output=True, text=True)
        self.assertError(result, "config", 3)

    def test_devnet_file_of_another_network(self):
        """A file that names our control plane but another network id: the coordinator must prove to be what the file says."""
        home = self.net.home / "other"
        folder = home / "run/easyenclave"
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        profile = self.net.profile()
        profile["network_id"] = "00" * 32
        (folder / "devnet.json").write_text(json.dumps(profile))
        (folder / "devnet.json").chmod(0o600)
        result = subprocess.run([str(BIN / "ee"), "balance"], env=environment(home), capture_output=True, text=True)
        self.assertError(result, "attestation", 6)

    def test_production_policy_refuses_a_devnet(self):
        profile = self.net.profile()
        policy = self.net.home / "production.toml"
        policy.write_text('anchor = "intel"\nallow_any_measurement = true\n')
        result = self.net.ee("balance", env={"EE_URL": profile["url"], "EE_API_KEY": profile["api_key"], "EE_NETWORK_ID": profile["network_id"], "EE_POLICY": str(policy)})
        self.assertError(result, "attestation", 6)

    def test_wrong_key(self):
        profile = self.net.profile()
        key = profile["api_key"]
        result = self.net.ee("balance", env={"EE_API_KEY": key[:-4] + "AAAA"})
        self.assertError(result, "config", 3)

    def test_unreachable(self):
        profile = self.net.profile()
        result = self.net.ee("balance", env={"EE_URL": "https://127.0.0.1:9", "EE_API_KEY": profile["api_key"], "EE_NETWORK_ID": profile["network_id"], "EE_POLICY": str(self.net.dir / "policy.toml")})
        self.assertError(result, "connect", 9)


class BadLuck(unittest.TestCase):
    def setUp(self):
        self.net = Devnet().up("--attest-interval", "1s")

    def test_agents_prove_themselves_again(self):
        first = self.net.node("node-a")["attested_at"]
        wait_for("new evidence", lambda: self.net.node("node-a")["attested_at"] > first, 20)
        self.assertEqual(self.net.node("node-a")["state"], "serving")

    def test_Q17_a_stalled_agent_gets_no_work(self):
        self.net.kill("node-c", signal.SIGSTOP)
        try:
            wait_for("node-c is suspect", lambda: self.net.node("node-c")["state"] == "suspect", 20)
            node = self.net.node("node-c")
            self.assertFalse(node["eligible"])
            self.assertTrue(node["reason"])
            self.assertNotEqual(self.net.json("run", "myapp:latest")["node"], "node-c")
        finally:
            self.net.kill("node-c", signal.SIGCONT)
        wait_for("node-c serves again", lambda: self.net.node("node-c")["state"] == "serving", 40)

    def tearDown(self):
        self.net.down()

    def test_agent_killed_in_the_middle(self):
        before = self.net.balance()
        job = subprocess.Popen([str(BIN / "ee"), "--json", "run", "--node", "node-b", "myapp:latest", "--", "sh", "-c", "echo up; sleep 60"], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for("the job runs", lambda: any(j["state"] == "running" for j in self.net.json("jobs")["items"]))
        self.net.kill("node-b")
        out, err = job.communicate(timeout=60)
        self.assertEqual(job.returncode, 125, err)
        error = json.loads(err)["error"]
        self.assertEqual(error["code"], "job_lost")
        wait_for("the lock is back", lambda: self.net.balance() == before, 30)
        jobs = self.net.json("jobs")["items"]
        self.assertEqual([(j["state"], j["exit_code"]) for j in jobs], [("failed", None)])  # nobody saw it exit
        self.assertEqual((error["details"]["job_id"], error["details"]["node"]), (jobs[0]["id"], "node-b"))
        self.assertRegex(self.net.ee("jobs", "show", jobs[0]["id"]).stdout, r"exit_code +-\n")

    def test_interrupt_cancels_and_charges_what_ran(self):
        before = self.net.balance()
        job = subprocess.Popen([str(BIN / "ee"), "run", "myapp:latest", "--", "sh", "-c", "echo up; sleep 60"], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(job.stdout.readline(), "up\n")
        job.send_signal(signal.SIGINT)
        out, err = job.communicate(timeout=60)
        self.assertEqual(job.returncode, 130, err)
        wait_for("all but the charge is back", lambda: sum(self.net.balance()) == sum(before), 20)
        wait_for("the job ended", lambda: self.net.json("jobs")["items"][0]["state"] == "done", 20)

    def test_Q9_another_machine_cannot_pass_for_a_node(self):
        """node-b's name, on node-c's machine: acceptable evidence, but of the wrong machine."""
        served = self.net.node("node-b")["instance_id"]
        impostor = self.net.beside("node-b", "impostor", machine="node-c")
        try:
            said = "runs on another machine than its provider named"
            wait_for("the control plane's refusal", lambda: said in impostor.log() and said in (self.net.dir / "logs/control.log").read_text(), 20)
            self.assertEqual(self.net.node("node-b")["instance_id"], served)
        finally:
            impostor.stop()

    def test_app_down(self):
        self.net.kill("node-c"), self.net.kill("node-b"), self.net.kill("node-a")
        result = wait_for("app is unavailable", lambda: (lambda r: r if r.returncode == 9 else None)(self.net.ee("curl", "app-name/api/private")), 30)
        self.assertIn("ee: app_unavailable:", result.stderr)

    def test_control_plane_killed_and_started_again(self):
        """Agents come back by themselves, the app goes on, a receipt from the outage is booked, and money is where it was."""
        before = self.net.balance()
        job = subprocess.Popen([str(BIN / "ee"), "run", "myapp:latest", "--", "sh", "-c", "echo up; sleep 60"], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(job.stdout.readline(), "up\n")
        control = self.net.restart_control()
        try:
            job.communicate(timeout=60)
            self.assertEqual(job.returncode, 125)
            wait_for("agents are back", lambda: [n["state"] for n in (json.loads(self.net.ee("--json", "nodes").stdout or "{}").get("items") or [])].count("serving") == 3, 30)
            wait_for("the job ended", lambda: self.net.json("jobs")["items"][0]["state"] in ("done", "failed"), 30)
            wait_for("the money adds up", lambda: sum(self.net.balance()) == sum(before), 30)
            self.assertEqual(json.loads(self.net.ee("curl", "app-name/api/private").stdout), {"hello": "from behind the tunnel"})
            self.assertEqual(self.net.ee("transfer", "contractor-id", "$1").returncode, 0)
            self.assertIsNone(control.poll(), "the control plane runs")
        finally:
            control.terminate()
            control.wait(30)

    def test_cancelling_an_ended_job_is_harmless(self):
        self.net.ee("run", "myapp:latest")
        ended = self.net.json("jobs")["items"][0]["id"]
        self.assertEqual(self.net.json("jobs", "cancel", ended)["state"], "done")
        self.assertEqual(self.net.ee("balance").returncode, 0)

    def test_control_plane_killed(self):
        self.net.kill("control")
        result = self.net.ee("balance")
        self.assertEqual(result.returncode, 9)
        self.assertIn("ee: connect:", result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
