"""Presence: the users in a channel, and those online (PROTOCOL.md, "Presence")."""

from collections.abc import Mapping
from enum import StrEnum

from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.values import value

NAMES_LIMIT = 500
"""Members up to which a channel tells names."""

NAMES_AGAIN = 400
"""A channel that has told counts tells names again below this."""

SHOWN_MEMBERS = 100
"""Members that are named of a channel which tells counts: those that are there longest."""


@value
class Present:
    """A user in a channel's roster. `name` is that of the user's first session there, `since` its time in milliseconds
    since the epoch, by the store's clock where replicas share a store."""

    user: UserId
    name: str | None
    since: int


@value
class RosterHead:
    """The state of a roster: `version` grows by one with each user that enters or leaves, within an epoch."""

    epoch: str
    version: int
    count: int


NOBODY = RosterHead("0", 0, 0)
"""The head of a roster that nobody has entered, or that was forgotten."""


@value
class Roster:
    """The users in a channel, those that are there longest first. `complete`: all of them."""

    head: RosterHead
    members: tuple[Present, ...]
    complete: bool


@value
class RosterChanged:
    """Users have left a channel's roster, then others have entered it. `head` is the state after that: the change of
    the first user has the version `head.version - len(left) - len(joined) + 1`."""

    channel: ChannelName
    head: RosterHead
    left: tuple[Present, ...]
    joined: tuple[Present, ...]


@value
class ChannelTurned:
    """The first user has entered a channel's roster, or the last has left it. `head` is the state after that."""

    channel: ChannelName
    head: RosterHead


@value
class UserStatus:
    """Whether a user has a session anywhere. `last_seen`, in milliseconds since the epoch: when the last session
    ended; None if the user is online, or if that was too long ago to be known."""

    user: UserId
    online: bool
    sessions: int
    last_seen: int | None


class Departure(StrEnum):
    """How a session ends, and with it its memberships."""

    LEFT = "left"  # its client said so, or was told so
    SILENT = "silent"  # its client answered no ping for a while
    LOST = "lost"  # its connection ended: a page is loaded again, a network changes, the server moves its clients


LINGER_S: Mapping[Departure, float] = {Departure.LEFT: 0.0, Departure.SILENT: 5.0, Departure.LOST: 10.0}
"""How long a user stays in a roster after its last session there has ended so, unless it comes back."""


@value
class MemberJoined:
    """A user has entered a channel's roster, which is then at `head`."""

    channel: ChannelName
    user: UserId
    name: str | None
    head: RosterHead


@value
class MemberLeft:
    """A user has left a channel's roster, which is then at `head`."""

    channel: ChannelName
    user: UserId
    name: str | None
    head: RosterHead


@value
class MembersCounted:
    """How many users are in a channel. `names`: whether those that enter and leave are told from here on."""

    channel: ChannelName
    head: RosterHead
    names: bool
