"""Messages in their states, their ids, and positions in a channel's log.

Times are whole milliseconds since the Unix epoch, UTC. Offsets count a channel's events from 1, densely, within an
epoch; offset 0 is "before the first event".
"""

import hashlib
from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any, NewType

from server.domain.channels import ChannelName
from server.domain.identity import Author, UserId
from server.domain.reactions import Reactions
from server.domain.values import value

MessageId = NewType("MessageId", str)
"""A UUIDv7 in its canonical text form, given by the server."""

ID_RANDOM_BYTES = 10
"""Random bytes for an UUIDv7, which keeps 74 bits of them."""

Data = Mapping[str, Any]
"""A JSON object of the application, sent and kept with the text."""


@value
class Position:
    """A place in a channel's log: behind the event with this offset, in this epoch."""

    epoch: str
    offset: int


@value
class Message:
    """A message in one of its states. `offset` is the offset of its creation, always; `version` counts from 1."""

    id: MessageId
    channel: ChannelName
    author: Author
    text: str
    data: Data | None
    reply_to: MessageId | None
    key: str | None
    created_at: int
    edited_at: int | None
    version: int
    offset: int
    edited_by: Author | None = None
    """The moderator who made the last edit; None if the author did, or if there was none."""
    mentions: tuple[UserId, ...] = ()
    """The users that the author has named, or `EVERYBODY` alone. An edit does not change them."""
    reactions: Reactions = ()
    """The reactions at that moment. The event of a creation has none."""
    json: bytes | None = field(default=None, init=False, repr=False, compare=False)
    """The message as it is sent to clients, from the answer to its author until it is delivered; made, and forgotten,
    by server/wire/messages.py alone. It is no part of the value: a copy has none."""


MAX_MENTIONS = 50
"""Users that a message may name."""

EVERYBODY = UserId("*")
"""Named in the place of users: the message is for every reader of the channel."""


@value
class Tombstone:
    """The place of a deleted message: its text and data are gone."""

    id: MessageId
    channel: ChannelName
    offset: int
    deleted_by: Author | None = None
    """The moderator who deleted the message; None if the author did."""
    author: str | None = field(default=None, compare=False)
    """The `author_digest` of who wrote it, as far as the log still has it; `MessageLog.message` alone tells it."""


AUTHOR_DIGEST_CHARS = 16
"""Of hex: 64 bits."""


def author_digest(id: MessageId, user: UserId) -> str:
    """Return what is kept of a deleted message's author: who knows a user can check whether it was them. It is another
    one for each message, so it does not show which messages are of the same user."""
    digest = hashlib.sha1(f"{id} {user}".encode(), usedforsecurity=False)
    return digest.hexdigest()[:AUTHOR_DIGEST_CHARS]


def message_id(unix_ms: int, randomness: bytes) -> MessageId:
    """Build a UUIDv7 (RFC 9562, section 5.7) from the time and 10 random bytes. Ids sort by creation time."""
    if len(randomness) != ID_RANDOM_BYTES:
        raise ValueError(f"randomness: expected {ID_RANDOM_BYTES} bytes, got {len(randomness)}")
    digits = randomness.hex()
    return MessageId(f"{_time_and_version(unix_ms)}{digits[1:4]}-{_VARIANT[digits[4]]}{digits[5:8]}-{digits[8:]}")


_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""A random digit with the variant 0b10 in the place of its upper two bits."""


@lru_cache(maxsize=64)
def _time_and_version(unix_ms: int) -> str:
    """Return the digits of an UUIDv7 before the random digits. Cached: ids are made for many messages of a moment."""
    digits = unix_ms.to_bytes(6, "big").hex()
    return f"{digits[:8]}-{digits[8:]}-7"
