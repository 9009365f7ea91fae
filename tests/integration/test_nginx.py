"""Three servers behind the real nginx: who is seated where, what happens when a replica is away, and what nginx writes.

Where a client is, the replicas themselves say: `/readyz` counts connections.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import socketio
from aiohttp import ClientResponse, ClientSession, CookieJar, DummyCookieJar, TCPConnector

from bench.processes import cpu_s
from server.api.affinity import COOKIE, MAX_BEARER_CHARS
from server.domain.affinity import VALUE_CHARS
from server.settings.model import Settings
from tests.clients.raw import PATH, RawSocket
from tests.conftest import Figure
from tests.harness.attack import Requests
from tests.harness.nginx import CONFIGURATION, NginxProcess
from tests.harness.page import chromium
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}

RETURN_S = 10.0
"""How long a replica that has come back may wait for clients."""

MANY = 45
"""Clients enough to be on each of three replicas: that one is left out by chance happens once in ten million runs."""

CANARY = "canary0123456789"

Counts = list[int]


class Trio:
    """Three replicas and a proxy. `http` keeps no cookies."""

    def __init__(self, servers: list[ServerProcess], nginx: NginxProcess, http: ClientSession) -> None:
        self.servers = servers
        self.nginx = nginx
        self.http = http
        self._opened: list[ClientResponse] = []

    async def open(self, cookie: str | None = None, query: str = "", **headers: str) -> ClientResponse:
        """Open a WebSocket by hand, and leave it open."""
        sent = UPGRADE | headers | ({} if cookie is None else {"Cookie": f"{COOKIE}={cookie}"})
        response = await self.http.get(f"{self.nginx.url}{PATH}{query}", headers=sent)
        self._opened.append(response)
        return response

    async def arrive(self, count: int) -> None:
        """Open so many, each without a cookie."""
        async with asyncio.TaskGroup() as group:
            opened = [group.create_task(self.open()) for _ in range(count)]
        assert {task.result().status for task in opened} == {101}

    async def counts(self, *servers: ServerProcess) -> Counts:
        """How many connections each replica has."""
        return [(await server.counts())["connections"] for server in servers or self.servers]

    async def seat(self, cookie: str) -> ServerProcess:
        """The replica on which a cookie lands, found by a connection that stays open."""
        before = await self.counts()
        assert (await self.open(cookie)).status == 101
        after = await self.counts()
        (chosen,) = (server for server, old, new in zip(self.servers, before, after, strict=True) if new > old)
        return chosen

    async def cookie_for(self, server: ServerProcess) -> str:
        """A cookie that lands on this replica."""
        for number in range(100):
            if await self.seat(cookie := f"client-{number:016}") is server:
                return cookie
        raise AssertionError("no cookie of a hundred leads there")

    async def leave(self, *servers: ServerProcess) -> None:
        """Close all that was opened, and wait until the replicas know."""
        for response in self._opened:
            response.close()
        self._opened.clear()
        for server in servers or self.servers:
            await server.settled(connections=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trio]:
    """The replicas and nginx, started once."""
    async with AsyncExitStack() as stack:
        servers = [ServerProcess(tmp_path_factory.mktemp("replica")) for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(stack.enter_async_context(server))
        ports = [server.port for server in servers]
        nginx = await stack.enter_async_context(NginxProcess(tmp_path_factory.mktemp("nginx"), ports))
        http = await stack.enter_async_context(ClientSession(cookie_jar=DummyCookieJar()))
        yield Trio(servers, nginx, http)


@pytest_asyncio.fixture(loop_scope="module")
async def trio(whole: Trio) -> AsyncIterator[Trio]:
    """The three, empty before and after."""
    yield whole
    await whole.leave()


async def test_the_configuration(trio: Trio) -> None:
    """`nginx -t` is content, without a warning; silence is the heartbeat's business, not nginx's; no ip_hash."""
    assert "[warn]" not in await trio.nginx.check()
    text = "".join(path.read_text() for path in sorted(CONFIGURATION.glob("*.conf")))
    heartbeat = Settings.model_fields["ping_interval"].default + Settings.model_fields["ping_timeout"].default
    patience = re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", text)
    assert len(patience) == 2
    assert all(float(seconds) > heartbeat + 1 for seconds in patience)
    assert "ip_hash" not in text


async def test_strangers_are_spread(trio: Trio) -> None:
    """Without a cookie, load spreads over all replicas, though everybody comes from one address."""
    await trio.arrive(MANY)
    counts = await trio.counts()
    assert sum(counts) == MANY
    assert min(counts) > 0


async def test_one_cookie_one_replica(trio: Trio) -> None:
    """A cookie leads to the same replica every time; eight of them do not all lead to one."""
    seats = {}
    for number in range(8):
        cookie = f"one-cookie-{number:016}"
        seats[cookie] = await trio.seat(cookie)
        assert [await trio.seat(cookie) for _ in range(2)] == [seats[cookie]] * 2
    assert len(set(seats.values())) > 1


async def test_a_stranger_gets_a_cookie(trio: Trio) -> None:
    """The 101 brings a cookie where there is none, each time another, out of reach of scripts; and it is obeyed."""
    first, second = await trio.open(), await trio.open()
    name, value, *attributes = re.split(r"=|; ", first.headers["Set-Cookie"], maxsplit=2)
    assert (name, attributes) == (COOKIE, ["Path=/; HttpOnly; SameSite=Lax"])
    assert first.headers["Set-Cookie"] != second.headers["Set-Cookie"]
    await trio.leave()
    assert await trio.seat(value) is await trio.seat(value)


@pytest.mark.parametrize(
    ("cookie", "given"), [("short", True), ("x" * 65, True), ("no text at all", True), ("sound-0123456789-_", False)]
)
async def test_only_a_sound_cookie_counts(trio: Trio, cookie: str, given: bool) -> None:
    """A cookie that nobody here has made is replaced; one that may be ours is left alone."""
    response = await trio.open(cookie)
    assert response.status == 101
    assert ("Set-Cookie" in response.headers) is given


async def test_secure_behind_tls(trio: Trio) -> None:
    """Where TLS ends in front of nginx, the cookies are `Secure`: the stranger's and the user's."""
    response = await trio.open(**{"X-Forwarded-Proto": "https"})
    assert response.headers["Set-Cookie"].endswith("; Secure")
    headers = {"Authorization": f"Bearer {token('alice')}", "X-Forwarded-Proto": "https"}
    async with trio.http.post(f"{trio.nginx.url}/session", headers=headers) as seated:
        assert seated.cookies[COOKIE]["secure"]


async def test_a_users_devices_meet(trio: Trio) -> None:
    """Four clients of one user, each after its own `POST /session`, are on one replica; the user's cookie
    replaces a stranger's."""
    auth = {"Authorization": f"Bearer {token('alice')}"}
    async with AsyncExitStack() as stack:
        for stranger in (True, True, False, False):
            http = await stack.enter_async_context(ClientSession(cookie_jar=CookieJar(unsafe=True)))
            if stranger:
                await http.get(f"{trio.nginx.url}{PATH}", headers=UPGRADE)
            async with http.post(f"{trio.nginx.url}/session", headers=auth) as response:
                assert response.status == 204
                assert len(response.headers.getall("Set-Cookie")) == 1
            client = socketio.AsyncClient(http_session=http, reconnection=False)
            await client.connect(
                trio.nginx.url, auth={"token": token("alice")}, transports=["websocket"], namespaces=["/chat"]
            )
            stack.push_async_callback(client.disconnect)
        sessions = [(await server.counts())["sessions"] for server in trio.servers]
        assert sorted(sessions) == [0, 0, 4]


