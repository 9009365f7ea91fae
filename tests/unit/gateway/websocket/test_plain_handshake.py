"""The plainest of handshakes: read here without a parser, and judged as aiohttp's parser and the checks judge them."""

import asyncio
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.gateway.websocket.admission import Admission
from server.gateway.websocket.first_read import HandshakeParser
from server.gateway.websocket.handshake import HandshakeChecks, key_of
from server.gateway.websocket.plain_handshake import MAX_PLAIN_BYTES, MAX_PLAIN_HEADERS, read_plain
from tests.clients.raw import PATH, handshake
from tests.unit.gateway.websocket.test_handshake import FAULTS

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
OURS = "https://chat.example.com"
PYTHON_PATH = "/socket.io/?transport=websocket&EIO=4&t=1764381600.1234567"
BROWSER = {
    "Host": "chat.example.com",
    "Connection": "keep-alive, Upgrade",
    "Pragma": "no-cache",
    "Cache-Control": "no-cache",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Upgrade": "websocket",
    "Origin": OURS,
    "Sec-WebSocket-Version": "13",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "ko,en;q=0.5",
    "Cookie": "maru=abc; theme=dark",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    "X-Forwarded-For": "192.0.2.1",
}


class Door:
    """Both ways to judge a first read, at a server that takes the pages of `OURS`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._parser = HandshakeParser(loop)
        self._checks = HandshakeChecks([OURS], Admission(0, 1, lambda: 0.0))

    def plain(self, data: bytes) -> tuple[str, bytes] | None:
        """Return the key and the bytes behind the request, if it is accepted as a plain one."""
        read = read_plain(data)
        return None if read is None or self._checks.fault(read[0]) else (key_of(read[0]), read[1])

    def parsed(self, data: bytes) -> tuple[str, bytes] | None:
        """Return the key and the bytes behind the request, if it is accepted as aiohttp parses it."""
        read = self._parser.read(data)
        return None if read is None or self._checks.fault(read[0]) else (key_of(read[0]), read[1])


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    """A door whose parser has a loop of its own, which never runs."""
    loop = asyncio.new_event_loop()
    yield Door(loop)
    loop.close()


def request(line: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A request of any headers, in their order."""
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin-1")


PLAIN = request(f"GET {PATH} HTTP/1.1", BROWSER.items())


