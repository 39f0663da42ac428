"""The client, and the three headline calls on a default one. Jobs and apps themselves are in jobs.py and apps.py."""
from __future__ import annotations

import datetime as dt
import json
import os
import sys
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Callable, Dict, Iterator, List, Mapping, NoReturn, Optional, Sequence, Type, Union

from . import _calls, errors, jobs
from . import eesdk_raw as raw
from ._calls import milliseconds
from .apps import DEFAULT_TIMEOUT, AppClient
from .jobs import Chunk, Job, JobResult, PriceQuote, Progress, money_of
from .money import Amount, Money, amount_text
from .verify import Attestation, Policy, attestation_of, parse_time


@dataclass(frozen=True)
class Transfer:
    """A payment that was made."""

    id: str
    to: str
    amount: Money
    balance_after: Money
    idempotency_key: str
    replayed: bool
    """This key had been used for the same transfer before; nothing moved again."""


@dataclass(frozen=True)
class Balance:
    """What the account can spend, and what is held for running or not yet settled work."""

    available: Money
    locked: Money
    account: str


@dataclass(frozen=True)
class JobInfo:
    """What the control plane knows of a job."""

    id: str
    node: str
    state: str
    reason: str
    message: str
    exit_code: Optional[int]
    """None when no machine reported one: the job has not ended, or was lost."""
    locked: Money
    charged: Money
    refunded: Money
    created_at: dt.datetime


