"""The events of the log on their way to a topic of Kafka: an endpoint of the dispatchers of webhooks."""

from contextlib import AsyncExitStack
from random import Random

from server.adapters.kafka import egress
from server.application.outside.webhooks.courier import Bodies
from server.application.outside.webhooks.schedule import Schedule, Verdict
from server.bootstrap.kafka import options
from server.bootstrap.receivers import Receiver
from server.domain.channels import ChannelName
from server.domain.webhooks import LOGGED, Answer, Endpoint
from server.settings.model import Settings


class _Patient(Schedule):
    """Never gives up an event because it has waited for long: it waits for Kafka."""

    def ended(self, channel: ChannelName, last: int, answer: Answer, now: float) -> Verdict:
        verdict = super().ended(channel, last, answer, now)
        return Verdict.AGAIN if verdict is Verdict.LATE else verdict


def open_egress(settings: Settings, topic: str, resources: AsyncExitStack) -> Receiver:
    """Open it for every channel. `resources` closes it."""
    sender = egress.KafkaSender(options(settings), topic)
    resources.push_async_callback(sender.aclose)
    endpoint = Endpoint(egress.NAME, "", (), types=LOGGED, batch=egress.BATCH)
    schedule = _Patient(Random())  # noqa: S311  # jitter
    return Receiver(endpoint, sender, Bodies(egress.notice, egress.batch), schedule)
