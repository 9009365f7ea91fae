"""A real receiver of webhooks: it verifies each request as Standard Webhooks has it, and answers as a test says."""

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from standardwebhooks import Webhook

from tests.harness.process import free_port
from tests.harness.waiting import until

SECRET = f"whsec_{base64.b64encode(b'a secret of the tests, 32 bytes!').decode()}"


@dataclass(frozen=True, slots=True)
class Received:
    """A verified request. `number` counts those of the endpoint from 1; `at` is the loop's time."""

    endpoint: str
    number: int
    id: str
    body: Any
    headers: Mapping[str, str]
    at: float
    peer: tuple[str, int]

    @property
    def events(self) -> list[Any]:
        """The events in it, of a batch or alone."""
        return list(self.body["data"]["events"]) if self.body["type"] == "batch" else [self.body]

    @property
    def channel(self) -> str:
        """The channel that it is about."""
        return str(self.events[0]["data"]["channel"])

    @property
    def offsets(self) -> list[int]:
        """The offsets of its events."""
        return [event["data"]["offset"] for event in self.events]


Reply = Callable[[Received], Awaitable[web.StreamResponse | int]]
"""Answers a request: with a status, or with a whole response; if it raises, the connection is cut."""


async def accept(_: Received) -> int:
    """Take everything."""
    return 204


class WebhookReceiver:
    """An HTTP server whose path names the endpoint: `url(name)`. Use as an async context manager.

    `replies` answer by endpoint; without one, everything is accepted. `received` are the requests in the order of their
    arrival, `taken` those that were answered 2xx, both by endpoint.
    """

    def __init__(self, secret: str = SECRET) -> None:
        self.port = free_port()
        self.replies: dict[str, Reply] = {}
        self.received: defaultdict[str, list[Received]] = defaultdict(list)
        self.taken: defaultdict[str, list[Received]] = defaultdict(list)
        self._secret = secret
        self._changed = asyncio.Event()
        self._runner: web.ServerRunner | None = None

    def url(self, endpoint: str) -> str:
        """The address of an endpoint."""
        return f"http://127.0.0.1:{self.port}/{endpoint}"

    def endpoint(self, name: str, **more: object) -> dict[str, object]:
        """The endpoint as an entry of `MARU_WEBHOOKS`."""
        return {"name": name, "url": self.url(name), "secret": self._secret, **more}

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen, again."""
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def close(self) -> None:
        """Listen no more: connections are refused, and those that are open are cut."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def until(self, holds: Callable[[], bool], timeout: float = 30.0) -> None:
        """Wait until a condition on the requests holds."""
        await until(holds, self._changed, timeout, lambda: f"{self._counts()}")

    def offsets(self, endpoint: str, channel: str) -> list[int]:
        """Return the offsets of the events of a channel that were taken, in their order."""
        return [offset for each in self.taken[endpoint] if each.channel == channel for offset in each.offsets]

    def _counts(self) -> dict[str, tuple[int, int]]:
        return {name: (len(all_), len(self.taken[name])) for name, all_ in self.received.items()}

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        name, body = request.path.strip("/"), await request.read()
        event = Webhook(self._secret).verify(body, dict(request.headers))
        peer = request.transport.get_extra_info("peername") if request.transport is not None else ("", 0)
        received = Received(
            name,
            len(self.received[name]) + 1,
            request.headers["webhook-id"],
            event,
            request.headers,
            asyncio.get_running_loop().time(),
            peer[:2],
        )
        self.received[name].append(received)
        self._changed.set()
        try:
            reply = await self.replies.get(name, accept)(received)
        except ConnectionError:
            if request.transport is not None:
                request.transport.abort()
            raise
        response = web.Response(status=reply) if isinstance(reply, int) else reply
        if 200 <= response.status < 300:
            self.taken[name].append(received)
            self._changed.set()
        return response


def setting(*endpoints: Mapping[str, object]) -> dict[str, str]:
    """The endpoints as an environment variable."""
    return {"MARU_WEBHOOKS": json.dumps(endpoints)}
