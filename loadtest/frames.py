"""WebSocket frames as a client writes and reads them (RFC 6455, section 5). Pure.

The only writer and reader of a client's frames: load tests, benchmarks and tests share it.
"""

import struct
from enum import IntEnum
from typing import Final

MESSAGE_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one message from the server. The longest that the server sends is a replay, of less than 1 MiB."""

ZERO_MASK: Final = b"\0\0\0\0"
"""A lawful mask that leaves the payload as it is: masking costs the load nothing, unmasking is the server's work."""

_SHORT: Final = 125
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
_WHOLE_TEXT: Final = 0x80 | 0x1


class WireError(Exception):
    """The server, or something in between, sent bytes that the protocol does not allow."""


class Opcode(IntEnum):
    """RFC 6455, section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


def header(size: int, opcode: int = Opcode.TEXT, *, final: bool = True, reserved: int = 0, mask: bool = True) -> bytes:
    """Write the first 2, 4 or 10 bytes of a frame with a payload of `size` bytes. The mask's key follows them."""
    first, bit = (0x80 if final else 0) | reserved << 4 | opcode, 0x80 if mask else 0
    if size <= _SHORT:
        return struct.pack("!BB", first, bit | size)
    if size < 1 << 16:
        return struct.pack("!BBH", first, bit | _LENGTH_16, size)
    return struct.pack("!BBQ", first, bit | _LENGTH_64, size)


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """Write one whole frame of a client, under the zero mask."""
    return header(len(payload), opcode) + ZERO_MASK + payload


def closing(code: int = 1000) -> bytes:
    """Write a close frame."""
    return frame(struct.pack("!H", code), Opcode.CLOSE)


def close_code(payload: bytes) -> int:
    """Read a close frame's code; 1005 if the frame has none (RFC 6455, section 7.1.5)."""
    return int(struct.unpack_from("!H", payload)[0]) if len(payload) > 1 else 1005


class Frames:
    """Reads a server's frames, however TCP has cut or joined them; puts fragmented messages together."""

    __slots__ = ("_buffer", "_opcode", "_pieces", "_size")

    def __init__(self) -> None:
        self._buffer = b""  # the beginning of a frame that is not whole yet
        self._pieces: list[bytes] = []  # of the message whose fragments are arriving
        self._size = 0  # bytes in these pieces
        self._opcode = 0  # of that message

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take one read; return the messages and control frames that it completes, as (opcode, payload).

        Raises `WireError`.
        """
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

    @property
    def rest(self) -> bytes:
        """The beginning of a frame that is not whole yet."""
        return self._buffer

    def _take(self, first: int, payload: bytes, found: list[tuple[int, bytes]]) -> None:
        opcode, final = first & 0x0F, first & 0x80
        if first & 0x70:
            raise WireError("a frame with reserved bits, though no extension was asked for")
        if final and opcode != Opcode.CONTINUATION:
            found.append((opcode, payload))
            return
        if opcode >= Opcode.CLOSE:
            raise WireError("a control frame in fragments")
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
    """Return the size and the beginning of a payload behind a long header; a header that is cut off counts as endless.

    Raises `WireError`.
    """
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
