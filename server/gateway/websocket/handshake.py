"""The HTTP part of a WebSocket handshake: the checks, the answers to refused requests, and the 101.

A URL with a token in it is refused, whatever the token's name and encoding: every proxy would log it.
"""

import base64
import binascii
import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http import RawRequestMessage

from server.domain.errors import TokenInQuery
from server.domain.outcomes import Refusal
from server.gateway.websocket.admission import Admission
from server.gateway.websocket.plain_handshake import PlainHandshake
from server.wire import errors

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 4.2.2
_TOKEN_NAMES = frozenset(
    (
        "token",
        "access_token",
        "id_token",
        "refresh_token",
        "auth",
        "authorization",
        "bearer",
        "jwt",
        "api_key",
        "apikey",
    )
)
# The first `eyJ` of a run and what follows it to the run's end: every run is read once, so text made to be slow
# (`eyJeyJ...`) costs no more than other text. The dot may be encoded twice.
_JWT = re.compile(r"(?<![\w-])(?>[\w-]*?eyJ)[\w-]++(?:\.|%2E)[\w-]", re.IGNORECASE)
_TOKEN_NAME = re.compile(rf"(?:^|&)(?:{'|'.join(sorted(_TOKEN_NAMES))})(?:[=&]|$)", re.IGNORECASE)

MAX_QUERY_CHARS = 1_024
"""Length of a query string, as it is in the URL. A longer one is not parsed; clients send under 100."""

BUSY_RETRY_S = 5
"""Clients of a replica that has no room or no time are told to come back after 1 to so many seconds, at random."""

Handshake = RawRequestMessage | PlainHandshake
"""A request, parsed by aiohttp or read as a plain one."""

