"""The ids of channels, which this process remembers, and their epochs."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from server.adapters.epochs import channel_epoch
from server.adapters.postgres.database import Database
from server.domain.channels import ChannelName

REMEMBERED = 20_000
"""Channels whose ids are remembered. Over this number all are forgotten, and those in use are asked for again."""


@lru_cache(maxsize=REMEMBERED)
def epoch_of(key: bytes, channel: ChannelName, losses: int) -> str:
    """Return the channel's epoch in the store with this key, after so many losses of its log."""
    return channel_epoch(key, channel if not losses else ChannelName(f"{channel}\n{losses}"))


class Channels:
    """The ids of channels in a database. A channel keeps its id as long as the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: dict[ChannelName, int] = {}

    async def ids(self, names: Iterable[ChannelName]) -> Mapping[ChannelName, int]:
        """Return the ids of the channels, among others. The rows that are missing are made in a transaction of their
        own. Raises `Unavailable`."""
        if len(self._ids) > REMEMBERED:
            self.forget()
        missing = {name for name in names if name not in self._ids}
        if missing:
            rows = await self._database.fetch("SELECT id, name FROM maru.ensure($1)", sorted(missing))
            self._ids.update({ChannelName(row["name"]): row["id"] for row in rows})
        return self._ids

    def forget(self) -> None:
        """Ask for all ids again."""
        self._ids = {}
