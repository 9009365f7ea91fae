"""PROTOCOL.md spoken to a server in this process: its refusals, its commands, and its worked session frame by frame."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from pydantic import SecretStr

from server.bootstrap.replica import compose
from server.bootstrap.stores.open import open_stores
from server.gateway.socketio.engine import Engine
from server.settings.choices import BroadcastKind, MessageLogKind
from server.settings.model import Settings
from server.wire.words import Command, ServerEvent
from tests.harness.protocol_document import DOCUMENT, alike, examples, rows, section
from tests.harness.server import SECRET
from tests.harness.tokens import token

EVERYTHING = {"*": ["join", "send", "moderate", "publish"]}
PATIENCE_S = 5.0
VOLATILE = {"sid", "session", "epoch", "id", "at", "created_at", "edited_at", "expires_at"}
"""Fields whose values are made anew in each run."""

Values = dict[str, str]
"""What stands in the document, and what stands for it in this run."""


class Client:
    """One raw WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def say(self, frame: str) -> None:
        """Send a frame."""
        await self._socket.send_str(frame)

    async def hear(self) -> str:
        """The next frame that is no ping."""
        async with asyncio.timeout(PATIENCE_S):
            while (frame := await self._socket.receive_str()) == "2":
                await self._socket.send_str("3")
            return frame

    async def close(self) -> int | None:
        """Close it, and return the code of the server's close frame."""
        await self._socket.close()
        return self._socket.close_code

    async def close_code(self) -> int | None:
        """How the server ends it."""
        async with asyncio.timeout(PATIENCE_S):
            await self._socket.receive()
        return self._socket.close_code


