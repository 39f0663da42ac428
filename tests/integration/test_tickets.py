#!/usr/bin/env python3
"""Boot tickets with real processes: whose ticket is not for this boot is refused, both sides' logs say why in the same words, and what served
before goes on. Threats S1, S3; docs/protocol.md#boot-tickets."""
# deadline: 400
# needs: build/dev
import base64
import json
import re
import secrets
import time
import unittest

from callers import AccountKey, b64url, pack
from devnet import BIN, BUILD, DevnetCase, environment, wait_for

LIARS = (BUILD if BUILD.name == "dev" else BUILD / "dev") / "bin"
USED = "the boot ticket was used before, by another instance: its provider signs one for each boot"
UNSIGNED = "the signature of a type 0x40 body does not verify"
NOT_HIS = "boot ticket: envelope type 0x40 is signed by another key than expected"
OTHER_NODE = r"event=tunnel\.refused peer=127\.0\.0\.1 message=node: another node than the one expected; expected [0-9a-f]{64}, actual [0-9a-f]{64}\n"
AGENT, UPTIME, TICKET = 2, 3, 0x40


class TicketCase(DevnetCase):
    """Impostors of node-b, beside the real one."""

    def setUp(self):
        self.beside = []
        self.addCleanup(self.stop_all)

    def stop_all(self):
        while self.beside:
            self.beside.pop().stop()

    def file(self, text):
        path = self.net.home / f"{secrets.token_hex(4)}.ticket"
        path.write_text(text)
        return str(path)

    def start(self, name, ticket, program=None, **more):
        """Beside `name`, with this ticket's text."""
        called = f"beside-{secrets.token_hex(4)}"
        started = self.net.beside(name, called, program and str(program), EE_NODE_TICKET=self.file(ticket), **more)
        self.beside.append(started)
        return started

    def lie(self, name, ticket, **more):
        """The same, but it does not look at its ticket itself: the control plane has to."""
        program = LIARS / ("lying-uptime" if name.startswith("uptime") else "lying-agent")
        return self.start(name, ticket, program, LIE="ticket", LIE_TO=more.pop("LIE_TO", None) or self.field(self.net.ticket(name), 2).hex(), **more)

    def forge(self, node="node-b", signer=None, **changes):
        """A ticket as node's provider would sign it, but for what is changed; signed by another account's key where one is named."""
        provider, machine = self.net.enrolled(node)
        genuine = self.net.ticket(node)
        told = {1: self.field(genuine, 1), 2: self.field(genuine, 2), 3: UPTIME if node.startswith("uptime") else AGENT, 4: bytes.fromhex(machine),
                5: ["0.1.0"], 6: secrets.token_bytes(16), 7: int(time.time() * 1000) + 300_000}
        names = {"network_id": 1, "node_id": 2, "role": 3, "machine_id": 4, "releases": 5, "serial": 6, "not_after_ms": 7}
        told.update({names[key]: value for key, value in changes.items()})
        return b64url(AccountKey(self.net.account(signer or provider)["EE_API_KEY"]).sign(TICKET, pack(told))[1])

    @staticmethod
    def field(ticket, number):
        """network_id (1) or node_id (2) of a ticket: 32 bytes each, at a fixed place in the envelope's body."""
        body = base64.urlsafe_b64decode(ticket.strip() + "===")[38:]
        return body[4 + 35 * (number - 1) :][:32]

    def control_log(self):
        return "".join(path.read_text(errors="replace") for path in sorted((self.net.dir / "logs").glob("control*.log")))

    def logged(self, pattern, log):
        try:
            wait_for(pattern, lambda: re.search(pattern, log()), 30)
        except AssertionError:
            self.fail(f"not there: {pattern}\n{log()}")

    def job_runs_on(self, node):
        result = self.net.ee("run", "--node", node, "myapp:latest", "--", "echo", "served")
        self.assertEqual((result.returncode, result.stdout), (0, "served\n"), result.stderr)

    def refused(self, start, why, peer="node-b", node="node-b", control=None):
        """What start() starts does not get in, and is told why; the control plane writes the same down; node is who it was, and works."""
        before, seen = self.net.node(node), len(self.control_log())
        started = start()
        why = why if isinstance(why, re.Pattern) else re.compile(re.escape(why))
        told = rf"event=tunnel\.closed word=\w+ retry_ms=\d+ message=control plane refused the session: {why.pattern}\n"
        written = control or rf"event=peer\.refused role=\d peer={peer} message={why.pattern}\n"
        self.logged(told, started.log)
        self.logged(written, lambda: self.control_log()[seen:])
        self.assertIsNone(started.process.poll(), "it goes on trying")
        self.assertNotIn("link.open", started.log())
        after = self.net.node(node)
        self.assertEqual((after["instance_id"], after["state"]), (before["instance_id"], "serving"))
        self.assertNotIn(f"role=2 peer={node}", "".join(re.findall(r"event=tunnel\.accepted.*", self.control_log()[seen:])))
        started.stop()
        self.job_runs_on(node)

    def refuses_itself(self, start, why):
        """It says what is wrong with its ticket before it goes anywhere."""
        started = start()
        self.assertEqual(started.process.wait(20), 3, started.log())
        self.assertRegex(started.log(), rf"^ee-(agent|uptime): config: boot ticket /\S+: {why}\n  its provider makes one for each boot: `ee node ticket NAME --machine ID`\n$")


