"""A replica is told to stop while a thousand clients talk: they move to another one, and nothing is lost or repeated.

Two replicas share a Redis behind nginx. Everybody is on the first; the second one starts, the first gets SIGTERM.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from maru_bot.bot import MaruBot
from server import __main__ as command
from server.adapters.redis.message_log import RedisMessageLog
from server.application.life.drainer import DrainTiming
from server.bootstrap import replica
from server.domain.channels import ChannelName
from server.domain.events import MessageCreated
from tests.clients.account import Outgoing
from tests.clients.bot import HASTE, enter, settled
from tests.clients.frames import masked
from tests.clients.javascript import BareJsClient, CoreJsClient
from tests.clients.member import ABNORMAL, Member, enter_all
from tests.clients.python import PyClient
from tests.clients.raw import RawSocket, event, handshake
from tests.clients.talk import Speaker, Talk
from tests.conftest import Figure
from tests.harness.cluster import EVERYTHING, FOR_EVER_MS, ready, status
from tests.harness.nginx import NginxProcess
from tests.harness.redis import RedisProcess
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.integration.conftest import blameless
from tests.integration.drain_verdict import Drained

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

CALM_S = 20.0
"""The longest that anybody may take to be answered and to hear everything, once nothing is in the way."""

TALK_S = 1.0
"""Between two messages of a talker."""

FLOOD_S, IN_FLIGHT = 0.02, 3
"""Between two messages of a flooder, and how many may be unanswered."""


class Stage:
    """Redis, nginx, the replica that is to stop, and the one that takes over."""

    def __init__(self, folder: Path, spoiled: str = "", **env: str) -> None:
        self._made = folder
        self.redis = RedisProcess(self._folder("redis"))
        shared = {"MARU_REDIS_URL": self.redis.url, "MARU_LOG_LEVEL": "info", **env}
        program = ("-c", SPOILED.replace("NUMBERS", spoiled)) if spoiled else ("-m", "server")
        self.first = ServerProcess(self._folder("first"), shared, program)
        self.second = ServerProcess(self._folder("second"), shared)
        ports = self.first.port, self.second.port
        self.front = NginxProcess(self._folder("front"), ports, "random")
        # nginx forgives a server that was refused once only when a request to it has ended, which a WebSocket does not:
        # so the one that is not there yet must not be counted as failing.
        lines = "".join(f"server 127.0.0.1:{port} max_fails=0;\n" for port in ports)
        (self.front.folder / "nginx/replicas.conf").write_text(lines)

    def _folder(self, name: str) -> Path:
        folder = self._made / name
        folder.mkdir()
        return folder

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """With the first replica alone."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.redis)
            for replica in (self.first, self.second):
                stack.push_async_exit(replica)
            await self.first.start()
            await ready(self.first)
            await stack.enter_async_context(self.front)
            yield

    async def log(self, channels: Sequence[str]) -> dict[str, list[tuple[int, str | None]]]:
        """Offset and key of every message."""
        found: dict[str, list[tuple[int, str | None]]] = {}
        async with RedisMessageLog(self.redis.url, max_events=EVERYTHING, max_age_ms=FOR_EVER_MS) as log:
            for channel in channels:
                entries = found[channel] = []
                while True:
                    replay = await log.read(ChannelName(channel), len(entries), 1_000)
                    events = [event for event in replay.events if isinstance(event, MessageCreated)]
                    entries += [(event.offset, event.message.key) for event in events]
                    if len(entries) >= replay.head.offset:
                        break
        return found


SPOILED = f"""
import sys
from functools import partial
import {replica.__name__} as replica
replica.DrainTiming = partial(replica.DrainTiming, NUMBERS)
from {command.__name__} import main
sys.exit(main(["serve"]))
"""
"""The server with other NUMBERS in its drain."""


