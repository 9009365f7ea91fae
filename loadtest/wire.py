"""The handshake and the Socket.IO packets as a client writes and reads them. Pure; see PROTOCOL.md."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from loadtest.frames import WireError, frame

Json = dict[str, Any]

NAMESPACE: Final = b"/chat,"
OPEN: Final = b"0"
PING: Final = b"2"
CONNECT: Final = b"40" + NAMESPACE
DISCONNECT: Final = b"41" + NAMESPACE
EVENT: Final = b"42" + NAMESPACE
ACK: Final = b"43" + NAMESPACE
CONNECT_ERROR: Final = b"44" + NAMESPACE

HEAD_LIMIT: Final = 16 * 1024
"""Bytes of an HTTP answer's head. Ours has a few hundred; a proxy may add cookies."""

_KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
_ACCEPT: Final = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The example of RFC 6455, section 1.3: the server computes the answer each time; a client need not."""


def request(host: str) -> bytes:
    """Write the HTTP request that opens a WebSocket, without a token. `host` is for the Host header."""
    return (
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n"
    ).encode()


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an HTTP answer. `retry_after_s` is 0 if the server named no time."""

    status: int
    retry_after_s: float
    rest: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Head | None":
        """Parse the bytes so far; return None while the head is not whole. Raises `WireError`."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > HEAD_LIMIT:
                raise WireError(f"no end of the HTTP head within {HEAD_LIMIT} bytes")
            return None
        first, *lines = data[:end].split(b"\r\n")
        words = first.split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise WireError("the answer to the handshake is not HTTP")
        pairs = (line.partition(b":") for line in lines)
        fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
        status = int(words[1])
        if status == 101 and fields.get(b"sec-websocket-accept") != _ACCEPT:
            raise WireError("the handshake's answer does not match its key: no WebSocket server")
        wait = fields.get(b"retry-after", b"")
        return cls(status, float(wait) if wait.isdigit() else 0.0, data[end + 4 :])


PONG: Final = frame(b"3")


def connect(token: str, resume: Json) -> bytes:
    """Write the CONNECT packet, framed."""
    return frame(CONNECT + orjson.dumps({"token": token, "resume": resume} if resume else {"token": token}))


def command(number: int, name: str, payload: Json) -> bytes:
    """Write a command that asks for an ack, framed."""
    return frame(EVENT + str(number).encode() + orjson.dumps([name, payload]))


def parse_event(packet: bytes) -> tuple[str, Json]:
    """Read an EVENT packet's name and payload. Raises `WireError`."""
    body = _loads(packet[len(EVENT) :])
    if not isinstance(body, list) or len(body) != 2 or not isinstance(body[0], str) or not isinstance(body[1], dict):
        raise WireError("an event without a name and one object")
    return body[0], body[1]


_CACHED_BYTES: Final = 2_048
_cached_event = lru_cache(maxsize=1_024)(parse_event)


def parse_event_once(packet: bytes) -> tuple[str, Json]:
    """As `parse_event`. Members of a channel in one process get the same bytes: they are parsed once, and the result is
    never changed."""
    return _cached_event(packet) if len(packet) <= _CACHED_BYTES else parse_event(packet)


def parse_ack(packet: bytes) -> tuple[int, Json]:
    """Read an ACK packet's number and envelope. Raises `WireError`."""
    start = packet.find(b"[")
    number = packet[len(ACK) : start]
    body = _loads(packet[start:]) if start > 0 and number.isdigit() else None
    if not isinstance(body, list) or len(body) != 1 or not isinstance(body[0], dict):
        raise WireError("an ack without a number and one object")
    return int(number), body[0]


def parse_object(packet: bytes, kind: bytes) -> Json:
    """Read the object behind a packet's kind. Raises `WireError`."""
    body = _loads(packet[len(kind) :])
    if not isinstance(body, dict):
        raise WireError("a packet without its object")
    return body


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise WireError("a packet that is not JSON") from None
