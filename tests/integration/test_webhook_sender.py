"""Requests to webhooks over real connections: signatures, answers, and receivers that do not behave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import web
from standardwebhooks import Webhook

from server.adapters.webhooks.sender import BODY_S, MAX_ANSWER_BYTES, HttpSender
from server.domain.signing import SigningKey
from server.domain.webhooks import Answer, Endpoint, Outcome
from tests.harness.process import free_port
from tests.harness.receiver import SECRET, Received, WebhookReceiver

BODY = b'{"type":"message.created","timestamp":"2026-01-31T12:00:00.000Z","data":{"channel":"room:1","offset":1}}'
TIMEOUT_S = 0.5


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    """A receiver."""
    async with WebhookReceiver() as running:
        yield running


@pytest_asyncio.fixture
async def sender() -> AsyncIterator[HttpSender]:
    """A sender that waits half a second."""
    made = HttpSender("Maru/test", TIMEOUT_S)
    yield made
    await made.aclose()


def endpoint(url: str, *secrets: str) -> Endpoint:
    """An endpoint with these secrets, or the receiver's."""
    return Endpoint("crm", url, tuple(SigningKey.parse(secret) for secret in secrets or (SECRET,)))


async def test_the_bytes_that_are_sent_are_signed(receiver: WebhookReceiver, sender: HttpSender) -> None:
    """The receiver verifies them, and finds the headers of Standard Webhooks; the connection is used again."""
    for number in range(3):
        assert await sender.post(endpoint(receiver.url("crm")), f"id-{number}", BODY) == Answer(Outcome.ACCEPTED, 204)
    first, *rest = receiver.received["crm"]
    assert first.headers["content-type"] == "application/json"
    assert first.headers["user-agent"] == "Maru/test"
    assert [each.id for each in (first, *rest)] == ["id-0", "id-1", "id-2"]
    assert {each.peer for each in rest} == {first.peer}


async def test_during_a_rotation(receiver: WebhookReceiver, sender: HttpSender) -> None:
    """A receiver with either secret believes it; a receiver with another does not."""
    old = f"whsec_{'A' * 32}"
    await sender.post(endpoint(receiver.url("crm"), f"whsec_{'B' * 32}", SECRET), "id-1", BODY)
    await sender.post(endpoint(receiver.url("crm"), SECRET, old), "id-2", BODY)
    second = receiver.received["crm"][1]
    Webhook(old).verify(BODY, dict(second.headers))
    answer = await sender.post(endpoint(receiver.url("crm"), old), "id-3", BODY)
    assert answer.outcome is Outcome.FAILED  # the test's receiver stumbles over it
    assert len(receiver.received["crm"]) == 2


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "accepted"), (400, "refused"), (410, "gone"), (425, "busy"), (503, "failed")]
)
async def test_statuses(receiver: WebhookReceiver, sender: HttpSender, status: int, outcome: str) -> None:
    """Each has its outcome."""

    async def reply(_: Received) -> int:
        return status

    receiver.replies["crm"] = reply
    answer = await sender.post(endpoint(receiver.url("crm")), "id", BODY)
    assert answer == Answer(Outcome(outcome), status)


async def test_a_redirect_is_not_followed(receiver: WebhookReceiver, sender: HttpSender) -> None:
    """It could lead to a place that the operator did not name."""

    async def reply(_: Received) -> web.Response:
        return web.Response(status=302, headers={"location": receiver.url("inside")})

    receiver.replies["crm"] = reply
    assert await sender.post(endpoint(receiver.url("crm")), "id", BODY) == Answer(Outcome.REDIRECTED, 302)
    assert not receiver.received["inside"]


async def test_a_wish_is_told(receiver: WebhookReceiver, sender: HttpSender) -> None:
    """Retry-After in seconds."""

    async def reply(_: Received) -> web.Response:
        return web.Response(status=429, headers={"retry-after": "7"})

    receiver.replies["crm"] = reply
    assert await sender.post(endpoint(receiver.url("crm")), "id", BODY) == Answer(Outcome.BUSY, 429, 7.0)


async def test_a_receiver_that_hangs(receiver: WebhookReceiver, sender: HttpSender) -> None:
    """It is given up in time."""

    async def never(_: Received) -> int:
        await asyncio.sleep(60)
        return 200

    receiver.replies["crm"] = never
    async with asyncio.timeout(TIMEOUT_S + 5):
        assert await sender.post(endpoint(receiver.url("crm")), "id", BODY) == Answer(Outcome.TIMED_OUT)


async def _endless(pause_s: float) -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 4_096
        await asyncio.sleep(pause_s)


async def test_an_answer_without_an_end(receiver: WebhookReceiver, sender: HttpSender) -> None:
    """A bounded part is read, for a bounded time; the status counts."""
    for pause_s in (0, 0.1):

        async def reply(_: Received, pause_s: float = pause_s) -> web.StreamResponse:
            return web.Response(body=_endless(pause_s))

        receiver.replies["crm"] = reply
        async with asyncio.timeout(BODY_S + 5):
            assert await sender.post(endpoint(receiver.url("crm")), "id", BODY) == Answer(Outcome.ACCEPTED, 200)
    assert MAX_ANSWER_BYTES == 65_536


async def test_a_connection_that_is_cut(receiver: WebhookReceiver, sender: HttpSender) -> None:
    """Before the answer."""

    async def reply(_: Received) -> int:
        raise ConnectionResetError

    receiver.replies["crm"] = reply
    assert await sender.post(endpoint(receiver.url("crm")), "id", BODY) == Answer(Outcome.UNREACHABLE)


async def test_nobody_is_there(sender: HttpSender) -> None:
    """A port that nobody listens on, a name that nobody has."""
    for url in (f"http://127.0.0.1:{free_port()}/", "http://nobody.invalid/"):
        answer = await sender.post(endpoint(url), "id", BODY)
        assert answer.outcome in {Outcome.UNREACHABLE, Outcome.TIMED_OUT}


@asynccontextmanager
async def speaking(answer: bytes) -> AsyncIterator[int]:
    """A server that says the same to everybody."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"",
    ],
)
async def test_a_receiver_that_speaks_no_http(sender: HttpSender, answer: bytes) -> None:
    """As if nobody were there."""
    async with speaking(answer) as port:
        got = await sender.post(endpoint(f"http://127.0.0.1:{port}/"), "id", BODY)
    assert got.outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\n\r\nok",
    ],
)
async def test_the_status_counts_whatever_the_body_is(sender: HttpSender, answer: bytes) -> None:
    """The receiver has the events; to send them again would not mend its answer."""
    async with speaking(answer) as port:
        got = await sender.post(endpoint(f"http://127.0.0.1:{port}/"), "id", BODY)
    assert got == Answer(Outcome.ACCEPTED, 200)


async def test_no_proxy_of_the_environment_is_asked(
    receiver: WebhookReceiver, sender: HttpSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would see the events."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert (await sender.post(endpoint(receiver.url("crm")), "id", BODY)).outcome is Outcome.ACCEPTED


async def test_a_cookie_is_not_kept(receiver: WebhookReceiver, sender: HttpSender) -> None:
    """Requests know nothing of each other."""

    async def reply(_: Received) -> web.Response:
        return web.Response(headers={"set-cookie": "a=b"})

    receiver.replies["crm"] = reply
    for _ in range(2):
        await sender.post(endpoint(receiver.url("crm")), "id", BODY)
    assert "cookie" not in receiver.received["crm"][1].headers
