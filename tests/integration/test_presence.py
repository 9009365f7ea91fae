"""Presence on one replica: members are told of each other, once a user, and can ask who is there."""

import asyncio
from typing import Any

import pytest

from tests.clients.raw import RawSocket
from tests.harness.tokens import token
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER_ENV = {
    "MARU_CHANNEL_RULES": '{"quiet:*": {"presence": "off"}, "crowd:*": {"presence": "counts"}}',
    "MARU_LIMITS": "off",
}

GRANTS = {"*": ["join", "send"]}


async def person(scene: Scene, user: str, channel: str, **join: Any) -> RawSocket:
    """A client in a channel that reads presence events."""
    client = await scene.chat(user, token=token(user, grants=GRANTS))
    client.sees_presence = True
    assert (await client.ask("channel:join", {"channel": channel, **join}))["ok"]
    return client


async def shown(client: RawSocket, channel: str) -> dict[str, Any]:
    """The answer to `presence:read`."""
    return await client.ask("presence:read", {"channel": channel})


async def test_a_user_is_told_once_whatever_the_tabs(scene: Scene) -> None:
    """Bob opens two tabs and closes both: one `presence:joined`, one `presence:left`, with versions that follow the one
    that Alice was shown."""
    alice = await person(scene, "alice", "room:tabs")
    before = await shown(alice, "room:tabs")
    assert [member["user"] for member in before["members"]] == ["alice"]
    assert (before["count"], before["complete"]) == (1, True)
    bob, tab = await person(scene, "bob", "room:tabs"), await person(scene, "bob", "room:tabs")
    joined = await alice.event("presence:joined")
    place = {"channel": "room:tabs", "user": "bob", "name": joined["name"], "epoch": before["epoch"]}
    assert joined == {**place, "version": before["version"] + 1, "count": 2}
    for client in (bob, tab):
        assert (await client.ask("channel:leave", {"channel": "room:tabs"}))["ok"]
    assert await alice.event("presence:left") == {**place, "version": before["version"] + 2, "count": 1}
    assert [text for client in (alice, bob, tab) for text in client.unread if "presence" in text] == []
    for client in (alice, bob, tab):
        await client.leave()
    await scene.clean()


async def test_a_reload_shows_as_nothing(scene: Scene) -> None:
    """A connection that is lost, and comes back, is told to nobody; a DISCONNECT is told at once."""
    alice = await person(scene, "alice", "room:reload")
    bob = await person(scene, "bob", "room:reload")
    await alice.event("presence:joined")
    bob.vanish()
    again = await person(scene, "bob", "room:reload")
    read = await shown(again, "room:reload")
    assert (read["count"], read["version"]) == (2, 2)
    await again.say("41/chat,")
    left = await alice.event("presence:left")
    assert (left["user"], left["version"]) == ("bob", 3)
    assert [text for text in alice.unread if "presence" in text] == []
    for client in (alice, again):
        await client.leave()
    await scene.clean()


async def test_a_session_may_do_without(scene: Scene) -> None:
    """With `presence: false` a session is in the roster, and is told nothing; joining again changes that; a resume
    keeps it if it says so."""
    alice = await person(scene, "alice", "room:calm", presence=False)
    bob = await person(scene, "bob", "room:calm")
    assert {member["user"] for member in (await shown(bob, "room:calm"))["members"]} == {"alice", "bob"}
    assert (await alice.ask("channel:join", {"channel": "room:calm"}))["ok"]
    carol = await person(scene, "carol", "room:calm")
    assert (await alice.event("presence:joined"))["user"] == "carol"
    assert (await bob.event("presence:joined"))["user"] == "carol"
    assert [text for text in alice.unread if "presence" in text] == []
    head = await alice.ask("channel:join", {"channel": "room:calm"})
    position = {"epoch": head["epoch"], "offset": head["offset"], "presence": False}
    dave = await scene.chat("dave", token=token("dave", grants=GRANTS), resume={"room:calm": position})
    dave.sees_presence = True
    await bob.event("presence:joined")
    assert (await carol.ask("channel:leave", {"channel": "room:calm"}))["ok"]
    await bob.event("presence:left")
    assert (await shown(dave, "room:calm"))["count"] == 3
    assert [text for text in dave.unread if "presence" in text] == []
    for client in (alice, bob, carol, dave):
        await client.leave()
    await scene.clean()


