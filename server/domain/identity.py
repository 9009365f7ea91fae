"""Identities: the verified claims of a token as values, and the decision whether they allow an action."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from server.domain.channels import ChannelName
from server.domain.errors import PermissionDenied
from server.domain.values import value

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
    REACT = "react"
    PUBLISH = "publish"


Grants = Mapping[str, frozenset[Action]]
"""Pattern to allowed actions, e.g. `{"room:*": {JOIN, SEND}}`."""

_NOTHING: frozenset[Action] = frozenset()


class CompiledGrants(Grants):
    """Grants as they stand in a token, prepared once so that each decision is a few look-ups.

    The most specific pattern alone decides (PROTOCOL.md, "Tokens"): the exact name, else the longest prefix pattern
    that covers the channel. Prefixes are looked up by their lengths, of which there are at most as many as a name has
    characters: how many grants a token has costs nothing.
    """

    __slots__ = ("_grants", "_lengths")

    def __init__(self, grants: Grants) -> None:
        self._grants = dict(grants)
        lengths = {len(pattern) - 1 for pattern in grants if pattern[-1:] == "*"}
        self._lengths = tuple(sorted(lengths, reverse=True))  # of the prefixes, the longest first

    def actions(self, channel: ChannelName) -> frozenset[Action]:
        """Return the actions that are allowed in the channel."""
        grants = self._grants
        exact = grants.get(channel)
        if exact is not None:
            return exact
        size = len(channel)
        for length in self._lengths:
            if length <= size and (covering := grants.get(f"{channel[:length]}*")) is not None:
                return covering
        return _NOTHING

    def __getitem__(self, pattern: str) -> frozenset[Action]:
        """Return the actions of a pattern."""
        return self._grants[pattern]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the patterns."""
        return iter(self._grants)

    def __len__(self) -> int:
        """Return how many patterns there are."""
        return len(self._grants)


@value
class Author:
    """The user that wrote a message, and their `name` at that time."""

    id: UserId
    name: str | None


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified token.

    `expires_at` is `exp`, in milliseconds since the epoch. `issued_at` is `iat` in whole seconds, rounded down, as
    issuers write it; None if the token does not say. `key_id` names the key of its signature if keys come and go while
    the server runs; None if the key is fixed.
    """

    user: UserId
    name: str | None
    grants: CompiledGrants
    expires_at: int
    token_id: str | None = None
    tier: str | None = None
    issued_at: int | None = None
    key_id: str | None = None
    _author: Author | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def author(self) -> Author:
        """The identity as it is written into messages: made once, since a session may write many."""
        author = self._author
        if author is None:
            author = Author(self.user, self.name)
            object.__setattr__(self, "_author", author)
        return author


def allows(grants: CompiledGrants, action: Action, channel: ChannelName) -> bool:
    """Say whether the most specific pattern that covers the channel allows the action; nothing granted is nothing."""
    return action in grants.actions(channel)


def authorize(identity: Identity, action: Action, channel: ChannelName) -> None:
    """Raise `PermissionDenied` unless the identity may do this in the channel."""
    if action not in identity.grants.actions(channel):
        raise PermissionDenied(
            f"no grant for '{action}' in '{channel}'", details={"action": action.value, "channel": channel}
        )


def authorize_reaction(identity: Identity, channel: ChannelName) -> None:
    """Raise `PermissionDenied` unless the identity may react to the messages of the channel: writers may, and readers
    to whom it is granted."""
    if not allows(identity.grants, Action.SEND, channel):
        authorize(identity, Action.REACT, channel)


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
