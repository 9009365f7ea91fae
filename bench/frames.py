"""WebSocket frames as the load side writes and reads them (RFC 6455, section 5.2): pure."""

import struct

MARKER = b"^"
"""Stands exactly once in each message, so deliveries are counted without parsing, wherever a read cuts the stream."""

TEXT, BINARY = 0x81, 0x82


def masked(payload: bytes, first: int = TEXT) -> bytes:
    """A client's frame, masked with zeros: the cheapest that a server must take."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    return head + b"\0\0\0\0" + payload


def payloads(stream: bytes) -> list[bytes]:
    """What the whole frames at the head of a server's stream carry; a frame that is cut off is left out."""
    found: list[bytes] = []
    at = 0
    while (part := _payload(stream, at)) is not None:
        start, end = part
        found.append(stream[start:end])
        at = end
    return found


def _payload(stream: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame at `at` begins and ends, if all of it is there."""
    if len(stream) < at + 2:
        return None
    size, start = stream[at + 1] & 0x7F, at + 2
    if size >= 126:
        width = 2 if size == 126 else 8
        if len(stream) < start + width:
            return None
        size, start = int.from_bytes(stream[start : start + width], "big"), start + width
    return (start, start + size) if len(stream) >= start + size else None


def text_of(size: int) -> str:
    """A message's text of `size` ASCII characters, at least one, with one marker in it."""
    return MARKER.decode() + "m" * (size - 1)
