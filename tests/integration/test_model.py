#!/usr/bin/env python3
"""The models of docs/model, searched by spin: the protocol as it is has no error in its whole state space; with one ingredient taken out,
or one more thing given to the attacker, it has the error that docs/model/README.md tells, and the attack is told as spin found it.
`python3 tests/integration/test_model.py --write` writes what was found into that page."""
# deadline: 1200
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("EE_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
MODELS = ROOT / "docs/model"
PAGE = MODELS / "README.md"
RUN_SECONDS = 300  # of one search, on a machine that does something else beside
MEMORY_MIB = 512
DEPTH = 10000

for tool in ("spin", "gcc"):
    if not shutil.which(tool):
        print(f"there is no {tool} (./dev setup installs it)")
        sys.exit(77)

NAMES = {"control": "the control plane", "foreign": "another network's control plane", "copy": "the copy of the control plane", "node": "the node", "twin": "the twin",
         "own": "the attacker's node", "watch": "the attacker's uptime server", "attacker": "the attacker"}
TICKETS = ("", "N1's first ticket", "N1's second ticket", *2 * ("a ticket of N2's provider, himself",), *2 * ("a forged ticket",))
CLAIMS = {name: number for name, number in re.findall(r"^#define ([A-Z]+) +(\d+) /\* .*? \*/$", (MODELS / "terms.pml").read_text().partition("/* ---- claims")[2], re.M)}


@dataclasses.dataclass(frozen=True)
class Run:
    """One search. falls: the claim that must have an error; without it there must be none, and `why` says what holds."""

    what: str
    model: str
    switches: str = ""
    falls: str = ""
    why: str = ""
    only: str = ""  # the one claim that is looked at, where nothing falls

    def defines(self):
        claim = self.falls or self.only
        return [f"-D{s}" for s in self.switches.split()] + [f"-DONLY={CLAIMS[claim]}" for claim in [claim] if claim]


FULL = [Run("", "connection"), Run("", "registration"), Run("", "renewal")]

REACHED = [Run("", "connection", "", "HONEST"), Run("", "connection", "STRICT", "HONEST"), Run("", "connection", "SIGNED", "HONEST"),
           Run("", "registration", "ONLY_LEAK=0", "HONEST"), Run("", "renewal", "", "HONEST")]

INGREDIENTS = [
    Run("nonce", "renewal", "NO_NONCE", "FRESH"),
    Run("nonce as a field, but not as the exporter's context", "renewal", "NO_NONCE_FIELD", why="a binder in another context is another binder"),
    Run("nonce, when a tunnel opens", "registration", "NO_NONCE", why="binder and transcript are new with each connection"),
    Run("nonce, in a channel", "connection", "NO_NONCE", why="binder and transcript are new with each connection"),
    Run("binder", "connection", "NO_BINDER ONLY_LEAK=1", "KEPT"),
    Run("binder", "registration", "NO_BINDER ONLY_LEAK=3 FEW", "AGENT"),
    Run("binder", "registration", "NO_BINDER ONLY_LEAK=3 FEW", "NODE"),
    Run("transcript", "connection", "NO_TRANSCRIPT", why="who could change a challenge holds the connection, and the binder shows that"),
    Run("transcript", "registration", "NO_TRANSCRIPT", why="who could edit a HELLO holds the connection, and the binder shows that"),
    Run("binder; looking at the HELLOs alone", "registration", "NO_BINDER ONLY_LEAK=3 FEW", only="AGREE", why="the transcript still shows an edit"),
    Run("binder and transcript", "registration", "NO_BINDER NO_TRANSCRIPT ONLY_LEAK=3 FEW", "AGREE"),
    Run("purpose", "registration", "NO_PURPOSE ONLY_LEAK=0", "NODE"),
    Run("purpose", "connection", "NO_PURPOSE ONLY_LEAK=1", "KEPT"),
    Run("purpose, as long as workloads get no quotes", "registration", "NO_PURPOSE NO_WORKLOAD_QUOTES", why="what has a binder is no certificate, and each opening has its own transcript"),
    Run("purpose, as long as workloads get no quotes", "connection", "NO_PURPOSE NO_WORKLOAD_QUOTES", why="what has a binder is no certificate, and each opening has its own transcript"),
    Run("role", "connection", "NO_ROLE ONLY_LEAK=5", "KEPT"),
    Run("role", "registration", "NO_ROLE", why="here both sides quote, and keys alone make no quote"),
    Run("node id", "connection", "NO_NODE_ID", "CONTROL"),
    Run("node id", "registration", "NO_NODE_ID ONLY_LEAK=0 FEW", "AGENT"),
    Run("instance id, compared with the one assigned", "connection", "NO_INSTANCE", "SECRET"),
    Run("statement after the handshake", "connection", "NO_STATEMENT ONLY_LEAK=1", "KEPT"),
    Run("statement after the handshake", "registration", "NO_STATEMENT ONLY_LEAK=3 FEW", "AGENT"),
    Run("TLS key in the quote", "connection", "NO_TLS_KEY ONLY_LEAK=2", "KEPT"),
    Run("signature of the instance key beside the quote", "connection", "NO_INSTANCE_KEY FORGE RIGHT_CONTROL STRICT ONLY_LEAK=0", "KEPT"),
    Run("signature of the instance key beside the quote, as long as no attestation key leaks", "connection", "NO_INSTANCE_KEY", why="a quote of a measured program names its own instance"),
    Run("TLS key in the quote", "registration", "NO_TLS_KEY ONLY_LEAK=4", why="here both sides quote, and keys alone make no quote"),
    Run("measurement", "connection", "NO_MEASUREMENT ONLY_LEAK=0", "KEPT"),
    Run("measurement", "registration", "NO_MEASUREMENT ONLY_LEAK=0", "NODE"),
    Run("machine, in genesis and in the ticket", "registration", "NO_MACHINE ONLY_LEAK=0 FEW", "NODE"),
    Run("machine, in genesis", "registration", "NO_PIN", why="the ticket names it"),
    Run("machine, in the ticket", "registration", "NO_TICKET_MACHINE", why="genesis names it"),
    Run("ticket", "registration", "NO_TICKET ONLY_LEAK=0", "BOOT"),
    Run("ticket: signature", "registration", "NO_TICKET_SIGNATURE ONLY_LEAK=0", "BOOT"),
    Run("ticket: node", "registration", "NO_TICKET_NODE ONLY_LEAK=0", "BOOT"),
    Run("ticket: single use", "registration", "NO_TICKET_ONCE ONLY_LEAK=0", "BOOT"),
    Run("one tunnel a name: the newer session ends the older", "registration", "NO_REPLACE ONLY_LEAK=0", "ALONE"),
]

GIVEN = [
    Run("both keys of an instance", "connection", "KEYS_OF_NODE SIGNED", "KEPT"),
    Run("both keys of an instance, client is `strict`", "connection", "KEYS_OF_NODE STRICT", why="keys make no quote"),
    Run("both keys of the control plane", "connection", "KEYS_OF_CONTROL", "CONTROL"),
    Run("both keys of the control plane", "connection", "KEYS_OF_CONTROL", only="SECRET", why="it is the instance that the client was told; who told it is the attacker"),
    Run("both keys of the control plane", "connection", "KEYS_OF_CONTROL", only="KEPT", why="whatever instance he names must prove itself"),
    Run("both keys of the control plane, his machine opened", "connection", "KEYS_OF_CONTROL OPENED", "KEPT"),
    Run("both keys of the control plane", "registration", "KEYS_OF_CONTROL", why="agents are shown a quote, and keys make none"),
    Run("attestation key of his own machine", "connection", "FORGE ONLY_LEAK=0", "KEPT"),
    Run("the same, policy lists machines without his", "connection", "FORGE PIN", why="his quotes are of his machine"),
    Run("attestation key of his own machine", "registration", "FORGE ONLY_LEAK=0 FEW", "AGENT"),
    Run("attestation key of his own machine", "registration", "FORGE ONLY_LEAK=0 FEW", only="NODE", why="his quotes are of his machine, and N1 is not enrolled for it"),
    Run("the same, agents' policy lists machines without his", "registration", "FORGE PIN FEW", why="his quotes are of his machine"),
    Run("the same, if the client does come to its control plane", "connection", "FORGE RIGHT_CONTROL ONLY_LEAK=0", why="he has no instance key of the node's, and a quote alone is not enough"),
    Run("a control plane of his own with our network id and his genesis", "connection", "COPY ONLY_LEAK=0", "CONTROL"),
    Run("the same", "connection", "COPY ONLY_LEAK=0", only="KEPT", why="the instance must prove itself, whoever names it"),
    Run("the same, his machine opened", "connection", "COPY ONLY_LEAK=5", "KEPT"),
    Run("the same, policy lists machines without his", "connection", "COPY PIN", why="his quotes are of his machine"),
    Run("the same, policy pins the genesis", "connection", "COPY GENESIS", why="the copy's measured settings name another one"),
    Run("a control plane of his own with our network id and his genesis", "registration", "COPY ONLY_LEAK=0 FEW", "AGENT"),
    Run("the same, agents' policy lists machines without his", "registration", "COPY PIN FEW", why="his quotes are of his machine"),
    Run("the same, agents' policy pins the genesis", "registration", "COPY GENESIS FEW", why="the copy's measured settings name another one"),
    Run("the control plane's genesis, edited by its host", "registration", "EDITED_GENESIS", why="the ticket is signed by the provider, whose key is in the node id"),
    Run("the same, without tickets", "registration", "EDITED_GENESIS NO_TICKET ONLY_LEAK=0 FEW", "NODE"),
    Run("the control plane's database of before, restored by its host", "registration", "ROLLBACK ONLY_LEAK=0", "BOOT"),
]


@dataclasses.dataclass
class Found:
    errors: int
    complete: bool
    states: int
    assertion: str
    steps: list
    output: str


def command(arguments, folder, **more):
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=RUN_SECONDS, **more)
    return done.stdout + done.stderr, done.returncode


