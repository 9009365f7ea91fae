"""Events of applications and reactions on a single server: a kill, hostile input, floods, and webhooks."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.bystander import Bystander
from tests.clients.frames import masked
from tests.clients.raw import RawSocket, event
from tests.doubles.samples import nested
from tests.harness.receiver import WebhookReceiver, setting
from tests.harness.server import LIMITS, ServerProcess
from tests.harness.tokens import token

GRANTS = {"*": ["join", "send", "publish"]}
ROOM = "room:app"
EVENTS = 400


@pytest_asyncio.fixture
async def quiet(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server on SQLite, that fails at nothing."""
    async with ServerProcess(tmp_path) as server:
        yield server
        assert server.faults() == []
        assert "Traceback" not in server.output


async def published(client: RawSocket) -> list[dict[str, Any]]:
    """All kept events of the room."""
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["offset"] if found else 0
        page = await client.ask("events:read", {"channel": ROOM, "after": after, "limit": 100})
        found += page["events"]
        if not page["more"]:
            return found


async def test_after_a_kill_each_key_is_one_event(tmp_path: Path) -> None:
    """kill -9 in the midst of a flight of events and reactions: all are sent again, and stand there once."""
    async with ServerProcess(tmp_path) as server:
        client = await RawSocket.chat(server.port, token("al", GRANTS))
        sent = await client.ask("message:send", {"channel": ROOM, "text": "hi"})
        react = {"channel": ROOM, "id": sent["message"]["id"], "emoji": "👍"}
        flight = [
            event("event:publish", {"channel": ROOM, "name": "n", "data": number, "key": f"k{number}"}, ack=number + 10)
            for number in range(EVENTS)
        ]
        client.push(b"".join(masked(frame) for frame in flight))
        await client.ack(EVENTS // 4 + 10)
        await server.kill()
        client.vanish()
        await server.start()
        client = await RawSocket.chat(server.port, token("al", GRANTS))
        for number in range(EVENTS):
            payload = {"channel": ROOM, "name": "n", "data": number, "key": f"k{number}"}
            assert (await client.ask("event:publish", payload))["ok"]
        for _ in range(2):
            assert (await client.ask("reaction:add", react))["ok"]
        found = await published(client)
        assert [each["data"] for each in found] == [*range(EVENTS)]
        page = await client.ask("history:read", {"channel": ROOM})
        assert page["messages"][0]["reactions"] == {"👍": {"count": 1, "users": ["al"]}}
        assert page["offset"] == EVENTS + 2
        client.vanish()


REACT = {"channel": ROOM, "id": "m", "emoji": "👍"}
PUBLISH = {"channel": ROOM, "name": "a", "data": 1}
SEND = {"channel": ROOM, "text": "x"}
HOSTILE: dict[str, tuple[str, dict[str, Any], str]] = {
    "a huge emoji": ("reaction:add", REACT | {"emoji": "👍" * 33}, "bad_request"),
    "an emoji that turns": ("reaction:add", REACT | {"emoji": "\u202e👍"}, "bad_request"),
    "a control character": ("reaction:add", REACT | {"emoji": "\0"}, "bad_request"),
    "no emoji": ("reaction:add", REACT | {"emoji": ""}, "bad_request"),
    "an emoji of another kind": ("reaction:remove", REACT | {"emoji": ["👍"]}, "bad_request"),
    "an unknown message": ("reaction:remove", REACT | {"emoji": "سلام"}, "not_found"),
    "a name with a line end": ("event:publish", PUBLISH | {"name": "a\n"}, "bad_request"),
    "no data": ("event:publish", {"channel": ROOM, "name": "a"}, "bad_request"),
    "deep data": ("event:publish", PUBLISH | {"data": nested(40)}, "bad_request"),
    "large data": ("event:publish", PUBLISH | {"data": "x" * 8_191}, "payload_too_large"),
    "a large number": ("event:publish", PUBLISH | {"data": 10**30}, "bad_request"),
    "log of another kind": ("event:publish", PUBLISH | {"log": "no"}, "bad_request"),
    "a page without end": ("events:read", {"channel": ROOM, "limit": 100_000}, "bad_request"),
    "mentions of another kind": ("message:send", SEND | {"mentions": "bob"}, "bad_request"),
    "all and more": ("message:send", SEND | {"mentions": ["*", "a"]}, "bad_request"),
    "all, by a writer": ("message:send", SEND | {"mentions": ["*"]}, "permission_denied"),
}
NO_JSON = ("NaN", "1e999", "-Infinity", "9" * 400, '"\\ud83d"', '["\\udfff"]', "[" * 20_000)
"""As data: strict JSON has none of them, and others could not read it."""


async def test_hostile_input_is_refused_and_harms_nobody(quiet: ServerProcess) -> None:
    """Each by its code, and the connection stays; JSON that is none costs its sender the connection at most."""
    async with Bystander(quiet.url) as bystander:
        client = await RawSocket.chat(quiet.port, token("mallory", GRANTS))
        for name, (command, payload, code) in HOSTILE.items():
            assert (await client.ask(command, payload))["error"]["code"] == code, name
        for data in NO_JSON:
            other = await RawSocket.chat(quiet.port, token("mallory", GRANTS))
            await other.say(f'42/chat,5["event:publish",{{"channel":"{ROOM}","name":"a","data":{data}}}]')
            with pytest.raises(AssertionError, match="closed: 1008"):
                await other.ack(5)
            other.vanish()
        assert await published(client) == []
        await bystander.unharmed()
        client.vanish()


async def test_the_21st_emoji_is_a_conflict(quiet: ServerProcess) -> None:
    """Twenty stay; with one of them gone there is room again."""
    client = await RawSocket.chat(quiet.port, token("al", GRANTS))
    id = (await client.ask("message:send", {"channel": ROOM, "text": "hi"}))["message"]["id"]

    async def react(name: str, number: int) -> dict[str, Any]:
        return await client.ask(name, {"channel": ROOM, "id": id, "emoji": chr(0x1F600 + number)})

    assert all([(await react("reaction:add", number))["ok"] for number in range(20)])
    assert (await react("reaction:add", 20))["error"]["code"] == "conflict"
    assert (await react("reaction:add", 0))["duplicate"]
    assert (await react("reaction:remove", 0))["ok"]
    assert (await react("reaction:add", 20))["ok"]
    edited = await client.ask("message:edit", {"channel": ROOM, "id": id, "text": "ho"})
    assert [*edited["message"]["reactions"]] == [chr(0x1F600 + number) for number in range(1, 21)]
    client.vanish()


async def test_floods_end_at_their_rates_and_nobody_else_notices(tmp_path: Path) -> None:
    """Kept events and reactions share the rate of messages, others have one of their own; a bystander is well."""
    async with ServerProcess(tmp_path, LIMITS) as server, Bystander(server.url) as bystander:
        flooders = [await RawSocket.chat(server.port, token(f"f{number}", GRANTS)) for number in range(4)]
        for client in flooders:
            assert (await client.ask("channel:join", {"channel": ROOM}))["ok"]
        id = (await flooders[0].ask("message:send", {"channel": ROOM, "text": "hi"}))["message"]["id"]
        kept = {"channel": ROOM, "name": "a", "data": "x" * 1_000}
        told = kept | {"log": False}
        reaction = {"channel": ROOM, "id": id, "emoji": "👍"}
        scopes: set[str] = set()
        for client in flooders:
            frames = [("event:publish", told)] * 60 + [("event:publish", kept), ("reaction:add", reaction)] * 40
            client.push(b"".join(masked(event(*frame, ack=place + 100)) for place, frame in enumerate(frames)))
        for client in flooders:
            answers = [await client.ack(place + 100) for place in range(140)]
            scopes |= {answer["error"]["details"]["limit"] for answer in answers if not answer["ok"]}
            passed = sum(answer["ok"] for answer in answers[:60])
            assert 40 <= passed < 60
        assert {"emit_session", "send_user"} <= scopes <= {"emit_session", "send_user", "session"}
        await bystander.unharmed(20)
        for client in flooders:
            client.vanish()


async def leads(server: ServerProcess, endpoint: str) -> None:
    """Wait until the server dispatches to an endpoint."""
    await server.logged(lambda line: line["event"] == "webhook.leads" and line["endpoint"] == endpoint, timeout=40)


async def test_webhooks_are_told_in_the_order_of_the_channel(tmp_path: Path) -> None:
    """By a real receiver: the client's event as data, by type; an event that is not kept is told to members alone."""
    async with WebhookReceiver() as receiver:
        only = receiver.endpoint("only", events=["reaction.*", "event.*"])
        every = receiver.endpoint("all", events=["message.created", "reaction.*", "event.*"])
        async with ServerProcess(tmp_path, setting(every, only)) as server:
            for name in ("all", "only"):
                await leads(server, name)
            client = await RawSocket.chat(server.port, token("al", GRANTS))
            assert (await client.ask("channel:join", {"channel": ROOM}))["ok"]
            id = (await client.ask("message:send", {"channel": ROOM, "text": "hi"}))["message"]["id"]
            await client.ask("event:publish", {"channel": ROOM, "name": "cursor", "data": 1, "log": False})
            await client.ask("reaction:add", {"channel": ROOM, "id": id, "emoji": "👍"})
            await client.ask("event:publish", {"channel": ROOM, "name": "order.paid", "data": {"n": 1}})
            await receiver.until(lambda: (len(receiver.taken["all"]), len(receiver.taken["only"])) == (3, 2))
            bodies = [each.body for each in receiver.taken["all"]]
            assert [body["type"] for body in bodies] == ["message.created", "reaction.changed", "event.published"]
            assert [each.body for each in receiver.taken["only"]] == bodies[1:]
            told = await client.event("event:published")
            assert "offset" not in told
            assert bodies[1]["data"] == await client.event("reaction:changed")
            assert bodies[2]["data"] == await client.event("event:published")
            client.vanish()
