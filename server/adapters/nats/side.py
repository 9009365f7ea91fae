"""Kept beside the streams of channels: the log's identity, which channels there are, marks, and old keys.

Two streams: `side` keeps the last entry of each subject, `keys` forgets entries after a day.
"""

import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from hashlib import blake2b
from typing import TypeVar

import orjson

from server.adapters.epochs import STORE_ID_BYTES, channel_epoch
from server.adapters.nats import names
from server.adapters.nats.acks import NoStream
from server.adapters.nats.entries import Key
from server.adapters.nats.fold import Keyed
from server.adapters.nats.streams import Raw, StreamGone, Streams
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import MessageId

T = TypeVar("T")

SPARE_MS = 3_600_000
"""Keys are kept so much longer than they hold, however clocks differ."""

KNOWN = 200_000
"""Channels that are remembered to be there; over this number all are asked for again."""


def token(text: str) -> str:
    """Return a short part of a subject for a text of any length."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


class Side:
    """The two streams. They are made when they are missed."""

    def __init__(self, streams: Streams, prefix: str = names.PREFIX) -> None:
        self.streams = streams
        self.prefix = prefix
        self.stream, self._keys = f"{prefix}-side", f"{prefix}-keys"
        self._id: bytes | None = None
        self._listed: set[ChannelName] = set()  # all channels, as of the entry `_listed_upto`
        self._listed_upto, self._listed_of = 0, 0  # of the streams that were made so often
        self.makes = 0  # how often the streams were made, or found
        self._known: dict[ChannelName, int] = {}  # channels that are there, with their generation

    async def make(self) -> None:
        """Make the streams, and find the identity of the store, or give it one."""
        await self.streams.create(self.stream, f"{self.prefix}.side.>", max_msgs_per_subject=1)
        lives = (KEY_LIFETIME_MS + SPARE_MS) * 1_000_000
        await self.streams.create(self._keys, f"{self.prefix}.keys.>", max_msgs_per_subject=1, max_age=lives)
        subject = f"{self.prefix}.side.store"
        await self.streams.put(subject, os.urandom(STORE_ID_BYTES), after=0)
        kept = await self.streams.last(self.stream, subject)
        assert kept is not None
        self._id = kept.data
        self._known.clear()
        self.makes += 1

    async def _sure(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make the streams if they are missed: nothing was there before, or all is lost and begins again."""
        if self._id is None:
            await self.make()
        try:
            return await call()
        except (StreamGone, NoStream):
            await self.make()
            return await call()

    def _subject(self, *parts: str) -> str:
        return ".".join((self.prefix, "side", *parts))

    async def last(self, *parts: str) -> Raw | None:
        """Return the last entry of a subject."""
        return await self._sure(lambda: self.streams.last(self.stream, self._subject(*parts)))

    async def put(self, data: object, *parts: str, after: int | None = None) -> bool:
        """Write an entry; with `after`, only if the last of the subject has this sequence."""
        return await self._sure(lambda: self.streams.put(self._subject(*parts), orjson.dumps(data), after=after))

    async def all(self, *parts: str, first: int = 1) -> list[Raw]:
        """Return the last entry of each subject that begins with these parts, of those from a sequence on."""

        async def read() -> list[Raw]:
            return [each async for each in self.streams.entries(self.stream, self._subject(*parts, ">"), first)]

        return await self._sure(read)

    async def remove(self, *parts: str) -> None:
        """Remove a subject's entry; `>` as the last part: of all subjects."""
        await self._sure(lambda: self.streams.purge(self.stream, 0, self._subject(*parts)))

    async def time(self) -> int:
        """Return the server's time, in ms."""
        await self.put(None, "time")
        kept = await self.last("time")
        assert kept is not None
        return round(datetime.fromisoformat(kept.time).timestamp() * 1_000)

    # channels

    async def generation(self, channel: ChannelName) -> int | None:
        """Return how often the channel's log was lost; None if it has not been made."""
        known = self._known.get(channel)
        if known is not None:
            return known
        kept = await self.last("channel", token(channel))
        if kept is None:
            return None
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[channel] = int(orjson.loads(kept.data)["g"])
        return self._known[channel]

    def epoch(self, channel: ChannelName, generation: int) -> str:
        """Return the epoch with which the channel begins."""
        assert self._id is not None  # a generation was asked for before
        return channel_epoch(self._id, ChannelName(f"{channel} {generation}" if generation else channel))

    async def made(self, channel: ChannelName, generation: int) -> None:
        """Note that the channel's stream is there."""
        kept = await self.last("channel", token(channel))
        if kept is None or int(orjson.loads(kept.data)["g"]) < generation:
            await self.put({"n": channel, "g": generation}, "channel", token(channel), after=kept.seq if kept else 0)
        self._known.pop(channel, None)

    async def channels(self) -> list[ChannelName]:
        """Return all channels that ever had an event, by name."""
        if self._listed_of != self.makes:
            self._listed.clear()
            self._listed_upto = 0
        for each in await self.all("channel", first=self._listed_upto + 1):
            self._listed.add(ChannelName(orjson.loads(each.data)["n"]))
            self._listed_upto = each.seq
        self._listed_of = self.makes
        return sorted(self._listed)

    # marks

    async def mark(self, channel: ChannelName, user: UserId) -> tuple[int, int]:
        """Return the mark that is kept, 0 for none, and its entry's sequence."""
        kept = await self.last("mark", token(channel), token(user))
        generation = self._known.get(channel, 0)
        if kept is None:
            return 0, 0
        fields = orjson.loads(kept.data)
        return (int(fields["o"]) if fields["g"] == generation else 0), kept.seq

    async def move_mark(self, channel: ChannelName, user: UserId, offset: int) -> tuple[bool, int]:
        """Move the mark, if it is further back; return whether it was, and where it is."""
        while True:
            present, seq = await self.mark(channel, user)
            if present >= offset:
                return False, present
            fields = {"u": user, "o": offset, "g": self._known.get(channel, 0)}
            if await self.put(fields, "mark", token(channel), token(user), after=seq):
                return True, offset

    async def marks(self, channel: ChannelName) -> dict[UserId, int]:
        """Return all marks of the channel that are kept."""
        generation = self._known.get(channel, 0)
        kept = [orjson.loads(each.data) for each in await self.all("mark", token(channel))]
        return {UserId(each["u"]): int(each["o"]) for each in kept if each["g"] == generation}

    # keys

    async def keep(self, channel: ChannelName, key: Key, keyed: Keyed) -> None:
        """Keep a key whose event is dropped or erased."""
        fields = [self._known.get(channel, 0), *key, keyed.offset, keyed.id, keyed.at, keyed.written]
        await self.streams.put(f"{self.prefix}.keys.{token(channel)}.{token(repr(key))}", orjson.dumps(fields))

    async def keys(self, channel: ChannelName) -> dict[Key, Keyed]:
        """Return the keys that are kept."""
        keys: dict[Key, Keyed] = {}
        async for raw in self.streams.entries(self._keys, f"{self.prefix}.keys.{token(channel)}.>"):
            of, kind, author, key, offset, id, at, written = orjson.loads(raw.data)
            if of == self._known.get(channel, 0):
                keys[kind, author, key] = Keyed(offset, None if id is None else MessageId(id), at, written)
        return keys
