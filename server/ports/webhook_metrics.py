"""Metrics of webhooks, by the name of the endpoint."""

from typing import Protocol

from server.domain.webhooks import Outcome


class WebhookMetrics(Protocol):
    """How endpoints fare. The promises of `Metrics` hold; the names of endpoints are a closed set, too."""

    def webhook_led(self, endpoint: str, leads: bool) -> None:
        """This replica dispatches to the endpoint, or does not."""
        ...

    def webhook_answered(self, endpoint: str, outcome: Outcome, seconds: float) -> None:
        """A request has ended."""
        ...

    def webhook_state(self, endpoint: str, *, down: bool, off: bool) -> None:
        """The endpoint fails for everything, or wants no more requests; or neither."""
        ...

    def webhook_buried(self, endpoint: str) -> None:
        """A request went to the dead letters."""
        ...

    def webhook_gapped(self, endpoint: str) -> None:
        """The endpoint was told that events of a channel are gone."""
        ...

    def webhook_fault(self, endpoint: str) -> None:
        """A fault of this side: a channel waits, or the endpoint does."""
        ...

    def webhook_lagged(self, endpoint: str, channels: int, events: int, oldest_s: float) -> None:
        """So many channels owe the endpoint about so many events, the oldest of which is so old."""
        ...
