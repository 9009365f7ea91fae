"""The HTTP API of backends: real requests to a real server, heard by real clients."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from openapi_spec_validator import validate

from server.api.backends.reading import BODY_S
from tests.clients.backend import API_KEY, Answered, Backend
from tests.clients.bystander import Bystander
from tests.clients.raw import RawSocket
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER_ENV = {"MARU_API_KEYS": API_KEY, "MARU_LOG_LEVEL": "debug"}

NAMES = [f"many:{number}" for number in range(1_000)]
BAD = {"many:7": "Many:7", "many:500": "many/500", "many:999": ""}

TEXT = "canary of a text"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(server: ServerProcess) -> AsyncIterator[Backend]:
    """A backend whose key may do everything."""
    async with Backend(f"http://127.0.0.1:{server.internal_port}") as client:
        yield client


def made(answer: Answered) -> dict[str, Any]:
    """The body of an answer without an error."""
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    return body


async def test_members_hear_a_backend(server: ServerProcess, backend: Backend) -> None:
    """As they hear each other: the same message, at the same offset; an edit and a deletion, too."""
    member = await RawSocket.chat(server.port, token("bob"))
    assert (await member.ask("channel:join", {"channel": "room:heard"}))["ok"]
    written = made(
        await backend.ask(
            "POST",
            "/channels/room:heard/messages",
            {"author": {"id": "alice", "name": "Al\u200bice"}, "text": "a\r\nb", "data": {"n": [1, None]}, "more": 1},
        )
    )
    heard = await member.event("message:created")
    assert (heard["message"], heard["epoch"], heard["offset"]) == (written["message"], written["epoch"], 1)
    assert written["message"]["author"] == {"id": "alice", "name": "Alice"}
    assert (written["message"]["text"], written["message"]["data"]) == ("a\nb", {"n": [1, None]})
    path = f"/channels/room:heard/messages/{written['message']['id']}"
    edited = made(await backend.ask("PATCH", path, {"text": "c"}))
    assert (await member.event("message:edited"))["message"] == edited["message"]
    assert (edited["message"]["edited_by"], edited["message"]["data"]) == (
        {"id": "backend", "name": None},
        {"n": [1, None]},
    )
    assert made(await backend.ask("PATCH", path, {"text": "c", "data": None}))["message"]["data"] is None
    assert (await backend.ask("DELETE", path)).status == 204
    gone = (await member.event("message:deleted"))["message"]
    assert gone["deleted_by"] == {"id": "backend", "name": None}
    member.vanish()


async def test_a_repeat_is_the_first_message(backend: Backend) -> None:
    """By channel, author and key; the answer says so in its body and by its header."""
    first = await backend.post("room:key", "hi", "alice", "k")
    again = await backend.post("room:key", "hi", "alice", "k")
    assert made(again) == made(first) | {"duplicate": True}
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    others = [await backend.post("room:key", "hi", user, key) for user, key in [("bob", "k"), ("alice", "l")]]
    others += [await backend.post("room:key") for _ in range(2)]
    assert [made(each)["offset"] for each in others] == [2, 3, 4, 5]


async def test_what_cannot_be_changed(backend: Backend) -> None:
    """An unknown message is 404; a deleted one stays deleted, and an edit of it is a conflict."""
    id = made(await backend.post("room:gone"))["message"]["id"]
    path = f"/channels/room:gone/messages/{id}"
    assert [(await backend.ask("DELETE", path)).status for _ in range(2)] == [204, 204]
    refused = await backend.ask("PATCH", path, {"text": "c"})
    assert (refused.status, refused.body["error"]["code"]) == (409, "conflict")
    for method, body in [("PATCH", {"text": "c"}), ("DELETE", None)]:
        refused = await backend.ask(method, "/channels/room:gone/messages/nothing", body)
        assert (refused.status, refused.body["error"]["code"]) == (404, "not_found")


async def test_history(backend: Backend) -> None:
    """Pages as `history:read` has them, with a version by which an unchanged page is not sent again."""
    for number in range(5):
        await backend.post("room:pages", str(number))
    path = "/channels/room:pages/messages"
    page = await backend.ask("GET", path + "?limit=2")
    body = made(page)
    assert ([each["text"] for each in body["messages"]], body["offset"], body["more"]) == (["3", "4"], 5, True)
    older = made(await backend.ask("GET", path + "?limit=2&before=4&unknown=1"))
    assert [each["text"] for each in older["messages"]] == ["1", "2"]
    newer = made(await backend.ask("GET", path + "?after=3"))
    assert [each["text"] for each in newer["messages"]] == ["3", "4"]
    etag = page.headers["ETag"]
    assert etag == f'"{body["epoch"]}-5"'
    for given in (etag, f'"x", W/{etag}', "*"):
        same = await backend.ask("GET", path + "?limit=2", If_None_Match=given)
        assert (same.status, same.body, same.headers["ETag"]) == (304, None, etag)
    await backend.post("room:pages", "5")
    assert (await backend.ask("GET", path + "?limit=2", If_None_Match=etag)).status == 200
    for query in ("limit=0", "limit=101", "limit=1e1", "before=-1", "after=x", "limit=1&limit=2"):
        assert (await backend.ask("GET", f"{path}?{query}")).status == 400
    assert made(await backend.ask("GET", "/channels/room:unknown/messages"))["messages"] == []


async def test_broadcast(backend: Backend) -> None:
    """To a thousand channels, of which three names are none: a result for each in order, and a repeat finds all."""
    names = [BAD.get(name, name) for name in NAMES]
    body = {"channels": names, "author": {"id": "alice"}, "text": "to all"}
    first = await backend.ask("POST", "/broadcast", body, Idempotency_Key="all")
    again = await backend.ask("POST", "/broadcast", body, Idempotency_Key="all")
    results = made(first)["results"]
    assert (made(first)["failed"], [each["channel"] for each in results]) == (3, names)
    assert [each["channel"] for each in results if not each["ok"]] == [*BAD.values()]
    assert {each["error"]["code"] for each in results if not each["ok"]} == {"bad_request"}
    assert {(each["offset"], each["duplicate"]) for each in results if each["ok"]} == {(1, False)}
    assert made(again)["results"] == [each | {"duplicate": True} if each["ok"] else each for each in results]
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    page = made(await backend.ask("GET", "/channels/many:42/messages"))
    assert [each["id"] for each in page["messages"]] == [results[42]["id"]]


async def test_broadcasts_that_are_none(backend: Backend) -> None:
    """Only the number of names can be wrong, or the message; if all names are bad, all results are."""
    message = {"author": {"id": "alice"}, "text": "to all"}
    for channels in ([], ["a"] * 1_001, "a", [5], None):
        assert (await backend.ask("POST", "/broadcast", message | {"channels": channels})).status == 400
    assert (
        await backend.ask("POST", "/broadcast", {"channels": ["a"], "author": {"id": ""}, "text": ""})
    ).status == 400
    assert made(await backend.ask("POST", "/broadcast", message | {"channels": ["A", "B"]}))["failed"] == 2


async def test_large_bodies(backend: Backend) -> None:
    """As large as they may be, and in one write."""
    text, data = "😀" * 4_000, {"x": "y" * 8_184}
    message = {"author": {"id": "alice"}, "text": text, "data": data}
    assert made(await backend.ask("POST", "/channels/room:large/messages", message))["message"]["text"] == text
    assert (await backend.ask("POST", "/channels/room:large/messages", message | {"text": text + "!"})).status == 400
    too_much = message | {"data": {"x": "y" * 8_185}}
    assert (await backend.ask("POST", "/channels/room:large/messages", too_much)).status == 413
    names = [f"large:{number}:{'x' * 100}" for number in range(1_000)]
    padded = message | {"channels": names, "": " " * 850_000}
    assert made(await backend.ask("POST", "/broadcast", padded))["failed"] == 0
    assert (await backend.ask("POST", "/broadcast", padded | {"": " " * 1_000_000})).status == 413


async def test_half_a_body_costs_a_moment(server: ServerProcess, backend: Backend) -> None:
    """A request whose body does not come is refused in time; nobody else waits for it."""
    began = asyncio.get_running_loop().time()
    client = await RawSocket.dial(server.internal_port)
    await client.send(
        b"POST /api/v1/channels/room:half/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\nAuthorization: Bearer " + API_KEY.encode() + b'\r\n\r\n{"author":'
    )
    assert (await backend.post("room:half")).status == 200
    head, body = await client.whole_response(timeout=BODY_S + 10)
    assert b" 400 " in head
    assert json.loads(body)["error"]["message"] == f"the body did not come within {BODY_S:g} s"
    assert asyncio.get_running_loop().time() - began >= BODY_S
    client.vanish()


async def test_a_client_that_goes_is_told_of(server: ServerProcess) -> None:
    """Its line says that it got no answer, and nothing of it is left."""
    client = await RawSocket.dial(server.internal_port)
    await client.send(
        b"POST /api/v1/broadcast HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Request-Id: gone\r\n"
        b"Content-Length: 100\r\nAuthorization: Bearer " + API_KEY.encode() + b"\r\n\r\n{"
    )
    client.vanish()
    line = await server.logged(lambda line: line.get("request") == "gone")
    assert (line["act"], line["key"], line["outcome"], line["status"]) == ("broadcast", "key-1", "cut_off", 499)


async def test_broadcasts_harm_nobody(server: ServerProcess, backend: Backend) -> None:
    """While backends write as much as they can, clients are answered as ever."""
    body = {"author": {"id": "alice"}, "text": "to all", "channels": [f"load:{number}" for number in range(1_000)]}
    async with Bystander(server.url) as bystander:
        load = [asyncio.ensure_future(backend.ask("POST", "/broadcast", body)) for _ in range(6)]
        while not all(each.done() for each in load):
            await bystander.unharmed()
        assert [made(await each)["failed"] for each in load] == [0] * 6


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"BREW /api/v1/broadcast HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
    ids=["method", "NUL", "long line", "two lengths"],
)
async def test_broken_http(server: ServerProcess, request_bytes: bytes) -> None:
    """It does not get as far as the API, and is answered in its shape all the same."""
    client = await RawSocket.dial(server.internal_port)
    await client.send(request_bytes)
    head, body = await client.whole_response()
    assert b" 400 " in head
    assert json.loads(body)["error"]["code"] == "bad_request"
    client.vanish()


async def test_the_description(backend: Backend) -> None:
    """It is OpenAPI, is the same for everybody, and can be kept."""
    answer = await backend.ask("GET", "/openapi.json")
    validate(made(answer))
    assert answer.headers["Cache-Control"].startswith("public")
    same = await backend.ask("GET", "/openapi.json", If_None_Match=answer.headers["ETag"])
    assert (same.status, same.body) == (304, None)


async def test_clients_do_not_reach_it(server: ServerProcess) -> None:
    """The port of clients has none of it, with or without a key."""
    for key in (API_KEY, None):
        async with aiohttp.ClientSession() as http:
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            async with http.get(f"http://127.0.0.1:{server.port}/api/v1/openapi.json", headers=headers) as answer:
                assert answer.status == 404


async def test_the_audit(server: ServerProcess, backend: Backend) -> None:
    """A line for each act, with the key's name, its target and its outcome; with no text and no key."""
    id = made(
        await backend.ask(
            "POST",
            "/channels/room:audit/messages",
            {"author": {"id": "alice"}, "text": TEXT, "data": {TEXT: TEXT}},
            X_Request_Id="my-id",
            Traceparent="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
        )
    )["message"]["id"]
    await backend.ask("DELETE", "/channels/room:audit/messages/none", X_Request_Id="my-other-id")
    line = await server.logged(lambda line: line.get("request") == "my-id")
    told = {name: line[name] for name in ("event", "act", "key", "channel", "user", "id", "outcome", "status", "trace")}
    assert told == {
        "event": "act",
        "act": "postMessage",
        "key": "key-1",
        "channel": "room:audit",
        "user": "alice",
        "id": id,
        "outcome": "ok",
        "status": 200,
        "trace": "0123456789abcdef0123456789abcdef",
    }
    line = await server.logged(lambda line: line.get("request") == "my-other-id")
    assert (line["act"], line["id"], line["outcome"]) == ("deleteMessage", "none", "not_found")
    assert TEXT not in server.output
    assert API_KEY not in server.output
