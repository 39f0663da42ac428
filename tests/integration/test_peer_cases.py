#!/usr/bin/env python3
"""The cases of other verifiers' test suites, made anew under fresh keys: through ee-verify-case, whose relaxed profile exists for them, and
in hardware's shape through the library as it is. What is tried and why it ends so stands in tests/peer/cases.py."""
# deadline: 600
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "peer"))
from cases import CASES, STRICT, crl_of, library_cases  # noqa: E402
from verdicts import BUILD, Relaxed, must_be_built, seed, strict  # noqa: E402
from world import DAY, Sample, date  # noqa: E402

must_be_built()
SEED = seed()


def word(ok):
    return "ok" if ok else "no"


class PeerCases(unittest.TestCase):
    def judge(self, case, expected, verdict, error=""):
        self.assertEqual(word(verdict.ok), expected, f"{case.name}: {case.why}: {verdict.status or verdict.why}")
        if error:
            self.assertIn(error, verdict.why, f"{case.name} is refused for something else")
        if verdict.ok and case.status:
            self.assertEqual(verdict.status, case.status, case.name)

    def relaxed(self, *program):
        relaxed = Relaxed(*program)
        self.addCleanup(relaxed.close)
        return relaxed

    def through(self, program):
        relaxed = self.relaxed(program)
        for case in CASES:
            with self.subTest(case.name):
                sample = Sample("peer", SEED)
                case.edit(sample)
                built = sample.build()
                self.judge(case, case.ours, relaxed.verify(built.quote, built.collateral_json, built.root, sample.time), case.error)
        return len(CASES)

    def test_the_suites_cases(self):
        count = self.through(BUILD / "tests/ee-verify-case")
        good = sum(case.ours == "ok" for case in CASES)
        self.assertGreater(count, 120)
        print(f"{count} cases, {good} of them good; the peer's expectation is another in {sum(c.ours != c.peer for c in CASES)}")

    def test_the_suites_cases_with_sanitizers(self):
        program = BUILD / "dev/tests/ee-verify-case"
        if not program.exists():
            self.skipTest(f"{program} is not there (./dev test builds it)")
        self.through(program)

    def test_the_same_through_the_library(self):
        count = 0
        for case, expected in library_cases():
            with self.subTest(case.name):
                sample = Sample("intel", SEED)
                case.edit(sample)
                built = sample.build()
                verdict = strict(built.quote, built.collateral_json, built.root, sample.time)
                self.judge(case, expected, verdict, case.error if case in STRICT else "")
                count += 1
        print(f"{count} cases in hardware's shape")

    def test_the_library_does_not_know_the_relaxed_profile(self):
        sample = Sample("peer", SEED)
        for outer_type, error in ((5, "must be 6"), (6, "PCK chain has 2 certificates, must have 3")):
            sample.outer_type = outer_type
            built = sample.build()
            verdict = strict(built.quote, built.collateral_json, built.root, sample.time)
            self.assertFalse(verdict.ok)
            self.assertIn(error, verdict.why)

    def test_crls_by_a_forged_ca_in_hardwares_shape(self):
        """The relaxed profile knows no roles; who signed a CRL it asks all the same."""
        relaxed = self.relaxed()
        for forged in (False, True):
            sample = Sample("intel", SEED)
            sample.crls["pck"].revoked = [0x2004]
            if forged:
                crl_of("forged", "Test SGX PCK Platform CA", 0x2002, signer="forged")(sample)
            built = sample.build()
            verdict = relaxed.verify(built.quote, built.collateral_json, built.root, sample.time)
            self.assertFalse(verdict.ok, verdict.status)
            self.assertIn("does not verify" if forged else "Revoked", verdict.why)

    def test_where_the_peer_differs_the_table_says_why(self):
        for case in [*CASES, *STRICT]:
            self.assertTrue(case.why, case.name)
            if case.ours != case.peer:
                self.assertRegex(case.why, r"peer|ours|^as ", case.name)
        names = [case.name for case in [*CASES, *STRICT]]
        self.assertEqual(len(names), len(set(names)))

    def test_without_a_time_the_clock_counts(self):
        relaxed = self.relaxed()
        now = int(time.time())
        sample = Sample("peer", SEED)
        for certificate in sample.certs.values():
            certificate.not_before, certificate.not_after = now - DAY, now + DAY
        for crl in sample.crls.values():
            crl.this_update, crl.next_update = now - DAY, now + DAY
        for document in (sample.tcb_info, sample.qe_identity):
            document.update(issueDate=date(now - DAY), nextUpdate=date(now + DAY))
        built = sample.build()
        relaxed.write(built.quote, built.collateral_json, built.root)
        self.assertEqual(relaxed.run("verify", *relaxed.paths).returncode, 0)
        self.assertEqual(relaxed.run("verify", *relaxed.paths, "--time", str(now + 2 * DAY)).returncode, 1)

    def test_the_program_is_used_wrongly(self):
        relaxed = self.relaxed()
        built = Sample("peer", SEED).build()
        relaxed.write(built.quote, built.collateral_json, built.root)
        quote, collateral, root = relaxed.paths
        for arguments in ((), ("verify",), ("check", *relaxed.paths), ("verify", quote, collateral), ("verify", *relaxed.paths, "more"), ("verify", *relaxed.paths, "--time"),
                          ("verify", *relaxed.paths, "--time", "soon"), ("verify", *relaxed.paths, "--time", "0"), ("verify", *relaxed.paths, "--time", ""),
                          *(("verify", *relaxed.paths, "--time", text) for text in ("-5", "+5", " 5", "5 ", "0x5", "5.0", "18446744073709551616", "99999999999999999999")),
                          ("verify", quote + "x", collateral, root), ("verify", quote, "/nowhere", root), ("verify", quote, collateral, "/nowhere")):
            with self.subTest(arguments):
                done = relaxed.run(*arguments)
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
                self.assertTrue(done.stderr.strip())


if __name__ == "__main__":
    unittest.main(verbosity=2)
