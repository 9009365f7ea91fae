"""Dead letters of a server that has not started yet, without the seconds that refusals would take."""

from pathlib import Path

from server.adapters.clock import now_ms
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.webhooks import SqliteWebhooks
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter
from server.domain.messages import Position
from tests.doubles.samples import HOUR_MS, new_message


async def bury(folder: Path, endpoint: str, channel: str, count: int) -> None:
    """Write messages to the log in `folder`, and a dead letter for each: the endpoint has refused it."""
    name = ChannelName(channel)
    log = SqliteMessageLog(folder / "maru.db", max_events=1_000, max_age_ms=100_000 * HOUR_MS)
    async with log:
        events = [(await log.append(new_message(number, name))).event for number in range(count)]
        webhooks = SqliteWebhooks(log)
        await webhooks.open(endpoint, from_start=True)
        for event in events:
            place = Position(event.epoch, event.offset)
            letter = DeadLetter("", name, event.epoch, event.offset, event.offset, "refused (400)", now_ms())
            assert await webhooks.bury(endpoint, Position(event.epoch, event.offset - 1), letter, place)
