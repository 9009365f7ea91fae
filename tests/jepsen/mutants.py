"""Servers with a bug put in on purpose: `python -m tests.jepsen.mutants NAME` serves as `python -m server` does.

Each bug is a mistake that a change could make, and the checker must find it. Only what is stable is patched: the ports
and the domain.
"""

import asyncio
import sys
from dataclasses import replace
from itertools import count
from secrets import token_bytes
from typing import Any

from server import __main__ as program
from server.adapters.redis import outcomes
from server.adapters.redis.sent import DIGEST_BYTES
from server.adapters.sqlite.marks import SqliteMarks
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.reactions import SqliteReactions
from server.adapters.sqlite.records import SqliteRecords
from server.domain import recovery
from server.domain.appending import Appended, Settled
from server.domain.channels import ChannelName
from server.domain.drafts import Draft, NewMessage, Reaction, Record, Sender
from server.domain.events import Event, MessageCreated
from server.domain.identity import UserId
from server.domain.marks import Marked
from server.domain.sequencing import Known, Ready, Sequencer, Verdict
from server.ports.message_log import Done
from server.ports.records import Recorded

EVERY = 40
"""The bug shows at one of so many events."""


def drops_an_event() -> None:
    """The hub moves past an event and delivers it to nobody."""
    accept, numbers = Sequencer.accept, count(1)

    def dropping(self: Sequencer, event: Event) -> Verdict:
        verdict = accept(self, event)
        return Known() if isinstance(verdict, Ready) and next(numbers) % EVERY == 0 else verdict

    Sequencer.accept = dropping  # type: ignore[method-assign]


def swaps_two_events() -> None:
    """The hub delivers an event behind the next."""
    accept, numbers = Sequencer.accept, count(1)
    held: dict[int, tuple[Event, ...]] = {}

    def swapping(self: Sequencer, event: Event) -> Verdict:
        verdict = accept(self, event)
        if not isinstance(verdict, Ready):
            return verdict
        if next(numbers) % EVERY == 0 and id(self) not in held:
            held[id(self)] = verdict.events
            return Known()
        return Ready((*verdict.events, *held.pop(id(self), ())))

    Sequencer.accept = swapping  # type: ignore[method-assign]


def acks_without_writing() -> None:
    """The log answers before it has written, and then fails to write."""
    submit, numbers, last = SqliteMessageLog.submit, count(1), dict[str, MessageCreated]()

    def answering(self: SqliteMessageLog, draft: Draft, sender: Sender, done: Done) -> None:
        def noted(outcome: Appended | Exception) -> None:
            if isinstance(outcome, Appended) and isinstance(outcome.event, MessageCreated):
                last[outcome.event.channel] = outcome.event
            done(outcome)

        before = last.get(draft.channel)
        if isinstance(draft, NewMessage) and before is not None and next(numbers) % EVERY == 0:
            done(Appended(_following(before, draft), duplicate=False))
        else:
            submit(self, draft, sender, noted)

    SqliteMessageLog.submit = answering  # type: ignore[method-assign]


def _following(before: MessageCreated, draft: NewMessage) -> MessageCreated:
    """Return the event that the draft would become."""
    offset = before.offset + 1
    parts = {"id": draft.id, "author": draft.author, "text": draft.text, "key": draft.key, "offset": offset}
    message: Any = replace(before.message, **parts)  # type: ignore[arg-type]
    return replace(before, offset=offset, message=message)


def ignores_keys() -> None:
    """The log takes a repeated key for a new one."""
    submit, numbers = SqliteMessageLog.submit, count(1)

    def ignoring(self: SqliteMessageLog, draft: Draft, sender: Sender, done: Done) -> None:
        if not isinstance(draft, NewMessage):
            submit(self, draft, sender, done)
            return
        key = draft.key

        def named(outcome: Appended | Exception) -> None:
            if isinstance(outcome, Appended):
                event: Any = outcome.event
                outcome = replace(outcome, event=replace(event, message=replace(event.message, key=key)))
            done(outcome)

        submit(self, replace(draft, key=f"{next(numbers)}-{draft.id}"), sender, named)

    SqliteMessageLog.submit = ignoring  # type: ignore[method-assign]


def ignores_keys_in_redis() -> None:
    """The log in Redis remembers another key than was sent."""
    outcomes.digest = (  # type: ignore[attr-defined]
        lambda draft: token_bytes(DIGEST_BYTES) if draft.key is not None else b""
    )


def recovers_always() -> None:
    """A resume says `recovered: true`, whatever has become of the log."""
    recovery.check_resumable = lambda *_, **__: None


def forgets_reactions() -> None:
    """A reaction is answered, and not written."""
    react, numbers = SqliteReactions.react, count(1)

    def forgetting(self: SqliteReactions, reaction: Reaction) -> asyncio.Future[Settled]:
        answer = react(self, reaction)
        if next(numbers) % 5 == 0:
            answer.add_done_callback(lambda _: react(self, replace(reaction, add=not reaction.add)))
        return answer

    SqliteReactions.react = forgetting  # type: ignore[method-assign]


def forgets_marks() -> None:
    """A mark is answered as if it had moved, and stands where it was."""
    mark, numbers = SqliteMarks.mark, count(1)

    async def forgetting(self: SqliteMarks, channel: ChannelName, user: UserId, offset: int) -> Marked:
        if next(numbers) % 3:
            return await mark(self, channel, user, offset)
        told = await mark(self, channel, user, 0)
        return replace(told, mark=replace(told.mark, offset=max(told.mark.offset, min(offset, told.mark.head.offset))))

    SqliteMarks.mark = forgetting  # type: ignore[method-assign]


def publishes_elsewhere() -> None:
    """An event of an application is answered, and written into another channel."""
    write, numbers = SqliteRecords.record, count(1)

    async def straying(self: SqliteRecords, record: Record) -> Recorded:
        if next(numbers) % 5:
            return await write(self, record)
        done = await write(self, replace(record, channel=ChannelName("room:elsewhere")))
        return replace(done, event=replace(done.event, channel=record.channel))

    SqliteRecords.record = straying  # type: ignore[assignment,method-assign]


MUTANTS = {
    each.__name__: each
    for each in (
        drops_an_event,
        swaps_two_events,
        acks_without_writing,
        ignores_keys,
        ignores_keys_in_redis,
        recovers_always,
        forgets_reactions,
        forgets_marks,
        publishes_elsewhere,
    )
}


if __name__ == "__main__":
    MUTANTS[sys.argv[1]]()
    sys.exit(program.main([]))
