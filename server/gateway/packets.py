"""Socket.IO packets (protocol revision 5), read strictly and written fast.

What a client may not say is an error with a close code, found before anything is dispatched: binary packets, packets of
the server's kinds, unbounded numbers, JSON that is not JSON (NaN, lone surrogates, 1e999).
"""

from typing import Any

import orjson
from socketio import packet

from server.gateway.wire import CloseCode

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)

MAX_ACK_DIGITS = 15
"""Ack ids stay exact in JavaScript."""

MAX_NAMESPACE_CHARS = 128


class HostilePacket(Exception):
    """The client broke the protocol: its WebSocket is to be closed with `code`. The text never repeats the packet."""

    def __init__(self, problem: str, code: CloseCode = CloseCode.POLICY_VIOLATION) -> None:
        super().__init__(problem)
        self.problem = problem
        self.code = code


class StrictJson:
    """The `json` that packets are written with: compact, and never NaN or a lone surrogate."""

    @staticmethod
    def dumps(value: object, **_: object) -> str:
        """As `json.dumps` with compact separators."""
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: object) -> Any:
        """As `json.loads`, strict."""
        return orjson.loads(text)


class ChatPacket(packet.Packet):
    """A packet without binary parts."""

    uses_binary_events = False
    json = StrictJson

    def __init__(self, *fields: Any, encoded_packet: str | None = None, **named: Any) -> None:
        super().__init__(*fields, **named)
        if encoded_packet is not None:  # an empty one too, which the library takes for none
            self.decode(encoded_packet)

    def decode(self, encoded_packet: str) -> int:
        """Read a client's packet into `packet_type`, `namespace`, `id`, `data`; raise `HostilePacket`."""
        self.packet_type = _kind(encoded_packet)
        rest = encoded_packet[1:]
        self.namespace, rest = _namespace(rest)
        self.id, rest = _ack_id(rest)
        self.data = _payload(rest)
        _check_shape(self.packet_type, self.data)
        return 0


def _kind(text: str) -> int:
    kind = "0123456".find(text[:1]) if text else -1
    if kind in (BINARY_EVENT, BINARY_ACK):
        raise HostilePacket("binary packet", CloseCode.UNSUPPORTED_DATA)
    if kind not in (CONNECT, DISCONNECT, EVENT, ACK):
        raise HostilePacket("malformed packet: type")
    return kind


def _namespace(text: str) -> tuple[str | None, str]:
    if not text.startswith("/"):
        return None, text
    name, _, rest = text.partition(",")
    name = name.partition("?")[0]  # older clients send their query here; it is not used
    if len(name) > MAX_NAMESPACE_CHARS:
        raise HostilePacket("malformed packet: namespace")
    return name, rest


def _ack_id(text: str) -> tuple[int | None, str]:
    end = 0
    while end < len(text) and "0" <= text[end] <= "9":
        end += 1
        if end > MAX_ACK_DIGITS:
            raise HostilePacket("malformed packet: ack id")
    return (int(text[:end]) if end else None), text[end:]


def _payload(text: str) -> Any:
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise HostilePacket("malformed packet: JSON") from None  # the error holds the packet


def _check_shape(kind: int, data: Any) -> None:
    if kind == EVENT:
        named = isinstance(data, list) and data and isinstance(data[0], str)
        if not named:
            raise HostilePacket("malformed packet: event")
    elif kind == ACK:
        if not isinstance(data, list):
            raise HostilePacket("malformed packet: ack")
    elif kind == CONNECT and not (data is None or isinstance(data, dict)):
        raise HostilePacket("malformed packet: CONNECT payload")
