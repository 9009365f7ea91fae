"""The message log in memory: the fake of the durable logs in tests, and a log for servers that may forget.

No method awaits: each runs without a break on the event loop, so each is a transaction.
"""

import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence

from server.adapters.channel_state import Channel
from server.adapters.clock import now_ms
from server.adapters.codec import known
from server.adapters.epochs import STORE_ID_BYTES, channel_epoch
from server.adapters.memory.debts import Debts
from server.adapters.memory.keys import Keyed, Keys
from server.domain.appending import Appended, decide, recreated
from server.domain.channel_rates import ChannelRates
from server.domain.channels import ChannelName
from server.domain.dispatching import Debt, covers
from server.domain.drafts import Draft, NewMessage, Sender
from server.domain.errors import MaruError, Unavailable
from server.domain.events import (
    Event,
    LogEvent,
    MessageEvent,
    state_after,
)
from server.domain.gcra import Rate
from server.domain.identity import UserId
from server.domain.messages import Message, MessageId, Position, Tombstone
from server.domain.retention import Retention
from server.domain.rules import Rule
from server.ports.message_log import Done, MessageLog, Page, Replay


class MemoryMessageLog(MessageLog):
    """A log that lives and dies with the process.

    `max_events` and `max_age_ms` are the retention of a channel, if no rule says another. The age of an event and of a
    key counts by `now_ms`, from when it was written; `rate`, that of a channel's events, by `clock`, in seconds.
    `store_id` is the identity of the log: logs with different ids have different epochs.
    """

    def __init__(
        self,
        *,
        max_events: int,
        max_age_ms: int,
        rules: Mapping[str, Rule] | None = None,
        rate: Rate | None = None,
        now_ms: Callable[[], int] = now_ms,
        clock: Callable[[], float] = time.monotonic,
        store_id: bytes | None = None,
    ) -> None:
        self.retention = Retention(max_events, max_age_ms, rules)  # read at each use
        self._rates = ChannelRates(rate, clock)
        self._now_ms = now_ms
        self._store_id = os.urandom(STORE_ID_BYTES) if store_id is None else store_id
        self._channels: dict[ChannelName, Channel] = {}
        self.keys = Keys(now_ms)  # of messages
        self.record_keys = Keys(now_ms)  # of applications' events
        self.debts = Debts()  # to the endpoints of webhooks
        self.followed: dict[UserId, set[ChannelName]] = {}
        self.followers: dict[ChannelName, dict[UserId, None]] = {}  # in the order in which they began to follow

    def forget(self, channel: ChannelName) -> None:
        """Lose the channel's log, as in a disaster. The channel is empty then, and in a new epoch."""
        lost = self._channel(channel).head
        self._channels[channel] = Channel(channel_epoch(lost.epoch.encode(), channel))
        self.debts.lose(channel, lost)
        self.keys.forget(channel)
        self.record_keys.forget(channel)

    async def append(self, draft: Draft) -> Appended:
        return self._append(draft)

    def submit(self, draft: Draft, sender: Sender, done: Done) -> None:
        outcome: Appended | Exception
        try:
            if sender.failed:
                raise Unavailable("an earlier command was not written, and this one must not overtake it")
            outcome = self._append(draft)
        except MaruError as error:
            sender.failed = sender.failed or error.retryable
            outcome = error
        done(outcome)

    def _append(self, draft: Draft) -> Appended:
        channel = self.channel(draft.channel)
        if isinstance(draft, NewMessage) and (first := self._first(channel, draft)):
            return Appended(first, duplicate=True)
        message = channel.messages.get(draft.id)
        appended = decide(draft, message.present if message else None, channel.next)
        if not appended.duplicate:
            self.take(draft.channel)
            self.write(channel, appended.event)
            if isinstance(draft, NewMessage):
                self._wrote(channel, draft, appended.event.offset)
        return appended

    def _wrote(self, channel: Channel, draft: NewMessage, offset: int) -> None:
        if draft.marks:
            channel.move_mark(draft.author.id, offset)
        if draft.key is not None:
            self.keys.put((draft.channel, draft.author.id, draft.key), Keyed(offset, draft.id, draft.at))

    def channel(self, name: ChannelName) -> Channel:
        """Return the channel, without what is too old."""
        channel = self._channel(name)
        self._trim(name, channel, self._now_ms())
        return channel

    def take(self, name: ChannelName) -> None:
        """Count an event that is to be written. Raises `RateLimited`."""
        self._rates.take(name, self._rates.clock())

    def write(self, channel: Channel, event: LogEvent) -> None:
        """Write the event, which was counted, and has the next offset of the channel."""
        now, name = self._now_ms(), event.channel
        self.debts.append(name, channel.head)
        channel.add(event, now)
        self._channels[name] = channel
        self._trim(name, channel, now)

    def _trim(self, name: ChannelName, channel: Channel, now: int) -> None:
        kept = self.retention.of(name)
        if channel.is_over(kept.events, now - kept.age_ms):
            channel.trim(kept.events, now - kept.age_ms)

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        log = self.channel(channel)
        start = after - log.floor
        events = log.events[start : start + limit] if start >= 0 else []
        return Replay(log.floor, log.head, events)

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        log = self.channel(channel)
        kept = log.messages.get(id)
        return state_after(kept.present, kept.offset, log.at(kept.offset)) if kept else None

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        log = self.channel(channel)
        start = 0 if after is None else bisect_right(log.offsets, after)
        stop = len(log.offsets) if before is None else bisect_left(log.offsets, before)
        between = log.ids[start:stop]
        forward = after is not None and before is None
        page = between[:limit] if forward else between[max(0, len(between) - limit) :]
        return Page([log.messages[id].state for id in page], log.head, more=len(between) > limit)

    def head(self, channel: ChannelName) -> Position:
        """Return the channel's last position."""
        return self._channel(channel).head

    def names(self) -> list[ChannelName]:
        """Return all channels that ever had an event."""
        return [*self._channels]

    def floor(self, channel: ChannelName) -> int:
        """Return the highest offset of the channel that is not kept."""
        return self._channel(channel).floor

    def all_debts(self, patterns: Sequence[str]) -> dict[ChannelName, Debt]:
        """Return what all covered channels owe an endpoint that has nothing yet."""
        logs = ((name, self.channel(name)) for name in self._channels if covers(patterns, name))
        return {name: Debt(name, Position(log.epoch, log.floor)) for name, log in logs if log.events}

    def note(self, event: Event) -> None:
        """Nothing: the log can't come back older."""

    def _channel(self, name: ChannelName) -> Channel:
        return self._channels.get(name) or Channel(channel_epoch(self._store_id, name))

    def _first(self, channel: Channel, draft: NewMessage) -> MessageEvent | None:
        """Return the event of the first message with the draft's key, or None."""
        keyed = None if draft.key is None else self.keys.find((draft.channel, draft.author.id, draft.key))
        if keyed is None or keyed.id is None:
            return None
        if keyed.offset > channel.floor:
            return known(channel.at(keyed.offset))
        return recreated(draft, keyed.id, keyed.at, Position(channel.epoch, keyed.offset))
