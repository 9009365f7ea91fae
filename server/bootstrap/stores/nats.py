"""The log and the bus in NATS."""

from contextlib import AsyncExitStack
from dataclasses import replace

from server.adapters.nats.bus import NatsBus
from server.adapters.nats.client import startup_error
from server.adapters.nats.follows import NatsFollows
from server.adapters.nats.link import Link
from server.adapters.nats.marks import NatsMarks
from server.adapters.nats.message_log import NatsMessageLog
from server.adapters.nats.reactions import NatsReactions
from server.adapters.nats.records import NatsRecords
from server.adapters.seal import Seal
from server.adapters.topics.beside import Beside, Links
from server.adapters.topics.broadcast import TopicBroadcast
from server.adapters.topics.topics import Topics
from server.bootstrap.cluster import hint_secret
from server.bootstrap.stores.record import Bus, People, Stores
from server.settings.errors import StartRefused
from server.settings.model import Settings


async def open_stores(settings: Settings, resources: AsyncExitStack) -> Stores:  # noqa: ARG001  # not built yet
    """Open the log and all that is in the same store. Raises `StartRefused`."""
    raise StartRefused("MARU_MESSAGE_LOG: nats is not in this version")


async def beside(settings: Settings, bus: Bus, resources: AsyncExitStack) -> Bus:
    """Return the bus with the hints over NATS. Raises `StartRefused`."""
    link = await open_link(settings, resources, jetstream=False)
    broadcast = TopicBroadcast(Topics(NatsBus(link), Seal(hint_secret(settings))))
    return replace(
        bus,
        broadcast=Beside(broadcast, bus.broadcast),
        link=Links(link.linked, bus.link),
        link_losses=lambda: link.losses + bus.link_losses(),
        hints_refused=lambda: broadcast.refused + bus.hints_refused(),
        loops=(*bus.loops, link.run()),
    )


async def open_link(settings: Settings, resources: AsyncExitStack, *, jetstream: bool) -> Link:
    """Connect to NATS. Raises `StartRefused` if waiting for it would not help."""
    assert settings.nats_url is not None  # the settings refuse NATS without it
    url = settings.nats_url.get_secret_value()
    try:
        problem = await startup_error(url, jetstream=jetstream)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        raise StartRefused(f"MARU_NATS_URL: {problem}")
    return await resources.enter_async_context(Link(url))


def open_people(log: NatsMessageLog) -> People:
    """The reactions, the events of applications and the marks of that log, and the channels that users follow."""
    marks = NatsMarks(log)
    return NatsReactions(log), NatsRecords(log), marks, NatsFollows(log.streams.link, marks.begin)
