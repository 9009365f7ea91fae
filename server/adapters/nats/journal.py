"""The journal of a channel: its stream, and the fold of it that this process has.

Whatever is told of a channel is told from the fold, after a look at the stream's last entry. An append names the entry
behind which it was decided, so the server refuses it if the fold was behind; then the fold catches up.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence

from server.adapters.nats.appending import Acked, append
from server.adapters.nats.channel_entries import ChannelEntries
from server.adapters.nats.deciding import Tokens
from server.adapters.nats.entries import Entry, Key
from server.adapters.nats.fold import Fold, Keyed, gaps, told_floor, trim
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
        self._entries = ChannelEntries(streams, name, self.stream, self._subject)
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
        noted = self.noted  # a hint that comes while the stream is asked may be ahead of the answer
        last = await self._last(generation)
        if last is None:
            if self.fold is None:
                raise Unavailable("the channel begins at this moment")
            return self.fold
        if await self._went_back(last, noted):
            await self._rename(self._entries.decode(last))
            self.fold = None
        fold = self.fold
        if fold is None or fold.seq == 0 or self._entries.decode(last).head.epoch != fold.epoch:
            return await self._load()
        if last.seq > fold.seq:
            await self._extend(fold, last)
        return fold

    async def _last(self, generation: int) -> Raw | None:
        """Return the stream's last entry. None if the channel has none yet: then the fold is empty. A channel whose
        entries are lost begins again."""
        try:
            last = await self._entries.last()
            bare = None if last is not None else await self._entries.bare()
        except StreamGone:
            return await self._begin_again(generation + 1)
        self._made = True
        if last is not None:
            return last
        if bare is None:  # it has begun since
            return await self._entries.last()
        await self._side.learn()
        generation = self._side.generations[self.name]
        epoch = self._side.epoch(self.name, generation)
        if bare or self._has_seen(epoch):
            return await self._begin_again(generation + 1, bare)
        self.fold = Fold(epoch, name=self.name)
        return None

    async def _extend(self, fold: Fold, last: Raw) -> None:
        """Take the entries up to the last into the fold."""
        offset = fold.head.offset
        found = await self._entries.all_of(await self._entries.between(fold.seq + 1, last), offset)
        if told_floor(found) > offset or gaps(found, offset):  # the keys of those that are gone are kept elsewhere
            fold.keys = await self._side.keys(self.name) | fold.keys
        fold.extend(found)
        fold.drop_to(fold.purged)

    async def head(self) -> tuple[Position, int]:
        """Return the channel's head, and the offset behind which its epoch began, without the fold."""
        generation = await self._side.generation(self.name)
        if generation is None:
            return Position(self._side.epoch(self.name, 0), 0), 0
        try:
            last = await self._entries.last()
        except StreamGone:
            last = None
        if last is None:
            async with self.lock:
                fold = await self.catch_up()
            return fold.head, fold.start
        entry = self._entries.decode(last)
        return entry.head, entry.start

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
        found = await self._entries.all()
        if not found:
            raise Unavailable("the channel's log was emptied a moment ago")
        found = await self._entries.all_of(found, 0)
        fold = Fold("", name=self.name)
        for _ in fold.load(found):
            await asyncio.sleep(0)
        kept = await self._side.keys(self.name)
        fold.keys = kept | fold.keys
        self.fold = fold
        await self.finish()
        return fold

    async def finish(self) -> None:
        """Take the texts of deleted messages out of the storage that another replica may have left there. The caller
        holds the lock."""
        for id in list(self.fold.texts) if self.fold is not None else ():
            await self.erase(id)

    def _has_seen(self, epoch: str) -> bool:
        """Say whether this process knows an event of the epoch."""
        heads = self.noted, None if self.fold is None else self.fold.head
        return any(head is not None and head.epoch == epoch and head.offset > 0 for head in heads)

    async def _went_back(self, last: Raw, noted: Position | None) -> bool:
        """Say whether the storage has come back without an event that this process knows (promise 11)."""
        head, fold = self._entries.decode(last).head, self.fold
        if noted is not None and noted.epoch == head.epoch and noted.offset > head.offset:
            return True
        if fold is None or fold.seq == 0 or fold.epoch != head.epoch:
            return False
        if last.seq < fold.seq:
            return True
        same = last if last.seq == fold.seq else await self._streams.get(self.stream, fold.seq)
        return same is not None and self._entries.decode(same).token != fold.token

    async def _rename(self, last: Entry) -> None:
        """Begin a new epoch in a stream that goes on. Another replica may do so, too: then one of them is refused."""
        head = Position(secrets.token_hex(EPOCH_BYTES), last.head.offset)
        note = Entry(self._tokens.next(), last.written, head, last.head.offset, last.earned, floor=last.floor)
        before, self.fold = self.fold, Fold(head.epoch, name=self.name, seq=last.seq)
        lost: BaseException | None = Unavailable("the channel is being named anew")
        try:
            lost = (await self.append([note])).lost
        finally:
            if lost is not None:
                self.fold = before  # it is to be found out again
        if lost is not None:
            raise lost
        self.noted = None

    async def _begin_again(self, generation: int, seq: int = 0) -> Raw:
        """Give a channel whose entries are lost a new epoch, behind the last sequence of its stream; return its last
        entry. The list of channels tells of it first: a replica that finds an empty stream looks there."""
        await self._side.made(self.name, generation)
        epoch = self._side.epoch(self.name, self._side.generations[self.name])
        await self._streams.create(self.stream, self._subject, self.name)
        self.fold = Fold(epoch, name=self.name, seq=seq)
        await self.append([Entry(self._tokens.next(), 0, Position(epoch, 0), floor=0)])
        self.fold, self._made = None, True
        last = await self._entries.last()
        if last is None:
            raise Unavailable("the channel begins at this moment")
        return last


def _heard(task: asyncio.Task[Fold]) -> None:
    """Take notice of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
