"""`MaruBackend`: everything that a backend can ask of Maru."""

from types import TracebackType
from typing import Any, Self

from maru_backend.calls import Calls, Request
from maru_backend.errors import Patience
from maru_backend.messages import Messages
from maru_backend.presence import Presence
from maru_backend.users import Users
from maru_backend.webhooks import Webhooks

CONNECTIONS = 32
"""Connections to the server at once, kept open between calls; a call beyond that waits for one."""


class MaruBackend(Messages, Presence, Users, Webhooks):
    """Use as an async context manager, one for the whole program: `async with MaruBackend(url, key) as backend`.

    `url` is the address of the HTTP API (the internal port), `key` an API key. Each method is an operation of the
    server's OpenAPI description under its name in Python's spelling: `postMessage` is `post_message`.

    A call that the server can not do now, and a call without an answer, is tried again until `patience.total` seconds
    are over; then its error is raised. What is sent is written once: every try has the same idempotency key. A call
    that is cancelled may have been done; with the same `key` it can be made again. All methods raise `MaruError`.
    """

    def __init__(self, url: str, key: str, *, patience: Patience | None = None, connections: int = CONNECTIONS) -> None:
        super().__init__(Calls(url, key, patience or Patience(), connections))

    def __repr__(self) -> str:
        """Without the key."""
        return f"MaruBackend({self._calls.url!r})"

    async def __aenter__(self) -> Self:
        await self._calls.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._calls.__aexit__(kind, error, trace)

    async def read_description(self) -> dict[str, Any]:
        """Read the server's OpenAPI description of its HTTP API."""
        return await self._calls.answer(Request("readDescription", "GET", "/openapi.json"))
