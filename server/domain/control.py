"""Orders of backends and operators that every replica obeys (PROTOCOL.md, "Control").

Times are whole milliseconds since the Unix epoch, UTC.
"""

from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.values import value


@value
class Revocation:
    """Tokens that are good no longer: of a user, or the token with an id (`jti`); exactly one of the two is given.

    It concerns tokens of the user that were issued before `issued_before`, or do not say when; with `ban`, all of the
    user's tokens; of a token's id, all. It is forgotten at `expires_at`.
    """

    id: str
    user: UserId | None
    token_id: str | None
    issued_before: int
    expires_at: int
    ban: bool = False


@value
class Denial:
    """A user for whom nothing is granted in a channel until `expires_at`."""

    channel: ChannelName
    user: UserId
    expires_at: int


@value
class Revoked:
    """The revocation is in the store."""

    revocation: Revocation


@value
class RevocationLifted:
    """The revocation with this id is no longer in the store."""

    id: str


@value
class MemberRemoved:
    """The user's sessions leave the channel. `denied_until`: the end of a denial, which is in the store, or a time that
    has passed, which ends an earlier denial; None: denials stay as they are."""

    channel: ChannelName
    user: UserId
    denied_until: int | None


@value
class SessionsEnded:
    """The user's sessions end. `reconnect`: their clients are to come back, as after a drain."""

    user: UserId
    reconnect: bool


@value
class RefreshAsked:
    """The user's sessions are to refresh their tokens, since `asked_at`: a session that has not done so ends at
    `ends_at`."""

    user: UserId
    asked_at: int
    ends_at: int


@value
class UnknownOrder:
    """An order of a kind that a newer version knows: this one passes over it."""


Order = Revoked | RevocationLifted | MemberRemoved | SessionsEnded | RefreshAsked | UnknownOrder
"""Work for every replica. Closed: match it exhaustively."""


@value
class Resync:
    """Orders may have been missed before this moment: load what the stores hold. `lost`: not because the list is
    bounded, but because it came back older, and so may have the stores."""

    lost: bool = False


Heard = Order | Resync
"""An item that a listener gets. Closed: match it exhaustively."""
