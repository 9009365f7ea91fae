"""The door: HTTP requests that open no WebSocket, and connections that end before they have become anything."""

import asyncio
import json
from pathlib import Path

import pytest

from loadtest.frames import Opcode, header
from tests.clients.frames import masked
from tests.clients.raw import PATH, RawSocket, connect, event, handshake
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER_ENV = {"MARU_ALLOWED_ORIGINS": "https://chat.example.com"}

DEVELOPMENT = {
    "MARU_DEV": "1",
    "MARU_MESSAGE_LOG": "memory",
    "MARU_ALLOWED_ORIGINS": "https://chat.example.com",
}

BAD_REQUEST = {"code": 3, "message": "Bad request"}
NO_TRANSPORT = {"code": 0, "message": 'Transport unknown: connect with transports: ["websocket"]'}
NO_VERSION = {"code": 5, "message": "Unsupported protocol version"}
NO_SID = {"code": 1, "message": "Session ID unknown"}

REFUSED = {
    "Upgrade without Connection": (handshake(headers={"Connection": ""}), 400, BAD_REQUEST),
    "Connection: keep-alive": (handshake(headers={"Connection": "keep-alive"}), 400, BAD_REQUEST),
    "Connection without Upgrade": (handshake(headers={"Upgrade": ""}), 400, BAD_REQUEST),
    "Upgrade: h2c": (handshake(headers={"Upgrade": "h2c"}), 400, BAD_REQUEST),
    "no key": (handshake(headers={"Sec-WebSocket-Key": ""}), 400, BAD_REQUEST),
    "a short key": (handshake(headers={"Sec-WebSocket-Key": "c2hvcnQ="}), 400, BAD_REQUEST),
    "a key that is not base64": (handshake(headers={"Sec-WebSocket-Key": "?" * 24}), 400, BAD_REQUEST),
    "version 14": (handshake(headers={"Sec-WebSocket-Version": "14"}), 400, BAD_REQUEST),
    "no version": (handshake(headers={"Sec-WebSocket-Version": ""}), 400, BAD_REQUEST),
    "an ordinary GET": (handshake(headers={"Upgrade": "", "Connection": ""}), 400, BAD_REQUEST),
    "POST": (handshake(method="POST", headers={"Content-Length": "0"}), 400, BAD_REQUEST),
    "POST of a polling packet": (
        handshake("/socket.io/?EIO=4&transport=polling&sid=x", {"Content-Length": "2"}, "POST") + b"40",
        400,
        NO_TRANSPORT,
    ),
    "PUT": (handshake(method="PUT", headers={"Content-Length": "0"}), 405, None),
    "DELETE": (handshake(method="DELETE", headers={"Content-Length": "0"}), 405, None),
    "polling": (handshake("/socket.io/?EIO=4&transport=polling"), 400, NO_TRANSPORT),
    "no transport": (handshake("/socket.io/?EIO=4"), 400, NO_TRANSPORT),
    "webtransport": (handshake("/socket.io/?EIO=4&transport=webtransport"), 400, NO_TRANSPORT),
    "WebSocket in capitals": (handshake("/socket.io/?EIO=4&transport=WebSocket"), 400, NO_TRANSPORT),
    "no query": (handshake("/socket.io/"), 400, NO_TRANSPORT),
    "EIO 3": (handshake("/socket.io/?EIO=3&transport=websocket"), 400, NO_VERSION),
    "no EIO": (handshake("/socket.io/?transport=websocket"), 400, NO_VERSION),
    "EIO of 5,000 digits": (handshake(f"/socket.io/?EIO={'4' * 5_000}&transport=websocket"), 400, NO_VERSION),
    "a sid": (handshake(PATH + "&sid=abc"), 400, NO_SID),
    "an empty sid": (handshake(PATH + "&sid="), 400, NO_SID),
    "another site's page": (
        handshake(headers={"Origin": "https://evil.example.com"}),
        403,
        {"code": 4, "message": "Forbidden"},
    ),
    "a page without an origin": (handshake(headers={"Origin": "null"}), 403, {"code": 4, "message": "Forbidden"}),
    "a body": (handshake(headers={"Content-Length": "2"}) + b"40", 400, BAD_REQUEST),
    "a body in chunks": (
        handshake(headers={"Transfer-Encoding": "chunked"}) + b"2\r\n40\r\n0\r\n\r\n",
        400,
        BAD_REQUEST,
    ),
    "another path": (handshake("/"), 404, None),
    "a path above": (handshake("/socket.io/../livez"), 404, None),
    "the probes on the public port": (handshake("/readyz"), 404, None),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, None),
    "an endless header": (handshake(headers={"X-Long": "x" * 20_000}), 400, None),
    "an endless path": (handshake("/socket.io/?EIO=4&x=" + "x" * 20_000), 400, None),
    "a thousand headers": (handshake(headers={f"X-{number}": "x" for number in range(1_000)}), 400, None),
    "a header with a NUL": (handshake(headers={"X-Nul": "a\0b"}), 400, None),
    "two lengths": (
        handshake(method="POST", headers={"Content-Length": "1", "content-length": "2"}) + b"xx",
        400,
        None,
    ),
    "HTTP/1.0": (handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), 400, BAD_REQUEST),
}


