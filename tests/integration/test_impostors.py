#!/usr/bin/env python3
"""Who passes for somebody else, with real processes: relayed and recorded proofs, diverted streams, proxies that end TLS, stolen keys. The
real programs lie in one thing (tests/fakes) or talk to an attacker (wire.py); callers, agents and the control plane find out by themselves."""
# deadline: 900
# needs: build/dev
import json
import re
import secrets
import shutil
import unittest
from unittest import mock

import wire
from devnet import BUILD, Devnet, DevnetCase, wait_for

LIARS = (BUILD if BUILD.name == "dev" else BUILD / "dev") / "bin"
SECRET = "s3cret-of-the-caller"
OTHERS = ("node-a", "node-b", "node-c")
VALUES = "; expected [0-9a-f]{64}, actual [0-9a-f]{64}"
PURPOSE = "purpose: the statement was made for another purpose, or by another kind of peer; expected {}, actual {}"
TRANSCRIPT = f"transcript: the opening messages were changed on the way{VALUES}"
NO_EVIDENCE = "certificate has 0 evidence extensions, exactly 1 is allowed"
CHANNEL = f"channel: bound to another TLS connection: someone is in between{VALUES}"


class Impostors(DevnetCase):
    """One devnet; whatever lies in it is replaced by the truth again at the end of each test."""

    up_options = ()

    @classmethod
    def setUpClass(cls):
        cls.net = Devnet()
        try:
            cls.net.up(*cls.up_options)
        except BaseException:
            cls.net.ee("devnet", "down")
            shutil.rmtree(cls.net.home, ignore_errors=True)
            raise

    def setUp(self):
        self.folder = self.net.home / secrets.token_hex(4)
        self.folder.mkdir()
        self.replaced = {}
        self.sizes = {path: path.stat().st_size for path in (self.net.dir / "logs").glob("*.log")}
        # It asks every agent now and then: whoever answers one question at a time answers ours.
        self.assertEqual(self.net.ee("devnet", "kill", "uptime-1").returncode, 0)
        self.addCleanup(self.truth)
        self.before = self.net.balance()

    def truth(self):
        for name, process in self.replaced.items():
            process.kill()
            process.wait()
        for name in (*sorted(self.replaced), "uptime-1"):  # the control plane first
            healed = self.net.ee("devnet", "heal", name)
            self.assertEqual(healed.returncode, 0, healed.stderr)
        self.all_serve()

    def nodes(self):
        """By name; empty while the control plane is away."""
        told = self.net.ee("--json", "nodes")
        return {n["node"]: n for n in json.loads(told.stdout)["items"]} if told.returncode == 0 else {}

    def all_serve(self):
        wait_for("all serve", lambda: [n["state"] for n in self.nodes().values()] == ["serving"] * 3, 60)

    def lie(self, name, lie, to="", program=None, serves=True):
        """name's program lies from here on; once it serves, if it is let in at all."""
        instance = self.net.node(name)["instance_id"] if name.startswith("node") else None
        program = program or LIARS / ("lying-controlplane" if name == "control" else "lying-agent")
        process = self.net.replace(name, str(program), LIE=lie, LIE_TO=str(to))
        if name in self.replaced:
            self.replaced[name].wait()
        self.replaced[name] = process
        if instance and serves:
            wait_for(f"{name} serves", lambda: (lambda n: n.get("state") == "serving" and n["instance_id"] != instance)(self.nodes().get(name, {})), 40)

    def log(self, name):
        """What a program and its replacement wrote since this test began."""
        out = []
        for path in sorted((self.net.dir / "logs").glob(f"{name}*.log")):
            text = path.read_bytes()
            out.append(text[self.sizes.get(path, 0) :].decode(errors="replace"))
        return "".join(out)

    def run_on(self, node, **env):
        return self.net.ee("--json", "run", "--node", node, "-e", "SECRET", "myapp:latest", "--", "echo", "served", env={"SECRET": SECRET, **env})

    def failed(self, result):
        """The checks that failed, of a call that was refused for them; nothing else came out of it."""
        self.assertIn(result.returncode, (6, 125), result.stderr)
        if result.stdout:  # ee verify
            verdict = json.loads(result.stdout)
        else:
            error = json.loads(result.stderr.splitlines()[-1])["error"]
            self.assertEqual(error["code"], "attestation")
            verdict = error.get("attestation") or {"checks": [], "message": error["message"]}
        return [c["name"] for c in verdict["checks"] if c["status"] == "fail"] or verdict

    def found(self, name, line, seconds=40):
        """A line like this in the log of a program."""
        return wait_for(f"{name} says {line}", lambda: re.search(f"{line}\n", self.log(name)), seconds)

    def gets_no_work(self, node):
        result = self.run_on(node)
        self.assertEqual(json.loads(result.stderr.splitlines()[-1])["error"]["code"], "no_eligible_node")
        self.nothing_happened()

    def nothing_happened(self):
        wait_for("the locks are back", lambda: self.net.balance() == self.before, 30)

    def served(self, node):
        result = self.run_on(node)
        self.assertEqual((result.returncode, json.loads(result.stdout or "{}").get("stdout")), (0, "served\n"), result.stderr)

    def relay(self, node):
        relay = wire.Relay(self.net, node, self.folder / "relay")
        self.addCleanup(relay.close)
        return relay

    def proxy(self, *args, **kw):
        proxy = wire.Proxy(self.net, self.folder, *args, **kw)
        self.addCleanup(proxy.close)
        return proxy

    def through(self, proxy):
        profile = self.net.profile()
        return {"EE_URL": proxy.url, "EE_REGISTRY": profile["registry"], "EE_API_KEY": profile["api_key"], "EE_NETWORK_ID": profile["network_id"], "EE_POLICY": str(self.net.dir / "policy.toml")}


