"""The frame layer (RFC 6455): every lawful stream is understood however it is cut, every unlawful one is closed."""

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from loadtest.frames import Opcode, header
from tests.clients.frames import closing, fragmented, masked, unmasked
from tests.clients.raw import Gone, connect, event
from tests.harness.tokens import token
from tests.integration.conftest import Scene

LOOPS = ["uvloop", "asyncio"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_PAYLOAD = 65_536
QUESTION = event("channel:leave", {"channel": "room:frames"}, ack=7)
ANSWER = '43/chat,7[{"ok":true}]'


def sized(size: int) -> str:
    """A question of so many bytes."""
    bare = event("channel:leave", {"channel": "room:frames", "pad": ""}, ack=7)
    return bare.replace('"pad": ""', f'"pad": "{"x" * (size - len(bare))}"')


LAWFUL = {
    "whole": masked(QUESTION),
    "masked with zeros": masked(QUESTION, mask=b"\0\0\0\0"),
    "a byte a fragment": fragmented(QUESTION, range(1, len(QUESTION))),
    "empty fragments": fragmented(QUESTION, [0, 0, 9, 9, len(QUESTION)]),
    "control frames between fragments": fragmented(QUESTION, [3, 9], between=masked("", Opcode.PONG) * 3),
    "exactly the limit": masked(sized(MAX_PAYLOAD)),
    "exactly the limit, in fragments": fragmented(sized(MAX_PAYLOAD), [1, 4_000, 65_535]),
    "length 125": masked(sized(125)),
    "length 126": masked(sized(126)),
    "length 65,535": masked(sized(65_535)),
    "length longer than it needs to be": header(200)[:1]
    + b"\xff"
    + struct.pack("!Q", len(QUESTION))
    + masked(QUESTION, mask=b"\0\0\0\0")[-len(QUESTION) - 4 :],
    "UTF-8 cut inside a character": fragmented(
        event("channel:leave", {"channel": "room:frames", "pad": "€𝄞"}, ack=7).encode(), range(70, 84)
    ),
    "pong that nobody asked for": masked(b"\xff\xfe", Opcode.PONG) + masked(QUESTION),
}


@pytest.mark.parametrize("stream", LAWFUL.values(), ids=LAWFUL)
async def test_lawful_streams_are_answered(scene: Scene, stream: bytes) -> None:
    """However a command is framed, and whether it comes at once or in small pieces, its answer is the same."""
    client = await scene.chat()
    await client.send(stream)
    assert await client.text() == ANSWER
    cuts = range(1, len(stream)) if len(stream) < 1_000 else [*range(1, 20), *range(99, len(stream), 1_999)]
    await client.drip(stream, cuts)
    assert await client.text() == ANSWER
    await client.leave()
    await scene.ended(client, "client closed", 1000)


async def test_a_command_cut_in_two_at_every_byte(scene: Scene) -> None:
    """There is no place where a cut changes anything; neither where the next command follows at once."""
    client = await scene.chat()
    stream = fragmented(QUESTION, [5], between=masked("p", Opcode.PONG)) + masked(sized(300))
    for cut in range(len(stream) + 1):
        await client.drip(stream, [cut])
        assert [await client.text(), await client.text()] == [ANSWER] * 2
    await client.leave()


@pytest.mark.parametrize("seed", range(12))
async def test_random_streams_have_the_answers_of_the_plain_ones(scene: Scene, seed: int) -> None:
    """Commands framed and cut at random are answered as they are when each comes in one frame and one write."""
    dice = random.Random(seed)
    channels = [f"room:random-{seed}-{number}" for number in range(3)]
    commands = [
        dice.choice(
            [
                event(
                    "channel:leave", {"channel": dice.choice(channels), "pad": "ü" * dice.randrange(300)}, ack=number
                ),
                event("no:such", ack=number),
                event("message:send", {"channel": "none"}, ack=number),
                event("history:read", {"channel": dice.choice(channels), "limit": dice.randrange(4)}, ack=number),
                "3",
            ]
        )
        for number in range(40)
    ]
    expected = sum(command != "3" for command in commands)
    plain, random_ = await scene.chat(), await scene.chat()
    for command in commands:
        await plain.say(command)
    stream = b"".join(
        fragmented(
            command,
            [dice.randrange(len(command.encode()) + 1) for _ in range(dice.randrange(4))],
            between=dice.choice([b"", masked(dice.randbytes(dice.randrange(126)), Opcode.PONG)]),
        )
        for command in commands
    )
    await random_.drip(stream, {dice.randrange(len(stream)) for _ in range(dice.randrange(200))})
    assert [await random_.text() for _ in range(expected)] == [await plain.text() for _ in range(expected)]
    await plain.leave()
    await random_.leave()


@dataclass(frozen=True)
class Unlawful:
    """What is sent, the close code, and the reason in the log."""

    stream: bytes
    code: int
    reason: str


def protocol_error(stream: bytes) -> Unlawful:
    """What the reader finds."""
    return Unlawful(stream, 1002, "malformed frame")


def not_utf8(stream: bytes) -> Unlawful:
    """Text that is none."""
    return Unlawful(stream, 1007, "text is not UTF-8")


def too_big(stream: bytes) -> Unlawful:
    """Over the limit."""
    return Unlawful(stream, 1009, "message over 65,536 bytes")


UNMASKED = "frame is not masked"
NESTED = "a message begins inside another one"
UNLAWFUL = {
    "unmasked text": Unlawful(unmasked(QUESTION), 1002, UNMASKED),
    "unmasked empty text": Unlawful(unmasked(""), 1002, UNMASKED),
    "unmasked ping": Unlawful(unmasked("p", Opcode.PING), 1002, UNMASKED),
    "unmasked close": Unlawful(unmasked(b"\x03\xe8", Opcode.CLOSE), 1002, UNMASKED),
    "unmasked continuation": Unlawful(masked("4", final=False) + unmasked("2", 0), 1002, UNMASKED),
    "text inside a fragmented text": Unlawful(masked("4", final=False) + masked("3"), 1002, NESTED),
    "text inside an empty first fragment": Unlawful(masked("", final=False) + masked("3"), 1002, NESTED),
    "continuation of nothing": protocol_error(masked("3", Opcode.CONTINUATION)),
    "continuation of nothing, not final": protocol_error(masked("3", Opcode.CONTINUATION, final=False)),
    "continuation after the end": protocol_error(masked("3") + masked("3", Opcode.CONTINUATION)),
    **{f"reserved bit {bit}": protocol_error(masked("3", reserved=bit)) for bit in (1, 2, 4, 7)},
    **{f"reserved bit {bit} in a ping": protocol_error(masked("", Opcode.PING, reserved=bit)) for bit in (2, 4)},
    **{f"opcode {code:#x}": protocol_error(masked("", code)) for code in (3, 7, 0xB, 0xF)},
    "fragmented ping": protocol_error(masked("p", Opcode.PING, final=False)),
    "fragmented close": protocol_error(masked(b"\x03\xe8", Opcode.CLOSE, final=False)),
    "ping of 126 bytes": protocol_error(masked("p" * 126, Opcode.PING)),
    "close of 126 bytes": protocol_error(masked(b"\x03\xe8" + b"x" * 124, Opcode.CLOSE)),
    "close of one byte": protocol_error(masked(b"\x03", Opcode.CLOSE)),
    **{f"close code {code}": protocol_error(closing(code)) for code in (0, 999, 1004, 1005, 1015, 1016, 2999)},
    "close code 1006": Unlawful(closing(1006), 1002, "close code 1006"),
    "close reason that is not UTF-8": not_utf8(closing(1000, b"\xff")),
    "a byte over the limit, by its header": too_big(header(MAX_PAYLOAD + 1)),
    "2^63 - 1 bytes, by its header": too_big(header(2**63 - 1)),
    "2^63 bytes, by its header": too_big(header(2**63)),
    "2^64 - 1 bytes, by its header": too_big(header(2**64 - 1)),
    "a byte over the limit, in two fragments": too_big(
        masked("x" * MAX_PAYLOAD, final=False) + masked("x", Opcode.CONTINUATION)
    ),
    "over the limit in many fragments": too_big(
        masked("x" * 999, final=False) + masked("x" * 999, Opcode.CONTINUATION, final=False) * 80
    ),
    "binary over the limit": too_big(header(MAX_PAYLOAD + 1, Opcode.BINARY)),
    "a byte that UTF-8 has not": not_utf8(masked(b"4\xff")),
    "a character cut off": not_utf8(masked(b"4\xe2\x82")),
    "an overlong slash": not_utf8(masked(b"4\xc0\xaf")),
    "a surrogate in UTF-8": not_utf8(masked(b"4\xed\xa0\x80")),
    "beyond Unicode": not_utf8(masked(b"4\xf4\x90\x80\x80")),
    "bad UTF-8 over fragments": not_utf8(fragmented(b"4\xe2\x28\xa1", [2, 3])),
}


@pytest.mark.parametrize("case", UNLAWFUL.values(), ids=UNLAWFUL)
async def test_unlawful_frames_are_closed(scene: Scene, case: Unlawful) -> None:
    """A broken frame closes this WebSocket with its code and one line, whether it comes whole or byte by byte."""
    for cuts in ((), range(1, min(len(case.stream), 40))):
        client = await scene.chat()
        await client.drip(case.stream, cuts)
        frame = await client.closed()
        assert (frame.code, frame.reason) == (case.code, case.reason)
        await scene.ended(client, case.reason, case.code)
    await scene.clean()


async def test_commands_before_a_broken_frame_are_handled(scene: Scene) -> None:
    """What was sent before the fault, in an earlier read, has been done, and was answered first."""
    client = await scene.chat()
    await client.send(masked(QUESTION))
    assert await client.text() == ANSWER
    await client.send(unmasked("3"))
    assert (await client.closed()).code == 1002


@pytest.mark.parametrize("payload", [b"", b"p", b"\x00\xff\xfe", b"x" * 125], ids=["empty", "a byte", "binary", "125"])
async def test_a_ping_is_echoed(scene: Scene, payload: bytes) -> None:
    """A pong carries the ping's payload, also between the fragments of a message."""
    client = await scene.open()
    await client.send(masked(payload, Opcode.PING) + fragmented("3", [0], between=masked(payload, Opcode.PING)))
    for _ in range(2):
        frame = await client.frame()
        assert (frame.opcode, frame.payload) == (Opcode.PONG, payload)
    await client.leave()


async def test_many_pings_at_once_are_answered_in_order(scene: Scene) -> None:
    """Each of 1,000 pings in one write has its pong."""
    client = await scene.chat()
    client.push(b"".join(masked(str(number), Opcode.PING) for number in range(1_000)))
    assert [(await client.frame()).payload for _ in range(1_000)] == [str(number).encode() for number in range(1_000)]
    await client.leave()


@pytest.mark.parametrize(
    ("frame", "logged"),
    [
        (closing(), 1000),
        (closing(1000), 1000),
        (closing(1001, "bye"), 1001),
        (closing(1011), 1011),
        (closing(3000, "ü" * 61), 3000),
        (closing(4999), 4999),
    ],
    ids=["no code", "1000", "1001", "1011", "3000", "4999"],
)
async def test_the_client_closes(scene: Scene, frame: bytes, logged: int) -> None:
    """A close frame is answered by one, then the server closes TCP; the line keeps the client's code."""
    client = await scene.chat()
    await client.send(frame)
    answer = await client.frame()
    assert (answer.opcode, answer.code) == (Opcode.CLOSE, 1000)
    await client.eof(timeout=1.0)
    await scene.ended(client, "client closed", logged)
    await scene.clean()


async def test_nothing_after_the_clients_close_counts(scene: Scene) -> None:
    """Frames behind a close frame are not read (RFC 6455, section 5.5.1), not even broken ones."""
    client = await scene.chat()
    await client.send(closing(1000) + masked(QUESTION) + unmasked("x"))
    assert (await client.frame()).opcode == Opcode.CLOSE
    with pytest.raises(Gone):
        await client.frame()
    await scene.ended(client, "client closed", 1000)


async def test_the_server_waits_for_the_clients_close(scene: Scene) -> None:
    """After its own close frame the server reads nothing but the client's, then closes TCP at once."""
    client = await scene.chat()
    await client.say("1")
    assert (await client.frame()).code == 1000
    await client.send(masked(QUESTION) + masked("p", Opcode.PING) + closing(1000))
    with pytest.raises(Gone):
        await client.frame(timeout=1.0)
    await scene.ended(client, "client left", 1000)


async def test_a_client_that_never_answers_a_close_is_cut(scene: Scene) -> None:
    """Two seconds after its close frame the server drops TCP."""
    client = await scene.chat()
    await client.say("1")
    assert (await client.frame()).code == 1000
    await client.eof(timeout=4.0)
    assert 1.8 < (await scene.ended(client, "client left", 1000))["seconds"] < 4.0
    await scene.clean()


async def test_a_half_closed_connection_ends(scene: Scene) -> None:
    """A client that closes its sending half is gone: the server closes the other half, at once."""
    for client in (await scene.open(), await scene.chat()):
        client.finish()
        await client.eof(timeout=1.0)
        await scene.ended(client, "transport closed", None)
    await scene.clean()


async def test_half_closed_after_commands(scene: Scene) -> None:
    """Commands sent before the sending half was closed are still handled."""
    reader = await scene.chat("reader")
    channel = "room:half-closed"
    await reader.ask("channel:join", {"channel": channel})
    client = await scene.chat()
    client.push(b"".join(masked(event("message:send", {"channel": channel, "text": str(n)})) for n in range(50)))
    client.finish()
    texts = [data["message"]["text"] for data in await reader.events("message:created", 50)]
    assert texts == [str(number) for number in range(50)]
    await scene.ended(client, "transport closed", None)
    await reader.leave()
    await scene.clean()


@pytest.mark.parametrize("messages", [1, 8], ids=["128 KB", "1 MB"])
async def test_bytes_right_behind_the_handshake_are_read(scene: Scene, messages: int) -> None:
    """What a client sends with its handshake, before it has seen the 101, is answered, also when it is large."""
    hello = '40/chat,{"token": "' + token("eager") + '"}'
    filler = masked(sized(MAX_PAYLOAD)) * 2 * messages
    client = await scene.open(behind=masked(hello) + filler + masked(event("x:y", ack=9)))
    await client.event("session:ready")
    assert [await client.text() for _ in range(2 * messages)] == [ANSWER] * 2 * messages
    assert (await client.ack(9))["error"]["code"] == "unknown_event"
    await client.leave()
    await scene.clean()


async def test_half_a_frame_behind_the_handshake(scene: Scene) -> None:
    """A frame that begins in the handshake's segment and ends in a later one is one frame."""
    hello = masked('40/chat,{"token": "' + token("eager") + '"}')
    for cut in (1, 2, 3, 7, len(hello) - 1):
        client = await scene.open(behind=hello[:cut])
        await client.send(hello[cut:])
        await client.event("session:ready")
        await client.leave()
    await scene.clean()


async def test_a_few_frames_before_connect(scene: Scene) -> None:
    """Pongs and pings may come before the CONNECT, and a close frame; a crowd of them may not."""
    client = await scene.open()
    await client.send(masked("3") + masked("p", Opcode.PING) + masked("3"))
    await client.join_chat(token("early"))
    await client.leave()
    client = await scene.open()
    await client.send(masked("3") * 4 + closing(1000))
    await scene.ended(client, "client closed", 1000)
    client = await scene.open()
    await client.send(masked("3") * 5)
    frame = await client.closed()
    assert (frame.code, frame.reason) == (1008, "too many frames before CONNECT")
    await scene.ended(client, frame.reason, 1008)
    await scene.clean()


def largest_connect() -> str:
    """A CONNECT of 64 KiB: a token of 16 KiB, and 500 positions."""
    pass_ = token("large", {f"room:{'g' * 60}-{number}": ["join"] for number in range(140)} | {"room:*": ["join"]})
    positions = {f"room:{number:03d}-{'x' * 30}": {"epoch": "e" * 16, "offset": number} for number in range(500)}
    auth = {"token": pass_, "resume": positions, "pad": ""}
    pad = MAX_PAYLOAD - len(connect(auth))
    assert len(pass_) > 14_000
    assert pad > 0
    return connect(auth | {"pad": "p" * pad})


CUTS = {
    "whole": [],
    "in two": [1],
    "in four": [16_384, 32_768, 49_152],
    "as .NET": range(8_192, MAX_PAYLOAD, 8_192),
    "as Go": range(4_096, MAX_PAYLOAD, 4_096),
    "as small as may be": range(1_024, MAX_PAYLOAD, 1_024),
}


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
async def test_the_largest_connect(scene: Scene, cuts: Sequence[int]) -> None:
    """It is admitted, whole or in fragments, and a command right behind it is answered."""
    client = await scene.open()
    await client.send(fragmented(largest_connect(), cuts) + masked(QUESTION))
    assert (await client.text()).startswith("40/chat,")
    await client.event("session:ready")
    assert await client.ack(7) == {"ok": True}
    await client.leave()
    await scene.clean()


async def test_frames_between_connects(scene: Scene) -> None:
    """A client that is refused may wait, answer pings and send its own, and try again."""
    client = await scene.open()
    for _ in range(4):
        await client.say(connect({"token": "no"}))
        assert (await client.text()).startswith("44/chat,")
        await client.send((masked("3") + masked("p", Opcode.PING)) * 20)
    await client.join_chat(token("patient"))
    await client.leave()
    await scene.clean()


async def test_nothing_is_read_while_a_connect_is_judged(scene: Scene) -> None:
    """Commands behind a CONNECT with positions are answered when it is."""
    client = await scene.open()
    positions = {f"room:judged-{number}": {"epoch": "e", "offset": 0} for number in range(100)}
    hello = masked(connect({"token": token("judged"), "resume": positions}))
    await client.send(
        hello + b"".join(masked(event("channel:leave", {"channel": "room:x"}, ack=n)) for n in range(300))
    )
    await client.event("session:ready")
    assert [await client.ack(number) for number in range(300)] == [{"ok": True}] * 300
    await client.leave()
    await scene.clean()
