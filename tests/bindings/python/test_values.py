"""Values and errors: money by the shared vectors, the error table by status.def, options that are refused before anything is sent."""
import copy
import dataclasses
import datetime as dt
import decimal
import json
import os
import pickle
import re
import stat
import tempfile
import unittest
from decimal import Decimal
from unittest import mock

import support
from easyenclave import (
    AttestationError, BootEvent, Chunk, ConnectError, Error, InvalidAmountError, InvalidRequestError, JobFailed, LowBalanceError, Money, NoEligibleNodeError,
    OutcomeUnknownError, Policy, RateLimitError, StateError, errors, run_private_job, transfer_credits, verify_evidence, verify_quote)
from easyenclave import eesdk_raw as raw
from easyenclave import jobs, money, verify
from easyenclave._status import STATUS


class MoneyTest(unittest.TestCase):
    vectors = json.loads((support.VECTORS / "money/amounts.json").read_text())

    def test_amounts(self):
        self.assertGreater(len(self.vectors["cases"]), 60)
        for case in self.vectors["cases"]:
            with self.subTest(text=case["text"]):
                if case["micros"] is not None:
                    self.assertEqual(Money.parse(case["text"]), Money(case["micros"]))
                    continue
                with self.assertRaises(InvalidAmountError) as caught:
                    Money.parse(case["text"])
                self.assertEqual(caught.exception.code, case["word"])
                self.assertEqual(caught.exception.offset, case["offset"])

    def test_format(self):
        for case in self.vectors["format"]:
            self.assertEqual(str(Money(case["micros"])), case["text"])

    def test_nothing_after_a_nul_is_overlooked(self):
        with self.assertRaises(InvalidAmountError):
            Money.parse("$1\0000")

    def test_usd_is_exact(self):
        self.assertEqual(Money(1).usd, Decimal("0.000001"))
        with decimal.localcontext() as context:
            context.prec = 3
            self.assertEqual(str(Money(2**63 - 1).usd), "9223372036854.775807")
            self.assertEqual(str(Money(-1).usd), "-0.000001")
            self.assertEqual(money.amount_text(Decimal("9223372036854.775807")), "9223372036854.775807")
            self.assertEqual(jobs.size_bytes("m", "123456789B"), 123456789)

    def test_order_and_equality(self):
        self.assertLess(Money(1), Money(2))
        self.assertEqual(len({Money(5), Money(5)}), 1)

    def test_floats_and_ints_are_refused(self):
        for amount in (200, 200.0, True, None, b"$200", Decimal("NaN"), Decimal("Infinity")):
            with self.subTest(amount=amount), self.assertRaises(InvalidAmountError) as caught:
                transfer_credits(to="contractor-id", amount=amount)
            self.assertIsInstance(caught.exception, ValueError)

    def test_micros_are_whole(self):
        for micros in (1.0, True, "1", 2**63, -(2**63) - 1):
            with self.subTest(micros=micros), self.assertRaises(InvalidAmountError):
                Money(micros)

    def test_decimal_and_money_as_text(self):
        self.assertEqual(money.amount_text(Decimal("1E+2")), "100")
        self.assertEqual(money.amount_text(Decimal("0.000001")), "0.000001")
        self.assertEqual(money.amount_text(Money(200500000)), "$200.50")
        with self.assertRaises(InvalidAmountError):
            transfer_credits(to="x", amount=Decimal("0.0000001"))
        with self.assertRaises(InvalidAmountError):
            transfer_credits(to="x", amount=Decimal("-1"))


