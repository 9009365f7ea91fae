"""Hints that wait for the listener of a broadcast: bounded, and whatever is dropped is counted and told.

So are the channels of hints that are not believed.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator

import structlog

from server.domain.channels import ChannelName
from server.domain.events import Event
from server.ports.broadcast import Hint, HintsLost, LinkRestored

WAITING_LIMIT = 10_000
"""Hints that may wait for the listener. Over this number a hint is dropped, and the listener is told of its channel."""

DOUBT_S = 0.05
"""The listener is told of the channels of hints that are not believed so often: a flood of them costs a few reads of
the log, and an event of a replica that seals otherwise is late by no more."""

_log = structlog.get_logger("maru.broadcast")


class Undecoded(ABC):
    """A hint that is decoded when the listener takes it."""

    channel: ChannelName

    @abstractmethod
    def event(self) -> Event | None:
        """Return the event; None if the hint is not believed."""


class HintQueue:
    """A queue with a single listener. `dropped` counts the hints that had no room."""

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self._limit = limit
        self._waiting: deque[Event | Undecoded | LinkRestored | HintsLost | None] = (
            deque()
        )  # None: here the listener is told of losses
        self._lost: set[ChannelName] = set()  # channels whose hints were dropped, and of which it was not told yet
        self._doubted: set[ChannelName] = set()  # the same of hints that were not believed
        self._arrived = asyncio.Event()

    def put(self, event: Event | Undecoded) -> None:
        """Queue a hint, or drop it."""
        if len(self._waiting) < self._limit:
            self._waiting.append(event)
        else:
            self._drop(event.channel)
        self._arrived.set()

    def put_restored(self) -> None:
        """Queue `LinkRestored`, unless it is the last in the queue."""
        if not (self._waiting and isinstance(self._waiting[-1], LinkRestored)):
            self._waiting.append(LinkRestored())
        self._arrived.set()

    async def listen(self) -> AsyncIterator[Hint]:
        """Yield what was put, in order, and `HintsLost` behind the hints that waited when the first was dropped."""
        while True:
            while self._waiting:
                hint = self._waiting.popleft()
                if isinstance(hint, Undecoded):
                    event = hint.event()
                    if event is None:
                        self._doubt(hint.channel)
                    else:
                        yield event
                else:
                    yield self._told() if hint is None else hint
            self._arrived.clear()
            await self._arrived.wait()

    def _drop(self, channel: ChannelName) -> None:
        self.dropped += 1
        if not self._lost:
            self._waiting.append(None)
            _log.warning("hints.dropped", waiting=self._limit, dropped=self.dropped)
        self._lost.add(channel)

    def _doubt(self, channel: ChannelName) -> None:
        if not self._doubted:
            asyncio.get_running_loop().call_later(DOUBT_S, self._tell_doubts)
        self._doubted.add(channel)

    def _tell_doubts(self) -> None:
        doubted, self._doubted = self._doubted, set()
        self._waiting.append(HintsLost(frozenset(doubted)))
        self._arrived.set()

    def _told(self) -> HintsLost:
        lost, self._lost = self._lost, set()
        return HintsLost(frozenset(lost))