_UNKNOWN_TRANSPORT = (0, "Transport unknown")
_OTHER_REVISION = (5, "Unsupported protocol version")
_KEY_BYTES = 16
_VERSION = "13"
_JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a refused handshake."""

    reason: Refusal
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self) -> web.Response:
        """Return the answer for aiohttp to write."""
        return web.Response(body=self.body, status=self.status, headers=self.headers | {hdrs.CONTENT_TYPE: _JSON})

    def written(self) -> bytes:
        """Return the bytes of the answer. The connection must be closed behind them."""
        headers = self.headers | {hdrs.CONTENT_TYPE: _JSON, hdrs.CONTENT_LENGTH: str(len(self.body))}
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", *map(": ".join, headers.items()), "", ""]
        return "\r\n".join(lines).encode() + self.body


def never() -> bool:
    """Say that there is time for newcomers."""
    return False


class HandshakeChecks:
    """Decides which handshakes are refused. `allowed_origins` are origins of pages, or `*` for all; `busy` says if the
    replica has no time for newcomers.

    A request without an origin is allowed: it is not from a page.
    """

    def __init__(self, allowed_origins: Sequence[str], admission: Admission, busy: Callable[[], bool] = never) -> None:
        self._origins = None if "*" in allowed_origins else frozenset(allowed_origins) | {""}
        self._admission = admission
        self._busy = busy

    def check(self, request: RawRequestMessage, *, closing: bool) -> Refused | None:
        """Check a request by itself, then the load. Returns None if the request is admitted."""
        return self.fault(request) or self.overload(closing=closing)

    def fault(self, request: Handshake) -> Refused | None:
        """Check a request by itself; it may be checked again. Returns None if nothing is wrong with it."""
        if isinstance(request, PlainHandshake):  # all but the origin has been checked as it was read
            return self._foreign(request.origin)
        checks: tuple[Callable[[RawRequestMessage], Refused | None], ...] = (
            _length,
            _token,
            _revision,
            self._origin,
            _upgrade,
        )
        for check in checks:
            if (refused := check(request)) is not None:
                return refused
        return None

    def overload(self, *, closing: bool) -> Refused | None:
        """Admit a further handshake, or return the 503. Call this once for each handshake."""
        if closing:
            return _later(Refusal.DRAINING, "Restarting", 1)
        if self._busy():
            return _later(Refusal.BUSY, "Busy", _soon())
        wait_s = self._admission.wait_s()
        return _later(Refusal.RATE, "Too many at once", wait_s) if wait_s else None

    def _origin(self, request: RawRequestMessage) -> Refused | None:
        return self._foreign(request.headers.get(hdrs.ORIGIN, ""))

    def _foreign(self, origin: str) -> Refused | None:
        if self._origins is None or origin in self._origins:
            return None
        return _refused(Refusal.ORIGIN, 403, {"code": 4, "message": "Forbidden"})


def full() -> Refused:
    """Return the 503 of a connection for which there is no room."""
    return _later(Refusal.CONNECTIONS, "Too many connections", _soon())


def key_of(request: Handshake) -> str:
    """Return the `Sec-WebSocket-Key` of a request that has been checked."""
    return request.key if isinstance(request, PlainHandshake) else request.headers[hdrs.SEC_WEBSOCKET_KEY]


def notices_close(request: Handshake) -> bool:
    """Say whether the client notices a close frame. OkHttp, below Socket.IO's Java client, tells of one only to an
    application that closes in its turn, which that client never does: it goes on until its ping timeout."""
    agent = request.agent if isinstance(request, PlainHandshake) else request.headers.get(hdrs.USER_AGENT, "")
    return "okhttp/" not in agent


def accepted(key: str, opening: bytes) -> bytes:
    """Return the 101 to a `Sec-WebSocket-Key` (RFC 6455, section 4.2.2), and the first frames behind it."""
    digest = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n" + opening
    )


def _length(request: RawRequestMessage) -> Refused | None:
    query = request.url.raw_query_string
    if len(query) <= MAX_QUERY_CHARS:
        return None
    if _TOKEN_NAME.search(query) or _JWT.search(query):
        return _token_refused()
    arguments = query.split("&")
    if "transport=websocket" not in arguments:
        return _bad_request(*_UNKNOWN_TRANSPORT)
    if "EIO=4" not in arguments:
        return _bad_request(*_OTHER_REVISION)
    return _bad_request(3, f"Query string of more than {MAX_QUERY_CHARS:,} characters")


def _token(request: RawRequestMessage) -> Refused | None:
    for name, value in request.url.query.items():
        if name.lower() in _TOKEN_NAMES or _JWT.search(value) or _JWT.search(name):
            return _token_refused()
    return None


def _token_refused() -> Refused:
    error = TokenInQuery("a token stands in the URL; send it in the CONNECT payload, and replace it")
    return _refused(Refusal.TOKEN_IN_QUERY, 400, errors.http_body(error))


def _revision(request: RawRequestMessage) -> Refused | None:
    query = request.url.query
    if query.get("transport") != "websocket":
        return _bad_request(*_UNKNOWN_TRANSPORT)
    if query.get("EIO") != "4":
        return _bad_request(*_OTHER_REVISION)
    return _bad_request(1, "Session ID unknown") if "sid" in query else None


def _upgrade(request: RawRequestMessage) -> Refused | None:
    """Check RFC 6455, section 4.2.1. `request.upgrade` says that `Connection` and `Upgrade` both ask for an upgrade."""
    headers = request.headers
    opens = (
        request.method == hdrs.METH_GET
        and request.version >= HttpVersion11
        and request.upgrade
        and headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"
        and headers.get(hdrs.SEC_WEBSOCKET_VERSION) == _VERSION
        and _is_key(headers.get(hdrs.SEC_WEBSOCKET_KEY, ""))
    )
    return None if opens else _bad_request(3, "Bad request")


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _bad_request(code: int, message: str) -> Refused:
    """Return a 400 with an error code of Engine.IO."""
    return _refused(Refusal.BAD_REQUEST, 400, {"code": code, "message": message})


def _soon() -> int:
    return random.randint(1, BUSY_RETRY_S)  # noqa: S311  # jitter


def _later(reason: Refusal, message: str, wait_s: int) -> Refused:
    """Return a 503. The HTTP connection ends, too, so that a proxy or a client tries again, perhaps elsewhere."""
    headers = {"Retry-After": str(wait_s), "Connection": "close"}
    return _refused(reason, 503, {"code": 3, "message": message}, headers)


def _refused(
    reason: Refusal, status: int, body: Mapping[str, object], headers: dict[str, str] | None = None
) -> Refused:
    return Refused(reason, status, orjson.dumps(body), headers or {})