class ErrorTest(unittest.TestCase):
    def test_table_follows_status_def(self):
        rows = {}
        for line in (support.SOURCE / "sdk/include/eesdk/status.def").read_text().splitlines():
            match = re.match(r'EE_STATUS\(\w+, *(-?\d+), *"(\w+)", *(\d+), *"(\w*)", *"\w*", *(\d+), *(\d)', line)
            if match:
                rows[int(match[1])] = match
        self.assertEqual(set(rows), set(STATUS))
        for number, row in rows.items():
            if number == 0:
                continue
            kind = errors.CLASSES[number]
            self.assertEqual((kind.__name__, kind.code, kind.retryable), (row[4], row[2], row[6] == "1"))
            self.assertTrue(issubclass(kind, Error))
            self.assertIs(getattr(support.easyenclave, row[4]), kind)

    def test_library_says_the_same_words(self):
        for number, row in STATUS.items():
            self.assertEqual(support.easyenclave.eesdk_raw.ee_status_word(number), row.word)

    def test_builtin_bases(self):
        for kind, base in ((errors.JobTimeout, TimeoutError), (errors.CallTimeout, TimeoutError), (errors.ConnectError, ConnectionError),
                           (errors.OutcomeUnknownError, ConnectionError), (errors.InvalidRequestError, ValueError), (errors.OutOfMemoryError, MemoryError)):
            self.assertTrue(issubclass(kind, base), kind)

    def from_c(self, status, **fields):
        return errors.from_fields(support.raw_error(status, **fields).args)

    def test_low_balance_has_the_numbers(self):
        error = self.from_c(-9, message="too little", needed=400000, available=120000, locked=3000000, hint="buy", request_id="01JH")
        self.assertIsInstance(error, LowBalanceError)
        self.assertEqual((str(error.needed), str(error.available), str(error.locked)), ("$0.40", "$0.12", "$3.00"))
        self.assertEqual(str(error), "low_balance: too little\n  buy   (request 01JH)")

    def test_details(self):
        rejected = self.from_c(-11, details='{"rejected": {"node-a": "too small"}}')
        self.assertIsInstance(rejected, NoEligibleNodeError)
        self.assertEqual(rejected.rejected, {"node-a": "too small"})
        self.assertEqual(self.from_c(-12, details='{"check": "tcb_status"}').failed_check, "tcb_status")
        self.assertEqual(self.from_c(-11, details="{broken").details, {})

    def test_outcome_unknown_has_the_key(self):
        error = self.from_c(-22, key="tr_1")
        self.assertIsInstance(error, OutcomeUnknownError)
        self.assertIsInstance(error, ConnectError)
        self.assertEqual(error.idempotency_key, "tr_1")
        self.assertTrue(error.retryable)

    def test_rate_limit(self):
        error = self.from_c(-23, retry_after_ms=1500)
        self.assertIsInstance(error, RateLimitError)
        self.assertEqual(error.retry_after, 1.5)

    def test_unknown_number_is_an_internal_error(self):
        self.assertIsInstance(self.from_c(-999), errors.InternalError)

    def test_errors_survive_pickling_and_copying(self):
        error = self.from_c(-9, needed=1, request_id="x")
        for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            self.assertEqual((type(other), str(other), other.needed), (LowBalanceError, str(error), Money(1)))


class OptionTest(unittest.TestCase):
    """Refused although nothing is configured: the arguments are looked at first."""

    def refused(self, pattern, *args, **options):
        with support.no_settings(), self.assertRaisesRegex(InvalidRequestError, pattern):
            run_private_job(*args, **options)

    def test_image_and_command(self):
        self.refused("image is missing", "")
        self.refused("image must be text", None)
        self.refused("NUL", "a\0b")
        self.refused("Unicode", "a\ud800")
        self.refused("one piece of text", "a", "echo hello")
        self.refused(r"command\[1\] must be text", "a", ["echo", 1])
        self.refused("command is empty", "a", [])

    def test_environment(self):
        for name in ("A=B", "", "1A", "export A", "A ", "A-B", "A.B", "A\n", "\u00c4"):
            with self.subTest(name=name):
                self.refused("cannot be the name", "a", env={name: "c"})
        self.refused("env A must be text", "a", env={"A": 1})
        for env in ([("A", "b")], ["A=b"], "A=b", 1, (("A", "b"),)):
            with self.subTest(env=env):
                self.refused("env must be a mapping", "a", env=env)

    def test_a_wrong_value_is_not_shown(self):
        with support.no_settings(), self.assertRaises(InvalidRequestError) as caught:
            run_private_job("a", env={"A": "s3cret\0x"})
        self.assertNotIn("s3cret", str(caught.exception))

    def test_sizes(self):
        for memory in (512, None, "5 M"):
            self.refused("memory", "a", memory=memory)
        self.measures("sizes", "bytes", jobs.size_bytes)

    def test_timeouts(self):
        for timeout in ("", 0, -1, float("nan"), float("inf"), True, None, "10 m"):
            with self.subTest(timeout=timeout):
                self.refused("timeout", "a", timeout=timeout)
        self.assertEqual([jobs.milliseconds("t", t) for t in (2, 1.5, 0.0001)], [2000, 1500, 1])
        self.measures("durations", "ms", jobs.milliseconds)

    def measures(self, kind, unit, parse):
        """The texts that C and `ee` take, and no others."""
        for case in json.loads((support.VECTORS / "measures/measures.json").read_text())[kind]:
            with self.subTest(text=case["text"]):
                if case[unit] is not None:
                    self.assertEqual(parse("t", case["text"]), case[unit])
                    continue
                with self.assertRaises(InvalidRequestError) as caught:
                    parse("t", case["text"])
                self.assertTrue(caught.exception.message.startswith(f't: "{case["text"]}" '), caught.exception.message)
                self.assertTrue(caught.exception.hint)

    def test_others(self):
        for vcpus in (0, -1, True, "1", float("nan"), float("inf")):
            self.refused("vcpus", "a", vcpus=vcpus)
        self.refused("stdin", "a", stdin=3)
        self.refused("idempotency key is empty", "a", idempotency_key="")
        with support.no_settings(), self.assertRaises(InvalidAmountError):
            run_private_job("a", max_cost=1)
        with support.no_settings(), self.assertRaises(InvalidAmountError):
            run_private_job("a", max_cost="$1.0000001")


