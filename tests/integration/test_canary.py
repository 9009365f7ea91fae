"""A token in every wrong place: it stands in no log line and in no answer, at the chattiest level, in both formats."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import quote

import pytest
import pytest_asyncio

from loadtest.frames import Opcode
from tests.clients.frames import masked, unmasked
from tests.clients.raw import PATH, Gone, RawSocket, connect, event, handshake
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = token("canary", note="canary-in-the-mine")
"""Signed and sound, so that whatever takes it for a token can use it."""

HEADER, CLAIMS, SIGNATURE = CANARY.split(".")
ENCODED = "".join(f"%{byte:02X}" for byte in CANARY.encode())
TWICE = quote(CANARY.replace(".", "%2E"))

# The header is the same in every token of one algorithm, so alone it would tell nothing; with its dot it is a token's.
TRACES = (CLAIMS, SIGNATURE, HEADER + ".", ENCODED, ENCODED.lower(), TWICE, CANARY[::-1])

NAMES = (
    "token access_token id_token refresh_token auth authorization bearer jwt api_key apikey Token AUTH x q sid EIO t"
)

URLS = {
    **{f"query: {name}": f"{PATH}&{name}={CANARY}" for name in NAMES.split()},
    "query: encoded": f"{PATH}&x={ENCODED}",
    "query: encoded twice": f"{PATH}&x={TWICE}",
    "query: a name": f"{PATH}&{CANARY}=1",
    "query: a bare name": f"{PATH}&{CANARY}",
    "query: among others": f"{PATH}&x=a{CANARY}b",
    "query: in JSON": f"{PATH}&auth=" + quote(json.dumps({"token": CANARY})),
    "query: instead of a transport": f"/socket.io/?EIO=4&transport={CANARY}",
    "query: /dev/token": f"/dev/token?user={CANARY}",
    "query: /dev/token, ttl": f"/dev/token?user=a&ttl={CANARY}",
    "query: /dev/token, another": f"/dev/token?token={CANARY}",
    "path": f"/{CANARY}",
    "path: encoded": f"/{ENCODED}",
    "path: below socket.io": f"/socket.io/{CANARY}",
    "path: below demo": f"/demo/{CANARY}",
    "path: below demo, with a NUL": f"/demo/%00{CANARY}",
    "path: fragment": f"/socket.io/#{CANARY}",
    "path: absolute": f"http://user:{CANARY}@127.0.0.1{PATH}",
}

HEADERS = {
    name: {name: value}
    for name, value in {
        "Authorization": f"Bearer {CANARY}",
        "Proxy-Authorization": CANARY,
        "Cookie": f"token={CANARY}; {CANARY}={CANARY}",
        "Host": CANARY,
        "Origin": f"https://{CANARY}",
        "User-Agent": CANARY,
        "Referer": f"https://chat.example.com/?token={CANARY}",
        "X-Forwarded-For": CANARY,
        "Forwarded": f"for={CANARY}",
        "Sec-WebSocket-Key": CANARY,
        "Sec-WebSocket-Protocol": CANARY,
        "Sec-WebSocket-Version": CANARY,
        "Sec-WebSocket-Extensions": CANARY,
        "Upgrade": CANARY,
        "Connection": CANARY,
        "Content-Length": CANARY,
        "Transfer-Encoding": CANARY,
        "Expect": CANARY,
        CANARY: CANARY,
    }.items()
}

ECHOED = ("Expect", "Content-Length", "Transfer-Encoding")

MALFORMED = {
    "no HTTP": CANARY.encode() + b"\r\n\r\n",
    "method": f"{CANARY} / HTTP/1.1\r\n\r\n".encode(),
    "version": f"GET / {CANARY}\r\nHost: x\r\n\r\n".encode(),
    "header without a colon": f"GET / HTTP/1.1\r\n{CANARY}\r\n\r\n".encode(),
    "header with a NUL": f"GET / HTTP/1.1\r\nX: \0{CANARY}\r\n\r\n".encode(),
    "header too long": f"GET / HTTP/1.1\r\nX: {CANARY * 60}\r\n\r\n".encode(),
    "path too long": f"GET /{CANARY * 60} HTTP/1.1\r\n\r\n".encode(),
    "folded header": f"GET / HTTP/1.1\r\nX: a\r\n {CANARY}\r\n\r\n".encode(),
    "TLS": b"\x16\x03\x01" + CANARY.encode() + b"\r\n\r\n",
}

PACKETS = {
    "CONNECT: wrong key": connect({"Token": CANARY, "jwt": CANARY}),
    "CONNECT: in a list": connect({"token": [CANARY]}),
    "CONNECT: in an object": connect({"token": {"token": CANARY}}),
    "CONNECT: as the payload": f'40/chat,"{CANARY}"',
    "CONNECT: as a list": f'40/chat,["{CANARY}"]',
    "CONNECT: cut off": connect({"token": CANARY})[:-3],
    "CONNECT: with a word before it": connect({"token": f"Bearer {CANARY}"}),
    "CONNECT: with one character more": connect({"token": CANARY + "x"}),
    "CONNECT: resume": connect({"token": CANARY, "resume": {CANARY: {"epoch": CANARY, "offset": CANARY}}}),
    "CONNECT: namespace": f"40/{CANARY},{{}}",
    "CONNECT: namespace's query": f'40/chat?token={CANARY},{{"token":"x"}}',
    "CONNECT: other namespace": connect({"token": CANARY}, "/other"),
    "CONNECT: ack id": f"40/chat,1{CANARY}",
    "EVENT before CONNECT": event("auth", {"token": CANARY}),
    "no Socket.IO type": f"4{CANARY}",
    "no Engine.IO type": CANARY,
    "Engine.IO pong": f"3{CANARY}",
    "base64": f"b{CANARY}",
    "CONNECT_ERROR": f'44/chat,"{CANARY}"',
    "binary event": f'451-/chat,["{CANARY}"]',
    "ack": f'43/chat,1["{CANARY}"]',
    "DISCONNECT": f'41/chat,"{CANARY}"',
}

FRAMES = {
    "unmasked": unmasked(CANARY),
    "reserved bits": masked(CANARY, reserved=7),
    "not UTF-8": masked(CANARY.encode() + b"\xff"),
    "binary": masked(CANARY, Opcode.BINARY),
    "close reason": masked(b"\x03\xe8" + CANARY.encode()[:120], Opcode.CLOSE),
    "close reason, bad code": masked(b"\x00\x00" + CANARY.encode()[:120], Opcode.CLOSE),
    "nested": masked(CANARY, final=False) + masked(CANARY),
    "too long": masked(CANARY * 300),
}

ROOM = "room:canary"
COMMANDS: dict[str, tuple[str, object]] = {
    "event name": (CANARY, {}),
    "payload": ("channel:join", CANARY),
    "field name": ("channel:join", {CANARY: CANARY}),
    "channel": ("channel:join", {"channel": CANARY}),
    "channel, in small letters": ("channel:leave", {"channel": CANARY.lower()}),
    "epoch": ("channel:join", {"channel": ROOM, "since": {"epoch": CANARY[:64], "offset": 1}}),
    "offset": ("channel:join", {"channel": ROOM, "since": {"epoch": "e", "offset": CANARY}}),
    "history": ("channel:join", {"channel": ROOM, "history": CANARY}),
    "key": ("message:send", {"channel": ROOM, "text": "x", "key": CANARY}),
    "reply_to": ("message:send", {"channel": ROOM, "text": "x", "reply_to": CANARY}),
    "id": ("message:edit", {"channel": ROOM, "id": CANARY, "text": "x"}),
    "short id": ("message:delete", {"channel": ROOM, "id": CANARY[:64]}),
    "data": ("message:send", {"channel": ROOM, "text": "x", "data": [CANARY]}),
    "too much data": ("message:send", {"channel": ROOM, "text": "x", "data": {CANARY: CANARY * 60}}),
    "too long a text": ("message:send", {"channel": ROOM, "text": CANARY * 30}),
    "refresh: wrong key": ("auth:refresh", {"jwt": CANARY}),
    "refresh: another user's": ("auth:refresh", {"token": CANARY}),
    "refresh: broken": ("auth:refresh", {"token": CANARY + "x"}),
    "refresh: as a list": ("auth:refresh", [CANARY]),
}

LEGITIMATE: dict[str, dict[str, object]] = {
    "text": {"text": CANARY},
    "text among words": {"text": f"my token is {CANARY}, keep it"},
    "data": {"text": "x", "data": {CANARY: [CANARY]}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["json", "console"])
async def loud(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServerProcess]:
    """A server that says all it can; at the end, all that it said is searched, also what it wrote while stopping."""
    env = {
        "MARU_LOG_LEVEL": "debug",
        "MARU_LOG_FORMAT": request.param,
        "MARU_DEV": "1",
        "MARU_ALLOWED_ORIGINS": "https://chat.example.com",
    }
    async with ServerProcess(tmp_path_factory.mktemp("canary"), env) as process:
        yield process
        assert await process.terminate() == 0
        unseen(process.output, "the log")
        assert "Traceback" not in process.output


def unseen(text: str, where: str) -> None:
    """No trace of the canary."""
    found = [trace for trace in TRACES if trace in text]
    assert not found, f"{where}: ...{text[max(0, text.index(found[0]) - 300) :][:700]}"


async def answers(client: RawSocket) -> str:
    """All that the server says to a client that then ends."""
    with suppress(Gone, ConnectionError):
        client.finish()
    return (await client.rest()).decode(errors="replace")


async def answer(client: RawSocket, request: bytes) -> str:
    """What the server says to one HTTP request."""
    client.push(request)
    with suppress(Gone):
        return b"".join(await client.whole_response()).decode(errors="replace")
    return ""


async def test_in_urls(loud: ServerProcess) -> None:
    """Query and path, under any name, encoded or not; at the Socket.IO path a token is refused as one."""
    for where, url in URLS.items():
        client = await RawSocket.dial(loud.port)
        said = await answer(client, handshake(url))
        client.vanish()
        unseen(said, where)
        assert said.startswith("HTTP/1.1 "), where
        assert "token_in_query" in said or not url.startswith("/socket.io/?"), where


async def test_in_headers(loud: ServerProcess) -> None:
    """Every header that a client, a proxy or a browser sets."""
    for where, headers in HEADERS.items():
        client = await RawSocket.dial(loud.port)
        said = await answer(client, handshake(headers=headers))
        client.vanish()
        unseen("" if where in ECHOED else said, where)


async def test_in_malformed_requests(loud: ServerProcess) -> None:
    """Requests that are none, on both ports: see the log."""
    for data in MALFORMED.values():
        for port in (loud.port, loud.internal_port):
            client = await RawSocket.dial(port)
            await answer(client, data)
            client.vanish()


async def test_answers_to_malformed_requests_repeat_nothing(loud: ServerProcess) -> None:
    """Not even to who sent it."""
    requests = MALFORMED | {name: handshake(headers=HEADERS[name]) for name in ECHOED}
    for where, request in requests.items():
        client = await RawSocket.dial(loud.port)
        said = await answer(client, request)
        client.vanish()
        unseen(said, where)


async def test_in_packets(loud: ServerProcess) -> None:
    """Packets before a session, sound and malformed."""
    for where, packet in PACKETS.items():
        client = await RawSocket.open(loud.port)
        await client.say(packet)
        unseen(await answers(client), where)


async def test_in_frames(loud: ServerProcess) -> None:
    """Frames that can't be read, before a session and in one."""
    for where, frames in FRAMES.items():
        for joined in (False, True):
            client = await RawSocket.open(loud.port)
            if joined:
                await client.join_chat(token("alice"))
            await client.send(frames)
            unseen(await answers(client), where)


async def test_in_commands(loud: ServerProcess) -> None:
    """Every field of every command that is answered with an error."""
    client = await RawSocket.chat(loud.port, token("alice"))
    for where, (name, payload) in COMMANDS.items():
        answer = await client.ask(name, payload)
        if not answer["ok"]:
            unseen(json.dumps(answer), where)
    await client.leave()


async def test_in_messages(loud: ServerProcess) -> None:
    """A client's own message is delivered as it is, and still not logged; nor is a session that uses the token."""
    client = await RawSocket.chat(loud.port, CANARY)
    assert (await client.ask("channel:join", {"channel": ROOM}))["ok"]
    for fields in LEGITIMATE.values():
        sent = await client.ask("message:send", {"channel": ROOM, **fields})
        assert sent["message"]["text"] == fields["text"]
        assert (await client.event("message:created"))["message"]["data"] == fields.get("data")
    assert (await client.ask("auth:refresh", {"token": CANARY}))["ok"]
    await client.leave()


async def test_in_the_log(loud: ServerProcess) -> None:
    """After all of it the output holds no trace; it does hold the lines of what happened."""
    unseen(loud.output, "the log")
    assert "connection.closed" in loud.output
    assert "bad_request" in loud.output