class Server:
    """Maru in this process, on a free port."""

    def __init__(self, url: str, chat: Engine, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.engine = chat
        self.http = http

    @asynccontextmanager
    async def client(self, user: str = "", grants: Mapping[str, list[str]] | None = None) -> AsyncIterator[Client]:
        """A WebSocket; with a user, one that is connected and has heard `session:ready`."""
        async with self.http.ws_connect(f"{self.url}?EIO=4&transport=websocket") as socket:
            client = Client(socket)
            if user:
                await client.hear()
                await client.say(f'40/chat,{{"token":"{token(user, grants)}"}}')
                await client.hear()
                await client.hear()
            yield client


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server with an empty log in memory."""
    settings = Settings(
        jwt_secret=SecretStr(SECRET),
        allowed_origins=("https://chat.example.com",),
        message_log=MessageLogKind.MEMORY,
        broadcast=BroadcastKind.MEMORY,
    )
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        replica = compose(settings, await open_stores(settings, stack), tasks, stack)
        loops = [tasks.create_task(loop) for loop in replica.loops()]
        app = web.Application()
        replica.chat.attach(app)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        http = await stack.enter_async_context(aiohttp.ClientSession())
        host, port = runner.addresses[0][:2]
        yield Server(f"http://{host}:{port}/socket.io/", replica.chat.eio, http)
        await replica.drainer.run()
        for loop in loops:
            loop.cancel()


# Refusals of the handshake


async def refusal(server: Server, query: str, **headers: str) -> tuple[str, str]:
    """Status and body of a handshake."""
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    async with server.http.get(f"{server.url}?{query}", headers=upgrade | key | headers) as response:
        return str(response.status), await response.text()


async def test_refused_handshakes_get_exactly_these_bodies(server: Server) -> None:
    """Each row of the table, in its order, which is that of the checks."""
    good = "EIO=4&transport=websocket"
    answers = [
        await refusal(server, "EIO=3&transport=polling&token=abc"),
        await refusal(server, "EIO=3&transport=polling&sid=1"),
        await refusal(server, "EIO=3&transport=websocket&sid=1"),
        await refusal(server, f"{good}&sid=1", Origin="https://elsewhere.example.com"),
        await refusal(server, good, Origin="https://elsewhere.example.com"),
        await refusal(server, good, Upgrade="h2c"),
    ]
    server.engine.closing = True
    answers.append(await refusal(server, good))
    table = rows(section("Transport"), "request")
    assert [(status, body) for _, status, body in table] == answers


async def test_the_names_of_tokens_are_those_of_the_code(server: Server) -> None:
    """Every query argument that the document calls a token is refused; a name that it does not mention is not."""
    found = re.search(r"The names that count as a token are (.*?), in any case", section("Transport"), re.DOTALL)
    assert found
    names = re.findall(r"`(\w+)`", found[1])
    for name in (*names, "JWT"):
        assert "token_in_query" in (await refusal(server, f"{name}=x"))[1], name
    assert "Transport unknown" in (await refusal(server, "user=x"))[1]


# Commands


def substituted(text: str, values: Values) -> str:
    """A documented text with this run's values."""
    for documented, real in values.items():
        text = text.replace(documented, real)
    return text


async def test_the_examples_of_commands_are_answered_as_documented(server: Server) -> None:
    """Each command's example is accepted, and its answer has exactly the documented fields."""
    async with server.client("alice", EVERYTHING) as client:
        answers = [await ask(client, "message:send", {"channel": "room:42", "text": text}) for text in "abcd"]
        await ask(client, "message:delete", {"channel": "room:42", "id": answers[1]["message"]["id"]})
        values = {
            "241e1704b8dd79ff": answers[0]["epoch"],
            "01a2044d-aa2e-7ebd-87ac-2463224d4dab": answers[0]["message"]["id"],
            "01a2044d-aa7e-786f-928a-47e834c9c768": answers[2]["message"]["id"],
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.…": token("alice", EVERYTHING),
        }
        for command in Command:
            asked, documented = examples(section(command))
            name, payload = orjson.loads(substituted(asked, values))
            assert name == command
            answer = await ask(client, name, payload)
            assert alike(orjson.loads(documented), answer), answer
            if command == Command.LEAVE:  # some of the commands behind it need the join
                await ask(client, Command.JOIN, {"channel": "room:42"})
            if command == Command.UNFOLLOW:
                await ask(client, Command.FOLLOW, {"channel": "room:42"})


async def ask(client: Client, name: str, payload: object) -> dict[str, Any]:
    """Send a command, skip events, return the answer."""
    await client.say(f"42/chat,7{orjson.dumps([name, payload]).decode()}")
    while not (frame := await client.hear()).startswith("43/chat,7"):
        assert orjson.loads(frame.removeprefix("42/chat,"))[0] in [*ServerEvent]
    answer: dict[str, Any] = orjson.loads(frame.removeprefix("43/chat,7"))[0]
    return answer


# The worked session


def split(frame: str) -> tuple[str, Any]:
    """A frame's packet type, namespace and ack id; and its JSON."""
    found = re.match(r"\d+(?:/chat,\d*)?", frame)
    assert found
    return found[0], orjson.loads(frame[found.end() :])


def agree(documented: Any, real: Any, values: Values) -> bool:
    """Whether two JSON values are equal but for what is volatile, of which the values are noted."""
    if isinstance(documented, dict) and isinstance(real, dict):
        fresh = {name for name in VOLATILE & documented.keys() & real.keys() if documented[name] and real[name]}
        values |= {documented[name]: real[name] for name in fresh}
        rest = documented.keys() - fresh
        return documented.keys() == real.keys() and all(agree(documented[name], real[name], values) for name in rest)
    if isinstance(documented, list) and isinstance(real, list):
        return len(documented) == len(real) and all(
            agree(one, other, values) for one, other in zip(documented, real, strict=True)
        )
    return bool(documented == real)


async def replay(client: Client, lines: list[str], values: Values) -> None:
    """Say what the client says and compare what the server says; pings come at their own time."""
    for line in lines:
        said, frame = line[:2], line[2:]
        if frame in ("2", "3"):
            continue
        if said == "> ":
            await client.say(substituted(frame, values))
        else:
            (head, documented), (real_head, real) = split(frame), split(await client.hear())
            assert (real_head, agree(documented, real, values)) == (head, True), (frame, real)


async def test_the_worked_session_happens_as_written(server: Server) -> None:
    """Frame by frame: the same packets, fields and values, but for ids and times."""
    worked = DOCUMENT.partition("## A worked session\n")[2]
    before, after = (block.splitlines() for block in examples(worked, "text"))
    values: Values = {"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.…": token("alice")}
    async with server.client() as alice:
        await replay(alice, before, values)
    async with server.client("bob") as bob:
        for text in ("Hi Alice", "Are you there?"):
            await ask(bob, "message:send", {"channel": "room:42", "text": text})
    async with server.client() as alice:
        await replay(alice, after, values)
        assert await alice.close() == 1000
