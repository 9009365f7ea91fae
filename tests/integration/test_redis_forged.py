"""Whoever may publish in Redis, and no more: forged hints reach nobody and hide nothing; an emitter can only emit."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

import pytest
import yaml
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from server.adapters.redis import keys
from server.adapters.redis.hints import encode_hint, sealed
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.seal import Seal
from server.application.channels.healing import COMPARE_S
from server.domain.appending import created
from server.domain.channels import ChannelName
from server.domain.events import MessageCreated
from server.domain.identity import Author, UserId
from server.domain.messages import Position
from tests.clients.raw import RawSocket
from tests.doubles.samples import new_message
from tests.harness.cluster import EVERYTHING, FOR_EVER_MS
from tests.harness.redis import RedisProcess
from tests.harness.seal import SEAL, hint_at
from tests.harness.server import ROOT, ServerProcess
from tests.harness.tokens import token
from tests.harness.watched import Watched

ROOM, OTHER = ChannelName("room:pay"), ChannelName("room:other")

CEO = Author(UserId("ceo"), "The CEO")

SOON_S = COMPARE_S / 2
"""Before the regular comparison is likely to have been there."""

DEADLINE_S = 15.0

EMITTER_RIGHTS = "resetchannels &socketio -@all +publish +ping +hello"

SERVER_RIGHTS = "resetkeys ~maru:2:* resetchannels &maru:2:* &socketio +@all -@dangerous +info +role"

EMITTER = """
import asyncio, sys, socketio
async def main():
    manager = socketio.AsyncRedisManager(sys.argv[1], write_only=True)
    await manager.emit("deploy", {"version": 7}, namespace="/chat", room=sys.argv[2])
    await manager.redis.aclose()
asyncio.run(main())
"""


class Scene:
    """Two replicas over a Redis; Alice is on the one, Bob on the other, both in ROOM."""

    def __init__(self, redis: RedisProcess, replicas: list[ServerProcess], alice: RawSocket, bob: RawSocket) -> None:
        self.redis, self.replicas, self.alice, self.bob = redis, replicas, alice, bob

    async def say(self, text: str, channel: ChannelName = ROOM) -> int:
        """Let Alice send; return the offset."""
        answer = await self.alice.ask("message:send", {"channel": channel, "text": text})
        return int(answer["offset"])

    async def heard(self) -> tuple[str, int, str]:
        """Return author, offset and text of Bob's next message."""
        event = await self.bob.event("message:created")
        return event["message"]["author"]["id"], event["offset"], event["message"]["text"]

    async def publish(self, payload: bytes, channel: ChannelName = ROOM) -> None:
        """Publish on the topic of a channel, as a stranger."""
        assert await self.redis.command("PUBLISH", keys.topic(channel), payload) >= 1

    async def refused(self) -> int:
        """How many hints Bob's replica has refused."""
        return int((await Watched(self.replicas[1]).now())["maru_hints_refused_total"])

    async def epoch(self) -> str:
        """Return the channel's epoch."""
        return str((await self.alice.ask("history:read", {"channel": ROOM}))["epoch"])


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Scene]:
    """With a first message."""
    async with AsyncExitStack() as stack:
        stage = await staged(stack, tmp_path, {})
        yield stage
        assert [replica.faults() for replica in stage.replicas] == [[], []]


async def staged(stack: AsyncExitStack, folder: Path, second: dict[str, str]) -> Scene:
    """Set the stage; `second` are settings of Bob's replica."""
    redis = await stack.enter_async_context(RedisProcess(folder / "redis"))
    replicas = []
    for name, env in (("a", {}), ("b", second)):
        (folder / name).mkdir()
        replica = ServerProcess(folder / name, {"MARU_REDIS_URL": redis.url, **env})
        replicas.append(await stack.enter_async_context(replica))
        await replica.logged(lambda line: line["event"] == "redis.linked")
    clients = []
    for replica, user in zip(replicas, ("alice", "bob"), strict=True):
        client = await RawSocket.chat(replica.port, token(user))
        stack.callback(client.vanish)
        for channel in (ROOM, OTHER):
            assert (await client.ask("channel:join", {"channel": channel}))["ok"]
        clients.append(client)
    stage = Scene(redis, replicas, *clients)
    assert await stage.say("one") == 1
    assert await stage.heard() == ("alice", 1, "one")
    return stage


def forged_event(epoch: str, offset: int, channel: ChannelName = ROOM) -> MessageCreated:
    """Return an event as if the CEO had sent a message."""
    return created(replace(new_message(66, channel, text="pay them"), author=CEO), Position(epoch, offset))


