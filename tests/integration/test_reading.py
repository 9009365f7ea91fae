"""Typing, reading and inboxes over Redis, at two real replicas."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.clients.raw import RawSocket
from tests.conftest import Figure
from tests.harness.backend import API_ENV
from tests.harness.cluster import ready
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import polled

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOLD_WITHIN_S = 2.0
"""A mark on the other device: 0.1 s on a quiet machine."""

INBOX_CHANNELS = 500
INBOX_BYTES = 768 * 1024
INBOX_WITHIN_S = 2.0
"""0.1 s of the server on a quiet machine."""

SHOWN_TO = 100
"""Members, as the rules `receipts` and `typing` have it by default."""

EVERYTHING = {"*": ["join", "send", "moderate"]}


@dataclass(slots=True)
class Pair:
    """Two replicas and their Redis."""

    redis: RedisProcess
    replicas: list[ServerProcess]

    async def client(self, replica: int, user: str, channel: str | None = None) -> RawSocket:
        """Connect, and join."""
        client = await RawSocket.chat(self.replicas[replica].port, token(user, EVERYTHING))
        if channel is not None:
            assert (await client.ask("channel:join", {"channel": channel}))["ok"]
        return client

    async def write(self, channel: str, count: int, user: str = "writer") -> list[str]:
        """Write messages; return their ids."""
        client = await self.client(0, user)
        sent = [await client.ask("message:send", {"channel": channel, "text": f"number {n}"}) for n in range(count)]
        client.vanish()
        return [each["message"]["id"] for each in sent]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Both take part. A test that kills something starts it again."""
    tmp_path: Path = tmp_path_factory.mktemp("pair")
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisProcess(tmp_path / "redis"))
        replicas = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            env = {"MARU_REDIS_URL": redis.url, **API_ENV}
            replicas.append(await stack.enter_async_context(ServerProcess(tmp_path / name, env)))
        for replica in replicas:
            await ready(replica)
        yield Pair(redis, replicas)
        for replica in replicas:
            assert replica.faults() == []


@pytest.fixture
def room() -> str:
    """A channel of this test alone."""
    return f"room:{uuid4().hex}"


async def test_a_mark_is_told_on_the_other_device(pair: Pair, room: str, figure: Figure) -> None:
    """On another replica, too; a stale mark changes nothing, and answers the newer."""
    await pair.write(room, 5)
    phone, desk, other = [await pair.client(replica, "bob", room) for replica in (0, 1, 0)]
    began = time.perf_counter()
    assert (await phone.ask("read:mark", {"channel": room, "offset": 3}))["unread"] == 2
    for device in (desk, other):
        assert await device.event("read:updated", TOLD_WITHIN_S) == {"channel": room, "user": "bob", "offset": 3}
    figure(f"told on the other devices after {(time.perf_counter() - began) * 1_000:.1f} ms")
    stale = await desk.ask("read:mark", {"channel": room, "offset": 2})
    assert stale == {"ok": True, "offset": 3, "unread": 2, "unread_mentions": 0}
    beyond = await desk.ask("read:mark", {"channel": room, "offset": 500})
    assert beyond == {"ok": True, "offset": 5, "unread": 0, "unread_mentions": 0}
    for client in (phone, desk, other):
        client.vanish()


async def test_what_is_unread_is_exact_after_deletions(pair: Pair, room: str) -> None:
    """Of messages that were read, and that were not; each join and resume says the same, on either replica."""
    ids = await pair.write(room, 6)
    bob = await pair.client(1, "bob", room)
    await bob.ask("read:mark", {"channel": room, "offset": 3})
    for number in (0, 4):
        assert (await bob.ask("message:delete", {"channel": room, "id": ids[number]}))["ok"]
    assert (await bob.ask("read:mark", {"channel": room, "offset": 0}))["unread"] == 2
    for replica in (0, 1):
        client = await pair.client(replica, "bob")
        joined = await client.ask("channel:join", {"channel": room})
        assert [joined[name] for name in ("offset", "read_offset", "unread")] == [8, 3, 2]
        client.vanish()
        back = await RawSocket.chat(
            pair.replicas[replica].port,
            token("bob", EVERYTHING),
            {room: {"epoch": joined["epoch"], "offset": joined["offset"]}},
        )
        back.vanish()
    bob.vanish()


async def test_strangers_in_large_channels_learn_nothing(pair: Pair, room: str) -> None:
    """The user's own devices do. The members of both replicas count."""
    await pair.write(room, 2)
    crowd = [await pair.client(number % 2, f"member{number}", room) for number in range(SHOWN_TO)]
    phone, desk = await pair.client(0, "bob", room), await pair.client(0, "bob", room)
    for client in crowd[:2]:

        async def all_count(client: RawSocket = client) -> bool:
            return bool((await client.ask("presence:read", {"channel": room}))["count"] > SHOWN_TO)

        await polled(all_count, 10.0, lambda: "everybody is in the roster")
    await phone.ask("read:mark", {"channel": room, "offset": 2})
    await phone.ask("typing:start", {"channel": room})
    assert (await desk.event("read:updated", TOLD_WITHIN_S))["offset"] == 2
    assert (await desk.ask("receipts:read", {"channel": room}))["read"] == [{"user": "bob", "offset": 2}]
    await pair.write(room, 1)
    for client in crowd[-2:]:
        names = []
        while "message:created" not in names:
            names.append((await client.text()).partition('["')[2].partition('"')[0])
        assert not {"read:updated", "typing:changed"} & {*names}
    for client in (*crowd, phone, desk):
        client.vanish()


