"""Every operation of the server's description is a method of the Python SDK, and does what it says on a real server."""

import inspect
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from maru_backend import Author, MaruBackend, MaruError, Message, Replay, Tombstone
from tests.clients.raw import RawSocket
from tests.e2e.python_backend.conftest import KEY, LETTERS, client_of
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

Call = Callable[[MaruBackend, str, ServerProcess], Awaitable[None]]

CALLS: dict[str, Call] = {}
"""By the names of operations."""


def of(operation: str) -> Callable[[Call], Call]:
    """Note what calls an operation."""

    def note(call: Call) -> Call:
        CALLS[operation] = call
        return call

    return note


def in_python(operation: str) -> str:
    """The name of the method: `postMessage` is `post_message`."""
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", operation)


async def written(backend: MaruBackend, channel: str, text: str) -> Message:
    """A message of Ann's, with data."""
    message = (await backend.post_message(channel, Author("ann", "Ann"), text, data={"x": [1, None]})).message
    assert isinstance(message, Message)
    return message


@of("postMessage")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    first = await backend.post_message(name, Author("ann", "Ann"), "Hello 😀", data={"x": [1, None]}, key="k1")
    again = await backend.post_message(name, Author("ann", "Ann"), "Hello", key="k1")
    reply = await backend.post_message(name, "bob", "Hi", reply_to=first.message.id)
    assert (first.duplicate, again.duplicate, reply.duplicate) == (False, True, False)
    assert again.message == first.message
    assert isinstance(first.message, Message)
    assert isinstance(reply.message, Message)
    assert (first.message.author, first.message.text) == (Author("ann", "Ann"), "Hello 😀")
    assert (first.message.data, first.message.key, first.message.version) == ({"x": [1, None]}, "k1", 1)
    assert (reply.message.author.id, reply.message.reply_to) == ("bob", first.message.id)
    assert (reply.epoch, reply.offset) == (first.epoch, first.offset + 1)
    unread = await backend.post_message(name, "bob", "@ann", mentions=["ann"], mark_read=False)
    async with session_of(server, "bob", name) as client:
        mark = await client.ask("read:mark", {"channel": name, "offset": 0})
        assert (mark["offset"], mark["unread"]) == (reply.offset, 1)
    async with session_of(server, "ann", name) as client:
        mark = await client.ask("read:mark", {"channel": name, "offset": 0})
        assert (mark["offset"], mark["unread"], mark["unread_mentions"]) == (first.offset, 2, 1)
    assert unread.offset == reply.offset + 1


@of("readPresence")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    roster = await backend.read_presence(name)
    assert (roster.members, roster.count, roster.complete) == ((), 0, True)


@of("countPresent")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    assert await backend.count_present([name, f"{name}:b"]) == {name: 0, f"{name}:b": 0}


@of("readStatus")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    anna, nobody = await backend.read_status(["presence-anna", "presence-nobody"])
    assert (anna.user, anna.online, anna.sessions, anna.last_seen) == ("presence-anna", False, 0, None)
    assert nobody.user == "presence-nobody"


@of("readMessages")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    texts = [f"text {number}" for number in range(5)]
    for text in texts:
        await written(backend, name, text)
    page = await backend.read_messages(name, limit=2)
    assert [each.text for each in page.messages if isinstance(each, Message)] == texts[3:]
    assert (page.more, page.offset) == (True, 5)
    page = await backend.read_messages(name, after=1, before=4)
    assert [each.offset for each in page.messages] == [2, 3]
    assert (await backend.read_messages(f"{name}:empty")).messages == ()


@of("editMessage")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    message = await written(backend, name, "Helo")
    edited = (await backend.edit_message(name, message.id, "Hello")).message
    assert isinstance(edited, Message)
    assert (edited.text, edited.data, edited.version) == ("Hello", {"x": [1, None]}, 2)
    assert edited.edited_by is not None
    assert edited.edited_at is not None
    changed = await backend.edit_message(name, message.id, "Hello", data=None)
    assert isinstance(changed.message, Message)
    assert (changed.message.data, changed.offset) == (None, 3)


@of("deleteMessage")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    message = await written(backend, name, "Hello")
    for _ in range(2):
        await backend.delete_message(name, message.id)
    (gone,) = (await backend.read_messages(name)).messages
    assert isinstance(gone, Tombstone)
    assert (gone.id, gone.offset) == (message.id, message.offset)
    assert gone.deleted_by is not None