@pytest.mark.parametrize("how", ["unsealed", "another secret", "another channel", "another offset"])
async def test_a_forged_hint_reaches_nobody_and_hides_nothing(stage: Scene, how: str) -> None:
    """An event of any author at the next offset is not delivered. The message that is acked at that offset is, and
    whoever joins afterwards is given what is true."""
    forged = forged_event(await stage.epoch(), 2)
    topic, hint = keys.topic(ROOM), encode_hint(forged)
    await stage.publish(
        {
            "unsealed": hint,
            "another secret": sealed(hint, topic, Seal(b"a stranger's")),
            "another channel": sealed(hint, keys.topic(OTHER), SEAL),
            "another offset": hint_at(replace(forged, offset=1)).replace(b" 1 c", b" 2 c"),
        }[how]
    )
    assert await stage.say("two") == 2
    assert await stage.heard() == ("alice", 2, "two")
    carol = await RawSocket.chat(stage.replicas[1].port, token("carol"))
    joined = await carol.ask("channel:join", {"channel": ROOM, "history": 10})
    assert [event["message"]["text"] for event in joined["events"]] == ["one", "two"]
    carol.vanish()
    assert await stage.refused() == 1
    refused = await stage.replicas[1].lines_of("hint.refused", 1)
    assert [(line["topic"], line["refused"]) for line in refused] == [(topic, 1)]
    assert "pay them" not in stage.replicas[1].output


async def test_a_flood_of_forged_hints_delays_nobody(stage: Scene) -> None:
    """Ten thousand, and the message between them is there at once; the log has a line a second."""
    hint = encode_hint(forged_event(await stage.epoch(), 2))
    async with stage.redis.client() as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(10_000):
            pipeline.publish(keys.topic(ROOM), hint.replace(b" 2 c", b" %d c" % (2 + number)))
        flood = asyncio.create_task(pipeline.execute())
        async with asyncio.timeout(SOON_S):
            assert await stage.say("two") == 2
            assert await stage.heard() == ("alice", 2, "two")
        await flood
    assert await stage.say("three") == 3
    assert await stage.heard() == ("alice", 3, "three")
    assert await stage.refused() == 10_000
    assert len(await stage.replicas[1].lines_of("hint.refused", 1)) <= 10


async def test_a_hint_that_was_sealed_once_is_worth_nothing_again(stage: Scene) -> None:
    """Replayed it is a duplicate, also of a message that was deleted since."""
    async with RedisMessageLog(stage.redis.url, max_events=EVERYTHING, max_age_ms=FOR_EVER_MS) as log:
        [first] = (await log.read(ROOM, 0, 10)).events
    assert isinstance(first, MessageCreated)
    deleted = await stage.alice.ask("message:delete", {"channel": ROOM, "id": first.message.id})
    assert deleted["offset"] == 2
    watched = Watched(stage.replicas[1])
    await watched.begin()
    await stage.publish(hint_at(first))
    growth = await watched.grown({"maru_duplicates_dropped_total": 1})
    assert growth["maru_hints_refused_total"] == 0
    assert await stage.say("three") == 3
    assert await stage.heard() == ("alice", 3, "three")


async def test_a_replica_of_an_earlier_version_is_heard(stage: Scene) -> None:
    """Its hints have no seal: the log is read, and its event is there long before the next comparison."""
    async with RedisMessageLog(stage.redis.url, max_events=EVERYTHING, max_age_ms=FOR_EVER_MS) as log:
        for number in range(2, 6):
            event = (await log.append(new_message(number, ROOM))).event
            await stage.publish(encode_hint(event))
            async with asyncio.timeout(SOON_S / 4):
                assert (await stage.heard())[1] == number
    assert await stage.refused() == 4


async def test_replicas_with_different_secrets_are_slower_and_lose_nothing(tmp_path: Path) -> None:
    """As while the secret is changed: each reads the other's messages from the log."""
    async with AsyncExitStack() as stack:
        stage = await staged(stack, tmp_path, {"MARU_CLUSTER_SECRET": token_hex(32)})
        async with asyncio.timeout(SOON_S):
            for number in range(2, 12):
                assert await stage.say(f"{number}") == number
                assert await stage.heard() == ("alice", number, f"{number}")
        assert await stage.refused() > 0
        [line, *_] = await stage.replicas[1].lines_of("hint.refused", 1)
        assert line["problem"] == "sealed with another secret"


async def test_no_command_of_redis_shows_the_keys_of_the_seal(stage: Scene) -> None:
    """Neither its slow log nor `MONITOR` of the calls: they are in the text of a script that was loaded before."""
    await stage.redis.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
    async with stage.redis.client() as client, client.monitor() as monitor:
        assert await stage.say("two") == 2
        seen = ""
        async with asyncio.timeout(DEADLINE_S):
            while "two" not in seen:
                seen += (await monitor.next_command())["command"]
    slow = str(await stage.redis.command("SLOWLOG", "GET", "128"))
    assert "EVALSHA" in seen
    assert "EVALSHA" in slow
    for key in SEAL.keys:
        assert key.decode() not in seen + slow


