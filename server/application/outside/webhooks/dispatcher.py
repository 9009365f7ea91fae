"""Dispatches to one endpoint: the replica that leads it goes round the channels that owe it events, and gives each of
them a request in its turn."""

import asyncio
from collections import deque
from contextlib import suppress

import structlog

from server.application.outside.webhooks.courier import Clocks, Courier
from server.application.outside.webhooks.leading import Lead
from server.application.outside.webhooks.schedule import MAX_AGE_S, Schedule, Verdict
from server.application.outside.webhooks.steps import PassOver, Tell, TellOfGap
from server.domain.dispatching import Debt
from server.domain.errors import Unavailable
from server.domain.webhooks import Answer, Endpoint
from server.ports.webhook_metrics import WebhookMetrics
from server.ports.webhooks import Webhooks

POLL_S = 0.2
"""After a round that found nothing to do, the next begins so much later, and after a long round as much later as it
took, up to `MOST_POLL_S`: then many channels wait, and reading their debts costs the store something."""

MOST_POLL_S = 2.0

PAGE = 100
"""Debts that are read at once."""

RETRY_S = 1.0
"""The store is asked again so much later after it was away."""

FAULT_S = 5.0
"""A dispatcher goes on so much later after a fault."""

FINISH_S = 3.0
"""A dispatcher that ends gives the requests that are under way so much time."""

_log = structlog.get_logger("maru.webhooks")


