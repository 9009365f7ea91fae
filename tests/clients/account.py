"""The account of a client: the events that it has heard, the acks that it has got, and the faults that it has seen."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from tests.harness.waiting import until

LOG_EVENTS = ("message:created", "message:edited", "message:deleted")

HEARD_S = 20.0
"""The longest that a client may take to hear an event."""

Json = dict[str, Any]

Entry = tuple[int, str, str, str]
"""A message's offset, id, key and text."""


class Refused(Exception):
    """The server's answer was an error that no retry heals."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent under a key."""

    channel: str
    text: str
    key: str

    @property
    def payload(self) -> Json:
        """The payload of `message:send`."""
        return {"channel": self.channel, "text": self.text, "key": self.key}


@dataclass(frozen=True, slots=True)
class Reset:
    """The server has said that a client's view of a channel has a hole.

    The client goes on behind `offset` of `epoch`; the first `heard` of its events of the channel came before.
    """

    reason: str
    epoch: str
    offset: int
    heard: int


class Account:
    """The base of the clients that tests hold.

    `received` are the log events of each channel in the order of arrival. `faults` names everything that the server
    must not do: above all, a hole in a channel. If the log is to lose something (`may_reset`), holes are kept in
    `resets` instead, by channel. `acks` are by the key of the message; `connects` counts sessions. `changed` is set
    whenever one of these grows; clients may share it.
    """

    def __init__(self, changed: asyncio.Event | None = None, *, may_reset: bool = False) -> None:
        self.received: defaultdict[str, list[Json]] = defaultdict(list)
        self.resets: defaultdict[str, list[Reset]] = defaultdict(list)
        self.acks: dict[str, Json] = {}
        self.faults: list[str] = []
        self.connects = 0
        self.changed = changed or asyncio.Event()
        self._may_reset = may_reset

    def offset(self, channel: str) -> int:
        """The last offset of a channel that the client knows."""
        events = self.received[channel]
        return int(events[-1]["offset"]) if events else 0

    def entries(self, channel: str) -> list[Entry]:
        """The parts of a channel's messages that are compared with the log."""
        return [entry(event["message"]) for event in self.received[channel]]

    async def heard(self, channel: str, offset: int, timeout: float = HEARD_S) -> None:
        """Wait until the channel's events have come up to an offset."""
        await until(lambda: self.offset(channel) >= offset, self.changed, timeout, lambda: f"{offset}; {self}")

    async def connected(self, times: int, timeout: float = HEARD_S) -> None:
        """Wait until the client has had a number of sessions."""
        await until(lambda: self.connects >= times, self.changed, timeout, lambda: f"{times} sessions; {self}")

    def reset(self, channel: str, reply: Json) -> None:
        """Note a hole in a channel."""
        reset = Reset(reply["reason"], reply["epoch"], reply["offset"], len(self.received[channel]))
        self.resets[channel].append(reset)
        if not self._may_reset:
            self.faults.append(f"{channel}: not recovered: {reset}")

    def __str__(self) -> str:
        offsets = {channel: (len(events), self.offset(channel)) for channel, events in self.received.items()}
        return f"{self.connects} sessions, events and offset {offsets}, {len(self.acks)} acks, {self.faults[:5]}"


def entry(message: Json) -> Entry:
    """The parts of a message on the wire that are compared."""
    return message["offset"], message["id"], message["key"], message["text"]