async def test_an_emitter_can_only_emit(stage: Scene) -> None:
    """The user of the documentation: the stock manager works with it, and no hint, key or other command does."""
    await stage.redis.command("ACL", "SETUSER", "emitter", "on", ">hunter2", *EMITTER_RIGHTS.split())
    url = f"redis://emitter:hunter2@127.0.0.1:{stage.redis.port}/0"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", EMITTER, url, ROOM)
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == 0
    assert await stage.bob.event("deploy") == {"version": 7}
    topic, key = keys.topic(ROOM), keys.meta(ROOM)
    client: Redis = Redis.from_url(url)
    try:
        assert await client.publish(keys.SHARED_TOPIC, b"no emit") >= 1
        for words in (
            ("PUBLISH", topic, "hint"),
            ("PUBLISH", keys.pulse("0"), ""),
            ("SUBSCRIBE", topic),
            ("SUBSCRIBE", keys.SHARED_TOPIC),
            ("PSUBSCRIBE", "*"),
            ("PUBSUB", "CHANNELS"),
            ("GET", key),
            ("SET", key, "x"),
            ("DEL", key),
            ("XADD", keys.log(ROOM), "*", "e", "x"),
            ("XRANGE", keys.log(ROOM), "-", "+"),
            ("EVAL", "return 1", "0"),
            ("EVAL", f"return redis.call('PUBLISH', '{topic}', 'x')", "0"),
            ("SCAN", "0"),
            ("FLUSHALL",),
            ("CONFIG", "GET", "*"),
            ("MONITOR",),
            ("CLIENT", "LIST"),
            ("CLIENT", "KILL", "ID", "1"),
            ("ACL", "LIST"),
            ("MULTI",),
        ):
            with pytest.raises(NoPermissionError):
                await client.execute_command(*words)  # type: ignore[no-untyped-call]
    finally:
        await client.aclose()
    assert await stage.say("two") == 2
    assert await stage.heard() == ("alice", 2, "two")


async def test_the_server_needs_no_more_than_its_user_may(tmp_path: Path) -> None:
    """With the user of the documentation it starts, keeps a message, and hears itself."""
    async with RedisProcess(tmp_path / "redis") as redis:
        await redis.command("ACL", "SETUSER", "maru", "on", ">hunter2", *SERVER_RIGHTS.split())
        url = f"redis://maru:hunter2@127.0.0.1:{redis.port}/0"
        async with ServerProcess(tmp_path, {"MARU_REDIS_URL": url}) as server:
            await server.logged(lambda line: line["event"] == "ready")
            client = await RawSocket.chat(server.port, token("alice"))
            assert (await client.ask("channel:join", {"channel": ROOM}))["ok"]
            sent = await client.ask("message:send", {"channel": ROOM, "text": "hi", "key": "k"})
            assert (await client.event("message:created"))["offset"] == sent["offset"] == 1
            deleted = await client.ask("message:delete", {"channel": ROOM, "id": sent["message"]["id"]})
            assert deleted["ok"]
            client.vanish()
            assert await server.terminate() == 0
            assert "NoPermission" not in server.output
            assert "NOPERM" not in server.output
        assert await redis.command("ACL", "LOG") == []


@pytest.mark.parametrize("rights", [EMITTER_RIGHTS, SERVER_RIGHTS])
def test_the_documentation_has_these_users(rights: str) -> None:
    """So that they are the ones which are tried here."""
    assert f"on >PASSWORD {rights}`" in (ROOT / "docs/operations.md").read_text("utf-8")


async def test_the_deployment_of_the_tests_has_the_emitter(tmp_path: Path) -> None:
    """docker-compose.test.yml gives Redis the same user, by its command line."""
    compose = yaml.safe_load((ROOT / "docker-compose.test.yml").read_text("utf-8"))
    words = compose["services"]["redis"]["entrypoint"]
    user = [">hunter2" if word.startswith(">") else word for word in words[words.index("--user") :]]
    assert user == ["--user", "emitter", "on", ">hunter2", *EMITTER_RIGHTS.split()]
    async with RedisProcess(tmp_path / "redis", user) as redis:
        client: Redis = Redis.from_url(f"redis://emitter:hunter2@127.0.0.1:{redis.port}/0")
        try:
            assert await client.publish(keys.SHARED_TOPIC, b"no emit") == 0
            with pytest.raises(NoPermissionError):
                await client.get(keys.meta(ROOM))
        finally:
            await client.aclose()