class Answers(Impostors):
    """An agent that proves itself truly when it registers, and shows something else to whoever asks it later."""

    def verify(self, node, *options):
        return self.failed(self.net.ee("--json", "verify", node, *options))

    def test_Q7_an_agent_that_repeats_its_first_answer_is_refused(self):
        self.lie("node-b", "replay")
        self.net.ee("verify", "node-b"), self.net.ee("verify", "node-b", "--strict")  # its first answers are true, whoever gets them
        self.assertEqual(self.failed(self.run_on("node-b")), ["freshness", "channel", "transcript"])
        self.nothing_happened()
        self.assertEqual(self.verify("node-b"), ["freshness", "channel", "transcript"])
        self.assertEqual(self.verify("node-b", "--strict"), ["purpose", "freshness", "channel", "transcript"])  # it was its registration

    def test_Q7_a_recorded_registration_is_refused(self):
        """The control plane restarts, and the agent shows what it was accepted for before."""
        self.lie("node-b", "replay")
        for order in ("kill", "heal"):
            self.assertEqual(self.net.ee("devnet", order, "control").returncode, 0)
        said = "event=tunnel.refused peer=127.0.0.1 message=freshness: "
        wait_for("it is refused", lambda: said in self.log("control"), 40)
        wait_for("it is told", lambda: "control plane refused the session: the evidence was not accepted" in self.log("node-b"), 20)
        wait_for("the others serve", lambda: sorted(n for n, told in self.nodes().items() if told["state"] == "serving") == ["node-a", "node-c"], 40)
        result = self.run_on("node-b")
        self.assertEqual(json.loads(result.stderr.splitlines()[-1])["error"]["code"], "no_eligible_node")
        self.served("node-a")

    def test_Q7_a_control_plane_that_repeats_itself_is_refused(self):
        """By callers, and by the agents whose tunnels it opens with what it said to the first of them."""
        self.lie("control", "replay")
        said = "message=control plane: freshness: "
        wait_for("agents refuse it", lambda: sum(said in self.log(name) for name in ("node-a", "node-b", "node-c")) >= 2, 40)
        self.net.ee("balance")  # its first statement is true, whoever gets it
        for call in (("balance",), ("transfer", "contractor-id", "$1"), ("run", "myapp:latest"), ("curl", "app-name/")):
            with self.subTest(call=call):
                result = self.net.ee("--json", *call)
                self.assertEqual(self.failed(result), ["freshness", "channel"])

    def test_Q9_an_agent_that_shows_anothers_answer_is_refused(self):
        """It hands the caller's challenge to a genuine agent, which answers it, for a connection with somebody else."""
        relay = self.relay("node-a")
        self.lie("node-b", "relay", relay.path)
        self.assertEqual(self.failed(self.run_on("node-b")), ["instance_key"])  # another instance signed it
        self.nothing_happened()
        self.assertEqual(self.verify("node-b"), ["instance_key"])
        self.assertEqual(self.verify("node-b", "--strict"), ["channel", "tls_key", "instance", "node"])
        self.assertEqual(relay.failed, [])
        self.assertGreaterEqual(len(relay.answers), 3)
        self.served("node-a")

    def test_Q10_a_workloads_statement_is_none_of_its_agents(self):
        """An agent whose quotes are over statements of purpose app, as a workload might be given: for each purpose in turn."""
        self.lie("node-b", "app", 1, serves=False)
        self.found("control", f"event=tunnel.refused peer=127.0.0.1 message={PURPOSE.format('register, agent', 'app, agent')}")
        self.gets_no_work("node-b")
        for purpose, signed, strict in ((3, ["purpose"], ["purpose"]), (4, ["statement", "purpose"], ["purpose"])):
            with self.subTest(purpose=purpose):
                self.lie("node-b", "app", purpose)
                self.assertEqual(self.failed(self.run_on("node-b")), signed)
                self.nothing_happened()
                self.assertEqual(self.verify("node-b"), signed)
                self.assertEqual(self.verify("node-b", "--strict"), strict)

    def test_Q10_a_workloads_statement_is_none_of_a_control_plane(self):
        self.lie("control", "app", 1)
        for name in OTHERS:
            self.found(name, f"event=tunnel.closed word=attestation retry_ms=\\d+ message=control plane: {PURPOSE.format('register, control plane', 'app, control plane')}")
        for purpose, failed in ((3, ["purpose"]), (4, ["statement", "purpose"])):
            self.lie("control", "app", purpose)
            for call in (("balance",), ("run", "myapp:latest"), ("verify", "control")):
                with self.subTest(purpose=purpose, call=call):
                    self.assertEqual(self.failed(self.net.ee("--json", *call)), failed)

    def test_Q11_a_caller_that_is_led_to_another_agent_refuses_it(self):
        """All three agents are genuine and equal but for their names: only the assignment tells them apart."""
        to = self.folder / "divert"
        self.lie("control", "divert", to)
        self.all_serve()
        self.assertEqual(self.net.ee("verify", "node-b").returncode, 0)
        to.write_text("node-a")
        for options in ((), ("--strict",)):
            self.assertEqual(self.verify("node-b", *options), ["node"])
        for call, word in ((("run", "--node", "node-b", "myapp:latest"), "not_found"), (("curl", "app-name/"), "app_unavailable")):
            with self.subTest(call=call):  # an agent takes no stream of another's job or app
                result = self.net.ee("--json", *call)
                self.assertEqual((json.loads(result.stderr.splitlines()[-1])["error"]["code"], result.stdout), (word, ""))
        to.unlink()
        self.nothing_happened()

    def test_Q12_the_agents_own_tls_key_is_not_enough(self):
        """The strongest attacker that holds no instance key: the control plane leads callers to him, he ends TLS with the agent's own key and
        certificate, and has the agent itself answer their challenge. All of it is true, but the answer is for another connection."""
        to = self.folder / "divert"
        self.lie("node-b", "leak", self.folder)
        self.lie("control", "divert", to)
        self.all_serve()
        relay = self.relay("node-b")
        self.lie("node-a", "stolen-tls", relay.path)
        ask = wire.ask_agent

        def truly(net, node, challenge):
            to.unlink()
            try:
                return ask(net, node, challenge)
            finally:
                to.write_text("node-a")

        to.write_text("node-a")
        with mock.patch.object(wire, "ask_agent", truly):
            self.assertEqual(self.verify("node-b"), ["channel"])
            self.assertEqual(self.verify("node-b", "--strict"), ["channel"])
        self.assertEqual((relay.failed, len(relay.answers) >= 2), ([], True))


