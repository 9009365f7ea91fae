"""The checks as a table, the answers to refused requests, and the 101 of the standard's own example."""

import asyncio
import time
from collections.abc import Sequence

import orjson
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage

from server.domain.outcomes import Refusal
from server.domain.proxies import NOBODY
from server.gateway.websocket import refusals
from server.gateway.websocket.admission import Admission
from server.gateway.websocket.handshake import HandshakeChecks, accepted
from server.gateway.websocket.query import MAX_QUERY_CHARS
from server.gateway.websocket.refusals import BUSY_RETRY_S, Refused
from tests.clients.raw import PATH, handshake
from tests.harness.tokens import token


def request(data: bytes) -> RawRequestMessage:
    """As aiohttp's parser reads it."""
    loop = asyncio.get_running_loop()
    messages, _, _ = HttpRequestParser(BaseProtocol(loop), loop, 1 << 16).feed_data(data)
    parsed: RawRequestMessage = messages[0][0]
    return parsed


def checks(origins: Sequence[str] = ("*",), rate: float = 0, burst: int = 1) -> HandshakeChecks:
    """Checks whose clock stands still."""
    return HandshakeChecks(origins, Admission(rate, burst, lambda: 0.0))


FILLER = "x" * MAX_QUERY_CHARS


def sized(size: int) -> str:
    """A path whose query string has so many characters."""
    head, query = PATH.split("?")
    return f"{head}?{query}&x={'x' * (size - len(query) - 3)}"


FAULTS = {
    "nothing": (handshake(), None),
    "more arguments": (handshake(PATH + "&t=abc&lang=ko"), None),
    "Upgrade: WebSocket": (handshake(headers={"Upgrade": "WebSocket"}), None),
    "Connection: keep-alive, Upgrade": (handshake(headers={"Connection": "keep-alive, Upgrade"}), None),
    "a token": (handshake(f"{PATH}&token=x"), Refusal.TOKEN_IN_QUERY),
    "a token by another name": (handshake(f"{PATH}&x={token('mallory')}"), Refusal.TOKEN_IN_QUERY),
    "a token as a name": (handshake(f"{PATH}&{token('mallory')}"), Refusal.TOKEN_IN_QUERY),
    "a token, encoded": (handshake(f"{PATH}&x={token('mallory').replace('.', '%2E')}"), Refusal.TOKEN_IN_QUERY),
    "a token behind the same beginning": (handshake(f"{PATH}&x=eyJ.eyJeyJ0.x"), Refusal.TOKEN_IN_QUERY),
    "a beginning without an end": (handshake(f"{PATH}&x=eyJ.x&y=abceyJ0&z=.eyJ0."), None),
    "a token behind a word": (handshake(f"{PATH}&x=Bearer%20{token('mallory')}"), Refusal.TOKEN_IN_QUERY),
    "a token behind a colon": (handshake(f"{PATH}&x=jwt:{token('mallory')}"), Refusal.TOKEN_IN_QUERY),
    "a token, encoded twice": (
        handshake(f"{PATH}&x={token('mallory').replace('.', '%252e')}"),
        Refusal.TOKEN_IN_QUERY,
    ),
    "a name with the letters": (handshake(f"{PATH}&site=heyjude.example&build=keyjournal-2.10"), None),
    "letters within a word": (handshake(f"{PATH}&site=heyJude.example&x=a-eyJ0.x&y=EYJ0.x&z=eyj0.x"), None),
    "a token by its name in a long query": (handshake(f"{PATH}&{FILLER}&TOKEN=x"), Refusal.TOKEN_IN_QUERY),
    "a long token": (handshake(f"{PATH}&x={token('mallory')}{FILLER}"), Refusal.TOKEN_IN_QUERY),
    "a query of the greatest length": (handshake(sized(MAX_QUERY_CHARS)), None),
    "a query that is longer": (handshake(sized(MAX_QUERY_CHARS + 1)), Refusal.BAD_REQUEST),
    "polling": (handshake(PATH.replace("websocket", "polling")), Refusal.TRANSPORT),
    "a sid": (handshake(PATH + "&sid=x"), Refusal.BAD_REQUEST),
    "no upgrade": (handshake(headers={"Upgrade": "", "Connection": ""}), Refusal.BAD_REQUEST),
    "Upgrade: h2c": (handshake(headers={"Upgrade": "h2c"}), Refusal.BAD_REQUEST),
    "version 8": (handshake(headers={"Sec-WebSocket-Version": "8"}), Refusal.BAD_REQUEST),
    "a short key": (handshake(headers={"Sec-WebSocket-Key": "c2hvcnQ="}), Refusal.BAD_REQUEST),
    "a key with a stray character": (
        handshake(headers={"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==!"}),
        Refusal.BAD_REQUEST,
    ),
    "a key that is not ASCII": (handshake(headers={"Sec-WebSocket-Key": "é" * 12}), Refusal.BAD_REQUEST),
    "POST": (handshake(method="POST"), Refusal.BAD_REQUEST),
    "HTTP/1.0": (handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), Refusal.BAD_REQUEST),
    "an empty body": (handshake(headers={"Content-Length": "0"}), None),
    "a body": (handshake(headers={"Content-Length": "1"}), Refusal.BAD_REQUEST),
    "a body in chunks": (handshake(headers={"Transfer-Encoding": "chunked"}), Refusal.BAD_REQUEST),
    "the server's own page": (handshake(headers={"Origin": "https://127.0.0.1"}), None),
    "the server's own page, with the port": (
        handshake(headers={"Origin": "http://10.0.2.2:8080", "Host": "10.0.2.2:8080"}),
        None,
    ),
    "a page of another port": (
        handshake(headers={"Origin": "http://10.0.2.2:8081", "Host": "10.0.2.2:8080"}),
        Refusal.ORIGIN,
    ),
    "another site's page": (handshake(headers={"Origin": "https://evil.example.com"}), Refusal.ORIGIN),
}


