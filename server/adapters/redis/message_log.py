"""The message log in Redis: a stream per channel, written by a single script, so that any number of replicas share it.

As durable as Redis is set to be: with `appendfsync always` an acked message is on disk, with `everysec` a crash of
Redis may take the last second with it (docs/operations.md).
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import count
from typing import Any, NamedTuple, Self

import structlog

from server.adapters.clock import now_ms
from server.adapters.codec import DecodeError, known
from server.adapters.redis import keys
from server.adapters.redis.entries import decode_entry, decode_state, encode_content, encode_data
from server.adapters.redis.link import connect
from server.adapters.redis.master import Master
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.scripts import Script
from server.domain.appending import Appended, already_deleted, created, id_taken, not_found, recreated
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Draft, NewMessage, Revision
from server.domain.errors import Unavailable
from server.domain.events import Event, MessageDeleted, MessageEvent
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import Message, MessageId, Position, Tombstone
from server.ports.message_log import MessageLog, Page, Replay

SEEN_LIMIT = 50_000
"""Channels whose last event is remembered. The least recently used are forgotten first."""

WRITERS = 2
"""Connections that append, each for its share of the channels: while Redis works for one of them, this process works
for the other."""

_log = structlog.get_logger("maru.log")


class _Seen(NamedTuple):
    """The last event of a channel that this process has seen."""

    epoch: str
    offset: int
    at: int


class RedisMessageLog(MessageLog):
    """A `MessageLog` over Redis 7. `url` is that of `link.connect`; bounds and clock are as in the other adapters.

    `master` is shared with the other connections of the process. An append is answered once `wait_replicas` have it.
    """

    def __init__(
        self,
        url: str,
        master: Master | None = None,
        *,
        max_events: int,
        max_age_ms: int,
        prefix: str = keys.PREFIX,
        wait_replicas: int = 0,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        master = master or Master()
        self._writes = [Pipeline(connect(url), master, wait_replicas) for _ in range(WRITERS)]
        self._reads = Pipeline(connect(url), master)
        self._appends = [Script(writes, "append") for writes in self._writes]
        self._read = Script(self._reads, "read")
        self._message = Script(self._reads, "message")
        self._history = Script(self._reads, "history")
        self._seen: OrderedDict[ChannelName, _Seen] = OrderedDict()  # the last event, least recently used first
        self._epochs = (f"{prefix}{number:x}" for prefix in [secrets.token_hex(6)] for number in count())
        self._damaged = False  # the last answer held an entry that can't be read
        self._max_events, self._max_age_ms, self._now_ms = max_events, max_age_ms, now_ms
        self._prefix = prefix

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for writes in self._writes:
            await writes.aclose()
        await self._reads.aclose()

    def append(self, draft: Draft) -> asyncio.Future[Appended]:
        """Call a script; concurrent calls share a round trip."""
        channel = draft.channel
        append = self._appends[hash(channel) % WRITERS]
        return append.submit(
            (*self._keys(channel), *_subject(draft, self._prefix)),
            (*self._opening(channel), _kind(draft), draft.at, self._max_events, draft.id, *_arguments(draft)),
            partial(self._written, draft),
        )

    def _written(self, draft: Draft, answer: Sequence[Any]) -> Appended:
        with self._readable(draft.channel):
            appended = _appended(draft, answer)
        event = appended.event
        self._note(draft.channel, event.epoch, event.offset, event.at)
        return appended

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        """Call a script."""
        epoch, head, at, floor, entries = await self._read(self._keys(channel), *self._opening(channel), after, limit)
        position = Position(epoch.decode(), int(head))
        if position.offset:
            self._note(channel, position.epoch, position.offset, int(at))
        with self._readable(channel):
            events = [
                decode_entry(channel, position.epoch, int(id.partition(b"-")[0]), packed) for id, (_, packed) in entries
            ]
        return Replay(int(floor), position, events)

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        """Call a script."""
        found = await self._message(
            (*self._keys(channel), keys.state(channel, id, self._prefix)), *self._opening(channel), id
        )
        with self._readable(channel):
            return _state(channel, found) if found else None

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        """Call a script."""
        epoch, head, more, found = await self._history(
            self._keys(channel),
            *self._opening(channel),
            "" if before is None else before,
            "" if after is None else after,
            limit,
        )
        with self._readable(channel):
            states = [_state(channel, each) for each in found if each[2] is not None]
        return Page(states, Position(epoch.decode(), int(head)), more == b"1")

    def note(self, event: Event) -> None:
        """Remember the event if it is the channel's last so far."""
        self._note(event.channel, event.epoch, event.offset, event.at)

    @contextmanager
    def _readable(self, channel: ChannelName) -> Iterator[None]:
        """Raise `Unavailable` instead of `DecodeError`, and log the first of a row of them."""
        try:
            yield
        except DecodeError as error:
            if not self._damaged:
                _log.error("message_log.unreadable", channel=channel, error=str(error))
            self._damaged = True
            raise Unavailable("the message log can't be read") from error
        self._damaged = False

    def _keys(self, channel: ChannelName) -> tuple[str, str, str]:
        return _names(channel, self._prefix)

    def _opening(self, channel: ChannelName) -> tuple[str | int, ...]:
        """Return the arguments of `channel.lua`: an epoch, if it needs one; what this process has seen of the channel;
        age."""
        seen = self._seen.get(channel)
        last = ("", "", "") if seen is None else seen
        return (next(self._epochs), *last, self._now_ms(), self._max_age_ms, keys.state(channel, "", self._prefix))

    def _note(self, channel: ChannelName, epoch: str, offset: int, at: int) -> None:
        """Remember the last event seen, so that the scripts find out if Redis has lost it."""
        seen = self._seen.get(channel)
        if seen is None or seen.epoch != epoch or seen.offset < offset:
            self._seen[channel] = _Seen(epoch, offset, at)
            self._seen.move_to_end(channel)
            if len(self._seen) > SEEN_LIMIT:
                self._seen.popitem(last=False)


