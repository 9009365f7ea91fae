"""Connections whose clients have no session."""

from server.gateway.websocket.connection import Connection
from server.gateway.websocket.crowds import Counts


class Unconnected(dict[Connection, float]):
    """The connections whose CONNECT is waited for, and the monotonic time limit of each; counted by address, too."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def __setitem__(self, connection: Connection, limit: float) -> None:
        if connection.address is not None and connection not in self:
            self._counts.add(connection.address)
        super().__setitem__(connection, limit)

    def __delitem__(self, connection: Connection) -> None:
        super().__delitem__(connection)
        self._counts.remove(connection.address)

    def pop(self, connection: Connection, *_: None) -> None:  # type: ignore[override]  # the limit is not asked for
        """Wait for the connection's CONNECT no more, if it was waited for."""
        if super().pop(connection, None) is not None:
            self._counts.remove(connection.address)
