"""The Python bot in a healthy world: messages, refusals, tokens, and the bots that are shown as examples."""

import asyncio
import re
import signal
import sys
import time

import pytest

from maru_bot.bot import MaruBot
from maru_bot.errors import MaruError
from maru_bot.events import Created, Deleted, Edited, Tombstone
from tests.clients.bot import DEADLINE_S, HASTE, JWT, ann, enter, settled, take
from tests.harness.server import ROOT, ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOT = ROOT / "clients/python-bot"
EXAMPLE = BOT / "examples/echo_bot.py"


async def test_a_conversation(server: ServerProcess, name: str) -> None:
    """Messages, edits and deletes arrive as typed events, in order; history shows the present state."""
    async with ann(server.url) as bot, MaruBot(server.url, token("ben"), patience=HASTE) as ben:
        assert (bot.user, ben.user) == ("ann", "ben")
        room = await enter(bot, name)
        first = await ben.send(name, "안녕", data={"mood": "good"}, key="one")
        (created,) = await take(room, 1)
        assert isinstance(created, Created)
        assert (created.text, created.author.name, created.message.key) == ("안녕", "Ben", "one")
        assert (created.message, created.position) == (first.message, first.position)
        reply = await bot.send(name, "hello", reply_to=created.id, key="two")
        again = await bot.send(name, "hello", key="two")
        assert (again.duplicate, again.position) == (True, reply.position)
        changed = await ben.edit(name, created.id, "안녕하세요")
        gone = await bot.delete(name, reply.message.id)
        replied, edited, deleted = await take(room, 3)
        assert isinstance(replied, Created)
        assert replied.message.reply_to == created.id
        assert isinstance(edited, Edited)
        assert (edited.text, edited.message.version, edited.position) == ("안녕하세요", 2, changed.position)
        assert edited.message.data == {"mood": "good"}
        assert isinstance(deleted, Deleted)
        assert (deleted.id, deleted.position) == (reply.message.id, gone)
        page = await ben.history(name, limit=10)
        assert page.messages == (changed.message, Tombstone(reply.message.id, name, reply.position.offset))


async def test_leaving_and_coming_back(server: ServerProcess, name: str) -> None:
    """Leaving ends the iterator; another one goes on after a kept position, or begins with the last events."""
    async with ann(server.url) as bot:
        room = await enter(bot, name)
        for text in ("one", "two", "three"):
            await bot.send(name, text)
        events = await take(room, 3)
        assert isinstance(events[0], Created)
        await bot.leave(room)
        assert [event async for event in room] == []
        late = bot.channel(name, since=events[0].position)
        assert await take(late, 2) == events[1:]
        await bot.leave(late)
        assert await take(bot.channel(name, history=1), 1) == events[2:]


async def test_refusals(server: ServerProcess, name: str) -> None:
    """A refusal is a typed error, at once, and costs neither the connection nor the other channels."""
    async with ann(server.url) as bot:
        session = bot.session["session"]
        for wrong, code in (
            (bot.send("secret", "let me in"), "permission_denied"),
            (bot.edit(name, "01a20453-0000-7000-8000-000000000000", "?"), "permission_denied"),
            (bot.send(name, "x" * 4_001), "bad_request"),
            (bot.send(name, "x", data={"n": float("nan")}), "bad_request"),
            (bot.send(name, "x", data={"n": b"bytes"}), "bad_request"),
            (bot.send(name, "\ud800"), "bad_request"),
            (bot.send(name, "x", data={"n": "x" * 70_000}), "payload_too_large"),
        ):
            with pytest.raises(MaruError) as refused:
                await wrong
            assert (refused.value.code, refused.value.retryable) == (code, False)
        secret = bot.channel("secret")
        for entering in (secret.joined(), anext(secret)):
            with pytest.raises(MaruError, match="permission_denied"):
                await entering
        room = await enter(bot, name)
        with pytest.raises(ValueError, match="open already"):
            bot.channel(name)
        await bot.send(name, "😀" * 4_000)
        await take(room, 1)
        assert bot.session["session"] == session


async def test_a_token_is_renewed(server: ServerProcess, name: str) -> None:
    """A token about to expire is replaced within the session, which outlives the first one's `exp`."""
    tokens: list[float] = []

    async def get_token() -> str:
        tokens.append(time.time())
        return token("ann", ttl_s=2 if len(tokens) == 1 else 3_600)

    async with MaruBot(server.url, get_token, patience=HASTE) as bot, asyncio.timeout(DEADLINE_S):
        session = bot.session["session"]
        while time.time() < tokens[0] + 3:
            await bot.send(name, "still here")
        assert (bot.session["session"], len(tokens)) == (session, 2)


