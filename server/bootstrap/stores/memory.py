"""Stores within a single process: for development, tests and a single replica."""

import asyncio
import secrets

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.control import MemoryControl
from server.adapters.memory.erasures import MemoryErasures
from server.adapters.memory.follows import MemoryFollows
from server.adapters.memory.marks import MemoryMarks
from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.memory.online import MemoryOnline
from server.adapters.memory.presence import MemoryPresence
from server.adapters.memory.reactions import MemoryReactions
from server.adapters.memory.records import MemoryRecords
from server.adapters.memory.replicas import MemoryReplicas
from server.adapters.memory.revocations import MemoryRevocations
from server.adapters.memory.signals import MemorySignals
from server.adapters.memory.webhooks import MemoryWebhooks
from server.bootstrap.ids import new_replica_id
from server.bootstrap.stores.record import Bus, People, Stores
from server.domain.rates import Bucket
from server.ports.erasures import Erasures
from server.ports.revocations import Revocations
from server.ports.webhooks import Webhooks
from server.settings.model import VERSION, Settings

_OWN_SECRET = secrets.token_bytes(32)


def open_stores(settings: Settings) -> Stores:
    """All of them, gone with the process."""
    log = open_log(settings)
    return Stores(
        log, open_bus(), open_revocations(), own_secret, open_webhooks(log), open_erasures(log), *open_people(log)
    )


async def own_secret() -> bytes:
    """Return the secret of a replica that is alone with its store."""
    return _OWN_SECRET


def open_log(settings: Settings) -> MemoryMessageLog:
    """A log that is gone with the process."""
    return MemoryMessageLog(
        max_events=settings.retention_events,
        max_age_ms=round(settings.retention_age * 1000),
        rules=settings.channel_rules,
        rate=settings.limits.get(Bucket.CHANNEL),
    )


def open_webhooks(log: MemoryMessageLog) -> Webhooks:
    """The debts of that log."""
    return MemoryWebhooks(log)


def open_people(log: MemoryMessageLog) -> People:
    """The reactions, the events of applications and the marks of that log, and the channels that users follow."""
    return MemoryReactions(log), MemoryRecords(log), MemoryMarks(log), MemoryFollows(log)


def open_bus() -> Bus:
    """No other replicas: the link is always up."""
    link = asyncio.Event()
    link.set()
    broadcast = MemoryBroadcast()
    replicas = MemoryReplicas(new_replica_id(), version=VERSION)
    return Bus(
        broadcast,
        MemoryControl(),
        MemorySignals(broadcast),
        replicas,
        MemoryPresence(broadcast.hears),
        MemoryOnline(),
        link,
        link_losses=lambda: 0,
    )


def open_erasures(log: MemoryMessageLog) -> Erasures:
    """Erasures of that log's messages."""
    return MemoryErasures(log)


def open_revocations() -> Revocations:
    """Revocations that are gone with the process."""
    return MemoryRevocations()
