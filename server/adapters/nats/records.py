"""Events of applications in JetStream: entries of their channel's stream."""

import asyncio

from server.adapters.nats.message_log import NatsMessageLog
from server.adapters.nats.reading import records_of
from server.domain.channels import ChannelName
from server.domain.drafts import Record
from server.ports.records import Recorded, RecordPage, Records


class NatsRecords(Records):
    """The events of applications in a log."""

    def __init__(self, log: NatsMessageLog) -> None:
        self._log = log

    def record(self, record: Record) -> asyncio.Future[Recorded]:
        return self._log.write(record)

    async def page(
        self, channel: ChannelName, name: str | None, before: int | None, after: int | None, limit: int
    ) -> RecordPage:
        return records_of(await self._log.fold(channel), name, before, after, limit)
