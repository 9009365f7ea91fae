"""What socket.io-client and python-socketio do by themselves, as PROTOCOL.md tells it."""

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio

from server.gateway.websocket.connection import PART_WAIT_S
from tests.clients.library import CALM_S, Line, Page
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/chat"
QUIET_S = 2.0
"""How long a library is watched that must not come back. It would come back within a tenth of that."""


def ends(server: ServerProcess) -> list[str]:
    """Why connections ended, in their order."""
    return [line["reason"] for line in server.lines if line.get("event") == "connection.closed"]


async def test_js_two_namespaces_share_a_websocket(tmp_path: Path) -> None:
    """`/` is refused, once; `/chat` gets its session at once, on the same WebSocket, and loses nothing."""
    async with ServerProcess(tmp_path) as server, Page() as page:
        auth = {"auth": {"token": token("alice")}}
        for name, path in (("root", ""), ("chat", CHAT)):
            page.do("open", name, url=server.url + path, options=auth)
        await page.until(lambda: bool(page.of("root", "refused") and page.of("chat", "ready")))
        await asyncio.sleep(QUIET_S)  # nothing may come: there is no event to wait for
        [refused], [ready] = page.of("root", "refused"), page.of("chat", "ready")
        assert (refused["message"], refused["engine"]) == ("unknown_namespace", ready["engine"])
        assert page.of("chat", "gone") == []
        assert (await server.counts())["connections"] == 1


async def test_js_a_bad_token_is_one_connection(tmp_path: Path) -> None:
    """The library closes its WebSocket itself, and does not come back; the log says what it left for."""
    async with ServerProcess(tmp_path) as server, Page() as page:
        page.do("open", "chat", url=server.url + CHAT, options={"auth": {"token": "Bearer " + token("alice")}})
        await page.until(lambda: bool(page.of("chat", "refused")))
        [refused] = page.of("chat", "refused")
        assert refused["data"]["message"].endswith('send it without "Bearer "')
        await server.logged(lambda line: line.get("event") == "connection.closed")
        await asyncio.sleep(QUIET_S)  # nothing may come
        assert ends(server) == ["CONNECT refused: unauthenticated"]
        assert len(page.of("chat", "refused")) == 1


async def test_js_a_text_as_auth_is_refused_once(tmp_path: Path) -> None:
    """It was a close before, after which the library came back for ever."""
    async with ServerProcess(tmp_path) as server, Page() as page:
        page.do("open", "chat", url=server.url + CHAT, options={"auth": "token"})
        await page.until(lambda: bool(page.of("chat", "refused")))
        assert page.of("chat", "refused")[0]["data"]["message"] == "auth is an object {token}"
        await asyncio.sleep(QUIET_S)  # nothing may come
        assert ends(server) == ["CONNECT refused: bad_request"]


async def test_js_hears_why_it_is_ended(tmp_path: Path) -> None:
    """`session:terminated` comes before the disconnect; the library closes the WebSocket, and stays away."""
    env = {"MARU_TOKEN_GRACE": "0s", "MARU_JWT_LEEWAY": "0s"}
    async with ServerProcess(tmp_path, env) as server, Page() as page:
        exp = int(time.time()) + 3
        page.do("open", "chat", url=server.url + CHAT, options={"auth": {"token": token("alice", exp=exp)}})
        await page.until(lambda: bool(page.of("chat", "gone")))
        names = [line.get("event", line.get("reason")) for line in page.lines if line["is"] in ("event", "gone")]
        assert names[-2:] == ["session:terminated", "io server disconnect"]
        line = await server.logged(lambda line: line.get("event") == "connection.closed")
        assert line["reason"] == "terminated: token_expired"
        assert time.time() - exp < PART_WAIT_S  # the server itself would close a second after it has said so


async def test_js_retries_with_keys_are_an_outbox(tmp_path: Path) -> None:
    """`retries` and `ackTimeout` repeat a send until it is answered; the key makes of all of them one message. The
    server is killed between two sends: each message is in the log once, in the order of the calls."""
    keys = [f"k{number}" for number in range(12)]
    async with ServerProcess(tmp_path) as server, Page() as page:
        options = {"auth": {"token": token("alice")}, "retries": 20, "ackTimeout": 1_000, "reconnectionDelay": 100}
        page.do("open", "chat", url=server.url + CHAT, options=options)
        await page.until(lambda: bool(page.of("chat", "ready")))
        page.do("send", "chat", payloads=[{"channel": "room:outbox", "text": key, "key": key} for key in keys])
        await page.until(lambda: bool(page.of("chat", "ack")))
        await server.kill()
        await server.start()
        await page.until(lambda: len(page.of("chat", "ack")) == len(keys))
        assert [line["of"] for line in page.of("chat", "ack")] == keys
        assert [line["answer"][1]["ok"] for line in page.of("chat", "ack")] == [True] * len(keys)
        page.do("open", "reader", url=server.url + CHAT, options=options | {"forceNew": True})
        await page.until(lambda: bool(page.of("reader", "ready")))
        page.do(
            "join",
            "reader",
            channel="room:outbox",
            since={"epoch": page.of("chat", "ack")[0]["answer"][1]["epoch"], "offset": 0},
        )
        await page.until(lambda: bool(page.of("reader", "ack")))
        events = page.of("reader", "ack")[0]["answer"][-1]["events"]
        assert [event["message"]["key"] for event in events] == keys