@pytest.mark.parametrize("unusual", [b"", b"Purpose: a header by an unusual name\r\n"], ids=["", "parsed in full"])
@pytest.mark.parametrize(("request_", "status", "body"), REFUSED.values(), ids=REFUSED)
async def test_what_opens_no_websocket(
    scene: Scene, request_: bytes, status: int, body: object, unusual: bytes
) -> None:
    """The stated HTTP answer; no connection is counted, nothing is logged as an error."""
    client = await scene.dial()
    client.push(request_.replace(b"Host: ", unusual + b"Host: "))
    answered, text = await client.response()
    assert answered == status, text
    assert body is None or json.loads(text) == body
    client.vanish()
    await scene.clean()


@pytest.mark.parametrize("opening", ["POST /none", "POST /session", "CONNECT none:1", "GET /none"])
async def test_what_nobody_waits_for_is_not_kept(scene: Scene, opening: str) -> None:
    """A crowd of clients that send large bodies takes little memory: each is cut off."""
    length = "Upgrade: h2c\r\nConnection: Upgrade" if opening.startswith("GET") else "Content-Length: 9000000"
    head = f"{opening} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode()
    before = scene.server.memory()
    clients = [await scene.dial() for _ in range(60)]
    for client in clients:
        client.push(head + b"x" * 1_000_000)
    for client in clients:
        await client.eof(timeout=5.0)
    assert scene.server.memory() - before < 8 << 20
    await scene.clean()


async def test_a_page_of_another_site_is_told_why(scene: Scene) -> None:
    """A browser lets every page read the answer to long-polling, also one that sends headers of its own."""
    client = await scene.dial()
    asks = {"Upgrade": "", "Connection": "keep-alive", "Origin": "https://evil.example.com"}
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    polling = "/socket.io/?EIO=4&transport=polling&t=abc"
    body = b""
    for method, more, status in (("OPTIONS", preflight, b"204"), ("GET", {"Authorization": "Bearer x"}, b"400")):
        client.push(handshake(polling, asks | more, method))
        head, body = await client.whole_response()
        assert head.split(b" ")[1] == status
        assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in head
    assert json.loads(body) == NO_TRANSPORT
    client.vanish()
    await scene.clean()


@pytest.mark.parametrize("path", ["/socket.io", "/ws", "/", "/chat/socket.io/"])
@pytest.mark.parametrize("how", ["websocket", "polling"])
async def test_a_client_at_another_path_is_told(scene: Scene, path: str, how: str) -> None:
    """It, and the log; who asks for a page that is not there is no client."""
    before = len(scene.server.lines)
    client = await scene.dial()
    plain = {"Upgrade": "", "Connection": "keep-alive"}
    client.push(handshake(f"{path}?EIO=4&transport={how}", plain if how == "polling" else None))
    head, body = await client.whole_response()
    assert head.startswith(b"HTTP/1.1 404 ")
    assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in head
    assert json.loads(body) == {"code": 3, "message": "Unknown path: connect to /socket.io/"}
    client.push(handshake("/favicon.ico", plain))
    assert (await client.response()) == (404, b"404: Not Found")
    client.vanish()
    await scene.clean()
    lines = [line for line in scene.server.lines[before:] if line.get("status") == 404]
    assert all("/socket.io/" in line["remedy"] for line in lines)
    assert len(lines) <= 1  # of many within 10 s, a sample


async def test_every_kind_of_refusal_is_in_the_log(tmp_path: Path) -> None:
    """With its reason and a remedy, also a request that can't be parsed."""
    asked = {
        "transport": handshake("/socket.io/?EIO=4&transport=polling"),
        "token_in_query": handshake(PATH + "&token=x"),
        "origin": handshake(headers={"Origin": "https://evil.example.com"}),
        "bad_request": handshake(headers={"X-Long": "x" * 20_000}),
    }
    elsewhere = ("bad_request", handshake("/socket.io?EIO=4&transport=websocket"))
    async with ServerProcess(tmp_path, DEVELOPMENT) as server:
        for reason, request in (*asked.items(), elsewhere):
            for _ in range(10):  # in development each one
                client = await RawSocket.dial(server.port)
                client.push(request)
                assert (await client.response())[0] in {400, 403, 404}
                client.vanish()
            await server.lines_of("handshake.refused", 10)
            lines = [line for line in server.lines if line["event"] == "handshake.refused"]
            assert [line["reason"] for line in lines[-10:]] == [reason] * 10
            assert all(len(line["remedy"]) > 20 and line["remote"] == "127.0.0.1" for line in lines)
            server.lines.clear()


