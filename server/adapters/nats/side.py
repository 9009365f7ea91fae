"""Kept beside the streams of channels: the log's identity, which channels there are, marks, and old keys.

Three streams: `side` and `marks` keep the last entry of each subject, `keys` forgets entries after a day.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

import orjson

from server.adapters.epochs import STORE_ID_BYTES, channel_epoch
from server.adapters.nats import names
from server.adapters.nats.acks import NoStream
from server.adapters.nats.entries import Key
from server.adapters.nats.fold import Keyed
from server.adapters.nats.pulling import Raw
from server.adapters.nats.streams import StreamGone, Streams, unix_ms
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import MessageId

T = TypeVar("T")

FEW = 8
"""Marks that are asked for one by one; for more, all of the user's are read."""

SPARE_MS = 3_600_000
"""Keys are kept so much longer than they hold, however clocks differ."""


def token(text: str) -> str:
    """Return a short part of a subject for a text of any length."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


class Side:
    """The streams. They are made when they are missed. `generations` has all channels, as far as they were read."""

    def __init__(self, streams: Streams, prefix: str = names.PREFIX) -> None:
        self.streams = streams
        self.prefix = prefix
        self.stream, self._marks, self._keys = f"{prefix}-side", f"{prefix}-marks", f"{prefix}-keys"
        self._id: bytes | None = None
        self.generations: dict[ChannelName, int] = {}  # how often each channel's log was lost
        self._upto = 0  # the last entry of a channel that was read
        self._learning: asyncio.Task[None] | None = None  # that has not begun yet

    async def make(self) -> None:
        """Make the streams, and find the identity of the store, or give it one."""
        await self.streams.create(self.stream, f"{self.prefix}.side.>", max_msgs_per_subject=1)
        await self.streams.create(self._marks, f"{self.prefix}.marks.>", max_msgs_per_subject=1)
        lives = (KEY_LIFETIME_MS + SPARE_MS) * 1_000_000
        await self.streams.create(self._keys, f"{self.prefix}.keys.>", max_msgs_per_subject=1, max_age=lives)
        subject = f"{self.prefix}.side.store"
        await self.streams.put(subject, os.urandom(STORE_ID_BYTES), after=0)
        kept = await self.streams.last(self.stream, subject)
        assert kept is not None
        self._id = kept.data
        self.generations.clear()
        self._upto = 0

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
        return unix_ms(kept.time)

    # channels

    async def generation(self, channel: ChannelName) -> int | None:
        """Return how often the channel's log was lost; None if it has not been made."""
        if channel not in self.generations:
            await self.learn()
        return self.generations.get(channel)

    async def learn(self) -> None:
        """Read the channels that were made, or lost, since. Calls that come before it is read share it."""
        if self._learning is None:
            self._learning = asyncio.create_task(self._learn())
        await asyncio.shield(self._learning)

    async def _learn(self) -> None:
        await asyncio.sleep(0)  # those who ask in the same turn share the answer
        self._learning = None
        last = await self.last("channel", ">")
        if last is not None and last.seq > self._upto:
            for each in await self.all("channel", first=self._upto + 1):
                fields = orjson.loads(each.data)
                self.generations[ChannelName(fields["n"])] = int(fields["g"])
                self._upto = max(self._upto, each.seq)

    def epoch(self, channel: ChannelName, generation: int) -> str:
        """Return the epoch with which the channel begins."""
        assert self._id is not None  # a generation was asked for before
        return channel_epoch(self._id, ChannelName(f"{channel} {generation}" if generation else channel))

    async def made(self, channel: ChannelName, generation: int) -> None:
        """Note that the channel's stream is there."""
        fields, after = {"n": channel, "g": generation}, 0
        if generation:
            kept = await self.last("channel", token(channel))
            if kept is not None and int(orjson.loads(kept.data)["g"]) >= generation:
                await self.learn()
                return
            after = 0 if kept is None else kept.seq
        if await self.put(fields, "channel", token(channel), after=after):
            self.generations[channel] = generation
        else:
            await self.learn()

    async def channels(self) -> list[ChannelName]:
        """Return all channels that ever had an event, by name."""
        await self.learn()
        return sorted(self.generations)

    # marks

    async def mark(self, channel: ChannelName, user: UserId) -> tuple[int, int]:
        """Return the mark that is kept, 0 for none, and its entry's sequence."""
        subject = self._mark_subject(channel, user)
        kept = await self._sure(lambda: self.streams.last(self._marks, subject))
        return (0, 0) if kept is None else (self._offset(channel, kept), kept.seq)

    async def marks_of(self, user: UserId, channels: Sequence[ChannelName]) -> list[int]:
        """Return the user's marks in the channels, 0 for none."""
        if len(channels) <= FEW:
            return [offset for offset, _ in await asyncio.gather(*(self.mark(each, user) for each in channels))]
        kept = {each.subject: each for each in await self._read_marks(f"{token(user)}.*")}
        found = [(each, kept.get(self._mark_subject(each, user))) for each in channels]
        return [0 if raw is None else self._offset(channel, raw) for channel, raw in found]

    async def move_mark(self, channel: ChannelName, user: UserId, offset: int) -> tuple[bool, int]:
        """Move the mark, if it is further back; return whether it was, and where it is."""
        while True:
            present, seq = await self.mark(channel, user)
            if present >= offset:
                return False, present
            data = orjson.dumps({"u": user, "o": offset, "g": self.generations.get(channel, 0)})
            if await self.streams.put(self._mark_subject(channel, user), data, after=seq):
                return True, offset

    async def marks(self, channel: ChannelName) -> dict[UserId, int]:
        """Return all marks of the channel that are kept."""
        kept = await self._read_marks(f"*.{token(channel)}")
        marks = {UserId(orjson.loads(raw.data)["u"]): self._offset(channel, raw) for raw in kept}
        return {user: offset for user, offset in marks.items() if offset}

    async def _read_marks(self, parts: str) -> list[Raw]:
        async def read() -> list[Raw]:
            return [each async for each in self.streams.entries(self._marks, f"{self.prefix}.marks.{parts}")]

        return await self._sure(read)

    def _mark_subject(self, channel: ChannelName, user: UserId) -> str:
        return f"{self.prefix}.marks.{token(user)}.{token(channel)}"

    def _offset(self, channel: ChannelName, raw: Raw) -> int:
        """Return the offset of a mark, 0 if it is of a log that was lost."""
        fields = orjson.loads(raw.data)
        return int(fields["o"]) if fields["g"] == self.generations.get(channel, 0) else 0

    # keys

    async def keep(self, channel: ChannelName, key: Key, keyed: Keyed) -> None:
        """Keep a key whose event is dropped or erased."""
        fields = [self.generations.get(channel, 0), *key, keyed.offset, keyed.id, keyed.at, keyed.written]
        await self.streams.put(f"{self.prefix}.keys.{token(channel)}.{token(repr(key))}", orjson.dumps(fields))

    async def keys(self, channel: ChannelName) -> dict[Key, Keyed]:
        """Return the keys that are kept."""
        keys: dict[Key, Keyed] = {}
        async for raw in self.streams.entries(self._keys, f"{self.prefix}.keys.{token(channel)}.>"):
            of, kind, author, key, offset, id, at, written = orjson.loads(raw.data)
            if of == self.generations.get(channel, 0):
                keys[kind, author, key] = Keyed(offset, None if id is None else MessageId(id), at, written)
        return keys
