"""The HTTP side of a WebSocket's beginning: which requests are refused, with what answer, and what the 101 says.

No token may stand in a URL (it would be in every proxy's log), whatever it is called and however it is encoded.
"""

import base64
import binascii
import hashlib
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
"""A client sends under 100, as they stand in the URL; a longer query string is not taken apart."""

_UNKNOWN_TRANSPORT = (0, "Transport unknown")
_OTHER_REVISION = (5, "Unsupported protocol version")
_KEY_BYTES = 16
_VERSION = "13"
_JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a handshake gets no WebSocket, and what it gets."""

    reason: Refusal
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self) -> web.Response:
        """For aiohttp to write."""
        return web.Response(body=self.body, status=self.status, headers=self.headers | {hdrs.CONTENT_TYPE: _JSON})

    def written(self) -> bytes:
        """To be written to a connection that is closed then."""
        headers = self.headers | {hdrs.CONTENT_TYPE: _JSON, hdrs.CONTENT_LENGTH: str(len(self.body))}
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", *map(": ".join, headers.items()), "", ""]
        return "\r\n".join(lines).encode() + self.body


class Gate:
    """Judges handshakes. `allowed_origins` are those of pages, `*` for all; who sends none is no page."""

    def __init__(self, allowed_origins: Sequence[str], admission: Admission) -> None:
        self._origins = None if "*" in allowed_origins else frozenset(allowed_origins) | {""}
        self._admission = admission

    def judge(self, request: RawRequestMessage, *, closing: bool) -> Refused | None:
        """Refuse a request, or let it in; what is wrong by itself is said before what may be better later."""
        return self.fault(request) or self.busy(closing=closing)

    def fault(self, request: RawRequestMessage) -> Refused | None:
        """What is wrong with a request by itself. It may be asked again."""
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

    def busy(self, *, closing: bool) -> Refused | None:
        """Let one more in, or send it away for now: to be asked once a handshake."""
        if closing:
            return _later(Refusal.DRAINING, "Restarting", 1)
        wait_s = self._admission.wait_s()
        return _later(Refusal.RATE, "Too many at once", wait_s) if wait_s else None

    def _origin(self, request: RawRequestMessage) -> Refused | None:
        if self._origins is None or request.headers.get(hdrs.ORIGIN, "") in self._origins:
            return None
        return _refused(Refusal.ORIGIN, 403, {"code": 4, "message": "Forbidden"})


def accepted(key: str, opening: bytes) -> bytes:
    """The 101 to a `Sec-WebSocket-Key` (RFC 6455, section 4.2.2), and right behind it the first frames."""
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
    return _refused(Refusal.TOKEN_IN_QUERY, 400, {"error": {"code": error.code, "message": error.message}})


def _revision(request: RawRequestMessage) -> Refused | None:
    query = request.url.query
    if query.get("transport") != "websocket":
        return _bad_request(*_UNKNOWN_TRANSPORT)
    if query.get("EIO") != "4":
        return _bad_request(*_OTHER_REVISION)
    return _bad_request(1, "Session ID unknown") if "sid" in query else None


def _upgrade(request: RawRequestMessage) -> Refused | None:
    """RFC 6455, section 4.2.1. `upgrade` is the parser's word that `Connection` and `Upgrade` both ask for it."""
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
    """`code` is one of Engine.IO's."""
    return _refused(Refusal.BAD_REQUEST, 400, {"code": code, "message": message})


def _later(reason: Refusal, message: str, wait_s: int) -> Refused:
    """503. The HTTP connection ends, too, so that a proxy or a client tries anew, perhaps elsewhere."""
    headers = {"Retry-After": str(wait_s), "Connection": "close"}
    return _refused(reason, 503, {"code": 3, "message": message}, headers)


def _refused(
    reason: Refusal, status: int, body: Mapping[str, object], headers: dict[str, str] | None = None
) -> Refused:
    return Refused(reason, status, orjson.dumps(body), headers or {})
