"""Brings a channel's events to an endpoint: reads them, sends them, and lets the store note that they are there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from server.application.outside.webhooks.steps import Encode, PassOver, Step, Tell, TellOfGap, events_to_read, next_step
from server.application.outside.webhooks.subjects import with_subjects
from server.domain.channels import ChannelName
from server.domain.dispatching import DeadLetter, Debt
from server.domain.events import log_events
from server.domain.messages import Position
from server.domain.webhooks import Answer, Endpoint, gap_id, request_id
from server.ports.message_log import MessageLog
from server.ports.webhook_metrics import WebhookMetrics
from server.ports.webhook_sender import WebhookSender
from server.ports.webhooks import Webhooks

MAX_ACCEPTED = 1_000
"""Answers whose note failed that are remembered. Beyond, the oldest is forgotten, and its request is sent again."""


@dataclass(frozen=True, slots=True)
class Bodies:
    """How events become bytes."""

    notice: Encode
    batch: Callable[[Sequence[bytes], int], bytes]


@dataclass(frozen=True, slots=True)
class Clocks:
    """The time: `monotonic` in seconds, `wall_ms` in milliseconds since the epoch."""

    monotonic: Callable[[], float]
    wall_ms: Callable[[], int]


class Courier:
    """Brings events to one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        log: MessageLog,
        store: Webhooks,
        sender: WebhookSender,
        bodies: Bodies,
        metrics: WebhookMetrics,
        clocks: Clocks,
    ) -> None:
        self.endpoint = endpoint
        self._log = log
        self._store = store
        self._sender = sender
        self._bodies = bodies
        self._metrics = metrics
        self._clocks = clocks
        # Places up to which the endpoint has the events, though the store could not be told: so that the next step is
        # to tell the store, and not to send the events again.
        self._accepted: dict[ChannelName, tuple[Position, Position]] = {}

    async def look(self, debt: Debt, until: int | None) -> Step:
        """Return the next step for the channel. Raises `Unavailable`."""
        accepted = self._accepted.get(debt.channel)
        if accepted is not None and accepted[0] == debt.delivered:
            return PassOver(accepted[1])
        replay = await self._log.read(debt.channel, debt.delivered.offset, events_to_read(self.endpoint, debt))
        replay = replace(replay, events=await with_subjects(self._log, self.endpoint, replay.events))
        return next_step(self.endpoint, debt, replay, until, self._bodies.notice, self._clocks.wall_ms())

    async def send(self, step: Tell | TellOfGap) -> Answer:
        """Send the request of a step."""
        id, body = self.request(step)
        began = self._clocks.monotonic()
        answer = await self._sender.post(self.endpoint, id, body)
        self._metrics.webhook_answered(self.endpoint.name, answer.outcome, self._clocks.monotonic() - began)
        return answer

    def request(self, step: Tell | TellOfGap) -> tuple[str, bytes]:
        """Return the id and the body of a step's request."""
        if isinstance(step, TellOfGap):
            id, notices, at = gap_id(self.endpoint.name, step.gap), [self._bodies.notice(step.gap)], step.gap.at
        else:
            event = step.events[-1]
            id = request_id(self.endpoint.name, event.channel, event.epoch, step.first, step.last)
            notices, at = list(step.bodies), event.at
        alone = self.endpoint.batch == 1 and len(notices) == 1
        return id, notices[0] if alone else self._bodies.batch(notices, at)

    async def resend(self, letter: DeadLetter) -> Answer | None:
        """Send the events of a dead letter, as they are now. Return None if the log no longer has any of them, or the
        endpoint wants none. Raises `Unavailable`."""
        kept = await self._log.read(letter.channel, 0, 0)
        behind = max(letter.first - 1, kept.floor)
        if kept.head.epoch != letter.epoch or behind >= letter.last:
            return None
        replay = await self._log.read(letter.channel, behind, letter.last - behind)
        wanted = [event for event in log_events(replay.events) if self.endpoint.wants(event)]
        if not wanted:
            return None
        wanted = list(await with_subjects(self._log, self.endpoint, wanted))
        bodies = [self._bodies.notice(event) for event in wanted]
        place = Position(letter.epoch, letter.last)
        return await self.send(Tell(letter.first, letter.last, place, wanted, bodies))

    async def note(self, debt: Debt, step: Step) -> None:
        """Note that a step is done. Raises `Unavailable`; the next step is then to note it."""
        to = step.gap.end if isinstance(step, TellOfGap) else step.to
        self._accepted.pop(debt.channel, None)
        if len(self._accepted) >= MAX_ACCEPTED:
            del self._accepted[next(iter(self._accepted))]
        self._accepted[debt.channel] = (debt.delivered, to)
        await self._store.deliver(self.endpoint.name, debt.channel, debt.delivered, to)
        del self._accepted[debt.channel]
        if isinstance(step, TellOfGap):
            self._metrics.webhook_gapped(self.endpoint.name)

    async def bury(self, debt: Debt, step: Tell, reason: str) -> bool:
        """Put the events of a step into the dead letters; return whether they are there now. Raises `Unavailable`."""
        letter = DeadLetter("", debt.channel, step.to.epoch, step.first, step.last, reason, self._clocks.wall_ms())
        buried = await self._store.bury(self.endpoint.name, debt.delivered, letter, step.to)
        if buried:
            self._metrics.webhook_buried(self.endpoint.name)
        return buried