class Tickets(TicketCase):
    def test_S3_a_ticket_is_used_once(self):
        """The file that the running node was started with, as a thief of its disk finds it."""
        stolen = (self.net.dir / "node-b.ticket").read_text()
        self.refused(lambda: self.start("node-b", stolen), USED)
        stolen = (self.net.dir / "uptime-1.ticket").read_text()
        self.refused(lambda: self.start("uptime-1", stolen), USED, peer="uptime-1")

    def test_S3_a_ticket_has_its_time(self):
        self.refused(lambda: self.start("node-b", self.net.ticket("node-b", "--life", "1ms")), "the boot ticket expired 0 s ago")
        now = int(time.time() * 1000)
        late = self.forge(not_after_ms=now - 3_600_000)
        self.refused(lambda: self.start("node-b", late), re.compile("the boot ticket expired 360[0-9] s ago"))
        early = self.forge(not_after_ms=now + 86_400_000)
        self.refused(lambda: self.start("node-b", early), re.compile("the boot ticket is good for 86[34][0-9][0-9] s more, limit 600"))

    def test_S3_a_ticket_is_for_one_machine(self):
        other = self.net.enrolled("node-c")[1]
        self.refused(lambda: self.start("node-b", self.net.ticket("node-b", machine=other)), "the boot ticket is for another machine than this")
        stolen = self.net.ticket("node-b")
        self.refused(lambda: self.start("node-b", stolen, machine="node-c"), "node node-b runs on another machine than its provider named")
        self.refused(lambda: self.start("node-b", self.net.ticket("node-b", machine=other), machine="node-c"), "node node-b runs on another machine than its provider named")

    def test_S3_a_ticket_is_for_the_releases_it_names(self):
        for releases in (["0.0.9"], ["0.1"], ["0.1.0 "], ["0.1.00", "0.0.9"]):
            with self.subTest(releases=releases):
                self.refused(lambda: self.start("node-b", self.forge(releases=releases)), 'the boot ticket does not name the release "0.1.0"')

    def test_S3_a_ticket_is_of_one_network(self):
        foreign = self.forge(network_id=bytes(32))
        self.refuses_itself(lambda: self.start("node-b", foreign), "it is for another network")
        self.refused(lambda: self.lie("node-b", foreign), "the boot ticket is of another network")

    def test_S3_a_ticket_is_for_one_role(self):
        """An agent's for an uptime server and back, under one name of one provider: nothing but the role differs."""
        as_uptime = self.net.ee("node", "ticket", "node-b", "--machine", self.net.enrolled("node-b")[1], "--uptime-server", env=self.net.account("provider-b")).stdout
        as_agent = self.forge("uptime-1", role=AGENT)
        self.refuses_itself(lambda: self.start("node-b", as_uptime), "it is for another kind of program")
        self.refuses_itself(lambda: self.start("uptime-1", as_agent), "it is for another kind of program")
        self.refused(lambda: self.lie("node-b", as_uptime), "the boot ticket is for another kind of peer")
        self.refused(lambda: self.lie("uptime-1", as_agent), "the boot ticket is for another kind of peer", peer="uptime-1")

    def test_S3_a_ticket_is_for_one_node(self):
        """The statement names the node whose ticket it is, so evidence is refused before the ticket is looked at; and when the statement lies, the ticket."""
        of_another = self.net.ticket("node-a", machine=self.net.enrolled("node-b")[1])
        self.refused(lambda: self.start("node-b", of_another), "the evidence was not accepted", control=OTHER_NODE)
        self.refused(lambda: self.lie("node-b", self.forge(node_id=bytes(32))), "the boot ticket is for another node")

    def test_S3_a_ticket_is_signed_by_the_nodes_provider(self):
        """Another provider's own ticket is for a node of his: node ids have the provider's key in them. One for our node has a signature that is not ours."""
        his = self.net.ticket("node-b", provider="provider-a")
        self.refused(lambda: self.start("node-b", his), "the evidence was not accepted", control=OTHER_NODE)
        self.refused(lambda: self.start("node-b", self.forge(signer="provider-a")), NOT_HIS)
        self.refused(lambda: self.start("node-b", self.forge(signer="dev")), NOT_HIS)
        self.refused(lambda: self.start("uptime-1", self.forge("uptime-1", signer="provider-b")), NOT_HIS, peer="uptime-1")

    def test_S3_a_damaged_ticket_is_none(self):
        genuine = self.net.ticket("node-b").strip()
        raw = base64.urlsafe_b64decode(genuine + "===")
        flipped = b64url(raw[:-1] + bytes([raw[-1] ^ 1]))
        later = b64url(raw[:-65] + bytes([raw[-65] ^ 1]) + raw[-64:])  # its end, a millisecond off
        other_type = b64url(b"\0\x41" + raw[2:])
        self.refused(lambda: self.start("node-b", flipped), "boot ticket: " + UNSIGNED)
        self.refused(lambda: self.start("node-b", later), "boot ticket: " + UNSIGNED)
        for damaged, why in ((raw[:-1], "envelope: needs 64 bytes at offset 167, has 63"), (raw + b"\0", "envelope: 1 bytes too many after offset 231"),
                             (raw[:20], "envelope: needs 32 bytes at offset 2, has 18")):
            with self.subTest(damaged=why):
                self.refuses_itself(lambda: self.start("node-b", b64url(damaged)), why)
                self.refused(lambda: self.lie("node-b", b64url(damaged)), "boot ticket: " + why)
        self.refuses_itself(lambda: self.start("node-b", other_type), "an envelope of type 0x41 is no boot ticket")
        self.refused(lambda: self.lie("node-b", other_type), "boot ticket: envelope type is 0x41, expected 0x40")
        self.refuses_itself(lambda: self.start("node-b", genuine[:-4] + "!!!!"), "not a base64url character, at offset 30[0-9]")

    def test_S3_without_a_ticket_nobody_is_a_node(self):
        self.refuses_itself(lambda: self.start("node-b", ""), "envelope: needs 2 bytes at offset 0, has 0")
        absent = self.net.beside("node-b", "absent", EE_NODE_TICKET=str(self.net.home / "absent.ticket"))
        self.beside.append(absent)
        self.assertEqual(absent.process.wait(20), 3)
        self.assertIn("absent.ticket", absent.log())
        for name in ("node-b", "uptime-1"):
            self.refused(lambda: self.lie(name, ""), "there is no boot ticket: its provider signs one for each boot", peer=name)

    def test_S1_nobody_is_who_is_not_enrolled(self):
        """A provider cannot make a node or an observer by a ticket; nor is an observer a node, or a node an observer."""
        provider, machine = self.net.enrolled("uptime-1")
        runtime = {key: value for key, value in self.net.environment_of(self.net.pid_of("node-a")).items() if key.startswith(("EE_RUNTIME", "EE_NODE_V", "EE_NODE_M"))}
        runtime["EE_RUNTIME_DIR"] = str(self.net.home / "as-agent")

        def make(name, *kind):
            return self.net.ee("node", "ticket", name, "--machine", machine, *kind, env=self.net.account(provider)).stdout

        def start(name, program, *kind):
            return self.start("uptime-1", make(name, *kind), BIN / program, **{**runtime, "EE_NODE_NAME": name})

        for name in ("uptime-9", "node-a"):
            with self.subTest(uptime_server=name):
                self.refused(lambda: start(name, "ee-uptime", "--uptime-server"), f'there is no uptime server "{name}" in this network\'s genesis', peer=name)
        for name, why in (("node-9", 'there is no node "node-9". Did you mean node-a?'), ("uptime-1", 'there is no node "uptime-1"')):
            with self.subTest(agent=name):
                self.refused(lambda: start(name, "ee-agent"), why, peer=name)


