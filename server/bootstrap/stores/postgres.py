"""The log and all that is about it in PostgreSQL, which replicas share; they hear each other by its notifications."""

from contextlib import AsyncExitStack
from functools import partial

from server.adapters.postgres.bus import PostgresBus
from server.adapters.postgres.control import PostgresControl
from server.adapters.postgres.database import Database
from server.adapters.postgres.erasures import PostgresErasures
from server.adapters.postgres.follows import PostgresFollows
from server.adapters.postgres.holding import Holding
from server.adapters.postgres.marks import PostgresMarks
from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.postgres.online import PostgresOnline
from server.adapters.postgres.presence import PostgresPresence
from server.adapters.postgres.reactions import PostgresReactions
from server.adapters.postgres.reaper import Reaper
from server.adapters.postgres.records import PostgresRecords
from server.adapters.postgres.replicas import PostgresReplicas
from server.adapters.postgres.revocations import PostgresRevocations
from server.adapters.postgres.shared_secret import shared_secret
from server.adapters.postgres.webhooks import PostgresWebhooks
from server.adapters.seal import Seal
from server.adapters.topics.broadcast import TopicBroadcast
from server.adapters.topics.signals import TopicSignals
from server.adapters.topics.topics import Topics
from server.bootstrap.cluster import hint_secret
from server.bootstrap.ids import new_replica_id
from server.bootstrap.stores.record import Bus, People, Stores
from server.domain.rates import Bucket
from server.settings.errors import StartRefused
from server.settings.model import VERSION, Settings


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:
    """Open the log and its parts, the bus, the revocations, the debts of the log, and the erasures. Raises
    `StartRefused` if waiting for PostgreSQL would not help."""
    assert settings.postgres_url is not None  # the settings refuse PostgreSQL without it
    url = settings.postgres_url.get_secret_value()
    database = await resources.enter_async_context(Database(url))
    if problem := await database.problem():
        raise StartRefused(f"MARU_POSTGRES_URL: {problem}")
    log = PostgresMessageLog(
        database,
        max_events=settings.retention_events,
        max_age_ms=round(settings.retention_age * 1000),
        rules=settings.channel_rules,
        rate=settings.limits.get(Bucket.CHANNEL),
    )
    await resources.enter_async_context(log)
    return Stores(
        log,
        _open_bus(settings, url, database),
        PostgresRevocations(database),
        partial(shared_secret, database),
        PostgresWebhooks(log),
        PostgresErasures(database),
        *open_people(log),
    )


def open_people(log: PostgresMessageLog) -> People:
    """The reactions, the events of applications and the marks of that log, and the channels that users follow."""
    return PostgresReactions(log), PostgresRecords(log), PostgresMarks(log), PostgresFollows(log)


def _open_bus(settings: Settings, url: str, database: Database) -> Bus:
    """Open the link to the other replicas. If another broker carries the hints, it carries all else."""
    direct, id = settings.postgres_listen_url, new_replica_id()
    bus = PostgresBus(url, None if direct is None else direct.get_secret_value())
    topics = Topics(bus, Seal(hint_secret(settings)))
    broadcast, holding = TopicBroadcast(topics), Holding(database, id)
    reaper = Reaper(holding)
    return Bus(
        broadcast,
        PostgresControl(database),
        TopicSignals(topics),
        PostgresReplicas(database, id, version=VERSION),
        PostgresPresence(holding, reaper, topics),
        PostgresOnline(holding, reaper),
        bus.linked,
        link_losses=lambda: bus.losses,
        hints_refused=lambda: broadcast.refused,
        loops=(bus.run(),),
    )
