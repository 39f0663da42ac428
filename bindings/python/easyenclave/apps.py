"""Private apps: requests over an attested way to a workload that has no public port. AppClient is made by client.py's connect()."""
from __future__ import annotations

import codecs
import io
import json as json_module
import os
import re
import stat
import time
from types import TracebackType
from typing import Any, Dict, Final, IO, Iterable, Iterator, List, Mapping, NoReturn, Optional, Sequence, Tuple, Type, Union
from urllib.parse import quote, urlencode

from . import _calls, errors
from . import eesdk_raw as raw
from ._calls import milliseconds
from .verify import Attestation, attestation_of

Params = Union[Mapping[str, Any], Sequence[Tuple[str, Any]], str, None]
Piece = Union[bytes, bytearray, memoryview, str]
Data = Union[Piece, Mapping[str, Any], Sequence[Tuple[str, Any]], IO[bytes], IO[str], Iterable[Piece], None]
"""A body: bytes or text; a mapping or pairs, sent as a form; a file or an iterator of pieces, streamed in flat memory whatever its size."""

DEFAULT_TIMEOUT: Final = 30.0
_PATH_SAFE: Final = "".join(chr(c) for c in range(0x21, 0x7F))
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TIMEOUT, _END = -19, -31
_BLOCK: Final = 256 * 1024


class Headers(Mapping[str, str]):
    """Headers of a response. Names in any case; a header that came several times reads as one, joined with commas."""

    def __init__(self, items: Sequence[Tuple[str, str]]) -> None:
        self.items_as_sent: Tuple[Tuple[str, str], ...] = tuple(items)
        self._joined: Dict[str, Tuple[str, str]] = {}
        for name, value in items:
            before = self._joined.get(name.lower())
            self._joined[name.lower()] = (name, value) if before is None else (before[0], f"{before[1]}, {value}")

    def __getitem__(self, name: str) -> str:
        return self._joined[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._joined.values())

    def __len__(self) -> int:
        return len(self._joined)

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"