class Boots(TicketCase):
    """What is kept of a ticket, over the lives of agents and control plane."""

    def serving(self, node, instance=None):
        """Its instance, once it serves; another one than `instance`."""

        def look():
            nodes = self.net.ee("--json", "nodes")
            found = next((n for n in json.loads(nodes.stdout)["items"] if n["node"] == node), {}) if nodes.returncode == 0 else {}
            return found.get("state") == "serving" and found["instance_id"] != instance and found["instance_id"]

        return wait_for(f"{node} serves", look, 40)

    def restart_control_plane(self):
        for what in ("kill", "heal"):
            done = self.net.ee("devnet", what, "control")
            self.assertEqual(done.returncode, 0, done.stderr)

    def retire(self, node):
        """The node's own agent ends, its place is free; back at the end of the test."""
        instance = self.net.node(node)["instance_id"]
        self.net.beside(node, f"{node}-settings", "/bin/true").stop()
        self.assertEqual(self.net.ee("devnet", "kill", node).returncode, 0)
        self.addCleanup(lambda: self.assertEqual(self.net.ee("devnet", "heal", node).returncode, 0))
        self.addCleanup(self.stop_all)
        return instance

    def test_S3_of_two_who_show_one_ticket_the_first_is_the_node(self):
        """A thief on the same machine, with the node's own fresh ticket, at the same moment."""
        before, fresh, seen = self.retire("node-a"), self.net.ticket("node-a"), len(self.control_log())
        both = [self.start("node-a", fresh), self.start("node-a", fresh)]
        instance = self.serving("node-a", before)
        wait_for("the other one is refused three times", lambda: self.control_log()[seen:].count(f"event=peer.refused role=2 peer=node-a message={USED}\n") >= 3, 40)
        winners = [agent for agent in both if "event=link.open" in agent.log()]
        self.assertEqual(len(winners), 1)
        (loser,) = (agent for agent in both if agent not in winners)
        self.assertIn(f"message=control plane refused the session: {USED}\n", loser.log())
        self.assertNotIn("event=tunnel.closed", winners[0].log())
        self.assertEqual(self.control_log()[seen:].count("event=tunnel.accepted role=2 peer=node-a"), 1)
        self.assertEqual(self.serving("node-a"), instance)
        self.job_runs_on("node-a")

    def test_S3_who_used_a_ticket_comes_back_after_its_end(self):
        """A tunnel may break at any time; a restart is another boot."""
        before = self.retire("node-a")
        short = self.net.ticket("node-a", "--life", "6s")
        end = time.time() + 6
        agent = self.start("node-a", short)
        instance = self.serving("node-a", before)
        wait_for("the ticket's end", lambda: time.time() > end, 10)
        self.restart_control_plane()
        wait_for("it is back", lambda: agent.log().count("event=link.open") == 2, 40)
        self.assertEqual(self.serving("node-a"), instance)
        self.job_runs_on("node-a")
        self.refused(lambda: self.start("node-a", short), re.compile(r"the boot ticket expired \d+ s ago"), peer="node-a", node="node-a")

    def test_S3_a_used_ticket_stays_used_when_the_control_plane_restarts(self):
        used = (self.net.dir / "node-b.ticket").read_text()
        instance = self.net.node("node-b")["instance_id"]
        self.restart_control_plane()
        self.assertEqual(self.serving("node-b"), instance)
        self.refused(lambda: self.start("node-b", used), USED)


