#!/usr/bin/env python3
"""`ee verify` and `ee policy` on a live network: who is on the other side, the proof that is kept and judged with no network at all, and pins that
refuse before anything of the caller's is sent. What is wrong with files is in test_verify_input.py."""
# deadline: 600
import hashlib
import json
import os
import pathlib
import random
import re
import stat
import subprocess
import tempfile
import textwrap
import unittest

from callers import sdk_callers
from devnet import BIN, DevnetCase, environment, wait_for
from verifiers import Package, SOURCES

REGISTERS = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
FIELDS = {"verified", "authentic", "simulated", "node", "tcb_status", "advisory_ids", "checks", "verified_at", "policy_hash", "quote_version", "tee_type", "body_type", *REGISTERS, "report_data", "mr_seam", "mr_signer_seam", "mr_config_id", "mr_owner",
          "mr_owner_config", "seam_attributes", "td_attributes", "xfam", "tee_tcb_svn", "cert_data_type", "quote_len_used", "trailing_bytes", "fmspc", "pceid", "pcesvn", "cpusvn", "ppid", "machine_id", "tcb_evaluation"}
# An app that knows how many requests have reached it.
COUNTER = 'mkdir -p /tmp/w/cgi-bin; printf "#!/bin/sh\\necho x >>/tmp/n\\necho; wc -l </tmp/n\\n" >/tmp/w/cgi-bin/n; chmod 755 /tmp/w/cgi-bin/n; exec httpd -f -p 8080 -h /tmp/w'


def without_network():
    """The command that takes a process off the network, or None."""
    for command in (["unshare", "-n"], ["unshare", "-rn"]):
        if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return None


