"""Webhooks of real servers: each event at least once, in the order of its channel, with the same id, whatever fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest_asyncio

from tests.harness.backend import API_ENV, call
from tests.harness.cluster import ready
from tests.harness.receiver import Received, WebhookReceiver, setting
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess

TAKEOVER_S = 20.0
"""The lead of a killed replica ends after 10 s, and another replica asks every 3 s; the machine may be busy."""

ROOMS = ("room:a", "room:b", "room:c")


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    """A receiver."""
    async with WebhookReceiver() as running:
        yield running


async def post(server: ServerProcess, channel: str, *texts: str) -> None:
    """Write messages into a channel."""
    for text in texts:
        status, body = await call(
            server, "POST", f"/channels/{channel}/messages", {"author": {"id": "alice"}, "text": text}
        )
        assert status == 200, body


async def leads(server: ServerProcess, endpoint: str, since: int = 0, timeout: float = TAKEOVER_S) -> None:
    """Wait until the server dispatches to an endpoint."""
    await server.logged(
        lambda line: line["event"] == "webhook.leads" and line["endpoint"] == endpoint, since=since, timeout=timeout
    )


def ids_are_stable(receiver: WebhookReceiver, endpoint: str) -> None:
    """Assert that equal events came with equal ids, and other events with others."""
    seen = {(each.channel, *each.offsets): each.id for each in receiver.received[endpoint]}
    assert all(seen[each.channel, *each.offsets] == each.id for each in receiver.received[endpoint])
    assert len(set(seen.values())) == len(seen)


class Steps:
    """A receiver that stops at each step of a request of `room:b`, by endpoint: `unsent` holds the event before it,
    `held` has the request and does not answer, `answered` answers when the store can no longer note it."""

    def __init__(self, receiver: WebhookReceiver) -> None:
        self.receiver = receiver
        self.release = asyncio.Event()
        receiver.replies = {"unsent": self._hold_first, "held": self._hold_second, "answered": self._hold_second}

    async def _hold_first(self, received: Received) -> int:
        return await self._hold(received, 1)

    async def _hold_second(self, received: Received) -> int:
        return await self._hold(received, 2)

    async def _hold(self, received: Received, offset: int) -> int:
        if received.channel == "room:b" and received.offsets == [offset]:
            await self.release.wait()
        return 204

    async def reached(self) -> None:
        """Wait until each endpoint is at its step, and all else is done."""
        await self.receiver.until(
            lambda: (
                [len(self.receiver.received[name]) for name in ("unsent", "held", "answered")] == [7, 8, 8]
                and [len(self.receiver.taken[name]) for name in ("unsent", "held", "answered")] == [6, 7, 7]
            )
        )

    def complete(self) -> bool:
        """Whether each endpoint has everything."""
        return all(
            set(self.receiver.offsets(name, room)) == {1, 2, 3}
            for name in ("unsent", "held", "answered")
            for room in ROOMS
        )

    def judge(self) -> None:
        """Assert what was promised."""
        for name in ("unsent", "held", "answered"):
            ids_are_stable(self.receiver, name)
            for room in ROOMS:
                assert list(dict.fromkeys(self.receiver.offsets(name, room))) == [1, 2, 3]
            repeated = len(self.receiver.taken[name]) - 9
            assert repeated <= len(ROOMS), f"{name}: only a channel's request that was under way may come twice"


def endpoints(receiver: WebhookReceiver) -> dict[str, str]:
    """The endpoints of the steps."""
    return setting(*(receiver.endpoint(name) for name in ("unsent", "held", "answered")))


async def all_lead(server: ServerProcess, since: int = 0) -> None:
    """Wait until the server dispatches to all of them."""
    for name in ("unsent", "held", "answered"):
        await leads(server, name, since)


async def test_kill_the_dispatching_replica_at_every_step(tmp_path: Path, receiver: WebhookReceiver) -> None:
    """Before it sends, while the receiver has the request, and between the answer and the note of it: the other replica
    goes on. Until then nothing comes twice."""
    for name in ("redis", "one", "two"):
        (tmp_path / name).mkdir()
    steps = Steps(receiver)
    async with RedisProcess(tmp_path / "redis") as redis, AsyncExitStack() as stack:
        env = {"MARU_REDIS_URL": redis.url, **API_ENV, **endpoints(receiver)}
        one, two = (ServerProcess(tmp_path / name, env) for name in ("one", "two"))
        await stack.enter_async_context(one)
        await ready(one)
        await all_lead(one)
        await stack.enter_async_context(two)
        await ready(two)
        for number in range(3):
            for server, room in zip((one, two, one), ROOMS, strict=True):
                await post(server, room, f"text {number}")
        await steps.reached()
        redis.freeze()
        steps.release.set()
        await receiver.until(lambda: len(receiver.taken["answered"]) == 8)
        await one.kill()
        redis.thaw()
        await receiver.until(steps.complete, TAKEOVER_S)
        await all_lead(two)
        assert not two.faults()
        assert await two.terminate() == 0
    steps.judge()


async def test_kill_the_server_of_a_file_at_every_step(tmp_path: Path, receiver: WebhookReceiver) -> None:
    """The same with SQLite: the server that is started again goes on at once."""
    steps = Steps(receiver)
    async with ServerProcess(tmp_path, {**API_ENV, **endpoints(receiver)}) as server:
        await all_lead(server)
        for number in range(3):
            for room in ROOMS:
                await post(server, room, f"text {number}")
        await steps.reached()
        await server.kill()
        steps.release.set()
        await server.start()
        await receiver.until(steps.complete)
        await server.terminate()
    steps.judge()


async def test_a_drain_hands_over_at_once(tmp_path: Path, receiver: WebhookReceiver) -> None:
    """The other replica goes on within its next look, though the first still waits for its clients; nothing comes
    twice."""
    for name in ("redis", "one", "two"):
        (tmp_path / name).mkdir()
    async with RedisProcess(tmp_path / "redis") as redis, AsyncExitStack() as stack:
        env = {"MARU_REDIS_URL": redis.url, **API_ENV, **setting(receiver.endpoint("crm"))}
        one, two = (ServerProcess(tmp_path / name, env) for name in ("one", "two"))
        await stack.enter_async_context(one)
        await leads(one, "crm")
        await stack.enter_async_context(two)
        await ready(two)
        await post(two, "room:a", *"abc")
        assert await one.terminate() == 0
        await post(two, "room:a", *"def")
        await receiver.until(lambda: len(receiver.taken["crm"]) == 6)
        assert await two.terminate() == 0
    assert receiver.offsets("crm", "room:a") == [1, 2, 3, 4, 5, 6]
    assert len(receiver.received["crm"]) == 6
