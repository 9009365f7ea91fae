"""Servers with a bug put in on purpose: `python -m tests.jepsen.mutants NAME` serves as `python -m server` does.

Each bug is a mistake that a change could make, and the checker must find it. Only what is stable is patched: the ports
and the domain.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from secrets import token_bytes
from typing import Any

from server import __main__ as program
from server.adapters.redis import message_log
from server.adapters.redis.sent import DIGEST_BYTES
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.domain import recovery
from server.domain.appending import Appended
from server.domain.drafts import Draft, NewMessage
from server.domain.events import Event, MessageCreated
from server.domain.sequencing import Known, Ready, Sequencer, Verdict

EVERY = 40
"""The bug shows at one of so many events."""

Append = Callable[[SqliteMessageLog, Draft], "asyncio.Future[Appended]"]


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
    append, numbers, last = SqliteMessageLog.append, count(1), dict[str, MessageCreated]()

    def note(done: "asyncio.Future[Appended]") -> None:
        if not done.cancelled() and done.exception() is None and isinstance(done.result().event, MessageCreated):
            event: Any = done.result().event
            last[event.channel] = event

    def answering(self: SqliteMessageLog, draft: Draft) -> "asyncio.Future[Appended]":
        before = last.get(draft.channel)
        if isinstance(draft, NewMessage) and before is not None and next(numbers) % EVERY == 0:
            answer: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
            answer.set_result(Appended(_following(before, draft), duplicate=False))
            return answer
        writing = append(self, draft)
        writing.add_done_callback(note)
        return writing

    SqliteMessageLog.append = answering  # type: ignore[method-assign]


def _following(before: MessageCreated, draft: NewMessage) -> MessageCreated:
    """Return the event that the draft would become."""
    offset = before.offset + 1
    parts = {"id": draft.id, "author": draft.author, "text": draft.text, "key": draft.key, "offset": offset}
    message: Any = replace(before.message, **parts)  # type: ignore[arg-type]
    return replace(before, offset=offset, message=message)


def ignores_keys() -> None:
    """The log takes a repeated key for a new one."""
    append, numbers = SqliteMessageLog.append, count(1)

    async def writing(self: SqliteMessageLog, draft: NewMessage) -> Appended:
        other = replace(draft, key=f"{next(numbers)}-{draft.id}")
        appended = await append(self, other)
        event: Any = appended.event
        return replace(appended, event=replace(event, message=replace(event.message, key=draft.key)))

    def ignoring(self: SqliteMessageLog, draft: Draft) -> "asyncio.Future[Appended]":
        if isinstance(draft, NewMessage):
            return asyncio.ensure_future(writing(self, draft))
        return append(self, draft)

    SqliteMessageLog.append = ignoring  # type: ignore[method-assign]


def ignores_keys_in_redis() -> None:
    """The log in Redis remembers another key than was sent."""
    message_log.digest = (  # type: ignore[attr-defined]
        lambda draft: token_bytes(DIGEST_BYTES) if draft.key is not None else b""
    )


def recovers_always() -> None:
    """A resume says `recovered: true`, whatever has become of the log."""
    recovery.check_resumable = lambda *_, **__: None


MUTANTS = {
    each.__name__: each
    for each in (
        drops_an_event,
        swaps_two_events,
        acks_without_writing,
        ignores_keys,
        ignores_keys_in_redis,
        recovers_always,
    )
}


if __name__ == "__main__":
    MUTANTS[sys.argv[1]]()
    sys.exit(program.main([]))
