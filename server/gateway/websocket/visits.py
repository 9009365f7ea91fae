"""Connections that are no WebSockets, or not yet, counted by the address of their peer.

A client without a token, or even a request, could else take all the connections that the replica has. Behind a proxy
nobody knows the client before it has sent its request; the proxy bounds these connections itself.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from server.domain.proxies import Client
from server.gateway.websocket.crowds import Counts, Crowds
from server.gateway.websocket.refusal_log import RefusalLog
from server.gateway.websocket.refusals import Refused

MOST_OF_THE_ROOM = 0.5
"""Share of the replica's connections that those of an address may take which are no WebSockets."""

Leave = Callable[[], None]
"""Counts a connection no more; is called once."""


class Visits:
    """Counts connections from their first moment. `room` is how many the replica has for all addresses."""

    def __init__(self, crowds: Crowds, refusals: RefusalLog, room: int) -> None:
        self._crowds = crowds
        self._most = max(1, int(room * MOST_OF_THE_ROOM))
        self._refusals = refusals

    def enter(self, transport: asyncio.BaseTransport) -> Leave | Refused:
        """Count a connection that has sent nothing; or return the answer, if there are too many of its address."""
        client = self._peer(transport)
        refused = self._crowds.too_silent(client.key, self._most)
        if refused is not None:
            self._refusals.add(refused, client.address)
            return refused
        return _counted(self._crowds.silent, client.key)

    def ask(self, transport: asyncio.BaseTransport) -> Leave:
        """Count a connection that speaks HTTP."""
        return _counted(self._crowds.http, self._peer(transport).key)

    def _peer(self, transport: asyncio.BaseTransport) -> Client:
        peer = transport.get_extra_info("peername")
        return self._crowds.client(str(peer[0]) if peer else None, str)  # without what a proxy would tell


def _counted(counts: Counts, key: int | None) -> Leave:
    counts.add(key)
    return partial(counts.remove, key)
