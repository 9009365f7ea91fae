"""The queue of hints: the channels of those that are not believed are told together, a moment later."""

import asyncio

import pytest

from server.adapters.hints import DOUBT_S, HintQueue, Undecoded
from server.domain.channels import ChannelName
from server.domain.events import Event
from server.ports.broadcast import HintsLost
from tests.doubles.samples import event

ONE, TWO = ChannelName("room:1"), ChannelName("room:2")


class Forged(Undecoded):
    """A hint that is not believed."""

    def __init__(self, channel: ChannelName) -> None:
        self.channel = channel

    def event(self) -> Event | None:
        return None


@pytest.mark.parametrize("many", [1, 1_000])
async def test_channels_of_hints_that_are_not_believed_are_to_be_compared(many: int) -> None:
    """Once for all hints of a moment, and again for those of a later one; what is believed comes meanwhile."""
    queue, loop = HintQueue(10_000), asyncio.get_running_loop()
    hints = queue.listen()
    for channels in ({ONE, TWO}, {TWO}):
        began = loop.time()
        for channel in [*channels] * many:
            queue.put(Forged(channel))
        queue.put(event(1))
        assert await anext(hints) == event(1)
        assert await anext(hints) == HintsLost(frozenset(channels))
        assert loop.time() - began >= DOUBT_S
    assert queue.dropped == 0
