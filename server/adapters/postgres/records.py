"""Events of applications in the log's database."""

import asyncio

from server.adapters.postgres.message_log import PostgresMessageLog
from server.domain.channels import ChannelName
from server.domain.drafts import Record
from server.ports.records import Recorded, RecordPage, Records


class PostgresRecords(Records):
    """The events of applications in a log."""

    def __init__(self, log: PostgresMessageLog) -> None:
        self._log = log

    def record(self, record: Record) -> asyncio.Future[Recorded]:
        return self._log.write(record)

    async def page(
        self, channel: ChannelName, name: str | None, before: int | None, after: int | None, limit: int
    ) -> RecordPage:
        return await self._log.reader.records(channel, name, before, after, limit)
