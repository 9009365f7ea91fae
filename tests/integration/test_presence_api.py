"""Backends ask who is there, and who is online: two real replicas over Redis, of which one is killed."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.application.people.online import LINGER_S
from server.ports.replicas import LEASE_S
from tests.clients.raw import RawSocket
from tests.conftest import Figure
from tests.harness.backend import API_ENV, call
from tests.harness.cluster import ready
from tests.harness.receiver import WebhookReceiver, setting
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import polled

SOON_S = 10.0
"""For what takes a fraction of a second; the machine may be busy."""


@pytest_asyncio.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[list[ServerProcess]]:
    """Two replicas that meet in Redis."""
    async with AsyncExitStack() as stack:
        for name in ("redis", "a", "b"):
            (tmp_path / name).mkdir()
        redis = await stack.enter_async_context(RedisProcess(tmp_path / "redis"))
        env = {"MARU_REDIS_URL": redis.url, "MARU_PING_INTERVAL": "60", "MARU_PING_TIMEOUT": "60", **API_ENV}
        servers = [await stack.enter_async_context(ServerProcess(tmp_path / name, env)) for name in ("a", "b")]
        for server in servers:
            await ready(server)
        yield servers


async def joined(server: ServerProcess, user: str, channel: str) -> RawSocket:
    """A client in a channel."""
    client = await RawSocket.chat(server.port, token(user))
    assert (await client.ask("channel:join", {"channel": channel}))["ok"]
    return client


async def answer(server: ServerProcess, method: str, path: str, body: Any = None) -> Any:
    """The body of an answer without an error."""
    status, found = await call(server, method, path, body)
    assert status == 200, found
    return found


async def statuses(server: ServerProcess, *users: str) -> list[tuple[bool, int, bool]]:
    """Of each user: whether they are online, with how many sessions, and whether it is known when they were."""
    found = await answer(server, "POST", "/users/status", {"users": [*users]})
    return [(each["online"], each["sessions"], each["last_seen"] is not None) for each in found["users"]]


async def test_users_of_all_replicas_are_there_until_they_are_gone(
    replicas: list[ServerProcess], figure: Figure
) -> None:
    """In rosters once, in counts with each session; after `kill -9` of a replica its users are gone in time."""
    one, two = replicas
    clients = [await joined(one, "alice", "room:1"), await joined(two, "alice", "room:1")]
    clients += [await joined(two, "bob", "room:1"), await joined(two, "bob", "room:2")]

    def are(*expected: tuple[bool, int, bool]) -> Callable[[], Awaitable[bool]]:
        async def hold() -> bool:
            return await statuses(one, "alice", "bob", "nobody") == [*expected]

        return hold

    await polled(are((True, 2, False), (True, 2, False), (False, 0, False)), SOON_S, lambda: "both are online")

    def there(*users: str) -> Callable[[], Awaitable[bool]]:
        async def hold() -> bool:
            roster = await answer(one, "GET", "/channels/room:1/presence")
            assert roster["count"] == len(roster["members"])
            return sorted(member["user"] for member in roster["members"]) == [*users]

        return hold

    await polled(there("alice", "bob"), SOON_S, lambda: "both are there")
    heads = (await answer(one, "POST", "/presence", {"channels": ["room:2", "room:9", "room:1"]}))["channels"]
    assert [(each["channel"], each["count"]) for each in heads] == [("room:2", 1), ("room:9", 0), ("room:1", 2)]
    await two.kill()
    began = time.monotonic()
    gone = are((True, 1, False), (False, 0, True), (False, 0, False))
    await polled(gone, LEASE_S + SOON_S, lambda: "the users of the killed replica are offline")
    await polled(there("alice"), SOON_S, lambda: "the users of the killed replica are in no roster")
    took = time.monotonic() - began
    figure(f"users gone {took:.1f} s after kill -9")
    assert took < LEASE_S + 3.0
    for client in clients:
        client.vanish()
    offline = are((False, 0, True), (False, 0, True), (False, 0, False))
    await polled(offline, LINGER_S + SOON_S, lambda: "the last user is offline")


@pytest.mark.parametrize("store", ["sqlite", "redis"])
async def test_webhooks_tell_of_users(tmp_path: Path, store: str) -> None:
    """Online at the first session, offline once after the linger; an endpoint of some channels, too, but none of
    other types."""
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(WebhookReceiver())
        users = receiver.endpoint("users", events=["user.*"], channels=["room:*"], batch=100)
        env = {**API_ENV, **setting(users, receiver.endpoint("messages", events=["message.*"]))}
        if store == "redis":
            (tmp_path / "redis").mkdir()
            env["MARU_REDIS_URL"] = (await stack.enter_async_context(RedisProcess(tmp_path / "redis"))).url
        (tmp_path / "server").mkdir()
        server = await stack.enter_async_context(ServerProcess(tmp_path / "server", env))
        await ready(server)
        clients = [await RawSocket.chat(server.port, token(user)) for user in ("alice", "alice", "bob")]

        def told() -> list[tuple[str, str]]:
            events = [event for request in receiver.received["users"] for event in request.events]
            return sorted((event["type"], event["data"]["user"]) for event in events)

        online = [("user.online", "alice"), ("user.online", "bob")]
        await polled(lambda: told() == online, SOON_S, lambda: f"both are online: {told()}")
        for client in clients[:2]:
            client.vanish()
        gone = [("user.offline", "alice"), *online]
        await polled(lambda: told() == gone, LINGER_S + SOON_S, lambda: f"alice is offline: {told()}")
        clients[2].vanish()
        assert receiver.received["messages"] == []


async def test_what_is_no_list_of_names_is_refused(replicas: list[ServerProcess]) -> None:
    """Empty, too long, or with a bad name."""
    for path, body in (
        ("/presence", {"channels": []}),
        ("/presence", {"channels": ["Room 1"]}),
        ("/presence", {"channels": ["room:1"] * 1_001}),
        ("/users/status", {"users": []}),
        ("/users/status", {"users": ["a\u202eb"]}),
        ("/users/status", {"users": ["alice"] * 1_001}),
    ):
        status, found = await call(replicas[0], "POST", path, body)
        assert (status, found["error"]["code"]) == (400, "bad_request"), path
