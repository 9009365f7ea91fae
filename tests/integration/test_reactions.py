"""Reactions and events of applications at two replicas over Redis: a set, a replay that is the history, few events."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from server.domain.reactions import MAX_REACTORS, SHOWN_USERS, is_told
from tests.clients.backend import API_KEY, Backend
from tests.clients.raw import RawSocket
from tests.conftest import Figure
from tests.harness.cluster import ready
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

GRANTS = {"*": ["join", "send", "publish"]}
USERS = ("al", "bo", "cy", "di", "ed")
EMOJIS = ("👍", "🎉", "+1")
AT_ONCE = 32
"""Requests of a backend under way."""

MOST_EVENTS = 300

BUSY = 503


@dataclass(slots=True)
class Pair:
    """Two replicas, and a backend at each."""

    replicas: list[ServerProcess]
    backends: list[Backend]

    async def client(self, number: int, user: str, **how: Any) -> RawSocket:
        """A session at a replica."""
        return await RawSocket.chat(self.replicas[number].port, token(user, GRANTS), **how)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Both take part."""
    folder = tmp_path_factory.mktemp("pair")
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisProcess(folder / "redis"))
        env = {"MARU_REDIS_URL": redis.url, "MARU_API_KEYS": API_KEY}
        replicas, backends = [], []
        for name in ("one", "two"):
            (folder / name).mkdir()
            replica = await stack.enter_async_context(ServerProcess(folder / name, env))
            replicas.append(replica)
            backends.append(await stack.enter_async_context(Backend(f"http://127.0.0.1:{replica.internal_port}")))
        for replica in replicas:
            await ready(replica)
        yield Pair(replicas, backends)
        for replica in replicas:
            assert replica.faults() == []


async def message(client: RawSocket, channel: str) -> str:
    """Write a message; return its id."""
    return str((await client.ask("message:send", {"channel": channel, "text": "hi"}))["message"]["id"])


async def state(client: RawSocket, channel: str) -> dict[str, Any]:
    """The reactions to the channel's first message, as history has them."""
    page = await client.ask("history:read", {"channel": channel, "after": 0, "limit": 1})
    reactions: dict[str, Any] = page["messages"][0]["reactions"]
    return reactions


def members(reactions: dict[str, Any]) -> dict[str, set[str]]:
    """The users of each emoji; each is named once, and counted."""
    assert all(each["count"] == len(set(each["users"])) == len(each["users"]) for each in reactions.values())
    return {emoji: set(each["users"]) for emoji, each in reactions.items()}


Plan = list[tuple[int, str, bool]]
"""Acts of a user: at which replica, by which emoji, and whether it is added."""


async def act(pair: Pair, user: str, message: dict[str, str], plan: Plan) -> tuple[set[str], int]:
    """Let a user act by a plan; return the emojis that stay, and how many acts changed something."""
    clients = [await pair.client(number, user) for number in range(2)]
    has: set[str] = set()
    changes = 0
    for replica, emoji, add in plan:
        name = "reaction:add" if add else "reaction:remove"
        answer = await clients[replica].ask(name, message | {"emoji": emoji})
        assert (answer["ok"], answer["duplicate"]) == (True, (emoji in has) == add)
        changes += not answer["duplicate"]
        (has.add if add else has.discard)(emoji)
    for client in clients:
        client.vanish()
    return has, changes


@pytest.mark.parametrize("seed", range(4))
async def test_any_interleaving_is_a_set_and_the_replay_is_the_history(pair: Pair, seed: int) -> None:
    """Five users at two replicas add and remove at once: each ends as it has acted last, at every reader."""
    channel, drawn = f"room:set{seed}", random.Random(seed)
    witnesses = [await pair.client(number, "witness") for number in range(2)]
    id = await message(witnesses[0], channel)
    for witness in witnesses:
        assert (await witness.ask("channel:join", {"channel": channel, "history": 1}))["offset"] == 1
    plans = [[(drawn.randrange(2), drawn.choice(EMOJIS), drawn.random() < 0.6) for _ in range(30)] for _ in USERS]
    about = {"channel": channel, "id": id}
    ends = await asyncio.gather(*(act(pair, user, about, plan) for user, plan in zip(USERS, plans, strict=True)))
    by_emoji = {emoji: {user for user, (has, _) in zip(USERS, ends, strict=True) if emoji in has} for emoji in EMOJIS}
    final, changes = await state(witnesses[0], channel), sum(count for _, count in ends)
    assert members(final) == {emoji: users for emoji, users in by_emoji.items() if users}
    for witness in witnesses:
        assert await state(witness, channel) == final
        heard = await witness.events("reaction:changed", changes)
        assert [each["offset"] for each in heard] == [*range(2, changes + 2)]
        assert (heard[-1]["id"], heard[-1]["reactions"]) == (id, final)
        since = {"epoch": heard[0]["epoch"], "offset": 1}
        replay = await witness.ask("channel:join", {"channel": channel, "since": since})
        assert replay["events"] == [{"event": "reaction:changed", **each} for each in heard]
        witness.vanish()


