"""Real faults under the server: a log that is locked, a log that is ruined. No ack is lost, no connection is left."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.clients.frames import closing as close_frame
from tests.clients.frames import masked
from tests.clients.raw import RawSocket, event
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

MIB = 1 << 20
ROOM = "room:faults"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the write lock of a server's database."""
    with closing(sqlite3.connect(folder / "maru.db", isolation_level=None)) as thief:
        thief.execute("BEGIN IMMEDIATE")
        yield
        thief.execute("ROLLBACK")


async def test_while_the_log_is_locked_senders_hear_of_it(tmp_path: Path) -> None:
    """`unavailable`, retryable, within 2 s; what needs no log works; once the lock is gone, so is the fault."""
    async with ServerProcess(tmp_path) as server:
        client = await RawSocket.chat(server.port, token("alice"))
        await client.ask("channel:join", {"channel": ROOM})
        loop = asyncio.get_running_loop()
        with locked(tmp_path):
            began = loop.time()
            answer = await client.ask("message:send", {"channel": ROOM, "text": "x", "key": "once"})
            assert loop.time() - began < 2.3
            assert (answer["error"]["code"], answer["error"]["retryable"]) == ("unavailable", True)
            assert (await client.ask("channel:leave", {"channel": ROOM}))["ok"]
            assert (await client.ask("channel:join", {"channel": ROOM}))["ok"]
        sent = await client.ask("message:send", {"channel": ROOM, "text": "x", "key": "once"})
        assert (sent["ok"], sent["offset"]) == (True, 1)
        await client.leave()
        await server.settled(connections=0, sessions=0)
        assert "Traceback" not in server.output


async def test_what_waits_behind_an_outage_is_answered_with_it(tmp_path: Path) -> None:
    """A burst that finds the log away: every command of it is `unavailable` within 2 s, in order, and none is done."""
    async with ServerProcess(tmp_path) as server:
        client = await RawSocket.chat(server.port, token("alice"))
        loop = asyncio.get_running_loop()
        with locked(tmp_path):
            began = loop.time()
            burst = [event("message:send", {"channel": ROOM, "text": str(n)}, ack=100 + n) for n in range(50)]
            await client.send(b"".join(map(masked, burst)))
            answers = [await client.ack(100 + number) for number in range(50)]
            assert loop.time() - began < 2.3
        assert {answer["error"]["code"] for answer in answers} == {"unavailable"}
        # Nothing of it is held against what comes later.
        assert (await client.ask("message:send", {"channel": ROOM, "text": "later"}))["ok"]
        await client.leave()


async def test_what_is_written_late_reaches_the_members(tmp_path: Path) -> None:
    """A sender is told `unavailable`, yet the log gets room in time to write: whoever is in the channel hears of it."""
    async with ServerProcess(tmp_path) as server:
        witness, one, two = [await RawSocket.chat(server.port, token(user)) for user in ("witness", "one", "two")]
        await witness.ask("channel:join", {"channel": ROOM})
        with locked(tmp_path):
            answers = []
            for number, client in enumerate((one, two)):
                await client.send(masked(event("message:send", {"channel": ROOM, "text": "late"}, ack=7)))
                answers.append(asyncio.create_task(client.ack(7)))
                await asyncio.wait(answers, timeout=0.4 * (1 - number) + 1.2 * number)
            await asyncio.wait(answers[:1])
        for answer in answers:
            await answer
        page = await witness.ask("history:read", {"channel": ROOM})
        for message in page["messages"]:
            assert (await witness.event("message:created"))["offset"] == message["offset"]
        for client in (witness, one, two):
            await client.leave()


async def test_a_commit_that_outlives_every_deadline_reaches_the_members(tmp_path: Path) -> None:
    """The sender was told `unavailable` long ago; the members hear of the event at once, and a join answers it."""
    async with ServerProcess(tmp_path) as server:
        witness, one, two = [await RawSocket.chat(server.port, token(user)) for user in ("witness", "one", "two")]
        await witness.ask("channel:join", {"channel": ROOM})
        loop = asyncio.get_running_loop()
        with locked(tmp_path):
            # The first is refused by the busy timeout after 1.5 s. The second is begun then, and is written when the
            # lock is gone, after the 2 s in which every draft that has not begun is refused.
            await one.send(masked(event("message:send", {"channel": ROOM, "text": "refused"}, ack=7)))
            refused = asyncio.create_task(one.ack(7))
            await asyncio.wait([refused], timeout=0.3)
            sent = loop.time()
            answer = await two.ask("message:send", {"channel": ROOM, "text": "late"})
            assert answer["error"]["code"] == "unavailable"
            assert (await refused)["error"]["code"] == "unavailable"
            hearing = asyncio.create_task(witness.event("message:created"))
            await asyncio.wait([hearing], timeout=0.5)
        heard = await hearing
        assert (heard["message"]["text"], heard["offset"]) == ("late", 1)
        assert loop.time() - sent < 4.0  # not by the next comparison with the log
        assert (await one.ask("channel:join", {"channel": ROOM}))["offset"] == 1
        for client in (witness, one, two):
            await client.leave()


