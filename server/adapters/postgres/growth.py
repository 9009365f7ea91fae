"""The events that a transaction adds to channels, which it has locked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncpg import Connection

from server.adapters.codec import encode_event
from server.adapters.postgres.channels import epoch_of
from server.adapters.postgres.terms import SPARE_TRIMS, Terms, limited
from server.domain.channels import ChannelName
from server.domain.events import LogEvent
from server.domain.messages import Position

_CHANNELS = """
SELECT id, head, floor, full_ms, losses, maru.now_ms($2) AS now_ms FROM maru.channels WHERE id = ANY ($1)
"""
_EVENTS = """
INSERT INTO maru.events (channel_id, "offset", at, edit_of, payload, written_ms)
SELECT e.*, $6 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[]) e
"""
_GROW = "SELECT maru.grow($1, $2, $3, $4, $5, $6, $7)"


@dataclass(slots=True)
class Channel:
    """A channel's row, with the changes of the transaction. `before` is the head that the row has had."""

    id: int
    name: ChannelName
    epoch: str
    head: int
    floor: int
    full_ms: float
    before: int

    @property
    def next(self) -> Position:
        """The place of the next event."""
        return Position(self.epoch, self.head + 1)


class Growth:
    """Counts events before they are written, and collects their rows."""

    def __init__(self, connection: Connection, terms: Terms, key: bytes) -> None:
        self._connection, self._terms, self._key = connection, terms, key
        self._rows: list[tuple[int, int, int, int | None, bytes]] = []
        self.now_ms = 0  # the store's time, once the channels are locked
        self.channels: dict[ChannelName, Channel] = {}

    async def lock(self, life: str, ids: Mapping[ChannelName, int]) -> None:
        """Lock the channels with these ids and read their rows: `channels` has those that are there."""
        await self._connection.execute("SELECT maru.enter($1, $2)", life, list(ids.values()))
        names = {id: name for name, id in ids.items()}
        for row in await self._connection.fetch(_CHANNELS, list(names), self._terms.now_ms):
            name = names[row["id"]]
            epoch = epoch_of(self._key, name, row["losses"])
            self.now_ms = row["now_ms"]
            self.channels[name] = Channel(
                row["id"], name, epoch, row["head"], row["floor"], row["full_ms"], row["head"]
            )

    def take(self, channel: Channel) -> None:
        """Count an event that is to be written. Raises `RateLimited`."""
        if wait := self._terms.wait_ms(channel.full_ms, self.now_ms):
            raise limited(wait)
        channel.full_ms = max(channel.full_ms, self.now_ms) + self._terms.interval_ms

    def add(self, channel: Channel, event: LogEvent, edit_of: int | None = None) -> None:
        """Plan the row of the channel's next event, at which the event stands."""
        channel.head = event.offset
        self._rows.append((channel.id, event.offset, event.at, edit_of, encode_event(event)))

    async def save(self) -> None:
        """Write the rows, and let the channels have them."""
        if not self._rows:
            return
        await self._connection.execute(_EVENTS, *columns(self._rows), self.now_ms)
        grown = [
            (channel.id, channel.before, channel.head - channel.before, self._terms.kept(channel.name))
            for channel in self.channels.values()
            if channel.head > channel.before
        ]
        await self._connection.execute(_GROW, self.now_ms, self._terms.interval_ms, SPARE_TRIMS, *columns(grown))


def columns(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    """Return the columns of rows, which are not empty."""
    return [list(column) for column in zip(*rows, strict=True)]
