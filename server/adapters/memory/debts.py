"""The debts of a log in memory."""

from collections.abc import Mapping, Sequence

from server.domain.channels import ChannelName
from server.domain.dispatching import Debt, covers, owe
from server.domain.messages import Position


class Debts:
    """What channels owe to the endpoints that are open. The log tells it of appends and losses."""

    def __init__(self) -> None:
        self.patterns: dict[str, Sequence[str]] = {}  # of each endpoint
        self.owed: dict[str, dict[ChannelName, Debt]] = {}  # by endpoint

    def open(self, endpoint: str, patterns: Sequence[str], debts: Mapping[ChannelName, Debt]) -> bool:
        """Open an endpoint, with these debts if it is new. Returns whether it is."""
        is_new = endpoint not in self.patterns
        self.patterns[endpoint] = tuple(patterns)
        if is_new:
            self.owed[endpoint] = dict(debts)
        return is_new

    def append(self, channel: ChannelName, head: Position) -> None:
        """Owe the events that are appended behind `head`."""
        for endpoint, patterns in self.patterns.items():
            if covers(patterns, channel):
                owed = self.owed[endpoint]
                owed[channel] = owe(owed.get(channel), channel, head)

    def lose(self, channel: ChannelName, head: Position) -> None:
        """Owe the end of a log that is lost."""
        if head.offset:
            self.append(channel, head)
