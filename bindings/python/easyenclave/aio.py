"""The same names for asyncio: each call runs the synchronous one in a thread (asyncio.to_thread), and cancelling the task cancels the call.

Not a second implementation: signatures are those of the synchronous functions. Values, errors and policies are the same classes.
"""
from __future__ import annotations

import asyncio
import functools
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Generic, Optional, Type, TypeVar, Union, cast

from . import _calls
from . import apps as sync_apps
from . import client as sync_client
from . import jobs as sync_jobs
from . import verify
from .money import Amount
from .verify import Attestation, Policy

T = TypeVar("T")
Self = TypeVar("Self", bound="_Wraps[Any]")
Opened = TypeVar("Opened", bound="_Wraps[Any]")
if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")

__all__ = ["AppClient", "Client", "Forward", "Job", "Response", "connect", "fetch_collateral", "run_private_job", "transfer_credits"]


async def _in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """A cancelled task fires the call's ee_cancel and waits for the call to end; a call that cannot be cancelled is left behind."""
    cancel = _calls.Cancel()
    token = _calls._ambient.set(cancel)
    try:
        running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    finally:
        _calls._ambient.reset(token)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancel.fire()
        if cancel.used:
            await asyncio.wait([running])
        running.add_done_callback(_drop)
        raise


def _drop(running: asyncio.Future[Any]) -> None:
    """What came for nobody is given back; its error is not reported as unseen."""
    if running.cancelled() or running.exception() is not None:
        return
    close = getattr(running.result(), "close", None)
    if close is not None:
        asyncio.get_running_loop().run_in_executor(None, close)