@pytest.mark.parametrize(("data", "reason"), FAULTS.values(), ids=FAULTS)
async def test_what_is_wrong_with_a_request(data: bytes, reason: Refusal | None) -> None:
    """Judged by itself, so that asking twice says the same."""
    subject = checks(["https://chat.example.com"])
    for _ in range(2):
        refused = subject.fault(request(data))
        assert (None if refused is None else refused.reason) == reason


@pytest.mark.parametrize("query", ["x=" + "eyJ" * 2_600, "x=" + "eyJ-" * 1_900 + "&transport=polling", "&" * 7_900])
async def test_a_long_query_is_judged_at_once(query: str) -> None:
    """Text made to be slow takes no longer than a millisecond or so: it took up to 170 ms."""
    subject, parsed = checks(), request(handshake(f"{PATH}&{query}"))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert subject.fault(parsed) is not None
        times.append(time.perf_counter() - began)
    assert min(times) < 0.01


async def test_a_long_query_is_told_its_bound() -> None:
    """The answer says why, and the other faults of a long query are still named first."""
    refused = checks().fault(request(handshake(sized(MAX_QUERY_CHARS + 1))))
    assert refused is not None
    assert orjson.loads(refused.body) == {"code": 3, "message": "Query string of more than 1,024 characters"}
    refused = checks().fault(request(handshake(sized(2_000).replace("websocket", "polling"))))
    assert refused is not None
    assert orjson.loads(refused.body) == {
        "code": 0,
        "message": 'Transport unknown: connect with transports: ["websocket"]',
    }


async def test_a_bucket_that_is_empty() -> None:
    """The first that is right gets in, the second waits as long as the rate says."""
    subject = checks(rate=0.1)
    assert subject.overload(request(handshake()), NOBODY, closing=False) is None
    refused = subject.overload(request(handshake()), NOBODY, closing=False)
    assert refused is not None
    assert (refused.reason, refused.status, refused.headers["Retry-After"]) == (Refusal.RATE, 503, "10")


