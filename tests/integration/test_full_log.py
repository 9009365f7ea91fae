"""A SQLite log that has grown to its bound, seen by clients: what is refused, what goes on, and in which order."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.clients.frames import masked
from tests.clients.raw import RawSocket, event
from tests.harness.scrape import read, scraped
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

ROOM = "room:full"
LARGE = "x" * 3_900


@pytest_asyncio.fixture
async def small(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server whose log may have 1 MiB."""
    async with ServerProcess(tmp_path, {"MARU_MAX_LOG_BYTES": "1MiB", "MARU_LIMITS": "off"}) as process:
        yield process
        assert await process.terminate() == 0


async def send(client: RawSocket, text: str, **payload: Any) -> Any:
    """Send a message, and return the answer."""
    return await client.ask("message:send", {"channel": ROOM, "text": text, **payload})


async def filled(server: ServerProcess) -> tuple[RawSocket, Any]:
    """Write until that is refused; return the client, and the answer to its first message."""
    alice = await RawSocket.chat(server.port, token("alice"))
    first = await send(alice, LARGE, key="first")
    answers = [first]
    while answers[-1]["ok"]:
        answers.append(await send(alice, LARGE))
        assert len(answers) < 1_000
    error = answers[-1]["error"]
    assert (error["code"], error["retryable"], error["retry_after_ms"]) == ("overloaded", True, 5_000)
    return alice, first


async def test_a_full_log(small: ServerProcess) -> None:
    """Messages and edits are refused until there is room; reading, joining, repeats and deletions go on."""
    alice, first = await filled(small)
    bob = await RawSocket.chat(small.port, token("bob"))
    assert (await bob.ask("channel:join", {"channel": ROOM, "history": 3}))["ok"]
    assert len((await bob.ask("history:read", {"channel": ROOM, "limit": 10}))["messages"]) == 10
    assert (await bob.ask("channel:join", {"channel": "room:elsewhere"}))["ok"]
    edit = {"channel": ROOM, "id": first["message"]["id"], "text": "shorter"}
    assert (await alice.ask("message:edit", edit))["error"]["code"] == "overloaded"
    repeated = await send(alice, LARGE, key="first")
    assert (repeated["duplicate"], repeated["offset"]) == (True, 1)
    assert (await alice.ask("message:delete", {"channel": ROOM, "id": first["message"]["id"]}))["ok"]
    for client in (alice, bob):
        client.vanish()


async def test_a_full_log_is_told_once(small: ServerProcess) -> None:
    """However many messages are refused; none of those that a client sends at once is written before another."""
    alice, _ = await filled(small)
    for number in range(20):
        alice.push(masked(event("message:send", {"channel": ROOM, "text": str(number)}, ack=1_000 + number)))
    assert not any([(await alice.ack(1_000 + number))["ok"] for number in range(20)])
    shown = read(await scraped(small.internal_port))
    assert shown["maru_log_full"] == 1
    assert shown["maru_log_bytes"] >= shown["maru_log_limit_bytes"] == 1 << 20
    assert len(await small.lines_of("message_log.full", 1)) == 1
    alice.vanish()
