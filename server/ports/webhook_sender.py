"""Requests to the receivers of webhooks."""

from typing import Protocol

from server.domain.webhooks import Answer, Endpoint


class WebhookSender(Protocol):
    """Sends requests.

    1. Signed: the bytes that are sent are those that were signed, with each key of the endpoint.
    2. Bounded: a request takes `TIMEOUT_S` at most, and a bounded part of the answer is read.
    3. To the endpoint alone: no redirect is followed, and no proxy of the environment is asked.
    4. Never raises for a fault of the receiver: each has its `Outcome`.
    5. Cancelling gives up the answer; the receiver may have the request.
    """

    async def post(self, endpoint: Endpoint, id: str, body: bytes) -> Answer:
        """Send a request, once. Promises 1-5."""
        ...


TIMEOUT_S = 10.0
"""From the connection to the end of the answer."""
