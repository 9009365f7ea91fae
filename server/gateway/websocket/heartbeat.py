"""Pings every connection, and finds the dead ones, with a single task, and no timer for each connection.

The connections are spread over the slots of a wheel that turns once in each ping interval. The connections of a slot
are pinged together, and judged after the ping timeout: a connection is dead if nothing at all has been read from it
since its ping, and it takes nothing of what is written to it. From the last sign of life to the verdict it takes at
most interval + timeout + a slot, which is 20.2 s at 10 s / 10 s.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from server.domain.outcomes import CloseReason
from server.gateway.websocket.connection import Connection
from server.gateway.websocket.frames import frame

PING = frame(b"2")
"""The frame of Engine.IO's PING."""

SLOTS = 64
"""Slots of the wheel. The pings of 8,000 connections are written 125 at a time."""

STALL_S = 1.0
"""An event loop that is late by this much has not read pongs that have arrived: no connection is judged by them."""


class Wheel:
    """Pings and judges connections. `clock` is monotonic, in seconds, as are the intervals."""

    def __init__(self, interval: float, timeout: float, clock: Callable[[], float]) -> None:
        self._timeout = timeout
        self._tick = interval / SLOTS  # seconds between two slots
        self._clock = clock
        # The connections of each slot. A dict is an ordered set, from which one is removed in constant time.
        self._slots: list[dict[Connection, None]] = [{} for _ in range(SLOTS)]
        self._pinged: deque[tuple[float, int]] = deque()  # time of the ping and slot, of those that are to be judged
        self._next = 0  # the slot for the next connection

    def add(self, connection: Connection) -> None:
        """Begin to ping a connection. Successive connections get successive slots, so a crowd's pings are spread."""
        connection.slot = self._next
        self._next = (self._next + 1) % SLOTS
        self._slots[connection.slot][connection] = None

    def remove(self, connection: Connection) -> None:
        """Stop pinging a connection; nothing happens if that has been done."""
        self._slots[connection.slot].pop(connection, None)

    async def run(self) -> None:
        """Turn the wheel until cancelled."""
        slot, due = 0, self._clock() + self._tick
        while True:
            await asyncio.sleep(max(0.0, due - self._clock()))
            now = self._clock()
            if now - due > STALL_S:
                self._pinged.clear()
                due = now
            self._advance(slot, now)
            slot, due = (slot + 1) % SLOTS, due + self._tick

    def _advance(self, slot: int, now: float) -> None:
        """Judge the slots that were pinged a timeout ago, then ping this slot."""
        while self._pinged and now - self._pinged[0][0] >= self._timeout:
            pinged_at, judged = self._pinged.popleft()
            for connection in list(self._slots[judged]):
                # A ping behind a long replay reaches a slow client late.
                if not (connection.writer.has_progressed() or connection.reader.heard_since(pinged_at)):
                    connection.abort(CloseReason.PING_TIMEOUT, "ping timeout")
        for connection in list(self._slots[slot]):
            connection.write(PING)
            connection.reader.new_interval()
        self._pinged.append((now, slot))
