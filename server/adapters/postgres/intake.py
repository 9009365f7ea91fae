"""What waits to be written, in order: all that has come while a batch was written goes with the next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from server.domain.appending import Appended, Settled
from server.domain.channels import ChannelName
from server.domain.drafts import Draft, NewMessage, Reaction, Record, Sender
from server.domain.errors import MaruError, Overloaded, Unavailable
from server.ports.records import Recorded

WAITING_LIMIT = 10_000
"""Drafts that may wait: about half a second of work. Over this number, `Overloaded`: nothing was written."""

CROWDED = WAITING_LIMIT // 4
"""Drafts that wait from which on a client should wait for an outcome before it submits more."""

BATCH_LIMIT = 64
"""Drafts of a transaction: more would save little time for each, and hold the locks of their channels for longer."""

BATCH_BYTES = 1024 * 1024
"""Characters of the texts in a transaction; the draft that exceeds the number is its last."""

QUEUE_S = 1.2
"""A draft that has waited for longer is not written: `Overloaded`."""

WRITE_S = 1.6
"""A transaction takes at most this time, with connecting; less if its oldest draft has waited."""

ANSWER_S = 1.8
"""From the call to the outcome: below the 2 s that a client may be kept waiting."""

Entry = Draft | Reaction | Record
"""Closed: match it exhaustively."""

Outcome = Appended | Settled | Recorded | MaruError
"""What an entry became, or its refusal."""

Write = Callable[[Sequence["Waiting"], float], Awaitable[Sequence[Outcome]]]
"""Writes entries, either all new messages or none, within so many seconds. Raises `MaruError` if none was written."""

_log = structlog.get_logger("maru.postgres")


@dataclass(slots=True, eq=False)
class Waiting:
    """An entry that waits to be written, and the callback that is given its outcome."""

    draft: Entry
    sender: Sender | None
    done: Callable[[Any], None]
    since: float  # on the loop's clock


class Intake:
    """Gives entries to `write`, a batch at a time. Close it by `aclose`.

    A batch is either of new messages alone or of other entries: it passes over entries of the other kind, and over all
    that stand behind such an entry in its channel or are of its sender. So each channel's, and each sender's, stay in
    order (promises 1 and 12 of the port).
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: deque[Waiting] = deque()
        self._refused: set[Sender] = set()  # senders of whom a draft was refused that stood before drafts in the queue
        self._writer: asyncio.Task[None] | None = None  # runs while entries wait
        self._closed = False

    @property
    def crowded(self) -> bool:
        """See the port."""
        return len(self._waiting) >= CROWDED

    def append(self, draft: Entry) -> asyncio.Future[Any]:
        """See the port's `append`. The result is that of the entry's kind."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.submit(draft, None, partial(_resolve, answer))
        return answer

    def submit(self, draft: Entry, sender: Sender | None, done: Callable[[Any], None]) -> None:
        """See the port's `submit`."""
        loop = asyncio.get_running_loop()
        waiting = Waiting(draft, sender, done, loop.time())
        if problem := self._problem(sender):
            if sender is not None:
                sender.failed = True
            _tell(waiting, problem)
            return
        if not self._waiting:
            self._refused.clear()
        self._waiting.append(waiting)
        if self._writer is None:
            self._writer = loop.create_task(self._run())

    async def aclose(self) -> None:
        """Write what waits, then take nothing more."""
        self._closed = True
        if self._writer is not None:
            await self._writer

    def _problem(self, sender: Sender | None) -> MaruError | None:
        """Return why nothing is taken from the sender."""
        if self._closed:
            return Unavailable("the server is stopping")
        if sender is not None and sender.failed:
            return out_of_order()
        if len(self._waiting) >= WAITING_LIMIT:
            return Overloaded(f"{WAITING_LIMIT} commands wait for PostgreSQL")
        return None

    async def _run(self) -> None:
        batch: list[Waiting] = []
        try:
            while self._waiting:
                batch = self._next()
                if batch:
                    await self._write_batch(batch)
                    batch = []
        except Exception:  # noqa: BLE001  # a fault of ours: log it, and let nobody wait for ever
            _log.exception("postgres.writer_failed")
        finally:
            self._writer = None
            self._fail([*batch, *self._all()], Unavailable("the commands to PostgreSQL were given up"))

    def _next(self) -> list[Waiting]:
        """Take the next batch out."""
        oldest = asyncio.get_running_loop().time() - QUEUE_S
        batch: list[Waiting] = []
        passed: list[Waiting] = []
        held: set[ChannelName | Sender] = set()  # of entries that were passed over
        size = 0
        while self._waiting and len(batch) < BATCH_LIMIT and size < BATCH_BYTES and len(passed) < BATCH_LIMIT:
            waiting = self._waiting.popleft()
            if problem := self._too_late(waiting, oldest):
                self._fail([waiting], problem)
            elif _held(waiting, held) or (batch and _is_new(waiting) != _is_new(batch[0])):
                held.add(waiting.draft.channel)
                if waiting.sender is not None:
                    held.add(waiting.sender)
                passed.append(waiting)
            else:
                batch.append(waiting)
                size += _size(waiting.draft)
        self._waiting.extendleft(reversed(passed))
        return batch

    def _too_late(self, waiting: Waiting, oldest: float) -> MaruError | None:
        if waiting.sender is not None and waiting.sender in self._refused:
            return out_of_order()
        if waiting.since < oldest:
            return Overloaded(f"the queue to PostgreSQL is full: not written within {QUEUE_S} s")
        return None

    async def _write_batch(self, batch: Sequence[Waiting]) -> None:
        seconds = min(WRITE_S, min(waiting.since for waiting in batch) + ANSWER_S - asyncio.get_running_loop().time())
        try:
            outcomes = await self._write(batch, seconds)
        except MaruError as error:
            self._fail(batch, error)
            if isinstance(error, Unavailable):  # those that wait would fail in the same way, only later
                self._fail(self._all(), error)
            return
        for waiting, outcome in zip(batch, outcomes, strict=True):
            self._settle(waiting, outcome)

    def _settle(self, waiting: Waiting, outcome: Outcome) -> None:
        if waiting.sender is not None and isinstance(outcome, MaruError) and outcome.retryable:
            waiting.sender.failed = True
            self._refused.add(waiting.sender)
        _tell(waiting, outcome)

    def _fail(self, batch: Sequence[Waiting], error: MaruError) -> None:
        for waiting in batch:
            self._settle(waiting, copy_of(error))

    def _all(self) -> list[Waiting]:
        """Take out everything that waits."""
        waiting = [*self._waiting]
        self._waiting.clear()
        return waiting


def copy_of(error: MaruError) -> MaruError:
    """Return a new error for another caller: it carries a traceback."""
    copied = type(error)(error.message)
    copied.__cause__ = error.__cause__
    return copied


def out_of_order() -> Unavailable:
    """Return the refusal of a draft behind a refusal of the same sender."""
    return Unavailable("not written, since an earlier change of the same client was refused")


def _is_new(waiting: Waiting) -> bool:
    return isinstance(waiting.draft, NewMessage)


def _held(waiting: Waiting, held: set[ChannelName | Sender]) -> bool:
    return waiting.draft.channel in held or (waiting.sender is not None and waiting.sender in held)


def _size(draft: Entry) -> int:
    return len(draft.text) if isinstance(draft, NewMessage) else 0


def _resolve(answer: asyncio.Future[Any], outcome: Outcome) -> None:
    if answer.done():  # the caller has given up
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _tell(waiting: Waiting, outcome: Outcome) -> None:
    try:
        waiting.done(outcome)
    except Exception:  # noqa: BLE001  # a fault of a caller must not cost the others their outcomes
        _log.exception("postgres.writer_failed")
