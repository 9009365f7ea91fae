"""The tokens of the development server over a real aiohttp server. The page itself is tested in a browser."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from yarl import URL

from server.api.demo import CLIENT_LIBRARY, MAX_TTL_S, TOKEN_TTL_S, Demo

TOKEN_TEXT = "a token of {user} for {ttl} s"


EITHER = pytest.mark.parametrize("site", [False, True], indirect=True)
"""With a server that is meant for other machines, too."""


@pytest_asyncio.fixture(params=[False])
async def site(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[tuple[ClientSession, int]]:
    """A server without the page's files, and a client of it; the number is its port."""
    app = web.Application()
    app.add_routes(
        Demo(tmp_path, lambda user, ttl: TOKEN_TEXT.format(user=user, ttl=ttl), public=request.param).routes()
    )
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


STRANGE = {
    **{name: {name: "192.0.2.1"} for name in ("X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Proto", "X-Real-IP")},
    "Forwarded": {"Forwarded": "for=192.0.2.1"},
    "Via": {"Via": "1.1 proxy"},
    "another site's picture": {"Sec-Fetch-Site": "cross-site"},
    "a picture on another port": {"Sec-Fetch-Site": "same-site"},
    "another site's page": {"Origin": "https://chat.example.com", "Sec-Fetch-Site": "cross-site"},
    "a page in a sandbox": {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    "a name that begins so": {"Origin": "http://localhost.example.com"},
    "no origin": {"Origin": "http://[::1"},
    "a file of an app": {"Origin": "file://localhost"},
}


@EITHER
@pytest.mark.parametrize("name", STRANGE)
async def test_no_stranger_gets_a_token(site: tuple[ClientSession, int], name: str) -> None:
    """No proxy, whatever it says of itself, and no page of another machine."""
    client, _ = site
    async with client.get("/dev/token?user=admin", headers=STRANGE[name]) as response:
        assert response.status == 400
        assert "token of" not in await response.text()
        assert "Access-Control-Allow-Origin" not in response.headers


@EITHER
async def test_a_proxy_that_says_nothing_is_known_by_its_http(site: tuple[ClientSession, int]) -> None:
    """nginx with a bare `proxy_pass` adds no header, gives its own name for the backend as `Host`, and speaks 1.0."""
    _, port = site
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /dev/token?user=admin HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.0 400")
    assert "came through a proxy" in answer


OWN_PAGES = {
    "typed": {"Sec-Fetch-Site": "none"},
    "the demo": {"Sec-Fetch-Site": "same-origin"},
    "Vite": {"Origin": "http://localhost:5173", "Sec-Fetch-Site": "same-site"},
    "by address": {"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "cross-site"},
    "IPv6": {"Origin": "http://[::1]:3000"},
    "TLS": {"Origin": "https://app.localhost"},
}


@EITHER
@pytest.mark.parametrize("name", OWN_PAGES)
async def test_pages_of_this_machine_get_a_token(site: tuple[ClientSession, int], name: str) -> None:
    """Also from another port, as of a development server of a front end: by CORS, for that origin alone."""
    client, _ = site
    async with client.get("/dev/token?user=alice", headers=OWN_PAGES[name]) as response:
        assert response.status == 200
        assert response.headers.get("Access-Control-Allow-Origin") == OWN_PAGES[name].get("Origin")
        assert response.headers["Vary"] == "Origin"
    async with client.get("/dev/token", headers=OWN_PAGES[name]) as response:
        assert response.status == 400
        assert response.headers.get("Access-Control-Allow-Origin") == OWN_PAGES[name].get("Origin")


@pytest.mark.parametrize("site", [True], indirect=True)
async def test_a_server_for_the_network_has_any_name(site: tuple[ClientSession, int]) -> None:
    """With `MARU_DEV=insecure-public` a phone in the same network asks by the machine's name."""
    client, port = site
    async with client.get("/dev/token?user=alice", headers={"Host": f"desk.lan:{port}"}) as response:
        assert response.status == 200


async def test_a_missing_page_says_how_to_install_it(site: tuple[ClientSession, int]) -> None:
    """The server is up all the same."""
    client, _ = site
    async with client.get("/") as response:
        assert response.status == 404
        assert "npm ci" in await response.text()


FILES = {CLIENT_LIBRARY: "library", "js-demo/public/index.html": "page", "js/src/index.js": "client", "js/secret": "no"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of clients, with the least that the page needs, and a file that nobody may have."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


async def test_the_files_of_the_page_and_of_the_client(root: Path) -> None:
    """Each folder is served as it is, and nothing beside it."""
    app = web.Application()
    app.add_routes(Demo(root, "{} {}".format, public=False).routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    got = {}
    async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        for path in ("/", "/js/src/index.js", "/js/src/none.js", "/js/src/..%2Fsecret", "/demo/..%2F..%2Fjs%2Fsecret"):
            async with client.get(URL(path, encoded=True)) as response:
                got[path] = (response.status, await response.text() if response.ok else "")
    await runner.cleanup()
    assert list(got.values()) == [(200, "page"), (200, "client"), (404, ""), (404, ""), (404, "")]
