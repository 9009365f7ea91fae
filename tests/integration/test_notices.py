"""Webhooks of what stands in no channel's log: channels that are occupied and vacated, and messages that users miss."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.application.people.online import LINGER_S
from server.ports.replicas import LEASE_S
from tests.clients.raw import RawSocket
from tests.harness.backend import API_ENV, call
from tests.harness.cluster import ready
from tests.harness.receiver import WebhookReceiver, setting
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import polled

GRANTS = {"room:*": ["join", "send"], "other:*": ["join"]}

SOON_S = 20.0
"""For what takes a fraction of a second; the machine may be busy."""

TAKEOVER_S = LEASE_S + 30
"""For the end of a killed replica's lease, the look of another replica, and its lead; the machine may be busy."""


@asynccontextmanager
async def servers(path: Path, store: str, receiver: WebhookReceiver, *names: str) -> AsyncIterator[list[ServerProcess]]:
    """Servers over a store, with an endpoint for rooms, and another that wants only users."""
    rooms = receiver.endpoint("rooms", events=["channel.*", "message.offline"], channels=["room:*"])
    env = {"MARU_PING_INTERVAL": "60", "MARU_PING_TIMEOUT": "60", **API_ENV}
    env |= setting(rooms, receiver.endpoint("users", events=["user.*"]))
    async with AsyncExitStack() as stack:
        for name in ("redis", *names):
            (path / name).mkdir()
        if store == "redis":
            env["MARU_REDIS_URL"] = (await stack.enter_async_context(RedisProcess(path / "redis"))).url
        running = [await stack.enter_async_context(ServerProcess(path / name, env)) for name in names]
        for server in running:
            await ready(server)
        yield running


async def joined(server: ServerProcess, user: str, channel: str) -> RawSocket:
    """A client in a channel."""
    client = await RawSocket.chat(server.port, token(user, GRANTS))
    assert (await client.ask("channel:join", {"channel": channel}))["ok"]
    return client


def told(receiver: WebhookReceiver, *types: str) -> list[dict[str, Any]]:
    """The data of the events of some types, each once."""
    seen = {each.id: each.events[0] for each in receiver.taken["rooms"]}
    return [event["data"] for event in seen.values() if event["type"] in types]


async def post(server: ServerProcess, channel: str, text: str, *mentions: str) -> None:
    """Let a backend write for Bob."""
    body = {"author": {"id": "bob"}, "text": text, "mentions": mentions}
    status, answer = await call(server, "POST", f"/channels/{channel}/messages", body)
    assert status == 200, answer


async def heard(receiver: WebhookReceiver, name: str, number: int, within_s: float = SOON_S) -> list[dict[str, Any]]:
    """The data of the events of a type, as soon as there are so many."""
    await polled(lambda: len(told(receiver, name)) == number, within_s, lambda: f"{name}: {told(receiver, name)}")
    return told(receiver, name)


@pytest.mark.parametrize("store", ["sqlite", "redis"])
async def test_webhooks_tell_of_channels(tmp_path: Path, store: str) -> None:
    """Of those of the endpoint: at the first user, and after the last; nothing of those between."""
    async with WebhookReceiver() as receiver, servers(tmp_path, store, receiver, "one") as (server,):
        other, *clients = [await joined(server, "eve", "other:1"), await joined(server, "alice", "room:1")]
        (occupied,) = await heard(receiver, "channel.occupied", 1)
        assert (occupied["channel"], occupied["roster"]["version"]) == ("room:1", 1)
        clients.append(await joined(server, "bob", "room:1"))
        for client in clients:
            assert (await client.ask("channel:leave", {"channel": "room:1"}))["ok"]
        (vacated,) = await heard(receiver, "channel.vacated", 1)
        assert vacated["channel"] == "room:1"
        assert vacated["roster"] == {"epoch": occupied["roster"]["epoch"], "version": 4}
        assert len(told(receiver, "channel.occupied")) == 1
        for client in (other, *clients):
            client.vanish()


@pytest.mark.parametrize("store", ["sqlite", "redis"])
async def test_webhooks_tell_of_messages_that_users_miss(tmp_path: Path, store: str) -> None:
    """To followers and mentioned users that are offline, from clients and backends; each message once, as it is."""
    async with WebhookReceiver() as receiver, servers(tmp_path, store, receiver, "one") as (server,):
        alice = await joined(server, "alice", "room:1")
        for user in ("alice", "bob", "carl"):
            status, body = await call(server, "PUT", f"/users/{user}/channels/room:1")
            assert status == 204, body
        client = await RawSocket.chat(server.port, token("carl"))
        await polled(lambda: "carl" in str(receiver.taken["users"]), SOON_S, lambda: "carl is online")
        sent = await alice.ask("message:send", {"channel": "room:1", "text": "hi", "mentions": ["dora"], "key": "k"})
        assert sent["ok"]
        (missed,) = await heard(receiver, "message.offline", 1)
        assert (missed["message"]["text"], missed["message"]["id"]) == ("hi", sent["message"]["id"])
        assert (missed["channel"], missed["offset"], sorted(missed["users"])) == ("room:1", 1, ["bob", "dora"])
        status, body = await call(
            server,
            "POST",
            "/channels/room:1/messages",
            {"author": {"id": "bob"}, "text": "by a backend", "mentions": ["dora"]},
        )
        assert status == 200, body
        second = (await heard(receiver, "message.offline", 2))[1]
        assert (second["message"]["text"], second["users"]) == ("by a backend", ["dora"])
        for each in (alice, client):
            each.vanish()


async def test_a_killed_replica_vacates_its_channels(tmp_path: Path) -> None:
    """The other tells of it, once; a channel that has a user there, too, stays occupied. Messages are missed then."""
    async with WebhookReceiver() as receiver, servers(tmp_path, "redis", receiver, "one", "two") as (one, two):
        clients = [await joined(one, "alice", "room:a"), await joined(one, "alice", "room:b")]
        await heard(receiver, "channel.occupied", 2)
        clients.append(await joined(two, "bob", "room:b"))
        await one.kill()
        (vacated,) = await heard(receiver, "channel.vacated", 1, TAKEOVER_S)
        assert vacated["channel"] == "room:a"
        assert (await clients[2].ask("channel:leave", {"channel": "room:b"}))["ok"]
        names = [each["channel"] for each in await heard(receiver, "channel.vacated", 2, LINGER_S + TAKEOVER_S)]
        assert names == ["room:a", "room:b"]
        assert len(told(receiver, "channel.occupied")) == 2
        status, body = await call(
            two,
            "POST",
            "/channels/room:b/messages",
            {"author": {"id": "bob"}, "text": "hi", "mentions": ["alice", "bob"]},
        )
        assert status == 200, body
        (missed,) = await heard(receiver, "message.offline", 1)
        assert missed["users"] == ["alice"]
        for client in clients:
            client.vanish()