class Client:
    """One account on one network. Many threads may use one at once.

    Where a value is not given it is looked up, each on its own: EE_* environment, the profile of config.toml, a running devnet. Nothing is
    connected before the first call; that call verifies the control plane. Use `with`, or close().
    """

    def __init__(
        self,
        *,
        profile: Optional[str] = None,
        url: Optional[str] = None,
        api_key: Optional[str] = None,
        policy: Optional[Policy] = None,
        timeout: float = DEFAULT_TIMEOUT,
        max_retries: int = 3,
        budget: Optional[Amount] = None,
        pccs_url: Optional[str] = None,
        pccs_ca: Union[str, "os.PathLike[str]", None] = None,
    ) -> None:
        """pccs_url: a PCCS to ask for collateral before the control plane is; pccs_ca: what its certificate is checked against."""
        if isinstance(max_retries, bool) or not isinstance(max_retries, int) or not 0 <= max_retries < 2**32 - 1:
            raise errors.InvalidRequestError(f"max_retries is {max_retries!r}; it must be a number from 0")
        ceiling = "" if budget is None else amount_text(budget)
        if budget is not None:
            _calls.parse_money(ceiling)
        pointer = _calls.wait(
            raw.ees_client_new,
            _calls.text_of("profile", profile or ""),
            _calls.text_of("url", url or ""),
            _calls.text_of("api_key", api_key or ""),
            ceiling,
            policy._handle if policy else None,
            min(milliseconds("timeout", timeout), 2**32 - 1),
            max_retries or 2**32 - 1,
            _calls.text_of("pccs_url", pccs_url or ""),
            _calls.text_of("pccs_ca", os.fspath(pccs_ca or "")),
            discard=raw.ee_client_free,
        )
        self._opened: Optional[_calls.Handle] = _calls.Handle(pointer, raw.ee_client_free, "client")

    @property
    def _handle(self) -> _calls.Handle:
        assert self._opened is not None
        return self._opened

    # ---- jobs ----

    def run_private_job(
        self,
        image: str,
        command: Optional[Sequence[str]] = None,
        *,
        env: Optional[Mapping[str, str]] = None,
        stdin: Union[bytes, str, None] = None,
        vcpus: float = 1,
        memory: str = "512M",
        timeout: Union[float, str] = "10m",
        output_limit: str = "1M",
        max_cost: Optional[Amount] = None,
        node: Optional[str] = None,
        policy: Optional[Policy] = None,
        check: bool = False,
        on_output: Optional[Callable[[Chunk], None]] = None,
        on_progress: Optional[Callable[[Progress], None]] = None,
        idempotency_key: Optional[str] = None,
    ) -> JobResult:
        """Run an image once on a machine that has proved itself, and wait for what it came to. The function of this name in `easyenclave` tells
        what each argument means and what can go wrong; a non-zero exit code is a result, unless check=True."""
        job = self.start_private_job(
            image,
            command,
            env=env,
            stdin=stdin,
            vcpus=vcpus,
            memory=memory,
            timeout=timeout,
            output_limit=output_limit,
            max_cost=max_cost,
            node=node,
            policy=policy,
            on_progress=on_progress,
            idempotency_key=idempotency_key,
        )
        result = jobs.follow(job, on_output, on_progress)
        return result.check() if check else result

    def start_private_job(
        self,
        image: str,
        command: Optional[Sequence[str]] = None,
        *,
        env: Optional[Mapping[str, str]] = None,
        stdin: Union[bytes, str, None] = None,
        vcpus: float = 1,
        memory: str = "512M",
        timeout: Union[float, str] = "10m",
        output_limit: str = "1M",
        max_cost: Optional[Amount] = None,
        node: Optional[str] = None,
        policy: Optional[Policy] = None,
        on_progress: Optional[Callable[[Progress], None]] = None,
        idempotency_key: Optional[str] = None,
    ) -> Job:
        """Start a job: returns once it is admitted, attested and has its secrets. Use `with`: it cancels the job when the block ends early."""
        spec = jobs.job_spec(image, command, env, stdin, vcpus, memory, timeout, output_limit, max_cost, node, idempotency_key)
        try:
            if on_progress is not None:
                on_progress(Progress("quoting"))
            job = jobs.start(self._handle, spec, policy, image, list(env or {}), on_progress)
        finally:
            spec.close()
        return job

    def quote(
        self,
        image: str,
        command: Optional[Sequence[str]] = None,
        *,
        vcpus: float = 1,
        memory: str = "512M",
        timeout: Union[float, str] = "10m",
        node: Optional[str] = None,
        policy: Optional[Policy] = None,
    ) -> PriceQuote:
        """What a job may cost, on the best node for it. Locks nothing. An image that `policy` does not accept is refused, as for the job."""
        spec = jobs.job_spec(image, command, None, None, vcpus, memory, timeout, "1M", None, node, None)
        cancel = _calls.cancel_of_this_call()
        try:
            return jobs.read_quote(_calls.wait(raw.ees_job_quote, self._handle, spec, policy._handle if policy else None, cancel, cancel=cancel))
        finally:
            spec.close()

    def jobs(self) -> Iterator[JobInfo]:
        """The account's jobs, newest first as the control plane lists them."""
        for item in self._pages("/v1/jobs"):
            yield JobInfo(
                id=item["id"],
                node=item["node"],
                state=item["state"],
                reason=item["reason"],
                message=item["message"],
                exit_code=None if item["exit_code"] is None else int(item["exit_code"]),
                locked=money_of(item["locked"]),
                charged=money_of(item["charged"]),
                refunded=money_of(item["refunded"]),
                created_at=parse_time(item["created_at"]),
            )

    # ---- money ----

    def transfer_credits(self, to: str, amount: Amount, *, memo: str = "", idempotency_key: Optional[str] = None) -> Transfer:
        """Pay another account. One idempotency key moves money once, however often the call is repeated."""
        text = amount_text(amount)
        _calls.parse_money(text)
        given = _calls.text_of("to", to), text, _calls.text_of("memo", memo), jobs.idempotency(idempotency_key)
        id_, key, micros, after, replayed = _calls.cancellable(raw.ees_transfer_credits, self._handle, *given)
        return Transfer(id_, to, Money(micros), Money(after), key, bool(replayed))

    def balance(self) -> Balance:
        available, locked, account = _calls.cancellable(raw.ees_balance_get, self._handle)
        return Balance(Money(available), Money(locked), account)

    # ---- apps ----

    def connect(self, app: str, *, policy: Optional[Policy] = None, timeout: float = DEFAULT_TIMEOUT, strict: bool = False) -> AppClient:
        """Resolve an app, reach its machine through the proxy, and attest it. No byte of a request leaves before. strict=True asks for a full
        quote on every connection, not for a signed statement of the session."""
        cancel = _calls.cancel_of_this_call()
        name = _calls.text_of("app", app)
        pointer = _calls.wait(
            raw.ees_connect,
            self._handle,
            name,
            policy._handle if policy else None,
            min(milliseconds("timeout", timeout), 2**32 - 1),
            int(strict),
            cancel,
            cancel=cancel,
            discard=raw.ee_app_free,
        )
        return AppClient(_calls.Handle(pointer, raw.ee_app_free, "app client", self._handle))

    def node_attestation(self, node: str, *, policy: Optional[Policy] = None, timeout: float = DEFAULT_TIMEOUT, strict: bool = False) -> Attestation:
        """A node's own proof: its agent is challenged and judged in a channel of its own, apart from any app or job.

        node     its name.
        policy   what the machine has to satisfy, instead of the client's policy. An image it pins is not asked for: that is an app's or job's.
        timeout  seconds for finding and attesting it.
        strict   ask for a full quote for this one connection, not for a signed statement of the session.

        Returns an Attestation that verified.

        Raises NotFoundError, AppUnavailableError (the node is not connected), AttestationError (`attestation`: every check), CallTimeout.
        """
        cancel = _calls.cancel_of_this_call()
        pointer = _calls.wait(
            raw.ees_node_attestation,
            self._handle,
            _calls.text_of("node", node),
            policy._handle if policy else None,
            min(milliseconds("timeout", timeout), 2**32 - 1),
            int(strict),
            cancel,
            cancel=cancel,
            discard=raw.ee_verdict_free,
        )
        try:
            return attestation_of(pointer)
        finally:
            raw.ee_verdict_free(pointer)

    def deploy(
        self,
        name: str,
        image: str,
        *,
        port: int,
        command: Optional[Sequence[str]] = None,
        vcpus: float = 1,
        memory: str = "512M",
        node: Optional[str] = None,
        timeout: Union[float, str] = "5m",
        idempotency_key: Optional[str] = None,
    ) -> Mapping[str, Any]:
        """Deploy an app and wait until its port answers. The port is never open on the host."""
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            raise errors.InvalidRequestError(f"port is {port!r}; it must be 1 to 65535")
        text = _calls.cancellable(
            raw.ees_app_deploy,
            self._handle,
            _calls.text_of("name", name),
            _calls.text_of("image", image),
            _calls.block_of(jobs.strings("command", command)),
            port,
            jobs.cpus(vcpus),
            jobs.size_bytes("memory", memory),
            _calls.text_of("node", node or ""),
            jobs.idempotency(idempotency_key),
            milliseconds("timeout", timeout),
        )
        told: Dict[str, Any] = json.loads(text)
        return told

    def stop(self, name: str) -> None:
        """Stop an app."""
        _calls.cancellable(raw.ees_app_stop, self._handle, _calls.text_of("name", name))

    def apps(self) -> List[Mapping[str, Any]]:
        return list(self._pages("/v1/apps"))

    def nodes(self) -> List[Mapping[str, Any]]:
        return list(self.call("GET", "/v1/nodes")["items"])

    # ---- everything else ----

    def _pages(self, path: str) -> Iterator[Dict[str, Any]]:
        """The items of a list, page after page as they are asked for."""
        page = self.call("GET", path)
        while True:
            yield from page["items"]
            if page["next"] is None:
                return
            page = self.call("GET", f"{path}?after={page['next']}")

    def call(self, method: str, path: str, body: Any = None, *, idempotency_key: Optional[str] = None) -> Any:
        """Call the control plane's HTTP API as this account and get its JSON: for what has no function of its own."""
        text = _calls.cancellable(
            raw.ees_client_call,
            self._handle,
            _calls.text_of("method", method),
            _calls.text_of("path", path),
            "" if body is None else json.dumps(body, allow_nan=False),
            jobs.idempotency(idempotency_key),
        )
        return json.loads(text)

    def attestation(self) -> Attestation:
        """Of the control plane, as last checked; the first call connects."""

        def take(pointer: raw.Client, cancel: raw.Cancel) -> Attestation:
            return attestation_of(raw.ees_client_attestation(pointer, cancel))

        return _calls.cancellable(take, self._handle)

    @property
    def config(self) -> Mapping[str, Mapping[str, str]]:
        """Where each value came from: {"url": {"value": ..., "origin": ...}, ...}. The key is masked."""
        found: Dict[str, Dict[str, str]] = json.loads(_calls.plain(raw.ee_client_config_json, self._handle))
        return found

    def close(self) -> None:
        """Let go, as soon as nothing that came from this client is in use. May be called again."""
        _calls.wait(self._handle.close)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._handle.closed:
            return "Client(closed)"
        return f"Client(url={self.config['url']['value']!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client holds a connection and a key of this process and cannot be pickled: make another with Client()")