class Network(DevnetCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.prepare()
        except BaseException:
            cls.net.down()
            raise

    @classmethod
    def prepare(cls):
        cls.kept, cls.policy = cls.net.home / "e.json", cls.net.home / "policy.toml"
        for words in (["verify", "app-name", "--export", str(cls.kept)], ["policy", "init", "app-name"]):
            done = cls.net.ee(*words)
            assert done.returncode == 0, done.stderr
        cls.policy.write_text(done.stdout)
        cls.stranger = pathlib.Path(tempfile.mkdtemp(dir=cls.net.home))  # a user with no network configured

    def with_pin(self, name, register, digit):
        """The policy with another digit in this register's pin: (path, line)."""
        lines = self.policy.read_text().split("\n")
        line = next(i for i, text in enumerate(lines) if text.startswith(f'{register} = "'))
        at = len(f'{register} = "') + digit
        lines[line] = lines[line][:at] + ("0" if lines[line][at] != "0" else "1") + lines[line][at + 1:]
        path = self.net.home / name
        path.write_text("\n".join(lines))
        return path, line + 1

    # ---- who is on the other side

    def test_each_subject_is_verified(self):
        for words, node in ((["app-name"], "node-"), (["app/app-name"], "node-"), (["node-a"], "node-a"), (["node/node-b"], "node-b"), (["control"], "control plane"), (["--strict", "node-a"], "node-a"), (["app-name", "--strict"], "node-"),
                            (["control", "--policy", str(self.policy)], "control plane"), (["node-a", "--policy", str(self.policy), "--strict"], "node-a")):
            with self.subTest(words):
                told = self.net.json("verify", *words)
                self.assertEqual(FIELDS - set(told), set())
                self.assertTrue(told["authentic"])
                self.assertEqual("boot_events" in told, "--strict" not in words, "the boot log goes with a certificate")
                self.assertEqual((told["verified"], told["simulated"], told["tcb_status"], told["advisory_ids"]), (True, True, "UpToDate", []))
                self.assertTrue(told["node"].startswith(node), told["node"])
                rows = {row["name"]: row for row in told["checks"]}
                self.assertEqual([row["name"] for row in told["checks"] if row["passed"] is False], [])
                for name in ("quote_signature", "measurement", "instance_key", "freshness", "channel", "tls_key", "node"):
                    self.assertTrue(rows[name]["passed"], name)
                again = self.net.json("verify", *words)
                if told["node"] == again["node"]:  # an app has one machine, but may move
                    self.assertEqual(again["report_data"] == told["report_data"], "--strict" not in words, "a statement on the certificate's quote, or a new one")
                for register in REGISTERS:
                    self.assertRegex(told[register], "^[0-9a-f]{96}$")

    def test_what_is_not_there_or_does_not_go_together(self):
        for words, word, code in ((["nosuch"], "not_found", 4), (["node/nosuch"], "not_found", 4), (["app/nosuch"], "not_found", 4), (["app/node-a"], "not_found", 4), (["node/app-name"], "not_found", 4), (["control", "--strict"], "invalid", 2),
                                  (["app-name", "--offline"], "invalid", 2), (["node-a", "--at", "1790000000"], "invalid", 2), (["app-name", "--policy", "nosuch.toml"], "not_found", 2), (["control", "--policy", "production"], "attestation", 6)):
            with self.subTest(words):
                done = self.net.ee("verify", *words)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(f"ee: {word}: ", done.stderr)
                self.assertEqual(bool(done.stdout), word == "attestation")

    def test_a_folder_of_an_app_s_name_is_not_in_its_way(self):
        (self.net.home / "app-name").mkdir()
        try:
            self.assertTrue(self.net.json("verify", "app-name")["verified"])
        finally:
            (self.net.home / "app-name").rmdir()

    # ---- the proof

    def test_the_table_is_the_same_everywhere(self):
        """Story: what did I just trust? In Python, on the command line, and of the file afterwards."""
        program = "import easyenclave as ee\nwith ee.connect('app-name') as app:\n    print(app.attestation)\n    app.attestation.export('py.json')\n"
        python = self.net.run(["python3", "-c", program])
        self.assertEqual(python.returncode, 0, python.stderr)
        command = self.net.ee("verify", "app-name", "--export", "now.json")
        files = [self.net.ee("verify", name, "--offline") for name in ("now.json", "py.json")]
        for done in (command, *files):
            self.assertEqual(done.returncode, 0, done.stderr)
        tables = [re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ?", "TIME", text) for text in (python.stdout.rstrip("\n") + "\n", *(done.stdout for done in (command, *files)))]
        self.assertEqual(tables[0], tables[1])
        for table in tables[2:]:
            lines = table.split("\n")
            self.assertRegex(lines.pop(1), "^  pass  evidence file ")
            self.assertEqual(lines[:-2], tables[0].split("\n")[:-2])  # the sum counts the file too
        for says in ("SIMULATED: ", "VERIFIED: ", "  mrtd ", "  rtmr3 ", "machine_id", "UTC", "node-"):
            self.assertIn(says, command.stdout + python.stdout)

    def test_offline(self):
        """With no network, by somebody who has none configured, from another folder."""
        off = without_network()
        if not off:
            self.skipTest("unshare -n is not permitted here")
        self.assertEqual(stat.S_IMODE(self.kept.stat().st_mode), 0o600)
        for name, env, words, code in (("the network's own policy", self.net.env, [], 0), ("a policy", environment(self.stranger), ["--policy", str(self.policy)], 0), ("EE_POLICY", {**environment(self.stranger), "EE_POLICY": str(self.policy)}, [], 0),
                                       ("production is the default", environment(self.stranger), [], 6), ("production", self.net.env, ["--policy", "production"], 6), ("another time", self.net.env, ["--at", "2040-01-01T00:00:00Z"], 6)):
            for word in ([], ["--offline"]):
                with self.subTest(name, word=word):
                    done = subprocess.run([*off, str(BIN / "ee"), "--json", "verify", str(self.kept), *words, *word], env=env, cwd="/", capture_output=True, text=True, timeout=30)
                    self.assertEqual(done.returncode, code, done.stderr)
                    told = json.loads(done.stdout)
                    self.assertEqual(told["verified"], code == 0)
                    self.assertEqual(bool(done.stderr), code != 0)
                    self.assertEqual([row["name"] for row in told["checks"]][0], "evidence_file")
        done = subprocess.run([*off, str(BIN / "ee"), "verify", "app-name"], env=self.net.env, capture_output=True, text=True, timeout=60)
        self.assertIn(done.returncode, (9, 124), "it was no network, or the test shows nothing")

    def test_a_flipped_bit_is_refused(self):
        """Every fortieth bit of the file: always a refusal with all its checks, never an acceptance or another failure."""
        good, policy = self.kept.read_bytes(), self.policy.read_text()
        python = Package(["python3", str(SOURCES / "verify.py")], self.net.env)
        self.addCleanup(python.close)
        path = self.net.home / "flipped.json"
        path.write_bytes(good)
        self.assertEqual(python.tell(evidence=str(path), policy=policy).word, "ok")
        first = random.SystemRandom().randrange(40)
        for bit in range(first, 8 * len(good), 40):
            spoiled = bytearray(good)
            spoiled[bit // 8] ^= 1 << bit % 8
            path.write_bytes(spoiled)
            answer = python.tell(evidence=str(path), policy=policy)
            self.assertEqual((answer.word, bool(answer.failed())), ("attestation", True), f"bit {bit}: {answer.message}")
            if bit % 2000 < 40:
                done = self.net.ee("verify", str(path), "--policy", str(self.policy))
                self.assertEqual(done.returncode, 6, f"bit {bit}: {done.stderr}")
                self.assertIn("FAIL", done.stdout)
                self.assertIn("ee: attestation: ", done.stderr)

    def test_the_evidence_of_a_refusal_is_kept(self):
        wrong, _ = self.with_pin("wrong.toml", "mrtd", 0)
        for words in (["app-name"], ["node-a", "--strict"], ["control"]):
            with self.subTest(words):
                path = self.net.home / "refused.json"
                done = self.net.ee("verify", *words, "--policy", str(wrong), "--export", str(path))
                self.assertEqual(done.returncode, 6, done.stderr)
                self.assertIn("wrote", done.stderr)
                self.assertEqual(self.net.ee("verify", str(path), "--policy", str(wrong)).returncode, 6)
                self.assertEqual(self.net.ee("verify", str(path), "--policy", str(self.policy)).returncode, 0)
                path.unlink()

    # ---- policies

    def test_a_policy_goes_round(self):
        for subject in ("app-name", "node-a", "control", "app/app-name", "node/node-b"):
            with self.subTest(subject):
                made = self.net.ee("policy", "init", subject)
                self.assertEqual(made.returncode, 0, made.stderr)
                path = self.net.home / "made.toml"
                path.write_text(made.stdout)
                told = self.net.json("policy", "check", str(path))
                self.assertEqual(set(told), {"policy", "policy_hash", "simulated"})
                self.assertTrue(told["simulated"])
                self.assertIn(told["policy_hash"], self.net.ee("policy", "check", str(path)).stdout)
                shown = self.net.ee("policy", "show", env={"EE_POLICY": str(path)})
                self.assertEqual(shown.returncode, 0, shown.stderr)
                self.assertTrue(shown.stdout.startswith(f"# policy {told['policy_hash']}\n# from {path}\n"), shown.stdout)
                again = self.net.home / "again.toml"
                again.write_text(shown.stdout)
                self.assertEqual(self.net.json("policy", "check", str(again))["policy_hash"], told["policy_hash"])
                self.assertEqual(self.net.json("policy", "show", env={"EE_POLICY": str(path)})["policy_hash"], told["policy_hash"])
                seen = self.net.json("verify", subject, "--policy", str(path))
                self.assertEqual((seen["verified"], seen["policy_hash"]), (True, told["policy_hash"]))
                for register in REGISTERS[:4]:
                    self.assertIn(f'{register} = "{seen[register]}"', made.stdout)
                self.assertNotIn("rtmr3", made.stdout)

    def test_a_policy_command_that_is_none(self):
        for words, code in ((["policy"], 2), (["policy", "init"], 2), (["policy", "check"], 2), (["policy", "show", "x"], 2), (["policy", "check", "a", "b"], 2), (["policy", "init", "bad name"], 2), (["policy", "init", "nosuch"], 4), (["policy", "check", "nosuch.toml"], 2),
                            (["policy", "make", "x"], 2)):
            with self.subTest(words):
                done = self.net.ee(*words)
                self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
                self.assertRegex(done.stderr, "^ee: (invalid|not_found): ")

    def test_init_keeps_to_what_is_pinned(self):
        """Where the policy in use pins something, what runs must satisfy it: a machine in the middle does not get itself accepted."""
        wrong, line = self.with_pin("wrong.toml", "rtmr2", 95)
        done = self.net.ee("policy", "init", "app-name", env={"EE_POLICY": str(wrong)})
        self.assertError(done, "attestation", 6)
        self.assertIn(f"rtmr2 ({wrong}:{line})", done.stderr)

    def test_a_wrong_pin_is_named_by_register_file_and_line(self):
        for register in REGISTERS[:4]:
            digit = random.SystemRandom().randrange(96)
            with self.subTest(register, digit=digit):
                wrong, line = self.with_pin("wrong.toml", register, digit)
                pinned = re.search(rf'^{register} = "([0-9a-f]+)"', wrong.read_text(), re.M).group(1)
                done = self.net.ee("verify", "app-name", "--policy", str(wrong))
                self.assertEqual(done.returncode, 6)
                row = re.search(rf"(?m)^  FAIL  {register} +expected {register} (\S+)   actual (\S+)$", done.stdout)
                self.assertTrue(row, done.stdout)
                self.assertNotEqual(row.group(1), row.group(2))
                self.assertIn(f"{register} ({wrong}:{line})", re.sub(r"\s+", " ", done.stdout))
                told = json.loads(self.net.ee("--json", "verify", "app-name", "--policy", str(wrong)).stdout)
                failed = [row for row in told["checks"] if row["passed"] is False]
                self.assertEqual([(row["name"], row["reason"], row["expected"], row["actual"]) for row in failed], [("measurement", "attestation", f"{register} {pinned}", told[register])])
                self.assertIn(f"expected {register} {pinned}", done.stderr)

    # ---- before anything is sent

    def test_another_pin_refuses_before_anything_is_sent(self):
        """From all callers: no request reaches the app, no job runs, and what was locked for it is back."""
        self.assertEqual(self.net.ee("apps", "deploy", "counter", "myapp:latest", "--port", "8080", "--", "sh", "-c", COUNTER).returncode, 0)
        both, line = self.with_pin("both.toml", "rtmr1", 50)
        control = self.net.json("verify", "control")["rtmr3"]
        agents = self.net.home / "agents.toml"  # the control plane is as pinned, the agents are not
        agents.write_text(self.policy.read_text().rstrip() + f'\nrtmr3 = "{control}"\n')
        callers, before = sdk_callers(self.net), self.net.balance()
        self.assertEqual(self.net.ee("curl", "counter/cgi-bin/n").stdout, "1\n")
        for policy, named in ((both, f"rtmr1 ({both}:{line})"), (agents, "rtmr3 (")):
            for name, caller in callers.items():
                for words in (["get", "counter", "/cgi-bin/n"], ["run", "myapp:latest", "", "1", "", "SECRET", "sh", "-c", "echo $SECRET"]):
                    with self.subTest(policy.name, caller=name, action=words[0]):
                        outcome = caller.call(*words, EE_POLICY=str(policy), SECRET="of nobody else")
                        self.assertEqual((outcome.word, outcome.output), ("attestation", ""))
                        self.assertIn(named, outcome.message)
        self.assertEqual(self.net.ee("curl", "counter/cgi-bin/n").stdout, "2\n")
        self.assertEqual(self.net.balance()[1], before[1])
        self.assertEqual({job["state"] for job in self.net.json("jobs")["items"]} - {"failed"}, set())

    def test_the_genesis_is_pinned(self):
        """A control plane with the same software, name and salt, started from another genesis, is another network."""
        genesis = hashlib.sha256((self.net.dir / "genesis.toml").read_bytes()).hexdigest()
        made = self.policy.read_text()
        for digest, code in ((genesis, 0), (genesis[:-1] + ("0" if genesis[-1] != "0" else "1"), 6)):
            policy = self.net.home / "genesis.toml"
            policy.write_text(f'genesis = "{digest}"\n' + made)
            seen = self.net.ee("--json", "verify", "control", "--policy", str(policy))
            failed = [row["name"] for row in json.loads(seen.stdout)["checks"] if row["passed"] is False]
            self.assertEqual((seen.returncode, failed), (code, ["genesis"] if code else []), seen.stderr)
            # Whatever is asked under it: nothing is sent to a control plane that does not satisfy it.
            self.assertEqual(self.net.ee("transfer", "contractor-id", "$0.01", env={"EE_POLICY": str(policy)}).returncode, code)

    def test_one_call_under_another_policy(self):
        """The control plane is accepted, this one machine is not; and nothing is left of it for the next call."""
        wrong, line = self.with_pin("wrong.toml", "rtmr1", 17)
        program = textwrap.dedent(
            """
            import sys, easyenclave as ee
            policy, client = ee.Policy.load(sys.argv[1]), ee.Client()
            for call in (lambda: client.connect("app-name", policy=policy), lambda: client.run_private_job("myapp:latest", env={"S": "x"}, policy=policy), lambda: client.node_attestation("node-a", policy=policy)):
                try:
                    call()
                    print("accepted")
                except ee.AttestationError as error:
                    print(error.failed_check, error.attestation.node[:5], sys.argv[2] in str(error))
            with client.connect("app-name") as app:
                print(app.get("/api/private").status_code)
            """
        )
        done = self.net.run(["python3", "-c", program, str(wrong), f"rtmr1 ({wrong}:{line})"])
        self.assertEqual(done.stdout.split("\n"), ["measurement node- True"] * 3 + ["200", ""], done.stderr)

    # ---- a narrow terminal

    def test_forty_columns(self):
        wrong, _ = self.with_pin("wrong.toml", "rtmr1", 40)
        for words, code in ((["verify", "app-name"], 0), (["verify", "control"], 0), (["verify", "node-a", "--strict"], 0), (["verify", "e.json"], 0), (["verify", "e.json", "--policy", "production"], 6), (["verify", "app-name", "--policy", str(wrong)], 6)):
            with self.subTest(words):
                status, raw = self.net.terminal(*words, columns=40)
                shown = raw.decode().replace("\r\n", "\n")
                self.assertEqual(status, code, shown)
                self.assertEqual([line for line in shown.split("\n") if len(line) > 40 or line.endswith(" ")], [])
                self.assertIn("VERIFIED: ", shown)
                wide = self.net.ee(*words).stdout
                folded, whole = (re.sub(r"\d{4}-\S+\s+\S+\s+UTC", "", text) for text in (shown, wide))
                self.assertEqual("".join(folded.split()), "".join(whole.split()))


class Sealed(DevnetCase):
    def test_require_sealed(self):
        """The default of a policy. An image that says it is sealed says so in its quote; the devnet's programs do not."""
        policy = self.net.home / "sealed.toml"
        policy.write_text(self.net.ee("policy", "init", "node-b").stdout.replace("require_sealed = false", "require_sealed = true"))
        for subject in ("node-b", "control"):
            refused = self.net.ee("--json", "verify", subject, "--policy", str(policy))
            told = json.loads(refused.stdout)
            self.assertEqual((refused.returncode, [row["name"] for row in told["checks"] if row["passed"] is False]), (6, ["statement"]), refused.stderr)
            self.assertIn("the image is not sealed, and the policy demands one that is", refused.stderr)
        ticket = self.net.home / "sealed.ticket"
        ticket.write_text(self.net.ticket("node-b"))
        sealed = self.net.beside("node-b", "sealed", EE_NODE_TICKET=str(ticket), EE_SEALED="true")
        self.addCleanup(sealed.stop)
        # The network's own policy does not ask for it, so this boot takes the node's place; then the default policy is content.
        wait_for("the sealed boot is the node", lambda: self.net.ee("verify", "node-b", "--policy", str(policy)).returncode == 0, 30)
        self.assertIn("sealed image", self.net.ee("verify", "node-b", "--policy", str(policy)).stdout)
        self.assertEqual(self.net.ee("verify", "control", "--policy", str(policy)).returncode, 6)


if __name__ == "__main__":
    unittest.main(verbosity=2)
