"""The rates of sessions, applied to each packet as it is read: before it is parsed, and before it waits for others."""

from server.application.limits.limiter import OTHER, Shortage
from server.gateway.socketio import packet_frames, packets
from server.gateway.socketio.namespace import Namespace
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.gate import Gate, Refused
from server.wire.words import Command

_SEND = str(Command.SEND)
_SEND_DATA = f'["{_SEND}"'
"""Begins the data of a `message:send`."""

_START = slice(len(packets.HEAD), len(packets.HEAD) + packets.MAX_ACK_DIGITS + len(_SEND_DATA))
"""Where that stands in a packet. If it stands there in a packet of another kind, that is no command at all."""


class RateGate(Gate[Connection]):
    """The gate of all connections whose sessions have an allowance."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def judge(self, connection: Connection, packet: str, now: float, *, behind: bool = False) -> Refused | None:
        """Take a command from the session's buckets, by its name alone; and what has no meaning, but a price."""
        session = connection.session
        if session is None or (allowance := session.allowance) is None:
            return None
        found: str | None = _SEND
        if _SEND_DATA in packet[_START]:
            name = _SEND
        elif (found := packets.command_name(packet)) is not None:
            name = found
        elif packets.asks_nothing(packet):
            name = OTHER
        else:
            return None
        shortage: Shortage | None
        if behind and name == _SEND:
            shortage = allowance.shortage(name, now)
        elif (shortage := allowance.take(name, now)) is None:
            return None
        answer = self._namespace.refuse(session, name, shortage)
        id = None if found is None else packets.ack_id(packet)
        return Refused(b"" if id is None else packet_frames.ack(id, answer), name == _SEND)
