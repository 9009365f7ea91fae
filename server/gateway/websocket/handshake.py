"""The HTTP part of a WebSocket handshake: the checks, and the 101."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence

from aiohttp import HttpVersion11, hdrs
from aiohttp.http import RawRequestMessage

from server.domain.origins import is_own
from server.domain.proxies import Client
from server.gateway.websocket import query, refusals
from server.gateway.websocket.admission import Admission
from server.gateway.websocket.plain_handshake import PlainHandshake
from server.gateway.websocket.refusals import Refused

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 4.2.2
_KEY_BYTES = 16
_VERSION = "13"

Handshake = RawRequestMessage | PlainHandshake
"""A request, parsed by aiohttp or read as a plain one."""


def never() -> bool:
    """Say that there is time for newcomers."""
    return False


class HandshakeChecks:
    """Decides which handshakes are refused. `allowed_origins` are origins of pages, or `*` for all; `busy` says if the
    replica has no time for newcomers.

    A request without an origin is allowed: it is not from a page. So is one with the server's own.
    """

    def __init__(self, allowed_origins: Sequence[str], admission: Admission, busy: Callable[[], bool] = never) -> None:
        self._origins = None if "*" in allowed_origins else frozenset(allowed_origins) | {""}
        self._admission = admission
        self._crowds = admission.crowds
        self._busy = busy

    def fault(self, request: Handshake) -> Refused | None:
        """Check a request by itself; it may be checked again. Returns None if nothing is wrong with it."""
        if isinstance(request, PlainHandshake):  # all but the origin has been checked as it was read
            return self._foreign(request)
        return query.fault(request) or self._foreign(request) or _upgrade(request)

    def too_fast(self, client: Client) -> Refused | None:
        """Count a request of a client; return the answer to it if there were too many. Call this once for each."""
        return self._crowds.too_fast(client.key)

    def wait_s(self, request: Handshake, client: Client) -> float:
        """Count a request that is no handshake in the same buckets; return the seconds that its client has to wait."""
        return self._crowds.wait_s(client.key) or self._admission.wait_s(lambda: cookie_of(request))

    def overload(self, request: Handshake, client: Client, *, closing: bool) -> Refused | None:
        """Admit a further handshake that is right, or return the answer. Call this once for each handshake."""
        if closing:
            return refusals.draining()
        if self._busy():
            return refusals.busy()
        if (refused := self._crowds.too_large(client.key)) is not None:
            return refused
        wait_s = self._admission.wait_s(lambda: cookie_of(request))
        return refusals.too_fast(wait_s) if wait_s else None

    def _foreign(self, request: Handshake) -> Refused | None:
        if self._origins is None or (origin := _field(request, b"origin", hdrs.ORIGIN)) in self._origins:
            return None
        return None if is_own(origin, _field(request, b"host", hdrs.HOST)) else refusals.foreign_origin()


def key_of(request: Handshake) -> str:
    """Return the `Sec-WebSocket-Key` of a request that has been checked."""
    return _field(request, b"sec-websocket-key", hdrs.SEC_WEBSOCKET_KEY)


def forwarded_for(request: Handshake) -> str:
    """Return the client's address as the proxies tell it (`X-Forwarded-For`); empty without proxies."""
    return _field(request, b"x-forwarded-for", hdrs.X_FORWARDED_FOR)


def cookie_of(request: Handshake) -> str:
    """Return the client's cookies; empty without any."""
    return _field(request, b"cookie", hdrs.COOKIE)


def notices_close(request: Handshake) -> bool:
    """Say whether the client notices a close frame. OkHttp, below Socket.IO's Java client, tells of one only to an
    application that closes in its turn, which that client never does: it goes on until its ping timeout."""
    return "okhttp/" not in _field(request, b"user-agent", hdrs.USER_AGENT)


def accepted(key: str, opening: bytes) -> bytes:
    """Return the 101 to a `Sec-WebSocket-Key` (RFC 6455, section 4.2.2), and the first frames behind it."""
    digest = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n" + opening
    )


def _field(request: Handshake, plain: bytes, parsed: str) -> str:
    """Return a header by its name, which is given in both forms; empty if it is not there."""
    if isinstance(request, PlainHandshake):
        return request.headers.get(plain, b"").decode()
    return ",".join(request.headers.getall(parsed, ()))


def _upgrade(request: RawRequestMessage) -> Refused | None:
    """Check RFC 6455, section 4.2.1. `request.upgrade` says that `Connection` and `Upgrade` both ask for an upgrade.

    A body has no meaning here: behind the 101 it would be read as frames.
    """
    headers = request.headers
    opens = (
        request.method == hdrs.METH_GET
        and request.version >= HttpVersion11
        and request.upgrade
        and headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"
        and headers.get(hdrs.SEC_WEBSOCKET_VERSION) == _VERSION
        and _is_key(headers.get(hdrs.SEC_WEBSOCKET_KEY, ""))
        and hdrs.TRANSFER_ENCODING not in headers
        and not headers.get(hdrs.CONTENT_LENGTH, "").strip("0 ")
    )
    return None if opens else refusals.no_websocket()


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False
