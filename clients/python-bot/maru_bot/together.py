"""Several channels as one iterator."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Self

from maru_bot.channel import Channel
from maru_bot.events import Event


class Together:
    """Iterate over it, from one task: the events of several channels, each channel's in order, channels in turn.

    A channel that ends is left out; iteration ends with the last of them. If iteration of a channel raises, this one
    does, and goes on with the others when it is called again.
    """

    def __init__(self, channels: Iterable[Channel]) -> None:
        self._turns = deque(channels)
        self._arrived = asyncio.Event()
        for channel in self._turns:
            channel.watch(self._arrived.set)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            self._arrived.clear()
            for _ in range(len(self._turns)):
                channel = self._turns.popleft()
                if channel.over:
                    if channel.fatal is not None:
                        raise channel.fatal
                    continue
                self._turns.append(channel)
                if (event := channel.take()) is not None:
                    return event
            if not self._turns:
                raise StopAsyncIteration
            await self._arrived.wait()