@dataclass(frozen=True, slots=True)
class Movers:
    """Clients that are on the replica that is to stop; some of them talk."""

    everybody: Sequence[Member]
    talkers: Sequence[Member]
    flooders: Sequence[Member]

    @classmethod
    async def arrive(cls, stack: AsyncExitStack, url: str, rooms: int, each: int, flooders: int) -> "Movers":
        """Connect `each` members to a room, of which every second heeds the notice, and one talks; and flooders, that
        keep commands under way at every moment, in rooms of their own, and are closed while they do."""
        members = [
            _member(url, f"m{room}-{number}", f"room:{room}", number % 2 == 0)
            for room in range(rooms)
            for number in range(each)
        ]
        talkers = [members[room * each + room % 2] for room in range(rooms)]
        floods = [_member(url, f"f{number}", f"room:flood-{number}", number % 4 == 0) for number in range(flooders)]
        movers = cls([*members, *floods], talkers, floods)
        await enter_all(stack, movers.everybody)
        return movers

    async def until_all(self, calm: Callable[[Member], bool]) -> None:
        """Wait until it holds of each member. If it does not within `CALM_S`, the verdict says so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALM_S):
                for member in self.everybody:
                    while not calm(member):
                        member.changed.clear()
                        await member.changed.wait()


def _member(url: str, user: str, channel: str, heeds: bool) -> Member:
    return Member(url, user, token(user), channel, heeds=heeds, in_flight=IN_FLIGHT)


def speaker(member: Member) -> Speaker:
    """Let a member say its number."""
    return lambda number: member.send(f"{member.witness.user}-{number}", str(number))


@asynccontextmanager
async def talk(movers: Movers) -> AsyncIterator[None]:
    """Let talkers and flooders talk while the body runs; leave when everything is answered, or the time is over."""
    talks = Talk(map(speaker, movers.talkers), TALK_S), Talk(map(speaker, movers.flooders), FLOOD_S, IN_FLIGHT)
    try:
        yield
        for each in talks:
            await each.hush(CALM_S)
    finally:
        for each in talks:
            await each.end()


async def drained(stage: Stage, movers: Movers, timing: DrainTiming) -> Drained:
    """Start the second replica, and stop the first while the movers talk; return the result."""
    async with talk(movers):
        await stage.second.start()
        await ready(stage.second)
        began = time.monotonic()
        code = await stage.first.terminate()
        seconds = time.monotonic() - began
        await movers.until_all(lambda member: member.online)  # the last that were closed are still on their way
    log = await stage.log(sorted({member.witness.channel for member in movers.everybody}))
    await movers.until_all(lambda member: member.witness.last == len(log[member.witness.channel]))
    pace = max(len(movers.everybody) / timing.window_s, timing.slowest_pace)
    return Drained(movers.everybody, log, began, code, seconds, timing.timeout_s, pace)


async def test_a_thousand_clients_move(tmp_path: Path, figure: Figure) -> None:
    """Half of them heed the notice and are never without a connection; the others come back as libraries do. Everything
    that was sent is in the log once, what was not answered was not done, and the process ends with 0 in time."""
    stage = Stage(tmp_path)
    async with stage.open(), AsyncExitStack() as stack:
        movers = await Movers.arrive(stack, stage.front.url, rooms=99, each=10, flooders=10)
        drain = await drained(stage, movers, DrainTiming(20.0))
        waits = drain.gaps
        figure(
            f"{len(waits)} clients, {sum(map(len, drain.log.values()))} messages; exit {drain.exit_code} after "
            f"{drain.seconds:.1f} s; peak {drain.peak} attempts/s at a pace of {drain.pace:.0f}/s; without a "
            f"connection p50 {waits[len(waits) // 2]:.2f} s, p99 {waits[round(len(waits) * 0.99) - 1]:.2f} s; "
            f"{drain.moved:.1%} of those that heed it never; {len(drain.retried)} commands sent again"
        )
        assert drain.complaints() == []
        assert {code for member in movers.everybody for code in member.codes if not member.heeds} <= {1012, ABNORMAL}
        blameless(stage.first.lines, stage.first.output)
        [ended] = [line for line in stage.first.lines if line["event"] == "drained"]
        figure(f"the replica says: {ended}")
        assert ended["aborted"] == 0
        assert ended["left"] + ended["closed"] == len(movers.everybody)


@pytest.mark.parametrize(
    ("spoiled", "complaint", "flooders"),
    [
        ("grace_s=2.0", None, 12),
        ("grace_s=0.0", "of those that heeded the notice kept a connection", 12),
        ("slowest_pace=1e9, answer_s=15.1", "attempts in one second", 12),
        # More of them: a command must be under way at the very moment of a close.
        ("answer_s=0.0", "commands were done and not answered", 60),
    ],
    ids=["as it should be", "no grace", "no pace", "no time for answers"],
)
async def test_wrong_numbers_are_noticed(
    tmp_path: Path, figure: Figure, spoiled: str, complaint: str | None, flooders: int
) -> None:
    """The same verdict over a smaller crowd, and a drain whose numbers are wrong on purpose: it says what is wrong."""
    stage = Stage(tmp_path, spoiled)
    async with stage.open(), AsyncExitStack() as stack:
        movers = await Movers.arrive(stack, stage.front.url, rooms=20, each=13, flooders=flooders)
        drain = await drained(stage, movers, DrainTiming(20.0))
    complaints = drain.complaints()
    figure(f"{spoiled}: {complaints[:4]}")
    if complaint is None:
        assert complaints == []
    else:
        assert any(complaint in each for each in complaints)


# Real libraries


async def test_real_clients_move(tmp_path: Path) -> None:
    """Our two cores notice nothing: one state, each event once, all acked. The bare libraries come back by themselves;
    a plain python-socketio that resumes misses nothing either."""
    room, changed, stage = "room:real", asyncio.Event(), Stage(tmp_path)
    async with stage.open(), AsyncExitStack() as stack:
        url = stage.front.url
        core = await stack.enter_async_context(CoreJsClient(url, token("core"), changed))
        plain = await stack.enter_async_context(PyClient(url, token("plain"), changed))
        bot = await stack.enter_async_context(MaruBot(url, lambda: token("bot"), patience=HASTE))
        bare = await stack.enter_async_context(BareJsClient(url, token("bare"), changed))
        reader = await enter(bot, room)
        for client in (core, plain):
            await client.join(room)
        session = bot.session["session"]

        said = await talk_over_a_drain(stage, core, plain, bot, bare, room)
        await bot.send(room, "end")
        for client in (core, plain):
            await client.heard(room, said + 1)
            assert [each["offset"] for each in client.received[room]] == list(range(1, said + 2))
            assert client.faults == []
        assert len(await settled(reader, "end")) == said + 1
        assert (core.states, core.connects) == (["connecting", "online"], 2)
        assert bot.session["session"] != session
        ends = {line["user"]: line["code"] for line in stage.first.lines if line["event"] == "connection.closed"}
        assert ends == {"core": 1000, "bot": 1000, "plain": 1012, "bare": 1012}  # two leave, two are closed
        blameless(stage.first.lines, stage.first.output)


async def talk_over_a_drain(
    stage: Stage, core: CoreJsClient, plain: PyClient, bot: MaruBot, bare: BareJsClient, room: str
) -> int:
    """Three talk while the replica is replaced; return how much was said, and acked, when all are on the other one."""
    await stage.second.start()
    await ready(stage.second)
    ended = asyncio.Event()
    talk = [asyncio.create_task(speak(number, ended, core, plain, bot, room)) for number in range(3)]
    assert await stage.first.terminate() == 0
    await bare.connected(2)
    await plain.connected(2)
    ended.set()
    return sum([await task for task in talk])


async def speak(number: int, ended: asyncio.Event, core: CoreJsClient, plain: PyClient, bot: MaruBot, room: str) -> int:
    """One of three says something every few milliseconds until told to end; return how often."""
    said = 0
    while not ended.is_set():
        text = f"{number}-{said}"
        if number == 0:
            await core.send_all([Outgoing(room, text, text)])
        elif number == 1:
            await plain.send_all([Outgoing(room, text, text)], 1)
        else:
            await bot.send(room, text)
        said += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await ended.wait()
    return said


# One server, byte by byte


@asynccontextmanager
async def lonely(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server with SQLite."""
    async with ServerProcess(tmp_path) as server:
        yield server
        blameless(server.lines, server.output)


