#!/usr/bin/env python3
"""Bad days, each as one case with one word, lived through by five callers: C, Python, Go, the command line and bare HTTP. Whoever is asked
gives the same word, the same sentence and the same numbers, nothing from below comes through, and nothing is locked, moved or left running."""
# deadline: 400
# needs: build/dev
import base64
import hashlib
import json
import re
import secrets
import unittest
from dataclasses import dataclass
from typing import Callable, Mapping, Optional, Tuple

import callers
from devnet import BUILD, ROOT, Devnet, DevnetCase, environment, wait_for

LIARS = (BUILD if BUILD.name == "dev" else BUILD / "dev") / "bin"
NOBODY = "00" * 32
HTTP_STATUS = {word: int(status) for word, status in re.findall(r'^EE_STATUS\(\w+, +-?\d+, "(\w+)", +(\d+),', (ROOT / "sdk/include/eesdk/status.def").read_text(), re.M)}


def api_key(seed):
    return "ee_sk_" + base64.urlsafe_b64encode(seed + hashlib.sha256(b"EE1-seed" + seed).digest()[:4]).decode()


@dataclass
class Case:
    what: str
    word: str
    call: Tuple[str, ...]
    http: object = None  # what bare HTTP does: other arguments, or a sentence that says why there is nothing to do; None: the same
    env: Callable[[Devnet], Mapping[str, str]] = lambda net: {}
    details: Callable[[Devnet, callers.Outcome], Optional[str]] = lambda net, outcome: None  # what is wrong with them


def numbers(needed, available):
    def check(net, outcome):
        want = (needed, available(net) if callable(available) else available)
        return None if (outcome.needed, outcome.available) == want else f"needed and available are {outcome.needed, outcome.available}, not {want}"

    return check


def failed_check(name):
    return lambda net, outcome: None if outcome.details.get("check") == name else f"details say {outcome.details}, not that {name} failed"


def every_node_has_a_reason(net, outcome):
    rejected = outcome.details.get("rejected", {})
    return None if set(rejected) == {"node-a", "node-b", "node-c"} and all(rejected.values()) else f"rejected is {rejected}"


def run(image, node="", vcpus="1", max_cost="", name="", *command):
    return ("run", image, node, vcpus, max_cost, name, *command)


