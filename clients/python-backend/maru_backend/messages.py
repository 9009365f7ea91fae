"""Operations on messages."""

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any

from maru_backend import answers
from maru_backend.broadcasting import broadcast
from maru_backend.calls import new_key, segment
from maru_backend.operations import Operations, given
from maru_backend.values import Author, Broadcast, Edited, Page, Sent

Data = Mapping[str, Any]
"""A JSON object of the application's own."""


class Messages(Operations):
    """Write, read, correct and delete."""

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
        return await self._call(
            "postMessage", "POST", _messages(channel), answers.sent, body=body, key=key or new_key()
        )

    async def edit_message(self, channel: str, id: str, text: str, *, data: Data | EllipsisType | None = ...) -> Edited:
        """Give a message a new text. Its data stays as it is unless `data` is given; None removes it.

        After a lost answer the edit may be made twice, with the same outcome.
        """
        body = {"text": text} if data is ... else {"text": text, "data": data}
        return await self._call("editMessage", "PATCH", _message(channel, id), answers.edited, body=body)

    async def delete_message(self, channel: str, id: str) -> None:
        """Delete a message; its text is in no answer and in no store from then on. Twice is once."""
        await self._do("deleteMessage", "DELETE", _message(channel, id))

    async def read_messages(
        self, channel: str, *, before: int | None = None, after: int | None = None, limit: int | None = None
    ) -> Page:
        """Read messages in their present state, oldest first: the newest, or those beyond an offset, at most 100."""
        query = {"before": before, "after": after, "limit": limit}
        return await self._call("readMessages", "GET", _messages(channel), answers.page, query=query)

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


def _messages(channel: str) -> str:
    return f"/channels/{segment(channel)}/messages"


def _message(channel: str, id: str) -> str:
    return f"{_messages(channel)}/{segment(id)}"


def _content(author: Author | str, text: str, data: Data | None, reply_to: str | None) -> dict[str, Any]:
    """Return what a message holds, without what was not given."""
    user = Author(author) if isinstance(author, str) else author
    body = {"author": given(id=user.id, name=user.name), "text": text}
    return body | given(data=data, reply_to=reply_to)
