"""Company: the sessions and users that are in a channel together, as typing and reading ask for them."""

from collections.abc import Callable, Collection

from server.application.outside.denials import Denials
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.domain.errors import NotJoined
from server.domain.identity import SessionId, UserId
from server.ports.membership import Membership


class Company:
    """Says which sessions are in a channel. `sessions` returns the open sessions of a user on this replica.

    `count` is the number of members by which the rules `typing` and `receipts` decide: until another is set, that of
    the sessions on this replica.
    """

    def __init__(
        self,
        membership: Membership,
        sessions: Callable[[UserId], Collection[Session]],
        denials: Denials | None = None,
    ) -> None:
        self._membership = membership
        self._sessions = sessions
        self.denials = Denials() if denials is None else denials
        self.count: Callable[[ChannelName], int] = membership.count

    def check_joined(self, session: SessionId, channel: ChannelName) -> None:
        """Raise `NotJoined` unless the session is in the channel."""
        if channel not in self._membership.channels(session):
            raise NotJoined(f"the session has not joined '{channel}'", details={"channel": channel})

    def is_empty(self, channel: ChannelName) -> bool:
        """Say whether no session of this replica is in the channel."""
        return not self._membership.count(channel)

    def devices(self, user: UserId, channel: ChannelName) -> tuple[SessionId, ...]:
        """Return the user's sessions that are in the channel on this replica."""
        channels = self._membership.channels
        return tuple([each.id for each in self._sessions(user) if channel in channels(each.id)])
