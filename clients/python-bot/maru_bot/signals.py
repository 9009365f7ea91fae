"""Signals of all joined channels, for one reader."""

import asyncio
from collections import deque
from typing import Self

from maru_bot.people import Signal


class Signals:
    """Iterate over it, from one task. If `limit` signals wait for a slow reader, the oldest is dropped."""

    def __init__(self, limit: int) -> None:
        self._waiting: deque[Signal] = deque(maxlen=limit)
        self._arrived = asyncio.Event()
        self._closed = False
        self.dropped = 0
        """How many the reader was too slow for."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Signal:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()

    def put(self, signal: Signal) -> None:
        """Give a signal to the reader."""
        self.dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(signal)
        self._arrived.set()

    def close(self) -> None:
        """End iteration after the signals that wait."""
        self._closed = True
        self._arrived.set()
