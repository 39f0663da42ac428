"""Private jobs: what is asked for, the running job, its result. Started by client.py."""
from __future__ import annotations

import codecs
import datetime as dt
import json
import math
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Callable, Dict, Final, Iterator, List, Literal, Mapping, NoReturn, Optional, Sequence, Type, Union

from . import _calls, errors
from . import eesdk_raw as raw
from ._calls import milliseconds
from .money import Amount, Money, amount_text
from .verify import Attestation, Policy, attestation_of, parse_time

StreamName = Literal["stdout", "stderr"]
PHASES: Final = ("quoting", "placing", "attesting", "pulling", "starting", "running", "settling")
_STREAMS: Final[Mapping[int, StreamName]] = {1: "stdout", 2: "stderr"}
_PROGRESS, _OUTPUT, _DONE = 1, 2, 3
_TIMEOUT, _END = -19, -31  # of status.def: the wait was over; the job has ended
_DROP_GRACE_MS: Final = 2000
_PREVIEW: Final = 60


@dataclass(frozen=True)
class Chunk:
    """A piece of output."""

    stream: StreamName
    data: bytes = field(repr=False)
    """As written."""
    text: str
    """As UTF-8; a character that is cut in two by the chunk's end comes whole with the next chunk."""
    seq: int
    """One sequence over both streams, from 1, with no gaps."""
    time: dt.datetime


@dataclass(frozen=True)
class Progress:
    """How far a job is. Phases come in the order of PHASES; some may be left out."""

    phase: str
    done: int = 0
    total: Optional[int] = None
    message: str = ""


@dataclass(frozen=True)
class Receipt:
    """What a job was charged, signed by the attested machine that ran it; checked before you see it."""

    id: str
    job_id: str
    period: str
    node: str
    vcpu_seconds: Decimal
    """Metered: time by the vcpus reserved. charged = vcpu_seconds / 3600 * price_per_vcpu_hour, rounded down to a millionth of a dollar."""
    price_per_vcpu_hour: Money
    locked: Money
    charged: Money
    refunded: Money
    status: str
    signed: str = field(repr=False)
    """The signed bytes, base64url."""


@dataclass(frozen=True)
class JobResult:
    """What a job came to. A non-zero exit code is a result; check() makes it an error."""

    job_id: str
    exit_code: int
    """128 + n when signal n ended it."""
    reason: str
    """exited, out_of_memory, timed_out, cancelled."""
    stdout: str = field(repr=False)
    """UTF-8, with a replacement for what is none; the exact bytes are in stdout_bytes."""
    stderr: str = field(repr=False)
    stdout_bytes: bytes = field(repr=False)
    stderr_bytes: bytes = field(repr=False)
    truncated: bool
    """There was more output than output_limit keeps."""
    image_digest: str
    """What actually ran, whatever the tag said."""
    node: str
    cost: Money
    locked: Money
    receipt: Receipt = field(repr=False)
    attestation: Attestation = field(repr=False)

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    def check(self) -> JobResult:
        """Itself when the exit code is 0; else raises JobFailed, which has it as `result`."""
        if self.exit_code == 0:
            return self
        error = errors.JobFailed(f"job {self.job_id} ended with exit code {self.exit_code}", hint="both streams are in .result")
        error._result = self
        raise error

    def __str__(self) -> str:
        verified = "attested" if self.attestation.verified else "not attested"
        simulated = " (simulated)" if self.attestation.simulated else ""
        cut = ", truncated" if self.truncated else ""
        return (
            f"job {self.job_id} {self.reason} with code {self.exit_code} on {self.node}, {verified}{simulated}\n"
            f"stdout {len(self.stdout_bytes)} bytes {_preview(self.stdout)}, stderr {len(self.stderr_bytes)} bytes {_preview(self.stderr)}{cut}\n"
            f"cost {self.cost} of {self.locked} locked, image {self.image_digest}"
        )


@dataclass(frozen=True)
class PriceQuote:
    """What a job may cost on the node with the lowest effective price. Nothing is locked by asking."""

    node: str
    tier: str
    price_per_vcpu_hour: Money
    effective: Money
    """The price with the node's trust taken into account; nodes are ordered by it."""
    ceiling: Money
    """What would be locked; the job cannot cost more."""
    trust: float
    rejected: Mapping[str, str]
    """Node -> why it cannot take the job."""