class Periodic(Impostors):
    up_options = ("--attest-interval", "1s")

    def found_out(self, node, why):
        self.found("control", f"event=attest.failed node={node} message={why}", 60)  # it is asked each 30 s
        wait_for("it is not trusted", lambda: self.net.node(node)["state"] == "suspect", 20)
        self.gets_no_work(node)

    def test_Q9_periodic_evidence_of_another_agent_takes_a_node_out(self):
        relay = self.relay("node-a")
        self.lie("node-b", "relay", relay.path)
        self.found_out("node-b", PURPOSE.format("periodic, agent", "challenge, agent"))
        self.assertEqual((relay.failed, len(relay.answers) >= 1), ([], True))

    def test_Q9_periodic_evidence_for_another_connection_takes_a_node_out(self):
        """Of this instance, over this very challenge: only the exporter is of a connection beside the tunnel."""
        self.lie("node-b", "elsewhere")
        self.found_out("node-b", CHANNEL)

    def test_Q7_a_registration_is_no_periodic_evidence(self):
        self.lie("node-a", "replay")
        self.found_out("node-a", PURPOSE.format("periodic, agent", "register, agent"))

    def test_Q7_periodic_evidence_that_is_repeated_takes_a_node_out(self):
        """Its first answer in this session was true, and is shown again."""
        self.lie("node-a", "stale")
        registered = self.net.node("node-a")["attested_at"]
        wait_for("its first answer is believed", lambda: self.net.node("node-a")["attested_at"] > registered, 40)
        self.assertNotIn("event=attest.failed node=node-a", self.log("control"))
        self.found_out("node-a", f"freshness: another nonce: old evidence, or made for someone else{VALUES}")

    def test_Q10_a_workloads_statement_is_no_periodic_evidence(self):
        self.lie("node-b", "app", 2)
        self.found_out("node-b", PURPOSE.format("periodic, agent", "app, agent"))


