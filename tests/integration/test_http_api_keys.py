"""Keys of backends: from a file with names and scopes, read again on SIGHUP; a port of their own; a rate; a drain."""

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from tests.clients.backend import Backend
from tests.clients.raw import RawSocket
from tests.harness.process import free_port
from tests.harness.scrape import scraped
from tests.harness.server import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP, DESK, SPARE = (f"canary-of-the-{name}-0123456789" for name in ("shop", "desk", "spare"))
LISTED = "canary-of-the-list-0123456789"
ALL = ["publish", "read", "admin"]


def entry(key: str, scopes: list[str]) -> dict[str, object]:
    """How a key stands in the file."""
    return {"key_sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": scopes}


class Stage:
    """A server with a file of keys, and a port for backends."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "keys.json"
        self.port = free_port()
        self.write({"shop": entry(SHOP, ["publish"]), "desk": entry(DESK, ALL)})
        env = {
            "MARU_API_KEYS": LISTED,
            "MARU_API_KEYS_FILE": str(self.file),
            "MARU_API_PORT": str(self.port),
            "MARU_LIMITS": '{"api_key": [1, 20]}',
            "MARU_LOG_LEVEL": "debug",
        }
        self.server = ServerProcess(folder, env)

    def write(self, keys: object) -> None:
        """Replace the file, as orchestrators do."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(keys if isinstance(keys, str) else json.dumps(keys))
        fresh.replace(self.file)

    async def hang_up(self, event: str) -> None:
        """SIGHUP, and wait for the line that tells what came of it."""
        since = len(self.server.lines)
        os.kill(self.server.pid, signal.SIGHUP)
        await self.server.lines_of(event, 1, since=since)

    def backend(self, key: str | None) -> Backend:
        """A backend with this key."""
        return Backend(f"http://127.0.0.1:{self.port}", key)

    async def status(self, key: str, method: str = "GET", path: str = "/channels/room:1/messages") -> int:
        """The status of one request."""
        async with self.backend(key) as backend:
            body = {"author": {"id": "alice"}, "text": "hi"} if method == "POST" else None
            return (await backend.ask(method, path, body)).status


@pytest_asyncio.fixture(loop_scope="module")
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """For one test."""
    stage = Stage(tmp_path)
    async with stage.server:
        yield stage


async def test_keys_of_a_file(stage: Stage) -> None:
    """Each has its scopes and its rate; the file is read again on SIGHUP, and a broken one changes nothing."""
    assert [await stage.status(key, "POST") for key in (SHOP, DESK, LISTED, SPARE)] == [200, 200, 200, 401]
    assert [await stage.status(key) for key in (SHOP, DESK, LISTED, SPARE)] == [403, 200, 200, 401]
    # The port is the backends' alone, and the API is on no other.
    async with aiohttp.ClientSession() as http:
        assert (await http.get(f"http://127.0.0.1:{stage.port}/metrics")).status == 404
        url = f"http://127.0.0.1:{stage.server.internal_port}/api/v1/openapi.json"
        assert (await http.get(url)).status == 404
    # A key that is replaced, while the other stays.
    stage.write({"shop": entry(SHOP, ["read"]), "spare": entry(SPARE, ["publish"])})
    await stage.hang_up("api_keys.read")
    assert [await stage.status(key, "POST") for key in (SHOP, DESK, LISTED, SPARE)] == [403, 401, 200, 200]
    for broken in ("{", "[]", {"shop": entry(SHOP, ["all"])}, {"a b": entry(SHOP, ALL)}, {"key-1": entry(SHOP, ALL)}):
        stage.write(broken)
        await stage.hang_up("api_keys.unreadable")
        assert await stage.status(SPARE, "POST") == 200
    stage.file.unlink()
    await stage.hang_up("api_keys.unreadable")
    assert await stage.status(SHOP) == 200
    async with stage.backend(SPARE) as backend:
        answers = [await backend.post("room:1") for _ in range(30)]
        refused = next(each for each in answers if each.status == 429)
        assert (refused.body["error"]["details"], refused.headers["Retry-After"]) == ({"limit": "api_key"}, "1")
        assert 1 <= refused.body["error"]["retry_after_ms"] <= 1_000
    assert await stage.status(LISTED, "POST") == 200