@pytest.mark.parametrize("path", ["/", "/socket.io/?EIO=4&transport=polling", "/session", "/none"])
@pytest.mark.parametrize("broken", [False, True])
async def test_no_answer_names_the_server(scene: Scene, path: str, broken: bool) -> None:
    """On either port, also in the answer to a request that can't be parsed: nothing of Python and aiohttp."""
    for port in (scene.server.port, scene.server.internal_port):
        client = await RawSocket.dial(port)
        client.push(handshake(path, {"X-Nul": "a\0b"} if broken else {"Upgrade": "", "Connection": "close"}))
        answer = (await client.rest()).lower()
        assert answer.startswith(b"http/1.")
        assert b"\r\nserver:" not in answer
        assert b"aiohttp" not in answer
        assert b"python" not in answer


@pytest.mark.parametrize("size", [9_000, 15_000])
async def test_large_headers(scene: Scene, size: int) -> None:
    """9 KB of cookies, or a token of 15 KB, are usual where people sign in."""
    await (await scene.open(headers={"Cookie": "a=" + "x" * size})).leave()
    await scene.clean()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
async def test_a_compressed_body_is_not_unpacked(scene: Scene, encoding: str) -> None:
    """It may become a thousand times as large, or be none. Nobody reads it; the next request is answered."""
    plain = {"Upgrade": "", "Connection": "", "Content-Encoding": encoding, "Content-Length": "5"}
    before = len(scene.server.lines)
    client = await scene.dial()
    await client.send((handshake("/socket.io/?EIO=4&transport=polling", plain, "POST") + b"abcde") * 2)
    assert [(await client.response())[0] for _ in range(2)] == [400, 400]
    client.vanish()
    await scene.clean()
    assert [line for line in scene.server.lines[before:] if line.get("logger") == "aiohttp.server"] == []


async def test_a_head_without_an_end(scene: Scene) -> None:
    """Headers that go on and on are cut off, though none of them is large."""
    client = await scene.dial()
    client.push(handshake()[:-2] + b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1_000) for number in range(60)))
    await client.eof(timeout=5.0)
    await scene.clean()


@pytest.mark.parametrize("host", ["::", "0.0.0.0"])
async def test_both_families(tmp_path: Path, host: str) -> None:
    """`::` takes IPv4, too, and a client of IPv4 has its usual address in the log."""
    async with ServerProcess(tmp_path, {"MARU_HOST": host, "MARU_INTERNAL_HOST": host}) as server:
        for port in (server.port, server.internal_port):
            for family in ("127.0.0.1", "::1")[: 2 if host == "::" else 1]:
                _, writer = await asyncio.open_connection(family, port)
                writer.close()
        await (await RawSocket.open(server.port)).leave()
        line = await server.logged(lambda line: line["event"] == "connection.closed")
        assert line["remote"] == "127.0.0.1"


@pytest.mark.parametrize("purpose", ["", "a header by an unusual name"])
@pytest.mark.parametrize("origin", ["", "https://chat.example.com"])
async def test_what_opens_one(scene: Scene, origin: str, purpose: str) -> None:
    """A page of an allowed origin may come, and a program, which has none; whether its request is plain or is parsed in
    full."""
    headers = {"Origin": origin, "Sec-WebSocket-Extensions": "permessage-deflate", "Purpose": purpose}
    client = await scene.open(headers=headers)
    assert client.opening | {"sid": ""} == {
        "sid": "",
        "upgrades": [],
        "pingInterval": 10_000,
        "pingTimeout": 10_000,
        "maxPayload": 65_536,
    }
    await client.leave()
    await scene.clean()


async def test_a_refused_request_leaves_the_connection_usable(scene: Scene) -> None:
    """On one TCP connection a refusal may be followed by a handshake that is right."""
    client = await scene.dial()
    client.push(handshake("/socket.io/?EIO=4&transport=polling", {"Upgrade": "", "Connection": "keep-alive"}))
    assert (await client.response())[0] == 400
    client.push(handshake())
    assert (await client.response())[0] == 101
    assert (await client.text()).startswith("0{")
    await client.leave()
    await scene.clean()


