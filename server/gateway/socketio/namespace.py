"""The namespace as the Socket.IO server sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.application.commands import ConnectPayload
from server.application.limits.limiter import Shortage
from server.application.sessions.session import Session
from server.domain.drafts import Sender
from server.domain.identity import Identity, SessionId
from server.domain.presence import Departure
from server.wire.answers import Answer, Failed

Reply = Callable[[Answer], None]
"""Writes the ack of a command."""

SendReply = Callable[[bytes | Failed], None]
"""Writes the ack of a `message:send`: its JSON, or the failure."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A client that may come in: its verified identity, and the payload of its CONNECT."""

    identity: Identity
    payload: ConnectPayload


class Namespace(Protocol):
    """Admits clients and runs their commands.

    1. Admit before deliver: nothing reaches a client before `admit` has returned its identity.
    2. `submit`, `join`, `run` and `refuse_skipped` call `reply` once, and raise nothing. The last two return the answer
       that it was given; the reply of `submit` may come at any time.
    """

    async def admit(self, auth: object) -> Admitted:
        """Verify a CONNECT payload. Raises `MaruError`. Promise 1."""
        ...

    def admit_at_once(self, auth: object) -> Admitted | None:
        """As `admit`, if the client resumes nothing and its token can be judged without waiting; else return None.
        Promise 1."""
        ...

    def open(self, id: SessionId, admitted: Admitted) -> Session:
        """Begin a session."""
        ...

    async def resume(self, session: Session, admitted: Admitted) -> None:
        """Bring a new session back into its channels, and tell it that it is complete. Its client knows its `sid`."""
        ...

    def ready(self, session: Session) -> None:
        """Tell a new session that resumes nothing that it is complete. Its client knows its `sid`."""
        ...

    def lost(self, session: Session) -> None:
        """Tell that the session's connection is gone. `ended` follows when its last packet has been handled."""
        ...

    def ended(self, session: Session, departure: Departure) -> None:
        """End a session whose client is gone."""
        ...

    def submit(self, session: Session, payload: object, sender: Sender, reply: SendReply) -> bool:
        """Begin a `message:send` that needs no task, and return True; or do nothing, and return False: then `run` is to
        be called. Promise 2."""
        ...

    def join(self, session: Session, payload: object, reply: Reply) -> bool:
        """Begin a `channel:join` that needs no task, and return True; or do nothing, and return False: then `run` is
        to be called. Several may be under way; they are answered in their order. Promise 2."""
        ...

    def joins_under_way(self, session: Session) -> bool:
        """Say whether a join of the session has been begun and is not answered yet. Other commands are to wait."""
        ...

    async def run(self, session: Session, name: str, arguments: Sequence[object], reply: Reply) -> Answer:
        """Run a command. Promise 2."""
        ...

    def refuse(self, session: Session, name: str, shortage: Shortage) -> Answer:
        """Return the answer to a command that is refused because of a rate, before it is parsed."""
        ...

    def may_skip(self, name: str) -> bool:
        """Return whether a command may be refused because an earlier command failed with `unavailable`."""
        ...

    def refuse_skipped(self, session: Session, name: str, reply: Reply) -> Answer:
        """Refuse a command because an earlier command failed with `unavailable`. Promise 2."""
        ...