async def test_rules_hide_names_or_all(scene: Scene) -> None:
    """By rule a channel tells counts alone, or nothing; who is not in a channel is shown nothing of it."""
    alice = await person(scene, "alice", "crowd:1")
    bob = await person(scene, "bob", "crowd:1")
    read = await shown(bob, "crowd:1")
    assert (read["members"], read["complete"]) == ([], False)
    counted = await alice.event("presence:count")
    while counted["count"] != 2:
        counted = await alice.event("presence:count")
    assert counted.keys() == {"channel", "count", "epoch", "version", "names"}
    assert counted["names"] is False
    assert (await shown(alice, "room:elsewhere"))["error"]["code"] == "not_joined"
    assert (await alice.ask("channel:join", {"channel": "quiet:1"}))["ok"]
    assert (await shown(alice, "quiet:1"))["error"]["code"] == "permission_denied"
    assert [text for client in (alice, bob) for text in client.unread if "joined" in text] == []
    for client in (alice, bob):
        await client.leave()
    await scene.clean()


async def test_a_large_channel_tells_counts(scene: Scene) -> None:
    """Beyond 500 members a channel tells counts, and shows the hundred longest there; below 400 it names again."""
    alice = await person(scene, "alice", "room:large")
    clients = []
    for first in range(0, 520, 40):
        many = (person(scene, f"user-{number}", "room:large", presence=False) for number in range(first, first + 40))
        clients += await asyncio.gather(*many)
    counted = await alice.event("presence:count", timeout=20)
    while counted["count"] != 521:
        counted = await alice.event("presence:count", timeout=20)
    assert counted["names"] is False
    told = [text for text in alice.unread if "presence:joined" in text]
    assert 400 < len(told) < 500, "names up to the limit; of users that enter together, all or none are named"
    read = await shown(alice, "room:large")
    assert (len(read["members"]), read["count"], read["complete"]) == (100, 521, False)
    alice.unread.clear()
    for client in clients[:171]:
        await client.say("41/chat,")
    named = await alice.event("presence:count", timeout=20)
    while not named["names"]:
        named = await alice.event("presence:count", timeout=20)
    assert named["count"] < 400
    while (read := await shown(alice, "room:large"))["count"] != 350:
        await alice.event("presence:left")
    assert (len(read["members"]), read["complete"]) == (350, True)
    for client in (alice, *clients):
        await client.leave()
    await scene.clean()


async def test_a_slow_reader_sees_the_hole(scene: Scene) -> None:
    """It goes without what it did not read in time; the next version does not follow, and it asks again."""
    slow = await scene.chat("slow", token=token("slow", grants=GRANTS), receive_buffer=4_096)
    slow.sees_presence = True
    assert (await slow.ask("channel:join", {"channel": "room:slow"}))["ok"]
    before = await shown(slow, "room:slow")
    writer = await person(scene, "writer", "room:slow")
    await slow.event("presence:joined")
    async with slow.showing_life():
        for number in range(150):
            assert (await writer.ask("message:send", {"channel": "room:slow", "text": f"{number}" + "x" * 3_900}))["ok"]
        missed = await person(scene, "missed", "room:slow")
        await writer.event("presence:joined")
    await slow.events("message:created", 150)
    last = await person(scene, "last", "room:slow")
    joined = await slow.event("presence:joined")
    assert (joined["user"], joined["version"]) == ("last", before["version"] + 3), "one is missing"
    again = await shown(slow, "room:slow")
    assert [member["user"] for member in again["members"]] == ["slow", "writer", "missed", "last"]
    assert again["version"] == joined["version"]
    for client in (slow, writer, missed, last):
        await client.leave()
    await scene.clean()