@of("broadcast")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    channels = [f"{name}:{number}" for number in range(20)]
    result = await backend.broadcast([*channels, "No channel"], Author("news", "News"), "Hello", data={"x": 1})
    assert [each.channel for each in result.results] == [*channels, "No channel"]
    assert [(each.channel, each.error.code) for each in result.failed if each.error] == [("No channel", "bad_request")]
    again = await backend.broadcast(channels, Author("news", "News"), "Hello", key=result.key)
    assert [(each.id, each.duplicate) for each in again.results] == [(each.id, True) for each in result.results[:-1]]
    await backend.broadcast(channels[:1], "news", "Hello again", mark_read=False)
    async with session_of(server, "news", channels[0]) as client:
        mark = await client.ask("read:mark", {"channel": channels[0], "offset": 0})
        assert (mark["offset"], mark["unread"]) == (1, 1)


@of("addReaction")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    message = await written(backend, name, "Hello")
    for emoji in ("👍", "+1", "a/b?%", "👍"):
        await backend.add_reaction(name, message.id, emoji, "ann")
    await backend.add_reaction(name, message.id, "👍", "bob é")
    (read,) = (await backend.read_messages(name)).messages
    assert isinstance(read, Message)
    assert [*read.reactions] == ["👍", "+1", "a/b?%"]
    assert read.reactions["👍"] == {"count": 2, "users": ["ann", "bob é"]}
    with pytest.raises(MaruError, match="not_found"):
        await backend.add_reaction(name, "nobody-has-written-it", "👍", "ann")


@of("removeReaction")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    message = await written(backend, name, "Hello")
    await backend.add_reaction(name, message.id, "👍", "ann")
    for _ in range(2):
        await backend.remove_reaction(name, message.id, "👍", "ann")
    (read,) = (await backend.read_messages(name)).messages
    assert isinstance(read, Message)
    assert read.reactions == {}


@of("publishEvent")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    async with session_of(server, "hugo", name) as client:
        first = await backend.publish_event(name, Author("shop", "Shop"), "order.paid", [17, None], key="k")
        assert first is not None
        heard = await client.event("event:published")
        assert (heard["offset"], heard["name"], heard["data"], heard["key"]) == (1, "order.paid", [17, None], "k")
        assert heard["author"] == {"id": "shop", "name": "Shop"}
        again = await backend.publish_event(name, Author("shop", "Shop"), "order.paid", [17, None], key="k")
        assert again is not None
        assert (first.duplicate, again.duplicate, again.offset) == (False, True, first.offset)
        assert await backend.publish_event(name, "shop", "cursor", None, log=False) is None
        told = await client.event("event:published")
        assert told == {"channel": name, "name": "cursor", "author": {"id": "shop", "name": None}, "data": None}


@of("readDescription")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    assert (await backend.read_description())["openapi"].startswith("3.1")


@asynccontextmanager
async def session_of(server: ServerProcess, user: str, name: str) -> AsyncIterator[RawSocket]:
    """A client that is in the channel."""
    client = await RawSocket.chat(server.port, token(user, iat=int(time.time()) - 60))
    try:
        assert (await client.ask("channel:join", {"channel": name}))["ok"]
        yield client
    finally:
        client.vanish()


@of("removeMember")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    async with session_of(server, "carl", name) as client:
        await backend.remove_member(name, "carl", deny_s=60)
        assert await client.event("channel:removed") == {"channel": name, "code": "permission_denied"}
        assert (await client.ask("channel:join", {"channel": name}))["error"]["code"] == "permission_denied"
        await backend.remove_member(name, "carl", deny_s=0)
        assert (await client.ask("channel:join", {"channel": name}))["ok"]
    await backend.remove_member(name, "nobody")


@of("follow")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    await backend.follow("fred", name)
    await backend.follow("fred", name)
    async with session_of(server, "fred", name) as client:
        inbox = await client.ask("inbox:read", {"limit": 10})
        assert [entry["channel"] for entry in inbox["channels"]] == [name]
    await backend.unfollow("fred", name)


@of("unfollow")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    await backend.follow("gina", name)
    await backend.unfollow("gina", name)
    async with session_of(server, "gina", name) as client:
        assert (await client.ask("inbox:read", {"limit": 10}))["channels"] == []


@of("endSessions")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    async with session_of(server, "dora", name) as client:
        await backend.end_sessions("dora")
        assert (await client.event("session:terminated"))["code"] == "unauthenticated"
    await backend.end_sessions("nobody", reconnect=True)


@of("askRefresh")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    async with session_of(server, "emil", name) as client:
        ends = await backend.ask_refresh("emil")
        body = await client.event("session:expiring")
        assert body["reason"] == "refresh"
        assert abs((ends - datetime.fromisoformat(body["expires_at"])).total_seconds()) < 5


