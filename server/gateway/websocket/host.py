"""What a connection is to the queue of its packets."""

from typing import Protocol, TypeVar

from server.gateway.websocket.events import ConnectionEvents
from server.gateway.websocket.gate import Gate
from server.gateway.websocket.reader import Reader, Receiver
from server.gateway.websocket.writer import Writer

H = TypeVar("H", bound="Host")


class Host(Receiver, Protocol):
    """The connection that the packets came from."""

    reader: Reader
    writer: Writer

    @property
    def events(self: H) -> ConnectionEvents[H]:
        """Begins commands at once, handles packets and runs tasks."""

    @property
    def gate(self: H) -> Gate[H] | None:
        """Judges packets, once the client has a session."""

    def write(self, data: bytes) -> None:
        """Write an answer."""

    def end_if_done(self) -> None:
        """End the connection, if it waits for nothing but its packets and there are none."""