async def test_long_tokens_pass(trio: Trio) -> None:
    """What `POST /session` takes, nginx lets through: a token just under the bound gets the server's answer."""
    headers = {"Authorization": "Bearer ".ljust(MAX_BEARER_CHARS, "x")}
    async with trio.http.post(f"{trio.nginx.url}/session", headers=headers) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (401, "unauthenticated")


async def test_a_browser_keeps_the_cookie(trio: Trio) -> None:
    """Chromium stores what came with the 101, out of its page's reach, and sends it; `POST /session` replaces it."""
    connect = f"""() => new Promise((done, failed) => {{
      const socket = new WebSocket(location.origin.replace("http", "ws") + "{PATH}");
      socket.onmessage = () => done(document.cookie);
      socket.onerror = failed;
    }})"""
    async with chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"{trio.nginx.url}/")  # a 404, but of this origin
        assert await page.evaluate(connect) == ""
        (first,) = await page.context.cookies()
        assert (first["name"], first["httpOnly"], first["sameSite"]) == (COOKIE, True, "Lax")
        for _ in range(3):
            await page.evaluate(connect)
        assert sorted(await trio.counts()) == [0, 0, 4]
        assert await page.context.cookies() == [first]
        ask = "token => fetch('/session', {method: 'POST', headers: {authorization: `Bearer ${token}`}})"
        assert await page.evaluate(f"async (token) => (await ({ask})(token)).status", token("alice")) == 204
        (second,) = await page.context.cookies()
        assert (second["name"], len(second["value"]), second["httpOnly"]) == (COOKIE, VALUE_CHARS, True)


