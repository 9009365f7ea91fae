"""One command of a client on its way through the gateway, and how a handler answers it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from server.application.commands import Command
from server.domain.identity import Identity, SessionId
from server.wire.answers import Answer

C = TypeVar("C", bound=Command)


class Call:
    """A command that is being run. `answer` writes the ack at once; the first answer counts."""

    __slots__ = ("_reply", "channel", "identity", "outcome", "session")

    identity: Identity
    """Who asks; set before a handler runs."""

    def __init__(self, session: SessionId, reply: Callable[[Answer], None]) -> None:
        self.session = session
        self.channel: str | None = None  # for the log line
        self.outcome: Answer | None = None
        self._reply = reply

    def answer(self, outcome: Answer) -> None:
        """End the command. Where order matters, no await stands between a use case's last step and this call."""
        if self.outcome is None:
            self.outcome = outcome
            self._reply(outcome)


@dataclass(frozen=True, slots=True)
class Handler(Generic[C]):
    """How one command is parsed and run. `run` ends in `call.answer(Done(...))`, or raises a `MaruError`."""

    payload: type[C]
    run: Callable[[Call, C], Awaitable[None]]


Handlers = Mapping[str, Handler[Any]]
"""Commands by their name on the wire."""
