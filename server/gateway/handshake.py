"""The HTTP side of a WebSocket's beginning: which requests are refused, with what answer, and what the 101 says.

No token may stand in a URL (it would be in every proxy's log), whatever it is called and however it is encoded.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import HttpVersion11, web

from server.domain.errors import TokenInQuery
from server.gateway.admission import Admission
from server.ports.metrics import Refusal

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
_JWT = re.compile(r"eyJ[\w-]+(?:\.|%2E)[\w-]+", re.IGNORECASE)  # the dot encoded twice, too


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a handshake gets no WebSocket, and what it gets."""

    reason: Refusal
    answer: web.Response


class Gate:
    """Judges handshakes. `allowed_origins` are those of pages, `*` for all; who sends none is no page."""

    def __init__(self, allowed_origins: Sequence[str], admission: Admission) -> None:
        self._origins = None if "*" in allowed_origins else frozenset(allowed_origins) | {""}
        self._admission = admission

    def judge(self, request: web.Request, *, closing: bool) -> Refused | None:
        """Refuse a request, or let it in; what is wrong by itself is said before what may be better later."""
        checks: tuple[Callable[[web.Request], Refused | None], ...] = (_token, _revision, self._origin, _upgrade)
        for check in checks:
            if (refused := check(request)) is not None:
                return refused
        if closing:
            return _later(Refusal.DRAINING, "Restarting", 1)
        wait_s = self._admission.wait_s()
        return _later(Refusal.RATE, "Too many at once", wait_s) if wait_s else None

    def _origin(self, request: web.Request) -> Refused | None:
        if self._origins is None or request.headers.get("Origin", "") in self._origins:
            return None
        return Refused(Refusal.ORIGIN, _json({"code": 4, "message": "Forbidden"}, 403))


def accepted(key: str, opening: bytes) -> bytes:
    """The 101 to a `Sec-WebSocket-Key` (RFC 6455, section 4.2.2), and right behind it the first frames."""
    digest = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n" + opening
    )


def _token(request: web.Request) -> Refused | None:
    for name, value in request.query.items():
        if name.lower() in _TOKEN_NAMES or _JWT.search(value) or _JWT.search(name):
            error = TokenInQuery("a token stands in the URL; send it in the CONNECT payload, and replace it")
            body = {"error": {"code": error.code, "message": error.message}}
            return Refused(Refusal.TOKEN_IN_QUERY, _json(body, 400))
    return None


def _revision(request: web.Request) -> Refused | None:
    query = request.query
    if query.get("transport") != "websocket":
        return _bad_request(0, "Transport unknown")
    if query.get("EIO") != "4":
        return _bad_request(5, "Unsupported protocol version")
    return _bad_request(1, "Session ID unknown") if "sid" in query else None


def _upgrade(request: web.Request) -> Refused | None:
    opens = request.method == "GET" and request.version >= HttpVersion11
    if opens and web.WebSocketResponse(compress=False).can_prepare(request):
        return None
    return _bad_request(3, "Bad request")


def _bad_request(code: int, message: str) -> Refused:
    """`code` is one of Engine.IO's."""
    return Refused(Refusal.BAD_REQUEST, _json({"code": code, "message": message}, 400))


def _later(reason: Refusal, message: str, wait_s: int) -> Refused:
    """503. The HTTP connection ends, too, so that a proxy or a client tries anew, perhaps elsewhere."""
    headers = {"Retry-After": str(wait_s), "Connection": "close"}
    return Refused(reason, _json({"code": 3, "message": message}, 503, headers))


def _json(body: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers, dumps=lambda value: orjson.dumps(value).decode())
