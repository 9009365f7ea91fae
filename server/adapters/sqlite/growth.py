"""The events that a transaction adds to channels."""

import sqlite3
from typing import Any

from server.adapters.sqlite.channels import Channel, Channels
from server.adapters.sqlite.entries import log_full
from server.adapters.sqlite.rows import execute_rows
from server.domain.channel_rates import ChannelRates
from server.domain.channels import ChannelName

Row = list[Any]
"""The columns of `events`, without `n`."""

STATE_OFFSET = 4
"""The place of `state_offset` in a row."""


class Growth:
    """Counts events before they are written, and collects their rows. `full`: there is room for deletions only."""

    def __init__(
        self, db: sqlite3.Connection, channels: Channels, now_ms: int, rates: ChannelRates, *, full: bool
    ) -> None:
        self._db = db
        self._channels = channels
        self._now_ms = now_ms
        self._rates = rates
        self._now = rates.clock()
        self._full = full
        self._rows: list[Row] = []
        self._taken: list[ChannelName] = []  # the channels of the events that `rates` has counted
        self.heads: dict[ChannelName, int] = {}  # heads before this transaction, of the channels that it changes

    def check_room(self) -> None:
        """Check that the log is not full. Raises `Overloaded`."""
        if self._full:
            raise log_full()

    def take(self, channel: ChannelName) -> None:
        """Count an event that is to be written. Raises `RateLimited`."""
        self._rates.take(channel, self._now)
        self._taken.append(channel)

    def undo(self) -> None:
        """Count nothing, since nothing was written."""
        self._rates.give_back(self._taken)

    def add(
        self,
        channel: Channel,
        payload: bytes,
        message_id: str | None = None,
        state_offset: int | None = None,
        edit_of: int | None = None,
    ) -> Row:
        """Plan the row of the channel's next event."""
        self.heads.setdefault(channel.name, channel.head)
        channel.head += 1
        channel_id = channel.id or self._channels.id(self._db, channel)
        row = [channel_id, channel.head, self._now_ms, message_id, state_offset, edit_of, payload]
        self._rows.append(row)
        return row

    def save(self) -> None:
        """Write the rows."""
        execute_rows(
            self._db,
            "INSERT INTO events (channel_id, offset, written_at, message_id, state_offset, edit_of, payload)"
            " VALUES {rows}",
            self._rows,
        )
