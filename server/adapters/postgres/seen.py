"""The last event of each channel that this process has seen: a log that comes back without it is found out."""

from collections import OrderedDict
from itertools import islice
from typing import NamedTuple

import structlog
from asyncpg import Connection

from server.adapters.postgres.channels import epoch_of
from server.adapters.postgres.schema import Identity
from server.domain.channels import ChannelName
from server.domain.messages import Position

SEEN_LIMIT = 50_000
"""Channels whose last event is remembered. The least recently used are forgotten first."""

AT_ONCE = 1_000
"""Channels that are compared in a statement."""

_LOOK = """
SELECT c.name, c.head, c.floor, c.losses, e.at
FROM unnest($1::text[], $2::bigint[]) w (name, place) JOIN maru.channels c ON c.name = w.name
LEFT JOIN maru.events e ON e.channel_id = c.id AND e."offset" = w.place
"""
# If another process has found the loss before, `losses` has changed.
_LOSE = """
UPDATE maru.channels c SET losses = c.losses + 1 FROM unnest($1::text[], $2::int[]) w (name, losses)
WHERE c.name = w.name AND c.losses = w.losses
"""

_log = structlog.get_logger("maru.log")


class _Seen(NamedTuple):
    epoch: str
    offset: int
    at: int


class Seen:
    """Remembers the last event of up to `limit` channels."""

    def __init__(self, limit: int = SEEN_LIMIT) -> None:
        self._limit = limit
        self._last: OrderedDict[ChannelName, _Seen] = OrderedDict()  # least recently used first

    def note(self, channel: ChannelName, place: Position, at: int) -> None:
        """Remember an event, unless the same epoch has a later event."""
        seen = self._last.get(channel)
        if seen is None or seen.epoch != place.epoch or seen.offset < place.offset:
            self._last[channel] = _Seen(place.epoch, place.offset, at)
            self._last.move_to_end(channel)
            if len(self._last) > self._limit:
                self._last.popitem(last=False)

    async def compare(self, connection: Connection, identity: Identity) -> None:
        """Compare what was seen with the log of a PostgreSQL that was started anew: a channel that lacks the event, or
        has another in its place, gets a new epoch. What is compared is forgotten, so a call that was cut short goes on
        with the next."""
        while self._last:
            wanted = dict(islice(self._last.items(), AT_ONCE))
            rows = await connection.fetch(_LOOK, list(wanted), [seen.offset for seen in wanted.values()])
            lost: dict[str, int] = {}
            for row in rows:
                channel = ChannelName(row["name"])
                seen = wanted[channel]
                is_of_now = epoch_of(identity.key, channel, row["losses"]) == seen.epoch
                # Another time, or none because the log ends before: another event, or none.
                if is_of_now and seen.offset > row["floor"] and row["at"] != seen.at:
                    lost[channel] = row["losses"]
            if lost:
                await connection.execute(_LOSE, list(lost), list(lost.values()))
                _log.error("message_log.older", channels=len(lost), example=next(iter(lost)))
            for channel, seen in wanted.items():
                if self._last.get(channel) == seen:
                    del self._last[channel]
