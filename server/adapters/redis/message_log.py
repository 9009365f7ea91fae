"""The message log in Redis: one stream per channel, written by one script, so that any number of replicas share it.

As durable as Redis is set to be: with `appendfsync always` an acked message is on disk, with `everysec` a crash of
Redis may take the last second with it (docs/operations.md).
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

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

DEADLINE_S = 2.0


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class RedisMessageLog(MessageLog):
    """A `MessageLog` over Redis 7. `url` as in `link.connect`; bounds and clock as in the other adapters."""

    def __init__(self, url: str, *, max_events: int, max_age_ms: int, now_ms: Callable[[], int] = _wall_ms) -> None:
        self._writes, self._reads = Pipeline(connect(url)), Pipeline(connect(url))
        self._append = Script(self._writes, "append")
        self._read = Script(self._reads, "read")
        self._message = Script(self._reads, "message")
        self._history = Script(self._reads, "history")
        self._max_events, self._max_age_ms, self._now_ms = max_events, max_age_ms, now_ms

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._writes.aclose()
        await self._reads.aclose()

    async def append(self, draft: Draft) -> Appended:
        """One script call; concurrent ones share a round trip."""
        channel = draft.channel
        names = (
            keys.meta(channel),
            keys.log(channel),
            keys.order(channel),
            keys.message(channel, draft.id),
            *_sent(draft),
        )
        now = self._now_ms()
        async with _answers():
            answer = await self._append(
                names,
                _kind(draft),
                _new_epoch(),
                draft.at,
                self._max_events,
                now - self._max_age_ms,
                draft.id,
                keys.message(channel, ""),
                self._max_age_ms + STATE_MARGIN_MS,
                *_arguments(draft),
            )
        return _appended(draft, answer)

    async def read(self, channel: ChannelName, after: int, limit: int) -> Replay:
        """One script call."""
        names = (keys.meta(channel), keys.log(channel), keys.order(channel))
        async with _answers():
            epoch, head, floor, entries = await self._read(
                names, _new_epoch(), after, limit, self._now_ms() - self._max_age_ms
            )
        position = Position(epoch.decode(), int(head))
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
        names = (keys.meta(channel), keys.order(channel), keys.log(channel))
        async with _answers():
            epoch, head, more, states = await self._history(
                names,
                _new_epoch(),
                "" if before is None else before,
                "" if after is None else after,
                limit,
                keys.message(channel, ""),
            )
        messages: Sequence[Message | Tombstone] = [decode_state(channel, fields) for fields in states if fields]
        return Page(messages, Position(epoch.decode(), int(head)), more == b"1")


def _new_epoch() -> str:
    return secrets.token_hex(8)


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
            ttl = "" if draft.key is None else KEY_TTL_MS
            return (encode_head(draft), draft.text, _data(draft), ttl)
        case Revision():
            return (draft.text, _data(draft), "1" if draft.keep_data else "0")
        case Deletion():
            return ()


def _data(draft: Post | Revision) -> bytes:
    return b"" if draft.data is None else orjson.dumps(draft.data)


def _appended(draft: Draft, answer: list[Any]) -> Appended:
    """Read the script's verdict."""
    outcome, epoch, offset, entry, *first = answer
    if outcome == b"not_found":
        raise NotFound("no such message in the channel, or older than its retention")
    if outcome == b"conflict":
        raise Conflict("the message has been deleted")
    position = Position(epoch.decode(), int(offset))
    if entry is not None:
        event = decode_entry(draft.channel, position.epoch, position.offset, entry)
    else:
        event = _rebuilt(draft, position, MessageId(first[0].decode()), int(first[1]))
    return Appended(event, outcome == b"duplicate")


def _rebuilt(draft: Draft, position: Position, id: MessageId, at: int) -> Event:
    """The event of an earlier try that the log no longer keeps, from this try and what is known of the first."""
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
