"""Three servers of NATS that keep every stream: the leader is killed, and nothing that was acked is lost."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TypeVar

from server.adapters.nats.documents import Documents
from server.adapters.nats.link import Link
from server.adapters.nats.message_log import NatsMessageLog
from server.domain.channels import ChannelName
from server.domain.errors import Unavailable
from tests.conftest import Figure
from tests.doubles.samples import HOUR_MS, new_message
from tests.harness.nats import nats_cluster
from tests.harness.waiting import polled

ROOM = ChannelName("room:1")

T = TypeVar("T")

HEAL_S = 20.0
"""An election takes some seconds, and the machine may be busy."""


async def test_the_leader_is_killed(tmp_path: Path, figure: Figure) -> None:
    """A message that is refused is sent again under its key; all are there, once, in the order of their acks."""
    async with nats_cluster(tmp_path) as servers:
        url = "nats://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
        async with (
            Link(url) as link,
            NatsMessageLog(link, max_events=10_000, max_age_ms=1_000 * HOUR_MS, replicas=3) as log,
        ):
            documents = Documents(link, "documents", replicas=3)
            acked = [await _sent(log, number) for number in range(1, 21)]
            await _insisted(partial(documents.put, b"before", "a"))
            leader = (await documents.state())["cluster"]["leader"]
            servers[int(leader.removeprefix("nats-"))].kill()
            began = monotonic()
            acked.append(await _sent(log, 21))
            kept = await _insisted(partial(documents.get, "a"))
            assert kept is not None
            assert await _insisted(partial(documents.put, b"after", "a", after=kept.place)) is not None
            healed_s = monotonic() - began
            acked += [await _sent(log, number) for number in range(22, 41)]
            replay = await _insisted(partial(log.read, ROOM, 0, 1_000))
            assert acked == [event.offset for event in replay.events] == list(range(1, 41))
    figure(f"all is written again {healed_s:.1f} s after kill -9 of the leader among three servers")


async def _insisted(call: Callable[[], Awaitable[T]]) -> T:
    """Call until it is not `Unavailable`."""
    results = list[T]()

    async def succeeds() -> bool:
        with suppress(Unavailable):
            results.append(await call())
        return bool(results)

    await polled(succeeds, HEAL_S, lambda: "NATS has a leader again")
    return results[0]


async def _sent(log: NatsMessageLog, number: int) -> int:
    """Send a message until it is acked; return its offset."""
    draft = new_message(number, ROOM, key=f"key-{number}")
    return (await _insisted(partial(log.append, draft))).event.offset
