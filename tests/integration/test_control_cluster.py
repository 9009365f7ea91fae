"""Orders over Redis, at two real replicas: in force everywhere within a second, whatever happens to connections."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients.raw import RawSocket
from tests.conftest import Figure
from tests.harness.backend import API_ENV, call
from tests.harness.cluster import ready, status
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import pause, polled

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMES = 200
"""Revocations, half of them by user and half by token."""

EVERYWHERE_S = 1.0
"""From the request of a backend until every session is told."""

CUT_S = 0.1
"""Between two cuts of all subscriptions."""

GAVE_UP_S = 2.5
"""The time in which an API answers while Redis is away."""


@dataclass(slots=True)
class Pair:
    """Two replicas and their Redis."""

    redis: RedisProcess
    replicas: list[ServerProcess]

    async def everywhere(self, user: str, with_token: str) -> list[RawSocket]:
        """Open a session of the user at each replica."""
        return [await RawSocket.chat(replica.port, with_token) for replica in self.replicas]

    @asynccontextmanager
    async def without_subscriptions(self) -> AsyncIterator[None]:
        """Cut all connections that are subscribed to anything, again and again."""
        over = asyncio.Event()

        async def cut() -> None:
            while not await pause(over, CUT_S):
                await self.redis.command("CLIENT", "KILL", "TYPE", "pubsub")

        cutting = asyncio.create_task(cut())
        try:
            yield
        finally:
            over.set()
            await cutting


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Both take part. A test that kills something starts it again."""
    tmp_path = tmp_path_factory.mktemp("pair")
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisProcess(tmp_path / "redis"))
        env = {"MARU_REDIS_URL": redis.url, **API_ENV}
        replicas = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            replicas.append(await stack.enter_async_context(ServerProcess(tmp_path / name, env)))
        for replica in replicas:
            await ready(replica)
        yield Pair(redis, replicas)
        for replica in replicas:
            assert replica.faults() == []


async def refusal(replica: ServerProcess, with_token: str) -> str:
    """The code with which a CONNECT is refused."""
    client = await RawSocket.open(replica.port)
    try:
        return await client.refused(with_token)
    finally:
        client.vanish()


