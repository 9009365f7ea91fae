"""The cases in which something ends: servers die, drain and freeze, tokens expire, connections are closed."""

from collections.abc import Sequence

from tests.clients.account import Outgoing
from tests.clients.python import PyClient
from tests.clients_of_others.cell import Case, Cell, Once
from tests.clients_of_others.clients import PY_ASYNC, PY_SYNC, RUST
from tests.clients_of_others.puppet import WAIT_S, Socket
from tests.harness.server import ServerProcess
from tests.harness.tokens import token

NOTICED_S = 3.0
"""A close is heard within that, on a machine that is busy with all clients. The next sign of it, the missing heartbeat,
comes after 10 to 20 s."""

MISSED = ("2", "3", "4")

QUICK_TOKENS = {"MARU_TOKEN_GRACE": "500ms", "MARU_JWT_LEEWAY": "0"}
TTL_S = 3.0
"""Long enough to connect on a busy machine."""

BEAT = {"MARU_PING_INTERVAL": "1s", "MARU_PING_TIMEOUT": "1s"}
LOST_S = 6.0
"""A frozen server is noticed after 2 s, by each library's own timer."""

REFUSED_S = 6.0
"""For a refusal after the server's return: libraries look for it every half second."""

TRY_AGAIN = frozenset((PY_ASYNC, PY_SYNC, RUST))
"""Libraries that try again by themselves if a CONNECT is refused when they come back."""

DRAIN = {"MARU_DRAIN_TIMEOUT": "2s"}


async def settle(cell: Cell) -> None:
    """Join, and see a message."""
    ann = await cell.enter()
    await cell.send(ann, "1")
    await cell.sees(ann, "1")


async def note_position(cell: Cell) -> None:
    """Put the position into the payload of the next CONNECT, which the library reads when it comes back."""
    resume = {cell.channel: cell.position(cell.first)}
    await cell.first.authenticate({"token": cell.token(), "resume": resume})


async def _missed(server: ServerProcess, cells: Sequence[Cell]) -> None:
    """Write what the clients miss, by another server over the same log; then start theirs again."""
    async with (
        ServerProcess(server.folder, {"MARU_DRAIN_TIMEOUT": "0"}) as other,
        PyClient(other.url, token("zoe", ttl_s=60)) as zoe,
    ):
        messages = [Outgoing(cell.channel, text, f"{text} {cell.client}") for cell in cells for text in MISSED]
        await zoe.send_all(messages, in_flight=8)
    await server.start()


async def kill(server: ServerProcess, cells: Sequence[Cell]) -> None:
    """`kill -9`."""
    await server.kill()
    await _missed(server, cells)


async def drain(server: ServerProcess, cells: Sequence[Cell]) -> None:
    """SIGTERM: every client is closed in its turn."""
    assert await server.terminate() == 0
    await _missed(server, cells)


async def _is_whole(cell: Cell, ann: Socket) -> None:
    await cell.send(ann, "5")
    await cell.sees(ann, "5")
    assert cell.texts(ann) == ["1", *MISSED, "5"]


async def resumed(cell: Cell) -> None:
    """The library comes back by itself with the new payload: nothing is missing or doubled."""
    answer = await cell.first.event("channel:resumed", timeout=2 * WAIT_S)
    assert (answer["recovered"], len(answer["events"])) == (True, len(MISSED)), answer
    await _is_whole(cell, cell.first)


async def _back(socket: Socket, since: int) -> None:
    await socket.event("session:ready", since=since, timeout=2 * WAIT_S)


async def joined_since(cell: Cell) -> None:
    """The library comes back by itself with the old payload; a join with `since` brings the rest."""
    ann = cell.first
    position, ready = cell.position(ann), _after_ready(ann)
    await _back(ann, ready)
    joined = await cell.join(ann, since=position)
    assert (joined["recovered"], len(joined["events"])) == (True, len(MISSED)), joined
    await _is_whole(cell, ann)


def _after_ready(socket: Socket) -> int:
    return 1 + next(i for i, line in enumerate(socket.lines) if line.get("name") == "session:ready")