async def test_what_newcomers_and_probes_see(tmp_path: Path) -> None:
    """Not ready, but alive; the listener stays open, and refuses with 503 and the end of that TCP connection; who has
    sent no CONNECT is closed at once, without waiting for anybody's grace."""
    async with lonely(tmp_path) as server:
        client = await RawSocket.chat(server.port, token("ann"))
        early = await RawSocket.open(server.port)
        before = await server.counts()
        assert [before[name] for name in ("status", "started", "draining", "linked")] == ["ready", True, False, True]
        ending = asyncio.create_task(server.terminate())
        await client.event("session:draining")
        assert (await early.closed()).code == 1012
        assert (await server.counts())["draining"] is True
        assert [await status(server, path) for path in ("/livez", "/readyz")] == [200, 503]
        late = await RawSocket.dial(server.port)
        await late.send(handshake())
        head, _ = await late.whole_response()
        assert head.startswith(b"HTTP/1.1 503 ")
        assert {b"retry-after: 1", b"connection: close"} <= set(head.lower().splitlines())
        await late.eof(1.0)
        assert not ending.done()
        await client.leave()
        assert await ending == 0


async def test_what_a_client_sees(tmp_path: Path) -> None:
    """It is told, served for the grace, and then closed with 1012: never by DISCONNECT, nor by Engine.IO's close."""
    async with lonely(tmp_path) as server:
        client = await RawSocket.chat(server.port, token("ann"))
        began = time.monotonic()
        ending = asyncio.create_task(server.terminate())
        notice = await client.event("session:draining")
        assert 0 <= notice["reconnect_in_ms"] <= 20
        assert 1_990 <= notice["deadline_ms"] - notice["reconnect_in_ms"] <= 2_010
        assert (await client.ask("message:send", {"channel": "room:1", "text": "still served"}))["ok"]
        closed = await client.closed()
        assert (closed.code, [text for text in client.unread if text.startswith(("41", "1"))]) == (1012, [])
        assert await ending == 0
        assert 1.9 < time.monotonic() - began < 6.0