def home(net, name, profile=None, mode=0o600):
    """Variables for a user of another home, with or without a devnet's file in it."""
    folder = net.home / name
    runtime = folder / "run/easyenclave"
    runtime.mkdir(parents=True, mode=0o700, exist_ok=True)
    (folder / "run").chmod(0o700)
    if profile is not None:
        (runtime / "devnet.json").write_text(json.dumps(profile))
        (runtime / "devnet.json").chmod(mode)
    made = environment(folder)
    return {key: made[key] for key in ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")}


def production(net):
    policy, profile = net.home / "production.toml", net.profile()
    policy.write_text('anchor = "intel"\nallow_any_measurement = true\n')
    return {"EE_URL": profile["url"], "EE_API_KEY": profile["api_key"], "EE_NETWORK_ID": profile["network_id"], "EE_POLICY": str(policy)}


def unreachable(net):
    return {"EE_URL": "https://127.0.0.1:9", "EE_API_KEY": net.profile()["api_key"], "EE_NETWORK_ID": net.profile()["network_id"], "EE_POLICY": str(net.dir / "policy.toml")}


NO_ATTESTATION = "bare HTTP attests nobody"
NO_CONFIGURATION = "bare HTTP is not configured by anything"
MANY = 999_999_000_000

INPUT = [
    Case("an account that does not exist", "not_found", ("transfer", "contractor-di", "$1", ""), http=("transfer", "contractor-di", 1_000_000, "")),
    *(Case(f"the amount {amount!r}", "invalid_amount", ("transfer", "contractor-id", amount, ""), http=("mint", amount))
      for amount in ("$1e3", "1,000", "$0", "0.0000001", "1.5.2", "", "$", "£5", "NaN", "-1", "99999999999999999999")),
    Case("more than there is", "low_balance", ("transfer", "contractor-id", "$999999", ""), http=("transfer", "contractor-id", MANY, ""),
         details=numbers(MANY, lambda net: net.balance()[0])),
    Case("a key that paid something else", "idempotency_mismatch", ("transfer", "contractor-id", "$2", "paid-before"), http=("transfer", "contractor-id", 2_000_000, "paid-before")),
    Case("a job over the cap", "budget_exceeded", run("myapp:latest", max_cost="$0.000001"), details=numbers(5000, 1)),
    Case("a job that fits nowhere", "no_eligible_node", run("myapp:latest", vcpus="64"), details=every_node_has_a_reason),
    Case("an image that is not there", "image", run("nosuch:latest"), http="the caller asks the registry itself"),
    Case("a digest that is not there", "image", run("myapp@sha256:" + "0" * 64), http="the agent asks the registry, and tells its caller"),
    Case("a name that no image has", "image", run("UPPER:latest"), http="the caller reads the name"),
    Case("a command that is not in the image", "command_not_found", run("myapp:latest", "", "1", "", "", "/no/such/program"), http="the agent finds out, and tells its caller"),
    Case("an app that is not there", "not_found", ("get", "no-app", "/x")),
    Case("a key that nobody has", "auth", ("balance",), env=lambda net: {"EE_API_KEY": api_key(bytes(32))}, http=("stranger", api_key(bytes(32)))),
]
CONFIGURATION = [
    Case("nothing configured", "config", ("balance",), NO_CONFIGURATION, env=lambda net: home(net, "nobody")),
    Case("a profile that is not there", "config", ("balance",), NO_CONFIGURATION, env=lambda net: {"EE_PROFILE": "nope"}),
    Case("a devnet's file that others can read", "config", ("balance",), NO_CONFIGURATION, env=lambda net: home(net, "planted", net.profile(), 0o644)),
    Case("a key with a typing mistake", "config", ("balance",), NO_CONFIGURATION, env=lambda net: {"EE_API_KEY": net.profile()["api_key"][:-4] + "AAAA"}),
    Case("a devnet's file of another network", "attestation", ("balance",), NO_ATTESTATION, env=lambda net: home(net, "other", {**net.profile(), "network_id": NOBODY}),
         details=failed_check("node")),
    Case("a devnet under the production policy", "attestation", ("balance",), NO_ATTESTATION, env=production, details=failed_check("pck_chain")),
    Case("nobody listens at the address", "connect", ("balance",), "there is no answer without a server", env=unreachable),
]


class SameWords(DevnetCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.callers = callers.all_callers(cls.net)
        except BaseException:
            cls.net.down()
            raise
        cls.http = cls.callers["http"]

    def outcome(self, name, case):
        if name != "http":
            return self.callers[name].call(*case.call, **case.env(self.net))
        action, *args = case.http or case.call
        if action == "mint":
            pid = self.net.pid_of("control")
            owner = {"Authorization": "Bearer " + self.net.environment_of(pid)["EE_ADMIN_TOKEN"]}
            return self.http.request("POST", "/v1/credits/purchase", lambda instance, account: {"account": "dev", "amount": args[0], "reference": secrets.token_hex(8)}, headers=owner)
        if action == "stranger":
            return self.http.request("GET", "/v1/balances/me", profile={**self.net.profile(), "api_key": args[0]})
        return self.http.call(action, *args)

    def check(self, case):
        sentences = {}
        for name in self.callers:
            if name == "http" and isinstance(case.http, str):
                continue
            with self.subTest(case=case.what, caller=name):
                outcome = self.outcome(name, case)
                self.assertEqual(outcome.word, case.word, outcome)
                self.assertIsNone(case.details(self.net, outcome), outcome)
                self.assertEqual((outcome.output, outcome.stray), ("", ""), "something else came out")
                self.assertTrue(outcome.message and "\n" not in outcome.message, outcome)
                if name == "http":
                    self.assertEqual(outcome.code, HTTP_STATUS[case.word])
                else:
                    sentences.setdefault(outcome.message, []).append(name)
        self.assertEqual(len(sentences), 1, f"{case.what}: not one sentence: {sentences}")

    def lives_through(self, cases):
        before = self.net.balance()
        for case in cases:
            self.check(case)
        wait_for("nothing is locked or moved", lambda: self.net.balance() == before, 20)

    def test_bad_input(self):
        self.assertEqual(self.net.ee("transfer", "contractor-id", "$1", "--key", "paid-before").returncode, 0)
        self.lives_through(INPUT)

    def test_bad_configuration(self):
        self.lives_through(CONFIGURATION)

    def test_good_days(self):
        """The callers can do otherwise: each of the calls above succeeds when nothing is wrong."""
        for call, http in ((("balance",), None), (("transfer", "contractor-id", "$1", ""), ("transfer", "contractor-id", 1_000_000, "")),
                           (run("myapp:latest", "node-a", "1", "$1", "", "echo", "hi"), None), (("get", "app-name", "/api/private"), None)):
            for name, caller in self.callers.items():
                with self.subTest(call=call, caller=name):
                    self.assertEqual(caller.call(*(http or call) if name == "http" else call).word, "ok")


class Processes(unittest.TestCase):
    """Something happens to a program of the network while it is used, or it lies."""

    def setUp(self):
        self.net = Devnet()
        self.started = []
        try:
            self.net.up()
            self.callers = callers.sdk_callers(self.net)
        except BaseException:
            self.net.ee("devnet", "down")
            raise

    def tearDown(self):
        for process in self.started:
            process.kill()
            process.wait()
        self.net.down()

    def replace(self, name, program, **more):
        self.started.append(self.net.replace(name, program, **more))

    def all_at_once(self, call, after=lambda: None, **env):
        """Every caller's outcome; they run beside each other, and after() happens meanwhile."""
        running = {name: caller.start(*call, **env) for name, caller in self.callers.items()}
        try:
            after()
            return {name: self.callers[name].finish(process) for name, process in running.items()}
        finally:
            for process in running.values():
                process.kill()
                process.communicate()

    def assertWords(self, outcomes, word, check=lambda outcome: None):
        for name, outcome in outcomes.items():
            with self.subTest(caller=name):
                self.assertEqual(outcome.word, word, outcome)
                self.assertEqual((outcome.output, outcome.stray), ("", ""), "something else came out")
                self.assertIsNone(check(outcome), outcome)
        self.assertEqual(len({o.message for o in outcomes.values()} if word == "attestation" else {word}), 1, outcomes)

    def jobs(self):
        return self.net.json("jobs")["items"]

    def test_agent_killed_in_the_middle(self):
        before = self.net.balance()

        def kill():
            wait_for("all run", lambda: [job["state"] for job in self.jobs()].count("running") == len(self.callers), 30)
            self.net.kill("node-b")

        outcomes = self.all_at_once(run("myapp:latest", "node-b", "1", "", "", "sleep", "60"), kill)
        self.assertWords(outcomes, "job_lost")
        wait_for("the locks are back", lambda: self.net.balance() == before, 30)
        told = [callers.Http(self.net).request("GET", f"/v1/jobs/{job['id']}").details for job in self.jobs()]
        self.assertEqual({(job["state"], job["reason"]) for job in told}, {("failed", "job_lost")})

    def test_app_whose_nodes_are_gone(self):
        for node in ("node-a", "node-b", "node-c"):
            self.net.kill(node)
        http = callers.Http(self.net)
        wait_for("the control plane knows", lambda: http.call("get", "app-name").word == "app_unavailable", 30)
        self.assertWords(self.all_at_once(("get", "app-name", "/api/private")), "app_unavailable")

    def test_control_plane_killed(self):
        self.net.kill("control")
        self.assertWords(self.all_at_once(("balance",)), "connect")

    def serving(self, node, instance):
        return wait_for(f"{node} serves again", lambda: (lambda n: n["state"] == "serving" and n["instance_id"] != instance)(self.net.node(node)), 30)

    def test_Q9_agent_lies_in_its_certificate(self):
        """The control plane took its registration, which was true. Each caller finds the lie by itself, before a secret leaves."""
        before = self.net.balance()
        for node, lie, check in (("node-a", "quote", "quote_signature"), ("node-b", "key", "tls_key")):
            instance = self.net.node(node)["instance_id"]
            self.replace(node, str(LIARS / "lying-agent"), LIE=lie)
            self.serving(node, instance)
            with self.subTest(lie=lie):
                outcomes = self.all_at_once(run("myapp:latest", node, "1", "", "SECRET"), SECRET="value")
                self.assertWords(outcomes, "attestation", lambda outcome: failed_check(check)(self.net, outcome))
        wait_for("every job is over", lambda: {job["state"] for job in self.jobs()} == {"failed"}, 30)
        self.assertEqual(len(self.jobs()), 2 * len(self.callers))
        wait_for("the locks are back", lambda: self.net.balance() == before, 20)

    def test_Q9_control_plane_lies_in_its_certificate(self):
        for lie, check in (("quote", "quote_signature"), ("key", "tls_key")):
            with self.subTest(lie=lie):
                self.replace("control", str(LIARS / "lying-controlplane"), LIE=lie)
                wait_for("it answers", self.http_answers, 20)
                self.assertWords(self.all_at_once(("balance",)), "attestation", lambda outcome: failed_check(check)(self.net, outcome))

    def http_answers(self):
        try:
            return callers.Http(self.net).call("balance").word == "ok"
        except OSError:
            return False


if __name__ == "__main__":
    unittest.main(verbosity=2)
