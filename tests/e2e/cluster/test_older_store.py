"""Redis comes back older together with the loss of the only replica that wrote what is missing now.

The other replica has only heard of it, and its clients write on at once, so that the log is soon as long as before.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.raw import RawSocket
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

ROOM = "room:older"
KEPT, LOST = 20, 5
AGAIN = 10
"""Messages that are written after the loss: more than were lost."""

TOLD_S = 10.0


class Pair:
    """A replica that writes, one that hears, and the Redis that they share."""

    def __init__(self, redis: RedisProcess, writing: ServerProcess, hearing: ServerProcess) -> None:
        self.redis, self.writing, self.hearing = redis, writing, hearing


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both replicas, linked."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisProcess(tmp_path / "redis"))
        servers = []
        for name in ("writing", "hearing"):
            (tmp_path / name).mkdir()
            server = ServerProcess(tmp_path / name, {"MARU_REDIS_URL": redis.url})
            servers.append(await stack.enter_async_context(server))
            await server.logged(lambda line: line["event"] == "redis.linked")
        yield Pair(redis, *servers)


@asynccontextmanager
async def client(server: ServerProcess, user: str, resume: Any = None) -> AsyncIterator[RawSocket]:
    """A client of a replica."""
    socket = await RawSocket.chat(server.port, token(user), resume)
    try:
        yield socket
    finally:
        socket.vanish()


async def say(sender: RawSocket, text: str) -> dict[str, Any]:
    """Send a message until it is acked; return the answer."""
    async with asyncio.timeout(TOLD_S):
        while True:
            answer = await sender.ask("message:send", {"channel": ROOM, "text": text, "key": text})
            if answer["ok"]:
                return answer
            assert answer["error"]["code"] == "unavailable"


def texts(events: Any) -> list[str]:
    """What was said."""
    return [event["message"]["text"] for event in events]


async def test_a_hearer_notices_that_the_log_is_older(pair: Pair, tmp_path: Path) -> None:
    """Its member is told of another epoch, and hears or reads from there on all that is acked; a client that resumes at
    a position of the lost log is not taken for recovered."""
    async with client(pair.hearing, "bob") as bob, client(pair.hearing, "carol") as carol:
        before = await bob.ask("channel:join", {"channel": ROOM})
        await lose(pair, bob, tmp_path / "older")
        acked = [await say(carol, f"new {number}") for number in range(AGAIN)]

        told = await bob.event("channel:resumed", TOLD_S)
        assert (told["recovered"], told["reason"]) == (False, "epoch_changed")
        assert acked[-1]["epoch"] == told["epoch"] != before["epoch"]
        position = {"epoch": before["epoch"], "offset": KEPT + LOST}
        async with client(pair.hearing, "dora", {ROOM: position}) as dora:
            back = await dora.event("channel:resumed")
        assert (back["recovered"], back["epoch"]) == (False, told["epoch"])
        await check(bob, told["offset"], await say(carol, "last"))


async def lose(pair: Pair, bob: RawSocket, older: Path) -> None:
    """Let a member hear messages; lose the last of them with the replica that wrote them."""
    async with client(pair.writing, "alice") as alice:
        for number in range(KEPT):
            await say(alice, f"kept {number}")
        pair.redis.save(older)
        for number in range(LOST):
            await say(alice, f"lost {number}")
        heard = await bob.events("message:created", KEPT + LOST)
        assert heard[-1]["message"]["text"] == f"lost {LOST - 1}"
    await pair.writing.kill()
    await pair.redis.restore(older)


async def check(bob: RawSocket, upto: int, last: dict[str, Any]) -> None:
    """The member has heard all that is behind the offset that it was told, and can read all that is acked."""
    live = [event async for event in until_heard(bob, last["offset"])]
    assert [event["offset"] for event in live] == list(range(upto + 1, last["offset"] + 1))
    read = (await bob.ask("history:read", {"channel": ROOM, "limit": 100}))["messages"]
    assert [message["text"] for message in read if message["offset"] > upto] == texts(live)
    said = [f"kept {number}" for number in range(KEPT)] + [f"new {number}" for number in range(AGAIN)]
    assert [message["text"] for message in read] == [*said, "last"]


async def until_heard(member: RawSocket, offset: int) -> AsyncIterator[dict[str, Any]]:
    """What the member hears of the new epoch, up to this offset."""
    while True:
        event = await member.event("message:created")
        yield event
        if event["offset"] == offset:
            return
