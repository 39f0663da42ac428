"""The one place that calls eesdk_raw: who owns a C object, how a wait can be interrupted, how a failure becomes an exception.

A raw call is made with the interpreter's lock released. Signal handlers of Python run in the main thread only, between two bytecodes; so a
call that may wait is made by a helper thread when the main thread asks for it, and Ctrl-C reaches the main thread at once.
"""
from __future__ import annotations

import _thread
import math
import os
import threading
from contextvars import ContextVar
from typing import Any, Callable, Generic, List, Optional, Tuple, TypeVar, Union

from . import eesdk_raw as raw
from . import errors

T = TypeVar("T")

SLICE_MS = 100  # longest stretch that the main thread spends inside C, so that Ctrl-C works within 200 ms
CANCEL_PATIENCE = 0.1  # seconds; how long an interrupted call may take to see that it was cancelled, before it is left behind
CREDIT_MAX = 2**63 - 1

_generation = 0  # how often this process was forked; C objects do not survive that


def text_of(name: str, value: object) -> str:
    """A text argument for C, or a sentence about what is wrong with it."""
    if not isinstance(value, str):
        raise errors.InvalidRequestError(f"{name} must be text, not {type(value).__name__}")
    if "\0" in value:
        raise errors.InvalidRequestError(f"{name} has a NUL character inside")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise errors.InvalidRequestError(f"{name} is not valid Unicode text") from None
    return value


def block_of(texts: List[str]) -> bytes:
    """A list of strings as C shims take it."""
    return b"".join(text.encode() + b"\0" for text in texts)


class Handle:
    """A C object. Freed once: when it was closed, is used by no call, and nothing that was made from it is left."""

    def __init__(
        self,
        pointer: object,
        free: Callable[[Any], None],
        kind: str,
        parent: Optional[Handle] = None,
        forget: Optional[Callable[[Any], None]] = None,
    ) -> None:
        """forget: frees it when it was never closed, only forgotten."""
        self._alive: List[object] = []  # empty = freed; lists, because their append and pop cannot be interrupted
        self._users: List[None] = []
        self._closed = False
        self._free = free
        self._forget = forget or free
        self._parent = parent
        self._generation = _generation
        self.kind = kind
        if parent is not None:
            parent.acquire()
        self._alive.append(pointer)
        self._pointer = pointer

    def acquire(self) -> Any:
        """The pointer, which stays good until release()."""
        self._users.append(None)
        if self._closed or self._generation != _generation:
            self.release()
            if self._closed:
                raise errors.StateError(f"the {self.kind} is closed")
            raise errors.StateError(f"the {self.kind} was made before fork()", hint="make a new one in this process")
        return self._pointer

    def release(self) -> None:
        self._users.pop()
        if self._closed and not self._users:
            self._free_once()

    def close(self) -> None:
        self._closed = True
        if not self._users:
            self._free_once()

    @property
    def closed(self) -> bool:
        return self._closed

    def _free_once(self) -> None:
        try:
            pointer = self._alive.pop()
        except IndexError:
            return
        if self._generation == _generation:
            self._free(pointer)
        if self._parent is not None:
            self._parent.release()

    def __del__(self) -> None:
        try:
            if not self._closed:
                self._free = self._forget
            self.close()
        except Exception:  # a half-made object, or the interpreter is going down
            pass

    def __reduce__(self) -> Tuple[Any, ...]:
        raise TypeError(f"a {self.kind} holds a connection of this process and cannot be pickled")


class Cancel(Handle):
    """A way to stop waiting calls. `used` says whether one has been given it."""

    def __init__(self) -> None:
        super().__init__(plain(raw.ees_cancel_new), raw.ee_cancel_free, "cancel")
        self.used = False

    def acquire(self) -> Any:
        pointer = super().acquire()
        self.used = True
        return pointer

    def fire(self) -> None:
        try:
            raw.ee_cancel_fire(super().acquire())
        finally:
            self.release()


_ambient: ContextVar[Optional[Cancel]] = ContextVar("easyenclave_cancel", default=None)


def cancel_of_this_call() -> Cancel:
    """aio sets one for the thread it starts; else each call has its own."""
    return _ambient.get() or Cancel()


def _run(function: Callable[..., T], args: Tuple[Any, ...]) -> T:
    held: List[Handle] = []
    try:
        given = []
        for arg in args:
            if isinstance(arg, Handle):
                given.append(arg.acquire())
                held.append(arg)
            else:
                given.append(arg)
        return function(*given)
    finally:
        for handle in held:
            handle.release()


def error_of(failure: raw.RawError, args: Tuple[Any, ...]) -> errors.Error:
    """The error of a call that C made with these arguments; with the verdict, where the other side was refused."""
    error = errors.from_fields(failure.args)
    refusal = failure.args[-2]
    if refusal and isinstance(error, errors.AttestationError):
        from .verify import attestation_of

        for arg in args:
            while isinstance(arg, Handle) and arg._parent is not None:
                arg = arg._parent
            if not isinstance(arg, Handle) or arg.kind != "client":
                continue
            try:
                verdict = _run(raw.ees_client_refused, (arg, refusal))
            except (raw.RawError, errors.StateError):
                break  # it is not kept any more, or the client was closed meanwhile: the check's name is in the details
            try:
                error.attestation = attestation_of(verdict)
            finally:
                raw.ee_verdict_free(verdict)
            break
    return error