def generate_api_key() -> str:
    """A fresh account key, "ee_sk_...". It is a seed: keep it as a secret. No network."""
    return _calls.plain(raw.ees_key_generate).decode()


def api_key_public(api_key: str) -> str:
    """The public half of an API key, in hex: what an account is known by."""
    return _calls.plain(raw.ees_key_public, _calls.text_of("api_key", api_key)).decode()


# ---- the default client ---------------------------------------------------------------------------------------------------------------

class _DefaultClient(Client):
    """Made on first use, after the arguments of that use were found to be good, and again when its devnet was started anew."""

    def __init__(self) -> None:
        self._opened = None
        self._lock = threading.Lock()

    @property
    def _handle(self) -> _calls.Handle:
        with self._lock:
            if self._opened is not None and _calls.plain(raw.ee_client_stale, self._opened) != 0:
                self._opened = None  # whoever still uses it keeps it
            if self._opened is None:
                self._opened = Client()._handle
                _announce(self)
            return self._opened

    def close(self) -> None:
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            _calls.wait(opened.close)


_default: Client = _DefaultClient()


def _announce(client: Client) -> None:
    """A devnet looks like the real thing and is not: say so, once, to a person."""
    assert client._opened is not None
    url = json.loads(_calls.plain(raw.ee_client_config_json, client._opened)).get("url", {})
    try:
        if url.get("origin", "").startswith("devnet file") and sys.stderr.isatty():
            print(f"easyenclave: using devnet at {url['value']}: simulated attestation, nothing here is secret", file=sys.stderr)
    except (AttributeError, OSError, ValueError):  # there is no stderr
        pass


