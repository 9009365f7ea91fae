"""Values of webhooks: the debts of channels to endpoints, and undelivered events."""

from server.domain.channels import ChannelName
from server.domain.messages import Position
from server.domain.values import value


@value
class Debt:
    """A channel with events that an endpoint has not got: those behind `delivered`. Events are delivered up to there,
    or the endpoint began there."""

    channel: ChannelName
    delivered: Position


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
