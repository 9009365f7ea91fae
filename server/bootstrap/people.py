"""The use cases of people in channels, wired."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from server.application.channels.hub import Hub
from server.application.channels.subscriptions import Subscriptions
from server.application.outside.denials import Denials
from server.application.people.attending import Attendants
from server.application.people.company import Company
from server.application.people.following import Following
from server.application.people.hearing import Hearing
from server.application.people.inboxes import Inboxes
from server.application.people.reading import Reading
from server.application.people.receipts import Receipts
from server.application.people.returning import Returning
from server.application.people.typing import Typing
from server.application.people.unread import Unread
from server.application.sessions.sessions import Sessions
from server.bootstrap import presence
from server.bootstrap.presence import PresenceParts
from server.bootstrap.stores.record import Stores
from server.domain.rules import Rules
from server.domain.signals import ReadUpdated, TypingChanged
from server.domain.webhooks import Endpoint
from server.gateway.chat.handler import Handlers
from server.gateway.chat.handlers import inbox as inbox_handlers
from server.gateway.chat.handlers import presence as presence_handlers
from server.gateway.chat.handlers import reading as reading_handlers
from server.gateway.chat.handlers import typing as typing_handlers
from server.ports.membership import Membership
from server.ports.metrics import CommandMetrics
from server.ports.transport import Transport
from server.wire.words import Command


@dataclass(frozen=True, slots=True)
class People:
    """What a replica needs of them."""

    hearing: Hearing
    presence: PresenceParts
    handlers: Handlers
    inboxes: Inboxes
    sweeps: tuple[Callable[[], None], ...]
    """Forget what is over."""


def compose(  # noqa: PLR0913  # the parts that they listen to
    stores: Stores,
    transport: Transport,
    membership: Membership,
    hub: Hub,
    attendants: Attendants,
    sessions: Sessions,
    *,
    subscriptions: Subscriptions,
    unread: Unread,
    tasks: asyncio.TaskGroup,
    rules: Rules,
    denials: Denials,
    metrics: CommandMetrics,
    webhooks: Sequence[Endpoint],
) -> People:
    """Wire them. `webhooks` may be told of users that come and go."""
    company = Company(membership, sessions.of, denials)
    hearing = Hearing(stores.bus.signals)
    typing = Typing(stores.bus.signals, transport, company, rules, time.monotonic)
    hearing.on(TypingChanged, typing.heard)
    hub.on_delivered(typing.delivered)
    attendants.add(typing)
    hub.on_restarted(Returning(subscriptions, membership, sessions.find, tasks.create_task).restarted)
    reading = Reading(stores.marks, unread, stores.bus.signals, company, rules, tasks, time.monotonic)
    receipts = Receipts(transport, company, rules, reading.origin, partial(metrics.swallowed, Command.MARK))
    hearing.on(ReadUpdated, receipts.heard)
    attendants.add(reading)
    present = presence.compose(stores, transport, membership, sessions, rules, webhooks=webhooks)
    attendants.add(present.cases)
    company.count = lambda channel: max(membership.count(channel), present.cases.rosters.head(channel).count)
    following = Following(stores.follows, stores.marks, denials)
    inboxes = Inboxes(following, transport, Command.INBOX, time.monotonic)
    handlers = {
        **typing_handlers.handlers(typing, metrics),
        **reading_handlers.handlers(reading, metrics),
        **inbox_handlers.handlers(following),
        **presence_handlers.handlers(present.cases),
    }
    return People(hearing, present, handlers, inboxes, (typing.sweep,))