class PolicyTest(unittest.TestCase):
    def test_a_first_look_is_without_pins(self):
        first = Policy.production().unpinned()
        self.assertIn("allow_any_measurement = true", first.toml)
        self.assertEqual(first.with_(mrtd="00" * 48).unpinned(), first)
        self.assertNotEqual(first, Policy.production())

    def test_genesis_is_pinned(self):
        pinned = Policy.production().with_(genesis="5e" * 32)
        self.assertIn(f'genesis = "{"5e" * 32}"', pinned.toml)
        with self.assertRaises(InvalidRequestError):
            Policy.production().with_(genesis="5e")

    def test_production_is_strict_and_constant(self):
        policy = Policy.production()
        self.assertFalse(policy.simulated)
        self.assertEqual(policy, Policy.production())
        self.assertRegex(policy.hash, "^[0-9a-f]{64}$")

    def test_with_gives_a_copy(self):
        policy = Policy.production()
        pinned = policy.with_(image_digest="sha256:" + "0" * 64)
        self.assertNotEqual(policy, pinned)
        self.assertEqual(pinned, policy.with_(image_digest="0" * 64))
        for pins in ({"mrtd": "00"}, {"rtmrs": {9: "0" * 96}}, {"image_digest": "zz"}):
            with self.subTest(pins=pins), self.assertRaises(InvalidRequestError):
                policy.with_(**pins)

    def test_as_text_and_back(self):
        named = Policy.parse('[[profile]]\nname = "a \\"b\\" \\\\ é"\nmrtd = "' + "ab" * 48 + '"\n')
        for policy in (Policy.production(), named, named.with_(image_digest="0" * 64), named.with_(rtmrs={2: "0" * 96})):
            again = Policy.parse(policy.toml)
            self.assertEqual((again, again.toml), (policy, policy.toml))
        self.assertIn('name = "a \\"b\\" \\\\ é"', named.toml)

    def test_not_made_by_hand_nor_pickled(self):
        with self.assertRaises(TypeError):
            Policy()
        with self.assertRaisesRegex(TypeError, "cannot be pickled"):
            pickle.dumps(Policy.production())

    def test_bad_text_and_file(self):
        with self.assertRaises(Error):
            Policy.parse("no toml at all")
        with self.assertRaises(Error):
            Policy.load("/nowhere/policy.toml")

    def test_no_devnet(self):
        with support.no_settings(), self.assertRaisesRegex(errors.ConfigError, "ee devnet up"):
            Policy.devnet()

    def test_devnet_file_must_be_ours_alone(self):
        with support.no_settings() as folder:
            support.devnet_file(folder, 0o644)
            with self.assertRaisesRegex(errors.ConfigError, "0600"):
                Policy.devnet()


