"""Drafts on their way to Redis: all drafts of a channel that wait go in one call of the script that appends.

A round trip has at most one call for each channel. So a draft is never written before an earlier draft of its channel
from the same queue, whatever happens to the round trip.
"""

import asyncio
from collections.abc import Callable, MutableSet, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis.exceptions import RedisError

from server.adapters.redis.connection import Command
from server.adapters.redis.exchange import Exchange
from server.adapters.redis.outcomes import OTHERS, Change, Outcome, Words, refusal, words
from server.adapters.redis.queue import Queue, copy_of
from server.domain.channels import ChannelName
from server.domain.drafts import Sender
from server.domain.errors import MaruError, Unavailable

CALL_LIMIT = 64
"""Drafts in one call: a script of this length holds Redis up for less than a millisecond."""

CALL_BYTES = 256 * 1024
"""Of the drafts of one call. The draft that exceeds the number is the call's last."""

Opening = Callable[[ChannelName, bool], Sequence[Any]]
"""Returns the words of a call for a channel up to its drafts. True: some are no changes of messages."""

Read = Callable[[ChannelName, Sequence[Change], Any], Sequence[Outcome]]
"""Makes the outcomes of the drafts of Redis' answer."""

_log = structlog.get_logger("maru.redis")


@dataclass(slots=True, eq=False)
class Submitted:
    """A draft that was submitted. `kind` and `words` are those of append.lua, `bytes` is about their size."""

    draft: Change
    kind: str
    words: Words
    bytes: int
    sender: Sender | None
    done: Callable[[Any], None]  # takes an `Outcome`
    since: float
    refused: MutableSet[Sender]  # senders of whom a draft was refused that stood before drafts in the queue

    def fail(self, error: MaruError) -> None:
        """Refuse the draft, and those of its sender behind it, in the queue and later."""
        self.settle(copy_of(error))

    def refuse(self, error: MaruError) -> None:
        """Refuse the draft, and those that its sender submits later. Those in the queue were before it."""
        if self.sender is not None:
            self.sender.failed = True
        self._tell(error)

    def settle(self, outcome: Outcome) -> None:
        """Tell the outcome; a refusal that may pass is one as in `fail`."""
        if self.sender is not None and isinstance(outcome, MaruError) and outcome.retryable:
            self.sender.failed = True
            self.refused.add(self.sender)
        self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        try:
            self.done(outcome)
        except Exception:  # noqa: BLE001  # a fault of one caller must not cost the others their answers
            _log.exception("redis.pipeline_failed")


@dataclass(slots=True)
class _Call:
    """The drafts of a channel in a round trip."""

    drafts: list[Submitted] = field(default_factory=list)
    bytes: int = 0
    others: bool = False  # reactions, or events of applications, are among the drafts

    def words(self, opening: Sequence[Any]) -> Command:
        words = [*opening]
        senders: dict[object, int] = {}
        for draft in self.drafts:
            number = senders.setdefault(draft.sender or draft, len(senders))
            words.append(f"{draft.kind}{number}")
            words += draft.words
        return tuple(words)


class Appends(Queue[Submitted]):
    """Sends drafts in order by `exchange`, which it owns. Close it by `aclose`.

    All drafts of a sender must be given to the same object. Once a draft is refused with a retryable error, those of
    its sender that are behind it are refused and not written.
    """

    def __init__(self, exchange: Exchange, opening: Opening, read: Read) -> None:
        super().__init__(exchange)
        self._opening, self._read = opening, read
        self._calls: dict[ChannelName, _Call] = {}  # of the batch that is being collected, or sent
        self._refused: MutableSet[Sender] = set()  # see `Submitted`; forgotten once nothing waits

    @property
    def keeps_at_once(self) -> bool:
        """Whether a draft is kept as soon as it is answered."""
        return self._exchange.keeps_at_once

    def script(self, text: bytes) -> str:
        """Return the hash of a script that `opening` names."""
        return self._exchange.script(text)

    def submit(self, draft: Change, sender: Sender | None, done: Callable[[Any], None]) -> None:
        """Give a draft its place in the order, or refuse it. `done` takes its outcome."""
        since = asyncio.get_running_loop().time()
        self.put(Submitted(draft, *words(draft), sender, done, since, self._refused))

    def put(self, item: Submitted) -> None:
        """Give the draft its place in the order, or refuse it."""
        if item.sender is not None and item.sender.failed:
            item.refuse(_behind_a_refusal())
            return
        if not self._waiting:
            self.forget()
        super().put(item)

    def forget(self) -> None:
        """Forget the senders that were refused: nothing of theirs waits."""
        self._refused.clear()

    def begin(self) -> None:
        self._calls = {}

    def problem(self, item: Submitted, oldest: float) -> MaruError | None:
        if item.sender is not None and item.sender in self._refused:
            return _behind_a_refusal()
        return super().problem(item, oldest)

    def take(self, item: Submitted) -> bool:
        call = self._calls.setdefault(item.draft.channel, _Call())
        if len(call.drafts) >= CALL_LIMIT or call.bytes >= CALL_BYTES:
            return False
        call.drafts.append(item)
        call.bytes += item.bytes
        call.others = call.others or item.kind in OTHERS
        return True

    async def _send(self, batch: Sequence[Submitted], deadline: float) -> None:
        calls = self._calls
        commands = [call.words(self._opening(channel, call.others)) for channel, call in calls.items()]
        answers = await self._exchange.round_trip(commands, deadline)
        for (channel, call), answer in zip(calls.items(), answers, strict=True):
            for draft, outcome in zip(call.drafts, self._outcomes(channel, call, answer), strict=True):
                draft.settle(outcome)

    def _outcomes(self, channel: ChannelName, call: _Call, answer: Any) -> Sequence[Outcome]:
        if isinstance(answer, RedisError):
            return [refusal(answer) for _ in call.drafts]
        return self._read(channel, [each.draft for each in call.drafts], answer)


def _behind_a_refusal() -> Unavailable:
    return Unavailable("not written, since an earlier change of the same client was refused")
