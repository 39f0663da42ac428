"""verifiers.py - one question to the three verifiers that people have: `ee verify` as a process, the Python package and the Go package. Not a
test itself. A Question is files and what is asked of them; an Answer is a stable word, and the verdict where there was something to judge.

callers/verify.py and callers/verify.go read a question a line and write an answer a line, both JSON:
    {"policy": TOML or "", "policyfile": PATH, "quote": BASE64, "collateral": BASE64, "report_data": BASE64, "evidence": PATH, "now": UNIX or 0}
    {"word", "message", "hint", "check", "seconds", "verdict": null or {"verified", ..., "checks": [[name, status, expected, actual, explain, reason]],
     "quote": what the quote says}}"""
import atexit
import base64
import dataclasses
import datetime as dt
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Optional, Tuple

from devnet import BIN, environment, go_build

SOURCES = pathlib.Path(__file__).resolve().parent / "callers"
STATUSES = ("UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded", "TDRelaunchAdvised",
            "TDRelaunchAdvisedConfigurationNeeded")
ABOUT = ("verified", "simulated", "node", "tcb_status", "advisory_ids", "checks", "verified_at", "policy_hash", "boot_events", "authentic")


@dataclasses.dataclass(frozen=True)
class Question:
    quote: bytes = b""
    collateral: bytes = b""
    root: bytes = b""  # none: Intel's
    accept: Tuple[str, ...] = ()
    now: int = 0
    report_data: bytes = b""

    @property
    def toml(self):
        """The policy that the flags of `ee verify` stand for."""
        anchor = f'simulated = true\nanchor_der = "{self.root.hex()}"\n' if self.root else ""
        words = ", ".join(f'"{word}"' for word in ("UpToDate", *self.accept))
        return f"{anchor}allow_any_measurement = true\ntcb_status = [{words}]\n"


@dataclasses.dataclass
class Answer:
    word: str
    message: str = ""
    hint: str = ""
    check: str = ""  # the first that failed
    verdict: Optional[dict] = None
    seconds: float = 0.0  # of the processor
    code: int = 0  # of the process
    rss_mib: float = 0.0
    stderr: str = ""
    document: Optional[dict] = None  # of the command line, as it came

    def failed(self):
        return [name for name, status, *_ in self.verdict["checks"] if status == "fail"] if self.verdict else []

    def row(self, check):
        """(expected, actual, explain, reason)"""
        return next(tuple(rest) for name, _, *rest in self.verdict["checks"] if name == check)


# Starts a program and writes its peak and its processor time to a descriptor. Small, for the kernel counts what the parent has at the fork as the child's.
LAUNCHER = """
import os, sys
_, peak, *argv = sys.argv
pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, int(peak))])
_, status, usage = os.wait4(pid, 0)
os.write(int(peak), b"%d %f" % (usage.ru_maxrss, usage.ru_utime + usage.ru_stime))
os._exit(os.waitstatus_to_exitcode(status))
"""


