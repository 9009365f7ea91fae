"""A rolling update to a version that logs a new kind of event: this version's replicas and clients pass over it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from maru_bot.bot import MaruBot
from maru_bot.events import Created
from server.adapters.redis import keys
from server.domain.channels import ChannelName
from server.domain.events import UnknownEvent
from tests.clients.bot import HASTE, enter, take
from tests.clients.javascript import CoreJsClient
from tests.clients.raw import RawSocket
from tests.doubles.newer_version import hint_at, write_in_redis
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.watched import Watched

ROOM = ChannelName("room:rolling")
AT = 1_700_000_000_000

JOINS = 'maru_commands_total{code="ok",command="channel:join"}'


class Update:
    """A replica of this version, and what one of the next version does to the store that they share."""

    def __init__(self, redis: RedisProcess, server: ServerProcess, writer: RawSocket) -> None:
        self.redis, self.server, self._writer = redis, server, writer

    async def say(self, text: str) -> int:
        """Write a message by way of this version; return its offset."""
        answer = await self._writer.ask("message:send", {"channel": ROOM, "text": text})
        return int(answer["offset"])

    async def react(self, *, hinted: bool = True) -> UnknownEvent:
        """Write an entry as the next version does."""
        event = await write_in_redis(self.redis.command, ROOM, AT)
        if hinted:
            await self.redis.command("PUBLISH", keys.topic(ROOM), hint_at(event))
        return event


@pytest.fixture
async def update(tmp_path: Path) -> AsyncIterator[Update]:
    """One replica, linked."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisProcess(tmp_path / "redis"))
        server = await stack.enter_async_context(ServerProcess(tmp_path, {"MARU_REDIS_URL": redis.url}))
        await server.logged(lambda line: line["event"] == "redis.linked")
        writer = await RawSocket.chat(server.port, token("writer"))
        stack.callback(writer.vanish)
        yield Update(redis, server, writer)
        assert server.faults() == []
        assert "Traceback" not in server.output


def places(events: list[dict[str, Any]]) -> list[int]:
    """Where the events stand."""
    return [event["offset"] for event in events]


async def test_a_member_sees_what_comes_after_it(update: Update) -> None:
    """Live: the next frame after the message before the entry is the message behind it, at its own offset."""
    member = await RawSocket.chat(update.server.port, token("member"))
    assert (await member.ask("channel:join", {"channel": ROOM}))["ok"]
    assert await update.say("one") == 1
    await update.react()
    assert await update.say("three") == 3
    frames = [await member.text() for _ in range(2)]
    assert ['"offset":1,' in frames[0], '"offset":3,' in frames[1]] == [True, True]
    await update.react(hinted=False)
    assert await update.say("five") == 5
    assert (await member.event("message:created"))["offset"] == 5
    member.vanish()


async def test_a_join_and_a_resume_across_it_recover(update: Update) -> None:
    """From before, at and behind the entry: all messages after the position, and a position that counts the entry.
    History has the messages alone."""
    assert await update.say("one") == 1
    epoch = (await update.react()).epoch
    assert await update.say("three") == 3
    await update.react()
    for since, expected in ((0, [1, 3]), (1, [3]), (2, [3]), (3, []), (4, [])):
        position = {"epoch": epoch, "offset": since}
        client = await RawSocket.chat(update.server.port, token("member"), {ROOM: position})
        resumed = await client.event("channel:resumed")
        joined = await client.ask("channel:join", {"channel": ROOM, "since": position})
        for answer in (resumed, joined):
            assert (answer["recovered"], answer["offset"], places(answer["events"])) == (True, 4, expected)
        client.vanish()
    client = await RawSocket.chat(update.server.port, token("member"))
    page = await client.ask("history:read", {"channel": ROOM})
    assert [message["text"] for message in page["messages"]] == ["one", "three"]
    client.vanish()


async def test_our_clients_join_once_more_and_go_on(update: Update) -> None:
    """PROTOCOL.md has them join again at a gap: they do so once for each gap, miss nothing, and are at rest then."""
    changed, watched = asyncio.Event(), Watched(update.server)
    async with AsyncExitStack() as stack:
        url = update.server.url
        core = await stack.enter_async_context(CoreJsClient(url, token("core"), changed))
        bot = await stack.enter_async_context(MaruBot(url, lambda: token("bot"), patience=HASTE))
        await core.join(ROOM)
        reader = await enter(bot, ROOM)
        await watched.begin()
        heard: list[int] = []
        for text, reactions, joins in (("one", 0, 0), ("two", 1, 2), ("three", 2, 4), ("four", 0, 4), ("five", 1, 6)):
            for _ in range(reactions):
                await update.react()
            heard.append(await update.say(text))
            await core.heard(ROOM, heard[-1])
            (created,) = await take(reader, 1)
            assert isinstance(created, Created)
            assert (created.text, created.position.offset) == (text, heard[-1])
            assert (await watched.grown({JOINS: joins}))[JOINS] == joins
        assert heard == [1, 3, 6, 7, 9]
        assert places(core.received[ROOM]) == heard
        assert core.faults == []
