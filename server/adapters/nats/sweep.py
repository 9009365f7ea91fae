"""The sweep over the streams of all channels: events that are too old leave those that nobody uses, too."""

from collections.abc import Awaitable, Callable

from server.adapters.nats.streams import Streams
from server.domain.channels import ChannelName

SWEEP_S = 600.0
"""Between two passes."""

STEP = 100
"""Channels whose logs are read in a pass, at most; the next pass goes on."""

REMEMBERED = 50_000
"""Streams that are remembered to hold nothing too old; over this number all are looked at again."""


class Sweep:
    """Passes over the streams whose names begin with `prefix`. `tidy` drops what is too old in a channel."""

    def __init__(self, streams: Streams, prefix: str, tidy: Callable[[ChannelName], Awaitable[None]]) -> None:
        self._streams, self._prefix, self._tidy = streams, prefix, tidy
        self._looked: dict[str, int] = {}  # by stream: its oldest entry, when there was nothing to drop
        self._next = 0.0  # when the next pass is due, in seconds

    async def step(self, now: float, oldest: int) -> None:
        """Make a pass, if it is due; `oldest` is the time before which an entry may be too old, in ms."""
        if now < self._next:
            return
        self._next = now + SWEEP_S
        async with self._streams.link.answered():
            listed = await self._streams.all()
        old = [
            (name, stream)
            for name, stream in listed.items()
            if name.startswith(self._prefix)
            and stream.entries > 1  # the last tells of the head, and stays
            and stream.oldest < oldest
            and self._looked.get(name) != stream.oldest
        ]
        for name, stream in old[:STEP]:
            await self._tidy(ChannelName(stream.note))
            if len(self._looked) >= REMEMBERED:
                self._looked.clear()
            self._looked[name] = stream.oldest
