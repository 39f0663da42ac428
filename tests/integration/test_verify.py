#!/usr/bin/env python3
"""The cases of EE_TESTDATA/tdx, and those of the peers' suites in hardware's shape, through `ee verify` as a process, Python and Go: each ends as
its table says, and the three say the same, field by field. What bad input and a live network do is in test_verify_input.py and
test_verify_network.py."""
# deadline: 600
import dataclasses
import hashlib
import json
import os
import pathlib
import sys
import unittest

from verifiers import STATUSES, Question, Verifiers, differences

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "peer"))
from cases import library_cases  # noqa: E402
from verdicts import seed  # noqa: E402
from world import BODY, DAY, NOW, Sample  # noqa: E402

DATA = pathlib.Path(os.environ.get("EE_TESTDATA") or "/nonexistent") / "tdx"
# Of case.json: what is not said of the quote.
ABOUT_THE_CASE = {"name", "source", "root_ca", "now", "mode", "expect", "expect_from", "error_class", "tcb_status", "advisory_ids", "note", "strictness", "oracles", "js_oracle_agrees"}
OF_THE_PLATFORM = {"fmspc", "pceid", "pcesvn", "cpusvn", "ppid"}  # of the PCK certificate
ANYTHING = STATUSES[1:]
INTEL = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"  # SHA-256 of Intel's root


NOT_BY_FLAGS = ("attributes_pks", "attributes_kl")  # a policy.toml may allow them; what the flags stand for does not


class Case:
    def __init__(self, path):
        folder = DATA / path
        self.path, self.told = path, json.loads((folder / "case.json").read_text())
        files = {name: (folder / name).read_bytes() if (folder / name).exists() else b"" for name in ("quote.bin", "collateral.json", "root_ca.der")}
        self.question = Question(files["quote.bin"], files["collateral.json"], files["root_ca.der"], ANYTHING, self.told["now"] or 0)
        self.verify, self.good = self.told["mode"] == "verify", self.told["expect"] == "ok"

    def fields(self):
        return {name: value for name, value in self.told.items() if name not in ABOUT_THE_CASE}


class TestCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.all = Verifiers()
        cls.addClassCleanup(cls.all.close)

    def agreed(self, question, answers=None):
        """The answer of the command line, once Python and Go have given the same."""
        answers = answers or self.all.ask(question)
        self.assertEqual(differences(answers), [])
        cli = answers["cli"]
        self.assertEqual(cli.code, {"ok": 0, "attestation": 6}[cli.word], cli.stderr)
        self.assertEqual(cli.verdict["verified"], cli.word == "ok")
        self.assertEqual(bool(cli.failed()), cli.word != "ok")
        for row in cli.document["checks"]:
            self.assertEqual(row["passed"], {"pass": True, "fail": False, "skipped": None}[row["status"]], row)
            self.assertEqual(bool(row["reason"]), row["status"] == "fail", row)
            self.assertTrue(row["title"] and row["explain"], row)
        return cli


