"""Hostile packets: each closes the WebSocket that sent it, with its code and one log line, and touches nobody else."""

import json
from dataclasses import dataclass

import pytest

from loadtest.frames import Opcode
from tests.clients.frames import masked
from tests.clients.raw import RawSocket, connect, event
from tests.harness.tokens import token
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Attack:
    """What is sent in one text message (or whole frames), and how the WebSocket ends."""

    sent: str | bytes
    reason: str
    code: int = 1008

    async def carry_out(self, client: RawSocket) -> None:
        """Send it."""
        await client.send(self.sent if isinstance(self.sent, bytes) else masked(self.sent))


def malformed(sent: str, part: str = "type") -> Attack:
    """No Socket.IO packet."""
    return Attack(sent, f"malformed packet: {part}")


def no_json(payload: str) -> Attack:
    """A command whose payload is not JSON, or not JSON that every client reads."""
    return malformed(
        f'42/chat,1["message:send",{{"channel":"room:hostile","text":"x","data":{{"a":{payload}}}}}]', "JSON"
    )


ENGINE_IO = "Engine.IO type"
ATTACKS = {
    # Engine.IO
    "empty message": malformed("", ENGINE_IO),
    "Engine.IO open": malformed("0{}", ENGINE_IO),
    "Engine.IO ping": malformed("2", ENGINE_IO),
    "Engine.IO ping probe": malformed("2probe", ENGINE_IO),
    "Engine.IO pong probe": malformed("3probe", ENGINE_IO),
    "Engine.IO upgrade": malformed("5", ENGINE_IO),
    "Engine.IO noop": malformed("6", ENGINE_IO),
    "Engine.IO 9": malformed("9", ENGINE_IO),
    "a letter": malformed("x", ENGINE_IO),
    "an HTTP request": malformed("GET / HTTP/1.1", ENGINE_IO),
    "a payload of several packets": malformed("\x1e4\x1e4", ENGINE_IO),
    "Engine.IO close": Attack("1", "client left", 1000),
    # Binary
    "binary message": Attack(masked(b"\x04\x00", Opcode.BINARY), "binary message", 1003),
    "empty binary message": Attack(masked(b"", Opcode.BINARY), "binary message", 1003),
    "base64 packet": Attack("bAAAA", "binary packet", 1003),
    "binary event": Attack('451-/chat,["a",{"_placeholder":true,"num":0}]', "binary packet", 1003),
    "binary event, its attachment behind it": Attack(
        masked('451-/chat,["a",{"_placeholder":true,"num":0}]') + masked(b"\x00", Opcode.BINARY), "binary message", 1003
    ),
    "binary event that announces a million attachments": Attack('451000000-/chat,["a"]', "binary packet", 1003),
    "binary event that announces a number of 5,000 digits": Attack(f'45{"9" * 5_000}-["a"]', "binary packet", 1003),
    "binary ack": Attack("461-/chat,1[]", "binary packet", 1003),
    # Socket.IO
    "empty packet": malformed("4"),
    "CONNECT_ERROR": malformed('44/chat,{"message":"no"}'),
    "type 7": malformed("47"),
    "type 9": malformed("49"),
    "no type": malformed('4["a"]'),
    "a digit of another script": malformed("4٢"),
    "endless namespace": malformed(f"42/{'x' * 500},[]", "namespace"),
    "ack id of 16 digits": malformed(f'42/chat,{"9" * 16}["a"]', "ack id"),
    "ack id of 5,000 digits": malformed(f'42/chat,{"9" * 5_000}["a"]', "ack id"),
    "negative ack id": malformed('42/chat,-1["a"]', "JSON"),
    "event without data": malformed("42/chat,", "event"),
    "event that is an object": malformed('42/chat,{"a":1}', "event"),
    "event without a name": malformed("42/chat,[]", "event"),
    "event named by a number": malformed("42/chat,[1]", "event"),
    "event named by a list": malformed('42/chat,[["connect"]]', "event"),
    "ack that is an object": malformed("43/chat,1{}", "ack"),
    "namespace without a comma": malformed('42/chat["a"]', "event"),
    # JSON
    "JSON cut off": malformed('42/chat,["a"', "JSON"),
    "two JSON values": malformed('42/chat,["a"]["b"]', "JSON"),
    "single quotes": malformed("42/chat,['a']", "JSON"),
    "trailing comma": malformed('42/chat,["a",]', "JSON"),
    "NaN": no_json("NaN"),
    "Infinity": no_json("Infinity"),
    "minus Infinity": no_json("-Infinity"),
    "1e999": no_json("1e999"),
    "a number of 5,000 digits": no_json("9" * 5_000),
    "a lone surrogate": no_json('"\\ud800"'),
    "a lone surrogate as a key": no_json('{"\\udc00":1}'),
    "surrogates in the wrong order": no_json('"\\udc00\\ud800"'),
    "a raw control character": no_json('"\x01"'),
    "60,000 unclosed brackets": no_json("[" * 60_000),
    "30,000 deep lists": no_json("[" * 30_000 + "]" * 30_000),
    "12,000 deep objects": no_json('{"":' * 12_000 + "1" + "}" * 12_000),
    "leading zeros": no_json("007"),
    "a byte order mark": malformed('42/chat,\ufeff["a"]', "JSON"),
}


