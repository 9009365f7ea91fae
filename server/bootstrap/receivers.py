"""A receiver of the log's events, as a record."""

from dataclasses import dataclass

from server.application.outside.webhooks.courier import Bodies
from server.application.outside.webhooks.schedule import Schedule
from server.domain.webhooks import Endpoint
from server.ports.webhook_sender import WebhookSender


@dataclass(frozen=True, slots=True)
class Receiver:
    """An endpoint, and all that its dispatcher needs."""

    endpoint: Endpoint
    sender: WebhookSender
    bodies: Bodies
    schedule: Schedule
