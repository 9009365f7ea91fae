"""WebSocket frames (RFC 6455, section 5): writing the server's, and the checks that aiohttp's reader leaves out."""

import struct
from enum import IntEnum


class Opcode(IntEnum):
    """RFC 6455, section 5.2."""

    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


_FIN = 0x80
_OPCODE = 0x0F
_MASKED = 0x80
_LENGTH = 0x7F
_LENGTH_16 = 126
_LENGTH_64 = 127
_MASK_BYTES = 4
_NEVER = 1 << 63  # further on than any stream goes
MAX_CONTROL_BYTES = 125
"""RFC 6455, section 5.5: what a control frame may carry."""


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """One whole, unmasked frame, as a server sends it."""
    size = len(payload)
    if size < _LENGTH_16:
        return bytes((_FIN | opcode, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", _FIN | opcode, _LENGTH_16, size) + payload
    return struct.pack("!BBQ", _FIN | opcode, _LENGTH_64, size) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; `reason` is ASCII and cut to what a control frame can carry."""
    payload = struct.pack("!H", code) + reason.encode("ascii", "replace")
    return frame(payload[:MAX_CONTROL_BYTES], Opcode.CLOSE)


class HeaderCheck:
    """Follows the headers of a client's frames through a stream of reads, and finds what the reader lets pass.

    The reader takes unmasked frames (RFC 6455, section 5.1: a server must close) and a new message that begins inside a
    fragmented one whose first fragment was empty (section 5.4).
    """

    __slots__ = ("_fragmented", "_head", "_skip")

    def __init__(self) -> None:
        self._head = b""
        self._skip = 0
        self._fragmented = False

    def fault(self, data: bytes) -> str | None:
        """Return what is wrong with the frames whose headers lie in this read, None where nothing is."""
        if self._head:
            data, self._head = self._head + data, b""
        at, size = self._skip, len(data)
        while at + 1 < size:
            length = data[at + 1] & _LENGTH
            extra = 2 if length == _LENGTH_16 else 8 if length == _LENGTH_64 else 0
            body = at + 2 + extra + _MASK_BYTES
            if not data[at + 1] & _MASKED:
                return "frame is not masked"
            if body - _MASK_BYTES > size:
                break
            if extra:
                length = int.from_bytes(data[at + 2 : at + 2 + extra], "big")
            if (fault := self._sequence(data[at])) is not None:
                return fault
            # Nothing that follows a close frame counts (section 5.5.1).
            at = body + length if data[at] & _OPCODE != Opcode.CLOSE else _NEVER
        if at < size:
            self._head, self._skip = data[at:], 0
        else:
            self._skip = at - size
        return None

    def _sequence(self, first: int) -> str | None:
        opcode, final = first & _OPCODE, bool(first & _FIN)
        if opcode >= Opcode.CLOSE:
            return None
        if self._fragmented and opcode != 0:
            return "a message begins inside another one"
        self._fragmented = not final
        return None


class CloseCode(IntEnum):
    """Why the server closes a WebSocket (PROTOCOL.md, "Closing"; RFC 6455, section 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013


class HostilePacket(Exception):
    """The client broke the protocol: its WebSocket is to be closed with `code`. The text never repeats the packet."""

    def __init__(self, problem: str, code: CloseCode = CloseCode.POLICY_VIOLATION) -> None:
        super().__init__(problem)
        self.problem = problem
        self.code = code