def _preview(text: str) -> str:
    """Output comes from others: shown with its control characters escaped."""
    return ascii(text[:_PREVIEW]) + ("..." if len(text) > _PREVIEW else "")


# ---- what is asked for ----------------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
def size_bytes(name: str, value: str) -> int:
    """ "512M", "2G", "1.5GiB"; K, M, G, T are powers of 1024."""
    if not isinstance(value, str):
        raise errors.InvalidRequestError(f'{name} is {value!r}; write it as text with its unit, like "512M" or "2G"')
    return _calls.measure(raw.ees_size_parse, name, value)


def cpus(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise errors.InvalidRequestError(f"vcpus is {value!r}; it must be a number above zero")
    return float(value)


def strings(name: str, values: Optional[Sequence[str]]) -> List[str]:
    if values is None:
        return []
    if isinstance(values, (str, bytes)):
        raise errors.InvalidRequestError(f'{name} is one piece of text; give a list, like ["sh", "-c", "..."]')
    found = [_calls.text_of(f"{name}[{i}]", value) for i, value in enumerate(values)]
    if not found:
        raise errors.InvalidRequestError(f"{name} is empty; leave it out for the image's own")
    return found


def idempotency(key: Optional[str]) -> str:
    if key is None:
        return ""
    if not _calls.text_of("the idempotency key", key):
        raise errors.InvalidRequestError("the idempotency key is empty; leave it out and one is made")
    return key


def _environment(env: Optional[Mapping[str, str]]) -> List[str]:
    found = []
    if env is not None and not isinstance(env, Mapping):
        raise errors.InvalidRequestError(f'env must be a mapping like {{"NAME": "value"}}, not {type(env).__name__}')
    for name, value in (env or {}).items():
        _calls.text_of("the name of an env variable", name)
        if not _NAME.fullmatch(name):
            raise errors.InvalidRequestError(f"{name!r} cannot be the name of an env variable", hint="letters, digits and _, not a digit first")
        found.append(f"{name}={_calls.text_of(f'env {name}', value)}")  # the message has the name, never the value
    return found


def job_spec(
    image: str,
    command: Optional[Sequence[str]],
    env: Optional[Mapping[str, str]],
    stdin: Union[bytes, str, None],
    vcpus: float,
    memory: str,
    timeout: Union[float, str],
    output_limit: str,
    max_cost: Optional[Amount],
    node: Optional[str],
    idempotency_key: Optional[str],
) -> _calls.Handle:
    """All that can be checked without a network, checked; ready for C."""
    if not _calls.text_of("image", image):
        raise errors.InvalidRequestError("the image is missing")
    if stdin is not None and not isinstance(stdin, (bytes, bytearray, memoryview, str)):
        raise errors.InvalidRequestError(f"stdin must be bytes or text, not {type(stdin).__name__}")
    cap = "" if max_cost is None else amount_text(max_cost)
    if max_cost is not None:
        _calls.parse_money(cap)
    pointer = _calls.plain(
        raw.ees_job_spec_new,
        image,
        _calls.block_of(strings("command", command)),
        _calls.block_of(_environment(env)),
        stdin.encode() if isinstance(stdin, str) else stdin or b"",
        cpus(vcpus),
        size_bytes("memory", memory),
        milliseconds("timeout", timeout),
        size_bytes("output_limit", output_limit),
        cap,
        _calls.text_of("node", node or ""),
        idempotency(idempotency_key),
    )
    return _calls.Handle(pointer, raw.ees_job_spec_free, "job's spec")


def read_quote(text: str) -> PriceQuote:
    told = json.loads(text)
    rejected = {str(k): str(v) for k, v in (told.get("rejected") or {}).items()}
    if not told.get("items"):
        why = "; ".join(f"{name}: {reason}" for name, reason in rejected.items()) or "there are no nodes"
        raise errors.NoEligibleNodeError(f"no node can take this: {why}", hint="ask for less", details={"rejected": rejected})
    best = told["items"][0]
    return PriceQuote(
        node=best["node"],
        tier=best["tier"],
        price_per_vcpu_hour=money_of(best["price_per_vcpu_hour"]),
        effective=money_of(best["effective"]),
        ceiling=money_of(best["ceiling"]),
        trust=int(best.get("trust_ppm", 0)) / 1_000_000,
        rejected=rejected,
    )


def money_of(value: Mapping[str, Any]) -> Money:
    """{"usd": "0.40", "micros": 400000}; micros is text when it is too large for JSON's numbers."""
    return Money(int(value["micros"]))


# ---- result ---------------------------------------------------------------------------------------------------------------------------


def _result_of(result: raw.Result) -> JobResult:
    receipt = json.loads(raw.ee_result_receipt_json(result))
    out, err = raw.ee_result_output(result, 1), raw.ee_result_output(result, 2)
    return JobResult(
        job_id=raw.ee_result_job_id(result),
        exit_code=raw.ee_result_exit_code(result),
        reason=raw.ee_result_reason(result),
        stdout=out.decode("utf-8", "replace"),
        stderr=err.decode("utf-8", "replace"),
        stdout_bytes=out,
        stderr_bytes=err,
        truncated=bool(raw.ee_result_truncated(result)),
        image_digest=raw.ee_result_image_digest(result),
        node=raw.ee_result_node(result),
        cost=Money(raw.ee_result_cost(result)),
        locked=Money(raw.ee_result_locked(result)),
        receipt=Receipt(
            id=receipt["id"],
            job_id=receipt["job_id"],
            period=receipt["period"],
            node=receipt["node"],
            vcpu_seconds=Decimal(receipt["vcpu_seconds"]),
            price_per_vcpu_hour=money_of(receipt["price_per_vcpu_hour"]),
            locked=money_of(receipt["locked"]),
            charged=money_of(receipt["charged"]),
            refunded=money_of(receipt["refunded"]),
            status=receipt["status"],
            signed=receipt["signed"],
        ),
        attestation=attestation_of(raw.ee_result_attestation(result)),
    )


# ---- the running job ------------------------------------------------------------------------------------------------------------------


class Job:
    """A started job. `with` cancels it when the block ends early; one that is only forgotten goes on, for as long as the process does.
    stream() and wait() take from the same flow: what one saw, the other does not."""

    def __init__(
        self,
        handle: _calls.Handle,
        image: str,
        env_names: Sequence[str],
        on_progress: Optional[Callable[[Progress], None]],
        cancel: _calls.Cancel,
    ) -> None:
        self._handle = handle
        self._cancel = cancel
        self._on_progress = on_progress
        self._turn = threading.Lock()  # one thread at a time takes events
        self._decoders: Dict[StreamName, codecs.IncrementalDecoder] = {}
        self._result: Optional[JobResult] = None
        self._error: Optional[errors.Error] = None
        self._ended = False
        self.id: str = _calls.plain(raw.ee_job_id, handle)
        self.image = image
        self.env_names = tuple(env_names)

    @property
    def state(self) -> Literal["running", "ended"]:
        return "ended" if self._ended else "running"

    def stream(self) -> Iterator[Chunk]:
        """Output as it comes, until the job ends; then wait() has the result. Raises JobLost and the like."""
        while True:
            event = self._next(None)
            if isinstance(event, Chunk):
                yield event
            elif event is None:
                if self._error is not None and self._result is None:
                    raise self._error.with_traceback(None)
                return
            elif self._on_progress is not None:
                self._on_progress(event)

    def wait(self, timeout: Optional[float] = None) -> JobResult:
        """The result. CallTimeout when `timeout` seconds pass before; the job goes on then. JobTimeout and CancelledError carry what came so far."""
        deadline = None if timeout is None else time.monotonic() + max(0.0, timeout)
        while True:
            event = self._next(deadline)
            if event is None:
                return self._outcome()
            if isinstance(event, Progress) and self._on_progress is not None:
                self._on_progress(event)

    def cancel(self, *, grace: float = 10.0) -> None:
        """Ask the job to end: TERM now, KILL after `grace` seconds. Any thread. wait() then gives CancelledError with what came so far."""
        _calls.plain(raw.ees_job_cancel, self._handle, 0 if grace <= 0 else milliseconds("grace", grace))

    def close(self) -> None:
        """Let go of the job; cancels it unless it ended. Done by `with`. May be called again."""
        if self._handle.closed:
            return
        if not self._ended:
            try:
                _calls.plain(raw.ees_job_cancel, self._handle, _DROP_GRACE_MS)
            except errors.Error:
                pass  # it cannot be told; letting go withdraws the job at the control plane
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            # The person wants to go on now; the process still ends only when the job was let go.
            threading.Thread(target=self._handle.close, name="easyenclave-let-go").start()
        else:
            _calls.wait(self._handle.close)

    def _outcome(self) -> JobResult:
        if self._error is not None:
            raise self._error.with_traceback(None)
        assert self._result is not None
        return self._result

    def _next(self, deadline: Optional[float]) -> Union[Chunk, Progress, None]:
        """The next event; None once the job has ended. C is left every 100 ms, so that signal handlers run."""
        with self._turn:
            while not self._ended:
                left_ms = _calls.SLICE_MS if deadline is None else min(_calls.SLICE_MS, int((deadline - time.monotonic()) * 1000))
                try:
                    event = _calls._run(raw.ees_job_next, (self._handle, max(0, left_ms), self._cancel))
                except raw.RawError as failure:
                    status = failure.args[0]
                    if status == _TIMEOUT and (deadline is None or time.monotonic() < deadline):
                        continue
                    error = errors.from_fields(failure.args)
                    if status == _TIMEOUT:
                        error.message = f"job {self.id} has not ended yet; it goes on"
                    elif status != -20:  # not the caller's own cancel, which leaves the job as it is
                        self._ended, self._error = True, error
                        return None
                else:
                    if event[0] == _DONE:
                        self._finish()
                        return None
                    return self._event(event)
                raise error
        return None

    def _event(self, event: raw.Event) -> Union[Chunk, Progress]:
        kind, stream, seq, time_ms, data, phase, done, total, message = event
        if kind == _PROGRESS:
            return Progress(phase, done, total or None, message)
        name = _STREAMS[stream]
        decoder = self._decoders.get(name)
        if decoder is None:
            decoder = self._decoders[name] = codecs.getincrementaldecoder("utf-8")("replace")
        return Chunk(name, data, decoder.decode(data), seq, dt.datetime.fromtimestamp(time_ms / 1000, dt.timezone.utc))

    def _finish(self) -> None:
        try:
            result = _calls._run(raw.ees_job_result, (self._handle,))
        except raw.RawError as failure:
            self._error, result = errors.from_fields(failure.args), failure.args[-1]
        if result is not None:
            try:
                self._result = _result_of(result)
            finally:
                raw.ee_result_free(result)
        if isinstance(self._error, errors._WithResult):
            self._error._result = self._result
        self._ended = True

    def __enter__(self) -> Job:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Job(id={self.id!r}, state={self.state!r}, image={self.image!r}, env={list(self.env_names)!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a job holds a connection of this process and cannot be pickled: keep its id")


def start(
    client: _calls.Handle,
    spec: _calls.Handle,
    policy: Optional[Policy],
    image: str,
    env_names: Sequence[str],
    on_progress: Optional[Callable[[Progress], None]],
) -> Job:
    cancel = _calls.cancel_of_this_call()
    pointer = _calls.wait(
        raw.ees_job_start, client, spec, policy._handle if policy else None, cancel, cancel=cancel, discard=raw.ee_job_free
    )
    return Job(_calls.Handle(pointer, raw.ee_job_free, "job", client, raw.ee_job_detach), image, env_names, on_progress, cancel)


def follow(job: Job, on_output: Optional[Callable[[Chunk], None]], on_progress: Optional[Callable[[Progress], None]]) -> JobResult:
    """Until the job ends; an exception of a callback, or Ctrl-C, cancels it and comes out as it is."""
    with job:
        while True:
            event = job._next(None)
            if event is None:
                return job._outcome()
            if isinstance(event, Chunk):
                if on_output is not None:
                    on_output(event)
            elif on_progress is not None:
                on_progress(event)
