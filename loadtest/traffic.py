"""The values that a session and the load that drives it exchange."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from loadtest.judge import Ack, Verdict
from loadtest.wire import Json


class Refused(Exception):
    """The server refused a handshake (`code` is the HTTP status), CONNECT, or a command."""

    def __init__(self, code: str, problem: str, *, retryable: bool, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{code}: {problem}")
        self.code, self.retryable, self.retry_after_s = code, retryable, retry_after_s


class Closed(Exception):
    """The server closed the WebSocket; `code` is the close code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Stage(IntEnum):
    """The stages of a connection."""

    AWAY = 0
    SHAKING = 1
    ENTERING = 2
    READY = 3


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """A message under way; `sent_at` is the time of its first sending, by the load's clock."""

    channel: str
    key: str
    text: str
    clock: str
    sent_at: float

    @property
    def payload(self) -> Json:
        """The payload of `message:send`. Its `data` lets readers that share the clock measure the delivery."""
        data = {"clock": self.clock, "at": self.sent_at}
        return {"channel": self.channel, "text": self.text, "key": self.key, "data": data}


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A command beside joins and messages. `answered` is called with the ack, or `lost` if the connection ends
    first."""

    name: str
    payload: Json
    answered: Callable[[Json], None]
    lost: Callable[[], None]


class Listener(Protocol):
    """Is told of everything that happens in a session."""

    def ready(self) -> None:
        """Note that the session is in all its channels (again), from its positions on."""

    def heard(self, event: Json, *, live: bool) -> None:
        """Note a log event that is new to the session; `live` unless it came by a resume."""

    def acked(self, message: Outgoing, ack: Ack, *, duplicate: bool) -> None:
        """Note that a message is in the log; `duplicate` if it was there before this sending."""

    def refused(self, what: Outgoing | str, refusal: Refused) -> None:
        """Note that a message is not in the log, or a channel (its name) not joined; for now, if `retryable`."""

    def draining(self, reconnect_in_s: float) -> None:
        """Note that the server asks the client to move. To do nothing is allowed: the server closes it later."""
        return

    def fault(self, verdict: Verdict, where: str) -> None:
        """Note a broken promise of the server."""