MAKE = r"""
#include <eesdk/eesdk.h>
#include <eesdk/provider.h>
#include <stdio.h>
#include <string.h>

static char id[33], longer[65 + 1], name64[64 + 1];
static void tell(const char *what, const ee_ticket_options *options) {
    ee_error err = {0};
    char *out = (char *)1;
    ee_status st = ee_ticket_make(NULL, options, &out, &err);
    printf("%s|%s|%s|%s\n", what, ee_status_word(st), st ? err.message : "", st == EE_OK ? (*out ? "text" : "empty") : out ? "left" : "NULL");
    if (!st) ee_string_free(out);
}

int main(void) {
    const char *many[18] = {0}, *none[1] = {NULL}, *empty[2] = {"", NULL}, *too_long[2] = {longer, NULL}, *ok[3] = {"0.1.0", "0.1.1", NULL};
    ee_ticket_options good, o;
    ee_error err = {0};
    memset(id, 'a', 32), memset(longer, 'r', 65), memset(name64, 'n', 64);
    for (int i = 0; i < 17; i++) many[i] = "0.1.0";
    ee_ticket_options_init(&good);
    good.node = "node-a", good.machine_id = id;
    tell("good", &good);
    o = good, o.releases = ok, o.life_ms = 600000, o.uptime_server = 1, tell("good, all given", &o);
    o = good, many[16] = NULL, o.releases = many, tell("16 releases", &o), many[16] = "0.1.0";
    o = good, o.releases = many, tell("17 releases", &o);
    o = good, o.releases = none, tell("no release", &o);
    o = good, o.releases = empty, tell("an empty release", &o);
    o = good, o.releases = too_long, tell("a release of 65 bytes", &o);
    o = good, o.life_ms = 600001, tell("600,001 ms", &o);
    o = good, o.machine_id = NULL, tell("no machine", &o);
    o = good, o.machine_id = id + 1, tell("31 digits", &o);
    o = good, o.machine_id = "zaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", tell("no hex", &o);
    o = good, o.node = NULL, tell("no node", &o);
    o = good, o.node = "", tell("an empty node", &o);
    o = good, o.node = name64, tell("a node of 64 bytes", &o);
    o = good, o.node = "Node_A", tell("a node that is none", &o);
    o = good, o.struct_bytes = 0, tell("not initialized", &o);
    tell("no options", NULL);
    printf("no out|%s|%s|\n", ee_status_word(ee_ticket_make(NULL, &good, NULL, &err)), err.message);
    return 0;
}
"""