def measured(argv, env, stdin=subprocess.DEVNULL, timeout=20.0, text=b""):
    """(exit code, stdout, stderr, processor seconds, peak MiB). On a loaded machine the wall's clock says nothing but that it ends."""
    with tempfile.TemporaryFile() as peak:
        process = subprocess.Popen([sys.executable, "-I", "-S", "-c", LAUNCHER, str(peak.fileno()), *argv], env=env, stdin=subprocess.PIPE if text else stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   pass_fds=[peak.fileno()], start_new_session=True)
        try:
            out, err = process.communicate(text or None, timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        peak.seek(0)
        kib, seconds = peak.read().split()
        return process.returncode, out, err, float(seconds), int(kib) / 1024


class Command:
    """`ee --json verify`, a process a question."""

    def __init__(self, folder):
        self.folder, self.env = folder, environment(folder)

    def file(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def arguments(self, q):
        words = ["--quote", self.file("quote.bin", q.quote)]
        if q.collateral:
            words += ["--collateral", self.file("collateral.json", q.collateral)]
        words += ["--root", self.file("root.der", q.root) if q.root else "intel"]
        for status in q.accept:
            words += ["--accept-tcb", status]
        if q.now:
            words += ["--at", str(q.now)]
        return words + (["--report-data", q.report_data.hex()] if q.report_data else [])

    def ask(self, q):
        return self.run(*self.arguments(q))

    def run(self, *words, env=None, **how):
        """`ee --json verify WORDS`; its one document, or its error, or both."""
        code, out, err, seconds, rss = measured([str(BIN / "ee"), "--json", "verify", *words], {**self.env, **(env or {})}, **how)
        answer = Answer("ok", seconds=seconds, code=code, rss_mib=rss, stderr=err.decode())
        if out:
            answer.document = json.loads(out)
            answer.verdict = self.verdict(answer.document)
            rows = [row for row in answer.verdict["checks"] if row[1] == "fail"]
            answer.check = rows[0][0] if rows else ""
        if err:
            error = json.loads(err)["error"]
            answer.word, answer.message, answer.hint = error["code"], error["message"], error["hint"]
            answer.check = error["details"].get("check", answer.check)
        return answer

    @staticmethod
    def verdict(d):
        rows = [[c[key] for key in ("name", "status", "expected", "actual", "explain", "reason")] for c in d["checks"]]
        told = {name: d[name] for name in ("verified", "simulated", "tcb_status", "advisory_ids", "policy_hash")}
        at = dt.datetime.fromisoformat(d["verified_at"].replace("Z", "+00:00"))
        return {**told, "node": d["node"] or "", "verified_at": int(at.timestamp()), "checks": rows, "quote": {k: v for k, v in d.items() if k not in ABOUT} if d["authentic"] else {}}


class Package:
    """One process for many questions, one a line."""

    def __init__(self, argv, env):
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        code = self.process.wait(20)
        if code:
            raise AssertionError(f"{self.process.args}: exit code {code}")

    def peak_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024

    def tell(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"{self.process.args} ended: {question}")
        return Answer(**json.loads(line))

    def ask(self, q):
        encoded = {name: base64.b64encode(value).decode() for name, value in (("quote", q.quote), ("collateral", q.collateral), ("report_data", q.report_data)) if value or name != "report_data"}
        return self.tell(policy=q.toml, now=q.now, **encoded)


@functools.lru_cache(maxsize=None)
def go_program():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ee-verifier-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(go_build(folder, "verifier", (SOURCES / "verify.go").read_text(), environment(folder)))


class Verifiers:
    """All three, and a folder for the files of one question."""

    def __init__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="ee-verify-")
        self.folder = pathlib.Path(self.scratch.name)
        self.command = Command(self.folder)
        self.python = Package(["python3", str(SOURCES / "verify.py")], self.command.env)
        self.go = Package([go_program()], self.command.env)
        self.packages = {"python": self.python, "go": self.go}

    def close(self):
        for package in self.packages.values():
            package.close()
        self.scratch.cleanup()

    def ask(self, q):
        """By name, the answers of all three."""
        return {"cli": self.command.ask(q), **{name: package.ask(q) for name, package in self.packages.items()}}


def differences(answers):
    """Where Python or Go say another thing than the command line, field by field."""
    cli = answers["cli"]
    found = []
    for name in ("python", "go"):
        other = answers[name]
        found += [f"{name}: {field}: {getattr(other, field)!r}, not {getattr(cli, field)!r}" for field in ("word", "message", "check") if getattr(other, field) != getattr(cli, field)]
        if (other.verdict is None) != (cli.verdict is None):
            found.append(f"{name}: verdict {other.verdict}, not {cli.verdict}")
        elif cli.verdict:
            found += [f"{name}: {key}: {other.verdict.get(key)!r}, not {value!r}" for key, value in cli.verdict.items() if other.verdict.get(key) != value]
    return found
