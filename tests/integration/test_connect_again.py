"""A WebSocket outlives a refused CONNECT, and a session that its client leaves: another CONNECT is judged anew."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from loadtest.frames import Opcode
from server.gateway.socketio.connecting import MAX_LATE_EVENTS, MAX_REFUSALS
from server.gateway.websocket.connection import PART_WAIT_S
from server.gateway.websocket.registry import CONNECT_SWEEP_S, CONNECT_WAIT_S
from tests.clients.frames import closing, masked
from tests.clients.raw import RawSocket, connect, event
from tests.harness.server import ServerProcess
from tests.harness.tokens import token
from tests.integration.conftest import Scene, blameless

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER_ENV = {"MARU_TOKEN_GRACE": "0s", "MARU_JWT_LEEWAY": "0s"}
BAD = connect({"token": "bad"})
GONE = {"epoch": "gone", "offset": 3}

SLACK_S = 0.9
"""By which a wait may be longer than it should on a busy machine."""


async def refused(client: RawSocket, hello: str = BAD) -> str:
    """CONNECT in vain; return the code."""
    await client.say(hello)
    answer = await client.text()
    assert answer.startswith("44")
    code: str = json.loads(answer[answer.index("{") :])["data"]["code"]
    return code


async def left(scene: Scene, client: RawSocket) -> None:
    """Leave the session, and keep the WebSocket."""
    await client.say("41/chat,")
    await scene.server.settled(connections=2, sessions=1)


async def test_a_further_connect_is_judged_anew(scene: Scene) -> None:
    """Four are refused, each at once; the fifth has a good token, and the session is like any other."""
    client = await scene.open()
    began = time.monotonic()
    expired = connect({"token": token("mallory", ttl_s=-60)})
    codes = [await refused(client, hello) for hello in (BAD, expired, '40/chat,"x"', "40")]
    assert codes == ["unauthenticated", "token_expired", "bad_request", "unknown_namespace"]
    assert time.monotonic() - began < SLACK_S
    await client.join_chat(token("mallory"))
    assert (await client.ask("channel:join", {"channel": "room:again"}))["ok"]
    await scene.server.settled(connections=2, sessions=2)
    await client.leave()
    assert (await scene.ended(client, "client closed", 1000))["user"] == "mallory"
    await scene.clean()


async def test_the_fifth_refusal_is_the_last(scene: Scene) -> None:
    """It is told, then nothing more is heard, the client may close first, and is closed with 1008 a second later."""
    client = await scene.open()
    for _ in range(MAX_REFUSALS):
        assert await refused(client) == "unauthenticated"
    began = time.monotonic()
    await client.say(connect({"token": token("mallory")}))
    frame = await client.closed()
    assert (frame.code, client.unread) == (1008, [])
    assert PART_WAIT_S - 0.1 < time.monotonic() - began < PART_WAIT_S + SLACK_S
    await scene.ended(client, "CONNECT refused: unauthenticated", 1008)
    await scene.clean()


async def test_refusals_beside_a_session_count_too(scene: Scene) -> None:
    """Another namespace is refused four times, and the session goes on; the fifth time ends the WebSocket."""
    client = await scene.chat()
    for _ in range(MAX_REFUSALS - 1):
        assert await refused(client, "40") == "unknown_namespace"
    assert (await client.ask("channel:leave", {"channel": "room:1"}))["ok"]
    assert await refused(client, "40/other,{}") == "unknown_namespace"
    assert (await client.closed()).code == 1008
    line = await scene.ended(client, "CONNECT refused: unknown_namespace", 1008)
    assert line["user"] == "mallory"
    await scene.clean()


async def test_ten_seconds(scene: Scene) -> None:
    """The bound of a silent client, of a refused one, and of one that has left: counted from the last word of each. The
    heartbeat goes on meanwhile."""
    began = time.monotonic()
    silent, once, twice, leaver = [await scene.open() for _ in range(4)]
    await refused(once)
    await refused(twice)
    await leaver.join_chat(token("mallory"))
    await leaver.say("41/chat,")
    waits = asyncio.gather(*(client.closed(timeout=15) for client in (silent, once, leaver)))
    await asyncio.sleep(1)  # the time itself is the fact: a wait that begins again a second later ends a second later
    await refused(twice, connect({"token": token("mallory", ttl_s=-60)}))
    assert [frame.code for frame in await waits] == [1008] * 3
    sweep = CONNECT_SWEEP_S + SLACK_S
    assert CONNECT_WAIT_S - 0.1 < time.monotonic() - began < CONNECT_WAIT_S + sweep
    assert (await twice.closed()).code == 1008
    assert CONNECT_WAIT_S + 0.9 < time.monotonic() - began < CONNECT_WAIT_S + 1 + sweep
    await scene.ended(silent, "no CONNECT in time", 1008)
    await scene.ended(once, "CONNECT refused: unauthenticated", 1008)
    await scene.ended(twice, "CONNECT refused: token_expired", 1008)
    line = await scene.ended(leaver, "client left", 1008)
    assert (line["user"], line["session"]) == ("mallory", leaver.session)
    await scene.clean()


@pytest.mark.parametrize("order", [("40", "/chat"), ("/chat", "40")], ids=["first", "last"])
async def test_two_namespaces_in_one_breath(scene: Scene, order: tuple[str, str]) -> None:
    """As JS 3.1 and 4.0 with `io(url)` and `io(url + "/chat")`: both CONNECTs in one write. One has a session."""
    client = await scene.open()
    hello = {"40": "40" + json.dumps({"token": token("mallory")}), "/chat": connect({"token": token("mallory")})}
    client.push(b"".join(masked(hello[name]) for name in order))
    answers = sorted([(await client.text())[:8] for _ in range(3)])
    assert answers == ["40/chat,", "42/chat,", '44{"mess']
    assert (await client.ask("channel:leave", {"channel": "room:1"}))["ok"]
    await client.leave()
    await scene.clean()


async def test_a_session_ends_at_once_when_its_client_leaves(scene: Scene) -> None:
    """It is in no channel any more; the next session on the WebSocket is another one, and resumes what it missed."""
    other = await scene.chat("other")
    client = await scene.chat()
    first, connection = client.session, client.connection
    joined = await client.ask("channel:join", {"channel": "room:back"})
    await client.say("41/chat,")
    await scene.server.settled(connections=3, sessions=2)
    assert (await other.ask("message:send", {"channel": "room:back", "text": "missed"}))["ok"]
    await client.join_chat(token("mallory"), {"room:back": {"epoch": joined["epoch"], "offset": joined["offset"]}})
    (resumed,) = client.unread  # and no `message:created` before it
    assert resumed.startswith('42/chat,["channel:resumed",')
    assert "missed" in resumed
    assert client.session != first
    assert (await other.ask("message:send", {"channel": "room:back", "text": "live"}))["ok"]
    assert (await client.event("message:created"))["message"]["text"] == "live"
    line = await scene.server.logged(lambda line: line.get("event") == "session.replaced")
    assert (line["connection"], line["session"], line["user"]) == (connection, first, "mallory")
    await client.leave()
    line = await scene.ended(client, "client closed", 1000)
    assert line["session"] == client.session
    await other.leave()
    await scene.clean()


async def test_a_whole_life_in_one_write(scene: Scene) -> None:
    """Commands before a DISCONNECT are answered, those behind it are not done, and a CONNECT behind it is."""
    client = await scene.open()
    hello, late = connect({"token": token("mallory")}), event("channel:leave", {"channel": "room:1"}, ack=7)
    send = event("message:send", {"channel": "room:life", "text": "x"}, ack=1)
    client.push(b"".join(map(masked, (hello, send, send, "41/chat,", late, hello, send))))
    texts = [(await client.text())[:9] for _ in range(7)]
    assert texts == ["40/chat,{", "42/chat,[", "43/chat,1", "43/chat,1", "40/chat,{", "42/chat,[", "43/chat,1"]
    await client.leave()
    await scene.clean()


async def test_events_behind_a_refused_connect_are_not_hostile(scene: Scene) -> None:
    """A library that does not wait for the answer is told why, once, and may try again. There is a bound."""
    client = await scene.open()
    late = masked(event("message:send", {"channel": "room:late", "text": "x"}, ack=1))
    client.push(masked(BAD) + late * 10 + masked(connect({"token": token("mallory")})))
    texts = [(await client.text())[:7] for _ in range(3)]
    assert texts == ["44/chat", "40/chat", "42/chat"]
    assert (await client.ask("history:read", {"channel": "room:late"}))["messages"] == []
    await left(scene, client)
    client.push(late * (MAX_LATE_EVENTS - 9))
    assert (await client.closed()).code == 1008
    assert (await scene.ended(client, "event before CONNECT", 1008))["user"] == "mallory"
    await scene.clean()


@pytest.mark.parametrize("packet", ["43/chat,1[]", "41/chat,", "41/other,"])
@pytest.mark.parametrize("first", [None, BAD, "40"], ids=["before CONNECT", "after a refusal", "after another"])
async def test_without_a_session_few_packets_are_ignored(scene: Scene, first: str | None, packet: str) -> None:
    """Before the first CONNECT the bound is that of frames; whoever was refused has no more than others."""
    client = await scene.open()
    if first is not None:
        await refused(client, first)
    client.push(masked(packet) * (3 if first is None else MAX_LATE_EVENTS))
    await client.join_chat(token("mallory"))
    await left(scene, client)
    client.push(masked(packet) * (MAX_LATE_EVENTS + 1))
    assert (await client.closed()).code == 1008
    if first is None:
        early = await scene.open()
        early.push(masked(packet) * 5)
        assert (await early.closed()).reason == "too many frames before CONNECT"
    await scene.clean()


async def test_a_connect_while_another_is_judged(scene: Scene) -> None:
    """The first one waits for its channels; the second is judged behind it, and is one too many."""
    client = await scene.open()
    resume = {f"room:judged-{number}": GONE for number in range(50)}
    hello = connect({"token": token("mallory"), "resume": resume})
    client.push(masked(hello) + masked(connect({"token": token("mallory")})))
    assert (await client.closed()).code == 1008
    assert client.unread[0].startswith("40/chat,")
    await scene.ended(client, "CONNECT twice", 1008)
    await scene.clean()


async def test_a_disconnect_without_a_session_changes_nothing(scene: Scene) -> None:
    """Neither before CONNECT, nor of another namespace beside a session."""
    client = await scene.open()
    await client.say("41/chat,")
    await client.join_chat(token("mallory"))
    for goodbye in ("41", "41/other,"):
        await client.say(goodbye)
    assert (await client.ask("channel:leave", {"channel": "room:1"}))["ok"]
    await client.leave()
    await scene.clean()


async def test_a_token_ends_its_own_session_only(scene: Scene) -> None:
    """The token of a session that was left expires, and the next session on the WebSocket does not hear of it."""
    client = await scene.chat(token=token("mallory", ttl_s=2))
    await client.event("session:expiring")
    await left(scene, client)
    await client.join_chat(token("mallory"))
    last = await scene.chat("last", token=token("last", ttl_s=2))  # expires behind the first
    await last.event("session:terminated")
    assert (await client.ask("channel:leave", {"channel": "room:1"}))["ok"]
    assert client.unread == []
    await last.leave()
    await client.leave()
    await scene.clean()


@pytest.mark.parametrize(("goodbye", "code"), [(closing(1001), 1001), (masked("1"), 1000)], ids=["close", "Engine.IO"])
async def test_the_log_says_why_a_refused_client_leaves(scene: Scene, goodbye: bytes, code: int) -> None:
    """By its own close frame, by Engine.IO's close, or without a word: what it left for is that it was refused."""
    client, lost = await scene.open(), await scene.open()
    await refused(client)
    await refused(lost)
    lost.vanish()
    await client.send(goodbye)
    await client.eof()
    await scene.ended(client, "CONNECT refused: unauthenticated", code)
    await scene.ended(lost, "CONNECT refused: unauthenticated", None)
    await scene.clean()