async def drained(cell: Cell) -> None:
    """It was told of the drain, and is back."""
    await cell.first.event("session:draining")
    await resumed(cell)


async def stop(server: ServerProcess, cells: Sequence[Cell]) -> None:
    """SIGTERM, and nobody else to go to."""
    assert await server.terminate() == 0


async def live(cell: Cell) -> None:
    """A session."""
    await cell.live()


async def hears_the_close(cell: Cell) -> None:
    """The close is heard when it comes, not by the heartbeat that is missing later."""
    await cell.first.told("disconnect", timeout=NOTICED_S)


async def say_too_much(cell: Cell) -> None:
    """Send a message over 64 KiB, for which the connection is closed with 1009."""
    await cell.first.emit("message:send", {"channel": cell.channel, "text": "x" * 70_000})


async def freeze(server: ServerProcess, cells: Sequence[Cell]) -> None:
    """SIGSTOP: connections stay, nothing is answered."""
    server.freeze()


async def misses_the_heartbeat(cell: Cell) -> None:
    """The library notices, and says so."""
    await cell.first.told("disconnect", timeout=LOST_S)


async def thaw(server: ServerProcess, cells: Sequence[Cell]) -> None:
    """SIGCONT."""
    server.thaw()


async def is_back(cell: Cell) -> None:
    """The library has a session again."""
    await _back(cell.first, _after_ready(cell.first))


async def let_it_expire(cell: Cell) -> None:
    """Leave a token in the payload that has expired when the library comes back."""
    await cell.first.authenticate({"token": cell.token(ttl_s=-60)})


async def restart(server: ServerProcess, cells: Sequence[Cell]) -> None:
    """`kill -9`, and start it again."""
    await server.kill()
    await server.start()


async def takes_a_new_token(cell: Cell) -> None:
    """The application hears of the old token, and comes in with a new one: by hand, or when the library tries again."""
    ann, since = cell.first, _after_ready(cell.first)
    told = since + 1
    while (error := await ann.told("connect_error", since=told, timeout=REFUSED_S))["data"] is None:  # no server yet
        told = 1 + ann.lines.index(error, told)
    assert error["data"]["code"] == "token_expired"
    await ann.authenticate({"token": cell.token()})
    if cell.client not in TRY_AGAIN:
        await ann.connect()
    await _back(ann, since)


async def terminated(cell: Cell) -> None:
    """The application hears why the session ends. With a new token it comes back, and resumes."""
    ann = await cell.enter(ttl_s=TTL_S)
    await ann.event("session:expiring")
    assert (await ann.event("session:terminated"))["code"] == "token_expired"
    await ann.told("disconnect")
    since = _after_ready(ann)
    await ann.authenticate({"token": cell.token(), "resume": {cell.channel: {"epoch": "none", "offset": 0}}})
    await ann.connect()
    await _back(ann, since)
    assert (await ann.event("channel:resumed"))["reason"] == "epoch_changed"


async def refreshed(cell: Cell) -> None:
    """A session that was given a new token outlives one that was not."""
    ann = await cell.live(ttl_s=TTL_S)
    await ann.event("session:expiring")
    answer = await ann.ask("auth:refresh", {"token": cell.token()})
    assert answer["ok"], answer
    other = await cell.live("ben", ttl_s=TTL_S)
    await other.event("session:terminated")
    await cell.send(ann, "still here")
    assert not [line for line in ann.lines if line["is"] == "disconnect"]


CASES = (
    Case("kill -9, resume", (settle, note_position, Once(kill), resumed)),
    Case("kill -9, since", (settle, Once(kill), joined_since)),
    Case("drain", (settle, note_position, Once(drain), drained), DRAIN),
    Case("close noticed", (live, Once(stop), hears_the_close), DRAIN),
    Case("too large", (live, say_too_much, hears_the_close)),
    Case("ping timeout", (live, Once(freeze), misses_the_heartbeat, Once(thaw), is_back), BEAT),
    Case("stale token", (live, let_it_expire, Once(restart), takes_a_new_token)),
    Case("expiry", (terminated,), QUICK_TOKENS),
    Case("refresh", (refreshed,), QUICK_TOKENS),
)
