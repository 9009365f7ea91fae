"""The composition root: the only file that knows every part. Wires by hand; what is opened is closed by one stack."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import structlog
from aiohttp import web

from server import logs, memory
from server.adapters import jwt_verifier
from server.adapters.jwt_verifier import JwtVerifier
from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.prometheus_metrics import Counts, Exposition
from server.adapters.redis.broadcast import RedisBroadcast
from server.adapters.redis.link import refusal as redis_refusal
from server.adapters.redis.manager import RedisRooms
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.rooms import Rooms
from server.adapters.sqlite.database import LogUnusable
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.api import demo, metrics, probes
from server.api.affinity import Affinity, derive_key
from server.api.demo import Demo
from server.api.listener import Handlers, Listeners, itself
from server.api.probes import Readiness
from server.application.drainer import Drainer, Numbers
from server.application.history import History
from server.application.hub import Hub
from server.application.loop_lag import measure_lag
from server.application.publisher import Publisher
from server.application.sessions import Sessions
from server.application.subscriptions import Subscriptions
from server.domain.identity import Action, Grants
from server.domain.messages import ID_RANDOM_BYTES, MessageId, message_id
from server.gateway.admission import Admission
from server.gateway.farewell import SocketConnections
from server.gateway.namespace import ChatNamespace
from server.gateway.server import ChatServer
from server.gateway.threshold import Arrivals
from server.gateway.transport import SocketTransport
from server.ports.broadcast import Broadcast
from server.ports.message_log import MessageLog
from server.ports.metrics import State, Traffic
from server.settings import VERSION, BroadcastKind, MessageLogKind, Settings, StartRefused
from server.wire import pushes, words

OUTBOUND_SHARE = 4
"""What may wait for clients that do not read is this part of the memory, unless a setting says otherwise."""

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))

DEMO_GRANTS: Grants = {
    "room:*": frozenset((Action.JOIN, Action.SEND)),
    "announce": frozenset((Action.JOIN,)),
}
"""What a token of `/dev/token` allows."""

DEMO = Path(__file__).parent.parent / "clients/js-demo"

_log = structlog.get_logger("maru.server")


class _Stopped(Exception):
    """Ends the task group from within; not an error."""


def now_ms() -> int:
    """Wall-clock time."""
    return time.time_ns() // 1_000_000


class _Randomness:
    """The system's randomness, fetched for many ids at once: each fetch also gives the interpreter's lock away."""

    FETCH = 400 * ID_RANDOM_BYTES

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def take(self) -> bytes:
        """Bytes for one id; none are given twice."""
        at = self._at
        if at == len(self._bytes):
            self._bytes, at = os.urandom(self.FETCH), 0
        self._at = at + ID_RANDOM_BYTES
        return self._bytes[at : self._at]


_randomness = _Randomness()


def new_message_id() -> MessageId:
    """A fresh id."""
    return message_id(now_ms(), _randomness.take())


def verifier(settings: Settings) -> JwtVerifier:
    """What judges tokens."""
    if settings.jwt_public_key is not None:
        key = jwt_verifier.public_key(settings.jwt_public_key)
    else:
        key = jwt_verifier.secret_key(signing_secret(settings))
    return JwtVerifier(
        key,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway_s=settings.jwt_leeway,
        default_grants=settings.default_grants,
    )


def mint(settings: Settings, user: str, ttl_s: float, name: str | None = None, grants: Grants | None = None) -> str:
    """Make a token that this server takes. Raises `ValueError` where it would not, `StartRefused` without a secret."""
    return jwt_verifier.mint(
        signing_secret(settings),
        user=user,
        name=name,
        grants=grants,
        ttl_s=ttl_s,
        now_s=time.time(),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
    )


def signing_secret(settings: Settings) -> str:
    """The HS256 secret. Raises `StartRefused` where tokens are signed elsewhere."""
    if settings.jwt_secret is None:
        raise StartRefused("MARU_JWT_SECRET: not set, so this server can check tokens but not make them")
    return settings.jwt_secret.get_secret_value()


@dataclass(frozen=True, slots=True)
class Stores:
    """What a replica keeps its messages in, and tells the others by. `link` is set while the others can be reached;
    `link_losses` counts how often it was lost."""

    log: MessageLog
    broadcast: Broadcast
    rooms: Rooms
    link: asyncio.Event
    link_losses: Callable[[], int]
    loops: tuple[Coroutine[Any, Any, None], ...] = ()


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:
    """Open what the settings name. Raises `StartRefused`."""
    log = await _open_log(settings, resources)
    if settings.broadcast is BroadcastKind.REDIS:
        rooms = RedisRooms(_redis_url(settings))
        resources.push_async_callback(rooms.aclose)
        return Stores(log, RedisBroadcast(rooms), rooms, rooms.linked, lambda: rooms.losses, (rooms.run(),))
    link = asyncio.Event()
    link.set()
    return Stores(log, MemoryBroadcast(), Rooms(), link, lambda: 0)


async def _open_log(settings: Settings, resources: AsyncExitStack) -> MessageLog:
    max_events, max_age_ms = settings.retention_events, round(settings.retention_age * 1000)
    match settings.message_log:
        case MessageLogKind.MEMORY:
            return MemoryMessageLog(max_events=max_events, max_age_ms=max_age_ms)
        case MessageLogKind.SQLITE:
            log = SqliteMessageLog(settings.sqlite_path, max_events=max_events, max_age_ms=max_age_ms)
            try:
                return await resources.enter_async_context(log)
            except LogUnusable as error:
                raise StartRefused(str(error)) from error
        case MessageLogKind.REDIS:
            url = _redis_url(settings)
            await _judge_redis(url)
            return await resources.enter_async_context(
                RedisMessageLog(url, max_events=max_events, max_age_ms=max_age_ms)
            )


async def _judge_redis(url: str) -> None:
    """Refuse to start where waiting would not help: a URL that is none, a wrong password, a distrusted certificate."""
    try:
        problem = await redis_refusal(url)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        raise StartRefused(f"MARU_REDIS_URL: {problem}")


def _redis_url(settings: Settings) -> str:
    assert settings.redis_url is not None  # the settings refuse Redis without it
    return settings.redis_url.get_secret_value()


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then stop cleanly. Raises `StartRefused`; whatever else it raises is a fault."""
    async with AsyncExitStack() as resources:
        stores = await open_stores(settings, resources)
        try:
            async with asyncio.TaskGroup() as tasks:
                await _serve(settings, stop, stores, tasks, resources)
        except* _Stopped:
            pass
    _log.info("stopped")


