#!/usr/bin/env python3
"""The headline, as a stranger pastes it, from Python, Go and C against one devnet, and the stories around it."""
# deadline: 400
import json
import os
import pathlib
import re
import subprocess
import tempfile
import textwrap
import unittest

from devnet import BUILD, ROOT, DevnetCase, environment, own_caller

HEADLINE = textwrap.dedent(
    """\
    from easyenclave import run_private_job, transfer_credits, connect
    result = run_private_job(image="myapp:latest", env={"SECRET": "value"})
    transfer_credits(to="contractor-id", amount="$200")
    client = connect("app-name")
    response = client.get("/api/private")
    """
)
HELLO = "hello from a private job; SECRET has 5 characters\n"


class ThreeCalls(DevnetCase):
    def effects(self, before, cost_micros):
        """contractor-id got $200, the caller paid that and the job's cost, no more."""
        available, locked = self.net.balance()
        self.assertEqual(before[0] + before[1] - available - locked, 200_000_000)
        self.assertEqual(locked - before[1], cost_micros)

    def told(self, result):
        """What the examples print, the same in each language."""
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(
            result.stdout,
            r"\Aattested  node node-[abc] \(simulated TDX\)\n"
            r"job       exit 0, cost \$0\.0\d+ \(\d+\.\d{3} vCPU-s at \$0\.0\d+/vCPU-h\), printed: " + HELLO + r"paid      \$200\.00 to contractor-id\n"
            r'app-name  HTTP 200 \{"hello": "from behind the tunnel"\}\n\Z')

    @own_caller
    def test_python_example_headline(self):
        self.told(self.net.run(["python3", str(ROOT / "examples/python/headline.py")]))

    @own_caller
    def test_python_headline_verbatim(self):
        before = self.net.balance()
        script = self.net.home / "it.py"
        script.write_text(HEADLINE + "import json\nprint(json.dumps([result.stdout, result.exit_code, result.cost.micros, response.status_code, response.json(), result.attestation.simulated]))\n")
        result = self.net.run(["python3", str(script)])
        self.assertEqual(result.returncode, 0, result.stderr)
        stdout, code, cost, status, body, simulated = json.loads(result.stdout)
        self.assertEqual((stdout, code, status, simulated), (HELLO, 0, 200, True))
        self.assertEqual(body, {"hello": "from behind the tunnel"})
        self.effects(before, cost)

    @own_caller
    def test_boot_log_of_the_node_is_checked(self):
        script = self.net.home / "boot_log.py"
        script.write_text(textwrap.dedent(
            """\
            import json
            from easyenclave import run_private_job
            found = run_private_job(image="myapp:latest", env={"SECRET": "value"}).attestation
            print(json.dumps([[c.status for c in found.checks if c.name == "boot_log"], [e.data.decode() for e in found.boot_events if e.rtmr == 2 and e.data]]))
            """))
        result = self.net.run(["python3", str(script)])
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout), [["pass"], ["console=hvc0 ro panic=-1 simulated"]])

    @own_caller
    def test_Q15_settings_of_the_node_are_measured(self):
        script = self.net.home / "config.py"
        script.write_text(textwrap.dedent(
            """\
            import base64, json
            from easyenclave import run_private_job
            found = run_private_job(image="myapp:latest", env={"SECRET": "value"}).attestation
            event = json.loads(found.evidence)["events"][1]
            print(json.dumps([event["type"], json.loads(base64.urlsafe_b64decode(event["payload"] + "==")), found.node, found.policy_hash]))
            """))
        result = self.net.run(["python3", str(script)])
        self.assertEqual(result.returncode, 0, result.stderr)
        kind, config, node, policy = json.loads(result.stdout)
        self.assertEqual((kind, config["node.name"], config["policy"]), (2, node, policy))
        self.assertEqual(list(config), ["network.id", "node.name", "node.vcpus_milli", "node.memory_bytes", "policy", "sealed", "runtime.dir", "runtime.images",
                                        "runtime.program", "runtime.shim"])

    @own_caller
    def test_go_headline(self):
        before = self.net.balance()
        result = self.net.run(["go", "run", "."], cwd=ROOT / "examples/go/headline", timeout=280)
        self.told(result)
        available, locked = self.net.balance()
        self.assertEqual(before[0] + before[1] - available - locked, 200_000_000)

    @own_caller
    def test_c_headline(self):
        before = self.net.balance()
        program = self.net.home / "headline"
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "eesdk"], env=self.net.env, capture_output=True, text=True, check=True).stdout.split()
        built = self.net.run(["cc", "-Wall", "-Wextra", "-pedantic", "-Werror", str(ROOT / "examples/c/headline.c"), "-o", str(program), *flags])
        self.assertEqual((built.returncode, built.stderr), (0, ""))
        self.told(self.net.run([str(program)]))
        available, locked = self.net.balance()
        self.assertEqual(before[0] + before[1] - available - locked, 200_000_000)

    def test_failing_job_explains_itself(self):
        result = self.net.ee("run", "myapp:latest", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual((result.returncode, result.stdout), (7, "out\n"))
        self.assertIn("err\n", result.stderr)
        document = self.net.ee("--json", "run", "myapp:latest", "--", "sh", "-c", "echo out; echo err >&2; sleep 0.5; exit 7")
        value = json.loads(document.stdout)
        self.assertEqual((value["exit_code"], value["stdout"], value["stderr"], value["reason"]), (7, "out\n", "err\n", "exited"))
        receipt = value["receipt"]
        metered = round(float(receipt["vcpu_seconds"]) * 1000)
        self.assertGreaterEqual(metered, 500)
        self.assertGreater(receipt["charged"]["micros"], 0)
        self.assertEqual(receipt["charged"]["micros"], metered * receipt["price_per_vcpu_hour"]["micros"] // 3_600_000)
        self.assertEqual(value["cost"], receipt["charged"])
        self.assertEqual(receipt["locked"]["micros"], receipt["charged"]["micros"] + receipt["refunded"]["micros"])

    def test_piped_output_is_exact(self):
        result = self.net.ee("run", "myapp:latest", "--", "sh", "-c", "for i in 1 2 3; do echo $i; done")
        self.assertEqual((result.returncode, result.stdout), (0, "1\n2\n3\n"))

    def test_stdin_and_binary_output(self):
        data = bytes(range(256)) * 2048
        result = self.net.ee("run", "-i", "myapp:latest", "--", "cat", input=data, text=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, data)

    def test_env_values_any_bytes(self):
        value = "a=b c'd\"e\n\t$x"
        result = self.net.ee("run", "myapp:latest", "-e", f"SECRET={value}", "--", "sh", "-c", 'printf %s "$SECRET"')
        self.assertEqual((result.returncode, result.stdout), (0, value))

    def test_timeout_ends_and_keeps_output(self):
        result = self.net.ee("run", "myapp:latest", "--timeout", "1s", "--", "sh", "-c", "echo before; sleep 30")
        self.assertEqual(result.returncode, 124, result.stderr)
        self.assertEqual(result.stdout, "before\n")
        self.assertIn("job_timeout", result.stderr)

    def test_memory_limit_is_named(self):
        result = self.net.ee("--json", "run", "myapp:latest", "--memory", "32M", "--", "sh", "-c", "x=a; while true; do x=$x$x; done")
        value = json.loads(result.stdout)
        self.assertEqual(value["reason"], "out_of_memory", value)

    def test_quote_locks_nothing(self):
        before = self.net.balance()
        value = self.net.json("run", "--quote", "--vcpus", "2", "--timeout", "1h", "myapp:latest")
        self.assertEqual({i["node"] for i in value["items"]}, {"node-a", "node-b", "node-c"})
        effective = [i["effective"]["micros"] for i in value["items"]]
        self.assertEqual(effective, sorted(effective))
        self.assertEqual(self.net.balance(), before)

    def test_verify_export_then_offline(self):
        evidence = self.net.home / "e.json"
        policy = self.net.dir / "policy.toml"
        shown = self.net.ee("verify", "app-name", "--export", str(evidence))
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("SIMULATED", shown.stdout)
        offline = self.net.ee("verify", str(evidence), "--policy", str(policy), env={"XDG_RUNTIME_DIR": "/nonexistent"})
        self.assertEqual(offline.returncode, 0, offline.stdout + offline.stderr)
        document = json.loads(evidence.read_text())
        quote = document["quote"]
        at = len(quote) // 3
        document["quote"] = quote[:at] + ("A" if quote[at] != "A" else "B") + quote[at + 1 :]
        evidence.write_text(json.dumps(document))
        broken = self.net.ee("verify", str(evidence), "--policy", str(policy))
        self.assertEqual(broken.returncode, 6, broken.stdout + broken.stderr)
        # Production trusts Intel's root alone: the same evidence, unbroken, is refused there.
        document["quote"] = quote
        evidence.write_text(json.dumps(document))
        here = self.net.ee("verify", str(evidence))
        self.assertEqual(here.returncode, 0, here.stdout + here.stderr)  # by the policy of the network in use
        production = self.net.ee("verify", str(evidence), env={"XDG_RUNTIME_DIR": "/nonexistent"})
        self.assertEqual(production.returncode, 6, production.stdout)

    def test_app_has_no_public_port(self):
        listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True).stdout
        for line in listening.splitlines():
            self.assertNotIn(":8080 ", line)
        result = self.net.ee("curl", "-i", "app-name/api/private")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("HTTP/1.1 200", result.stdout)

    def test_forward_serves_plain_curl(self):
        forward = subprocess.Popen([str(BUILD / "bin/ee"), "--json", "forward", "app-name"], env=self.net.env, stdout=subprocess.PIPE, text=True)
        try:
            url = json.loads(forward.stdout.readline())["url"]
            got = subprocess.run(["curl", "-s", "--max-time", "20", f"{url}/api/private"], capture_output=True, text=True)
            self.assertEqual(json.loads(got.stdout), {"hello": "from behind the tunnel"})
        finally:
            forward.send_signal(2)
            self.assertEqual(forward.wait(20), 130)
            forward.stdout.close()

    def test_every_command_has_json(self):
        for args in (["balance"], ["nodes"], ["apps"], ["jobs"], ["config", "show"], ["devnet", "status"], ["devnet", "env"], ["verify", "control"], ["apps", "show", "app-name"], ["nodes", "show", "node-a"], ["curl", "app-name/api/private"], ["run", "myapp:latest"]):
            result = self.net.ee("--json", *args)
            self.assertEqual(result.returncode, 0, (args, result.stderr))
            json.loads(result.stdout)


class Demo(unittest.TestCase):
    def test_the_demo_shows_what_it_promises(self):
        with tempfile.TemporaryDirectory(prefix="ee-demo-test-") as home:
            env = {**environment(pathlib.Path(home)), "EE_BUILD": str(BUILD), "TMPDIR": home, "GOCACHE": os.environ.get("GOCACHE") or os.path.expanduser("~/.cache/go-build")}
            result = subprocess.run(["sh", str(ROOT / "tools/demo.sh")], env=env, capture_output=True, text=True, timeout=280)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("SIMULATED: ", result.stdout)
        self.assertRegex(result.stdout, r"VERIFIED: \d+ checks passed")
        self.assertEqual(len(re.findall(r"^attested  node node-[abc] \(simulated TDX\)$", result.stdout, re.M)), 3)  # in each language
        self.assertEqual(len(re.findall(r"^job       exit 0, cost \$[\d.]+ \(\d+\.\d{3} vCPU-s at \$[\d.]+/vCPU-h\)", result.stdout, re.M)), 3)
        self.assertRegex(result.stderr, r"\nplacing    node-[abc] at .*\nattesting  .*\n(.*\n)*done       exit 0 .* cost \$0\.00000\d* \(1\.\d+ vCPU-s at \$0\.\d+/vCPU-h\)")
        self.assertRegex(result.stdout, r"\naccount    dev\navailable  \$399\.99\d*\nlocked     \$0\.\d+\n")
        self.assertIn("\naccount    contractor-id\navailable  $600.00\nlocked     $0.00\n", result.stdout)
        self.assertIn("Nothing is left running.", result.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
