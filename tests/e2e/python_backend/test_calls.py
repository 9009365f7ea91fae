"""Calls of the Python SDK against answers of every kind: tried again if time heals, under one key, within bounds."""

import asyncio
import logging
import traceback
from typing import Any

import pytest
from aiohttp import web

from maru_backend import Author, MaruBackend, MaruError, Patience, Tombstone
from tests.e2e.python_backend.scripted import LOST, Scripted, broadcasting, refusal, sent
from tests.harness.process import free_port

KEY = "canary-api-key-7f3a"

QUICK = Patience(total=5.0, attempt=2.0, lowest=0.01, highest=0.05)

BRIEF = Patience(total=0.5, lowest=0.01, highest=0.05)


def client(url: str, patience: Patience = QUICK) -> MaruBackend:
    """A client whose pauses are short."""
    return MaruBackend(url, KEY, patience=patience)


async def refused(server: Scripted, patience: Patience = QUICK) -> MaruError:
    """The error of a send."""
    async with client(server.url, patience) as backend:
        with pytest.raises(MaruError) as caught:
            await backend.post_message("room:a", "ann", "hi")
        return caught.value


@pytest.fixture(autouse=True)
def canary(caplog: pytest.LogCaptureFixture) -> Any:
    """No API key appears in a log line, however much is logged."""
    caplog.set_level(logging.DEBUG)
    yield
    assert KEY not in caplog.text


async def test_a_call_is_tried_until_it_is_answered_under_one_key() -> None:
    """Refusals that time heals, lost connections and a proxy's own answers are tried again: same key, same body."""

    async def gateway(_: Any) -> web.Response:
        return web.Response(status=502, text="<h1>Bad Gateway</h1>")

    answers = [(503, refusal("unavailable")), LOST, gateway, (429, refusal("rate_limited", retry_after_ms=30))]
    async with Scripted.serving(*answers, sent(7)) as server, client(server.url) as backend:
        result = await backend.post_message("room:a", Author("ann", "Ann"), "hi", data={"x": 1}, reply_to="m1")
    assert (result.offset, result.duplicate, len(server.heard)) == (7, False, 5)
    assert len({heard.key for heard in server.heard}) == 1
    assert len(server.heard[0].key or "") >= 32
    for heard in server.heard:
        assert heard.body == {
            "author": {"id": "ann", "name": "Ann"},
            "text": "hi",
            "data": {"x": 1},
            "reply_to": "m1",
        }
        assert heard.headers["Authorization"] == f"Bearer {KEY}"
        assert (heard.method, heard.raw_path) == ("POST", "/api/v1/channels/room%3Aa/messages")


async def test_each_send_has_a_key_of_its_own_unless_it_is_given_one() -> None:
    """So a repetition after a restart of the program can be told."""
    async with Scripted.serving(sent()) as server, client(server.url) as backend:
        for key in (None, None, "order-17"):
            await backend.post_message("room:a", "ann", "hi", key=key)
    first, second, third = (heard.key for heard in server.heard)
    assert first != second
    assert third == "order-17"


async def test_an_error_that_time_can_not_heal_is_raised_at_once_with_all_that_is_known() -> None:
    """Code, message, details, status, and the id of the request in the server's log."""
    answer = web.json_response(
        refusal("bad_request", retryable=False, details={"field": "text"}), status=400, headers={"X-Request-Id": "r-1"}
    )

    async def once(_: Any) -> web.Response:
        return answer

    async with Scripted.serving(once) as server:
        error = await refused(server)
    assert (error.code, error.message, error.retryable) == ("bad_request", "as the test says", False)
    assert (error.details, error.status, error.request_id) == ({"field": "text"}, 400, "r-1")
    assert str(error) == "bad_request: as the test says (request r-1)"
    assert len(server.heard) == 1


async def test_the_client_names_its_request() -> None:
    """An error without an answer carries the id that the server has seen, if it has seen it."""
    async with Scripted.serving(LOST) as server:
        error = await refused(server, BRIEF)
    assert (error.code, error.retryable, error.status) == ("offline", True, 0)
    assert {heard.headers["X-Request-Id"] for heard in server.heard} == {error.request_id}
    assert len(server.heard) > 1


@pytest.mark.parametrize(
    "answer", [(302, {}), (404, {}), (500, {}), (200, []), (200, {"message": {}}), (401, {"error": 1})]
)
async def test_an_answer_that_is_none_of_marus_says_so(answer: Any) -> None:
    """Of another server at this address, or of another version: no retry, and no exception of another kind."""
    async with Scripted.serving(answer) as server:
        assert (await refused(server)).code == "bad_answer"
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    ("status", "body", "headers", "code"),
    [
        (200, "[" * 200_000, {}, "bad_answer"),
        (503, "", {"Retry-After": "9" * 5_000}, "unavailable"),
        (
            429,
            f'{{"error": {{"code": "rate_limited", "retryable": true, "retry_after_ms": {"9" * 400}}}}}',
            {},
            "rate_limited",
        ),
    ],
)
async def test_an_absurd_answer_is_an_error_as_any_other(
    status: int, body: str, headers: dict[str, str], code: str
) -> None:
    """Nested too deeply, or asking for a wait beyond all numbers."""

    async def absurd(_: Any) -> web.Response:
        return web.Response(status=status, text=body, headers=headers)

    async with Scripted.serving(absurd) as server:
        assert (await refused(server)).code == code
    assert len(server.heard) == 1


