"""The one namespace as the Socket.IO server sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.application.commands import ConnectPayload
from server.domain.identity import Identity, SessionId
from server.wire.answers import Answer


@dataclass(frozen=True, slots=True)
class Admitted:
    """A client that may come in: its verified identity, and the payload of its CONNECT."""

    identity: Identity
    payload: ConnectPayload


class Namespace(Protocol):
    """Admits clients and runs their commands.

    1. Admit before deliver: nothing reaches a client before `admit` has returned its identity.
    2. `run` calls `reply` once and raises nothing.
    """

    async def admit(self, auth: object) -> Admitted:
        """Verify a CONNECT payload. Raises `MaruError`. Promise 1."""
        ...

    async def opened(self, session: SessionId, admitted: Admitted) -> None:
        """Begin a session: the client knows its `sid` by now."""
        ...

    def ended(self, session: SessionId) -> None:
        """End a session whose client is gone."""
        ...

    async def run(
        self, session: SessionId, name: str, arguments: Sequence[object], reply: Callable[[Answer], None]
    ) -> Answer:
        """Run one command and return the answer that `reply` was given. Promise 2."""
        ...

    def refuse_skipped(self, session: SessionId, name: str, reply: Callable[[Answer], None]) -> None:
        """Answer a command that is not run because one before it failed with `unavailable`. Promise 2."""
        ...
