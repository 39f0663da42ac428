"""Every error there is: number -> word, class, exit code. Made by tools/gen_status.py from status.def; not for editing."""
from __future__ import annotations

from typing import Final, NamedTuple


class Status(NamedTuple):
    """One row of the table."""

    word: str
    class_name: str
    exit_code: int
    retryable: bool
    http_status: int
    text: str


STATUS: Final[dict[int, Status]] = {
    0: Status("ok", "", 0, False, 200, "success"),
    -1: Status("config", "ConfigError", 3, False, 500, "configuration is missing or wrong"),
    -2: Status("auth", "AuthError", 3, False, 401, "the request is not authenticated"),
    -3: Status("permission", "PermissionDeniedError", 7, False, 403, "the account may not do this"),
    -4: Status("not_found", "NotFoundError", 4, False, 404, "there is no such thing"),
    -5: Status("invalid", "InvalidRequestError", 2, False, 400, "the request is not valid"),
    -6: Status("invalid_amount", "InvalidAmountError", 2, False, 400, "the amount cannot be represented"),
    -7: Status("idempotency_mismatch", "IdempotencyMismatchError", 10, False, 409, "the idempotency key was used for something else"),
    -8: Status("conflict", "ConflictError", 10, False, 409, "the state does not allow this"),
    -9: Status("low_balance", "LowBalanceError", 5, False, 402, "the balance is too low"),
    -10: Status("budget_exceeded", "BudgetExceededError", 5, False, 402, "the cost is over the cap that was set"),
    -11: Status("no_eligible_node", "NoEligibleNodeError", 8, False, 503, "no node can take this work"),
    -12: Status("attestation", "AttestationError", 6, False, 502, "the peer did not prove what it runs"),
    -13: Status("image", "ImageError", 4, False, 422, "the image cannot be used"),
    -14: Status("command_not_found", "CommandNotFoundError", 4, False, 422, "the command is not in the image, or is no program there"),
    -15: Status("job_failed", "JobFailed", 1, False, 422, "the job ended with a non-zero exit code"),
    -16: Status("job_timeout", "JobTimeout", 124, False, 504, "the job reached its time limit"),
    -17: Status("job_lost", "JobLost", 125, False, 502, "the node went away while the job ran"),
    -18: Status("app_unavailable", "AppUnavailableError", 9, True, 503, "the app is not running"),
    -19: Status("timeout", "CallTimeout", 124, True, 504, "the call reached its deadline"),
    -20: Status("cancelled", "CancelledError", 130, False, 499, "the call was cancelled"),
    -21: Status("connect", "ConnectError", 9, True, 502, "the other side cannot be reached"),
    -22: Status("outcome_unknown", "OutcomeUnknownError", 11, True, 504, "no answer came; repeating with the same key is safe"),
    -23: Status("rate_limit", "RateLimitError", 1, True, 429, "too many requests"),
    -24: Status("server", "ServerError", 1, True, 500, "the server failed"),
    -25: Status("out_of_memory", "OutOfMemoryError", 1, False, 500, "out of memory"),
    -26: Status("version", "VersionError", 1, False, 426, "the versions do not fit"),
    -27: Status("malformed", "MalformedError", 2, False, 400, "the bytes do not follow their format"),
    -28: Status("limit", "LimitError", 2, False, 413, "a size or count is over its limit"),
    -29: Status("expired", "ExpiredError", 6, False, 400, "a validity period has passed"),
    -30: Status("closed", "ClosedError", 9, False, 502, "the connection or object is closed"),
    -31: Status("end", "EndOfStream", 1, False, 500, "there is nothing more"),
    -32: Status("again", "NotReadyError", 1, True, 503, "not ready yet"),
    -33: Status("io", "IOFailure", 1, False, 500, "the operating system reported an error"),
    -34: Status("state", "StateError", 1, False, 500, "the object is not in a state that allows this"),
    -35: Status("internal", "InternalError", 1, False, 500, "a defect in easyenclave"),
}