async def test_a_redirection_is_not_followed() -> None:
    """The key goes to no other server."""
    async with Scripted.serving(sent()) as other:

        async def away(_: Any) -> web.Response:
            return web.Response(status=307, headers={"Location": other.url})

        async with Scripted.serving(away) as server:
            assert (await refused(server)).code == "bad_answer"
    assert other.heard == []


async def test_time_is_bounded() -> None:
    """No server, a server that hangs, and a wait longer than the time left: the last error, in time."""
    loop = asyncio.get_running_loop()
    patience = Patience(total=0.6, attempt=0.2, lowest=0.01, highest=0.05)
    began = loop.time()
    async with client(f"http://127.0.0.1:{free_port()}", patience) as backend:
        with pytest.raises(MaruError) as nobody:
            await backend.post_message("room:a", "ann", "hi")
    assert nobody.value.code == "offline"
    assert KEY not in "".join(traceback.format_exception(nobody.value))

    async def hang(_: Any) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with Scripted.serving(hang) as server:
        assert (await refused(server, patience)).code == "timeout"
        assert len(server.heard) > 1
    async with Scripted.serving((429, refusal("rate_limited", retry_after_ms=60_000))) as server:
        error = await refused(server)
        assert (error.code, error.retry_after_ms, len(server.heard)) == ("rate_limited", 60_000, 1)
    assert loop.time() - began < 10


def test_pauses_are_jittered_capped_and_never_shorter_than_asked_for() -> None:
    """Full jitter between nothing and a bound that doubles from 0.2 to 5 s."""
    error = MaruError("unavailable", "")
    highest = Patience(spread=lambda: 1.0)
    assert [highest.pause(failures, error) for failures in (0, 1, 2, 5, 100)] == [0.2, 0.4, 0.8, 5.0, 5.0]
    assert Patience(spread=lambda: 0.0).pause(9, error) == 0.0
    asked = MaruError("rate_limited", "", retry_after_ms=1_500)
    assert Patience(spread=lambda: 0.0).pause(0, asked) == 1.5


async def test_connections_are_kept() -> None:
    """A hundred calls, one after another, over one connection."""
    async with Scripted.serving(sent()) as server, client(server.url) as backend:
        for _ in range(100):
            await backend.post_message("room:a", "ann", "hi")
    assert len({heard.peer for heard in server.heard}) == 1


async def test_names_keep_their_place_in_the_path() -> None:
    """A slash, dots or a question mark in a user's id lead nowhere else."""
    async with Scripted.serving(sent()) as server, client(server.url) as backend:
        for name in ("a/b", "..", ".", "a?b#c", "é %2F"):
            await backend.post_message(name, "ann", "hi")
        with pytest.raises(MaruError, match="bad_request"):
            await backend.post_message("", "ann", "hi")
    assert [heard.raw_path.removeprefix("/api/v1/channels/").removesuffix("/messages") for heard in server.heard] == [
        "a%2Fb",
        "%2E%2E",
        "%2E",
        "a%3Fb%23c",
        "%C3%A9%20%252F",
    ]


async def test_what_can_not_be_said_in_json_is_a_bad_request() -> None:
    """Before anything is sent."""
    async with Scripted.serving(sent()) as server, client(server.url) as backend:
        for text, data in (("\ud800", None), ("x", {"x": float("nan")}), ("x", {"x": object()})):
            with pytest.raises(MaruError, match="bad_request"):
                await backend.post_message("room:a", "ann", text, data=data)
        with pytest.raises(ValueError, match="idempotency key"):
            await backend.post_message("room:a", "ann", "x", key="a\r\nb")
    assert server.heard == []


async def test_a_message_that_was_deleted_since_is_told_as_such() -> None:
    """The answer to a repetition has no text."""
    deleted = {"id": "m1", "channel": "room:a", "deleted": True, "offset": 1}
    body = {"message": deleted, "epoch": "e1", "offset": 1, "duplicate": True}
    async with Scripted.serving((200, body)) as server, client(server.url) as backend:
        result = await backend.post_message("room:a", "ann", "hi", key="k")
    assert result.message == Tombstone("m1", "room:a", 1)
    assert result.duplicate