async def test_a_dead_replica(trio: Trio) -> None:
    """With one replica killed, everybody lands on the others at the first try; once it is back, its clients are too."""
    dead, *others = trio.servers
    cookie = await trio.cookie_for(dead)
    await trio.leave()
    await dead.kill()
    assert (await trio.open(cookie)).status == 101
    await trio.arrive(20)
    counts = await trio.counts(*others)
    assert (sum(counts), min(counts) > 0) == (21, True)
    await trio.leave(*others)
    await dead.start()
    async with asyncio.timeout(RETURN_S):
        while await trio.seat(cookie) is not dead:
            await trio.leave()


async def test_a_draining_replica(trio: Trio) -> None:
    """A replica that stops answers 503, and nobody sees it: the handshake is taken by another one."""
    draining, *others = trio.servers
    cookie = await trio.cookie_for(draining)
    await trio.leave()
    slow = await RawSocket.open(draining.port)  # answers no close frame, so that the stop takes its time
    began = len(draining.lines)
    ending = asyncio.create_task(draining.terminate())
    await draining.logged(lambda line: line["event"] == "stopping", since=began)
    async with trio.http.get(f"{draining.url}{PATH}", headers=UPGRADE) as refused:
        assert refused.status == 503
    assert (await trio.open(cookie)).status == 101
    await trio.arrive(20)
    assert sum(await trio.counts(*others)) == 21
    assert not ending.done()
    slow.vanish()
    await trio.leave(*others)
    retried = await trio.nginx.logged(lambda line: line["replica_status"] == "503, 101")
    assert retried["replica"].startswith(f"127.0.0.1:{draining.port}, ")
    assert await ending == 0
    await draining.start()


async def test_random_seats(trio: Trio, tmp_path: Path) -> None:
    """The same proxy without affinity seats one cookie's clients anywhere: for tests that must not lean on it."""
    ports = [server.port for server in trio.servers]
    async with NginxProcess(tmp_path, ports, "random") as nginx:
        sticky, trio.nginx = trio.nginx, nginx
        try:
            for _ in range(MANY):
                assert (await trio.open("client-0123456789")).status == 101
            assert min(await trio.counts()) > 0
        finally:
            trio.nginx = sticky


REFUSED = ["token", "TOKEN", "access_token", "id_token", "refresh_token", "auth", "authorization", "bearer", "jwt"]
REFUSED += ["api_key", "apikey"]


