"""Read the plainest of handshakes: as browsers, socket.io-client and python-socketio send them, directly or by a proxy.

aiohttp's parser and the URL that it makes cost more than all the rest of opening a connection. A request that is
exactly as expected needs neither. Everything else is not judged here: a request in pieces, another argument in the URL,
a header by a name that is not listed, twice the same header, or a value that has to be interpreted.

A test holds this reader against aiohttp's parser and the checks of `HandshakeChecks`: what is read here passes there.
"""

import re
from typing import NamedTuple

MAX_PLAIN_BYTES = 4_096
"""Length of a request that is read here: a browser's has some 500 bytes and its cookies."""

MAX_PLAIN_HEADERS = 48
"""Headers of a request that is read here: a browser behind two proxies sends some 25."""

# `t` is a time, by which python-socketio keeps caches out of its way. Quantifiers are possessive: one pass decides.
_REQUEST = re.compile(
    rb"GET /socket\.io/\?(?:EIO=4&transport=websocket|transport=websocket&EIO=4)(?:&t=[0-9.]{1,32}+)? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]++: [ -~]++\r\n)++)\r\n"
)
_HEADER = re.compile(rb"([A-Za-z0-9-]++): ([ -~]++)\r\n")
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in Base64

_UPGRADES = frozenset((b"upgrade", b"keep-alive, upgrade"))
_USUAL = frozenset(
    (
        b"host",
        b"upgrade",
        b"connection",
        b"origin",
        b"user-agent",
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"pragma",
        b"cookie",
        b"dnt",
        b"forwarded",
        b"via",
        b"traceparent",
        b"tracestate",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-gpc",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-version",
    )
)
"""Headers that say nothing about how a request is to be read, beside those that are compared below."""


class PlainHandshake(NamedTuple):
    """A plain handshake: its headers, by their names in lower case."""

    headers: dict[bytes, bytes]


def read_plain(data: bytes) -> tuple[PlainHandshake, bytes] | None:
    """Return the plain handshake at the beginning of a read, and the bytes behind it; None if it has to be parsed."""
    found = _REQUEST.match(data, 0, MAX_PLAIN_BYTES)
    if found is None:
        return None
    lines = _HEADER.findall(found[1])
    headers = {name.lower(): value for name, value in lines}
    if len(headers) != len(lines) or len(lines) > MAX_PLAIN_HEADERS or b"host" not in headers:
        return None
    if any(not name.startswith(b"x-") for name in headers.keys() - _USUAL):
        return None
    key = headers.get(b"sec-websocket-key", b"")
    upgrades = (
        headers.get(b"upgrade", b"").lower() == b"websocket"
        and headers.get(b"connection", b"").lower() in _UPGRADES
        and headers.get(b"sec-websocket-version") == b"13"
        and _KEY.fullmatch(key)
    )
    if not upgrades:
        return None
    return PlainHandshake(headers), data[found.end() :]
