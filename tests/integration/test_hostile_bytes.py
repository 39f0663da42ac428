#!/usr/bin/env python3
"""What strangers may do to a network that runs: send anything to the control plane's tunnels, name somebody else, put back an old
disk, take an app's name. And files that are no evidence. Threats Q16, Q19, S1, S2, S4, S9."""
# deadline: 400
# needs: build/dev
import base64
import http.client
import json
import os
import random
import re
import secrets
import shutil
import struct
import subprocess
import time
import unittest
from pathlib import Path
from unittest import mock

import wire
from callers import Http, b64url, pack
from devnet import BIN, BUILD, DevnetCase, wait_for

LIARS = (BUILD if BUILD.name == "dev" else BUILD / "dev") / "bin"
MIB = 1 << 20


def memory(pid):
    return 1024 * int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1))


class Strangers(DevnetCase):
    """Nothing that comes before the proof counts."""

    def setUp(self):
        self.before = {n["node"]: (n["instance_id"], n["state"]) for n in self.net.json("nodes")["items"]}
        self.control = self.net.pid_of("control")

    def tearDown(self):
        self.assertEqual({n["node"]: (n["instance_id"], n["state"]) for n in self.net.json("nodes")["items"]}, self.before)
        self.assertEqual(self.net.pid_of("control"), self.control)
        result = self.net.ee("run", "--node", "node-b", "myapp:latest", "--", "echo", "served")
        self.assertEqual((result.returncode, result.stdout), (0, "served\n"), result.stderr)

    def victim(self):
        """node-b's instance key, which is in every statement of its."""
        return wire.unpack(wire.ask_agent(self.net, "node-b", pack({1: 3, 2: secrets.token_bytes(32), 6: bytes(32)})))[1][80:112]

    def test_S1_a_name_alone_changes_nothing(self):
        """A session that says it is node-b, with a key of its own or node-b's, and leaves at each step; and what it says about jobs on the way."""
        for key in (secrets.token_bytes(32), self.victim()):
            with wire.Tunnel(self.net, wire.AGENT, "node-b", key):
                pass
            with wire.Tunnel(self.net, wire.AGENT, "node-b", key) as tunnel:
                tunnel.receive(wire.EVIDENCE)
            for kind in (15, 16, 20, 23, 24):  # JOB_STATE, RECEIPT, ERROR, APP_STATE, OBSERVATION
                with wire.Tunnel(self.net, wire.AGENT, "node-b", key) as tunnel:
                    tunnel.receive(wire.EVIDENCE)
                    tunnel.send(kind, pack({1: "job_x"}))
                    with self.assertRaises(wire.Ended):
                        tunnel.receive()
            with wire.Tunnel(self.net, wire.AGENT, "node-b", key) as tunnel:
                tunnel.receive(wire.EVIDENCE)
                tunnel.send(wire.REJECT, pack({1: "attestation", 2: "node-b leaves"}))
                with self.assertRaises(wire.Ended):
                    tunnel.receive()
        log = (self.net.dir / "logs/control.log").read_text()
        self.assertEqual(log.count("event=tunnel.accepted role=2 peer=node-b"), 1)
        self.assertNotIn("event=agent.lost", log)

    def test_S2_another_session_for_an_instance_needs_a_proof_of_its_own(self):
        """What node-b says to others is genuine, of the right instance, and for another session."""
        key = self.victim()
        for strict in (False, True):
            with wire.Tunnel(self.net, wire.AGENT, "node-b", key) as tunnel:
                r = wire.unpack(tunnel.receive(wire.HELLO)[2])[5]
                tunnel.receive(wire.EVIDENCE)
                tunnel.send(wire.EVIDENCE, wire.ask_agent(self.net, "node-b", pack({1: 3, 2: r, 5: strict, 6: bytes(32)})))
                self.assertEqual(tunnel.rejected(), ("attestation", "the evidence was not accepted"))
        log = (self.net.dir / "logs/control.log").read_text()
        self.assertIn("event=tunnel.refused peer=127.0.0.1 message=evidence: a quote is needed, a signed statement was sent\n", log)
        self.assertIn("event=tunnel.refused peer=127.0.0.1 message=purpose: the statement was made for another purpose", log)

    def test_Q19_hostile_frames_end_their_own_connection(self):
        rng = random.Random(19)
        genuine = wire.ask_agent(self.net, "node-b", pack({1: 3, 2: secrets.token_bytes(32), 5: True, 6: bytes(32)}))
        hello = pack({1: [1], 3: wire.AGENT, 4: bytes(31) + b"\1", 5: secrets.token_bytes(32), 10: "node-b"})
        deep = b"\x81\x01" + b"\x91" * 2000 + b"\x01"
        hellos = [b"", b"\xc1", hello[:-1], hello + b"\0", deep, b"\x82\x01\x91\x01\x01\x91\x01", b"\xdf\xff\xff\xff\xff", b"\x81\x01\xdd\xff\xff\xff\xff", b"\x81\x04\xc6\xff\xff\xff\xff",
                  rng.randbytes(4096), rng.randbytes(65536), pack({1: [2], 3: 2, 4: bytes(31) + b"\1", 5: b"r" * 32, 10: "node-b"}), pack({1: [1], 3: 1, 4: b"k" * 32, 5: b"r" * 32})]
        evidences = [b"\xc0", deep, rng.randbytes(1), rng.randbytes(60000), genuine[:-1], genuine + b"\0", genuine * 5, b"\x8f" + genuine[1:], genuine.replace(b"EE-RD-1", b"EE-RD-2")]
        evidences += [genuine[: rng.randrange(len(genuine))] for _ in range(8)]
        for _ in range(16):
            at = rng.randrange(len(genuine))
            evidences.append(genuine[:at] + bytes([genuine[at] ^ 1 << rng.randrange(8)]) + genuine[at + 1 :])
        frames = [b"\2" + bytes(11), struct.pack(">BBHII", 1, 1, 0x8000, 0, 0xFFFFFFFF), struct.pack(">BBHII", 1, 1, 0x8000, 0, 100) + b"cut", b"\1", rng.randbytes(60000),
                  struct.pack(">BBHII", 1, 99, 0x8000, 0, 0), struct.pack(">BBHII", 1, 10, 0, 77, 4) + b"data", bytes(131073)]
        start, slowest = memory(self.control), 0.0

        def ends(tunnel, what):
            nonlocal slowest
            since = time.monotonic()
            with self.assertRaises(wire.Ended, msg=what):
                while tunnel.receive():
                    pass
            slowest = max(slowest, time.monotonic() - since)

        for bytes_ in hellos:
            with wire.Tunnel(self.net, wire.AGENT, hello=bytes_) as tunnel:
                ends(tunnel, f"HELLO {bytes_[:40].hex()}")
        for bytes_ in evidences:
            with wire.Tunnel(self.net, wire.AGENT, "node-b", secrets.token_bytes(32)) as tunnel:
                tunnel.receive(wire.EVIDENCE)
                tunnel.send(wire.EVIDENCE, bytes_)
                ends(tunnel, f"EVIDENCE {bytes_[:40].hex()}")
        for bytes_ in frames:
            with wire.Tunnel(self.net, wire.AGENT, "node-b", secrets.token_bytes(32)) as tunnel:
                tunnel.receive(wire.EVIDENCE)
                try:
                    tunnel.message(bytes_)
                except wire.Ended:
                    continue
                ends(tunnel, f"frame {bytes_[:40].hex()}")
        self.assertLess(slowest, 5.0)  # a check takes milliseconds; the machine may be busy
        self.assertLess(memory(self.control) - start, 100 * MIB)


