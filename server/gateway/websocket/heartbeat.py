"""One wheel that pings every connection and finds the dead ones: no task and no timer per connection.

A revolution takes the ping interval; each slot's connections are pinged in turn, and judged one timeout later: a
connection from which nothing at all has been read since its ping, and which takes nothing, is dead. Worst case from the
last sign of life to the verdict: interval + timeout + one slot, which is 20.2 s at 10 s / 10 s.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from server.domain.outcomes import CloseReason
from server.gateway.websocket.connection import Connection

SLOTS = 64
"""Parts of a revolution: pings of 8,000 connections come in portions of 125."""

STALL_S = 1.0
"""A loop that is late by this much has pongs lying unread in the kernel: nobody is judged by what it missed."""


class Wheel:
    """Pings and judges. `clock` is monotonic, in seconds, like the intervals."""

    def __init__(self, interval: float, timeout: float, clock: Callable[[], float]) -> None:
        self._timeout = timeout
        self._tick = interval / SLOTS
        self._clock = clock
        # Dicts as ordered sets: a connection is added and removed in constant time.
        self._slots: list[dict[Connection, None]] = [{} for _ in range(SLOTS)]
        self._pinged: deque[tuple[float, int]] = deque()
        self._next = 0

    def add(self, connection: Connection) -> None:
        """Give the connection a slot; neighbours in time get slots in turn, so that a storm's pings are spread."""
        connection.slot = self._next
        self._next = (self._next + 1) % SLOTS
        self._slots[connection.slot][connection] = None

    def remove(self, connection: Connection) -> None:
        """Forget the connection."""
        self._slots[connection.slot].pop(connection, None)

    async def run(self) -> None:
        """Turn until cancelled."""
        slot, due = 0, self._clock() + self._tick
        while True:
            await asyncio.sleep(max(0.0, due - self._clock()))
            now = self._clock()
            if now - due > STALL_S:
                self._pinged.clear()
                due = now
            self.turn(slot, now)
            slot, due = (slot + 1) % SLOTS, due + self._tick

    def turn(self, slot: int, now: float) -> None:
        """Judge those whose ping is one timeout old, then ping the slot."""
        while self._pinged and now - self._pinged[0][0] >= self._timeout:
            pinged_at, judged = self._pinged.popleft()
            for connection in list(self._slots[judged]):
                if not connection.shows_life(pinged_at):
                    connection.abort(CloseReason.PING_TIMEOUT, "ping timeout")
        for connection in list(self._slots[slot]):
            connection.ping()
        self._pinged.append((now, slot))