async def test_a_terminated_client_may_close_first(scene: Scene) -> None:
    """It is told why, then nothing comes for a second but the answer to its own close."""
    client, waits = (
        await scene.chat("first", token=token("first", ttl_s=1)),
        await scene.chat(token=token("m", ttl_s=1)),
    )
    for each in (client, waits):
        await each.event("session:terminated")
        assert await each.text() == "41/chat,"
    began = time.monotonic()
    await client.send(masked("p", Opcode.PING) + masked("41/chat,") + closing(1001))
    frame = await client.frame()
    assert (frame.opcode, frame.code) == (Opcode.CLOSE, 1000)
    await client.eof(timeout=SLACK_S)
    assert time.monotonic() - began < SLACK_S
    assert (await waits.closed()).code == 1000
    assert PART_WAIT_S / 2 < time.monotonic() - began < PART_WAIT_S + SLACK_S
    await scene.ended(client, "terminated: token_expired", 1001)
    await scene.ended(waits, "terminated: token_expired", 1000)
    await scene.clean()


async def test_a_drain_waits_for_no_connect(tmp_path: Path) -> None:
    """Refused clients, and clients that have left, are closed with 1012 as those that have not said a word; a client
    that leaves its session during the drain is closed at once."""
    async with ServerProcess(tmp_path) as server:
        rejected, leaver, stays = [await RawSocket.open(server.port) for _ in range(3)]
        await refused(rejected)
        await leaver.join_chat(token("leaver"))
        await leaver.say("41/chat,")
        await stays.join_chat(token("stays"))
        await server.settled(connections=3, sessions=1)
        ending = asyncio.create_task(server.terminate())
        await stays.event("session:draining")
        for client in (rejected, leaver):
            assert (await client.closed(timeout=1.0)).code == 1012
        await stays.say("41/chat,")
        assert (await stays.closed(timeout=1.0)).code == 1000
        assert await ending == 0
        blameless(server.lines, server.output)
        ends = {line["user"]: line for line in server.lines if line["event"] == "connection.closed"}
        assert {user: line["reason"] for user, line in ends.items()} == {
            None: "server restarts",
            "leaver": "server restarts",
            "stays": "client left",
        }
