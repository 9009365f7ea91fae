"""How far behind an endpoint is: measured by the replica that leads it, from a sample of the debts."""

import asyncio
from collections.abc import Sequence

import structlog

from server.application.outside.webhooks.courier import Clocks
from server.application.outside.webhooks.dispatcher import Dispatcher
from server.domain.dispatching import Debt
from server.domain.errors import Unavailable
from server.ports.message_log import MessageLog
from server.ports.webhook_metrics import WebhookMetrics
from server.ports.webhooks import Webhooks

EVERY_S = 5.0
"""Between two measurements."""

SAMPLE = 200
"""Channels that are looked at, at most: if more owe something, the events are an estimate, and the next measurement
looks at other channels."""

_log = structlog.get_logger("maru.webhooks")


class Lag:
    """Measures the lag of each endpoint that this replica leads."""

    def __init__(
        self,
        dispatchers: Sequence[Dispatcher],
        log: MessageLog,
        store: Webhooks,
        metrics: WebhookMetrics,
        clocks: Clocks,
    ) -> None:
        self._dispatchers = dispatchers
        self._log = log
        self._store = store
        self._metrics = metrics
        self._clocks = clocks
        self._after: dict[str, str | None] = {}  # where the next sample of an endpoint's debts begins

    async def run(self) -> None:
        """Measure again and again."""
        while True:
            await asyncio.sleep(EVERY_S)
            for dispatcher in self._dispatchers:
                if dispatcher.lead.held:
                    await self._measure(dispatcher.endpoint.name)

    async def _measure(self, name: str) -> None:
        """Measure an endpoint. If the store is away, or there is a fault, the last measurement stays."""
        try:
            channels = await self._store.owed(name)
            debts, self._after[name] = await self._store.debts(name, self._after.get(name), SAMPLE)
            events, oldest_s = await self._look_at(debts)
        except Unavailable:
            return
        except Exception:  # noqa: BLE001 of this endpoint's measurement, and of nothing else
            _log.exception("webhook.fault", endpoint=name)
            self._metrics.webhook_fault(name)
            return
        scale = max(1.0, channels / len(debts)) if debts else 0.0
        self._metrics.webhook_lagged(name, channels, round(events * scale), oldest_s)

    async def _look_at(self, debts: Sequence[Debt]) -> tuple[int, float]:
        """Return how many events the debts are, and the age of the oldest."""
        count, oldest_s, now_ms = 0, 0.0, self._clocks.wall_ms()
        for debt in debts:
            replay = await self._log.read(debt.channel, debt.delivered.offset, 1)
            count += max(0, replay.head.offset - debt.place(replay.head).offset)
            if replay.events:
                oldest_s = max(oldest_s, (now_ms - replay.events[0].at) / 1000)
        return count, oldest_s