def must(arguments, folder):
    output, code = command(arguments, folder)
    if code:
        raise AssertionError(f"{' '.join(arguments)}: {code}\n{output}")
    return output


def tell(trail, tickets):
    """The attack in the model's own words."""
    steps = []
    for line in re.findall(r"^ *> (.*)$", trail, re.M):
        line = re.sub(r"<(\w+)>", lambda m: NAMES[m.group(1)], line)
        line = re.sub(r", with ticket (\d)", lambda m: f", with {TICKETS[int(m.group(1))]}" if tickets else "", line)
        steps.append(line[0].upper() + line[1:])
    return steps


def search(run):
    """What holds is searched depth first, with partial order reduction and compressed states; what falls breadth first, for the shortest attack."""
    with tempfile.TemporaryDirectory(prefix="ee-model-") as place:
        model = str(MODELS / f"{run.model}.pml")
        must(["spin", "-a", *run.defines(), model], place)
        how = ["-DBFS"] if run.falls else ["-DCOLLAPSE"]
        must(["gcc", "-O0", "-w", "-DSAFETY", f"-DMEMLIM={MEMORY_MIB}", *how, "-o", "pan", "pan.c"], place)
        output, _ = command(["./pan", "-E", "-b", f"-m{DEPTH}", "-w20"], place)
        errors, states = re.search(r"errors: (\d+)", output), re.search(r"(\d+) states, stored", output)
        if not errors or not states:
            raise AssertionError(f"pan ended without a result:\n{output}")
        complete = "Search not completed" not in output and "Full statespace search" in output and "max search depth too small" not in output
        assertion = re.search(r"^pan:\d+: (.*?) \(at depth", output, re.M)
        trail = must(["spin", "-t", "-k", f"{run.model}.pml.trail", *run.defines(), model], place) if int(errors.group(1)) else ""
        return Found(int(errors.group(1)), complete, int(states.group(1)), assertion.group(1) if assertion else "", tell(trail, "NO_TICKET" not in run.switches.split()), output)