async def revoke(pair: Pair, number: int) -> float:
    """Revoke a user's tokens or a single one, at the one replica or the other; return how long it took until a session
    at each replica was told, and see that each refuses the token."""
    user, jti = f"user-{number}", f"jti-{number}"
    stolen = token(user, jti=jti, iat=int(time.time()) - 60)
    clients = await pair.everywhere(user, stolen)
    api = pair.replicas[number // 2 % 2]
    began = time.monotonic()
    answer = await call(api, "POST", "/revocations", {"user": user} if number % 2 else {"jti": jti})
    told = await asyncio.gather(*(client.event("session:terminated") for client in clients))
    took = time.monotonic() - began
    assert answer[0] == 201
    assert {event["code"] for event in told} == {"token_revoked"}
    assert [await refusal(replica, stolen) for replica in pair.replicas] == ["token_revoked"] * 2
    for client in clients:
        client.vanish()
    return took


async def test_everywhere_within_a_second(pair: Pair, figure: Figure) -> None:
    """200 revocations at two replicas, with and without subscriptions."""
    calm = sorted([await revoke(pair, number) for number in range(TIMES)])
    async with pair.without_subscriptions():
        cut = sorted([await revoke(pair, TIMES + number) for number in range(TIMES)])
    for name, times in (("calm", calm), ("subscriptions cut each 100 ms", cut)):
        figure(f"{len(times)} revocations, {name}: p50 {times[TIMES // 2] * 1e3:.1f} ms, max {times[-1] * 1e3:.1f} ms")
        assert times[-1] < EVERYWHERE_S


async def test_removals_and_ends_everywhere(pair: Pair) -> None:
    """With every subscription dead: out of a channel at both replicas, and denied at both; then out altogether."""
    room = "room:1"
    clients = await pair.everywhere("alice", token("alice"))
    for client in clients:
        assert (await client.ask("channel:join", {"channel": room}))["ok"]
    async with pair.without_subscriptions():
        path = f"/channels/{room}/members/alice?deny_s=60"
        began = time.monotonic()
        assert await call(pair.replicas[0], "DELETE", path) == (204, None)
        for client in clients:
            assert await client.event("channel:removed") == {"channel": room, "code": "permission_denied"}
        assert time.monotonic() - began < EVERYWHERE_S
        for client in clients:
            for name, payload in (("channel:join", {}), ("message:send", {"text": "x"})):
                error = (await client.ask(name, {"channel": room} | payload))["error"]
                assert error["code"] == "permission_denied"
        began = time.monotonic()
        assert await call(pair.replicas[1], "DELETE", "/users/alice/sessions") == (204, None)
        for client in clients:
            assert (await client.event("session:terminated"))["code"] == "unauthenticated"
            client.vanish()
        assert time.monotonic() - began < EVERYWHERE_S


async def test_a_replica_that_was_down(pair: Pair) -> None:
    """It refuses as soon as it is back, whatever it missed; and keeps the user out of the channel."""
    one, two = pair.replicas
    stolen = token("bob", jti="stolen")
    await two.kill()
    assert (await call(one, "POST", "/revocations", {"jti": "stolen"}))[0] == 201
    assert (await call(one, "DELETE", "/channels/room:1/members/carol?deny_s=600"))[0] == 204
    await two.start()
    assert await refusal(two, stolen) == "token_revoked"
    carol = await RawSocket.chat(two.port, token("carol"))
    assert (await carol.ask("channel:join", {"channel": "room:1"}))["error"]["code"] == "permission_denied"
    carol.vanish()


async def test_a_store_that_comes_back_older(pair: Pair, tmp_path: Path) -> None:
    """A Redis that has lost the last revocation and the last denial, as in a crash, gets them again from the replicas
    that heard of them: a replica that starts later refuses, too."""
    one, two = pair.replicas
    stolen = token("eve", jti="lost")
    pair.redis.save(tmp_path / "moment")
    assert (await call(one, "POST", "/revocations", {"jti": "lost"}))[0] == 201
    assert (await call(one, "DELETE", "/channels/room:1/members/fay?deny_s=600"))[0] == 204
    await polled(lambda: _is_refused(two, stolen), 2.0, lambda: "the order does not come")
    since = [len(replica.lines) for replica in pair.replicas]
    await pair.redis.restore(tmp_path / "moment")

    def given_back() -> bool:  # by whichever replica is first: the other may have nothing left to give
        return any(
            line.get("event") == "control.given_back"
            for replica, first in zip(pair.replicas, since, strict=True)
            for line in replica.lines[first:]
        )

    await polled(given_back, 15.0, lambda: "nobody has given the entries back")
    await two.kill()
    await two.start()
    assert await refusal(two, stolen) == "token_revoked"
    fay = await RawSocket.chat(two.port, token("fay"))
    assert (await fay.ask("channel:join", {"channel": "room:1"}))["error"]["code"] == "permission_denied"
    fay.vanish()


async def test_without_the_store(pair: Pair) -> None:
    """An API says so, in time, and never yes. Replicas go on with the revocations that they have; a replica that starts
    now has none, and admits nobody until it has read them."""
    one, two = pair.replicas
    stolen = token("dora", jti="stolen")
    assert (await call(one, "POST", "/revocations", {"jti": "stolen"}))[0] == 201
    await polled(lambda: _is_refused(two, stolen), 2.0, lambda: "the order does not come")
    pair.redis.kill()
    began = time.monotonic()
    answers = await asyncio.gather(
        call(one, "POST", "/revocations", {"user": "dora"}),
        call(one, "GET", "/revocations"),
        call(one, "DELETE", "/revocations/some-id"),
        call(one, "DELETE", "/users/dora/sessions"),
        call(one, "DELETE", "/channels/room:1/members/dora?deny_s=60"),
        call(one, "POST", "/users/dora/refresh"),
    )
    assert time.monotonic() - began < GAVE_UP_S
    assert {(code, answer["error"]["code"], answer["error"]["retryable"]) for code, answer in answers} == {
        (503, "unavailable", True)
    }
    assert await refusal(two, stolen) == "token_revoked"
    honest = await RawSocket.chat(two.port, token("honest"))
    honest.vanish()
    await two.kill()
    await two.start()
    assert await refusal(two, token("honest")) == "unavailable"
    assert await status(two, "/readyz") == 503
    await pair.redis.start()
    await ready(two)
    assert await refusal(two, stolen) == "token_revoked"
    again = await RawSocket.chat(two.port, token("honest"))
    again.vanish()


async def _is_refused(replica: ServerProcess, with_token: str) -> bool:
    client = await RawSocket.open(replica.port)
    try:
        return await client.refused(with_token) == "token_revoked"
    except AssertionError:
        return False
    finally:
        client.vanish()
