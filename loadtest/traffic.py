"""What a session and the load that drives it tell each other."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from loadtest.judge import Ack, Verdict
from loadtest.wire import Json


class Refused(Exception):
    """The server said no: at the handshake (`code` is the HTTP status), to CONNECT, or to a join."""

    def __init__(self, code: str, problem: str, *, retryable: bool, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{code}: {problem}")
        self.code, self.retryable, self.retry_after_s = code, retryable, retry_after_s


class Closed(Exception):
    """The server closed the WebSocket; `code` is the close code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Stage(IntEnum):
    """How far a connection is."""

    AWAY = 0
    SHAKING = 1
    ENTERING = 2
    READY = 3


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """A message under way; `sent_at` is when it was said first, by the load's clock."""

    channel: str
    key: str
    text: str
    clock: str
    sent_at: float

    @property
    def payload(self) -> Json:
        """As `message:send` takes it. `data` lets its readers tell how long it took, if they share the clock."""
        data = {"clock": self.clock, "at": self.sent_at}
        return {"channel": self.channel, "text": self.text, "key": self.key, "data": data}


class Listener(Protocol):
    """What a load wants to know of a session."""

    def ready(self) -> None:
        """The session is in all its channels (again), from where it was."""

    def heard(self, event: Json, *, live: bool) -> None:
        """A log event was new to it; not `live`: part of what it had missed."""

    def acked(self, message: Outgoing, ack: Ack) -> None:
        """Its message is kept."""

    def refused(self, refusal: Refused) -> None:
        """Its message is not kept (for now, if `retryable`)."""

    def fault(self, verdict: Verdict, where: str) -> None:
        """The server broke a promise."""