class VerifyTest(unittest.TestCase):
    def test_garbage_is_refused(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"{}")
            file.flush()
            with self.assertRaises(Error):
                verify_evidence(file.name)
        with self.assertRaises(Error):
            verify_quote(b"\0" * 1000, "{}")
        with self.assertRaisesRegex(InvalidRequestError, "64"):
            verify_quote(b"", "{}", report_data=b"short")
        with self.assertRaisesRegex(InvalidRequestError, "time zone"):
            verify_evidence("/nowhere", at=dt.datetime(2026, 1, 1))

    def test_boot_log_is_looked_at(self):
        with self.assertRaisesRegex(InvalidRequestError, "ccel is empty"):
            verify_quote(b"\4\0", b"{}", ccel=b"")
        for log, status in ((None, "skipped"), (b"no boot log", "fail")):
            with self.subTest(log=log), self.assertRaises(AttestationError) as refused:
                verify_quote(b"\4\0", b"{}", ccel=log)
            self.assertEqual([c.status for c in refused.exception.attestation.checks if c.name == "boot_log"], [status])
            self.assertEqual(refused.exception.attestation.boot_events, ())

    def test_boot_events_are_values(self):
        told = dict(support.VERDICT, boot_events=[
            {"rtmr": 2, "type": 6, "name": "EV_EVENT_TAG", "digest": "ab" * 48, "data": "6869"},
            {"rtmr": 0, "type": 153, "digest": "cd" * 48, "data": None}])
        with mock.patch.multiple(raw, ee_verdict_json=lambda v: json.dumps(told), ee_verdict_text=lambda v: "", ees_verdict_evidence=lambda v: b""):
            found = verify.attestation_of("verdict")
        self.assertEqual(found.boot_events, (BootEvent(2, 6, "EV_EVENT_TAG", "ab" * 48, b"hi"), BootEvent(0, 153, "", "cd" * 48, None)))
        self.assertNotIn("boot_events", found.quote)

    def test_hostile_sizes(self):
        for quote in (b"", b"\4\0", b"\xff" * 70000):
            with self.subTest(size=len(quote)), self.assertRaises(Error):
                verify_quote(quote, b"{}")


class ResultTest(unittest.TestCase):
    def result(self, **options):
        fake = support.FakeJob([(support.DONE,) + (0,) * 8], **options)
        with fake.patches():
            return support.easyenclave.Client().run_private_job("myapp:latest")

    def test_three_lines_for_people(self):
        shown = str(self.result(stdout=b"hello\n\x1b[31mred", exit_code=3))
        self.assertEqual(len(shown.splitlines()), 3)
        self.assertNotIn("\x1b", shown)
        self.assertIn("code 3", shown)
        self.assertIn("$0.000036 of $0.40", shown)

    def test_values_hold_no_pointers(self):
        result = self.result(stdout=b"\xffx")
        other = pickle.loads(pickle.dumps(result))
        self.assertEqual(other, result)
        self.assertEqual((other.stdout, other.stdout_bytes), ("\ufffdx", b"\xffx"))
        self.assertEqual(other.receipt.vcpu_seconds, Decimal("0.250"))
        self.assertNotIn("Swig", repr(result))
        with self.assertRaises(AttributeError):
            result.exit_code = 0

    def test_check(self):
        self.assertTrue(self.result().check().ok)
        failed = self.result(exit_code=7)
        with self.assertRaises(JobFailed) as caught:
            failed.check()
        self.assertIs(caught.exception.result, failed)

    def test_evidence_is_kept_and_exported(self):
        result = self.result()
        with tempfile.TemporaryDirectory() as folder:
            result.attestation.export(f"{folder}/evidence.json")
            with open(f"{folder}/evidence.json", "rb") as file:
                self.assertEqual(file.read(), b"{}\n")
        self.assertEqual(str(result.attestation), "a table")

    def test_evidence_goes_through_links_and_into_fifos(self):
        attestation = self.result().attestation
        with tempfile.TemporaryDirectory() as folder:
            kept, link, fifo = (os.path.join(folder, name) for name in ("kept", "link", "fifo"))
            os.symlink("kept", link)
            for _ in range(2):  # the link leads nowhere, then to a file
                attestation.export(link)
                self.assertTrue(os.path.islink(link))
                with open(kept, "rb") as file:
                    self.assertEqual(file.read(), b"{}\n")
            os.mkfifo(fifo)
            reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
            self.addCleanup(os.close, reader)
            attestation.export(fifo)
            self.assertEqual(os.read(reader, 100), b"{}\n")
            self.assertTrue(stat.S_ISFIFO(os.stat(fifo).st_mode))
            self.assertEqual(sorted(os.listdir(folder)), ["fifo", "kept", "link"])

    def test_no_evidence_says_so(self):
        attestation = dataclasses.replace(self.result().attestation, evidence=b"")
        with self.assertRaises(StateError):
            attestation.export("/tmp/never")

    def test_chunk_repr_is_short(self):
        self.assertNotIn("data=", repr(Chunk("stdout", b"x" * 100, "x", 1, dt.datetime.now(dt.timezone.utc))))


if __name__ == "__main__":
    unittest.main()
