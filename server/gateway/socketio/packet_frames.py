"""The server's own Socket.IO packets, encoded by hand: the whole frames of its answers and events."""

from functools import lru_cache

import orjson

from server.gateway.socketio.packets import CONNECT_ERROR
from server.gateway.websocket.frames import frame, header
from server.wire.answers import Answer, envelope
from server.wire.words import NAMESPACE, Json

_ACK = b"43" + NAMESPACE.encode() + b","
"""An Engine.IO message (4) with a Socket.IO ACK (3) of the namespace."""

_EVENT = b"42" + NAMESPACE.encode() + b","
"""An Engine.IO message (4) with a Socket.IO EVENT (2) of the namespace."""

DISCONNECTED = frame(b"41" + NAMESPACE.encode() + b",")
"""The frame of a DISCONNECT of the namespace."""


def ack(id: int, answer: Answer) -> bytes:
    """The frame of an ack of the namespace."""
    return encoded_ack(id, orjson.dumps(envelope(answer)))


def encoded_ack(id: int, body: bytes) -> bytes:
    """The frame of an ack of the namespace whose data is JSON already."""
    return frame(b"%b%d[%b]" % (_ACK, id, body))


def event(name: str, *arguments: object) -> bytes:
    """The frame of an event of the namespace."""
    return frame(_EVENT + orjson.dumps((name, *arguments)))


def encoded_event(name: str, body: bytes) -> bytes:
    """The frame of an event of the namespace whose only argument is JSON already."""
    start = _start(name)
    return b"".join((header(len(start) + len(body) + 1), start, body, b"]"))


@lru_cache(maxsize=64)
def _start(name: str) -> bytes:
    """Return what stands before the argument of an event. Cached: the log has a few events, and very many of each."""
    return b'%b["%b",' % (_EVENT, name.encode())


def connected(sid: str) -> bytes:
    """The frame that answers a CONNECT to the namespace; a `sid` has no character that JSON would escape."""
    return frame(f'40{NAMESPACE},{{"sid":"{sid}"}}'.encode())


def refused(namespace: str, error: Json) -> bytes:
    """The frame of a CONNECT_ERROR; `namespace` is the namespace that the client named."""
    address = b"" if namespace == "/" else namespace.encode() + b","
    return frame(b"4%d%b%b" % (CONNECT_ERROR, address, orjson.dumps(error)))
