"""Signals as bytes, for brokers, and signals that wait for their listener.

Shape: `{"v": 1, "k": kind, ...}`, without the channel, which the topic names. A signal of another version or kind, or
with a field that makes no sense, is dropped: a signal may be lost.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import orjson

from server.domain.channels import ChannelName
from server.domain.identity import Author, UserId
from server.domain.limits import MAX_OFFSET
from server.domain.signals import EventEmitted, ReadUpdated, Signal, TypingChanged
from server.ports.signals import SIGNALS_LIMIT

VERSION = 1
"""Of the shape above."""

MAX_BYTES = 16 * 1024
"""Of a signal; a longer one is not parsed."""


def encode_signal(signal: Signal) -> bytes:
    """Return the bytes of a signal: a single line."""
    return orjson.dumps({"v": VERSION} | _fields(signal))


def _fields(signal: Signal) -> dict[str, Any]:
    match signal:
        case TypingChanged(_, user, typing):
            return {"k": "typing", "user": user, "typing": typing}
        case ReadUpdated(_, user, offset):
            return {"k": "read", "user": user, "offset": offset}
        case EventEmitted(_, name, author, data):
            return {"k": "event", "name": name, "author": [author.id, author.name], "data": data}


def decode_signal(channel: ChannelName, raw: bytes) -> Signal | None:
    """Return the signal of these bytes; None if they are none that this version knows."""
    if len(raw) > MAX_BYTES:
        return None
    try:
        fields = orjson.loads(raw)
        return _signal(channel, fields) if fields["v"] == VERSION else None
    except (KeyError, TypeError, ValueError):
        return None


def _signal(channel: ChannelName, fields: dict[str, Any]) -> Signal | None:
    match fields:
        case {"k": "typing", "user": str(user), "typing": bool(typing)}:
            return TypingChanged(channel, UserId(user), typing)
        case {"k": "read", "user": str(user), "offset": int(offset)} if _in_range(offset):
            return ReadUpdated(channel, UserId(user), offset)
        case {"k": "event", "name": str(name), "author": [str(user), str() | None as user_name], "data": data}:
            return EventEmitted(channel, name, Author(UserId(user), user_name), data)
        case _:
            return None


def _in_range(number: int) -> bool:
    return not isinstance(number, bool) and 0 <= number <= MAX_OFFSET


class SignalQueue:
    """A queue with a single listener, of `limit` signals: over it the oldest is dropped. `dropped` counts them, and
    those that could not be sent."""

    def __init__(self, limit: int = SIGNALS_LIMIT) -> None:
        self.dropped = 0
        self._waiting: deque[Signal] = deque(maxlen=limit)
        self._arrived = asyncio.Event()

    def put(self, signal: Signal) -> None:
        """Queue a signal."""
        self.dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(signal)
        self._arrived.set()

    async def listen(self) -> AsyncIterator[Signal]:
        """Yield the signals, in order."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()