def search_all(runs):
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2)) as pool:
        return dict(zip(runs, pool.map(search, runs)))


# ---- the page -----------------------------------------------------------------------------------------------------------------------


def table(heads, rows):
    return "\n".join(["| " + " | ".join(heads) + " |", "|" + "|".join("---" for _ in heads) + "|"] + ["| " + " | ".join(row) + " |" for row in rows])


def verdict(run, found):
    if not run.falls:
        return f"no attack: {run.why}"
    return "<br>".join(f"{n}. {step}" for n, step in enumerate(found.steps, 1))


def of_runs(head, runs, found):
    rows = [(r.what, r.model, f"**{r.falls}** falls" if r.falls else f"{r.only} holds" if r.only else "all hold", verdict(r, found[r]),
             "`" + " ".join(r.defines()) + "`") for r in runs]
    return table((head, "model", "claim", "what spin finds", "switches"), rows)


def pieces(found):
    sizes = table(("model", "states", "errors"), [(f"[{r.model}.pml]({r.model}.pml)", f"{found[r].states:,}", str(found[r].errors)) for r in FULL])
    return {"sizes": sizes, "ingredients": of_runs("taken out", INGREDIENTS, found), "given": of_runs("given to the attacker", GIVEN, found)}


def with_findings(text, found):
    tables = pieces(found)
    return re.sub(r"(<!-- found: (\w+) -->\n)(.*?)(<!-- end -->)", lambda m: m.group(1) + tables[m.group(2)] + "\n" + m.group(4), text, flags=re.S)


