"""The log and the bus in NATS."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from server.adapters.nats.bus import NatsBus
from server.adapters.nats.client import startup_error
from server.adapters.nats.control import NatsControl
from server.adapters.nats.documents import Documents
from server.adapters.nats.erasures import NatsErasures
from server.adapters.nats.follows import NatsFollows
from server.adapters.nats.holding import Holding
from server.adapters.nats.link import Link
from server.adapters.nats.marks import NatsMarks
from server.adapters.nats.message_log import NatsMessageLog
from server.adapters.nats.online import NatsOnline
from server.adapters.nats.presence import NatsPresence
from server.adapters.nats.reactions import NatsReactions
from server.adapters.nats.reaper import Reaper
from server.adapters.nats.records import NatsRecords
from server.adapters.nats.replicas import NatsReplicas
from server.adapters.nats.revocations import NatsRevocations
from server.adapters.nats.shared_secret import shared_secret
from server.adapters.nats.webhooks import NatsWebhooks
from server.adapters.seal import Seal
from server.adapters.topics.beside import Beside, Links
from server.adapters.topics.broadcast import TopicBroadcast
from server.adapters.topics.signals import TopicSignals
from server.adapters.topics.topics import Topics
from server.bootstrap.cluster import hint_secret
from server.bootstrap.ids import new_replica_id
from server.bootstrap.stores.record import Bus, People, Stores
from server.domain.channels import ChannelName
from server.domain.rates import Bucket
from server.settings.errors import StartRefused
from server.settings.model import VERSION, Settings


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:
    """Open the log and its parts, the link to the other replicas, the revocations, the debts of the log, and the
    erasures. Raises `StartRefused` if waiting for NATS would not help.

    Hints have a connection of their own: a server that closes it since the replica reads too slowly does not take the
    log with it.
    """
    link = await open_link(settings, resources, jetstream=True)
    shared = Documents(link, "shared", prefix=settings.nats_prefix, replicas=settings.nats_replicas)
    if (problem := await shared.refusal()) is not None:
        raise StartRefused(f"MARU_NATS_REPLICAS: {settings.nats_replicas}, which this NATS refuses: {problem}")
    hints = await open_link(settings, resources, jetstream=False)
    prefix, replicas = settings.nats_prefix, settings.nats_replicas
    log = NatsMessageLog(
        link,
        max_events=settings.retention_events,
        max_age_ms=round(settings.retention_age * 1000),
        rules=settings.channel_rules,
        rate=settings.limits.get(Bucket.CHANNEL),
        prefix=prefix,
        replicas=replicas,
    )
    await resources.enter_async_context(log)
    bus = _open_bus(settings, link, hints)
    bus = replace(bus, loops=(*bus.loops, log.run()))
    erasures = NatsErasures(link, partial(_channels, log), prefix=prefix, replicas=replicas)
    secret = partial(shared_secret, shared)
    return Stores(
        log,
        bus,
        NatsRevocations(link, prefix=prefix, replicas=replicas),
        secret,
        NatsWebhooks(log),
        erasures,
        *open_people(log),
    )


def _open_bus(settings: Settings, link: Link, hints: Link) -> Bus:
    """Open the way to the other replicas: hints, signals and changes of rosters by the one link, all that is kept by
    the other."""
    prefix, replicas = settings.nats_prefix, settings.nats_replicas
    topics = Topics(NatsBus(hints, prefix=prefix), Seal(hint_secret(settings)))
    broadcast, signals, id = TopicBroadcast(topics), TopicSignals(topics), new_replica_id()
    holding = Holding(link, id, prefix=prefix, replicas=replicas)
    reaper = Reaper(holding)
    return Bus(
        broadcast,
        NatsControl(link, prefix=prefix, replicas=replicas),
        signals,
        NatsReplicas(link, id, version=VERSION, prefix=prefix, replicas=replicas),
        NatsPresence(holding, reaper, topics),
        NatsOnline(holding, reaper),
        Links(hints.linked, link.linked),
        link_losses=lambda: hints.losses + link.losses,
        hints_refused=lambda: broadcast.refused,
        loops=(hints.run(), link.run()),
    )


async def _channels(log: NatsMessageLog) -> Sequence[ChannelName]:
    """Return all channels that ever had an event."""
    async with log.streams.link.answered():
        return await log.side.channels()


async def beside(settings: Settings, bus: Bus, resources: AsyncExitStack) -> Bus:
    """Return the bus with the hints over NATS. Raises `StartRefused`."""
    link = await open_link(settings, resources, jetstream=False)
    bus_of_hints = NatsBus(link, prefix=settings.nats_prefix)
    broadcast = TopicBroadcast(Topics(bus_of_hints, Seal(hint_secret(settings))))
    return replace(
        bus,
        broadcast=Beside(broadcast, bus.broadcast),
        link=Links(link.linked, bus.link),
        link_losses=lambda: link.losses + bus.link_losses(),
        hints_refused=lambda: broadcast.refused + bus.hints_refused(),
        loops=(*bus.loops, link.run()),
    )


async def open_link(settings: Settings, resources: AsyncExitStack, *, jetstream: bool) -> Link:
    """Connect to NATS. Raises `StartRefused` if waiting for it would not help."""
    assert settings.nats_url is not None  # the settings refuse NATS without it
    url = settings.nats_url.get_secret_value()
    try:
        problem = await startup_error(url, jetstream=jetstream)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        raise StartRefused(f"MARU_NATS_URL: {problem}")
    return await resources.enter_async_context(Link(url))


def open_people(log: NatsMessageLog) -> People:
    """The reactions, the events of applications and the marks of that log, and the channels that users follow."""
    marks, streams = NatsMarks(log), log.streams
    follows = NatsFollows(streams.link, marks.begin, prefix=log.side.prefix, replicas=streams.replicas)
    return NatsReactions(log), NatsRecords(log), marks, follows
