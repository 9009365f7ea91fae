"""What the log holds already of the keys and messages that drafts name."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.adapters.sqlite.channels import Channel
from server.adapters.sqlite.entries import Entry, Following, Moving
from server.adapters.sqlite.events import STATE
from server.adapters.sqlite.rows import execute_rows
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage, Record
from server.domain.identity import UserId
from server.domain.messages import MessageId

Key = tuple[ChannelName, UserId, str]
Id = tuple[ChannelName, MessageId]

_FIND_KEYS = """
WITH wanted (draft, channel_id, author, key, now) AS (VALUES {rows})
SELECT w.draft, k.offset, k.message_id, k.at, e.payload FROM wanted w
JOIN keys k ON k.channel_id = w.channel_id AND k.author = w.author AND k.key = w.key AND k.expires_at > w.now
LEFT JOIN events e ON e.channel_id = k.channel_id AND e.offset = k.offset AND e.message_id IS NOT NULL
"""

# The keys of records have the channel's id with a minus.
_FIND_RECORD_KEYS = """
WITH wanted (draft, channel_id, author, key, now) AS (VALUES {rows})
SELECT w.draft, k.offset, k.at, e.payload FROM wanted w
JOIN keys k ON k.channel_id = -w.channel_id AND k.author = w.author AND k.key = w.key AND k.expires_at > w.now
LEFT JOIN events e ON e.channel_id = w.channel_id AND e.offset = k.offset AND e.message_id IS NULL
"""

_FIND_STATES = """
WITH wanted (draft, channel_id, id) AS (VALUES {rows})
SELECT w.draft, {state}, creation.channel_id, creation.offset, t.told, t.state FROM wanted w
JOIN events creation ON creation.message_id = w.id AND creation.channel_id = w.channel_id
LEFT JOIN reacted t ON t.channel_id = creation.channel_id AND t.created = creation.offset
""".replace("{state}", STATE)


@dataclass(slots=True)
class First:
    """The first message of a key. `payload` is None if its event has been dropped since."""

    offset: int
    id: MessageId
    at: int
    payload: bytes | None


@dataclass(slots=True)
class RecordFirst:
    """The first record of a key. `payload` is None if its event has been dropped since."""

    offset: int
    at: int
    payload: bytes | None


@dataclass(slots=True)
class State:
    """The last change of a message, encoded; and, if anybody ever reacted to it, the row that tells of it."""

    payload: bytes
    channel_id: int
    created: int
    told: int | None
    reactions: str | None


def find_firsts(
    db: sqlite3.Connection, drafts: Sequence[Entry], channels: Mapping[ChannelName, Channel], judged_ms: int
) -> dict[Key, First]:
    """Return the first message of each key that a draft repeats, unless the key had expired by `judged_ms`. A channel
    without an id has no event yet."""
    wanted = [
        (number, channel_id, draft.author.id, draft.key, judged_ms)
        for number, draft in enumerate(drafts)
        if isinstance(draft, NewMessage) and draft.key is not None and (channel_id := channels[draft.channel].id)
    ]
    firsts: dict[Key, First] = {}
    for number, *first in execute_rows(db, _FIND_KEYS, wanted):
        draft = drafts[number]
        if isinstance(draft, NewMessage) and draft.key is not None:
            firsts[draft.channel, draft.author.id, draft.key] = First(*first)
    return firsts


def find_record_firsts(
    db: sqlite3.Connection, drafts: Sequence[Entry], channels: Mapping[ChannelName, Channel], judged_ms: int
) -> dict[Key, RecordFirst]:
    """Return the first record of each key that a draft repeats, as `find_firsts` does for messages."""
    wanted = [
        (number, channel_id, draft.author.id, draft.key, judged_ms)
        for number, draft in enumerate(drafts)
        if isinstance(draft, Record) and draft.key is not None and (channel_id := channels[draft.channel].id)
    ]
    firsts: dict[Key, RecordFirst] = {}
    for number, *first in execute_rows(db, _FIND_RECORD_KEYS, wanted):
        draft = drafts[number]
        if isinstance(draft, Record) and draft.key is not None:
            firsts[draft.channel, draft.author.id, draft.key] = RecordFirst(*first)
    return firsts


def find_states(
    db: sqlite3.Connection, drafts: Sequence[Entry], channels: Mapping[ChannelName, Channel], *, trusting: bool
) -> dict[Id, State]:
    """Return the state of each message that is there of those that the drafts are about; unless `trusting`, also of
    those that have the ids of new messages."""
    wanted = [
        (number, channel_id, draft.id)
        for number, draft in enumerate(drafts)
        if not isinstance(draft, Record | Moving | Following)
        and not (trusting and isinstance(draft, NewMessage))
        and (channel_id := channels[draft.channel].id)
    ]
    states: dict[Id, State] = {}
    for number, *state in execute_rows(db, _FIND_STATES, wanted):
        draft = drafts[number]
        if not isinstance(draft, Record | Moving | Following):
            states[draft.channel, draft.id] = State(*state)
    return states
