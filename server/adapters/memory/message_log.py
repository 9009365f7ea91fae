"""The message log in memory: the honest fake of the durable ones in tests, and for servers that may forget.

Nothing waits in here: each method runs in one go on the event loop, so that it is its own transaction.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from server.adapters.clock import now_ms
from server.adapters.epochs import STORE_ID_BYTES, channel_epoch
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Draft, NewMessage, Revision, created, revised
from server.domain.errors import Conflict, NotFound
from server.domain.events import Event, MessageDeleted, MessageEdited
from server.domain.identity import UserId
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import Message, MessageId, Position, Tombstone
from server.ports.message_log import Appended, MessageLog, Page, Replay

_Key = tuple[ChannelName, UserId, str]


@dataclass(slots=True)
class _State:
    """A kept message: the offset of its creation, what it is now, and its deletion, where it was deleted."""

    offset: int
    current: Message | Tombstone
    deletion: MessageDeleted | None = None


@dataclass(slots=True)
class _Channel:
    """One channel's log. `events[i]` has the offset `floor + 1 + i` and was written at `written[i]`; `ids`
    and `offsets` list the kept messages by their creation."""

    epoch: str
    floor: int = 0
    events: list[Event] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    ids: list[MessageId] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    states: dict[MessageId, _State] = field(default_factory=dict)

    @property
    def head(self) -> Position:
        return Position(self.epoch, self.floor + len(self.events))

    @property
    def next(self) -> Position:
        return Position(self.epoch, self.floor + len(self.events) + 1)

    def trim(self, max_events: int, oldest: int) -> None:
        """Drop the prefix that is over the count, or was written before `oldest`."""
        drop = max(0, len(self.events) - max_events)
        while drop < len(self.events) and self.written[drop] < oldest:
            drop += 1
        if not drop:
            return
        self.floor += drop
        del self.events[:drop], self.written[:drop]
        gone = bisect_right(self.offsets, self.floor)
        for id in self.ids[:gone]:
            del self.states[id]
        del self.ids[:gone], self.offsets[:gone]


@dataclass(frozen=True, slots=True)
class _Keyed:
    """What a key became; the event itself may have been dropped since."""

    offset: int
    id: MessageId
    at: int
    expires_at: int


class MemoryMessageLog(MessageLog):
    """A log that lives and dies with the process.

    `max_events` and `max_age_ms` are a channel's retention; an event's age counts by `now_ms` from when it
    was written, and so does a key's. `store_id` stands for the log's identity: another one, other epochs.
    """

    def __init__(
        self,
        *,
        max_events: int,
        max_age_ms: int,
        now_ms: Callable[[], int] = now_ms,
        store_id: bytes | None = None,
    ) -> None:
        self._max_events = max_events
        self._max_age_ms = max_age_ms
        self._now_ms = now_ms
        self._store_id = os.urandom(STORE_ID_BYTES) if store_id is None else store_id
        self._channels: dict[ChannelName, _Channel] = {}
        self._keys: dict[_Key, _Keyed] = {}  # in the order of writing, so also of expiring

    def forget(self, channel: ChannelName) -> None:
        """Lose the channel's log, as a disaster would: empty, and in a new epoch."""
        lost = self._channel(channel).epoch
        self._channels[channel] = _Channel(channel_epoch(lost.encode(), channel))
        self._keys = {key: keyed for key, keyed in self._keys.items() if key[0] != channel}

    async def append(self, draft: Draft) -> Appended:
        now = self._now_ms()
        self._expire_keys(now)
        channel = self._trimmed(draft.channel)
        appended = self._applied(channel, draft, now)
        if not appended.duplicate:
            channel.events.append(appended.event)
            channel.written.append(now)
            self._channels[draft.channel] = channel
            channel.trim(self._max_events, now - self._max_age_ms)
        return appended

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        log = self._trimmed(channel)
        start = after - log.floor
        events = log.events[start : start + limit] if start >= 0 else []
        return Replay(log.floor, log.head, events)

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        state = self._trimmed(channel).states.get(id)
        return state.current if state else None

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        log = self._trimmed(channel)
        start = 0 if after is None else bisect_right(log.offsets, after)
        stop = len(log.offsets) if before is None else bisect_left(log.offsets, before)
        between = log.ids[start:stop]
        forward = after is not None and before is None
        page = between[:limit] if forward else between[max(0, len(between) - limit) :]
        return Page([log.states[id].current for id in page], log.head, more=len(between) > limit)

    def _channel(self, name: ChannelName) -> _Channel:
        return self._channels.get(name) or _Channel(channel_epoch(self._store_id, name))

    def _trimmed(self, name: ChannelName) -> _Channel:
        channel = self._channel(name)
        channel.trim(self._max_events, self._now_ms() - self._max_age_ms)
        return channel

    def _expire_keys(self, now: int) -> None:
        while self._keys:
            oldest = next(iter(self._keys))
            if self._keys[oldest].expires_at > now:
                return
            del self._keys[oldest]

    def _applied(self, channel: _Channel, draft: Draft, now: int) -> Appended:
        match draft:
            case NewMessage():
                return self._post(channel, draft, now)
            case Revision():
                return _revise(channel, draft)
            case Deletion():
                return _delete(channel, draft)

    def _post(self, channel: _Channel, post: NewMessage, now: int) -> Appended:
        key = None if post.key is None else (post.channel, post.author.id, post.key)
        if key is not None and (keyed := self._keys.get(key)):
            return Appended(_first(channel, keyed, post), duplicate=True)
        if post.id in channel.states:
            raise Conflict(f"message id '{post.id}' is already taken in '{post.channel}'")
        event = created(post, channel.next)
        channel.ids.append(post.id)
        channel.offsets.append(event.offset)
        channel.states[post.id] = _State(event.offset, event.message)
        if key is not None:
            self._keys[key] = _Keyed(event.offset, post.id, post.at, now + KEY_LIFETIME_MS)
        return Appended(event, duplicate=False)


def _first(channel: _Channel, keyed: _Keyed, repeat: NewMessage) -> Event:
    """The event of the key's first post; where it is dropped, the repeat's content stands in."""
    if keyed.offset > channel.floor:
        return channel.events[keyed.offset - channel.floor - 1]
    return created(replace(repeat, id=keyed.id, at=keyed.at), Position(channel.epoch, keyed.offset))


def _revise(channel: _Channel, revision: Revision) -> Appended:
    state = _kept(channel, revision)
    if isinstance(state.current, Tombstone):
        raise Conflict(f"message '{revision.id}' in '{revision.channel}' is deleted and can't be edited")
    state.current = revised(state.current, revision)
    position = channel.next
    event = MessageEdited(revision.channel, position.epoch, position.offset, revision.at, state.current)
    return Appended(event, duplicate=False)


def _delete(channel: _Channel, deletion: Deletion) -> Appended:
    state = _kept(channel, deletion)
    if state.deletion is not None:
        return Appended(state.deletion, duplicate=True)
    position = channel.next
    event = MessageDeleted(deletion.channel, position.epoch, position.offset, deletion.at, deletion.id)
    state.current = Tombstone(deletion.id, deletion.channel, state.offset)
    state.deletion = event
    return Appended(event, duplicate=False)


def _kept(channel: _Channel, draft: Revision | Deletion) -> _State:
    state = channel.states.get(draft.id)
    if state is None:
        raise NotFound(f"no message '{draft.id}' in '{draft.channel}'")
    return state