async def test_a_handshake_in_small_pieces(scene: Scene) -> None:
    """A handshake that comes byte by byte is a handshake."""
    client = await scene.dial()
    request = handshake()
    await client.drip(request, range(1, len(request)))
    assert (await client.response())[0] == 101
    assert (await client.text()).startswith("0{")
    await client.leave()
    await scene.clean()


HELLO = masked(connect({"token": token("mallory")}))
SEND = masked(event("message:send", {"channel": "room:vanished", "text": "x"}))
PHASES = {
    "TCP alone": b"",
    "half a request line": b"GET /socket.io",
    "half the headers": handshake()[:80],
    "the handshake": handshake(),
    "a frame's first byte": handshake() + HELLO[:1],
    "half a CONNECT": handshake() + HELLO[:60],
    "CONNECT": handshake() + HELLO,
    "CONNECT and commands": handshake() + HELLO + SEND * 50,
    "half a message": handshake() + HELLO + masked("42/chat,", final=False),
    "a header that promises much": handshake() + HELLO + header(60_000) + b"mask",
}


@pytest.mark.parametrize("how", ["reset", "half closed", "at once"])
@pytest.mark.parametrize("sent", PHASES.values(), ids=PHASES)
async def test_a_client_that_vanishes(scene: Scene, sent: bytes, how: str) -> None:
    """Wherever a client ends, and however, nothing of it is left."""
    client = await scene.dial()
    client.push(sent)
    if how != "at once" and sent.startswith(handshake()[:20]) and b"\r\n\r\n" in sent:
        assert (await client.response())[0] == 101
        await client.text()
    if how == "half closed":
        client.finish()
        await client.eof()
    client.vanish()
    await scene.clean()


async def test_a_hundred_clients_vanish_together(scene: Scene) -> None:
    """A crowd that leaves at once, in sessions and in channels, leaves nothing; each has its one line."""
    began = len(scene.server.lines)
    clients = [await scene.chat(f"user-{number % 7}") for number in range(100)]
    for client in clients:
        await client.ask("channel:join", {"channel": "room:crowd"})
    await scene.server.settled(connections=101, sessions=101)
    for client in clients:
        client.vanish()
    await scene.clean()
    ends = [line["connection"] for line in await scene.server.lines_of("connection.closed", 100, since=began)]
    assert sorted(ends) == sorted(client.connection for client in clients)


async def test_commands_before_an_orderly_close_are_handled(scene: Scene) -> None:
    """What was sent before the close frame has been done, in order, though nobody waits for the answers."""
    reader = await scene.chat("reader")
    await reader.ask("channel:join", {"channel": "room:last-words"})
    client = await scene.chat()
    words = [masked(event("message:send", {"channel": "room:last-words", "text": str(n)}, ack=n)) for n in range(100)]
    client.push(b"".join(words) + masked(b"\x03\xe8", Opcode.CLOSE))
    created = await reader.events("message:created", 100)
    assert [data["message"]["text"] for data in created] == [str(number) for number in range(100)]
    await scene.ended(client, "client closed", 1000)
    await client.eof()
    await reader.leave()
    await scene.clean()


async def test_acks_before_a_disconnect_are_written(scene: Scene) -> None:
    """Socket.IO's DISCONNECT stands in line behind the commands: each has its ack before the session ends."""
    client = await scene.chat()
    words = [masked(event("message:send", {"channel": "room:goodbye", "text": str(n)}, ack=n)) for n in range(20)]
    client.push(b"".join(words) + masked("41/chat,"))
    acks = [(await client.text()).split("[")[0] for _ in range(20)]
    assert acks == [f"43/chat,{number}" for number in range(20)]
    await scene.server.settled(sessions=1)
    await client.leave()
    await scene.clean()


async def test_commands_behind_a_disconnect_do_not_count(scene: Scene) -> None:
    """They are neither done nor logged: a client could pack hundreds of them behind its goodbye."""
    client = await scene.chat(user := "packer")
    words = [masked(event("channel:leave", {"channel": "room:behind"}, ack=number)) for number in range(20)]
    client.push(masked(event("message:send", {"channel": "room:behind", "text": "last"}, ack=99)))
    client.push(masked("41/chat,") + b"".join(words))
    await scene.server.settled(sessions=1)
    await client.leave()
    await scene.ended(client, "client left", 1000)
    commands = [line["name"] for line in scene.server.lines if line.get("event") == "command" and line["user"] == user]
    assert commands == ["message:send"]
    await scene.clean()


async def test_close_frames_cross(scene: Scene) -> None:
    """Where both sides close at once, both are done at once."""
    client = await scene.chat()
    client.push(masked("41/chat,") + masked(b"\x03\xe8", Opcode.CLOSE))
    await client.eof(timeout=1.0)
    await scene.clean()