async def test_a_message_ends_typing_at_once(pair: Pair, room: str) -> None:
    """Before anything expires, on the other replica; and so does a tab that is closed."""
    alice, bob = await pair.client(0, "alice", room), await pair.client(1, "bob", room)
    for _ in range(20):
        assert await alice.ask("typing:start", {"channel": room}) == {"ok": True}
    typing = {"channel": room, "user": "alice", "typing": True, "expires_in_ms": 8_000}
    assert await bob.event("typing:changed", TOLD_WITHIN_S) == typing
    await alice.ask("message:send", {"channel": room, "text": "done"})
    assert await bob.event("typing:changed", TOLD_WITHIN_S) == typing | {"typing": False}
    carol = await pair.client(0, "carol", room)
    await carol.ask("typing:start", {"channel": room})
    assert (await bob.event("typing:changed", TOLD_WITHIN_S))["typing"]
    carol.vanish()
    ended = await bob.event("typing:changed", TOLD_WITHIN_S)
    assert (ended["user"], ended["typing"]) == ("carol", False)
    for client in (alice, bob):
        client.vanish()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rooms(pair: Pair) -> list[str]:
    """Channels that Rita follows, with a message each, of which three are deleted."""
    kind = uuid4().hex[:8]
    names = [f"{kind}:{number}" for number in range(INBOX_CHANNELS)]
    writer, reader = await pair.client(0, "writer"), await pair.client(1, "rita")
    for name in names:
        assert (await reader.ask("channel:follow", {"channel": name}))["ok"]
    sent = [await writer.ask("message:send", {"channel": name, "text": "x" * 300}) for name in names]
    for message in sent[:3]:
        await writer.ask("message:delete", {"channel": message["message"]["channel"], "id": message["message"]["id"]})
    for client in (writer, reader):
        client.vanish()
    return names


async def test_an_inbox_of_500_channels_is_one_frame(pair: Pair, rooms: list[str], figure: Figure) -> None:
    """Also with three deleted last messages."""
    reader = await pair.client(1, "rita")
    inbox = await reader.ask("inbox:read", {"limit": INBOX_CHANNELS})
    reader.vanish()
    line = await pair.replicas[1].logged(lambda each: each.get("name") == "inbox:read")
    figure(f"{len(str(inbox))} bytes, {line['ms']} ms at the server")
    assert line["ms"] < INBOX_WITHIN_S * 1_000
    assert len(str(inbox)) < INBOX_BYTES
    assert inbox["next"] is None
    times = [entry["last"]["at"] for entry in inbox["channels"]]
    assert times == sorted(times, reverse=True)
    found = {entry["channel"]: entry for entry in inbox["channels"]}
    assert [found[room]["unread"] for room in rooms] == [0] * 3 + [1] * (INBOX_CHANNELS - 3)
    assert [found[room]["last"].get("deleted", False) for room in rooms[:4]] == [True, True, True, False]
    assert len(found[rooms[4]]["last"]["text"]) == 200


async def test_channels_that_the_token_does_not_grant_vanish(pair: Pair, rooms: list[str]) -> None:
    """From the inbox in a CONNECT, which comes before `session:ready`."""
    prefix = rooms[1]
    client = await RawSocket.open(pair.replicas[0].port)
    few = token("rita", {f"{prefix}*": ["join"]})
    await client.say(f'40/chat,{{"token":"{few}","inbox":500}}')
    assert (await client.text()).startswith("40/chat,")
    name, state = json.loads((await client.text()).removeprefix("42/chat,"))
    assert name == "inbox:state"
    assert {entry["channel"] for entry in state["channels"]} == {room for room in rooms if room.startswith(prefix)}
    assert (await client.text()).startswith('42/chat,["session:ready"')
    again = await pair.client(1, "rita")
    whole = await again.ask("inbox:read", {"limit": 2})
    rest = await again.ask("inbox:read", {"limit": INBOX_CHANNELS, "before": whole["next"]})
    assert len(whole["channels"]) + len(rest["channels"]) == len(rooms)
    for each in (client, again):
        each.vanish()


async def test_marks_outlive_a_replica(pair: Pair, room: str) -> None:
    """`kill -9` right after the answer."""
    await pair.write(room, 4)
    bob = await pair.client(1, "bob", room)
    assert (await bob.ask("read:mark", {"channel": room, "offset": 3}))["unread"] == 1
    await pair.replicas[1].kill()
    bob.vanish()
    again = await pair.client(0, "bob")
    joined = await again.ask("channel:join", {"channel": room})
    assert (joined["read_offset"], joined["unread"]) == (3, 1)
    again.vanish()
    await pair.replicas[1].start()
    await ready(pair.replicas[1])