class Proxies(Impostors):
    """Between the control plane and who talks to it."""

    def agent_through(self, proxy):
        agent = self.net.beside("node-b", f"through-{secrets.token_hex(4)}", EE_CONTROL_WS=proxy.url)
        self.addCleanup(agent.stop)
        wait_for("it refuses", lambda: agent.log().count("event=tunnel.closed") >= 2, 30)
        agent.stop()
        self.assertNotIn("event=link.open", agent.log())
        return re.findall(r"event=tunnel\.closed word=(\w+) retry_ms=\d+ message=(.*)", agent.log())[0]

    def test_S6_a_proxy_that_ends_tls_is_refused(self):
        """With a certificate of its own: nothing is said to it."""
        proxy = self.proxy()
        for call in (("balance",), ("run", "myapp:latest"), ("verify", "control")):
            with self.subTest(call=call):
                result = self.net.ee("--json", *call, env=self.through(proxy))
                self.assertEqual(result.stdout, "")
                error = json.loads(result.stderr.splitlines()[-1])["error"]
                self.assertEqual((error["code"], error["message"]), ("attestation", NO_EVIDENCE))
        self.assertEqual(self.agent_through(proxy), ("attestation", f"control plane: {NO_EVIDENCE}"))
        self.assertGreaterEqual(proxy.connections, 4)
        self.assertEqual(proxy.inside, b"")
        self.nothing_happened()

    def test_S6_Q12_a_proxy_with_the_control_planes_tls_key_is_refused(self):
        """The certificate is genuine, and so is all that the control plane says; its answer is for another connection."""
        self.lie("control", "leak", self.folder)
        self.all_serve()
        proxy = self.proxy(*wire.pem_of(self.folder))
        for call in (("balance",), ("run", "-e", "SECRET", "myapp:latest"), ("verify", "control")):
            with self.subTest(call=call):
                result = self.net.ee("--json", *call, env={**self.through(proxy), "SECRET": SECRET})
                self.assertEqual(self.failed(result), ["channel"])
        said = re.sub(rb'"r":"[\w-]{43}"', b'"r":"..."', bytes(proxy.inside))
        self.assertEqual(set(re.findall(rb"(?:GET|POST) (\S+)", said)), {b"/v1/attest", b"/v1/collateral/454553494d00?ca=platform"})
        self.assertEqual(set(re.findall(rb"\{.*?\}", said)), {b'{"r":"..."}'})
        for word in (b"Ee-Sig", b"Ee-Key", b"SECRET", SECRET.encode()):
            self.assertNotIn(word, said)
        word, why = self.agent_through(proxy)
        self.assertEqual(word, "attestation")
        self.assertRegex(why, f"^control plane: {CHANNEL}$")
        self.assertIn("event=tunnel.failed peer=127.0.0.1 word=attestation message=peer refused the session: the evidence was not accepted\n", self.log("control"))
        self.nothing_happened()