TOLD = """\
good|ok||text
good, all given|ok||text
16 releases|ok||text
17 releases|invalid|a boot ticket names at most 16 releases|NULL
no release|invalid|a boot ticket names at least one release|NULL
an empty release|invalid|release 1 of a boot ticket is empty|NULL
a release of 65 bytes|invalid|ticket.releases: too long (65, limit 64)|NULL
600,001 ms|invalid|a boot ticket lives 600001 ms; at most 600000|NULL
no machine|invalid|machine_id: expected 32 hex digits, found 0|NULL
31 digits|invalid|machine_id: expected 32 hex digits, found 31|NULL
no hex|invalid|machine_id: not a hex digit, at offset 0|NULL
no node|invalid|a node's name has 1 to 63 of a-z, 0-9 and "-"|NULL
an empty node|invalid|a node's name has 1 to 63 of a-z, 0-9 and "-"|NULL
a node of 64 bytes|invalid|a node's name has 1 to 63 of a-z, 0-9 and "-"|NULL
a node that is none|invalid|a node's name has 1 to 63 of a-z, 0-9 and "-"|NULL
not initialized|invalid|ee_ticket_options says that it has 0 bytes; this library knows 40: use ee_ticket_options_init()|NULL
no options|invalid|the options are missing: they name the node and the machine|NULL
no out|invalid|out is NULL|
"""


