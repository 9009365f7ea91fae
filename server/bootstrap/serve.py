"""Serving: open the stores, wire the parts, listen, and stop cleanly. A single stack closes everything."""

import asyncio
import errno
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial

import structlog
from aiohttp import web

from server.adapters.prometheus.exposition import Exposition
from server.api import metrics, probes
from server.api.affinity import Affinity
from server.api.handler import Http
from server.api.listener import Handlers, Listeners, itself
from server.api.pieces import OF_BACKENDS
from server.bootstrap import demo
from server.bootstrap.api_keys import Reloading
from server.bootstrap.asking import open_hooks
from server.bootstrap.backends import has_own_port
from server.bootstrap.clients import tell_of_proxies
from server.bootstrap.connectors import check_connectors
from server.bootstrap.keys import tell_of_doubts
from server.bootstrap.libraries import libraries_needed
from server.bootstrap.numbers import Numbers
from server.bootstrap.replica import Replica, compose
from server.bootstrap.room import Room, find_room
from server.bootstrap.snapshots import snapshot
from server.bootstrap.stores.open import open_stores
from server.bootstrap.stores.record import Stores
from server.bootstrap.tokens import tell_of_any_issuer
from server.gateway.websocket.capacity import Capacity
from server.gateway.websocket.first_read import AcceptQueue
from server.gateway.websocket.visits import Visits
from server.process import garbage
from server.settings.errors import StartRefused
from server.settings.model import VERSION, Settings

_log = structlog.get_logger("maru.server")


LAST_S = 1.0
"""Seconds of a drain in which no request of a backend is waited for."""


class _Stopped(Exception):
    """Ends the task group from within; not an error."""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then stop cleanly. Raises `StartRefused`; any other error is a fault."""
    tell_of_any_issuer(settings)
    tell_of_doubts(settings)
    tell_of_proxies(settings)
    async with AsyncExitStack() as resources:
        with libraries_needed():
            await check_connectors(settings)
            stores = await open_stores(settings, resources)
        try:
            async with asyncio.TaskGroup() as tasks:
                await _serve(settings, stop, stores, tasks, resources)
        except* _Stopped:
            pass
    _log.info("stopped")


async def _serve(
    settings: Settings, stop: asyncio.Event, stores: Stores, tasks: asyncio.TaskGroup, resources: AsyncExitStack
) -> None:
    replica = compose(settings, stores, tasks, resources, await open_hooks(settings, resources))
    numbers = Numbers(partial(snapshot, replica), replica.traffic, replica.metrics)
    for loop in (*replica.loops(), replica.lease.run(numbers)):
        tasks.create_task(loop)
    resources.enter_context(Reloading(settings, replica.backends.keys))
    await replica.backends.webhooks.dispatchers.opened()
    listeners = await resources.enter_async_context(Listeners())
    await _listen_all(settings, replica, listeners)
    garbage.settle()
    tasks.create_task(replica.ready())
    await stop.wait()
    replica.readiness.stopping = True
    replica.lease.renew_soon()
    # Requests of backends may still be answered; of the drain's time, the end is for the listeners.
    await asyncio.gather(
        replica.drainer.run(),
        replica.backends.door.finish(settings.drain_timeout - LAST_S),
        replica.backends.webhooks.dispatchers.stop(settings.drain_timeout - LAST_S),
        _stop_intakes(replica, settings.drain_timeout - LAST_S),
    )
    await asyncio.gather(replica.lease.leave(), replica.presence.cases.lease.hand_over())
    raise _Stopped


async def _stop_intakes(replica: Replica, within_s: float) -> None:
    """Take no more messages from elsewhere, and let other replicas have the rest."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(intake.stop() for intake in replica.backends.intakes))


async def _listen_all(settings: Settings, replica: Replica, listeners: Listeners) -> None:
    """Listen: first on the internal port, so that a probe finds it as soon as clients are accepted."""
    room = find_room(settings.max_connections)
    internal_port = await _listen(
        listeners,
        _internal(replica, room.internal, with_api=not has_own_port(settings)),
        "MARU_INTERNAL_",
        settings.internal_host,
        settings.internal_port,
        Http(room.internal, portions=OF_BACKENDS, renews=True),
    )
    api_port = await _listen_for_backends(settings, replica, listeners, room) or internal_port
    engine = replica.chat.eio
    visits = Visits(engine.crowds, engine.refusals, room.clients)
    http = Http(room.clients, engine.refuse_unreadable, visits.ask)
    capacity = Capacity(room.clients, lambda: len(engine.sockets) + http.open, replica.metrics, time.monotonic)
    port = await _listen(
        listeners,
        _public(settings, replica),
        "MARU_",
        settings.host,
        settings.port,
        http,
        lambda others: AcceptQueue(engine.accept, others, capacity, visits.enter).make_protocol,
    )
    _log.info(
        "serving",
        host=settings.host,
        port=port,
        internal_port=internal_port,
        api_port=api_port,
        max_connections=room.clients,
        descriptors=room.descriptors,
        version=VERSION,
    )


async def _listen_for_backends(settings: Settings, replica: Replica, listeners: Listeners, room: Room) -> int | None:
    """Listen on the port that backends have for themselves; None if they have none."""
    if not has_own_port(settings):
        return None
    app = web.Application()
    replica.backends.door.mount(app, replica.backends.table, room.internal)
    port = settings.internal_port if settings.api_port is None else settings.api_port
    host, http = settings.api_host or settings.internal_host, Http(room.internal, portions=OF_BACKENDS, renews=True)
    return await _listen(listeners, app, "MARU_API_", host, port, http)


def _internal(replica: Replica, connections: int, *, with_api: bool) -> web.Application:
    """The probes, the metrics and, unless it has a port of its own, the API of backends."""
    app = web.Application()
    app.add_routes(probes.routes(replica.readiness, replica.counts))
    exposition = Exposition(
        replica.metrics,
        replica.traffic,
        partial(snapshot, replica),
        VERSION,
        [replica.backends.webhooks.metrics, replica.presence.metrics],
    )
    app.add_routes(metrics.routes(exposition.render))
    if with_api:
        replica.backends.door.mount(app, replica.backends.table, connections)
    return app


def _public(settings: Settings, replica: Replica) -> web.Application:
    """The Socket.IO path, the session cookie and, in development, the demo."""
    app = web.Application(middlewares=[replica.chat.eio.refuse_elsewhere])
    replica.chat.attach(app)
    app.add_routes(
        Affinity(
            replica.sessions.admit, replica.cookies.get, settings.allowed_origins, replica.chat.eio.wait_s
        ).routes()
    )
    if settings.dev:
        demo.mount(settings, app)
    return app


async def _listen(
    listeners: Listeners,
    app: web.Application,
    variables: str,
    host: str,
    port: int,
    http: Http,
    before: Callable[[Handlers], Handlers] = itself,
) -> int:
    try:
        return await listeners.listen(app, host, port, http, before)
    except OSError as error:
        # The port is at fault if it is taken, or may not be used; else the address is.
        wrong = "PORT" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "HOST"
        raise StartRefused(f"{variables}{wrong}: can't listen on {host}:{port} ({error.strerror})") from error