class Dispatcher:
    """Dispatches to one endpoint, while this replica leads it.

    Each channel that owes something has one request in a round, so that all are brought forward evenly. A fault costs
    a channel some seconds, or this endpoint; no other endpoint.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        lead: Lead,
        store: Webhooks,
        courier: Courier,
        schedule: Schedule,
        metrics: WebhookMetrics,
        clocks: Clocks,
    ) -> None:
        self.endpoint = endpoint
        self.lead = lead
        self._store = store
        self._courier = courier
        self._schedule = schedule
        self._metrics = metrics
        self._clock = clocks.monotonic
        self._wall_ms = clocks.wall_ms
        self._page: deque[Debt] = deque()  # debts of this round that were read, and had no turn yet
        self._after: str | None = None  # where the next page begins
        self._began = 0  # steps that were begun in this round
        self._round_at = 0.0  # when this round began, on the clock
        self._changed = asyncio.Event()  # a step has ended, or the dispatcher is to end
        self._stopping = False
        self._ended = asyncio.Event()  # no step is under way, and none will begin
        self._steps: set[asyncio.Task[None]] = set()  # steps that are under way

    async def run(self) -> None:
        """Dispatch until `stop`, whatever happens."""
        try:
            while not self._stopping:
                try:
                    await self._turn()
                except Unavailable:
                    await self._pause(RETRY_S)
                except Exception:  # noqa: BLE001 it costs this endpoint some seconds, and no other
                    _log.exception("webhook.fault", endpoint=self.endpoint.name, again_in_s=FAULT_S)
                    self._metrics.webhook_fault(self.endpoint.name)
                    await self._pause(FAULT_S)
        finally:
            await self._finish()

    async def stop(self) -> None:
        """Begin no more requests, wait a short time for those under way, and let another replica lead."""
        self._stopping = True
        self._changed.set()
        await self._ended.wait()
        await self.lead.end()

    async def _turn(self) -> None:
        """Do the next thing: lead, wait, read a page, or begin a step for a channel."""
        now = self._clock()
        if self.lead.rest_s <= 0:
            await self.lead.renew()
        rest = self.lead.rest_s
        if not self.lead.held:
            self._page.clear()  # another replica may have dealt with these
            await self._pause(rest)
            return
        wait = self._schedule.wait_s(now)
        if wait is None or wait > 0:
            await self._pause(rest if wait is None else min(rest, wait))
        elif not self._page:
            await self._read_on(rest)
        elif self._schedule.ready(self._page[0].channel, now):
            self._begin(self._page.popleft())
        else:
            self._page.popleft()

    async def _read_on(self, rest: float) -> None:
        """Read the next debts of the round, or begin a round: at once if the one before has found something to do."""
        if self._after is None:
            if not self._began:
                took = self._clock() - self._round_at
                await self._pause(min(rest, MOST_POLL_S, max(POLL_S, took)))
            self._began, self._round_at = 0, self._clock()
        # A step that is under way now may end during the read: its channel's debt may then be out of date.
        busy = self._schedule.in_flight
        page, self._after = await self._store.debts(self.endpoint.name, self._after, PAGE)
        self._page.extend(debt for debt in page if debt.channel not in busy)

    def _begin(self, debt: Debt) -> None:
        self._began += 1
        self._schedule.begin(debt.channel)
        step = asyncio.create_task(self._step(debt))
        self._steps.add(step)
        step.add_done_callback(self._steps.discard)

    async def _step(self, debt: Debt) -> None:
        try:
            await self._bring(debt)
        except Unavailable:
            self._schedule.stumbled(debt.channel, self._clock())
        except Exception:  # noqa: BLE001 as above, of a channel
            _log.exception("webhook.fault", endpoint=self.endpoint.name, channel=debt.channel)
            self._metrics.webhook_fault(self.endpoint.name)
            self._schedule.stumbled(debt.channel, self._clock())
        finally:
            self._schedule.over(debt.channel)
            self._changed.set()

    async def _bring(self, debt: Debt) -> None:
        """Take the next step for a channel."""
        step = await self._courier.look(debt, self._schedule.last(debt.channel))
        if isinstance(step, PassOver):
            await self._courier.note(debt, step)
            return
        answer = await self._courier.send(step)
        was_down, last = self._schedule.down, step.last if isinstance(step, Tell) else step.gap.end.offset
        verdict = self._schedule.ended(debt.channel, last, answer, self._clock())
        self._tell_of(answer, was_down)
        match verdict:
            case Verdict.DONE:
                await self._courier.note(debt, step)
            case Verdict.POISON:
                await self._give_up(debt, step, answer, "refused")
            case Verdict.LATE if isinstance(step, Tell) and self._is_old(step):
                await self._give_up(debt, step, answer, "not taken for a day")
            case Verdict.OFF:
                _log.error("webhook.off", endpoint=self.endpoint.name, reason="410 Gone", until="restart")
            case _:
                pass  # the channel waits

    async def _give_up(self, debt: Debt, step: Tell | TellOfGap, answer: Answer, reason: str) -> None:
        """Let the channel go on without events that the endpoint does not take."""
        if isinstance(step, TellOfGap):
            await self._courier.note(debt, step)
        else:
            await self._courier.bury(debt, step, f"{reason}; last answer: {answer.told()}")
        self._schedule.buried(debt.channel)
        _log.error("webhook.gave_up", endpoint=self.endpoint.name, channel=debt.channel, reason=reason)

    def _is_old(self, step: Tell) -> bool:
        return step.events[-1].at <= self._wall_ms() - MAX_AGE_S * 1000

    def _tell_of(self, answer: Answer, was_down: bool) -> None:
        """Log that the endpoint is down, or is up again."""
        down = self._schedule.down
        self._metrics.webhook_state(self.endpoint.name, down=down, off=self._schedule.off)
        if down and not was_down:
            _log.error("webhook.down", endpoint=self.endpoint.name, answer=answer.told())
        elif was_down and not down:
            _log.info("webhook.up", endpoint=self.endpoint.name)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until a step ends, or the dispatcher is to end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()
        if not self._stopping:
            self._changed.clear()  # here, and not before the wait: a step may have ended since the last look

    async def _finish(self) -> None:
        """Give the steps that are under way some time, and end those that take longer."""
        if self._steps and self._stopping:
            await asyncio.wait(self._steps, timeout=FINISH_S)
        for step in self._steps:
            step.cancel()
        if self._steps:
            await asyncio.wait(self._steps)
        self._ended.set()