HALF_SENT = (
    b"POST /session HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    b"GET /readyz HTTP/1.1\r\nHost: x",
    b"",
)
"""Requests that wait for more, with a body and without."""


async def halves(server: ServerProcess) -> list[RawSocket]:
    """Peers that have sent half a request, on both ports."""
    peers = []
    for port in (server.port, server.internal_port):
        for half in HALF_SENT:
            peer = await RawSocket.dial(port)
            await peer.send(half)
            peers.append(peer)
    return peers


async def test_nobody_there(tmp_path: Path) -> None:
    """A server without clients ends at once, also where an idle HTTP connection is open, or half a request has come."""
    async with lonely(tmp_path) as server:
        idle = await RawSocket.dial(server.port)
        await idle.send(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        await idle.response()
        peers = [idle, *await halves(server)]
        await server.counts()  # by then it has read what came before
        began = time.monotonic()
        assert await server.terminate() == 0
        assert time.monotonic() - began < 1.0
        [drained] = [line for line in server.lines if line["event"] == "drained"]
        assert drained["seconds"] < 0.1
        for peer in peers:
            peer.vanish()


async def test_a_short_timeout_is_kept(tmp_path: Path) -> None:
    """With half-sent requests, and a client that does not answer its close, the process ends in the time it has."""
    async with ServerProcess(tmp_path, {"MARU_DRAIN_TIMEOUT": "2"}) as server:
        peers = [await RawSocket.chat(server.port, token("deaf")), *await halves(server)]
        await server.counts()
        began = time.monotonic()
        assert await server.terminate() == 0
        assert time.monotonic() - began < 2.0
        for peer in peers:
            peer.vanish()


async def test_the_numbers_add_up(tmp_path: Path) -> None:
    """How the connections went that the drain began with, together, is how many they were: those without a CONNECT are
    sent away before, and not counted where they do not go either."""
    async with ServerProcess(tmp_path, {"MARU_DRAIN_TIMEOUT": "1"}) as server:
        peers = [await RawSocket.chat(server.port, token("deaf"))]
        peers += [await RawSocket.open(server.port) for _ in range(3)]
        assert await server.terminate() == 0
        [began, ended] = [line for line in server.lines if line["event"] in {"stopping", "drained"}]
        assert (began["connections"], ended["left"] + ended["closed"] + ended["aborted"]) == (1, 1)
        for peer in peers:
            peer.vanish()


async def test_a_flood_up_to_the_close(tmp_path: Path, figure: Figure) -> None:
    """A client that sends without a pause until it is closed: what was answered is in the log, and nothing else is."""
    async with lonely(tmp_path) as server:
        clients = [await RawSocket.chat(server.port, token(f"u{number}")) for number in range(5)]
        ending = asyncio.create_task(server.terminate())
        fates = await asyncio.gather(*(flood(client, f"room:{n}") for n, client in enumerate(clients)))
        assert await ending == 0
        await server.start()
        unread = 0
        for number, (sent, acked) in enumerate(fates):
            reader = await RawSocket.chat(server.port, token("reader"))
            head = (await reader.ask("channel:join", {"channel": f"room:{number}"}))["offset"]
            assert acked == [*range(1, head + 1)]
            unread += sent - head
            await reader.leave()
        figure(f"{sum(len(acked) for _, acked in fates)} answered and in the log, {unread} neither read nor done")
        assert unread > 0
        assert await server.terminate() == 0


async def flood(client: RawSocket, channel: str) -> tuple[int, list[int]]:
    """Send until the close frame comes; return how much was sent, and the offsets of the answers."""
    sent, closed = 0, asyncio.create_task(client.closed())
    while not closed.done():
        for _ in range(20):
            sent += 1
            text = event("message:send", {"channel": channel, "text": str(sent), "key": str(sent)}, ack=sent)
            client.push(masked(text))
        await asyncio.wait((closed,), timeout=0.01)
    assert (await closed).code == 1012
    answers = [json.loads(text[text.index("[") :])[0] for text in client.unread if text.startswith("43/chat,")]
    assert all(answer["ok"] for answer in answers)
    return sent, [answer["offset"] for answer in answers]
