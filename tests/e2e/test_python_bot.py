"""The Python bot client against a real server that is killed, loses its data, its answers, and patience with tokens."""

import asyncio
import contextlib
import logging
import re
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from maru_bot.bot import MaruBot
from maru_bot.channel import Channel
from maru_bot.errors import Backoff, MaruError
from maru_bot.events import Created, Deleted, Edited, Event, Reset, Tombstone
from maru_bot.session import Patience
from tests.harness.lossy_proxy import LossyProxy
from tests.harness.py_client import Outgoing, PyClient
from tests.harness.server import ROOT, ServerProcess, free_port
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENV = {"MARU_TOKEN_GRACE": "0s", "MARU_JWT_LEEWAY": "0s", "MARU_DEV": "1"}
"""A session ends at its token's `exp`, and the example bot gets its token."""

DEADLINE_S = 30.0
HASTE = Patience(ack=5.0, connect=5.0, backoff=Backoff(0.05, 0.3))
BOT = ROOT / "clients/python-bot"
EXAMPLE = BOT / "examples/echo_bot.py"
JWT = re.compile("eyJ[A-Za-z0-9_-]{10}")


@pytest.fixture(autouse=True)
def canary(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test's token appears in a log line, however much is logged."""
    for name in ("", "maru_bot.socketio"):
        caplog.set_level(logging.DEBUG, logger=name)
    yield
    lines = [record.getMessage() for phase in ("setup", "call") for record in caplog.get_records(phase)]
    assert not JWT.search("\n".join(lines))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server that outlives the tests that share it."""
    async with ServerProcess(tmp_path_factory.mktemp("server"), ENV) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="module")
async def mortal(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server for one test, to be killed."""
    async with ServerProcess(tmp_path, ENV) as process:
        yield process


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A channel of the test's own."""
    return "room:" + re.sub(r"[^a-z0-9._-]", ".", request.node.name)


def ann(url: str, *, buffer: int = 1_000) -> MaruBot:
    """A bot that hurries."""
    return MaruBot(url, lambda: token("ann"), patience=HASTE, buffer=buffer)


async def enter(bot: MaruBot, name: str) -> Channel:
    """Join a channel, and wait until what is sent from now on will be heard."""
    room = bot.channel(name)
    await room.joined()
    return room


async def take(room: Channel, count: int) -> list[Event]:
    """The next events of a channel."""
    async with asyncio.timeout(DEADLINE_S):
        return [await anext(room) for _ in range(count)]


async def settled(room: Channel, last: str) -> list[str]:
    """The texts of a channel up to the given one; asserts that offsets are dense and all events messages."""
    texts: list[str] = []
    offset = 0
    async with asyncio.timeout(DEADLINE_S):
        async for event in room:
            assert isinstance(event, Created)
            assert event.position.offset == offset + 1
            offset += 1
            texts.append(event.text)
            if event.text == last:
                break
    return texts


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
        reply = await bot.send(name, "hello", reply_to=created.id)
        again = await bot.send(name, "hello", key=reply.message.key)
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
            (bot.edit(name, "01a20453-0000-7000-8000-000000000000", "?"), "not_found"),
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


class Chatter:
    """Bots that say numbered things at once; `acked` counts, `reach` waits for a count."""

    def __init__(self, bots: list[MaruBot], name: str, each: int) -> None:
        self._bots, self._name, self._each = bots, name, each
        self._acked = 0
        self._progress = asyncio.Event()

    async def speak(self) -> list[int]:
        """Say everything; return the offsets that the acks told."""
        says = [self._say(bot, f"{bot.user} {n}") for n in range(self._each) for bot in self._bots]
        return await asyncio.gather(*says)

    async def reach(self, acked: int) -> None:
        """Wait until so much is acked."""
        while self._acked < acked:
            self._progress.clear()
            await self._progress.wait()

    async def _say(self, bot: MaruBot, text: str) -> int:
        receipt = await bot.send(self._name, text)
        self._acked += 1
        self._progress.set()
        return receipt.position.offset


async def test_the_server_dies_under_load(mortal: ServerProcess, name: str) -> None:
    """Over `kill -9` twice and an orderly stop, while bots send: nothing is lost, doubled, or out of order."""
    each = 150
    async with ann(mortal.url) as bot, MaruBot(mortal.url, lambda: token("ben"), patience=HASTE) as ben:
        rooms = [await enter(bot, name), await enter(ben, name)]
        chatter = Chatter([bot, ben], name, each)
        async with asyncio.timeout(DEADLINE_S):
            speaking = asyncio.create_task(chatter.speak())
            for number, end in enumerate((mortal.kill, mortal.terminate, mortal.kill), 1):
                await chatter.reach(number * each // 2)
                await end()
                await mortal.start()
            offsets = await speaking
        assert sorted(offsets) == list(range(1, 2 * each + 1))
        await bot.send(name, "end")
        heard = [await settled(room, "end") for room in rooms]
    assert heard[0] == heard[1]
    assert len(heard[0]) == 2 * each + 1
    for user in ("ann", "ben"):
        assert [text for text in heard[0] if text.startswith(user)] == [f"{user} {n}" for n in range(each)]


@pytest.mark.parametrize("dies", [False, True], ids=["ack lost", "ack lost with the server"])
async def test_a_lost_ack(mortal: ServerProcess, name: str, dies: bool) -> None:
    """A send without an answer is sent again under its key, is in the log once, and later sends stay behind it."""
    patience = Patience(ack=0.5, connect=5.0, backoff=Backoff(0.05, 0.3))
    async with (
        LossyProxy(mortal.port) as proxy,
        ann(mortal.url) as observer,
        MaruBot(proxy.url, lambda: token("ben"), patience=patience) as ben,
    ):
        seen, own = await enter(observer, name), await enter(ben, name)
        await ben.send(name, "before")
        await take(seen, 1)
        proxy.swallowing = True
        sending = [asyncio.create_task(ben.send(name, text)) for text in ("lost", "after", "last")]
        (lost,) = await take(seen, 1)
        assert not sending[0].done()
        if dies:
            await mortal.kill()
            await mortal.start()
        proxy.swallowing = False
        receipts = await asyncio.gather(*sending)
        assert [receipt.position.offset for receipt in receipts] == [2, 3, 4]
        assert (receipts[0].duplicate, receipts[0].position) == (True, lost.position)
        assert [event.text for event in await take(seen, 2) if isinstance(event, Created)] == ["after", "last"]
        assert await settled(own, "last") == ["before", "lost", "after", "last"]


async def test_the_log_is_away(mortal: ServerProcess, name: str) -> None:
    """Sends that the log refuses for a while are tried again, and end up in the order of the calls."""
    count = 20
    async with ann(mortal.url) as bot:
        room = await enter(bot, name)
        await bot.send(name, "before")
        with contextlib.closing(sqlite3.connect(mortal.folder / "maru.db", isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            sending = [asyncio.create_task(bot.send(name, str(n))) for n in range(count)]
            await mortal.logged(lambda line: line.get("outcome") == "unavailable")
            database.execute("ROLLBACK")
        await asyncio.gather(*sending)
        assert await settled(room, str(count - 1)) == ["before", *map(str, range(count))]


async def test_an_event_comes_twice() -> None:
    """What is not newer than the last event is dropped, live or in a reply."""
    room = Channel("room:one", None, None, 10, Backoff())
    at = "2026-11-22T12:00:00.000Z"
    events = [
        {
            "event": "message:deleted",
            "channel": "room:one",
            "epoch": "e",
            "offset": n,
            "at": at,
            "message": {"id": str(n)},
        }
        for n in range(1, 5)
    ]
    room.adopt({"epoch": "e", "offset": 2, "recovered": None, "events": events[:2]})
    for event in (events[1], events[2], events[2], events[0]):
        room.receive("message:deleted", event)
    room.adopt({"epoch": "e", "offset": 4, "recovered": True, "events": events})
    assert [event.id for event in await take(room, 4) if isinstance(event, Deleted)] == ["1", "2", "3", "4"]
    assert room.waiting == 0


async def test_more_channels_than_connect_can_carry(mortal: ServerProcess) -> None:
    """A bot in so many channels that their positions do not fit into one frame comes back to all of them."""
    names = [f"room:{number}.{'x' * 110}" for number in range(480)]
    async with ann(mortal.url) as bot, asyncio.timeout(DEADLINE_S):
        rooms = await asyncio.gather(*(enter(bot, name) for name in names))
        await mortal.kill()
        await mortal.start()
        await asyncio.gather(*(bot.send(name, "back") for name in names))
        assert [len(await take(room, 1)) for room in rooms] == [1] * len(rooms)


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


async def test_the_log_is_lost(mortal: ServerProcess, name: str) -> None:
    """A database that is gone is told as a reset, before the first event of the new log."""
    async with ann(mortal.url) as bot:
        room = await enter(bot, name)
        old = await bot.send(name, "old")
        await take(room, 1)
        await mortal.kill()
        for path in mortal.folder.glob("maru.db*"):
            path.unlink()
        await mortal.start()
        new = await bot.send(name, "new")
        reset, event = await take(room, 2)
        assert isinstance(reset, Reset)
        assert (reset.reason, reset.position.epoch) == ("epoch_changed", new.position.epoch)
        assert isinstance(event, Created)
        assert (event.text, event.position) == ("new", new.position)
        assert old.position.epoch != new.position.epoch


async def backlog(server: ServerProcess, bot: MaruBot, name: str, count: int, limit: int) -> Channel:
    """A channel with `count` messages and an "end", whose reader has taken none of them."""
    room = await enter(bot, name)
    async with PyClient(server.url, token("paula")) as crowd:
        await crowd.send_all([Outgoing(name, str(n), str(n)) for n in range(count)], in_flight=64)
    await bot.send(name, "end")
    assert room.waiting == limit
    return room


@pytest.mark.parametrize("restart", [False, True], ids=["connected", "over a restart"])
async def test_a_slow_reader(mortal: ServerProcess, name: str, restart: bool) -> None:
    """Behind a slow reader a bounded number of events waits, and it gets the rest when it has taken them."""
    limit, count = 25, 300
    async with ann(mortal.url, buffer=limit) as bot:
        room = await backlog(mortal, bot, name, count, limit)
        if restart:
            await mortal.kill()
            await mortal.start()
            await bot.send(name, "restarted")
            assert room.waiting == limit
        texts = await settled(room, "restarted" if restart else "end")
        assert texts == [*map(str, range(count)), "end"] + restart * ["restarted"]
        assert room.waiting == 0


async def test_a_reader_that_is_too_slow(server: ServerProcess, name: str) -> None:
    """A reader that is more than a replay of 1,000 events behind gets a reset in their place, then goes on."""
    limit, count = 25, 1_200
    async with ann(server.url, buffer=limit) as bot:
        room = await backlog(server, bot, name, count, limit)
        assert await settled(room, str(limit - 1)) == [str(n) for n in range(limit)]
        (reset,) = await take(room, 1)
        assert isinstance(reset, Reset)
        assert (reset.reason, reset.position.offset) == ("too_far_behind", count + 1)
        page = await bot.history(name, after=limit, limit=100)
        assert [message.offset for message in page.messages] == list(range(limit + 1, limit + 101))
        await bot.send(name, "on")
        (event,) = await take(room, 1)
        assert isinstance(event, Created)
        assert event.text == "on"


async def test_nobody_listens_yet(tmp_path: Path, name: str) -> None:
    """Entering waits for a server that starts late, and gives up with the reason at the caller's deadline."""
    with pytest.raises(MaruError, match="can not be reached") as refused:
        async with MaruBot(f"http://127.0.0.1:{free_port()}", "t", first_connect=0.5, patience=HASTE):
            pass
    assert (refused.value.code, refused.value.retryable) == ("offline", True)
    late = ServerProcess(tmp_path)
    bot = ann(late.url)
    entering = asyncio.create_task(bot.__aenter__())
    async with late:
        await entering
        await bot.send(name, "at last")
        await bot.aclose()
        with pytest.raises(MaruError, match="closed"):
            await bot.send(name, "too late")


async def test_nobody_answers() -> None:
    """A port that accepts and stays silent is given up after the deadline of one connection, and tried again."""
    met: list[asyncio.StreamWriter] = []
    twice = asyncio.Event()

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(writer)
        if len(met) == 2:
            twice.set()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        patience = Patience(connect=0.2, backoff=Backoff(0.05, 0.1))
        bot = MaruBot(f"http://127.0.0.1:{port}", "t", patience=patience)
        entering = asyncio.create_task(bot.__aenter__())
        async with asyncio.timeout(DEADLINE_S):
            await twice.wait()
        entering.cancel()
        await asyncio.wait((entering,))
        assert entering.cancelled()
        for writer in met:
            writer.close()


async def test_bounds_and_ends(mortal: ServerProcess, name: str) -> None:
    """The outbox has a bound; closing the bot ends readers quietly and what is unsent with `closed`."""
    async with MaruBot(mortal.url, lambda: token("ann"), patience=HASTE, outbox=3) as bot:
        room = await enter(bot, name)
        reading = asyncio.create_task(anext(room, None))
        await mortal.kill()
        sending = [asyncio.create_task(bot.send(name, str(n))) for n in range(4)]
        done, _ = await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S)
        (refused,) = (task.exception() for task in done)
        assert isinstance(refused, MaruError)
        assert refused.code == "outbox_full"
    assert await reading is None
    failed = await asyncio.gather(*sending[:3], return_exceptions=True)
    assert [error.code for error in failed if isinstance(error, MaruError)] == ["closed"] * 3


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