def _forget_after_fork() -> None:
    global _default
    _default = _DefaultClient()


os.register_at_fork(after_in_child=_forget_after_fork)


def run_private_job(
    image: str,
    command: Optional[Sequence[str]] = None,
    *,
    env: Optional[Mapping[str, str]] = None,
    stdin: Union[bytes, str, None] = None,
    vcpus: float = 1,
    memory: str = "512M",
    timeout: Union[float, str] = "10m",
    output_limit: str = "1M",
    max_cost: Optional[Amount] = None,
    node: Optional[str] = None,
    policy: Optional[Policy] = None,
    check: bool = False,
    on_output: Optional[Callable[[Chunk], None]] = None,
    on_progress: Optional[Callable[[Progress], None]] = None,
    idempotency_key: Optional[str] = None,
) -> JobResult:
    """Run an image once on a machine that has proved itself, and wait for what it came to. Uses the default client.

    In this order: the image's digest is resolved, the price quoted, the most it can cost locked, a node chosen, and its attestation checked in
    this process. Only then do env and stdin leave, inside the channel to that machine. The output comes back in order, and the receipt is checked.

    image            "myapp:latest", "registry.example/etl@sha256:..."; the digest that ran is in the result.
    command          a list like ["sh", "-c", "..."]; left out: the image's own.
    env              {"NAME": "value"}. The network sees the names, only the attested machine the values.
    stdin            bytes or text, at most 1 MiB.
    vcpus, memory    what the job gets: 1 and "512M" unless said. vcpus has at most three decimals.
    timeout          seconds, or text like "90s", "10m", "1h30m"; with vcpus it sets what the job can cost at most.
    output_limit     how much of stdout and of stderr the result keeps; more is counted, and `truncated` says so.
    max_cost         "$0.50": refused before anything is locked when it could cost more.
    node             only on this node; left out: the one with the lowest effective price.
    policy           what the machine has to satisfy, instead of the client's policy; an image it pins is compared before anything is locked.
    check            raise JobFailed when the exit code is not 0; else that is a result like any other.
    on_output        called with each Chunk as it comes; on_progress with each Progress (PHASES). An exception of theirs cancels the job.
    idempotency_key  one key starts one job and is charged once, however often the call is repeated; left out, one is made.

    Returns a JobResult: exit_code, stdout, stderr, cost, receipt, attestation, node ... `print(result)` is three lines for people.

    Raises NoEligibleNodeError (`rejected`: why each node cannot), LowBalanceError and BudgetExceededError (`needed`, `available`), ImageError,
    AttestationError (`attestation`: every check), JobTimeout (`result`: what came before), JobLost, OutcomeUnknownError (repeat with its
    `idempotency_key`) and other Errors. Ctrl-C, or leaving by an exception, cancels the job; what it did not use comes back.

        result = run_private_job("myapp:latest", env={"SECRET": "value"}, max_cost="$0.50")
        print(result.stdout, result.exit_code, result.cost)
    """
    return _default.run_private_job(
        image,
        command,
        env=env,
        stdin=stdin,
        vcpus=vcpus,
        memory=memory,
        timeout=timeout,
        output_limit=output_limit,
        max_cost=max_cost,
        node=node,
        policy=policy,
        check=check,
        on_output=on_output,
        on_progress=on_progress,
        idempotency_key=idempotency_key,
    )


