"""The journal of a channel: its stream, and the fold of it that this process has.

Whatever is told of a channel is told from the fold, after a look at the stream's last entry. An append names the entry
behind which it was decided, so the server refuses it if the fold was behind; then the fold catches up.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence

from server.adapters.codec import DecodeError
from server.adapters.nats import entries
from server.adapters.nats.appending import Acked, append
from server.adapters.nats.deciding import Tokens
from server.adapters.nats.entries import Entry, Key
from server.adapters.nats.fold import Fold, Keyed
from server.adapters.nats.link import ANSWER_S
from server.adapters.nats.pulling import Raw
from server.adapters.nats.side import Side, token
from server.adapters.nats.streams import StreamGone, Streams
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from server.domain.identity import UserId
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import MessageId, Position
from server.domain.retention import Kept as Bounds

NEAR = 32
"""Entries that are asked for one by one, all at once; for more, a consumer is made."""

EPOCH_BYTES = 8


class Journal:
    """The journal of `name`. `lock` is held while the fold changes."""

    def __init__(self, name: ChannelName, streams: Streams, side: Side, tokens: Tokens) -> None:
        self.name = name
        self.lock = asyncio.Lock()
        self.fold: Fold | None = None
        self.doubtful = False  # whether entries may have been written that the fold lacks
        self.contended_until = 0.0  # until when other replicas are taken to write the channel, too
        self.noted: Position | None = None  # the last event of the channel that this process has seen
        part = token(name)
        self.stream, self._subject = f"{side.prefix}-log-{part}", f"{side.prefix}.log.{part}"
        self._streams, self._side, self._tokens = streams, side, tokens
        self._made = False  # whether the channel has a stream
        self._reading: asyncio.Task[Fold] | None = None  # that has not begun yet

    async def latest(self, bounds: Bounds, now: int) -> Fold:
        """Return the fold as of now, or a little later. Calls that come before it is read share it."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(bounds, now))
            self._reading.add_done_callback(_heard)
        async with self._streams.link.answered():
            # A long log may take longer than a caller waits: the next one finds it read.
            return await asyncio.shield(self._reading)

    async def _read(self, bounds: Bounds, now: int) -> Fold:
        async with self.lock:
            self._reading = None
            fold = await self.catch_up()
            trim(fold, bounds, now)
            return fold

    async def catch_up(self) -> Fold:
        """Bring the fold to the stream's last entry. The caller holds the lock."""
        fold = await self._caught_up()
        self.doubtful = False
        return fold

    async def _caught_up(self) -> Fold:
        generation = await self._side.generation(self.name)
        if generation is None:
            self.fold = Fold(self._side.epoch(self.name, 0), name=self.name)
            return self.fold
        try:
            last = await self._streams.last(self.stream, self._subject)
        except StreamGone:
            generation += 1
            await self._begin_again(generation)
            last = await self._streams.last(self.stream, self._subject)
        self._made = True
        if last is None:
            self.fold = Fold(self._side.epoch(self.name, generation), name=self.name)
            return self.fold
        if await self._went_back(last):
            await self._rename(self._decode(last))
            self.fold = None
        fold = self.fold
        if fold is None or fold.seq == 0 or self._decode(last).head.epoch != fold.epoch:
            return await self._load()
        if last.seq > fold.seq:
            fold.extend(await self._between(fold.seq + 1, last))
            fold.drop_to(fold.purged)
        return fold

    async def head(self) -> tuple[Position, int]:
        """Return the channel's head, and the offset behind which its epoch began, without the fold."""
        generation = await self._side.generation(self.name)
        if generation is not None:
            try:
                last = await self._streams.last(self.stream, self._subject)
            except StreamGone:
                async with self.lock:
                    fold = await self.catch_up()
                return fold.head, fold.start
            if last is not None:
                entry = self._decode(last)
                return entry.head, entry.start
        return Position(self._side.epoch(self.name, generation or 0), 0), 0

    async def make(self) -> None:
        """Make the stream, if the channel has none."""
        if not self._made:
            await self._streams.create(self.stream, self._subject, self.name)
            await self._side.made(self.name, 0)
            self._made = True

    async def append(self, planned: Sequence[Entry], seconds: float = ANSWER_S) -> Acked:
        """Write entries that were decided behind the fold, in their order: all of them, or the first. Take those that
        are written into the fold. The caller holds the lock."""
        assert self.fold is not None
        await self.make()
        return await append(self._streams, self._subject, self.fold, planned, seconds)

    async def erase(self, id: MessageId) -> None:
        """Take the text of a deleted message out of the storage. The caller holds the lock."""
        assert self.fold is not None
        text = self.fold.texts[id]
        await self._keep(text.keys, text.marks)
        await asyncio.gather(*(self._streams.erase(self.stream, seq, shred=True) for seq in text.seqs.values()))
        self.fold.erased(id)

    async def purge(self, now: int) -> None:
        """Take the events that the fold has dropped out of the stream. The caller holds the lock."""
        fold = self.fold
        if fold is None or fold.floor <= fold.purged:
            return
        floor = fold.floor
        keys, marks = fold.memory_of(fold.purged + 1, floor)
        await self._keep({key: each for key, each in keys.items() if each.written + KEY_LIFETIME_MS > now}, marks)
        note = Entry(self._tokens.next(), now, fold.head, fold.start, fold.earned, floor=floor)
        if (await self.append([note])).written:
            await self._streams.purge(self.stream, fold.purge_below())
            fold.were_purged(floor, now)

    async def _keep(self, keys: Mapping[Key, Keyed], marks: Mapping[UserId, int]) -> None:
        """Keep keys and marks of entries that are about to go."""
        kept = [self._side.keep(self.name, key, keyed) for key, keyed in keys.items()]
        moved = [self._side.move_mark(self.name, user, offset) for user, offset in marks.items()]
        await asyncio.gather(*kept, *moved)

    async def _load(self) -> Fold:
        """Fold the whole stream."""
        await self._side.learn()
        found = [self._decode(raw) async for raw in self._streams.entries(self.stream, self._subject)]
        fold = Fold("", name=self.name)
        for _ in fold.load(found):
            await asyncio.sleep(0)
        kept = await self._side.keys(self.name)
        fold.keys = kept | fold.keys
        self.fold = fold
        for id in list(fold.texts):
            await self.erase(id)
        return fold

    async def _between(self, first: int, last: Raw) -> list[Entry]:
        """Return the entries from a sequence up to the last."""
        if last.seq - first < NEAR:
            wanted = (self._streams.get(self.stream, seq) for seq in range(first, last.seq))
            found = [raw for raw in await asyncio.gather(*wanted) if raw is not None]
            return [self._decode(raw) for raw in (*found, last)]
        return [self._decode(raw) async for raw in self._streams.entries(self.stream, self._subject, first)]

    async def _went_back(self, last: Raw) -> bool:
        """Say whether the storage has come back without an event that this process knows (promise 11)."""
        head, fold = self._decode(last).head, self.fold
        if self.noted is not None and self.noted.epoch == head.epoch and self.noted.offset > head.offset:
            return True
        if fold is None or fold.seq == 0 or fold.epoch != head.epoch:
            return False
        if last.seq < fold.seq:
            return True
        same = last if last.seq == fold.seq else await self._streams.get(self.stream, fold.seq)
        return same is not None and self._decode(same).token != fold.token

    async def _rename(self, last: Entry) -> None:
        """Begin a new epoch in a stream that goes on. Another replica may do so, too: then one of them is refused."""
        head = Position(secrets.token_hex(EPOCH_BYTES), last.head.offset)
        note = Entry(self._tokens.next(), last.written, head, last.head.offset, last.earned, floor=last.floor)
        self.fold = Fold(head.epoch, name=self.name, seq=last.seq)
        await self.append([note])
        self.noted = None

    async def _begin_again(self, generation: int) -> None:
        """Give a channel whose stream is lost a new one, in a new epoch."""
        epoch = self._side.epoch(self.name, generation)
        await self._streams.create(self.stream, self._subject, self.name)
        await self._side.made(self.name, generation)
        self.fold, self._made = Fold(epoch, name=self.name), True
        await self.append([Entry(self._tokens.next(), 0, Position(epoch, 0), floor=0)])
        self.fold, self.noted = None, None

    def _decode(self, raw: Raw) -> Entry:
        try:
            return entries.decode(raw, self.name)
        except DecodeError as error:
            raise Unavailable("what the message log holds of this channel can't be read") from error


def trim(fold: Fold, bounds: Bounds, now: int) -> None:
    """Drop the events over the bounds; the stream's entries go later."""
    if fold.is_over(bounds.events, now - bounds.age_ms):
        fold.trim(bounds.events, now - bounds.age_ms)


def _heard(task: asyncio.Task[Fold]) -> None:
    """Take notice of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
