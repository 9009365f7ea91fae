"""The tokens of the development server over a real aiohttp server. The page itself is tested in a browser."""

import re
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web

from server.api.demo import MAX_TTL_S, TOKEN_TTL_S, Demo

TOKEN_TEXT = "a token of {user} for {ttl} s"


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[tuple[ClientSession, int]]:
    """A server without the page's files, and a client of it; the number is its port."""
    app = web.Application()
    app.add_routes(Demo(tmp_path, lambda user, ttl: TOKEN_TEXT.format(user=user, ttl=ttl), loopback_only=True).routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with ClientSession(f"http://127.0.0.1:{port}") as client:
        yield client, port
    await runner.cleanup()


@pytest.mark.parametrize(("query", "ttl"), [("user=alice", TOKEN_TTL_S), ("user=alice&ttl=60", 60)])
async def test_a_token(site: tuple[ClientSession, int], query: str, ttl: int) -> None:
    """The answer has the token, its user and its end as the protocol writes times; nobody may cache it."""
    client, _ = site
    began = int(time.time())
    async with client.get(f"/dev/token?{query}") as response:
        answer = await response.json()
        assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
    assert (answer["token"], answer["user"]) == (TOKEN_TEXT.format(user="alice", ttl=ttl), "alice")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", answer["expires_at"])
    assert began <= datetime.fromisoformat(answer["expires_at"]).timestamp() - ttl <= time.time()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "user: expected 1 to 128 printable characters"),
        ("user=" + 129 * "x", "user: expected 1 to 128 printable characters"),
        ("user=a%00b", "user: expected 1 to 128 printable characters"),
        ("user=alice&ttl=0", f"ttl: expected 1 to {MAX_TTL_S} seconds"),
        (f"user=alice&ttl={MAX_TTL_S + 1}", f"ttl: expected 1 to {MAX_TTL_S} seconds"),
        ("user=alice&ttl=1e3", f"ttl: expected 1 to {MAX_TTL_S} seconds"),
    ],
)
async def test_a_bad_request_gets_the_error_envelope(site: tuple[ClientSession, int], query: str, message: str) -> None:
    """As from every other route."""
    client, _ = site
    async with client.get(f"/dev/token?{query}") as response:
        assert response.status == 400
        assert await response.json() == {"error": {"code": "bad_request", "message": message, "retryable": False}}


@pytest.mark.parametrize(("host", "status"), [("localhost", 200), ("[::1]", 200), ("chat.example.com", 400)])
async def test_only_loopback_names_get_a_token(site: tuple[ClientSession, int], host: str, status: int) -> None:
    """A page of another site that resolves its name to this machine has that name in `Host`."""
    client, port = site
    async with client.get("/dev/token?user=alice", headers={"Host": f"{host}:{port}"}) as response:
        assert response.status == status


async def test_a_missing_page_says_how_to_install_it(site: tuple[ClientSession, int]) -> None:
    """The server is up all the same."""
    client, _ = site
    async with client.get("/") as response:
        assert response.status == 404
        assert "npm ci" in await response.text()
