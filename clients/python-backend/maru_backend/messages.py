"""Operations on messages."""

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any

from maru_backend import answers
from maru_backend.broadcasting import broadcast
from maru_backend.calls import new_key, segment
from maru_backend.operations import Operations, given
from maru_backend.values import Author, Broadcast, Edited, Page, Published, Sent

Data = Mapping[str, Any]
"""A JSON object of the application's own."""


class Messages(Operations):
    """Write, read, correct and delete."""

    async def post_message(  # noqa: PLR0913  # all that a message may have
        self,
        channel: str,
        author: Author | str,
        text: str,
        *,
        data: Data | None = None,
        reply_to: str | None = None,
        mentions: Sequence[str] = (),
        mark_read: bool = True,
        key: str | None = None,
    ) -> Sent:
        """Write a message in a user's name, and return when it is in the log. `mentions` are at most 50 users' ids, or
        `*` alone: everybody. The author has read the channel up to the message, unless `mark_read` is false: as when a
        program writes in the name of somebody who does not look.

        With a `key` of your own (1..64 visible characters; for instance, the id of the order that you write about) a
        program that was restarted writes it once too: within 24 h a repetition returns the first message.
        """
        body = _content(author, text, data, reply_to, mentions, mark_read=mark_read)
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
        mentions: Sequence[str] = (),
        mark_read: bool = True,
        key: str | None = None,
    ) -> Broadcast:
        """Write one message to 1..1,000 channels, each with its own outcome.

        Channels that failed for now are tried again. Look at `failed`: a bad name fails alone. To repeat the call, give
        it the `key` of the result.
        """
        key = key or new_key()
        body = _content(author, text, data, None, mentions, mark_read=mark_read)
        return Broadcast(await broadcast(self._calls, channels, body, key), key)

    async def add_reaction(self, channel: str, id: str, emoji: str, user: str) -> None:
        """Let a user react to a message. Twice is once."""
        await self._do("addReaction", "PUT", _reaction(channel, id, emoji), query={"user": user})

    async def remove_reaction(self, channel: str, id: str, emoji: str, user: str) -> None:
        """Take a user's reaction to a message back. Twice is once."""
        await self._do("removeReaction", "DELETE", _reaction(channel, id, emoji), query={"user": user})

    async def publish_event(
        self, channel: str, author: Author | str, name: str, data: Any, *, log: bool = True, key: str | None = None
    ) -> Published | None:
        """Publish an event of your application, with any JSON as data; it is no message. `key` as in `post_message`.

        Without `log` it is told to those that are there, and not kept: the answer is None, and it may be lost.
        """
        body = {"author": _user(author), "name": name, "data": data, "log": log}
        path = f"/channels/{segment(channel)}/events"
        return await self._call("publishEvent", "POST", path, answers.published, body=body, key=key or new_key())


def _messages(channel: str) -> str:
    return f"/channels/{segment(channel)}/messages"


def _message(channel: str, id: str) -> str:
    return f"{_messages(channel)}/{segment(id)}"


def _reaction(channel: str, id: str, emoji: str) -> str:
    return f"{_message(channel, id)}/reactions/{segment(emoji)}"


def _user(author: Author | str) -> dict[str, Any]:
    user = Author(author) if isinstance(author, str) else author
    return given(id=user.id, name=user.name)


def _content(
    author: Author | str,
    text: str,
    data: Data | None,
    reply_to: str | None,
    mentions: Sequence[str],
    *,
    mark_read: bool,
) -> dict[str, Any]:
    """Return what a message holds, without what was not given."""
    body = {"author": _user(author), "text": text}
    unmarked = None if mark_read else False
    return body | given(data=data, reply_to=reply_to, mentions=list(mentions) or None, mark_read=unmarked)