@pytest.mark.parametrize(
    "query",
    [
        *(f"&{name}={CANARY}" for name in REFUSED),
        "&x=eyJhbGciOi.canary",
        "&x=%65yJhbGciOi%2Ecanary",
        "&x=eyJhbGciOi%252Ecanary",
        "&eyJhbGciOi.canary",
        "&%74oken=canary",
        "&x=eyJ.eyJeyJhbGciOi.canary",
        "&x=Bearer%20eyJhbGciOi.canary",
        "&x=a:%65%79%4aeyJhbGci%2eOi",
    ],
)
async def test_tokens_in_queries(trio: Trio, query: str) -> None:
    """What the server refuses for a token in its URL, nginx refuses in the same words, before any replica sees it."""
    answers = []
    for url in (trio.nginx.url, trio.servers[0].url):
        async with trio.http.get(f"{url}{PATH}{query}", headers=UPGRADE) as response:
            answers.append((response.status, response.headers["Content-Type"], await response.json()))
    assert answers[0] == answers[1]
    assert (answers[0][0], answers[0][2]["error"]["code"]) == (400, "token_in_query")
    assert trio.nginx.requests[-1] | {"replica": "", "status": 400} == trio.nginx.requests[-1]


@pytest.mark.parametrize(
    "query", ["&x=" + "eyJ" * 5_000, "&x=" + "eyJ" * 5_000 + ".", "&x=" + "eyJ" * 300, "&" * 15_000]
)
async def test_a_query_made_to_be_slow(trio: Trio, query: str) -> None:
    """A long URL full of beginnings of a token is answered at once: it took a worker up to 1.5 s, in which nobody else
    was served."""
    before = cpu_s(trio.nginx.workers)
    statuses = []
    for _ in range(10):
        async with trio.http.get(f"{trio.nginx.url}{PATH}{query}") as response:
            statuses.append(response.status)
            await response.read()
    assert set(statuses) == {400}
    assert cpu_s(trio.nginx.workers) - before < 0.2


async def test_a_query_that_is_too_long(trio: Trio) -> None:
    """nginx refuses it in the server's words."""
    answers = []
    for url in (trio.nginx.url, trio.servers[0].url):
        async with trio.http.get(f"{url}{PATH}&x={'x' * 1_024}", headers=UPGRADE) as response:
            answers.append((response.status, response.headers["Content-Type"], await response.json()))
    assert answers[0] == answers[1]
    assert answers[0][::2] == (400, {"code": 3, "message": "Query string of more than 1,024 characters"})


@pytest.mark.parametrize(
    "query", ["&x=" + "eyJ" * 2_700, "&x=" + "eyJ%41" * 1_300 + ".", "&x=" + "%65%79%4A" * 110 + ".x"]
)
async def test_others_beside_slow_queries(trio: Trio, figure: Figure, query: str) -> None:
    """Beside a flood of such URLs, other clients of a worker wait under 50 ms, in the workers' processor time."""
    attack, worst, asked = Requests(trio.nginx.port, PATH + query), 0.0, 0
    running = asyncio.create_task(attack.run(4, 1.0))
    while not running.done():
        before = cpu_s(trio.nginx.workers)
        response = await trio.open()
        worst = max(worst, cpu_s(trio.nginx.workers) - before)
        assert response.status == 101
        response.close()
        asked += 1
    await running
    figure(f"worst of {asked} handshakes beside {sum(attack.answers.values())} URLs: {worst * 1e3:.0f} ms")
    assert set(attack.answers) == {400}
    assert asked > 5
    assert worst < 0.05


async def test_an_address_is_limited(trio: Trio, tmp_path: Path) -> None:
    """With limits.conf as it is, an address has 200 handshakes at once; further ones get 429 and never reach a replica,
    and another address is let in."""
    ports = [server.port for server in trio.servers]
    async with NginxProcess(tmp_path, ports, limited=True) as nginx, AsyncExitStack() as stack:
        answers, body = [], {}
        for _ in range(260):
            async with trio.http.get(f"{nginx.url}/socket.io/?EIO=4&transport=polling") as response:
                answers.append(response.status)
                body = await response.json()
        assert (answers[:200], answers[-1]) == ([400] * 200, 429)
        assert answers.count(429) > 20
        error = body["error"]
        assert (error["code"], error["retryable"], error["retry_after_ms"]) == ("rate_limited", True, 1_000)
        assert nginx.requests[-1]["replica"] == ""
        elsewhere = await stack.enter_async_context(
            ClientSession(connector=TCPConnector(local_addr=("127.0.0.2", 0)), cookie_jar=DummyCookieJar())
        )
        async with elsewhere.get(f"{nginx.url}{PATH}", headers=UPGRADE) as response:
            assert response.status == 101


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:0:7::1", "2001:db8:0:7:ffff::2", True),
        ("2001:db8:0:7::1", "2001:db8:0:8::1", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("64:ff9b::c000:201", "64:ff9b::c000:202", False),
    ],
)
async def test_what_counts_as_one_address(trio: Trio, tmp_path: Path, first: str, second: str, same: bool) -> None:
    """A /64 of IPv6 does; of IPv4 that is written as IPv6 each address by itself."""
    async with NginxProcess(tmp_path, [trio.servers[0].port], limited=True, behind="127.0.0.1") as nginx:
        url, answers = f"{nginx.url}/socket.io/?EIO=4&transport=polling", []
        for address in [first] * 260 + [second]:
            async with trio.http.get(url, headers={"X-Forwarded-For": address}) as response:
                answers.append(response.status)
        assert answers[:200] == [400] * 200
        assert 429 in answers[:260]
        assert (answers[-1] == 429) is same