async def test_a_key_is_shown_nowhere(stage: Stage) -> None:
    """Not in a log line, a metric or an answer, wherever a backend puts it."""
    keys, places = (SHOP, LISTED, "wrong-" + SPARE), list[tuple[str, dict[str, str]]]()
    for key in keys:
        places += [("/channels/room:1/messages", {"Authorization": value}) for value in (f"Bearer {key}", key)]
        places += [("/channels/room:1/messages", {name: key}) for name in ("X-API-Key", "Cookie", "traceparent")]
        places.append(("/broadcast", {"Authorization": f"Bearer {key}", "X-Request-Id": key}))
        places += [(path, {}) for path in (f"/{key}", f"/broadcast?key={key}", f"/channels/{quote(key)}%20/messages")]
    seen = []
    async with aiohttp.ClientSession() as http:
        for path, headers in places:
            for method in ("GET", "POST", "BREW"):
                url = f"http://127.0.0.1:{stage.port}/api/v1{path}"
                async with http.request(method, url, headers=headers, data=b"{") as response:
                    seen.append(f"{response.headers} {await response.text()}")
    seen += [await scraped(stage.server.internal_port), str(await stage.server.counts())]
    assert await stage.server.terminate() == 0
    seen.append(stage.server.output)
    assert [key for key in keys for text in seen if key in text] == []
    assert len([line for line in stage.server.lines if line.get("key") in {"shop", "key-1"}]) == 6


async def test_a_drain(stage: Stage) -> None:
    """Requests under way are answered; others are told to ask again, or find the port closed. The process ends."""
    body = b'{"author": {"id": "alice"}, "text": "the last word"}'
    head = (
        b"POST /api/v1/channels/room:1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nAuthorization: Bearer %b\r\n\r\n"
    ) % (len(body), SHOP.encode())
    under_way, idle = await RawSocket.dial(stage.port), await RawSocket.dial(stage.port)
    await under_way.send(head + body[:10])
    assert await stage.status(SHOP, "POST") == 200  # by then, the server has read the head
    ending = asyncio.ensure_future(stage.server.terminate())
    await stage.server.lines_of("stopping", 1)
    await idle.send(head + body)
    answer, _ = await idle.whole_response()
    assert b" 503 " in answer
    assert b"Retry-After: 1" in answer
    await under_way.send(body[10:])
    answer, written = await under_way.whole_response()
    assert b" 200 " in answer
    assert json.loads(written)["message"]["text"] == "the last word"
    assert await ending == 0
    for client in (under_way, idle):
        client.vanish()


@pytest.mark.parametrize("env", [{}, {"MARU_DEV": "1"}], ids=["", "development"])
async def test_without_keys_nobody_may(tmp_path: Path, env: dict[str, str]) -> None:
    """Every operation is 401, in development, too; the description can be read."""
    server = ServerProcess(tmp_path, env)
    async with server, Backend(f"http://127.0.0.1:{server.internal_port}", LISTED) as backend:
        paths = (await backend.ask("GET", "/openapi.json")).body["paths"]
        for path, operations in paths.items():
            for method in operations:
                status = (await backend.ask(method.upper(), path.removeprefix("/api/v1"))).status
                assert status == (200 if path.endswith("openapi.json") else 401)


async def test_bad_keys_stop_the_start(tmp_path: Path) -> None:
    """With one line, which says where the fault is and shows no key."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"shop": {"key_sha256": SHOP, "scopes": ALL}}))
    server = ServerProcess(tmp_path, {"MARU_API_KEYS_FILE": str(file)})
    await server.launch()
    assert await server.ended() == 2
    assert server.output.startswith("maru: MARU_API_KEYS_FILE: shop: key_sha256: expected 64 hex digits")
    assert SHOP not in server.output
