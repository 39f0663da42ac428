"""Errors: one class for each word of the status table, all below Error. Not where they are raised; made by _calls.py from what C tells."""
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Mapping, Optional, Tuple, Type

from ._status import STATUS
from .money import Money

if TYPE_CHECKING:
    from .jobs import JobResult
    from .verify import Attestation


def _rebuild(kind: Type[Error], state: Mapping[str, Any]) -> Error:
    error = kind(state["message"])
    error.__dict__.update(state)
    return error


class Error(Exception):
    """What every failure has. `code` is a stable word for programs, `hint` says what to do next."""

    code: str = "internal"
    message: str
    hint: str = ""
    request_id: Optional[str] = None
    retryable: bool = False
    details: Mapping[str, Any] = {}
    retry_after: Optional[float] = None  # seconds; None = not said

    def __init__(self, message: str, *, hint: str = "", request_id: Optional[str] = None, details: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.request_id = request_id
        self.details = dict(details or {})

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}"
        if self.hint:
            text += f"\n  {self.hint}"
        if self.request_id:
            text += f"   (request {self.request_id})"
        return text

    def __reduce__(self) -> Tuple[Any, ...]:
        return _rebuild, (type(self), {"message": self.message, **self.__dict__})


class ConfigError(Error):
    """No network is configured, or a file with settings is wrong or not safe to use."""


class AuthError(Error):
    """The request is not authenticated."""


class PermissionDeniedError(AuthError):
    """The account may not do this."""


class NotFoundError(Error):
    """There is no such thing."""


class InvalidRequestError(Error, ValueError):
    """An argument is wrong; nothing was sent, or the control plane refused it as a whole."""


class InvalidAmountError(InvalidRequestError):
    """The amount is not text, Decimal or Money, or cannot be represented. `offset` is the place in the text, in bytes."""

    offset: int = 0


class IdempotencyMismatchError(InvalidRequestError):
    """The idempotency key was used for another request; nothing was done."""


class ConflictError(Error):
    """The state of the thing does not allow this now."""


class LowBalanceError(Error):
    """The account has less than this may cost."""

    needed: Money = Money(0)
    available: Money = Money(0)
    locked: Money = Money(0)


class BudgetExceededError(LowBalanceError):
    """The cost is over max_cost, or over the client's budget; nothing was locked."""


class NoEligibleNodeError(Error):
    """No node can take this work."""

    @property
    def rejected(self) -> Mapping[str, str]:
        """Node -> why not."""
        found = self.details.get("rejected")
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


class AttestationError(Error):
    """The other side did not prove what it runs; nothing secret was sent. `attestation` has every check, where there was something to judge."""

    attestation: Optional[Attestation] = None

    @property
    def failed_check(self) -> str:
        """Name of the first check that failed, "" if it did not come to that."""
        return str(self.details.get("check", ""))


class ImageError(Error):
    """The image cannot be found, pulled or used."""


class CommandNotFoundError(Error):
    """The command is not in the image."""


class _WithResult(Error):
    _result: Optional[JobResult] = None

    @property
    def result(self) -> JobResult:
        """Both streams and the receipt, as far as they came."""
        if self._result is None:
            raise AttributeError("the job ended before there was a result")
        return self._result


class JobFailed(_WithResult):
    """The job ended with a non-zero exit code, and that was said to be an error (check=True or .check())."""


class JobTimeout(_WithResult, TimeoutError):
    """The job reached its time limit and was ended."""


class JobLost(Error):
    """The node went away while the job ran."""


class AppUnavailableError(Error):
    """The app is not running."""


class CallTimeout(Error, TimeoutError):
    """The call reached its deadline. What it waited for may still happen."""


class CancelledError(_WithResult):
    """The call or the job was cancelled."""


class ConnectError(Error, ConnectionError):
    """The other side cannot be reached."""


class OutcomeUnknownError(ConnectError):
    """No answer came, and it may have been done. Repeat the call with `idempotency_key`: it cannot happen twice."""

    idempotency_key: str = ""


class RateLimitError(Error):
    """Too many requests; `retry_after` seconds, where it was said."""


class ServerError(Error):
    """The control plane failed."""


class OutOfMemoryError(Error, MemoryError):
    """This process has no memory left."""


class VersionError(Error):
    """This version and the other side's do not fit."""


class MalformedError(Error, ValueError):
    """Bytes that do not follow their format. `offset` is the place."""

    offset: int = 0


class LimitError(Error, ValueError):
    """A size or count is over its limit."""


class ExpiredError(Error):
    """A validity period has passed."""


class ClosedError(Error, ConnectionError):
    """The connection was closed by the other side."""


class EndOfStream(Error):
    """There is nothing more."""


class NotReadyError(Error):
    """Not ready yet."""


class IOFailure(Error):
    """The operating system reported an error."""


class StateError(Error):
    """The object does not allow this now: it is closed, was made before fork(), or is used by another thread."""


class InternalError(Error):
    """A defect in easyenclave."""


def _classes() -> Mapping[int, Type[Error]]:
    found = {}
    for number, row in STATUS.items():
        if row.class_name:
            kind = globals()[row.class_name]
            kind.code = row.word
            kind.retryable = row.retryable
            kind.__module__ = "easyenclave"  # where people find it
            found[number] = kind
    return found


CLASSES: Final[Mapping[int, Type[Error]]] = _classes()


def from_fields(fields: Tuple[Any, ...]) -> Error:
    """The error for what C told: the fields of RawError.args."""
    status, _http, _native, retry_after_ms, retryable, offset, needed, available, locked, message, hint, request_id, key, details, _refusal, _kept = fields
    try:
        parsed = json.loads(details) if details else {}
    except ValueError:
        parsed = {}
    error = CLASSES.get(status, InternalError)(message, hint=hint, request_id=request_id or None, details=parsed if isinstance(parsed, dict) else {})
    error.retryable = bool(retryable) or error.retryable
    if retry_after_ms:
        error.retry_after = retry_after_ms / 1000
    if isinstance(error, LowBalanceError):
        error.needed, error.available, error.locked = Money(needed), Money(available), Money(locked)
    if isinstance(error, OutcomeUnknownError):
        error.idempotency_key = key
    if isinstance(error, (InvalidAmountError, MalformedError)):
        error.offset = offset
    return error