def transfer_credits(to: str, amount: Amount, *, memo: str = "", idempotency_key: Optional[str] = None) -> Transfer:
    """Pay another account, and return once it is booked. Uses the default client.

    to               the account's name.
    amount           text like "$200" or "200.50 USD", a Decimal or Money: at most six decimals. A float or an int is refused: dollars or cents?
    memo             at most 140 bytes; both accounts see it.
    idempotency_key  one key moves money once, however often the call is repeated; left out, one is made for this call and its own retries.

    Returns a Transfer: id, amount, balance_after, idempotency_key, replayed (the key had paid before; nothing moved again).

    Raises InvalidAmountError, NotFoundError (no such account), LowBalanceError (`needed`, `available`, `locked`), IdempotencyMismatchError (the
    key paid something else), OutcomeUnknownError (no answer came: repeat with its `idempotency_key`, it cannot happen twice).
    """
    return _default.transfer_credits(to, amount, memo=memo, idempotency_key=idempotency_key)


def connect(app: str, *, policy: Optional[Policy] = None, timeout: float = DEFAULT_TIMEOUT, strict: bool = False) -> AppClient:
    """A verified way to a private app, for HTTP: the app's machine has proved itself when this returns. Uses the default client.

    app      its name.
    policy   what the app's machine has to satisfy, instead of the client's policy. The control plane still has to satisfy the client's.
    timeout  seconds for finding and attesting it.
    strict   ask for a full quote on every connection, not for a signed statement of the session.

    Returns an AppClient: get(), post() ..., requests_session(), httpx_transport(), forward(). Use `with`, or close().

    Raises NotFoundError, AppUnavailableError (not running, or being moved), AttestationError (`attestation`: every check), CallTimeout.
    """
    return _default.connect(app, policy=policy, timeout=timeout, strict=strict)
