"""The message log in Redis: one stream per channel, written by one script, so that any number of replicas share it.

As durable as Redis is set to be: with `appendfsync always` an acked message is on disk, with `everysec` a crash of
Redis may take the last second with it (docs/operations.md).
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

import orjson
from redis.exceptions import RedisError

from server.adapters.redis import keys
from server.adapters.redis.entries import decode_entry, decode_state, encode_head
from server.adapters.redis.link import connect
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.scripts import Script
from server.domain.channels import ChannelName
from server.domain.errors import Conflict, NotFound, Unavailable
from server.domain.messages import (
    Deletion,
    Draft,
    Event,
    Message,
    MessageDeleted,
    MessageId,
    Position,
    Post,
    Revision,
    Tombstone,
    created,
)
from server.ports.message_log import Appended, MessageLog, Page, Replay

KEY_TTL_MS = 24 * 3_600_000
"""How long an idempotency key counts (promise 3)."""

STATE_MARGIN_MS = 24 * 3_600_000
"""A message's state outlives its event by so much, then Redis drops what a lost index would leave behind."""

SEEN_LIMIT = 50_000
"""Channels whose last event is remembered; the least lately used are forgotten first."""

DEADLINE_S = 2.0


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class _Seen(NamedTuple):
    epoch: str
    offset: int
    at: int


class RedisMessageLog(MessageLog):
    """A `MessageLog` over Redis 7. `url` as in `link.connect`; bounds and clock as in the other adapters."""

    def __init__(self, url: str, *, max_events: int, max_age_ms: int, now_ms: Callable[[], int] = _wall_ms) -> None:
        self._writes, self._reads = Pipeline(connect(url)), Pipeline(connect(url))
        self._append = Script(self._writes, "channel", "append")
        self._read = Script(self._reads, "channel", "read")
        self._message = Script(self._reads, "message")
        self._history = Script(self._reads, "channel", "history")
        self._seen: OrderedDict[ChannelName, _Seen] = OrderedDict()
        self._max_events, self._max_age_ms, self._now_ms = max_events, max_age_ms, now_ms

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._writes.aclose()
        await self._reads.aclose()

    async def append(self, draft: Draft) -> Appended:
        """One script call; concurrent ones share a round trip."""
        channel = draft.channel
        names = (*_names(channel), keys.message(channel, draft.id), *_sent(draft))
        now = self._now_ms()
        async with _answers():
            answer = await self._append(
                names,
                *self._opening(channel),
                _kind(draft),
                draft.at,
                self._max_events,
                now - self._max_age_ms,
                draft.id,
                keys.message(channel, ""),
                self._max_age_ms + STATE_MARGIN_MS,
                *_arguments(draft),
            )
        appended = _appended(draft, answer)
        self._note(channel, appended.event.epoch, appended.event.offset, appended.event.at)
        return appended

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        """One script call."""
        async with _answers():
            epoch, head, at, floor, entries = await self._read(
                _names(channel), *self._opening(channel), after, limit, self._now_ms() - self._max_age_ms
            )
        position = Position(epoch.decode(), int(head))
        if at:
            self._note(channel, position.epoch, position.offset, int(at))
        return Replay(
            int(floor),
            position,
            [decode_entry(channel, position.epoch, int(id.partition(b"-")[0]), fields) for id, fields in entries],
        )

    async def message(self, channel: ChannelName, id: MessageId) -> Message | Tombstone | None:
        """One script call."""
        names = (keys.meta(channel), keys.order(channel), keys.message(channel, id))
        async with _answers():
            fields = await self._message(names, id)
        return decode_state(channel, fields) if fields else None

    async def history(self, channel: ChannelName, before: int | None, after: int | None, limit: int) -> Page:
        """One script call."""
        async with _answers():
            epoch, head, more, states = await self._history(
                _names(channel),
                *self._opening(channel),
                "" if before is None else before,
                "" if after is None else after,
                limit,
                keys.message(channel, ""),
            )
        messages: Sequence[Message | Tombstone] = [decode_state(channel, fields) for fields in states if fields]
        return Page(messages, Position(epoch.decode(), int(head)), more == b"1")

    def _opening(self, channel: ChannelName) -> tuple[str | int, ...]:
        """What `channel.lua` is told: an epoch, should it need one, and what this process has seen of the channel."""
        seen = self._seen.get(channel)
        return (secrets.token_hex(8), *(("", "", "") if seen is None else seen))

    def _note(self, channel: ChannelName, epoch: str, offset: int, at: int) -> None:
        """Remember the last event seen, so that a log that has lost it can be told."""
        seen = self._seen.get(channel)
        if seen is None or seen.epoch != epoch or seen.offset < offset:
            self._seen[channel] = _Seen(epoch, offset, at)
            self._seen.move_to_end(channel)
            if len(self._seen) > SEEN_LIMIT:
                self._seen.popitem(last=False)


def _names(channel: ChannelName) -> tuple[str, str, str]:
    return keys.meta(channel), keys.log(channel), keys.order(channel)


def _kind(draft: Draft) -> str:
    match draft:
        case Post():
            return "post"
        case Revision():
            return "revision"
        case Deletion():
            return "deletion"


def _sent(draft: Draft) -> tuple[str, ...]:
    if isinstance(draft, Post) and draft.key is not None:
        return (keys.sent(draft.channel, draft.author.id, draft.key),)
    return ()


def _arguments(draft: Draft) -> tuple[Any, ...]:
    match draft:
        case Post():
            return (encode_head(draft), draft.text, _data(draft), KEY_TTL_MS)
        case Revision():
            return (draft.text, _data(draft), "1" if draft.keep_data else "0")
        case Deletion():
            return ()


def _data(draft: Post | Revision) -> bytes:
    return b"" if draft.data is None else orjson.dumps(draft.data)


def _appended(draft: Draft, answer: list[Any]) -> Appended:
    """Read the script's verdict."""
    outcome, epoch, offset, at, *rest = answer
    if outcome == b"not_found":
        raise NotFound("no such message in the channel, or older than its retention")
    if outcome == b"conflict":
        raise Conflict("the message has been deleted")
    position = Position(epoch.decode(), int(offset))
    entry, *first = rest
    if entry is not None:
        event = decode_entry(draft.channel, position.epoch, position.offset, entry)
    else:
        id = MessageId(first[0].decode()) if first else draft.id
        event = _rebuilt(draft, position, id, int(at))
    return Appended(event, outcome == b"duplicate")


def _rebuilt(draft: Draft, position: Position, id: MessageId, at: int) -> Event:
    """The event of a post that was written just now, or of an earlier try that the log no longer keeps."""
    if isinstance(draft, Post):
        first = Post(draft.channel, id, draft.author, draft.text, draft.data, draft.reply_to, draft.key, at)
        return created(first, position)
    return MessageDeleted(draft.channel, position.epoch, position.offset, at, id)


@asynccontextmanager
async def _answers() -> AsyncIterator[None]:
    """Bound the wait (promise 9); Redis' own errors (read-only replica, out of memory ...) are `Unavailable`."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield
    except TimeoutError as error:
        raise Unavailable(f"Redis did not answer within {DEADLINE_S} s") from error
    except RedisError as error:
        raise Unavailable(f"Redis refuses ({type(error).__name__})") from error
