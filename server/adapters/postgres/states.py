"""The messages that a transaction changes: their last changes, and the text that leaves the log with them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from asyncpg import Connection

from server.adapters.codec import state_of
from server.adapters.postgres.growth import Channel, Growth, columns
from server.adapters.postgres.intake import Entry
from server.adapters.postgres.placing import erased_payload, placed
from server.adapters.postgres.tallies import Id, Tallies
from server.domain.drafts import Deletion, Reaction, Revision
from server.domain.events import Event, MessageChange, MessageCreated, MessageEdited, erased

STEP_EDITS = 500
"""Edits that a transaction erases, at most; the others are erased by the sweep."""

_FIND = """
SELECT w.n, e."offset" AS created, s."offset" AS place, s.at, s.payload, t.told, t.state, t.last
FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY w (channel_id, id, n)
JOIN maru.channels c ON c.id = w.channel_id
JOIN maru.events e ON e.channel_id = c.id AND e.message_id = w.id AND e."offset" > c.floor
JOIN maru.events s ON s.channel_id = c.id AND s."offset" = e.state_offset
LEFT JOIN maru.reacted t ON t.channel_id = c.id AND t.created = e."offset"
"""
_MOVE = """
UPDATE maru.events e SET state_offset = m.place FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
m (channel_id, created, place) WHERE e.channel_id = m.channel_id AND e."offset" = m.created
"""
_ERASE = """
UPDATE maru.events e SET payload = g.payload FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])
g (channel_id, created, payload) WHERE e.channel_id = g.channel_id AND e."offset" = g.created
"""
_ERASE_LATER = """
INSERT INTO maru.erasing (channel_id, created, payload)
SELECT g.* FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) g (channel_id, created, payload)
WHERE EXISTS (SELECT FROM maru.events e WHERE e.channel_id = g.channel_id AND e.edit_of = g.created)
"""


@dataclass(slots=True)
class State:
    """The last change of a message, and the offset of its creation. `event` may be none that this version reads."""

    created: int
    event: Event

    @property
    def change(self) -> MessageChange:
        """The last change. Raises `DecodeError`."""
        return state_of(self.event)


class States:
    """Messages, by their channels and ids."""

    def __init__(self, connection: Connection, growth: Growth, tallies: Tallies) -> None:
        self._connection, self._growth, self._tallies = connection, growth, tallies
        self._payloads: dict[Id, tuple[int, str, int, int, bytes]] = {}  # not decoded yet
        self._states: dict[Id, State] = {}
        self._moved: dict[Id, tuple[int, int, int]] = {}
        self._erased: list[tuple[int, int, bytes, bytes]] = []  # with the payloads of the creation, and of edits

    async def load(self, drafts: Sequence[Entry]) -> None:
        """Read the messages that the entries name."""
        ids = [(draft.channel, draft.id) for draft in drafts if isinstance(draft, Revision | Deletion | Reaction)]
        if not ids:
            return
        wanted = [(self._growth.channels[channel].id, id) for channel, id in ids]
        for row in await self._connection.fetch(_FIND, *columns(wanted)):
            id = ids[row["n"] - 1]
            channel = self._growth.channels[id[0]]
            self._payloads[id] = (row["created"], channel.epoch, row["place"], row["at"], row["payload"])
            if row["state"] is not None:
                self._tallies.found(id, channel.id, row["created"], row)

    def last(self, id: Id) -> State | None:
        """Return the state of a message; None if the log does not have it. Raises `DecodeError`."""
        if id not in self._states and id in self._payloads:
            created, epoch, place, at, payload = self._payloads[id]
            self._states[id] = State(created, placed(payload, epoch, place, at))
        return self._states.get(id)

    def change(self, id: Id, state: State, event: MessageChange) -> None:
        """Let a message have a further change."""
        self._states[id] = State(state.created, event)
        self._moved[id] = (self._growth.channels[id[0]].id, state.created, event.offset)

    def erase(self, channel: Channel, last: MessageCreated | MessageEdited) -> None:
        """Take the text of a message out of the log."""
        gone = erased(last)
        payloads = [erased_payload(replace(gone, edited=edited)) for edited in (False, True)]
        self._erased.append((channel.id, gone.created_offset, payloads[0], payloads[1]))

    async def save(self) -> None:
        """Write the changes; the rows of their events are written."""
        if self._moved:
            await self._connection.execute(_MOVE, *columns(list(self._moved.values())))
        if not self._erased:
            return
        ids, created, creations, edits = columns(self._erased)
        await self._connection.execute(_ERASE, ids, created, creations)
        await self._connection.execute(_ERASE_LATER, ids, created, edits)
        await self._connection.execute("SELECT maru.erase_edits($1)", STEP_EDITS)
        await self._connection.execute("SELECT maru.on_deleted($1, $2)", ids, created)
