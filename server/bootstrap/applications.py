"""Reactions and events of applications, wired for clients."""

from server.adapters.clock import now_ms
from server.application.life.overload import Overload
from server.application.messages.writing import Writing
from server.application.outside.entries import Entries
from server.application.people.hearing import Hearing
from server.application.people.publishing import AppEvents
from server.application.people.reacting import Reacting
from server.bootstrap.asking import Asks
from server.bootstrap.stores.record import Stores
from server.domain.signals import EventEmitted
from server.gateway.chat.handler import Handlers
from server.gateway.chat.handlers import events, reactions
from server.ports.transport import Transport


def handlers(
    stores: Stores,
    writing: Writing,
    hearing: Hearing,
    transport: Transport,
    asks: Asks,
    entries: Entries,
    overload: Overload,
) -> Handlers:
    """Return the commands, and let `hearing` hand on the events that are in no log."""
    denials = entries.denials
    hearing.on(EventEmitted, lambda emitted: transport.tell(emitted.channel, emitted))
    published = AppEvents(
        stores.records,
        writing,
        stores.bus.signals,
        now_ms,
        overload.check_read,
        denials=denials,
        asking=asks.asking,
    )
    reacting = Reacting(stores.reactions, writing, now_ms, denials=denials)
    return {**reactions.handlers(reacting), **events.handlers(published)}
