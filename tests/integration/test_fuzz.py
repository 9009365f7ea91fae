"""Fuzzing of handshakes, frames and packets: whatever a client sends, its connection ends in time, the server logs no
error, and others go on.

`make fuzz` searches longer, and each time elsewhere: `MARU_FUZZ_S` is for how many seconds each test may search.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loadtest.frames import Frames, Opcode
from server.gateway.socketio import packets
from server.gateway.websocket.frames import HostilePacket
from server.gateway.websocket.plain_handshake import read_plain
from tests.clients import strange
from tests.clients.frames import masked
from tests.clients.raw import Gone, RawSocket
from tests.integration.conftest import Scene

SEARCH_S = float(os.environ.get("MARU_FUZZ_S", "0"))

FUZZ_S = SEARCH_S or 12.0
"""For so long a test looks for an example that fails: a minute for all."""

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(FUZZ_S + 120)]

BUSY_S = 30.0

END_S = 6.0
"""The longest that a connection may last after its client has closed its side: the server's close frame is waited for
2 s."""

SERVER_ENV = {"MARU_MESSAGE_LOG": "memory", "MARU_LIMITS": "off"}

fuzzed = settings(
    max_examples=int(SEARCH_S * 100) or 250,
    deadline=None,
    derandomize=not SEARCH_S,
    database=None,
    phases=[Phase.generate] if SEARCH_S else list(Phase),
    suppress_health_check=list(HealthCheck),
)


class Search:
    """A limited time, and the health of a server."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._bystander: RawSocket | None = None
        self._seen: int | None = None  # log lines
        self._failed = False

    @property
    def over(self) -> bool:
        """Whether the time is up: the examples that are left are not tried. A failed example gets all the time that
        hypothesis needs to make it small."""
        return not self._failed and time.monotonic() > self._ends

    @contextlib.contextmanager
    def example(self) -> Iterator[None]:
        """Note whether the body fails."""
        try:
            yield
        except BaseException:
            self._failed = True
            raise

    async def unharmed(self, scene: Scene) -> None:
        """See that another session is answered, and that no error has been logged."""
        if self._bystander is None:
            self._bystander = await opened(scene, session=True)
        self._seen = len(scene.server.lines) if self._seen is None else self._seen
        assert (await self._bystander.ask("channel:leave", {"channel": "room:by"}))["ok"]
        lines = scene.server.lines[self._seen :]
        self._seen += len(lines)
        assert [line for line in lines if line.get("level") not in {"debug", "info", "warning"}] == []


async def opened(scene: Scene, session: bool) -> RawSocket:
    """Open a WebSocket. A server that gets too little of the machine sends newcomers away for a while."""
    async with asyncio.timeout(BUSY_S):
        while True:
            try:
                return await (scene.chat() if session else scene.open())
            except AssertionError as error:
                if "got 503" not in str(error):
                    raise
                await asyncio.sleep(0.2)


async def ends(client: RawSocket, stream: bytes, cuts: Sequence[int]) -> bytes:
    """Send a stream, close the sending half, and return what the server sends until it closes the other."""
    try:
        with contextlib.suppress(Gone, OSError):  # it has closed before
            await client.drip(stream, cuts)
            client.finish()
        return await client.rest(timeout=END_S)
    finally:
        client.vanish()


def lawful(written: bytes) -> None:
    """See that what the server has sent are whole frames, with texts that are Engine.IO packets."""
    for opcode, payload in Frames().feed(written):
        if opcode == Opcode.TEXT:
            text = payload.decode()
            if text[:2] in {"42", "43"}:
                assert isinstance(json.loads(text[text.index("[") :]), list)


@pytest.fixture(scope="module")
def searches() -> dict[str, Search]:
    """The searches of the tests, which begin with their first examples."""
    return {}


def search(searches: dict[str, Search], name: str) -> Search:
    """Return a search, which begins now if it has not."""
    return searches.setdefault(name, Search(FUZZ_S))


@fuzzed
@given(sent=strange.streams(strange.requests()))
async def test_handshakes(scene: Scene, searches: dict[str, Search], sent: tuple[bytes, Sequence[int]]) -> None:
    """Every request is answered, or its connection closed."""
    at = search(searches, "handshakes")
    if at.over:
        return
    with at.example():
        client = await RawSocket.dial(scene.server.port)
        answer = await ends(client, *sent)
        assert answer == b"" or answer.startswith(b"HTTP/1."), answer[:80]
        await at.unharmed(scene)


FOUND = {
    "Expect, and gone before the answer": b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    "Expect that is not ASCII": b"GET / HTTP/1.1\r\nHost: a\r\nExpect: \x80\r\n\r\n",
}
"""Requests that made the server log an error."""


@pytest.mark.parametrize("request_", FOUND.values(), ids=FOUND)
async def test_requests_that_were_found(scene: Scene, request_: bytes) -> None:
    """The server's fixture sees that no error is logged."""
    client = await RawSocket.dial(scene.server.port)
    await ends(client, request_, [])
    await scene.clean()


@pytest.mark.parametrize("phase", ["before CONNECT", "in a session"])
@fuzzed
@given(sent=strange.streams(strange.frames()))
async def test_frames(scene: Scene, searches: dict[str, Search], phase: str, sent: tuple[bytes, Sequence[int]]) -> None:
    """Frames, right and wrong ones, cut anywhere."""
    at = search(searches, f"frames {phase}")
    if at.over:
        return
    with at.example():
        client = await opened(scene, phase == "in a session")
        lawful(await ends(client, *sent))
        await at.unharmed(scene)


@fuzzed
@given(texts=st.lists(strange.packets(), min_size=1, max_size=10))
async def test_packets(scene: Scene, searches: dict[str, Search], texts: list[str]) -> None:
    """Packets of a session: commands, and whatever looks like one."""
    at = search(searches, "packets")
    if at.over:
        return
    with at.example():
        client = await opened(scene, session=True)
        written = [masked(text.encode("utf-8", "surrogatepass")) for text in texts]
        lawful(await ends(client, b"".join(written), [len(written[0])]))
        await at.unharmed(scene)


@fuzzed
@given(text=strange.packets(), request=strange.requests())
async def test_the_readers_by_themselves(searches: dict[str, Search], text: str, request: bytes) -> None:
    """The pure readers raise nothing but `HostilePacket`; and what the shortcuts take, the full reader takes, too."""
    at = search(searches, "readers")
    if at.over:
        return
    with at.example():
        read_plain(request)
        packet = text[1:]
        quick = [packets.read_send(packet), packets.read_join(packet), packets.read_connect(packet)]
        try:
            packets.read(packet)
        except HostilePacket:
            assert quick == [None] * 3
