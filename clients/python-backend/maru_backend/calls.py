"""Calls over HTTP: each is tried until it is answered for good, or until its time is up."""

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from maru_backend.errors import MS, MaruError, Patience

Json = dict[str, Any]

T = TypeVar("T")

PREFIX = "/api/v1"

_RETRIED = frozenset({408, 429, 502, 503, 504})
"""Statuses that a proxy before the server may answer by itself, and that pass."""

_ANSWER_BYTES = 32 * 1024 * 1024
"""An answer that is larger is none of Maru's: a full page of the longest messages has 5 MiB."""

_DIGITS = 12
"""Digits of a `Retry-After` that are read: its wait is longer than any patience then."""

TIMEOUT = "timeout"

_log = logging.getLogger("maru_backend")


@dataclass(frozen=True, slots=True)
class Request:
    """A call to make: `operation` is its name in the server's description. `key`: its `Idempotency-Key`."""

    operation: str
    method: str
    path: str
    query: Mapping[str, str | int | None] = field(default_factory=dict)
    body: Json | None = None
    key: str | None = None


def segment(value: str) -> str:
    """Return a value as a segment of a path: with slashes and dots that keep their place in it."""
    if not value:
        raise MaruError("bad_request", "an empty name can not stand in a path")
    quoted = _checked(lambda: quote(value, safe=""))
    return quoted.replace(".", "%2E") if value in (".", "..") else quoted


def new_key() -> str:
    """Make an idempotency key."""
    return str(uuid.uuid4())


class Calls:
    """Makes calls over connections that are kept open. The key goes into no log line, error or `repr`."""

    def __init__(self, url: str, key: str, patience: Patience, connections: int) -> None:
        self._url = _origin(url)
        self._headers = {"Authorization": f"Bearer {_header(key, 'the key')}"}
        self._patience = patience
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def url(self) -> str:
        """Of the server, as it was given."""
        return str(self._url)

    @property
    def patience(self) -> Patience:
        """How long calls are tried."""
        return self._patience

    async def __aenter__(self) -> Self:
        if self._session is not None:
            raise RuntimeError("entered already: make another client")
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=None),
            raise_for_status=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def deadline(self) -> float:
        """Return the time of the loop at which a call that begins now gives up."""
        return asyncio.get_running_loop().time() + self._patience.total

    async def answer(self, request: Request, deadline: float | None = None) -> Json:
        """Make a call until it is answered, and return the answer's JSON; `{}` without a body. Raises `MaruError`."""
        content = None if request.body is None else _encoded(request.body)
        request_id = uuid.uuid4().hex
        deadline = self.deadline() if deadline is None else deadline
        failures, last = 0, None
        while True:
            try:
                return await self._attempt(request, content, request_id, deadline)
            except MaruError as error:
                if error.code == TIMEOUT and last is not None and asyncio.get_running_loop().time() >= deadline:
                    raise last from error  # the time was up during this try: the one before it tells more
                if not error.retryable or not await self.pause(request.operation, failures, error, deadline):
                    raise
                failures, last = failures + 1, error

    async def pause(self, operation: str, failures: int, error: MaruError, deadline: float) -> bool:
        """Wait before the next try; False, without a wait, if it would begin too late."""
        wait = self._patience.pause(failures, error)
        if asyncio.get_running_loop().time() + wait >= deadline:
            return False
        _log.info("%s: %s, tried again in %.2f s (request %s)", operation, error.code, wait, error.request_id)
        await asyncio.sleep(wait)
        return True

    async def _attempt(self, request: Request, content: bytes | None, request_id: str, deadline: float) -> Json:
        if self._closed:
            raise MaruError("closed", "the client is closed")
        if self._session is None:
            raise RuntimeError("enter the client first: async with MaruBackend(...) as backend")
        headers = {"X-Request-Id": request_id}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if request.key is not None:
            headers["Idempotency-Key"] = _header(request.key, "the idempotency key")
        left = deadline - asyncio.get_running_loop().time()
        try:
            async with (
                asyncio.timeout(min(self._patience.attempt, max(left, 0.0))),
                self._session.request(
                    request.method,
                    URL(f"{self._url}{PREFIX}{request.path}", encoded=True),
                    params={name: str(value) for name, value in request.query.items() if value is not None},
                    data=content,
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                return _read(response, await _body(response), request_id)
        except TimeoutError:
            raise _lost(TIMEOUT, f"no answer to {request.operation} in time", request_id) from None
        except aiohttp.ClientError as cause:
            if self._closed:
                raise MaruError("closed", "the client was closed during the call") from None
            reason = f"{request.operation} was not answered ({type(cause).__name__})"
            raise _lost("offline", reason, request_id) from cause


def _lost(code: str, message: str, request_id: str) -> MaruError:
    return MaruError(code, message, retryable=True, request_id=request_id)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Return the whole body, or more than `_ANSWER_BYTES` of it."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > _ANSWER_BYTES:
            break
    return b"".join(pieces)


def _read(response: aiohttp.ClientResponse, body: bytes, request_id: str) -> Json:
    """Return the answer's JSON. Raises the `MaruError` that it holds, or `bad_answer`."""
    status = response.status
    request_id = response.headers.get("X-Request-Id", request_id)
    try:
        value = json.loads(body) if body and len(body) <= _ANSWER_BYTES else None
    except (ValueError, RecursionError):
        value = None
    if status in (200, 201, 204):
        if status == 204:  # noqa: PLR2004  # No Content
            return {}
        if isinstance(value, dict):
            return value
        raise MaruError("bad_answer", f"{status} without a JSON object", status=status, request_id=request_id)
    try:
        error = MaruError.from_wire((value or {})["error"], status=status, request_id=request_id)
    except (KeyError, TypeError, ValueError):
        error = _foreign(status, request_id)
    if error.retryable and error.retry_after_ms is None:
        error.retry_after_ms = _retry_after(response)
    raise error


def _foreign(status: int, request_id: str) -> MaruError:
    """Return the error for an answer that is none of Maru's: of a proxy, or of another server at this address."""
    if status in _RETRIED:
        message = f"the server's proxy answered {status}"
        return MaruError("unavailable", message, retryable=True, status=status, request_id=request_id)
    message = f"{status} without an error of Maru's: is this the address of the HTTP API?"
    return MaruError("bad_answer", message, status=status, request_id=request_id)


def _retry_after(response: aiohttp.ClientResponse) -> int | None:
    seconds = response.headers.get("Retry-After", "")
    return int(seconds[:_DIGITS]) * MS if seconds.isascii() and seconds.isdigit() else None


def _encoded(body: Json) -> bytes:
    return _checked(
        lambda: json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(),
    )


def _checked(make: Callable[[], T]) -> T:
    try:
        return make()
    except (TypeError, ValueError, RecursionError) as cause:
        raise MaruError("bad_request", f"not JSON in UTF-8 ({type(cause).__name__})") from None


def _origin(url: str) -> URL:
    """Return the server's address without a slash at the end. Raises `ValueError`."""
    parsed = URL(url.rstrip("/"))
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.user or parsed.query or parsed.fragment:
        raise ValueError("expected the address of the HTTP API, such as http://maru-internal:9090, without credentials")
    return parsed


def _header(value: str, name: str) -> str:
    """Return a value that can stand in a header. Raises `ValueError`, without the value."""
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{name} holds other than visible ASCII characters, or none")
    return value
