#!/usr/bin/env python3
"""Bad input of every kind to `ee verify`, Python and Go: one sentence with a word of docs/errors.md, the check it is about, exit code 2 or 6, within
two seconds of the processor and 100 MiB; and nothing waits for ever for what never comes. What is good is in test_verify.py."""
# deadline: 600
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from devnet import BIN, ROOT, wait_for
from verifiers import Question, Verifiers, measured

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "peer"))
from verdicts import seed  # noqa: E402
from world import DAY, NOW, Sample, date  # noqa: E402

SECONDS, MIB = 2.0, 100
BOM = b"\xef\xbb\xbf"
WORDS = {line.split('"')[1] for line in (ROOT / "sdk/include/eesdk/status.def").read_text().splitlines() if line.startswith("EE_STATUS") and '"' in line}


def cut(good):
    """Truncated: nothing left, a byte, some, all but a byte."""
    return {f"the first {n} bytes": good[:n] for n in (0, 1, len(good) // 3, len(good) // 2, len(good) - 1)}


def junk(random_bytes):
    return {"1 MiB of x": b"x" * (1 << 20), "random": random_bytes, "NUL": bytes(1000), "not UTF-8": b"\xff\xfe\x80", "nested lists": b"[" * 200_000, "nested objects": b'{"a":' * 150_000,
            "BOM alone": BOM}


def spoiled(text):
    """A text with one thing wrong."""
    at = len(text) // 2
    return {"BOM": BOM + text, "NUL within": text[:at] + b"\0" + text[at:], "NUL at the end": text + b"\0", "not UTF-8 within": text[:at] + b"\xff" + text[at:], "UTF-16": text.decode().encode("utf-16")}


class Input(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.all = Verifiers()
        cls.addClassCleanup(cls.all.close)
        cls.seed = seed()
        built = Sample("intel", cls.seed).build()
        cls.good = Question(built.quote, built.collateral_json, built.root, (), NOW)
        cls.random = random.Random(cls.seed).randbytes(5000)
        cls.folder = cls.all.folder
        cls.files = {name: cls.file(name, data) for name, data in (("q", built.quote), ("c", built.collateral_json), ("r", built.root), ("p", cls.good.toml.encode()))}
        cls.evidence = str(cls.folder / "kept.json")
        answer = cls.all.command.run(*cls.all.command.arguments(cls.good), "--export", cls.evidence)
        assert answer.code == 0, answer
        cls.kept = pathlib.Path(cls.evidence).read_bytes()

    @classmethod
    def file(cls, name, data):
        path = cls.folder / f"{name}.input"
        path.write_bytes(data)
        return str(path)

    # ---- asking

    def words(self, **other):
        """The arguments for the good quote, with one of q, c, r, p, l (boot log) as another path."""
        path = {**self.files, **other}
        policy = ["--policy", path["p"]] if "p" in other else ["--root", path["r"]]
        policy += ["--ccel", path["l"]] if "l" in other else []
        return ["--quote", path["q"], "--collateral", path["c"], "--at", str(NOW), *policy]

    def sane(self, answer, code, word, check="", says="", typed=False):
        """One sentence, in time, in little memory. typed: it may show what was typed; in JSON that is escaped."""
        self.assertEqual((answer.code, answer.word, answer.check), (code, word, check), answer.message)
        self.assertIn(word, WORDS)
        self.assertEqual(answer.stderr.count("\n"), 1, answer.stderr)
        self.assertTrue(answer.message.strip() and (typed or answer.message.isprintable()), answer.message)
        self.assertIn(says, answer.message + answer.hint)
        self.assertLess(answer.seconds, SECONDS)
        self.assertLess(answer.rss_mib, MIB)

    def run_words(self, *words, **how):
        return self.all.command.run(*words, **how)

    def through_packages(self, answer, **question):
        for name, package in self.all.packages.items():
            other = package.tell(**question)
            self.assertEqual((other.word, other.check), (answer.word, answer.check), f"{name}: {other.message}")
            self.assertLess(other.seconds, SECONDS, name)
            self.assertLess(package.peak_mib(), MIB + 60, name)  # with the interpreter's own and the question itself

    # ---- what the bytes are

    def test_quotes(self):
        for name, quote in {**cut(self.good.quote), **junk(self.random), "BOM": BOM + self.good.quote, "text": self.good.quote.hex().encode(), "64 KiB and a byte": self.good.quote.ljust(65537, b"\0")}.items():
            with self.subTest(name):
                answer = self.run_words(*self.words(q=self.file("quote", quote)))
                self.sane(answer, 6, "attestation", "quote_format")
                q = Question(quote, self.good.collateral, self.good.root, (), NOW)
                for package in self.all.packages.values():
                    other = package.ask(q)
                    said = answer.message.replace("65537", str(len(quote)))  # the command reads no more than that of a file
                    self.assertEqual((other.word, other.check, other.message), (answer.word, answer.check, said))
                    self.assertLess(other.seconds, SECONDS)

    def collaterals(self):
        document = json.loads(self.good.collateral)
        text = json.dumps(document).encode()
        twice = text[:-1] + b', "tcb_info": "x"}'
        return {**cut(text), **junk(self.random), **spoiled(text), "a key twice": twice, "null": b"null", "a list": b"[" + text + b"]", "more behind": text + b"{}", "1 MiB and a byte": text.ljust((1 << 20) + 1),
                **{f"{key} is a number": json.dumps({**document, key: 7}).encode() for key in document}, **{f"{key} is missing": json.dumps({k: v for k, v in document.items() if k != key}).encode() for key in document},
                **{f"{key} is empty": json.dumps({**document, key: ""}).encode() for key in document if key not in ("tcb_info", "qe_identity")}, "hex with a blank": json.dumps({**document, "pck_crl": " " + document["pck_crl"]}).encode()}

    def test_collateral(self):
        for name, collateral in self.collaterals().items():
            with self.subTest(name):
                answer = self.run_words(*self.words(c=self.file("collateral", collateral)))
                self.sane(answer, 6, "attestation", "collateral_format")
                q = Question(self.good.quote, collateral, self.good.root, (), NOW)
                for package in self.all.packages.values():
                    other = package.ask(q)
                    self.assertEqual((other.word, other.check, other.message), (answer.word, answer.check, answer.message))
                    self.assertLess(other.seconds, SECONDS)

    def test_a_quote_is_judged_by_the_policy_that_is_in_use(self):
        """EE_POLICY, as for everything else; flags stand in its place, and without either any measurement is acceptable."""
        words = ["--quote", self.files["q"], "--collateral", self.files["c"], "--at", str(NOW)]
        root = self.good.root.hex()
        pinned = self.file("pinned.toml", f'anchor_der = "{root}"\nsimulated = true\n[[profile]]\nmrtd = "{"0" * 96}"\n'.encode())
        free = self.file("free.toml", f'anchor_der = "{root}"\nsimulated = true\nallow_any_measurement = true\n'.encode())
        for policy, flags, code, check in ((pinned, [], 6, "measurement"), (free, [], 0, ""), (pinned, ["--policy", free], 0, ""), (free, ["--policy", pinned], 6, "measurement"),
                                           (pinned, ["--root", self.files["r"]], 0, ""), ("production", ["--root", self.files["r"]], 0, ""), ("production", [], 6, "pck_chain"), ("", [], 6, "pck_chain")):
            with self.subTest(policy=policy, flags=flags):
                answer = self.run_words(*words, *flags, env={"EE_POLICY": policy})
                self.assertEqual((answer.code, answer.check), (code, check), answer.stderr)
        for words in (words, [self.file("e.json", b"{}")]):
            answer = self.run_words(*words, env={"EE_POLICY": "/nope"})
            self.assertEqual((answer.code, answer.word, answer.message), (2, "config", "EE_POLICY names /nope, which does not exist"))

    def test_no_collateral(self):
        for words in (["--quote", self.files["q"]], ["--quote", self.files["q"], "--collateral", "/dev/null"]):
            answer = self.run_words(*words)
            self.sane(answer, 6, "attestation", "collateral_format", says="there is no collateral")
            self.assertIn("--collateral FILE", answer.hint)
            self.assertEqual((answer.document["authentic"], len(answer.document["mrtd"])), (False, 96))

    def test_line_ends_do_not_matter_where_nothing_is_signed(self):
        document = json.loads(self.good.collateral)
        windows = json.dumps(document, indent=2).replace("\n", "\r\n").encode()
        chains = json.dumps({key: value.replace("\n", "\r\n") if key.endswith("_chain") else value for key, value in document.items()}).encode()
        for name, words in (("collateral", self.words(c=self.file("crlf-1", windows))), ("PEM", self.words(c=self.file("crlf-2", chains))),
                            ("policy", self.words(p=self.file("crlf-3", self.good.toml.replace("\n", "\r\n").encode())))):
            with self.subTest(name):
                answer = self.run_words(*words)
                self.assertEqual((answer.code, answer.word), (0, "ok"), answer.message)
        answer = self.run_words(self.file("crlf", self.kept.replace(b"\n", b"\r\n")), "--policy", self.files["p"])
        self.assertEqual((answer.code, answer.word), (0, "ok"), answer.message)

    def test_boot_logs(self):
        for name, log in {**cut(self.random), **junk(self.random), "1 MiB and a byte": bytes((1 << 20) + 1)}.items():
            with self.subTest(name):
                answer = self.run_words(*self.words(l=self.file("log", log)))
                self.sane(answer, 6, "attestation", "boot_log")

    def test_roots(self):
        pem = subprocess.run(["openssl", "x509", "-inform", "DER"], input=self.good.root, capture_output=True, check=True).stdout
        for name, root in {**cut(self.good.root), **junk(self.random), "BOM": BOM + self.good.root, "PEM": pem, "8 KiB and a byte": self.good.root.ljust(8193, b"\0"), "two": self.good.root * 2}.items():
            with self.subTest(name):
                answer = self.run_words(*self.words(r=self.file("root", root)))
                self.sane(answer, 2, "malformed", says="root.input")
                self.assertNotIn("anchor_der", answer.message)
                if name == "PEM":
                    self.assertIn("openssl x509 -in", answer.hint)

    def policies(self):
        text = self.good.toml.encode()
        return {**{name: data for name, data in cut(text).items() if not name.endswith(f" {len(text) - 1} bytes")}, **junk(self.random), **spoiled(text), "a key twice": text + b'anchor = "intel"\nanchor = "intel"\n',
                "an unknown key": text + b"mrdt = 1\n", "a pin that is short": text + b'[[profile]]\nmrtd = "00"\n', "1 MiB and a byte": text.ljust((1 << 20) + 1), "many tables": b"[a]\n" * 60_000, "JSON": b'{"anchor": "intel"}'}

    def test_policies(self):
        for name, policy in self.policies().items():
            with self.subTest(name):
                path = self.file("policy", policy)
                answer = self.run_words(*self.words(p=path))
                self.sane(answer, 2, answer.word, says="policy.input")
                self.assertIn(answer.word, ("config", "limit"))
                checked = measured([str(BIN / "ee"), "policy", "check", path], self.all.command.env)
                self.assertEqual((checked[0], checked[1]), (2, b""), checked[2])
                self.assertTrue(checked[2].startswith(f"ee: {answer.word}: ".encode()), checked[2])
                self.through_packages(answer, policyfile=path, quote="", collateral="")

    def evidences(self):
        text = self.kept
        document = json.loads(text)
        return {**cut(text.rstrip()), **junk(self.random), **spoiled(text), "a key twice": text.rstrip()[:-1] + b', "time": 1}', "4 MiB and a byte": text.ljust((4 << 20) + 1), "another kind": json.dumps({**document, "kind": "x"}).encode(),
                "another version": json.dumps({**document, "version": 2}).encode(), "one field changed": json.dumps({**document, "node": "x"}).encode(), "4 MiB of {}": b'{"a":[' + b",".join([b"{}"] * 1_390_000) + b"]}",
                "4 MiB of []": b'{"a":[' + b",".join([b"[]"] * 1_390_000) + b"]}", "4 MiB of keys": b"{" + b",".join(b'"%x":0' % i for i in range(380_000)) + b"}", "a quote of 3 MiB": json.dumps({**document, "quote": "A" * (3 << 20)}).encode(),
                **{f"{key} is missing": json.dumps({k: v for k, v in document.items() if k != key}).encode() for key in ("version", "kind", "time", "quote", "expected", "collateral", "sha256")}}

    def test_evidence_files(self):
        for name, evidence in self.evidences().items():
            with self.subTest(name):
                path = self.file("evidence", evidence)
                answer = self.run_words(path, "--offline", "--policy", self.files["p"])
                self.sane(answer, 6, "attestation", "evidence_file")
                self.through_packages(answer, evidence=path, policy=self.good.toml)

    # ---- what is typed

    def test_times(self):
        for text in ("", "0", "-1", "1.5", "1e9", "99999999999999999999999", "1099511627776", " 1790000000", "1790000000 ", "0x10", "soon", "now", "2026-01-31", "2026-01-31T13:04:11", "2026-01-31T13:04:11+02:00", "2026-1-1T0:0:0Z",
                     "2026-02-31T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T23:59:60Z", "1969-12-31T23:59:59Z", " 2026-01-31T13:04:11Z", "2026-01-31T13:04:11Z\n", "٢٠٢٦", "9" * 100_000):
            with self.subTest(text[:40]):
                words = ["--quote", self.files["q"], "--collateral", self.files["c"], f"--at={text}"]
                answer = self.run_words(*words)
                self.sane(answer, 2, "invalid", says="--at", typed=True)
                plain = measured([str(BIN / "ee"), "verify", *words], self.all.command.env)
                self.assertEqual((plain[0], plain[2].count(b"\n")), (2, 2), plain[2])  # the sentence and the next step

    def test_report_data(self):
        good = "00" * 64
        for text in ("", "0", good[1:], good + "0", good + "00", good[:-1] + "g", "0x" + good[2:], " " + good[1:], good.replace("0", "٠"), "z" * 100_000):
            with self.subTest(text[:40]):
                answer = self.run_words(*self.words(), f"--report-data={text}")
                self.sane(answer, 2, "invalid", says="--report-data", typed=True)

    def test_statuses(self):
        for text in ("", "uptodate", "Revoked", "UpToDate ", "UpToDate,OutOfDate", "x\"]\nanchor = \"intel", "\n", "A" * 100_000):
            with self.subTest(text[:40]):
                answer = self.run_words(*self.words(), f"--accept-tcb={text}")
                self.sane(answer, 2, "invalid", says="--accept-tcb", typed=True)

    def test_what_is_typed_need_not_be_text(self):
        """An error is a whole document all the same, and so is one that was cut within a character."""
        for words in ([b"verify", b"--quote", b"x\xff"], [b"verify", b"./x\xff"], [b"verify", b"x\xff"], [b"verify", b"--at=\xff", b"--quote", b"x"], [b"verify", b"--at", b"x" * 59 + "é".encode(), b"--quote", b"x"], [b"policy", b"check", b"\xc3"],
                      [b"nonsense\xff"], [b"curl", b"x\xff/"]):
            with self.subTest(words):
                code, _, err, *_ = measured([str(BIN / "ee"), "--json", *words], self.all.command.env)
                error = json.loads(err)["error"]
                self.assertIn((code, error["code"]), ((2, "invalid"), (2, "not_found")))
                self.assertTrue(error["message"])

    def test_flags_that_do_not_go_together(self):
        q, c, p, e = self.files["q"], self.files["c"], self.files["p"], self.evidence
        for words in ((), ("a", "b"), ("--quote",), ("--quote", q, "app"), ("--collateral", c), ("app", "--collateral", c), ("app", "--report-data", "00" * 64), ("app", "--at", "1"), ("app", "--ccel", c), ("app", "--pccs", "intel"), ("--quote", q, "--pccs", "intel", "--collateral", c), ("--quote", q, "--ccel", "-", "--collateral", "-"), ("app", "--offline"), ("--quote", q, "--strict"),
                      (e, "--strict"), (e, "--export", "x"), ("--quote", q, "--policy", p, "--root", "intel"), ("--quote", q, "--policy", p, "--accept-tcb", "OutOfDate"), ("--quote", "-", "--collateral", "-"),
                      ("--quote", q, "--collateral", c, "--root", "-", "--quote=-"), ("control", "--strict"), ("--quote", q, "--nonsense"), ("--quote", q, *(["--accept-tcb", "OutOfDate"] * 9)), ("x" * 64,), ("bad name",), ("app/",), ("node/x y",)):
            with self.subTest(words):
                self.sane(self.run_words(*words), 2, "invalid")

    def test_a_refusal_has_the_last_word(self):
        """Where --export has nothing to keep, or nowhere to keep it."""
        kept, nowhere = str(self.folder / "exported.json"), str(self.folder / "nowhere/exported.json")
        refused = ["--quote", self.files["q"], "--collateral", self.files["c"], "--at", str(NOW)]
        for words, code, word, written in ((self.words() + ["--export", kept], 0, "ok", True), (refused + ["--export", kept], 6, "attestation", True), (refused + ["--export", nowhere], 6, "attestation", False), (["--quote", self.files["q"], "--export", kept], 6, "attestation", False),
                                           (self.words() + ["--export", nowhere], 1, "io", False)):
            with self.subTest(words):
                pathlib.Path(kept).unlink(missing_ok=True)
                answer = self.run_words(*words)
                self.assertEqual((answer.code, answer.word, os.path.exists(kept)), (code, word, written), answer.message)
                self.assertLessEqual(answer.stderr.count("\n"), 1)
                self.assertEqual(answer.verdict["verified"], code != 6)
                plain = measured([str(BIN / "ee"), "verify", *words], self.all.command.env)
                self.assertEqual(plain[0], code)
                self.assertEqual(plain[2].count(b"ee: "), (word != "ok") + (code == 6 and not written), plain[2])

    # ---- what the files are

    def paths(self):
        """Path of something that is no file to read: the word for it, and what is said."""
        missing, folder, odd = self.folder / "missing", self.folder / "folder", self.folder / "socket"
        folder.mkdir(exist_ok=True)
        if not odd.exists():
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(odd))
        return {str(missing): ("not_found", "missing"), str(folder): ("folder", "Is a directory"), str(folder / "x"): ("not_found", "x"), self.files["q"] + "/x": ("not_found", "x"), str(odd): ("folder", "No such device"),
                "x" * 5000: ("folder", "File name too long"), "/proc/self/mem": ("folder", "Input/output error")}

    def test_paths(self):
        for path, (word, says) in self.paths().items():
            for kind, option in (("q", "--quote"), ("c", "--collateral"), ("l", "--ccel"), ("r", "--root"), ("p", "")):
                with self.subTest(f"{kind} {path[:60]}"):
                    answer = self.run_words(*self.words(**{kind: path}))
                    self.sane(answer, 2, {"folder": "io" if kind == "p" else "invalid"}.get(word, word), says=says)
                    self.assertIn(option, answer.message)
                    if kind == "p":
                        self.through_packages(answer, policyfile=path, quote="", collateral="")
            with self.subTest(f"evidence {path[:60]}"):
                name = path if "/" in path else "./" + path
                answer = self.run_words(name, "--policy", "production")
                self.assertIn(answer.word, ("not_found", "io", "invalid"))
                self.sane(answer, 2, answer.word, says=says)

    def test_unreadable(self):
        """By a user who may not."""
        if os.geteuid():
            self.skipTest("only root can be somebody else")
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            path = pathlib.Path(folder) / "secret.json"
            path.write_bytes(self.kept)
            path.chmod(0o600)
            for words in (["--quote", str(path)], ["--quote", "/dev/null", "--collateral", str(path)], ["--quote", "/dev/null", "--root", str(path)], ["--quote", "/dev/null", "--policy", str(path)], [str(path), "--policy", "production"]):
                with self.subTest(words):
                    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", str(BIN / "ee"), "--json", "verify", *words], env=self.all.command.env, capture_output=True, text=True, timeout=20)
                    self.assertEqual(done.returncode, 2, done.stderr)
                    self.assertIn("Permission denied", json.loads(done.stderr)["error"]["message"])

    def test_endless(self):
        """What never stops coming is read up to the limit of its kind."""
        for kind, code, word, check in (("q", 6, "attestation", "quote_format"), ("c", 6, "attestation", "collateral_format"), ("l", 6, "attestation", "boot_log"), ("r", 2, "malformed", ""), ("p", 2, "limit", "")):
            with self.subTest(kind):
                self.sane(self.run_words(*self.words(**{kind: "/dev/zero"})), code, word, check)
        self.sane(self.run_words("/dev/zero", "--policy", "production"), 6, "attestation", "evidence_file")
        for words, check in ((["--quote", "-"], "quote_format"), (["--quote", self.files["q"], "--collateral", "-"], "collateral_format"), (["-"], "evidence_file")):
            with self.subTest(words):
                yes = subprocess.Popen(["yes"], stdout=subprocess.PIPE)
                self.addCleanup(yes.wait)
                answer = self.run_words(*words, stdin=yes.stdout)
                yes.stdout.close()
                if check == "quote_format":  # without collateral that is the first that is missing
                    self.assertIn("quote_format", answer.failed())
                    check = "collateral_format"
                self.sane(answer, 6, "attestation", check)

    def test_standard_input(self):
        """`-` is it, for each input; what comes in pieces is whole."""
        for words, data in ((["--quote", "-", "--collateral", self.files["c"], "--root", self.files["r"], "--at", str(NOW)], self.good.quote),
                            (["--quote", self.files["q"], "--collateral", "-", "--root", self.files["r"], "--at", str(NOW)], self.good.collateral),
                            (["--quote", self.files["q"], "--collateral", self.files["c"], "--root", "-", "--at", str(NOW)], self.good.root), (["-", "--policy", self.files["p"]], self.kept)):
            with self.subTest(words):
                answer = self.run_words(*words, text=data)
                self.assertEqual((answer.code, answer.word), (0, "ok"), answer.message)

    # ---- what never comes

    def fifo(self, name):
        path = self.folder / name
        if not path.exists():
            os.mkfifo(path)
        return str(path)

    def waiting(self, path):
        """Each command that reads this path."""
        return {**{kind: ["verify", *self.words(**{kind: path})] for kind in "qclrp"}, "evidence": ["verify", path, "--policy", "production"], "check": ["policy", "check", path]}

    def test_a_pipe_that_nobody_writes_to(self):
        path = self.fifo("nobody")
        for kind, words in self.waiting(path).items():
            with self.subTest(kind):
                code, out, err, *_ = measured([str(BIN / "ee"), "--json", *words], self.all.command.env)
                error = json.loads(err)["error"]
                self.assertEqual((code, error["code"], out), (2, "timeout", b""), error)
                self.assertIn("nobody writes to", error["message"])
                self.assertIn(path, error["message"])
                self.assertNotIn("30", error["message"].replace(path, ""), "it is not the one that is silent")
        for name, package in self.all.packages.items():
            answer = package.tell(policyfile=path, quote="", collateral="")
            self.assertEqual(answer.word, "timeout", name)
        self.assertEqual(self.all.python.tell(evidence=path, policy=self.good.toml).word, "timeout")

    def test_ctrl_c_ends_the_waiting(self):
        """For a writer that is there and silent; the first one is enough."""
        for kind, words in self.waiting(self.fifo("silent")).items():
            with self.subTest(kind):
                path = self.fifo("silent")
                keeper = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # holds it open on both sides
                self.addCleanup(os.close, keeper)
                process = subprocess.Popen([str(BIN / "ee"), *words], env=self.all.command.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                links = pathlib.Path(f"/proc/{process.pid}/fd")
                wait_for("it has the pipe open", lambda: path in [os.readlink(link) for link in links.iterdir() if link.is_symlink()])
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=10)
                self.assertEqual((process.returncode, out), (130, ""), err)

    def test_a_silent_pipe_is_told_and_ends(self):
        """All at once: each of them takes its half minute."""
        path = self.fifo("silent")
        keeper = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.addCleanup(os.close, keeper)
        started = time.monotonic()
        running = {kind: subprocess.Popen([str(BIN / "ee"), *words], env=self.all.command.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for kind, words in self.waiting(path).items()}
        reader, writer = os.pipe()
        running["stdin"] = subprocess.Popen([str(BIN / "ee"), "verify", "--quote", "-"], env=self.all.command.env, stdin=reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        os.close(reader)
        self.addCleanup(os.close, writer)
        for kind, process in running.items():
            with self.subTest(kind):
                out, err = process.communicate(timeout=60)
                self.assertEqual((process.returncode, out), (2, ""), err)
                self.assertIn("ee: timeout: ", err)
                self.assertIn("did not end within 30", err)
                if kind in ("q", "c", "l", "r", "stdin"):
                    self.assertIn("waiting for --", err)
        self.assertGreater(time.monotonic() - started, 25)

    def test_a_slow_writer_is_waited_for(self):
        path = self.fifo("slow")
        process = subprocess.Popen([str(BIN / "ee"), "verify", *self.words(q=path)], env=self.all.command.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with open(path, "wb", buffering=0) as file:
            file.write(self.good.quote[:100])
            self.assertIn("waiting for --quote", process.stderr.readline())
            file.write(self.good.quote[100:])
        out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 0, err)
        self.assertIn("quote signature", out)

    # ---- signed by somebody

    def test_very_much_collateral_of_somebody(self):
        """Signed under a root of its maker's, so that all of it is read: a failed check like any other, with files and with evidence."""
        levels = [dict(tcb=dict(isvsvn=n), tcbDate="2024-01-01T00:00:00Z", tcbStatus="UpToDate", advisoryIDs=["a"] * 64) for n in range(255, -1, -1)]
        for document in ("tcb_info", "qe_identity"):
            sample = Sample("intel", self.seed)
            if document == "tcb_info":
                modules = sample.tcb_info["tdxModuleIdentities"]
                sample.tcb_info["tdxModuleIdentities"] = [dict(modules[0], id=f"TDX_{number:02X}", tcbLevels=levels) for number in range(1, 8)]
            else:
                sample.qe_identity["tcbLevels"] = levels
            built = sample.build()
            with self.subTest(document):
                q = Question(built.quote, json.dumps(built.collateral).encode(), built.root, (), NOW)
                answer = self.all.command.ask(q)
                self.sane(answer, 6, "attestation", f"{document}_signature", says="over 2048 items together")
                for package in self.all.packages.values():
                    other = package.ask(q)
                    self.assertEqual((other.word, other.check, other.message), (answer.word, answer.check, answer.message))
                    self.assertLess(other.seconds, SECONDS)
                intel = self.all.command.ask(Question(self.good.quote, q.collateral, b"", (), NOW))
                self.sane(intel, 6, "attestation", "pck_chain")
                path = self.file("evidence", json.dumps({**json.loads(self.kept), "collateral": built.collateral}).encode())
                kept = self.run_words(path, "--offline", "--policy", self.files["p"])
                self.sane(kept, 6, "attestation", "evidence_file")
                self.assertIn(f"{document}_signature", kept.failed())
                self.through_packages(kept, evidence=path, policy=self.good.toml)

    # ---- expired, and forged

    def test_expired_is_told_apart_from_forged(self):
        """Each dated thing past its time is "expired" and names the clock; the same with a bit changed is not."""
        def late(edit):
            sample = Sample("intel", self.seed)
            edit(sample)
            built = sample.build()
            return Question(built.quote, built.collateral_json, built.root, (), NOW)

        def pck(sample):
            sample.certs["pck"].not_after = NOW - DAY

        cases = {"tcb_info": lambda s: s.tcb_info.update(nextUpdate=date(NOW - DAY)), "qe_identity": lambda s: s.qe_identity.update(nextUpdate=date(NOW - DAY)), "pck": pck,
                 **{f"{name} CRL": lambda s, name=name: setattr(s.crls[name], "next_update", NOW - DAY) for name in Sample("intel", self.seed).crls}}
        for name, edit in cases.items():
            with self.subTest(name):
                question = late(edit)
                answer = self.all.command.ask(question)
                self.sane(answer, 6, "attestation", "validity")
                *_, explain, reason = answer.row("validity")
                self.assertEqual(reason, "expired")
                self.assertIn("clock", explain + answer.hint)
                document = json.loads(question.collateral)
                signature = document["tcb_info_signature"]
                document["tcb_info_signature"] = ("0" if signature[0] != "0" else "1") + signature[1:]
                forged = self.all.command.ask(Question(question.quote, json.dumps(document).encode(), question.root, (), NOW))
                self.sane(forged, 6, "attestation", "tcb_info_signature")
                self.assertEqual(forged.row("tcb_info_signature")[-1], "attestation")
                self.assertNotIn("clock", forged.message + forged.hint)


if __name__ == "__main__":
    unittest.main(verbosity=2)
