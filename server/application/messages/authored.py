"""Finding the messages of a user in a channel, page by page, as quickly as the channel's rate allows."""

from dataclasses import dataclass

from server.domain.channels import ChannelName
from server.domain.erasures import Erasure, Step
from server.domain.gcra import UNLIMITED, Pace, Rate, pace
from server.domain.messages import Message, MessageId
from server.ports.message_log import MessageLog

PAGE = 32
"""Messages that are looked at in one read: as many as a step has, so that none is read twice."""

REFILL_S = 1.0
"""A channel whose rate is used up waits for so long, so that its next step is no single message."""

BACKOFF_S = 1.0
BACKOFF_CAP_S = 60.0
"""Pauses of a channel that can't be read or written: it must not hold up the others."""


@dataclass(frozen=True, slots=True)
class Found:
    """Messages to be deleted, and the step that they are. `ended`: the channel has no more behind them."""

    step: Step
    ids: list[MessageId]
    ended: bool


def half(rate: Rate | None) -> Pace:
    """Return the pace of deletions in a channel: half of its rate of events; the rest is for its users."""
    return UNLIMITED if rate is None else pace(Rate(rate.per_s / 2, max(1, rate.burst // 2)))


class Place:
    """How far a channel has been looked through. `ready_at`: when it may be gone on with, on the caller's clock."""

    def __init__(self, channel: ChannelName, paced: Pace) -> None:
        self.channel, self.ready_at = channel, 0.0
        self._paced, self._earned = paced, 0.0  # of deletions
        self._after = 0  # all messages up to this offset have been looked at
        self._end: int | None = None  # the head when the channel was read first
        self.failures = 0  # one after the other

    async def look(self, log: MessageLog, erasure: Erasure, most: int, now: float) -> Found | None:
        """Return the next messages, `most` at most, perhaps none; None if the rate allows none now. Raises
        `MaruError`."""
        allowed = min(most, self._allowed(now))
        if not allowed:
            self.ready_at = now + REFILL_S
            return None
        page = await log.history(self.channel, None, self._after, PAGE)
        if self._end is None:
            self._end = page.head.offset
        mine = [message for message in page.messages if isinstance(message, Message) and is_due(message, erasure)]
        taken = mine[:allowed]
        if len(taken) < len(mine):
            until, ended = taken[-1].offset, False
        else:
            until = page.messages[-1].offset if page.messages else self._end
            ended = not page.more or until >= self._end
        found = Found(Step(self.channel, self._after, until, len(taken)), [message.id for message in taken], ended)
        self._after = until
        self._earned = max(self._earned, now) + len(taken) * self._paced.interval
        return found

    def postpone(self, now: float, back_to: int | None = None) -> None:
        """Wait, longer each time, and begin again behind an offset."""
        if back_to is not None:
            self._after = back_to
        self.ready_at = now + min(BACKOFF_S * 2**self.failures, BACKOFF_CAP_S)
        self.failures += 1

    def _allowed(self, now: float) -> int:
        if not self._paced.interval:
            return PAGE
        return int((self._paced.room - max(0.0, self._earned - now)) / self._paced.interval)


def is_due(message: Message, erasure: Erasure) -> bool:
    """Say whether the message is to be erased."""
    return message.author.id == erasure.user and message.created_at <= erasure.covers_until
