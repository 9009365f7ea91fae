"""A receiver of webhooks within the test, and the dispatchers of a replica before it, in virtual time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.memory.webhooks import MemoryWebhooks
from server.application.outside.webhooks.courier import Bodies, Clocks, Courier
from server.application.outside.webhooks.dead_letters import DeadLetters
from server.application.outside.webhooks.dispatcher import Dispatcher
from server.application.outside.webhooks.dispatchers import Dispatchers
from server.application.outside.webhooks.lag import Lag
from server.application.outside.webhooks.leading import Lead
from server.application.outside.webhooks.schedule import Schedule
from server.domain.channels import ChannelName
from server.domain.replicas import ReplicaId
from server.domain.signing import SigningKey
from server.domain.webhooks import Answer, Endpoint, Outcome
from server.ports.message_log import MessageLog
from server.ports.webhook_metrics import WebhookMetrics
from server.ports.webhook_sender import WebhookSender
from server.ports.webhooks import Webhooks
from server.wire import webhooks as wire
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message
from tests.harness.waiting import polled

OK = Answer(Outcome.ACCEPTED, 200)
KEYS = (SigningKey(b"k" * 32),)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived, and when."""

    endpoint: str
    id: str
    body: dict[str, Any]
    at: float

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events in it."""
        if self.body["type"] == "batch":
            found: list[dict[str, Any]] = self.body["data"]["events"]
            return found
        return [self.body]

    @property
    def channel(self) -> str:
        """The channel that it is about."""
        return str(self.events[0]["data"]["channel"])

    @property
    def offsets(self) -> list[int]:
        """The offsets of its events."""
        return [event["data"]["offset"] for event in self.events]


Rule = Callable[[Request], Answer]


def always(outcome: Outcome, status: int | None = None, retry_after_s: float | None = None) -> Rule:
    """Answer everything so."""
    return lambda _: Answer(outcome, status, retry_after_s)


class Receiver(WebhookSender):
    """Takes `took_s` for each request, and answers by `rule`; `requests` are all, `taken` those that it accepted."""

    def __init__(self) -> None:
        self.rule: Rule = always(Outcome.ACCEPTED, 200)
        self.took_s = 0.01
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        self.under_way = self.most_under_way = 0

    async def post(self, endpoint: Endpoint, id: str, body: bytes) -> Answer:
        request = Request(endpoint.name, id, json.loads(body), asyncio.get_running_loop().time())
        self.requests.append(request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.took_s)
        finally:
            self.under_way -= 1
        answer = self.rule(request)
        if answer.outcome is Outcome.ACCEPTED:
            self.taken.append(request)
        return answer

    def offsets(self, channel: str) -> list[int]:
        """Return the offsets of the channel's events that were taken, in the order of their arrival."""
        return [offset for request in self.taken if request.channel == channel for offset in request.offsets]


class RecordingWebhookMetrics(WebhookMetrics):
    """Records every call in `told`: the method's name without `webhook_`, then its arguments."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def of(self, name: str) -> list[tuple[object, ...]]:
        """Return the arguments of each call of one method."""
        return [call[1:] for call in self.told if call[0] == name]

    def webhook_led(self, endpoint: str, leads: bool) -> None:
        self.told.append(("led", endpoint, leads))

    def webhook_answered(self, endpoint: str, outcome: Outcome, seconds: float) -> None:
        self.told.append(("answered", endpoint, outcome, seconds))

    def webhook_state(self, endpoint: str, *, down: bool, off: bool) -> None:
        self.told.append(("state", endpoint, down, off))

    def webhook_buried(self, endpoint: str) -> None:
        self.told.append(("buried", endpoint))

    def webhook_gapped(self, endpoint: str) -> None:
        self.told.append(("gapped", endpoint))

    def webhook_fault(self, endpoint: str) -> None:
        self.told.append(("fault", endpoint))

    def webhook_lagged(self, endpoint: str, channels: int, events: int, oldest_s: float) -> None:
        self.told.append(("lagged", endpoint, channels, events, oldest_s))


class WebhookStage:
    """A log in memory with its debts, and a receiver. Make it within a virtual-time loop."""

    def __init__(self, *endpoints: Endpoint, max_events: int = 100_000) -> None:
        loop = asyncio.get_running_loop()
        self.endpoints = endpoints or (Endpoint("crm", "https://example.com", KEYS),)
        self.clocks = Clocks(loop.time, lambda: NOW_MS + round(loop.time() * 1_000))
        self.log = MemoryMessageLog(max_events=max_events, max_age_ms=100_000 * HOUR_MS, now_ms=self.clocks.wall_ms)
        self.store = MemoryWebhooks(self.log, loop.time)
        self.receiver = Receiver()
        self.metrics = RecordingWebhookMetrics()
        self._sent = 0

    def replica(
        self, name: str = "one", store: Webhooks | None = None, log: MessageLog | None = None
    ) -> tuple[Dispatchers, DeadLetters]:
        """Return the dispatchers of a replica."""
        store, log = store or self.store, log or self.log
        bodies = Bodies(wire.notice, wire.batch)
        couriers = {
            each.name: Courier(each, log, store, self.receiver, bodies, self.metrics, self.clocks)
            for each in self.endpoints
        }
        dispatchers = [
            Dispatcher(
                each,
                Lead(each, ReplicaId(name), store, self.metrics, self.clocks),
                store,
                couriers[each.name],
                Schedule(Random(7)),
                self.metrics,
                self.clocks,
            )
            for each in self.endpoints
        ]
        lag = Lag(dispatchers, log, store, self.metrics, self.clocks)
        return Dispatchers(dispatchers, lag), DeadLetters(couriers, store, self.clocks)

    @asynccontextmanager
    async def running(self, name: str = "one", store: Webhooks | None = None) -> AsyncIterator[Dispatchers]:
        """Run a replica's dispatchers; at the end they are killed."""
        dispatchers, _ = self.replica(name, store)
        tasks = [asyncio.create_task(loop) for loop in dispatchers.loops()]
        try:
            await asyncio.sleep(0.05)  # they open their endpoints
            yield dispatchers
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def send(self, channel: str, count: int = 1) -> None:
        """Write messages into a channel."""
        for _ in range(count):
            self._sent += 1
            await self.log.append(new_message(self._sent, ChannelName(channel)))

    async def settled(self, within_s: float = 600.0) -> float:
        """Wait until nothing is owed; return how long that took."""
        began = self.clocks.monotonic()
        await polled(self._owes_nothing, within_s, lambda: "something is still owed", every_s=0.1)
        return self.clocks.monotonic() - began

    async def _owes_nothing(self) -> bool:
        return not any([await self.store.owed(each.name) for each in self.endpoints])
