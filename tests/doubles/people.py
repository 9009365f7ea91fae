"""Replicas with sessions of people in them, for the use cases of people."""

from dataclasses import dataclass, field

from server.application.people.company import Company
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.domain.identity import Identity, SessionId, UserId
from tests.doubles.samples import ROOM, identity
from tests.doubles.transport import RecordingTransport


@dataclass
class People:
    """The sessions of a replica."""

    transport: RecordingTransport = field(default_factory=RecordingTransport)
    sessions: dict[SessionId, Session] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.company = Company(self.transport, self.of)

    def of(self, user: UserId) -> list[Session]:
        """As `Sessions.of`."""
        return [each for each in self.sessions.values() if each.identity.user == user]

    def come(self, who: str, channel: ChannelName | None = ROOM, as_user: Identity | None = None) -> Session:
        """Open a session, which is named like its user (before a `/`), and let it enter the channel."""
        id = SessionId(who)
        session = self.sessions[id] = Session(id, as_user or identity(who.partition("/")[0]))
        self.transport.connect(id)
        if channel is not None:
            self.transport.enter(id, channel)
        return session

    def heard(self, who: str) -> list[object]:
        """Return what a session was given."""
        return self.transport.inbox(SessionId(who))
