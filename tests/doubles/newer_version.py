"""A newer version of the server, which shares a store with this one: it writes entries of kinds unknown here."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.nats.entries import decode
from server.adapters.nats.link import Link
from server.adapters.nats.side import token
from server.adapters.nats.streams import Streams
from server.adapters.postgres.channels import epoch_of
from server.adapters.postgres.schema import Identity
from server.adapters.redis import keys
from server.adapters.redis.hints import sealed
from server.domain.channels import ChannelName
from server.domain.events import UnknownEvent
from tests.harness.seal import SEAL

KIND = "pinned"

ENTRY = f"{KIND} {{at}} {{at}} 👍 x"
"""Of a stream in Redis."""


def write_in_memory(log: MemoryMessageLog, channel: ChannelName, at: int) -> UnknownEvent:
    """Add an entry past the log's own methods, which write no such thing."""
    state = log._channel(channel)  # noqa: SLF001  # the log has no other way in
    event = UnknownEvent(channel, state.epoch, state.next.offset, at, KIND)
    state.events.append(event)
    state.written.append(at)
    log._channels[channel] = state  # noqa: SLF001
    return event


def write_in_sqlite(path: Path, channel: ChannelName, at: int) -> UnknownEvent:
    """Add an entry to the file of a log that is closed. The channel has an event."""
    with closing(sqlite3.connect(path)) as db, db:
        id, epoch, head = db.execute("SELECT id, epoch, head FROM channels WHERE name = ?", (channel,)).fetchone()
        event = UnknownEvent(channel, epoch, head + 1, at, KIND)
        row = (id, event.offset, at, encode(event))
        db.execute("INSERT INTO events (channel_id, offset, written_at, payload) VALUES (?, ?, ?, ?)", row)
        db.execute("UPDATE channels SET head = ? WHERE id = ?", (event.offset, id))
    return event


async def write_in_redis(
    command: Callable[..., Awaitable[Any]], channel: ChannelName, at: int, entry: str = ENTRY
) -> UnknownEvent:
    """Add an entry to the channel's stream; `command` runs one command of Redis. The channel has an event."""
    epoch, head, _, *rest = (await command("GET", keys.meta(channel))).decode().split()
    event = UnknownEvent(channel, epoch, int(head) + 1, at, KIND)
    await command("XADD", keys.log(channel), f"{event.offset}-0", "e", entry.format(at=at))
    await command("SET", keys.meta(channel), " ".join([epoch, str(event.offset), str(at), *rest]))
    return event


async def write_in_postgres(query: Callable[..., Awaitable[Any]], channel: ChannelName, at: int) -> UnknownEvent:
    """Add an entry to the channel's events; `query` runs a statement. The channel has an event."""
    ((id, head),) = await query("UPDATE maru.channels SET head = head + 1 WHERE name = $1 RETURNING id, head", channel)
    ((store, system, timeline),) = await query(
        "SELECT id, (pg_control_system()).system_identifier, maru.timeline() FROM maru.store"
    )
    event = UnknownEvent(channel, epoch_of(Identity(store, system, timeline).key, channel, 0), head, at, KIND)
    await query(
        'INSERT INTO maru.events (channel_id, "offset", at, written_ms, payload) VALUES ($1, $2, $3, $3, $4)',
        id,
        head,
        at,
        encode(event),
    )
    return event


async def write_in_nats(url: str, channel: ChannelName, at: int) -> UnknownEvent:
    """Add an entry to the channel's stream. The channel has an event."""
    part = token(channel)
    async with Link(url) as link:
        streams = Streams(link)
        last = await streams.last(f"maru-log-{part}", f"maru.log.{part}")
        assert last is not None
        head = decode(last, channel).head
        event = UnknownEvent(channel, head.epoch, head.offset + 1, at, KIND)
        line = orjson.dumps({"v": 1, "k": "newer", "w": at, "e": event.epoch, "o": event.offset, "later": True})
        assert await streams.put(f"maru.log.{part}", line + b"\n" + encode(event))
    return event


def encode(event: UnknownEvent) -> bytes:
    """Return the bytes of the event as a payload in SQLite and PostgreSQL: more fields than this version knows."""
    fields = {"c": event.channel, "e": event.epoch, "o": event.offset, "a": event.at}
    return orjson.dumps({"v": 1, "t": event.kind, **fields, "i": "a message's id", "r": ["👍", "alice"]})


def hint_at(event: UnknownEvent) -> bytes:
    """Return the hint at the event that a newer version of the same cluster publishes in Redis."""
    hint = f"{event.epoch} {event.offset} {ENTRY.format(at=event.at)}"
    return sealed(hint.encode(), keys.topic(event.channel), SEAL)
