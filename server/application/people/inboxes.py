"""The inbox that a client asks for in its CONNECT."""

from collections.abc import Callable

from server.application.people.following import Following
from server.application.sessions.session import Session
from server.domain.errors import MaruError
from server.domain.pushes import InboxState
from server.ports.transport import Transport


class Inboxes:
    """Gives new sessions their inbox. It counts as the command `command`; `clock` is monotonic, in seconds."""

    def __init__(self, following: Following, transport: Transport, command: str, clock: Callable[[], float]) -> None:
        self._following = following
        self._transport = transport
        self._command = command
        self._clock = clock

    async def give(self, session: Session, limit: int) -> None:
        """Push the first page; nothing, if the user's rate or the store does not allow it: the client asks later."""
        if session.allowance is not None and session.allowance.take(self._command, self._clock()) is not None:
            return
        try:
            page = await self._following.inbox(session.identity, limit)
        except MaruError:
            return
        self._transport.push(session.id, InboxState(page))
