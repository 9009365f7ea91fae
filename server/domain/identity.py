"""Identities: the verified claims of a token as values, and the decision whether they allow an action."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from server.domain.channels import ChannelName
from server.domain.errors import PermissionDenied

UserId = NewType("UserId", str)
"""The token's `sub`."""

SessionId = NewType("SessionId", str)
"""The Socket.IO `sid`: the connected namespace of a WebSocket."""

MAX_USER_CHARS = 128
"""Bound on `sub`: a UUID, an e-mail address or an URN fits, a payload does not."""

MAX_NAME_CHARS = 128
"""Bound on the display name, which is repeated in each of the user's messages."""


class Action(StrEnum):
    """The actions that a grant can allow."""

    JOIN = "join"
    SEND = "send"
    MODERATE = "moderate"
    EDIT_OTHERS = "edit_others"


Grants = Mapping[str, frozenset[Action]]
"""Pattern to allowed actions, e.g. `{"room:*": {JOIN, SEND}}`."""


@dataclass(frozen=True, slots=True)
class Author:
    """The user that wrote a message, and their `name` at that time."""

    id: UserId
    name: str | None


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified token. `expires_at` is `exp`, in milliseconds since the epoch."""

    user: UserId
    name: str | None
    grants: Grants
    expires_at: int
    token_id: str | None = None

    @property
    def author(self) -> Author:
        """The identity as it is written into messages."""
        return Author(self.user, self.name)


def allows(grants: Grants, action: Action, channel: ChannelName) -> bool:
    """Say whether the most specific pattern that covers the channel allows the action; nothing granted is nothing.

    The time is bounded by the length of the channel's name, not by the number of grants: `auth:refresh` asks for each
    channel of a session.
    """
    allowed = grants.get(channel)
    return action in (_covering(grants, channel) if allowed is None else allowed)


def _covering(grants: Grants, channel: ChannelName) -> frozenset[Action]:
    """Return the actions of the longest prefix pattern that covers the channel."""
    if len(grants) <= len(channel):
        patterns = [pattern for pattern in grants if pattern[-1:] == "*" and channel.startswith(pattern[:-1])]
        return grants[max(patterns, key=len)] if patterns else frozenset()
    prefixes = (f"{channel[:length]}*" for length in range(len(channel), -1, -1))
    return next((grants[prefix] for prefix in prefixes if prefix in grants), frozenset())


def authorize(identity: Identity, action: Action, channel: ChannelName) -> None:
    """Raise `PermissionDenied` unless the identity may do this in the channel."""
    if not allows(identity.grants, action, channel):
        raise PermissionDenied(
            f"no grant for '{action}' in '{channel}'", details={"action": action.value, "channel": channel}
        )


def authorize_changes(identity: Identity, others: Action, channel: ChannelName) -> None:
    """Raise `PermissionDenied` unless the identity may change some messages of the channel: its own, or by `others`
    those of everybody.

    Check this before the message is looked up.
    """
    if not allows(identity.grants, others, channel):
        authorize(identity, Action.SEND, channel)


def authorize_change(identity: Identity, author: UserId | None, others: Action, channel: ChannelName) -> None:
    """Raise `PermissionDenied` unless the identity may change a message of `author`: the author may if they may still
    send, and everybody to whom `others` is granted.

    `author` is None if there is no such message: the refusal is the same, so that nobody finds out which messages
    exist.
    """
    if identity.user == author and allows(identity.grants, Action.SEND, channel):
        return
    authorize(identity, others, channel)
