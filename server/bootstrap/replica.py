"""The parts of a server process, wired by hand."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import structlog

from server.adapters.clock import now_ms
from server.adapters.prometheus.counters import Counters
from server.api.probes import Readiness
from server.application.channels.hub import Hub
from server.application.channels.subscriptions import Subscriptions
from server.application.life.drainer import Drainer, DrainTiming
from server.application.life.lease import Lease
from server.application.life.loop_lag import measure_lag
from server.application.life.overload import Overload
from server.application.limits.forgetting import forget_full
from server.application.limits.limiter import Limiter
from server.application.messages.history import History
from server.application.outside.entries import Entries
from server.application.people.attending import Attendants
from server.application.people.hearing import Hearing
from server.application.people.unread import Unread
from server.application.sessions.sessions import Sessions
from server.bootstrap import applications, backends, clients, orders, people, writing
from server.bootstrap.asking import Asks
from server.bootstrap.backends import Backends
from server.bootstrap.cookies import SharedCookies
from server.bootstrap.presence import PresenceParts
from server.bootstrap.shares import most_channels, most_outbound
from server.bootstrap.stores.record import Stores
from server.bootstrap.tokens import Tokens
from server.domain.errors import Unavailable
from server.domain.rings import Rings
from server.gateway.chat.buckets import BUCKETS, LATER
from server.gateway.chat.connections import SocketConnections
from server.gateway.chat.handlers import channels, messages
from server.gateway.chat.handlers import sessions as session_handlers
from server.gateway.chat.namespace import ChatNamespace
from server.gateway.chat.transport import SocketTransport
from server.gateway.socketio.rooms import Rooms
from server.gateway.socketio.server import ChatServer
from server.gateway.websocket.outbox import Outbox
from server.logs.command_line import command_line
from server.ports.hooks import Hooks
from server.ports.metrics import Traffic
from server.process.garbage import collect_when_idle
from server.settings.model import VERSION, Settings
from server.wire import pushes, words
from server.wire.messages import announced, encode, erase

_log = structlog.get_logger("maru.server")


@dataclass(frozen=True, slots=True)
class Replica:
    """The parts of this process that are started, watched and stopped."""

    chat: ChatServer
    cookies: SharedCookies
    hub: Hub
    rings: Rings
    sessions: Sessions
    tokens: Tokens
    stores: Stores
    metrics: Counters
    traffic: Traffic
    readiness: Readiness
    backends: Backends
    drainer: Drainer
    overload: Overload
    lease: Lease
    entries: Entries
    hearing: Hearing
    presence: PresenceParts
    obey: Callable[[], tuple[Coroutine[Any, Any, None], ...]]
    """The tasks that obey orders of backends."""
    asks: Asks
    sweeps: tuple[Callable[[], None], ...]
    """Forget buckets that are full."""

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """The tasks that run until the end of the process, beside the lease. If a task ends by itself, the process
        ends."""
        return (
            self.hub.run(),
            self.hub.compare(),
            self.hub.sweep(),
            self.sessions.run(),
            *self.tokens.loops(self.sessions),
            *self.obey(),
            self.hearing.run(),
            *self.presence.loops(),
            self.backends.eraser.run(),
            self.chat.eio.registry.run(),
            collect_when_idle(),
            measure_lag(self.metrics, self.overload, time.monotonic),
            *self.stores.bus.loops,
            *self.backends.webhooks.dispatchers.loops(),
            *(intake.run() for intake in self.backends.intakes),
            forget_full(self.sweeps),
        )

    async def ready(self) -> None:
        """Report the replica as ready as soon as the other replicas can be reached for the first time, and tokens can
        be judged."""
        await self.stores.bus.link.wait()
        await self.entries.revoked.loaded.wait()
        await self.tokens.ready()
        self.readiness.started = True
        self.lease.renew_soon()
        _log.info("ready")
        with suppress(Unavailable):  # then the first client that asks for a cookie makes the next try
            await self.cookies.get()

    def counts(self) -> dict[str, int]:
        """The numbers that `/readyz` gives beside the state."""
        return {
            "linked": self.stores.bus.link.is_set(),
            "keys": self.tokens.known,
            "connections": len(self.chat.eio.sockets),
            "sessions": len(self.sessions),
            "channels": self.hub.hosted,
            "tasks": len(asyncio.all_tasks()),
        }


def compose(
    settings: Settings,
    stores: Stores,
    tasks: asyncio.TaskGroup,
    resources: AsyncExitStack,
    hooks: Hooks | None = None,
) -> Replica:
    """Wire the parts. `resources` closes them; `hooks` asks a backend, if any is asked."""
    entries, attendants, log, broadcast = Entries(now_ms), Attendants(), stores.log, stores.bus.broadcast
    counters, traffic = Counters(tuple(words.Command), time.monotonic), Traffic()
    outbox = Outbox(asyncio.get_running_loop(), most_outbound(settings), traffic, counters)
    rooms, overload = Rooms(outbox), Overload(outbox.memory.look, Random())  # noqa: S311  # jitter
    greeting = pushes.greeting(settings.ping_interval, settings.ping_timeout, settings.max_channels, VERSION)
    transport = SocketTransport(rooms, outbox, greeting, counters, time.time)
    stores.bus.hear_emits(transport.tell)
    rings = Rings(encode, erase, settings.max_rings)
    hub = Hub(log, broadcast, transport, rooms, tasks, time.monotonic, counters, rings=rings, limit=most_channels())
    asks, unread = Asks(hooks, settings, counters), Unread(stores.marks, tasks, announced)
    subscriptions = Subscriptions(
        log,
        hub,
        transport,
        rooms,
        settings.max_channels,
        counters,
        overload.check_read,
        denials=entries.denials,
        asks=asks.joins,
        attending=attendants,
        unread=unread,
    )
    limits, tiers = settings.limits, settings.limit_tiers
    limiter = Limiter(limits, tiers, BUCKETS, time.monotonic, LATER) if limits else None
    keys, grace_ms = Tokens(settings, counters), round(settings.token_grace * 1000)
    sessions = Sessions(
        keys.verifier,
        transport,
        subscriptions.end,
        now_ms,
        grace_ms,
        limiter,
        revoked=entries.revoked,
        metrics=counters,
    )
    publisher, forget_writers = writing.compose(settings, stores, hub, asks, entries.denials, counters, tasks)
    company = people.compose(
        stores,
        transport,
        rooms,
        hub,
        attendants,
        sessions,
        subscriptions=subscriptions,
        unread=unread,
        tasks=tasks,
        rules=asks.rules,
        denials=entries.denials,
        metrics=counters,
        webhooks=settings.webhooks,
    )
    handlers = {
        **channels.handlers(subscriptions),
        **messages.handlers(publisher, History(log, overload.check_read, denials=entries.denials)),
        **company.handlers,
        **applications.handlers(stores, publisher.writing, company.hearing, transport, asks, entries, overload),
        **session_handlers.handlers(sessions, subscriptions),
    }
    cookies, readiness = SharedCookies(settings, stores.secret), Readiness()
    chat = ChatServer(
        rooms,
        ChatNamespace(
            sessions,
            subscriptions,
            handlers,
            publisher,
            counters,
            command_line(settings.log_commands_per_second),
            company.inboxes,
        ),
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        allowed_origins=settings.allowed_origins,
        admission=clients.admission(settings, cookies.is_ours),
        busy=lambda: overload.refuses_handshakes,
        development=bool(settings.dev),
        outbox=outbox,
        metrics=counters,
    )
    connections, api = (
        SocketConnections(chat.eio, rooms, transport),
        backends.compose(settings, stores, counters, readiness, overload.check_read, resources),
    )
    company.presence.watch(publisher.writing, api.writing)
    drainer = Drainer(connections, DrainTiming(settings.drain_timeout), counters, Random(), time.monotonic)  # noqa: S311  # jitter
    sweeps = (*((limiter.sweep,) if limiter else ()), *forget_writers, api.sweep, *company.sweeps)
    return Replica(
        chat,
        cookies,
        hub,
        rings,
        sessions,
        keys,
        stores,
        counters,
        traffic,
        readiness,
        api,
        drainer,
        overload,
        Lease(stores.bus.replicas, lambda: readiness.state),
        entries,
        company.hearing,
        company.presence,
        orders.loops(entries, stores, sessions, subscriptions, connections=connections, tasks=tasks, metrics=counters),
        asks,
        sweeps,
    )