@dataclass(frozen=True, slots=True)
class Replica:
    """The parts of this process that are started, watched and stopped."""

    chat: ChatServer
    hub: Hub
    sessions: Sessions
    stores: Stores
    metrics: Counts
    traffic: Traffic
    readiness: Readiness
    drainer: Drainer

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What runs until the end; one that ends by itself ends the process."""
        loops = (
            self.hub.run(),
            self.hub.sweep(),
            self.sessions.run(),
            self.chat.eio.run(),
            memory.collect_when_idle(),
            measure_lag(self.metrics, time.monotonic),
            *self.stores.loops,
        )
        # Within one process a lost hint is known to be lost; between processes it may not be.
        return (*loops, self.hub.compare()) if isinstance(self.stores.broadcast, RedisBroadcast) else loops

    async def ready(self) -> None:
        """Want traffic as soon as the others can be reached for the first time."""
        await self.stores.link.wait()
        self.readiness.started = True
        _log.info("ready")

    def counts(self) -> dict[str, int]:
        """What `/readyz` tells beside the state."""
        return {
            "linked": self.stores.link.is_set(),
            "connections": len(self.chat.eio.sockets),
            "sessions": len(self.sessions),
            "channels": self.hub.hosted,
            "tasks": len(asyncio.all_tasks()),
        }

    def state(self) -> State:
        """What a scrape looks at."""
        return State(
            connections=len(self.chat.eio.sockets),
            sessions=len(self.sessions),
            channels_hosted=self.hub.hosted,
            link_up=self.stores.link.is_set(),
            link_losses=self.stores.link_losses(),
        )


def compose(settings: Settings, stores: Stores, tasks: asyncio.TaskGroup) -> Replica:
    """Wire the parts."""
    log, broadcast, rooms = stores.log, stores.broadcast, stores.rooms
    counts, traffic = Counts(tuple(words.Command), time.monotonic), Traffic()
    chat = ChatServer(
        rooms,
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        allowed_origins=settings.allowed_origins,
        admission=Admission(settings.admission_rate, settings.admission_burst, time.monotonic),
        max_outbound=settings.max_outbound or memory.memory_limit() // OUTBOUND_SHARE,
        metrics=counts,
        traffic=traffic,
    )
    greeting = pushes.greeting(settings.ping_interval, settings.ping_timeout, settings.max_channels, VERSION)
    transport = SocketTransport(chat.eio.sockets, chat.eio.outbox, rooms, greeting, counts, now_ms)
    sessions = Sessions(verifier(settings), transport, now_ms, round(settings.token_grace * 1000))
    hub = Hub(log, broadcast, transport, tasks, time.monotonic, counts)
    chat.register_namespace(
        ChatNamespace(
            sessions,
            Subscriptions(log, hub, transport, settings.max_channels, counts),
            Publisher(log, broadcast, now_ms, new_message_id, counts),
            History(log),
            counts,
            logs.command_line(),
        )
    )
    connections, numbers = SocketConnections(chat.eio, rooms, transport), Numbers(settings.drain_timeout)
    drainer = Drainer(connections, numbers, counts, Random(), time.monotonic)  # noqa: S311  # jitter
    return Replica(chat, hub, sessions, stores, counts, traffic, Readiness(), drainer)


async def _serve(
    settings: Settings, stop: asyncio.Event, stores: Stores, tasks: asyncio.TaskGroup, resources: AsyncExitStack
) -> None:
    replica = compose(settings, stores, tasks)
    for loop in replica.loops():
        tasks.create_task(loop)
    internal, public = web.Application(), web.Application()
    internal.add_routes(probes.routes(replica.readiness, replica.counts))
    exposition = Exposition(replica.metrics, replica.traffic, replica.state, VERSION)
    internal.add_routes(metrics.routes(exposition.render))
    replica.chat.attach(public)
    public.add_routes(Affinity(replica.sessions.admit, affinity_key(settings), settings.allowed_origins).routes())
    if settings.dev:
        _mount_demo(settings, public)
    host, internal_host = settings.host, settings.internal_host
    listeners = await resources.enter_async_context(Listeners())
    internal_port = await _listen(listeners, internal, "MARU_INTERNAL_PORT", internal_host, settings.internal_port)
    engine = replica.chat.eio
    port = await _listen(
        listeners, public, "MARU_PORT", host, settings.port, lambda others: Arrivals(engine, others).come
    )
    memory.settle()
    _log.info("serving", host=host, port=port, internal_port=internal_port, version=VERSION)
    tasks.create_task(replica.ready())
    await stop.wait()
    replica.readiness.stopping = True
    await replica.drainer.run()
    raise _Stopped


async def _listen(
    listeners: Listeners,
    app: web.Application,
    variable: str,
    host: str,
    port: int,
    before: Callable[[Handlers], Handlers] = itself,
) -> int:
    try:
        return await listeners.listen(app, host, port, before)
    except OSError as error:
        raise StartRefused(f"{variable}: can't listen on {host}:{port} ({error.strerror})") from error


def affinity_key(settings: Settings) -> bytes:
    """The same on every replica. Of a public key it is no secret: who forges a cookie then can choose a place."""
    material = settings.jwt_secret.get_secret_value() if settings.jwt_secret else settings.jwt_public_key
    assert material is not None  # the settings ask for one, and development makes one
    return derive_key(material.encode())


def _mount_demo(settings: Settings, app: web.Application) -> None:
    def mint_demo(user: str, ttl_s: int) -> str:
        return mint(settings, user, ttl_s, name=user, grants=DEMO_GRANTS)

    app.add_routes(Demo(DEMO, mint_demo, loopback_only=settings.host in LOOPBACK).routes())
    if not demo.available(DEMO):
        _log.warning("demo.missing", remedy="run `npm ci` in clients/js-demo; serving without the page")
