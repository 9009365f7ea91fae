"""`typing:start` and `typing:stop`."""

import time
from collections.abc import Callable

from server.application.people.commands import InChannel
from server.application.people.typing import Typing
from server.application.sessions.session import Session
from server.domain.channels import ChannelName
from server.domain.identity import Identity, SessionId
from server.domain.rates import Bucket
from server.gateway.chat.handler import Handler, Handlers, Reply
from server.ports.metrics import SILENT, CommandMetrics
from server.wire.answers import Done
from server.wire.words import Command

Act = Callable[[SessionId, Identity, ChannelName], bool]


def handlers(typing: Typing, metrics: CommandMetrics = SILENT, clock: Callable[[], float] = time.monotonic) -> Handlers:
    """The commands of typing. Their answer is the same whether others are told or not."""

    def handler(name: Command, act: Act) -> Handler[InChannel]:
        async def handle(session: Session, command: InChannel, reply: Reply) -> None:
            channel = ChannelName(command.channel)
            typing.check(session.id, session.identity, channel)
            spared = session.allowance is not None and session.allowance.take_quietly(Bucket.TYPING, clock()) > 0
            if spared or not act(session.id, session.identity, channel):
                metrics.swallowed(name)
            reply(Done({}))

        return Handler(InChannel, handle)

    return {
        Command.TYPING_START: handler(Command.TYPING_START, typing.start),
        Command.TYPING_STOP: handler(Command.TYPING_STOP, typing.stop),
    }
