"""What other processes publish through Redis: emits that reach a channel, and payloads that must reach nobody."""

import asyncio
import copy
import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from server.adapters import codec
from server.adapters.redis import keys
from server.adapters.redis.hints import encode_hint, sealed
from server.domain.appending import created
from server.domain.channels import ChannelName
from server.domain.events import LogEvent, MessageDeleted, MessageEdited, MessageErased
from server.domain.messages import Position
from tests.clients.raw import RawSocket
from tests.doubles.samples import NOW_MS, event, new_message
from tests.harness.redis import RedisProcess
from tests.harness.seal import SEAL
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.harness.watched import Watched

ROOM = ChannelName("room:foreign")
DEADLINE_S = 15.0

EMITTER = """
import asyncio, sys, socketio
async def main():
    manager = socketio.AsyncRedisManager(sys.argv[1], write_only=True)
    await manager.emit("deploy", {"version": 7}, namespace="/chat", room=sys.argv[2])
    await manager.emit("pair", ("a", 2), namespace="/chat", to=sys.argv[2])
    await manager.redis.aclose()
asyncio.run(main())
"""


class Scene:
    """A server over a Redis, one member of ROOM, and one client of no channel."""

    def __init__(self, redis: RedisProcess, server: ServerProcess, member: RawSocket, outsider: RawSocket) -> None:
        self.redis, self.server, self.member, self.outsider = redis, server, member, outsider

    async def emit(self, **change: Any) -> None:
        """Publish as the stock manager would, with something else instead."""
        fields = {"method": "emit", "event": "ok", "data": [1], "binary": False, "namespace": "/chat"}
        whole = fields | {"room": ROOM, "skip_sid": None, "callback": None, "host_id": "stranger"} | change
        await self.redis.command("PUBLISH", "socketio", json.dumps(whole))

    async def nothing_came(self) -> None:
        """A good emit comes first at the member; a command's answer first at the outsider."""
        await self.emit(event="marker")
        assert await self.member.text() == '42/chat,["marker",1]'
        await self.outsider.say('42/chat,7["history:read",{"channel":"room:foreign"}]')
        assert (await self.outsider.text()).startswith("43/chat,7[")

    async def refused(self, kind: str) -> int:
        """How many hints, or emits, were refused; the log has a line of them, and no line for each."""
        count = int((await Watched(self.server).now())[f"maru_{kind}_refused_total"])
        lines = [line for line in self.server.lines if line["event"] in {"hint.refused", "foreign.refused"}]
        assert len(lines) < 40
        assert all(len(json.dumps(line)) < 500 for line in lines)
        return count

    async def lines(self, name: str) -> list[dict[str, Any]]:
        """The log lines of an event."""
        return await self.server.lines_of(name, 0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisProcess]:
    """One Redis for this module."""
    async with RedisProcess(tmp_path_factory.mktemp("redis")) as process:
        yield process