@lru_cache(maxsize=SEEN_LIMIT)
def _names(channel: ChannelName, prefix: str) -> tuple[str, str, str]:
    return keys.meta(channel, prefix), keys.log(channel, prefix), keys.order(channel, prefix)


def _kind(draft: Draft) -> str:
    match draft:
        case NewMessage():
            return "creation"
        case Revision():
            return "revision"
        case Deletion():
            return "deletion"


def _subject(draft: Draft, prefix: str) -> tuple[str, ...]:
    """Return the further key that the draft needs, or None."""
    if not isinstance(draft, NewMessage):
        return (keys.state(draft.channel, draft.id, prefix),)
    return () if draft.key is None else (keys.sent(draft.channel, draft.author.id, draft.key, prefix),)


def _arguments(draft: Draft) -> tuple[str | int | bytes, ...]:
    match draft:
        case NewMessage():
            return (encode_content(draft), KEY_LIFETIME_MS)
        case Revision():
            return (draft.text, encode_data(draft.data), "1" if draft.keep_data else "0")
        case Deletion():
            return ()


def _state(channel: ChannelName, found: Sequence[Any]) -> Message | Tombstone:
    id, offset, packed = found
    return decode_state(channel, MessageId(id.decode()), int(offset), packed)


def _appended(draft: Draft, answer: Sequence[Any]) -> Appended:
    """Return what the script's answer means. Raises the refusals, and `DecodeError`."""
    outcome, epoch, *rest = answer
    if outcome == b"not_found":
        raise not_found()
    if outcome == b"conflict":
        raise id_taken() if isinstance(draft, NewMessage) else already_deleted()
    offset, at, id, entry = rest
    position = Position(epoch.decode(), int(offset))
    if entry is not None:
        event = known(decode_entry(draft.channel, position.epoch, position.offset, entry))
    else:
        event = _rebuilt(draft, position, MessageId(id.decode()), int(at))
    return Appended(event, outcome == b"duplicate")


def _rebuilt(draft: Draft, position: Position, id: MessageId, at: int) -> MessageEvent:
    """Return the event of a new message, of an earlier message that the log no longer keeps, or of a deletion."""
    if isinstance(draft, NewMessage):
        return created(draft, position) if id == draft.id else recreated(draft, id, at, position)
    return MessageDeleted(draft.channel, position.epoch, position.offset, at, id)