async def test_a_token_that_could_not_be_renewed(server: ServerProcess, name: str) -> None:
    """Where no token is to be had in time the session ends; with the next token the bot is back and misses nothing."""
    calls = 0
    ended = asyncio.Event()

    def get_token() -> str:
        nonlocal calls
        calls += 1
        if calls > 1 and not ended.is_set():
            raise OSError("the login server is away")
        return token("ann", ttl_s=1.5 if calls == 1 else 3_600)

    async with MaruBot(server.url, get_token, patience=HASTE) as bot, ann(server.url) as other:
        room = await enter(bot, name)
        first = bot.session["session"]
        await other.send(name, "one")
        assert await settled(room, "one") == ["one"]
        await server.logged(lambda line: line.get("event") == "connection.closed" and line["session"] == first)
        await other.send(name, "two")
        ended.set()
        (missed,) = await take(room, 1)
        assert isinstance(missed, Created)
        assert missed.text == "two"
        await bot.send(name, "three")
        assert bot.session["session"] != first


async def test_a_token_that_is_no_good(server: ServerProcess, name: str) -> None:
    """What no retry heals stops the bot with the reason: at the door, and for readers and senders when it was in."""
    with pytest.raises(MaruError) as refused:
        async with MaruBot(server.url, "no-token", patience=HASTE):
            pass
    assert (refused.value.code, refused.value.retryable) == ("unauthenticated", False)
    async with MaruBot(server.url, token("ann", ttl_s=1), patience=HASTE) as bot:
        room = await enter(bot, name)
        with pytest.raises(MaruError, match="token_expired"):
            await take(room, 1)
        with pytest.raises(MaruError, match="token_expired"):
            await bot.send(name, "too late")


async def test_a_grant_is_lost(server: ServerProcess, name: str) -> None:
    """A channel that the renewed token does not cover ends its iterator, with the reason, and no other's."""
    grants = iter([{"room:*": ["join", "send"]}, {"room:other": ["join", "send"]}])

    def get_token() -> str:
        given = next(grants)
        return token("ann", given, ttl_s=3_600 if "room:other" in given else 5)

    async with MaruBot(server.url, get_token, patience=HASTE) as bot, asyncio.timeout(DEADLINE_S):
        room, other = await enter(bot, name), await enter(bot, "room:other")
        assert [event async for event in room] == []
        assert isinstance(room.error, MaruError)
        assert room.error.code == "permission_denied"
        await bot.send("room:other", "still here")
        assert await settled(other, "still here") == ["still here"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_example_answers(server: ServerProcess, number: signal.Signals) -> None:
    """The example bot answers in the demo's lobby, once a question, and ends cleanly when told to."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLE, "--url", server.url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            assert (await process.stdout.readline()).startswith(b"maru-bot answers in room:lobby")
            async with ann(server.url) as bot:
                room = await enter(bot, "room:lobby")
                asked = [
                    await bot.send("room:lobby", text) for text in ("!ping", "hello @maru-bot", "!help", "nothing")
                ]
                events = await take(room, 7)
            process.send_signal(number)
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    answers = [event.message for event in events if isinstance(event, Created) and event.author.id == "maru-bot"]
    assert [answer.reply_to for answer in answers] == [receipt.message.id for receipt in asked[:3]]
    assert (answers[0].text, answers[1].text.startswith("Hello Ann!")) == ("pong", True)
    assert (process.returncode, err, JWT.search(out.decode())) == (0, b"", None)


async def test_the_first_bot_of_the_readme_answers(server: ServerProcess) -> None:
    """The README's first bot works as it stands there, but for the server's port."""
    block = re.search(r"```python\n(.*?)```", (BOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    source = block[1].replace("http://127.0.0.1:8080", server.url)
    assert source.count(server.url) == 1
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", source, env={"PYTHONPATH": str(BOT)})
    try:
        async with ann(server.url) as bot:
            room = await enter(bot, "room:lobby")
            await server.logged(lambda line: line.get("name") == "channel:join" and line["user"] == "first-bot")
            asked = await bot.send("room:lobby", "!ping")
            _, answer = await take(room, 2)
            assert isinstance(answer, Created)
            assert (answer.text, answer.message.reply_to) == ("pong", asked.message.id)
    finally:
        process.kill()
        await process.wait()