async def react(pair: Pair, path: str, users: range, method: str = "PUT") -> list[int]:
    """Let so many users react, at both replicas in turn; return the statuses."""
    left, statuses = iter(users), []

    async def work() -> None:
        for number in left:
            status = BUSY
            while status == BUSY:  # a machine that does other work, too: trying again is safe
                status = (await pair.backends[number % 2].ask(method, f"{path}?user=u{number}")).status
            statuses.append(status)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return statuses


async def test_a_crowd_on_one_message_writes_few_events(pair: Pair, figure: Figure) -> None:
    """5,000 reactions: at most 300 events, an exact history, and no room for one more. The crowd's way back is the
    same."""
    channel = "room:crowd"
    witness = await pair.client(0, "witness")
    id = await message(witness, channel)
    path = f"/channels/{channel}/messages/{id}/reactions/{quote('👍')}"
    began = time.monotonic()
    assert await react(pair, path, range(MAX_REACTORS)) == [204] * MAX_REACTORS
    seconds = time.monotonic() - began
    page = await witness.ask("history:read", {"channel": channel})
    events = page["offset"] - 1
    told = page["messages"][0]["reactions"]["👍"]
    assert (told["count"], len(told["users"])) == (MAX_REACTORS, SHOWN_USERS)
    assert events == sum(is_told(count, count + 1) for count in range(MAX_REACTORS)) <= MOST_EVENTS
    figure(f"{MAX_REACTORS} reactions in {seconds:.1f} s by HTTP, {events} events")
    full = await pair.backends[0].ask("PUT", f"{path}?user=late")
    assert (full.status, full.body["error"]["code"]) == (409, "conflict")
    other = await witness.ask("reaction:add", {"channel": channel, "id": id, "emoji": "🎉"})
    assert other["error"]["code"] == "conflict"
    again = await witness.ask("reaction:remove", {"channel": channel, "id": id, "emoji": "🎉"})
    assert (again["ok"], again["duplicate"], again["offset"]) == (True, True, page["offset"])
    assert await react(pair, path, range(0, MAX_REACTORS, 50), "DELETE") == [204] * (MAX_REACTORS // 50)
    assert (await state(witness, channel))["👍"]["count"] == MAX_REACTORS - MAX_REACTORS // 50
    assert (await pair.backends[1].ask("PUT", f"{path}?user=late")).status == 204
    witness.vanish()


async def test_events_of_applications_reach_the_members_of_both_replicas(pair: Pair) -> None:
    """Kept: at their offset among the messages. Told: without a position, to all members, the publisher too."""
    channel = "room:app"
    clients = [await pair.client(number, f"m{number}") for number in range(2)]
    for client in clients:
        assert (await client.ask("channel:join", {"channel": channel}))["ok"]
    await message(clients[0], channel)
    kept = await clients[1].ask(
        "event:publish", {"channel": channel, "name": "order.paid", "data": [1, None], "key": "k"}
    )
    assert (kept["ok"], kept["offset"], kept["duplicate"]) == (True, 2, False)
    again = await clients[0].ask("event:publish", {"channel": channel, "name": "x", "data": 0, "key": "k"})
    assert again["offset"] == 3  # of another author
    for client in clients:
        heard = await client.events("event:published", 2)
        assert [(each["offset"], each["name"], each["author"]["id"], each["key"]) for each in heard] == [
            (2, "order.paid", "m1", "k"),
            (3, "x", "m0", "k"),
        ]
        assert heard[0]["data"] == [1, None]
        page = await client.ask("events:read", {"channel": channel})
        assert [each.pop("event") for each in page["events"]] == ["event:published"] * 2
        assert (page["events"], page["offset"], page["more"]) == ([*heard], 3, False)
    assert await clients[0].ask("event:publish", {"channel": channel, "name": "cursor", "data": 7, "log": False}) == {
        "ok": True
    }
    for client in clients:
        told = await client.event("event:published")
        assert told == {"channel": channel, "name": "cursor", "author": {"id": "m0", "name": "M0"}, "data": 7}
        assert len((await client.ask("history:read", {"channel": channel}))["messages"]) == 1
        client.vanish()


async def test_a_deleted_message_and_an_erased_user(pair: Pair) -> None:
    """Reactions go with their message, and no further one is taken; the author's own words go, the reactions to others'
    messages stay."""
    channel = "room:gone"
    al, bo = await pair.client(0, "al"), await pair.client(1, "bo")
    mine, theirs = await message(al, channel), await message(bo, channel)
    for client in (al, bo):
        for id in (mine, theirs):
            assert (await client.ask("reaction:add", {"channel": channel, "id": id, "emoji": "👍"}))["ok"]
    assert (await al.ask("message:delete", {"channel": channel, "id": mine}))["ok"]
    for name in ("reaction:add", "reaction:remove"):
        refused = await bo.ask(name, {"channel": channel, "id": mine, "emoji": "👍"})
        assert refused["error"]["code"] == "conflict"
    erased = await pair.backends[0].ask("DELETE", "/users/bo/messages")
    assert erased.body == {"erased": 1, "done": True}
    page = await al.ask("history:read", {"channel": channel})
    assert [each["deleted"] for each in page["messages"]] == [True, True]
    assert "reactions" not in page["messages"][0]
    for client in (al, bo):
        client.vanish()
