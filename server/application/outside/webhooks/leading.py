"""The lead of an endpoint: a replica takes it, renews it, and keeps the endpoint open while it has it."""

import asyncio

import structlog

from server.application.outside.webhooks.courier import Clocks
from server.domain.errors import Unavailable
from server.domain.replicas import ReplicaId
from server.domain.webhooks import Endpoint
from server.ports.webhook_metrics import WebhookMetrics
from server.ports.webhooks import LEAD_S, OPEN_AGAIN_S, Webhooks

RENEW_S = 3.0
"""How often the lead is renewed, or asked for: three renewals may fail."""

_log = structlog.get_logger("maru.webhooks")


class Lead:
    """Whether this replica leads an endpoint."""

    def __init__(
        self, endpoint: Endpoint, replica: ReplicaId, store: Webhooks, metrics: WebhookMetrics, clocks: Clocks
    ) -> None:
        self._endpoint = endpoint
        self._replica = replica
        self._store = store
        self._metrics = metrics
        self._clock = clocks.monotonic
        self._until = 0.0  # on the clock; not renewed by then, another replica may lead
        self._renew_at = 0.0  # on the clock
        self._open_at = 0.0  # on the clock: when the endpoint is opened, again, if this replica leads it
        self._was_open = False  # the endpoint has been open since this replica began
        self.settled = asyncio.Event()
        """Set once the endpoint is open, or another replica leads it."""

    @property
    def held(self) -> bool:
        """Whether this replica leads the endpoint."""
        return self._clock() < self._until

    @property
    def rest_s(self) -> float:
        """In how many seconds the lead is to be renewed."""
        return self._renew_at - self._clock()

    async def renew(self) -> None:
        """Lead, or go on, and open the endpoint at times; or find that another replica leads. Raises `Unavailable`."""
        now, held = self._clock(), self.held
        leads = await self._store.lead(self._endpoint.name, self._replica)
        self._renew_at = now + RENEW_S
        self._until = now + LEAD_S if leads else 0.0
        self._metrics.webhook_led(self._endpoint.name, leads)
        if leads and now >= self._open_at:
            await self._open()
            self._open_at = now + OPEN_AGAIN_S
        self._was_open |= leads or self.settled.is_set()  # the other replica has had the time between two looks
        self.settled.set()
        if leads != held:
            _log.info("webhook.leads" if leads else "webhook.follows", endpoint=self._endpoint.name)

    async def _open(self) -> None:
        """Let the log owe its events to the endpoint. If it was open before, the store has lost it, and perhaps owed it
        nothing since: then it begins with all that the log has kept."""
        endpoint, from_start = self._endpoint, self._endpoint.from_start or self._was_open
        if await self._store.open(endpoint.name, endpoint.patterns, from_start=from_start):
            _log.info("webhook.opened", endpoint=endpoint.name, begins="start" if from_start else "now")

    async def end(self) -> None:
        """Lead no more. If that fails, the lead ends by itself."""
        held, self._until = self.held, 0.0
        if not held:
            return
        try:
            await self._store.hand_over(self._endpoint.name, self._replica)
        except Unavailable:
            pass
        except Exception:  # noqa: BLE001 the drain goes on
            _log.exception("webhook.fault", endpoint=self._endpoint.name)
        else:
            _log.info("webhook.handed_over", endpoint=self._endpoint.name)
