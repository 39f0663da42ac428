"""verdicts.py - asks verifiers about a sample: ours in the relaxed profile (ee-verify-case, a process), ours in the strict profile (the
library, in this process), and the peer (the Python package dcap-qvl). Called by tests/integration/test_peer_*.py."""
import base64
import dataclasses
import datetime as dt
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
from typing import Optional

ROOT = pathlib.Path(os.environ.get("EE_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("EE_BUILD_DIR", ROOT / "build"))
VERIFY_CASE = BUILD / "tests/ee-verify-case"
ACCEPTABLE = ["UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded",
              "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    ok: bool
    status: Optional[str]  # of the accepted
    why: str  # of the refused


def must_be_built():
    """Ends the program where what is asked is not built: every case would fail for that, and say something else. By hand as under ./dev test."""
    sys.path.append(str(BUILD / "python"))
    wanted = [VERIFY_CASE, BUILD / "python/easyenclave/__init__.py"]
    missing = [str(path) for path in wanted if not path.exists()]
    if missing:
        sys.exit(f"not there: {', '.join(missing)}: run ./dev build (or set EE_BUILD_DIR to where it was built)")


def seed(usual=None):
    """Of this run: the one of EE_CASE_SEED, else the usual one, else a fresh one. Printed, so that a failure can be had again."""
    value = os.environ.get("EE_CASE_SEED") or usual or str(random.SystemRandom().randrange(10**9))
    print(f"seed {value} (again: EE_CASE_SEED={value})", flush=True)
    return value


class Relaxed:
    """A folder for the files of one ee-verify-case at a time."""

    def __init__(self, program=VERIFY_CASE):
        self.program = program
        self.folder = tempfile.TemporaryDirectory(prefix="ee-case-")
        self.paths = [os.path.join(self.folder.name, name) for name in ("quote.bin", "collateral.json", "root.der")]

    def close(self):
        self.folder.cleanup()

    def run(self, *arguments):
        return subprocess.run([str(self.program), *arguments], capture_output=True, text=True, timeout=60)

    def write(self, quote, collateral_json, root):
        for path, data in zip(self.paths, (quote, collateral_json, root)):
            with open(path, "wb") as file:
                file.write(data)

    def verify(self, quote, collateral_json, root, unix_s):
        self.write(quote, collateral_json, root)
        done = self.run("verify", *self.paths, "--time", str(unix_s))
        if done.returncode not in (0, 1):
            raise AssertionError(f"exit code {done.returncode}: {done.stdout}{done.stderr}")
        status = next((line[8:] for line in done.stdout.splitlines() if line.startswith("status: ")), None)
        return Verdict(done.returncode == 0, status, done.stderr.strip())


def strict_policy(root):
    """Any measurement and every status, under this root. None: Intel's."""
    import easyenclave

    anchor = "anchor_der = \"" + base64.urlsafe_b64encode(root).decode().rstrip("=") + "\"\nsimulated = true\n" if root else ""
    words = ", ".join(f'"{word}"' for word in ACCEPTABLE)
    return easyenclave.Policy.parse(f'{anchor}allow_any_measurement = true\nrequire_sealed = false\ntd_attributes_allow = ["pks", "kl"]\ntcb_status = [{words}]\n')


def strict(quote, collateral_json, root, unix_s):
    import easyenclave

    try:
        attestation = easyenclave.verify_quote(quote, collateral_json, strict_policy(root), now=dt.datetime.fromtimestamp(unix_s, dt.timezone.utc))
    except easyenclave.Error as refused:
        return Verdict(False, None, str(refused))
    return Verdict(True, attestation.tcb_status, "")


class Peer:
    """dcap-qvl, as installed in a folder. It runs in a process of its own, which is started again when a panic ends it."""

    def __init__(self, folder):
        self.folder, self.process = str(folder), None
        self.start()

    def start(self):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([sys.executable, str(ROOT / "tests/peer/dcap_qvl_server.py"), self.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        text=True)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the peer does not start: " + self.last_words())
        self.version = json.loads(line)

    def last_words(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace").strip()

    def close(self):
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass  # what a panic left unread
        self.process.wait(10)
        self.log.close()

    def ask(self, what, quote, collateral_json=b"", root=b"", unix_s=0):
        parts = {name: base64.b64encode(data or b"").decode() for name, data in (("quote", quote), ("collateral", collateral_json), ("root", root))}
        line = ""
        try:
            self.process.stdin.write(json.dumps(dict(parts, what=what, time=unix_s)) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            pass
        if line:
            return Verdict(**json.loads(line))
        words = self.last_words()
        self.close()
        self.start()
        return Verdict(False, None, "ended by a panic: " + " / ".join(words.splitlines()[:2]))

    def parse(self, quote):
        return self.ask("parse", quote)

    def verify(self, quote, collateral_json, root, unix_s):
        return self.ask("verify", quote, collateral_json, root, unix_s)
