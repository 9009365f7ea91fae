"""The way of the log's events to a receiver other than webhooks, as a record."""

from dataclasses import dataclass

from server.application.outside.webhooks.courier import Bodies
from server.application.outside.webhooks.schedule import Schedule
from server.domain.webhooks import Endpoint
from server.ports.webhook_sender import WebhookSender


@dataclass(frozen=True, slots=True)
class Egress:
    """An endpoint that is not of the settings of webhooks, and all that its dispatcher needs."""

    endpoint: Endpoint
    sender: WebhookSender
    bodies: Bodies
    schedule: Schedule