async def test_the_key_is_shown_nowhere() -> None:
    """Neither `repr` nor the error for a bad key or address shows it, nor an address that holds a password."""
    assert KEY not in repr(client("http://127.0.0.1:9"))
    for key in (f"{KEY}\n", f"{KEY} x", "", f"{KEY}é"):
        with pytest.raises(ValueError, match="the key") as caught:
            MaruBackend("http://127.0.0.1:9", key)
        assert KEY not in str(caught.value)
    for url in ("", "127.0.0.1:9", "ftp://a", f"http://user:{KEY}@host", "http://a/?x=1"):
        with pytest.raises(ValueError, match="address of the HTTP API") as caught:
            MaruBackend(url, KEY)
        assert KEY not in str(caught.value)


async def test_a_client_is_entered_once_and_closed() -> None:
    """Calls before and after say so, and a call in flight ends with the client."""
    backend = client("http://127.0.0.1:9")
    with pytest.raises(RuntimeError, match="enter the client"):
        await backend.post_message("room:a", "ann", "hi")
    arrived = asyncio.Event()

    async def hang(_: Any) -> web.Response:
        arrived.set()
        await asyncio.sleep(30)
        return web.Response()

    async with Scripted.serving(hang) as server:
        async with client(server.url, Patience()) as backend:
            with pytest.raises(RuntimeError, match="entered already"):
                await backend.__aenter__()
            call = asyncio.ensure_future(backend.post_message("room:a", "ann", "hi"))
            await arrived.wait()
        for closed in (call, backend.post_message("room:a", "ann", "hi")):
            with pytest.raises(MaruError, match="closed"):
                await closed


async def test_an_erasure_is_asked_for_until_it_is_done() -> None:
    """Under one key, and each time for less than a try may last; or until its time is over."""
    undone, done = (200, {"erased": 5, "done": False}), (200, {"erased": 9, "done": True})
    async with Scripted.serving(undone, LOST, undone, done) as server, client(server.url) as backend:
        erasure = await backend.erase_messages("a/b")
    assert (erasure.erased, erasure.done) == (9, True)
    assert {heard.key for heard in server.heard} == {erasure.key}
    assert {heard.raw_path for heard in server.heard} == {"/api/v1/users/a%2Fb/messages?wait_s=1"}
    async with Scripted.serving(undone) as server, client(server.url) as backend:
        erasure = await backend.erase_messages("ann", within=0.5, key="mine")
    assert (erasure.erased, erasure.done, erasure.key) == (5, False, "mine")
    assert len(server.heard) > 1


# Broadcasts


async def test_a_broadcast_tries_again_what_failed_for_now_and_nothing_else() -> None:
    """Each channel has its outcome in its place; a bad name fails at once, alone."""
    tries: dict[str, int] = {}

    def outcome(name: str) -> Any:
        tries[name] = tries.get(name, 0) + 1
        if name == "Bad":
            return refusal("bad_request", retryable=False)
        return refusal("unavailable") if name.startswith("late") and tries[name] < 3 else None

    names = ["a", "late:1", "Bad", "b", "late:2", "a"]
    async with Scripted.serving(broadcasting(outcome)) as server, client(server.url) as backend:
        result = await backend.broadcast(names, "ann", "hi")
    assert [each.channel for each in result.results] == names
    assert [each.ok for each in result.results] == [True, True, False, True, True, True]
    assert [(each.channel, each.error.code) for each in result.failed if each.error] == [("Bad", "bad_request")]
    assert [heard.body["channels"] for heard in server.heard if heard.body] == [names, *[["late:1", "late:2"]] * 2]
    assert {heard.key for heard in server.heard} == {result.key}


async def test_a_broadcast_that_is_refused_as_a_whole_later_keeps_what_is_known() -> None:
    """The outcomes of the first answer stand; the others have the last error."""
    first = broadcasting(lambda name: refusal("unavailable") if name == "late" else None)
    for last, code in (
        ((503, refusal("overloaded")), "overloaded"),
        ((403, refusal("permission_denied", retryable=False)), "permission_denied"),
    ):
        async with Scripted.serving(first, last) as server, client(server.url, BRIEF) as backend:
            result = await backend.broadcast(["a", "late"], "ann", "hi")
        assert result.results[0].ok
        assert result.results[1].error is not None
        assert result.results[1].error.code == code


async def test_a_broadcast_is_neither_split_nor_matched_by_guess() -> None:
    """1..1,000 channels a call; an answer for other channels is no answer."""
    async with Scripted.serving(broadcasting(lambda _: None)) as server, client(server.url) as backend:
        assert not (await backend.broadcast([f"c:{number}" for number in range(1_000)], "ann", "hi")).failed
        for count in (0, 1_001):
            with pytest.raises(MaruError, match="bad_request"):
                await backend.broadcast([f"c:{number}" for number in range(count)], "ann", "hi")
    assert len(server.heard) == 1
    swapped = (200, {"results": [{"channel": "b", "ok": False, **refusal("internal")}], "failed": 1})
    async with Scripted.serving(swapped) as server, client(server.url) as backend:
        with pytest.raises(MaruError, match="bad_answer"):
            await backend.broadcast(["a"], "ann", "hi")
