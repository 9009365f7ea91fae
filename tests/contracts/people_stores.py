"""Logs of each kind with their people's parts: reactions, events of applications, marks and follows."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.nats.message_log import NatsMessageLog
from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.bootstrap.stores import memory, nats, postgres, redis, sqlite
from server.bootstrap.stores.record import People
from server.domain.channels import ChannelName
from server.domain.drafts import Reaction
from server.domain.gcra import Rate
from server.domain.identity import UserId
from server.domain.marks import Mark
from server.domain.messages import Message, MessageId
from server.domain.reactions import Reactions as State
from server.domain.rules import Rule
from server.ports.follows import Follows
from server.ports.marks import Marks
from server.ports.message_log import MessageLog
from server.ports.reactions import Reactions
from server.ports.records import Records
from tests.contracts.conftest import LogStore
from tests.doubles.samples import HOUR_MS, NOW_MS, some_id


@dataclass(frozen=True)
class Opened:
    """A log, and its parts."""

    log: MessageLog
    reactions: Reactions
    records: Records
    marks: Marks
    follows: Follows

    async def mark(self, user: str, channel: ChannelName) -> Mark:
        """The user's mark in a channel."""
        return (await self.marks.marks(UserId(user), [channel]))[channel]

    async def counts(self, user: str, channel: ChannelName) -> tuple[int, int, int]:
        """The offset of the user's mark, and the two counts behind it."""
        mark = await self.mark(user, channel)
        return mark.offset, mark.unread, mark.unread_mentions

    async def reacted(self, channel: ChannelName, id: MessageId) -> State:
        """The reactions to a message as of now."""
        message = await self.log.message(channel, id)
        assert isinstance(message, Message)
        return message.reactions


def parts(log: MessageLog) -> People:
    """The parts beside a log that is open."""
    if isinstance(log, RedisMessageLog):
        return redis.open_people(log)
    if isinstance(log, NatsMessageLog):
        return nats.open_people(log)
    if isinstance(log, SqliteMessageLog):
        return sqlite.open_people(log)
    if isinstance(log, PostgresMessageLog):
        return postgres.open_people(log)
    assert isinstance(log, MemoryMessageLog)
    return memory.open_people(log)


@asynccontextmanager
async def opened(
    store: LogStore,
    *,
    max_events: int = 100_000,
    max_age_ms: int = 1_000 * HOUR_MS,
    rules: Mapping[str, Rule] | None = None,
    rate: Rate | None = None,
) -> AsyncIterator[Opened]:
    """Open a log with its parts. Two may be open at once only if the store is shared."""
    async with store.open(max_events=max_events, max_age_ms=max_age_ms, rules=rules, rate=rate) as log:
        yield Opened(log, *parts(log))


@asynccontextmanager
async def replicas(store: LogStore) -> AsyncIterator[tuple[Opened, Opened]]:
    """Open a log twice if the store is shared. Of another store, the same log is given twice."""
    async with opened(store) as one:
        if not store.shared:
            yield one, one
            return
        async with opened(store) as two:
            yield one, two


def reaction(
    number: int, channel: ChannelName, user: str = "alice", emoji: str = "👍", *, add: bool = True, at: int = NOW_MS
) -> Reaction:
    """A reaction to the message with this number, or its end."""
    return Reaction(channel, some_id(number), emoji, UserId(user), add, at)
