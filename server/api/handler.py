"""The handler of an HTTP connection: aiohttp's, with bounds, and without the name of the server in its answers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import hdrs, web

from server.api.pieces import OF_CLIENTS, PiecewiseHandler, Portions
from server.domain.errors import BadRequest
from server.wire import errors

MAX_HEAD_BYTES = 32 * 1024
"""Bytes of a request's line and headers together, for which nothing has been answered yet: a large token, and cookies.
aiohttp bounds each header and their number."""


async def without_name(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Take the names and versions of Python and aiohttp out of an answer."""
    response.headers.popall(hdrs.SERVER, None)


class _Nameless(web.Response):
    """An answer to a request that can't be parsed: no signal of the application is sent for it."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall(hdrs.SERVER, None)


_UNREADABLE = orjson.dumps(errors.http_body(BadRequest("the request is malformed, or its head is too large")))
"""The body of an answer to a request that can't be parsed."""


@dataclass(slots=True)
class Http:
    """The HTTP connections of a listener, which are at most `limit`: the next ones are closed unheard. `unreadable` is
    told of each request that can't be parsed: the peer's address, or None. `came` is told of each connection, and
    returns what is to be called at its end. `portions`: how they are read. `renews`: at the limit the newest comes in,
    and the connection that was silent for the longest is closed; unless handlers are at work for all of them."""

    limit: int
    unreadable: Callable[[str | None], None] = lambda _: None
    came: Callable[[asyncio.BaseTransport], Callable[[], None]] = lambda _: lambda: None
    portions: Portions = OF_CLIENTS
    renews: bool = False
    open: int = 0
    _heard: "dict[Handler, None]" = field(default_factory=dict)  # if it renews: all, by when they were heard of

    def hear(self, handler: "Handler") -> None:
        """Remember that it was heard of just now."""
        if self.renews:
            self._heard.pop(handler, None)
            self._heard[handler] = None

    def forget(self, handler: "Handler") -> None:
        """Remember it no more."""
        self._heard.pop(handler, None)

    def surplus(self, newest: "Handler") -> "Handler":
        """Return the connection to be closed, now that there are too many."""
        found = next((handler for handler in self._heard if handler.rests and handler is not newest), newest)
        self.forget(found)
        return found


class Handler(PiecewiseHandler):
    """aiohttp's handler of one HTTP connection. Its refusals do not quote the request, which may hold a token."""

    __slots__ = ("_counted", "_gone", "_head_bytes", "_http")

    def __init__(self, http: Http, *arguments: Any, **options: Any) -> None:
        super().__init__(http.portions, *arguments, **options)
        self._http = http
        self._counted = False
        self._gone: Callable[[], None] = lambda: None
        self._head_bytes = 0  # of the request that has not been parsed to its end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        super().connection_made(transport)
        self._http.open += 1
        self._counted = True
        self._gone = self._http.came(transport)
        self._http.hear(self)
        if self._http.open > self._http.limit:
            self._http.surplus(self).abort()

    @property
    def rests(self) -> bool:
        """Whether no handler of a request is at work: one is waited for, or has been answered."""
        return self._current_request is None

    def abort(self) -> None:
        """Close the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count it no more: it is gone, or has become a WebSocket, as its own task says. That task may still wait for
        the rest of a body, for 10 s, though nothing can come any more."""
        task = self._task_handler
        if self._counted:
            self._http.open -= 1
            self._counted = False
            self._gone()
        self._http.forget(self)
        super().connection_lost(exc)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _parse(self, data: bytes) -> None:
        self._http.hear(self)
        waiting, count = self._waiter, self._request_count
        super()._parse(data)
        if self._request_count != count or waiting is None or waiting.done():
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a request that can't be parsed, or whose handler failed. aiohttp fails at an `Expect` that is
        not ASCII, as it is about to repeat it."""
        if isinstance(exc, UnicodeEncodeError) and not request.headers.get(hdrs.EXPECT, "").isascii():
            return _Nameless(status=417)
        if message is not None:
            self._http.unreadable(request.remote)
        answer = super().handle_error(request, status, exc, message)
        assert isinstance(answer, web.Response)  # aiohttp promises a stream, which may be less
        if message is None:
            nameless = _Nameless(body=answer.body, status=answer.status, headers=answer.headers)
        else:
            nameless = _Nameless(body=_UNREADABLE, status=answer.status, content_type="application/json")
        nameless.force_close()
        return nameless

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write a response. An unknown `Expect` is not repeated in it."""
        if isinstance(resp, web.HTTPExpectationFailed):
            resp = web.Response(status=resp.status)
        return await super().finish_response(request, resp, start_time)