@of("eraseMessages")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    for number in range(3):
        await backend.post_message(f"{name}:{number}", "ines", "forget me")
        await backend.post_message(f"{name}:{number}", "jane", "keep me")
    erasure = await backend.erase_messages("ines")
    assert (erasure.erased, erasure.done) == (3, True)
    assert await backend.erase_messages("ines", key=erasure.key) == erasure
    gone, kept = (await backend.read_messages(f"{name}:1")).messages
    assert isinstance(gone, Tombstone)
    assert isinstance(kept, Message)
    assert (await backend.erase_messages("nobody")).erased == 0


@of("readDeadLetters")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    page = await backend.read_dead_letters("crm", limit=1)
    (letter,) = page.letters
    assert (letter.channel, letter.first, letter.last, letter.reason) == (LETTERS, 1, 1, "refused (400)")
    assert page.next is not None
    rest = await backend.read_dead_letters("crm", after=page.next)
    assert ([each.first for each in rest.letters], rest.next) == ([2, 3, 4], None)
    with pytest.raises(MaruError, match="not_found"):
        await backend.read_dead_letters("nobody")


@of("replayDeadLetters")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    letters = (await backend.read_dead_letters("crm")).letters
    by_id = await backend.replay_dead_letters("crm", ids=[letters[0].id, letters[1].id])
    assert by_id == Replay(replayed=2, gone=0, failed=None, more=False)
    by_time = await backend.replay_dead_letters("crm", since=letters[0].failed_at, until=datetime.now(UTC))
    assert by_time == Replay(replayed=2, gone=0, failed=None, more=False)
    assert (await backend.read_dead_letters("crm")).letters == ()
    with pytest.raises(MaruError, match="bad_request"):
        await backend.replay_dead_letters("crm")


@of("revoke")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    async with session_of(server, "frida", name) as client:
        revoked = await backend.revoke(user="frida")
        assert (await client.event("session:terminated"))["code"] == "token_revoked"
    assert (revoked.user, revoked.jti, revoked.ban) == ("frida", None, False)
    assert revoked.issued_before < revoked.expires_at
    early = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (await backend.revoke(user="greta", issued_before=early)).issued_before == early
    with pytest.raises(MaruError, match="bad_request"):
        await backend.revoke(user="frida", jti="x")
    with pytest.raises(ValueError, match="time zone"):
        await backend.revoke(user="frida", issued_before=datetime(2026, 1, 2))  # noqa: DTZ001  # what is tested


@of("readRevocations")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    made = {await backend.revoke(jti=f"{name}-token"), await backend.revoke(user=name, ban=True)}
    assert made <= set(await backend.read_revocations())


@of("liftRevocation")
async def _(backend: MaruBackend, name: str, server: ServerProcess) -> None:
    made = await backend.revoke(user=name)
    await backend.lift_revocation(made.id)
    assert made not in await backend.read_revocations()
    with pytest.raises(MaruError, match="not_found"):
        await backend.lift_revocation(made.id)


async def operations(server: ServerProcess) -> set[str]:
    """The names in the server's description."""
    url = f"http://127.0.0.1:{server.internal_port}/api/v1/openapi.json"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        description: dict[str, Any] = await answer.json()
    return {each["operationId"] for path in description["paths"].values() for each in path.values()}


async def test_every_operation_is_a_method_and_is_called_here(server: ServerProcess) -> None:
    """The description, the methods and the calls of this module have the same names."""
    described = await operations(server)
    methods = {name for name, _ in inspect.getmembers(MaruBackend, inspect.iscoroutinefunction) if name[0] != "_"}
    assert methods == {in_python(operation) for operation in described}
    assert CALLS.keys() == described


@pytest.mark.parametrize("operation", CALLS)
async def test_the_operation_does_what_it_says(server: ServerProcess, name: str, operation: str) -> None:
    """Each on a channel of its own."""
    async with client_of(server) as backend:
        await CALLS[operation](backend, name, server)


async def test_refusals_are_told_with_all_that_the_server_says(server: ServerProcess, name: str) -> None:
    """Code, status, the field, and the id that stands in the server's log line."""
    async with client_of(server) as backend:
        with pytest.raises(MaruError) as caught:
            await backend.post_message(name, "ann", "")
        assert (caught.value.code, caught.value.status) == ("bad_request", 400)
        assert caught.value.details["field"] == "text"
        with pytest.raises(MaruError) as unknown:
            await backend.edit_message(name, "nobody-has-written-it", "x")
        assert (unknown.value.code, unknown.value.status) == ("not_found", 404)
    await server.logged(lambda line: caught.value.request_id in line.values())
    async with MaruBackend(f"http://127.0.0.1:{server.internal_port}", f"{KEY}x") as stranger:
        with pytest.raises(MaruError) as refused:
            await stranger.read_messages(name)
    assert (refused.value.code, refused.value.status) == ("unauthenticated", 401)