def _function(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return await _in_thread(function, *args, **kwargs)

    return call


class _Wraps(Generic[T]):
    """Has the synchronous object inside; `async with` closes it."""

    def __init__(self, sync: T) -> None:
        self._sync = sync

    async def close(self) -> None:
        await _in_thread(self._sync.close)  # type: ignore[attr-defined]

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"aio.{self._sync!r}"


def _method(function: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    @functools.wraps(function)
    async def call(self: Any, *args: P.args, **kwargs: P.kwargs) -> T:
        return await _in_thread(function, self._sync, *args, **kwargs)

    return cast(Any, call)  # type: ignore[no-any-return]


class _Opening(Awaitable[Opened]):
    """What connect() and the like give: `await` it, or use it in `async with`."""

    def __init__(self, opening: Coroutine[Any, Any, Opened]) -> None:
        self._opening = opening
        self._opened: Optional[Opened] = None

    def __await__(self) -> Generator[Any, None, Opened]:
        return self._opening.__await__()

    async def __aenter__(self) -> Opened:
        self._opened = await self._opening
        return self._opened

    async def __aexit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        if self._opened is not None:
            await self._opened.close()


def _opening(wrap: Callable[[Any], Opened], function: Callable[P, Any]) -> Callable[P, _Opening[Opened]]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> _Opening[Opened]:
        async def open_() -> Opened:
            return wrap(await _in_thread(function, *args, **kwargs))

        return _Opening(open_())

    return call


def _opening_method(wrap: Callable[[Any], Opened], function: Callable[Concatenate[Any, P], Any]) -> Callable[Concatenate[Any, P], _Opening[Opened]]:
    @functools.wraps(function)
    def call(self: Any, *args: P.args, **kwargs: P.kwargs) -> _Opening[Opened]:
        async def open_() -> Opened:
            return wrap(await _in_thread(function, self._sync, *args, **kwargs))

        return _Opening(open_())

    return cast(Any, call)  # type: ignore[no-any-return]


class Response(_Wraps[sync_apps.Response]):
    """An app's answer. Its members are those of the synchronous one; aiter_bytes() reads a streamed body."""

    @property
    def status_code(self) -> int:
        return self._sync.status_code

    @property
    def headers(self) -> sync_apps.Headers:
        return self._sync.headers

    @property
    def url(self) -> str:
        return self._sync.url

    @property
    def ok(self) -> bool:
        return self._sync.ok

    @property
    def content(self) -> bytes:
        """The body; of a streamed answer await read() before."""
        return self._sync.content

    @property
    def text(self) -> str:
        return self._sync.text

    def json(self) -> Any:
        return self._sync.json()

    def raise_for_status(self) -> Response:
        self._sync.raise_for_status()
        return self

    async def read(self) -> bytes:
        return await _in_thread(lambda: self._sync.content)

    async def aiter_bytes(self, size: int = 65536) -> AsyncIterator[bytes]:
        pieces = self._sync.iter_bytes(size)
        try:
            while True:
                piece = await _in_thread(lambda: next(pieces, None))  # StopIteration does not cross a coroutine
                if piece is None:
                    return
                yield piece
        finally:
            await self.close()


class Forward(_Wraps[sync_apps.Forward]):
    """A port of 127.0.0.1 that leads to the app."""

    @property
    def port(self) -> int:
        return self._sync.port

    @property
    def url(self) -> str:
        return self._sync.url


class AppClient(_Wraps[sync_apps.AppClient]):
    """An attested way to an app."""

    request = _opening_method(Response, sync_apps.AppClient.request)
    get = _opening_method(Response, sync_apps.AppClient.get)
    post = _opening_method(Response, sync_apps.AppClient.post)
    put = _opening_method(Response, sync_apps.AppClient.put)
    delete = _opening_method(Response, sync_apps.AppClient.delete)
    forward = _opening_method(Forward, sync_apps.AppClient.forward)

    @property
    def base_url(self) -> str:
        return self._sync.base_url

    @property
    def attestation(self) -> Attestation:
        return self._sync.attestation


class Job(_Wraps[sync_jobs.Job]):
    """A started job; `async with` cancels it when the block ends early."""

    wait = _method(sync_jobs.Job.wait)
    cancel = _method(sync_jobs.Job.cancel)

    @property
    def id(self) -> str:
        return self._sync.id

    @property
    def state(self) -> str:
        return self._sync.state

    async def stream(self) -> AsyncIterator[sync_jobs.Chunk]:
        chunks = self._sync.stream()
        while True:
            chunk = await _in_thread(lambda: next(chunks, None))
            if chunk is None:
                return
            yield chunk


class Client(_Wraps[sync_client.Client]):
    """One account on one network."""

    def __init__(
        self,
        *,
        profile: Optional[str] = None,
        url: Optional[str] = None,
        api_key: Optional[str] = None,
        policy: Optional[Policy] = None,
        timeout: float = sync_apps.DEFAULT_TIMEOUT,
        max_retries: int = 3,
        budget: Optional[Amount] = None,
        pccs_url: Optional[str] = None,
        pccs_ca: Union[str, "os.PathLike[str]", None] = None,
    ) -> None:
        super().__init__(
            sync_client.Client(
                profile=profile,
                url=url,
                api_key=api_key,
                policy=policy,
                timeout=timeout,
                max_retries=max_retries,
                budget=budget,
                pccs_url=pccs_url,
                pccs_ca=pccs_ca,
            )
        )

    run_private_job = _method(sync_client.Client.run_private_job)
    start_private_job = _opening_method(Job, sync_client.Client.start_private_job)
    transfer_credits = _method(sync_client.Client.transfer_credits)
    connect = _opening_method(AppClient, sync_client.Client.connect)
    quote = _method(sync_client.Client.quote)
    balance = _method(sync_client.Client.balance)
    node_attestation = _method(sync_client.Client.node_attestation)
    deploy = _method(sync_client.Client.deploy)
    stop = _method(sync_client.Client.stop)
    apps = _method(sync_client.Client.apps)
    nodes = _method(sync_client.Client.nodes)
    call = _method(sync_client.Client.call)
    attestation = _method(sync_client.Client.attestation)

    async def jobs(self) -> AsyncIterator[sync_client.JobInfo]:
        for info in await _in_thread(lambda: list(self._sync.jobs())):
            yield info


run_private_job = _function(sync_client.run_private_job)
transfer_credits = _function(sync_client.transfer_credits)
connect = _opening(AppClient, sync_client.connect)
fetch_collateral = _function(verify.fetch_collateral)
