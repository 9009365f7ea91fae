"""`event:publish` and `events:read`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.application.people.payloads import Publish, ReadEvents
from server.application.people.publishing import AppEvents
from server.application.sessions.session import Session
from server.domain.errors import RateLimited
from server.gateway.chat.buckets import EMITTED, LOGGED
from server.gateway.chat.handler import Handler, Handlers, Reply
from server.wire import messages
from server.wire.answers import Done
from server.wire.words import Command


def handlers(events: AppEvents, clock: Callable[[], float] = time.monotonic) -> Handlers:
    """The commands of events of applications. `clock` is that of the sessions' rates."""

    async def publish(session: Session, command: Publish, reply: Reply) -> None:
        with _taken(session, LOGGED if command.log else EMITTED, clock):
            recorded = await events.publish(session.identity, command, session)
        if recorded is None:
            reply(Done({}))
            return
        event = recorded.event
        fields = {"epoch": event.epoch, "offset": event.offset, "duplicate": recorded.duplicate}
        reply(Done(fields, event.offset))

    async def read(session: Session, command: ReadEvents, reply: Reply) -> None:
        page = await events.read(session.identity, command)
        reply(Done(messages.record_page(page), page.head.offset))

    return {Command.PUBLISH: Handler(Publish, publish), Command.EVENTS: Handler(ReadEvents, read)}


@contextmanager
def _taken(session: Session, name: str, clock: Callable[[], float]) -> Iterator[None]:
    """Take a command from a bucket that depends on its payload. If it is over another rate, it takes nothing."""
    allowance = session.allowance
    if allowance is None:
        yield
        return
    began = clock()
    if shortage := allowance.take(name, began):
        raise RateLimited.by(shortage.bucket, shortage.wait, f"too many events; the limit is {shortage.bucket}")
    try:
        yield
    except RateLimited:
        allowance.give_back(name, clock() - began)
        raise
