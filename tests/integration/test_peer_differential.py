#!/usr/bin/env python3
"""Our verifier against an independent one, dcap-qvl from PyPI: sample quotes, the peers' cases, and thousands of single changes to good
inputs. They must agree, or tests/peer/disagreements.py must know why not. Needs the network once, to install the peer into build/peers;
left out where that does not work. By hand: test_peer_differential.py [--count N] [--record]; --record keeps what came out for docs/peers.md."""
# deadline: 900
import argparse
import collections
import concurrent.futures
import dataclasses
import datetime as dt
import json
import os
import pathlib
import random
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "peer"))
from cases import CASES, STRICT, strict_expectation  # noqa: E402
from disagreements import KNOWN, explain  # noqa: E402
from install import PYTHON, python_peer  # noqa: E402
from mutations import mutants, of_sample, sample_cases  # noqa: E402
from verdicts import BUILD, ROOT, Peer, Relaxed, must_be_built, seed, strict  # noqa: E402
from world import Sample  # noqa: E402

USUAL_SEED = "2026"  # what another's program may fail on any day is asked the same every day; other seeds are tried by hand
REQUIREMENT = ROOT / "tests/peer/requirements.txt"
RECORD = ROOT / "tests/peer/differential.json"


class Differential(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.relaxed = Relaxed()
        cls.addClassCleanup(cls.relaxed.close)
        cls.peer = Peer(PYTHON)
        cls.addClassCleanup(cls.peer.close)
        cls.beside = concurrent.futures.ThreadPoolExecutor(1)
        cls.addClassCleanup(cls.beside.shutdown)

    def ask(self, given):
        question = given.quote, given.collateral_json, given.root, given.time
        peer = self.beside.submit(self.peer.verify, *question)
        ours = self.relaxed.verify(*question) if given.shape == "peer" else strict(*question)
        return ours, peer.result()

    def compare(self, given):
        """The verdicts, when they agree or it is known why not."""
        ours, peer = self.ask(given)
        if ours.ok == peer.ok and ours.status == peer.status:
            AGREED["accepted" if ours.ok else "refused"] += 1
            return ours, peer
        known = explain(given, ours, peer)
        if not known:
            kept = BUILD / "peers/unexplained" / f"{SEED} {given.name}".replace("/", "-").replace(" ", "-")
            kept.mkdir(parents=True, exist_ok=True)
            for file, data in (("quote.bin", given.quote), ("collateral.json", given.collateral_json), ("root.der", given.root or b"")):
                (kept / file).write_bytes(data)
            self.fail(f"{given.name} (kept in {kept}, time {given.time}):\n  ours: {ours.status or ours.why}\n  peer: {peer.status or peer.why}")
        EXPLAINED.setdefault(known.kind, []).append(given.name)
        return ours, peer

    def test_1_the_cases(self):
        """What the table says of the peer is what the peer says; and every known disagreement is met by a case."""
        good = {shape: of_sample(shape, Sample(shape, SEED)) for shape in ("peer", "intel")}
        judged = shown = 0
        for case in [*CASES, *STRICT]:
            for shape in ("peer", "intel"):
                if shape == "peer" and case in STRICT or shape == "intel" and case in CASES and not strict_expectation(case):
                    continue
                judged += 1
                with self.subTest(f"{case.name} ({shape})"):
                    sample = Sample(shape, SEED)
                    case.edit(sample)
                    ours, peer = self.compare(dataclasses.replace(of_sample(case.name, sample), origin=good[shape]))
                    if case in STRICT or shape == "peer":
                        self.assertEqual((ours.ok, peer.ok), (case.ours == "ok", case.peer == "ok"), f"ours: {ours}, peer: {peer}")
                    shown += 1
        self.assertEqual(shown, judged, "cases failed, see above: what they show is not known")
        self.assertEqual([known.kind for known in KNOWN if known.kind not in EXPLAINED], [], "known disagreements that no case shows")

    def test_2_sample_quotes(self):
        if not samples():
            self.skipTest(f"EE_TESTDATA is {os.environ.get('EE_TESTDATA', 'not set')}, no tdx/index.json there")
        compared = 0
        for given, quote, case, path in samples():
            with self.subTest(path):
                if given:
                    ours, _ = self.compare(given)
                    # Policies about TD attributes are the caller's; here everything that can be allowed is.
                    if case["strictness"] != "policy":
                        self.assertEqual(ours.ok, case["expect"] == "ok", ours.why)
                        self.assertEqual(ours.status, case["tcb_status"] if ours.ok else None)
                else:
                    other = next(given for given, *_ in samples() if given)
                    refused = strict(quote, other.collateral_json, other.root, other.time)
                    self.assertNotIn("quote_format", refused.why)
                    self.assertTrue(self.peer.parse(quote).ok)
                compared += 1
        print(f"{compared} sample quotes")

    def test_3_single_changes(self):
        rng = random.Random(SEED)
        originals = [given for given, *_ in samples() if given and self.ask(given)[0].ok]
        for shape in ("peer", "intel"):
            for version, body_type in ((4, 2), (5, 2), (5, 3)):
                sample = Sample(shape, f"{SEED}-{version}-{body_type}")
                sample.header["version"], sample.body_type = version, body_type
                originals.append(of_sample(f"{shape} version {version} type {body_type}", sample))
        failures = 0
        for given in mutants(rng, SEED, originals, COUNT):
            with self.subTest(given.name):
                try:
                    self.compare(given)
                except AssertionError:
                    failures += 1
                    if failures <= 20:
                        raise
        self.assertEqual(failures, 0, "inputs are judged otherwise, and no row says why; the first 20 stand above")

    @classmethod
    def tearDownClass(cls):
        agreed, known = sum(AGREED.values()), sum(map(len, EXPLAINED.values()))
        print(f"\ndcap-qvl {cls.peer.version}: {agreed + known} inputs, {agreed} judged alike ({AGREED['accepted']} accepted, {AGREED['refused']} refused), {known} otherwise:")
        for kind, names in sorted(EXPLAINED.items(), key=lambda item: -len(item[1])):
            print(f"  {len(names):5} {kind}")


def record():
    """For docs/peers.md. The first input of a kind is a case of cases.py."""
    version = re.search(r"^dcap-qvl==(\S+)", REQUIREMENT.read_text(), re.M).group(1)
    rows = {known.kind: dict(inputs=len(EXPLAINED[known.kind]), case=EXPLAINED[known.kind][0]) for known in KNOWN}
    kept = dict(date=dt.date.today().isoformat(), peer=f"dcap-qvl {version}", seed=SEED, count=COUNT, sample_quotes=len(samples()), **AGREED, otherwise=rows)
    RECORD.write_text(json.dumps(kept, indent=1) + "\n")
    print(f"kept in {RECORD.relative_to(ROOT)}; now: python3 tests/integration/test_docs.py --write")


def samples():
    folder = pathlib.Path(os.environ.get("EE_TESTDATA", ""))
    return sample_cases(folder) if os.environ.get("EE_TESTDATA") and (folder / "tdx/index.json").exists() else []


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--record", action="store_true")
    options, rest = parser.parse_known_args()
    must_be_built()
    missing = python_peer()
    if missing:
        print(f"the peer verifier cannot be installed into {PYTHON}: {missing}")
        sys.exit(77)
    SEED, COUNT, AGREED, EXPLAINED = seed(USUAL_SEED), options.count, collections.Counter(), {}
    result = unittest.main(argv=[sys.argv[0], *rest], verbosity=2, exit=False).result
    if options.record and result.wasSuccessful():
        record()
    sys.exit(not result.wasSuccessful())