class Response:
    """An app's answer, with the members people know from requests and httpx. Redirects are handed back, not followed."""

    status_code: int
    headers: Headers
    url: str

    def __init__(self, handle: _calls.Handle, app: AppClient, url: str, stream: bool, timeout: float, cancel: Optional[_calls.Cancel]) -> None:
        self._handle = handle
        self._app = app
        self._timeout = timeout
        self._cancel = cancel  # C reads a streamed body with it
        self._content: Optional[bytes] = None
        self._started = False
        self.url = url
        pointer = handle.acquire()
        try:
            self.status_code = raw.ee_response_status(pointer)
            count = raw.ee_response_header_count(pointer)
            self.headers = Headers([(raw.ee_response_header_name(pointer, i), raw.ee_response_header_value(pointer, i)) for i in range(count)])
            if not stream:
                self._content = raw.ee_response_body(pointer)
        finally:
            handle.release()
        if not stream:
            self.close()

    @property
    def ok(self) -> bool:
        return self.status_code < 400

    @property
    def content(self) -> bytes:
        """The whole body."""
        if self._content is None:
            self._content = b"".join(self.iter_bytes())
        return self._content

    @property
    def encoding(self) -> str:
        """The charset of Content-Type, else UTF-8."""
        match = re.search(r"charset=\"?([\w.:-]+)", self.headers.get("content-type", ""), re.I)
        try:
            return codecs.lookup(match[1]).name if match else "utf-8"
        except LookupError:
            return "utf-8"

    @property
    def text(self) -> str:
        return self.content.decode(self.encoding, "replace")

    def json(self) -> Any:
        return json_module.loads(self.content)

    @property
    def attestation(self) -> Attestation:
        """Of the app that answered."""
        return self._app.attestation

    def raise_for_status(self) -> Response:
        """Itself below 400; else an error of the kind that fits the status."""
        if self.status_code < 400:
            return self
        kinds: Dict[int, Type[errors.Error]] = {
            401: errors.AuthError,
            403: errors.PermissionDeniedError,
            404: errors.NotFoundError,
            409: errors.ConflictError,
            429: errors.RateLimitError,
        }
        kind = kinds.get(self.status_code, errors.ServerError if self.status_code >= 500 else errors.InvalidRequestError)
        raise kind(f"the app answered {self.status_code} to {self.url}", details={"http_status": self.status_code})

    def iter_bytes(self, size: int = 65536) -> Iterator[bytes]:
        """The body in pieces of at most `size` bytes, as they come. Once for a streamed body."""
        if self._content is not None:
            for at in range(0, len(self._content), size):
                yield self._content[at : at + size]
            return
        if self._started:
            raise errors.StateError("the body has been read already")
        self._started = True
        try:
            while True:
                piece = self._read()
                if piece is None:
                    return
                for at in range(0, len(piece), size):
                    yield piece[at : at + size]
        finally:
            self.close()

    def _read(self) -> Optional[bytes]:
        """The next piece as it came; None at the end. C is left every 100 ms, so that signal handlers run."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return _calls._run(raw.ees_response_read, (self._handle, _calls.SLICE_MS))
            except raw.RawError as failure:
                status = failure.args[0]
                if status == _END:
                    return None
                if status == _TIMEOUT and time.monotonic() < deadline:
                    continue
                error = errors.from_fields(failure.args)
            raise error

    def close(self) -> None:
        """Let go of the connection; a streamed body that was not read to its end is dropped."""
        self._handle.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a response belongs to a connection of this process and cannot be pickled: keep its content")


class Forward:
    """A port of 127.0.0.1 that leads to the app, for any other program, until close()."""

    def __init__(self, handle: _calls.Handle) -> None:
        self._handle = handle
        self.port: int = _calls.plain(raw.ee_forward_port, handle)
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        _calls.wait(self._handle.close)

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Forward({self.url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a forwarded port belongs to this process and cannot be pickled")


class AppClient:
    """An attested way to an app. Many threads may use one at once. Close it, or use `with`."""

    def __init__(self, handle: _calls.Handle) -> None:
        self._handle = handle
        self.base_url: str = _calls.plain(raw.ee_app_base_url, handle)

    @property
    def attestation(self) -> Attestation:
        """Of the machine the app was reached on last; verified before connect() returned."""
        pointer = self._handle.acquire()
        try:
            return attestation_of(raw.ee_app_attestation(pointer))
        finally:
            self._handle.release()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params = None,
        headers: Optional[Mapping[str, str]] = None,
        json: Any = None,
        data: Data = None,
        stream: bool = False,
        timeout: Optional[float] = None,
    ) -> Response:
        """One HTTP request to the app. `path` starts with "/", or with base_url. With stream=True it returns at the headers; read the body with
        iter_bytes(). A file or an iterator as `data` is sent as it is read. `timeout` seconds are for the whole request, or for each wait of a
        streamed body; None = 30."""
        path = self._path(path, params)
        lines, body = _headers_and_body(headers, json, data)
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        cancel = _calls.cancel_of_this_call()
        given = self._handle, _calls.text_of("method", method).upper(), path, _calls.block_of(lines)
        options = min(milliseconds("timeout", seconds), 2**32 - 1), int(stream), cancel
        if isinstance(body, Streamed):
            pointer = self._upload(body, given, options, cancel)
        else:
            pointer = _calls.wait(raw.ees_app_request, *given, body, *options, cancel=cancel, discard=raw.ee_response_free)
        handle = _calls.Handle(pointer, raw.ee_response_free, "response", self._handle)
        return Response(handle, self, self.base_url + path, stream, seconds, cancel)

    def _upload(self, body: Streamed, given: Tuple[Any, ...], options: Tuple[Any, ...], cancel: _calls.Cancel) -> raw.Response:
        """Piece by piece; an exception of the iterator comes out as it is, and the app sees the connection break off."""
        pointer = _calls.wait(raw.ees_upload_open, *given, body.size, *options, cancel=cancel, discard=raw.ee_upload_free)
        upload = _calls.Handle(pointer, raw.ee_upload_free, "request", self._handle)
        try:
            for piece in body.pieces:
                try:
                    _calls.wait(raw.ees_upload_write, upload, piece, cancel=cancel)
                except errors.EndOfStream:  # the app has answered and wants no more
                    break
            return _calls.wait(raw.ees_upload_finish, upload, cancel=cancel, discard=raw.ee_response_free)
        finally:
            upload.close()

    def get(
        self,
        path: str,
        *,
        params: Params = None,
        headers: Optional[Mapping[str, str]] = None,
        stream: bool = False,
        timeout: Optional[float] = None,
    ) -> Response:
        return self.request("GET", path, params=params, headers=headers, stream=stream, timeout=timeout)

    def post(
        self,
        path: str,
        *,
        params: Params = None,
        headers: Optional[Mapping[str, str]] = None,
        json: Any = None,
        data: Data = None,
        stream: bool = False,
        timeout: Optional[float] = None,
    ) -> Response:
        return self.request("POST", path, params=params, headers=headers, json=json, data=data, stream=stream, timeout=timeout)

    def put(
        self,
        path: str,
        *,
        params: Params = None,
        headers: Optional[Mapping[str, str]] = None,
        json: Any = None,
        data: Data = None,
        stream: bool = False,
        timeout: Optional[float] = None,
    ) -> Response:
        return self.request("PUT", path, params=params, headers=headers, json=json, data=data, stream=stream, timeout=timeout)

    def delete(
        self,
        path: str,
        *,
        params: Params = None,
        headers: Optional[Mapping[str, str]] = None,
        stream: bool = False,
        timeout: Optional[float] = None,
    ) -> Response:
        return self.request("DELETE", path, params=params, headers=headers, stream=stream, timeout=timeout)

    def forward(self, port: int = 0) -> Forward:
        """Open 127.0.0.1:port (0 = any free one) as a way to the app for other programs."""
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 65536:
            raise errors.InvalidRequestError(f"port is {port!r}; it must be 0 to 65535")
        return Forward(_calls.Handle(_calls.plain(raw.ees_app_forward, self._handle, port), raw.ee_forward_free, "forwarded port", self._handle))

    def requests_session(self) -> Any:
        """A requests.Session whose calls to base_url go to the app, and no others anywhere. Needs the package requests."""
        from .adapters import requests_session

        return requests_session(self)

    def httpx_transport(self) -> Any:
        """An httpx.BaseTransport for httpx.Client(transport=...): base_url only. Needs the package httpx."""
        from .adapters import httpx_transport

        return httpx_transport(self)

    def close(self) -> None:
        """Close the connections, when the last response that is being read is done. May be called again."""
        _calls.wait(self._handle.close)

    def _path(self, path: str, params: Params) -> str:
        path = quote(_calls.text_of("path", path), safe=_PATH_SAFE)
        if path.startswith(self.base_url + "/") or path == self.base_url:
            path = path[len(self.base_url) :] or "/"
        if not path.startswith("/"):
            raise errors.InvalidRequestError(f'the path is {path!r}; it must start with "/" or with {self.base_url}: this client reaches its app only')
        if params:
            query = params if isinstance(params, str) else _form("params", params)
            path += ("&" if "?" in path else "?") + quote(_calls.text_of("params", query), safe=_PATH_SAFE)
        return path

    def __enter__(self) -> AppClient:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"AppClient({self.base_url!r}{', closed' if self._handle.closed else ''})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AppClient holds connections of this process and cannot be pickled: connect() again")


class Streamed:
    """A body that is sent while it is made. `size` in bytes; 0 = not known."""

    def __init__(self, pieces: Iterator[raw.Bytes], size: int = 0) -> None:
        self.pieces, self.size = pieces, size


def _piece(what: str, value: object) -> raw.Bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return value
    raise errors.InvalidRequestError(f"{what} is {type(value).__name__}; it must be bytes or text")


def _read(file: Any) -> Iterator[raw.Bytes]:
    while True:
        block = file.read(_BLOCK)
        if not block:
            return
        yield _piece("what data.read() gave", block)


def _iterate(values: Iterable[object]) -> Iterator[raw.Bytes]:
    for i, value in enumerate(values):
        yield _piece(f"piece {i} of data", value)


def _size_left(file: Any) -> int:
    """From where it stands to its end, where that is beyond doubt; 0 for everything else: what reads a file may unpack it."""
    if isinstance(file, io.BytesIO):
        return max(0, len(file.getbuffer()) - file.tell())
    if type(file) not in (io.BufferedReader, io.BufferedRandom, io.FileIO) or not isinstance(getattr(file, "raw", file), io.FileIO):
        return 0
    info = os.fstat(file.fileno())
    return max(0, info.st_size - int(file.tell())) if stat.S_ISREG(info.st_mode) else 0


def _form(name: str, value: Any) -> str:
    try:
        return urlencode(value, doseq=True)
    except (TypeError, ValueError):
        raise errors.InvalidRequestError(f"{name} must be a mapping, or pairs of a name and a value") from None


def _body(data: Any) -> Tuple[Union[raw.Bytes, Streamed], str]:
    """The body and the content type that it has unless another is given."""
    octets = "application/octet-stream"
    if isinstance(data, Streamed):
        return data, ""
    if isinstance(data, str):
        return data.encode(), "text/plain; charset=utf-8"
    if isinstance(data, (bytes, bytearray, memoryview)):
        return data, octets
    if isinstance(data, (Mapping, Sequence)):
        return _form("data", data).encode(), "application/x-www-form-urlencoded"
    if callable(getattr(data, "read", None)):
        return Streamed(_read(data), _size_left(data)), octets
    if isinstance(data, Iterable):
        return Streamed(_iterate(data)), octets
    more = ": an asynchronous iterator is read by no thread" if hasattr(data, "__aiter__") else ""
    raise errors.InvalidRequestError(
        f"data is {type(data).__name__}; it must be bytes, text, a mapping or pairs for a form, a file, or an iterator of bytes or text{more}"
    )


def _headers_and_body(headers: Optional[Mapping[str, str]], json: Any, data: Data) -> Tuple[List[str], Union[raw.Bytes, Streamed]]:
    lines = []
    given = set()
    if headers is not None and not isinstance(headers, Mapping):
        raise errors.InvalidRequestError(f"headers is {type(headers).__name__}; it must be a mapping of names to text")
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise errors.InvalidRequestError(f"{name!r} cannot be the name of a header")
        if not isinstance(value, str) or any(c in value for c in "\r\n\0"):
            raise errors.InvalidRequestError(f"header {name} must be one line of text")
        given.add(name.lower())
        lines.append(f"{name}: {value}")
    body: Union[raw.Bytes, Streamed] = b""
    kind = ""
    if json is not None and data is not None:
        raise errors.InvalidRequestError("give json or data, not both")
    if json is not None:
        try:
            body, kind = json_module.dumps(json, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(), "application/json"
        except (TypeError, ValueError) as error:
            raise errors.InvalidRequestError(f"json cannot be written as JSON: {error}") from None
    elif data is not None:
        body, kind = _body(data)
    if kind and "content-type" not in given:
        lines.append(f"Content-Type: {kind}")
    return lines, body
