# mypy: disable-error-code="misc"
"""requests and httpx over an attested app, so that existing HTTP code needs no change. Imports either only when it is asked for."""
from __future__ import annotations

import contextlib
import importlib
import io
from typing import TYPE_CHECKING, Any, Dict, Iterator, Optional, Tuple
from urllib.parse import urlsplit

from . import errors

if TYPE_CHECKING:
    from .apps import AppClient, Response

# What belongs to one connection, and what the request layer below sets itself.
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "upgrade", "proxy-connection"})


def _path_of(app: AppClient, url: str) -> str:
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}" != app.base_url:
        raise errors.InvalidRequestError(f"this session reaches {app.base_url} only, not {parts.scheme}://{parts.netloc}")
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _headers(items: Any) -> Dict[str, str]:
    return {str(name): value.decode("latin-1") if isinstance(value, bytes) else str(value) for name, value in items if str(name).lower() not in _HOP_BY_HOP}


def _streamed(body: Any, headers: Any) -> Any:
    """A body that is not all there yet, with the length that the layer above has found out."""
    from .apps import Streamed, _body

    if body is None or isinstance(body, (bytes, str)):
        return body
    streamed, _ = _body(body)
    length = str(headers.get("content-length", ""))
    if isinstance(streamed, Streamed) and length.isascii() and length.isdigit():
        streamed.size = int(length)
    return streamed


def _seconds(timeout: Any) -> Optional[float]:
    """requests takes a number or (connect, read)."""
    if isinstance(timeout, tuple):
        known = [value for value in timeout if value is not None]
        return max(known) if known else None
    return timeout if timeout is None else float(timeout)


@contextlib.contextmanager
def _translated(timeout: Any, connection: Any, request: Any) -> Iterator[None]:
    """What ends a request or the reading of its answer, in the classes that code around it catches."""
    try:
        yield
    except errors.CallTimeout as error:
        raise timeout(str(error), request=request) from error
    except (errors.ConnectError, errors.ClosedError, errors.AppUnavailableError) as error:
        raise connection(str(error), request=request) from error


def requests_session(app: AppClient) -> Any:
    requests: Any = importlib.import_module("requests")
    timeout_error, connection_error = requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError

    class Body(io.RawIOBase):
        """The streamed body as the file that requests reads."""

        def __init__(self, response: Response, request: Any) -> None:
            self._response, self._request, self._pieces, self._rest = response, request, response.iter_bytes(), b""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            while not self._rest:
                with _translated(timeout_error, connection_error, self._request):
                    piece = next(self._pieces, None)
                if piece is None:
                    return 0
                self._rest = piece
            taken = min(len(buffer), len(self._rest))
            buffer[:taken], self._rest = self._rest[:taken], self._rest[taken:]
            return taken

        def close(self) -> None:
            self._response.close()
            super().close()

    class Refuse(requests.adapters.BaseAdapter):
        """For every address that is not the app's."""

        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            _path_of(app, request.url)
            raise errors.InvalidRequestError(f"this session reaches {app.base_url} only")

        def close(self) -> None:
            pass

    class Adapter(requests.adapters.BaseAdapter):
        def send(self, request: Any, stream: bool = False, timeout: Any = None, verify: Any = True, cert: Any = None, proxies: Any = None) -> Any:
            with _translated(timeout_error, connection_error, request):
                answer = app.request(
                    request.method, _path_of(app, request.url), headers=_headers(request.headers.items()), data=_streamed(request.body, request.headers),
                    stream=True, timeout=_seconds(timeout)
                )
            response = requests.Response()
            response.status_code = answer.status_code
            response.headers = requests.structures.CaseInsensitiveDict(answer.headers)
            response.encoding = requests.utils.get_encoding_from_headers(response.headers)
            response.raw = io.BufferedReader(Body(answer, request))
            response.url, response.request, response.connection = request.url, request, self
            if not stream:
                response.content  # reads it all
            return response

        def close(self) -> None:
            pass

    session = requests.Session()
    session.trust_env = False
    session.adapters.clear()
    session.mount("https://", Refuse())
    session.mount("http://", Refuse())
    session.mount(app.base_url + "/", Adapter())  # the closing slash: no other host can begin with this
    return session


def httpx_transport(app: AppClient) -> Any:
    httpx: Any = importlib.import_module("httpx")

    class Stream(httpx.SyncByteStream):
        def __init__(self, response: Response, request: Any) -> None:
            self._response, self._request = response, request

        def __iter__(self) -> Iterator[bytes]:
            with _translated(httpx.ReadTimeout, httpx.ReadError, self._request):
                yield from self._response.iter_bytes()

        def close(self) -> None:
            self._response.close()

    def body_of(request: Any) -> Any:
        try:
            return request.content or None
        except httpx.RequestNotRead:  # a file or an iterator
            return _streamed(request.stream, request.headers)

    class Transport(httpx.BaseTransport):
        def handle_request(self, request: Any) -> Any:
            times = request.extensions.get("timeout") or {}
            seconds = max((t for t in times.values() if t is not None), default=None)
            with _translated(httpx.ReadTimeout, httpx.ConnectError, request):
                answer = app.request(
                    request.method, _path_of(app, str(request.url)), headers=_headers(request.headers.items()), data=body_of(request), stream=True,
                    timeout=seconds
                )
            headers: Tuple[Tuple[str, str], ...] = answer.headers.items_as_sent
            return httpx.Response(answer.status_code, headers=headers, stream=Stream(answer, request))

    return Transport()
