"""Values of webhooks: the debts of channels to endpoints, undelivered events, and leads."""

from collections.abc import Sequence

from server.domain.channels import ChannelName
from server.domain.messages import Position
from server.domain.replicas import ReplicaId
from server.domain.values import value


@value
class Debt:
    """A channel with events that an endpoint has not got: those behind `delivered`. Events are delivered up to there,
    or the endpoint began there.

    The epoch of `delivered` may be over, because the log has lost events: then `begins` is the place in the next epoch
    at which the endpoint goes on, if events were written since.
    """

    channel: ChannelName
    delivered: Position
    begins: Position | None = None

    def place(self, head: Position) -> Position:
        """Return the place behind which the endpoint's events stand in the log with this head. It is `delivered`,
        unless that is in an epoch that is over: then the endpoint has to be told of a gap between the two."""
        if self.delivered.epoch == head.epoch:
            return self.delivered
        last = self.begins if self.begins is not None else self.delivered
        return last if last.epoch == head.epoch else Position(head.epoch, min(last.offset, head.offset))


def owe(debt: Debt | None, channel: ChannelName, head: Position) -> Debt:
    """Return what the channel owes once events are appended behind `head`; `debt` is what it owed before."""
    if debt is None:
        return Debt(channel, head)
    place = debt.place(head)
    return debt if place == debt.delivered else Debt(channel, debt.delivered, place)


def covers(patterns: Sequence[str], channel: ChannelName) -> bool:
    """Say whether one of the patterns of an endpoint covers the channel. No patterns: every channel."""
    for pattern in patterns:  # a loop: it runs for each append
        if fits(pattern, channel):
            return True
    return not patterns


def fits(pattern: str, name: str) -> bool:
    """Say whether a pattern with or without a trailing `*` covers a name."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == name


@value
class DeadLetter:
    """Events `first` to `last` of a channel that an endpoint refused, or did not take in time. `id` is given by the
    store, and grows; `failed_at` in milliseconds since the epoch; `reason` for operators. The events stand in the log
    as long as the log keeps them: nothing of their texts is kept here."""

    id: str
    channel: ChannelName
    epoch: str
    first: int
    last: int
    reason: str
    failed_at: int


@value
class Replayed:
    """The fate of dead letters that were sent again. `replayed` and `gone` are dead letters no longer: the endpoint has
    the former, and the log no longer has the events of the latter. At a failure the rest is not tried: `failed` is the
    answer to it. `more`: some letters were not tried."""

    replayed: int = 0
    gone: int = 0
    failed: str | None = None
    more: bool = False


class Leads:
    """Which replica leads each endpoint, for stores that live in a single process. A lead takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._leads: dict[str, tuple[ReplicaId, float]] = {}  # by endpoint: the replica, and when its lead ends

    def take(self, endpoint: str, replica: ReplicaId, now: float) -> bool:
        """Give the replica the lead, or let it go on, unless another replica has it. Returns whether it leads."""
        leader, ends = self._leads.get(endpoint, (replica, now))
        if leader != replica and ends > now:
            return False
        self._leads[endpoint] = (replica, now + self._seconds)
        return True

    def end(self, endpoint: str, replica: ReplicaId) -> None:
        """End the replica's lead, if it has it."""
        if endpoint in self._leads and self._leads[endpoint][0] == replica:
            del self._leads[endpoint]