def plain(function: Callable[..., T], *args: Any) -> T:
    """Call C in this thread. Handles among the arguments are held for as long as the call takes."""
    try:
        return _run(function, args)
    except raw.RawError as failure:
        error, failure.__traceback__ = error_of(failure, args), None
    raise error


class _Task(Generic[T]):
    def __init__(self, function: Callable[..., T], args: Tuple[Any, ...]) -> None:
        self.function, self.args = function, args
        self.done = _thread.allocate_lock()
        self.done.acquire()
        self.value: Optional[T] = None
        self.error: Optional[BaseException] = None
        self.discard: Optional[Callable[[T], None]] = None
        self.left = self.ended = False  # nobody waits any more; the call is over
        self.lock = _thread.allocate_lock()

    def run(self) -> None:
        try:
            self.value = _run(self.function, self.args)
        except raw.RawError as failure:
            self.error = error_of(failure, self.args)
        except BaseException as error:  # handed to the thread that waits
            self.error = error
        self.args = ()
        with self.lock:
            self.ended = True
            left = self.left
        self.done.release()
        if left:
            self.throw_away()

    def leave(self, discard: Optional[Callable[[T], None]]) -> None:
        """Nobody waits: what comes is given back by whoever is second, the call or this."""
        self.discard = discard
        with self.lock:
            self.left = True
            ended = self.ended
        if ended:
            self.throw_away()

    def throw_away(self) -> None:
        if self.error is None and self.value is not None and self.discard is not None:
            self.discard(self.value)
        self.value = None

    def outcome(self) -> T:
        error, self.error = self.error, None
        if error is None:
            return self.value  # type: ignore[return-value]
        try:
            raise error.with_traceback(None)
        finally:
            del error


class _Worker:
    """One thread that makes one call after another for the main thread."""

    def __init__(self) -> None:
        self.task: Optional[_Task[Any]] = None
        self.wake = _thread.allocate_lock()
        self.wake.acquire()
        threading.Thread(target=self.loop, name="easyenclave-call", daemon=True).start()

    def loop(self) -> None:
        while True:
            self.wake.acquire()
            task, self.task = self.task, None
            if task is not None:
                task.run()
                _idle.append(self)
                del task


_idle: List[_Worker] = []


def _worker() -> Optional[_Worker]:
    try:
        return _idle.pop()
    except IndexError:
        pass
    try:
        return _Worker()
    except RuntimeError:  # the interpreter is going down and starts no threads
        return None


def wait(function: Callable[..., T], *args: Any, cancel: Optional[Cancel] = None, discard: Optional[Callable[[T], None]] = None) -> T:
    """Call C, which may take long. In the main thread an exception from a signal handler (Ctrl-C) comes out at once: the call is cancelled
    through `cancel` where it can be, else left to end by itself; what it still returns is given to `discard`."""
    if threading.current_thread() is not threading.main_thread():
        return plain(function, *args)
    worker = _worker()
    if worker is None:
        return plain(function, *args)
    task = _Task(function, args)
    try:
        worker.task = task
        worker.wake.release()
        task.done.acquire()
        task.done.release()
    except BaseException:
        if cancel is not None:
            cancel.fire()
            if task.done.acquire(timeout=CANCEL_PATIENCE):
                task.done.release()
        task.leave(discard)
        raise
    return task.outcome()


def measure(parse: Callable[[str], int], name: str, value: str) -> int:
    """A time or a size in text, as every part of easyenclave reads it; an error begins with its name."""
    try:
        return plain(parse, text_of(name, value))
    except errors.InvalidRequestError as error:
        raise errors.InvalidRequestError(f"{name}: {error.message}", hint=error.hint) from None


def cancellable(function: Callable[..., T], *args: Any, discard: Optional[Callable[[T], None]] = None) -> T:
    """wait() for a call whose last argument is its cancel."""
    cancel = cancel_of_this_call()
    return wait(function, *args, cancel, cancel=cancel, discard=discard)


def milliseconds(name: str, value: Union[float, str]) -> int:
    """Seconds as a number, or text like "90s", "10m", "1h30m", "500ms"."""
    if isinstance(value, str):
        return measure(raw.ees_duration_parse, name, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise errors.InvalidRequestError(f"{name} must be seconds or text, not {type(value).__name__}")
    if not 0 < value * 1000 < 1e13:
        raise errors.InvalidRequestError(f"{name} is {value!r}; it must be more than zero and end some day")
    return max(1, math.ceil(value * 1000))


def parse_money(text: object) -> int:
    if not isinstance(text, str):
        raise errors.InvalidAmountError(f"an amount is read from text, not from {type(text).__name__}")
    try:
        return plain(raw.ees_money_parse, text_of("the amount", text))
    except errors.InvalidAmountError:
        raise
    except errors.InvalidRequestError as error:
        message = error.message
    raise errors.InvalidAmountError(message)


def _after_fork_in_child() -> None:
    global _generation
    _generation += 1
    _idle.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