@pytest.mark.parametrize("phase", ["before CONNECT", "in a session"])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_the_attacker_is_closed(scene: Scene, attack: Attack, phase: str) -> None:
    """The stated close code; nobody else notices, nothing is left."""
    client = await scene.open()
    if phase == "in a session":
        await client.join_chat(token("mallory"))
    await attack.carry_out(client)
    frame = await client.closed()
    assert frame.code == attack.code
    line = await scene.ended(client, attack.reason, attack.code)
    assert line["user"] == ("mallory" if phase == "in a session" else None)
    await scene.clean()


BEFORE_CONNECT = {
    "an event": Attack(event("message:send", {"channel": "room:hostile", "text": "x"}, ack=1), "event before CONNECT"),
    "an event to another namespace": Attack('42/other,["a"]', "event before CONNECT"),
    "an event to /": Attack('42["a"]', "event before CONNECT"),
}


@pytest.mark.parametrize("attack", BEFORE_CONNECT.values(), ids=BEFORE_CONNECT)
async def test_before_connect(scene: Scene, attack: Attack) -> None:
    """Whoever is not admitted may say nothing but CONNECT."""
    client = await scene.open()
    await attack.carry_out(client)
    assert (await client.closed()).code == attack.code
    await scene.ended(client, attack.reason, attack.code)
    await scene.clean()


IN_A_SESSION = {
    "CONNECT again": Attack(connect({"token": token("mallory")}), "CONNECT twice"),
    "CONNECT again, as somebody else": Attack(connect({"token": token("victim")}), "CONNECT twice"),
    "CONNECT again, without a token": Attack("40/chat,", "CONNECT twice"),
    "an event to a namespace where it is not": Attack('42/other,["a"]', "event before CONNECT"),
    "an event to /": Attack('42["a"]', "event before CONNECT"),
}


@pytest.mark.parametrize("attack", IN_A_SESSION.values(), ids=IN_A_SESSION)
async def test_in_a_session(scene: Scene, attack: Attack) -> None:
    """A session is of one user in one namespace, until it ends with its WebSocket."""
    client = await scene.chat()
    await attack.carry_out(client)
    assert (await client.closed()).code == attack.code
    await scene.ended(client, attack.reason, attack.code)
    await scene.clean()


HELLO = {"token": token("mallory")}
REFUSED_CONNECTS = {
    "no payload": ("40/chat,", "unauthenticated"),
    "null": ("40/chat,null", "unauthenticated"),
    "empty": (connect({}), "unauthenticated"),
    "a list": ("40/chat,[]", "bad_request"),
    "a text": ('40/chat,"token"', "bad_request"),
    "an empty text": ('40/chat,""', "bad_request"),
    "a list with a number": ("40/chat,[7]", "bad_request"),
    "a truth": ("40/chat,false", "bad_request"),
    "token is a number": (connect({"token": 5}), "bad_request"),
    "token is null": (connect({"token": None}), "unauthenticated"),
    "token is a list": (connect({"token": ["x"]}), "bad_request"),
    "token is empty": (connect({"token": ""}), "unauthenticated"),
    "token of 20,000 characters": (connect({"token": "x" * 20_000}), "bad_request"),
    "no token at all": (connect({"token": "x"}), "unauthenticated"),
    "unsigned token": (connect({"token": token("mallory").rpartition(".")[0] + "."}), "unauthenticated"),
    "token cut off": (connect({"token": token("mallory")[:-1]}), "unauthenticated"),
    "expired token": (connect({"token": token("mallory", ttl_s=-60)}), "token_expired"),
    "resume is a list": (connect(HELLO | {"resume": []}), "bad_request"),
    "resume of 501 channels": (
        connect(HELLO | {"resume": {f"room:{n}": {"epoch": "e", "offset": 0} for n in range(501)}}),
        "bad_request",
    ),
    "resume of a bad name": (connect(HELLO | {"resume": {"ROOM": {"epoch": "e", "offset": 0}}}), "bad_request"),
    "resume without an epoch": (connect(HELLO | {"resume": {"room:1": {"offset": 0}}}), "bad_request"),
    "resume from a fraction": (connect(HELLO | {"resume": {"room:1": {"epoch": "e", "offset": 0.5}}}), "bad_request"),
    "resume from -1": (connect(HELLO | {"resume": {"room:1": {"epoch": "e", "offset": -1}}}), "bad_request"),
    "resume from 2^53": (connect(HELLO | {"resume": {"room:1": {"epoch": "e", "offset": 2**53}}}), "bad_request"),
    "namespace /": ("40" + json.dumps(HELLO), "unknown_namespace"),
    "namespace /other": (connect(HELLO, "/other"), "unknown_namespace"),
    "namespace /chat/": (connect(HELLO, "/chat/"), "unknown_namespace"),
}


