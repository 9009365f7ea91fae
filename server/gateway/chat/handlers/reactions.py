"""`reaction:add` and `reaction:remove`."""

from functools import partial

from server.application.people.payloads import React
from server.application.people.reacting import Reacting
from server.application.sessions.session import Session
from server.gateway.chat.handler import Handler, Handlers, Reply
from server.wire.answers import Done
from server.wire.words import Command


def handlers(reacting: Reacting) -> Handlers:
    """The commands of reactions."""

    async def react(session: Session, command: React, reply: Reply, *, add: bool) -> None:
        settled = await reacting.react(session.identity, command, add=add)
        place = settled.position
        fields = {"epoch": place.epoch, "offset": place.offset, "duplicate": settled.duplicate}
        reply(Done(fields, place.offset))

    return {
        Command.REACT: Handler(React, partial(react, add=True)),
        Command.UNREACT: Handler(React, partial(react, add=False)),
    }
