"""Serving: open the stores, wire the parts, listen, and stop cleanly. One stack closes everything."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog
from aiohttp import web

from server.adapters.prometheus.exposition import Exposition
from server.api import metrics, probes
from server.api.affinity import Affinity
from server.api.listener import Handlers, Listeners, itself
from server.bootstrap import demo
from server.bootstrap.replica import compose
from server.bootstrap.stores.open import Stores, open_stores
from server.bootstrap.tokens import affinity_key
from server.gateway.websocket.first_read import AcceptQueue
from server.process import garbage
from server.settings.errors import StartRefused
from server.settings.model import VERSION, Settings

_log = structlog.get_logger("maru.server")


class _Stopped(Exception):
    """Ends the task group from within; not an error."""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then stop cleanly. Raises `StartRefused`; any other error is a fault."""
    async with AsyncExitStack() as resources:
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
    replica = compose(settings, stores, tasks)
    for loop in replica.loops():
        tasks.create_task(loop)
    internal, public = web.Application(), web.Application()
    internal.add_routes(probes.routes(replica.readiness, replica.counts))
    exposition = Exposition(replica.metrics, replica.traffic, replica.snapshot, VERSION)
    internal.add_routes(metrics.routes(exposition.render))
    replica.chat.attach(public)
    public.add_routes(Affinity(replica.sessions.admit, affinity_key(settings), settings.allowed_origins).routes())
    if settings.dev:
        demo.mount(settings, public)
    host, internal_host = settings.host, settings.internal_host
    listeners = await resources.enter_async_context(Listeners())
    internal_port = await _listen(listeners, internal, "MARU_INTERNAL_PORT", internal_host, settings.internal_port)
    engine = replica.chat.eio
    port = await _listen(
        listeners,
        public,
        "MARU_PORT",
        host,
        settings.port,
        lambda others: AcceptQueue(engine.accept, others).make_protocol,
    )
    garbage.settle()
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
