"""The log and the bus in Redis."""

from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import structlog

from server.adapters.redis import exposure, ways
from server.adapters.redis.broadcast import RedisBroadcast
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.control import RedisControl
from server.adapters.redis.erasures import RedisErasures
from server.adapters.redis.follows import RedisFollows
from server.adapters.redis.holding import Holding
from server.adapters.redis.marks import RedisMarks
from server.adapters.redis.master import Master
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.online import RedisOnline
from server.adapters.redis.presence import RedisPresence
from server.adapters.redis.reactions import RedisReactions
from server.adapters.redis.reaper import Reaper
from server.adapters.redis.records import RedisRecords
from server.adapters.redis.replicas import RedisReplicas
from server.adapters.redis.revocations import RedisRevocations
from server.adapters.redis.shared_secret import shared_secret
from server.adapters.redis.signals import RedisSignals
from server.adapters.redis.webhooks import RedisWebhooks
from server.adapters.seal import Seal
from server.bootstrap.cluster import hint_secret
from server.bootstrap.ids import new_replica_id
from server.bootstrap.stores.record import Bus, EmitHeard, People, Stores
from server.domain.rates import Bucket
from server.settings.choices import BroadcastKind
from server.settings.errors import StartRefused
from server.settings.model import VERSION, Settings

_log = structlog.get_logger("maru.server")


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:
    """Open the log and its parts, the link to the other replicas, the revocations, the debts of the log, and the
    erasures. Raises `StartRefused` if waiting for Redis would not help."""
    assert settings.redis_url is not None  # the settings refuse Redis without it
    url, master = settings.redis_url.get_secret_value(), Master()
    await _check(url)
    if lacking := exposure.lacks(url):
        _log.warning("redis.exposed", missing=" and ".join(lacking), remedy="see docs/operations.md, Redis' users")
    log = RedisMessageLog(
        url,
        master,
        max_events=settings.retention_events,
        max_age_ms=round(settings.retention_age * 1000),
        rules=settings.channel_rules,
        rate=settings.limits.get(Bucket.CHANNEL),
        prefix=settings.redis_prefix,
        wait_replicas=settings.redis_wait_replicas,
    )
    await resources.enter_async_context(log)
    bus = _open_bus(settings, url, master, log, resources)
    bus = replace(bus, trims_refused=lambda: log.sweep.refusals, loops=(*bus.loops, log.sweep.run()))
    revocations = RedisRevocations(
        url, master, prefix=settings.redis_prefix, wait_replicas=settings.redis_wait_replicas
    )
    resources.push_async_callback(revocations.aclose)
    webhooks = RedisWebhooks(log, url, master, prefix=settings.redis_prefix, wait_replicas=settings.redis_wait_replicas)
    resources.push_async_callback(webhooks.aclose)
    pipeline = ways.pipeline(url, master, settings.redis_wait_replicas)
    resources.push_async_callback(pipeline.aclose)
    erasures = RedisErasures(pipeline, prefix=settings.redis_prefix)
    return Stores(log, bus, revocations, partial(secret, settings), webhooks, erasures, *open_people(log))


def open_people(log: RedisMessageLog) -> People:
    """The reactions, the events of applications and the marks of that log, and the channels that users follow."""
    marks = RedisMarks(log)
    return RedisReactions(log), RedisRecords(log), marks, RedisFollows(log, marks)


async def secret(settings: Settings) -> bytes:
    """Return random bytes that all replicas of this Redis share. Raises `Unavailable`."""
    assert settings.redis_url is not None  # as above
    return await shared_secret(settings.redis_url.get_secret_value(), settings.redis_prefix)


def _open_bus(settings: Settings, url: str, master: Master, log: RedisMessageLog, resources: AsyncExitStack) -> Bus:
    """Open the link to the other replicas, on which the log hints at its events. All its connections, and those of the
    log, share what they learn."""
    bus, seal = RedisBus(url, master, prefix=settings.redis_prefix), Seal(hint_secret(settings))
    resources.push_async_callback(bus.aclose)

    def hear_emits(heard: EmitHeard) -> None:
        bus.on_emit = heard

    if settings.broadcast is BroadcastKind.REDIS:
        log.hint_on(bus.topic, seal)
    broadcast = RedisBroadcast(bus, seal, own=log.own)
    control = RedisControl(url, master, prefix=settings.redis_prefix, wait_replicas=settings.redis_wait_replicas)
    resources.push_async_callback(control.aclose)
    signals, pipeline = RedisSignals(bus, seal), ways.pipeline(url, master)
    resources.push_async_callback(pipeline.aclose)
    id, prefix, people = new_replica_id(), settings.redis_prefix, ways.pipeline(url, master)
    resources.push_async_callback(people.aclose)
    holding = Holding(people, id, prefix=prefix)
    reaper = Reaper(holding, seal, bus.topic)
    return Bus(
        broadcast,
        control,
        signals,
        RedisReplicas(pipeline, id, version=VERSION, prefix=prefix),
        RedisPresence(holding, reaper, bus, signals, seal),
        RedisOnline(holding, reaper),
        bus.linked,
        link_losses=lambda: bus.losses,
        hear_emits=hear_emits,
        log_evicts=lambda: master.evicts,
        hints_refused=lambda: broadcast.refused,
        signals_refused=lambda: signals.refused,
        emits_refused=lambda: bus.refused,
        loops=(bus.run(), ways.follow(url, master)),
    )


async def _check(url: str) -> None:
    """Refuse the start if waiting would not help: not a URL, a wrong password, a certificate that is not trusted."""
    try:
        problem = await ways.startup_error(url)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        raise StartRefused(f"MARU_REDIS_URL: {problem}")