class Model(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.found = search_all([*FULL, *REACHED, *INGREDIENTS, *GIVEN])

    def as_said(self, runs):
        for run in runs:
            with self.subTest(what=run.what, model=run.model, switches=run.switches):
                found = self.found[run]
                if run.falls:
                    number = CLAIMS[run.falls]
                    self.assertEqual(found.errors, 1, found.output)
                    holds = found.assertion if run.falls != "HONEST" else f"({number}!={number})"
                    self.assertIn(f"({number}!={number})", holds, "another assertion than the claim's")
                    self.assertTrue(found.assertion.startswith("assertion violated"), found.assertion)
                    self.assertTrue(found.steps, "an attack without a step")
                else:
                    self.assertEqual(found.errors, 0, "\n".join([found.assertion, *found.steps]))
                    self.assertTrue(found.complete, found.output)

    def test_Q7_Q9_Q11_Q12_S2_S3_S5_S6_claims_hold_in_the_whole_state_space(self):
        self.as_said(FULL)

    def test_honest_runs_reach_their_end(self):
        """Nothing holds for want of a run in which it could fall."""
        self.as_said(REACHED)

    def test_each_ingredient_that_is_taken_out(self):
        self.as_said(INGREDIENTS)

    def test_what_more_the_attacker_is_given(self):
        self.as_said(GIVEN)

    def test_every_switch_is_tried(self):
        """A switch that no run uses, or a claim that nothing can break, is a model nobody looked at."""
        runs = [*FULL, *REACHED, *INGREDIENTS, *GIVEN]
        tried = {s.partition("=")[0] for r in runs for s in [*r.switches.split(), *(["ONLY"] if r.falls or r.only else [])]}
        text = "".join(p.read_text() for p in MODELS.glob("*.pml"))
        known = set(re.findall(r"^#if(?:n?def) (\w+)|defined\((\w+)\)", text, re.M))
        self.assertEqual({a or b for a, b in known} - tried, set())
        self.assertEqual(set(CLAIMS) - {r.falls for r in runs}, set())

    def test_the_page_says_what_was_found(self):
        version = must(["spin", "-V"], ".")
        if "6.5.2" not in version:
            self.skipTest(f"the page was written with Spin 6.5.2, here is {version.strip()}: attacks of the same length may come in another order")
        self.assertEqual(with_findings(PAGE.read_text(), self.found), PAGE.read_text(), "run python3 tests/integration/test_model.py --write")


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(with_findings(PAGE.read_text(), search_all([*FULL, *REACHED, *INGREDIENTS, *GIVEN])))
        sys.exit(0)
    unittest.main(verbosity=2)