class Hellos(Impostors):
    """A HELLO that is edited inside the connection: TLS, keys, nonces and binder are all true, and only the transcript can tell."""

    def test_S5_agents_refuse_a_control_plane_that_saw_another_hello(self):
        self.lie("control", "older-hello", 2)
        for name in OTHERS:
            self.found(name, f"event=tunnel.closed word=attestation retry_ms=\\d+ message=control plane: {TRANSCRIPT}")
            self.assertNotIn("event=tunnel.open", self.log(name))
        self.assertEqual([n["state"] for n in self.nodes().values() if n["state"] == "serving"], [])

    def test_S5_callers_refuse_a_control_plane_that_saw_another_hello(self):
        self.lie("control", "older-hello", 5)
        self.all_serve()
        for call in (("run", "-e", "SECRET", "myapp:latest"), ("verify", "node-a"), ("verify", "node-a", "--strict")):
            with self.subTest(call=call):
                self.assertEqual(self.failed(self.net.ee("--json", *call, env={"SECRET": SECRET})), ["transcript"])
        self.nothing_happened()

    def test_S5_the_control_plane_refuses_an_agent_that_sent_another_hello(self):
        self.lie("node-b", "hello", serves=False)
        self.found("control", f"event=tunnel.refused peer=127.0.0.1 message={TRANSCRIPT}")
        self.found("node-b", r"event=tunnel.closed word=attestation retry_ms=\d+ message=control plane refused the session: the evidence was not accepted")
        self.gets_no_work("node-b")
        self.served("node-a")


class Stolen(Impostors):
    def test_Q12_a_stolen_instance_key_on_another_machine_is_refused(self):
        """All keys of the instance and its ticket, which may come again: but the quote is of another machine."""
        self.lie("node-b", "leak", self.folder)
        instance = self.net.node("node-b")["instance_id"]
        thief = self.net.beside("node-b", "thief", str(LIARS / "lying-agent"), machine="node-c", LIE="stolen", LIE_TO=str(self.folder))
        self.addCleanup(thief.stop)
        why = "node node-b runs on another machine than its provider named"
        wait_for("it is told", lambda: f"control plane refused the session: {why}\n" in thief.log(), 30)
        self.assertIn(f"event=peer.refused role=2 peer=node-b message={why}\n", self.log("control"))
        self.assertNotIn("event=link.open", thief.log())
        thief.stop()
        self.assertEqual(self.net.node("node-b")["instance_id"], instance)
        self.served("node-b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
