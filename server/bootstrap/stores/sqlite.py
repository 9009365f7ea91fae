"""The log in a SQLite file."""

from contextlib import AsyncExitStack
from dataclasses import replace

from server.adapters.sqlite.database import LogUnusable
from server.adapters.sqlite.erasures import SqliteErasures
from server.adapters.sqlite.follows import SqliteFollows
from server.adapters.sqlite.marks import SqliteMarks
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.reactions import SqliteReactions
from server.adapters.sqlite.records import SqliteRecords
from server.adapters.sqlite.revocations import SqliteRevocations
from server.adapters.sqlite.webhooks import SqliteWebhooks
from server.bootstrap.stores import memory
from server.bootstrap.stores.record import People, Stores
from server.domain.rates import Bucket
from server.ports.erasures import Erasures
from server.ports.metrics import LogSize
from server.ports.revocations import Revocations
from server.ports.webhooks import Webhooks
from server.settings.errors import StartRefused
from server.settings.model import Settings


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:
    """Open the file and all that is in it; a replica is alone with it. Raises `StartRefused`."""
    log = await open_log(settings, resources)
    bus = replace(
        memory.open_bus(),
        trims_refused=lambda: log.trims_refused,
        log_size=lambda: LogSize(log.space.used, log.space.limit, log.space.full),
        loops=(log.watch(),),
    )
    return Stores(
        log,
        bus,
        open_revocations(log),
        memory.own_secret,
        open_webhooks(log),
        open_erasures(log),
        *open_people(log),
    )


async def open_log(settings: Settings, resources: AsyncExitStack) -> SqliteMessageLog:
    """Open the file. Raises `StartRefused` if it can't be used."""
    log = SqliteMessageLog(
        settings.sqlite_path,
        max_events=settings.retention_events,
        max_age_ms=round(settings.retention_age * 1000),
        rules=settings.channel_rules,
        rate=settings.limits.get(Bucket.CHANNEL),
        max_bytes=settings.max_log_bytes,
    )
    try:
        return await resources.enter_async_context(log)
    except LogUnusable as error:
        raise StartRefused(str(error)) from error


def open_revocations(log: SqliteMessageLog) -> Revocations:
    """The revocations in the log's file."""
    return SqliteRevocations(log)


def open_erasures(log: SqliteMessageLog) -> Erasures:
    """The erasures, in the log's file."""
    return SqliteErasures(log)


def open_webhooks(log: SqliteMessageLog) -> Webhooks:
    """The debts of the log, in its file."""
    return SqliteWebhooks(log)


def open_people(log: SqliteMessageLog) -> People:
    """The reactions, the events of applications and the marks of that log, and the channels that users follow."""
    return SqliteReactions(log), SqliteRecords(log), SqliteMarks(log), SqliteFollows(log)
