"""One client that asks for the server's whole time does not get it: what another client waits meanwhile is measured."""

import contextlib

import pytest

from bench.processes import cpu_s
from loadtest.frames import Opcode
from tests.clients.frames import closing, masked, unmasked
from tests.clients.raw import PATH, Gone, event, handshake
from tests.conftest import Figure
from tests.harness.attack import Attack, Requests, command
from tests.harness.tokens import token
from tests.harness.victim import ATTACK_S
from tests.harness.victim import unharmed as survives
from tests.integration.conftest import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOPS = ["uvloop", "asyncio"]

SERVER_ENV = {"MARU_MESSAGE_LOG": "memory", "MARU_LIMITS": "off"}
"""The disk is no part of what is measured; and turns and budgets protect others also where no rate is limited."""

PIECE_BYTES = 1 << 20
"""What an attacker hands to the kernel at once: several reads of the server."""


def many(frame: bytes) -> bytes:
    """A piece full of one frame."""
    return frame * (PIECE_BYTES // len(frame))


PONGS = many(masked("3"))

FLOODS: dict[str, tuple[bytes, bytes]] = {
    "pongs of Engine.IO": (b"", PONGS),
    "pongs": (b"", many(masked(b"", Opcode.PONG))),
    "pings": (b"", many(masked(b"", Opcode.PING))),
    "pings that are not small": (b"", many(masked(b"12345678", Opcode.PING))),
    "the largest pings": (b"", many(masked(b"p" * 125, Opcode.PING))),
    "empty fragments": (masked("4", final=False), many(masked("", Opcode.CONTINUATION, final=False))),
    "empty messages": (b"", many(masked(""))),
    "small frames among commands": (b"", many(masked(event("x:y")) + masked("3") * 9)),
    "frames behind a close frame": (closing(1000), PONGS),
    "frames behind the server's close frame": (masked("1"), PONGS),
    "frames behind a broken one": (unmasked("3"), PONGS),
    "large frames behind a broken one": (unmasked("3"), many(masked("x" * 60_000))),
}


async def unharmed(scene: Scene, attack: Attack | Requests, figure: Figure, sockets: int) -> None:
    """Attack, and see that nobody else waits long, and that the bystander has missed nothing."""
    await survives(scene.server, attack, figure, sockets)
    await scene.bystander.unharmed()


@pytest.mark.parametrize("sockets", [1, 10])
@pytest.mark.parametrize(("opening", "data"), FLOODS.values(), ids=FLOODS)
async def test_a_flood_of_frames(scene: Scene, figure: Figure, opening: bytes, data: bytes, sockets: int) -> None:
    """Frames of a client that has no session, as fast as TCP takes them."""
    attack = Attack(scene.server.port, data, opening=opening)
    await unharmed(scene, attack, figure, sockets)
    assert attack.connections >= sockets


@pytest.mark.parametrize("opening", [unmasked("3"), masked("1"), masked("4x")], ids=["broken", "left", "malformed"])
async def test_little_is_read_after_the_servers_close_frame(scene: Scene, opening: bytes) -> None:
    """What a client sends behind a fault fills the kernel's buffers, and costs the server nothing."""
    attack = Attack(scene.server.port, many(masked("x" * 60_000)), opening=opening)
    before = cpu_s([scene.server.pid])
    await attack.run(1, ATTACK_S)
    assert attack.sent < 16 * PIECE_BYTES * attack.connections
    assert cpu_s([scene.server.pid]) - before < ATTACK_S / 2


async def test_a_flood_right_behind_the_handshake(scene: Scene) -> None:
    """Frames that come in one write with the handshake are bounded like others."""
    client = await scene.open(behind=PONGS[: 7 * 20_000])
    assert (await client.closed()).code == 1008


async def test_a_flood_of_small_frames_is_closed(scene: Scene) -> None:
    """The close frame and the log say why."""
    for client, reason in (
        (await scene.open(), "too many frames before CONNECT"),
        (await scene.chat(), "too many small frames at once"),
    ):
        client.push(PONGS[: 7 * 8_000])
        frame = await client.closed()
        assert (frame.code, frame.reason) == (1008, reason)
        await scene.ended(client, reason, 1008)
    await scene.clean()


@pytest.mark.parametrize("small", [masked("3"), masked("", Opcode.PING), masked("p" * 125, Opcode.PONG)])
async def test_a_trickle_of_small_frames_is_closed(scene: Scene, small: bytes) -> None:
    """Few frames in each read, and too many in a ping interval; half as many are nobody's concern."""
    client, honest = await scene.chat(), await scene.chat("honest")
    for _ in range(50):
        honest.push(small * 20)
        await honest.ask("channel:leave", {"channel": "room:honest"})
    with contextlib.suppress(Gone, AssertionError):
        for _ in range(1_000):
            await client.send(small * 20)
            await client.ask("channel:leave", {"channel": "room:trickle"})
    await scene.ended(client, "too many small frames", 1008)
    await honest.leave()
    await scene.clean()


@pytest.mark.parametrize("sockets", [1, 10])
@pytest.mark.parametrize("flood", ["pongs of Engine.IO", "pings", "empty fragments"])
async def test_a_flood_of_frames_in_a_session(scene: Scene, figure: Figure, flood: str, sockets: int) -> None:
    """A token gives nobody more frames."""
    opening, data = FLOODS[flood]
    attack = Attack(scene.server.port, data, opening=opening, token=token("mallory"))
    await unharmed(scene, attack, figure, sockets)
    assert attack.connections > sockets


async def test_commands_and_pongs_of_a_client_that_was_not_read_for_long(scene: Scene) -> None:
    """What an honest client has ready at once is no flood: each of 2,000 short commands is answered, in order."""
    client = await scene.chat()
    piece = b"".join(
        masked(event("x:y", ack=number)) + (masked("3") if number % 9 == 0 else b"") for number in range(2_000)
    )
    client.push(piece)
    for number in range(2_000):
        assert (await client.text()).startswith(f"43/chat,{number}[")
    await client.leave()
    await scene.clean()


@pytest.mark.parametrize("value", ["eyJ" * 2_600, "eyJ" * 2_600 + ".", "eyJ-" * 1_950], ids=["plain", "dot", "dash"])
async def test_a_query_string_made_to_be_slow(scene: Scene, figure: Figure, value: str) -> None:
    """Thousands of beginnings of a token in one URL cost no more than other text."""
    requests = Requests(scene.server.port, f"{PATH}&x={value}")
    await unharmed(scene, requests, figure, 2)
    assert set(requests.answers) == {400}


TINY = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

PIPELINES: dict[str, bytes] = {
    "tiny requests": many(TINY),
    "requests without a host": many(b"GET / HTTP/1.1\r\n\r\n"),
    "handshakes that are refused": many(b"GET /socket.io/?EIO=3 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "requests with a body": many(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"),
    "tiny chunks": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + many(b"1\r\nx\r\n"),
    "tiny requests, then a handshake": TINY * 2_000 + handshake(),
    "blank lines": many(b"\r\n"),
    "tiny header lines": b"GET / HTTP/1.1\r\n" + many(b"a:\r\n"),
}


@pytest.mark.parametrize("data", PIPELINES.values(), ids=PIPELINES)
async def test_many_http_requests_at_once(scene: Scene, figure: Figure, data: bytes) -> None:
    """Requests in one write, before a handshake or in its place, are not all handled in one turn."""
    attack = Attack(scene.server.port, data, shakes=False)
    await unharmed(scene, attack, figure, 5)
    assert attack.connections >= 5


DEEP = "[" + ",".join(["[]"] * 20_000) + "]"

COMMANDS: dict[str, bytes] = {
    "unknown commands": many(command("x:y", {}, 1)),
    "unknown commands of 60 KB": many(masked(f'42/chat,1["x:y",{DEEP}]')),
    "bad requests of 60 KB": many(masked(f'42/chat,1["message:send",{DEEP}]')),
    "leaving": many(command("channel:leave", {"channel": "room:attack"}, 1)),
    "denied": many(command("channel:join", {"channel": "secret:1"}, 1)),
}


@pytest.mark.parametrize("sockets", [1, 5])
@pytest.mark.parametrize("data", COMMANDS.values(), ids=COMMANDS)
async def test_commands_that_wait_for_nothing(scene: Scene, figure: Figure, data: bytes, sockets: int) -> None:
    """A mailbox full of commands that are answered from memory leaves others their turn."""
    attack = Attack(scene.server.port, data, token=token("mallory"))
    await unharmed(scene, attack, figure, sockets)
    assert attack.connections == attack.attackers


async def test_refreshes_with_many_grants_in_many_channels(scene: Scene, figure: Figure) -> None:
    """A refresh looks at each channel that the session is in, for each of its grants at most once."""
    grants = {f"room:other-{number}": ["join"] for number in range(370)} | {"room:*": ["join"]}
    pass_ = token("mallory", grants)
    joins = b"".join(command("channel:join", {"channel": f"room:many-{number}"}, number) for number in range(490))
    refresh = command("auth:refresh", {"token": pass_}, 1)
    attack = Attack(scene.server.port, refresh * 20, opening=joins, token=pass_)
    await unharmed(scene, attack, figure, 1)
    assert attack.connections == attack.attackers
    assert attack.sent > len(refresh * 20)
