"""Ways to reach NATS, and an outage of it: the link tells of it, and is back by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.adapters.nats.client import startup_error
from server.adapters.nats.documents import Documents
from server.adapters.nats.link import Link
from server.domain.errors import Unavailable
from tests.harness.nats import NatsProcess
from tests.harness.process import free_port
from tests.harness.waiting import polled

PASSWORD = "p@ss/w:rd #1"
ENCODED = "p%40ss%2Fw%3Ard%20%231"

FRESH = 200
"""Streams. Without the precaution, the server ended at one of the first hundred."""

LOST_S = 10.0
"""A frozen server is noticed after 4 s; the machine may be busy."""


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsProcess]:
    """A NATS of the test's own."""
    async with NatsProcess(tmp_path / "nats") as process:
        yield process


async def asks(link: Link) -> None:
    """The link does its work."""
    async with link.asking() as stream:
        await stream.account_info()


async def asks_on(link: Link) -> None:
    """Ask again and again: a signal takes a moment."""
    while True:
        await asks(link)


async def test_a_password_is_percent_encoded(tmp_path: Path) -> None:
    """Whatever stands in it; another is refused at the start, without a word of it."""
    async with NatsProcess(tmp_path, ("--user", "maru", "--pass", PASSWORD), login=f"maru:{ENCODED}") as server:
        async with Link(server.url) as link:
            await asks(link)
        assert await startup_error(server.url, jetstream=True) is None
        wrong = await startup_error(server.url.replace(ENCODED, "secret"), jetstream=False)
        assert wrong == "NATS refuses the user, the password or the token"


async def test_a_token_is_a_login_without_a_colon(tmp_path: Path) -> None:
    """As in NATS' own URLs."""
    async with NatsProcess(tmp_path, ("--auth", "secret-token"), login="secret-token") as server:
        assert await startup_error(server.url, jetstream=True) is None


async def test_a_nats_without_streams_is_refused_by_a_log(tmp_path: Path) -> None:
    """Hints do not need them."""
    async with NatsProcess(tmp_path, jetstream=False) as server:
        assert await startup_error(server.url, jetstream=False) is None
        assert "has no JetStream" in str(await startup_error(server.url, jetstream=True))


async def test_without_tls_no_login_is_sent(nats: NatsProcess) -> None:
    """A server that offers no TLS is refused."""
    url = f"tls://maru:secret@127.0.0.1:{nats.port}"
    assert await startup_error(url, jetstream=False) == "NATS offers no TLS, and the URL asks for it"


async def test_a_stream_that_is_being_made_is_not_asked_for_entries(nats: NatsProcess) -> None:
    """nats-server 2.9 would end of it; replicas of a new deployment come to its streams at the same moment."""
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(Link(nats.url)) for _ in range(6)]
        for number in range(FRESH):
            each = [Documents(link, "fresh", prefix=f"fresh-{number}") for link in links]
            found = await asyncio.gather(each[0].put(b"a", "one"), *(documents.get("one") for documents in each[1:]))
            assert found[0] == 1


async def test_a_server_that_is_away_does_not_refuse_the_start() -> None:
    """It may come."""
    assert await startup_error(f"nats://127.0.0.1:{free_port()}", jetstream=True) is None


@pytest.mark.parametrize("freezes", [False, True])
async def test_an_outage_is_told_once_and_heals(nats: NatsProcess, *, freezes: bool) -> None:
    """A server that is killed, or frozen: `Unavailable` within 2 s, a line for each change, and no restart."""
    with capture_logs() as lines:
        async with Link(nats.url) as link:
            await asks(link)
            (nats.freeze if freezes else nats.kill)()
            async with asyncio.timeout(2.0):
                with pytest.raises(Unavailable):
                    await asks_on(link)
            await polled(lambda: not link.linked.is_set(), LOST_S, lambda: "the link is lost")
            with pytest.raises(Unavailable, match="NATS is away"):
                await asks(link)
            if freezes:
                nats.thaw()
            else:
                await nats.start()
            async with asyncio.timeout(LOST_S):
                await link.linked.wait()
            await asks(link)
            assert link.losses == 1
    told = [line["event"] for line in lines]
    assert told == ["nats.linked", "nats.away", "nats.linked"]


async def test_a_replica_may_start_before_nats(tmp_path: Path) -> None:
    """The link is there once the server is."""
    server = NatsProcess(tmp_path / "nats")
    async with Link(server.url) as link:
        assert not link.linked.is_set()
        async with server, asyncio.timeout(LOST_S):
            await link.linked.wait()
        assert link.losses == 0


async def test_a_cancellation_together_with_the_answer_counts(nats: NatsProcess) -> None:
    """The library may forget it, as `asyncio.wait_for` does before Python 3.12; what asks ends all the same."""
    async with Link(nats.url) as link:
        begun = asyncio.Event()

        async def forgets() -> None:
            async with link.answered():
                begun.set()
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()

        asking = asyncio.create_task(forgets())
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