@pytest.fixture
async def foreign(redis: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """A server of each test's own, which must not suffer."""
    folder = tmp_path_factory.mktemp("replica")
    async with ServerProcess(folder, {"MARU_REDIS_URL": redis.url}) as process:
        await process.logged(lambda line: line["event"] == "redis.linked")
        member, outsider = [await RawSocket.chat(process.port, token(user)) for user in ("member", "outsider")]
        assert (await member.ask("channel:join", {"channel": ROOM}))["ok"]
        yield Scene(redis, process, member, outsider)
        member.vanish()
        outsider.vanish()
        assert await process.terminate() == 0
        assert "Traceback" not in process.output


async def test_a_write_only_manager_emits_into_a_channel(foreign: Scene) -> None:
    """From another process, with the stock class; members get the events in order, others do not."""
    emitter = await asyncio.create_subprocess_exec(sys.executable, "-c", EMITTER, foreign.redis.url, ROOM)
    async with asyncio.timeout(DEADLINE_S):
        assert await emitter.wait() == 0
    assert await foreign.member.text() == '42/chat,["deploy",{"version":7}]'
    assert await foreign.member.text() == '42/chat,["pair","a",2]'
    await foreign.nothing_came()
    replay = await foreign.member.ask("history:read", {"channel": ROOM})
    assert replay["messages"] == []


async def test_nobody_is_reached_but_by_a_channel(foreign: Scene) -> None:
    """Not everybody, no single client, no other namespace; each that is refused is counted."""
    addresses: list[Any] = [None, "", [], [ROOM], foreign.member.session, foreign.outsider.session, 7, {"a": 1}]
    for address in addresses:
        await foreign.emit(room=address)
    await foreign.emit(namespace="/")
    await foreign.emit(event="message:created")
    await foreign.emit(method="disconnect", sid=foreign.member.session)
    await foreign.emit(method="close_room")
    await foreign.emit(room="room:nobody")
    await foreign.nothing_came()
    assert await foreign.refused("emits") == len(addresses) + 4
    assert (await foreign.lines("foreign.refused"))[0]["refused"] == 1


async def test_no_payload_breaks_the_listener(foreign: Scene) -> None:
    """Neither on the shared topic nor on the channel's, whether or not the seal of a hint fits: the link stays."""
    deep = "[" * 300 + "]" * 300
    good = encode_hint(event(1, channel=ROOM))
    hostile = [
        b"",
        b"1",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"\x80\x04K\x01.",
        b"[" * 100_000,
        b"NaN",
        b'{"v":1}',
        b'{"v":2}',
    ]
    deep_data = replace(created(new_message(1, ROOM), Position("e", 1)).message, data={"a": json.loads(deep[100:-100])})
    hints = [
        *hostile,
        codec.encode_event(event(1, channel=ROOM)),  # of an earlier version
        encode_hint(MessageEdited(ROOM, "e", 1, NOW_MS, deep_data)),
        good.replace(b"number 1", b"\xed\xa0\x80"),
        good.replace(b"one 1 ", b"one 1e999 "),
        good.replace(b"one 1 ", b"one  "),
        good.replace(b"one 1 ", b" 1 "),
        good.replace(b"one 1 ", b"o" * 65 + b" 1 "),
        good.replace(b"null,null]", f"{deep},null]".encode()),
        good + b" " * 300_000,
    ]
    emits = [*hostile, f'{{"method":"emit","event":"e","data":[{deep}],"namespace":"/chat","room":"{ROOM}"}}'.encode()]
    hints += [sealed(hint, keys.topic(ROOM), SEAL) for hint in hints if b" " in hint]
    for payload in hints:
        await foreign.redis.command("PUBLISH", keys.topic(ROOM), payload)
    for payload in emits:
        await foreign.redis.command("PUBLISH", "socketio", payload)
    await foreign.nothing_came()
    assert await foreign.refused("hints") == len(hints)
    assert await foreign.refused("emits") == len(emits)
    assert len(await foreign.lines("redis.linked")) == 1
    assert (await foreign.member.ask("message:send", {"channel": ROOM, "text": "still here"}))["ok"]
    assert (await foreign.member.event("message:created"))["offset"] == 1


HUGE: list[Any] = [10**18, 2**63, -1, -(2**63), 10**30, 1e308, 0.5]
OTHERS: list[Any] = [None, True, "", "soon", "x" * 5_000, "\x00", [], [[]], {}, {"a": 1}]
RAW = [b'"\\ud800"', b'"\xff"', b"[" * 200 + b"]" * 200, b"[" * 2_000 + b"]" * 2_000, b"1e999", b"9" * 5_000, b""]
"""Values that a field may hold in a forged message: as JSON, and what is no JSON."""


def forged(good: dict[str, Any]) -> Iterator[bytes]:
    """Yield a message with each of its fields, also of the objects in it, in turn missing or with another value."""
    mark = "the place of another value"
    for path in paths(good):
        holder: Any = (whole := copy.deepcopy(good))
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = mark
        template = json.dumps(whole).encode()
        for value in (*(json.dumps(value).encode() for value in (*HUGE, *OTHERS)), *RAW):
            yield template.replace(json.dumps(mark).encode(), value)
        del holder[path[-1]]
        yield json.dumps(whole).encode()


def paths(value: Any) -> Iterator[list[Any]]:
    """Yield the way to each field of an object, and to each item of a list, from the outside in."""
    for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
        yield [key]
        if isinstance(inside, dict | list):
            yield from ([key, *path] for path in paths(inside))


def forged_words(good: bytes) -> Iterator[bytes]:
    """Yield a hint with each of its words, and each field of the JSON in it, in turn missing or with another value."""
    *words, rest = good.split(b" ", 12)
    for place in range(len(words)):
        before, behind = words[:place], [*words[place + 1 :], rest]
        for value in (*(json.dumps(value).encode() for value in (*HUGE, *OTHERS)), *RAW):
            yield b" ".join([*before, value, *behind])
        yield b" ".join([*before, *behind])
    head, bracket, text = rest.partition(b"]")
    if bracket:
        for head_forged in forged({"head": json.loads(head + b"]")}):
            inner = head_forged.removeprefix(b'{"head": ').removesuffix(b"}")
            yield b" ".join([*words[:-3], b"%d" % len(inner), *words[-2:], inner + text])


async def test_no_field_of_a_hint_ends_a_process(foreign: Scene) -> None:
    """Numbers of any size, other types, depth, bad UTF-8 and surrogates, in each field of each kind of hint, as a newer
    version may seal it: each that is refused is counted, and the channel goes on."""
    message = new_message(1, ROOM, key="k")
    place = Position("forged", 1)
    events: list[LogEvent] = [
        created(message, place),
        MessageEdited(ROOM, "forged", 2, message.at, replace(created(message, place).message, data={"a": {"b": 1}})),
        MessageDeleted(ROOM, "forged", 3, message.at, message.id),
        MessageErased(ROOM, "forged", 4, message.at, message.id, 1, True),
    ]
    hints = [hint for event in events for hint in forged_words(encode_hint(event))]
    async with foreign.redis.client() as client:
        for hint in hints:
            await client.publish(keys.topic(ROOM), sealed(hint, keys.topic(ROOM), SEAL) if b" " in hint else hint)
    await foreign.nothing_came()
    assert len(hints) // 2 < await foreign.refused("hints") <= len(hints)
    assert await foreign.lines("redis.message_failed") == []
    assert len(await foreign.lines("redis.linked")) == 1
    assert (await foreign.member.ask("message:send", {"channel": ROOM, "text": "still here"}))["ok"]


async def test_no_field_of_an_emit_ends_a_process(foreign: Scene) -> None:
    """The same on the shared topic: whatever is taken for an emit reaches the channel, and all else nobody."""
    good = {"method": "emit", "event": "forged", "data": [{"a": [1]}], "namespace": "/chat", "room": ROOM}
    emits = list(forged(good | {"binary": False, "skip_sid": None, "callback": None, "host_id": "stranger"}))
    async with foreign.redis.client() as client:
        for emit in emits:
            await client.publish(keys.shared_topic(), emit)
    await foreign.emit(event="marker")
    while (text := await foreign.member.text()) != '42/chat,["marker",1]':
        assert text.startswith("42/chat,[")
    assert await foreign.refused("emits") > 0
    assert await foreign.lines("redis.message_failed") == []
    await foreign.nothing_came()
