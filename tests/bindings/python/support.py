"""What the Python tests share: an environment with no settings in it, a key, a server that never answers, a job without a network."""
import contextlib
import json
import os
import pathlib
import signal
import socket
import sys
import tempfile
import threading
import time
from unittest import mock

SOURCE = pathlib.Path(os.environ.get("EE_SOURCE_DIR") or pathlib.Path(__file__).resolve().parents[3])
BUILD = pathlib.Path(os.environ.get("EE_BUILD_DIR") or SOURCE / "build")
VECTORS = SOURCE / "tests/vectors"

try:
    import easyenclave
except ImportError as missing:
    print(f"the Python binding is not built: {missing}")
    sys.exit(77)

NETWORK_ID = "ab" * 32


@contextlib.contextmanager
def no_settings(**variables):
    """Nothing is configured: no EE_*, and HOME and the XDG folders are new and empty. Gives the folder."""
    with tempfile.TemporaryDirectory(prefix="ee-") as folder:
        os.chmod(folder, 0o700)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("EE_")}
        kept.update(HOME=folder, XDG_CONFIG_HOME=f"{folder}/config", XDG_RUNTIME_DIR=f"{folder}/runtime", **variables)
        with mock.patch.dict(os.environ, kept, clear=True):
            yield pathlib.Path(folder)


@contextlib.contextmanager
def silent_server():
    """https://127.0.0.1:port where connections are taken and nothing is ever said. Gives the address."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    taken = []

    def accept():
        while True:
            try:
                taken.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for one in taken:
            one.close()


@contextlib.contextmanager
def interrupt_after(seconds):
    """Ctrl-C for this process. Gives a list that will hold the moment."""
    moment = []

    def strike():
        moment.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(seconds, strike)
    timer.start()
    try:
        yield moment
    finally:
        timer.cancel()
        timer.join()


def devnet_file(folder, mode=0o600, **changes):
    """A devnet's file as `ee devnet up` writes it."""
    runtime = folder / "runtime"
    (runtime / "easyenclave").mkdir(parents=True)
    os.chmod(runtime, 0o700)
    os.chmod(runtime / "easyenclave", 0o700)
    path = runtime / "easyenclave/devnet.json"
    told = {"version": 1, "pid": os.getpid(), "url": "https://127.0.0.1:1", "network": "devnet", "network_id": NETWORK_ID, "account": "dev",
            "api_key": easyenclave.generate_api_key(), "policy": "", "registry": "127.0.0.1:5000", **changes}
    path.write_text(json.dumps(told))
    os.chmod(path, mode)
    return path


VERDICT = {
    "verified": True, "simulated": True, "node": "node-a", "tcb_status": "UpToDate", "advisory_ids": [], "mrtd": "00" * 48,
    "checks": [{"name": "quote_signature", "status": "pass", "expected": "", "actual": "", "explain": "ok"}],
    "verified_at": "2026-01-31T13:00:00Z", "policy_hash": "cd" * 32,
}


def micros(n):
    return {"usd": f"{n / 1e6:.6f}", "micros": n}


RECEIPT = {"id": "r1", "job_id": "job_1", "node": "node-a", "period": "2026-01-31T13:00:00Z", "vcpu_seconds": "0.250", "price_per_vcpu_hour": micros(40000), "locked": micros(400000),
           "charged": micros(36), "refunded": micros(399964), "status": "locked", "signed": "AAAA"}

PROGRESS, OUTPUT, DONE = 1, 2, 3


def output(stream, seq, data):
    return (OUTPUT, stream, seq, 1769864400000 + seq, data, "", 0, 0, "")


def progress(phase, done=0, total=0):
    return (PROGRESS, 0, 0, 0, b"", phase, done, total, "")


def raw_error(status, message="told so", kept=None, **fields):
    names = ("http", "native", "retry_after_ms", "retryable", "offset", "needed", "available", "locked")
    numbers = [fields.get(name, 0) for name in names]
    texts = [fields.get(name, "") for name in ("hint", "request_id", "key", "details")]
    return easyenclave.eesdk_raw.RawError(status, *numbers, message, *texts, fields.get("refusal", 0), kept)


class FakeJob:
    """Takes the place of C for one job: `events` are given in order; an exception among them is raised; None waits for the slice's end."""

    def __init__(self, events, exit_code=0, reason="exited", stdout=b"", stderr=b"", failure=None):
        self.events, self.exit_code, self.reason, self.stdout, self.stderr, self.failure = list(events), exit_code, reason, stdout, stderr, failure
        self.calls = []
        self.spec = self.policy = None

    def patches(self):
        raw = easyenclave.eesdk_raw
        answers = {
            "ees_client_new": lambda *a: "client", "ee_client_free": lambda p: None,
            "ees_job_spec_new": self._spec, "ees_job_spec_free": lambda p: self.calls.append("spec_free"),
            "ees_job_start": self._start, "ee_job_free": lambda p: self.calls.append("job_free"), "ee_job_id": lambda p: "job_1",
            "ees_job_next": self._next, "ees_job_result": self._result, "ees_job_cancel": lambda p, ms: self.calls.append(f"cancel {ms}"),
            "ee_result_job_id": lambda p: "job_1", "ee_result_exit_code": lambda p: self.exit_code, "ee_result_reason": lambda p: self.reason,
            "ee_result_output": lambda p, stream: self.stdout if stream == 1 else self.stderr, "ee_result_truncated": lambda p: 0,
            "ee_result_image_digest": lambda p: "sha256:" + "0" * 64, "ee_result_node": lambda p: "node-a", "ee_result_cost": lambda p: 36,
            "ee_result_locked": lambda p: 400000, "ee_result_receipt_json": lambda p: json.dumps(RECEIPT),
            "ee_result_attestation": lambda p: "verdict", "ee_result_free": lambda p: self.calls.append("result_free"),
            "ee_verdict_json": lambda p: json.dumps(VERDICT), "ee_verdict_text": lambda p: "a table", "ees_verdict_evidence": lambda p: b"{}\n",
        }
        stack = contextlib.ExitStack()
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(raw, name, answer))
        return stack

    def _spec(self, *arguments):
        self.spec = arguments
        return "spec"

    def _start(self, client, spec, policy, cancel):
        self.calls.append("start")
        self.policy = policy
        return "job"

    def _next(self, job, timeout_ms, cancel):
        event = self.events[0] if self.events else None
        if event is None:
            time.sleep(timeout_ms / 1000)
            raise raw_error(-19, "nothing came")
        self.events.pop(0)
        if isinstance(event, BaseException):
            raise event
        return event

    def _result(self, job):
        if self.failure is not None:
            raise self.failure
        return "result"
