"""Clients that ask for much, or take nothing: others do not wait, and memory and log stay within bounds."""

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio

from tests.clients.frames import masked
from tests.clients.raw import RawSocket, connect, event
from tests.conftest import Figure
from tests.harness.attack import Attack, command
from tests.harness.scrape import read, scraped
from tests.harness.tokens import token
from tests.harness.victim import MIB, WAIT_S, Toll, Victim, unharmed
from tests.harness.waiting import polled
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOPS = ["uvloop", "asyncio"]

BOUND = 48 * MIB

COST = 2.0
"""MiB of memory for a stalled reader: its packets, its page, and what the allocator keeps."""

SERVER_ENV = {"MARU_MESSAGE_LOG": "memory", "MARU_LIMITS": "off", "MARU_MAX_OUTBOUND": str(BOUND)}

CHANNEL = "room:large"

LARGE = {"text": "x" * 3_900, "data": {"pad": "y" * 4_000}}
"""A hundred of such messages are a page of about 800 KB."""

PACKET = masked(event("x:y", {"pad": "z" * 60_000}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages(scene: Scene) -> None:
    """Fill a channel."""
    writer = await scene.chat("writer")
    for _ in range(100):
        assert (await writer.ask("message:send", {"channel": CHANNEL, **LARGE}))["ok"]
    await writer.leave()


def fresh(count: int) -> bytes:
    """Join and leave so many channels that nobody has been in."""
    return b"".join(
        command(name, {"channel": f"room:fresh-{number}"}, number)
        for number in range(count)
        for name in ("channel:join", "channel:leave")
    )


WORK: dict[str, bytes] = {
    "joins of fresh channels": fresh(6_000),
    "joins of one channel": command("channel:join", {"channel": CHANNEL}, 1) * 2_000,
    "large pages": command("history:read", {"channel": CHANNEL, "limit": 100}, 1) * 2_000,
    "sends": command("message:send", {"channel": "room:loud", "text": "x"}, 1) * 2_000,
    "sends in fresh channels": b"".join(
        command("message:send", {"channel": f"room:once-{number}", "text": "x"}, number) for number in range(10_000)
    ),
    "unknown commands of 60 KB": PACKET * 16,
    "sends of 60 KB": command("message:send", {"channel": CHANNEL, "text": "x" * 60_000}, 1) * 16,
    "data of 60 KB": command("message:send", {"channel": CHANNEL, "text": "x", "data": {"pad": "z" * 60_000}}, 1) * 16,
    "names of 60 KB": command("x" * 60_000, {}, 1) * 16,
    "channels of 60 KB": command("channel:join", {"channel": "x" * 60_000}, 1) * 16,
    "many payloads": masked(f'42/chat,1["channel:join",{",".join(["{}"] * 20_000)}]') * 16,
    "refreshes with a token that is none": command("auth:refresh", {"token": "x.y." + "z" * 16_000}, 1) * 50,
    "denied edits of 12 KB": command(
        "message:edit", {"channel": "secret:1", "id": "1", "text": "x" * 4_000, "data": {"pad": "z" * 8_000}}, 1
    )
    * 50,
}


@pytest.mark.parametrize("data", WORK.values(), ids=WORK)
@pytest.mark.usefixtures("pages")
async def test_much_work(scene: Scene, figure: Figure, data: bytes) -> None:
    """Commands as fast as TCP takes them, without a rate limit."""
    await unharmed(scene.server, Attack(scene.server.port, data, token=token("mallory")), figure, 10)
    await scene.bystander.unharmed()


@pytest.mark.parametrize("sockets", [1, 10])
async def test_connects_of_64_kb_that_are_refused(scene: Scene, figure: Figure, sockets: int) -> None:
    """Again and again, each time on another WebSocket; nothing is kept of them."""
    hello = masked(connect({"token": token("mallory")[:-1], "resume": {}, "pad": "x" * 64_000}))
    attack = Attack(scene.server.port, masked("1"), opening=hello * 5)
    toll = await unharmed(scene.server, attack, figure, sockets)
    assert toll.memory < 32 * MIB
    await scene.bystander.unharmed()


@pytest.mark.parametrize("sockets", [1, 10])
async def test_resumes_of_500_channels(scene: Scene, figure: Figure, sockets: int) -> None:
    """Again and again, each time of other channels."""
    positions = {f"room:resumed-{number}": {"epoch": "e", "offset": 0} for number in range(500)}
    hello = masked(connect({"token": token("mallory"), "resume": positions}))
    attack = Attack(scene.server.port, masked("1"), opening=hello)
    await unharmed(scene.server, attack, figure, sockets)
    await scene.bystander.unharmed()
    assert attack.connections > sockets


async def stalled(scene: Scene) -> RawSocket:
    """A client that asks for pages, reads nothing, and has sent more than the server takes."""
    client = await scene.chat("stalled", receive_buffer=4_096)
    page = command("history:read", {"channel": CHANNEL, "limit": 100}, 1)
    client.push(page * 2 + PACKET * 20)
    return client


async def inbound(scene: Scene) -> int:
    """Bytes that were read and wait."""
    return int(read(await scraped(scene.server.internal_port))["maru_inbound_queued_bytes"])


def grown_still(scene: Scene) -> Callable[[], Awaitable[bool]]:
    """Return a check whether what waits has stopped growing, for a few looks."""
    seen = deque([0], maxlen=10)

    async def check() -> bool:
        seen.append(await inbound(scene))
        return min(seen) == max(seen) > 0

    return check


@pytest.mark.usefixtures("pages")
async def test_stalled_readers_with_full_mailboxes(scene: Scene, figure: Figure) -> None:
    """25 that read nothing and send 60 KB packets cost what one read and one page take; nothing is left of them."""
    victim, before = Victim(scene.server), scene.server.memory()
    async with victim.watching():
        clients = [await stalled(scene) for _ in range(25)]
        await polled(grown_still(scene), 8.0, lambda: "all mailboxes are full")
        waiting, grown = await inbound(scene), scene.server.memory() - before
    figure(f"{victim}, {waiting / 25 / 1024:.0f} KiB of packets and {grown / 25 / MIB:.2f} MiB of memory a socket")
    assert victim.worst_s < WAIT_S
    assert waiting / 25 < 321_000 + 2_048
    assert grown / 25 < COST * MIB
    for client in clients:
        client.vanish()
    await scene.clean()
    assert await inbound(scene) == 0


@pytest.mark.usefixtures("pages")
async def test_messages_that_are_never_complete(scene: Scene) -> None:
    """They count in the bound, too, as long as their clients are there."""
    clients = [await scene.chat() for _ in range(20)]
    for client in clients:
        client.push(masked("4" + "x" * 60_000, final=False))
    await polled(grown_still(scene), 8.0, lambda: "all are read")
    assert await inbound(scene) >= 20 * 60_000
    for client in clients:
        client.vanish()
    await scene.clean()
    assert await inbound(scene) == 0


@pytest.mark.usefixtures("pages")
async def test_more_stalled_readers_than_there_is_memory_for(scene: Scene, figure: Figure) -> None:
    """Some of them are dropped; nobody else is. Newcomers may be sent to another replica meanwhile."""
    toll = Toll(scene.server)
    with contextlib.suppress(AssertionError):  # 503
        for _ in range(150):
            await stalled(scene)
    await polled(grown_still(scene), 8.0, lambda: "nothing more is read")
    figure(str(toll))
    assert toll.memory < BOUND + 25 * MIB
    await scene.bystander.unharmed()
    scene.vanish()
    await scene.clean()
