"""All that the writer puts into a batch beside the drafts of messages."""

from server.adapters.sqlite.space import RETRY_MS
from server.domain.appending import Appended, Settled
from server.domain.channels import ChannelName
from server.domain.drafts import Draft, Reaction, Record
from server.domain.errors import Overloaded
from server.domain.identity import UserId
from server.domain.values import value
from server.ports.records import Recorded


@value
class Moving:
    """A reading mark that is to be moved."""

    channel: ChannelName
    user: UserId
    offset: int


@value
class Following:
    """A channel that a user begins to follow, or follows no longer."""

    channel: ChannelName
    user: UserId
    follow: bool


Entry = Draft | Reaction | Record | Moving | Following
"""Closed: match it exhaustively."""

Written = Appended | Settled | Recorded | bool
"""What an entry became; of a mark or a follow, whether it has changed."""


def log_full() -> Overloaded:
    """Return the refusal of an entry because the log has no room for it."""
    return Overloaded("the message log is full", retry_after_ms=RETRY_MS)
