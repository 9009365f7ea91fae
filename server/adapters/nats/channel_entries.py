"""The entries of a channel's stream, read and decoded."""

import asyncio

from server.adapters.codec import DecodeError
from server.adapters.nats import entries
from server.adapters.nats.entries import Entry
from server.adapters.nats.fold import gaps, told_floor
from server.adapters.nats.pulling import Raw
from server.adapters.nats.streams import Streams
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable

NEAR = 32
"""Entries that are asked for one by one, all at once; for more, a consumer is made."""


class ChannelEntries:
    """The entries of the channel `name`. Raises the errors of `Streams`, and `Unavailable` if one can't be read."""

    def __init__(self, streams: Streams, name: ChannelName, stream: str, subject: str) -> None:
        self._streams, self._name, self._stream, self._subject = streams, name, stream, subject

    async def last(self) -> Raw | None:
        """Return the last entry."""
        return await self._streams.last(self._stream, self._subject)

    async def bare(self) -> int | None:
        """Return the last sequence of the stream if it has no entries."""
        return await self._streams.bare(self._stream)

    async def all(self) -> list[Entry]:
        """Return the whole stream."""
        return [self.decode(raw) async for raw in self._streams.entries(self._stream, self._subject)]

    async def between(self, first: int, last: Raw) -> list[Entry]:
        """Return the entries from a sequence up to the last."""
        if last.seq - first < NEAR:
            wanted = (self._streams.get(self._stream, seq) for seq in range(first, last.seq))
            found = [raw for raw in await asyncio.gather(*wanted) if raw is not None]
            return [self.decode(raw) for raw in (*found, last)]
        return [self.decode(raw) async for raw in self._streams.entries(self._stream, self._subject, first)]

    async def all_of(self, found: list[Entry], offset: int) -> list[Entry]:
        """Return the entries behind an offset, with those further ones that tell why some are gone: they were written
        before, but may have come after the last that was asked for."""
        seen: set[int] = set()
        while (lacking := _unexplained(found, offset)) - seen:
            seen |= lacking
            last = await self.last()
            if last is None or last.seq <= found[-1].seq:
                break  # somebody else has removed them
            found += await self.between(found[-1].seq + 1, last)
        return found

    def decode(self, raw: Raw) -> Entry:
        """Return the entry of these bytes."""
        try:
            return entries.decode(raw, self._name)
        except DecodeError as error:
            raise Unavailable("what the message log holds of this channel can't be read") from error


def _unexplained(found: list[Entry], offset: int) -> set[int]:
    """Return the offsets behind this one that the entries lack, and of which they do not tell why."""
    told = {form.offset for entry in found for form in entry.erases}
    return gaps(found, max(offset, told_floor(found))) - told
