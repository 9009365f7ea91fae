"""The Python bot and a server that is killed, replaced, silent, not there yet, or can't write its log."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from maru_bot.bot import MaruBot
from maru_bot.errors import Backoff, MaruError
from maru_bot.events import Created, Reset
from maru_bot.session import Patience
from tests.clients.bot import DEADLINE_S, HASTE, ann, enter, settled, take
from tests.harness.process import free_port
from tests.harness.proxy import Proxy
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
        Proxy(mortal.port) as proxy,
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


async def test_a_leave_behind_a_send_that_the_log_refuses(mortal: ServerProcess, name: str) -> None:
    """A leave needs no log: the server does it at once, though it refuses what waits behind a refused send."""
    async with ann(mortal.url) as bot:
        room = await enter(bot, name)
        with contextlib.closing(sqlite3.connect(mortal.folder / "maru.db", isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            sending = asyncio.create_task(bot.send(name, "refused"))
            await asyncio.sleep(0)  # the send goes out first
            leaving = asyncio.create_task(bot.leave(room))
            await mortal.logged(lambda line: line.get("outcome") == "unavailable")
            left = await mortal.logged(lambda line: line.get("name") == "channel:leave")
            database.execute("ROLLBACK")
        await asyncio.gather(sending, leaving)
        assert left["outcome"] == "ok"


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


async def test_more_channels_than_connect_can_carry(mortal: ServerProcess) -> None:
    """A bot in so many channels that their positions do not fit into one frame comes back to all of them."""
    names = [f"room:{number}.{'x' * 110}" for number in range(480)]
    async with ann(mortal.url) as bot, asyncio.timeout(DEADLINE_S):
        rooms = await asyncio.gather(*(enter(bot, name) for name in names))
        await mortal.kill()
        await mortal.start()
        await asyncio.gather(*(bot.send(name, "back") for name in names))
        assert [len(await take(room, 1)) for room in rooms] == [1] * len(rooms)


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