class Samples(TestCase):
    @classmethod
    def setUpClass(cls):
        if not (DATA / "index.json").exists():
            raise unittest.SkipTest(f"EE_TESTDATA is {os.environ.get('EE_TESTDATA', 'not set')}, and has no tdx/index.json: all sample quotes (hardware and synthetic) left out")
        super().setUpClass()
        cls.cases = [Case(row["path"]) for row in json.loads((DATA / "index.json").read_text())["vectors"]]

    def test_every_case_ends_as_it_says(self):
        for case in self.cases:
            with self.subTest(case.path):
                cli = self.agreed(case.question)
                if not case.verify:
                    self.assertEqual(cli.word, "attestation", "without collateral nothing is verified")
                    self.assertEqual((cli.document["authentic"], "mrtd" in cli.document), (False, case.good))
                    continue
                self.assertEqual(cli.word, "ok" if case.good else "attestation", cli.message)
                if case.good:
                    self.assertEqual(cli.verdict["tcb_status"], case.told["tcb_status"])
                    self.assertEqual(cli.verdict["advisory_ids"], case.told["advisory_ids"])
                self.assertEqual(cli.verdict["simulated"], bool(case.question.root) and hashlib.sha256(case.question.root).hexdigest() != INTEL)
                self.assertEqual(cli.verdict["verified_at"], case.question.now)
        print(f"{len(self.cases)} sample quotes, {sum(case.verify and case.good for case in self.cases)} of them good")

    def test_what_the_quote_says_is_told_in_hex(self):
        compared = 0
        for case in self.cases:
            with self.subTest(case.path):
                document = self.all.command.ask(case.question).document
                if "mrtd" not in document:  # it cannot be read at all
                    self.assertIn(case.told["error_class"], ("parse", "not_tdx", "unsupported_tee", "unsupported_vendor", "cert_data_type"))
                    self.assertEqual(next(row["name"] for row in document["checks"] if row["status"] == "fail"), "quote_format")
                    continue
                for name, value in case.fields().items():
                    self.assertEqual(document[name], value, name)
                    compared += 1
        print(f"{compared} fields")

    def test_only_up_to_date_is_accepted_unasked(self):
        for case in self.cases:
            if not (case.verify and case.good):
                continue
            with self.subTest(case.path):
                status, q = case.told["tcb_status"], case.question
                cli = self.agreed(Question(q.quote, q.collateral, q.root, (), q.now))
                self.assertEqual((cli.word, cli.failed()), ("ok", []) if status == "UpToDate" else ("attestation", ["tcb_status"]))
                self.assertEqual(cli.verdict["tcb_status"], status)
                others = tuple(word for word in ANYTHING if word != status)
                cli = self.agreed(Question(q.quote, q.collateral, q.root, others, q.now))
                self.assertEqual(cli.word, "ok" if status == "UpToDate" else "attestation")

    def test_another_root_than_the_case_s_is_refused(self):
        own = next(case.question.root for case in self.cases if case.question.root and case.good)
        for case in self.cases:
            if not (case.verify and case.good):
                continue
            with self.subTest(case.path):
                q = case.question
                cli = self.agreed(Question(q.quote, q.collateral, b"" if q.root else own, q.accept, q.now))
                self.assertEqual((cli.word, cli.check), ("attestation", "pck_chain"))
                self.assertFalse(cli.document["authentic"])

    def test_expired_is_told_apart_from_forged(self):
        """The clock is the likely cause of the one; the other is nobody's clock."""
        late = {"pck_crl_time", "tcb_info_time", "pck_chain_time"}
        for case in self.cases:
            if not case.verify or case.good:
                continue
            with self.subTest(case.path):
                cli = self.agreed(case.question)
                *_, reason = cli.row(cli.check)
                if case.told["error_class"] in late and case.path.startswith("negative/v4b0c0-now"):
                    self.assertEqual((cli.check, reason), ("validity", "expired"))
                    self.assertIn("clock", cli.message + cli.hint)
                else:
                    self.assertNotEqual(reason, "expired", cli.message)

    def test_report_data_is_compared(self):
        for case in self.cases:
            if not (case.verify and case.good):
                continue
            with self.subTest(case.path):
                q, carried = case.question, bytes.fromhex(case.told["report_data"])
                for bound, word in ((carried, "ok"), (bytes([carried[0] ^ 1]) + carried[1:], "attestation"), (carried[:63] + bytes([carried[63] ^ 0x80]), "attestation")):
                    cli = self.agreed(Question(q.quote, q.collateral, q.root, q.accept, q.now, bound))
                    self.assertEqual((cli.word, cli.failed()), (word, [] if word == "ok" else ["report_data"]))


class Made(TestCase):
    """Under fresh keys, so that nothing rests on the samples above."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seed = seed()

    def question(self, edit=None, accept=ANYTHING, **more):
        sample = Sample("intel", self.seed)
        if edit:
            edit(sample)
        built = sample.build()
        return Question(built.quote, built.collateral_json, built.root, accept, more.pop("now", sample.time), **more), sample

    def test_the_suites_cases(self):
        count = 0
        for case, expected in library_cases():
            with self.subTest(case.name):
                question, _ = self.question(case.edit)
                question = dataclasses.replace(question, quote=question.quote[:65537])  # the command reads no more of a file
                answers = self.all.ask(question)
                if answers["cli"].verdict is None:  # it is the root that cannot be used
                    self.assertEqual((answers["cli"].word, answers["cli"].code), ("malformed", 2))
                    self.assertEqual([answers[name].word for name in ("python", "go")], ["config"] * 2)
                    self.assertEqual(expected, "no")
                    continue
                cli = self.agreed(question, answers)
                if case.name in NOT_BY_FLAGS:
                    self.assertEqual(cli.failed(), ["td_attributes"])
                    continue
                self.assertEqual(cli.word, "ok" if expected == "ok" else "attestation", f"{case.why}: {cli.message}")
                count += 1
        print(f"{count} cases")
        self.assertGreater(count, 100)

    def test_the_fields_of_a_new_quote(self):
        question, sample = self.question()
        document = self.agreed(question).document
        for name, _ in BODY:
            self.assertEqual(document[name], sample.body[name].hex(), name)
        sgx = sample.certs["pck"].sgx
        self.assertEqual(document["fmspc"], sgx["fmspc"].hex())
        self.assertEqual(document["ppid"], sgx["ppid"].hex())
        self.assertEqual(document["machine_id"], sgx["platform"].hex())
        self.assertEqual(document["pcesvn"], sgx["pcesvn"])

    def test_a_time_outside_is_expired_and_names_the_clock(self):
        for name, now in (("ten years early", NOW - 3650 * DAY), ("ten years late", NOW + 3650 * DAY)):
            with self.subTest(name):
                question, _ = self.question(now=now)
                cli = self.agreed(question)
                *_, reason = cli.row("validity")
                self.assertEqual((cli.check, reason), ("validity", "expired"))
                self.assertIn("clock", cli.message + cli.hint)


if __name__ == "__main__":
    unittest.main(verbosity=2)