@pytest.mark.parametrize("path", [PATH, PYTHON_PATH])
@pytest.mark.parametrize("tail", [b"", b"\x81\x85", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_plain_handshake_needs_no_parser(door: Door, path: str, tail: bytes) -> None:
    """A browser's and a program's are read here, with the bytes behind them, as the parser reads them."""
    for headers in (BROWSER, {"Origin": ""}):
        data = handshake(path, {"Sec-WebSocket-Key": KEY, **headers}) + tail
        assert door.plain(data) == (KEY, tail) == door.parsed(data)


@pytest.mark.parametrize(
    "data",
    [
        handshake(headers={"Purpose": "prefetch"}),
        handshake(headers={"Content-Length": "0"}),
        handshake(headers={"Connection": "Upgrade, keep-alive"}),
        handshake(headers={"Sec-WebSocket-Key": f" {KEY}"}),
        handshake(PATH + "&lang=ko"),
        handshake(headers={"Cookie": "x" * MAX_PLAIN_BYTES}),
        handshake(headers={f"X-{number}": "x" for number in range(MAX_PLAIN_HEADERS)}),
        handshake().replace(b"\r\n\r\n", b"\r\nsec-websocket-version: 13\r\n\r\n"),
        handshake(headers={"Host": ""}),
        handshake()[:-1],
        b"",
    ],
)
def test_in_doubt_a_handshake_is_parsed(data: bytes) -> None:
    """Most of these are good: the parser is to say so."""
    assert read_plain(data) is None


@pytest.mark.parametrize("data", [data for data, _ in FAULTS.values()], ids=FAULTS)
def test_no_fault_gets_by(door: Door, data: bytes) -> None:
    """What the checks refuse is never accepted as a plain handshake."""
    assert door.plain(data) in {None, door.parsed(data)}


LINES = [f"GET {path} HTTP/1.1" for path in (PATH, PYTHON_PATH, PATH + "&t=1", PATH + "&sid=x", PATH + "&t=x", "/")] + [
    f"GET {PATH} HTTP/1.0",
    f"POST {PATH} HTTP/1.1",
    f"GET {PATH.replace('4', '3')} HTTP/1.1",
    f"GET  {PATH} HTTP/1.1",
    f"GET {PATH}# HTTP/1.1",
]
NAMES = [
    *BROWSER,
    *map(str.lower, BROWSER),
    *map(str.upper, BROWSER),
    "Content-Length",
    "Transfer-Encoding",
    "Proxy-Connection",
    "Expect",
    "X-Any",
    "X-",
    "Sec-WebSocket-Key1",
    "Sec-WebSocket-Protocol",
    "Content-Encoding",
    "Keep-Alive",
]
VALUES = [
    *BROWSER.values(),
    "upgrade",
    "close",
    "Upgrade, close",
    "h2c, websocket",
    "WebSocket",
    "https://evil.example.com",
    "0",
    "4",
    "chunked",
    "13 ",
    "8",
    "AAAAAAAAAAAAAAAAAAAAAA==",
    f"{KEY} ",
    KEY[:-3] + "R==",
    "c2hvcnQ=",
    "?" * 24,
    "",
    " ",
    "a:b@c/d?e#f",
    "\t",
    "é",
    "a\rb",
    "a\nb: c",
    "a\0",
    "a\x7f",
]
HEADER = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES))
REMOVED = st.sets(st.sampled_from([*BROWSER]), max_size=2)


@given(
    st.sampled_from(LINES) | st.just(LINES[0]), REMOVED, st.lists(HEADER, max_size=4), st.randoms(use_true_random=False)
)
def test_both_ways_judge_alike(
    door: Door, line: str, removed: set[str], added: list[tuple[str, str]], order: object
) -> None:
    """Headers that are left out, doubled, changed and in any order: what is accepted as plain, the parser accepts, with
    the same key and the same bytes behind it."""
    headers = [item for item in BROWSER.items() if item[0] not in removed] + added
    order.shuffle(headers)  # type: ignore[attr-defined]
    data = request(line, headers)
    assert door.plain(data + b"tail") in {None, door.parsed(data + b"tail")}


BYTES = [bytes([byte]) for byte in (0, 9, 10, 11, 13, 32, 35, 37, 38, 44, 58, 61, 65, 95, 127, 128, 255)]
TEXTS = [*BYTES, b"", b"\r\n", b"\r\n ", b"&token=x", b"%0a"]
EDIT = st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 3), st.sampled_from(TEXTS))


@given(st.lists(EDIT, min_size=1, max_size=4))
@example([(PLAIN.index(b"Pragma"), 0, b"\r\n")])
@example([(PLAIN.index(b"Pragma") - 2, 2, b"\n")])
@example([(PLAIN.index(b"Pragma"), 0, b" ")])
def test_a_damaged_request_is_judged_alike(door: Door, edits: list[tuple[int, int, bytes]]) -> None:
    """Bytes put in, taken out and replaced anywhere: the plain reader accepts nothing that the parser refuses."""
    data = PLAIN
    for at, length, text in edits:
        data = data[:at] + text + data[at + length :]
    assert door.plain(data) in {None, door.parsed(data)}


def test_a_read_that_is_no_handshake_is_judged_at_once() -> None:
    """Text made to be slow is read once, and no further than the longest plain request."""
    for text in (b"a: b\r\n" * 20_000, b"a: " + b" " * 100_000, b"x" * 100_000, b"a: b \r\n" * 20_000 + b"\r\n\r\n"):
        assert read_plain(f"GET {PATH} HTTP/1.1\r\n".encode() + text) is None