_BROKEN_WRITER = """
import runpy
from server.adapters.sqlite.writer import Writer

def broken(*_, **__):
    raise RuntimeError("injected")

Writer._checkpoint = broken
runpy.run_module("server", run_name="__main__")
"""


async def test_a_writer_that_failed_ends_the_process(tmp_path: Path) -> None:
    """A server that can write nothing any more must not stay ready: it ends with 1, and is started again."""
    server = ServerProcess(tmp_path, program=("-c", _BROKEN_WRITER))
    await server.launch()
    async with asyncio.timeout(15):
        assert await server.ended() == 1
    told = [line for line in server.lines if line["event"] == "message_log.writer_failed"]
    assert [line["level"] for line in told] == ["critical"]


async def test_a_flood_while_the_log_is_locked(tmp_path: Path) -> None:
    """Commands that can't be done wait in the sender's own TCP window, not in the server; a client that resets
    meanwhile is gone at the next ping, with what it had waiting."""
    async with ServerProcess(tmp_path, {"MARU_PING_INTERVAL": "1s", "MARU_PING_TIMEOUT": "1s"}) as server:
        client = await RawSocket.chat(server.port, token("flood"))
        idle, before = (await server.counts())["tasks"], server.memory()
        with locked(tmp_path):
            flood = masked(event("message:send", {"channel": ROOM, "text": "x" * 4_000})) * 8_000
            sending = asyncio.create_task(client.send(flood))
            await asyncio.wait([sending], timeout=2.5)
            assert not sending.done(), "32 MB were taken"
            assert (await server.counts())["tasks"] - idle <= 8
            assert server.memory() - before < 8 * MIB
            client.reset()
            await asyncio.wait([sending])
            # A ping's second, and what the command under way may still wait for the log.
            await server.settled(timeout=4.0, connections=0, sessions=0)


async def test_commands_of_a_client_that_said_goodbye(tmp_path: Path) -> None:
    """Commands before a close frame are done even where the log is away for a while, once it is back."""
    async with ServerProcess(tmp_path) as server:
        client = await RawSocket.chat(server.port, token("patient"))
        with locked(tmp_path):
            words = [masked(event("message:send", {"channel": ROOM, "text": str(n)})) for n in range(10)]
            await client.send(b"".join(words) + close_frame(1000))
            await client.eof()
        await server.settled(connections=0, sessions=0)
        reader = await RawSocket.chat(server.port, token("reader"))
        page = await reader.ask("history:read", {"channel": ROOM})
        assert [message["text"] for message in page["messages"]] == [str(number) for number in range(10)]
        await reader.leave()


def _tells_of_the_end(connection: str, line: dict[str, Any]) -> bool:
    return line.get("event") == "connection.closed" and line["connection"] == connection


async def test_a_log_that_breaks_leaves_no_zombie(tmp_path: Path) -> None:
    """With the database file ruined under the server, commands are answered as failed and connections end as ever."""
    async with ServerProcess(tmp_path) as server:
        clients = [await RawSocket.chat(server.port, token(f"user-{number}")) for number in range(3)]
        for client in clients:
            assert (await client.ask("message:send", {"channel": "room:1", "text": "x" * 4_000}))["ok"]
        for file in server.folder.glob("maru.db*"):
            with file.open("r+b") as stream:
                stream.write(b"\xa5" * file.stat().st_size)
        for client in clients:
            answers = [
                await client.ask("message:send", {"channel": "room:1", "text": "after"}),
                await client.ask("history:read", {"channel": "room:1"}),
                await client.ask("channel:join", {"channel": "room:2"}),
            ]
            codes = [answer.get("error", {}).get("code") for answer in answers]
            assert set(codes) <= {"unavailable", "internal", None}
            assert "unavailable" in codes
        clients[0].vanish()
        await clients[1].leave()
        await clients[2].say("41/chat,")  # the session ends; the WebSocket stays, until the client closes it
        await clients[2].leave()
        await server.settled(connections=0, sessions=0)
        for client in clients:  # a line may arrive a moment later than what it tells of
            await server.logged(partial(_tells_of_the_end, client.connection))
        ends = [line["connection"] for line in server.lines if line.get("event") == "connection.closed"]
        assert sorted(ends) == sorted(client.connection for client in clients)


async def test_a_log_that_is_removed_takes_nothing_more(tmp_path: Path) -> None:
    """The server notices by itself that its files are gone: a single error line, and nothing is acked from then on."""
    async with ServerProcess(tmp_path) as server:
        client = await RawSocket.chat(server.port, token("alice"))
        assert (await client.ask("message:send", {"channel": ROOM, "text": "before"}))["ok"]
        for file in server.folder.glob("maru.db*"):
            file.unlink()
        line = await server.logged(lambda line: line["event"] == "message_log.unavailable", timeout=3.0)
        assert "removed or replaced" in line["error"]
        for command, body in (("message:send", {"text": "after"}), ("channel:join", {}), ("history:read", {})):
            answer = await client.ask(command, {"channel": ROOM, **body})
            assert answer["error"]["code"] == "unavailable"
        assert server.faults() == [line]
        assert not list(server.folder.glob("maru.db*"))
        await client.leave()