async def test_the_request_that_a_replica_gets(tmp_path: Path) -> None:
    """The client's address as nginx knows it, not as the client says; an upgrade for a handshake alone."""
    heads: list[str] = []

    async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    backend = await asyncio.start_server(replica, "127.0.0.1", 0)
    said = {"X-Forwarded-For": "198.51.100.1", "Upgrade": "h2c", "Connection": "Upgrade"}
    async with backend, NginxProcess(tmp_path, [backend.sockets[0].getsockname()[1]]) as nginx, ClientSession() as http:
        for method, path in (("GET", PATH), ("POST", "/session")):
            async with http.request(method, nginx.url + path, headers=said) as response:
                assert response.status == 204
    handshake, session = heads
    for head in heads:
        assert "x-forwarded-for: 127.0.0.1\r\n" in head
        assert "198.51.100.1" not in head
    assert "upgrade: h2c\r\n" in handshake
    assert "upgrade" not in session


async def test_names_that_only_look_alike(trio: Trio) -> None:
    """An argument whose name or value merely begins like a token's is let through, as the server does."""
    response = await trio.open(query="&tokens=1&mytoken=1&author=eyes.only&x=a%20b&y=heyjude.org&z=abceyJhbGci%2eOi")
    assert response.status == 101


async def test_no_query_string_in_any_log(trio: Trio, tmp_path: Path) -> None:
    """Neither a request that succeeds, nor one refused here or there, nor one that no replica takes leaves its query
    string, its path or a header's value in what nginx writes."""
    secret = {"Cookie": f"x={CANARY}", "Authorization": f"Bearer {CANARY}", "Referer": f"http://x/?{CANARY}"}
    async with NginxProcess(tmp_path, [await _closed_port()]) as lonely:
        for url in (trio.nginx.url, lonely.url):
            for path in (f"{PATH}&x={CANARY}", f"{PATH}&token={CANARY}", f"/{CANARY}?{CANARY}", f"/session?{CANARY}"):
                async with trio.http.get(url + path, headers=UPGRADE | secret) as response:
                    assert response.status in {101, 400, 404, 405, 503}
            async with trio.http.post(f"{url}/session", headers=secret, data=CANARY * 100) as response:
                assert response.status == 413
        hostile = await RawSocket.dial(trio.nginx.port)
        hostile.push(f"GET {PATH}&x={CANARY} HTTP/9.9\r\n\r\n".encode())
        assert await hostile.rest()
        written = [json.dumps(lonely.requests) + lonely.output]
    await trio.leave()
    written += [trio.nginx.output, *(server.output for server in trio.servers)]
    assert not any(CANARY in text for text in written)


async def test_nobody_there(trio: Trio, tmp_path: Path) -> None:
    """With no replica at all the answer is the server's own envelope: unavailable, try again."""
    async with NginxProcess(tmp_path, [await _closed_port()]) as nginx:
        async with trio.http.get(f"{nginx.url}{PATH}", headers=UPGRADE) as response:
            error: dict[str, Any] = (await response.json())["error"]
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert (error["code"], error["retryable"]) == ("unavailable", True)


async def _closed_port() -> int:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    return port