async def test_js_with_since_at_session_ready(tmp_path: Path) -> None:
    """A client whose CONNECT payload never changes misses nothing: at `session:ready` it joins from its position."""
    async with ServerProcess(tmp_path) as server, Page() as page:
        options = {"auth": {"token": token("alice")}, "reconnectionDelay": 100, "forceNew": True}
        for name in ("reader", "writer"):
            page.do("open", name, url=server.url + CHAT, options=options)
        await page.until(lambda: bool(page.of("reader", "ready") and page.of("writer", "ready")))
        page.do("join", "reader", channel="room:fixed")
        await page.until(lambda: bool(page.of("reader", "ack")))
        first = page.of("reader", "ack")[0]["answer"][0]
        page.do("leave", "reader")
        page.do("send", "writer", payloads=[{"channel": "room:fixed", "text": key, "key": key} for key in "abc"])
        await page.until(lambda: len(page.of("writer", "ack")) == 3)
        page.do("enter", "reader")
        await page.until(lambda: len(page.of("reader", "ready")) == 2)
        page.do("join", "reader", channel="room:fixed", since={"epoch": first["epoch"], "offset": first["offset"]})
        await page.until(lambda: len(page.of("reader", "ack")) == 2)
        answer = page.of("reader", "ack")[1]["answer"][0]
        assert (answer["recovered"], [event["message"]["key"] for event in answer["events"]]) == (True, ["a", "b", "c"])


async def test_python_a_bad_token(tmp_path: Path) -> None:
    """`connect` raises, the handler is told why, and the client does not come back."""
    told: list[Any] = []
    async with ServerProcess(tmp_path) as server, aiohttp.ClientSession() as http:
        sio = socketio.AsyncClient(http_session=http)
        sio.on("connect_error", told.append, namespace=CHAT)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await sio.connect(server.url, auth={"token": "bad"}, namespaces=[CHAT], transports=["websocket"])
        await sio.disconnect()
        assert [each["data"]["code"] for each in told] == ["unauthenticated"]
        await server.logged(lambda line: line.get("event") == "connection.closed")
        assert ends(server) == ["CONNECT refused: unauthenticated"]


async def test_python_is_refused_at_a_reconnect_and_comes_back(tmp_path: Path) -> None:
    """At a reconnect the library tries again after a refusal, with a pause that grows: it is in as soon as its function
    gives a good token."""
    good = token("alice")
    tokens = [good, token("alice", ttl_s=-60), "bad"]
    ready = asyncio.Semaphore(0)
    refusals: list[str] = []
    async with ServerProcess(tmp_path) as server, aiohttp.ClientSession() as http:
        sio = socketio.AsyncClient(
            http_session=http, reconnection_delay=0.2, reconnection_delay_max=1, randomization_factor=0.0
        )
        sio.on("session:ready", lambda _: ready.release(), namespace=CHAT)

        def refused(error: Any) -> None:
            if isinstance(error, dict):  # a text, if nothing listens yet
                refusals.append(error["message"])

        sio.on("connect_error", refused, namespace=CHAT)

        def auth() -> Line:
            return {"token": tokens.pop(0) if tokens else good}

        await sio.connect(server.url, auth=auth, namespaces=[CHAT], transports=["websocket"])
        async with asyncio.timeout(CALM_S):
            await ready.acquire()
            await server.kill()
            await server.start()
            began = time.monotonic()
            await ready.acquire()
        assert refusals == ["token_expired", "unauthenticated"]
        assert time.monotonic() - began < CALM_S
        assert (await server.counts())["sessions"] == 1
        await sio.disconnect()
        await server.settled(connections=0, sessions=0)


async def test_python_leaves_at_once(tmp_path: Path) -> None:
    """DISCONNECT and the end of the WebSocket: nothing is left, and nobody waits for another CONNECT."""
    async with ServerProcess(tmp_path) as server, aiohttp.ClientSession() as http:
        sio = socketio.AsyncClient(http_session=http)
        await sio.connect(server.url, auth={"token": token("alice")}, namespaces=[CHAT], transports=["websocket"])
        await server.settled(connections=1, sessions=1)
        await sio.disconnect()
        line = await server.logged(lambda line: line.get("event") == "connection.closed", timeout=1.0)
        assert line["user"] == "alice"
        assert line["reason"] in ("client left", "client closed")  # whichever the server handles first


async def test_python_hears_why_it_is_ended(tmp_path: Path) -> None:
    """`session:terminated`, then the disconnect; it does not come back."""
    env = {"MARU_TOKEN_GRACE": "0s", "MARU_JWT_LEEWAY": "0s"}
    said: list[str] = []
    over = asyncio.Event()
    async with ServerProcess(tmp_path, env) as server, aiohttp.ClientSession() as http:
        sio = socketio.AsyncClient(http_session=http, reconnection_delay=0.1)
        sio.on("session:terminated", lambda data: said.append(data["code"]), namespace=CHAT)

        def gone(reason: str) -> None:
            said.append(reason)
            over.set()

        sio.on("disconnect", gone, namespace=CHAT)
        auth = {"token": token("alice", ttl_s=3)}
        await sio.connect(server.url, auth=auth, namespaces=[CHAT], transports=["websocket"])
        async with asyncio.timeout(CALM_S):
            await over.wait()
        assert said == ["token_expired", sio.reason.SERVER_DISCONNECT]
        await sio.disconnect()
        await server.settled(connections=0, sessions=0)
