"""The bytes of the protocol as a client writes and reads them: handshake, WebSocket frames, Socket.IO packets.

No I/O, so that clients on asyncio and on gevent share it. See PROTOCOL.md, and RFC 6455 for the frames.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import orjson

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

MESSAGE_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one message from the server. The longest that it sends is a replay, of less than 1 MiB."""

_KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
_ACCEPT: Final = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The example of RFC 6455, section 1.3: the server has to work it out each time; we need not."""

_SHORT: Final = 125
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
_WHOLE_TEXT: Final = 0x80 | 0x1


class WireError(Exception):
    """The server, or something in between, said what the protocol does not allow."""


class Opcode(IntEnum):
    """RFC 6455, section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


def request(host: str) -> bytes:
    """The HTTP request that opens a WebSocket; `host` as in the Host header. It carries no token: CONNECT does."""
    return (
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n"
    ).encode()


@dataclass(frozen=True, slots=True)
class Head:
    """An HTTP answer's head. `retry_after_s` is 0 where the server named none."""

    status: int
    retry_after_s: float
    rest: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Head | None":
        """Parse what has come so far; None while the head is not whole. Raises `WireError`."""
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


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """One whole frame of a client. Its mask is zero: lawful bytes, and the work is the server's, not the load's."""
    size, first = len(payload), 0x80 | opcode
    if size <= _SHORT:
        return struct.pack("!BBI", first, 0x80 | size, 0) + payload
    if size < 1 << 16:
        return struct.pack("!BBHI", first, 0x80 | _LENGTH_16, size, 0) + payload
    return struct.pack("!BBQI", first, 0x80 | _LENGTH_64, size, 0) + payload


PONG: Final = frame(b"3")


def connect(token: str, resume: Json) -> bytes:
    """The CONNECT packet, framed."""
    return frame(CONNECT + orjson.dumps({"token": token, "resume": resume} if resume else {"token": token}))


def command(number: int, name: str, payload: Json) -> bytes:
    """A command that asks for an ack, framed."""
    return frame(EVENT + str(number).encode() + orjson.dumps([name, payload]))


def closing(code: int = 1000) -> bytes:
    """A close frame."""
    return frame(struct.pack("!H", code), Opcode.CLOSE)


def close_code(payload: bytes) -> int:
    """A close frame's code; 1005 where it has none (RFC 6455, section 7.1.5)."""
    return int(struct.unpack_from("!H", payload)[0]) if len(payload) > 1 else 1005


def parse_event(packet: bytes) -> tuple[str, Json]:
    """An EVENT packet's name and payload. Raises `WireError`."""
    body = _loads(packet[len(EVENT) :])
    if not isinstance(body, list) or len(body) != 2 or not isinstance(body[0], str) or not isinstance(body[1], dict):
        raise WireError("an event without a name and one object")
    return body[0], body[1]


def parse_ack(packet: bytes) -> tuple[int, Json]:
    """An ACK packet's number and envelope. Raises `WireError`."""
    start = packet.find(b"[")
    number = packet[len(ACK) : start]
    body = _loads(packet[start:]) if start > 0 and number.isdigit() else None
    if not isinstance(body, list) or len(body) != 1 or not isinstance(body[0], dict):
        raise WireError("an ack without a number and one object")
    return int(number), body[0]


def parse_object(packet: bytes, kind: bytes) -> Json:
    """What stands behind the packet's kind: an object. Raises `WireError`."""
    body = _loads(packet[len(kind) :])
    if not isinstance(body, dict):
        raise WireError("a packet without its object")
    return body


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise WireError("a packet that is not JSON") from None


class Frames:
    """A server's frames, however TCP has cut or joined them; messages in fragments are put together."""

    __slots__ = ("_buffer", "_opcode", "_pieces", "_size")

    def __init__(self) -> None:
        self._buffer = b""
        self._pieces: list[bytes] = []
        self._size = self._opcode = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take one read; return the messages and control frames that it completes, as (opcode, payload). Raises
        `WireError`."""
        buffer = self._buffer + data if self._buffer else data
        found: list[tuple[int, bytes]] = []
        at, end = 0, len(buffer)
        while end - at >= 2:
            size, body = buffer[at + 1], at + 2
            if size > _SHORT:
                size, body = _extent(buffer, at)
            if end - body < size:
                break
            first, at = buffer[at], body + size
            if first == _WHOLE_TEXT:
                found.append((Opcode.TEXT, buffer[body:at]))
            else:
                self._take(first, buffer[body:at], found)
        self._buffer = buffer[at:]
        return found

    def _take(self, first: int, payload: bytes, found: list[tuple[int, bytes]]) -> None:
        opcode, final = first & 0x0F, first & 0x80
        if first & 0x70:
            raise WireError("a frame with reserved bits, though no extension was asked for")
        if final and opcode != Opcode.CONTINUATION:
            found.append((opcode, payload))
            return
        if opcode != Opcode.CONTINUATION:
            self._opcode, self._pieces, self._size = opcode, [], 0
        self._pieces.append(payload)
        self._size += len(payload)
        if self._size > MESSAGE_LIMIT:
            raise WireError(f"a message of more than {MESSAGE_LIMIT} bytes")
        if final:
            found.append((self._opcode, b"".join(self._pieces)))
            self._pieces = []


def _extent(buffer: bytes, at: int) -> tuple[int, int]:
    """Size and beginning of the payload of a frame with a long header; one that is not whole yet counts as endless."""
    size, body = buffer[at + 1], at + 2
    if size & 0x80:
        raise WireError("a masked frame from the server")
    width = 2 if size == _LENGTH_16 else 8
    if len(buffer) - body < width:
        return MESSAGE_LIMIT, body
    size = int.from_bytes(buffer[body : body + width], "big")
    if size > MESSAGE_LIMIT:
        raise WireError(f"a frame of {size} bytes, over the {MESSAGE_LIMIT} that a server's may have")
    return size, body + width