async def test_a_server_that_stops_lets_nobody_in() -> None:
    """503, to be tried again at once, elsewhere."""
    refused = checks().overload(request(handshake()), NOBODY, closing=True)
    assert refused is not None
    assert (refused.reason, refused.status) == (Refusal.DRAINING, 503)
    assert refused.headers == {"Retry-After": "1", "Connection": "close"}


async def test_a_busy_server_lets_nobody_in() -> None:
    """503, to be tried again in some seconds, not by all at the same time; nothing is taken from the bucket."""
    busy = True
    subject = HandshakeChecks(["*"], Admission(0.1, 1, lambda: 0.0), lambda: busy)
    waits = set()
    for _ in range(100):
        refused = subject.overload(request(handshake()), NOBODY, closing=False)
        assert refused is not None
        assert (refused.reason, refused.status) == (Refusal.BUSY, 503)
        waits.add(int(refused.headers["Retry-After"]))
    assert waits == {*range(1, BUSY_RETRY_S + 1)}
    busy = False
    assert subject.overload(request(handshake()), NOBODY, closing=False) is None


EVERY = {
    "polling": (refusals.unknown_transport(), 400, Refusal.TRANSPORT),
    "revision": (refusals.other_revision(), 400, Refusal.BAD_REQUEST),
    "sid": (refusals.unknown_sid(), 400, Refusal.BAD_REQUEST),
    "long": (refusals.long_query(1_024), 400, Refusal.BAD_REQUEST),
    "no WebSocket": (refusals.no_websocket(), 400, Refusal.BAD_REQUEST),
    "token": (refusals.token_in_query(), 400, Refusal.TOKEN_IN_QUERY),
    "origin": (refusals.foreign_origin(), 403, Refusal.ORIGIN),
    "address": (refusals.too_many(0.05, "too many", "wait"), 429, Refusal.ADDRESS),
    "draining": (refusals.draining(), 503, Refusal.DRAINING),
    "rate": (refusals.too_fast(7), 503, Refusal.RATE),
    "full": (refusals.full(), 503, Refusal.CONNECTIONS),
    "busy": (refusals.busy(), 503, Refusal.BUSY),
}


@pytest.mark.parametrize(("refused", "status", "reason"), EVERY.values(), ids=EVERY)
def test_an_answer_is_the_same_either_way(refused: Refused, status: int, reason: Refusal) -> None:
    """Whether aiohttp writes a refusal or the engine does: status, headers and body are those; a page of any site may
    read them, and the log has a remedy."""
    head, _, body = refused.written().partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ") for line in lines)
    answer = refused.answer()
    assert (first.split()[:2], answer.status, refused.reason) == (["HTTP/1.1", str(status)], status, reason)
    assert fields.pop("Content-Length") == str(len(body))
    assert fields == dict(answer.headers)
    assert fields["Access-Control-Allow-Origin"] == "*"
    assert answer.body == body
    assert orjson.loads(body)
    assert len(refused.remedy) > 20 or reason is Refusal.ADDRESS


@pytest.mark.parametrize(("wait_s", "ms", "seconds"), [(0.0001, 1, "1"), (0.05, 50, "1"), (1.001, 1_001, "2")])
def test_the_wait_of_an_address_is_exact(wait_s: float, ms: int, seconds: str) -> None:
    """Rounded up to whole milliseconds in the body, and to whole seconds in the header."""
    refused = refusals.too_many(wait_s, "too many", "wait")
    error = orjson.loads(refused.body)["error"]
    assert (error["code"], error["retryable"], error["retry_after_ms"]) == ("rate_limited", True, ms)
    assert refused.headers["Retry-After"] == seconds


def test_the_standards_example() -> None:
    """RFC 6455, section 1.3: this key, that answer; the first frames stand right behind it."""
    written = accepted("dGhlIHNhbXBsZSBub25jZQ==", b"opening")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in written
    assert written.startswith(b"HTTP/1.1 101 ")
    assert written.endswith(b"\r\n\r\nopening")