@pytest.mark.parametrize(("hello", "code"), REFUSED_CONNECTS.values(), ids=REFUSED_CONNECTS)
async def test_a_refused_connect_is_answered(scene: Scene, hello: str, code: str) -> None:
    """CONNECT_ERROR says the code where JS clients read it, and repeats nothing; the log says why the client leaves."""
    client = await scene.open()
    await client.say(hello)
    answer = await client.text()
    body = json.loads(answer[answer.index("{") :])
    assert answer.startswith("44/" if "/" in hello[:3] else "44{")
    assert (body["message"], body["data"]["code"], body["data"]["retryable"]) == (code, code, False)
    assert "ROOM" not in answer
    assert token("mallory")[:20] not in answer
    await client.leave()
    line = await scene.ended(client, f"CONNECT refused: {code}", 1000)
    assert (line["user"], line["session"]) == (None, None)
    await scene.clean()


async def test_another_namespace_is_refused_beside_a_session(scene: Scene) -> None:
    """A member that tries another namespace is told no, and stays a member."""
    client = await scene.chat()
    for namespace, answer in (("", "44{"), ("/other", "44/other,{")):
        await client.say(f"40{namespace + ',' if namespace else ''}{json.dumps(HELLO)}")
        assert (await client.text()).startswith(answer)
    assert (await client.ask("channel:leave", {"channel": "room:1"}))["ok"]
    await client.leave()
    await scene.clean()


@pytest.mark.parametrize("number", ["1", "0", "999999999999999"])
async def test_acks_of_a_client_are_ignored(scene: Scene, number: str) -> None:
    """The server asks for no acks, so an ack from a client is nothing, before CONNECT and after it."""
    client = await scene.open()
    await client.say(f'43/chat,{number}["x"]')
    await client.join_chat(token("mallory"))
    await client.say(f'43/chat,{number}["x"]')
    assert (await client.ask("channel:leave", {"channel": "room:1"}))["ok"]
    await client.leave()
    await scene.clean()


async def test_what_no_client_could_read_reaches_none(scene: Scene) -> None:
    """Of JSON that some parsers take and others do not, nothing enters the log: the next message is number 1."""
    channel = "room:poisoned"
    reader, writer = await scene.chat("reader"), await scene.chat("writer")
    await reader.ask("channel:join", {"channel": channel})
    for poison in ("NaN", "1e999", "-Infinity", '"\\ud800"', '"\\udc00\\ud800"', "9" * 5_000):
        attacker = await scene.chat()
        await attacker.say(f'42/chat,1["message:send",{{"channel":"{channel}","text":"x","data":{{"a":{poison}}}}}]')
        assert (await attacker.closed()).code == 1008
    sent = await writer.ask("message:send", {"channel": channel, "text": "sound"})
    assert sent["offset"] == 1
    assert (await reader.event("message:created"))["message"]["text"] == "sound"
    assert reader.unread == []
    await reader.leave()
    await writer.leave()
    await scene.clean()


async def test_behind_the_packet_that_closes_nothing_is_handled(scene: Scene) -> None:
    """Commands before a malformed packet are answered, those behind it are not."""
    client = await scene.chat()
    good = event("channel:leave", {"channel": "room:1"}, ack=1)
    await client.send(masked(good) * 3 + masked("49") + masked(good) * 3)
    await client.closed()
    assert client.unread == ['43/chat,1[{"ok":true}]'] * 3
    await scene.clean()
