"""One replica's use cases, wired as bootstrap wires them, over a log and a broadcast of the test's choice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

from server.application.channels.hosting import HOSTED_LIMIT
from server.application.channels.hub import Hub
from server.application.channels.subscriptions import Subscriptions
from server.application.messages.publisher import Publisher
from server.application.outside.asking import Asking
from server.application.outside.denials import Denials
from server.application.outside.join_asks import JoinAsks
from server.application.people.unread import Unread
from server.domain.rings import Rings
from server.ports.broadcast import Broadcast
from server.ports.marks import Marks
from server.ports.message_log import MessageLog
from server.ports.metrics import SILENT, Metrics
from server.wire.messages import announced
from tests.doubles.samples import NOW_NS, sample_rings, some_id
from tests.doubles.transport import RecordingTransport

MAX_CHANNELS = 3
_numbers = count(1_000_000)


@dataclass(frozen=True, slots=True)
class Replica:
    """What a gateway would hold."""

    log: MessageLog
    hub: Hub
    rings: Rings
    transport: RecordingTransport
    subscriptions: Subscriptions
    publisher: Publisher
    hearing: asyncio.Task[None]


@asynccontextmanager
async def replica(
    log: MessageLog,
    broadcast: Broadcast,
    clock: Callable[[], float] | None = None,
    metrics: Metrics = SILENT,
    hosted: int = HOSTED_LIMIT,
    *,
    denials: Denials | None = None,
    asking: Asking | None = None,
    marks: Marks | None = None,
) -> AsyncIterator[Replica]:
    """A replica that hears hints until the end of the block. A fault in one of its tasks ends the block loudly.

    `clock` is the hub's, in seconds; without one, the loop's. At most `hosted` channels are hosted. `asking` asks a
    backend; `marks` are read for joins.
    """
    transport = RecordingTransport()
    rings = sample_rings()
    now = asyncio.get_running_loop().time if clock is None else clock
    made: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()

    async def live() -> None:
        async with asyncio.TaskGroup() as tasks:
            hub = Hub(log, broadcast, transport, transport, tasks, now, metrics, rings=rings, limit=hosted)
            publisher = Publisher(
                log,
                broadcast,
                lambda: NOW_NS,
                lambda _: some_id(next(_numbers)),
                metrics,
                now,
                denials=denials,
                asking=asking,
            )
            unread = None if marks is None else Unread(marks, tasks, announced)
            asks = None if asking is None else JoinAsks(asking)
            subscriptions = Subscriptions(
                log, hub, transport, transport, MAX_CHANNELS, metrics, denials=denials, asks=asks, unread=unread
            )
            made.set_result(Replica(log, hub, rings, transport, subscriptions, publisher, tasks.create_task(hub.run())))

    living = asyncio.create_task(live())
    try:
        yield await made
    finally:
        living.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await living
