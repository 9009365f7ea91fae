"""`MaruBackend`: everything that a backend can ask of Maru."""

from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType, TracebackType
from typing import Any, Self, TypeVar

from maru_backend import values
from maru_backend.broadcasting import broadcast
from maru_backend.calls import Calls, Request, new_key, segment
from maru_backend.errors import Patience
from maru_backend.values import Author, Broadcast, Edited, Page, Sent

CONNECTIONS = 32
"""Connections to the server at once, kept open between calls; a call beyond that waits for one."""

T = TypeVar("T")

Data = Mapping[str, Any]
"""A JSON object of the application's own."""


class MaruBackend:
    """Use as an async context manager, one for the whole program: `async with MaruBackend(url, key) as backend`.

    `url` is the address of the HTTP API (the internal port), `key` an API key. Each method is an operation of the
    server's OpenAPI description under its name in Python's spelling: `postMessage` is `post_message`.

    A call that the server can not do now, and a call without an answer, is tried again until `patience.total` seconds
    are over; then its error is raised. What is sent is written once: every try has the same idempotency key. A call
    that is cancelled may have been done; with the same `key` it can be made again. All methods raise `MaruError`.
    """

    def __init__(self, url: str, key: str, *, patience: Patience | None = None, connections: int = CONNECTIONS) -> None:
        self._calls = Calls(url, key, patience or Patience(), connections)

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

    async def post_message(
        self,
        channel: str,
        author: Author | str,
        text: str,
        *,
        data: Data | None = None,
        reply_to: str | None = None,
        key: str | None = None,
    ) -> Sent:
        """Write a message in a user's name, and return when it is in the log.

        With a `key` of your own (1..64 visible characters; for instance, the id of the order that you write about) a
        program that was restarted writes it once too: within 24 h a repetition returns the first message.
        """
        body = _content(author, text, data, reply_to)
        return await self._call("postMessage", "POST", _messages(channel), values.sent, body=body, key=key or new_key())

    async def edit_message(self, channel: str, id: str, text: str, *, data: Data | EllipsisType | None = ...) -> Edited:
        """Give a message a new text. Its data stays as it is unless `data` is given; None removes it.

        After a lost answer the edit may be made twice, with the same outcome.
        """
        body = {"text": text} if data is ... else {"text": text, "data": data}
        return await self._call("editMessage", "PATCH", _message(channel, id), values.edited, body=body)

    async def delete_message(self, channel: str, id: str) -> None:
        """Delete a message; its text is in no answer and in no store from then on. Twice is once."""
        await self._do("deleteMessage", "DELETE", _message(channel, id))

    async def read_messages(
        self, channel: str, *, before: int | None = None, after: int | None = None, limit: int | None = None
    ) -> Page:
        """Read messages in their present state, oldest first: the newest, or those beyond an offset, at most 100."""
        query = {"before": before, "after": after, "limit": limit}
        return await self._call("readMessages", "GET", _messages(channel), values.page, query=query)

    async def broadcast(
        self,
        channels: Sequence[str],
        author: Author | str,
        text: str,
        *,
        data: Data | None = None,
        key: str | None = None,
    ) -> Broadcast:
        """Write one message to 1..1,000 channels, each with its own outcome.

        Channels that failed for now are tried again. Look at `failed`: a bad name fails alone. To repeat the call, give
        it the `key` of the result.
        """
        key = key or new_key()
        return Broadcast(await broadcast(self._calls, channels, _content(author, text, data, None), key), key)

    async def read_description(self) -> dict[str, Any]:
        """Read the server's OpenAPI description of its HTTP API."""
        return await self._calls.answer(Request("readDescription", "GET", "/openapi.json"))

    async def _call(self, operation: str, method: str, path: str, read: Callable[[values.Json], T], **more: Any) -> T:
        return values.parsed(read, await self._calls.answer(Request(operation, method, path, **more)))

    async def _do(self, operation: str, method: str, path: str, **more: Any) -> None:
        await self._calls.answer(Request(operation, method, path, **more))


def _messages(channel: str) -> str:
    return f"/channels/{segment(channel)}/messages"


def _message(channel: str, id: str) -> str:
    return f"{_messages(channel)}/{segment(id)}"


def _content(author: Author | str, text: str, data: Data | None, reply_to: str | None) -> dict[str, Any]:
    """Return what a message holds, without what was not given."""
    user = Author(author) if isinstance(author, str) else author
    body = {"author": _given(id=user.id, name=user.name), "text": text}
    return body | _given(data=data, reply_to=reply_to)


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