class Making(TicketCase):
    """`ee node ticket` and ee_ticket_make(): what they take, and what they say of the rest."""

    def make(self, *args, **kw):
        return self.net.ee("node", "ticket", *args, **kw)

    def test_the_command_line(self):
        machine = self.net.enrolled("node-b")[1]
        for args, why in (
            ((), "write: ee node ticket NAME --machine ID"),
            (("node-b", "more", "--machine", machine), "write: ee node ticket NAME --machine ID"),
            (("node-b",), "--machine is missing: the machine_id that its quotes show (`ee verify`)"),
            (("node-b", "--machine"), "--machine needs a value"),
            (("node-b", "--machine", machine, "--life", "soon"), '--life "soon" is not a time'),
            (("node-b", "--machine", machine, "--life", "0"), '--life "0" is no time at all'),
            (("node-b", "--machine", machine, "--life", "-1s"), '--life "-1s" is not a time'),
            (("node-b", "--machine", machine, "--life", "1200h"), "--life 1200h is more than a ticket can have, which is 10m"),
            (("node-b", "--machine", machine, "--lives", "5m"), "there is no option --lives"),
            (("node-b", "--machine", machine, *(17 * ("--release", "0.1.0"))), "--release is given more than 16 times"),
        ):
            with self.subTest(args=args):
                result = self.make(*args)
                self.assertError(result, "invalid", 2)
                self.assertIn(f"ee: invalid: {why}", result.stderr)
        self.assertError(self.net.ee("node"), "invalid", 2)
        self.assertError(self.net.ee("node", "tickets", "node-b", "--machine", machine), "invalid", 2)
        for args, why in (
            (("node-b", "--machine", machine[:-1]), "machine_id: expected 32 hex digits, found 31"),
            (("node-b", "--machine", machine, "--life", "11m"), "a boot ticket lives 660000 ms; at most 600000"),
            (("node-b", "--machine", machine, "--life", "600001ms"), "a boot ticket lives 600001 ms; at most 600000"),
            (("Node-B", "--machine", machine), 'a node\'s name has 1 to 63 of a-z, 0-9 and "-"'),
        ):
            with self.subTest(args=args):
                result = self.make(*args)
                self.assertError(result, "invalid", 2)
                self.assertIn(f"ee: invalid: {why}\n", result.stderr)
                told = self.net.ee("--json", "node", "ticket", *args)
                self.assertEqual((told.returncode, told.stdout), (2, ""))
                self.assertEqual((json.loads(told.stderr)["error"]["code"], json.loads(told.stderr)["error"]["message"]), ("invalid", why))

    def test_what_it_prints(self):
        """One line for the file, or a document; each with a serial of its own, until the time that was asked for."""
        provider, machine = self.net.enrolled("node-b")
        args = ("node-b", "--machine", machine)
        plain = self.make(*args, "--life", "5m", env=self.net.account(provider))
        self.assertEqual((plain.returncode, plain.stderr), (0, ""))
        self.assertRegex(plain.stdout, r"\A[A-Za-z0-9_-]{200,400}\n\Z")
        document = self.net.json("node", "ticket", *args, env=self.net.account(provider))
        self.assertEqual(list(document), ["ticket"])
        self.assertNotEqual(document["ticket"], plain.stdout.strip())
        self.assertEqual(self.field(document["ticket"], 2).hex(), self.net.node("node-b")["node_id"])
        self.assertEqual(self.field(document["ticket"], 1).hex(), self.net.profile()["network_id"])
        now = time.time() * 1000
        for text, life in ((plain.stdout, 300_000), (document["ticket"], 600_000)):
            raw = base64.urlsafe_b64decode(text.strip() + "===")
            self.assertLess(abs(int.from_bytes(raw[-64 - 8 : -64], "big") - now - life), 20_000)  # the body's last field

    def test_it_asks_nobody(self):
        """Nothing is sent: it works where the control plane is away, and a name that nobody has is found out by who checks the ticket."""
        provider, machine = self.net.enrolled("node-b")
        away = {**self.net.account(provider), "EE_URL": "https://127.0.0.1:9"}
        self.assertEqual(self.make("no-such-node", "--machine", machine, env=away).returncode, 0)

    def test_without_a_key(self):
        home = self.net.home / "nobody"
        (home / "run").mkdir(parents=True, mode=0o700, exist_ok=True)
        result = self.make("node-b", "--machine", "0" * 32, env={key: value for key, value in environment(home).items() if key in ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")})
        self.assertError(result, "config", 3)

    def test_the_c_interface(self):
        told = self.net.run([self.net.compile(MAKE, "make")])
        self.assertEqual((told.returncode, told.stderr), (0, ""))
        self.assertEqual(told.stdout, TOLD)


if __name__ == "__main__":
    unittest.main(verbosity=2)
