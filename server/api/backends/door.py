"""The door of the HTTP API: every request passes here, and is allowed, counted, answered and noted."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
import structlog
from aiohttp import hdrs, web

from server.api.backends import reading
from server.api.backends.audit import REQUEST_ID, Act, Audit, begun
from server.api.backends.refusals import MethodNotAllowed, no_such_path, refused
from server.api.backends.table import PREFIX, Call, NoBody, Operation, Reply, Table
from server.domain.backends import ApiKeys, Scope
from server.domain.errors import (
    BadRequest,
    Internal,
    MaruError,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from server.ports.metrics import SILENT, ApiMetrics

MAX_UNDER_WAY = 128
"""Requests that may be under way at once. More are refused: backends should not take the clients' time."""

ACT: Final = web.RequestKey("maru.act", Act)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger("maru.api")


class Door:
    """Lets requests in. `take` counts a request of a key, by its name, and raises `RateLimited`; `stopping` says
    whether the process was told to stop; `new_id` makes the id of a request that brings none."""

    def __init__(
        self,
        keys: ApiKeys,
        take: Callable[[str], None],
        stopping: Callable[[], bool],
        new_id: Callable[[], str],
        metrics: ApiMetrics = SILENT,
    ) -> None:
        self._keys = keys
        self._take = take
        self._stopping = stopping
        self._new_id = new_id
        self._metrics = metrics
        self._audit = Audit(time.monotonic)
        self._most = MAX_UNDER_WAY
        self._under_way = 0  # requests
        self._idle = asyncio.Event()  # set while there are none
        self._idle.set()

    def mount(self, app: web.Application, table: Table, connections: int) -> None:
        """Serve the operations of the table, on a port that has so many connections: half of them, at the least, are
        left to others."""
        self._most = min(MAX_UNDER_WAY, connections // 2)
        app.middlewares.append(self._middleware())
        for operation in table:
            # A name in a path takes whatever stands there, also nothing: its field judges it.
            path = PREFIX + operation.path.replace("}", ":[^/]*}")
            app.router.add_route(operation.method, path, self._handler(operation))

    async def finish(self, seconds: float) -> None:
        """Wait until the requests under way have been answered, so long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("api.cut_off", requests=self._under_way)

    def _middleware(self) -> Any:
        @web.middleware
        async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not request.path.startswith("/api/"):
                return await handler(request)
            return await self._serve(request, handler)

        return serve

    async def _serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        act = request[ACT] = begun(request, self._new_id)
        outcome, status = "cut_off", 499  # if the client is gone before its answer
        self._under_way += 1
        self._idle.clear()
        try:
            outcome, answer = await self._answer(request, handler)
            status = answer.status
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
            seconds = time.perf_counter() - began
            self._metrics.api_answered(act.name, status, seconds)
            self._audit.note(act, outcome, status, seconds)
        answer.headers[REQUEST_ID] = act.request_id
        answer.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        return answer

    async def _answer(self, request: web.Request, handler: Handler) -> tuple[str, web.StreamResponse]:
        try:
            self._check_room()
            return "ok", await handler(request)
        except MaruError as error:
            answer = refused(error)
            if self._stopping() or isinstance(error, Unauthenticated):  # a wrong key costs its client the connection
                answer.force_close()
            return error.code, answer
        except web.HTTPMethodNotAllowed as error:
            return BadRequest.code, refused(MethodNotAllowed(error.allowed_methods))
        except web.HTTPException:
            unknown = no_such_path()
            return unknown.code, refused(unknown)
        except Exception:  # noqa: BLE001  # the backend gets an answer whatever the fault is
            _log.exception("api.failed", act=request[ACT].name, request=request[ACT].request_id)
            return Internal.code, refused(Internal("the server failed; its log has the details"))

    def _check_room(self) -> None:
        if self._stopping():
            raise Unavailable("this server is stopping; ask again, another one answers")
        if self._under_way > self._most:
            raise Overloaded(f"more than {self._most} requests are under way")

    def _handler(self, operation: Operation[Any, Any]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            act = request[ACT]
            act.name = operation.id
            if operation.scope is not None:
                self._admit(request, operation.scope)
            params = reading.params(request, operation)
            path = request.match_info
            act.target.update((name, value) for name, value in params.model_dump().items() if name in path)
            idempotency_key = reading.idempotency_key(request) if operation.idempotent else None
            body = NoBody()
            if operation.has_body:
                body = operation.body.parse(await reading.json_body(request, operation.max_body))
            call = Call(params, body, idempotency_key, act.target)
            return _answered(request, operation, await operation.handle(call))

        return handle

    def _admit(self, request: web.Request, scope: Scope) -> None:
        """Let a request pass whose key may do this. Raises `Unauthenticated`, `RateLimited`, `PermissionDenied`."""
        key = self._keys.find(reading.bearer(request))
        if key is None:
            raise Unauthenticated("the API key is unknown")
        request[ACT].key = key.name
        self._take(key.name)
        if scope not in key.scopes:
            raise PermissionDenied(f"the API key has no scope '{scope}'", details={"scope": scope.value})


def _answered(request: web.Request, operation: Operation[Any, Any], reply: Reply) -> web.Response:
    headers = dict(reply.headers)
    if reply.etag is not None:
        headers = {hdrs.ETAG: f'"{reply.etag}"', hdrs.CACHE_CONTROL: "private, no-cache"} | headers
        if reading.matches(request, reply.etag):
            return web.Response(status=304, headers=headers)
    if reply.body is None:
        return web.Response(status=operation.status, headers=headers)
    headers[hdrs.CONTENT_TYPE] = "application/json"
    return web.Response(body=orjson.dumps(reply.body), status=operation.status, headers=headers)