class Files(DevnetCase):
    def judge(self, *args):
        """(exit code, told, memory at most, processor time) of one `ee verify`."""
        process = subprocess.Popen([str(BIN / "ee"), "--json", "verify", *args], env=self.net.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        told = process.stdout.read()
        process.stdout.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, told.decode(errors="replace"), used.ru_maxrss * 1024, used.ru_utime + used.ru_stime

    def test_Q19_hostile_files_are_refused_by_name(self):
        """Truncated, oversized, endless, random, nested, with a key twice: each as evidence file, quote, collateral and policy."""
        rng, folder = random.Random(91), self.net.home / "files"
        folder.mkdir()
        evidence = folder / "evidence.json"
        self.assertEqual(self.net.ee("verify", "node-b", "--strict", "--export", str(evidence)).returncode, 0)
        document = json.loads(evidence.read_text())
        quote, collateral, policy = folder / "quote", folder / "collateral", self.net.dir / "policy.toml"
        quote.write_bytes(base64.urlsafe_b64decode(document["quote"] + "==="))
        collateral.write_text(json.dumps(document["collateral"]))
        root = ("--root", str(folder / "root.der"))
        (folder / "root.der").write_bytes(base64.urlsafe_b64decode(re.search('anchor_der = "(.*)"', policy.read_text()).group(1) + "==="))
        good = {"evidence": [str(evidence)], "quote": ["--quote", str(quote), "--collateral", str(collateral), *root]}
        code, told, most, _ = self.judge(*good["evidence"])
        self.assertEqual(code, 0, told)
        code, told, more, _ = self.judge(*good["quote"])
        self.assertEqual(code, 0, told)
        ways = {
            "evidence": (evidence, lambda path: [path]),
            "quote": (quote, lambda path: ["--quote", path, "--collateral", str(collateral), *root]),
            "collateral": (collateral, lambda path: ["--quote", str(quote), "--collateral", path, *root]),
            "policy": (policy, lambda path: [str(evidence), "--policy", path]),
        }
        for kind, (genuine, way) in ways.items():
            bytes_ = genuine.read_bytes()
            hostile = {"empty": b"", "cut": bytes_[: len(bytes_) // 2], "one byte short": bytes_[:-2], "random": rng.randbytes(5000), "large": bytes_ * (5 * MIB // len(bytes_)),
                       "nested": b"[" * 100000, "nested objects": b'{"a":' * 100000, "zeros": bytes(len(bytes_))}
            if kind != "quote":
                first = b'{"version":1,' if kind == "evidence" else b'{"tcb_info":"",' if kind == "collateral" else b"simulated = true\n"
                hostile["a key twice"] = first + (bytes_[1:] if kind != "policy" else bytes_)
            paths = {}
            for name, content in hostile.items():
                paths[name] = folder / f"{kind}-{name.replace(' ', '-')}"
                paths[name].write_bytes(content)
            for name, path in {**paths, "endless": "/dev/zero", "endless and random": "/dev/urandom", "a folder": folder, "absent": folder / "absent"}.items():
                with self.subTest(kind=kind, hostile=name):
                    code, told, used, seconds = self.judge(*way(str(path)))
                    self.assertIn(code, (2, 3, 4, 6, 10), told)
                    self.assertRegex(told, r'"code": ?"(attestation|malformed|limit|invalid|config|not_found|io)","message": ?"[^"]{10,}')
                    if code == 6:
                        self.assertRegex(told, r'"details": ?\{"check": ?"[a-z_]+"')
                    self.assertLess(used - min(most, more), 100 * MIB)
                    self.assertLess(seconds, 2.0)


class Rollback(DevnetCase):
    def serving(self, instance):
        return wait_for("node-b serves", lambda: (lambda n: n["state"] == "serving" and n["instance_id"] != instance)(self.net.node("node-b")), 40)

    def control(self, order):
        result = self.net.ee("devnet", order, "control")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_Q16_the_disk_of_a_node_has_no_keys(self):
        """So there is nothing of security on it that an older one could bring back, nor a thief take. The keys are known here: the agent leaks them."""
        leak, instance = self.net.home / "leak", self.net.node("node-b")["instance_id"]
        leak.mkdir()
        agent = self.net.replace("node-b", str(LIARS / "lying-agent"), LIE="leak", LIE_TO=str(leak))
        self.addCleanup(lambda: self.assertEqual(self.net.ee("devnet", "heal", "node-b").returncode, 0))
        self.addCleanup(agent.wait)
        self.addCleanup(agent.kill)
        self.serving(instance)
        result = self.net.ee("run", "--node", "node-b", "myapp:latest", "--", "echo", "served")
        self.assertEqual((result.returncode, result.stdout), (0, "served\n"), result.stderr)
        seed, tls = (leak / "instance.seed").read_bytes(), (leak / "tls.der").read_bytes()
        scalar = tls[tls.index(b"\x04\x20") + 2 :][:32]
        forms = [form for key in (seed, scalar) for form in (key, key.hex().encode(), base64.b64encode(key)[:42], b64url(key)[:42].encode())]
        searched = 0
        for path in [*self.net.home.rglob("*"), *Path(self.net.environment_of(agent.pid)["EE_RUNTIME_DIR"]).rglob("*")]:
            if path.is_file() and not path.is_symlink() and leak not in path.parents:
                content, searched = path.read_bytes(), searched + 1
                self.assertFalse([form for form in forms if form in content], path)
        self.assertGreater(searched, 20)

    def test_Q16_the_disk_of_before_is_no_node(self):
        """Runtime folder and ticket as they were while the node served: the restored machine is a new instance with a used ticket."""
        env = self.net.environment_of(self.net.pid_of("node-b"))
        kept = self.net.home / "kept"
        shutil.copytree(env["EE_RUNTIME_DIR"], kept, symlinks=True)
        ticket = Path(env["EE_NODE_TICKET"]).read_text()
        self.net.beside("node-b", "settings", "/bin/true").stop()
        self.assertEqual(self.net.ee("devnet", "kill", "node-b").returncode, 0)
        (self.net.home / "kept.ticket").write_text(ticket)
        restored = self.net.beside("node-b", "restored", EE_RUNTIME_DIR=str(kept), EE_NODE_TICKET=str(self.net.home / "kept.ticket"))
        self.addCleanup(lambda: self.assertEqual(self.net.ee("devnet", "heal", "node-b").returncode, 0))
        self.addCleanup(restored.stop)
        why = "the boot ticket was used before, by another instance: its provider signs one for each boot"
        wait_for("it is told", lambda: f"control plane refused the session: {why}\n" in restored.log(), 30)
        self.assertNotIn("event=link.open", restored.log())
        self.assertEqual(self.net.node("node-b")["state"], "gone")

    def test_Q16_S9_orders_from_after_a_restored_database_are_void(self):
        """The host puts back the control plane's database of before a payment. That it did is not found out (docs/threat-model.md); but what was
        signed for the control plane that it was cannot be used on the one that it is."""
        files = lambda: sorted(self.net.dir.glob("control.db*"))  # noqa: E731
        old, sent, kept = self.net.home / "old", [], {}
        old.mkdir()
        before = self.net.balance()
        self.control("kill")
        for path in files():
            if path.is_file():
                shutil.copy2(path, old)
        self.control("heal")

        def body(instance, account):
            order = {1: self.net.profile()["account"], 2: "contractor-id", 3: 5_000_000, 5: "once", 6: int(time.time() * 1000) + 600_000, 7: instance}
            kept.setdefault("order", b64url(account.sign(Http.TRANSFER, pack(order))[1]))
            return {"order": kept["order"]}

        real = http.client.HTTPSConnection.request
        with mock.patch.object(http.client.HTTPSConnection, "request", lambda self, *args, **kw: (sent.append((args, kw)), real(self, *args, **kw))[1]):
            paid = Http(self.net).request("POST", "/v1/credits/transfer", body, "once")
        self.assertEqual(paid.word, "ok", paid)
        self.assertEqual(self.net.balance()[0], before[0] - 5_000_000)
        self.control("kill")
        for path in files():
            if path.is_file():
                path.unlink()
        for path in old.iterdir():
            shutil.copy2(path, self.net.dir)
        self.control("heal")
        self.assertEqual(self.net.balance(), before)
        connection = http.client.HTTPSConnection(self.net.profile()["url"].removeprefix("https://"), context=wire.trusting(), timeout=30)
        connection.request(*sent[0][0], **sent[0][1])
        answer = connection.getresponse()
        told = json.loads(answer.read())["error"]
        connection.close()
        self.assertEqual((answer.status, told["code"], told["message"]), (401, "auth", "the request's signature does not fit it: another key, host, body or control plane instance"))
        again = Http(self.net).request("POST", "/v1/credits/transfer", body, "once")
        self.assertEqual((again.word, again.message), ("auth", "the transfer order is for another control plane instance"))
        self.assertEqual(self.net.balance(), before)


class Names(DevnetCase):
    def test_S4_an_app_name_stays_its_owners_over_a_restart(self):
        def take():
            return self.net.ee("--json", "apps", "deploy", "app-name", "myapp:latest", "--port", "8080", "--", "httpd", "-f", "-p", "8080", env=self.net.account("provider-b"))

        def refused(result):
            self.assertNotEqual(result.returncode, 0)
            error = json.loads(result.stderr.splitlines()[-1])["error"]
            self.assertEqual(error["code"], "permission")
            self.assertRegex(error["message"], r'^the app (name )?"app-name" belongs to another account$')
            self.assertEqual(self.net.ee("curl", "app-name/api/private").stdout.strip(), '{"hello": "from behind the tunnel"}')

        refused(take())
        refused(self.net.ee("--json", "apps", "stop", "app-name", env=self.net.account("provider-b")))
        for order in ("kill", "heal"):
            self.assertEqual(self.net.ee("devnet", order, "control").returncode, 0)
        wait_for("it answers", lambda: self.net.ee("curl", "app-name/api/private").returncode == 0, 40)
        refused(take())


if __name__ == "__main__":
    unittest.main(verbosity=2)
